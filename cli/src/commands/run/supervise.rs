//! Waits for the program and passes signals on, as a wrapper should.
//!
//! What the terminal sends reaches the program by itself, because it is in the
//! same process group; only what somebody sent to memguard alone is passed on.
//! What somebody outside sent to the whole group cannot be told from that, and
//! the program gets it twice: better than not at all.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::SIGCHLD;
use rustix::process::{Pid, Signal, WaitOptions, getpgid, getpgrp, kill_process, waitpid};
use signal_hook::flag::{register_conditional_default, register_conditional_shutdown};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin, Sent};

use super::inherit;

/// Not passed on: what nobody can catch, what the program's own state or our
/// own access to the terminal gives rise to, and what a fault of ours would.
const OURS: [i32; 11] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGCHLD,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGSYS,
];

/// All others, those in real time as well.
fn passed_on() -> impl Iterator<Item = i32> {
    let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
    (1..32)
        .filter(|signal| !OURS.contains(signal))
        .chain(real_time)
}

/// Catches signals from before the program starts until it has ended.
pub struct Supervisor {
    signals: SignalsInfo<WithOrigin>,
    over: Arc<AtomicBool>,
}

impl Supervisor {
    /// Takes over every signal that we pass on, also those that we were told
    /// to ignore: what becomes of them is for the program to say.
    pub fn new() -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        // A pipe without a reader and a file beyond the limit stay errors of
        // ours, never our end.
        let errors = [libc::SIGPIPE, libc::SIGXFSZ];
        for signal in passed_on().filter(|signal| !errors.contains(signal)) {
            register_conditional_default(signal, Arc::clone(&over))
                .or_else(|_| register_conditional_shutdown(signal, 128 + signal, over.clone()))?;
        }
        let signals = passed_on().chain([SIGCHLD]);
        Ok(Self {
            signals: SignalsInfo::with_exfiltrator(signals, WithOrigin::default())?,
            over,
        })
    }

    /// Returns when the program has ended. From then on signals are for us.
    pub fn wait(mut self, child: &Child) -> io::Result<ExitStatus> {
        let pid = Pid::from_child(child);
        let status = loop {
            if let Some(status) = reap(pid)? {
                break status;
            }
            for origin in self.signals.wait() {
                if origin.signal != SIGCHLD && !reached_already(&origin, pid) {
                    // It may have ended this very moment; the next wait says so.
                    inherit::send(pid, origin.signal);
                }
            }
        };
        self.over.store(true, Ordering::SeqCst);
        Ok(status)
    }
}

/// The exit status once there is one. When the program was stopped from the
/// terminal, stops us as well, so that the shell sees a stopped job.
fn reap(pid: Pid) -> io::Result<Option<ExitStatus>> {
    while let Some((_, status)) = waitpid(Some(pid), WaitOptions::NOHANG | WaitOptions::UNTRACED)? {
        if status.exited() || status.signaled() {
            return Ok(Some(ExitStatus::from_raw(status.as_raw())));
        }
        if status
            .stopping_signal()
            .is_some_and(|signal| signal != libc::SIGSTOP)
        {
            kill_process(rustix::process::getpid(), Signal::STOP)?;
            // Somebody woke us up: the program is to go on as well.
            kill_process(pid, Signal::CONT)?;
        }
    }
    Ok(None)
}

/// Whether the sender addressed the program too: the terminal does, and so
/// does a process of the same group that signals its group.
fn reached_already(origin: &Origin, program: Pid) -> bool {
    match origin.cause {
        // A timer set before memguard was started is the program's: exec
        // keeps it, fork does not. The rest comes from the terminal.
        Cause::Kernel => origin.signal != libc::SIGALRM,
        Cause::Sent(Sent::User) => origin.process.as_ref().is_some_and(|sender| {
            let group = Pid::from_raw(sender.pid).and_then(|pid| getpgid(Some(pid)).ok());
            // Our own: a write into a pipe that nobody reads.
            let own = sender.pid == std::process::id() as i32;
            own || sender.pid == program.as_raw_nonzero().get()
                || (group == Some(getpgrp()) && sent_by_child(sender.pid))
        }),
        _ => false,
    }
}

/// Whether a sender descends from us, so that its `kill 0` reached the rest.
fn sent_by_child(sender: i32) -> bool {
    let own = std::process::id() as i32;
    let mut pid = sender;
    for _ in 0..64 {
        match parent_of(pid) {
            Some(parent) if parent == own => return true,
            Some(parent) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}
