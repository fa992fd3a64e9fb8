//! Rows found by a key: timers, registrations and watches, ended threads,
//! children.
//!
//! A section is a row of levels, each an array of windows of eight rows; a
//! key's window in each level follows from the key. Insertion takes the first
//! free row of the first level that has one, removal looks at one window of
//! each level, nothing is ever moved. As in [`crate::heap`], a row is claimed
//! by one compare-and-swap that makes its key odd (keys are even), filled, then
//! published by making it even.
//!
//! A live row changes by one swap of its state word: its moment and its flags.
//! `detail` is a hint that changes by itself and stands outside the check.

use crate::heap::Inserted;
use crate::sync::{AtomicU64, Ordering, fence};
use crate::words::{Origin, check16};

/// Rows of a window.
pub const WINDOW: usize = 8;
/// Highest bit of a key: the other of two kinds that share a section.
pub const MARK: u64 = 1 << 63;

/// A row of the sections that are found by a key.
#[repr(C)]
#[derive(Debug)]
pub struct PlainRow {
    /// Key, see [`pair`]; 0 is free, odd is being written.
    pub id: AtomicU64,
    /// Meaning by section. A whole word, not covered by the check.
    pub detail: AtomicU64,
    /// Packed `Origin`.
    pub origin: AtomicU64,
    /// Moment in ms since creation, meaning by section (40 bits), over flags
    /// (8), over the check of the key, the origin and those (16).
    pub state: AtomicU64,
}

/// What is known of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Plain {
    /// Meaning by section.
    pub detail: u64,
    /// When it was made, and at which site.
    pub origin: Origin,
    /// When it was last used, ms since the segment was made; 0 for never.
    pub used_ms: u64,
    /// `thing_flag` bits.
    pub flags: u8,
}

/// The key of two numbers of at most 31 bits, not both 0: epoll and number,
/// inotify and watch (with [`MARK`]), 1 and a timer, 1 and a child.
pub fn pair(high: u32, low: u32) -> u64 {
    u64::from(high & 0x7FFF_FFFF) << 32 | u64::from(low & 0x7FFF_FFFF) << 1
}

/// The numbers of such a key.
pub fn numbers(key: u64) -> (u32, u32) {
    ((key >> 32) as u32 & 0x7FFF_FFFF, key as u32 >> 1)
}

/// First row of the window for `key` in a level of `rows` (a power of two of
/// at least [`WINDOW`]). A key and its marked twin share one.
pub fn window_of(key: u64, rows: usize) -> usize {
    let mixed = (key & !MARK).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 20) as usize & (rows - 1) & !(WINDOW - 1)
}

fn pack_state(key: u64, origin: u64, used_ms: u64, flags: u8) -> u64 {
    let head = used_ms << 24 | u64::from(flags) << 16;
    head | u64::from(check16(key, origin, head))
}

/// Unpacks the words of a row, or nothing when they are not of one row.
pub fn unpack(key: u64, detail: u64, origin: u64, state: u64) -> Option<Plain> {
    let (used_ms, flags) = (state >> 24, (state >> 16) as u8);
    (pack_state(key, origin, used_ms, flags) == state).then(|| Plain {
        detail,
        origin: Origin::unpack(origin),
        used_ms,
        flags,
    })
}

/// Writes a row for `key`, which is even, into a free row of the window.
///
/// Looks for no earlier row of the key: the caller has removed it.
pub fn insert(window: &[PlainRow], key: u64, row: &Plain) -> Inserted {
    let free = window.iter().find(|place| place.claim(0, key));
    free.map_or(Inserted::Full, |place| place.publish(key, row))
}

/// Writes over a row that somebody left half-written, if there is one.
pub fn insert_over_odd(window: &[PlainRow], key: u64, row: &Plain) -> Inserted {
    let taken = window.iter().find(|place| {
        let found = place.id.load(Ordering::Relaxed);
        found & 1 == 1 && place.claim(found, key)
    });
    taken.map_or(Inserted::Full, |place| place.publish(key, row))
}

/// Takes the row of `key` out; of two threads one gets it. `Some(None)`: it
/// was torn.
pub fn remove(window: &[PlainRow], key: u64) -> Option<Option<Plain>> {
    window.iter().find_map(|place| place.remove(key))
}

/// The row of `key`, left in place.
pub fn find(window: &[PlainRow], key: u64) -> Option<Plain> {
    window.iter().find_map(|place| place.read(key))
}

/// Gives a live row a new moment and flags. One try: whoever changed the row
/// meanwhile knew better. False when there is no such row.
pub fn touch(window: &[PlainRow], key: u64, used_ms: u64, flags: impl Fn(u8) -> u8) -> bool {
    let found = window
        .iter()
        .find(|place| place.id.load(Ordering::Acquire) == key);
    let Some(place) = found else {
        return false;
    };
    place.touch(key, used_ms, flags);
    true
}

/// Between entering a row and looking for its twin: of two threads that each
/// enter one and look for the other's, at least one finds it.
pub fn before_looking_for_the_twin() {
    fence(Ordering::SeqCst);
}

impl PlainRow {
    fn claim(&self, expected: u64, key: u64) -> bool {
        self.id.load(Ordering::Relaxed) == expected
            && self
                .id
                .compare_exchange(expected, key | 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    fn publish(&self, key: u64, row: &Plain) -> Inserted {
        let origin = row.origin.pack();
        self.detail.store(row.detail, Ordering::Relaxed);
        self.origin.store(origin, Ordering::Relaxed);
        // A swap, as `touch` swaps: a late touch of the row before ends under
        // it, whatever it had read.
        self.state.swap(
            pack_state(key, origin, row.used_ms, row.flags),
            Ordering::Relaxed,
        );
        let published =
            self.id
                .compare_exchange(key | 1, key, Ordering::Release, Ordering::Relaxed);
        match published {
            Ok(_) => Inserted::Done,
            Err(_) => Inserted::Lost,
        }
    }

    /// The row of `key`, if that is here and whole.
    pub fn read(&self, key: u64) -> Option<Plain> {
        (self.id.load(Ordering::Acquire) == key)
            .then(|| self.words(key))
            .flatten()
    }

    fn words(&self, key: u64) -> Option<Plain> {
        let [detail, origin, state] =
            [&self.detail, &self.origin, &self.state].map(|word| word.load(Ordering::Relaxed));
        unpack(key, detail, origin, state)
    }

    fn remove(&self, key: u64) -> Option<Option<Plain>> {
        if self.id.load(Ordering::Acquire) != key {
            return None;
        }
        let row = self.words(key);
        self.id
            .compare_exchange(key, 0, Ordering::AcqRel, Ordering::Relaxed)
            .ok()
            .map(|_| row)
    }

    fn touch(&self, key: u64, used_ms: u64, flags: impl Fn(u8) -> u8) {
        let (origin, before) = (
            self.origin.load(Ordering::Relaxed),
            self.state.load(Ordering::Relaxed),
        );
        let old = unpack(key, 0, origin, before);
        if let Some(old) = old {
            let after = pack_state(key, origin, used_ms & ((1 << 40) - 1), flags(old.flags));
            let _ =
                self.state
                    .compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Default for PlainRow {
    fn default() -> Self {
        let [id, detail, origin, state] = [0; 4].map(AtomicU64::new);
        PlainRow {
            id,
            detail,
            origin,
            state,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn window() -> Vec<PlainRow> {
        (0..WINDOW).map(|_| PlainRow::default()).collect()
    }

    fn row(n: u32) -> Plain {
        Plain {
            detail: u64::from(n) << 40,
            origin: Origin { at_ms: 7, site: n },
            ..Plain::default()
        }
    }

    #[test]
    fn a_full_window_says_so_and_a_half_written_row_is_taken_over() {
        let window = window();
        for n in 1..=8 {
            assert_eq!(insert(&window, pair(1, n), &row(n)), Inserted::Done);
        }
        assert_eq!(insert(&window, pair(1, 9), &row(9)), Inserted::Full);
        assert_eq!(
            insert_over_odd(&window, pair(1, 9), &row(9)),
            Inserted::Full
        );
        window[3].id.store(77, Ordering::Relaxed);
        assert_eq!(
            insert_over_odd(&window, pair(1, 9), &row(9)),
            Inserted::Done
        );
        assert_eq!(find(&window, pair(1, 9)), Some(row(9)));
        assert_eq!(remove(&window, pair(1, 4)), None);
    }

    #[test]
    fn a_use_changes_moment_and_flags_and_nothing_else() {
        let window = window();
        insert(&window, pair(5, 6), &row(3));
        assert!(touch(&window, pair(5, 6), 99, |flags| flags | 2));
        assert!(!touch(&window, pair(5, 7), 99, |flags| flags));
        let used = Plain {
            used_ms: 99,
            flags: 2,
            ..row(3)
        };
        assert_eq!(remove(&window, pair(5, 6)), Some(Some(used)));
    }

    #[test]
    fn a_row_of_mixed_words_is_torn() {
        let window = window();
        insert(&window, pair(5, 6), &row(3));
        window[0]
            .origin
            .store(row(4).origin.pack(), Ordering::Relaxed);
        assert_eq!(find(&window, pair(5, 6)), None);
        assert_eq!(remove(&window, pair(5, 6)), Some(None));
    }

    proptest! {
        #[test]
        fn keys_survive(high in 0u32..1 << 31, low in 0u32..1 << 31) {
            prop_assert_eq!(numbers(pair(high, low)), (high, low));
            prop_assert_eq!(numbers(pair(high, low) | MARK), (high, low));
            prop_assert_eq!(pair(high, low) & (MARK | 1), 0);
        }

        #[test]
        fn twins_share_a_window(key: u64, bits in 3u32..16) {
            let at = window_of(key, 1 << bits);
            prop_assert_eq!(at, window_of(key ^ MARK, 1 << bits));
            prop_assert!(at.is_multiple_of(WINDOW) && at + WINDOW <= 1 << bits);
        }

        #[test]
        fn behaves_like_a_map(steps in prop::collection::vec((1u32..12, any::<bool>()), 1..200)) {
            let (window, mut model) = (window(), HashMap::new());
            for (n, add) in steps {
                let key = pair(n, n);
                if add && !model.contains_key(&key) {
                    let room = model.len() < WINDOW;
                    let expected = if room { Inserted::Done } else { Inserted::Full };
                    prop_assert_eq!(insert(&window, key, &row(n)), expected);
                    if room {
                        model.insert(key, row(n));
                    }
                } else {
                    prop_assert_eq!(remove(&window, key), model.remove(&key).map(Some));
                }
            }
        }
    }
}
