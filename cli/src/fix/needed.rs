//! Whether a program may need what a stale registration tells it after all.
//!
//! The number is not that file's any more, but the events go on, and with them
//! the word that the program gave along. One that gave its connection another
//! number after it had registered it works by them; so does another process
//! that has the epoll too, where the number is right.

use std::collections::{HashMap, HashSet};

use super::gates::{gate, one_file, thing_old_enough};
use super::owners::{Owner, Owners};
use super::plan::Wish;
use crate::detect::Found;
use crate::model::FixGate;
use crate::snapshot::facts::RegistrationFact;
use crate::snapshot::{Descriptor, Snapshot, Thing};

/// The kernel counts in ticks of up to 10 ms.
const TICK_MS: u64 = 20;

type Object = (u64, u64);

/// What there is to know of a finding's stale registrations.
pub struct Needed<'a> {
    snapshot: &'a Snapshot,
    found: &'a Found,
    owners: &'a Owners,
    wish: &'a Wish,
    here: HashMap<Object, Vec<&'a Descriptor>>,
    told_otherwise: HashSet<(i32, Object)>,
    /// One of the finding's files is in use, or nobody knows
    used: Option<&'static str>,
}

impl<'a> Needed<'a> {
    /// Of those of a finding.
    pub fn of(
        snapshot: &'a Snapshot,
        found: &'a Found,
        owners: &'a Owners,
        wish: &'a Wish,
    ) -> Self {
        let mut here: HashMap<Object, Vec<&Descriptor>> = HashMap::new();
        for open in &snapshot.descriptors {
            if let Some(fact) = &open.fact {
                here.entry(fact.object).or_default().push(open);
            }
        }
        let all = snapshot.facts.registrations.iter().flatten();
        let right = all.filter(|one| one.stale.is_none());
        let mut needed = Self {
            snapshot,
            found,
            owners,
            wish,
            here,
            told_otherwise: right.map(|one| (one.epoll, one.object)).collect(),
            used: None,
        };
        let things = found.things.iter().map(|at| &snapshot.things[*at]);
        needed.used = things.filter_map(|thing| needed.use_of(thing.stale?)).max();
        needed
    }

    /// The gates of one of them.
    pub fn gates(&self, thing: &Thing, entry: RegistrationFact) -> Vec<FixGate> {
        let epoll = Owner {
            pid: self.snapshot.facts.pid,
            fd: entry.epoll,
        };
        vec![
            one_file(self.owners.of_open_file(epoll)),
            self.told(entry),
            thing_old_enough(self.snapshot, self.found, self.wish, thing),
        ]
    }

    /// Files that the program has at other numbers, and is told of by this
    /// entry only.
    fn only_told_here(&self, entry: RegistrationFact) -> &[&'a Descriptor] {
        let otherwise = self.told_otherwise.contains(&(entry.epoll, entry.object));
        let here = self.here.get(&entry.object).filter(|_| !otherwise);
        here.map_or(&[], Vec::as_slice)
    }

    /// One that was moved and used shows how the program works, for all of them.
    fn told(&self, entry: RegistrationFact) -> FixGate {
        match (self.only_told_here(entry), self.used) {
            ([], _) => gate("events", true, "about nothing that the program has itself"),
            (_, Some(why)) => gate("events", false, why),
            _ => gate(
                "events",
                true,
                "about a file that the program has at another number and never used there",
            ),
        }
    }

    fn use_of(&self, entry: RegistrationFact) -> Option<&'static str> {
        let here = self.only_told_here(entry).iter();
        here.filter_map(|open| self.use_at(open)).max()
    }

    fn use_at(&self, open: &Descriptor) -> Option<&'static str> {
        let Some((born_ms, used_s)) = open.born_ms.zip(open.used_s) else {
            return Some("the program has its file at another number; its uses are not known");
        };
        let age_ms = self.snapshot.moment_ms.saturating_sub(born_ms);
        let socket = open.fact.as_ref().and_then(|fact| fact.socket.as_ref());
        let moved = socket.and_then(|socket| socket.sent_ms.min(socket.received_ms));
        let is_used = u64::from(used_s) * 1000 > born_ms
            || moved.is_some_and(|moved| moved.saturating_add(TICK_MS) < age_ms);
        is_used.then_some("the program uses such files at other numbers; it may go by these events")
    }
}
