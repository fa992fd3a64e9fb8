//! Findings about what takes no descriptor: timers, registrations, watches,
//! threads, children.

use super::{Found, Wanted, assess};
use crate::model::{Kind, Verdict};
use crate::snapshot::{Site, Snapshot, Thing, ThingState};
use shm_protocol::codes::Kind as Row;

/// What is proven of a site's things, and what its counts say of the rest.
pub fn judge(
    snapshot: &Snapshot,
    at: usize,
    site: &Site,
    kind: Kind,
    wanted: &Wanted,
) -> Vec<Found> {
    let (stale, rest): (Vec<usize>, Vec<usize>) = of_interest(snapshot, site, wanted)
        .partition(|at| snapshot.things[*at].state == ThingState::Stale);
    // A registration that is not stale ends with its descriptor, of which
    // there is a finding already.
    let rest = rest
        .into_iter()
        .filter(|at| snapshot.things[*at].row != Row::Registration)
        .collect();
    let proof = proof(snapshot, at, site, kind, stale, wanted);
    let counts = by_counts(snapshot, at, site, kind, rest, wanted);
    proof.into_iter().chain(counts).collect()
}

fn of_interest<'a>(
    snapshot: &'a Snapshot,
    site: &'a Site,
    wanted: &Wanted,
) -> impl Iterator<Item = usize> + 'a {
    let after = wanted.born_after_ms;
    let young = move |thing: &Thing| {
        after.is_none_or(|after| thing.born_ms.is_some_and(|born| born > after))
    };
    let all = site.live.things.iter().copied();
    all.filter(move |at| young(&snapshot.things[*at]))
}

fn proof(
    snapshot: &Snapshot,
    at: usize,
    site: &Site,
    kind: Kind,
    stale: Vec<usize>,
    wanted: &Wanted,
) -> Option<Found> {
    let births = born(snapshot, &stale);
    (!stale.is_empty()).then(|| Found {
        site: at,
        kind,
        verdict: Verdict::Leak,
        confidence: Some(1.0),
        count: stale.len() as u64,
        bytes: None,
        descriptors: Vec::new(),
        things: stale,
        assessment: assess::assess(site, &births, kind, snapshot.moment_ms, wanted),
    })
}

fn by_counts(
    snapshot: &Snapshot,
    at: usize,
    site: &Site,
    kind: Kind,
    things: Vec<usize>,
    wanted: &Wanted,
) -> Option<Found> {
    let births = born(snapshot, &things);
    let assessment = assess::assess(site, &births, kind, snapshot.moment_ms, wanted);
    let verdict = assessment.verdict()?;
    let held = things.iter().filter_map(|at| snapshot.things[*at].bytes);
    Some(Found {
        site: at,
        kind,
        verdict,
        confidence: (verdict == Verdict::Suspect).then(|| assessment.confidence()),
        count: things.len() as u64,
        bytes: held.reduce(u64::saturating_add),
        descriptors: Vec::new(),
        things,
        assessment,
    })
}

fn born(snapshot: &Snapshot, things: &[usize]) -> Vec<u64> {
    let born = things.iter().filter_map(|at| snapshot.things[*at].born_ms);
    let mut born: Vec<u64> = born.collect();
    born.sort_unstable();
    born
}

#[cfg(test)]
mod tests {
    use super::super::find;
    use super::*;
    use crate::snapshot::Facts;
    use crate::snapshot::facts::{RegistrationFact, StaleFact};

    fn snapshot() -> Snapshot {
        let one = |fd, stale| RegistrationFact {
            epoll: 4,
            fd,
            stale,
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
        let (found, _) = find(&snapshot, &Wanted::default());
        assert_eq!(found.len(), 1);
        let proof = &found[0];
        assert_eq!(
            (proof.kind, proof.verdict),
            (Kind::Listeners, Verdict::Leak)
        );
        assert_eq!((proof.count, proof.confidence), (2, Some(1.0)));
        assert_eq!(proof.things.len(), 2);
    }

    #[test]
    fn only_wanted_kinds_are_judged() {
        let wanted = Wanted {
            kinds: vec![Kind::Threads, Kind::Children],
            ..Wanted::default()
        };
        assert!(find(&snapshot(), &wanted).0.is_empty());
    }
}
