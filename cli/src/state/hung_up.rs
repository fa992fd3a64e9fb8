//! Connections that a fix ended in both directions, and whose numbers their
//! owner holds on to. They leak nothing any more but the number, and a report
//! that went on calling them leaks would be the same alarm for ever.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::snapshot::{Descriptor, Snapshot};

/// States in which something can be sent or is on its way there.
const CONNECTED: [&str; 4] = ["ESTABLISHED", "CLOSE_WAIT", "SYN_SENT", "SYN_RECV"];

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HungUp {
    /// The finding it belonged to
    pub finding: String,
    /// Its number
    pub fd: i32,
    /// Device and inode
    pub object: (u64, u64),
    /// When it was made, ms since the segment was made
    pub born_ms: u64,
}

/// All of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllHungUp(Vec<HungUp>);

impl HungUp {
    /// The same object, and the kernel shows no connection of it.
    fn is(&self, open: &Descriptor) -> bool {
        let fact = open.fact.as_ref();
        let socket = fact.and_then(|fact| fact.socket.as_ref());
        let state = socket.and_then(|socket| socket.state.as_deref());
        open.fd == self.fd
            && open.born_ms == Some(self.born_ms)
            && fact.is_some_and(|fact| fact.object == self.object)
            && state.is_none_or(|state| !CONNECTED.contains(&state))
    }
}

impl AllHungUp {
    /// Adds what one fix did.
    pub fn add(&mut self, all: &[HungUp]) {
        let known = self.0.drain(..).chain(all.iter().cloned());
        let by_number: BTreeMap<i32, HungUp> = known.map(|one| (one.fd, one)).collect();
        self.0 = by_number.into_values().collect();
    }

    /// Marks those that are still held.
    pub fn mark(&self, snapshot: &mut Snapshot) {
        for open in &mut snapshot.descriptors {
            open.hung_up = self.of(open).is_some();
        }
    }

    /// Forgets those that the owner has closed.
    pub fn forget_closed(&mut self, snapshot: &Snapshot) {
        let held = snapshot.descriptors.iter();
        let held: HashSet<i32> = held.filter_map(|open| Some(self.of(open)?.fd)).collect();
        self.0.retain(|one| held.contains(&one.fd));
    }

    /// How many of a finding are still held, of those born before a moment.
    #[must_use]
    pub fn held(&self, finding: &str, born_before_ms: u64, snapshot: &Snapshot) -> u64 {
        let held = snapshot.descriptors.iter();
        let held = held.filter_map(|open| self.of(open));
        let meant = |one: &&HungUp| one.finding == finding && one.born_ms < born_before_ms;
        held.filter(meant).count() as u64
    }

    fn of(&self, open: &Descriptor) -> Option<&HungUp> {
        let at = self.0.binary_search_by_key(&open.fd, |one| one.fd).ok()?;
        Some(&self.0[at]).filter(|one| one.is(open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Facts, FdFact, SocketFact};

    fn socket(fd: i32, born_ms: u64, state: Option<&str>) -> Descriptor {
        let socket = SocketFact {
            state: state.map(str::to_owned),
            ..SocketFact::default()
        };
        Descriptor {
            fd,
            born_ms: Some(born_ms),
            fact: Some(FdFact {
                fd,
                object: (8, fd as u64),
                socket: Some(socket),
                ..FdFact::default()
            }),
            ..Descriptor::default()
        }
    }

    #[test]
    fn only_the_very_object_without_a_connection_is_known_again() {
        let one = |fd| HungUp {
            finding: "sockets-1".into(),
            fd,
            object: (8, fd as u64),
            born_ms: 50,
        };
        let mut all = AllHungUp::default();
        all.add(&[one(7), one(5), one(6), one(9)]);
        let mut snapshot = Snapshot::build(Facts::default(), &[], None, "").unwrap();
        snapshot.descriptors = vec![
            socket(5, 50, None),
            socket(6, 51, None),
            socket(7, 50, Some("ESTABLISHED")),
            socket(8, 50, Some("CLOSE")),
            socket(9, 50, Some("FIN_WAIT2")),
        ];
        all.mark(&mut snapshot);
        let marked = snapshot.descriptors.iter().filter(|open| open.hung_up);
        assert_eq!(marked.map(|open| open.fd).collect::<Vec<_>>(), [5, 9]);
        assert_eq!(all.held("sockets-1", 60, &snapshot), 2);
        assert_eq!(all.held("sockets-1", 50, &snapshot), 0);
        assert_eq!(all.held("sockets-2", 60, &snapshot), 0);
        all.forget_closed(&snapshot);
        assert_eq!(all.0, [one(5), one(9)]);
    }
}
