//! Notes what a fix brought to an end, so that later looks do not take it for
//! the program's own doing.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::model::{FixItem, FixOutcome};
use crate::snapshot::{Identity, Snapshot};
use crate::state::State;
use crate::state::helped::Ended;
use crate::state::hung_up::HungUp;

/// What is being ended.
#[derive(Debug, Default)]
pub struct Helping {
    acted: BTreeMap<usize, Instant>,
    ended: Vec<(Ended, Instant)>,
    hung_up: Vec<HungUp>,
}

/// Which process it is, and what time it is there.
#[derive(Debug)]
pub struct Clock {
    identity: Identity,
    moment_ms: u64,
    read: Instant,
}

impl Clock {
    /// By a look that was taken just now; none without a record.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Option<Self> {
        Some(Self {
            identity: snapshot.identity.clone()?,
            moment_ms: snapshot.moment_ms,
            read: Instant::now(),
        })
    }

    /// Milliseconds since its record was made.
    fn at(&self, then: Instant) -> u64 {
        let since = then.saturating_duration_since(self.read);
        self.moment_ms + since.as_millis() as u64
    }
}

impl Helping {
    /// Told of an item before it is touched and once something came of it.
    pub fn saw(&mut self, at: usize, item: &FixItem) {
        let acted = *self.acted.entry(at).or_insert_with(Instant::now);
        use FixOutcome::{ClosedByOwner, ClosedLost, Neutered, Removed};
        let is_life = match item.outcome {
            Some(ClosedByOwner) => true,
            // Nobody counts lives of these.
            Some(ClosedLost | Removed) => false,
            Some(Neutered) => return self.hung_up.extend(hung_up(item)),
            _ => return,
        };
        if let Some(born_ms) = item.born_ms {
            let ended = Ended {
                finding: item.finding.clone(),
                born_ms,
                ended_ms: 0,
                is_life,
            };
            self.ended.push((ended, acted));
        }
    }

    /// Keeps it with what is known of the process.
    pub fn keep(self, clock: Option<&Clock>) {
        let nothing = self.ended.is_empty() && self.hung_up.is_empty();
        let Some(clock) = clock.filter(|_| !nothing) else {
            return;
        };
        let ended = |(ended, acted): (Ended, Instant)| Ended {
            ended_ms: clock.at(acted),
            ..ended
        };
        let all: Vec<Ended> = self.ended.into_iter().map(ended).collect();
        State::open().helped(&clock.identity, &all, &self.hung_up);
    }
}

/// What is still held of it.
fn hung_up(item: &FixItem) -> Option<HungUp> {
    Some(HungUp {
        finding: item.finding.clone(),
        fd: item.fd?,
        object: item.object,
        born_ms: item.born_ms?,
    })
}
