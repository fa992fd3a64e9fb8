//! For tests only, in a build with the feature `forced-verdicts`: everything
//! that a process holds is called a leak, so that nothing but the gates and
//! the gentleness of the executors protects it.

use std::collections::HashSet;

use crate::detect::model::{Decision, Measured, Why};
use crate::detect::{Found, Outlook, Wanted};
use crate::model::{Kind, Verdict};
use crate::snapshot::Snapshot;

/// `MEMGUARD_FORCED_VERDICTS=leak` forces them.
const VARIABLE: &str = "MEMGUARD_FORCED_VERDICTS";

/// Said in every plan that was made so.
pub const NOTE: &str = "This is a build for tests, and every verdict is forced to `leak`.";

/// Whether this run is to force them.
#[must_use]
pub fn is_on() -> bool {
    std::env::var(VARIABLE).is_ok_and(|value| value == "leak")
}

/// Calls a leak what was found, and what was not: descriptors of unknown
/// origin, inherited ones, things without a creator.
pub fn force(snapshot: &mut Snapshot, found: &mut Vec<Found>, wanted: &Wanted) {
    for one in found.iter_mut() {
        one.decision = leak();
    }
    let mut kinds: Vec<Kind> = held_kinds(snapshot).into_iter().collect();
    kinds.retain(|kind| wanted.kinds.is_empty() || wanted.kinds.contains(kind));
    kinds.sort_unstable();
    for kind in kinds {
        let rest = rest(snapshot, found, kind);
        found.extend(rest);
    }
}

fn leak() -> Decision {
    Decision {
        verdict: Verdict::Leak,
        why: Why::Labelled,
        confidence: None,
        chance: 1.0,
    }
}

fn held_kinds(snapshot: &Snapshot) -> HashSet<Kind> {
    let open = snapshot.descriptors.iter().filter_map(|open| open.kind);
    let things = snapshot.things.iter().map(|thing| thing.kind);
    open.chain(things).collect()
}

/// All of a kind that no finding is about.
fn rest(snapshot: &mut Snapshot, found: &[Found], kind: Kind) -> Option<Found> {
    let told: HashSet<usize> = found
        .iter()
        .flat_map(|one| one.descriptors.clone())
        .collect();
    let told_things: HashSet<usize> = found.iter().flat_map(|one| one.things.clone()).collect();
    let open = snapshot.descriptors.iter().enumerate();
    let descriptors: Vec<usize> = open
        .filter(|(at, open)| open.kind == Some(kind) && !told.contains(at))
        .map(|(at, _)| at)
        .collect();
    let things = snapshot.things.iter().enumerate();
    let things: Vec<usize> = things
        .filter(|(at, thing)| thing.kind == kind && !told_things.contains(at))
        .map(|(at, _)| at)
        .collect();
    let count = descriptors.len() + things.len();
    (count > 0).then(|| Found {
        site: snapshot.sites.unknown(kind),
        kind,
        decision: leak(),
        count: count as u64,
        bytes: None,
        descriptors,
        things,
        births_ms: Vec::new(),
        measured: Measured::default(),
        outlook: Outlook::default(),
    })
}
