//! The ladder: one canary, then a tenth, then all, at a rate; after each step
//! the kernel is asked what came of it and the program is looked at for harm.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::hangup;
use super::inside::Inside;
use super::life::{Change, Life};
use super::means::{Means, give_up};
use super::watch::{Harm, Pulse};
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

/// How fast, and who keeps account.
pub struct Pace<'a> {
    /// Items a second; none for as fast as it goes
    pub per_second: Option<u32>,
    /// Keeps what was done, before and after
    pub record: Record<'a>,
}

/// Carries a plan out; what only the target can do by the way into it.
pub fn climb(plan: &mut FixReport, life: &Life, inside: Option<Inside>, pace: &mut Pace<'_>) {
    refuse_gated(&mut plan.items);
    let (todo, canary) = canaries_first(&plan.items);
    if todo.is_empty() {
        return;
    }
    let Some(mut climber) = Climber::start(life, inside) else {
        let change = life.change().unwrap_or(Change::Ended);
        plan.stopped = Some(format!("{change}; nothing was touched"));
        return;
    };
    let total = todo.len();
    let tenth = (total / 10).max(canary);
    let mut done = 0;
    for end in [canary, tenth, total] {
        let step = Step {
            items: &todo[done..end],
            watched: if done == 0 { CANARY } else { CHECK },
            is_first: done == 0,
        };
        climber.step(plan, &step, pace);
        done = end;
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

/// What is to be done, one of each action first, and how many those are: each
/// action does harm in its own way.
fn canaries_first(items: &[FixItem]) -> (Vec<usize>, usize) {
    let mut actions = HashSet::new();
    let open = |(at, item): (usize, &FixItem)| item.outcome.is_none().then_some(at);
    let all = items.iter().enumerate().filter_map(open);
    let (mut first, rest): (Vec<usize>, Vec<usize>) =
        all.partition(|at| actions.insert((items[*at].action, items[*at].timer.is_some())));
    let canaries = first.len();
    first.extend(rest);
    (first, canaries)
}

/// Some items, done together and then watched.
struct Step<'a> {
    items: &'a [usize],
    watched: Duration,
    is_first: bool,
}

/// Whoever goes up.
struct Climber<'a> {
    means: Means,
    pulse: Pulse,
    life: &'a Life,
}

impl<'a> Climber<'a> {
    /// None when the process is not what it was, or stands still.
    fn start(life: &'a Life, inside: Option<Inside>) -> Option<Self> {
        let climber = Self {
            means: Means::of(life.pid(), inside)?,
            pulse: Pulse::take(life.pid(), CHECK)?,
            life,
        };
        life.change().is_none().then_some(climber)
    }

    /// Acts on some items at the rate, waits for the owner, verifies.
    fn step(&mut self, plan: &mut FixReport, step: &Step<'_>, pace: &mut Pace<'_>) {
        let begun = Instant::now();
        let closes = |at: &usize| plan.items[*at].action == Fix::CloseLost;
        let (lost, others): (Vec<usize>, Vec<usize>) = step.items.iter().partition(|at| closes(at));
        let (timers, others): (Vec<usize>, Vec<usize>) = others
            .into_iter()
            .partition(|at| plan.items[*at].timer.is_some());
        let mut touched = self.act_on(plan, &others, begun, pace);
        let again = !step.is_first;
        if touched.len() == others.len() {
            self.means.close_lost(&mut plan.items, &lost, again, pace);
            self.means.stop_timers(&mut plan.items, &timers, pace);
            touched.extend(lost.into_iter().chain(timers));
        }
        let others = &touched[..touched.len().min(others.len())];
        self.pulse.begin();
        self.settle(plan, others);
        let silent = unsettled(plan, others);
        // Whoever spins on the end of file would spin on the hang-up as well.
        if !silent.is_empty() && self.pulse.harm(self.life).is_none() {
            self.press(plan, &silent, pace);
        }
        let change = self.life.change();
        for at in &touched {
            give_up(&mut plan.items[*at], change);
            (pace.record)(*at, &plan.items[*at], None);
        }
        // Closing thousands takes CPU time; what goes on after it is a spin.
        self.pulse.begin();
        std::thread::sleep(step.watched.saturating_sub(begun.elapsed()).max(CHECK));
    }

    /// Acts on these one by one, for as long as the process is what it was.
    /// Which ones it came to.
    fn act_on(
        &self,
        plan: &mut FixReport,
        items: &[usize],
        begun: Instant,
        pace: &mut Pace<'_>,
    ) -> Vec<usize> {
        let mut looked: Option<Instant> = None;
        for (n, at) in items.iter().enumerate() {
            wait_for_turn(begun, n, pace.per_second);
            if looked.is_none_or(|at| at.elapsed() > BEAT) {
                if self.life.change().is_some() {
                    return items[..n].to_vec();
                }
                looked = Some(Instant::now());
            }
            self.means.act(*at, &mut plan.items[*at], pace);
        }
        items.to_vec()
    }

    /// Nobody took notice of these ends: what the program has lost is closed,
    /// the other connections are ended in both directions.
    fn press(&self, plan: &mut FixReport, silent: &[usize], pace: &mut Pace<'_>) {
        let lost: Vec<usize> = (silent.iter().copied())
            .filter(|at| plan.items[*at].action == Fix::Eof && plan.items[*at].is_lost())
            .collect();
        self.means.close_lost(&mut plan.items, &lost, true, pace);
        for at in &lost {
            let item = &mut plan.items[*at];
            // What was not closed may still be ended.
            if item.outcome != Some(FixOutcome::ClosedLost) {
                item.outcome = None;
            }
        }
        let left = unsettled(plan, silent);
        let hung_up = hangup::hang_up(&self.means, &mut plan.items, &left);
        self.settle(plan, &hung_up);
        hangup::verify(&self.means, &mut plan.items, &hung_up);
    }

    /// Waits until the owner has closed these, for a while.
    fn settle(&self, plan: &mut FixReport, step: &[usize]) {
        let begun = Instant::now();
        loop {
            let left = unsettled(plan, step);
            let is_gone = |at: &usize| self.means.is_gone(&plan.items[*at]);
            let gone: Vec<usize> = left.iter().copied().filter(is_gone).collect();
            // At its end, and by exec, the kernel closes what the owner did not.
            if !gone.is_empty() && self.life.end().is_some() {
                return;
            }
            let closed = Some(FixOutcome::ClosedByOwner);
            gone.iter().for_each(|at| plan.items[*at].outcome = closed);
            let all = gone.len() == left.len();
            if all || begun.elapsed() > PATIENCE {
                return;
            }
            std::thread::sleep(BEAT);
        }
    }

    /// Stops and takes back what can be taken back, if there is harm.
    fn harmed(&mut self, plan: &FixReport, touched: &[usize]) -> Option<String> {
        let harm = self.pulse.harm(self.life)?;
        if let Harm::Changed(change) = harm {
            return Some(format!("{change}; nothing more was touched"));
        }
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

fn unsettled(plan: &FixReport, of: &[usize]) -> Vec<usize> {
    let open = |at: &usize| plan.items[*at].outcome.is_none();
    of.iter().copied().filter(open).collect()
}

/// Keeps to the rate: item `n` is not touched before its time.
pub fn wait_for_turn(begun: Instant, n: usize, per_second: Option<u32>) {
    if let Some(rate) = per_second.filter(|rate| *rate > 0) {
        let due = Duration::from_secs_f64(n as f64 / f64::from(rate));
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
}
