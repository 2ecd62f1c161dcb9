//! An allocator that counts what it gives: for tests and benches that publish memory.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

static HELD: AtomicUsize = AtomicUsize::new(0);
static ASKED: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counting. To be declared as `#[global_allocator]`.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

/// Bytes held now, with what the allocator adds to each piece.
pub fn held() -> usize {
    HELD.load(Relaxed)
}

/// How often memory was asked for since the start, to be had or to be moved.
pub fn allocations() -> u64 {
    ASKED.load(Relaxed)
}

/// What a piece of `size` bytes takes of memory: a word in front, rounded up to two words, at
/// least four (glibc's `malloc`).
const fn footprint(size: usize) -> usize {
    let word = size_of::<usize>();
    let chunk = (size + word).next_multiple_of(2 * word);
    if chunk < 4 * word { 4 * word } else { chunk }
}

fn given(size: usize) {
    ASKED.fetch_add(1, Relaxed);
    HELD.fetch_add(footprint(size), Relaxed);
}

fn taken_back(size: usize) {
    HELD.fetch_sub(footprint(size), Relaxed);
}

// SAFETY: every call is passed on to `System` as it came; counting touches two atomics only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        given(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        given(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        taken_back(layout.size());
        // SAFETY: `piece` came from `System` with this layout.
        unsafe { System.dealloc(piece, layout) }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        taken_back(layout.size());
        given(size);
        // SAFETY: `piece` came from `System` with this layout; the caller vouches for `size`.
        unsafe { System.realloc(piece, layout, size) }
    }
}
