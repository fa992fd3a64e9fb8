//! What only the target itself can do: close a descriptor that it has lost,
//! stop one of its POSIX timers, bear that a connection is hung up. It is asked through its mailbox, and checks
//! everything again (`preload/src/execute.rs`).
//!
//! Rows are taken down once, when an [`Inside`] is made: make it before the
//! look whose findings are acted upon. What a number or a timer names since
//! then has another row, and the target refuses.

use std::collections::HashMap;
use std::io;
use std::mem::offset_of;
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{Itimerspec, Timespec};
use shm_protocol::codes::{Kind, Section};
use shm_protocol::fds::{self, FdInfo, FdRow};
use shm_protocol::mailbox::{ARGUMENTS, Answer, NEW_TIMER, OLD_TIMER, SLOTS, Verb};
use shm_protocol::view::ExtentInfo;
use shm_protocol::words::Origin;

use super::mailbox::{Mailbox, Order, Reply};
use super::outside::Untouched;
use crate::attach::{LiveSegment, Running, live};
use crate::error::{Error, TargetError};
use crate::model::{FixItem, FixOutcome};

/// What a timer is, or was, set to.
#[derive(Debug)]
pub enum Answered {
    /// To this
    Set(Itimerspec),
    /// It was not done
    Not(FixOutcome),
}

/// How long the target has to come by: then it is idle.
const PATIENCE: Duration = Duration::from_secs(2);

/// The way into a target.
#[derive(Debug)]
pub struct Inside {
    mailbox: Mailbox,
    descriptors: HashMap<i32, FdInfo>,
    /// Origin word by the kernel's number.
    timers: HashMap<u32, u64>,
    rows: Vec<ExtentInfo>,
    identity: (u64, u64),
    patience: Duration,
}

impl Inside {
    /// Finds the way into a process; none when the library is not in it, or is
    /// one that runs no commands.
    ///
    /// # Errors
    /// When it is gone, or its record may not be read or written.
    pub fn of(pid: i32) -> Result<Option<Self>, Error> {
        let process = Running::find(pid).ok_or(TargetError::Vanished(pid))?;
        let Some(found) = live::find(&process)? else {
            return Ok(None);
        };
        let opened = Mailbox::open(&process, &found);
        let opened = opened.map_err(|source| process.explain(source))?;
        let Some(mailbox) = opened else {
            return Ok(None);
        };
        Ok(Some(Self {
            mailbox,
            descriptors: descriptors(&found)?,
            timers: timers(&found)?,
            rows: rows(&found)?,
            identity: found.mapped.identity(),
            patience: PATIENCE,
        }))
    }

    /// Device and inode of the segment.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Whether the number names what it named when rows were taken down, and
    /// that is what the item is about, as far as hooks see.
    #[must_use]
    pub fn is_still(&self, item: &FixItem) -> bool {
        let row = item.fd.and_then(|fd| Some((fd, self.row_of(item)?)));
        row.is_some_and(|(fd, then)| self.row_now(fd).as_ref() == Some(then))
    }

    /// The row of an item, if it is of the same birth.
    fn row_of(&self, item: &FixItem) -> Option<&FdInfo> {
        let row = self.descriptors.get(&item.fd?)?;
        let same = item.born_ms.is_none_or(|born| born == row.origin.at_ms);
        same.then_some(row)
    }

    /// The row as it is now, without flags that come with use.
    fn row_now(&self, fd: i32) -> Option<FdInfo> {
        let number = u64::try_from(fd).ok()?;
        let extent = self.rows.iter().find(|extent| {
            (extent.first_row..extent.first_row + extent.rows as u64).contains(&number)
        })?;
        let row = extent.offset + (number - extent.first_row) as usize * extent.row_bytes;
        let word = |field: usize| self.mailbox.word_at(row + field);
        let [origin, state, source] = [
            word(offset_of!(FdRow, origin))?,
            word(offset_of!(FdRow, state))?,
            word(offset_of!(FdRow, source))?,
        ];
        let info = fds::unpack(fd as u32, origin, state, source);
        let then = self.descriptors.get(&fd)?;
        info.map(|info| FdInfo {
            flags: then.flags,
            ..info
        })
    }

    /// The same, with another time for the target to come by.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Has the target close a descriptor that it has lost.
    ///
    /// # Errors
    /// It is another object by now, or the kernel refused.
    pub fn close_lost(&self, item: &FixItem) -> Result<FixOutcome, Untouched> {
        let mut all = self.close_all_lost(&[item]);
        all.pop().unwrap_or(Err(Untouched::Vanished))
    }

    /// Has the target close descriptors that it has lost, as many at once as
    /// there is room for. One result an item, in their order.
    #[must_use]
    pub fn close_all_lost(&self, items: &[&FixItem]) -> Vec<Result<FixOutcome, Untouched>> {
        self.ask_of_all(Verb::CloseLost, items, FixOutcome::ClosedLost)
    }

    /// Has the target answer writes to these sockets with EPIPE from now on, and
    /// without SIGPIPE: they are about to be hung up. `Neutered` where it does.
    #[must_use]
    pub fn expect_hang_ups(&self, items: &[&FixItem]) -> Vec<Result<FixOutcome, Untouched>> {
        self.ask_of_all(Verb::ExpectHangUp, items, FixOutcome::Neutered)
    }

    /// Has the target notice the next use of these files. `Retired` where it does.
    #[must_use]
    pub fn mark_to_retire(&self, items: &[&FixItem]) -> Vec<Result<FixOutcome, Untouched>> {
        self.ask_of_all(Verb::MarkToRetire, items, FixOutcome::Retired)
    }

    /// Has the target park files that it was told to notice uses of. Refused
    /// where there were some.
    #[must_use]
    pub fn retire(&self, items: &[&FixItem]) -> Vec<Result<FixOutcome, Untouched>> {
        self.ask_of_all(Verb::Retire, items, FixOutcome::Retired)
    }

    /// Has the target put a parked file back, if its program has not.
    ///
    /// # Errors
    /// It is another object by now, or the kernel refused.
    pub fn give_back(&self, item: &FixItem) -> Result<FixOutcome, Untouched> {
        let mut all = self.ask_back(Verb::GiveBack, &[item], FixOutcome::Restored);
        all.pop().unwrap_or(Err(Untouched::Vanished))
    }

    /// Has the target close parked files for good. `Restored` where its program
    /// had used one, and so has it back.
    #[must_use]
    pub fn end_retired(&self, items: &[&FixItem]) -> Vec<Result<FixOutcome, Untouched>> {
        self.ask_back(Verb::EndRetired, items, FixOutcome::ClosedRetired)
    }

    fn ask_of_all(
        &self,
        verb: Verb,
        items: &[&FixItem],
        done: FixOutcome,
    ) -> Vec<Result<FixOutcome, Untouched>> {
        self.ask_all(verb, items, |reply| outcome(reply, done))
    }

    /// What has changed since it was parked is back with its program.
    fn ask_back(
        &self,
        verb: Verb,
        items: &[&FixItem],
        done: FixOutcome,
    ) -> Vec<Result<FixOutcome, Untouched>> {
        self.ask_all(verb, items, |reply| match reply {
            Reply::Answered {
                answer: Answer::Changed,
                ..
            } => Ok(FixOutcome::Restored),
            reply => outcome(reply, done),
        })
    }

    fn ask_all(
        &self,
        verb: Verb,
        items: &[&FixItem],
        came_of_it: impl Fn(Reply) -> Result<FixOutcome, Untouched>,
    ) -> Vec<Result<FixOutcome, Untouched>> {
        let orders: Vec<Option<Order>> = items.iter().map(|item| self.about(verb, item)).collect();
        let known: Vec<Order> = orders.iter().copied().flatten().collect();
        let mut replies = match self.post_all(&known) {
            Ok(replies) => replies.into_iter(),
            Err(error) => return items.iter().map(|_| Err(unwritable(&error))).collect(),
        };
        let mut next = || replies.next().unwrap_or(Reply::Pending);
        orders
            .iter()
            .map(|order| match order {
                Some(_) => came_of_it(next()),
                None => Err(Untouched::Vanished),
            })
            .collect()
    }

    /// Mailbox by mailbox, for as long as the target comes by.
    fn post_all(&self, orders: &[Order]) -> io::Result<Vec<Reply>> {
        let mut replies = Vec::with_capacity(orders.len());
        for some in orders.chunks(SLOTS) {
            let answers = self.mailbox.post(some, self.patience)?;
            let idle = answers.iter().all(|reply| *reply == Reply::Pending);
            replies.extend(answers);
            if idle {
                break;
            }
        }
        Ok(replies)
    }

    /// A command about an item's descriptor.
    fn about(&self, verb: Verb, item: &FixItem) -> Option<Order> {
        let fd = item.fd?;
        let row = self.row_of(item)?;
        let words = [
            u64::try_from(fd).ok()?,
            row.generation.into(),
            row.origin.pack(),
            item.object.0,
            item.object.1,
        ];
        Some(order(verb, &words))
    }

    /// What these POSIX timers are set to; an error for each that is not the
    /// one of its item any more.
    #[must_use]
    pub fn ask_timers(&self, items: &[&FixItem]) -> Vec<Result<Answered, Untouched>> {
        self.about_timers(Verb::AskTimer, items)
    }

    /// Stops these POSIX timers; what they were set to, where they were stopped.
    #[must_use]
    pub fn disarm_timers(&self, items: &[&FixItem]) -> Vec<Result<Answered, Untouched>> {
        self.about_timers(Verb::DisarmTimer, items)
    }

    fn about_timers(&self, verb: Verb, items: &[&FixItem]) -> Vec<Result<Answered, Untouched>> {
        let about = |item: &&FixItem| {
            let (id, origin) = self.timer_of(item.timer?, item.born_ms)?;
            Some(order(verb, &[id.into(), origin]))
        };
        let orders: Vec<Option<Order>> = items.iter().map(about).collect();
        let known: Vec<Order> = orders.iter().copied().flatten().collect();
        let mut replies = match self.mailbox.post(&known, self.patience) {
            Ok(replies) => replies.into_iter(),
            Err(error) => return items.iter().map(|_| Err(unwritable(&error))).collect(),
        };
        orders
            .iter()
            .map(|order| match order {
                Some(_) => answered(replies.next().unwrap_or(Reply::Pending)),
                None => Err(Untouched::Vanished),
            })
            .collect()
    }

    /// A timer's number and row, if it was born then.
    fn timer_of(&self, id: u32, born_ms: Option<u64>) -> Option<(u32, u64)> {
        let origin = *self.timers.get(&id)?;
        let same = born_ms.is_none_or(|born| born == Origin::unpack(origin).at_ms);
        same.then_some((id, origin))
    }

    /// Sets a stopped timer to what it was. Refused where the program has set
    /// it meanwhile.
    ///
    /// # Errors
    /// It is gone, or the kernel refused.
    pub fn restore_timer(
        &self,
        id: u32,
        born_ms: Option<u64>,
        old: &Itimerspec,
    ) -> Result<FixOutcome, Untouched> {
        let (id, origin) = self.timer_of(id, born_ms).ok_or(Untouched::Vanished)?;
        let mut words = vec![u64::from(id), origin];
        for time in [old.it_interval, old.it_value] {
            words.extend([time.tv_sec as u64, time.tv_nsec as u64]);
        }
        let reply = self.ask(order(Verb::RestoreTimer, &words))?;
        outcome(reply, FixOutcome::Restored)
    }

    fn ask(&self, order: Order) -> Result<Reply, Untouched> {
        let replies = self.mailbox.post(&[order], self.patience);
        let replies = replies.map_err(|error| unwritable(&error))?;
        Ok(replies.first().copied().unwrap_or(Reply::Pending))
    }
}

const _: () = assert!(NEW_TIMER == 2 && OLD_TIMER == 2);

fn descriptors(found: &LiveSegment) -> Result<HashMap<i32, FdInfo>, Error> {
    let view = found.segment.view("The record")?;
    let rows = view.descriptors().into_iter();
    Ok(rows
        .filter_map(|row| Some((i32::try_from(row.fd).ok()?, row.info)))
        .collect())
}

fn rows(found: &LiveSegment) -> Result<Vec<ExtentInfo>, Error> {
    let view = found.segment.view("The record")?;
    let all = view.extents().iter();
    Ok(all
        .filter(|extent| extent.section == Section::Fds)
        .copied()
        .collect())
}

fn timers(found: &LiveSegment) -> Result<HashMap<u32, u64>, Error> {
    let view = found.segment.view("The record")?;
    let things = view.things().into_iter();
    let timers = things.filter(|thing| thing.kind == Kind::PosixTimer);
    Ok(timers
        .map(|timer| (timer.numbers().1, timer.row.origin.pack()))
        .collect())
}

fn order(verb: Verb, words: &[u64]) -> Order {
    let mut arguments = [0; ARGUMENTS];
    arguments[..words.len()].copy_from_slice(words);
    Order { verb, arguments }
}

fn setting_of(arguments: &[u64; ARGUMENTS]) -> Itimerspec {
    let time = |at: usize| Timespec {
        tv_sec: arguments[at] as i64,
        tv_nsec: arguments[at + 1] as i64,
    };
    Itimerspec {
        it_interval: time(OLD_TIMER),
        it_value: time(OLD_TIMER + 2),
    }
}

fn outcome(reply: Reply, done: FixOutcome) -> Result<FixOutcome, Untouched> {
    let Reply::Answered { answer, detail, .. } = reply else {
        return match reply {
            Reply::Ended => Err(Untouched::Vanished),
            _ => Ok(FixOutcome::Pending),
        };
    };
    match answer {
        Answer::Done => Ok(done),
        Answer::Gone | Answer::OtherObject => Err(Untouched::Vanished),
        Answer::Protected | Answer::Changed | Answer::NotNow => Ok(FixOutcome::Refused),
        Answer::Malformed => Ok(FixOutcome::Failed),
        Answer::Failed => Err(Untouched::from(Errno::from_raw_os_error(detail as i32))),
    }
}

fn answered(reply: Reply) -> Result<Answered, Untouched> {
    match (outcome(reply, FixOutcome::Disarmed)?, reply) {
        (FixOutcome::Disarmed, Reply::Answered { arguments, .. }) => {
            Ok(Answered::Set(setting_of(&arguments)))
        }
        (other, _) => Ok(Answered::Not(other)),
    }
}

fn unwritable(error: &io::Error) -> Untouched {
    Errno::from_io_error(error).map_or(Untouched::NotPermitted, Untouched::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(answer: Answer) -> Reply {
        Reply::Answered {
            answer,
            detail: 13,
            arguments: [0; ARGUMENTS],
        }
    }

    #[test]
    fn an_answer_says_what_came_of_it() {
        let done = |reply| outcome(reply, FixOutcome::ClosedLost);
        assert!(matches!(
            done(reply(Answer::Done)),
            Ok(FixOutcome::ClosedLost)
        ));
        assert!(matches!(done(Reply::Pending), Ok(FixOutcome::Pending)));
        assert!(matches!(done(Reply::Ended), Err(Untouched::Vanished)));
        for other in [Answer::Gone, Answer::OtherObject] {
            assert!(matches!(done(reply(other)), Err(Untouched::Vanished)));
        }
        for refused in [Answer::Protected, Answer::Changed, Answer::NotNow] {
            assert!(matches!(done(reply(refused)), Ok(FixOutcome::Refused)));
        }
        assert!(matches!(
            done(reply(Answer::Failed)),
            Err(Untouched::NotPermitted)
        ));
    }

    #[test]
    fn a_process_without_the_library_has_no_way_in() {
        assert!(Inside::of(std::process::id() as i32).unwrap().is_none());
    }
}
