//! `memguard fix`: two looks, a question between them, then the ladder.
//!
//! - [`look`]: a plan from a fresh look; [`why`]: where there is nothing to fix
//! - [`ask`]: the question to a person
//! - [`carry`]: what is done; [`log`]: and what the log has of it

mod ask;
mod carry;
mod log;
mod look;
mod why;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::common::{emit, emit_done, table_writer};
use super::progress::Progress;
use crate::args::FixArgs;
use crate::attach::{Target, resolve};
use crate::error::{Error, TargetError};
use crate::fix::life::Life;
use crate::fix::plan::confirm;
use crate::model::{
    FixCache, FixGate, FixItem, FixLimit, FixOutcome, FixReport, FixTook, milliseconds,
};
use log::Kept;
use look::{Looked, known_ids, look, wish};

/// Between the two looks that must agree.
const SECOND_LOOK: Duration = Duration::from_secs(1);
const SECOND_SEARCH: Duration = Duration::from_secs(3);

/// Runs the verb.
pub fn run(args: &FixArgs) -> Result<ExitCode, Error> {
    if args.quarantine.is_some() && !args.retire {
        return Err(Error::Usage(
            "--quarantine says when a parked file is closed, so it needs --retire; add that, or leave it out."
                .into(),
        ));
    }
    let mut wish = wish(args)?;
    let pid = live(&args.target)?;
    // From before the first look on: what it becomes later is no part of a plan.
    let life = Life::of(pid).ok_or(TargetError::Vanished(pid))?;
    let begun = Instant::now();
    let looking = Progress::of("Looking at it", 0);
    let first = look(args, &wish, &life)?;
    drop(looking);
    known_ids(args, &first)?;
    let Looked {
        mut plan,
        mut inside,
        mut clock,
        ..
    } = first;
    most(&mut plan.items, args.max.unwrap_or(usize::MAX));
    if args.dry_run {
        plan.dry_run = true;
        took(&mut plan).whole_ms = milliseconds(begun.elapsed());
        return shown(args, &plan, &Kept::default(), ExitCode::SUCCESS);
    }
    if acts(&plan) {
        let asked = Instant::now();
        if !ask::agreed(args, &plan)? {
            return Ok(ExitCode::SUCCESS);
        }
        let looking = Progress::of("Looking once more", 0);
        std::thread::sleep(apart(&plan));
        took(&mut plan).between_ms = milliseconds(asked.elapsed());
        wish.protection = wish.protection.since(plan.taken_at);
        let again = look(args, &wish, &life);
        drop(looking);
        if let Some(change) = life.end() {
            plan.stopped = Some(format!("{change}; nothing was touched"));
            return shown(args, &plan, &Kept::default(), ExitCode::from(5));
        }
        let again = again?;
        plan = confirm(plan, again.plan);
        (inside, clock) = (again.inside, again.clock);
    }
    let kept = carry::carry_out(args, &life, (inside, clock.as_ref()), &mut plan);
    took(&mut plan).whole_ms = milliseconds(begun.elapsed());
    shown(args, &plan, &kept, code(&plan, kept.is_whole()))
}

fn took(plan: &mut FixReport) -> &mut FixTook {
    plan.took.get_or_insert_with(FixTook::default)
}

fn shown(args: &FixArgs, plan: &FixReport, kept: &Kept, code: ExitCode) -> Result<ExitCode, Error> {
    let text = table_writer(&args.output).fix(plan)?;
    let file = args.output.output.as_deref();
    if plan.dry_run {
        emit(&text, file)?;
    } else {
        emit_done(&text, file, kept.of_something())?;
    }
    Ok(code)
}

/// Whether there is anything to agree to.
fn acts(plan: &FixReport) -> bool {
    let gives = plan.caches.iter().any(FixCache::passes);
    let raises = plan.limit.as_ref().is_some_and(FixLimit::passes);
    gives || raises || plan.items.iter().any(FixItem::passes)
}

/// What is closed for the program is looked at twice with more time between.
fn apart(plan: &FixReport) -> Duration {
    let closes = |item: &FixItem| item.passes() && item.is_lost();
    match plan.items.iter().any(closes) {
        true => SECOND_SEARCH,
        false => SECOND_LOOK,
    }
}

/// Of those that pass, only so many stay so.
fn most(items: &mut [FixItem], most: usize) {
    let pass = items.iter_mut().filter(|item| item.passes());
    for item in pass.skip(most) {
        item.gates.push(FixGate {
            name: "max".to_owned(),
            open: false,
            fact: format!("{most} others come first, and --max asks for no more"),
        });
    }
}

/// The pid of a target that runs.
fn live(text: &str) -> Result<i32, Error> {
    match resolve(text)? {
        Target::Live { process, .. } => Ok(process.pid),
        Target::Ended { .. } | Target::Saved { .. } => {
            Err(TargetError::NotRunning(text.to_owned()).into())
        }
    }
}

/// 5 when it was stopped, when the log could not be written, or when of all that
/// was planned nothing was carried out.
fn code(plan: &FixReport, logged: bool) -> ExitCode {
    let raised = plan
        .limit
        .as_ref()
        .is_none_or(|limit| limit.raised == Some(true));
    let unlogged = !logged && acts(plan);
    let outcomes = plan.items.iter().map(|item| item.outcome);
    let mut outcomes = outcomes.chain(plan.caches.iter().map(|cache| cache.outcome));
    let nothing = plan.items.is_empty() && plan.caches.is_empty();
    use FixOutcome::{Failed, NotLogged, Refused};
    let is_refused = |outcome| matches!(outcome, Some(Refused | Failed | NotLogged));
    let refused = !nothing && outcomes.all(is_refused);
    let failed = plan.stopped.is_some() || unlogged || refused || !raised;
    ExitCode::from(if failed { 5 } else { 0 })
}
