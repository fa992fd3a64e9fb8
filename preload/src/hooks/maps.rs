//! Mappings: rows in the table of blocks, under their address plus two.
//!
//! Addresses of mappings and of blocks may coincide (an allocator maps and
//! hands out the start); the two bits keep them apart. Mappings that a
//! foreign allocator makes for itself are its own affair; glibc's do not come
//! by here.

use super::{caller, errno};
use crate::segment::Segment;
use crate::{blocks, boot, descriptors, live, retire};
use core::ffi::{c_int, c_void};
use shm_protocol::codes::{Kind, fd_flag};

type Pointer = *mut c_void;
/// Told apart from blocks by this.
const TAG: u64 = 2;

crate::interpose::stubs! {
    mmap(6) => mmap_hook;
    mmap64(6) => mmap64_hook;
    munmap(2) => munmap_hook;
    mremap(6) => mremap_hook;
}

pub mod real {
    //! Their originals.
    use super::*;
    type Map = unsafe extern "C" fn(Pointer, usize, c_int, c_int, c_int, i64) -> Pointer;

    crate::interpose::originals! {
        mmap: c"mmap", Map;
        mmap64: c"mmap64", Map;
        mremap: c"mremap", unsafe extern "C" fn(Pointer, usize, usize, c_int, Pointer) -> Pointer;
        munmap: c"munmap", unsafe extern "C" fn(Pointer, usize) -> c_int;
    }
}

macro_rules! maps {
    ($hook:ident, $real:ident) => {
        /// The caller comes on the stack: six registers are in use.
        extern "C" fn $hook(
            at: Pointer,
            bytes: usize,
            protection: c_int,
            flags: c_int,
            fd: c_int,
            offset: i64,
            sp: usize,
            bp: usize,
        ) -> Pointer {
            let Some(real) = real::$real::get() else {
                super::missing();
                return libc::MAP_FAILED;
            };
            if flags & libc::MAP_ANONYMOUS == 0 {
                retire::due(fd);
            }
            // SAFETY: mmap(2), the caller's arguments.
            let mapped = unsafe { real(at, bytes, protection, flags, fd, offset) };
            if mapped != libc::MAP_FAILED {
                born(mapped, bytes, flags, sp, bp);
                if flags & libc::MAP_ANONYMOUS == 0 {
                    descriptors::mark(fd, fd_flag::MAPPED);
                }
            }
            mapped
        }
    };
}

maps!(mmap_hook, mmap);
maps!(mmap64_hook, mmap64);

fn ours(return_address_at: usize) -> Option<&'static Segment> {
    if live::in_vfork_child() {
        return None;
    }
    // SAFETY: the hook's own return address.
    let from = unsafe { *(return_address_at as *const usize) };
    if boot::in_foreign_allocator(from) {
        None
    } else {
        live::segment_for_event()
    }
}

fn born(mapped: Pointer, bytes: usize, flags: c_int, sp: usize, bp: usize) {
    let Some(segment) = ours(sp) else { return };
    // Over something that was mapped there before.
    if flags & libc::MAP_FIXED != 0 {
        blocks::died(segment, mapped as u64 | TAG);
    }
    let size = bytes.next_multiple_of(4096) as u64;
    blocks::born(
        segment,
        mapped as u64 | TAG,
        size,
        Kind::Mapping,
        caller(sp, bp),
    );
}

/// A part may be unmapped: what is left at the end stays under its new start.
extern "C" fn munmap_hook(at: Pointer, bytes: usize, sp: usize, _bp: usize) -> c_int {
    let segment = ours(sp);
    let key = at as u64 | TAG;
    let row = segment
        .and_then(|segment| blocks::remove(segment, key))
        .flatten();
    let Some(real) = real::munmap::get() else {
        return super::missing();
    };
    // SAFETY: munmap(2), the caller's arguments.
    let status = unsafe { real(at, bytes) };
    if let (Some(segment), Some(row)) = (segment, row) {
        let size = bytes.next_multiple_of(4096) as u64;
        if status != 0 && errno() != 0 {
            blocks::back(segment, key, &row);
        } else if row.size_bytes > size {
            let rest = shm_protocol::heap::HeapRow {
                size_bytes: row.size_bytes - size,
                ..row
            };
            blocks::back(segment, key + size, &rest);
        } else {
            blocks::count_death(segment, key, &row);
        }
    }
    status
}

/// Its optional fifth argument comes in its register in any case.
extern "C" fn mremap_hook(
    at: Pointer,
    old_bytes: usize,
    bytes: usize,
    flags: c_int,
    to: Pointer,
    _sixth: usize,
    sp: usize,
    bp: usize,
) -> Pointer {
    let segment = ours(sp);
    let key = at as u64 | TAG;
    let row = segment
        .and_then(|segment| blocks::remove(segment, key))
        .flatten();
    let Some(real) = real::mremap::get() else {
        super::missing();
        return libc::MAP_FAILED;
    };
    // SAFETY: mremap(2), the caller's arguments.
    let mapped = unsafe { real(at, old_bytes, bytes, flags, to) };
    if let (Some(segment), Some(row)) = (segment, row) {
        if mapped == libc::MAP_FAILED || old_bytes == 0 {
            blocks::back(segment, key, &row);
        } else {
            blocks::count_death(segment, key, &row);
        }
    }
    if mapped != libc::MAP_FAILED {
        born(mapped, bytes, 0, sp, bp);
    }
    mapped
}
