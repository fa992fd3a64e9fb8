//! POSIX timers. A row's key is the kernel's number, which /proc/PID/timers
//! shows too.

use super::{caller, original};
use crate::unwind::Caller;
use crate::{live, sys, things};
use core::ffi::{c_int, c_long, c_void};
use libc::{itimerspec, timer_t};
use shm_protocol::codes::{Kind, thing_flag};
use shm_protocol::plain::pair;

crate::interpose::stubs! {
    timer_create(3) => timer_create_hook;
    timer_delete(1) => timer_delete_hook;
    timer_settime(4) => timer_settime_hook;
    timer_gettime(2) => timer_gettime_hook;
    timer_getoverrun(1) => timer_getoverrun_hook;
}

pub mod real {
    //! Their originals.
    use super::*;

    crate::interpose::originals! {
        timer_create: c"timer_create", unsafe extern "C-unwind" fn(c_int, *mut c_void, *mut timer_t) -> c_int;
        timer_delete: c"timer_delete", unsafe extern "C-unwind" fn(timer_t) -> c_int;
        timer_settime: c"timer_settime", unsafe extern "C-unwind" fn(timer_t, c_int, *const itimerspec, *mut itimerspec) -> c_int;
        timer_gettime: c"timer_gettime", unsafe extern "C-unwind" fn(timer_t, *mut itimerspec) -> c_int;
        timer_getoverrun: c"timer_getoverrun", unsafe extern "C-unwind" fn(timer_t) -> c_int;
    }
}

/// The key of a timer by the kernel's number.
pub fn key(number: u32) -> u64 {
    pair(1, number)
}

/// The kernel's number of a timer.
///
/// glibc (2.36) hands the kernel's number out as it is. Only a timer of
/// SIGEV_THREAD has an object, whose first word is that number; its address,
/// halved, is told by the top bit (kernel-posix-timers.h). An old glibc
/// has objects for all: their addresses are no such number, and not read.
fn number_of(timer: timer_t) -> Option<u32> {
    let word = timer as isize;
    if word >= 0 {
        return u32::try_from(word).ok().filter(|number| *number >> 31 == 0);
    }
    // SAFETY: libc itself reads the number there for every call on the timer.
    let number = unsafe { *((word << 1) as *const i32) };
    u32::try_from(number).ok()
}

extern "C-unwind" fn timer_create_hook(
    clock: c_int,
    event: *mut c_void,
    timer: *mut timer_t,
    sp: usize,
    bp: usize,
) -> c_int {
    let status = original!(timer_create(clock, event, timer));
    if status == 0 {
        // SAFETY: libc stored the new timer there.
        let made = unsafe { *timer };
        let number = number_of(made).filter(|number| made as isize >= 0 || is_timer(*number));
        if let Some(number) = number {
            things::born(Kind::PosixTimer, key(number), 0, caller(sp, bp));
        }
    }
    status
}

/// Whether the kernel knows a timer by that number: what was read from an
/// object of libc's is then what we take it for.
fn is_timer(number: u32) -> bool {
    live::frozen() || sys::timer_exists(number)
}

extern "C-unwind" fn timer_delete_hook(timer: timer_t, _sp: usize, _bp: usize) -> c_int {
    let number = number_of(timer);
    let row = number.and_then(|number| things::died(Kind::PosixTimer, key(number)));
    let status = original!(timer_delete(timer));
    if let (Some(number), Some(row), true) = (number, row, status != 0) {
        things::back(Kind::PosixTimer, key(number), &row);
    }
    status
}

extern "C-unwind" fn timer_settime_hook(
    timer: timer_t,
    flags: c_int,
    new: *const itimerspec,
    old: *mut itimerspec,
    _sp: usize,
    _bp: usize,
) -> c_int {
    let status = original!(timer_settime(timer, flags, new, old));
    if let Some(number) = number_of(timer).filter(|_| status == 0) {
        // SAFETY: the kernel has just read it.
        set(number, unsafe { &*new });
    }
    status
}

/// The timer was set to this.
pub fn set(number: u32, new: &itimerspec) {
    let ms = |time: &libc::timespec| {
        (time.tv_sec as u64)
            .saturating_mul(1000)
            .saturating_add((time.tv_nsec as u64).div_ceil(1_000_000))
    };
    let armed = new.it_value.tv_sec != 0 || new.it_value.tv_nsec != 0;
    let flags = move |flags: u8| match armed {
        true => flags | thing_flag::ARMED,
        false => flags & !thing_flag::ARMED,
    };
    let period_ms = ms(&new.it_interval);
    things::used(Kind::PosixTimer, key(number), Some(period_ms), flags);
}

/// The owner asked after the timer.
pub fn asked(number: u32) {
    things::used(Kind::PosixTimer, key(number), None, |flags| flags);
}

extern "C-unwind" fn timer_gettime_hook(
    timer: timer_t,
    now: *mut itimerspec,
    _sp: usize,
    _bp: usize,
) -> c_int {
    let status = original!(timer_gettime(timer, now));
    if let Some(number) = number_of(timer).filter(|_| status == 0) {
        asked(number);
    }
    status
}

extern "C-unwind" fn timer_getoverrun_hook(timer: timer_t, _sp: usize, _bp: usize) -> c_int {
    let count = original!(timer_getoverrun(timer));
    if let Some(number) = number_of(timer).filter(|_| count >= 0) {
        asked(number);
    }
    count
}

/// syscall(2) with one of the timer calls: these work on the kernel's numbers.
pub fn by_number(
    call_number: c_long,
    [a, c]: [c_long; 2],
    from: Caller,
    call: impl FnOnce() -> c_long,
) -> c_long {
    let number = a as u32;
    if call_number == libc::SYS_timer_delete {
        let row = things::died(Kind::PosixTimer, key(number));
        let status = call();
        if let Some(row) = row.filter(|_| status != 0) {
            things::back(Kind::PosixTimer, key(number), &row);
        }
        return status;
    }
    let status = call();
    match call_number {
        _ if status < 0 => {}
        libc::SYS_timer_create => {
            // SAFETY: the kernel stored the new number there.
            let made = unsafe { *(c as *const u32) };
            things::born(Kind::PosixTimer, key(made), 0, from);
        }
        // SAFETY: the kernel has just read it.
        libc::SYS_timer_settime => set(number, unsafe { &*(c as *const itimerspec) }),
        _ => asked(number),
    }
    status
}
