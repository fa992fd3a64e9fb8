//! Which actions of the log can still be taken back.

use std::collections::{BTreeMap, HashMap};

use super::audit::Action;
use crate::kernel::{ProcDir, process::start_ticks};
use crate::model::{Fix, FixOutcome};

/// What was stopped or parked and not set back, the oldest first. An action without an
/// outcome counts: the memguard that did it may have died.
#[must_use]
pub fn pending(actions: &[Action]) -> Vec<Action> {
    let mut last: BTreeMap<&str, (usize, Action)> = BTreeMap::new();
    for (at, action) in actions.iter().enumerate() {
        let before = last.get(action.id.as_str());
        let timer = action.timer.or(before.and_then(|(_, one)| one.timer));
        let first = before.map_or(at, |(first, _)| *first);
        let merged = Action {
            timer,
            ..action.clone()
        };
        last.insert(&action.id, (first, merged));
    }
    let open = |action: &Action| {
        let stopped = matches!(
            action.outcome,
            None | Some(FixOutcome::Disarmed | FixOutcome::Failed)
        );
        let parked = matches!(
            action.outcome,
            None | Some(FixOutcome::Retired | FixOutcome::Pending)
        );
        match action.action {
            Fix::Disarm => stopped && action.timer.is_some(),
            Fix::Retire => parked,
            _ => false,
        }
    };
    let mut all: Vec<(usize, Action)> = last.into_values().filter(|(_, one)| open(one)).collect();
    all.sort_by_key(|(first, _)| *first);
    all.into_iter().map(|(_, action)| action).collect()
}

/// Of these, what was done to processes that still run.
#[must_use]
pub fn of_the_living(actions: Vec<Action>) -> Vec<Action> {
    let mut starts: HashMap<i32, Option<u64>> = HashMap::new();
    let mut lives = |action: &Action| {
        let start = starts.entry(action.pid).or_insert_with(|| {
            let dir = ProcDir::open(action.pid).ok()?;
            start_ticks(&dir).ok()
        });
        *start == Some(action.start_ticks)
    };
    actions.into_iter().filter(|action| lives(action)).collect()
}
