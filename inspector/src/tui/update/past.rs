//! Looking back: scrubbing through the moments that are kept, and the baseline that differences are taken to.

use super::freeze;
use crate::format;
use crate::tui::keys::Action;
use crate::tui::model::{Model, Screen};
use crate::tui::moments::Moment;

/// How far `<` and `>` go, nanoseconds.
const LEAP_NS: u64 = 10_000_000_000;

/// Shows the moment before (or after) what is shown, or the nearest one ten seconds away; whether anything changed.
pub(super) fn scrub(model: &mut Model, action: Action) -> bool {
    let Some(shown) = model.shown() else { return false };
    let (state, uptime_ns) = (shown.picture.states, shown.picture.uptime_ns);
    let Some(live) = &model.live else { return false };
    if live.epoch != shown.epoch {
        // What is frozen is of another connection, of which nothing else is kept.
        return false;
    }
    // The Map is nothing without superblocks.
    let needs_superblocks = model.screen == Screen::Map;
    let fits = |moment: &Moment| !needs_superblocks || moment.has_superblocks();
    let before = uptime_ns.saturating_sub(LEAP_NS);
    let after = uptime_ns.saturating_add(LEAP_NS);
    let moments = &model.moments;
    let oldest = || moments.beside(0, true, fits).filter(|moment| moment.state() < state);
    let moment = match action {
        Action::ScrubBack => moments.beside(state, false, fits),
        Action::LeapBack => moments
            .beside(state, false, |moment| fits(moment) && moment.uptime_ns() <= before)
            .or_else(oldest),
        Action::ScrubForward => moments.beside(state, true, fits),
        _ => moments.beside(state, true, |moment| fits(moment) && moment.uptime_ns() >= after),
    };
    let Some(moment) = moment else {
        let is_forward = matches!(action, Action::ScrubForward | Action::LeapForward);
        if is_forward && live.picture.states > state {
            // After the last moment comes the present.
            model.frozen = None;
            freeze(model);
        }
        return is_forward;
    };
    let (data, at_state) = (live.at(moment), moment.state());
    if model.frozen.is_none() {
        freeze(model);
    }
    if let Some(frozen) = &mut model.frozen {
        frozen.data = data;
        frozen.at_state = at_state;
        frozen.is_past = true;
        (frozen.stepped, frozen.steps) = ([0; 4], 0);
    }
    model.states.event = None;
    true
}

/// What is shown becomes what differences are taken to.
pub(super) fn set_baseline(model: &mut Model) {
    let Some(shown) = model.shown() else { return };
    model.baseline = Some(Moment::of(shown));
}

/// Says in the footer what is the baseline now: nothing else tells before differences are shown.
pub(super) fn tell_baseline(model: &mut Model) {
    let baseline = model.baseline.as_ref().filter(|_| model.shown().is_some());
    model.notice = baseline.map(|moment| {
        let uptime = format::duration(moment.uptime_ns());
        format!("baseline: the state at {uptime} (D shows differences)")
    });
}

/// Shows differences, or the figures themselves again. Without a baseline of this connection what is shown becomes it.
pub(super) fn toggle_difference(model: &mut Model) {
    let Some(shown) = model.shown() else { return };
    let is_baseline = |moment: &Moment| moment.data().epoch == shown.epoch;
    if model.baseline.as_ref().is_some_and(is_baseline) {
        model.shows_difference = !model.shows_difference;
    } else {
        model.shows_difference = true;
        set_baseline(model);
    }
}
