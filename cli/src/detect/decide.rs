//! What is said in the end: the model's verdicts, between two looks the last
//! one, and before all a person's word.

use super::context::{Context, Label, finding_id};
use super::model::constants::FALSE_SHARE;
use super::model::{Decision, Measured, Why, judge::confidence};
use crate::model::{Kind, Verdict};

/// What the counted looks decided; between two of them the last one's word.
#[must_use]
pub fn at_this_look(
    now: Decision,
    measured: &Measured,
    id: &str,
    context: &Context<'_>,
) -> Decision {
    if context.looks.counted {
        return now;
    }
    match context.looks.last.get(id) {
        Some(last) if *last == now.verdict => now,
        // What it was about may be gone: that needs no proof.
        Some(last) if *last < Verdict::Early && measured.is_over(*last) => {
            now.at_best(Verdict::Held)
        }
        Some(last) => Decision {
            verdict: *last,
            why: Why::LastLook,
            // What this look alone would say must not make it sound unsure.
            confidence: confidence(*last, now.chance.min(FALSE_SHARE)),
            ..now
        },
        None => now.at_best(Verdict::Early),
    }
}

/// The id by which looks and labels know a site's finding.
#[must_use]
pub fn id_of(kind: Kind, key: u64) -> String {
    // What grows may become a cache and stays the same place in the program.
    let kind = if kind == Kind::Caches {
        Kind::Memory
    } else {
        kind
    };
    finding_id(kind, key)
}

/// A person's word is final.
#[must_use]
pub fn obey(decision: Decision, label: Option<&Label>) -> Decision {
    let (verdict, confidence) = match label {
        None => return decision,
        Some(Label::Ok) => (Verdict::Held, None),
        Some(Label::Leak) => (Verdict::Leak, Some(1.0)),
    };
    Decision {
        verdict,
        confidence,
        why: Why::Labelled,
        ..decision
    }
}

impl Decision {
    /// No worse than that, until a look that counts says so.
    fn at_best(self, best: Verdict) -> Self {
        if self.verdict >= Verdict::Early {
            return self;
        }
        Self {
            verdict: best,
            why: if best == Verdict::Held {
                Why::Settled
            } else {
                Why::NextLook
            },
            confidence: None,
            ..self
        }
    }

    /// What the kernel's records prove.
    #[must_use]
    pub fn proven() -> Self {
        Self {
            verdict: Verdict::Leak,
            why: Why::Proven,
            confidence: Some(1.0),
            chance: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::context::Looks;
    use crate::detect::model::coming::Coming;

    fn now(verdict: Verdict) -> Decision {
        Decision {
            verdict,
            why: Why::Agree,
            confidence: Some(0.9),
            chance: 0.1,
        }
    }

    fn between(last: Option<Verdict>) -> Context<'static> {
        Context {
            looks: Looks {
                number: 3,
                counted: false,
                last: last
                    .map(|last| ("files-1".to_owned(), last))
                    .into_iter()
                    .collect(),
                ..Looks::default()
            },
            ..Context::default()
        }
    }

    #[test]
    fn between_looks_the_last_decision_stands() {
        let measured = Measured {
            coming: Coming {
                before: 5,
                lately: 5,
                ..Coming::default()
            },
            ..Measured::default()
        };
        let said = |verdict, last| {
            at_this_look(now(verdict), &measured, "files-1", &between(last)).verdict
        };
        for last in [
            Verdict::Leak,
            Verdict::Suspect,
            Verdict::Early,
            Verdict::Held,
        ] {
            assert_eq!(said(Verdict::Leak, Some(last)), last);
            assert_eq!(said(Verdict::Held, Some(last)), last);
        }
        assert_eq!(said(Verdict::Leak, None), Verdict::Early);
        assert_eq!(said(Verdict::Held, None), Verdict::Held);
    }

    #[test]
    fn what_is_gone_is_no_longer_accused() {
        let gone = Measured::default();
        let said = at_this_look(
            now(Verdict::Held),
            &gone,
            "files-1",
            &between(Some(Verdict::Leak)),
        );
        assert_eq!(said.verdict, Verdict::Held);
    }

    #[test]
    fn a_label_is_final() {
        assert_eq!(
            obey(Decision::proven(), Some(&Label::Ok)).verdict,
            Verdict::Held
        );
        let leak = obey(now(Verdict::Early), Some(&Label::Leak));
        assert_eq!((leak.verdict, leak.confidence), (Verdict::Leak, Some(1.0)));
        assert_eq!(obey(now(Verdict::Early), None), now(Verdict::Early));
        assert_eq!(id_of(Kind::Caches, 1), id_of(Kind::Memory, 1));
    }
}
