//! What is done to one item, by its action, and what the kernel shows after.

use std::cell::OnceCell;
use std::os::fd::AsFd;
use std::time::Instant;

use super::batch::{AT_ONCE, Insider};
use super::inside::Inside;
use super::ladder::{Pace, wait_for_turn};
use super::life::Change;
use super::outside::{self, Hold, Untouched};
use super::owners::Owner;
use super::{epoll, retire, stale, unix, watches};
use crate::kernel::descriptors::Depth;
use crate::kernel::threads::SigPipe;
use crate::kernel::{Descriptors, Facts, ProcDir, threads};
use crate::model::{Fix, FixItem, FixOutcome};
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
    numbers: stale::Numbers,
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

    /// Does what the item asks for; its outcome where that is known at once.
    pub fn act(&self, at: usize, item: &mut FixItem, pace: &mut Pace<'_>) {
        let kept = item.action == Fix::Disarm || (pace.record)(at, item, None);
        let outcome = match item.action {
            // What is parked is only found again by the log.
            Fix::Retire if !kept => Ok(Some(FixOutcome::NotLogged)),
            Fix::Eof => self.show_end(item),
            Fix::Disarm => self.disarm(at, item, pace),
            Fix::Retire => retire::retire(self, item),
            Fix::WatchDel => watches::remove(&self.hold, &self.dir, item).map(Some),
            Fix::EpollDel => stale::remove(&self.hold, &self.dir, &self.numbers, item).map(Some),
            _ => Ok(Some(FixOutcome::Refused)),
        };
        settle_with(item, outcome);
    }

    /// Has the target close these itself, in batches at the rate; `search`
    /// when their plan may be old by now.
    pub fn close_lost(
        &self,
        items: &mut [FixItem],
        which: &[usize],
        search: bool,
        pace: &mut Pace<'_>,
    ) {
        let Some(insider) = self.insider.as_ref().filter(|_| !which.is_empty()) else {
            return;
        };
        if search {
            insider.search_again(&self.dir, items, which);
        }
        let mut left = which.to_vec();
        left.retain(|at| items[*at].outcome.is_none());
        let begun = Instant::now();
        for (n, batch) in left.chunks(AT_ONCE).enumerate() {
            wait_for_turn(begun, n * AT_ONCE, pace.per_second);
            insider.close(&self.hold, items, batch, pace);
        }
    }

    /// Has the target stop these POSIX timers, in batches at the rate.
    pub fn stop_timers(&self, items: &mut [FixItem], which: &[usize], pace: &mut Pace<'_>) {
        let Some(insider) = &self.insider else { return };
        let begun = Instant::now();
        for (n, batch) in which.chunks(AT_ONCE).enumerate() {
            wait_for_turn(begun, n * AT_ONCE, pace.per_second);
            insider.stop_timers(items, batch, pace);
        }
    }

    /// The owner decides; what became of it is seen later.
    fn show_end(&self, item: &FixItem) -> Result<Option<FixOutcome>, Untouched> {
        let copy = self.hold.object(item)?;
        if outside::listens(&copy) || !unix::has_an_end(&copy) {
            return Ok(Some(FixOutcome::Refused));
        }
        match outside::end_of_file(copy.as_fd()) {
            // Its peer has reset the connection meanwhile: the end is there.
            Err(Untouched::Kernel(Errno::NOTCONN)) => Ok(None),
            other => other.map(|()| None),
        }
    }

    fn disarm(
        &self,
        at: usize,
        item: &mut FixItem,
        pace: &mut Pace<'_>,
    ) -> Result<Option<FixOutcome>, Untouched> {
        let copy = self.hold.object(item)?;
        // All timerfds share an inode: only the library's row tells them apart.
        if self
            .insider
            .as_ref()
            .is_some_and(|one| !one.inside().is_still(item))
        {
            return Err(Untouched::Vanished);
        }
        let before = rustix::time::timerfd_gettime(&copy)?;
        if is_off(&before) {
            // Somebody has stopped it since the plan was made.
            return Err(Untouched::Vanished);
        }
        if !(pace.record)(at, item, Some(&before)) {
            return Ok(Some(FixOutcome::NotLogged));
        }
        outside::disarm(copy.as_fd())?;
        let now = rustix::time::timerfd_gettime(&copy)?;
        Ok(Some(if is_off(&now) {
            FixOutcome::Disarmed
        } else {
            FixOutcome::Failed
        }))
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

    /// A loop that gets the end of file again and again and ignores it spins:
    /// without the registration it gets nothing.
    pub fn unregister(&self, item: &FixItem) -> bool {
        let Some(fd) = item.fd else { return false };
        let open = Descriptors::read(&self.dir, Depth::Facts);
        let epolls = open.map(|open| open.open).unwrap_or_default();
        let holder = Owner {
            pid: self.dir.pid(),
            fd,
        };
        epolls.iter().any(|epoll| {
            let Facts::Epoll(entries) = &epoll.facts else {
                return false;
            };
            let here = entries
                .iter()
                .any(|entry| entry.fd == fd && entry.inode == item.object.1);
            let entry = epoll::Entry {
                epoll: epoll.fd,
                fd,
            };
            here && epoll::remove(&self.hold, entry, holder).is_ok()
        })
    }
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

fn is_off(timer: &rustix::time::Itimerspec) -> bool {
    timer.it_value.tv_sec == 0 && timer.it_value.tv_nsec == 0
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
