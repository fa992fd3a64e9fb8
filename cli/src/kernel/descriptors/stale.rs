//! Epoll registrations whose file is no longer the one at its number.
//!
//! Closing a number does not end its registrations while a duplicate keeps the
//! file open, be it in another process: the epoll goes on telling of a number
//! that is closed or names something else (epoll(7), questions 6 and 9).
//!
//! Programs close and open while they are looked at, so a suspicion counts
//! only if the registration was there before and after a look at its number,
//! twice, some time apart: a child between fork and exec holds duplicates too.

use super::{Descriptor, Descriptors, Facts, Kind, Look, Registration, Table, fdinfo};
use crate::kernel::{KernelError, ProcDir, children, text};
use rustix::fs::OFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Between the two looks at what is suspected.
const APART: Duration = Duration::from_millis(100);

/// Why a registration is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its number is closed.
    Closed,
    /// Its number names another file now.
    Another,
}

/// A registration that is stale for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The epoll.
    pub epoll: i32,
    /// What it goes on watching.
    pub registration: Registration,
    /// Why nobody can want that.
    pub why: Why,
}

/// All stale registrations of a process, by epoll.
pub fn read(dir: &ProcDir, open: &Descriptors) -> Vec<Stale> {
    let epolls = open.open.iter().filter_map(|row| match &row.facts {
        Facts::Epoll(list) => Some((row.fd, &**list)),
        _ => None,
    });
    let mut stale: Vec<Stale> = epolls
        .flat_map(|(epoll, list)| judge(epoll, list, |fd| open.get(fd)))
        .collect();
    for look in 0..2 {
        if stale.is_empty() {
            break;
        }
        if look > 0 {
            std::thread::sleep(APART);
        }
        stale = still(dir, &stale);
    }
    if !stale.is_empty() {
        let mut relatives = Relatives::of(dir);
        stale.retain(|one| !relatives.may_share(one));
    }
    stale
}

/// The parent and the children: an epoll that came by fork is theirs as well,
/// and what is stale here may be registered by a number of theirs.
struct Relatives {
    dirs: Vec<ProcDir>,
    /// The parent may not be looked at
    hidden: bool,
    /// What theirs list, by number: read once for thousands of entries
    listed: BTreeMap<i32, BTreeSet<Key>>,
}

impl Relatives {
    fn of(dir: &ProcDir) -> Self {
        let status = dir.read("status").unwrap_or_default();
        let parent: i32 = text::field(&status, "PPid:")
            .and_then(|word| word.parse().ok())
            .unwrap_or(0);
        let children = children::read(dir).ok().flatten().unwrap_or_default();
        let pids = children.iter().map(|child| child.pid);
        // Who started the system hands no epoll on.
        let parent = Some(parent).filter(|pid| *pid > 1);
        let hidden = parent.is_some_and(|pid| {
            let listed = ProcDir::open(pid).and_then(|dir| dir.open_file("fd", OFlags::RDONLY));
            matches!(listed, Err(KernelError::NotPermitted { .. }))
        });
        let dirs = parent.into_iter().chain(pids);
        Self {
            dirs: dirs.filter_map(|pid| ProcDir::open(pid).ok()).collect(),
            hidden,
            listed: BTreeMap::new(),
        }
    }

    /// fork keeps numbers, so the same epoll has the same number there, and
    /// the same entry.
    fn may_share(&mut self, one: &Stale) -> bool {
        let dirs = &self.dirs;
        let listed = self.listed.entry(one.epoll);
        let theirs = listed.or_insert_with(|| {
            let lists = dirs.iter().map(|dir| registered(dir, one.epoll));
            lists.flatten().collect()
        });
        self.hidden || theirs.contains(&key(&one.registration))
    }
}

/// What the epoll of that number lists; nothing if it is none.
fn registered(dir: &ProcDir, epoll: i32) -> Vec<Key> {
    let text = dir.read(&format!("fdinfo/{epoll}")).unwrap_or_default();
    match fdinfo::parse(Kind::Epoll, &text).facts {
        Facts::Epoll(list) => list.iter().map(key).collect(),
        _ => Vec::new(),
    }
}

/// The stale ones of an epoll's list.
///
/// An epoll may list one number several times, each time with another file;
/// the number names one of them at most.
fn judge<'a>(
    epoll: i32,
    list: &[Registration],
    now: impl Fn(i32) -> Option<&'a Descriptor>,
) -> Vec<Stale> {
    let mut unproven = BTreeSet::new();
    let judged = list.iter().filter_map(|registration| {
        let fd = registration.fd;
        let again = || (!unproven.insert(fd)).then_some(Why::Another);
        let why = why(registration, now(fd)).or_else(again)?;
        Some(Stale {
            epoll,
            registration: *registration,
            why,
        })
    });
    judged.collect()
}

/// Those that are there before and after a look at their numbers.
fn still(dir: &ProcDir, suspected: &[Stale]) -> Vec<Stale> {
    let Ok(table) = Table::open(dir) else {
        return Vec::new();
    };
    let mut look = Look::new(&table, super::Depth::Facts);
    let numbers: BTreeSet<i32> = suspected.iter().map(|one| one.registration.fd).collect();
    let epolls: BTreeSet<i32> = suspected.iter().map(|one| one.epoll).collect();
    let list = |look: &mut Look<'_>| -> BTreeMap<i32, Vec<Registration>> {
        let lists = epolls
            .iter()
            .filter_map(|epoll| match look.at(*epoll)?.facts {
                Facts::Epoll(list) => Some((*epoll, list)),
                _ => None,
            });
        lists.collect()
    };
    let before = list(&mut look);
    let now: BTreeMap<i32, Descriptor> = numbers
        .iter()
        .filter_map(|fd| Some((*fd, look.at(*fd)?)))
        .collect();
    let after = list(&mut look);
    let judged = before.iter().flat_map(|(epoll, before)| {
        let stayed = common(before, after.get(epoll).map_or(&[], Vec::as_slice));
        let of_numbers: Vec<Registration> = stayed
            .into_iter()
            .filter(|one| numbers.contains(&one.fd))
            .collect();
        judge(*epoll, &of_numbers, |fd| now.get(&fd))
    });
    let stale: Vec<Stale> = judged.collect();
    // What is new in this look was not suspected.
    let known: Vec<Registration> = suspected.iter().map(|one| one.registration).collect();
    let mut left = Tally::of(&known);
    let taken = stale.into_iter().filter(|one| left.take(&one.registration));
    taken.collect()
}

/// What is in both lists, as often as it is in both.
fn common(a: &[Registration], b: &[Registration]) -> Vec<Registration> {
    let mut left = Tally::of(b);
    a.iter().filter(|one| left.take(one)).copied().collect()
}

/// How often each is in a list.
struct Tally(BTreeMap<Key, usize>);

impl Tally {
    fn of(list: &[Registration]) -> Self {
        let mut counts = BTreeMap::new();
        for one in list {
            *counts.entry(key(one)).or_default() += 1;
        }
        Self(counts)
    }

    /// Whether there is one more of it.
    fn take(&mut self, one: &Registration) -> bool {
        let left = self.0.get_mut(&key(one)).filter(|count| **count > 0);
        left.map(|count| *count -= 1).is_some()
    }
}

/// What tells one registration from another. The mask changes: one-shot ones
/// lose theirs.
type Key = (i32, u64, u64, u64);

fn key(one: &Registration) -> Key {
    (one.fd, one.inode, one.device, one.data)
}

/// None where the number may still name the registered file.
fn why(registration: &Registration, now: Option<&Descriptor>) -> Option<Why> {
    let Some(now) = now else {
        return Some(Why::Closed);
    };
    let differs = registration.inode != 0
        && (registration.device, registration.inode) != (now.device, now.inode);
    let another = match now.kind {
        // Never in an epoll: epoll_ctl refuses them.
        Kind::Regular | Kind::Directory => true,
        // What has a path may show another inode there than the epoll does:
        // layered file systems have two.
        Kind::Fifo | Kind::Device | Kind::Other | Kind::Pidfd | Kind::Memfd => false,
        // A socket or pipe has an inode of its own. The anonymous kinds share
        // one, so another of their kind looks the same.
        _ => differs,
    };
    another.then_some(Why::Another)
}

#[cfg(test)]
mod tests {
    use super::super::Depth;
    use super::*;
    use crate::kernel::testing::Running;

    fn look(text: &str) -> Vec<(i32, Why)> {
        let (child, _) = Running::python(text);
        let dir = child.dir();
        let open = Descriptors::read(&dir, Depth::Facts).expect("our child");
        let stale = read(&dir, &open);
        stale
            .iter()
            .map(|one| (one.registration.fd, one.why))
            .collect()
    }

    #[test]
    fn closed_and_reused_numbers_are_found() {
        let found = look(
            "import os, select, socket, time; e = select.epoll()\n\
             a, b = os.pipe(); os.dup2(a, 300); e.register(300); os.close(300)\n\
             s, t = socket.socketpair(); e.register(s); os.dup2(s.fileno(), 101); os.dup2(b, s.fileno())\n\
             u, v = socket.socketpair(); e.register(u); os.dup2(u.fileno(), 102)\n\
             f = os.open('/etc/passwd', 0); os.dup2(f, u.fileno())\n\
             print(flush=True); time.sleep(60)",
        );
        let why: Vec<Why> = found.iter().map(|(_, why)| *why).collect();
        assert_eq!(why.iter().filter(|why| **why == Why::Closed).count(), 1);
        assert_eq!(why.iter().filter(|why| **why == Why::Another).count(), 2);
    }

    /// Eventfds share an inode, but one number names one of them.
    #[test]
    fn a_number_registered_again_leaves_all_but_one_stale() {
        let found = look(
            "import ctypes, os, select, time; c = ctypes.CDLL(None); e = select.epoll(); keep = []\n\
             for i in range(4):\n    f = c.eventfd(0, 0); e.register(f); keep.append(os.dup(f))\n    i < 3 and os.close(f)\n\
             print(flush=True); time.sleep(60)",
        );
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|(_, why)| *why == Why::Another));
    }

    /// A forked child closes its copies of what its parent goes on using, in
    /// an epoll that is both theirs.
    #[test]
    fn what_a_parent_still_wants_is_not_stale_in_its_child() {
        let (parent, line) = Running::python(
            "import os, select, socket, time; e = select.epoll(); a, b = socket.socketpair()\n\
             e.register(a); pid = os.fork()\n\
             if pid == 0: a.close(); time.sleep(60); os._exit(0)\n\
             time.sleep(0.3); print(pid, flush=True); time.sleep(60)",
        );
        let stale = |pid| {
            let dir = ProcDir::open(pid).expect("it lives");
            let open = Descriptors::read(&dir, Depth::Facts).expect("ours");
            read(&dir, &open).len()
        };
        let child: i32 = line.parse().expect("a pid");
        let found = (stale(child), stale(parent.pid()));
        let pid = rustix::process::Pid::from_raw(child).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("our grandchild");
        assert_eq!(found, (0, 0));
    }

    #[test]
    fn nothing_healthy_of_any_kind_is_stale() {
        let found = look(
            "import ctypes, os, select, signal, socket, time; c = ctypes.CDLL(None); e = select.epoll()\n\
             mask = (ctypes.c_char * 128)(); inner = select.epoll()\n\
             os.mkfifo('/tmp/memguard-fifo-%d' % os.getpid()); name = '/tmp/memguard-fifo-%d' % os.getpid()\n\
             l = socket.create_server(('127.0.0.1', 0)); n = socket.create_connection(l.getsockname())\n\
             p, q = os.openpty(); fs = [*os.pipe(), os.open(name, os.O_RDWR), p, q, l.fileno(), n.fileno()]\n\
             os.unlink(name)\n\
             fs += [c.eventfd(0, 0), c.timerfd_create(1, 0), c.signalfd(-1, mask, 0), c.inotify_init(), inner.fileno()]\n\
             keep = socket.socketpair(); fs += [os.pidfd_open(os.getpid()), *[s.fileno() for s in keep]]\n\
             [e.register(f) for f in fs if f >= 0]\n\
             print(flush=True); time.sleep(60)",
        );
        assert_eq!(found, []);
    }
}
