//! The half-octave histogram of completed lifetimes.
//!
//! Bucket `b` holds lifetimes from `1 ms * 2^(b/2)`; the last one holds all
//! that is longer (some 53 hours and up).

/// Number of buckets.
pub const BUCKETS: usize = 56;

/// The bucket of a lifetime.
pub fn bucket(lifetime_ms: u64) -> usize {
    if lifetime_ms < 2 {
        return 0;
    }
    let lifetime_ms = lifetime_ms.min(1 << 50);
    let octave = lifetime_ms.ilog2();
    // 181/128 is the square root of two to within 0.01 %.
    let upper_half = lifetime_ms * 128 >= 181 << octave;
    (2 * octave as usize + usize::from(upper_half)).min(BUCKETS - 1)
}

/// Shortest lifetime that falls into a bucket, in milliseconds.
pub fn lower_bound_ms(bucket: usize) -> f64 {
    if bucket == 0 {
        0.0
    } else {
        2f64.powf(bucket as f64 / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_rise_and_hold_their_bounds() {
        let mut last = 0;
        for ms in 0..100_000 {
            let b = bucket(ms);
            assert!(b >= last);
            let slack = 1.0002;
            assert!(
                (ms as f64 + 1.0) * slack >= lower_bound_ms(b),
                "{ms} in {b}"
            );
            assert!(
                ms < 2 || (ms as f64) < lower_bound_ms(b + 1) * slack,
                "{ms} in {b}"
            );
            last = b;
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }
}
