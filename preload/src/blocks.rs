//! Live heap blocks: entering and removing rows, over all levels.

use crate::segment::Segment;
use crate::unwind::Caller;
use crate::{clock, emit, marks, mode, sites, thread};
use core::sync::atomic::{AtomicU16, Ordering};
use shm_protocol::codes::{Counter, Kind, Section, heap_flag};
use shm_protocol::heap::{HeapBucket, HeapRow, Inserted, bucket_of};
use shm_protocol::ring::Action;
use shm_protocol::sites::Amount;
use shm_protocol::weight::Class;
use shm_protocol::words::Origin;

/// A level starts a larger one well before it is full.
const GROWTH: usize = 4;
/// Largest level, in buckets.
const LARGEST: usize = 1 << 21;
/// Places in the filter: a power of two.
pub const FILTER: usize = 16 * 1024;
/// A counter this high stays: it may have lost count.
const STUCK: u16 = 65_000;

/// How many rows there are for the pages that fall on each place. The stubs
/// of free and realloc look here, and most frees of aligned blocks end here:
/// the allocator hands a freed sample out again for other things.
#[unsafe(link_section = ".bss.memguard_tables")]
pub static MAYBE: [AtomicU16; FILTER] = [const { AtomicU16::new(0) }; FILTER];

fn filter_place(address: u64) -> &'static AtomicU16 {
    &MAYBE[(address >> 12) as usize % FILTER]
}

/// Has free look for this one.
pub fn filter_add(address: u64) {
    let place = filter_place(address);
    if place.load(Ordering::Relaxed) < STUCK {
        place.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes that back.
pub fn filter_remove(address: u64) {
    let place = filter_place(address);
    if (1..STUCK).contains(&place.load(Ordering::Relaxed)) {
        place.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Has free look at this page for good.
pub fn always_look_at(address: u64) {
    filter_place(address).store(STUCK, Ordering::Relaxed);
}

/// Whether `address` may have a row. Right whenever it says no.
#[inline]
pub fn may_be_known(address: u64) -> bool {
    filter_place(address).load(Ordering::Relaxed) != 0
}

fn bucket(
    segment: &Segment,
    level: usize,
    address: u64,
    write: bool,
) -> Option<&'static HeapBucket> {
    let (_, buckets) = segment.run_rows(Section::Heap, level);
    let at = bucket_of(address, buckets as usize) as u64;
    segment
        .in_run::<HeapBucket>(Section::Heap, level, at, 1, write)?
        .first()
}

/// Enters a block that was just allocated.
pub fn born(segment: &Segment, address: u64, size_bytes: u64, kind: Kind, caller: Caller) {
    let now_ms = clock::now_ms();
    if mode::tick(segment, now_ms) == mode::OFF {
        return;
    }
    let (class_index, class) = match kind {
        Kind::Heap => mode::class(segment),
        _ => (mode::EXACT_CLASS, Class::All),
    };
    let site = sites::of(segment, caller, kind, now_ms);
    let row = HeapRow {
        origin: Origin {
            at_ms: now_ms,
            site,
        },
        size_bytes,
        class: class_index,
        flags: 0,
        thread: thread::id(),
    };
    if let Some(Some(stale)) = remove(segment, address) {
        segment.count(Counter::Overwritten, 1);
        bury(segment, &stale);
    }
    if !insert(segment, address, &row) {
        return segment.count(Counter::HeapFull, 1);
    }
    if kind == Kind::Heap {
        segment.count(Counter::Samples, 1);
        segment.count(Counter::SampledBytes, size_bytes);
    }
    if let Some(site) = sites::row(segment, site) {
        site.born(amount(class, size_bytes), now_ms);
    }
    emit::event(
        segment,
        now_ms,
        Action::Taken,
        kind as u8,
        row.origin,
        address,
    );
}

fn amount(class: Class, size_bytes: u64) -> Amount {
    let size = size_bytes.max(1);
    Amount {
        bytes: size,
        est_256: class.estimate_blocks_256(size),
        est_bytes: class.estimate_bytes(size),
    }
}

/// Whether free is to find this key: mappings are looked up by munmap. Allocators
/// align eight bytes no further than that.
fn is_block(address: u64) -> bool {
    address & 7 == 0
}

fn insert(segment: &Segment, address: u64, row: &HeapRow) -> bool {
    if !is_block(address) {
        return insert_somewhere(segment, address, row);
    }
    let unmarked = !marks::is_marked(address);
    let flags = if unmarked { heap_flag::UNMARKED } else { 0 };
    filter_add(address);
    let entered = insert_somewhere(segment, address, &HeapRow { flags, ..*row });
    if !entered {
        filter_remove(address);
    } else if unmarked {
        mode::unmarked_born();
    }
    entered
}

fn insert_somewhere(segment: &Segment, address: u64, row: &HeapRow) -> bool {
    let levels = segment.run_count(Section::Heap);
    for level in 0..levels {
        let Some(bucket) = bucket(segment, level, address, true) else {
            continue;
        };
        match bucket.insert(address, row) {
            Inserted::Done => {
                let last = level + 1 == levels;
                let filling = last && bucket.keys[6].load(Ordering::Relaxed) != 0;
                if filling && !segment.is_growing(Section::Heap) {
                    add_level(segment, level);
                }
                return true;
            }
            Inserted::Lost => {
                segment.count(Counter::Unsure, 1);
                return false;
            }
            Inserted::Full => {}
        }
    }
    insert_in_new_level(segment, address, row, levels)
}

#[cold]
fn insert_in_new_level(segment: &Segment, address: u64, row: &HeapRow, levels: usize) -> bool {
    let enters = |level: usize| {
        let bucket = bucket(segment, level, address, true);
        bucket.is_some_and(|bucket| bucket.insert(address, row) == Inserted::Done)
    };
    let add = |levels: usize| add_level(segment, levels - 1);
    segment.enter_later(Section::Heap, levels, add, enters)
        || (0..levels).any(|level| insert_over_odd(segment, level, address, row))
}

fn insert_over_odd(segment: &Segment, level: usize, address: u64, row: &HeapRow) -> bool {
    let bucket = bucket(segment, level, address, true);
    let over = bucket.is_some_and(|bucket| bucket.insert_over_odd(address, row) == Inserted::Done);
    if over {
        segment.count(Counter::Unsure, 1);
    }
    over
}

/// Whether there is another level after the one that was last.
#[cold]
fn add_level(segment: &Segment, last: usize) -> bool {
    let (_, buckets) = segment.run_rows(Section::Heap, last);
    segment.grow(Section::Heap, (buckets as usize * GROWTH).min(LARGEST))
}

/// Takes the row of `address` out of whichever level has it.
pub fn remove(segment: &Segment, address: u64) -> Option<Option<HeapRow>> {
    let found = (0..segment.run_count(Section::Heap))
        .find_map(|level| bucket(segment, level, address, false)?.remove(address));
    if let Some(row) = found.as_ref().filter(|_| is_block(address)) {
        filter_remove(address);
        // A torn row does not say, but the block does.
        let unmarked = match row {
            Some(row) => row.flags & heap_flag::UNMARKED != 0,
            None => !marks::is_marked(address),
        };
        if unmarked {
            mode::unmarked_died();
        }
    }
    found
}

/// Removes the row of a block that is about to be freed, if it has one.
pub fn died(segment: &Segment, address: u64) {
    match remove(segment, address) {
        Some(Some(row)) => count_death(segment, address, &row),
        Some(None) => segment.count(Counter::Unsure, 1),
        None => {}
    }
}

/// Counts the death of a block whose row was removed.
pub fn count_death(segment: &Segment, address: u64, row: &HeapRow) {
    let now_ms = clock::now_ms();
    if let Some(site) = sites::row(segment, row.origin.site) {
        let lifetime_ms = now_ms.saturating_sub(row.origin.at_ms);
        site.died(
            amount(mode::class_at(segment, row.class), row.size_bytes),
            lifetime_ms,
            now_ms,
        );
    }
    emit::event(
        segment,
        now_ms,
        Action::GivenBack,
        Kind::Heap as u8,
        row.origin,
        address,
    );
}

/// A row whose removal was missed: dead, but nobody knows since when.
fn bury(segment: &Segment, row: &HeapRow) {
    if let Some(site) = sites::row(segment, row.origin.site) {
        site.died_unseen(amount(mode::class_at(segment, row.class), row.size_bytes));
    }
}

/// Puts a row back: the call that should have freed the block failed.
pub fn back(segment: &Segment, address: u64, row: &HeapRow) {
    insert(segment, address, row);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 640 MiB of 16-byte blocks have 2 560 rows on each place.
    #[test]
    fn the_filter_says_no_again_when_all_blocks_of_many_pages_are_gone() {
        let page = 0x7000_0000_0000;
        let addresses: Vec<u64> = (0..10 * 256)
            .map(|block| page + block / 256 * (FILTER as u64) * 4096 + block % 256 * 16)
            .collect();
        addresses.iter().for_each(|&address| filter_add(address));
        assert!(may_be_known(page));
        addresses.iter().for_each(|&address| filter_remove(address));
        assert!(!may_be_known(page));
    }
}
