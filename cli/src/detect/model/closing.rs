//! Q1: did closing stop for the old ones?
//!
//! Things that reached some age (beyond nine in ten of the lives) were closed
//! at a rate. Had the old ones kept even a quarter of it, how likely is it
//! that none of them was closed in all their waiting? Right-censored: what is
//! still held counts by the time for which it waited.

use super::constants::{HAZARD_SHARE, HAZARD_SLACK};
use super::lives::Lives;

/// How the old ones compare with those that were closed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Closing {
    /// Closes among the old that even the lowered rate would have seen
    pub expected: f64,
    /// How long the old ones waited beyond the old age, all together
    pub waited_ms: f64,
}

impl Closing {
    /// The chance that none was closed, had closing not stopped.
    #[must_use]
    pub fn chance(&self) -> f64 {
        (-self.expected).exp()
    }
}

/// Compares what is held (by age) with what was closed.
///
/// Nothing was ever closed beyond the old age, since that is at least half as
/// long again as the longest life.
#[must_use]
pub fn closing(
    lives: &Lives<'_>,
    ages_ms: impl Iterator<Item = f64>,
    from_ms: f64,
    old_ms: f64,
) -> Closing {
    let from_ms = from_ms.min(old_ms);
    let (deaths, of_dead) = lives.beyond(from_ms, old_ms);
    let (exposed, waited_ms) = ages_ms.fold((of_dead, 0.0), |(exposed, waited), age| {
        (
            exposed + (age.min(old_ms) - from_ms).max(0.0),
            waited + (age - old_ms).max(0.0),
        )
    });
    let sure = (deaths - HAZARD_SLACK * deaths.sqrt()).max(0.0);
    let rate = HAZARD_SHARE * sure / exposed.max(1.0);
    Closing {
        expected: rate * waited_ms,
        waited_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::hist::{BUCKETS, bucket};

    fn lives(n: u64) -> [u64; BUCKETS] {
        let mut counts = [0; BUCKETS];
        for at in 0..n {
            counts[bucket(1_000 + at % 1_000)] += 1;
        }
        counts
    }

    #[test]
    fn long_waiting_without_a_close_is_unlikely() {
        let counts = lives(200);
        let lives = Lives::new(&counts, 2_000);
        let ages = [600_000.0; 20];
        let found = closing(&lives, ages.into_iter(), lives.lower_ms(0.9), 30_000.0);
        assert!(found.expected > 50.0, "{found:?}");
        assert!((found.waited_ms - 20.0 * 570_000.0).abs() < 1.0);
        assert!(found.chance() < 1e-20);
    }

    #[test]
    fn few_lives_prove_nothing() {
        let counts = lives(4);
        let lives = Lives::new(&counts, 2_000);
        let found = closing(&lives, [1e9].into_iter(), lives.lower_ms(0.9), 30_000.0);
        assert_eq!(found.chance(), 1.0);
    }
}
