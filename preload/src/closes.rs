//! Closes of numbers that were not open.
//!
//! Such a close is one too many: the number was closed before, perhaps by
//! another part of the program that did not own it. The record holds who
//! closed, and who had made what the number named last. From the first one on
//! every close notes where it came from, so that a later one has both stacks.
//! A healthy program pays one branch for this.

use crate::segment::Segment;
use crate::unwind::Caller;
use crate::{clock, descriptors, live, sites};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use shm_protocol::closes::{self, BadClose, ROWS};
use shm_protocol::codes::{Counter, Kind, Section};
use shm_protocol::fds::FdRow;
use shm_protocol::plain::PlainRow;
use shm_protocol::words::Origin;

/// Each close notes where it came from.
#[unsafe(link_section = ".data.hot.first")]
static FOLLOWED: AtomicBool = AtomicBool::new(false);
/// Rows drawn so far; they are written round and round.
static DRAWN: AtomicU32 = AtomicU32::new(0);

/// Whether closes note where they came from.
#[inline]
pub fn followed() -> bool {
    FOLLOWED.load(Ordering::Relaxed)
}

/// An open number is about to be closed: notes when, and by whom.
#[cold]
pub fn follow(fd: i32, closer: Option<Caller>) {
    let Some((segment, row)) = row_of(fd).filter(|(_, row)| !row.is_free()) else {
        return;
    };
    let at_ms = clock::now_ms();
    let site = closer.map_or(0, |caller| sites::of(segment, caller, Kind::Close, at_ms));
    row.closed
        .store(Origin { at_ms, site }.pack(), Ordering::Relaxed);
}

/// The row of a number in a segment that this thread's descriptors belong to.
fn row_of(fd: i32) -> Option<(&'static Segment, &'static FdRow)> {
    let segment = live::segment().filter(|_| descriptors::ours())?;
    let row = descriptors::known_row(segment, u32::try_from(fd).ok()?)?;
    Some((segment, row))
}

/// A number that was not open could not be closed.
#[cold]
pub fn bad(fd: i32, caller: Caller) {
    let Some(segment) = live::segment().filter(|_| descriptors::ours()) else {
        return;
    };
    segment.count(Counter::BadCloses, 1);
    // Numbers that were never open are swept by those who close all of them.
    let Some((_, row)) = row_of(fd).filter(|(_, row)| row.was_held()) else {
        return;
    };
    FOLLOWED.store(true, Ordering::Relaxed);
    let at_ms = clock::now_ms();
    let earlier = row.closed.load(Ordering::Relaxed);
    let close = BadClose {
        fd: fd as u32,
        origin: Origin {
            at_ms,
            site: sites::of(segment, caller, Kind::Close, at_ms),
        },
        earlier: (earlier != 0).then(|| Origin::unpack(earlier)),
        made_site: Origin::unpack(row.origin.load(Ordering::Relaxed)).site,
    };
    record(segment, &close);
}

fn record(segment: &Segment, close: &BadClose) {
    if segment.run_count(Section::BadCloses) == 0 && !segment.grow(Section::BadCloses, ROWS) {
        return;
    }
    let place = DRAWN.fetch_add(1, Ordering::Relaxed) as usize % ROWS;
    let row = segment.in_run::<PlainRow>(Section::BadCloses, 0, place as u64, 1, true);
    if let Some(row) = row.and_then(|rows| rows.first()) {
        closes::write(row, close);
    }
}
