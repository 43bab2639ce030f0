//! Aim: messages do what the keys' table says; the view stands still while it is frozen; no order of
//! connection events shows what was not told.

use lfalloc_protocol::message::{TransitionRecord, Transitions};
use ratatui::crossterm::event::{MouseButton, MouseEventKind};

use super::*;
use crate::source::synthetic::{Synthetic, SyntheticSource};
use crate::source::{Source, SourceEvent};
use crate::tui::ThemeName;
use crate::tui::class_table::{Column, Row};
use crate::tui::edge::Edge;
use crate::tui::events::Entry;
use crate::tui::figure::Pane;
use crate::tui::theme::{Depth, Theme};
use std::time::Duration;

struct Bench {
    model: Model,
    source: SyntheticSource,
}

impl Bench {
    fn new() -> Self {
        let options = Synthetic { superblocks: 60, operations: 500, ..Synthetic::default() };
        let theme = Theme::new(Depth::None, false, ThemeName::Dark);
        Self { model: Model::new(theme, 4.0, (120, 36)), source: SyntheticSource::new(options) }
    }

    /// One that has seen so many states.
    fn after(states: u64) -> Self {
        let mut bench = Self::new();
        bench.advance(states);
        bench
    }

    fn live(&self) -> &Data {
        self.model.live.as_ref().expect("connected")
    }

    /// Feeds events until `more` further states are complete.
    fn advance(&mut self, more: u64) {
        let seen = |model: &Model| model.live.as_ref().map_or(0, |live| live.picture.states);
        let target = seen(&self.model) + more;
        while seen(&self.model) < target {
            let event = self.source.poll(Duration::ZERO);
            let _ = update(&mut self.model, Message::Source(event));
        }
    }

    fn press(&mut self, keys: &str) {
        let _ = self.ask(keys);
    }

    /// Presses the keys; what the last one asks for.
    fn ask(&mut self, keys: &str) -> Commands {
        let mut commands = Commands::default();
        for character in keys.chars() {
            commands = self.key(KeyCode::Char(character));
        }
        commands
    }

    fn key(&mut self, code: KeyCode) -> Commands {
        let key = KeyEvent::new(code, KeyModifiers::NONE);
        update(&mut self.model, Message::Key(key))
    }

    fn say(&mut self, event: SourceEvent) -> Commands {
        update(&mut self.model, Message::Source(event))
    }

    fn hello(&self) -> Hello {
        self.live().picture.hello.clone()
    }

    fn rows(&self) -> Vec<Row> {
        self.model.classes.rows(self.model.shown().expect("a state"), self.model.before())
    }
}

#[test]
fn it_is_live_from_the_first_complete_state_on() {
    let mut bench = Bench::new();
    assert_eq!(bench.model.connection, Connection::Connecting);
    let greeting = bench.source.poll(Duration::ZERO);
    assert!(bench.say(greeting).redraw);
    assert_eq!(bench.model.connection, Connection::Connecting);
    assert!(bench.model.shown().is_none());
    bench.advance(1);
    assert_eq!(bench.model.connection, Connection::Live);
    assert!(bench.model.shown().is_some());
}

#[test]
fn chunks_of_a_state_draw_nothing() {
    let mut bench = Bench::after(2);
    let mut redraws = 0;
    while bench.live().picture.states < 3 {
        let event = bench.source.poll(Duration::ZERO);
        redraws += u32::from(bench.say(event).redraw);
    }
    assert!(redraws <= 3, "transitions, the end, the process: {redraws}");
    assert!(!bench.say(SourceEvent::Quiet).redraw);
}

#[test]
fn clocks_alone_draw_nothing() {
    let mut bench = Bench::new();
    bench.source =
        SyntheticSource::new(Synthetic { superblocks: 20, operations: 0, ..Synthetic::default() });
    let mut redraws = Vec::new();
    while redraws.len() < 60 {
        let states = bench.model.live.as_ref().map_or(0, |live| live.picture.states);
        let event = bench.source.poll(Duration::ZERO);
        let redraw = bench.say(event).redraw;
        if bench.model.live.as_ref().map_or(0, |live| live.picture.states) > states {
            redraws.push(redraw);
        }
    }
    // Four states a second; findings may be raised in the first seconds.
    assert!(redraws[..8].iter().all(|&redraw| redraw), "rates settle");
    assert!(!redraws[40..].iter().any(|&redraw| redraw), "{redraws:?}");
    let (count, _) = bench.model.moments.reach();
    assert!(count < 41, "and nothing of it is kept: {count}");
}

#[test]
fn space_freezes_the_view_while_the_history_fills() {
    let mut bench = Bench::after(3);
    bench.press(" ");
    bench.advance(5);
    let shown = bench.model.shown().expect("frozen");
    assert_eq!((shown.picture.states, shown.history.samples().len()), (3, 3));
    assert_eq!(bench.live().history.samples().len(), 8);
    assert_eq!(bench.model.behind(), 5);
    bench.press(" ");
    assert_eq!(bench.model.shown().expect("live").picture.states, 8);
    assert_eq!(bench.model.behind(), 0);
}

#[test]
fn the_past_is_gone_back_to_and_forward_to_the_present() {
    // The made-up clock goes on by the interval of its states.
    let mut bench = Bench::after(12);
    let then: Vec<_> = {
        let shown = bench.model.shown().expect("live");
        vec![(shown.picture.parts, shown.figures.clone())]
    };
    bench.advance(6);
    bench.press(",");
    let shown = |bench: &Bench| bench.model.shown().expect("a state").picture.states;
    assert_eq!(shown(&bench), 17, "the state before");
    bench.press(",,,,,");
    assert_eq!((shown(&bench), bench.model.behind()), (12, 6));
    let data = bench.model.shown().expect("a state");
    assert_eq!(vec![(data.picture.parts, data.figures.clone())], then);
    assert_eq!(data.history.samples().len(), 12, "the history until then");
    let until = data.picture.uptime_ns;
    let late = |number| matches!(data.events.get(number), Some(Entry::Transition(t)) if t.uptime_ns > until);
    assert!(!(data.events.first()..data.events.end()).any(late), "the events until then");
    assert!(data.history.rates().allocations.is_some());
    bench.advance(2);
    assert_eq!(shown(&bench), 12, "it stands still");
    bench.press("..");
    assert_eq!(shown(&bench), 14);
    bench.press("......");
    assert_eq!(shown(&bench), 20, "the present, frozen");
    bench.press(" ");
    bench.advance(1);
    assert_eq!(shown(&bench), 21, "live again");
    bench.press("<");
    assert_eq!(shown(&bench), 1, "as far back as there is");
    assert_eq!(bench.ask(","), Commands::NOTHING, "nothing before");
    bench.press(">");
    assert_eq!(shown(&bench), 21);
}

#[test]
fn on_states_the_same_keys_step_through_events_and_on_from_the_past() {
    let mut bench = Bench::after(10);
    bench.press("1,,,");
    let state = bench.model.shown().expect("a state").picture.states;
    assert_eq!(state, 7);
    let end = bench.model.shown().expect("a state").events.end();
    bench.press("5.");
    assert_eq!(bench.model.states.event, Some(end), "the first event after that state");
    assert_eq!(bench.model.frozen.as_ref().map(|frozen| frozen.steps), Some(1));
    assert_eq!(bench.model.shown().expect("a state").picture.states, state);
}

#[test]
fn the_past_of_another_connection_is_gone() {
    let mut bench = Bench::after(5);
    let hello = bench.hello();
    bench.press(",");
    assert!(bench.say(SourceEvent::Connected(hello)).redraw);
    bench.press(",");
    assert_eq!(bench.model.shown().map(|shown| shown.picture.states), Some(4), "as it was frozen");
    bench.press(" ,");
    assert!(bench.model.shown().is_none(), "nothing is told of the new one yet");
}

#[test]
#[allow(clippy::float_cmp, reason = "sums of whole numbers are exact")]
fn differences_are_to_the_baseline_on_every_screen() {
    let mut bench = Bench::after(4);
    bench.press("b");
    assert!(bench.model.before().is_none(), "not shown yet");
    assert!(bench.model.notice.is_some(), "but told");
    bench.press("D");
    assert!(bench.rows().is_empty(), "nothing differs from itself");
    bench.advance(4);
    let rows = bench.rows();
    assert!(!rows.is_empty());
    let sum = |rows: &[Row], column: Column| -> i64 {
        rows.iter().filter_map(|row| column.value(row)).sum::<f64>() as i64
    };
    let live =
        |data: &Data| data.picture.classes.iter().map(|class| class.live_blocks).sum::<i64>();
    let (now, then) = (bench.live(), bench.model.before().expect("shown"));
    assert_eq!(sum(&rows, Column::Live), live(now) - live(then));
    let allocations =
        |data: &Data| -> u64 { data.picture.classes.iter().map(|class| class.allocations).sum() };
    let allocated = (allocations(now) - allocations(then)).cast_signed();
    assert_eq!(sum(&rows, Column::Allocations), allocated);
    bench.press("D");
    assert!(bench.model.before().is_none());
    bench.press("D,,,,,");
    let (shown, before) = (bench.model.shown().expect("a state"), bench.model.before());
    assert!(shown.picture.uptime_ns < before.expect("shown").picture.uptime_ns, "backwards, too");
    let hello = bench.hello();
    let _ = bench.say(SourceEvent::Connected(hello));
    bench.press(" ");
    bench.source = SyntheticSource::new(Synthetic { superblocks: 5, ..Synthetic::default() });
    let _ = bench.source.poll(Duration::ZERO);
    bench.advance(2);
    assert!(bench.model.before().is_none(), "another program has another baseline");
    bench.press("D");
    assert_eq!(bench.model.before().map(|before| before.picture.states), Some(2), "which D makes");
    bench.press("D");
    assert!(bench.model.before().is_none());
}

#[test]
fn a_moment_that_the_log_does_not_reach_misses_what_it_missed_then() {
    let mut bench = Bench::after(4);
    let extend = |bench: &mut Bench, missed: u64, count: u64| {
        let live = bench.model.live.as_mut().expect("connected");
        let uptime_ns = live.picture.uptime_ns + 1;
        let (superblock, class, from, to, cause) = (1, 0, 0, 1, 0);
        let record = |tag| TransitionRecord { uptime_ns, superblock, class, from, to, cause, tag };
        live.events.extend(&Transitions { missed, records: (0..count).map(record).collect() });
    };
    extend(&mut bench, 70, 1);
    bench.advance(1);
    let then = (bench.live().drops(), bench.live().events.end());
    extend(&mut bench, 900, events::CAPACITY as u64 + 5);
    bench.advance(1);
    bench.press("7,");
    let shown = bench.model.shown().expect("a state");
    assert_eq!(shown.picture.states, 5);
    assert_eq!((shown.drops(), shown.events.end()), then);
    assert_eq!(shown.events.first(), then.1, "nothing of it is kept");
    bench.press("5.");
    let shown = bench.model.shown().expect("a state");
    let stepped = shown.events.get(then.1).copied();
    assert!(matches!(stepped, Some(Entry::Missed(lost)) if lost > 5), "{stepped:?}");
}

#[test]
fn what_is_frozen_of_one_program_is_not_taken_for_another() {
    let mut bench = Bench::after(5);
    bench.press("3");
    let _ = bench.key(KeyCode::Enter);
    bench.press(",,");
    let hello = Hello { pid: 99, ..bench.hello() };
    let _ = bench.say(SourceEvent::Gone("it ended".to_owned()));
    assert!(!bench.model.is_outlived());
    let _ = bench.say(SourceEvent::Connected(hello));
    bench.source = SyntheticSource::new(Synthetic { superblocks: 5, ..Synthetic::default() });
    let _ = bench.source.poll(Duration::ZERO);
    bench.advance(2);
    assert!(bench.model.is_outlived() && bench.model.map.open.is_some(), "as it was frozen");
    bench.press("7k ");
    assert!(bench.model.map.open.is_none(), "its superblock is not one of the other's");
    assert_eq!(bench.model.stream.event, None);
}

#[test]
fn a_recording_has_no_rate_and_no_other_program() {
    let mut bench = Bench::after(2);
    bench.model.replay = true;
    for key in ["+", "-", "p", "r"] {
        assert_eq!(bench.ask(key).rate_hz, None);
        assert!(bench.model.notice.is_some() && !bench.model.picker.open, "{key}");
    }
}

#[test]
fn without_a_baseline_the_present_becomes_it() {
    let mut bench = Bench::after(3);
    bench.press("D");
    assert_eq!(bench.model.before().map(|before| before.picture.states), Some(3));
    let mut early = Bench::new();
    early.press("bD,.<>");
    assert!(early.model.before().is_none());
}

#[test]
fn nothing_can_be_frozen_before_there_is_a_state() {
    let mut bench = Bench::new();
    bench.press(" ");
    assert!(bench.model.frozen.is_none());
}

#[test]
fn the_last_state_stays_when_the_process_is_gone() {
    let mut bench = Bench::after(2);
    assert!(bench.say(SourceEvent::Gone("the process ended".to_owned())).redraw);
    assert_eq!(bench.model.connection, Connection::Gone("the process ended".to_owned()));
    assert_eq!(bench.model.shown().expect("the last").picture.states, 2);
    assert_eq!(bench.ask("q").quit, Some(ExitStatus::Done));
}

#[test]
fn silence_is_shown_until_any_frame_comes_and_not_after_the_end() {
    let mut bench = Bench::after(2);
    let silent = |seconds| SourceEvent::Silent { seconds, stopped: true };
    assert!(bench.say(silent(5)).redraw);
    assert_eq!(bench.model.silence, Some(Silence { seconds: 5, stopped: true }));
    assert!(!bench.say(SourceEvent::Quiet).redraw);
    let _ = bench.say(SourceEvent::Process { pid: 1, rss_bytes: None });
    assert!(bench.model.silence.is_some(), "that is our own system's word");
    assert!(bench.say(SourceEvent::Frame(Kind(0x7fff), Vec::new())).redraw);
    assert_eq!(bench.model.silence, None);
    let _ = bench.say(silent(2));
    let _ = bench.say(SourceEvent::Gone("the process ended".to_owned()));
    assert_eq!(bench.model.silence, None);
    assert!(!bench.say(silent(3)).redraw);
}

#[test]
fn frames_before_a_greeting_or_after_the_end_change_nothing() {
    let mut bench = Bench::new();
    let frame = SourceEvent::Frame(Kind::GAP, vec![0; 8]);
    assert!(!bench.say(frame.clone()).redraw);
    bench.advance(1);
    let _ = bench.say(SourceEvent::Gone(String::new()));
    assert!(!bench.say(frame).redraw);
    assert_eq!(bench.live().lost, 0);
}

#[test]
fn another_major_version_is_refused_by_name() {
    let bench = Bench::after(1);
    let mut hello = bench.hello();
    (hello.major, hello.allocator_version) = (7, "9.9.9".to_owned());
    let mut fresh = Bench::new();
    let _ = fresh.say(SourceEvent::Connected(hello));
    let Connection::Failed(reason) = &fresh.model.connection else { panic!("refused") };
    assert!(reason.contains("protocol 7.3") && reason.contains("speaks 1.3"), "{reason}");
    assert!(fresh.model.live.is_none());
    assert_eq!(fresh.ask("q").quit, Some(ExitStatus::NeverConnected));
}

#[test]
fn a_malformed_frame_fails_the_connection_and_keeps_the_state() {
    let mut bench = Bench::after(1);
    let _ = bench.say(SourceEvent::Frame(Kind::STATE_END, vec![1, 2, 3]));
    assert!(matches!(bench.model.connection, Connection::Failed(_)));
    assert!(bench.model.shown().is_some());
    let hello = bench.hello();
    let _ = bench.say(SourceEvent::Connected(hello));
    assert_eq!(bench.model.connection, Connection::Connecting);
    assert!(bench.model.shown().is_none(), "nothing of the old connection holds");
}

#[test]
fn stepping_freezes_first_and_then_takes_newer_events_one_by_one() {
    let mut bench = Bench::after(4);
    bench.press("5.");
    let frozen_at = bench.live().events.end();
    assert_eq!(bench.model.states.event, Some(frozen_at - 1));
    bench.press("..");
    assert_eq!(bench.model.states.event, Some(frozen_at - 1), "nothing newer yet");
    bench.advance(3);
    bench.press("..");
    assert_eq!(bench.model.states.event, Some(frozen_at + 1));
    let frozen = bench.model.frozen.as_ref().expect("frozen");
    assert_eq!((frozen.steps, frozen.stepped.iter().sum::<i64>()), (2, 0));
    assert_eq!(frozen.data.events.get(frozen_at), bench.live().events.get(frozen_at));
    bench.press(",,,");
    assert_eq!(bench.model.states.event, Some(frozen_at - 2));
    let edge = bench.model.event_edge().expect("a transition");
    assert_eq!(bench.model.figure(), crate::tui::figure::Figure::Edge(edge), "x explains it");
    bench.press(" ");
    assert_eq!(bench.model.states.event, None, "follows the newest again");
}

#[test]
fn a_picked_edge_restricts_the_steps() {
    let mut bench = Bench::after(6);
    bench.press("5");
    for edge in Edge::ALL {
        bench.press("n");
        assert_eq!(bench.model.states.edge, Some(edge));
    }
    bench.press("n");
    assert_eq!(bench.model.states.edge, None);
    let _ = bench.key(KeyCode::Left);
    bench.press("nnnn,,");
    let edge = bench.model.states.edge.expect("picked");
    let event = bench.model.states.event.expect("an event");
    let log = &bench.model.shown().expect("frozen").events;
    let Some(Entry::Transition(record)) = log.get(event) else { panic!("a transition") };
    assert_eq!(Edge::between(record.from, record.to), Some(edge));
    assert!(
        log.seek(event, true, |entry| entry.matches(Some(edge))).is_some(),
        "stepped back twice"
    );
    let _ = bench.key(KeyCode::Esc);
    assert_eq!(bench.model.states.edge, None);
}

#[test]
fn one_picked_edge_restricts_the_logs_of_states_and_events() {
    let mut bench = Bench::after(6);
    bench.press("7n");
    assert_eq!(bench.model.states.edge, Some(Edge::ALL[0]));
    bench.press("n/to:full");
    let _ = bench.key(KeyCode::Enter);
    let edge = Edge::ActiveFull;
    assert_eq!(bench.model.states.edge, Some(edge));
    bench.press("kkk");
    let event = |bench: &Bench| {
        let number = bench.model.stream.event.expect("an event");
        bench.live().events.get(number).copied()
    };
    let Some(Entry::Transition(record)) = event(&bench) else { panic!("a transition") };
    assert_eq!(Edge::between(record.from, record.to), Some(edge));
    let _ = bench.key(KeyCode::Esc);
    assert_eq!((bench.model.stream.filter.text(), bench.model.states.edge), ("", Some(edge)));
    let _ = bench.key(KeyCode::Left);
    assert_eq!(bench.model.states.edge, Some(Edge::ALL[0]));
    let _ = bench.key(KeyCode::Esc);
    assert_eq!(bench.model.states.edge, None);
    assert!(bench.model.stream.event.is_some(), "undone one after the other");

    bench.press("5nn");
    let _ = bench.key(KeyCode::Enter);
    assert_eq!((bench.model.screen, bench.model.states.edge), (Screen::Events, Some(edge)));
}

#[test]
fn enter_on_states_opens_the_event_the_edge_or_the_log() {
    let mut bench = Bench::after(6);
    bench.press("5");
    let _ = bench.key(KeyCode::Enter);
    assert!(bench.model.states.zoomed && bench.model.screen == Screen::States);
    bench.press("kk");
    let event = bench.model.states.event.expect("an event");
    let Some(Entry::Transition(record)) = bench.live().events.get(event).copied() else {
        panic!("a transition")
    };
    let asked = bench.key(KeyCode::Enter);
    assert_eq!(asked.superblock, Some(record.superblock));
    assert_eq!(bench.model.screen, Screen::Map);
}

#[test]
fn events_of_a_new_connection_do_not_follow_those_of_a_frozen_one() {
    let mut bench = Bench::after(3);
    bench.press("5.");
    let before = bench.model.states.event;
    let hello = bench.hello();
    let _ = bench.say(SourceEvent::Connected(hello));
    bench.source =
        SyntheticSource::new(Synthetic { superblocks: 60, seed: 9, ..Synthetic::default() });
    bench.advance(4);
    bench.press("...");
    assert_eq!(bench.model.states.event, before);
    assert_eq!(bench.model.behind(), 0);
}

#[test]
fn the_cursor_stays_on_its_class_when_the_order_changes() {
    let mut bench = Bench::after(3);
    bench.press("2jjj");
    let class = bench.rows()[3].figures.record.class;
    assert_eq!(bench.model.classes.selected, Some(class));
    bench.press("hhs");
    let column = bench.model.classes.sorted_by;
    assert_eq!((column, bench.model.classes.selected), (Column::Live, Some(class)));
    let values: Vec<_> = bench.rows().iter().filter_map(|row| column.value(row)).collect();
    assert!(values.is_sorted_by(|a, b| a >= b));
    bench.press("i");
    let values: Vec<_> = bench.rows().iter().filter_map(|row| column.value(row)).collect();
    assert!(values.is_sorted());
    bench.press("s");
    assert_eq!(bench.model.classes.sorted_by, Column::Utilisation, "again: the next column");
    bench.press("gG");
    let last = bench.rows().last().map(|row| row.figures.record.class);
    assert_eq!(bench.model.classes.selected, last);
}

/// Feeds events until one more state is complete; what is asked for then.
fn next_state(bench: &mut Bench) -> Option<u32> {
    let before = bench.live().picture.states;
    loop {
        let event = bench.source.poll(Duration::ZERO);
        let commands = bench.say(event);
        if bench.live().picture.states > before {
            return commands.superblock;
        }
        assert_eq!(commands.superblock, None, "between states nothing is asked for");
    }
}

/// Lets the source answer.
fn answer(bench: &mut Bench, id: u32) {
    bench.source.request_superblock(id);
    // What is left of the state comes first.
    for _ in 0..3 {
        if bench.live().detail.as_ref().is_some_and(|detail| detail.id == id) {
            break;
        }
        let event = bench.source.poll(Duration::ZERO);
        let _ = bench.say(event);
    }
}

#[test]
fn a_close_look_is_renewed_with_every_state_while_it_is_seen_and_live() {
    let mut bench = Bench::after(2);
    bench.press("3");
    assert_eq!(next_state(&mut bench), None, "nothing is open");
    let asked = bench.key(KeyCode::Enter).superblock;
    let id = asked.expect("asked for");
    assert_eq!(next_state(&mut bench), None, "one at a time");
    assert_eq!(next_state(&mut bench), None, "one at a time, however long it takes");
    answer(&mut bench, id);
    assert!(bench.live().detail.is_some());
    assert_eq!(next_state(&mut bench), Some(id), "answered: the next state asks again");
    assert_eq!(next_state(&mut bench), None);

    bench.press("1");
    answer(&mut bench, id);
    assert_eq!(next_state(&mut bench), None, "nobody looks");
    bench.press("3 ");
    assert_eq!(next_state(&mut bench), None, "frozen");
    bench.press(" ");
    bench.model.replay = true;
    assert_eq!(next_state(&mut bench), None, "a recording cannot be asked");
    bench.model.replay = false;
    // The old look is still the last one, and the answer to what was asked for is still to come.
    bench.model.live.as_mut().expect("live").detail = None;
    assert_eq!(next_state(&mut bench), Some(id));
    let _ = bench.key(KeyCode::Esc);
    assert_eq!(next_state(&mut bench), None, "closed");
}

#[test]
fn a_close_look_survives_a_new_connection() {
    let mut bench = Bench::after(2);
    bench.press("3");
    let id = bench.key(KeyCode::Enter).superblock.expect("asked for");
    bench.source = SyntheticSource::new(Synthetic { superblocks: 60, ..Synthetic::default() });
    let greeting = bench.source.poll(Duration::ZERO);
    let _ = bench.say(greeting);
    assert_eq!(next_state(&mut bench), Some(id), "the answer went with the old connection");
}

#[test]
fn the_filter_is_typed_kept_and_cleared() {
    let mut bench = Bench::after(3);
    let all = bench.rows().len();
    bench.press("2/kib");
    assert!(bench.model.classes.filter.typing);
    let some = bench.rows().len();
    assert!(0 < some && some < all);
    bench.press("q");
    assert!(bench.rows().is_empty(), "letters are letters while typing");
    let _ = bench.key(KeyCode::Backspace);
    let _ = bench.key(KeyCode::Enter);
    bench.press("jj");
    assert_eq!((bench.rows().len(), bench.model.classes.filter.text()), (some, "kib"));
    let _ = bench.key(KeyCode::Esc);
    assert_eq!(bench.rows().len(), all);
}

#[test]
fn overlays_open_scroll_and_close() {
    let mut bench = Bench::after(1);
    let _ = update(&mut bench.model, Message::Resize(80, 15));
    bench.press("?jj");
    assert_eq!(bench.model.overlay, Overlay::Help(2));
    bench.press("G");
    let Overlay::Help(bottom) = bench.model.overlay else { panic!("still open") };
    bench.press("jjjjjjjj");
    assert_eq!(bench.model.overlay, Overlay::Help(bottom));
    let _ = bench.key(KeyCode::Esc);
    assert_eq!(bench.model.overlay, Overlay::None);
    bench.press("ljx");
    assert_eq!(bench.model.overview.pane, Pane::Fragmentation);
    assert!(matches!(bench.model.overlay, Overlay::Explain(crate::tui::figure::Figure::Waste, 0)));
    bench.press("2");
    assert_eq!((bench.model.screen, bench.model.overlay), (Screen::Classes, Overlay::None));
}

#[test]
fn rates_double_and_halve_within_bounds() {
    let mut bench = Bench::after(1);
    assert_eq!(bench.ask("+").rate_hz, Some(8.0));
    assert_eq!(bench.ask("++++").rate_hz, None, "the bound was reached before");
    assert_eq!(bench.model.rate_hz.to_bits(), 50.0_f64.to_bits());
    assert_eq!(bench.ask("-").rate_hz, Some(25.0));
    bench.press("----------");
    assert_eq!(bench.model.rate_hz.to_bits(), 0.1_f64.to_bits());
    bench.model.rate_hz = 0.05;
    assert_eq!(bench.ask("-").rate_hz, None, "slower is never faster");
    bench.model.rate_hz = 80.0;
    assert_eq!(bench.ask("+").rate_hz, None, "faster is never slower");
}

#[test]
fn tab_cycles_and_the_mouse_reaches_tabs_rows_and_headings() {
    let mut bench = Bench::after(2);
    let click = |bench: &mut Bench, column, row| {
        let kind = MouseEventKind::Down(MouseButton::Left);
        let modifiers = KeyModifiers::NONE;
        update(&mut bench.model, Message::Mouse(MouseEvent { kind, column, row, modifiers }))
    };
    for screen in Screen::ALL.into_iter().cycle().skip(1).take(Screen::ALL.len()) {
        let _ = bench.key(KeyCode::Tab);
        assert_eq!(bench.model.screen, screen);
    }
    assert!(click(&mut bench, 16, 1).redraw);
    assert_eq!(bench.model.screen, Screen::Classes);
    assert!(click(&mut bench, 9, 5).redraw);
    assert_eq!(bench.model.classes.selected, Some(bench.rows()[1].figures.record.class));
    assert!(click(&mut bench, 9, 3).redraw);
    assert_eq!(bench.model.classes.sorted_by, Column::Block);
    let descending = bench.model.classes.descending;
    let _ = click(&mut bench, 9, 3);
    assert_ne!(bench.model.classes.descending, descending);
    assert!(!click(&mut bench, 119, 35).redraw);
    assert!(!click(&mut bench, 500, 500).redraw);
}

#[test]
fn released_keys_ask_for_nothing() {
    let mut bench = Bench::after(1);
    let mut key = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
    key.kind = KeyEventKind::Release;
    assert_eq!(update(&mut bench.model, Message::Key(key)), Commands::default());
}
