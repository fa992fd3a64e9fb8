//! One score for dashboards, 0 to 100, and what it is made of.
//!
//! Each part is judged by itself; the worst of them decides. So the score
//! never hides a bad part behind good ones, and a program that gets worse in
//! any respect never scores better. A part that is not known does not count;
//! where too little was seen there is no score at all.
//!
//! The curves are conventions, not measurements: one proven leak is a D, an
//! hour until the descriptors run out an E.

use super::model::constants::{LONG_ENOUGH, SOCKET_FLOOR};
use crate::model::{
    Coverage, Finding, Health, HealthPart, HeapCoverage, Overhead, Report, Verdict,
};
use crate::units::{count, span};

/// A process must have been seen for so long before anything is said.
const SHORTEST_S: f64 = 60.0;
/// From so many lost events on, what is missing may be the point.
const MANY_LOST: u64 = 10_000;
/// What is left of the score with each proven leak.
const PER_LEAK: f64 = 0.55;
/// With each growing or suspected place, which may be innocent.
const PER_SUSPECT: f64 = 0.85;
/// All of those together never take more than this leaves.
const SUSPECTS_LEAVE: f64 = 0.5;
/// Nobody plans further ahead.
const MONTH_S: f64 = 30.0 * 86_400.0;
/// Too late to do anything.
const MINUTE_S: f64 = 60.0;

/// The health of what a report says.
#[must_use]
pub fn health(report: &Report) -> Health {
    let parts = vec![
        verdicts(report),
        exhaustion(report),
        overhead(&report.overhead),
        coverage(&report.coverage, report.totals.open_fds),
    ];
    match too_thin(report) {
        Some(why) => Health {
            reasons: vec![why],
            parts,
            ..Health::default()
        },
        None => worst(parts),
    }
}

/// The worst part decides; the others that are not perfect are reasons too.
fn worst(parts: Vec<HealthPart>) -> Health {
    let score = parts.iter().filter_map(|part| part.score).min();
    let mut reasons: Vec<&HealthPart> = parts
        .iter()
        .filter(|part| part.score.is_some_and(|score| score < 100))
        .collect();
    reasons.sort_by_key(|part| part.score);
    Health {
        score,
        grade: score.map(|score| grade(score).to_owned()),
        reasons: reasons.iter().map(|part| part.reason.clone()).collect(),
        parts,
    }
}

/// A to F in steps of fifteen, below 90.
fn grade(score: u8) -> &'static str {
    match score {
        90.. => "A",
        75.. => "B",
        60.. => "C",
        45.. => "D",
        30.. => "E",
        _ => "F",
    }
}

/// Why nothing can be said, where that is so.
fn too_thin(report: &Report) -> Option<String> {
    let lost = report.coverage.lost_events.unwrap_or(0);
    let seen_s = report.lived_s().unwrap_or(0.0);
    if !report.process.instrumented {
        Some("memguard's library has no record of it".to_owned())
    } else if lost >= MANY_LOST {
        Some(format!("{} events were lost", count(lost)))
    } else if report.totals.since.is_some() {
        Some("only what came since a snapshot was looked at".to_owned())
    } else if seen_s < SHORTEST_S {
        // No figure: a dead process's report stays the same.
        Some("it was seen for less than a minute".to_owned())
    } else if nothing_judged(report) && seen_s < judged_by_s() {
        Some("what it holds is too young to judge".to_owned())
    } else {
        None
    }
}

/// By when all kinds can be judged. A service that has worked for longer
/// always holds a little that is young.
fn judged_by_s() -> f64 {
    SOCKET_FLOOR.as_secs_f64() * LONG_ENOUGH as f64
}

/// Whether nothing speaks against it only because it is too early for that.
fn nothing_judged(report: &Report) -> bool {
    report.worst() == Some(Verdict::Early)
}

fn part(name: &str, score: Option<f64>, reason: String) -> HealthPart {
    HealthPart {
        name: name.to_owned(),
        score: score.map(|score| score.clamp(0.0, 100.0).floor() as u8),
        reason,
    }
}

fn verdicts(report: &Report) -> HealthPart {
    let findings = || report.findings.iter();
    let n = |verdict| findings().filter(|one| one.verdict == verdict).count();
    let leaks = n(Verdict::Leak);
    let maybe = n(Verdict::Growing) + n(Verdict::Suspect);
    let power = |base: f64, n: usize| base.powi(i32::try_from(n).unwrap_or(i32::MAX));
    let left = power(PER_LEAK, leaks) * power(PER_SUSPECT, maybe).max(SUSPECTS_LEAVE);
    let reason = match (leaks, maybe) {
        (0, 0) if nothing_judged(report) => "no leak found, some too young to judge".to_owned(),
        (0, 0) => "no leak found".to_owned(),
        (0, _) => format!("{} suspected", places(maybe)),
        (_, 0) => format!("leaks in {}", places(leaks)),
        _ => format!("leaks in {}, {maybe} more suspected", places(leaks)),
    };
    part("verdicts", Some(100.0 * left), reason)
}

fn places(n: usize) -> String {
    if n == 1 {
        "1 place".to_owned()
    } else {
        format!("{n} places")
    }
}

/// What runs out: each its own limit, shared by all that fill it.
fn exhaustion(report: &Report) -> HealthPart {
    if report.totals.fd_limit.is_none() {
        return part("exhaustion", None, "the limits are not known".to_owned());
    }
    let descriptors = soonest(&report.findings, true);
    let memory = soonest(&report.findings, false);
    let (left_s, what) = match (descriptors, memory) {
        (Some(fds), Some(memory)) if memory < fds => (memory, "memory runs out"),
        (Some(fds), _) => (fds, "descriptors run out"),
        (None, Some(memory)) => (memory, "memory runs out"),
        (None, None) => {
            let young = report
                .findings
                .iter()
                .any(|one| one.verdict == Verdict::Early);
            let what = if young { "nothing judged" } else { "nothing" };
            let nothing = format!("{what} runs out within a month");
            return part("exhaustion", Some(100.0), nothing);
        }
    };
    let share = (left_s / MINUTE_S).max(1.0).ln() / (MONTH_S / MINUTE_S).ln();
    part(
        "exhaustion",
        Some(100.0 * share),
        format!("{what} in {}", span(left_s)),
    )
}

/// When a limit is hit by all findings on it together: their rates add up.
fn soonest(findings: &[Finding], descriptors: bool) -> Option<f64> {
    let on_it = |one: &&Finding| one.kind.takes_descriptor() == descriptors;
    let rate: f64 = findings
        .iter()
        .filter(on_it)
        .filter_map(|one| one.exhaustion_s)
        .map(|left| 1.0 / left.max(1.0))
        .sum();
    (rate > 0.0).then(|| 1.0 / rate)
}

fn overhead(overhead: &Overhead) -> HealthPart {
    let (Some(cost), Some(budget)) = (overhead.estimated_percent, overhead.budget_percent) else {
        return part("overhead", None, "not estimated".to_owned());
    };
    let share = if cost <= budget { 1.0 } else { budget / cost };
    let reason = format!("{cost:.1} % of a budget of {budget:.1} %");
    part("overhead", Some(100.0 * share), reason)
}

fn coverage(coverage: &Coverage, open_fds: Option<u64>) -> HealthPart {
    let heap = match coverage.heap {
        HeapCoverage::Full => 1.0,
        HeapCoverage::Sampled => 0.98,
        HeapCoverage::None => 0.6,
    };
    let unknown = coverage.unknown_fds.unwrap_or(0);
    let unknown_share = (unknown as f64 / open_fds.unwrap_or(0).max(1) as f64).min(1.0);
    let lost = coverage.lost_events.unwrap_or(0);
    let kept = 1.0 - 0.1 * (1.0 + lost as f64).log10();
    let left = heap * (1.0 - 0.5 * unknown_share) * kept.max(0.0);
    part("coverage", Some(100.0 * left), covered(coverage))
}

fn covered(coverage: &Coverage) -> String {
    let heap = match coverage.heap {
        HeapCoverage::Full => "every block",
        HeapCoverage::Sampled => "the heap by sample",
        HeapCoverage::None => "not the heap",
    };
    let unknown = coverage.unknown_fds.filter(|unknown| *unknown > 0);
    let unknown = unknown.map(|n| format!("{} descriptors of unknown origin", count(n)));
    let lost = coverage.lost_events.filter(|lost| *lost > 0);
    let lost = lost.map(|lost| format!("{} events lost", count(lost)));
    let facts = [Some(heap.to_owned()), unknown, lost];
    facts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
