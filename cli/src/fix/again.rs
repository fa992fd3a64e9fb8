//! Asks once more, shortly before objects are touched, what may have changed
//! since the two looks: watches and a rate put seconds and minutes between.
//!
//! Who has waited long is not asked all gates again, but those by which a
//! program shows that it uses the thing after all: data on a connection, a read
//! of a timer, a new process that has it too.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;

use super::owners::{Owners, Sought};
use super::ticks;
use crate::attach::process::pids;
use crate::kernel::{ProcDir, Sockets};
use crate::model::{Fix, FixItem, FixReport};

/// The kernel counts in ticks of up to 10 ms.
const TICK: Duration = Duration::from_millis(20);

/// What was known at the looks.
#[derive(Debug)]
pub struct Again {
    first_look: Timestamp,
    unread: HashMap<usize, u64>,
    pids: HashSet<i32>,
}

impl Again {
    /// Of a plan whose second look has just been taken.
    #[must_use]
    pub fn of(dir: &ProcDir, plan: &FixReport) -> Self {
        let stops = |(_, item): &(usize, &FixItem)| item.action == Fix::Disarm && item.passes();
        let timers = plan.items.iter().enumerate().filter(stops);
        let unread = timers.filter_map(|(at, item)| Some((at, unread(dir, item.fd?)?)));
        Self {
            first_look: plan.taken_at,
            unread: unread.collect(),
            pids: pids().collect(),
        }
    }

    /// When the first of the two looks was.
    #[must_use]
    pub fn first_look(&self) -> Timestamp {
        self.first_look
    }

    /// Which of these are used after all, or held by somebody new, and how that
    /// shows.
    #[must_use]
    pub fn moved(
        &self,
        dir: &ProcDir,
        items: &[FixItem],
        which: &[usize],
    ) -> HashMap<usize, &'static str> {
        let mut moved = self.read_since(dir, items, which);
        let of_sockets = which.iter().filter(|at| items[**at].action == Fix::Eof);
        let sockets: Vec<usize> = of_sockets.copied().collect();
        if sockets.is_empty() {
            return moved;
        }
        let inodes: HashSet<u64> = sockets.iter().map(|at| items[*at].object.1).collect();
        let since = Timestamp::now()
            .duration_since(self.first_look)
            .unsigned_abs();
        let listed = Sockets::listed(dir, &inodes);
        let new = pids().filter(|pid| !self.pids.contains(pid));
        let newcomers = Owners::among(new, &Sought::inodes(inodes));
        for at in sockets {
            let inode = items[at].object.1;
            let socket = listed.get(inode);
            let last = socket.and_then(|socket| socket.tcp).map(|times| {
                let last_ms = times.last_sent_ms.min(times.last_received_ms);
                Duration::from_millis(last_ms.into())
            });
            let waits = socket.and_then(|socket| socket.send_queue);
            if last.is_some_and(|last| last + TICK < since) {
                moved.insert(at, "data moved on it since the first look");
            } else if waits.is_some_and(|bytes| bytes > 0) {
                moved.insert(at, "bytes wait to be sent by now");
            } else if !newcomers.of_inode(inode).is_empty() {
                moved.insert(at, "a process that has begun since has it too");
            }
        }
        moved
    }

    /// Timers whose expirations somebody has read.
    fn read_since(
        &self,
        dir: &ProcDir,
        items: &[FixItem],
        which: &[usize],
    ) -> HashMap<usize, &'static str> {
        let was_read = |at: &&usize| {
            let is_less = |before: &u64| {
                let now = items[**at].fd.and_then(|fd| unread(dir, fd));
                now.is_some_and(|now| now < *before)
            };
            self.unread.get(at).is_some_and(is_less)
        };
        let read = which.iter().filter(was_read);
        read.map(|at| (*at, "it was read since the looks"))
            .collect()
    }
}

/// Expirations that nobody read, of a timerfd.
fn unread(dir: &ProcDir, fd: i32) -> Option<u64> {
    ticks::told_by(&dir.read(&format!("fdinfo/{fd}")).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::testing::{armed, item};
    use rustix::fd::OwnedFd;
    use rustix::time::Timespec;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    fn plan(items: Vec<FixItem>) -> FixReport {
        FixReport {
            taken_at: Timestamp::now(),
            items,
            ..crate::render::samples::fix()
        }
    }

    fn own_dir() -> ProcDir {
        ProcDir::open(std::process::id() as i32).unwrap()
    }

    #[test]
    fn a_connection_that_is_used_meanwhile_has_moved_and_its_neighbour_has_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut used = TcpStream::connect(address).unwrap();
        let idle = TcpStream::connect(address).unwrap();
        let (_one, _other) = (listener.accept().unwrap(), listener.accept().unwrap());
        std::thread::sleep(Duration::from_millis(60));
        let plan = plan(vec![item(&used, Fix::Eof), item(&idle, Fix::Eof)]);
        let again = Again::of(&own_dir(), &plan);
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(
            again.moved(&own_dir(), &plan.items, &[0, 1]),
            HashMap::new()
        );
        used.write_all(b"x").unwrap();
        let moved = again.moved(&own_dir(), &plan.items, &[0, 1]);
        assert_eq!(moved.keys().collect::<Vec<_>>(), [&0]);
    }

    #[test]
    fn a_child_that_has_begun_since_and_holds_it_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        std::thread::sleep(Duration::from_millis(60));
        let plan = plan(vec![item(&ours, Fix::Eof)]);
        let again = Again::of(&own_dir(), &plan);
        let theirs: OwnedFd = rustix::io::dup(&ours).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .stdin(theirs)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let seen = || again.moved(&own_dir(), &plan.items, &[0]).contains_key(&0);
        while !seen() && begun.elapsed() < Duration::from_secs(20) {}
        assert!(seen());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_timer_that_is_read_meanwhile_has_moved() {
        let timer = armed(Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        });
        std::thread::sleep(Duration::from_millis(500));
        let plan = plan(vec![item(&timer, Fix::Disarm)]);
        let again = Again::of(&own_dir(), &plan);
        assert_eq!(again.moved(&own_dir(), &plan.items, &[0]), HashMap::new());
        let noticed = || {
            rustix::io::read(&timer, &mut [0; 8]).unwrap();
            let moved = again.moved(&own_dir(), &plan.items, &[0]);
            moved.contains_key(&0).then_some(())
        };
        crate::kernel::testing::wait_for(noticed);
    }
}
