//! `memguard fix`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::common::{emit, emit_error, table_writer, writer_for};
use super::fix_look::{Look, look};
use super::helping::{Clock, Helping};
use super::rules::care;
use crate::args::{FixArgs, Format, Rate};
use crate::attach::{Target, resolve};
use crate::error::{Error, TargetError};
use crate::fix::inside::Inside;
use crate::fix::ladder::climb;
use crate::fix::pace::{Line, Pace};
use crate::fix::plan::{Wish, confirm};
use crate::fix::protect::Protection;
use crate::fix::retire::end_due;
use crate::fix::undo::setting;
use crate::fix::{caches, limit};
use crate::model::{
    Fix, FixCache, FixGate, FixItem, FixLimit, FixOutcome, FixReport, FixTook, Kind, milliseconds,
};
use crate::state::Folder;
use crate::state::audit::{Action, Journal, read};
use crate::state::pending::pending;

/// Between the two looks that must agree.
const SECOND_LOOK: Duration = Duration::from_secs(1);
const SECOND_SEARCH: Duration = Duration::from_secs(3);
/// More items than this show progress.
const LONG: usize = 200;

/// Runs the verb.
pub fn run(args: &FixArgs) -> Result<ExitCode, Error> {
    let mut wish = wish(args)?;
    let pid = live(&args.target)?;
    let begun = Instant::now();
    let Look {
        mut plan,
        mut inside,
        mut clock,
    } = look(args, &wish, pid)?;
    known_ids(args, &plan)?;
    most(&mut plan.items, args.max.unwrap_or(usize::MAX));
    if args.dry_run {
        plan.dry_run = true;
        took(&mut plan).whole_ms = milliseconds(begun.elapsed());
        emit(
            &table_writer(&args.output).fix(&plan)?,
            args.output.output.as_deref(),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let gives = plan.caches.iter().any(FixCache::passes);
    let raises = plan.limit.as_ref().is_some_and(FixLimit::passes);
    if gives || raises || plan.items.iter().any(FixItem::passes) {
        let asked = Instant::now();
        if !agreed(args, &plan)? {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(apart(&plan));
        took(&mut plan).between_ms = milliseconds(asked.elapsed());
        wish.protection = wish.protection.since(plan.taken_at);
        let again = look(args, &wish, pid)?;
        plan = confirm(plan, again.plan);
        (inside, clock) = (again.inside, again.clock);
    }
    carry_out(args, pid, inside, clock.as_ref(), &mut plan);
    took(&mut plan).whole_ms = milliseconds(begun.elapsed());
    emit(
        &table_writer(&args.output).fix(&plan)?,
        args.output.output.as_deref(),
    )?;
    Ok(code(&plan))
}

/// A finding that is named wrongly must not pass for one that is fixed.
fn known_ids(args: &FixArgs, plan: &FixReport) -> Result<(), Error> {
    let has_items = |id: &&String| plan.items.iter().any(|item| item.finding == **id);
    match args.findings.iter().find(|id| !has_items(id)) {
        Some(id) => Err(Error::Usage(format!(
            "Nothing that leaks has the id {id} now; `memguard report {}` shows the findings.",
            args.target
        ))),
        None => Ok(()),
    }
}

/// What is closed for the program is looked at twice with more time between.
fn apart(plan: &FixReport) -> Duration {
    let closes = |item: &FixItem| item.passes() && item.is_lost();
    match plan.items.iter().any(closes) {
        true => SECOND_SEARCH,
        false => SECOND_LOOK,
    }
}

/// Acts on the items, and keeps every action in the log.
fn carry_out(
    args: &FixArgs,
    pid: i32,
    inside: Option<Inside>,
    clock: Option<&Clock>,
    plan: &mut FixReport,
) {
    let mut journal = match Journal::open(pid, plan.process.name()) {
        Ok(journal) => Some(journal),
        Err(why) => {
            plan.notes
                .push(format!("What is done is not kept in the log: {why}"));
            None
        }
    };
    // What ends here is not to be parked by the same run.
    let ended = if args.retire {
        end_quarantine(args, pid, journal.as_mut())
    } else {
        Vec::new()
    };
    spare(&mut plan.items, &ended);
    if let Some(limit) = plan.limit.as_mut().filter(|limit| limit.passes()) {
        limit::raise(pid, limit);
        let line = limit_line(limit);
        if let Some(journal) = journal.as_mut()
            && let Err(why) = journal.add(plan.items.len(), &line, None)
        {
            plan.notes
                .push(format!("The new limit is not in the log: {why}"));
        }
    }
    let first = plan.items.len() + 1;
    caches::give::give_back(pid, &mut plan.caches, &mut |at, cache| {
        let line = cache_line(cache);
        let journal = journal.as_mut();
        journal.is_some_and(|journal| journal.add(first + at, &line, None).is_ok())
    });
    let mut helping = Helping::default();
    let mut kept = |lines: &[Line<'_>]| {
        lines
            .iter()
            .for_each(|line| helping.saw(line.at, line.item));
        let lines = lines
            .iter()
            .map(|line| (line.at, line.item, line.timer.map(setting)));
        let lines: Vec<_> = lines.collect();
        journal
            .as_mut()
            .is_some_and(|journal| journal.add_all(&lines).is_ok())
    };
    let per_second = match args.rate {
        Rate::PerSecond(n) => Some(n),
        Rate::Unlimited => None,
    };
    let mut said = progress;
    let mut pace = Pace::new(per_second, &mut said, &mut kept);
    climb(plan, pid, inside, &mut pace);
    let noting = Instant::now();
    helping.keep(clock);
    took(plan).note_ms = milliseconds(noting.elapsed());
    plan.items.extend(ended);
}

fn took(plan: &mut FixReport) -> &mut FixTook {
    plan.took.get_or_insert_with(FixTook::default)
}

/// What the program has just shown that it uses is not parked again.
fn spare(items: &mut [FixItem], ended: &[FixItem]) {
    let used = |item: &FixItem| item.outcome == Some(FixOutcome::Restored);
    let used: Vec<Option<i32>> = ended
        .iter()
        .filter(|item| used(item))
        .map(|item| item.fd)
        .collect();
    for item in items.iter_mut().filter(|item| item.action == Fix::Retire) {
        if used.contains(&item.fd) {
            item.outcome = Some(FixOutcome::Refused);
            item.detail = Some("the program has just used it".to_owned());
        }
    }
}

/// What was parked long enough by earlier runs.
fn end_quarantine(args: &FixArgs, pid: i32, journal: Option<&mut Journal>) -> Vec<FixItem> {
    let actions = Folder::open().and_then(|folder| read(&folder));
    let parked = pending(&actions.unwrap_or_default()).into_iter();
    let parked = parked.filter(|action| action.action == Fix::Retire);
    let ended = end_due(parked.collect(), pid, args.quarantine);
    if let Some(journal) = journal {
        for (action, item) in &ended {
            // One that cannot be kept is asked about again.
            let _ = journal.write(&Action {
                at: jiff::Timestamp::now(),
                outcome: item.outcome,
                detail: item.detail.clone(),
                ..action.clone()
            });
        }
    }
    ended.into_iter().map(|(_, item)| item).collect()
}

/// For the log: a limit is no object, so it has words only.
fn limit_line(limit: &FixLimit) -> FixItem {
    let raised = limit.raised == Some(true);
    let what = format!("limit on descriptors, {} -> {}", limit.from, limit.to);
    FixItem {
        gates: limit.gates.clone(),
        outcome: (!raised).then_some(FixOutcome::Failed),
        detail: raised.then(|| "raised".to_owned()),
        ..FixItem::new("", Kind::Files, Fix::None, what)
    }
}

/// For the log: neither is memory that is free.
fn cache_line(cache: &FixCache) -> FixItem {
    let given = cache.given_bytes.map(|given| format!("{given} bytes"));
    let what = format!("{}: {}", cache.means.words(), cache.what);
    FixItem {
        gates: cache.gates.clone(),
        outcome: cache.outcome,
        detail: given.or_else(|| cache.detail.clone()),
        ..FixItem::new("", Kind::Caches, Fix::GiveBack, what)
    }
}

/// The flags come after the file, and the last word counts.
fn wish(args: &FixArgs) -> Result<Wish, Error> {
    Ok(Wish {
        findings: args.findings.clone(),
        min_age: args.select.min_age,
        close_lost: args.close_lost,
        retire: args.retire,
        protection: Protection::default()
            .with(&care(&args.rules)?)
            .and(args.protect_port.iter().copied(), [])
            .but(&args.allow_port),
    })
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

/// One question on a terminal; without one, only `--yes` answers it.
fn agreed(args: &FixArgs, plan: &FixReport) -> Result<bool, Error> {
    if args.yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Error::Usage(
            "Nobody is there to say yes; add --yes to act, or --dry-run to see the plan only."
                .into(),
        ));
    }
    emit_error(&writer_for(Format::Text, None, false).fix(plan)?)?;
    let open = plan.items.iter().filter(|item| item.passes()).count();
    let limit = plan.limit.as_ref().is_some_and(FixLimit::passes);
    let also = if limit { " and raise the limit" } else { "" };
    let ways = plan.caches.iter().filter(|cache| cache.passes()).count();
    let give = match ways {
        0 => String::new(),
        1 => " and give memory back in 1 way".to_owned(),
        n => format!(" and give memory back in {n} ways"),
    };
    emit_error(&format!("Fix these {open}{also}{give}? [y/N] "))?;
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// A counter that overwrites itself, on a terminal and for long runs only.
fn progress(done: usize, total: usize) {
    let mut screen = std::io::stderr();
    if total >= LONG && screen.is_terminal() {
        // Progress that cannot be shown is no failure.
        let _ = write!(screen, "\r{done} of {total} ");
    }
}

/// 5 when it was stopped for harm, or when every single item was refused.
fn code(plan: &FixReport) -> ExitCode {
    let raised = plan
        .limit
        .as_ref()
        .is_none_or(|limit| limit.raised == Some(true));
    let outcomes = plan.items.iter().map(|item| item.outcome);
    let mut outcomes = outcomes.chain(plan.caches.iter().map(|cache| cache.outcome));
    let nothing = plan.items.is_empty() && plan.caches.is_empty();
    let refused = !nothing && outcomes.all(|outcome| outcome == Some(FixOutcome::Refused));
    ExitCode::from(if plan.stopped.is_some() || refused || !raised {
        5
    } else {
        0
    })
}
