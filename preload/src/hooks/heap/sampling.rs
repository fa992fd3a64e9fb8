//! Allocations that the stubs have counted out: is it sampled, and what becomes
//! of it then.

use super::{Path, Pointer, caller, path, real_calloc, real_free, real_malloc, real_memalign};
use crate::boot::{self, early};
use crate::unwind::Caller;
use crate::{blocks, clock, live, marks, mode, sample};
use shm_protocol::codes::Kind;

/// Above what caches of threads hold. A smaller sample, once freed, would be
/// handed out again and again, page-aligned as it is.
const OUT_OF_CACHE: usize = 1040;
/// Larger blocks are not touched just to be marked.
const CLEAR_AT_MOST: usize = 1 << 16;

/// The countdown of bytes ran out (or was never started).
pub(super) extern "C" fn malloc_counted_out(size: usize, sp: usize, bp: usize) -> Pointer {
    if !boot::allocator_ready() {
        return early::allocate(size);
    }
    match sampled_after_underflow(size) {
        true => malloc_sampled(size, sp, bp),
        false => malloc_onwards(size, sp, bp),
    }
}

/// An allocation that no stub has counted.
pub(super) fn malloc_counted(size: usize, from: Caller) -> Pointer {
    if sample::take_bytes(size as u64) && sampled_after_underflow(size) {
        return malloc_sampled(size, from.stack_pointer, from.frame_pointer);
    }
    malloc_onwards(size, from.stack_pointer, from.frame_pointer)
}

/// What follows the countdown of bytes, by the path in force.
fn malloc_onwards(size: usize, sp: usize, bp: usize) -> Pointer {
    match onwards() {
        Onwards::Real => real_malloc(size),
        Onwards::Sample => malloc_sampled(size, sp, bp),
        Onwards::Record => malloc_recorded(size, sp, bp),
    }
}

enum Onwards {
    Real,
    Sample,
    Record,
}

/// What the stub behind the countdown of bytes would do.
fn onwards() -> Onwards {
    if path() == Path::All as u64 {
        return Onwards::Record;
    }
    if path() == Path::ByRate as u64 {
        let block = crate::tls::block();
        let (left, out) = block.calls_left.overflowing_sub(1);
        block.calls_left = left;
        return if out { Onwards::Sample } else { Onwards::Real };
    }
    Onwards::Real
}

/// Whether an allocation gets a row, whose countdown of bytes ran `out` or did
/// not.
pub(super) fn is_taken(out: bool, size: usize) -> bool {
    out && sampled_after_underflow(size) || !matches!(onwards(), Onwards::Real)
}

/// After an underflow on `size` bytes: draws anew, and says whether this
/// allocation is the sampled one.
fn sampled_after_underflow(size: usize) -> bool {
    let segment = live::segment_for_event();
    let Some(segment) = segment else {
        sample::restart_bytes();
        return false;
    };
    let (_, class) = mode::class(segment);
    if path() != Path::ByBytes as u64 {
        // It decides nothing on this path, but runs on for the day that the
        // mode goes back.
        if !sample::started() {
            sample::restart(class);
        }
        sample::restart_bytes();
        mode::tick(segment, clock::now_ms());
        return false;
    }
    if !sample::started() {
        // First allocation of the thread: this is where it starts counting.
        sample::restart(class);
        if !sample::take_bytes(size as u64) {
            return false;
        }
    }
    sample::account_bytes(segment, size as u64);
    sample::restart(class);
    true
}

/// After a sample by rate: draws anew.
pub(super) fn redraw_calls() {
    if path() != Path::ByRate as u64 {
        return;
    }
    if let Some(segment) = live::segment_for_event() {
        let started = sample::started();
        if started {
            sample::account_calls(segment);
        }
        sample::restart(mode::class(segment).1);
    }
}

pub(super) extern "C" fn malloc_sampled(size: usize, sp: usize, bp: usize) -> Pointer {
    redraw_calls();
    let block = marked(size).unwrap_or_else(|| real_malloc(size));
    record(block, size, caller(sp, bp));
    block
}

pub(super) extern "C" fn malloc_recorded(size: usize, sp: usize, bp: usize) -> Pointer {
    let block = real_malloc(size);
    record(block, size, caller(sp, bp));
    block
}

/// A block that free will know by its mark.
pub(super) fn marked(size: usize) -> Option<Pointer> {
    by_its_size(size, real_malloc).or_else(|| by_its_page(size))
}

/// One whose size gives it away, unless the allocator gave more than it was
/// asked for: it does so where too little would be left over.
pub(super) fn by_its_size(size: usize, allocate: impl Fn(usize) -> Pointer) -> Option<Pointer> {
    let block = allocate(marks::size_for(size)?);
    if block.is_null() || marks::is_marked(block as u64) {
        return (!block.is_null()).then_some(block);
    }
    real_free(block);
    None
}

fn by_its_page(size: usize) -> Option<Pointer> {
    if !marks::possible() {
        return None;
    }
    let block = real_memalign(marks::PAGE, size.max(OUT_OF_CACHE));
    (!block.is_null()).then_some(block)
}

pub(super) fn record(block: Pointer, size: usize, from: Caller) {
    if !boot::heap_is_ours() {
        // Its free would not come by here.
        return;
    }
    if let Some(segment) = live::segment_for_event().filter(|_| !block.is_null()) {
        blocks::born(segment, block as u64, size as u64, Kind::Heap, from);
    }
}

pub(super) extern "C" fn calloc_counted_out(
    count: usize,
    size: usize,
    sp: usize,
    bp: usize,
) -> Pointer {
    if !boot::allocator_ready() {
        return count
            .checked_mul(size)
            .map_or(core::ptr::null_mut(), early::allocate);
    }
    if sampled_after_underflow(count.wrapping_mul(size)) {
        return calloc_sampled(count, size, sp, bp);
    }
    match onwards() {
        Onwards::Real => real_calloc(count, size),
        Onwards::Sample => calloc_sampled(count, size, sp, bp),
        Onwards::Record => calloc_recorded(count, size, sp, bp),
    }
}

pub(super) extern "C" fn calloc_sampled(
    count: usize,
    size: usize,
    sp: usize,
    bp: usize,
) -> Pointer {
    redraw_calls();
    let Some(bytes) = count.checked_mul(size) else {
        return real_calloc(count, size);
    };
    let block = cleared(bytes).unwrap_or_else(|| real_calloc(count, size));
    record(block, bytes, caller(sp, bp));
    block
}

/// A marked block of zeros. Large ones may come zeroed from the kernel:
/// touching them is dear.
fn cleared(bytes: usize) -> Option<Pointer> {
    let by_size = by_its_size(bytes, |bytes| real_calloc(1, bytes));
    if by_size.is_some() || bytes > CLEAR_AT_MOST {
        return by_size;
    }
    let block = by_its_page(bytes)?;
    // SAFETY: a fresh block of `bytes`.
    unsafe { block.cast::<u8>().write_bytes(0, bytes) };
    Some(block)
}

pub(super) extern "C" fn calloc_recorded(
    count: usize,
    size: usize,
    sp: usize,
    bp: usize,
) -> Pointer {
    let block = real_calloc(count, size);
    record(block, count.wrapping_mul(size), caller(sp, bp));
    block
}
