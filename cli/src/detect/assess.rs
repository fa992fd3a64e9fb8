//! What the counts of one site say: is there anything old, and does more of it
//! keep coming?
//!
//! This is the seam for the statistical model: it takes the same inputs and
//! answers with p-values and more verdicts. Until then the counts alone never
//! prove a leak: whether the old ones are used is not asked yet.

use std::time::Duration;

use super::Wanted;
use crate::model::{Kind, Verdict};
use crate::snapshot::Site;

/// Old survivors that must be there before anything is said of them.
const FEWEST_OLD: usize = 3;
/// How unlikely growth must be to be chance.
const CHANCE: f64 = 0.05;
/// An observation must last this many times the age that counts as old.
const LONG_ENOUGH: u64 = 3;

/// What the counts say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assessment {
    /// Age from which something counts as old: 1.5 x the longest completed
    /// life, or the floor of its kind
    pub old_ms: u64,
    /// How long the site has been seen
    pub observed_ms: u64,
    /// Held now, raw
    pub held: usize,
    /// Of those, older than `old_ms`
    pub old: usize,
    /// Chance of seeing that many new survivors if they had stopped coming
    pub chance: f64,
    /// New survivors per hour, raw
    pub per_hour: f64,
}

/// The floor under `old_ms`; `--min-age` replaces it.
#[must_use]
pub fn floor(kind: Kind, wanted: &Wanted) -> Duration {
    let built_in = match kind {
        Kind::Sockets => Duration::from_secs(120),
        _ => Duration::from_secs(30),
    };
    wanted.min_age.unwrap_or(built_in)
}

/// Age from which a thing of this site counts as old.
#[must_use]
pub fn old_age_ms(site: &Site, floor: Duration) -> u64 {
    let floor = u64::try_from(floor.as_millis()).unwrap_or(u64::MAX);
    floor.max(site.stats.longest_ms.saturating_mul(3) / 2)
}

/// Looks at the births of what is held (ascending).
#[must_use]
pub fn assess(
    site: &Site,
    births_ms: &[u64],
    kind: Kind,
    moment_ms: u64,
    wanted: &Wanted,
) -> Assessment {
    let old_ms = old_age_ms(site, floor(kind, wanted));
    let since = wanted.born_after_ms.unwrap_or(0).max(site.stats.first_ms);
    let observed_ms = moment_ms.saturating_sub(since);
    let old_until = moment_ms.saturating_sub(old_ms);
    let old = births_ms.partition_point(|born| *born < old_until);
    let window_ms = old_until.saturating_sub(since);
    Assessment {
        old_ms,
        observed_ms,
        held: births_ms.len(),
        old,
        chance: chance_of_growth(site, &births_ms[..old], since, old_until),
        per_hour: if window_ms > 0 {
            old as f64 * 3_600_000.0 / window_ms as f64
        } else {
            0.0
        },
    }
}

impl Assessment {
    /// None: nothing is held.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        if self.held == 0 {
            None
        } else if self.old >= FEWEST_OLD && self.chance <= CHANCE {
            Some(Verdict::Suspect)
        } else if self.observed_ms < self.old_ms.saturating_mul(LONG_ENOUGH) {
            Some(Verdict::Early)
        } else {
            Some(Verdict::Held)
        }
    }

    /// Growth is all that is known, so never above one half.
    #[must_use]
    pub fn confidence(&self) -> f64 {
        ((1.0 - self.chance) * 50.0).round() / 100.0
    }

    /// Seconds that a site must be seen before anything is said of it.
    #[must_use]
    pub fn long_enough_s(&self) -> f64 {
        self.old_ms.saturating_mul(LONG_ENOUGH) as f64 / 1000.0
    }
}

/// Do new survivors keep coming? Old survivors of the first and second half
/// of the observation: had they all but stopped (a quarter of the first
/// half's share of births), how likely are as many as the second half has?
fn chance_of_growth(site: &Site, old_births_ms: &[u64], since: u64, until: u64) -> f64 {
    let middle = since + until.saturating_sub(since) / 2;
    let first = old_births_ms.partition_point(|born| *born < middle);
    let second = old_births_ms.len() - first;
    let made = |from, to| (births_at(site, to) - births_at(site, from)).max(1.0);
    let expected = 0.25 * first as f64 / made(since, middle) * made(middle, until);
    poisson_at_least(second, expected.max(0.5))
}

/// Births up to a moment, by the checkpoints, straight lines in between.
fn births_at(site: &Site, at_ms: u64) -> f64 {
    let points = &site.stats.points;
    let after = points.partition_point(|point| point.at_ms <= at_ms);
    let before = after.checked_sub(1).map_or((site.stats.first_ms, 0), |at| {
        (points[at].at_ms, points[at].births)
    });
    let Some(next) = points.get(after) else {
        return before.1 as f64;
    };
    if at_ms <= before.0 {
        return before.1 as f64;
    }
    let share = (at_ms - before.0) as f64 / (next.at_ms - before.0).max(1) as f64;
    before.1 as f64 + share * (next.births - before.1) as f64
}

/// P[Poisson(mean) >= n], by summing the terms below n.
fn poisson_at_least(n: usize, mean: f64) -> f64 {
    // Far in the upper tail, or so large that the sum would underflow: the
    // normal bound says the same within what is asked here.
    if mean > 500.0 {
        return if n as f64 > mean + 4.0 * mean.sqrt() {
            0.0
        } else {
            1.0
        };
    }
    let (mut term, mut below) = ((-mean).exp(), 0.0);
    for i in 0..n {
        below += term;
        term *= mean / (i + 1) as f64;
    }
    (1.0 - below).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Live, Stats};
    use shm_protocol::hist::BUCKETS;
    use shm_protocol::view::PointInfo;

    fn site(births: u64, longest_ms: u64, until_ms: u64) -> Site {
        let stats = Stats {
            first_ms: 0,
            births,
            deaths: 0,
            est_births: births as f64,
            longest_ms,
            lifetimes: [0; BUCKETS],
            points: vec![PointInfo {
                at_ms: until_ms,
                births,
                deaths: 0,
            }],
        };
        Site {
            kind: Some(Kind::Files),
            frames: vec![],
            key: 1,
            stats,
            live: Live::default(),
        }
    }

    fn look(births_ms: &[u64], minutes: u64) -> Assessment {
        let moment = minutes * 60_000;
        assess(
            &site(1000, 2_000, moment),
            births_ms,
            Kind::Files,
            moment,
            &Wanted::default(),
        )
    }

    #[test]
    fn a_steady_trickle_is_suspect() {
        let births: Vec<u64> = (0..11).map(|i| i * 60_000).collect();
        let found = look(&births, 12);
        assert_eq!((found.old, found.verdict()), (11, Some(Verdict::Suspect)));
        assert!(
            found.per_hour > 40.0 && found.per_hour < 60.0,
            "{}",
            found.per_hour
        );
        assert!(found.confidence() <= 0.5);
    }

    #[test]
    fn what_was_all_made_at_the_start_is_merely_held() {
        let births: Vec<u64> = (0..50).map(|i| i * 100).collect();
        assert_eq!(look(&births, 60).verdict(), Some(Verdict::Held));
    }

    #[test]
    fn what_is_young_is_early_and_says_how_long_it_takes() {
        let found = look(&[1_000, 2_000, 3_000], 1);
        assert_eq!(found.verdict(), Some(Verdict::Early));
        assert!((found.long_enough_s() - 90.0).abs() < 1e-9);
        assert_eq!(look(&[], 60).verdict(), None);
    }

    #[test]
    fn min_age_replaces_the_floor_but_not_the_measured_life() {
        let wanted = Wanted {
            min_age: Some(Duration::from_secs(1)),
            ..Wanted::default()
        };
        assert_eq!(
            old_age_ms(&site(1, 200, 1), floor(Kind::Sockets, &wanted)),
            1_000
        );
        assert_eq!(
            old_age_ms(&site(1, 10_000, 1), floor(Kind::Sockets, &wanted)),
            15_000
        );
        assert_eq!(
            old_age_ms(&site(1, 0, 1), floor(Kind::Sockets, &Wanted::default())),
            120_000
        );
    }

    #[test]
    fn poisson_tail_is_right() {
        assert!((poisson_at_least(0, 3.0) - 1.0).abs() < 1e-12);
        assert!((poisson_at_least(3, 0.5) - 0.014_387_7).abs() < 1e-6);
        assert!((poisson_at_least(10, 10.0) - 0.542_070_3).abs() < 1e-6);
    }
}
