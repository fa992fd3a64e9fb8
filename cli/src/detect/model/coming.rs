//! Q2: do new survivors keep coming?
//!
//! The old ones by the half of the observation that they were born in. Had
//! survivors all but stopped coming (a small part of the first half's
//! share of the births), how likely are as many as the second half has? Pools, caches
//! at their cap and what a start-up made have next to none there. For a `leak`
//! what came at one moment counts once.

use shm_protocol::view::PointInfo;

use super::constants::{COMING_LEAST, COMING_SHARE};
use super::poisson;

/// Old survivors and births in the two halves.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Coming {
    /// Old ones born in the first half
    pub before: u64,
    /// Old ones born in the second half
    pub lately: u64,
    /// Moments at which those of the first half came
    pub moments_before: u64,
    /// Moments at which those of the second half came
    pub moments_lately: u64,
    /// All births of the first half
    pub births_before: f64,
    /// All births of the second half
    pub births_lately: f64,
    /// How long a half is
    pub half_ms: u64,
}

impl Coming {
    /// The chance of as many recent ones, had they all but stopped coming.
    #[must_use]
    pub fn chance(&self) -> f64 {
        self.chance_of(self.before, self.lately)
    }

    /// The same of the moments at which they came.
    #[must_use]
    pub fn chance_by_moments(&self) -> f64 {
        self.chance_of(self.moments_before, self.moments_lately)
    }

    fn chance_of(&self, before: u64, lately: u64) -> f64 {
        let share = before as f64 / self.births_before.max(1.0);
        let expected = COMING_SHARE * share * self.births_lately;
        poisson::at_least(lately, expected.max(COMING_LEAST))
    }

    /// Old survivors and all that was born with them.
    #[must_use]
    pub fn of_births(&self) -> (u64, f64) {
        let births = self.births_before + self.births_lately;
        (self.before + self.lately, births)
    }

    /// New survivors per hour, lately.
    #[must_use]
    pub fn per_hour(&self) -> f64 {
        if self.half_ms == 0 {
            return 0.0;
        }
        self.lately as f64 * 3_600_000.0 / self.half_ms as f64
    }
}

/// Counts the old survivors (births ascending, all before `until_ms`). What
/// comes less than `apart_ms` after a moment belongs to it.
#[must_use]
pub fn coming(
    old_births_ms: &[u64],
    births: &Births<'_>,
    since_ms: u64,
    until_ms: u64,
    apart_ms: u64,
) -> Coming {
    let half_ms = until_ms.saturating_sub(since_ms) / 2;
    let middle = since_ms.saturating_add(half_ms);
    let before = old_births_ms.partition_point(|born| *born < middle) as u64;
    let lately = old_births_ms.len() as u64 - before;
    // Checkpoints are coarse: what survived was born for certain.
    let between = |from, to, least: u64| births.between(from, to).max(least as f64);
    let (early, late) = old_births_ms.split_at(before as usize);
    Coming {
        before,
        lately,
        moments_before: moments(early, apart_ms),
        moments_lately: moments(late, apart_ms),
        births_before: between(since_ms, middle, before),
        births_lately: between(middle, until_ms, lately),
        half_ms,
    }
}

/// Ten things that one request, or one failure of a second, leaves are no ten
/// independent signs that more will come.
fn moments(births_ms: &[u64], apart_ms: u64) -> u64 {
    let mut next_ms = 0;
    let new = births_ms.iter().filter(|born| {
        let new = **born >= next_ms;
        if new {
            next_ms = born.saturating_add(apart_ms);
        }
        new
    });
    new.count() as u64
}

/// Births over time, straight lines between the checkpoints.
#[derive(Debug, Clone, Copy)]
pub struct Births<'a> {
    /// The checkpoints, oldest first
    pub points: &'a [PointInfo],
    /// The first birth
    pub first_ms: u64,
    /// The look
    pub now_ms: u64,
    /// All births at the look
    pub total: u64,
}

impl Births<'_> {
    fn between(&self, from_ms: u64, to_ms: u64) -> f64 {
        (self.until(to_ms) - self.until(from_ms)).max(0.0)
    }

    fn until(&self, at_ms: u64) -> f64 {
        let after = self.points.partition_point(|point| point.at_ms <= at_ms);
        let before = after.checked_sub(1).map(|at| &self.points[at]);
        let (from_ms, from) =
            before.map_or((self.first_ms, 0), |point| (point.at_ms, point.births));
        let next = self.points.get(after);
        let (to_ms, to) = next.map_or((self.now_ms, self.total), |point| {
            (point.at_ms, point.births)
        });
        if at_ms <= from_ms || to_ms <= from_ms {
            return from as f64;
        }
        let share = ((at_ms - from_ms) as f64 / (to_ms - from_ms) as f64).min(1.0);
        from as f64 + share * to.saturating_sub(from) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady() -> Births<'static> {
        Births {
            points: &[],
            first_ms: 0,
            now_ms: 1_000,
            total: 1_000,
        }
    }

    #[test]
    fn births_lie_on_the_line() {
        let point = |at_ms, births| PointInfo {
            at_ms,
            births,
            deaths: 0,
        };
        let points = [point(100, 10), point(200, 110)];
        let births = Births {
            points: &points,
            first_ms: 50,
            now_ms: 300,
            total: 120,
        };
        let at = [0, 50, 75, 100, 150, 200, 250, 300, 400].map(|at| births.until(at));
        assert_eq!(at, [0.0, 0.0, 5.0, 10.0, 60.0, 110.0, 115.0, 120.0, 120.0]);
    }

    #[test]
    fn a_trickle_keeps_coming_and_a_pool_does_not() {
        let trickle: Vec<u64> = (0..20).map(|at| at * 50).collect();
        let found = coming(&trickle, &steady(), 0, 1_000, 20);
        assert_eq!((found.before, found.lately), (10, 10));
        assert!(found.chance() < 1e-3 && found.per_hour() > 0.0);
        let pool: Vec<u64> = (0..20).collect();
        let found = coming(&pool, &steady(), 0, 1_000, 0);
        assert_eq!((found.lately, found.chance()), (0, 1.0));
    }

    #[test]
    fn what_comes_at_one_moment_counts_once() {
        // Twenty at once, and again.
        let stages: Vec<u64> = (100..120).chain(700..720).collect();
        let found = coming(&stages, &steady(), 0, 1_000, 50);
        assert_eq!((found.before, found.lately), (20, 20));
        assert_eq!((found.moments_before, found.moments_lately), (1, 1));
        assert!(found.chance_by_moments() > 0.3 && found.chance() < 1e-6);
        // A flood is as many moments as fit into its time.
        let flood: Vec<u64> = (0..1_000).collect();
        let found = coming(&flood, &steady(), 0, 1_000, 50);
        assert_eq!((found.moments_before, found.moments_lately), (10, 10));
        assert!(found.chance_by_moments() < 1e-3);
    }

    #[test]
    fn survivors_that_follow_a_load_are_compared_with_it() {
        // Ten times the births, ten times the survivors: still coming.
        let point = |at_ms, births| PointInfo {
            at_ms,
            births,
            deaths: 0,
        };
        let points = [point(500, 100)];
        let births = Births {
            points: &points,
            total: 1_100,
            ..steady()
        };
        let old: Vec<u64> = (0..4)
            .map(|i| i * 100)
            .chain((0..40).map(|i| 500 + i))
            .collect();
        let steep = coming(&old, &births, 0, 1_000, 0);
        let flat = coming(&old, &steady(), 0, 1_000, 0);
        assert!(steep.chance() > flat.chance());
    }
}
