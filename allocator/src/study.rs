//! The algorithm by hand: for demonstrations, tests, and people who want to see one operation interrupt another.
//!
//! [`Study`] works on the allocator of this process, on a heap of the caller's choice instead of the processor's.
//! With [`Study::with_hook`] other operations run at a named point *inside* a malloc or free, just where a signal's
//! handler could: what needs two threads and luck elsewhere happens here every time.

use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;

use crate::Core;
use crate::decay;
use crate::descriptor::{Block, Descriptor};
use crate::global_alloc::{address, batch, locate};
use crate::live::{HEAP_COUNT, Live};
use crate::page_map::{Entry, lookup};
use crate::partial::PartialLists;
use crate::platform::{
    Class, Counter, Geometry, Heap, MappedRun, Platform, Request, Reserve, Shape, SuperblockId,
    Transition,
};
use crate::size_class::class_of;
use crate::superblock::RetiredLists;

/// Ends an interval now, and does what otherwise slow paths do by and by when its time has come (half a second to a second):
/// gives back half of what depot and cache of large blocks have kept all the time since the last one ended, and EMPTY
/// superblocks down to as many as were taken since the last but one.
pub fn end_interval() {
    decay::end_now();
}

/// A heap of the allocator of this process, to be worked on by hand.
pub struct Study<'h> {
    core: Core<Hooked<'h>>,
    heap: Heap,
}

impl core::fmt::Debug for Study<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Study").field("heap", &self.heap).finish_non_exhaustive()
    }
}

impl Study<'static> {
    /// Works on heap `heap`, modulo [`crate::observe::HEAPS_PER_CLASS`]. Processors use the lowest heaps.
    #[must_use]
    pub fn on_heap(heap: usize) -> Self {
        Self::with_hook(heap, &|_| {})
    }
}

impl<'h> Study<'h> {
    /// As [`Study::on_heap`]; calls `hook` with the name of every point that an operation passes.
    ///
    /// The hook runs inside the operation, and may do anything, other operations included. It is not called for the
    /// points of operations that it starts through *this* value.
    #[must_use]
    pub fn with_hook(heap: usize, hook: &'h dyn Fn(&'static str)) -> Self {
        let platform = Hooked { hook, inside: Cell::new(false) };
        Self { core: Core::new(platform), heap: Heap((heap % HEAP_COUNT) as u16) }
    }

    /// A block of at least `size` bytes (at most 128 KiB); `None` if there is no memory or `size` is too large.
    #[must_use]
    pub fn malloc(&self, size: usize) -> Option<NonNull<u8>> {
        let class = class_of(size)?;
        let request = Request { heap: self.heap, class, bytes: size as u32 };
        self.core.malloc(request).map(|block| address(class, block))
    }

    /// Fills the front of `blocks` from one superblock; returns how many.
    #[must_use]
    pub fn malloc_batch(&self, size: usize, blocks: &mut [Option<NonNull<u8>>]) -> usize {
        batch(&self.core, self.heap, size, blocks)
    }

    /// Frees a block of at most 128 KiB; `false` if it is none.
    ///
    /// # Safety
    /// A block of this allocator, not freed since, which nobody uses any more.
    #[must_use]
    pub unsafe fn free(&self, block: NonNull<u8>) -> bool {
        let Entry::Superblock(id) = lookup(block.addr().get()) else {
            return false;
        };
        let (class, index) = locate(id, block.addr().get());
        self.core.free(id, class, index);
        true
    }

    /// Frees up to [`crate::MAX_BATCH`] blocks of one superblock with one compare-and-swap; `false`, and nothing is
    /// freed, if they are more or not all of one superblock.
    ///
    /// # Safety
    /// As [`Study::free`] for each; none may be named twice.
    #[must_use]
    pub unsafe fn free_batch(&self, blocks: &[NonNull<u8>]) -> bool {
        let mut indices = [0; crate::MAX_BATCH];
        let (Some(first), true) = (blocks.first(), blocks.len() <= indices.len()) else {
            return false;
        };
        let Entry::Superblock(id) = lookup(first.addr().get()) else {
            return false;
        };
        let mut class = Class(0);
        for (index, block) in indices.iter_mut().zip(blocks) {
            if lookup(block.addr().get()) != Entry::Superblock(id) {
                return false;
            }
            (class, *index) = locate(id, block.addr().get());
        }
        self.core.free_batch(id, class, &indices[..blocks.len()]);
        true
    }

    /// Takes the active superblock of blocks of `size` bytes out of this heap; whether there was one.
    pub fn purge(&self, size: usize) -> bool {
        class_of(size).is_some_and(|class| self.core.purge_heap(self.heap, class))
    }

    /// Number of the superblock that `block` lies in.
    #[must_use]
    pub fn superblock_of(&self, block: NonNull<u8>) -> Option<u32> {
        match lookup(block.addr().get()) {
            Entry::Superblock(id) => Some(id.0),
            _ => None,
        }
    }
}

/// The platform whose words the hooked one uses.
static LIVE: Live = Live;

/// The shipped platform, with a hook at its points.
struct Hooked<'h> {
    hook: &'h dyn Fn(&'static str),
    inside: Cell<bool>,
}

impl Platform for Hooked<'_> {
    type Word = AtomicU64;

    fn point(&self, name: &'static str) {
        if !self.inside.replace(true) {
            (self.hook)(name);
            self.inside.set(false);
        }
    }

    fn shape(&self, class: Class) -> Shape {
        Live.shape(class)
    }
    fn geometries(&self) -> u8 {
        Live.geometries()
    }
    fn classes(&self) -> u16 {
        Live.classes()
    }
    fn heaps(&self) -> u16 {
        Live.heaps()
    }
    fn current_heap(&self) -> Heap {
        Live.current_heap()
    }
    fn active(&self, heap: Heap, class: Class) -> &AtomicU64 {
        LIVE.active(heap, class)
    }
    fn partial(&self, class: Class) -> &PartialLists<AtomicU64> {
        LIVE.partial(class)
    }
    fn retired(&self, geometry: Geometry) -> &RetiredLists<AtomicU64> {
        LIVE.retired(geometry)
    }
    fn descriptor(&self, id: SuperblockId) -> &Descriptor<AtomicU64> {
        LIVE.descriptor(id)
    }
    fn link(
        &self,
        id: SuperblockId,
        descriptor: &Descriptor<AtomicU64>,
        class: Class,
        block: u32,
    ) -> u32 {
        Live.link(id, descriptor, class, block)
    }
    fn set_link(
        &self,
        id: SuperblockId,
        descriptor: &Descriptor<AtomicU64>,
        class: Class,
        block: u32,
        next: u32,
    ) {
        Live.set_link(id, descriptor, class, block, next);
    }
    fn took(&self, class: Class, blocks: &[Block]) {
        Live.took(class, blocks);
    }
    fn gives(
        &self,
        id: SuperblockId,
        descriptor: &Descriptor<AtomicU64>,
        class: Class,
        blocks: &[u32],
    ) -> Option<u32> {
        Live.gives(id, descriptor, class, blocks)
    }
    fn map(&self, geometry: Geometry) -> Option<MappedRun> {
        Live.map(geometry)
    }
    fn decommit(&self, id: SuperblockId, geometry: Geometry) -> bool {
        Live.decommit(id, geometry)
    }
    fn release(&self, id: SuperblockId, geometry: Geometry) -> bool {
        Live.release(id, geometry)
    }
    fn recommit(&self, id: SuperblockId, geometry: Geometry) {
        Live.recommit(id, geometry);
    }
    fn reserve(&self, geometry: Geometry) -> Reserve {
        Live.reserve(geometry)
    }
    fn relieve(&self) {
        Live.relieve();
    }
    fn give_way(&self) {
        Live.give_way();
    }
    fn count(&self, heap: Heap, class: Class, counter: Counter, events: u32) {
        Live.count(heap, class, counter, events);
    }
    fn refilled(&self, request: Request) {
        Live.refilled(request);
    }
    fn take_in_hand(&self) -> u32 {
        Live.take_in_hand()
    }

    fn put_in_place(&self, taken: u32) {
        Live.put_in_place(taken);
    }
    fn record(&self, transition: Transition) {
        Live.record(transition);
    }
    fn now_ticks(&self) -> u64 {
        Live.now_ticks()
    }
    fn corrupted(&self, id: SuperblockId, class: Class, block: u32, link: u32) -> ! {
        Live.corrupted(id, class, block, link)
    }
}
