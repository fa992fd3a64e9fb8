//! What epolls and inotifies are told to listen to.
//!
//! Closing either end tells nobody here: to look for its rows would cost every
//! close. The next registration under the same numbers writes over the row,
//! and the reader asks the kernel which are left (I3). Delivered events are
//! not looked at: that would cost every epoll_wait.

use super::{caller, original};
use crate::unwind::Caller;
use crate::{retire, things};
use core::ffi::{c_char, c_int, c_void};
use shm_protocol::codes::Kind;
use shm_protocol::plain::{MARK, pair};

crate::interpose::stubs! {
    epoll_ctl(4) => epoll_ctl_hook;
    inotify_add_watch(3) => inotify_add_watch_hook;
    inotify_rm_watch(2) => inotify_rm_watch_hook;
}

pub mod real {
    //! Their originals.
    use super::*;

    crate::interpose::originals! {
        epoll_ctl: c"epoll_ctl", unsafe extern "C-unwind" fn(c_int, c_int, c_int, *mut c_void) -> c_int;
        inotify_add_watch: c"inotify_add_watch", unsafe extern "C-unwind" fn(c_int, *const c_char, u32) -> c_int;
        inotify_rm_watch: c"inotify_rm_watch", unsafe extern "C-unwind" fn(c_int, c_int) -> c_int;
    }
}

extern "C-unwind" fn epoll_ctl_hook(
    epoll: c_int,
    action: c_int,
    fd: c_int,
    event: *mut c_void,
    sp: usize,
    bp: usize,
) -> c_int {
    control(epoll, action, fd, caller(sp, bp), || {
        original!(epoll_ctl(epoll, action, fd, event))
    })
}

/// epoll_ctl(2), however it is called.
#[inline]
pub fn control(
    epoll: c_int,
    action: c_int,
    fd: c_int,
    from: Caller,
    call: impl FnOnce() -> c_int,
) -> c_int {
    retire::due(fd);
    let key = pair(epoll as u32, fd as u32);
    let named = epoll >= 0 && fd >= 0;
    if named && action == libc::EPOLL_CTL_DEL {
        let row = things::died(Kind::Registration, key);
        let status = call();
        if let Some(row) = row.filter(|_| status != 0) {
            things::back(Kind::Registration, key, &row);
        }
        return status;
    }
    let status = call();
    if status == 0 && action == libc::EPOLL_CTL_ADD {
        things::born(Kind::Registration, key, 0, from);
    } else if status == 0 {
        things::used(Kind::Registration, key, None, |flags| flags);
    }
    status
}

extern "C-unwind" fn inotify_add_watch_hook(
    inotify: c_int,
    path: *const c_char,
    mask: u32,
    sp: usize,
    bp: usize,
) -> c_int {
    retire::named(path);
    let watch = original!(inotify_add_watch(inotify, path, mask));
    crate::stamps::touch(inotify);
    watched(inotify, watch, caller(sp, bp));
    watch
}

/// The path was watched, anew or again.
pub fn watched(inotify: c_int, watch: c_int, from: Caller) {
    if inotify < 0 || watch < 0 {
        return;
    }
    let key = pair(inotify as u32, watch as u32) | MARK;
    things::born_or_used(Kind::Watch, key, from);
}

extern "C-unwind" fn inotify_rm_watch_hook(
    inotify: c_int,
    watch: c_int,
    _sp: usize,
    _bp: usize,
) -> c_int {
    unwatch(inotify, watch, || {
        original!(inotify_rm_watch(inotify, watch))
    })
}

/// inotify_rm_watch(2), however it is called.
pub fn unwatch(inotify: c_int, watch: c_int, call: impl FnOnce() -> c_int) -> c_int {
    let key = pair(inotify as u32, watch as u32) | MARK;
    let row = things::died(Kind::Watch, key);
    let status = call();
    if let Some(row) = row.filter(|_| status != 0) {
        things::back(Kind::Watch, key, &row);
    }
    status
}
