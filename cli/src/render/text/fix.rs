//! A plan for people, and what came of it.

use super::super::Layout;
use super::style::{FAINT, GOOD, STRONG, paint};
use super::table::{Cell, Column, Cut, elastic, left, right, table};
use super::wrap::wrap;
use crate::model::{FixItem, FixOutcome, FixReport};
use crate::render::line;
use crate::render::safe::safe;
use crate::units::count;

const COLUMNS: [Column; 5] = [
    right("FD"),
    left("KIND"),
    elastic("OBJECT", Cut::Front),
    left("ACTION"),
    elastic("RESULT", Cut::End),
];
/// Rows shown of each sort.
const ROWS: usize = 20;

/// The whole text.
pub fn text(fix: &FixReport, layout: Layout) -> String {
    let mut out = String::new();
    head(&mut out, fix);
    let shown = shown(fix, layout.all);
    if !shown.is_empty() {
        let rows: Vec<Vec<Cell>> = shown.iter().map(|item| row(item)).collect();
        out.push_str(&table(&COLUMNS, &rows, layout.width));
    }
    if shown.len() < fix.items.len() {
        let rest = count((fix.items.len() - shown.len()) as u64);
        line(&mut out, format_args!("… and {rest} more"));
    }
    gates(&mut out, fix, layout.width);
    limit(&mut out, fix, layout.width);
    sums(&mut out, fix);
    for note in fix.stopped.iter().map(|why| format!("Stopped: {why}.")) {
        out.push_str(&wrap(&safe(&note), 0, layout.width));
    }
    for note in &fix.notes {
        out.push_str(&wrap(&safe(note), 0, layout.width));
    }
    out
}

fn head(out: &mut String, fix: &FixReport) {
    let name = safe(fix.process.name()).into_owned();
    let (pass, all) = (passing(fix), fix.items.len());
    let said = match (all, fix.dry_run) {
        (0, _) => "nothing leaks, so there is nothing to fix".to_owned(),
        (_, true) => format!(
            "{} of {} objects would be touched",
            count(pass),
            count(all as u64)
        ),
        _ => format!(
            "{} of {} objects pass every gate",
            count(pass),
            count(all as u64)
        ),
    };
    let pid = fix.process.pid;
    line(
        out,
        format_args!("{}  pid {pid}: {said}.", paint(STRONG, name)),
    );
}

fn passing(fix: &FixReport) -> u64 {
    fix.items.iter().filter(|item| item.passes()).count() as u64
}

/// Those that pass come first; of each sort only some.
fn shown(fix: &FixReport, all: bool) -> Vec<&FixItem> {
    let most = if all { usize::MAX } else { ROWS };
    let pass = fix.items.iter().filter(|item| item.passes()).take(most);
    let shut = fix.items.iter().filter(|item| !item.passes()).take(most);
    pass.chain(shut).collect()
}

fn row(item: &FixItem) -> Vec<Cell> {
    vec![
        item.fd.map(|fd| fd.to_string()).unwrap_or_default().into(),
        item.kind.name().into(),
        safe(&item.what).into_owned().into(),
        item.action.words().into(),
        result(item),
    ]
}

fn result(item: &FixItem) -> Cell {
    match (item.outcome, item.refused_by()) {
        (None | Some(FixOutcome::Refused), Some(gate)) => Cell::styled(
            safe(&format!("{}: {}", gate.name, gate.fact)).into_owned(),
            FAINT,
        ),
        (Some(outcome), _) if outcome.is_fix() => Cell::styled(outcome.words(), GOOD),
        (Some(outcome), _) => {
            let detail = item.detail.as_deref().map(|why| format!(": {why}"));
            format!("{}{}", outcome.words(), detail.unwrap_or_default()).into()
        }
        (None, None) => "all gates open".into(),
    }
}

/// Every gate of the first item that passes: what speaks for acting at all.
fn gates(out: &mut String, fix: &FixReport, width: usize) {
    let planned = fix
        .items
        .iter()
        .find(|item| item.passes() && item.outcome.is_none());
    let Some(item) = planned else { return };
    let facts: Vec<String> = item
        .gates
        .iter()
        .map(|gate| format!("{}: {}", gate.name, gate.fact))
        .collect();
    out.push_str(&wrap(
        &safe(&format!("Gates of the first: {}.", facts.join("; "))),
        0,
        width,
    ));
}

/// The limit on descriptors, where it was asked for.
fn limit(out: &mut String, fix: &FixReport, width: usize) {
    let Some(limit) = &fix.limit else { return };
    let shut = limit.gates.iter().find(|gate| !gate.open);
    let said = match (shut, limit.raised) {
        (Some(gate), _) => format!("not raised: {}", gate.fact),
        (None, None) => format!("{} -> {}, which it may have", limit.from, limit.to),
        (None, Some(true)) => format!("raised from {} to {}", limit.from, limit.to),
        (None, Some(false)) => "not raised: the kernel refused".to_owned(),
    };
    out.push_str(&wrap(
        &safe(&format!("Limit on descriptors: {said}.")),
        0,
        width,
    ));
}

fn sums(out: &mut String, fix: &FixReport) {
    use FixOutcome::*;
    let all = [
        ClosedByOwner,
        Disarmed,
        Removed,
        ClosedLost,
        Neutered,
        GivenBack,
        Restored,
        Pending,
        Vanished,
        Failed,
        Refused,
    ];
    let counted: Vec<String> = all
        .into_iter()
        .map(|outcome| (fix.count(outcome), outcome))
        .filter(|(n, _)| *n > 0)
        .map(|(n, outcome)| format!("{} {}", count(n as u64), outcome.words()))
        .collect();
    if !counted.is_empty() {
        line(out, format_args!("{}.", counted.join(", ")));
    }
}
