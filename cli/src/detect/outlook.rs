//! How fast something grows, and when that hits a limit.

use super::model::{Fraction, Measured, fraction};
use crate::model::{Kind, Verdict};
use crate::snapshot::Snapshot;

/// Beyond a month nobody plans by it.
const MONTH_S: f64 = 30.0 * 86_400.0;

/// How fast, and until when.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outlook {
    /// How many more an hour, estimated where sampled
    pub per_hour: Option<f64>,
    /// Seconds until the descriptors, or the memory, run out
    pub exhaustion_s: Option<f64>,
    /// The share of what is made that stays
    pub stays: Option<Fraction>,
}

impl Outlook {
    /// Of what may leak; what is merely held goes nowhere. `count` and `bytes`
    /// are what the measured holdings stand for.
    #[must_use]
    pub fn of(
        snapshot: &Snapshot,
        kind: Kind,
        verdict: Verdict,
        measured: &Measured,
        (count, bytes): (u64, Option<u64>),
    ) -> Self {
        if verdict >= Verdict::Early {
            return Self::default();
        }
        let each = |whole: f64| whole / measured.held.max(1) as f64;
        // Descriptors are counted one by one.
        let weight = if kind.takes_descriptor() {
            1.0
        } else {
            each(count as f64)
        };
        let raw = measured.coming.per_hour();
        let per_hour = Some(round(raw * weight, 100.0)).filter(|rate| *rate > 0.0);
        let bytes_per_hour = bytes.map(|bytes| raw * each(bytes as f64));
        let (old, births) = measured.coming.of_births();
        Self {
            per_hour,
            exhaustion_s: exhaustion(snapshot, kind, raw, bytes_per_hour),
            stays: fraction(old, births),
        }
    }
}

impl Outlook {
    /// Of what takes neither a descriptor nor memory that is all resident.
    #[must_use]
    pub fn without_end(self) -> Self {
        Self {
            exhaustion_s: None,
            ..self
        }
    }

    /// Of what has stopped coming.
    #[must_use]
    pub fn at_a_stand(self) -> Self {
        Self {
            per_hour: None,
            ..self.without_end()
        }
    }
}

/// Rounds to so many parts of one.
fn round(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

fn exhaustion(
    snapshot: &Snapshot,
    kind: Kind,
    per_hour: f64,
    bytes_per_hour: Option<f64>,
) -> Option<f64> {
    let (free, rate) = match bytes_per_hour {
        Some(rate) => (snapshot.facts.memory_headroom_bytes?, rate),
        None => {
            let limit = snapshot.fd_limit.filter(|_| kind.takes_descriptor())?;
            (
                limit.saturating_sub(snapshot.descriptors.len() as u64),
                per_hour,
            )
        }
    };
    let left_s = round(free as f64 / rate * 3600.0, 1.0);
    (rate > 0.0 && left_s <= MONTH_S).then_some(left_s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::model::coming::Coming;
    use crate::snapshot::Facts;

    fn snapshot() -> Snapshot {
        let facts = Facts {
            fd_limit: Some(1_000),
            memory_headroom_bytes: Some(1 << 30),
            ..Facts::default()
        };
        Snapshot::build(facts, &[], None, "").unwrap()
    }

    fn measured(lately: u64) -> Measured {
        Measured {
            held: 2 * lately,
            coming: Coming {
                before: lately,
                lately,
                births_before: 100.0,
                births_lately: 100.0,
                half_ms: 3_600_000,
                ..Coming::default()
            },
            ..Measured::default()
        }
    }

    #[test]
    fn descriptors_and_memory_run_out() {
        let of = |kind, verdict, sum| Outlook::of(&snapshot(), kind, verdict, &measured(100), sum);
        let files = of(Kind::Files, Verdict::Leak, (200, None));
        assert_eq!(
            (files.per_hour, files.exhaustion_s),
            (Some(100.0), Some(36_000.0))
        );
        let heap = of(Kind::Memory, Verdict::Growing, (2_000, Some(200 << 20)));
        assert_eq!(heap.per_hour, Some(1_000.0));
        assert_eq!(
            heap.exhaustion_s,
            Some((1024.0_f64 / 100.0 * 3600.0).round())
        );
        assert_eq!(
            of(Kind::Files, Verdict::Held, (200, None)),
            Outlook::default()
        );
    }

    #[test]
    fn beyond_a_month_is_not_said() {
        let slow = Outlook::of(
            &snapshot(),
            Kind::Files,
            Verdict::Leak,
            &measured(1),
            (2, None),
        );
        assert_eq!((slow.per_hour, slow.exhaustion_s), (Some(1.0), None));
    }
}
