//! A report for people.

use super::super::Layout;
use super::finding::full;
use super::style::{FAINT, GOOD, STRONG, of, paint};
use super::sums;
use super::wrap::{cut, wrap};
use super::young;
use super::{closes, next};
use crate::detect::apart;
use crate::model::{Finding, HeapCoverage, Held, Kind, Report, Verdict};
use crate::render::line;
use crate::render::safe::safe;
use crate::units::{bytes, count, span};

/// Left edge of what belongs to a label.
pub const INDENT: usize = 9;

/// Appends the report.
pub fn write(out: &mut String, report: &Report, layout: Layout) {
    head(out, report, layout);
    others(out, report, layout);
    line(out, format_args!("{}", answer(report, layout)));
    if let Some(when) = sums::together(report) {
        line(out, format_args!("All together: {when}."));
    }
    let judged = |finding: &&Finding| finding.verdict < Verdict::Early || layout.all;
    let stacks = report
        .findings
        .iter()
        .map(|one| (one.kind, one.stack.as_slice()));
    let places = apart(stacks, []);
    let findings = report.findings.iter().zip(&places);
    for (finding, place) in findings.filter(|(finding, _)| judged(finding)) {
        out.push('\n');
        full(out, finding, place, layout);
    }
    if !layout.all {
        young::young(out, report, layout);
    }
    closes::write(out, &report.bad_closes, layout);
    totals(out, report, layout);
    next::write(out, report);
}

/// `app  pid 4312, up 5 h, light mode: ./app --port 80`
fn head(out: &mut String, report: &Report, layout: Layout) {
    let process = &report.process;
    let mut facts = vec![format!("pid {}", process.pid)];
    facts.extend(lifetime(report));
    facts.extend(process.mode.map(|mode| match mode.name() {
        "off" => "monitoring off".to_owned(),
        name => format!("{name} mode"),
    }));
    if !process.instrumented {
        facts.push(if process.library {
            "no record yet".to_owned()
        } else {
            "without memguard's library".to_owned()
        });
    }
    let name = safe(process.name());
    let cmdline = process.command_line();
    let plain = format!("{name}  {}", facts.join(", "));
    let room = layout.width.saturating_sub(super::wrap::width(&plain) + 2);
    let cmdline = if room > 10 {
        cut(&safe(&cmdline), room)
    } else {
        String::new()
    };
    line(
        out,
        format_args!(
            "{}  {}  {}",
            paint(STRONG, &name),
            facts.join(", "),
            paint(FAINT, cmdline)
        ),
    );
}

/// `and 2 more: pid 4313, 4314`
fn others(out: &mut String, report: &Report, layout: Layout) {
    let pids: Vec<String> = report
        .processes
        .iter()
        .skip(1)
        .map(|process| process.pid.to_string())
        .collect();
    if !pids.is_empty() {
        let text = format!("and {} more: pid {}", pids.len(), pids.join(", "));
        out.push_str(&faint(&wrap(&text, 2, layout.width)));
    }
}

/// How long it ran, or how much of that is known.
fn lifetime(report: &Report) -> Option<String> {
    let process = &report.process;
    match (process.uptime_s.map(span), process.alive) {
        (Some(up), true) => Some(format!("up {up}")),
        (Some(up), false) => Some(format!("ended after {up}")),
        (None, true) => None,
        (None, false) => Some(report.lived_s().map_or("ended".to_owned(), |lived_s| {
            format!(
                "ended, last did something {} after its start",
                span(lived_s)
            )
        })),
    }
}

/// The answer to the first question, in one line.
fn answer(report: &Report, layout: Layout) -> String {
    let n = |verdict| {
        report
            .findings
            .iter()
            .filter(|finding| finding.verdict == verdict)
            .count()
    };
    let (leaks, growing, suspects, early) = (
        n(Verdict::Leak),
        n(Verdict::Growing),
        n(Verdict::Suspect),
        if layout.all {
            n(Verdict::Early)
        } else {
            young::places(report)
        },
    );
    let places = |n: usize| {
        if n == 1 {
            "1 place".to_owned()
        } else {
            format!("{n} places")
        }
    };
    let mut parts = Vec::new();
    if leaks > 0 {
        parts.push(paint(
            of(Verdict::Leak),
            format!("Leaks in {}", places(leaks)),
        ));
    }
    if growing > 0 {
        parts.push(paint(
            of(Verdict::Growing),
            format!("{} growing", places(growing)),
        ));
    }
    if suspects > 0 {
        parts.push(paint(
            of(Verdict::Suspect),
            format!("{} suspected", places(suspects)),
        ));
    }
    if parts.is_empty() {
        parts.push(no_leak(report));
    }
    if early > 0 {
        parts.push(format!("{} too young to judge", places(early)));
    }
    parts.join(", ") + "."
}

fn no_leak(report: &Report) -> String {
    match (report.process.instrumented, report.process.alive) {
        (false, _) => "Nothing can be said of leaks from outside".to_owned(),
        (true, _) if report.totals.since.is_some() => "No leak found in what came since".to_owned(),
        (true, _) if report.process.replaced => {
            "No leak found before it became another program, of which nothing is known".to_owned()
        }
        (_, true) => paint(GOOD, "No leak found so far"),
        (_, false) => paint(GOOD, "No leak found"),
    }
}

fn totals(out: &mut String, report: &Report, layout: Layout) {
    out.push('\n');
    let totals = &report.totals;
    let mut parts: Vec<String> = totals
        .held
        .iter()
        .map(|one| held(one, report.coverage.exact()))
        .collect();
    if parts.is_empty() {
        parts.push("nothing of its own".to_owned());
    }
    if let Some(since) = totals.since {
        let what = format!("only what came since {since:.0}: {}", parts.remove(0));
        parts.insert(0, what);
    }
    let alive = report.process.alive;
    labelled(out, if alive { "Holds" } else { "Held" }, &parts, layout);
    let in_state = |(state, n): (&String, &u64)| format!("{} in {state}", count(*n));
    let states: Vec<String> = totals.socket_states.iter().map(in_state).collect();
    labelled(out, "Sockets", &states, layout);
    let mut room: Vec<String> = Vec::new();
    room.extend(
        totals
            .rss_bytes
            .map(|rss| format!("resident {}", bytes(rss))),
    );
    room.extend(totals.open_fds.map(|open| match totals.fd_limit {
        Some(limit) => format!("descriptors {} of {}", count(open), count(limit)),
        None => format!("descriptors {}", count(open)),
    }));
    labelled(out, if alive { "Uses" } else { "Used" }, &room, layout);
    labelled(out, "Caches", &sums::caches(report), layout);
    labelled(out, "Memory", &sums::memory(report), layout);
    labelled(out, "Health", &sums::health(report), layout);
    labelled(out, "Hidden", &sums::hidden(report), layout);
    if report.process.instrumented {
        labelled(out, "Covers", &covers(report), layout);
    }
    for note in &report.coverage.notes {
        out.push_str(&faint(&wrap(&safe(note), INDENT, layout.width)));
    }
}

/// A word in the margin and a list beside it; nothing when that is empty.
fn labelled(out: &mut String, label: &str, parts: &[String], layout: Layout) {
    if !parts.is_empty() {
        let text = wrap(&safe(&parts.join(", ")), INDENT, layout.width);
        out.push_str(&format!("{label:<INDENT$}{}", text.trim_start_matches(' ')));
    }
}

/// `3 sockets (up to 5 min old)`
fn held(held: &Held, exact: bool) -> String {
    let number = format!("{} {}", count(held.count), held.kind.noun(held.count));
    let oldest = held
        .oldest_s
        .map(|oldest| format!(" (up to {} old)", span(oldest)));
    match held.bytes {
        Some(size) if held.kind == Kind::Memory => {
            let about = if exact { "" } else { "about " };
            format!("{} of heap in {about}{number}", bytes(size))
        }
        Some(size) => format!("{} in {number}", bytes(size)),
        None => format!("{number}{}", oldest.unwrap_or_default()),
    }
}

fn covers(report: &Report) -> Vec<String> {
    let coverage = &report.coverage;
    let heap = match (coverage.heap, coverage.sample_bytes) {
        (HeapCoverage::Full, _) => match coverage.full_since {
            Some(since) => format!("every heap block since {since:.0}, before that a sample"),
            None => "every heap block".to_owned(),
        },
        (HeapCoverage::Sampled, Some(mean)) => {
            format!("the heap by a sample every {}", bytes(mean))
        }
        (HeapCoverage::Sampled, None) => "a sample of the heap".to_owned(),
        (HeapCoverage::None, _) => "not the heap".to_owned(),
    };
    let descriptors = match coverage.unknown_fds {
        Some(0) | None => "every descriptor".to_owned(),
        Some(unknown) => format!("all descriptors but {} of unknown origin", count(unknown)),
    };
    let lost = coverage.lost_events.filter(|lost| *lost > 0);
    let lost = lost.map(|lost| format!("{} events were lost", count(lost)));
    [heap, descriptors].into_iter().chain(lost).collect()
}

/// Every line of a text, faint.
pub fn faint(text: &str) -> String {
    text.lines()
        .map(|line| format!("{}\n", paint(FAINT, line)))
        .collect()
}
