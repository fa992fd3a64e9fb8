//! kcmp(2): whether two processes have the same thing of the kernel's, and an
//! order for those that differ. None where the kernel does not say: one of them
//! is gone, or may not be asked about.
#![allow(unsafe_code, reason = "kcmp(2) has no safe wrapper")]

use std::cmp::Ordering;

const KCMP_FILE: libc::c_int = 0;
const KCMP_FILES: libc::c_int = 2;
const KCMP_EPOLL_TFD: libc::c_int = 7;

/// Orders the open files behind two descriptors, each of a process.
#[must_use]
pub fn files(one: (i32, i32), other: (i32, i32)) -> Option<Ordering> {
    let (one, other) = ((one.0, one.1.into()), (other.0, other.1.into()));
    kcmp(KCMP_FILE, one, other)
}

/// The same for a descriptor and what an epoll watches: the second is a process
/// and the address of a `struct kcmp_epoll_slot` of ours.
#[must_use]
pub fn watched(one: (i32, i32), slot: (i32, libc::c_long)) -> Option<Ordering> {
    kcmp(KCMP_EPOLL_TFD, (one.0, one.1.into()), slot)
}

/// Whether two processes or threads are known to have different descriptor
/// tables.
#[must_use]
pub fn have_own_tables(one: i32, other: i32) -> bool {
    let answer = kcmp(KCMP_FILES, (one, 0), (other, 0));
    answer.is_some_and(|order| order != Ordering::Equal)
}

fn kcmp(
    what: libc::c_int,
    one: (i32, libc::c_long),
    other: (i32, libc::c_long),
) -> Option<Ordering> {
    // SAFETY: the kernel writes no memory of ours, and what it reads of a slot
    // it copies, failing where there is none.
    let answer = unsafe { libc::syscall(libc::SYS_kcmp, one.0, other.0, what, one.1, other.1) };
    match answer {
        0 => Some(Ordering::Equal),
        1 => Some(Ordering::Less),
        2 => Some(Ordering::Greater),
        _ => None,
    }
}
