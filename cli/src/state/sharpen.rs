//! Two looks at one process compared: what of the first was used or closed.
//!
//! stdio's reads and writes go past every hook, but they move the descriptor's
//! position in the file, which the kernel shows. A position that did not move
//! between two looks was idle at least from the first one.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::snapshot::{Descriptor, Snapshot};

/// Descriptors remembered of one look, the oldest ones.
const MOST: usize = 1 << 14;
/// Stamps are whole seconds, so an idle time may be too short by one.
const STAMP_MS: u64 = 1000;

/// What is remembered of a look.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Earlier {
    /// When it was, ms since the segment was made
    pub moment_ms: u64,
    /// Descriptors of which something was known
    pub facts: Vec<Fact>,
}

/// One descriptor at one look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// Its number
    #[serde(rename = "f")]
    pub fd: i32,
    /// When it was created: with the number, which one it is
    #[serde(rename = "b")]
    pub born_ms: u64,
    /// The key of its site
    #[serde(rename = "s")]
    pub site: u64,
    /// For how long it had not been used
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// The second that its last use is stamped with
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub used_s: Option<u32>,
    /// Its position in the file
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Since when, at the latest, it has had that position
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub still_since_ms: Option<u64>,
}

/// One that lay idle and then was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Woken {
    /// The key of its site
    pub site: u64,
    /// When it was created
    pub born_ms: u64,
    /// For how long it had lain idle, at the least
    pub gap_ms: u64,
}

impl Earlier {
    /// What is to be remembered of this look.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut facts: Vec<Fact> = snapshot
            .descriptors
            .iter()
            .filter_map(|open| fact(snapshot, open))
            .collect();
        if facts.len() > MOST {
            facts.sort_by_key(|fact| fact.born_ms);
            facts.truncate(MOST);
        }
        Self {
            moment_ms: snapshot.moment_ms,
            facts,
        }
    }

    /// Tells a later look since when positions have stood still.
    pub fn sharpen(&self, snapshot: &mut Snapshot) {
        let known = self.by_identity();
        let moment_ms = snapshot.moment_ms;
        for open in &mut snapshot.descriptors {
            let Some(position) = position(open) else {
                continue;
            };
            let before = open.born_ms.and_then(|born| known.get(&(open.fd, born)));
            let Some((before, was)) = before.and_then(|fact| Some((fact, fact.position?))) else {
                continue;
            };
            let since = match (was == position, open.still_since_ms) {
                // What a later look already told is nearer to the truth.
                (false, Some(known)) => known,
                // It was used at some moment since.
                (false, None) => moment_ms,
                (true, Some(known)) if known == moment_ms => known,
                (true, _) => before.still_since_ms.unwrap_or(self.moment_ms),
            };
            open.still_since_ms = Some(since);
        }
    }

    /// Those that were idle then and have been used since. That nothing shows for
    /// how long one has been idle is no use: a program that rests moves no clock.
    #[must_use]
    pub fn woken(&self, snapshot: &Snapshot) -> Vec<Woken> {
        let known = self.by_identity();
        let between_ms = snapshot.moment_ms.saturating_sub(self.moment_ms);
        let woken = |open: &Descriptor| {
            let before = known.get(&(open.fd, open.born_ms?))?;
            let idle_ms = (snapshot.idle_at_least_s(open)? * 1000.0) as u64;
            let used = idle_ms + STAMP_MS < between_ms;
            (used && before.is_followed_by_use(open, between_ms)).then_some(Woken {
                site: before.site,
                born_ms: before.born_ms,
                gap_ms: before.idle_ms?,
            })
        };
        snapshot.descriptors.iter().filter_map(woken).collect()
    }

    fn by_identity(&self) -> HashMap<(i32, u64), &Fact> {
        let keyed = self
            .facts
            .iter()
            .map(|fact| ((fact.fd, fact.born_ms), fact));
        keyed.collect()
    }
}

impl Fact {
    /// Whether its stamp, data on it or its position show a use since.
    fn is_followed_by_use(&self, now: &Descriptor, between_ms: u64) -> bool {
        let stamped = self.used_s != now.used_s && now.used_s.is_some();
        let moved = self.position.is_some() && self.position != position(now);
        let socket = now.fact.as_ref().and_then(|fact| fact.socket.as_ref());
        let data_ms = socket.and_then(|socket| socket.sent_ms.min(socket.received_ms));
        stamped || moved || data_ms.is_some_and(|ms| ms + STAMP_MS < between_ms)
    }
}

fn fact(snapshot: &Snapshot, open: &Descriptor) -> Option<Fact> {
    let site = snapshot.sites.index(open.site?)?;
    let idle_ms = snapshot
        .idle_at_least_s(open)
        .map(|seconds| (seconds * 1000.0) as u64);
    let position = position(open);
    (idle_ms.is_some() || position.is_some()).then_some(Fact {
        fd: open.fd,
        born_ms: open.born_ms?,
        site: snapshot.sites.all[site].key,
        idle_ms,
        used_s: open.used_s,
        position,
        still_since_ms: open.still_since_ms,
    })
}

/// Only stdio's positions tell more than the stamps do.
#[must_use]
pub fn position(open: &Descriptor) -> Option<u64> {
    open.fact.as_ref()?.position.filter(|_| open.stdio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Facts, FdFact};

    fn look(moment_ms: u64, position: u64) -> Snapshot {
        let mut snapshot = Snapshot::build(Facts::default(), &[], None, "").unwrap();
        snapshot.moment_ms = moment_ms;
        snapshot.descriptors = vec![Descriptor {
            fd: 7,
            born_ms: Some(50),
            stdio: true,
            fact: Some(FdFact {
                position: Some(position),
                ..FdFact::default()
            }),
            ..Descriptor::default()
        }];
        snapshot
    }

    fn earlier(position: u64, still_since_ms: Option<u64>) -> Earlier {
        let fact = Fact {
            fd: 7,
            born_ms: 50,
            site: 1,
            idle_ms: Some(4000),
            used_s: None,
            position: Some(position),
            still_since_ms,
        };
        Earlier {
            moment_ms: 10_000,
            facts: vec![fact],
        }
    }

    fn idle_after(earlier: &Earlier, mut now: Snapshot) -> Option<f64> {
        earlier.sharpen(&mut now);
        now.idle_at_least_s(&now.descriptors[0])
    }

    #[test]
    fn a_position_that_stands_still_is_idle_since_the_first_look_that_saw_it() {
        assert_eq!(idle_after(&earlier(0, None), look(15_000, 0)), Some(5.0));
        assert_eq!(
            idle_after(&earlier(0, Some(3000)), look(15_000, 0)),
            Some(12.0)
        );
        assert_eq!(
            idle_after(&earlier(0, Some(3000)), look(15_000, 9)),
            Some(0.0)
        );
        assert_eq!(idle_after(&Earlier::default(), look(15_000, 0)), None);
    }

    #[test]
    fn of_two_earlier_looks_the_later_one_tells_of_a_move() {
        let (older, later) = (
            earlier(5, None),
            Earlier {
                moment_ms: 14_000,
                ..earlier(9, None)
            },
        );
        let idle = |position| {
            let mut now = look(15_000, position);
            later.sharpen(&mut now);
            idle_after(&older, now)
        };
        assert_eq!(idle(9), Some(1.0), "moved between those two");
        assert_eq!(idle(5), Some(0.0), "moved away and back");
        assert_eq!(idle(7), Some(0.0), "moved since");
    }

    #[test]
    fn the_number_alone_is_not_the_same_descriptor() {
        let mut again = look(15_000, 0);
        again.descriptors[0].born_ms = Some(12_000);
        assert_eq!(idle_after(&earlier(0, None), again), None);
    }

    #[test]
    fn one_that_moved_has_woken() {
        let before = earlier(0, Some(3000));
        let (mut moved, mut still) = (look(15_000, 9), look(15_000, 0));
        before.sharpen(&mut moved);
        before.sharpen(&mut still);
        let woken = Woken {
            site: 1,
            born_ms: 50,
            gap_ms: 4000,
        };
        assert_eq!(before.woken(&moved), [woken]);
        assert_eq!(before.woken(&still), []);
    }

    #[test]
    fn what_rests_with_its_program_has_not_woken_and_what_is_stamped_anew_has() {
        let seen_at = |moment_ms, used_s| {
            let mut snapshot = look(moment_ms, 0);
            let open = &mut snapshot.descriptors[0];
            (open.stdio, open.used_s) = (false, Some(used_s));
            // No later tick: it may be in use right now.
            open.used_ms = Some(moment_ms);
            snapshot
        };
        let fact = Fact {
            used_s: Some(7),
            position: None,
            ..earlier(0, None).facts[0]
        };
        let before = Earlier {
            moment_ms: 10_000,
            facts: vec![fact],
        };
        assert_eq!(before.woken(&seen_at(15_000, 7)), []);
        assert_eq!(before.woken(&seen_at(15_000, 14)).len(), 1);
    }
}
