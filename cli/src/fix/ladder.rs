//! The ladder: one canary, then a tenth, then all, at a rate; after each step
//! the kernel is asked what came of it and the program is looked at for harm.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::outside::{self, Hold, Untouched};
use super::watch::Pulse;
use crate::kernel::threads::SigPipe;
use crate::kernel::{ProcDir, threads};
use crate::model::{Fix, FixItem, FixOutcome, FixReport};

/// How an owner's answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the canary is watched.
const CANARY: Duration = Duration::from_secs(5);
/// Between two looks at what is left.
const BEAT: Duration = Duration::from_millis(20);
/// Between two looks for harm on long runs.
const CHECK: Duration = Duration::from_secs(1);

/// Told of every item before it is touched, with what a timer was set to, and
/// when something came of it. Says whether that is kept: what could not be
/// taken back is not done.
pub type Record<'a> = &'a mut dyn FnMut(usize, &FixItem, Option<&rustix::time::Itimerspec>) -> bool;

/// How fast, and who wants to know.
pub struct Pace<'a> {
    /// Items a second; none for as fast as it goes
    pub per_second: Option<u32>,
    /// Told how many are done of how many
    pub progress: &'a mut dyn FnMut(usize, usize),
    /// Keeps what was done, before and after
    pub record: Record<'a>,
}

/// Carries a plan out.
pub fn climb(plan: &mut FixReport, pid: i32, pace: &mut Pace<'_>) {
    refuse_gated(&mut plan.items);
    let todo: Vec<usize> = open_items(&plan.items);
    let Some(mut climber) = (!todo.is_empty()).then(|| Climber::start(pid)).flatten() else {
        plan.stopped = (!todo.is_empty()).then(|| "the process is gone".to_owned());
        return;
    };
    let total = todo.len();
    let canary = 1.min(total);
    let tenth = (total / 10).max(canary);
    let mut done = 0;
    for end in [canary, tenth, total] {
        let step = &todo[done..end];
        let watched = if done == 0 { CANARY } else { CHECK };
        climber.step(plan, step, watched, pace);
        done = end;
        (pace.progress)(done, total);
        if let Some(harm) = climber.harmed(plan, &todo[..done]) {
            plan.stopped = Some(harm);
            return;
        }
    }
}

fn refuse_gated(items: &mut [FixItem]) {
    for item in items.iter_mut().filter(|item| !item.passes()) {
        item.outcome = Some(FixOutcome::Refused);
    }
}

fn open_items(items: &[FixItem]) -> Vec<usize> {
    let open = |(at, item): (usize, &FixItem)| item.outcome.is_none().then_some(at);
    items.iter().enumerate().filter_map(open).collect()
}

/// Whoever goes up.
struct Climber {
    hold: Hold,
    dir: ProcDir,
    pulse: Pulse,
    sigpipe: SigPipe,
}

impl Climber {
    fn start(pid: i32) -> Option<Self> {
        let dir = ProcDir::open(pid).ok()?;
        Some(Self {
            hold: Hold::of(pid).ok()?,
            sigpipe: threads::sigpipe(&dir).unwrap_or(SigPipe::Kills),
            pulse: Pulse::take(pid, CHECK)?,
            dir,
        })
    }

    /// Acts on some items at the rate, waits for the owner, verifies.
    fn step(&mut self, plan: &mut FixReport, step: &[usize], watch: Duration, pace: &mut Pace<'_>) {
        let begun = Instant::now();
        for (n, at) in step.iter().enumerate() {
            wait_for_turn(begun, n, pace.per_second);
            self.act(*at, &mut plan.items[*at], pace);
        }
        self.settle(plan, step);
        let silent: Vec<usize> = step
            .iter()
            .copied()
            .filter(|at| plan.items[*at].outcome.is_none())
            .collect();
        // Whoever spins on the end of file would spin on the hang-up as well.
        if !silent.is_empty() && self.pulse.harm().is_none() {
            silent
                .iter()
                .for_each(|at| self.insist(&mut plan.items[*at]));
            self.settle(plan, &silent);
        }
        silent.iter().for_each(|at| give_up(&mut plan.items[*at]));
        for at in step {
            (pace.record)(*at, &plan.items[*at], None);
        }
        // Closing thousands takes CPU time; what goes on after it is a spin.
        self.pulse.begin();
        std::thread::sleep(watch.saturating_sub(begun.elapsed()).max(CHECK));
    }

    fn act(&self, at: usize, item: &mut FixItem, pace: &mut Pace<'_>) {
        if item.action != Fix::Disarm {
            (pace.record)(at, item, None);
        }
        let outcome = match item.action {
            Fix::Eof => self.show_end(item),
            Fix::Disarm => self.disarm(at, item, pace),
            Fix::EpollDel => super::stale::remove(&self.hold, &self.dir, item).map(Some),
            _ => Ok(Some(FixOutcome::Refused)),
        };
        settle_with(item, outcome);
    }

    /// The owner decides; what became of it is seen later.
    fn show_end(&self, item: &FixItem) -> Result<Option<FixOutcome>, Untouched> {
        let copy = self.hold.object(item)?;
        if outside::listens(&copy) {
            return Ok(Some(FixOutcome::Refused));
        }
        match outside::end_of_file(copy.as_fd()) {
            // Its peer has reset the connection meanwhile: the end is there.
            Err(Untouched::Kernel(rustix::io::Errno::NOTCONN)) => Ok(None),
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
        let before = rustix::time::timerfd_gettime(&copy)?;
        if !(pace.record)(at, item, Some(&before)) {
            item.detail = Some("what it was set to could not be kept".to_owned());
            return Ok(Some(FixOutcome::Refused));
        }
        outside::disarm(copy.as_fd())?;
        let now = rustix::time::timerfd_gettime(&copy)?;
        let stopped = now.it_value.tv_sec == 0 && now.it_value.tv_nsec == 0;
        Ok(Some(if stopped {
            FixOutcome::Disarmed
        } else {
            FixOutcome::Failed
        }))
    }

    /// Where nobody took notice of the end of file: both directions, if a
    /// later write cannot kill the program by SIGPIPE.
    fn insist(&self, item: &mut FixItem) {
        if item.action != Fix::Eof {
            return;
        }
        if self.sigpipe == SigPipe::Kills {
            item.detail = Some(
                "the end of file waits for its owner; hanging up could kill the program by SIGPIPE"
                    .to_owned(),
            );
            return;
        }
        let hung_up = self
            .hold
            .object(item)
            .and_then(|copy| outside::hang_up(copy.as_fd()));
        match hung_up {
            Ok(()) | Err(Untouched::Kernel(rustix::io::Errno::NOTCONN)) => {
                item.detail = Some(HUNG_UP.to_owned());
            }
            Err(Untouched::Vanished) => item.outcome = Some(FixOutcome::ClosedByOwner),
            Err(why) => settle_with(item, Err(why)),
        }
    }

    /// Waits until the owner has closed these, for a while.
    fn settle(&self, plan: &mut FixReport, step: &[usize]) {
        let begun = Instant::now();
        loop {
            let mut left = false;
            for at in step {
                let item = &mut plan.items[*at];
                if item.outcome.is_none() && self.is_gone(item) {
                    item.outcome = Some(FixOutcome::ClosedByOwner);
                }
                left |= item.outcome.is_none();
            }
            if !left || begun.elapsed() > PATIENCE {
                return;
            }
            std::thread::sleep(BEAT);
        }
    }

    /// Whether the kernel shows another object, or none, under the number.
    fn is_gone(&self, item: &FixItem) -> bool {
        let Some(fd) = item.fd else { return false };
        let path = format!("fd/{fd}");
        match rustix::fs::statat(self.dir.fd(), &*path, rustix::fs::AtFlags::empty()) {
            Ok(stat) => (stat.st_dev, stat.st_ino) != item.object,
            Err(errno) => errno == rustix::io::Errno::NOENT,
        }
    }

    /// Stops and takes back what can be taken back, if there is harm.
    fn harmed(&mut self, plan: &FixReport, touched: &[usize]) -> Option<String> {
        let harm = self.pulse.harm()?;
        let taken_back = touched
            .iter()
            .map(|at| &plan.items[*at])
            .filter(|item| item.outcome != Some(FixOutcome::ClosedByOwner))
            .filter(|item| self.unregister(item))
            .count();
        Some(match taken_back {
            0 => format!("{harm}; nothing more was touched"),
            n => format!("{harm}; nothing more was touched, and {n} were taken out of its epoll"),
        })
    }

    /// A loop that gets the end of file again and again and ignores it spins:
    /// without the registration it gets nothing.
    fn unregister(&self, item: &FixItem) -> bool {
        let Some(fd) = item.fd else { return false };
        let open =
            crate::kernel::Descriptors::read(&self.dir, crate::kernel::descriptors::Depth::Facts);
        let epolls = open.map(|open| open.open).unwrap_or_default();
        let holder = super::owners::Owner {
            pid: self.dir.pid(),
            fd,
        };
        epolls.iter().any(|epoll| {
            let crate::kernel::Facts::Epoll(entries) = &epoll.facts else {
                return false;
            };
            let here = entries
                .iter()
                .any(|entry| entry.fd == fd && entry.inode == item.object.1);
            let entry = super::epoll::Entry {
                epoll: epoll.fd,
                fd,
            };
            here && super::epoll::remove(&self.hold, entry, holder).is_ok()
        })
    }
}

/// Said of a connection that was ended in both directions.
const HUNG_UP: &str = "the connection was ended in both directions";

fn settle_with(item: &mut FixItem, outcome: Result<Option<FixOutcome>, Untouched>) {
    match outcome {
        Ok(outcome) => item.outcome = outcome,
        Err(Untouched::Vanished) => item.outcome = Some(FixOutcome::Vanished),
        Err(why) => {
            item.outcome = Some(FixOutcome::Failed);
            item.detail = Some(why.to_string());
        }
    }
}

fn give_up(item: &mut FixItem) {
    if item.outcome.is_none() {
        let hung_up = item.detail.as_deref() == Some(HUNG_UP);
        item.outcome = Some(if hung_up {
            FixOutcome::Neutered
        } else {
            FixOutcome::Pending
        });
    }
}

/// Keeps to the rate: item `n` is not touched before its time.
fn wait_for_turn(begun: Instant, n: usize, per_second: Option<u32>) {
    if let Some(rate) = per_second.filter(|rate| *rate > 0) {
        let due = Duration::from_secs_f64(n as f64 / f64::from(rate));
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
}
