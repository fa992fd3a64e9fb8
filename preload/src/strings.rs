//! Strings of the segment: module paths, appended and never moved.

use crate::segment::Segment;
use core::sync::atomic::{AtomicU8, Ordering};
use shm_protocol::codes::Section;

/// Appends; returns offset (48 bits) over length (16), 0 when there is no
/// room. Only one thread at a time (module entering sees to it).
pub fn add(segment: &Segment, text: &[u8]) -> u64 {
    let used = &segment.header().string_bytes;
    let at = used.load(Ordering::Relaxed);
    let Some((offset, room)) = room_for(segment, at, text.len()) else {
        return 0;
    };
    for (byte, value) in room.iter().zip(text) {
        byte.store(*value, Ordering::Relaxed);
    }
    used.store(offset + text.len() as u64, Ordering::Relaxed);
    offset << 16 | text.len() as u64
}

fn room_for(segment: &Segment, at: u64, bytes: usize) -> Option<(u64, &'static [AtomicU8])> {
    (0..segment.run_count(Section::Strings)).find_map(|run| {
        let (first, rows) = segment.run_rows(Section::Strings, run);
        let from = at.max(first);
        let fits = from + bytes as u64 <= first + rows;
        let room = fits.then(|| segment.in_run(Section::Strings, run, from - first, bytes, true));
        room.flatten().map(|room| (from, room))
    })
}

/// Makes room for so many bytes more. Apart from [`add`], whose callers have the
/// text on a stack that may be small.
pub fn make_room(segment: &Segment, bytes: usize) {
    let at = segment.header().string_bytes.load(Ordering::Relaxed);
    if room_for(segment, at, bytes).is_none() {
        let rows = segment.rows(Section::Strings) as usize;
        segment.grow(Section::Strings, rows.max(bytes));
    }
}

/// Whether the string at `reference` is `text`.
pub fn equals(segment: &Segment, reference: u64, text: &[u8]) -> bool {
    let (offset, length) = (reference >> 16, (reference & 0xFFFF) as usize);
    length == text.len()
        && (0..segment.run_count(Section::Strings)).any(|run| {
            let (first, rows) = segment.run_rows(Section::Strings, run);
            let within = offset
                .checked_sub(first)
                .filter(|within| within + length as u64 <= rows);
            let stored = within.and_then(|within| {
                segment.in_run::<AtomicU8>(Section::Strings, run, within, length, false)
            });
            stored.is_some_and(|stored| {
                stored
                    .iter()
                    .zip(text)
                    .all(|(a, b)| a.load(Ordering::Relaxed) == *b)
            })
        })
}
