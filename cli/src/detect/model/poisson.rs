//! Tails of the Poisson distribution, exact far out.

/// Terms summed at most: eight standard deviations at a mean of a million.
/// Beyond that every question is long since answered.
const ENOUGH: u64 = 10_000;

/// P[X >= n] for a Poisson variable of that mean.
#[must_use]
pub fn at_least(n: u64, mean: f64) -> f64 {
    if n == 0 {
        return 1.0;
    }
    if mean.is_nan() || mean <= 0.0 {
        return 0.0;
    }
    if mean.is_infinite() {
        return 1.0;
    }
    let upper = if n as f64 > mean {
        upwards(n, mean)
    } else {
        1.0 - downwards(n - 1, mean)
    };
    upper.clamp(0.0, 1.0)
}

/// The terms from n up, each a falling share of the one before.
fn upwards(n: u64, mean: f64) -> f64 {
    let (mut share, mut sum, mut at) = (1.0, 1.0, n);
    while share > sum * f64::EPSILON && at - n < ENOUGH && at < u64::MAX {
        at = at.saturating_add(1);
        share *= mean / at as f64;
        sum += share;
    }
    (log_term(n, mean) + sum.ln()).exp()
}

/// The terms from n down.
fn downwards(n: u64, mean: f64) -> f64 {
    let (mut share, mut sum, mut at) = (1.0, 1.0, n);
    while at > 0 && share > sum * f64::EPSILON && n - at < ENOUGH {
        share *= at as f64 / mean;
        sum += share;
        at -= 1;
    }
    (log_term(n, mean) + sum.ln()).exp()
}

/// ln P[X = n].
fn log_term(n: u64, mean: f64) -> f64 {
    n as f64 * mean.ln() - mean - log_factorial(n)
}

/// ln n!, by Stirling's series where that is exact to the last digits.
fn log_factorial(n: u64) -> f64 {
    if n < 32 {
        return (2..=n).map(|i| (i as f64).ln()).sum();
    }
    let x = n as f64;
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    x * x.ln() - x + 0.5 * (std::f64::consts::TAU * x).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_right() {
        // scipy.stats.poisson.sf(n - 1, mean)
        for (n, mean, truth) in [
            (0, 3.0, 1.0),
            (3, 0.5, 0.014_387_678),
            (10, 10.0, 0.542_070_286),
            (12, 3.0, 7.138_662_897e-5),
            (1000, 900.0, 0.000_549_902),
        ] {
            let found = at_least(n, mean);
            assert!((found / truth - 1.0).abs() < 1e-6, "{n} {mean}: {found}");
        }
    }

    #[test]
    fn far_tails_are_small_and_not_nothing() {
        assert!(at_least(60, 1.0) > 0.0 && at_least(60, 1.0) < 1e-80);
        assert!(at_least(2_000_000, 1_000_000.0) < 1e-300);
        assert!(at_least(900_000, 1_000_000.0) > 0.999_999);
    }

    #[test]
    fn odd_means_are_survived() {
        assert_eq!(at_least(3, 0.0), 0.0);
        assert_eq!(at_least(3, f64::NAN), 0.0);
        assert_eq!(at_least(3, f64::INFINITY), 1.0);
        assert!(at_least(u64::MAX, 1e300).is_finite());
    }
}
