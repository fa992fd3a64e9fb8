//! Segments spoiled in every way: nothing panics, nothing is made up.

use crate::image::inspect::inspect;
use crate::image::plan::{Plan, Written};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::sync::LazyLock;

/// The segment that is spoiled.
static SAMPLE: LazyLock<Written> = LazyLock::new(|| {
    Plan {
        events: 0,
        ..Plan::sample(12)
    }
    .write()
});

/// One way of spoiling a segment.
#[derive(Clone, Debug)]
enum Damage {
    Truncate(usize),
    Flip {
        at: usize,
        bit: u8,
    },
    Word {
        at: usize,
        value: u64,
    },
    /// A directory entry's word.
    Extent {
        entry: usize,
        word: usize,
        value: u64,
    },
}

fn extreme() -> impl Strategy<Value = u64> {
    prop_oneof![
        select(vec![
            0,
            1,
            4096,
            12288,
            1 << 31,
            u64::from(u32::MAX),
            1 << 63,
            usize::MAX as u64 - 4096,
            u64::MAX - 1,
            u64::MAX,
            // A kind word: heap buckets, and rows of no size.
            256 << 32 | 6,
            6,
        ]),
        any::<u64>(),
        0u64..200_000,
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    let length = SAMPLE.bytes.len();
    prop_oneof![
        1 => (0..=length).prop_map(Damage::Truncate),
        4 => (0..length, 0u8..8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        4 => (0..length / 8, extreme()).prop_map(|(word, value)| Damage::Word { at: word * 8, value }),
        4 => (0usize..24, 0usize..5, extreme())
            .prop_map(|(entry, word, value)| Damage::Extent { entry, word, value }),
    ]
}

fn spoil(bytes: &mut Vec<u8>, damage: &Damage) {
    match *damage {
        Damage::Truncate(length) => bytes.truncate(length),
        Damage::Flip { at, bit } => bytes
            .iter_mut()
            .skip(at)
            .take(1)
            .for_each(|b| *b ^= 1 << bit),
        Damage::Word { at, value } => put(bytes, at, value),
        Damage::Extent { entry, word, value } => put(bytes, 4096 + 40 * entry + 8 * word, value),
    }
}

pub fn put(bytes: &mut [u8], at: usize, value: u64) {
    if let Some(word) = bytes.get_mut(at..at + 8) {
        word.copy_from_slice(&value.to_le_bytes());
    }
}

pub fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_survived(damages in prop::collection::vec(damage(), 1..12)) {
        let mut bytes = SAMPLE.bytes.clone();
        damages.iter().for_each(|damage| spoil(&mut bytes, damage));
        // What it requires, it asserts.
        let _ = inspect(&bytes);
    }

    #[test]
    fn noise_behind_a_good_header_is_survived(noise in prop::collection::vec(any::<u64>(), 2600)) {
        let mut bytes = SAMPLE.bytes[..4096].to_vec();
        bytes.extend(noise.iter().flat_map(|word| word.to_le_bytes()));
        let _ = inspect(&bytes);
    }
}

/// Offsets of the keys of live blocks, and of their words.
fn live_blocks() -> Vec<[usize; 4]> {
    let bytes = &SAMPLE.bytes;
    let slots = (0..crate::image::plan::LEVELS[0]).flat_map(|b| (0..8).map(move |slot| (b, slot)));
    slots
        .map(|(bucket, slot)| {
            let at = SAMPLE.heap_at + bucket * 256;
            let words = at + 64 + slot * 24;
            [at + slot * 8, words, words + 8, words + 16]
        })
        .filter(|at| word(bytes, at[0]) != 0)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bit of a live block's row, but those of its thread, is missed by
    /// nobody: the row goes, and is counted.
    #[test]
    fn a_flipped_bit_tears_one_block(block: Index, part in 0usize..4, bit in 0usize..64) {
        let at = block.get(&live_blocks())[part];
        let bit = if part == 3 { bit % 16 } else { bit };
        let mut bytes = SAMPLE.bytes.clone();
        let flipped = word(&bytes, at) ^ 1 << bit;
        put(&mut bytes, at, flipped);
        let found = inspect(&bytes).unwrap();
        prop_assert_eq!((found.blocks.len(), found.torn), (SAMPLE.blocks.len() - 1, 1));
    }

    #[test]
    fn a_flipped_bit_tears_one_descriptor(row: Index, part in 0usize..3, bit in 0usize..64) {
        let rows = (0..12).map(|fd| SAMPLE.fds_at + fd * 32);
        // Kinds of one bit alone can be flipped away: a free row, not a torn one.
        let live: Vec<usize> = rows.filter(|at| word(&SAMPLE.bytes, at + 8) >> 56 & 15 != 0).collect();
        let at = row.get(&live) + [0, 8, 24][part];
        let mut bytes = SAMPLE.bytes.clone();
        let flipped = word(&bytes, at) ^ 1 << bit;
        put(&mut bytes, at, flipped);
        let before = inspect(&SAMPLE.bytes).unwrap();
        let found = inspect(&bytes).unwrap();
        prop_assert_eq!((found.descriptors.len(), found.torn), (before.descriptors.len() - 1, 1));
    }
}

#[test]
fn every_length_is_survived() {
    let bytes = &SAMPLE.bytes;
    for length in (0..bytes.len()).step_by(61).chain([12287, 12288, 12289]) {
        let found = inspect(&bytes[..length]);
        assert_eq!(found.is_err(), length < 12288, "{length}");
        assert!(found.is_err() || found.unwrap().cut_rows > 0, "{length}");
    }
}
