//! How much memory a decoder takes.

#![expect(
    unsafe_code,
    reason = "an allocator is unsafe to implement; every call is passed on to the system's as it is"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    /// Bytes that this thread holds, and the most that it held since the last look. What another thread frees stays counted.
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, counting. Belongs into the program that fuzzes, as its global allocator: without it, all
/// decoders take no memory.
#[derive(Debug, Default)]
pub struct CountingAllocator;

// SAFETY: all of it is the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        gave(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size_bytes: usize) -> *mut u8 {
        gave(layout.size());
        took(size_bytes);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size_bytes) }
    }
}

fn took(size_bytes: usize) {
    // A thread that ends has no counter any more.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        let now = now.saturating_add(size_bytes);
        held.set((now, most.max(now)));
    });
}

fn gave(size_bytes: usize) {
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now.saturating_sub(size_bytes), most));
    });
}

/// The most bytes that this thread held during some work, above what it held before.
pub(crate) fn most_held<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    let done = work();
    let (_, most) = HELD.with(Cell::get);
    (done, most.saturating_sub(before))
}
