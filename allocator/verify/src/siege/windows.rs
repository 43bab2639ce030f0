//! The measurement: the same piece of work, without clients and under siege, in turn, in one process.
//!
//! The target has one processor for its threads and its agent together, the clients have another: what the agent uses is
//! missed by the work. What clients do to the other processor slows the work, too, where both are threads of one core or
//! share a cache; so in the windows without clients the same clients besiege another program, a *decoy* that has
//! nothing to do. All that the two kinds of windows differ in is whose agent is besieged. Two ratios are taken of
//! each pair:
//!
//! | ratio | of |
//! |---|---|
//! | by processor time | the processor time of the threads at work with the decoy besieged / the same under siege, less the agent's part of the processor |
//! | by the clock | time with the decoy besieged / time under siege |
//!
//! Judged are the medians over all pairs. Where others used the target's processor, too, both scatter: then the upper quartile of
//! the first, and not the clock, which tells of the others.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::clients::{Field, Siege, Tally};
use super::system::{Held, processors};
use super::target::{Start, Target, Work};
use super::viewer::{Viewer, is_served};

/// The least that a siege may leave of the throughput.
pub const LEAST_RATIO: f64 = 0.95;
/// How much more resident memory a target may have; what it keeps of its own freed blocks differs by some of it.
pub const MOST_RESIDENT: u64 = 16 << 20;
/// How much more of the allocator's own memory, of which the agent's is a part, may be left of a siege.
pub const MOST_LEFT: u64 = 2 << 20;
/// Connections that an agent holds at once, and those that it is just sending away.
const MOST_DESCRIPTORS: usize = 24 + 2;
/// The part of its processor that a target has where nobody else uses it.
const QUIET: f64 = 0.9;
/// How often the target is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How long it may take until nothing is left of a siege: silent clients have 5 s to greet.
const RECOVERY: Duration = Duration::from_secs(12);
/// How often the viewer that stays has its updates.
const UPDATES: Duration = Duration::from_millis(50);

/// How a siege is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Windows without clients, and as many under siege.
    pub pairs: usize,
    /// How long a window is, about.
    pub window: Duration,
    /// Whether the ratios are judged.
    pub judges_speed: bool,
}

/// What a siege came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Connections, bytes sent and bytes received by the clients.
    pub clients: [u64; 3],
    /// Ratio by the clock: lower quartile, median, upper quartile.
    pub clock: [f64; 3],
    /// Ratio by processor time, the same.
    pub processor: [f64; 3],
    /// The target's part of its processor, without clients.
    pub own: f64,
    /// The agent's part of a processor, under siege.
    pub agent: f64,
    /// What the target had at most without clients, at most under siege, and afterwards.
    pub held: [Held; 3],
    /// The allocator's own memory before, at most under siege, and afterwards, agent included.
    pub metadata: [i64; 3],
    /// Updates that the viewer that stayed had in the window in which it had fewest.
    pub updates: u64,
    /// What is wrong.
    pub faults: Vec<String>,
}

/// Processors of the target and of the clients: one each, if there are two.
#[must_use]
pub fn places() -> (Option<usize>, Option<usize>) {
    match processors()[..] {
        [target, .., clients] => (Some(target), Some(clients)),
        _ => (None, None),
    }
}

/// Looks at a process until told to stop, and returns the most that it had.
fn watch(pid: u32, stop: &AtomicBool) -> Held {
    let mut most = Held::by(pid);
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(LOOK);
        most = most.most(Held::by(pid));
    }
    most
}

/// Follows a viewer's updates until told to stop: how many there were, and the most metadata that one told of.
fn follow(mut viewer: Viewer, stop: &AtomicBool) -> Result<(u64, i64), String> {
    viewer.subscribe(UPDATES)?;
    let (mut updates, mut metadata) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        metadata = viewer.state()?.end.parts.metadata.max(metadata);
        updates += 1;
    }
    Ok((updates, metadata))
}

/// What a window came to.
struct Window {
    work: Work,
    /// The most that the target had.
    most: Held,
    /// Of the viewer that stayed with who was besieged.
    followed: Result<(u64, i64), String>,
}

/// The target does `pieces` pieces of work while `siege` is laid to the agent at `field`, be it the target's or the decoy's.
fn window(
    target: &mut Target,
    pieces: u64,
    siege: &Siege,
    field: Field,
    over: &AtomicBool,
) -> io::Result<Window> {
    let pid = target.pid();
    let viewer = Viewer::attach(field.socket);
    over.store(false, Ordering::Relaxed);
    thread::scope(|scope| {
        let most = scope.spawn(|| watch(pid, over));
        let followed = scope.spawn(|| viewer.and_then(|viewer| follow(viewer, over)));
        let clients = scope.spawn(|| siege.lay(field));
        // The clients are there when the work begins.
        thread::sleep(Duration::from_millis(100));
        let work = target.work(pieces);
        over.store(true, Ordering::Relaxed);
        clients.join().map_err(|_| io::Error::other("a client panicked"))?;
        let followed = followed.join().unwrap_or_else(|_| Err("the viewer panicked".to_owned()));
        Ok(Window { work: work?, most: most.join().unwrap_or_default(), followed })
    })
}

/// The lower quartile, the median and the upper quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values.get(values.len() * quarter / 4).copied().unwrap_or(f64::NAN))
}

/// Waits until the agent has no more connections than before the siege, as long as that may take; returns what the target has.
fn recovered(pid: u32, before: &Held) -> Held {
    let deadline = Instant::now() + RECOVERY;
    loop {
        let held = Held::by(pid);
        if held.agent_descriptors <= before.agent_descriptors || Instant::now() > deadline {
            return held;
        }
        thread::sleep(LOOK);
    }
}

/// Lays a siege to a new target and measures it.
///
/// # Errors
/// The target cannot be started, or ends.
pub fn measure(siege: &Siege, plan: &Plan, program: &Path, library: &Path) -> io::Result<Outcome> {
    let (own, others) = places();
    let mut target = Start { program, library, agent: "1", processor: own }.start()?;
    let decoy = Start { program, library, agent: "1", processor: others }.start()?;
    let pid = target.pid();
    let no_socket = || io::Error::other("the target has no socket");
    let socket = target.socket().ok_or_else(no_socket)?;
    let elsewhere = decoy.socket().ok_or_else(no_socket)?;
    let mut outcome = Outcome::default();

    // As much work as takes a window; the first pieces warm up.
    target.work(2)?;
    let trial = target.work(4)?;
    let pieces = (plan.window.as_nanos() as u64 * 4 / trial.wall_ns.max(1)).max(1);
    let expected = target.work(pieces)?;

    match is_served(&socket, pid) {
        Ok(state) => outcome.metadata[0] = state.end.parts.metadata,
        Err(error) => outcome.faults.push(format!("before: {error}")),
    }
    let (over, tally, uncounted) = (AtomicBool::new(false), Tally::default(), Tally::default());
    let field = Field { socket: &socket, program, stop: &over, tally: &tally };
    let away = Field { socket: &elsewhere, tally: &uncounted, ..field };
    let [mut by_clock, mut by_processor, mut agent, mut own] = [const { Vec::new() }; 4];
    outcome.updates = u64::MAX;
    for _ in 0..plan.pairs {
        let without = window(&mut target, pieces, siege, away, &over)?;
        outcome.held[0] = outcome.held[0].most(without.most);
        let (began, before) = (Instant::now(), Held::by(pid).agent_cpu_ns);
        let under = window(&mut target, pieces, siege, field, &over)?;
        let agent_ns = Held::by(pid).agent_cpu_ns - before;
        let part = agent_ns as f64 / began.elapsed().as_nanos() as f64;
        outcome.held[1] = outcome.held[1].most(under.most);
        match under.followed {
            Ok((updates, metadata)) => {
                outcome.updates = outcome.updates.min(updates);
                outcome.metadata[1] = outcome.metadata[1].max(metadata);
            }
            Err(error) => outcome.faults.push(format!("the viewer that stays: {error}")),
        }
        let (without, under) = (without.work, under.work);
        agent.push(part);
        own.push(without.process_ns as f64 / without.wall_ns as f64);
        by_clock.push(without.wall_ns as f64 / under.wall_ns as f64);
        by_processor.push(without.workers_ns as f64 / under.workers_ns as f64 * (1.0 - part));
        for work in [without, under] {
            if (work.sum, work.damaged) != (expected.sum, 0) {
                outcome.faults.push(format!("the results changed: {expected} and {work}"));
            }
        }
        // Nothing of these clients is in the next window without any.
        recovered(pid, &outcome.held[0]);
        eprint!(".");
    }
    outcome.clock = quartiles(by_clock);
    outcome.processor = quartiles(by_processor);
    [_, outcome.agent, _] = quartiles(agent);
    [_, outcome.own, _] = quartiles(own);
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    outcome.clients = [of(&tally.connections), of(&tally.sent), of(&tally.received)];
    outcome.held[2] = recovered(pid, &outcome.held[0]);
    match is_served(&socket, pid) {
        Ok(state) => outcome.metadata[2] = state.end.parts.metadata,
        Err(error) => outcome.faults.push(format!("afterwards: {error}")),
    }
    outcome.judge(plan);
    if !target.end()? {
        outcome.faults.push("the target did not end well".to_owned());
    }
    Ok(outcome)
}

impl Outcome {
    fn judge(&mut self, plan: &Plan) {
        let [calm, siege, after] = self.held;
        let mut must = |holds: bool, what: String| {
            if !holds {
                self.faults.push(what);
            }
        };
        if plan.judges_speed {
            let ([_, clock, _], [_, median, upper]) = (self.clock, self.processor);
            let is_quiet = self.own >= QUIET;
            let judged = if is_quiet { median } else { upper };
            must(judged >= LEAST_RATIO, format!("by processor time {:.3?}", self.processor));
            must(clock >= LEAST_RATIO || !is_quiet, format!("by the clock {:.3?}", self.clock));
        }
        must(self.updates > 0, "the viewer that stays had no update in a window".to_owned());
        must(
            siege.resident <= calm.resident + MOST_RESIDENT,
            format!("{} bytes resident under siege, {} without", siege.resident, calm.resident),
        );
        must(
            after.resident <= calm.resident + MOST_RESIDENT,
            format!("{} bytes resident afterwards, {} before", after.resident, calm.resident),
        );
        let [first, at_most, at_last] = self.metadata;
        must(
            at_most <= first + MOST_RESIDENT.cast_signed()
                && at_last <= first + MOST_LEFT.cast_signed(),
            format!("metadata: {first}, {at_most}, {at_last} bytes"),
        );
        must(
            siege.agent_descriptors <= calm.agent_descriptors + MOST_DESCRIPTORS,
            format!("{} descriptors of the agent", siege.agent_descriptors),
        );
        must(
            (after.descriptors, after.agent_descriptors, siege.descriptors)
                == (calm.descriptors, calm.agent_descriptors, calm.descriptors),
            format!("descriptors: {calm:?}, {siege:?}, {after:?}"),
        );
        must(
            siege.threads <= calm.threads && after.threads <= calm.threads,
            format!("threads: {calm:?}, {siege:?}, {after:?}"),
        );
    }
}
