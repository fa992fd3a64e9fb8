//! A fresh look at the process, and the plan that follows from it.

use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use super::super::common::wanted;
use super::super::helping::Clock;
use super::super::judge::Judged;
use super::super::rules::{care, rules};
use super::why;
use crate::args::FixArgs;
use crate::attach::resolve;
#[cfg(feature = "forced-verdicts")]
use crate::detect::Found;
use crate::detect::find;
use crate::error::{Error, TargetError};
use crate::fix::inside::Inside;
use crate::fix::life::Life;
use crate::fix::plan::{Wish, plan};
use crate::fix::protect::Protection;
use crate::fix::{caches, limit};
use crate::model::{
    Finding, FixGate, FixItem, FixReport, FixTook, Kind, Report, Verdict, milliseconds,
};
use crate::snapshot::collect::Parts;
use crate::snapshot::{Snapshot, of_target_in};
use crate::state::State;
use crate::units::count;

/// What a look gives.
pub struct Looked {
    /// The plan
    pub plan: FixReport,
    /// The way in: rows are taken down before the look that is acted upon
    pub inside: Option<Inside>,
    /// What time it was there
    pub clock: Option<Clock>,
    /// All findings, leaks or not; none where all are forced to be
    pub shown: Option<Report>,
}

/// The flags come after the file, and the last word counts.
pub fn wish(args: &FixArgs) -> Result<Wish, Error> {
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

/// Looks at the process.
///
/// # Errors
/// When it is gone, or cannot be looked at.
pub fn look(args: &FixArgs, wish: &Wish, life: &Life) -> Result<Looked, Error> {
    let begun = Instant::now();
    let pid = life.pid();
    let inside = Inside::of(pid);
    let mut snapshot: Snapshot = of_target_in(resolve(pid.to_string())?, parts(args))?;
    let clock = Clock::of(&snapshot);
    let looked = begun.elapsed();
    if !snapshot.process.alive {
        return Err(TargetError::Vanished(pid).into());
    }
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
    let rules = rules(&args.rules)?;
    let (mut shown, mut leaking) = (None, BTreeSet::new());
    if forced.is_none() {
        // It counts as a look, like a report: whoever asks often enough sees
        // chance agree with anything once.
        let mut judged = Judged::of(&snapshot, &wanted, &known, args.rules.no_rules);
        judged.keep(&snapshot, &wanted, &mut state);
        leaking = judged.leaking(&snapshot);
        rules.apply(&mut judged.report);
        keep_shown(&mut plan.items, &judged.report);
        shown = Some(judged.report);
    }
    plan.notes.extend(forced.map(str::to_owned));
    if args.select.kind.contains(&Kind::Caches) {
        plan.caches = caches::plan(pid, &rules.limits)?;
    }
    plan.limit = args.raise_limit.then(|| limit::plan(pid)).flatten();
    if plan.items.is_empty() && plan.caches.is_empty() && plan.limit.is_none() {
        let about = shown.as_ref();
        plan.notes.extend(about.into_iter().flat_map(|shown| {
            why::nothing(shown, &leaking, &args.select.kind)
                .into_iter()
                .chain(why::too_soon(&snapshot, &found, shown, &wanted, &known))
                .chain(snapshot.facts.notes.iter().cloned())
        }));
    }
    hold_still(&mut plan, life);
    plan.took = Some(FixTook {
        look_ms: milliseconds(looked),
        plan_ms: milliseconds(begun.elapsed().saturating_sub(looked)),
        ..FixTook::default()
    });
    Ok(Looked {
        plan,
        inside,
        clock,
        shown,
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

/// A program that stands still closes nothing, and shows no harm.
fn hold_still(plan: &mut FixReport, life: &Life) {
    let Some(stop) = life.stop() else { return };
    let gate = FixGate {
        name: "running".to_owned(),
        open: false,
        fact: stop.to_string(),
    };
    let of_items = plan.items.iter_mut().map(|item| &mut item.gates);
    let inside = plan
        .caches
        .iter_mut()
        .filter(|cache| cache.means.is_inside());
    let of_caches = inside.map(|cache| &mut cache.gates);
    for gates in of_items.chain(of_caches) {
        gates.insert(0, gate.clone());
    }
}

/// In a build for tests, and if it is asked for: all that is held is called a
/// leak. What is to be said of that.
#[cfg(feature = "forced-verdicts")]
fn force(
    snapshot: &mut Snapshot,
    found: &mut Vec<Found>,
    wanted: &crate::detect::Wanted,
) -> Option<&'static str> {
    crate::fix::forced::is_on().then(|| {
        crate::fix::forced::force(snapshot, found, wanted);
        crate::fix::forced::NOTE
    })
}

#[cfg(not(feature = "forced-verdicts"))]
fn force<S, F, W>(_: &mut S, _: &mut F, _: &W) -> Option<&'static str> {
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

/// A finding that is named wrongly must not pass for one that is fixed.
///
/// # Errors
/// Then, with what there is instead.
pub fn known_ids(args: &FixArgs, looked: &Looked) -> Result<(), Error> {
    let has_items = |id: &&String| looked.plan.items.iter().any(|item| item.finding == **id);
    match args.findings.iter().find(|id| !has_items(id)) {
        Some(id) => Err(Error::Usage(nothing_of(
            id,
            &args.target,
            looked.shown.as_ref(),
        ))),
        None => Ok(()),
    }
}

fn nothing_of(id: &str, target: &str, shown: Option<&Report>) -> String {
    let findings = shown.map_or(&[][..], |shown| &shown.findings);
    let named = findings.iter().find(|finding| finding.id == id);
    match named.map(|finding| finding.verdict) {
        Some(Verdict::Leak) => format!(
            "Nothing that {id} holds can be fixed; `memguard report {target}` shows what it is."
        ),
        Some(other) => format!(
            "{id} is `{}`, and only what is a `leak` is fixed; `memguard label leak {id} {target}` says that it is one.",
            other.name()
        ),
        None => format!(
            "There is no finding {id} in `{target}` now; {}, and `memguard report {target}` shows all findings.",
            leaks(findings)
        ),
    }
}

/// Ids told of those that leak; a report has all.
const TOLD: usize = 5;

fn leaks(findings: &[Finding]) -> String {
    let leaks: Vec<String> = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Leak)
        .map(|one| {
            format!(
                "{} ({} {})",
                one.id,
                count(one.count),
                one.kind.noun(one.count)
            )
        })
        .collect();
    match leaks.len() {
        0 => "nothing leaks by now".to_owned(),
        n if n > TOLD => format!("{} and {} more leak", leaks[..TOLD].join(", "), n - TOLD),
        1 => format!("what leaks is {}", leaks[0]),
        _ => format!("what leaks are {}", leaks.join(", ")),
    }
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
    fn what_is_to_be_labelled_names_the_process() {
        let mut report = crate::render::samples::report();
        report.process.pid = 4242;
        let finding = report.findings.first_mut().unwrap();
        finding.verdict = Verdict::Suspect;
        let id = finding.id.clone();
        let hint = nothing_of(&id, "server", Some(&report));
        assert!(
            hint.contains(&format!("`memguard label leak {id} server`")),
            "{hint}"
        );
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
