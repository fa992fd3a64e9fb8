//! The largest value of the last runs: old ones are forgotten, so that one odd
//! run does not count for ever.

use serde::{Deserialize, Serialize};

/// Three half-lives of what is learned.
pub const REMEMBERED_RUNS: u64 = 21;

/// Per run its largest value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peaks(Vec<(u64, u64)>);

impl Peaks {
    /// Adds a value seen in a run. Adding it again changes nothing.
    pub fn add(&mut self, run: u64, value: u64) {
        self.0
            .retain(|(other, _)| other.saturating_add(REMEMBERED_RUNS) > run);
        match self.0.iter_mut().find(|(other, _)| *other == run) {
            Some((_, peak)) => *peak = value.max(*peak),
            None => self.0.push((run, value)),
        }
    }

    /// Takes back what a run said.
    pub fn forget(&mut self, run: u64) {
        self.0.retain(|(other, _)| *other != run);
    }

    /// The largest value of the runs that are remembered in run `now`.
    #[must_use]
    pub fn value(&self, now: u64) -> Option<u64> {
        let recent = self
            .0
            .iter()
            .filter(|(run, _)| run.saturating_add(REMEMBERED_RUNS) > now);
        recent.map(|(_, peak)| *peak).max()
    }

    /// The same peaks, counted by the runs of another place: the newest run
    /// there, `theirs`, becomes `ours` here.
    #[must_use]
    pub fn moved(&self, theirs: u64, ours: u64) -> Self {
        let moved = self.0.iter().filter_map(|(run, peak)| {
            Some((ours.checked_sub(theirs.saturating_sub(*run))?, *peak))
        });
        Self(moved.collect())
    }

    /// Takes in another place's peaks, already moved.
    pub fn join(&mut self, other: &Self) {
        other.0.iter().for_each(|(run, peak)| self.add(*run, *peak));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_peak_lasts_for_its_runs_and_no_longer() {
        let mut peaks = Peaks::default();
        peaks.add(1, 100);
        peaks.add(2, 10);
        peaks.add(REMEMBERED_RUNS, 5);
        assert_eq!(peaks.value(REMEMBERED_RUNS), Some(100));
        assert_eq!(peaks.value(REMEMBERED_RUNS + 1), Some(10));
        assert_eq!(peaks.value(2 * REMEMBERED_RUNS), None);
        assert_eq!(Peaks::default().value(1), None);
    }

    #[test]
    fn a_run_can_be_taken_back() {
        let mut peaks = Peaks::default();
        peaks.add(1, 100);
        peaks.add(2, 10);
        peaks.forget(1);
        assert_eq!(peaks.value(2), Some(10));
    }

    proptest! {
        #[test]
        fn it_is_the_largest_of_the_recent_runs(steps in proptest::collection::vec((0_u64..4, 0_u64..50), 1..80)) {
            let (mut peaks, mut run, mut all) = (Peaks::default(), 1, Vec::new());
            for (later, value) in steps {
                run += later;
                peaks.add(run, value);
                all.push((run, value));
                let recent = all.iter().filter(|(of, _)| of + REMEMBERED_RUNS > run);
                prop_assert_eq!(peaks.value(run), recent.map(|(_, value)| *value).max());
                prop_assert!(peaks.0.len() as u64 <= REMEMBERED_RUNS);
            }
        }
    }
}
