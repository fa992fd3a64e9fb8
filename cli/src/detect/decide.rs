//! What is said in the end: the model's verdicts, between two looks the last
//! one, and before all a person's word.

use super::context::{Context, Label, finding_id};
use super::model::constants::{CONFIRMED, FALSE_SHARE};
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
    let last = context.looks.last.get(id);
    if context.looks.counted {
        return now
            .or_stopped(last, measured)
            .as_it_stands(measured, last.copied());
    }
    let stopped = now.or_stopped(last, measured);
    match last {
        Some(last) if *last == now.verdict => now,
        // It comes no faster than this look sees, whenever the next one counts.
        Some(_) if stopped.why == Why::Stopped => stopped,
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
        Some(Label::Leak) if decision.why == Why::HungUp => return decision,
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
    /// What was proven stays proven: that no more come speaks for none of those
    /// that are lost. That they are used or given back does, or that the whole
    /// site stood still for very long: so does one that only started up.
    fn or_stopped(self, last: Option<&Verdict>, measured: &Measured) -> Self {
        let only_stopped = matches!(self.why, Why::Settled | Why::Unclear | Why::FewMoments)
            && !measured.has_settled();
        let was_proven = last == Some(&Verdict::Leak) && only_stopped;
        let lost = was_proven.then(|| measured.still_lost()).flatten();
        lost.map_or(self, |chance| Self {
            verdict: Verdict::Leak,
            why: match self.why {
                Why::FewMoments => Why::LastLook,
                _ => Why::Stopped,
            },
            confidence: confidence(Verdict::Leak, chance),
            chance,
        })
    }

    /// What an earlier look found too much for chance stays so while later ones
    /// confirm it: to find it, a look had to allow for all looks together. But
    /// it is no leak any more.
    fn as_it_stands(self, measured: &Measured, last: Option<Verdict>) -> Self {
        let Some(last) = last.filter(|last| *last < Verdict::Early) else {
            return self;
        };
        let is_confirmed = measured.chances().growth <= CONFIRMED;
        if self.why != Why::Unclear || !is_confirmed || measured.is_over(last) {
            return self;
        }
        let verdict = match last {
            Verdict::Leak => Verdict::Suspect,
            milder => milder,
        };
        Self {
            verdict,
            why: Why::LastLook,
            confidence: confidence(verdict, self.chance.min(FALSE_SHARE)),
            ..self
        }
    }

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

    /// What a fix has ended, and whose owner has not closed it: nothing that a
    /// person's word on the rest would change.
    #[must_use]
    pub fn hung_up() -> Self {
        Self {
            verdict: Verdict::Held,
            why: Why::HungUp,
            confidence: None,
            chance: 1.0,
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
    use crate::detect::model::closing::Closing;
    use crate::detect::model::coming::Coming;
    use crate::detect::model::using::Using;

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

    /// Ten old ones, of which so many are used; none came lately.
    fn stopped(busy: u64) -> Measured {
        Measured {
            coming: Coming {
                before: 10,
                ..Coming::default()
            },
            closing: Some(Closing {
                expected: 50.0,
                ..Closing::default()
            }),
            using: Using {
                idle: 10 - busy,
                busy,
                unknown: 0,
            },
            ..Measured::default()
        }
    }

    fn counted(last: Verdict) -> Context<'static> {
        let mut context = between(Some(last));
        context.looks.counted = true;
        context
    }

    #[test]
    fn what_was_proven_and_comes_no_more_stays_proven() {
        let held = |why| Decision {
            verdict: Verdict::Held,
            why,
            confidence: None,
            chance: 1.0,
        };
        let said = |why, measured, last| {
            let said = at_this_look(held(why), &measured, "files-1", &counted(last));
            (said.verdict, said.why)
        };
        let stays = (Verdict::Leak, Why::Stopped);
        assert_eq!(said(Why::Settled, stopped(0), Verdict::Leak), stays);
        assert_eq!(said(Why::Unclear, stopped(0), Verdict::Leak), stays);
        let still = (Verdict::Leak, Why::LastLook);
        assert_eq!(said(Why::FewMoments, stopped(0), Verdict::Leak), still);
        let held = |why| (Verdict::Held, why);
        let settled = held(Why::Settled);
        assert_eq!(
            said(Why::Settled, stopped(8), Verdict::Leak),
            settled,
            "used"
        );
        assert_eq!(said(Why::Settled, stopped(0), Verdict::Suspect), settled);
        let plateau = held(Why::Plateau);
        assert_eq!(said(Why::Plateau, stopped(0), Verdict::Leak), plateau);
        let done = Measured {
            observed_ms: 60_000,
            still_ms: 600_000,
            old_ms: 30_000,
            ..stopped(0)
        };
        assert_eq!(said(Why::Settled, done, Verdict::Leak), settled, "done");
        let closed = Measured {
            closing: Some(Closing::default()),
            ..stopped(0)
        };
        assert_eq!(
            said(Why::Settled, closed, Verdict::Leak),
            settled,
            "given back"
        );
    }

    /// Else a sentence with a rate and an end comes and goes from look to look.
    #[test]
    fn that_no_more_come_is_told_between_looks_too() {
        let held = |why| Decision {
            verdict: Verdict::Held,
            why,
            confidence: None,
            chance: 1.0,
        };
        let said = |why, measured: &Measured, last| {
            let said = at_this_look(held(why), measured, "files-1", &between(Some(last)));
            (said.verdict, said.why)
        };
        let stopped_now = (Verdict::Leak, Why::Stopped);
        assert_eq!(said(Why::Settled, &stopped(0), Verdict::Leak), stopped_now);
        let stands = (Verdict::Leak, Why::LastLook);
        assert_eq!(said(Why::FewMoments, &stopped(0), Verdict::Leak), stands);
        let suspected = (Verdict::Suspect, Why::LastLook);
        assert_eq!(said(Why::Settled, &stopped(0), Verdict::Suspect), suspected);
    }

    #[test]
    fn what_was_no_chance_stays_so_while_more_come() {
        let found = |old| Measured {
            coming: Coming {
                lately: old,
                ..Coming::default()
            },
            ..Measured::default()
        };
        let said = |why, last, old| {
            let mut context = between(Some(last));
            context.looks.counted = true;
            let now = Decision {
                why,
                ..now(Verdict::Held)
            };
            at_this_look(now, &found(old), "files-1", &context).verdict
        };
        assert_eq!(said(Why::Unclear, Verdict::Suspect, 5), Verdict::Suspect);
        assert_eq!(said(Why::Unclear, Verdict::Growing, 5), Verdict::Growing);
        assert_eq!(said(Why::Unclear, Verdict::Leak, 5), Verdict::Suspect);
        assert_eq!(said(Why::Unclear, Verdict::Held, 5), Verdict::Held);
        assert_eq!(said(Why::Unclear, Verdict::Early, 5), Verdict::Held);
        assert_eq!(said(Why::Unclear, Verdict::Suspect, 2), Verdict::Held);
        assert_eq!(said(Why::Unclear, Verdict::Suspect, 3), Verdict::Suspect);
        assert_eq!(said(Why::Settled, Verdict::Suspect, 5), Verdict::Held);
        assert_eq!(said(Why::Plateau, Verdict::Growing, 5), Verdict::Held);
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
