//! Sums over everything a process holds, whoever made it.

use std::collections::BTreeMap;

use crate::model::{Held, Kind, Totals};
use crate::snapshot::{Descriptor, Site, Snapshot, Thing};

/// Sums over everything held, or over what was born after a moment.
#[must_use]
pub fn totals(snapshot: &Snapshot, after_ms: Option<u64>) -> Totals {
    let instrumented = snapshot.process.instrumented;
    Totals {
        live_bytes: snapshot.heap.map(|heap| heap.bytes.round() as u64),
        rss_bytes: snapshot.facts.rss_bytes,
        open_fds: (snapshot.facts.descriptors.is_some() || instrumented)
            .then_some(snapshot.descriptors.len() as u64),
        fd_limit: snapshot.fd_limit,
        sites: instrumented.then(|| made(snapshot)),
        since: None,
        held: held(snapshot, after_ms),
        socket_states: socket_states(snapshot, after_ms),
    }
}

/// Sites that made anything; what is of unknown origin has one that did not.
fn made(snapshot: &Snapshot) -> u64 {
    let sites = snapshot.sites.all.iter();
    sites.filter(|site| site.stats.births > 0).count() as u64
}

/// What the program itself made and holds; of an uninstrumented one, all.
fn held(snapshot: &Snapshot, after_ms: Option<u64>) -> Vec<Held> {
    let own = |open: &&Descriptor| {
        !snapshot.process.instrumented || (open.origin_known && open.inherited != Some(true))
    };
    let mut by_kind: BTreeMap<Kind, Held> = BTreeMap::new();
    for open in snapshot
        .descriptors
        .iter()
        .filter(own)
        .filter(|open| came_after(open, after_ms))
    {
        let Some(kind) = open.kind else { continue };
        let age_s = snapshot.descriptor_age_s(open);
        let sum = by_kind.entry(kind).or_insert(Held {
            kind,
            count: 0,
            bytes: None,
            oldest_s: None,
        });
        sum.count += 1;
        sum.oldest_s = [sum.oldest_s, age_s].into_iter().flatten().reduce(f64::max);
    }
    for thing in snapshot
        .things
        .iter()
        .filter(|thing| counts(thing, after_ms))
    {
        let sum = by_kind.entry(thing.kind).or_insert(Held {
            kind: thing.kind,
            count: 0,
            bytes: None,
            oldest_s: None,
        });
        let age_s = thing.born_ms.map(|born| snapshot.age_s(born));
        sum.count += 1;
        sum.bytes = [sum.bytes, thing.bytes]
            .into_iter()
            .flatten()
            .reduce(u64::saturating_add);
        sum.oldest_s = [sum.oldest_s, age_s].into_iter().flatten().reduce(f64::max);
    }
    by_kind.extend(in_memory(snapshot, after_ms).map(|held| (held.kind, held)));
    by_kind.into_values().collect()
}

/// Listeners are counted by their descriptors, not by what these listen to.
fn counts(thing: &Thing, after_ms: Option<u64>) -> bool {
    thing.kind != Kind::Listeners
        && after_ms.is_none_or(|after| thing.born_ms.is_some_and(|born| born > after))
}

fn came_after(open: &Descriptor, after_ms: Option<u64>) -> bool {
    after_ms.is_none_or(|after| open.born_ms.is_some_and(|born| born > after))
}

/// Heap and mappings, each by itself.
fn in_memory(snapshot: &Snapshot, after_ms: Option<u64>) -> impl Iterator<Item = Held> + '_ {
    // Blocks without a site count as well, where no moment is asked for.
    let whole = snapshot.heap.filter(|_| after_ms.is_none());
    let heap = whole.map(|heap| (heap.count, heap.bytes));
    let heap = heap.unwrap_or_else(|| sum(snapshot, Kind::Memory, after_ms));
    let maps = sum(snapshot, Kind::Mappings, after_ms);
    [(Kind::Memory, heap), (Kind::Mappings, maps)]
        .into_iter()
        .filter(|(_, (count, _))| *count > 0.0)
        .map(move |(kind, (count, bytes))| Held {
            kind,
            count: count.round() as u64,
            bytes: Some(bytes.round() as u64),
            oldest_s: oldest_s(snapshot, kind, after_ms),
        })
}

fn of_kind(snapshot: &Snapshot, kind: Kind) -> impl Iterator<Item = &Site> {
    let sites = snapshot.sites.all.iter();
    sites.filter(move |site| site.kind == Some(kind))
}

fn sum(snapshot: &Snapshot, kind: Kind, after_ms: Option<u64>) -> (f64, f64) {
    of_kind(snapshot, kind)
        .map(|site| site.live.born_after(after_ms))
        .fold((0.0, 0.0), |(n, b), (count, bytes)| (n + count, b + bytes))
}

fn oldest_s(snapshot: &Snapshot, kind: Kind, after_ms: Option<u64>) -> Option<f64> {
    let wanted = |born: &&u64| after_ms.is_none_or(|after| **born > after);
    let first = of_kind(snapshot, kind).filter_map(|site| site.live.births_ms.iter().find(wanted));
    first.min().map(|born| snapshot.age_s(*born))
}

fn socket_states(snapshot: &Snapshot, after_ms: Option<u64>) -> BTreeMap<String, u64> {
    let mut states = BTreeMap::new();
    let sockets = snapshot
        .descriptors
        .iter()
        .filter(|open| came_after(open, after_ms))
        .filter_map(|open| open.fact.as_ref()?.socket.as_ref()?.state.clone());
    sockets.for_each(|state| *states.entry(state).or_default() += 1);
    states
}
