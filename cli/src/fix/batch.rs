//! What the target itself does, as many at once as its mailbox has room for:
//! it closes what it has lost, and stops its POSIX timers.
//!
//! Each object is held by a duplicate meanwhile. So its identity is known right
//! before and right after, whatever its number comes to name, and what may
//! wait in the last close of an object waits here and not in the program.

use std::cell::Cell;
use std::time::Duration;

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::time::Itimerspec;

use super::acts::end_as;
use super::inside::{Answered, Inside};
use super::losing;
use super::means::{picked, settle_with};
use super::outside::{Hold, Untouched, is_off};
use super::owners::Owner;
use super::pace::{Line, Pace};
use super::same_file;
use crate::kernel::ProcDir;
use crate::model::{FixItem, FixOutcome};

/// How long the target has to come by: then it is idle.
const PATIENCE: Duration = Duration::from_secs(5);
const IDLE: &str =
    "the program came by no hook in 5 s, so the command was taken back; ask again later";
/// Objects that are held, and written down, together; several mailboxes full.
pub const HELD_AT_ONCE: usize = 128;
const UNSEEN: &str =
    "it was told to stop, and it is not known whether it has; `memguard undo` sets it back";
const KNOWN: &str = "its number has been written down since";

/// The way in, and whether the target was found idle.
#[derive(Debug)]
pub struct Insider {
    inside: Inside,
    idle: Cell<bool>,
}

impl Insider {
    /// By this way.
    #[must_use]
    pub fn by(inside: Inside) -> Self {
        Self {
            inside: inside.patience(PATIENCE),
            idle: Cell::new(false),
        }
    }

    /// The way in.
    #[must_use]
    pub fn inside(&self) -> &Inside {
        &self.inside
    }

    /// Refuses those whose number has been written down since the plan was
    /// made.
    pub fn search_again(&self, dir: &ProcDir, items: &mut [FixItem], which: &[usize]) {
        let asked = picked(items, which);
        let known = losing::known_again(dir, &self.inside, &asked);
        for at in which {
            let item = &mut items[*at];
            if item.fd.is_some_and(|fd| known.contains(&fd)) {
                item.outcome = Some(FixOutcome::Refused);
                item.detail = Some(KNOWN.to_owned());
            }
        }
    }

    /// Has the target close these, and asks the kernel whether it did.
    pub fn close(&self, hold: &Hold, items: &mut [FixItem], which: &[usize], pace: &mut Pace<'_>) {
        if self.idle.get() {
            return which.iter().for_each(|at| pending(&mut items[*at]));
        }
        let mut held: Vec<(usize, OwnedFd)> = Vec::new();
        if !pace.keep_all(items, which) {
            return end_as(items, which, FixOutcome::NotLogged);
        }
        for at in which {
            let item = &mut items[*at];
            match self.hold_still(hold, item) {
                Ok(copy) => held.push((*at, copy)),
                Err(why) => settle_with(item, Err(why)),
            }
        }
        let asked: Vec<&FixItem> = held.iter().map(|(at, _)| &items[*at]).collect();
        let answers = self.inside.close_all_lost(&asked);
        let all_pending =
            |answer: &Result<FixOutcome, Untouched>| matches!(answer, Ok(FixOutcome::Pending));
        self.idle
            .set(!answers.is_empty() && answers.iter().all(all_pending));
        for ((at, copy), answer) in held.iter().zip(answers) {
            let item = &mut items[*at];
            match answer {
                Ok(FixOutcome::ClosedLost) => item.outcome = Some(self.verify(hold, item, copy)),
                Ok(FixOutcome::Pending) => pending(item),
                other => settle_with(item, other.map(Some)),
            }
        }
    }

    /// Has the target stop these POSIX timers: what each is set to goes into the
    /// log before it is stopped.
    pub fn stop_timers(&self, items: &mut [FixItem], which: &[usize], pace: &mut Pace<'_>) {
        if self.idle.get() {
            return which.iter().for_each(|at| pending(&mut items[*at]));
        }
        let set = self.inside.ask_timers(&picked(items, which));
        self.idle.set(!set.is_empty() && set.iter().all(is_pending));
        let mut running = Vec::new();
        for (at, set) in which.iter().zip(set) {
            let item = &mut items[*at];
            match set {
                Ok(Answered::Set(set)) if is_off(&set) => {
                    item.outcome = Some(FixOutcome::Vanished);
                    item.detail = Some("it does not run any more".to_owned());
                }
                Ok(Answered::Set(set)) => running.push((*at, set)),
                Ok(Answered::Not(FixOutcome::Pending)) => pending(item),
                Ok(Answered::Not(outcome)) => item.outcome = Some(outcome),
                Err(why) => settle_with(item, Err(why)),
            }
        }
        let mut kept = kept(items, &running, pace);
        let stopped = self.inside.disarm_timers(&picked(items, &kept));
        for (at, stopped) in kept.iter().zip(stopped) {
            let item = &mut items[*at];
            match stopped {
                // Somebody was faster.
                Ok(Answered::Set(was)) if is_off(&was) => {
                    item.outcome = Some(FixOutcome::Vanished);
                }
                Ok(Answered::Set(_)) => {}
                Ok(Answered::Not(FixOutcome::Pending)) => pending(item),
                Ok(Answered::Not(outcome)) => item.outcome = Some(outcome),
                Err(why) => settle_with(item, Err(why)),
            }
        }
        kept.retain(|at| items[*at].outcome.is_none());
        // The kernel's word, by the target's mouth: nobody else may ask for it.
        let now = self.inside.ask_timers(&picked(items, &kept));
        for (at, now) in kept.iter().zip(now) {
            let (outcome, detail) = match now {
                Ok(Answered::Set(set)) if is_off(&set) => (FixOutcome::Disarmed, None),
                Ok(Answered::Set(_)) => (FixOutcome::Failed, None),
                _ => (FixOutcome::Pending, Some(UNSEEN.to_owned())),
            };
            items[*at].outcome = Some(outcome);
            items[*at].detail = detail;
        }
    }

    /// The object, held, if the number has named it ever since the look.
    fn hold_still(&self, hold: &Hold, item: &FixItem) -> Result<OwnedFd, Untouched> {
        let copy = hold.object(item)?;
        if item.is_lost() && self.inside.is_still(item) {
            Ok(copy)
        } else {
            Err(Untouched::Vanished)
        }
    }

    /// Whether the number names another open file, or none.
    fn verify(&self, hold: &Hold, item: &FixItem, copy: &OwnedFd) -> FixOutcome {
        let ours = Owner {
            pid: rustix::process::getpid().as_raw_pid(),
            fd: copy.as_raw_fd(),
        };
        let theirs = item.fd.map(|fd| Owner {
            pid: hold.pid(),
            fd,
        });
        match theirs.and_then(|theirs| same_file::is_same(ours, theirs)) {
            Some(true) => FixOutcome::Failed,
            Some(false) => FixOutcome::ClosedLost,
            // The number is closed, or the process gone with all it had.
            None if item.fd.is_some_and(|fd| hold.duplicate(fd).is_err()) => FixOutcome::ClosedLost,
            None => FixOutcome::Failed,
        }
    }
}

/// Those whose settings are in the log now: all or none.
fn kept(items: &mut [FixItem], running: &[(usize, Itimerspec)], pace: &mut Pace<'_>) -> Vec<usize> {
    let which: Vec<usize> = running.iter().map(|(at, _)| *at).collect();
    let lines: Vec<Line<'_>> = (running.iter())
        .map(|(at, set)| Line {
            at: *at,
            item: &items[*at],
            timer: Some(set),
        })
        .collect();
    if lines.is_empty() || pace.keep(&lines) {
        return which;
    }
    end_as(items, &which, FixOutcome::NotLogged);
    Vec::new()
}

fn is_pending(answer: &Result<Answered, Untouched>) -> bool {
    matches!(answer, Ok(Answered::Not(FixOutcome::Pending)))
}

fn pending(item: &mut FixItem) {
    item.outcome = Some(FixOutcome::Pending);
    item.detail = Some(IDLE.to_owned());
}
