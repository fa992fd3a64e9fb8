//! Percentiles of completed lifetimes, from the segment's half-octave counts.

use hdrhistogram::Histogram;
use shm_protocol::hist::lower_bound_ms;

use crate::model::Lifetimes;
use crate::snapshot::Stats;

/// None when nothing was given back.
#[must_use]
pub fn lifetimes(stats: &Stats) -> Option<Lifetimes> {
    let longest_ms = stats.longest_ms.max(1);
    let mut histogram = Histogram::<u64>::new_with_bounds(1, longest_ms.max(2), 3).ok()?;
    for (bucket, count) in stats
        .lifetimes
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
    {
        histogram
            .record_n(middle_ms(bucket).clamp(1, longest_ms), *count)
            .ok()?;
    }
    let at = |percentile| {
        seconds(
            histogram
                .value_at_percentile(percentile)
                .min(stats.longest_ms),
        )
    };
    (!histogram.is_empty()).then(|| Lifetimes {
        completed: histogram.len(),
        p50_s: at(50.0),
        p90_s: at(90.0),
        p99_s: at(99.0),
        longest_s: seconds(stats.longest_ms),
    })
}

/// The geometric middle of a bucket.
fn middle_ms(bucket: usize) -> u64 {
    (lower_bound_ms(bucket).max(1.0) * lower_bound_ms(bucket + 1))
        .sqrt()
        .round() as u64
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::hist::{BUCKETS, bucket};

    #[test]
    fn percentiles_are_within_half_an_octave() {
        let mut lives = [0; BUCKETS];
        for ms in 1..=10_000_u64 {
            lives[bucket(ms)] += 1;
        }
        let stats = Stats {
            first_ms: 0,
            births: 1,
            deaths: 1,
            est_births: 1.0,
            longest_ms: 10_000,
            lifetimes: lives,
            points: vec![],
        };
        let found = lifetimes(&stats).unwrap();
        assert_eq!(found.completed, 10_000);
        for (found, truth) in [
            (found.p50_s, 5.0),
            (found.p90_s, 9.0),
            (found.p99_s, 9.9),
            (found.longest_s, 10.0),
        ] {
            assert!(
                (0.70..1.42).contains(&(found / truth)),
                "{found} for {truth}"
            );
        }
    }

    #[test]
    fn no_quantile_is_above_the_longest() {
        for longest_ms in [0, 1, 5] {
            let mut lives = [0; BUCKETS];
            lives[bucket(longest_ms)] = 10;
            let stats = Stats {
                first_ms: 0,
                births: 10,
                deaths: 10,
                est_births: 10.0,
                longest_ms,
                lifetimes: lives,
                points: vec![],
            };
            let found = lifetimes(&stats).unwrap();
            for quantile in [found.p50_s, found.p90_s, found.p99_s] {
                assert!(quantile <= found.longest_s, "{found:?}");
            }
        }
    }

    #[test]
    fn nothing_given_back_has_none() {
        let stats = Stats {
            first_ms: 0,
            births: 1,
            deaths: 0,
            est_births: 1.0,
            longest_ms: 0,
            lifetimes: [0; BUCKETS],
            points: vec![],
        };
        assert_eq!(lifetimes(&stats), None);
    }
}
