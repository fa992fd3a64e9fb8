//! Other functions that give a block back: with its size, or jemalloc's own.
//!
//! A sample is larger than what the program asked for, and an allocator that
//! is told the smaller size files the block wrongly. So what comes with a
//! size goes on to a function that asks for none.

use super::heap::{before_free, free_marked};
use crate::boot;
use core::ffi::{c_int, c_void};

type Pointer = *mut c_void;

mod real {
    use super::*;

    crate::interpose::originals! {
        free_sized: c"free_sized", unsafe extern "C" fn(Pointer, usize);
        free_aligned_sized: c"free_aligned_sized", unsafe extern "C" fn(Pointer, usize, usize);
        dallocx: c"dallocx", unsafe extern "C" fn(Pointer, c_int);
    }
}

pub use real::resolve_all;

/// C23: free with a size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_sized(block: Pointer, size: usize) {
    match real::free_sized::get().filter(|_| !boot::heap_is_ours()) {
        // SAFETY: the original; the block is of a heap that we do not see.
        Some(real) => unsafe { real(block, size) },
        None => free_marked(block),
    }
}

/// C23: free with alignment and size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_aligned_sized(block: Pointer, align: usize, size: usize) {
    match real::free_aligned_sized::get().filter(|_| !boot::heap_is_ours()) {
        // SAFETY: as above.
        Some(real) => unsafe { real(block, align, size) },
        None => free_marked(block),
    }
}

/// jemalloc: programs that find these two free malloc's blocks by them.
/// Where there is no jemalloc, free does the same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dallocx(block: Pointer, flags: c_int) {
    match real::dallocx::get() {
        // SAFETY: the original, the caller's own block.
        Some(real) => unsafe { real(before_free(block), flags) },
        None => free_marked(block),
    }
}

/// jemalloc, and tcmalloc, which has it without the one above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdallocx(block: Pointer, _size: usize, flags: c_int) {
    // SAFETY: the caller's own block.
    unsafe { dallocx(block, flags) }
}
