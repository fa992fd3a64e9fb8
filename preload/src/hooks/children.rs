//! Children: made by fork and its kin (see `process`), ended by whoever waits
//! for them.
//!
//! `system`, `popen` and `pclose` make and reap theirs within libc, unseen.
//! A child's number is given out again only after a round through all, so a
//! row is removed after the call here: before it nobody knows whose.

use super::{caller, original};
use crate::unwind::Caller;
use crate::{birth, retire, things};
use core::ffi::{c_char, c_int, c_uint, c_void};
use libc::{pid_t, siginfo_t};
use shm_protocol::codes::Kind;
use shm_protocol::plain::pair;

crate::interpose::stubs! {
    wait(1) => wait_hook;
    waitpid(3) => waitpid_hook;
    wait3(3) => wait3_hook;
    wait4(4) => wait4_hook;
    waitid(4) => waitid_hook;
    posix_spawn(6) => posix_spawn_hook;
    posix_spawnp(6) => posix_spawnp_hook;
}

type Spawn = unsafe extern "C" fn(
    *mut pid_t,
    *const c_char,
    *const c_void,
    *const c_void,
    *const c_void,
    *const c_void,
) -> c_int;

pub mod real {
    //! Their originals.
    use super::*;

    crate::interpose::originals! {
        wait: c"wait", unsafe extern "C-unwind" fn(*mut c_int) -> pid_t;
        waitpid: c"waitpid", unsafe extern "C-unwind" fn(pid_t, *mut c_int, c_int) -> pid_t;
        wait3: c"wait3", unsafe extern "C-unwind" fn(*mut c_int, c_int, *mut c_void) -> pid_t;
        wait4: c"wait4", unsafe extern "C-unwind" fn(pid_t, *mut c_int, c_int, *mut c_void) -> pid_t;
        waitid: c"waitid", unsafe extern "C-unwind" fn(c_uint, c_uint, *mut siginfo_t, c_int) -> c_int;
        posix_spawn: c"posix_spawn", Spawn;
        posix_spawnp: c"posix_spawnp", Spawn;
    }
}

/// Under which a child's row is found.
pub fn key(pid: pid_t) -> u64 {
    pair(1, pid as u32)
}

/// A fork: its stack is taken before, since after it each page of ours that is
/// written to must be copied first.
pub fn forked(from: Caller, fork: impl FnOnce() -> pid_t) -> pid_t {
    let origin = things::origin_of_child(from);
    let before = birth::before_fork();
    let pid = fork();
    if let Some(origin) = origin.filter(|_| pid > 0) {
        things::child_born(key(pid), before.tick_plus_one(), origin);
    }
    pid
}

/// A child was made; let errors and the child's own side pass.
pub fn made(pid: pid_t, from: Caller) {
    if pid > 0 {
        things::born(Kind::Child, key(pid), 0, from);
    }
}

/// What a wait of the older kind gave, with the status that it stored.
pub fn waited(pid: pid_t, status: c_int) {
    let ended = libc::WIFEXITED(status) || libc::WIFSIGNALED(status);
    if pid > 0 && ended {
        things::died(Kind::Child, key(pid));
    }
}

/// Where the status goes: the caller's word or, if it wants none, ours.
pub fn place(theirs: *mut c_int, ours: &mut c_int) -> *mut c_int {
    if theirs.is_null() { ours } else { theirs }
}

/// Waits with a place for the status, and notes what came of it.
macro_rules! waits {
    ($hook:ident, $real:ident($($arg:ident: $type:ty),*), $status:ident) => {
        extern "C-unwind" fn $hook($($arg: $type,)* _sp: usize, _bp: usize) -> pid_t {
            let mut ours = 0;
            let $status = place($status, &mut ours);
            let pid = original!($real($($arg),*));
            if pid > 0 {
                // SAFETY: the kernel has just written there.
                waited(pid, unsafe { *$status });
            }
            pid
        }
    };
}

waits!(wait_hook, wait(status: *mut c_int), status);
waits!(waitpid_hook, waitpid(pid: pid_t, status: *mut c_int, options: c_int), status);
waits!(wait3_hook, wait3(status: *mut c_int, options: c_int, usage: *mut c_void), status);
waits!(wait4_hook, wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut c_void), status);

extern "C-unwind" fn waitid_hook(
    kind: c_uint,
    id: c_uint,
    info: *mut siginfo_t,
    options: c_int,
    _sp: usize,
    _bp: usize,
) -> c_int {
    // SAFETY: all-zero is a valid siginfo_t.
    let mut ours: siginfo_t = unsafe { core::mem::zeroed() };
    let info = if info.is_null() { &raw mut ours } else { info };
    let status = original!(waitid(kind, id, info, options));
    // SAFETY: the kernel has just filled it in.
    unsafe { waited_for(status, info, options) };
    status
}

/// What waitid(2) gave.
///
/// # Safety
/// `info` is what the kernel filled in.
pub unsafe fn waited_for(status: c_int, info: *const siginfo_t, options: c_int) {
    if status != 0 || options & libc::WNOWAIT != 0 {
        return;
    }
    // SAFETY: the caller's promise.
    let (code, pid) = unsafe { ((*info).si_code, (*info).si_pid()) };
    let ended = [libc::CLD_EXITED, libc::CLD_KILLED, libc::CLD_DUMPED].contains(&code);
    if ended && pid > 0 {
        things::died(Kind::Child, key(pid));
    }
}

macro_rules! spawns {
    ($hook:ident, $real:ident) => {
        extern "C-unwind" fn $hook(
            pid: *mut pid_t,
            path: *const c_char,
            actions: *const c_void,
            attributes: *const c_void,
            arguments: *const c_void,
            environment: *const c_void,
            sp: usize,
            bp: usize,
        ) -> c_int {
            let Some(real) = real::$real::get() else {
                return libc::ENOSYS;
            };
            // Its file actions may name any number.
            retire::restore_all();
            let mut ours = 0;
            let pid = if pid.is_null() { &raw mut ours } else { pid };
            // SAFETY: the original, the caller's arguments.
            let status = unsafe { real(pid, path, actions, attributes, arguments, environment) };
            if status == 0 {
                // SAFETY: libc has just stored the number there.
                made(unsafe { *pid }, caller(sp, bp));
            }
            status
        }
    };
}

spawns!(posix_spawn_hook, posix_spawn);
spawns!(posix_spawnp_hook, posix_spawnp);
