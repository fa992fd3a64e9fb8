//! The look that a fix acts upon, and the plan that follows from it.

use std::collections::HashSet;
use std::time::Instant;

use super::common::wanted;
use super::helping::Clock;
use super::names::names;
use super::rules::rules;
use crate::args::FixArgs;
use crate::attach::resolve;
use crate::detect::{Found, Wanted, find, report};
use crate::error::Error;
use crate::fix::inside::Inside;
use crate::fix::plan::{Wish, plan};
use crate::fix::{caches, limit};
use crate::model::{FixItem, FixReport, FixTook, Kind, Report, Verdict, milliseconds};
use crate::snapshot::collect::Parts;
use crate::snapshot::{Snapshot, of_target_in};
use crate::state::State;

/// One look.
#[derive(Debug)]
pub(super) struct Look {
    /// What follows from it
    pub plan: FixReport,
    /// The way into the program
    pub inside: Option<Inside>,
    /// What time it was there
    pub clock: Option<Clock>,
}

/// A fresh look at the same process, the plan that follows from it, and the way
/// in: rows are taken down before the look that is acted upon.
pub(super) fn look(args: &FixArgs, wish: &Wish, pid: i32) -> Result<Look, Error> {
    let begun = Instant::now();
    let inside = Inside::of(pid);
    let target = resolve(pid.to_string())?;
    let mut snapshot: Snapshot = of_target_in(target, parts(args))?;
    let clock = Clock::of(&snapshot);
    let looked = begun.elapsed();
    let wanted = wanted(&args.select, true);
    let mut state = State::open();
    let known = state.recall(&snapshot, &wanted);
    known.process.sharpen(&mut snapshot);
    let (mut found, _) = find(&snapshot, &wanted, &known.context());
    let forced = force(&mut snapshot, &mut found, &wanted);
    let (inside, no_way) = match inside {
        Ok(inside) => (inside, None),
        Err(why) => (None, Some(why.to_string())),
    };
    let mut plan = plan(&snapshot, &found, wish, inside.as_ref());
    plan.notes.extend(no_way);
    let mut symbols = names(&snapshot, args.rules.no_rules);
    let rules = rules(&args.rules)?;
    let mut shown = report(&snapshot, &wanted, &known.context(), symbols.as_mut());
    rules.apply(&mut shown);
    if forced.is_none() {
        keep_shown(&mut plan.items, &shown);
    }
    plan.notes.extend(forced.map(str::to_owned));
    if args.select.kind.contains(&Kind::Caches) {
        plan.caches = caches::plan(pid, &rules.limits)?;
    }
    plan.limit = args.raise_limit.then(|| limit::plan(pid)).flatten();
    plan.took = Some(FixTook {
        look_ms: milliseconds(looked),
        plan_ms: milliseconds(begun.elapsed().saturating_sub(looked)),
        ..FixTook::default()
    });
    Ok(Look {
        plan,
        inside,
        clock,
    })
}

/// What epolls watch matters to these kinds: to listeners, to pipes that a
/// program wakes itself by, and before anything is closed for good. Where its
/// memory lies matters to none of what is fixed here.
fn parts(args: &FixArgs) -> Parts {
    let kinds = &args.select.kind;
    let asked = [Kind::Listeners, Kind::Pipes]
        .iter()
        .any(|kind| kinds.contains(kind));
    Parts {
        registrations: kinds.is_empty() || asked || args.close_lost,
        memory: false,
    }
}

/// In a build for tests, and if it is asked for: all that is held is called a
/// leak. What is to be said of that.
#[cfg(feature = "forced-verdicts")]
fn force(snapshot: &mut Snapshot, found: &mut Vec<Found>, wanted: &Wanted) -> Option<&'static str> {
    crate::fix::forced::is_on().then(|| {
        crate::fix::forced::force(snapshot, found, wanted);
        crate::fix::forced::NOTE
    })
}

#[cfg(not(feature = "forced-verdicts"))]
fn force(_: &mut Snapshot, _: &mut Vec<Found>, _: &Wanted) -> Option<&'static str> {
    None
}

/// What a rule or a label hides is not touched either.
fn keep_shown(items: &mut Vec<FixItem>, report: &Report) {
    let leaks = report.findings.iter();
    let leaks = leaks.filter(|finding| finding.verdict == Verdict::Leak);
    let shown: HashSet<(&str, Option<&str>, Option<i32>)> = leaks
        .flat_map(|finding| {
            let id = finding.id.as_str();
            let rows = finding.resources.iter();
            rows.map(move |row| (id, row.what.as_deref(), row.fd))
        })
        .collect();
    items.retain(|item| {
        let (what, fd) = match (item.entry, item.fd) {
            (None, Some(fd)) => (None, Some(fd)),
            _ => (Some(item.what.as_str()), None),
        };
        shown.contains(&(item.finding.as_str(), what, fd))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn lists_epolls(options: &[&str]) -> bool {
        let words = ["memguard", "fix", "1"].iter().chain(options);
        match Cli::parse_from(words).command {
            Command::Fix(args) => parts(&args).registrations,
            _ => unreachable!("that is a fix"),
        }
    }

    #[test]
    fn epolls_are_listed_where_a_gate_asks_what_they_watch() {
        assert!(lists_epolls(&[]));
        assert!(lists_epolls(&["--kind", "sockets,listeners"]));
        assert!(lists_epolls(&["--kind", "pipes"]));
        assert!(lists_epolls(&["--kind", "sockets", "--close-lost"]));
        assert!(!lists_epolls(&["--kind", "sockets,timers"]));
    }
}
