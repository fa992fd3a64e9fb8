//! Numbers that are only known to lie between two.

use std::ops::{Add, Sub};

/// From the least to the most that a number can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// At the least
    pub low: f64,
    /// At the most
    pub high: f64,
}

/// Both ends of a life are stamped by a clock that steps at most 10 ms.
pub const CLOCK_STEP_S: f64 = 0.012;

impl Range {
    /// Between the two.
    pub fn new(low: f64, high: f64) -> Self {
        Self { low, high }
    }

    /// One value, so much more or less.
    pub fn about(value: f64, give: f64) -> Self {
        Self::new(value - give, value + give)
    }

    /// So many times as much.
    pub fn times(self, low: f64, high: f64) -> Self {
        Self::new(self.low * low, self.high * high)
    }

    /// A little wider.
    pub fn wider(self, give: f64) -> Self {
        Self::new(self.low - give, self.high + give)
    }

    /// Whether both can be the same number.
    pub fn meets(self, other: Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }

    /// The least of each, the most of each.
    pub fn each(all: impl Iterator<Item = Self>, pick: fn(f64, f64) -> f64) -> Option<Self> {
        all.reduce(|a, b| Self::new(pick(a.low, b.low), pick(a.high, b.high)))
    }
}

impl Add for Range {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::new(self.low + other.low, self.high + other.high)
    }
}

impl Sub for Range {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self::new(self.low - other.high, self.high - other.low)
    }
}

/// What a person reads, back into a number: `1 234`.
pub fn count(text: &str) -> Option<f64> {
    let digits = text.replace('\u{a0}', "");
    digits.parse::<u64>().ok().map(|n| n as f64)
}

/// `450 ms`, `2.1 s`, `12 min`, `5 h 10 min`, `3 d 4 h`, `under 4 ms`: all that
/// reads so.
pub fn span(text: &str) -> Option<Range> {
    if text == "under 4 ms" {
        return Some(Range::new(0.0, 0.004));
    }
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        [n, "ms"] => Some(Range::about(n.parse().ok()?, 0.5).times(0.001, 0.001)),
        [n, "s"] => {
            let value: f64 = n.parse().ok()?;
            Some(Range::about(value, if value < 10.0 { 0.0501 } else { 0.5 }))
        }
        [n, "min"] => Some(Range::about(n.parse::<f64>().ok()? * 60.0, 30.0)),
        [n, unit] => {
            let least = n.parse::<f64>().ok()? * big(unit)?;
            Some(Range::new(least, least + small(unit)?))
        }
        [big_n, unit, small_n, _] => {
            let least = big_n.parse::<f64>().ok()? * big(unit)?
                + small_n.parse::<f64>().ok()? * small(unit)?;
            Some(Range::new(least, least + small(unit)?))
        }
        _ => None,
    }
}

fn big(unit: &str) -> Option<f64> {
    match unit {
        "h" => Some(3600.0),
        "d" => Some(86_400.0),
        _ => None,
    }
}

fn small(unit: &str) -> Option<f64> {
    match unit {
        "h" => Some(60.0),
        "d" => Some(3600.0),
        _ => None,
    }
}

/// `2.1 s to 12 min`, or one span for both.
pub fn spans(text: &str) -> Option<(Range, Range)> {
    match text.split_once(" to ") {
        Some((from, to)) => Some((span(from)?, span(to)?)),
        None => Some((span(text)?, span(text)?)),
    }
}

/// `1.5 MiB`
pub fn bytes(text: &str) -> Option<Range> {
    let (value, unit) = text.split_once(' ')?;
    if unit == "B" {
        return Some(Range::about(value.parse().ok()?, 0.0));
    }
    let scale = match unit {
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        _ => return None,
    };
    Some(Range::about(value.parse().ok()?, 0.0501).times(scale, scale))
}
