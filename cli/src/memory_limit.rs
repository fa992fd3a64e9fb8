//! Where no more memory is to be had (`ulimit -v`, a full control group) memguard
//! ends with a sentence, and leaves no core behind.
//!
//! One of the files of the command line with unsafe code.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI32, Ordering};

const SENTENCE: &[u8] =
    b"memguard: There is no memory left for memguard to work with; raise its limit (ulimit -v, \
the control group) and ask again.\n";

/// The exit code of a target that cannot be looked at.
static CODE: AtomicI32 = AtomicI32::new(3);

/// From now on it is the wrapper that fails, whose codes are its own.
pub fn wraps() {
    CODE.store(125, Ordering::Relaxed);
}

/// The system's allocator, which never says no: it ends memguard.
#[derive(Debug)]
pub struct OrEnd;

// SAFETY: hands everything to the system's allocator, and gives its answers but
// for null, which it does not return from.
unsafe impl GlobalAlloc for OrEnd {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that it asks for.
        or_end(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        or_end(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as above.
        or_end(unsafe { System.realloc(block, layout, bytes) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

fn or_end(block: *mut u8) -> *mut u8 {
    if block.is_null() {
        end();
    }
    block
}

#[cold]
fn end() -> ! {
    // SAFETY: writes a constant and ends, without anything that allocates.
    unsafe {
        libc::write(2, SENTENCE.as_ptr().cast(), SENTENCE.len());
        libc::_exit(CODE.load(Ordering::Relaxed))
    }
}
