//! open, close, dup and their kin.

use super::{caller, errno, makes, original};
use crate::descriptors::{
    Closing, back, born, born_from, closing, died_from, died_range, leave_table,
};
use crate::{closes, retire, sys, traps};
use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
use shm_protocol::codes::{Kind, fd_flag};
use shm_protocol::fds::Removed;

crate::interpose::stubs! {
    open(3) => open_hook;
    open64(3) => open64_hook;
    __open(3) => open_hook;
    __open64(3) => open64_hook;
    __open_2(2) => open_2_hook;
    __open64_2(2) => open64_2_hook;
    openat(4) => openat_hook;
    openat64(4) => openat64_hook;
    __openat_2(3) => openat_2_hook;
    __openat64_2(3) => openat64_2_hook;
    creat(2) => creat_hook;
    creat64(2) => creat64_hook;
    close(1) => close_hook;
    __close(1) => close_hook;
    dup(1) => dup_hook;
    dup2(2) => dup2_hook;
    __dup2(2) => dup2_hook;
    dup3(3) => dup3_hook;
    fcntl(3) => fcntl_hook;
    fcntl64(3) => fcntl64_hook;
    __fcntl(3) => fcntl_hook;
    close_range(3) => close_range_hook;
    closefrom(1) => closefrom_hook;
    pipe(1) => pipe_hook;
    __pipe(1) => pipe_hook;
    pipe2(2) => pipe2_hook;
    mkstemp(1) => mkstemp_hook;
    mkstemp64(1) => mkstemp_hook;
    mkostemp(2) => mkostemp_hook;
    mkostemp64(2) => mkostemp_hook;
    mkstemps(2) => mkstemps_hook;
    mkstemps64(2) => mkstemps_hook;
    mkostemps(3) => mkostemps_hook;
    mkostemps64(3) => mkostemps_hook;
    shm_open(3) => shm_open_hook;
    mq_open(4) => mq_open_hook;
    __mq_open_2(2) => mq_open_2_hook;
    mq_close(1) => mq_close_hook;
    posix_openpt(1) => posix_openpt_hook;
    getpt(0) => getpt_hook;
}

pub mod real {
    //! Their originals.
    use super::*;
    type Path = *const c_char;

    crate::interpose::originals! {
        open: c"open", unsafe extern "C-unwind" fn(Path, c_int, c_uint) -> c_int;
        open64: c"open64", unsafe extern "C-unwind" fn(Path, c_int, c_uint) -> c_int;
        open_2: c"__open_2", unsafe extern "C-unwind" fn(Path, c_int) -> c_int;
        open64_2: c"__open64_2", unsafe extern "C-unwind" fn(Path, c_int) -> c_int;
        openat: c"openat", unsafe extern "C-unwind" fn(c_int, Path, c_int, c_uint) -> c_int;
        openat64: c"openat64", unsafe extern "C-unwind" fn(c_int, Path, c_int, c_uint) -> c_int;
        openat_2: c"__openat_2", unsafe extern "C-unwind" fn(c_int, Path, c_int) -> c_int;
        openat64_2: c"__openat64_2", unsafe extern "C-unwind" fn(c_int, Path, c_int) -> c_int;
        creat: c"creat", unsafe extern "C-unwind" fn(Path, c_uint) -> c_int;
        creat64: c"creat64", unsafe extern "C-unwind" fn(Path, c_uint) -> c_int;
        close: c"close", unsafe extern "C-unwind" fn(c_int) -> c_int;
        dup: c"dup", unsafe extern "C-unwind" fn(c_int) -> c_int;
        dup2: c"dup2", unsafe extern "C-unwind" fn(c_int, c_int) -> c_int;
        dup3: c"dup3", unsafe extern "C-unwind" fn(c_int, c_int, c_int) -> c_int;
        fcntl: c"fcntl", unsafe extern "C-unwind" fn(c_int, c_int, c_ulong) -> c_int;
        fcntl64: c"fcntl64", unsafe extern "C-unwind" fn(c_int, c_int, c_ulong) -> c_int;
        close_range: c"close_range", unsafe extern "C-unwind" fn(c_uint, c_uint, c_int) -> c_int;
        closefrom: c"closefrom", unsafe extern "C-unwind" fn(c_int);
        pipe: c"pipe", unsafe extern "C-unwind" fn(*mut c_int) -> c_int;
        pipe2: c"pipe2", unsafe extern "C-unwind" fn(*mut c_int, c_int) -> c_int;
        mkstemp: c"mkstemp", unsafe extern "C-unwind" fn(*mut c_char) -> c_int;
        mkostemp: c"mkostemp", unsafe extern "C-unwind" fn(*mut c_char, c_int) -> c_int;
        mkstemps: c"mkstemps", unsafe extern "C-unwind" fn(*mut c_char, c_int) -> c_int;
        mkostemps: c"mkostemps", unsafe extern "C-unwind" fn(*mut c_char, c_int, c_int) -> c_int;
        shm_open: c"shm_open", unsafe extern "C-unwind" fn(Path, c_int, c_uint) -> c_int;
        mq_open: c"mq_open", unsafe extern "C-unwind" fn(Path, c_int, c_uint, *mut c_void) -> c_int;
        mq_open_2: c"__mq_open_2", unsafe extern "C-unwind" fn(Path, c_int) -> c_int;
        mq_close: c"mq_close", unsafe extern "C-unwind" fn(c_int) -> c_int;
        posix_openpt: c"posix_openpt", unsafe extern "C-unwind" fn(c_int) -> c_int;
        getpt: c"getpt", unsafe extern "C-unwind" fn() -> c_int;
    }
}

makes!(open_hook, open(path: *const c_char, flags: c_int, mode: c_uint), of_flags(flags), at path);
makes!(open64_hook, open64(path: *const c_char, flags: c_int, mode: c_uint), of_flags(flags), at path);
makes!(open_2_hook, open_2(path: *const c_char, flags: c_int), of_flags(flags), at path);
makes!(open64_2_hook, open64_2(path: *const c_char, flags: c_int), of_flags(flags), at path);
makes!(openat_hook, openat(at: c_int, path: *const c_char, flags: c_int, mode: c_uint), of_flags(flags), at path);
makes!(openat64_hook, openat64(at: c_int, path: *const c_char, flags: c_int, mode: c_uint), of_flags(flags), at path);
makes!(openat_2_hook, openat_2(at: c_int, path: *const c_char, flags: c_int), of_flags(flags), at path);
makes!(openat64_2_hook, openat64_2(at: c_int, path: *const c_char, flags: c_int), of_flags(flags), at path);
makes!(creat_hook, creat(path: *const c_char, mode: c_uint), Kind::File, at path);
makes!(creat64_hook, creat64(path: *const c_char, mode: c_uint), Kind::File, at path);
makes!(mkstemp_hook, mkstemp(template: *mut c_char), Kind::File);
makes!(mkostemp_hook, mkostemp(template: *mut c_char, flags: c_int), Kind::File);
makes!(mkstemps_hook, mkstemps(template: *mut c_char, suffix: c_int), Kind::File);
makes!(mkostemps_hook, mkostemps(template: *mut c_char, suffix: c_int, flags: c_int), Kind::File);
makes!(shm_open_hook, shm_open(name: *const c_char, flags: c_int, mode: c_uint), Kind::SharedMemory);
makes!(mq_open_hook, mq_open(name: *const c_char, flags: c_int, mode: c_uint, attributes: *mut c_void), Kind::MessageQueue);
makes!(mq_open_2_hook, mq_open_2(name: *const c_char, flags: c_int), Kind::MessageQueue);
makes!(posix_openpt_hook, posix_openpt(flags: c_int), Kind::Pty);
makes!(getpt_hook, getpt(), Kind::Pty);

fn of_flags(flags: c_int) -> Kind {
    if flags & libc::O_DIRECTORY != 0 && flags & libc::O_TMPFILE != libc::O_TMPFILE {
        Kind::Directory
    } else {
        Kind::File
    }
}

/// close(2). Linux lets go of the number even when it reports an error.
#[unsafe(link_section = ".text.hot")]
pub extern "C-unwind" fn close_hook(fd: c_int, sp: usize, bp: usize) -> c_int {
    match closing(fd, caller(sp, bp)) {
        Closing::Known => original!(close(fd)),
        Closing::Ours => 0,
        Closing::Unknown => close_unknown(fd, sp, bp),
    }
}

#[cold]
#[inline(never)]
extern "C-unwind" fn close_unknown(fd: c_int, sp: usize, bp: usize) -> c_int {
    let status = original!(close(fd));
    if status < 0 {
        close_failed(fd, sp, bp);
    }
    status
}

/// A number without a row could not be closed.
#[cold]
pub fn close_failed(fd: c_int, sp: usize, bp: usize) {
    if errno() == libc::EBADF {
        closes::bad(fd, caller(sp, bp));
    }
}

extern "C-unwind" fn mq_close_hook(queue: c_int, sp: usize, bp: usize) -> c_int {
    if closing(queue, caller(sp, bp)) == Closing::Ours {
        return 0;
    }
    original!(mq_close(queue))
}

extern "C-unwind" fn dup_hook(fd: c_int, sp: usize, bp: usize) -> c_int {
    retire::due(fd);
    let copy = original!(dup(fd));
    duplicated(fd, copy, 0, sp, bp);
    copy
}

/// `to` was made a duplicate of `from`, if it is a number.
pub fn duplicated(from: c_int, to: c_int, flags: u8, sp: usize, bp: usize) {
    if to >= 0 {
        crate::descriptors::mark(from, fd_flag::DUPLICATED);
        born_from(
            to as u32,
            Kind::Duplicate,
            flags,
            u32::try_from(from).ok(),
            caller(sp, bp),
        );
        traps::duplicated(from as u32, to as u32);
    }
}

/// The target of dup2 and dup3 is given back without a word. While it is
/// closed on the program's behalf, the answer is EBUSY, as the kernel's own
/// is where such calls meet (dup2(2)).
pub fn placed(from: c_int, to: c_int, sp: usize, bp: usize, call: impl FnOnce() -> c_int) -> c_int {
    retire::due(from);
    retire::make_way(to);
    let ended = if from == to {
        Removed::Free
    } else {
        died_from(to, caller(sp, bp))
    };
    if ended == Removed::Claimed {
        // SAFETY: errno of this thread.
        unsafe { *libc::__errno_location() = libc::EBUSY };
        return -1;
    }
    let status = call();
    match (status < 0, ended) {
        (true, Removed::Row(info)) => back(to, info),
        (false, _) if from != to => duplicated(from, to, fd_flag::PLACED, sp, bp),
        _ => {}
    }
    status
}

extern "C-unwind" fn dup2_hook(from: c_int, to: c_int, sp: usize, bp: usize) -> c_int {
    placed(from, to, sp, bp, || original!(dup2(from, to)))
}

extern "C-unwind" fn dup3_hook(
    from: c_int,
    to: c_int,
    flags: c_int,
    sp: usize,
    bp: usize,
) -> c_int {
    placed(from, to, sp, bp, || original!(dup3(from, to, flags)))
}

extern "C-unwind" fn fcntl_hook(
    fd: c_int,
    command: c_int,
    argument: c_ulong,
    sp: usize,
    bp: usize,
) -> c_int {
    retire::due(fd);
    let result = original!(fcntl(fd, command, argument));
    after_fcntl(fd, command, result, sp, bp)
}

extern "C-unwind" fn fcntl64_hook(
    fd: c_int,
    command: c_int,
    argument: c_ulong,
    sp: usize,
    bp: usize,
) -> c_int {
    // glibc before 2.28 has only fcntl.
    let Some(real) = real::fcntl64::get() else {
        return fcntl_hook(fd, command, argument, sp, bp);
    };
    retire::due(fd);
    // SAFETY: the original, the caller's arguments.
    let result = unsafe { real(fd, command, argument) };
    after_fcntl(fd, command, result, sp, bp)
}

/// What fcntl(2) did, however it was called.
pub fn after_fcntl(fd: c_int, command: c_int, result: c_int, sp: usize, bp: usize) -> c_int {
    if command == libc::F_DUPFD || command == libc::F_DUPFD_CLOEXEC {
        duplicated(fd, result, 0, sp, bp);
    } else if LOCKS.contains(&command) {
        crate::stamps::touch(fd);
    }
    result
}

/// Taking, giving back and asking for a lock is a use of the file.
const LOCKS: [c_int; 6] = [
    libc::F_SETLK,
    libc::F_SETLKW,
    libc::F_GETLK,
    libc::F_OFD_SETLK,
    libc::F_OFD_SETLKW,
    libc::F_OFD_GETLK,
];

extern "C-unwind" fn close_range_hook(
    first: c_uint,
    last: c_uint,
    flags: c_int,
    _sp: usize,
    _bp: usize,
) -> c_int {
    closing_range(first, last, flags, |first, last| {
        original!(close_range(first, last, flags))
    })
}

/// close_range(2), however it is called; around a number that is right now
/// being closed on the program's behalf.
pub fn closing_range(
    first: c_uint,
    last: c_uint,
    flags: c_int,
    call: impl Fn(c_uint, c_uint) -> c_int,
) -> c_int {
    if flags != CLOSE_RANGE_UNSHARE {
        retire::before_range(first, last, flags == 0);
    }
    let Some(claimed) = range_closing(first, last, flags) else {
        return call(first, last);
    };
    let below = claimed.checked_sub(1).filter(|below| *below >= first);
    let status = below.map_or(0, |below| call(first, below));
    if status == 0 && claimed < last {
        call(claimed + 1, last)
    } else {
        status
    }
}

const CLOSE_RANGE_UNSHARE: c_int = 2;

/// What close_range(2) does to the rows. Marking close-on-exec closes nothing.
fn range_closing(first: c_uint, last: c_uint, flags: c_int) -> Option<c_uint> {
    const CLOEXEC: c_int = 4;
    if flags & !(CLOSE_RANGE_UNSHARE | CLOEXEC) != 0 || first > last {
        // The kernel refuses, and closes nothing.
    } else if flags & CLOSE_RANGE_UNSHARE != 0 {
        leave_table();
    } else if flags & CLOEXEC == 0 {
        return died_range(first, last);
    }
    None
}

extern "C-unwind" fn closefrom_hook(first: c_int, _sp: usize, _bp: usize) {
    retire::before_range(first.max(0) as u32, u32::MAX, true);
    let claimed = died_range(first.max(0) as u32, u32::MAX - 1);
    if let Some(real) = real::closefrom::get() {
        let above = claimed.map_or(first, |claimed| claimed as c_int + 1);
        (first.max(0)..above).for_each(|fd| {
            if claimed != Some(fd as u32) {
                sys::close(fd as isize);
            }
        });
        // SAFETY: the original.
        unsafe { real(above) };
    }
}

/// Two descriptors that a call wrote into an array.
pub fn pair_born(ends: *const c_int, status: c_int, kind: Kind, sp: usize, bp: usize) {
    if status == 0 && !ends.is_null() {
        for i in 0..2 {
            // SAFETY: the call succeeded and wrote two numbers here.
            born(unsafe { *ends.add(i) }, kind, 0, caller(sp, bp));
        }
    }
}

extern "C-unwind" fn pipe_hook(ends: *mut c_int, sp: usize, bp: usize) -> c_int {
    let status = original!(pipe(ends));
    pair_born(ends, status, Kind::Pipe, sp, bp);
    status
}

extern "C-unwind" fn pipe2_hook(ends: *mut c_int, flags: c_int, sp: usize, bp: usize) -> c_int {
    let status = original!(pipe2(ends, flags));
    pair_born(ends, status, Kind::Pipe, sp, bp);
    status
}
