//! The ways to a process: by duplicates from outside, by its mailbox from
//! inside; and what the kernel shows after.

use std::cell::OnceCell;
use std::collections::HashMap;

use super::batch::{HELD_AT_ONCE, Insider};
use super::epoll::{Entry, removing};
use super::inside::Inside;
use super::life::{Change, Life};
use super::outside::{Hold, Untouched};
use super::owners::Owner;
use super::pace::Pace;
use super::stale;
use crate::kernel::descriptors::Depth;
use crate::kernel::threads::SigPipe;
use crate::kernel::{Descriptors, Facts, ProcDir, threads};
use crate::model::{FixItem, FixOutcome};
use rustix::fs::{AtFlags, statat};
use rustix::io::Errno;

/// The ways to one process.
#[derive(Debug)]
pub struct Means {
    pub(super) hold: Hold,
    pub(super) dir: ProcDir,
    pub(super) sigpipe: SigPipe,
    inside: OnceCell<Option<Inside>>,
    pub(super) insider: Option<Insider>,
    pub(super) numbers: stale::Numbers,
}

impl Means {
    /// The ways to a process, with the one into it; none when it is gone.
    #[must_use]
    pub fn of(pid: i32, inside: Option<Inside>) -> Option<Self> {
        let dir = ProcDir::open(pid).ok()?;
        Some(Self {
            hold: Hold::of(pid).ok()?,
            sigpipe: threads::sigpipe(&dir).unwrap_or(SigPipe::Kills),
            insider: inside.map(Insider::by),
            dir,
            inside: OnceCell::new(),
            numbers: stale::Numbers::default(),
        })
    }

    /// The way into it, if the library is there and takes commands.
    pub(super) fn inside(&self) -> Option<&Inside> {
        let find = || Inside::of(self.dir.pid()).ok().flatten();
        self.inside.get_or_init(find).as_ref()
    }

    /// Has the target close these itself, in batches at the rate; `search`
    /// when their plan may be old by now. Which ones it came to.
    pub fn close_lost(
        &self,
        items: &mut [FixItem],
        which: &[usize],
        search: bool,
        pace: &mut Pace<'_>,
    ) -> Vec<usize> {
        let Some(insider) = self.insider.as_ref().filter(|_| !which.is_empty()) else {
            return which.to_vec();
        };
        if search {
            insider.search_again(&self.dir, items, which);
        }
        let mut left = which.to_vec();
        left.retain(|at| items[*at].outcome.is_none());
        let most = pace.at_once(HELD_AT_ONCE);
        let mut turns = pace.turns();
        for batch in left.chunks(most) {
            if pace.is_broken() || !turns.take_all(batch) {
                break;
            }
            insider.close(&self.hold, items, batch, pace);
        }
        turns.taken()
    }

    /// Has the target stop these POSIX timers, in batches at the rate. Which
    /// ones it came to.
    pub fn stop_timers(
        &self,
        items: &mut [FixItem],
        which: &[usize],
        pace: &mut Pace<'_>,
    ) -> Vec<usize> {
        let Some(insider) = &self.insider else {
            return which.to_vec();
        };
        let most = pace.at_once(HELD_AT_ONCE);
        let mut turns = pace.turns();
        for batch in which.chunks(most) {
            if pace.is_broken() || !turns.take_all(batch) {
                break;
            }
            insider.stop_timers(items, batch, pace);
        }
        turns.taken()
    }

    /// Whether the kernel shows another object, or none, under the number.
    #[must_use]
    pub fn is_gone(&self, item: &FixItem) -> bool {
        let Some(fd) = item.fd else { return false };
        let path = format!("fd/{fd}");
        match statat(self.dir.fd(), &*path, AtFlags::empty()) {
            Ok(stat) => (stat.st_dev, stat.st_ino) != item.object,
            Err(errno) => errno == Errno::NOENT,
        }
    }

    /// Takes down which of these their owner has closed; the rest is left. At
    /// its end, and by exec, the kernel closes what the owner did not: then none
    /// is.
    pub fn settle(&self, items: &mut [FixItem], left: &mut Vec<usize>, life: &Life) {
        left.retain(|at| items[*at].outcome.is_none());
        let is_gone = |at: &usize| self.is_gone(&items[*at]);
        let gone: Vec<usize> = left.iter().copied().filter(is_gone).collect();
        if gone.is_empty() || life.end().is_some() {
            return;
        }
        for at in gone {
            items[at].outcome = Some(FixOutcome::ClosedByOwner);
        }
        left.retain(|at| items[*at].outcome.is_none());
    }

    /// A loop that gets the end of file again and again and ignores it spins:
    /// without the registration it gets nothing. How many were taken out.
    pub fn unregister(&self, items: &[&FixItem]) -> usize {
        let open = Descriptors::read(&self.dir, Depth::Facts);
        let watching = watching(&open.map(|open| open.open).unwrap_or_default());
        let entry = |item: &&FixItem| {
            let (fd, inode) = (item.fd?, item.object.1);
            let epoll = *watching.get(&(fd, inode))?;
            Some((Entry { epoll, fd }, inode))
        };
        let entries: Vec<(Entry, u64)> = items.iter().filter_map(entry).collect();
        let highest = entries.iter().map(|(entry, _)| entry.fd).max();
        let pid = self.dir.pid();
        removing(&self.hold, highest.unwrap_or(0), |by| {
            let gone = |(entry, inode): &&(Entry, u64)| {
                let holder = Owner { pid, fd: entry.fd };
                by.remove(*entry, holder, *inode).is_ok()
            };
            entries.iter().filter(gone).count()
        })
    }
}

/// The epoll that watches a number and inode.
fn watching(open: &[crate::kernel::Descriptor]) -> HashMap<(i32, u64), i32> {
    let mut watching = HashMap::new();
    for epoll in open {
        let Facts::Epoll(entries) = &epoll.facts else {
            continue;
        };
        for entry in entries {
            watching.insert((entry.fd, entry.inode), epoll.fd);
        }
    }
    watching
}

/// Those of the plan.
pub(super) fn picked<'a>(items: &'a [FixItem], which: &[usize]) -> Vec<&'a FixItem> {
    which.iter().map(|at| &items[*at]).collect()
}

/// Takes a result down.
pub(super) fn settle_with(item: &mut FixItem, outcome: Result<Option<FixOutcome>, Untouched>) {
    match outcome {
        Ok(outcome) => item.outcome = outcome,
        Err(Untouched::Vanished) => item.outcome = Some(FixOutcome::Vanished),
        Err(why) => {
            item.outcome = Some(FixOutcome::Failed);
            item.detail = Some(why.to_string());
        }
    }
}

/// Nothing has come of it in time, perhaps because of what became of the
/// process.
pub fn give_up(item: &mut FixItem, change: Option<Change>) {
    if !matches!(item.outcome, None | Some(FixOutcome::Pending)) {
        return;
    }
    item.outcome = Some(match change {
        Some(change) if change.is_end() => FixOutcome::Vanished,
        _ => FixOutcome::Pending,
    });
    if let Some(change) = change {
        item.detail = Some(change.to_string());
    }
}
