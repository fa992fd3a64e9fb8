//! The share that is still held at an age: the estimator of Kaplan and Meier
//! (1958, JASA 53:457), for pictures. What is held now is censored at its age.

use shm_protocol::hist::lower_bound_ms;

use super::lives::Lives;

/// Points kept of a curve.
const MOST: usize = 20;

/// Ages in seconds and the share that lives longer, both ascending in age.
#[must_use]
pub fn survival(lives: &Lives<'_>, ages_ms: &mut [u64]) -> Vec<(f64, f64)> {
    ages_ms.sort_unstable();
    let mut left = lives.total() as f64;
    let (mut share, mut curve) = (1.0, Vec::new());
    for (bucket, deaths) in lives.steps() {
        let from_ms = lower_bound_ms(bucket);
        let held = ages_ms.len() - ages_ms.partition_point(|age| (*age as f64) < from_ms);
        share *= 1.0 - deaths as f64 / (left + held as f64).max(1.0);
        left -= deaths as f64;
        curve.push((lower_bound_ms(bucket + 1) / 1000.0, share.clamp(0.0, 1.0)));
    }
    thinned(curve)
}

/// At most so many points, the last one among them.
fn thinned(curve: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let step = curve.len().div_ceil(MOST).max(1);
    let last = curve.len().saturating_sub(1);
    let kept = curve.into_iter().enumerate();
    kept.filter(|(at, _)| (last - at).is_multiple_of(step))
        .map(|(_, point)| point)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::hist::{BUCKETS, bucket};

    #[test]
    fn what_is_held_lifts_the_curve() {
        let mut counts = [0; BUCKETS];
        counts[bucket(1_000)] = 90;
        let lives = Lives::new(&counts, 1_000);
        assert_eq!(survival(&lives, &mut []).last().unwrap().1, 0.0);
        let curve = survival(&lives, &mut [60_000; 10]);
        assert!((curve.last().unwrap().1 - 0.1).abs() < 1e-9);
    }

    #[test]
    fn a_curve_is_short_and_falls() {
        let counts = [3; BUCKETS];
        let curve = survival(&Lives::new(&counts, 1 << 40), &mut [5, 1 << 30]);
        assert!(curve.len() <= MOST);
        assert!(
            curve
                .windows(2)
                .all(|two| two[0].0 < two[1].0 && two[0].1 >= two[1].1)
        );
    }
}
