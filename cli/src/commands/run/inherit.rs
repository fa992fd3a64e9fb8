//! What the program must find as if memguard were not in between: the signal
//! mask, the ignored signals and the closed standard descriptors that memguard
//! itself was started with.
//!
//! One of the files of the command line with unsafe code.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rustix::process::Pid;

/// Whether SIGPIPE was ignored when memguard was started. Rust's start-up code
/// ignores it for itself, so this is read before that.
static PIPE_IGNORED: AtomicBool = AtomicBool::new(false);
/// Which of the standard three were closed, a bit each. Rust's start-up code
/// opens /dev/null in their place.
static CLOSED: AtomicU8 = AtomicU8::new(0);

#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = note;

extern "C" fn note() {
    note_pipe();
    // SAFETY: asks for flags only.
    let closed = |fd: &i32| unsafe { libc::fcntl(*fd, libc::F_GETFD) } == -1;
    let bits = (0..3).filter(closed).fold(0, |bits, fd| bits | 1 << fd);
    CLOSED.store(bits, Ordering::Relaxed);
}

fn note_pipe() {
    let mut old = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only; `old` is a valid place for the answer, and all-zero
    // bytes are a valid sigaction should the call fail.
    let old = unsafe {
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), old.as_mut_ptr());
        old.assume_init()
    };
    PIPE_IGNORED.store(old.sa_sigaction == libc::SIG_IGN, Ordering::Relaxed);
}

/// Signals that memguard was started with, as bit masks (bit N-1 is signal N).
#[derive(Debug, Clone, Copy, Default)]
pub struct Inherited {
    blocked: u64,
    ignored: u64,
}

impl Inherited {
    /// Reads them; only right before any handler is installed.
    pub fn read() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            blocked: mask(&status, "SigBlk:"),
            ignored: mask(&status, "SigIgn:"),
        }
    }
}

fn mask(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

/// Has the child start with the mask, the ignored signals and the closed
/// descriptors that we started with: the standard library clears the mask and SIGPIPE, and the handlers
/// that pass signals on would become the default at exec.
pub fn pass_on(command: &mut Command, inherited: Inherited) {
    let pipe = u64::from(PIPE_IGNORED.load(Ordering::Relaxed)) << (libc::SIGPIPE - 1);
    let others = inherited.ignored & !(1 << (libc::SIGPIPE - 1));
    let (blocked, ignored) = (inherited.blocked, others | pipe);
    let closed = CLOSED.load(Ordering::Relaxed);
    // SAFETY: the closure runs between fork and exec and makes only
    // async-signal-safe calls on its own captured integers. What it closes is
    // /dev/null, put there by nobody that still wants it.
    unsafe {
        command.pre_exec(move || {
            for fd in (0..3).filter(|fd| closed >> fd & 1 == 1) {
                libc::close(fd);
            }
            restore(blocked, ignored)
        })
    };
}

fn restore(blocked: u64, ignored: u64) -> io::Result<()> {
    let within = |mask: u64| (1..=64).filter(move |signal| mask >> (signal - 1) & 1 == 1);
    // SAFETY: `set` is initialised by sigemptyset before use, and all calls
    // are async-signal-safe and take valid pointers.
    unsafe {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
        libc::sigemptyset(set.as_mut_ptr());
        for signal in within(blocked) {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
        for signal in within(ignored) {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
    Ok(())
}

/// Sends any signal, those in real time too, to a child not yet waited for.
pub fn send(child: Pid, signal: i32) {
    // SAFETY: kill(2) touches no memory of ours.
    unsafe { libc::kill(child.as_raw_nonzero().get(), signal) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_read_by_name() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert_eq!(
            (mask(status, "SigBlk:"), mask(status, "SigIgn:")),
            (0, 0x1001)
        );
        assert_eq!(mask("", "SigIgn:"), 0);
    }
}
