//! Where the time of a fix went.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// In milliseconds, by a clock on the wall.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FixTook {
    /// All of it, from the first look on
    pub whole_ms: f64,
    /// Asking the kernel and the library's record about the process, all looks
    pub look_ms: f64,
    /// From looks to items: verdicts, gates, and who else has what open
    pub plan_ms: f64,
    /// Between the two looks that must agree, the question included
    pub between_ms: f64,
    /// How busy the program usually is, before anything is done
    pub usual_ms: f64,
    /// Acting on what came after the canary, the log included, without watches
    /// and without what is waited for afterwards
    pub executor_ms: f64,
    /// Noting what was ended, for later looks
    pub note_ms: f64,
    /// The canary, a tenth, all
    pub steps: Vec<FixStep>,
}

/// One step of the ladder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FixStep {
    /// How many were acted on
    pub items: usize,
    /// Acting on them
    pub act_ms: f64,
    /// Writing down what is about to be done and what came of it
    pub log_ms: f64,
    /// Asking the kernel what came of it, and waiting for the owner
    pub verify_ms: f64,
    /// Watching the program
    pub watch_ms: f64,
}

impl FixTook {
    /// With the time of another look added.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            look_ms: self.look_ms + other.look_ms,
            plan_ms: self.plan_ms + other.plan_ms,
            ..self
        }
    }

    /// With these steps, of which the first is the canary.
    pub fn climbed(&mut self, usual: Duration, steps: Vec<FixStep>) {
        self.usual_ms = milliseconds(usual);
        let later = steps.iter().skip(1);
        // `sum` of none is -0.0.
        self.executor_ms = later.fold(0.0, |sum, step| sum + step.act_ms + step.log_ms);
        self.steps = steps;
    }
}

/// To the microsecond.
#[must_use]
pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_alone_took_nothing_after_it() {
        let mut took = FixTook::default();
        took.climbed(Duration::ZERO, vec![FixStep::default()]);
        let json = serde_json::to_value(&took).unwrap();
        assert_eq!(json["executor_ms"].to_string(), "0.0");
    }
}
