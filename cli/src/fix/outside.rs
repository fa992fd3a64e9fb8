//! Acts from outside, on a duplicate of the target's descriptor: first the
//! object is held, then its identity is checked, then something is done, then
//! it is let go. What its number means by then does not matter.

use super::ticks;
use crate::model::FixItem;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{Shutdown, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use rustix::time::{Itimerspec, TimerfdTimerFlags, timerfd_settime};

/// Why an object was not touched.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Untouched {
    /// The number is closed, or names another object
    #[error("it is gone, or its number names another object by now")]
    Vanished,
    /// No right to
    #[error(
        "the kernel does not let this user take a duplicate; run memguard as the process's user or as root, \
        with ptrace permitted"
    )]
    NotPermitted,
    /// Else
    #[error("the kernel refused ({0})")]
    Kernel(Errno),
}

impl From<Errno> for Untouched {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::BADF | Errno::SRCH | Errno::NOENT => Self::Vanished,
            Errno::PERM | Errno::ACCESS => Self::NotPermitted,
            other => Self::Kernel(other),
        }
    }
}

/// The target, held by a pidfd: its pid cannot come to mean another process.
#[derive(Debug)]
pub struct Hold {
    pid: i32,
    process: OwnedFd,
}

impl Hold {
    /// Holds a process.
    ///
    /// # Errors
    /// When it is gone.
    pub fn of(pid: i32) -> Result<Self, Untouched> {
        let process = Pid::from_raw(pid).ok_or(Untouched::Vanished)?;
        Ok(Self {
            pid,
            process: pidfd_open(process, PidfdFlags::empty())?,
        })
    }

    /// The same, held by a descriptor of at least that number.
    ///
    /// # Errors
    /// No such number is free.
    pub fn again(&self, least: i32) -> Result<Self, Errno> {
        Ok(Self {
            pid: self.pid,
            process: rustix::io::fcntl_dupfd_cloexec(&self.process, least)?,
        })
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A duplicate of its descriptor, whatever that is by now.
    ///
    /// # Errors
    /// Closed, or not permitted.
    pub fn duplicate(&self, fd: i32) -> Result<OwnedFd, Untouched> {
        Ok(pidfd_getfd(&self.process, fd, PidfdGetfdFlags::empty())?)
    }

    /// A duplicate of the very object of the plan.
    ///
    /// # Errors
    /// It is another object by now, or not permitted.
    pub fn object(&self, item: &FixItem) -> Result<OwnedFd, Untouched> {
        let fd = item.fd.ok_or(Untouched::Vanished)?;
        let copy = self.duplicate(fd)?;
        let stat = rustix::fs::fstat(&copy)?;
        let same = (stat.st_dev, stat.st_ino) == item.object && same_cookie(&copy, item.cookie);
        if same {
            Ok(copy)
        } else {
            Err(Untouched::Vanished)
        }
    }
}

fn same_cookie(copy: &OwnedFd, cookie: Option<u64>) -> bool {
    cookie.is_none_or(|cookie| sockopt::socket_cookie(copy).is_ok_and(|now| now == cookie))
}

/// Shows the owner an end of file. Sends no packet; later writes still go out.
///
/// # Errors
/// The kernel's.
pub fn end_of_file(socket: BorrowedFd<'_>) -> Result<(), Untouched> {
    Ok(rustix::net::shutdown(socket, Shutdown::Read)?)
}

/// Ends both directions, where the owner took no notice of the end of file.
///
/// # Errors
/// The kernel's.
pub fn hang_up(socket: BorrowedFd<'_>) -> Result<(), Untouched> {
    Ok(rustix::net::shutdown(socket, Shutdown::Both)?)
}

/// Whether a timer does not run.
#[must_use]
pub fn is_off(timer: &Itimerspec) -> bool {
    timer.it_value.tv_sec == 0 && timer.it_value.tv_nsec == 0
}

/// Stops a timerfd; gives what it was set to. What it has counted stays to be
/// read.
///
/// # Errors
/// The kernel's.
pub fn disarm(timer: BorrowedFd<'_>) -> Result<Itimerspec, Untouched> {
    let zero = rustix::time::Timespec::default();
    let off = Itimerspec {
        it_interval: zero,
        it_value: zero,
    };
    let stop = || timerfd_settime(timer, TimerfdTimerFlags::empty(), &off);
    Ok(ticks::keep(timer, stop)?)
}

/// Sets a timerfd back to what it was.
///
/// # Errors
/// The kernel's.
pub fn rearm(timer: BorrowedFd<'_>, to: &Itimerspec) -> Result<(), Untouched> {
    ticks::keep(timer, || {
        timerfd_settime(timer, TimerfdTimerFlags::empty(), to)
    })?;
    Ok(())
}

/// Whether a socket listens: never to be touched.
#[must_use]
pub fn listens(socket: &impl AsFd) -> bool {
    sockopt::socket_acceptconn(socket).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::testing::{HOUR, armed, item};
    use crate::model::Fix;
    use rustix::time::timerfd_gettime;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn an_end_of_file_reaches_the_owner_and_the_peer_notices_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        let hold = Hold::of(std::process::id() as i32).unwrap();
        let copy = hold.object(&item(&ours, Fix::Eof)).unwrap();
        end_of_file(copy.as_fd()).unwrap();
        assert_eq!(ours.read(&mut [0; 8]).unwrap(), 0);
        std::io::Write::write_all(&mut ours, b"still").unwrap();
        let mut got = [0; 5];
        theirs.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"still");
    }

    #[test]
    fn another_object_under_the_number_is_not_touched() {
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let hold = Hold::of(std::process::id() as i32).unwrap();
        let mut planned = item(&one, Fix::Eof);
        planned.object = item(&other, Fix::Eof).object;
        assert!(matches!(hold.object(&planned), Err(Untouched::Vanished)));
        let cookie = FixItem {
            cookie: Some(1),
            ..item(&one, Fix::Eof)
        };
        assert!(matches!(hold.object(&cookie), Err(Untouched::Vanished)));
    }

    #[test]
    fn a_timer_is_stopped_and_set_back() {
        let timer = armed(HOUR);
        let old = disarm(timer.as_fd()).unwrap();
        assert_eq!(timerfd_gettime(&timer).unwrap().it_value.tv_sec, 0);
        assert_eq!(old.it_interval.tv_sec, 3600);
        rearm(timer.as_fd(), &old).unwrap();
        assert!(timerfd_gettime(&timer).unwrap().it_value.tv_sec > 3500);
    }

    /// A program may count by a timer that it seldom reads.
    #[test]
    fn what_a_timer_has_counted_stays_to_be_read() {
        let often = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        };
        let timer = armed(often);
        let ticks = || ticks::unread(timer.as_fd()).unwrap();
        crate::kernel::testing::wait_for(|| (ticks() > 0).then_some(()));
        // Asking counts what has come since, and goes on counting.
        timerfd_gettime(&timer).unwrap();
        let before = ticks();
        let old = disarm(timer.as_fd()).unwrap();
        let stopped = ticks();
        assert!(stopped >= before);
        rearm(timer.as_fd(), &old).unwrap();
        let mut read = [0; 8];
        rustix::io::read(&timer, &mut read).unwrap();
        assert!(u64::from_ne_bytes(read) >= stopped);
    }

    #[test]
    fn a_listener_is_known_without_being_changed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listens(&listener));
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!listens(&stream));
    }
}
