//! Findings in the stable JSON shape.

use super::model::{self, Fraction, Lives, Why};
use super::sentence::{self, Words};
use super::{
    Context, Found, Symbolise, Wanted, beside, evidence, find_all, health, leave_out, lifetimes,
    memory, place, totals,
};
use crate::fix::preview::fix_of;
use crate::model::{
    BadClose, Finding, Fix, Frame, Health, Kind, Overhead, Report, Resource, Stays, Survivors,
    Verdict,
};
use crate::snapshot::{self, Descriptor, Site, Snapshot, Thing};

/// The report on a snapshot.
pub fn report(
    snapshot: &Snapshot,
    wanted: &Wanted,
    context: &Context<'_>,
    symbols: &mut dyn Symbolise,
) -> Report {
    report_on(
        find_all(snapshot, wanted, context),
        snapshot,
        wanted,
        context,
        symbols,
    )
}

/// The report on what [`find_all`] found.
pub fn report_on(
    mut found: Vec<Found>,
    snapshot: &Snapshot,
    wanted: &Wanted,
    context: &Context<'_>,
    symbols: &mut dyn Symbolise,
) -> Report {
    let left_out = leave_out(&mut found, snapshot, wanted);
    let stacks: Vec<Vec<Frame>> = found
        .iter()
        .map(|found| symbols.stack(&snapshot.modules, &snapshot.sites.all[found.site].frames))
        .collect();
    let beside: Vec<(Kind, Vec<Frame>)> = beside::beside(snapshot, &found)
        .into_iter()
        .map(|(kind, at)| {
            let frames = &snapshot.sites.all[at].frames;
            (kind, symbols.stack(&snapshot.modules, frames))
        })
        .collect();
    let kinds = found.iter().map(|one| one.kind);
    let places = place::apart(
        kinds.zip(stacks.iter().map(Vec::as_slice)),
        beside.iter().map(|(kind, stack)| (*kind, stack.as_slice())),
    );
    let findings: Vec<Finding> = (found.iter().zip(stacks).zip(&places))
        .map(|((found, stack), place)| finding(snapshot, found, context, stack, place))
        .collect();
    let mut coverage = snapshot.coverage.clone();
    if left_out > 0 {
        coverage.notes.push(format!(
            "{left_out} small heap sites are left out; --all shows them."
        ));
    }
    let mut report = Report {
        schema: Report::SCHEMA.to_owned(),
        taken_at: snapshot.facts.taken_at,
        process: snapshot.process.clone(),
        coverage,
        totals: totals::totals(snapshot, wanted.born_after_ms),
        memory: memory::memory(snapshot),
        overhead: Overhead::default(),
        health: Health::default(),
        findings,
        bad_closes: bad_closes(snapshot, wanted, symbols),
        caches: snapshot.caches.clone(),
        suppressed: Vec::new(),
        children: Vec::new(),
        processes: Vec::new(),
    };
    report.health = health::health(&report);
    report
}

/// All that there are: they are of no kind and of no age.
fn bad_closes(snapshot: &Snapshot, wanted: &Wanted, symbols: &mut dyn Symbolise) -> Vec<BadClose> {
    let after =
        |close: &&snapshot::BadClose| wanted.born_after_ms.is_none_or(|after| close.at_ms > after);
    let mut stack = |site: Option<usize>| {
        let frames = site.map(|at| &snapshot.sites.all[at].frames);
        frames.map_or(Vec::new(), |frames| {
            symbols.stack(&snapshot.modules, frames)
        })
    };
    let closes = snapshot.bad_closes.iter().filter(after);
    closes
        .map(|close| BadClose {
            fd: close.fd,
            at: close.at,
            count: close.count,
            stack: stack(close.site),
            closed_before: stack(close.first_site),
            created: stack(close.made_site),
        })
        .collect()
}

fn finding(
    snapshot: &Snapshot,
    found: &Found,
    context: &Context<'_>,
    stack: Vec<Frame>,
    place: &str,
) -> Finding {
    let site = &snapshot.sites.all[found.site];
    let words = Words {
        found,
        site,
        place,
        ages: ages(snapshot, found),
        unused_s: unused_s(snapshot, found),
        next_look_s: context
            .looks
            .next_ms
            .map(|next| next.saturating_sub(snapshot.moment_ms) as f64 / 1000.0),
        exact: !found.is_heap() || snapshot.coverage.exact(),
    };
    let lives = lifetimes::lifetimes(&site.stats);
    let things = found.things.iter().map(|at| &snapshot.things[*at]);
    let fix = fix_of(snapshot, found);
    Finding {
        id: found.id(snapshot),
        kind: found.kind,
        verdict: found.verdict(),
        confidence: found.decision.confidence,
        count: found.count,
        bytes: found.bytes,
        rate_per_hour: found.outlook.per_hour,
        exhaustion_s: found.outlook.exhaustion_s,
        stays: found.outlook.stays.map(stays),
        summary: sentence::summary(&words),
        evidence: evidence::evidence(&words, snapshot, lives.as_ref()),
        labelled: found.decision.why == Why::Labelled,
        ended_by_fix: found.decision.why == Why::HungUp,
        labels: Vec::new(),
        lifetimes: lives,
        survival: survival(snapshot, found, site),
        stack,
        resources: found
            .descriptors
            .iter()
            .map(|at| resource(snapshot, &snapshot.descriptors[*at]))
            .chain(things.map(|thing| thing_resource(snapshot, thing)))
            .collect(),
        fixable: fix != Fix::None && found.verdict() == Verdict::Leak && snapshot.facts.alive,
        fix,
        processes: Vec::new(),
    }
}

fn stays(share: Fraction) -> Stays {
    let round = |share: f64| (share * 1e6).round() / 1e6;
    Stays {
        share: round(share.share),
        low: round(share.low),
        high: round(share.high),
    }
}

/// The curve of what may leak; nothing of what was never given back.
fn survival(snapshot: &Snapshot, found: &Found, site: &Site) -> Vec<Survivors> {
    if found.verdict() >= Verdict::Early {
        return Vec::new();
    }
    let lives = Lives::new(&site.stats.lifetimes, site.stats.longest_ms);
    let births = site.live.births_ms.iter();
    let mut ages: Vec<u64> = births
        .map(|born| snapshot.moment_ms.saturating_sub(*born))
        .collect();
    let round = |value: f64, parts: f64| (value * parts).round() / parts;
    let curve = model::survival(&lives, &mut ages).into_iter();
    curve
        .map(|(age_s, share)| Survivors {
            age_s: round(age_s, 1e3),
            share: round(share, 1e6),
        })
        .collect()
}

/// Youngest and oldest of what the finding is about, in seconds.
fn ages(snapshot: &Snapshot, found: &Found) -> (f64, f64) {
    let born = |born: Option<&u64>| snapshot.age_s(born.copied().unwrap_or(snapshot.moment_ms));
    (born(found.births_ms.last()), born(found.births_ms.first()))
}

/// For how long all of them were not used, where that is known of all.
fn unused_s(snapshot: &Snapshot, found: &Found) -> Option<f64> {
    let idle = found
        .descriptors
        .iter()
        .map(|at| snapshot.idle_s(&snapshot.descriptors[*at]));
    let things = found.things.iter().map(|at| {
        let used = snapshot.things[*at].used_ms;
        used.map(|used| snapshot.age_s(used))
    });
    let idle: Option<Vec<f64>> = idle.chain(things).collect();
    idle?.into_iter().reduce(f64::min)
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
    let fact = open.fact.clone().unwrap_or_default();
    Resource {
        pid: None,
        fd: Some(open.fd),
        age_s: snapshot.descriptor_age_s(open),
        idle_s: snapshot.idle_at_least_s(open),
        state: socket.state,
        local: socket.local,
        peer: socket.peer,
        path,
        what: None,
        timer: fact.timer.map(Into::into),
        registrations: fact.registrations.map(|n| n as u64),
        deleted: fact.deleted.then_some(true),
        held_bytes: fact.held_bytes,
    }
}

fn thing_resource(snapshot: &Snapshot, thing: &Thing) -> Resource {
    let used = thing.used_ms.map(|used| snapshot.age_s(used));
    Resource {
        age_s: thing.born_ms.map(|born| snapshot.age_s(born)),
        idle_s: used,
        state: Some(thing.state.name().to_owned()),
        what: Some(thing.what.clone()),
        held_bytes: thing.bytes,
        ..Resource::default()
    }
}
