//! What reports say that `fix` would do about a finding. The gates of each of
//! its objects are asked by `fix` alone: some of them take a search.

use super::lost::reads_scripts;
use super::plan::action_for;
use super::watches;
use crate::detect::Found;
use crate::model::Fix;
use crate::snapshot::facts::WatchFact;
use crate::snapshot::{Snapshot, Thing, ThingState};

/// The gentlest way there is for such objects.
#[must_use]
pub fn fix_of(snapshot: &Snapshot, found: &Found) -> Fix {
    let things = found.things.iter().map(|at| &snapshot.things[*at]);
    if let Some(fix) = things.filter_map(|thing| of_thing(snapshot, thing)).next() {
        return fix;
    }
    of_descriptors(snapshot, found)
}

fn of_thing(snapshot: &Snapshot, thing: &Thing) -> Option<Fix> {
    let stops = thing.timer.is_some() && thing.state == ThingState::Armed;
    let dead = |watch: &WatchFact| watches::nameless(snapshot).contains(&watch.object);
    match thing.state {
        ThingState::Stale => Some(Fix::EpollDel),
        _ if stops && snapshot.process.instrumented => Some(Fix::Disarm),
        _ if thing.watch.as_ref().is_some_and(dead) => Some(Fix::WatchDel),
        _ => None,
    }
}

/// What would be done to all of them alike.
fn of_descriptors(snapshot: &Snapshot, found: &Found) -> Fix {
    let open = found.descriptors.iter();
    let mut actions = open.map(|at| action_for(&snapshot.descriptors[*at], false));
    let Some(first) = actions
        .next()
        .filter(|first| actions.all(|one| one == *first))
    else {
        return Fix::None;
    };
    match first {
        Fix::CloseLost if !may_close(snapshot) => Fix::None,
        Fix::Fclose => Fix::None,
        action => action,
    }
}

/// Where the library is, and no script may name a number later.
fn may_close(snapshot: &Snapshot) -> bool {
    let identity = snapshot.identity.as_ref();
    identity.is_some_and(|identity| !reads_scripts(&identity.executable))
}
