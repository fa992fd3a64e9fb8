//! What to type now: the one or two commands that lead on.

use super::style::{COMMAND, paint};
use crate::model::{Finding, Kind, Report, Verdict};
use crate::render::line;

/// Appends the commands, if there is anything to do.
pub fn write(out: &mut String, report: &Report) {
    let next = next(report);
    if next.is_empty() {
        return;
    }
    out.push('\n');
    for (at, (command, why)) in next.iter().enumerate() {
        let head = if at == 0 { "Next:" } else { "     " };
        line(
            out,
            format_args!("{head}  {}  {why}", paint(COMMAND, command)),
        );
    }
}

fn next(report: &Report) -> Vec<(String, &'static str)> {
    let pid = report.process.pid;
    if !report.process.instrumented && report.process.library {
        return Vec::new();
    }
    if !report.process.instrumented && report.process.replaced {
        return vec![(
            format!("memguard doctor {pid}"),
            "to see why memguard's library is not in it",
        )];
    }
    if !report.process.instrumented {
        return vec![(
            "memguard run -- COMMAND".to_owned(),
            "to see where they come from",
        )];
    }
    if !report.process.alive {
        return of_ended(report);
    }
    // Of several processes the one that is worst.
    let worst = report
        .findings
        .first()
        .and_then(|worst| worst.processes.first());
    let pid = worst.map_or(pid, |share| share.pid);
    match report.findings.first() {
        Some(worst) if worst.verdict == Verdict::Leak => of_leak(pid, worst),
        Some(worst) if worst.verdict < Verdict::Early => of_suspect(pid, worst),
        Some(young) if young.verdict == Verdict::Early && report.totals.since.is_none() => vec![
            (
                format!("memguard report {pid} --all"),
                "says when each can be judged; or",
            ),
            (
                format!("memguard report {pid} --for 5m"),
                "watches it until then",
            ),
        ],
        _ => vec![
            (
                format!("memguard snapshot {pid} -o before.mg"),
                "then let it work for a while, and",
            ),
            (
                format!("memguard report {pid} --since before.mg"),
                "shows what came since and stayed",
            ),
        ],
    }
}

/// What has ended gets no older: only another floor can judge it.
fn of_ended(report: &Report) -> Vec<(String, &'static str)> {
    if report.worst() != Some(Verdict::Early) {
        return Vec::new();
    }
    vec![(
        "memguard run --min-age 0s -- COMMAND".to_owned(),
        "judges short programs",
    )]
}

fn of_leak(pid: i32, worst: &Finding) -> Vec<(String, &'static str)> {
    let left = |state: Option<&str>| state == Some("CLOSE_WAIT");
    let all_left = worst.resources.iter().all(|one| left(one.state.as_deref()));
    let which = match all_left {
        true => "--state close_wait",
        false => "--sort age",
    };
    let kind = worst.kind.name();
    let fix = worst.fixable.then(|| {
        (
            format!("memguard fix {pid} --kind {kind} --dry-run"),
            "what could be done about it",
        )
    });
    let list = (each(pid, worst, which), "every one of them");
    std::iter::once(list).chain(fix).collect()
}

/// Every one of them, with or without a descriptor.
fn each(pid: i32, worst: &Finding, which: &str) -> String {
    let kind = worst.kind.name();
    if worst.resources.iter().all(|one| one.fd.is_none()) {
        return format!("memguard report {pid} --kind {kind} --all");
    }
    format!("memguard fds {pid} --kind {kind} {which}")
}

fn of_suspect(pid: i32, worst: &Finding) -> Vec<(String, &'static str)> {
    if matches!(worst.kind, Kind::Memory | Kind::Caches) {
        return vec![
            (
                format!("memguard mode {pid} deep --for 15m"),
                "records every allocation for a while, then",
            ),
            (format!("memguard report {pid} --kind memory"), "is exact"),
        ];
    }
    vec![(
        each(pid, worst, "--sort age"),
        "every one of them, oldest first",
    )]
}
