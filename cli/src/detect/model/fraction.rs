//! The share of what was made that stays, with its interval.

/// A share and what it may be, at 95 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fraction {
    /// As counted
    pub share: f64,
    /// At the least
    pub low: f64,
    /// At the most
    pub high: f64,
}

/// Wilson's score interval (Wilson 1927, JASA 22:209): right for small counts
/// and near 0 and 1. None of nothing.
#[must_use]
pub fn fraction(part: u64, whole: f64) -> Option<Fraction> {
    const Z: f64 = 1.959_964;
    let (part, n) = (part as f64, whole.max(part as f64));
    if !n.is_finite() || n < 1.0 {
        return None;
    }
    let share = part / n;
    let scale = 1.0 + Z * Z / n;
    let middle = (share + Z * Z / (2.0 * n)) / scale;
    let spread = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some(Fraction {
        share,
        low: (middle - spread).clamp(0.0, share),
        high: (middle + spread).clamp(share, 1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_wilsons() {
        let tenth = fraction(10, 100.0).unwrap();
        assert!((tenth.low - 0.0552).abs() < 1e-4 && (tenth.high - 0.1744).abs() < 1e-4);
        let all = fraction(5, 5.0).unwrap();
        assert!(all.high == 1.0 && (all.low - 0.5655).abs() < 1e-4);
        assert_eq!(fraction(0, 0.0), None);
    }
}
