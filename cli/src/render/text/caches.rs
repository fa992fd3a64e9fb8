//! Ways to give memory back, for people: the plan, and what came of it.

use super::style::{FAINT, GOOD};
use super::table::{Cell, Column, Cut, elastic, left, right, table};
use super::wrap::wrap;
use crate::model::{FixCache, FixMeans, FixOutcome, FixReport};
use crate::render::safe::safe;
use crate::units::bytes;

const COLUMNS: [Column; 5] = [
    left("MEANS"),
    elastic("WHAT", Cut::End).spare(2),
    right("SIZE").spare(3),
    right("PAUSE").spare(1),
    elastic("RESULT", Cut::Wrap),
];

/// The table, and what all of it gave.
pub fn plan(out: &mut String, fix: &FixReport, width: usize) {
    if fix.caches.is_empty() {
        return;
    }
    let rows: Vec<Vec<Cell>> = fix.caches.iter().map(row).collect();
    out.push_str(&table(&COLUMNS, &rows, width));
    if let Some(said) = sum(&fix.caches) {
        out.push_str(&wrap(&safe(&said), 0, width));
    }
}

/// Which way gave what, the most first.
fn sum(caches: &[FixCache]) -> Option<String> {
    let given = caches
        .iter()
        .filter_map(|cache| Some((cache, cache.given_bytes?)));
    let mut gave: Vec<(&FixCache, u64)> = given.clone().filter(|(_, given)| *given > 0).collect();
    gave.sort_by_key(|(_, given)| std::cmp::Reverse(*given));
    let each: Vec<String> = gave
        .iter()
        .map(|(cache, given)| format!("{} by {}", bytes(*given), name(cache)))
        .collect();
    let all = bytes(gave.iter().map(|(_, given)| given).sum());
    match gave.len() {
        0 if given.count() == 0 => None,
        0 => Some(
            "Nothing was given back: none of what is resident was free, or the allocator keeps it."
                .to_owned(),
        ),
        1 => Some(format!("Given back: {}. {NO_FIX}", each[0])),
        _ => Some(format!("Given back: {all}, {}. {NO_FIX}", each.join(", "))),
    }
}

const NO_FIX: &str = "That is no fix, and not counted as one.";

/// A registered cache goes by its own name.
fn name(cache: &FixCache) -> String {
    match cache.means {
        FixMeans::Registered => format!("the cache `{}`", cache.what),
        means => means.words().to_owned(),
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
        (None, Some(guess)) => format!("up to {guess} ms"),
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
        (Some(FixOutcome::GivenBack), _) => given(cache),
        (Some(outcome), _) => {
            let words = match outcome {
                FixOutcome::Refused => "refused",
                other => other.words(),
            };
            let detail = cache.detail.as_deref().map(|why| format!(": {why}"));
            safe(&format!("{words}{}", detail.unwrap_or_default()))
                .into_owned()
                .into()
        }
    }
}

fn given(cache: &FixCache) -> Cell {
    match cache.given_bytes {
        Some(0) => format!("nothing to give back{}", said(cache)).into(),
        given => {
            let given = given.map_or("no size is known".to_owned(), bytes);
            Cell::styled(format!("given back: {given}{}", said(cache)), GOOD)
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn gave(means: FixMeans, given_bytes: Option<u64>) -> FixCache {
        FixCache {
            given_bytes,
            ..FixCache::new(means, "pages")
        }
    }

    #[test]
    fn only_ways_that_gave_something_are_said_to_have_given() {
        let some = [
            gave(FixMeans::Sqlite, Some(0)),
            gave(FixMeans::Allocator, Some(2048)),
            gave(FixMeans::Registered, Some(4096)),
            gave(FixMeans::PageOut, None),
        ];
        let said = sum(&some).unwrap();
        let wanted = "Given back: 6.0 KiB, 4.0 KiB by the cache `pages`, 2.0 KiB by allocator. ";
        assert!(said.starts_with(wanted), "{said}");
        assert!(
            sum(&some[..2])
                .unwrap()
                .starts_with("Given back: 2.0 KiB by allocator.")
        );
        assert!(
            sum(&some[..1])
                .unwrap()
                .starts_with("Nothing was given back")
        );
        assert_eq!(sum(&some[3..]), None);
    }
}
