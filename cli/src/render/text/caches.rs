//! Ways to give memory back, for people: the plan, and what came of it.

use super::style::{FAINT, GOOD};
use super::table::{Cell, Column, Cut, elastic, left, right, table};
use super::wrap::wrap;
use crate::model::{FixCache, FixOutcome, FixReport};
use crate::render::safe::safe;
use crate::units::{bytes, count};

const COLUMNS: [Column; 5] = [
    left("MEANS"),
    elastic("WHAT", Cut::End),
    right("SIZE"),
    right("PAUSE"),
    elastic("RESULT", Cut::End),
];

/// The table, and what all of it gave.
pub fn plan(out: &mut String, fix: &FixReport, width: usize) {
    if fix.caches.is_empty() {
        return;
    }
    let rows: Vec<Vec<Cell>> = fix.caches.iter().map(row).collect();
    out.push_str(&table(&COLUMNS, &rows, width));
    let given = fix.caches.iter().filter_map(|cache| cache.given_bytes);
    let done = given.clone().count() as u64;
    if done > 0 {
        let ways = if done == 1 { "way" } else { "ways" };
        let said = format!(
            "Given back by {} {ways}: {} less are resident. That is no fix, and not counted as one.",
            count(done),
            bytes(given.sum())
        );
        out.push_str(&wrap(&said, 0, width));
    }
}

fn row(cache: &FixCache) -> Vec<Cell> {
    vec![
        cache.means.words().into(),
        safe(&cache.what).into_owned().into(),
        cache.size_bytes.map(bytes).unwrap_or_default().into(),
        pause(cache).into(),
        result(cache),
    ]
}

/// What it took, or what it may take.
fn pause(cache: &FixCache) -> String {
    match (cache.pause_ms, cache.expected_pause_ms) {
        (Some(took), _) => format!("{took} ms"),
        (None, Some(guess)) => format!("about {guess} ms"),
        (None, None) => String::new(),
    }
}

fn result(cache: &FixCache) -> Cell {
    let shut = cache.gates.iter().find(|gate| !gate.open);
    match (cache.outcome, shut) {
        (None | Some(FixOutcome::Refused), Some(gate)) => Cell::styled(
            safe(&format!("{}: {}", gate.name, gate.fact)).into_owned(),
            FAINT,
        ),
        (None, None) => "all gates open".into(),
        (Some(FixOutcome::GivenBack), _) => {
            let given = bytes(cache.given_bytes.unwrap_or(0));
            Cell::styled(format!("given back: {given}{}", said(cache)), GOOD)
        }
        (Some(outcome), _) => format!("{}{}", outcome.words(), said(cache)).into(),
    }
}

/// What the means itself says of it.
fn said(cache: &FixCache) -> String {
    let freed = cache
        .freed_bytes
        .map(|freed| format!("it let go {}", bytes(freed)));
    let parts: Vec<String> = freed.into_iter().chain(cache.detail.clone()).collect();
    match parts.is_empty() {
        true => String::new(),
        false => safe(&format!(" ({})", parts.join(", "))).into_owned(),
    }
}
