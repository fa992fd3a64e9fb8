//! Sockets, and descriptors that arrive through them.

use super::{caller, makes, original};
use crate::descriptors::{born, mark};
use crate::stamps::touch;
use crate::traps::{self, broken_pipe};
use crate::{quiet, retire};
use core::ffi::{c_int, c_uint, c_void};
use libc::{cmsghdr, mmsghdr, msghdr};
use shm_protocol::codes::{Kind, fd_flag};

crate::interpose::stubs! {
    socket(3) => socket_hook;
    socketpair(4) => socketpair_hook;
    accept(3) => accept_hook;
    accept4(4) => accept4_hook;
    recvmsg(3) => recvmsg_hook;
    recvmmsg(6) => recvmmsg_hook;
    sendmsg(3) => sendmsg_hook;
}

pub mod real {
    //! Their originals.
    use super::*;

    crate::interpose::originals! {
        socket: c"socket", unsafe extern "C-unwind" fn(c_int, c_int, c_int) -> c_int;
        socketpair: c"socketpair", unsafe extern "C-unwind" fn(c_int, c_int, c_int, *mut c_int) -> c_int;
        accept: c"accept", unsafe extern "C-unwind" fn(c_int, *mut c_void, *mut c_void) -> c_int;
        accept4: c"accept4", unsafe extern "C-unwind" fn(c_int, *mut c_void, *mut c_void, c_int) -> c_int;
        recvmsg: c"recvmsg", unsafe extern "C-unwind" fn(c_int, *mut msghdr, c_int) -> isize;
        recvmmsg: c"recvmmsg", unsafe extern "C-unwind" fn(c_int, *mut mmsghdr, c_uint, c_int, *mut c_void) -> c_int;
        sendmsg: c"sendmsg", unsafe extern "C-unwind" fn(c_int, *const msghdr, c_int) -> isize;
    }
}

makes!(socket_hook, socket(domain: c_int, kind: c_int, protocol: c_int), Kind::Socket);

extern "C-unwind" fn socketpair_hook(
    domain: c_int,
    kind: c_int,
    protocol: c_int,
    ends: *mut c_int,
    sp: usize,
    bp: usize,
) -> c_int {
    let status = original!(socketpair(domain, kind, protocol, ends));
    super::files::pair_born(ends, status, Kind::Socket, sp, bp);
    status
}

extern "C-unwind" fn accept_hook(
    fd: c_int,
    name: *mut c_void,
    length: *mut c_void,
    sp: usize,
    bp: usize,
) -> c_int {
    touch(fd);
    quiet::about_to_wait(sp, bp);
    let made = original!(accept(fd, name, length));
    born(made, Kind::Accepted, 0, caller(sp, bp));
    made
}

extern "C-unwind" fn accept4_hook(
    fd: c_int,
    name: *mut c_void,
    length: *mut c_void,
    flags: c_int,
    sp: usize,
    bp: usize,
) -> c_int {
    touch(fd);
    quiet::about_to_wait(sp, bp);
    let made = original!(accept4(fd, name, length, flags));
    born(made, Kind::Accepted, 0, caller(sp, bp));
    made
}

/// Calls `each` with every descriptor in a message's control data.
///
/// # Safety
/// `message` is a header that the kernel filled in or the caller built.
unsafe fn for_each_passed(message: *const msghdr, mut each: impl FnMut(c_int)) {
    // SAFETY: the caller's promise.
    let control = unsafe { (*message).msg_control };
    if control.is_null() {
        return;
    }
    // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR stay within msg_controllen.
    unsafe {
        let mut part: *const cmsghdr = libc::CMSG_FIRSTHDR(message);
        while !part.is_null() {
            if (*part).cmsg_level == libc::SOL_SOCKET && (*part).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*part).cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
                let numbers = libc::CMSG_DATA(part).cast::<c_int>();
                (0..bytes / 4).for_each(|i| each(numbers.add(i).read_unaligned()));
            }
            part = libc::CMSG_NXTHDR(message, part);
        }
    }
}

extern "C-unwind" fn recvmsg_hook(
    fd: c_int,
    message: *mut msghdr,
    flags: c_int,
    sp: usize,
    bp: usize,
) -> isize {
    touch(fd);
    let got = match real::recvmsg::get() {
        // SAFETY: the original, the caller's arguments.
        Some(real) => unsafe { real(fd, message, flags) },
        None => return super::missing() as isize,
    };
    if got >= 0 && !message.is_null() {
        // SAFETY: filled in by the kernel.
        unsafe { for_each_passed(message, |fd| born(fd, Kind::Received, 0, caller(sp, bp))) };
    }
    got
}

/// Five arguments: the fifth comes in its register, the caller on the stack.
extern "C-unwind" fn recvmmsg_hook(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut c_void,
    _sixth: usize,
    sp: usize,
    bp: usize,
) -> c_int {
    touch(fd);
    let got = original!(recvmmsg(fd, messages, count, flags, timeout));
    for i in 0..got.max(0) as usize {
        // SAFETY: the kernel filled the first `got` headers in.
        unsafe {
            let message = &raw const (*messages.add(i)).msg_hdr;
            for_each_passed(message, |fd| born(fd, Kind::Received, 0, caller(sp, bp)));
        }
    }
    got
}

/// What is sent away may live on elsewhere.
extern "C-unwind" fn sendmsg_hook(
    fd: c_int,
    message: *const msghdr,
    flags: c_int,
    _sp: usize,
    _bp: usize,
) -> isize {
    if touch(fd) {
        return broken_pipe();
    }
    if traps::any() && !message.is_null() {
        // SAFETY: the caller's own header.
        unsafe { for_each_passed(message, retire::due) };
    }
    let sent = match real::sendmsg::get() {
        // SAFETY: the original, the caller's arguments.
        Some(real) => unsafe { real(fd, message, flags) },
        None => return super::missing() as isize,
    };
    if sent >= 0 && !message.is_null() {
        // SAFETY: the caller's own header, which the kernel accepted.
        unsafe { for_each_passed(message, |fd| mark(fd, fd_flag::SENT)) };
    }
    sent
}
