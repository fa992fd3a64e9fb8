//! Caches that the program has registered (`include/memguard.h`).
//!
//! A row belongs to the cache of the same number in the library, whose
//! registration is one thread's at a time. The state is the row's generation:
//! odd while a cache is there, so that a command that comes late finds another.

use crate::sync::{AtomicU64, Ordering};

/// Caches at most.
pub const ROWS: usize = 64;
/// Longest name, in bytes.
pub const NAME_BYTES: usize = 63;
/// Words that hold a name and its 0.
pub const NAME_WORDS: usize = 8;

/// One cache.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct CacheRow {
    /// Generation: odd while a cache is registered here; released last.
    pub state: AtomicU64,
    /// `cache_flag` bits.
    pub flags: AtomicU64,
    /// Name, ended by 0.
    pub name: [AtomicU64; NAME_WORDS],
    /// Its size when it was asked last.
    pub size_bytes: AtomicU64,
    /// When that was, ms since the segment was made; 0 for never.
    pub measured_ms: AtomicU64,
    /// How often it was asked to shrink.
    pub shrinks: AtomicU64,
    /// What it said it gave back, all together.
    pub given_bytes: AtomicU64,
    /// Longest time that a callback took.
    pub longest_ns: AtomicU64,
    /// Zero.
    pub reserved: AtomicU64,
}

/// Whether what a cache says is a size. More than half the numbers there are
/// comes of a negative one: `(size_t)-1` of a cache that does not know.
pub fn is_size(bytes: u64) -> bool {
    bytes <= i64::MAX as u64
}

/// A name in words, cut off and ended by 0.
pub fn name_words(name: &[u8]) -> [u64; NAME_WORDS] {
    let mut bytes = [0; 8 * NAME_WORDS];
    for (place, byte) in bytes.iter_mut().zip(name.iter().take(NAME_BYTES)) {
        *place = *byte;
    }
    core::array::from_fn(|at| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&bytes[8 * at..8 * at + 8]);
        u64::from_le_bytes(eight)
    })
}

impl CacheRow {
    /// Enters a cache, whose generation is odd.
    pub fn enter(&self, generation: u64, flags: u64, name: &[u64; NAME_WORDS]) {
        self.state.store(0, Ordering::Release);
        self.flags.store(flags, Ordering::Relaxed);
        for (place, word) in self.name.iter().zip(name) {
            place.store(*word, Ordering::Relaxed);
        }
        let numbers = [
            &self.size_bytes,
            &self.measured_ms,
            &self.shrinks,
            &self.given_bytes,
            &self.longest_ns,
        ];
        numbers
            .iter()
            .for_each(|word| word.store(0, Ordering::Relaxed));
        self.state.store(generation, Ordering::Release);
    }

    /// The cache is gone.
    pub fn leave(&self) {
        self.state.store(0, Ordering::Release);
    }

    /// A new size.
    pub fn measured(&self, size_bytes: u64, at_ms: u64) {
        self.size_bytes.store(size_bytes, Ordering::Relaxed);
        self.measured_ms.store(at_ms.max(1), Ordering::Release);
    }

    /// It was asked to shrink.
    pub fn shrunk(&self, given_bytes: u64, took_ns: u64) {
        self.shrinks.fetch_add(1, Ordering::Relaxed);
        self.given_bytes.fetch_add(given_bytes, Ordering::Relaxed);
        self.longest_ns.fetch_max(took_ns, Ordering::Relaxed);
    }
}
