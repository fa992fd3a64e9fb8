//! What takes no descriptor: timers, registrations, watches, threads, children.
//! What the model is told of them, and what is proven.

use super::model::{Holding, Idle};
use crate::snapshot::{Snapshot, Thing, ThingState};
use shm_protocol::codes::Kind as Row;

/// A stale registration needs no statistics: the kernel lists it, and its
/// number is closed or names another file.
#[must_use]
pub fn is_proven(thing: &Thing) -> bool {
    thing.state == ThingState::Stale
}

/// As the model takes it. A registration that is not stale ends with its
/// descriptor, which is judged already.
#[must_use]
pub fn holding(snapshot: &Snapshot, thing: &Thing) -> Option<Holding> {
    if thing.row == Row::Registration && !is_proven(thing) {
        return None;
    }
    // What nobody knows the birth of is as old as what we know of.
    let born_ms = thing.born_ms.unwrap_or(0);
    let used_ms = thing.used_ms.unwrap_or(born_ms);
    Some(Holding {
        born_ms,
        idle: if thing.state == ThingState::Armed {
            // It works without a call.
            Idle::Unknown
        } else {
            Idle::Known(snapshot.moment_ms.saturating_sub(used_ms))
        },
        abandoned: is_over(thing),
    })
}

/// It has ended, and only its owner's word is missing: nothing else can use it.
fn is_over(thing: &Thing) -> bool {
    matches!(thing.state, ThingState::Ended | ThingState::Zombie)
}

#[cfg(test)]
mod tests {
    use super::super::{Context, Wanted, find};
    use super::*;
    use crate::model::{Kind, Verdict};
    use crate::snapshot::Facts;
    use crate::snapshot::facts::{RegistrationFact, StaleFact};

    fn snapshot() -> Snapshot {
        let one = |fd, stale| RegistrationFact {
            epoll: 4,
            fd,
            stale,
            ..RegistrationFact::default()
        };
        let facts = Facts {
            alive: true,
            registrations: Some(vec![
                one(5, None),
                one(6, Some(StaleFact::Closed)),
                one(7, Some(StaleFact::Another)),
            ]),
            ..Facts::default()
        };
        Snapshot::build(facts, &[], None, "").expect("no segment, no error")
    }

    #[test]
    fn what_is_stale_is_proven_and_what_is_not_is_no_finding() {
        let snapshot = snapshot();
        let (found, _) = find(&snapshot, &Wanted::default(), &Context::default());
        assert_eq!(found.len(), 1);
        let proof = &found[0];
        assert_eq!(
            (proof.kind, proof.verdict()),
            (Kind::Listeners, Verdict::Leak)
        );
        assert_eq!((proof.count, proof.decision.confidence), (2, Some(1.0)));
        assert_eq!(proof.things.len(), 2);
    }

    #[test]
    fn only_wanted_kinds_are_judged() {
        let wanted = Wanted {
            kinds: vec![Kind::Threads, Kind::Children],
            ..Wanted::default()
        };
        assert!(find(&snapshot(), &wanted, &Context::default()).0.is_empty());
    }
}
