//! From findings to items. Everything that a leak finding holds is listed,
//! also what no gate lets through: a plan that leaves out nothing can be
//! argued with.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::gates::{self, Case};
use super::owners::Owners;
use super::protect::Protection;
use super::retire::{self, Seen};
use super::stale;
use crate::detect::Found;
use crate::model::{Fix, FixGate, FixItem, FixOutcome, FixReport, Kind, Verdict};
use crate::snapshot::{Descriptor, Snapshot};

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Only these findings; all when empty
    pub findings: Vec<String>,
    /// Replaces the fixed floors
    pub min_age: Option<Duration>,
    /// Files may be parked
    pub retire: bool,
    /// Ports and processes that are never touched
    pub protection: Protection,
}

/// The plan for what leaks by these findings.
#[must_use]
pub fn plan(snapshot: &Snapshot, found: &[Found], wish: &Wish) -> FixReport {
    let leaks: Vec<&Found> = found
        .iter()
        .filter(|found| found.verdict() == Verdict::Leak && wanted(snapshot, found, wish))
        .collect();
    let files = files(snapshot, &leaks, wish);
    let owners = Owners::with_files(&inodes(snapshot, &leaks), &files);
    let seen = wish.retire.then(|| Seen::of(snapshot.facts.pid)).flatten();
    let items: Vec<FixItem> = leaks
        .iter()
        .flat_map(|found| items(snapshot, found, &owners, seen.as_ref(), wish))
        .collect();
    FixReport {
        schema: FixReport::SCHEMA.to_owned(),
        taken_at: snapshot.facts.taken_at,
        process: snapshot.process.clone(),
        dry_run: false,
        items,
        limit: None,
        caches: Vec::new(),
        stopped: None,
        notes: notes(&owners),
    }
}

/// What two looks agree on: an item passes when both let it, as the same
/// object. What only the first saw has gone by itself.
#[must_use]
pub fn confirm(first: FixReport, second: FixReport) -> FixReport {
    let key = |item: &FixItem| {
        (
            (item.fd, item.entry, item.action),
            (item.object, item.cookie, item.born_ms),
        )
    };
    let seen: HashMap<_, &FixItem> = second.items.iter().map(|item| (key(item), item)).collect();
    let items = first
        .items
        .iter()
        .map(|item| match seen.get(&key(item)) {
            Some(again) if item.passes() => (*again).clone(),
            Some(_) => item.clone(),
            None => FixItem {
                outcome: Some(FixOutcome::Vanished),
                ..item.clone()
            },
        })
        .collect();
    FixReport { items, ..first }
}

fn wanted(snapshot: &Snapshot, found: &Found, wish: &Wish) -> bool {
    wish.findings.is_empty() || wish.findings.contains(&found.id(snapshot))
}

fn inodes(snapshot: &Snapshot, leaks: &[&Found]) -> HashSet<u64> {
    let open = leaks.iter().flat_map(|found| &found.descriptors);
    let open = open.filter_map(|at| snapshot.descriptors[*at].fact.as_ref());
    let stale = leaks
        .iter()
        .flat_map(|found| stale::inodes(snapshot, found));
    open.map(|fact| fact.object.1).chain(stale).collect()
}

/// The files among them, where those may be parked.
fn files(snapshot: &Snapshot, leaks: &[&Found], wish: &Wish) -> HashSet<(u64, u64)> {
    let open = leaks.iter().flat_map(|found| &found.descriptors);
    let facts = open.filter_map(|at| snapshot.descriptors[*at].fact.as_ref());
    facts
        .filter(|fact| wish.retire && fact.what == "regular")
        .map(|fact| fact.object)
        .collect()
}

fn notes(owners: &Owners) -> Vec<String> {
    let hidden = (owners.hidden > 0).then(|| {
        format!(
            "{} processes may not be looked into, so whether they share a descriptor is not known; \
            run memguard as root.",
            owners.hidden
        )
    });
    hidden.into_iter().collect()
}

fn items(
    snapshot: &Snapshot,
    found: &Found,
    owners: &Owners,
    seen: Option<&Seen>,
    wish: &Wish,
) -> Vec<FixItem> {
    let mut all = of_descriptors(snapshot, found, owners, seen, wish);
    all.extend(stale::items(snapshot, found, owners, wish));
    all
}

fn of_descriptors(
    snapshot: &Snapshot,
    found: &Found,
    owners: &Owners,
    seen: Option<&Seen>,
    wish: &Wish,
) -> Vec<FixItem> {
    let id = found.id(snapshot);
    let open = found
        .descriptors
        .iter()
        .map(|at| &snapshot.descriptors[*at]);
    open.map(|open| {
        let case = Case {
            snapshot,
            found,
            open,
            owners,
            protection: &wish.protection,
            min_age: wish.min_age,
            files: seen,
        };
        let action = action_for(open, wish);
        FixItem {
            finding: id.clone(),
            kind: found.kind,
            action,
            fd: Some(open.fd),
            entry: None,
            what: in_words(open),
            object: open.fact.as_ref().map_or((0, 0), |fact| fact.object),
            cookie: open
                .fact
                .as_ref()
                .and_then(|fact| fact.socket.as_ref()?.cookie),
            born_ms: open.born_ms,
            gates: gates_for(action, &case),
            outcome: None,
            detail: None,
        }
    })
    .collect()
}

/// What can be done about it without closing anything for its owner.
fn action_for(open: &Descriptor, wish: &Wish) -> Fix {
    match open.fact.as_ref().map(|fact| fact.what.as_str()) {
        Some("tcp") => Fix::Eof,
        Some("timerfd") => Fix::Disarm,
        Some("regular") if wish.retire => Fix::Retire,
        _ => Fix::None,
    }
}

fn gates_for(action: Fix, case: &Case<'_>) -> Vec<FixGate> {
    let mut gates = match action {
        Fix::Eof => gates::tcp(case),
        Fix::Disarm => gates::timer(case),
        Fix::Retire => retire::gates(case),
        _ => gates::common(case),
    };
    gates.extend(gates::process(case.snapshot, case.protection));
    if action == Fix::None {
        gates.push(shut(
            "way",
            "nothing gentle ends this kind of object; it is only reported",
        ));
    }
    gates
}

fn shut(name: &str, fact: &str) -> FixGate {
    FixGate {
        name: name.to_owned(),
        open: false,
        fact: fact.to_owned(),
    }
}

/// `127.0.0.1:4000 -> 127.0.0.1:80`, a path, else the kind.
fn in_words(open: &Descriptor) -> String {
    let Some(fact) = &open.fact else {
        return open.kind.unwrap_or(Kind::Files).name().to_owned();
    };
    let ends = fact.socket.as_ref().and_then(|socket| {
        let (local, peer) = (socket.local.as_ref()?, socket.peer.as_ref()?);
        Some(format!("{local} -> {peer}"))
    });
    ends.or_else(|| fact.path.clone())
        .unwrap_or_else(|| fact.what.clone())
}
