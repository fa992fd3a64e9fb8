//! Q3: does anybody use the old ones?
//!
//! Something counts as unused when that is so since about its birth, or since
//! about the time at which others of its site are closed. Had only a fifth of
//! healthy old things looked so by chance, how likely are as many as there
//! are?

use super::constants::{IDLE_SHARE, IDLE_SINCE_BIRTH, STAMP_STEP, TIMES_WOKEN};
use super::data::{Holding, Idle};
use super::poisson;

/// How many of the old ones are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Using {
    /// Unused since about their birth
    pub idle: u64,
    /// Used later
    pub busy: u64,
    /// Nothing tells
    pub unknown: u64,
}

impl Using {
    /// The chance of so many unused ones, if the old ones were healthy; what
    /// nothing tells of counts as used.
    #[must_use]
    pub fn chance(&self) -> f64 {
        poisson::at_least(self.idle, IDLE_SHARE * self.all() as f64)
    }

    /// The same, did the unknown ones turn out to be unused.
    #[must_use]
    pub fn chance_at_best(&self) -> f64 {
        poisson::at_least(self.idle + self.unknown, IDLE_SHARE * self.all() as f64)
    }

    fn all(&self) -> u64 {
        self.idle + self.busy + self.unknown
    }
}

/// Sorts the old ones into used and unused.
#[must_use]
pub fn using(old: &[Holding], now_ms: u64, working_ms: f64, woken_gap_ms: u64) -> Using {
    let mut found = Using::default();
    for one in old {
        match unused(one, now_ms, working_ms, woken_gap_ms) {
            Some(true) => found.idle += 1,
            Some(false) => found.busy += 1,
            None => found.unknown += 1,
        }
    }
    found
}

/// Whether one is unused; none where nothing tells. `working_ms` is the age
/// that its like reach, `woken_gap_ms` a pause after which one was used again.
#[must_use]
pub fn unused(one: &Holding, now_ms: u64, working_ms: f64, woken_gap_ms: u64) -> Option<bool> {
    if one.abandoned {
        return Some(true);
    }
    let Idle::Known(idle_ms) = one.idle else {
        return None;
    };
    let age_ms = now_ms.saturating_sub(one.born_ms);
    let (age, idle) = (age_ms as f64, idle_ms.min(age_ms) as f64);
    let step = STAMP_STEP.as_millis() as f64;
    let early = ((1.0 - IDLE_SINCE_BIRTH) * age).max(working_ms).max(step);
    // A pause as long as the whole age is none that it could have woken from.
    let surely = idle > TIMES_WOKEN * woken_gap_ms as f64;
    Some(idle > 0.0 && age - idle <= early && surely)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(born_ms: u64, idle: Idle) -> Holding {
        Holding {
            born_ms,
            idle,
            abandoned: false,
        }
    }

    #[test]
    fn unused_since_its_working_life_is_unused() {
        let now = 1_000_000;
        let is = |idle, working, gap| unused(&held(0, Idle::Known(idle)), now, working, gap);
        assert_eq!(is(950_000, 0.0, 0), Some(true));
        assert_eq!(is(800_000, 0.0, 0), Some(false));
        assert_eq!(is(800_000, 250_000.0, 0), Some(true));
        assert_eq!(is(950_000, 0.0, 300_000), Some(false));
        assert_eq!(is(0, 2_000_000.0, 0), Some(false));
        assert_eq!(unused(&held(0, Idle::Unknown), now, 0.0, 0), None);
        let left = Holding {
            abandoned: true,
            ..held(0, Idle::Unknown)
        };
        assert_eq!(unused(&left, now, 0.0, 0), Some(true));
    }

    #[test]
    fn a_young_one_may_have_been_used_in_the_second_of_its_birth() {
        let found = unused(&held(0, Idle::Known(5_000)), 6_500, 0.0, 0);
        assert_eq!(found, Some(true));
    }

    #[test]
    fn most_must_be_unused() {
        let all = |idle, busy, unknown| Using {
            idle,
            busy,
            unknown,
        };
        assert!(all(12, 0, 0).chance() < 1e-5);
        assert!(all(2, 10, 0).chance() > 0.5);
        assert!(all(0, 0, 12).chance() > 0.99);
        assert!(all(0, 0, 12).chance_at_best() < 1e-5);
    }
}
