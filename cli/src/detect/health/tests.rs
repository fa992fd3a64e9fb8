//! The curves at their known points, and that worse never scores better.

use super::*;
use crate::model::Kind;
use crate::render::samples;
use proptest::prelude::*;

const VERDICTS: [Verdict; 5] = [
    Verdict::Held,
    Verdict::Early,
    Verdict::Suspect,
    Verdict::Growing,
    Verdict::Leak,
];

fn finding(verdict: usize, kind: Kind, exhaustion_s: Option<f64>) -> Finding {
    Finding {
        verdict: VERDICTS[verdict],
        kind,
        exhaustion_s,
        ..samples::report().findings[0].clone()
    }
}

fn healthy() -> Report {
    let mut report = samples::report();
    report.findings.clear();
    report.coverage.lost_events = Some(0);
    report.coverage.unknown_fds = Some(0);
    report
}

fn score(report: &Report) -> Option<u8> {
    health(report).score
}

#[test]
fn known_points() {
    let mut report = healthy();
    assert_eq!((score(&report), grade(98)), (Some(98), "A"));
    report.findings.push(finding(4, Kind::Sockets, None));
    let one_leak = health(&report);
    assert_eq!(
        (one_leak.score, one_leak.grade.as_deref()),
        (Some(55), Some("D"))
    );
    assert_eq!(one_leak.reasons[0], "leaks in 1 place");
    report.findings = vec![finding(2, Kind::Files, Some(3600.0)); 2];
    let half_an_hour = health(&report);
    assert_eq!(
        half_an_hour.score,
        Some(31),
        "two rates add up: {half_an_hour:?}"
    );
    assert!(half_an_hour.reasons[0].starts_with("descriptors run out in 30"));
}

#[test]
fn what_is_unknown_does_not_count_and_is_shown() {
    let health = health(&healthy());
    let overhead = &health.parts[2];
    assert_eq!((overhead.name.as_str(), overhead.score), ("overhead", None));
    let names: Vec<&str> = health.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["verdicts", "exhaustion", "overhead", "coverage"]);
}

#[test]
fn there_is_no_score_where_too_little_was_seen() {
    let thin = |change: fn(&mut Report)| {
        let mut report = healthy();
        change(&mut report);
        let health = health(&report);
        assert_eq!(
            (health.score, &health.grade, health.parts.len()),
            (None, &None, 4)
        );
        health.reasons.concat()
    };
    assert!(thin(|report| report.process.instrumented = false).contains("no record"));
    assert!(thin(|report| report.process.uptime_s = Some(59.0)).contains("less than a minute"));
    let unknown = |report: &mut Report| {
        report.process.uptime_s = None;
        report.process.started_at = None;
    };
    assert!(thin(unknown).contains("less than a minute"));
    assert!(thin(|report| report.coverage.lost_events = Some(MANY_LOST)).contains("were lost"));
    assert!(thin(|report| report.totals.since = Some(report.taken_at)).contains("since"));
}

#[test]
fn what_nothing_could_be_judged_of_is_not_called_healthy() {
    let mut report = healthy();
    report.findings = vec![
        finding(1, Kind::Sockets, None),
        finding(0, Kind::Files, None),
    ];
    report.process.uptime_s = Some(100.0);
    let young = health(&report);
    assert_eq!((young.score, young.grade), (None, None));
    assert_eq!(young.reasons, ["what it holds is too young to judge"]);
    report.process.uptime_s = Some(100_000.0);
    let old = health(&report);
    assert_eq!(old.score, Some(98), "a service always holds what is young");
    assert_eq!(
        old.parts[0].reason,
        "no leak found, some too young to judge"
    );
    assert_eq!(
        old.parts[1].reason,
        "nothing judged runs out within a month"
    );
    report.process.uptime_s = Some(100.0);
    report.findings.push(finding(4, Kind::Files, None));
    assert_eq!(score(&report), Some(55), "what is found is said at once");
    report.findings = vec![finding(0, Kind::Files, None)];
    assert_eq!(score(&report), Some(98));
}

#[test]
fn a_killed_one_was_seen_until_it_last_did_something() {
    let mut report = healthy();
    report.process.uptime_s = None;
    report.process.started_at = Some(report.taken_at - jiff::SignedDuration::from_secs(61));
    assert_eq!(score(&report), Some(98));
    report.process.started_at = Some(report.taken_at - jiff::SignedDuration::from_secs(59));
    assert_eq!(score(&report), None);
}

#[test]
fn overhead_counts_once_it_is_known() {
    let mut report = healthy();
    report.overhead.estimated_percent = Some(6.0);
    report.overhead.budget_percent = Some(3.0);
    assert_eq!(score(&report), Some(50));
    report.overhead.estimated_percent = Some(3.0);
    assert_eq!(score(&report), Some(98));
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::Sockets,
        Kind::Files,
        Kind::Memory,
        Kind::Threads,
    ])
}

fn one() -> impl Strategy<Value = Finding> {
    let left = prop::option::of(0.0..5_000_000.0f64);
    (0usize..5, kinds(), left).prop_map(|(verdict, kind, left)| finding(verdict, kind, left))
}

prop_compose! {
    fn any_report()(
        findings in prop::collection::vec(one(), 0..12),
        lost in prop::option::of(0u64..20_000),
        unknown in prop::option::of(0u64..300),
        open in prop::option::of(0u64..300),
        heap in prop::sample::select(vec![HeapCoverage::Full, HeapCoverage::Sampled, HeapCoverage::None]),
        cost in prop::option::of(0.0..50.0f64),
        uptime in prop::option::of(0.0..10_000.0f64),
        instrumented in prop::bool::weighted(0.9),
    ) -> Report {
        let mut report = healthy();
        report.findings = findings;
        report.coverage.lost_events = lost;
        report.coverage.unknown_fds = unknown;
        report.coverage.heap = heap;
        report.totals.open_fds = open;
        report.overhead.estimated_percent = cost;
        report.overhead.budget_percent = Some(3.0);
        report.process.uptime_s = uptime;
        report.process.instrumented = instrumented;
        report
    }
}

/// No score is below every score: nobody may take it for a good one. What was
/// too young to judge may turn out to be anything.
fn not_better(worse: &Report, than: &Report) -> Result<(), TestCaseError> {
    if too_thin(than).is_some_and(|why| why.contains("too young")) {
        return Ok(());
    }
    let (worse, than) = (score(worse), score(than));
    prop_assert!(worse <= than, "{worse:?} after {than:?}");
    Ok(())
}

fn worse_verdict(one: &mut Finding) {
    let at = VERDICTS.iter().position(|verdict| *verdict == one.verdict);
    one.verdict = VERDICTS[at.map_or(0, |at| (at + 1).min(4))];
}

fn less_heap(heap: HeapCoverage) -> HeapCoverage {
    match heap {
        HeapCoverage::Full => HeapCoverage::Sampled,
        _ => HeapCoverage::None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn one_more_finding_never_raises_it(report in any_report(), more in one()) {
        let mut worse = report.clone();
        worse.findings.push(more);
        not_better(&worse, &report)?;
    }

    #[test]
    fn a_worse_verdict_never_raises_it(report in any_report(), at in any::<prop::sample::Index>()) {
        let mut worse = report.clone();
        if !worse.findings.is_empty() {
            worse_verdict(at.get_mut(&mut worse.findings));
        }
        not_better(&worse, &report)?;
    }

    #[test]
    fn less_time_left_never_raises_it(
        report in any_report(), at in any::<prop::sample::Index>(), share in 0.0..1.0f64, first in 0.0..5_000_000.0f64,
    ) {
        prop_assume!(!report.findings.is_empty());
        let mut worse = report.clone();
        let one = at.get_mut(&mut worse.findings);
        one.exhaustion_s = Some(one.exhaustion_s.map_or(first, |left| left * share));
        not_better(&worse, &report)?;
    }

    #[test]
    fn less_coverage_never_raises_it(report in any_report(), lost in 0u64..20_000, unknown in 0u64..300) {
        let mut worse = report.clone();
        worse.coverage.lost_events = Some(report.coverage.lost_events.unwrap_or(0) + lost);
        worse.coverage.unknown_fds = Some(report.coverage.unknown_fds.unwrap_or(0) + unknown);
        not_better(&worse, &report)?;
        worse.coverage.heap = less_heap(report.coverage.heap);
        not_better(&worse, &report)?;
    }

    #[test]
    fn more_overhead_never_raises_it(report in any_report(), more in 0.0..50.0f64) {
        let mut worse = report.clone();
        worse.overhead.estimated_percent = Some(report.overhead.estimated_percent.unwrap_or(0.0) + more);
        not_better(&worse, &report)?;
    }

    #[test]
    fn score_and_grade_go_together(report in any_report()) {
        let health = health(&report);
        prop_assert_eq!(health.score.is_some(), health.grade.is_some());
        prop_assert_eq!(health.grade.as_deref(), health.score.map(grade));
        let worst = health.parts.iter().filter_map(|part| part.score).min();
        prop_assert!(health.score.is_none() || health.score == worst);
    }
}
