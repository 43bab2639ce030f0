//! Ways through a scenario.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lfalloc::platform::{Class, Heap, Request};

use crate::machine::{Hook, Loom, Plain, Shuttle};
use crate::scenario::{Actor, Scenario, Step, judge};

/// What an exploration was.
#[derive(Clone, Copy, Debug)]
pub struct Explored {
    /// Executions, each with its judgement.
    pub executions: u64,
    /// How long it took.
    pub time: Duration,
}

fn timed(body: impl FnOnce(Arc<AtomicU64>)) -> Explored {
    let executions = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    body(Arc::clone(&executions));
    Explored { executions: executions.load(Ordering::Relaxed), time: start.elapsed() }
}

/// Every interleaving with at most `preemptions` preemptions, and every value that a relaxed or acquiring load may
/// return, under loom.
#[must_use]
pub fn loom<const MUTANT: usize>(scenario: Scenario, preemptions: usize) -> Explored {
    interleaved(preemptions, move || scenario.run::<Loom, MUTANT>())
}

/// The same of any `execution`.
#[must_use]
pub fn interleaved(preemptions: usize, execution: impl Fn() + Send + Sync + 'static) -> Explored {
    timed(|executions| {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.max_branches = 20_000;
        builder.check(move || {
            executions.fetch_add(1, Ordering::Relaxed);
            execution();
        });
    })
}

fn shuttle_with<S>(scheduler: S, execution: impl Fn() + Send + Sync + 'static) -> Explored
where
    S: shuttle::scheduler::Scheduler + 'static,
{
    timed(|executions| {
        let mut config = shuttle::Config::new();
        config.stack_size = 0x20000;
        config.failure_persistence = shuttle::FailurePersistence::Print;
        shuttle::Runner::new(scheduler, config).run(move || {
            executions.fetch_add(1, Ordering::Relaxed);
            execution();
        });
    })
}

/// `executions` random schedules; the same for the same `seed`.
#[must_use]
pub fn random<const MUTANT: usize>(scenario: Scenario, executions: usize, seed: u64) -> Explored {
    random_of(executions, seed, move || scenario.run::<Shuttle, MUTANT>())
}

/// The same of any `execution`.
#[must_use]
pub fn random_of(
    executions: usize,
    seed: u64,
    execution: impl Fn() + Send + Sync + 'static,
) -> Explored {
    let scheduler = shuttle::scheduler::RandomScheduler::new_from_seed(seed, executions);
    shuttle_with(scheduler, execution)
}

/// `executions` schedules of probabilistic concurrency testing (PCT) with `depth` priority changes.
#[must_use]
pub fn pct<const MUTANT: usize>(
    scenario: Scenario,
    executions: usize,
    depth: usize,
    seed: u64,
) -> Explored {
    let scheduler = shuttle::scheduler::PctScheduler::new_from_seed(seed, depth, executions);
    shuttle_with(scheduler, move || scenario.run::<Shuttle, MUTANT>())
}

/// Counts the points that a thread passes, and does something at one of them.
struct Trap {
    passed: AtomicUsize,
    at: usize,
}

impl Trap {
    fn hook(at: usize, action: impl Fn() + Send + Sync + 'static) -> (Arc<Self>, Hook) {
        let trap = Arc::new(Self { passed: AtomicUsize::new(0), at });
        let this = Arc::clone(&trap);
        let hook = Box::new(move |_: &'static str| {
            if this.passed.fetch_add(1, Ordering::Relaxed) == this.at {
                action();
            }
        });
        (trap, hook)
    }

    fn reached(&self) -> bool {
        self.passed.load(Ordering::Relaxed) > self.at
    }
}

/// The threads that interrupt, with what they do.
type Others<const MUTANT: usize> = Vec<(Actor<Plain, MUTANT>, &'static [Step])>;

/// The first thread, interrupted by all the others in turn at one of its points: at each of them once, as by a
/// signal's handler.
#[must_use]
pub fn interrupted<const MUTANT: usize>(scenario: Scenario) -> Explored {
    timed(|executions| {
        let mut at = 0;
        loop {
            executions.fetch_add(1, Ordering::Relaxed);
            let others = Arc::new(std::sync::Mutex::new(Others::<MUTANT>::new()));
            let inner = Arc::clone(&others);
            let (trap, hook) = Trap::hook(at, move || {
                if let Ok(mut others) = inner.lock() {
                    for (actor, steps) in &mut *others {
                        actor.play(steps);
                        crate::machine::use_heap(0);
                    }
                }
            });
            let (core, mut actors) = scenario.prepare::<Plain, MUTANT>(Some(hook));
            let mut first = actors.remove(0);
            if let Ok(mut others) = others.lock() {
                others.extend(actors.into_iter().zip(scenario.threads[1..].iter().copied()));
            }
            first.play(scenario.threads[0]);
            let mut held = first.into_held();
            // The hook holds the actors, and the machine the hook.
            if let Ok(mut others) = others.lock() {
                for (actor, _) in others.drain(..) {
                    held.append(&mut actor.into_held());
                }
            }
            crate::machine::unhooked(|| judge(&core, held));
            if !trap.reached() {
                return;
            }
            at += 1;
        }
    })
}

/// The first thread, stopped for ever at one of its points, at each of them once; the others then do all they have
/// to do, and what they can reach drains. At most one superblock may be lost.
///
/// # Panics
/// If more is lost, or the oracle finds another fault.
#[must_use]
pub fn stopped<const MUTANT: usize>(scenario: Scenario) -> Explored {
    timed(|executions| {
        let mut at = 0;
        loop {
            executions.fetch_add(1, Ordering::Relaxed);
            let (report, reports) = std::sync::mpsc::channel();
            let stop = report.clone();
            let (_, hook) = Trap::hook(at, move || {
                let _ = stop.send(None);
                loop {
                    std::thread::park();
                }
            });
            let (core, mut actors) = scenario.prepare::<Plain, MUTANT>(Some(hook));
            let mut first = actors.remove(0);
            let steps = scenario.threads[0];
            // Never joined if it stops: it ends with the process.
            std::thread::spawn(move || {
                first.play(steps);
                let _ = report.send(Some(first.into_held()));
            });
            let Ok(ended) = reports.recv() else { panic!("the first thread failed") };
            let stopped = ended.is_none();
            let mut held = ended.unwrap_or_default();
            crate::machine::unhooked(|| {
                for (mut actor, steps) in actors.into_iter().zip(scenario.threads[1..].iter()) {
                    actor.play(steps);
                    held.append(&mut actor.into_held());
                }
                if stopped {
                    drain_after_stop(&core);
                } else {
                    judge(&core, held);
                }
            });
            if !stopped {
                return;
            }
            at += 1;
        }
    })
}

/// Drains what can be reached: no block twice, and nothing blocks. What is missing then is what the stopped thread
/// was about: at most one superblock, and the blocks of one batch.
fn drain_after_stop<const MUTANT: usize>(core: &crate::scenario::Subject<Plain, MUTANT>) {
    crate::machine::use_heap(0);
    let machine = core.platform();
    assert!(machine.held() <= 1, "one thread holds at most one superblock");
    while let Some(block) = core.malloc(Request { heap: Heap(0), class: Class(0), bytes: 1 }) {
        machine.own(Class(0), block);
    }
    let size = machine.size();
    if size.blocks.len() == 1 {
        let total = (size.superblocks * size.blocks[0]) as usize;
        let missing = total - machine.owned_blocks();
        let bound = size.blocks[0] as usize + LARGEST_BATCH;
        assert!(missing <= bound, "{missing} of {total} blocks are lost, not at most {bound}");
    }
}

/// Blocks of the largest batch in any scenario.
const LARGEST_BATCH: usize = 4;

/// Whether `exploration` finds a fault, and what it says.
pub fn fault(exploration: impl FnOnce()) -> Option<String> {
    let result = std::panic::catch_unwind(AssertUnwindSafe(exploration));
    result.err().map(|panic| {
        panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default()
    })
}
