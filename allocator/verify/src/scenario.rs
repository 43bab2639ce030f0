//! Races as data, and how they are run and judged.

use std::sync::Arc;

use lfalloc::Core;
use lfalloc::descriptor::Block;
use lfalloc::platform::{Class, Geometry, Heap, Request};

use crate::machine::{Atomics, Hook, Machine, Size, unhooked, use_heap};

/// One thing a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Allocates a block of a class.
    Malloc(u16),
    /// Allocates up to so many blocks of a class at once.
    Batch(u16, usize),
    /// Frees the block held longest, if any.
    Free,
    /// Frees the block held for the shortest time, if any.
    FreeNewest,
    /// Frees at once up to so many of the blocks held longest that are of one superblock.
    FreeBatch(usize),
    /// Takes the active superblock of a class out of this thread's heap.
    Purge(u16),
    /// Gives every retired superblock back to the system.
    Release,
    /// Decommits every retired superblock.
    Cool,
    /// Allocates blocks of a class until there is none left.
    Exhaust(u16),
    /// Uses another heap from now on.
    Heap(u16),
    /// In the set-up only: gives the block held longest to a thread.
    Give(usize),
}

/// A race.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// The machine.
    pub size: Size,
    /// Done before the threads start.
    pub setup: &'static [Step],
    /// What each thread does, on heap 0 unless it says otherwise.
    pub threads: &'static [&'static [Step]],
}

/// The core on a machine.
pub type Subject<A, const MUTANT: usize> = Arc<Core<Machine<A, MUTANT>>>;

/// A thread of a scenario, and the blocks it holds.
#[derive(Debug)]
pub struct Actor<A: Atomics, const MUTANT: usize> {
    core: Subject<A, MUTANT>,
    heap: u16,
    held: Vec<(Class, Block)>,
}

impl<A: Atomics, const MUTANT: usize> Actor<A, MUTANT> {
    /// An actor on heap 0.
    #[must_use]
    pub fn new(core: &Subject<A, MUTANT>) -> Self {
        Self { core: Arc::clone(core), heap: 0, held: Vec::new() }
    }

    /// The blocks it holds.
    #[must_use]
    pub fn into_held(mut self) -> Vec<(Class, Block)> {
        self.give_all()
    }

    /// The blocks it holds, which it holds no longer.
    pub fn give_all(&mut self) -> Vec<(Class, Block)> {
        std::mem::take(&mut self.held)
    }

    /// Does its steps in order.
    pub fn play(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(*step);
        }
    }

    /// Does one step.
    ///
    /// # Panics
    /// If the oracle finds a fault.
    pub fn step(&mut self, step: Step) {
        use_heap(self.heap);
        match step {
            Step::Malloc(class) => {
                let class = Class(class);
                if let Some(block) = self.core.malloc(self.request(class)) {
                    self.take(class, block);
                }
            }
            Step::Batch(class, count) => {
                let class = Class(class);
                let mut blocks = vec![Block::NOTHING; count];
                let count = self.core.malloc_batch(self.request(class), &mut blocks);
                for block in &blocks[..count] {
                    self.take(class, *block);
                }
            }
            Step::Free => {
                if !self.held.is_empty() {
                    self.free(0);
                }
            }
            Step::FreeNewest => {
                if let Some(newest) = self.held.len().checked_sub(1) {
                    self.free(newest);
                }
            }
            Step::FreeBatch(count) => self.free_batch(count),
            Step::Purge(class) => {
                self.core.purge_heap(Heap(self.heap), Class(class));
            }
            Step::Release => self.core.release_retired(Geometry(0)),
            Step::Cool => {
                self.core.cool_warm(Geometry(0), 0, u32::MAX);
            }
            Step::Exhaust(class) => {
                let class = Class(class);
                while let Some(block) = self.core.malloc(self.request(class)) {
                    self.take(class, block);
                }
            }
            Step::Heap(heap) => {
                self.heap = heap;
                use_heap(heap);
            }
            Step::Give(_) => {}
        }
    }

    fn request(&self, class: Class) -> Request {
        Request { heap: Heap(self.heap), class, bytes: 1 }
    }

    fn take(&mut self, class: Class, block: Block) {
        self.core.platform().own(class, block);
        self.held.push((class, block));
    }

    fn free(&mut self, place: usize) {
        let (class, block) = self.held.remove(place);
        self.core.platform().disown(block);
        self.core.free(block.superblock, class, block.index);
    }

    fn free_batch(&mut self, count: usize) {
        let Some(&(class, first)) = self.held.first() else {
            return;
        };
        let mut indices = Vec::new();
        self.held.retain(|(_, block)| {
            let chosen = block.superblock == first.superblock && indices.len() < count;
            if chosen {
                indices.push(block.index);
                self.core.platform().disown(*block);
            }
            !chosen
        });
        self.core.free_batch(first.superblock, class, &indices);
    }
}

impl Scenario {
    /// Makes the machine, does the set-up, and deals the blocks: the core and one actor for each thread.
    #[must_use]
    pub fn prepare<A: Atomics, const MUTANT: usize>(
        &self,
        hook: Option<Hook>,
    ) -> (Subject<A, MUTANT>, Vec<Actor<A, MUTANT>>) {
        let core = Arc::new(Core::new(Machine::new(self.size, hook)));
        let mut actors: Vec<_> = self.threads.iter().map(|_| Actor::new(&core)).collect();
        unhooked(|| {
            let mut main = Actor::new(&core);
            for step in self.setup {
                if let Step::Give(thread) = step {
                    let block = main.held.remove(0);
                    actors[*thread].held.push(block);
                } else {
                    main.step(*step);
                }
            }
            // What was not dealt stays with the first thread.
            actors[0].held.append(&mut main.held);
        });
        (core, actors)
    }

    /// One execution: set-up, the threads at once, and the judgement.
    pub fn run<A: Atomics, const MUTANT: usize>(&self) {
        let (core, actors) = self.prepare::<A, MUTANT>(None);
        let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
        let threads: Vec<_> = std::iter::zip(actors, self.threads)
            .map(|(mut actor, steps)| {
                let kept = Arc::clone(&kept);
                A::spawn(Box::new(move || {
                    actor.play(steps);
                    if let Ok(mut kept) = kept.lock() {
                        kept.append(&mut actor.held);
                    }
                }))
            })
            .collect();
        for join in threads {
            join();
        }
        let held = kept.lock().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default();
        judge(&core, held);
    }
}

/// The judgement: nothing is in hand, and the heap drains: every block that is not held comes out exactly once. Then
/// all of them are freed, and every block comes out again.
///
/// # Panics
/// If it does not.
pub fn judge<A: Atomics, const MUTANT: usize>(
    core: &Subject<A, MUTANT>,
    held: Vec<(Class, Block)>,
) {
    use_heap(0);
    assert_eq!(core.platform().held(), 0, "superblocks are in hand at rest");
    let mut held = held;
    // Superblocks of other classes must find their way to class 0.
    held.retain(|(class, block)| {
        if class.0 != 0 {
            give_up(core, *class, *block);
        }
        class.0 == 0
    });
    drain(core, &mut held);
    for (class, block) in held.drain(..) {
        give_up(core, class, block);
    }
    drain(core, &mut held);
}

/// Frees a block that somebody owned.
pub fn give_up<A: Atomics, const MUTANT: usize>(
    core: &Subject<A, MUTANT>,
    class: Class,
    block: Block,
) {
    core.platform().disown(block);
    core.free(block.superblock, class, block.index);
}

/// Allocates until nothing is left; with what is held already that must be every block there is.
fn drain<A: Atomics, const MUTANT: usize>(
    core: &Subject<A, MUTANT>,
    held: &mut Vec<(Class, Block)>,
) {
    let machine = core.platform();
    let size = machine.size();
    let total = (size.superblocks * size.blocks[0]) as usize;
    let before = held.len();
    while let Some(block) = core.malloc(Request { heap: Heap(0), class: Class(0), bytes: 1 }) {
        machine.own(Class(0), block);
        held.push((Class(0), block));
        assert!(held.len() <= total, "more blocks came out than there are");
    }
    assert_eq!(
        held.len(),
        total,
        "{} of {total} blocks never came out: {before} were held",
        total - held.len()
    );
}
