//! The ladder: one canary, then a tenth, then all, at a rate; after each step
//! the kernel is asked what came of it and the program is looked at for harm.

use std::time::{Duration, Instant};

use super::hangup;
use super::means::{Means, give_up};
use super::watch::Pulse;
use crate::model::{FixItem, FixOutcome, FixReport};

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
    means: Means,
    pulse: Pulse,
}

impl Climber {
    fn start(pid: i32) -> Option<Self> {
        Some(Self {
            means: Means::of(pid)?,
            pulse: Pulse::take(pid, CHECK)?,
        })
    }

    /// Acts on some items at the rate, waits for the owner, verifies.
    fn step(&mut self, plan: &mut FixReport, step: &[usize], watch: Duration, pace: &mut Pace<'_>) {
        let begun = Instant::now();
        for (n, at) in step.iter().enumerate() {
            wait_for_turn(begun, n, pace.per_second);
            self.means.act(*at, &mut plan.items[*at], pace);
        }
        self.settle(plan, step);
        let silent: Vec<usize> = step
            .iter()
            .copied()
            .filter(|at| plan.items[*at].outcome.is_none())
            .collect();
        // Whoever spins on the end of file would spin on the hang-up as well.
        if !silent.is_empty() && self.pulse.harm().is_none() {
            let hung_up = hangup::hang_up(&self.means, &mut plan.items, &silent);
            self.settle(plan, &hung_up);
            hangup::verify(&self.means, &mut plan.items, &hung_up);
        }
        silent.iter().for_each(|at| give_up(&mut plan.items[*at]));
        for at in step {
            (pace.record)(*at, &plan.items[*at], None);
        }
        // Closing thousands takes CPU time; what goes on after it is a spin.
        self.pulse.begin();
        std::thread::sleep(watch.saturating_sub(begun.elapsed()).max(CHECK));
    }

    /// Waits until the owner has closed these, for a while.
    fn settle(&self, plan: &mut FixReport, step: &[usize]) {
        let begun = Instant::now();
        loop {
            let mut left = false;
            for at in step {
                let item = &mut plan.items[*at];
                if item.outcome.is_none() && self.means.is_gone(item) {
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

    /// Stops and takes back what can be taken back, if there is harm.
    fn harmed(&mut self, plan: &FixReport, touched: &[usize]) -> Option<String> {
        let harm = self.pulse.harm()?;
        let taken_back = touched
            .iter()
            .map(|at| &plan.items[*at])
            .filter(|item| item.outcome != Some(FixOutcome::ClosedByOwner))
            .filter(|item| self.means.unregister(item))
            .count();
        Some(match taken_back {
            0 => format!("{harm}; nothing more was touched"),
            n => format!("{harm}; nothing more was touched, and {n} were taken out of its epoll"),
        })
    }
}

/// Keeps to the rate: item `n` is not touched before its time.
fn wait_for_turn(begun: Instant, n: usize, per_second: Option<u32>) {
    if let Some(rate) = per_second.filter(|rate| *rate > 0) {
        let due = Duration::from_secs_f64(n as f64 / f64::from(rate));
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
}
