//! Whether a process is still the program that was looked at, and can react.
//!
//! exec keeps pid and start time, and whatever is not close-on-exec stays open
//! under its number, as the same object. What tells is the memory: `maps`,
//! opened before, goes on naming the old one and reads as empty once that is
//! gone.

use std::time::Duration;

use procfs::FromRead;
use procfs::process::Stat;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;

use crate::kernel::ProcDir;

/// Looks at a stop, and the time between two: a search of memory stops threads
/// for moments, too.
const LOOKS: usize = 3;
const BETWEEN: Duration = Duration::from_millis(100);

/// A process, held from before it was looked at.
#[derive(Debug)]
pub struct Life {
    dir: ProcDir,
    maps: Option<OwnedFd>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is no more
    Ended,
    /// exec
    Became,
    /// By a signal
    Stopped {
        /// Its pid
        pid: i32,
    },
    /// By whoever traces it
    Traced,
}

impl std::fmt::Display for Change {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended => write!(out, "the process ended"),
            Self::Became => write!(out, "it became another program (exec)"),
            Self::Stopped { pid } => write!(
                out,
                "it is stopped; continue it (kill -CONT {pid}), then ask again"
            ),
            Self::Traced => write!(
                out,
                "a debugger holds it still; let it go on, then ask again"
            ),
        }
    }
}

impl Change {
    /// Whether what was looked at is gone for good.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Ended | Self::Became)
    }
}

impl Life {
    /// Of a process that runs; none when it is gone.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let dir = ProcDir::open(pid).ok()?;
        let maps = dir.open_file("maps", OFlags::RDONLY).ok();
        Some(Self { dir, maps })
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.dir.pid()
    }

    /// What became of it, if anything did.
    #[must_use]
    pub fn change(&self) -> Option<Change> {
        self.end().or_else(|| self.stop())
    }

    /// Whether it ended, or is another program by now.
    #[must_use]
    pub fn end(&self) -> Option<Change> {
        if !is_alive(&self.dir) {
            return Some(Change::Ended);
        }
        if !self
            .maps
            .as_ref()
            .is_some_and(|maps| is_empty(maps.as_fd()))
        {
            return None;
        }
        // One that is just ending has no memory either.
        let now = self.dir.open_file("maps", OFlags::RDONLY);
        let lives = now.is_ok_and(|maps| !is_empty(maps.as_fd()));
        Some(if lives { Change::Became } else { Change::Ended })
    }

    /// Whether it stands still and stays so.
    #[must_use]
    pub fn stop(&self) -> Option<Change> {
        let mut stopped = None;
        for look in 0..LOOKS {
            stopped = Some(match state(&self.dir)?.state {
                'T' => Change::Stopped { pid: self.pid() },
                't' => Change::Traced,
                _ => return None,
            });
            if look + 1 < LOOKS {
                std::thread::sleep(BETWEEN);
            }
        }
        stopped
    }
}

fn is_empty(maps: BorrowedFd<'_>) -> bool {
    rustix::io::pread(maps, &mut [0; 1], 0).is_ok_and(|got| got == 0)
}

fn state(dir: &ProcDir) -> Option<Stat> {
    Stat::from_read(&dir.read("stat").ok()?[..]).ok()
}

/// A zombie is not.
#[must_use]
pub fn is_alive(dir: &ProcDir) -> bool {
    state(dir).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X') || stat.num_threads > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::testing::shell;
    use std::time::Instant;

    fn seen(life: &Life, wanted: Option<Change>) -> bool {
        let begun = Instant::now();
        while life.change() != wanted && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
        life.change() == wanted
    }

    #[test]
    fn another_program_under_the_same_pid_is_noticed_also_when_it_is_the_same_file() {
        let again = "read line; exec sh -c 'while :; do sleep 1; done'";
        let mut child = shell(again);
        let life = Life::of(child.id() as i32).unwrap();
        assert_eq!(life.change(), None);
        drop(child.stdin.take());
        assert!(seen(&life, Some(Change::Became)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(life.change(), Some(Change::Ended));
    }

    #[test]
    fn a_stop_is_noticed_until_it_goes_on() {
        let mut child = shell("while read line; do :; done");
        let pid = child.id() as i32;
        let life = Life::of(pid).unwrap();
        let signal = |signal| {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, signal).unwrap();
        };
        signal(rustix::process::Signal::STOP);
        assert!(seen(&life, Some(Change::Stopped { pid })));
        signal(rustix::process::Signal::CONT);
        let begun = Instant::now();
        while life.stop().is_some() && begun.elapsed() < Duration::from_secs(20) {}
        assert_eq!(life.stop(), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
