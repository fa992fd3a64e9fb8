//! Objects of our own and children, for the tests of this folder.

use std::process::{Child, Command, Stdio};

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, Timespec, timerfd_create};

use super::outside::rearm;
use crate::model::{Fix, FixItem, Kind};

/// An item about one of our own descriptors.
pub fn item(of: &impl AsFd, action: Fix) -> FixItem {
    let stat = rustix::fs::fstat(of).unwrap();
    FixItem {
        fd: Some(of.as_fd().as_raw_fd()),
        object: (stat.st_dev, stat.st_ino),
        ..FixItem::new("x-1", Kind::Sockets, action, String::new())
    }
}

/// A timer that expires again and again after so long.
pub fn armed(every: Timespec) -> OwnedFd {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC).unwrap();
    let set = Itimerspec {
        it_interval: every,
        it_value: every,
    };
    rearm(timer.as_fd(), &set).unwrap();
    timer
}

/// One hour.
pub const HOUR: Timespec = Timespec {
    tv_sec: 3600,
    tv_nsec: 0,
};

/// A shell that waits for what is said to it.
pub fn shell(script: &str) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).stdin(Stdio::piped());
    shell.spawn().unwrap()
}
