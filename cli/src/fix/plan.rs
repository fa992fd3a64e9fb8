//! From findings to items. Everything that a leak finding holds is listed,
//! also what no gate lets through: a plan that leaves out nothing can be
//! argued with.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::gates::{self, Case};
use super::inside::Inside;
use super::losing::{self, Candidate, Whole};
use super::owners::{Owners, Sought};
use super::protect::Protection;
use super::retire::{self, Seen};
use super::{posix, stale, unix, watches};
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
    /// What the program has lost may be closed
    pub close_lost: bool,
    /// Files may be parked
    pub retire: bool,
    /// Ports and processes that are never touched
    pub protection: Protection,
}

/// The plan for what leaks by these findings. What the program has lost is
/// closed through `inside`, where there is such a way.
#[must_use]
pub fn plan(
    snapshot: &Snapshot,
    found: &[Found],
    wish: &Wish,
    inside: Option<&Inside>,
) -> FixReport {
    let leaks: Vec<&Found> = found
        .iter()
        .filter(|found| found.verdict() == Verdict::Leak && wanted(snapshot, found, wish))
        .collect();
    let seen = wish.retire.then(|| Seen::of(snapshot.facts.pid)).flatten();
    let owners = if leaks.is_empty() {
        Owners::default()
    } else {
        Owners::of(&sought(snapshot, &leaks))
    };
    let whole = Whole::of(snapshot, inside, wish.close_lost);
    let mut maker = Maker {
        snapshot,
        owners: &owners,
        wish,
        whole: &whole,
        seen: seen.as_ref(),
        items: Vec::new(),
        candidates: Vec::new(),
    };
    leaks.iter().for_each(|found| maker.add(found));
    let Maker {
        mut items,
        candidates,
        ..
    } = maker;
    let search = losing::judge(&whole, &mut items, &candidates);
    items.iter_mut().for_each(prefer_closing);
    for item in &mut items {
        // What no waiting changes comes first.
        item.gates.sort_by_key(|gate| !gate.is_of_process());
    }
    FixReport {
        schema: FixReport::SCHEMA.to_owned(),
        taken_at: snapshot.facts.taken_at,
        process: snapshot.process.clone(),
        dry_run: false,
        items,
        limit: None,
        caches: Vec::new(),
        search,
        took: None,
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
            (item.fd, item.entry, item.timer),
            (item.object, item.cookie, item.born_ms),
        )
    };
    let seen: HashMap<_, &FixItem> = second.items.iter().map(|item| (key(item), item)).collect();
    let items = first
        .items
        .iter()
        .map(|item| match seen.get(&key(item)) {
            Some(again) if item.passes() => both(item, again),
            Some(_) => item.clone(),
            None => FixItem {
                outcome: Some(FixOutcome::Vanished),
                ..item.clone()
            },
        })
        .collect();
    let search = second.search.or(first.search);
    let took = match (first.took, second.took) {
        (Some(first), Some(second)) => Some(first.and(&second)),
        (first, second) => first.or(second),
    };
    FixReport {
        items,
        search,
        took,
        ..first
    }
}

/// Of two looks the more careful one.
fn both(first: &FixItem, again: &FixItem) -> FixItem {
    let closes = |item: &FixItem| item.action == Fix::CloseLost;
    let chosen = if closes(again) && !closes(first) && again.passes() {
        first
    } else {
        again
    };
    let lost = if first.is_lost() {
        &again.lost
    } else {
        &first.lost
    };
    FixItem {
        lost: lost.clone(),
        ..chosen.clone()
    }
}

/// A timer that the program has lost is closed, since that gives its number
/// back, too.
fn prefer_closing(item: &mut FixItem) {
    if item.action == Fix::Disarm && item.is_lost() && item.gates.iter().all(holds_for_both) {
        item.action = Fix::CloseLost;
        item.gates
            .retain(|gate| !STOPPING.contains(&gate.name.as_str()));
        item.gates.append(&mut item.lost);
    }
}

/// Gates that only stopping a timer asks for.
const STOPPING: [&str; 2] = ["armed", "unread"];

fn holds_for_both(gate: &FixGate) -> bool {
    gate.open || STOPPING.contains(&gate.name.as_str())
}

fn wanted(snapshot: &Snapshot, found: &Found, wish: &Wish) -> bool {
    wish.findings.is_empty() || wish.findings.contains(&found.id(snapshot))
}

fn sought(snapshot: &Snapshot, leaks: &[&Found]) -> Sought {
    let stale = leaks
        .iter()
        .flat_map(|found| stale::inodes(snapshot, found));
    let mut sought = Sought::inodes(stale);
    let open = leaks.iter().flat_map(|found| &found.descriptors);
    let facts = open.filter_map(|at| snapshot.descriptors[*at].fact.as_ref());
    facts.for_each(|fact| sought.add(fact));
    // Whoever has their epolls too may go by what they tell.
    let epolls = leaks
        .iter()
        .flat_map(|found| stale::epolls(snapshot, found));
    let epolls: HashSet<i32> = epolls.collect();
    let all = snapshot.facts.descriptors.iter().flatten();
    let watching = all.filter(|fact| epolls.contains(&fact.fd));
    watching.for_each(|fact| sought.add(fact));
    let watched = leaks
        .iter()
        .flat_map(|found| watches::watched(snapshot, found));
    watched.for_each(|fact| sought.add(fact));
    sought
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

/// Makes items, finding by finding.
struct Maker<'a> {
    snapshot: &'a Snapshot,
    owners: &'a Owners,
    wish: &'a Wish,
    whole: &'a Whole<'a>,
    seen: Option<&'a Seen>,
    items: Vec<FixItem>,
    candidates: Vec<Candidate>,
}

impl Maker<'_> {
    fn add(&mut self, found: &Found) {
        for at in &found.descriptors {
            self.add_descriptor(found, &self.snapshot.descriptors[*at]);
        }
        let (snapshot, wish) = (self.snapshot, self.wish);
        let stale = stale::items(snapshot, found, self.owners, wish);
        self.items.extend(stale);
        let timers = posix::items(snapshot, found, wish, self.whole.inside());
        self.items.extend(timers);
        self.items
            .extend(watches::items(snapshot, found, self.owners, wish));
    }

    fn add_descriptor(&mut self, found: &Found, open: &Descriptor) {
        let case = Case {
            snapshot: self.snapshot,
            found,
            open,
            owners: self.owners,
            protection: &self.wish.protection,
            min_age: self.wish.min_age,
            files: self.seen,
        };
        let action = action_for(open, self.wish.retire);
        let fact = open.fact.as_ref();
        let mut item = FixItem {
            fd: Some(open.fd),
            object: fact.map_or((0, 0), |fact| fact.object),
            cookie: fact.and_then(|fact| fact.socket.as_ref()?.cookie),
            born_ms: open.born_ms,
            gates: gates_for(action, &case),
            ..FixItem::new(&found.id(self.snapshot), found.kind, action, in_words(open))
        };
        if fact.is_some_and(losing::can_be) && action != Fix::Fclose {
            let lost = losing::gates(&case, self.whole);
            match action {
                Fix::CloseLost => item.gates.extend(lost),
                _ => item.lost = lost,
            }
            let passes = item.gates.iter().all(holds_for_both);
            if passes && item.lost.iter().all(|gate| gate.open) {
                let candidate = Candidate::of(self.items.len(), &case);
                self.candidates.extend(candidate);
            }
        }
        self.items.push(item);
    }
}

/// What can be done about it, the gentlest first.
#[must_use]
pub fn action_for(open: &Descriptor, retire: bool) -> Fix {
    let fact = open.fact.as_ref();
    match fact.map(|fact| fact.what.as_str()) {
        _ if open.stdio => Fix::Fclose,
        Some("tcp") => Fix::Eof,
        _ if fact.is_some_and(unix::is_connected) => Fix::Eof,
        Some("timerfd") => Fix::Disarm,
        Some("regular") if retire => Fix::Retire,
        _ if fact.is_some_and(losing::can_be) => Fix::CloseLost,
        _ => Fix::None,
    }
}

fn gates_for(action: Fix, case: &Case<'_>) -> Vec<FixGate> {
    let mut gates = match action {
        Fix::Eof if case.open.fact.as_ref().is_some_and(unix::is_connected) => unix::gates(case),
        Fix::Eof => gates::tcp(case),
        Fix::Disarm => gates::timer(case),
        Fix::Retire => retire::gates(case),
        _ => gates::common(case),
    };
    gates.splice(0..0, gates::process(case.snapshot, case.protection));
    match action {
        Fix::None => gates.push(shut(
            "way",
            "nothing gentle ends this kind of object; it is only reported",
        )),
        Fix::Fclose => gates.push(shut(
            "way",
            "it belongs to a FILE* or DIR*; whether anything still points to that is not looked for yet",
        )),
        _ => {}
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
