//! Rows found by a key, over all levels of a section.
//!
//! Levels come when they are needed, the first one too: most programs have no
//! timer and few children. Before a new level is made, a row whose thing is
//! known to be gone makes room; the largest table is bounded.

use crate::segment::Segment;
use crate::sites;
use core::sync::atomic::Ordering;
use shm_protocol::codes::{Counter, Section};
use shm_protocol::heap::Inserted;
use shm_protocol::plain::{self as table, Plain, PlainRow, WINDOW};
use shm_protocol::sites::Amount;

/// Rows of the first level: a quarter of a page.
const FIRST_ROWS: usize = 32;
/// A level is so many times as large as the one before.
const GROWTH: usize = 4;
/// Largest level, in rows.
const LARGEST: usize = 1 << 16;
/// Levels at most: some 110 000 rows, 3.5 MB.
const LEVELS: usize = 7;

/// Whether the thing of a row is gone for certain, though nobody removed it.
pub type Gone = fn(&Segment, u64, &Plain) -> bool;

fn window(
    segment: &Segment,
    section: Section,
    level: usize,
    key: u64,
    write: bool,
) -> Option<&'static [PlainRow]> {
    let (_, rows) = segment.run_rows(section, level);
    let at = table::window_of(key, (rows as usize).max(WINDOW)) as u64;
    segment.in_run::<PlainRow>(section, level, at, WINDOW, write)
}

/// Enters a row; the caller has removed an earlier one of this key.
pub fn insert(segment: &Segment, section: Section, key: u64, row: &Plain, gone: Gone) -> bool {
    let levels = segment.run_count(section);
    let into = |level| {
        window(segment, section, level, key, true)
            .map_or(Inserted::Full, |window| table::insert(window, key, row))
    };
    let tried = (0..levels).map(into).find(|tried| *tried != Inserted::Full);
    match tried {
        Some(Inserted::Done) => true,
        Some(_) => {
            segment.count(Counter::Unsure, 1);
            false
        }
        None => insert_in_room_made(segment, section, key, row, gone),
    }
}

#[cold]
fn insert_in_room_made(
    segment: &Segment,
    section: Section,
    key: u64,
    row: &Plain,
    gone: Gone,
) -> bool {
    let levels = segment.run_count(section);
    let into = |level| {
        let window = window(segment, section, level, key, true);
        window.is_some_and(|window| table::insert(window, key, row) == Inserted::Done)
    };
    let evict = |level| {
        let window = window(segment, section, level, key, false).unwrap_or_default();
        window.iter().any(|place| bury(segment, place, gone))
    };
    let done = (0..levels).any(|level| evict(level) && into(level))
        || segment.enter_later(
            section,
            levels,
            |levels| add_level(segment, section, levels),
            into,
        )
        || (0..levels).any(|level| {
            let window = window(segment, section, level, key, true).unwrap_or_default();
            table::insert_over_odd(window, key, row) == Inserted::Done
        });
    if !done {
        segment.count(Counter::RowsFull, 1);
    }
    done
}

/// Removes the row of a thing that is gone; its site learns of a death.
fn bury(segment: &Segment, place: &PlainRow, gone: Gone) -> bool {
    let key = place.id.load(Ordering::Relaxed);
    let row = place.read(key).filter(|_| key != 0 && key & 1 == 0);
    let Some(row) = row.filter(|row| gone(segment, key, row)) else {
        return false;
    };
    let taken = table::remove(core::slice::from_ref(place), key).is_some();
    if taken {
        died_unseen(segment, &row);
    }
    taken
}

/// A row whose removal was missed: its thing is dead, nobody knows since when.
pub fn died_unseen(segment: &Segment, row: &Plain) {
    if let Some(site) = sites::row(segment, row.origin.site) {
        site.died_unseen(Amount::ONE);
    }
}

/// Makes the first level, if there is none yet.
pub fn begin(segment: &Segment, section: Section) {
    if segment.run_count(section) == 0 {
        add_level(segment, section, 0);
    }
}

/// Whether there are more levels than so many then.
#[cold]
fn add_level(segment: &Segment, section: Section, levels: usize) -> bool {
    // Another thread may have added it meanwhile.
    if segment.run_count(section) != levels || levels >= LEVELS {
        return segment.run_count(section) > levels;
    }
    let rows = match levels.checked_sub(1) {
        Some(last) => segment.run_rows(section, last).1 as usize * GROWTH,
        None => FIRST_ROWS,
    };
    segment.grow(section, rows.min(LARGEST))
}

/// The row of `key`, left in place.
pub fn read(segment: &Segment, section: Section, key: u64) -> Option<Plain> {
    (0..segment.run_count(section))
        .find_map(|level| table::find(window(segment, section, level, key, false)?, key))
}

/// Takes the row of `key` out of whichever level has it.
pub fn remove(segment: &Segment, section: Section, key: u64) -> Option<Option<Plain>> {
    (0..segment.run_count(section))
        .find_map(|level| table::remove(window(segment, section, level, key, false)?, key))
}

/// Notes a use, and a new hint if there is one. False when there is no row.
pub fn touch(
    segment: &Segment,
    section: Section,
    key: u64,
    now_ms: u64,
    hint: Option<u64>,
    flags: impl Fn(u8) -> u8,
) -> bool {
    let found = (0..segment.run_count(section)).find_map(|level| {
        let window = window(segment, section, level, key, false)?;
        let mut places = window.iter();
        places.find(|place| place.id.load(Ordering::Acquire) == key)
    });
    let Some(place) = found else { return false };
    if let Some(hint) = hint {
        place.detail.store(hint, Ordering::Relaxed);
    }
    table::touch(core::slice::from_ref(place), key, now_ms, flags)
}
