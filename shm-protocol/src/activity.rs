//! When a stamped descriptor was used last.
//!
//! A use stamps its descriptor with the library's tick, which is the second
//! that some hook last read off the clock. So a stamp says "used between this
//! tick and the next". Ticks mostly follow each other by a second; the longest
//! pauses between two are kept in the header, so that idleness can be counted
//! from the later end.

use crate::sync::{AtomicU64, Ordering};

/// Set in a stamp: the library has something to do before the descriptor is
/// used again. The rest is the stamp as it was.
pub const TRAPPED: u32 = 1 << 31;

/// Pauses that the header keeps.
pub const PAUSES: usize = 6;

/// Two ticks that followed each other, more than a second apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Pause {
    /// The earlier tick, seconds since creation.
    pub from_s: u32,
    /// The later one.
    pub to_s: u32,
}

impl Pause {
    /// How long it was.
    pub fn seconds(self) -> u32 {
        self.to_s.saturating_sub(self.from_s)
    }

    /// One word: end above start.
    pub fn pack(self) -> u64 {
        u64::from(self.to_s) << 32 | u64::from(self.from_s)
    }

    /// Any word; nothing when it is no pause.
    pub fn unpack(word: u64) -> Option<Pause> {
        let pause = Pause {
            from_s: word as u32,
            to_s: (word >> 32) as u32,
        };
        (pause.seconds() > 0).then_some(pause)
    }
}

/// Keeps a pause if it is longer than the shortest one kept. One try: whoever
/// changed that meanwhile kept another.
pub fn keep(pauses: &[AtomicU64; PAUSES], pause: Pause) {
    let seconds = |word: u64| Pause::unpack(word).map_or(0, Pause::seconds);
    let kept = pauses
        .iter()
        .map(|word| (word, word.load(Ordering::Relaxed)));
    if let Some((place, shortest)) = kept.min_by_key(|(_, word)| seconds(*word))
        && pause.seconds() > seconds(shortest).max(1)
    {
        let _ =
            place.compare_exchange(shortest, pause.pack(), Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// The latest second at whose end a descriptor stamped in second `used_s` may
/// have been used last. `None`: it may be in use right now, since there was no
/// later tick.
///
/// Pauses that are not kept are no longer than the shortest one kept.
pub fn used_until_s(used_s: u32, tick_s: u64, pauses: &[Option<Pause>; PAUSES]) -> Option<u64> {
    if u64::from(used_s) >= tick_s {
        return None;
    }
    let kept = pauses.iter().flatten();
    let next = kept.clone().find(|pause| pause.from_s == used_s);
    let full = pauses.iter().all(Option::is_some);
    let longest_unkept = kept.map(|pause| pause.seconds()).min().filter(|_| full);
    let next_s = next.map_or(
        u64::from(used_s) + u64::from(longest_unkept.unwrap_or(1)),
        |pause| u64::from(pause.to_s),
    );
    Some(next_s.min(tick_s))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pause(from_s: u32, to_s: u32) -> Pause {
        Pause { from_s, to_s }
    }

    /// The words after these ticks.
    fn after(ticks: &[u32]) -> [Option<Pause>; PAUSES] {
        let words = [const { AtomicU64::new(0) }; PAUSES];
        for pair in ticks.windows(2) {
            keep(&words, pause(pair[0], pair[1]));
        }
        words.map(|word| Pause::unpack(word.into_inner()))
    }

    #[test]
    fn a_stamp_counts_from_the_next_tick() {
        let pauses = after(&[0, 1, 2, 9, 10, 11]);
        assert_eq!(pauses.iter().flatten().count(), 1);
        assert_eq!(used_until_s(1, 11, &pauses), Some(2));
        assert_eq!(used_until_s(2, 11, &pauses), Some(9));
        assert_eq!(used_until_s(10, 11, &pauses), Some(11));
    }

    #[test]
    fn what_was_stamped_by_the_last_tick_may_be_in_use() {
        assert_eq!(used_until_s(11, 11, &after(&[0, 11])), None);
        assert_eq!(used_until_s(12, 11, &after(&[0, 11])), None);
    }

    #[test]
    fn the_longest_pauses_are_kept() {
        let ticks: Vec<u32> = (0..40).map(|i| i * 3 + i / 10 * 100).collect();
        let pauses = after(&ticks);
        let longest = pauses.iter().flatten().filter(|one| one.seconds() > 100);
        assert_eq!(longest.count(), 3);
    }

    proptest! {
        #[test]
        fn no_use_is_later_than_said(steps in prop::collection::vec(1u32..30, 1..60), at: prop::sample::Index) {
            let ticks: Vec<u32> = steps.iter().scan(0, |now, step| { *now += step; Some(*now) }).collect();
            let stamped = at.index(ticks.len());
            let (last, pauses) = (*ticks.last().unwrap(), after(&ticks));
            let until = used_until_s(ticks[stamped], u64::from(last), &pauses);
            match ticks.get(stamped + 1) {
                // The use came before the next tick, and that is not before its end.
                Some(next) => prop_assert!(until.unwrap() >= u64::from(*next)),
                None => prop_assert_eq!(until, None),
            }
        }

        #[test]
        fn any_words_give_a_moment_that_was(used_s: u32, tick_s: u64, words: [u64; PAUSES]) {
            let until = used_until_s(used_s, tick_s, &words.map(Pause::unpack));
            prop_assert!(until.is_none_or(|until| until <= tick_s));
        }

        #[test]
        fn pauses_survive_their_word(from_s: u32, to_s: u32) {
            let found = Pause::unpack(pause(from_s, to_s).pack());
            prop_assert_eq!(found, (to_s > from_s).then_some(pause(from_s, to_s)));
        }
    }
}
