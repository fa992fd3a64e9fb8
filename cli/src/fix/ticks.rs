//! Expirations of a timerfd that nobody has read yet. Setting the timer forgets
//! them, so they are set again: whoever reads later finds what there was.
#![allow(unsafe_code, reason = "TFD_IOC_SET_TICKS has no safe wrapper")]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::kernel::text;

/// `_IOW('T', 0, u64)` (linux/timerfd.h).
const SET_TICKS: libc::c_ulong = 0x4008_5400;

/// Sets a timer by `set`, and leaves it as many unread expirations as it had.
/// Kernels without checkpoint and restore forget them.
///
/// # Errors
/// Those of `set`.
pub fn keep<T>(timer: BorrowedFd<'_>, set: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    let before = unread(timer);
    let done = set()?;
    if let Some(ticks @ 1..) = before {
        put(timer, ticks);
    }
    Ok(done)
}

/// Of a timer of our own.
pub fn unread(timer: BorrowedFd<'_>) -> Option<u64> {
    told_by(&std::fs::read(format!("/proc/self/fdinfo/{}", timer.as_raw_fd())).ok()?)
}

/// How many a timerfd's fdinfo tells.
pub fn told_by(info: &[u8]) -> Option<u64> {
    text::field(info, "ticks:")?.trim().parse().ok()
}

fn put(timer: BorrowedFd<'_>, ticks: u64) {
    // SAFETY: the kernel reads eight bytes from there, and nothing else.
    unsafe { libc::ioctl(timer.as_raw_fd(), SET_TICKS, &raw const ticks) };
}
