//! Completed lives, as far as half-octave counts tell.

use shm_protocol::hist::{BUCKETS, lower_bound_ms};

/// The histogram of a site and its longest life.
#[derive(Debug, Clone, Copy)]
pub struct Lives<'a> {
    counts: &'a [u64; BUCKETS],
    longest_ms: f64,
    total: u64,
}

impl<'a> Lives<'a> {
    /// The counts of a site.
    #[must_use]
    pub fn new(counts: &'a [u64; BUCKETS], longest_ms: u64) -> Self {
        let total = counts.iter().fold(0, |sum: u64, n| sum.saturating_add(*n));
        Self {
            counts,
            longest_ms: longest_ms as f64,
            total,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The bucket that the share of the shortest lives ends in.
    fn bucket_of(&self, share: f64) -> Option<usize> {
        let rank = (self.total as f64 * share).ceil().max(1.0);
        let mut sum = 0.0;
        self.counts.iter().position(|n| {
            sum += *n as f64;
            sum >= rank
        })
    }

    /// At least as long as that share of the lives: the upper end of its
    /// bucket. 0 without any.
    #[must_use]
    pub fn upper_ms(&self, share: f64) -> f64 {
        self.bucket_of(share).map_or(0.0, |bucket| {
            lower_bound_ms(bucket + 1).min(self.longest_ms)
        })
    }

    /// The lower end of the bucket that the share ends in.
    #[must_use]
    pub fn lower_ms(&self, share: f64) -> f64 {
        self.bucket_of(share)
            .map_or(0.0, |bucket| lower_bound_ms(bucket).min(self.longest_ms))
    }

    /// Lives that ended at this age or later, and how long they were exposed
    /// to ending between it and `until_ms`, all together.
    #[must_use]
    pub fn beyond(&self, from_ms: f64, until_ms: f64) -> (f64, f64) {
        let later = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        later
            .map(|(bucket, n)| (self.middle_ms(bucket), *n as f64))
            .filter(|(age, _)| *age >= from_ms)
            .fold((0.0, 0.0), |(deaths, exposed), (age, n)| {
                (deaths + n, exposed + n * (age.min(until_ms) - from_ms))
            })
    }

    /// The geometric middle of a bucket.
    fn middle_ms(&self, bucket: usize) -> f64 {
        let (low, high) = (lower_bound_ms(bucket), lower_bound_ms(bucket + 1));
        (low.max(1.0) * high).sqrt().min(self.longest_ms.max(low))
    }

    /// Deaths by bucket with the bucket's upper age, where there are any.
    pub(super) fn steps(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let all = self.counts.iter().copied().enumerate();
        all.filter(|(_, n)| *n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::hist::bucket;

    #[test]
    fn quantiles_and_exposure_fit_the_lives() {
        let mut counts = [0; BUCKETS];
        for ms in 1..=10_000 {
            counts[bucket(ms)] += 1;
        }
        let lives = Lives::new(&counts, 10_000);
        assert_eq!(lives.total(), 10_000);
        assert!((9_000.0..=10_000.0).contains(&lives.upper_ms(0.9)));
        assert!((6_400.0..=9_000.0).contains(&lives.lower_ms(0.9)));
        let (deaths, exposed) = lives.beyond(lives.lower_ms(0.9), 40_000.0);
        assert!((900.0..2_000.0).contains(&deaths), "{deaths}");
        assert!(exposed > 0.0 && exposed / deaths < 2_000.0, "{exposed}");
    }

    #[test]
    fn no_lives_are_survived() {
        let none = [0; BUCKETS];
        let lives = Lives::new(&none, 0);
        assert_eq!((lives.upper_ms(0.99), lives.lower_ms(0.9)), (0.0, 0.0));
        assert_eq!(lives.beyond(0.0, 10.0), (0.0, 0.0));
        let full = [u64::MAX; BUCKETS];
        assert!(Lives::new(&full, u64::MAX).upper_ms(0.99).is_finite());
    }
}
