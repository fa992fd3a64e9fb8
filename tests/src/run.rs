//! Running a program to its end: its pipes, its limit, its signals.

use std::io::{Read, Write};
use std::process::Child;
use std::sync::Once;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::Outcome;

/// No program of the tests takes this long; one that does hangs, and is
/// killed so that the test fails instead of standing still.
const LIMIT: Duration = Duration::from_secs(120);

/// Keeps what whoever runs the tests left open from the programs under test:
/// they start with descriptors 0 to 2 and no other.
pub(crate) fn keep_own_descriptors() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (first, last) = (3, libc::c_uint::MAX);
        let flags = libc::CLOSE_RANGE_CLOEXEC;
        // SAFETY: close_range with this flag closes nothing; it marks.
        let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
        assert_eq!(done, 0, "close_range(2) marks descriptors");
    });
}

/// Lets a program run to its end: it stands still nowhere, for its input is
/// one long row of line ends.
#[track_caller]
pub(crate) fn finish(mut child: Child) -> Outcome {
    let pid = child.id();
    let mut input = child.stdin.take().expect("standard input is a pipe");
    let out = collect(child.stdout.take().expect("standard output is a pipe"));
    let err = collect(child.stderr.take().expect("standard error is a pipe"));
    // A program that reads no input may be gone before this is written.
    let _ = input.write_all(&[b'\n'; 64]);
    drop(input);
    let status = wait(child);
    let text = |t: JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&t.join().expect("a reader ends")).into_owned()
    };
    Outcome {
        pid,
        stdout: text(out),
        stderr: text(err),
        status,
    }
}

/// Reads a pipe to its end beside the test.
pub(crate) fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is what the program wrote.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// Waits for the end of a child, and kills one that hangs.
#[track_caller]
pub(crate) fn wait(mut child: Child) -> std::process::ExitStatus {
    let pid = child.id();
    let (over, waiter) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        let hangs = waiter.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
        if hangs {
            kill(pid, libc::SIGKILL);
        }
        hangs
    });
    let status = child.wait().expect("a child can be waited for");
    drop(over);
    let hung = watchdog.join().expect("the watchdog ends");
    assert!(!hung, "the program did not end within {LIMIT:?}");
    status
}

/// Sends a signal to a process that a test started.
pub fn kill(pid: u32, signal: i32) {
    // SAFETY: kill has no preconditions; the pid is a child of this process.
    unsafe { libc::kill(pid as libc::pid_t, signal) };
}

/// Kills the group that a program under test leads, its children included.
pub(crate) fn kill_group(leader: u32) {
    // SAFETY: kill has no preconditions; each program leads a group of its own.
    unsafe { libc::kill(-(leader as libc::pid_t), libc::SIGKILL) };
}
