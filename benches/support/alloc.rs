//! A global allocator that counts: per thread how often, and in the whole process how much is live.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};

use mimalloc::MiMalloc;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}
static LIVE: AtomicIsize = AtomicIsize::new(0);
static ON: AtomicBool = AtomicBool::new(false);

/// The program's allocator, counted.
pub struct Counting;

/// Starts or stops counting. It costs something, so what is timed is not counted.
pub fn count(on: bool) {
    ON.store(on, Relaxed);
}

/// Allocations and reallocations that this thread has made.
pub fn calls() -> u64 {
    CALLS.get()
}

/// Octets that were allocated, as asked for, less those that were freed, while counting.
pub fn live() -> isize {
    LIVE.load(Relaxed)
}

fn note(size: isize) {
    if !ON.load(Relaxed) {
        return;
    }
    // A thread that ends frees after its counters are gone.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
    LIVE.fetch_add(size, Relaxed);
}

// SAFETY: every method hands its arguments to the program's allocator unchanged, so its guarantees are that one's. The
// counters neither allocate (a const thread-local of a type without destructor, an atomic) nor unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: the caller's promise, passed on.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: the caller's promise, passed on.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size as isize - layout.size() as isize);
        // SAFETY: the caller's promise, passed on.
        unsafe { MiMalloc.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if ON.load(Relaxed) {
            LIVE.fetch_sub(layout.size() as isize, Relaxed);
        }
        // SAFETY: the caller's promise, passed on.
        unsafe { MiMalloc.dealloc(at, layout) }
    }
}
