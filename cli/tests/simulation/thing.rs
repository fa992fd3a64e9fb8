//! One thing that a simulated site makes.

use super::random::Random;

/// One thing in its whole life, in seconds since the program's start.
#[derive(Clone, Copy)]
pub struct Thing {
    pub born: f64,
    /// Infinite when it is never given back
    pub ends: f64,
    pub used: Used,
}

/// When it is used.
#[derive(Clone, Copy)]
pub enum Used {
    /// Every so many seconds
    Every(f64),
    /// Until that moment
    Until(f64),
}

impl Thing {
    /// Seconds since its last use, at a moment of its life.
    pub fn idle(&self, now: f64) -> f64 {
        match self.used {
            Used::Every(gap) => (now - self.born) % gap,
            Used::Until(last) => (now - last).max(0.0),
        }
    }

    /// The same, so much later.
    pub fn later(self, by: f64) -> Self {
        Self {
            born: self.born + by,
            ends: self.ends + by,
            used: match self.used {
                Used::Until(last) => Used::Until(last + by),
                every @ Used::Every(_) => every,
            },
        }
    }

    /// The longest pause that it woke from.
    pub fn woken(&self) -> f64 {
        match self.used {
            Used::Every(gap) if gap < self.ends - self.born => gap,
            _ => 0.0,
        }
    }
}
/// Births of a steady load.
pub fn arrivals(random: &mut Random, until: f64, per_second: f64) -> Vec<f64> {
    let mut at = 0.0;
    let mut births = Vec::new();
    loop {
        at += random.exponential(1.0 / per_second);
        if at > until {
            return births;
        }
        births.push(at);
    }
}

/// Used for as long as it lives.
pub fn working(born: f64, life: f64) -> Thing {
    Thing {
        born,
        ends: born + life,
        used: Used::Until(born + life),
    }
}

/// Used for `life`, then forgotten.
pub fn forgotten(born: f64, life: f64) -> Thing {
    Thing {
        born,
        ends: f64::INFINITY,
        used: Used::Until(born + life),
    }
}
