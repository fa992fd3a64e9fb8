//! Findings in the stable JSON shape.

use super::sentence::{self, Words};
use super::{Found, Symbolise, Wanted, find, lifetimes, place, totals};
use crate::model::{Finding, Fix, Health, Kind, Overhead, Report, Resource, Verdict};
use crate::snapshot::{Descriptor, Snapshot};

/// The report on a snapshot.
pub fn report(snapshot: &Snapshot, wanted: &Wanted, symbols: &mut dyn Symbolise) -> Report {
    let (found, left_out) = find(snapshot, wanted);
    let findings: Vec<Finding> = found
        .iter()
        .map(|found| finding(snapshot, found, wanted, symbols))
        .collect();
    let mut coverage = snapshot.coverage.clone();
    if left_out > 0 {
        coverage.notes.push(format!(
            "{left_out} small heap sites are left out; --all shows them."
        ));
    }
    Report {
        schema: Report::SCHEMA.to_owned(),
        taken_at: snapshot.facts.taken_at,
        process: snapshot.process.clone(),
        coverage,
        totals: totals::totals(snapshot, wanted.born_after_ms),
        overhead: Overhead::default(),
        health: Health::default(),
        findings,
        suppressed: Vec::new(),
        children: Vec::new(),
    }
}

fn finding(
    snapshot: &Snapshot,
    found: &Found,
    wanted: &Wanted,
    symbols: &mut dyn Symbolise,
) -> Finding {
    let site = &snapshot.sites.all[found.site];
    let stack = symbols.stack(&snapshot.modules, &site.frames);
    let certain = found.verdict < Verdict::Early;
    let share = found.count as f64 / found.assessment.held.max(1) as f64;
    let per_hour =
        Some(round(found.assessment.per_hour * share, 100.0)).filter(|rate| certain && *rate > 0.0);
    let exhaustion_s = per_hour.and_then(|rate| exhaustion(snapshot, found.kind, rate));
    let words = Words {
        found,
        site,
        place: &place::place(&stack),
        ages: ages(snapshot, found, wanted),
        exhaustion_s,
        per_hour,
        exact: found.kind != Kind::Memory || snapshot.coverage.exact(),
    };
    let lives = lifetimes::lifetimes(&site.stats);
    let fix = fix_of(snapshot, found);
    Finding {
        id: found.id(snapshot),
        kind: found.kind,
        verdict: found.verdict,
        confidence: found.confidence,
        count: found.count,
        bytes: found.bytes,
        rate_per_hour: per_hour,
        exhaustion_s,
        summary: sentence::summary(&words),
        evidence: sentence::evidence(&words, snapshot, lives.as_ref()),
        lifetimes: lives,
        stack,
        resources: found
            .descriptors
            .iter()
            .map(|at| resource(snapshot, &snapshot.descriptors[*at]))
            .collect(),
        fix,
        // No command carries it out yet.
        fixable: false,
    }
}

fn round(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

/// Seconds until the descriptors run out; beyond a month nobody plans by it.
fn exhaustion(snapshot: &Snapshot, kind: Kind, per_hour: f64) -> Option<f64> {
    const MONTH_S: f64 = 30.0 * 86_400.0;
    let limit = snapshot.fd_limit.filter(|_| kind.takes_descriptor())?;
    let free = limit.saturating_sub(snapshot.descriptors.len() as u64);
    Some(round(free as f64 / per_hour * 3600.0, 1.0)).filter(|left| *left <= MONTH_S)
}

/// Youngest and oldest of what the finding is about, in seconds.
fn ages(snapshot: &Snapshot, found: &Found, wanted: &Wanted) -> (f64, f64) {
    let of_heap = found.descriptors.is_empty();
    let site = &snapshot.sites.all[found.site];
    let open = found
        .descriptors
        .iter()
        .filter_map(|at| snapshot.descriptors[*at].born_ms);
    let heap = site.live.births_ms.iter().copied().filter(|_| of_heap);
    let heap = heap.filter(|born| wanted.born_after_ms.is_none_or(|after| *born > after));
    let (oldest, youngest) = open
        .chain(heap)
        .fold((u64::MAX, 0), |(min, max): (u64, u64), born| {
            (min.min(born), max.max(born))
        });
    (
        snapshot.age_s(youngest),
        snapshot.age_s(oldest.min(snapshot.moment_ms)),
    )
}

fn resource(snapshot: &Snapshot, open: &Descriptor) -> Resource {
    let socket = open
        .fact
        .as_ref()
        .and_then(|fact| fact.socket.clone())
        .unwrap_or_default();
    let path = open
        .fact
        .as_ref()
        .filter(|fact| fact.socket.is_none())
        .and_then(|fact| fact.path.clone());
    Resource {
        fd: Some(open.fd),
        age_s: snapshot.descriptor_age_s(open),
        idle_s: snapshot.idle_s(open),
        state: socket.state,
        local: socket.local,
        peer: socket.peer,
        path,
    }
}

/// What `fix` would do to what is proven.
fn fix_of(snapshot: &Snapshot, found: &Found) -> Fix {
    let tcp = |at: &usize| {
        snapshot.descriptors[*at]
            .fact
            .as_ref()
            .is_some_and(|fact| fact.what == "tcp")
    };
    let all_tcp = !found.descriptors.is_empty() && found.descriptors.iter().all(tcp);
    if found.kind == Kind::Sockets && all_tcp {
        Fix::Eof
    } else {
        Fix::None
    }
}
