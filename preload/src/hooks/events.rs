//! epoll, eventfd, timerfd, signalfd, inotify, memfd and other makers of one
//! descriptor.

use super::{caller, makes, original};
use crate::descriptors::born;
use core::ffi::{c_char, c_int, c_uint, c_void};
use shm_protocol::codes::Kind;

pub use real::resolve_all;

crate::interpose::stubs! {
    epoll_create(1) => epoll_create_hook;
    epoll_create1(1) => epoll_create1_hook;
    eventfd(2) => eventfd_hook;
    timerfd_create(2) => timerfd_create_hook;
    signalfd(3) => signalfd_hook;
    inotify_init(0) => inotify_init_hook;
    inotify_init1(1) => inotify_init1_hook;
    fanotify_init(2) => fanotify_init_hook;
    memfd_create(2) => memfd_create_hook;
    pidfd_open(2) => pidfd_open_hook;
    pidfd_getfd(3) => pidfd_getfd_hook;
}

pub mod real {
    //! Their originals.
    use super::*;

    crate::interpose::originals! {
        epoll_create: c"epoll_create", unsafe extern "C-unwind" fn(c_int) -> c_int;
        epoll_create1: c"epoll_create1", unsafe extern "C-unwind" fn(c_int) -> c_int;
        eventfd: c"eventfd", unsafe extern "C-unwind" fn(c_uint, c_int) -> c_int;
        timerfd_create: c"timerfd_create", unsafe extern "C-unwind" fn(c_int, c_int) -> c_int;
        signalfd: c"signalfd", unsafe extern "C-unwind" fn(c_int, *const c_void, c_int) -> c_int;
        inotify_init: c"inotify_init", unsafe extern "C-unwind" fn() -> c_int;
        inotify_init1: c"inotify_init1", unsafe extern "C-unwind" fn(c_int) -> c_int;
        fanotify_init: c"fanotify_init", unsafe extern "C-unwind" fn(c_uint, c_uint) -> c_int;
        memfd_create: c"memfd_create", unsafe extern "C-unwind" fn(*const c_char, c_uint) -> c_int;
        pidfd_open: c"pidfd_open", unsafe extern "C-unwind" fn(c_int, c_uint) -> c_int;
        pidfd_getfd: c"pidfd_getfd", unsafe extern "C-unwind" fn(c_int, c_int, c_uint) -> c_int;
    }
}

makes!(epoll_create_hook, epoll_create(size: c_int), Kind::Epoll);
makes!(epoll_create1_hook, epoll_create1(flags: c_int), Kind::Epoll);
makes!(eventfd_hook, eventfd(start: c_uint, flags: c_int), Kind::EventFd);
makes!(timerfd_create_hook, timerfd_create(clock: c_int, flags: c_int), Kind::TimerFd);
makes!(inotify_init_hook, inotify_init(), Kind::Inotify);
makes!(inotify_init1_hook, inotify_init1(flags: c_int), Kind::Inotify);
makes!(fanotify_init_hook, fanotify_init(flags: c_uint, events: c_uint), Kind::Fanotify);
makes!(memfd_create_hook, memfd_create(name: *const c_char, flags: c_uint), Kind::MemFd);
makes!(pidfd_open_hook, pidfd_open(pid: c_int, flags: c_uint), Kind::PidFd);
makes!(pidfd_getfd_hook, pidfd_getfd(pid: c_int, fd: c_int, flags: c_uint), Kind::Received);

/// signalfd(2) on an existing one only changes its mask.
extern "C-unwind" fn signalfd_hook(
    fd: c_int,
    mask: *const c_void,
    flags: c_int,
    sp: usize,
    bp: usize,
) -> c_int {
    let result = original!(signalfd(fd, mask, flags));
    if fd == -1 {
        born(result, Kind::SignalFd, 0, caller(sp, bp));
    }
    result
}
