//! Live heap blocks, found by address.
//!
//! The table is a row of levels, each an array of buckets of eight rows; a
//! block's bucket in each level follows from its address. Inserting takes the
//! first free row of the first level that has one; removing looks at one line
//! of keys in each level. Nothing is ever moved, so no removal can miss a row.
//!
//! A row is claimed by one compare-and-swap that makes its key odd (block
//! addresses are even), filled, then published by making the key even: whoever
//! sees the even key sees the words of that row or of a later one, and the
//! check tells which. Hooks of any thread or signal handler write; removers in
//! the library and the reader outside read.

use crate::sync::{AtomicU64, Ordering};
use crate::words::{Origin, check16};

/// Rows in a bucket: their keys fill one cache line.
pub const ROWS: usize = 8;

/// Eight keys on one line, then three words for each.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct HeapBucket {
    /// Block addresses; 0 is free, odd is being written.
    pub keys: [AtomicU64; ROWS],
    /// Three words a row: origin; size in bytes (48 bits) over class (4) over
    /// flags (12); thread id (32) over zero (16) over the check of key, origin
    /// and size (16).
    pub words: [[AtomicU64; 3]; ROWS],
}

/// What is known of a live block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HeapRow {
    /// When it was allocated, and at which site.
    pub origin: Origin,
    /// Bytes asked for.
    pub size_bytes: u64,
    /// Index into `Header::classes`: how it was sampled.
    pub class: u8,
    /// `heap_flag` bits.
    pub flags: u16,
    /// Kernel thread id of the allocating thread, 0 when unknown.
    pub thread: u32,
}

impl HeapRow {
    /// The three words of this row under `address`.
    pub fn pack(&self, address: u64) -> [u64; 3] {
        let origin = self.origin.pack();
        let size = self.size_bytes.min((1 << 48) - 1) << 16
            | u64::from(self.class & 15) << 12
            | u64::from(self.flags & 0xFFF);
        let check = check16(address, origin, size);
        [
            origin,
            size,
            u64::from(self.thread) << 32 | u64::from(check),
        ]
    }

    /// Unpacks, or nothing when the words are not of one row.
    pub fn unpack(address: u64, words: [u64; 3]) -> Option<HeapRow> {
        let [origin, size, rest] = words;
        if rest as u16 != check16(address, origin, size) {
            return None;
        }
        Some(HeapRow {
            origin: Origin::unpack(origin),
            size_bytes: size >> 16,
            class: (size >> 12) as u8 & 15,
            flags: size as u16 & 0xFFF,
            thread: (rest >> 32) as u32,
        })
    }
}

/// Bucket number of an address in a level of `buckets` (a power of two).
pub fn bucket_of(address: u64, buckets: usize) -> usize {
    // Multiply-shift: the high bits are the well-mixed ones, and levels of
    // different sizes then look at different bits.
    let mixed = (address >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 20) as usize & (buckets - 1)
}

/// How an insertion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// Published.
    Done,
    /// Somebody took the half-written row over; the event is lost.
    Lost,
    /// Every row of the bucket is in use.
    Full,
}

impl HeapBucket {
    /// Writes `row` for `address`, which is even, into a free row.
    ///
    /// Looks for no earlier row of the address: the caller has removed it from
    /// all levels, since a second one would outlive every free.
    pub fn insert(&self, address: u64, row: &HeapRow) -> Inserted {
        let free = (0..ROWS).find(|&slot| self.claim(slot, 0, address));
        free.map_or(Inserted::Full, |slot| self.publish(slot, address, row))
    }

    /// Writes over a row that somebody left half-written, if there is one.
    ///
    /// A signal handler that never returns, a cancelled thread or a longjmp
    /// leave such rows. Their owner, should it still run, notices and counts.
    pub fn insert_over_odd(&self, address: u64, row: &HeapRow) -> Inserted {
        let taken = (0..ROWS).find(|&slot| {
            let key = self.keys[slot].load(Ordering::Relaxed);
            key & 1 == 1 && self.claim(slot, key, address)
        });
        taken.map_or(Inserted::Full, |slot| self.publish(slot, address, row))
    }

    fn claim(&self, slot: usize, expected: u64, address: u64) -> bool {
        let key = &self.keys[slot];
        key.load(Ordering::Relaxed) == expected
            && key
                .compare_exchange(expected, address | 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    fn publish(&self, slot: usize, address: u64, row: &HeapRow) -> Inserted {
        for (word, value) in self.words[slot].iter().zip(row.pack(address)) {
            word.store(value, Ordering::Relaxed);
        }
        let published = self.keys[slot].compare_exchange(
            address | 1,
            address,
            Ordering::Release,
            Ordering::Relaxed,
        );
        if published.is_ok() {
            Inserted::Done
        } else {
            Inserted::Lost
        }
    }

    /// Takes the row of `address` out; of two threads one gets it.
    /// `Some(None)`: it was there but torn by a loser's late words.
    pub fn remove(&self, address: u64) -> Option<Option<HeapRow>> {
        (0..ROWS).find_map(|slot| self.remove_slot(slot, address))
    }

    fn remove_slot(&self, slot: usize, address: u64) -> Option<Option<HeapRow>> {
        if self.keys[slot].load(Ordering::Acquire) != address {
            return None;
        }
        let words = [0, 1, 2].map(|i| self.words[slot][i].load(Ordering::Relaxed));
        self.keys[slot]
            .compare_exchange(address, 0, Ordering::AcqRel, Ordering::Relaxed)
            .ok()
            .map(|_| HeapRow::unpack(address, words))
    }

    /// Reads the row of `address` and leaves it in place.
    pub fn find(&self, address: u64) -> Option<HeapRow> {
        let slot = (0..ROWS).find(|&slot| self.keys[slot].load(Ordering::Acquire) == address)?;
        let words = [0, 1, 2].map(|i| self.words[slot][i].load(Ordering::Relaxed));
        HeapRow::unpack(address, words)
    }
}

impl Default for HeapBucket {
    fn default() -> Self {
        HeapBucket {
            keys: [(); ROWS].map(|()| AtomicU64::new(0)),
            words: [(); ROWS].map(|()| [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)]),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn row(size_bytes: u64) -> HeapRow {
        HeapRow {
            size_bytes,
            origin: Origin { at_ms: 7, site: 3 },
            thread: 9,
            ..HeapRow::default()
        }
    }

    #[test]
    fn a_full_bucket_says_so_and_loses_nothing() {
        let bucket = HeapBucket::default();
        for i in 1..=8 {
            assert_eq!(bucket.insert(i << 12, &row(i)), Inserted::Done);
        }
        assert_eq!(bucket.insert(99 << 12, &row(99)), Inserted::Full);
        assert_eq!(bucket.insert_over_odd(99 << 12, &row(99)), Inserted::Full);
        for i in 1..=8 {
            assert_eq!(bucket.remove(i << 12), Some(Some(row(i))));
        }
    }

    #[test]
    fn an_odd_row_is_taken_over() {
        let bucket = HeapBucket::default();
        bucket
            .keys
            .iter()
            .for_each(|key| key.store(0x5001, Ordering::Relaxed));
        assert_eq!(bucket.insert(0x7000, &row(1)), Inserted::Full);
        assert_eq!(bucket.insert_over_odd(0x7000, &row(1)), Inserted::Done);
        assert_eq!(bucket.find(0x7000), Some(row(1)));
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in prop::collection::vec((1u64..12, any::<bool>()), 1..200)) {
            let (bucket, mut model) = (HeapBucket::default(), HashMap::new());
            for (id, insert) in steps {
                let address = id << 4;
                if insert && !model.contains_key(&address) {
                    let expected = if model.len() < ROWS { Inserted::Done } else { Inserted::Full };
                    prop_assert_eq!(bucket.insert(address, &row(id)), expected);
                    if expected == Inserted::Done {
                        model.insert(address, row(id));
                    }
                } else {
                    prop_assert_eq!(bucket.remove(address), model.remove(&address).map(Some));
                }
            }
        }

        #[test]
        fn rows_survive(address: u64, at_ms in 0u64..1 << 40, site in 0u32..1 << 24,
                        size_bytes in 0u64..1 << 48, class in 0u8..16, flags in 0u16..1 << 12, thread: u32) {
            let row = HeapRow { origin: Origin { at_ms, site }, size_bytes, class, flags, thread };
            prop_assert_eq!(HeapRow::unpack(address, row.pack(address)), Some(row));
        }
    }
}
