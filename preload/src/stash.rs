//! Freed samples, kept for the next ones.
//!
//! A small block that is to be marked must begin a page. glibc makes such a
//! block by way of a large one, which has it merge all small free ones of the
//! program first and cuts the heap up: far dearer than the sample itself, and
//! the program pays for it later too. So a few blocks that served a sample and
//! were freed wait here for another.
//!
//! They stay in use in the allocator's eyes, and may keep it from shrinking the
//! heap below themselves. So the lowest are kept, and few.
//!
//! Whoever frees such a block once more still comes by
//! [`crate::hooks::heap::free_marked`], since the filter knows it; it goes back
//! first, so that the allocator sees the second free as it was.

use crate::allocators;
use crate::blocks::{filter_add, filter_remove};
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering};
use shm_protocol::codes::Allocator;

type Block = *mut c_void;

const MOST: usize = 4;

static KEPT: [AtomicPtr<c_void>; MOST] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MOST];

/// Whether the allocator is one where keeping pays. Others have page-aligned
/// blocks at hand.
pub fn pays() -> bool {
    allocators::code() == Allocator::Glibc as u32
}

/// One of the kept blocks, the caller's now.
pub fn take() -> Option<Block> {
    KEPT.iter().find_map(|place| {
        let block = place.load(Ordering::Relaxed);
        (!block.is_null() && leave(place, block)).then_some(block)
    })
}

/// Takes a block out of its place, unless somebody was faster.
fn leave(place: &AtomicPtr<c_void>, block: Block) -> bool {
    let left = swap(place, block, core::ptr::null_mut());
    if left {
        filter_remove(block as u64);
    }
    left
}

fn swap(place: &AtomicPtr<c_void>, from: Block, to: Block) -> bool {
    place
        .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
}

/// Keeps a block that the program has just freed. Gives back what is to be
/// freed in truth: nothing, or the highest block.
pub fn keep(block: Block) -> Option<Block> {
    filter_add(block as u64);
    if KEPT
        .iter()
        .any(|place| swap(place, core::ptr::null_mut(), block))
    {
        return None;
    }
    let highest = KEPT
        .iter()
        .max_by_key(|place| place.load(Ordering::Relaxed));
    let replaced = highest.and_then(|place| {
        let high = place.load(Ordering::Relaxed);
        (high > block && swap(place, high, block)).then_some(high)
    });
    let out = replaced.unwrap_or(block);
    filter_remove(out as u64);
    Some(out)
}

/// Takes this very block out, if it is here: it is freed once too often.
pub fn let_go(block: Block) -> bool {
    KEPT.iter()
        .any(|place| place.load(Ordering::Relaxed) == block && leave(place, block))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(at: usize) -> Block {
        (at * 4096) as Block
    }

    #[test]
    fn the_lowest_stay_and_come_back() {
        for at in (1..=MOST).rev() {
            assert_eq!(keep(block(10 * at)), None);
        }
        assert_eq!(keep(block(500)), Some(block(500)));
        assert_eq!(keep(block(35)), Some(block(10 * MOST)));
        assert!(!let_go(block(10 * MOST)));
        assert!(let_go(block(35)));
        let mut left: Vec<Block> = std::iter::from_fn(take).collect();
        left.sort();
        let lower: Vec<Block> = (1..MOST).map(|at| block(10 * at)).collect();
        assert_eq!(left, lower);
        assert_eq!(take(), None);
    }
}
