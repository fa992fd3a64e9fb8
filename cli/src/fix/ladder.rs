//! The ladder: one canary, then a tenth, then all, at a rate; after each step
//! the kernel is asked what came of it and the program is looked at for harm.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::acts::end_as;
use super::again::Again;
use super::hangup;
use super::inside::Inside;
use super::life::{Change, Life};
use super::means::{Means, give_up};
use super::others;
use super::pace::Pace;
use super::watch::{Harm, Pulse};
use crate::model::{Fix, FixItem, FixOutcome, FixReport, FixStep, FixTook, milliseconds};

/// How an owner's answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the canary is watched.
const CANARY: Duration = Duration::from_secs(5);
/// Between two looks at what is left, at the least,
const BEAT: Duration = Duration::from_millis(20);
/// and so many times as long as a look takes: thousands that nobody closes
/// must not keep a core busy.
const REST: u32 = 4;
/// Between two looks for harm on long runs.
const CHECK: Duration = Duration::from_secs(1);

/// Carries a plan out; what only the target can do by the way into it.
pub fn climb(plan: &mut FixReport, life: &Life, inside: Option<Inside>, pace: &mut Pace<'_>) {
    refuse_gated(&mut plan.items);
    let (todo, canary) = canaries_first(&plan.items);
    if todo.is_empty() {
        return;
    }
    let begun = Instant::now();
    let Some(mut climber) = Climber::start(life, inside, plan) else {
        let change = life.change().unwrap_or(Change::Ended);
        plan.stopped = Some(format!("{change}; nothing was touched"));
        return;
    };
    let usual = begun.elapsed();
    let total = todo.len();
    let tenth = (total / 10).max(canary);
    let (mut done, mut steps) = (0, Vec::new());
    for end in [canary, tenth, total] {
        let step = Step {
            items: &todo[done..end],
            watched: if done == 0 { CANARY } else { CHECK },
            is_first: done == 0,
        };
        let took = climber.step(plan, &step, pace);
        let touched = steps.iter().chain([&took]).any(|step| step.items > 0);
        steps.push(took);
        done = end;
        let is_left = pace.is_broken() && !touched;
        let harm = (!is_left).then(|| climber.harmed(plan, &todo[..done]));
        plan.stopped = harm.flatten();
        if plan.stopped.is_none() && pace.is_broken() {
            leave_the_rest(plan, &todo, touched);
        }
        if plan.stopped.is_some() || is_left {
            break;
        }
    }
    let took = plan.took.get_or_insert_with(FixTook::default);
    took.climbed(usual, steps);
}

/// The log cannot be written any more.
fn leave_the_rest(plan: &mut FixReport, todo: &[usize], touched: bool) {
    let rest = unsettled(plan, todo);
    end_as(&mut plan.items, &rest, FixOutcome::NotLogged);
    plan.stopped = touched.then(|| UNKEPT.to_owned());
}

const UNKEPT: &str = "the log could not be written any more; nothing more was touched";

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
    again: Again,
}

impl<'a> Climber<'a> {
    /// None when the process is not what it was, or stands still.
    fn start(life: &'a Life, inside: Option<Inside>, plan: &FixReport) -> Option<Self> {
        let means = Means::of(life.pid(), inside)?;
        let climber = Self {
            again: Again::of(&means.dir, plan),
            means,
            pulse: Pulse::take(life.pid(), CHECK)?,
            life,
        };
        life.change().is_none().then_some(climber)
    }

    /// Acts on some items at the rate, waits for the owner, verifies, watches.
    fn step(&mut self, plan: &mut FixReport, step: &Step<'_>, pace: &mut Pace<'_>) -> FixStep {
        let begun = Instant::now();
        let mut took = FixStep::default();
        let (others, touched) = self.act(plan, step, pace);
        let acting = begun.elapsed();
        let written = pace.logged();
        took.items = touched.len();
        took.act_ms = milliseconds(acting.saturating_sub(written));
        self.verify(plan, &others, &touched, pace);
        let since = self.again.first_look();
        others::tell(
            &mut plan.items,
            &touched,
            &self.means.dir,
            since,
            pace.run(),
        );
        let known = begun.elapsed();
        let written_down = pace.begun(&touched);
        pace.keep_all(&plan.items, &written_down);
        let logged = begun.elapsed().saturating_sub(known);
        // What was closed after all was written down in between.
        let between = pace.logged().saturating_sub(logged);
        took.verify_ms = milliseconds(known.saturating_sub(acting + between));
        took.log_ms = milliseconds(written + between + logged);
        if pace.is_broken() && touched.is_empty() {
            return took;
        }
        // Closing thousands takes CPU time; what goes on after it is a spin.
        self.pulse.begin();
        std::thread::sleep(step.watched.saturating_sub(begun.elapsed()).max(CHECK));
        took.watch_ms = milliseconds(begun.elapsed().saturating_sub(known + logged));
        took
    }

    /// Does what is asked for. Those whose outcome the owner decides, and all
    /// that it came to.
    fn act(
        &self,
        plan: &mut FixReport,
        step: &Step<'_>,
        pace: &mut Pace<'_>,
    ) -> (Vec<usize>, Vec<usize>) {
        let closes = |at: &usize| plan.items[*at].action == Fix::CloseLost;
        let (lost, others): (Vec<usize>, Vec<usize>) = step.items.iter().partition(|at| closes(at));
        let (timers, others): (Vec<usize>, Vec<usize>) = others
            .into_iter()
            .partition(|at| plan.items[*at].timer.is_some());
        let (mut came_to, mut is_over) = (Vec::new(), false);
        for some in others.chunks(pace.for_a_while()) {
            let still = self.spare_moved(plan, some);
            let turned = self.means.act(&mut plan.items, &still, pace);
            is_over = turned.len() < still.len() || pace.is_broken();
            came_to.extend(turned);
            if is_over {
                break;
            }
        }
        let mut touched = came_to.clone();
        let again = !step.is_first;
        if !is_over {
            touched.extend(self.means.close_lost(&mut plan.items, &lost, again, pace));
            touched.extend(self.means.stop_timers(&mut plan.items, &timers, pace));
        }
        (came_to, touched)
    }

    /// Those of these that the program does not use after all.
    fn spare_moved(&self, plan: &mut FixReport, some: &[usize]) -> Vec<usize> {
        let moved = self.again.moved(&self.means.dir, &plan.items, some);
        for (at, why) in &moved {
            plan.items[*at].outcome = Some(FixOutcome::Refused);
            plan.items[*at].detail = Some((*why).to_owned());
        }
        let still = some.iter().filter(|at| !moved.contains_key(at));
        still.copied().collect()
    }

    /// What came of them, by the kernel's word; presses where nothing did.
    fn verify(
        &mut self,
        plan: &mut FixReport,
        others: &[usize],
        touched: &[usize],
        pace: &mut Pace<'_>,
    ) {
        self.pulse.begin();
        self.settle(plan, others);
        let silent = unsettled(plan, others);
        // Whoever spins on the end of file would spin on the hang-up as well.
        let goes_on = !silent.is_empty() && !pace.is_broken();
        if goes_on && self.pulse.harm(self.life).is_none() {
            self.press(plan, &silent, pace);
        }
        let change = self.life.change();
        for at in touched {
            give_up(&mut plan.items[*at], change);
        }
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
        if pace.is_broken() {
            return;
        }
        let mut left = unsettled(plan, silent);
        // What is used after all keeps its connection: the end of file waits.
        let moved = self.again.moved(&self.means.dir, &plan.items, &left);
        left.retain(|at| !moved.contains_key(at));
        for (at, why) in moved {
            plan.items[at].detail = Some(format!("{why}; the end of file waits for its owner"));
        }
        let hung_up = hangup::hang_up(&self.means, &mut plan.items, &left);
        self.settle(plan, &hung_up);
        hangup::verify(&self.means, &mut plan.items, &hung_up);
    }

    /// Waits until the owner has closed these, for a while.
    fn settle(&self, plan: &mut FixReport, step: &[usize]) {
        let begun = Instant::now();
        let mut left = unsettled(plan, step);
        loop {
            let looked = Instant::now();
            self.means.settle(&mut plan.items, &mut left, self.life);
            if left.is_empty() || begun.elapsed() > PATIENCE || self.life.end().is_some() {
                return;
            }
            std::thread::sleep(BEAT.max(looked.elapsed() * REST));
        }
    }

    /// Stops and takes back what can be taken back, if there is harm.
    fn harmed(&mut self, plan: &FixReport, touched: &[usize]) -> Option<String> {
        let harm = self.pulse.harm(self.life)?;
        if let Harm::Changed(change) = harm {
            return Some(format!("{change}; nothing more was touched"));
        }
        let touched: Vec<&FixItem> = touched
            .iter()
            .map(|at| &plan.items[*at])
            .filter(|item| item.outcome != Some(FixOutcome::ClosedByOwner))
            .collect();
        let taken_back = self.means.unregister(&touched);
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
