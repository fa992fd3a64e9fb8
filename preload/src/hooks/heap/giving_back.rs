//! Blocks that may have a row, on their way through free and realloc.

use super::sampling::{is_taken, malloc_counted, marked, record, redraw_calls};
use super::{Path, Pointer, caller, path, real_free, real_realloc};
use crate::boot::{self, early};
use crate::unwind::Caller;
use crate::{blocks, live, marks, sample};

/// Larger blocks are not moved just to be marked.
const MOVE_AT_MOST: usize = 1 << 20;

/// A pointer that may have a row (or null, or early memory).
pub(in crate::hooks) extern "C" fn free_marked(block: Pointer) {
    if block.is_null() || early::holds(block) {
        return;
    }
    forget(block);
    real_free(block);
}

/// Takes out the row of a block that is about to be freed.
fn forget(block: Pointer) {
    let segment = live::segment().filter(|_| blocks::may_be_known(block as u64));
    if let Some(segment) = segment {
        blocks::died(segment, block as u64);
    }
}

/// realloc of a block that may have a row.
pub(super) extern "C" fn realloc_marked(
    block: Pointer,
    size: usize,
    sp: usize,
    bp: usize,
) -> Pointer {
    if !boot::allocator_ready() {
        return early::reallocate(block, size);
    }
    if block.is_null() {
        return malloc_counted(size, caller(sp, bp));
    }
    if early::holds(block) {
        return leave_early(block, size, caller(sp, bp));
    }
    let out = sample::take_bytes(size as u64);
    realloc_counted(out, block, size, caller(sp, bp))
}

fn leave_early(block: Pointer, size: usize, from: Caller) -> Pointer {
    let fresh = malloc_counted(size, from);
    if !fresh.is_null() {
        // SAFETY: early memory is followed by more of it; `fresh` has `size`.
        unsafe { fresh.copy_from_nonoverlapping(block, early::size_of(block).min(size)) };
    }
    fresh
}

pub(super) extern "C" fn realloc_counted_out(
    block: Pointer,
    size: usize,
    sp: usize,
    bp: usize,
) -> Pointer {
    if !boot::allocator_ready() {
        return early::reallocate(block, size);
    }
    realloc_counted(true, block, size, caller(sp, bp))
}

/// Behind the countdown of bytes, which ran `out` or did not.
fn realloc_counted(out: bool, block: Pointer, size: usize, from: Caller) -> Pointer {
    match is_taken(out, size) {
        true => realloc_taken(block, size, from),
        false => moved(block, size, None),
    }
}

fn realloc_taken(block: Pointer, size: usize, from: Caller) -> Pointer {
    redraw_calls();
    moved(block, size, Some(from))
}

pub(super) extern "C" fn realloc_sampled(
    block: Pointer,
    size: usize,
    sp: usize,
    bp: usize,
) -> Pointer {
    realloc_taken(block, size, caller(sp, bp))
}

/// The real realloc; the row goes before, comes back if it failed, and the
/// new block gets one if `sampled_by` says so.
fn moved(block: Pointer, size: usize, sampled_by: Option<Caller>) -> Pointer {
    let segment = live::segment();
    let known = segment.filter(|_| !block.is_null() && blocks::may_be_known(block as u64));
    let row = known
        .and_then(|segment| blocks::remove(segment, block as u64))
        .flatten();
    let fresh = match sampled_by {
        Some(_) => grown(block, size),
        None => real_realloc(block, size),
    };
    if let (Some(segment), Some(row)) = (segment, &row) {
        match fresh.is_null() && size != 0 {
            true => blocks::back(segment, block as u64, row),
            false => blocks::count_death(segment, block as u64, row),
        }
    }
    match sampled_by {
        Some(from) if !fresh.is_null() => {
            let fresh = mark_moved(fresh, size);
            record(fresh, size, from);
            fresh
        }
        _ => fresh,
    }
}

/// The real realloc, to a size that gives the block away if there is one.
fn grown(block: Pointer, size: usize) -> Pointer {
    let exact = size == 0 || path() == Path::All as u64;
    let enough = marks::size_for(size).filter(|_| !exact).unwrap_or(size);
    let fresh = real_realloc(block, enough);
    if fresh.is_null() && enough != size {
        return real_realloc(block, size);
    }
    fresh
}

/// Moves a block to where free will know it, unless it knows it or the block is
/// too large.
fn mark_moved(block: Pointer, size: usize) -> Pointer {
    let by_all = path() == Path::All as u64;
    if by_all || marks::is_marked(block as u64) || size > MOVE_AT_MOST {
        return block;
    }
    let Some(to) = marked(size) else { return block };
    // SAFETY: both blocks have at least `size` bytes and are apart.
    unsafe { to.copy_from_nonoverlapping(block, size) };
    real_free(block);
    to
}

/// Removes the row of a block that another function than free will free.
pub(in crate::hooks) fn before_free(block: Pointer) -> Pointer {
    forget(block);
    block
}
