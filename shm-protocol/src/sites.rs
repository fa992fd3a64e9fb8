//! Call sites: what each one took and gave back, and when.
//!
//! A site is a kind and a call stack. Its row is defined once by whoever saw it
//! first, released into the index, then only counted up, by all threads at once
//! and without order: columns of one row may be an event apart. Checkpoints
//! record cumulative births and deaths over time, so that a single look knows
//! growth since the start.
//!
//! A checkpoint belongs to the thread that wins the swap of `next_at_ms`. It has
//! no check: a reader that copies one being written or thinned may pair a time
//! with the counts of a neighbour, and drops it when the series then falls.

use crate::hist::{self, BUCKETS};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Checkpoints kept per site.
pub const POINTS: usize = 24;
/// First distance between checkpoints; doubled at each thinning.
pub const FIRST_STEP_MS: u64 = 1000;
/// Slots that one look into the index covers: one cache line.
pub const WINDOW: usize = 8;

/// Births and deaths so far, at a moment.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// Milliseconds since the segment was made.
    pub at_ms: AtomicU64,
    /// Raw births up to then.
    pub births: AtomicU64,
    /// Raw deaths up to then.
    pub deaths: AtomicU64,
}

/// One call site. Counts are raw events; `est_` columns are weighted by what
/// each sampled event stands for, blocks in 1/256ths.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Site {
    /// Hash of kind and stack; 0 means the row was never finished.
    pub hash: AtomicU64,
    /// From the bottom: kind (8 bits), number of frames (16), flags (8).
    pub shape: AtomicU64,
    /// Index of the first stack word.
    pub stack: AtomicU64,
    /// First seen, ms since the segment was made.
    pub first_ms: AtomicU64,
    /// Resources made.
    pub births: AtomicU64,
    /// Resources given back.
    pub deaths: AtomicU64,
    /// Bytes of those made.
    pub bytes_born: AtomicU64,
    /// Bytes of those given back.
    pub bytes_died: AtomicU64,
    /// Weighted births, in 1/256ths.
    pub est_births: AtomicU64,
    /// Weighted bytes of births.
    pub est_bytes_born: AtomicU64,
    /// Weighted deaths, in 1/256ths.
    pub est_deaths: AtomicU64,
    /// Weighted bytes of deaths.
    pub est_bytes_died: AtomicU64,
    /// Deaths whose row was torn: no lifetime known.
    pub unsure: AtomicU64,
    /// Longest completed lifetime, ms.
    pub longest_ms: AtomicU64,
    /// When the next checkpoint is due, ms since the segment was made.
    pub next_at_ms: AtomicU64,
    /// Step between checkpoints in ms (48 bits) over checkpoints in use (16).
    pub steps: AtomicU64,
    /// Completed lifetimes by half octave.
    pub lifetimes: [AtomicU32; BUCKETS],
    /// The checkpoints, oldest first.
    pub points: [Checkpoint; POINTS],
    /// Zero.
    pub reserved: [AtomicU64; 4],
}

/// Weight of one event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Amount {
    /// Bytes of the resource, 0 where that means nothing.
    pub bytes: u64,
    /// Blocks it stands for, in 1/256ths.
    pub est_256: u64,
    /// Bytes it stands for.
    pub est_bytes: u64,
}

impl Amount {
    /// One unsampled thing without a size: a descriptor.
    pub const ONE: Amount = Amount {
        bytes: 0,
        est_256: 256,
        est_bytes: 0,
    };
}

impl Site {
    /// Fills in who this is. Only before the row is in the index.
    pub fn define(&self, hash: u64, kind: u8, stack: u64, frames: u16, now_ms: u64) {
        self.shape
            .store(u64::from(kind) | u64::from(frames) << 8, Ordering::Relaxed);
        self.stack.store(stack, Ordering::Relaxed);
        self.first_ms.store(now_ms, Ordering::Relaxed);
        self.next_at_ms
            .store(now_ms + FIRST_STEP_MS, Ordering::Relaxed);
        self.steps.store(FIRST_STEP_MS << 16, Ordering::Relaxed);
        self.hash.store(hash, Ordering::Release);
    }

    /// Counts a birth.
    pub fn born(&self, amount: Amount, now_ms: u64) {
        self.births.fetch_add(1, Ordering::Relaxed);
        if amount.bytes != 0 {
            self.bytes_born.fetch_add(amount.bytes, Ordering::Relaxed);
            self.est_births.fetch_add(amount.est_256, Ordering::Relaxed);
            self.est_bytes_born
                .fetch_add(amount.est_bytes, Ordering::Relaxed);
        }
        self.checkpoint(now_ms);
    }

    /// Counts a death after `lifetime_ms`.
    pub fn died(&self, amount: Amount, lifetime_ms: u64, now_ms: u64) {
        self.count_death(amount);
        self.lifetimes[hist::bucket(lifetime_ms)].fetch_add(1, Ordering::Relaxed);
        if self.longest_ms.load(Ordering::Relaxed) < lifetime_ms {
            self.longest_ms.fetch_max(lifetime_ms, Ordering::Relaxed);
        }
        self.checkpoint(now_ms);
    }

    /// Counts a death that was noticed too late to know its lifetime, or was not
    /// the program's own doing.
    pub fn died_unseen(&self, amount: Amount) {
        self.unsure.fetch_add(1, Ordering::Relaxed);
        self.count_death(amount);
    }

    fn count_death(&self, amount: Amount) {
        // Release: a checkpoint that counts this death counts its birth too.
        self.deaths.fetch_add(1, Ordering::Release);
        if amount.bytes != 0 {
            self.bytes_died.fetch_add(amount.bytes, Ordering::Relaxed);
            self.est_deaths.fetch_add(amount.est_256, Ordering::Relaxed);
            self.est_bytes_died
                .fetch_add(amount.est_bytes, Ordering::Relaxed);
        }
    }

    /// Takes a death back: the close that it stood for failed. Only for things
    /// without a size. The longest lifetime stays: too long is the careful side.
    ///
    /// `lifetime_ms` may be longer than what the death was counted with, since
    /// the clock goes on during the close: the nearest bucket at or below it
    /// gives one back.
    pub fn revived(&self, lifetime_ms: u64) {
        self.deaths.fetch_sub(1, Ordering::Relaxed);
        let buckets = &self.lifetimes[..=hist::bucket(lifetime_ms)];
        let _ = buckets.iter().rev().any(take_one);
    }

    fn checkpoint(&self, now_ms: u64) {
        let due = self.next_at_ms.load(Ordering::Relaxed);
        if now_ms >= due {
            self.write_checkpoint(now_ms, due);
        }
    }

    /// Writes a checkpoint if this thread wins the right to.
    #[cold]
    fn write_checkpoint(&self, now_ms: u64, due: u64) {
        let steps = self.steps.load(Ordering::Relaxed);
        let (mut step, mut used) = (steps >> 16, (steps & 0xFFFF) as usize);
        let next = now_ms.saturating_add(step.max(1));
        let won = self
            .next_at_ms
            .compare_exchange(due, next, Ordering::AcqRel, Ordering::Relaxed);
        if won.is_err() {
            return;
        }
        if used >= POINTS {
            (step, used) = (step.saturating_mul(2) & ((1 << 48) - 1), self.thin());
        }
        self.points[used].write(now_ms, &self.births, &self.deaths);
        self.steps
            .store(step << 16 | (used as u64 + 1), Ordering::Release);
    }

    /// Drops every second checkpoint; returns how many are left.
    fn thin(&self) -> usize {
        for kept in 0..POINTS / 2 {
            self.points[kept].copy_from(&self.points[2 * kept + 1]);
        }
        POINTS / 2
    }
}

/// Subtracts one where there is one; a word that changes meanwhile is left.
fn take_one(word: &AtomicU32) -> bool {
    let count = word.load(Ordering::Relaxed);
    count != 0
        && word
            .compare_exchange(count, count - 1, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
}

impl Checkpoint {
    fn write(&self, at_ms: u64, births: &AtomicU64, deaths: &AtomicU64) {
        // Deaths first: none is then counted here whose birth is not.
        let deaths = deaths.load(Ordering::Acquire);
        self.at_ms.store(at_ms, Ordering::Relaxed);
        self.births
            .store(births.load(Ordering::Relaxed), Ordering::Relaxed);
        self.deaths.store(deaths, Ordering::Relaxed);
    }

    fn copy_from(&self, other: &Checkpoint) {
        self.at_ms
            .store(other.at_ms.load(Ordering::Relaxed), Ordering::Relaxed);
        self.births
            .store(other.births.load(Ordering::Relaxed), Ordering::Relaxed);
        self.deaths
            .store(other.deaths.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Default for Site {
    fn default() -> Self {
        let word = || AtomicU64::new(0);
        Site {
            hash: word(),
            shape: word(),
            stack: word(),
            first_ms: word(),
            births: word(),
            deaths: word(),
            bytes_born: word(),
            bytes_died: word(),
            est_births: word(),
            est_bytes_born: word(),
            est_deaths: word(),
            est_bytes_died: word(),
            unsure: word(),
            longest_ms: word(),
            next_at_ms: word(),
            steps: word(),
            lifetimes: [(); BUCKETS].map(|()| AtomicU32::new(0)),
            points: [(); POINTS].map(|()| Checkpoint::default()),
            reserved: [(); 4].map(|()| word()),
        }
    }
}

/// What a look into one window of the index found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The site with this id has the hash, as far as the slot can tell.
    Found(u32),
    /// Not here, and this slot is free: it is in no later level either.
    Free(usize),
    /// Not here, and no room: look in the next level.
    Full,
}

/// A slot: the hash's top 40 bits over the site id.
pub fn slot_word(hash: u64, site: u32) -> u64 {
    hash & !0xFF_FFFF | u64::from(site)
}

/// First slot of the window for `hash` in a level of `slots` (a power of two).
pub fn window_of(hash: u64, slots: usize) -> usize {
    hash as usize & (slots - 1) & !(WINDOW - 1)
}

/// Looks for `hash` in its window.
pub fn look_up(window: &[AtomicU64], hash: u64) -> Lookup {
    for (at, slot) in window.iter().enumerate() {
        let word = slot.load(Ordering::Acquire);
        if word == 0 {
            return Lookup::Free(at);
        }
        if (word ^ hash) >> 24 == 0 {
            return Lookup::Found(word as u32 & 0xFF_FFFF);
        }
    }
    Lookup::Full
}

/// Puts a site into the window, at or after the slot found free. Returns the
/// id that stands there in the end: ours, or that of a faster thread.
pub fn enter(window: &[AtomicU64], from: usize, hash: u64, site: u32) -> Option<u32> {
    for slot in window.iter().skip(from) {
        let ours = slot_word(hash, site);
        match slot.compare_exchange(0, ours, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(site),
            Err(word) if (word ^ hash) >> 24 == 0 => return Some(word as u32 & 0xFF_FFFF),
            Err(_) => {}
        }
    }
    None
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn checkpoints_thin_by_doubling_their_step() {
        let site = Site::default();
        site.define(1, 1, 0, 0, 0);
        for second in 1..=1000u64 {
            site.born(Amount::ONE, second * 1000);
        }
        let steps = site.steps.load(Ordering::Relaxed);
        assert!((steps >> 16).is_power_of_two() || (steps >> 16) % 1000 == 0);
        let used = (steps & 0xFFFF) as usize;
        assert!((POINTS / 2..=POINTS).contains(&used));
        let read = |i: usize| {
            let point = &site.points[i];
            (
                point.at_ms.load(Ordering::Relaxed),
                point.births.load(Ordering::Relaxed),
            )
        };
        for i in 0..used {
            assert_eq!(read(i).0, read(i).1 * 1000, "point {i}");
            assert!(i == 0 || read(i - 1).0 < read(i).0);
        }
    }

    #[test]
    fn a_death_taken_back_leaves_no_trace_though_the_clock_went_on() {
        let site = Site::default();
        site.define(1, 1, 0, 0, 0);
        site.born(Amount::ONE, 0);
        site.died(Amount::ONE, 1, 1);
        site.revived(500);
        let lifetimes = site.lifetimes.iter().map(|n| n.load(Ordering::Relaxed));
        assert_eq!(lifetimes.sum::<u32>(), 0);
        assert_eq!(site.deaths.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn two_threads_entering_one_hash_get_one_site() {
        let window: Vec<AtomicU64> = (0..WINDOW).map(|_| AtomicU64::new(0)).collect();
        let hash = 0xABCD_EF01_2345_6789;
        assert_eq!(look_up(&window, hash), Lookup::Free(0));
        assert_eq!(enter(&window, 0, hash, 5), Some(5));
        assert_eq!(enter(&window, 0, hash, 6), Some(5));
        assert_eq!(look_up(&window, hash), Lookup::Found(5));
    }

    proptest! {
        #[test]
        fn births_and_deaths_add_up(lives in prop::collection::vec(0u64..100_000_000, 1..100)) {
            let site = Site::default();
            site.define(1, 1, 0, 0, 0);
            for life in &lives {
                site.born(Amount::ONE, 0);
                site.died(Amount::ONE, *life, *life);
            }
            let sum: u32 = site.lifetimes.iter().map(|n| n.load(Ordering::Relaxed)).sum();
            prop_assert_eq!(sum as usize, lives.len());
            prop_assert_eq!(site.longest_ms.load(Ordering::Relaxed), *lives.iter().max().unwrap());
        }
    }
}
