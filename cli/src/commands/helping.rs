//! Notes what a fix brought to an end, so that later looks do not take it for
//! the program's own doing.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::attach::resolve;
use crate::model::{FixItem, FixOutcome};
use crate::snapshot::of_target;
use crate::state::State;
use crate::state::helped::Ended;

/// What is being ended.
#[derive(Debug, Default)]
pub struct Helping {
    acted: BTreeMap<usize, Instant>,
    ended: Vec<(Ended, Instant)>,
}

impl Helping {
    /// Told of an item before it is touched and once something came of it.
    pub fn saw(&mut self, at: usize, item: &FixItem) {
        let acted = *self.acted.entry(at).or_insert_with(Instant::now);
        use FixOutcome::{ClosedByOwner, ClosedLost, Removed};
        let is_life = match item.outcome {
            Some(ClosedByOwner) => true,
            // Nobody counts lives of these.
            Some(ClosedLost | Removed) => false,
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
    pub fn keep(self, pid: i32) {
        if self.ended.is_empty() {
            return;
        }
        let snapshot = resolve(pid.to_string()).and_then(of_target);
        // One that has ended has no later looks.
        let Ok(snapshot) = snapshot else { return };
        let now_ms = snapshot.moment_ms;
        let ended = |(ended, acted): (Ended, Instant)| Ended {
            ended_ms: now_ms.saturating_sub(acted.elapsed().as_millis() as u64),
            ..ended
        };
        let all: Vec<Ended> = self.ended.into_iter().map(ended).collect();
        State::open().helped(&snapshot, &all);
    }
}
