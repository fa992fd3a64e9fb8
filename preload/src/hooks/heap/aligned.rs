//! Aligned allocations, all rare but nginx's.

use super::sampling::{by_its_size, is_taken, record, redraw_calls};
use super::{Path, Pointer, REAL_POSIX_MEMALIGN, caller, path, real, real_memalign};
use crate::boot::{self, early};
use crate::unwind::Caller;
use crate::{marks, sample};
use core::cell::Cell;
use core::sync::atomic::Ordering;

/// What malloc aligns by itself.
const ALIGNED: usize = 16;

/// Calls `allocate` with the alignment and size to use, and records when sampled.
fn aligned(
    align: usize,
    size: usize,
    from: Caller,
    allocate: impl Fn(usize, usize) -> Pointer,
) -> Pointer {
    let out = sample::take_bytes(size as u64);
    aligned_counted(out, align, size, from, allocate)
}

/// The same behind the countdown of bytes, which ran `out` or did not.
fn aligned_counted(
    out: bool,
    align: usize,
    size: usize,
    from: Caller,
    allocate: impl Fn(usize, usize) -> Pointer,
) -> Pointer {
    if !is_taken(out, size) {
        return allocate(align, size);
    }
    redraw_calls();
    let by_all = path() == Path::All as u64;
    let markable = marks::possible() && !by_all && align.is_power_of_two();
    let block = match markable {
        true => aligned_marked(align, size, allocate),
        false => allocate(align, size),
    };
    record(block, size, from);
    block
}

fn aligned_marked(
    align: usize,
    size: usize,
    allocate: impl Fn(usize, usize) -> Pointer,
) -> Pointer {
    let by_size = (align <= ALIGNED).then(|| by_its_size(size, |size| allocate(align, size)));
    let block = by_size.flatten();
    block.unwrap_or_else(|| allocate(align.max(marks::PAGE), size))
}

pub(super) extern "C" fn memalign_hook(align: usize, size: usize, sp: usize, bp: usize) -> Pointer {
    match boot::allocator_ready() {
        true => aligned(align, size, caller(sp, bp), real_memalign),
        false => early::allocate(size),
    }
}

pub(super) extern "C" fn aligned_alloc_hook(
    align: usize,
    size: usize,
    sp: usize,
    bp: usize,
) -> Pointer {
    if !boot::allocator_ready() {
        return early::allocate(size);
    }
    // Refused or not is for aligned_alloc itself to say.
    aligned(
        align,
        size,
        caller(sp, bp),
        |wanted, bytes| match real::aligned_alloc::get() {
            // SAFETY: aligned_alloc(3).
            Some(real) if (wanted, bytes) == (align, size) => unsafe { real(align, size) },
            _ => real_memalign(wanted, bytes),
        },
    )
}

pub(super) extern "C" fn posix_memalign_counted(
    out: *mut Pointer,
    align: usize,
    size: usize,
    sp: usize,
    bp: usize,
) -> i32 {
    posix_memalign_after(false, out, align, size, caller(sp, bp))
}

pub(super) extern "C" fn posix_memalign_counted_out(
    out: *mut Pointer,
    align: usize,
    size: usize,
    sp: usize,
    bp: usize,
) -> i32 {
    posix_memalign_after(true, out, align, size, caller(sp, bp))
}

fn posix_memalign_after(
    counted_out: bool,
    out: *mut Pointer,
    align: usize,
    size: usize,
    from: Caller,
) -> i32 {
    let refused = !align.is_power_of_two() || align < size_of::<Pointer>();
    if refused || !boot::allocator_ready() {
        // Refused as it is: a sample would widen it to something valid.
        sample::run_out_next(counted_out);
        return real_posix_memalign(out, align, size);
    }
    let status = Cell::new(0);
    let block = aligned_counted(counted_out, align, size, from, |align, size| {
        let mut block = core::ptr::null_mut();
        status.set(real_posix_memalign(&mut block, align, size));
        block
    });
    if status.get() == 0 {
        // SAFETY: the caller's place for the result, which a failure leaves alone.
        unsafe { *out = block };
    }
    status.get()
}

fn real_posix_memalign(out: *mut Pointer, align: usize, size: usize) -> i32 {
    type Original = unsafe extern "C" fn(*mut Pointer, usize, usize) -> i32;
    let at = REAL_POSIX_MEMALIGN.load(Ordering::Relaxed);
    if at.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: posix_memalign(3), found by boot; the caller's own arguments.
    unsafe { core::mem::transmute::<Pointer, Original>(at)(out, align, size) }
}

pub(super) extern "C" fn valloc_hook(size: usize, sp: usize, bp: usize) -> Pointer {
    match boot::allocator_ready() {
        true => aligned(4096, size, caller(sp, bp), real_memalign),
        false => early::allocate(size),
    }
}

pub(super) extern "C" fn pvalloc_hook(size: usize, sp: usize, bp: usize) -> Pointer {
    match size.checked_next_multiple_of(4096) {
        Some(size) => valloc_hook(size, sp, bp),
        None => real_memalign(4096, usize::MAX),
    }
}
