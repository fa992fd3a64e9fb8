//! POSIX timers that leak: from finding to item. The target stops them itself.

use super::gates::{beside, floor_of, gate, process, verdict};
use super::inside::Inside;
use super::plan::Wish;
use crate::detect::Found;
use crate::model::{Fix, FixGate, FixItem, Kind};
use crate::snapshot::{Snapshot, Thing, ThingState};

/// The items of a finding's POSIX timers.
#[must_use]
pub fn items(
    snapshot: &Snapshot,
    found: &Found,
    wish: &Wish,
    inside: Option<&Inside>,
) -> Vec<FixItem> {
    let id = found.id(snapshot);
    let things = found.things.iter().map(|at| &snapshot.things[*at]);
    things
        .filter(|thing| thing.timer.is_some())
        .map(|thing| FixItem {
            timer: thing.timer,
            born_ms: thing.born_ms,
            gates: gates(snapshot, found, thing, wish, inside),
            ..FixItem::new(&id, found.kind, Fix::Disarm, thing.what.clone())
        })
        .collect()
}

fn gates(
    snapshot: &Snapshot,
    found: &Found,
    thing: &Thing,
    wish: &Wish,
    inside: Option<&Inside>,
) -> Vec<FixGate> {
    let runs = thing.state == ThingState::Armed;
    let known = thing.site.is_some() && thing.born_ms.is_some();
    let mut gates = vec![
        verdict(found),
        gate(
            "inside",
            inside.is_some(),
            match inside {
                Some(_) => "the library is in the program and stops it there",
                None => "memguard's library is not in the program; only that can stop its timers",
            },
        ),
        gate(
            "origin",
            known,
            if known {
                "created by this process"
            } else {
                "of unknown origin"
            },
        ),
        old_enough(snapshot, thing, wish),
        tells(snapshot, thing),
        gate(
            "armed",
            runs,
            if runs { "it is set" } else { "it is not set" },
        ),
    ];
    gates.extend(process(snapshot, &wish.protection));
    gates
}

/// Of a timer that tells nobody the kernel does not say clearly that it is off.
fn tells(snapshot: &Snapshot, thing: &Thing) -> FixGate {
    let all = snapshot.facts.posix_timers.iter().flatten();
    let fact = all
        .into_iter()
        .find(|fact| u32::try_from(fact.id).ok() == thing.timer);
    match fact {
        Some(fact) if fact.signal != 0 || fact.calls => gate("tells", true, fact.tells()),
        Some(_) => gate("tells", false, "it tells nobody, so it costs nothing"),
        None => gate("tells", false, "the kernel does not list it"),
    }
}

/// Neither made nor set nor asked for long.
fn old_enough(snapshot: &Snapshot, thing: &Thing, wish: &Wish) -> FixGate {
    let least = floor_of(&wish.protection, Kind::Timers, wish.min_age);
    let last = thing.used_ms.max(thing.born_ms);
    match last.map(|ms| snapshot.age_s(ms)) {
        Some(age) => {
            let (age_said, least_said) = beside(age, least);
            let said = format!("set, or asked, {age_said} ago, at least {least_said} is asked");
            gate("age", age >= least, said)
        }
        None => gate("age", false, "its age is not known"),
    }
}
