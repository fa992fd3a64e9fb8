//! Which completed lives tell how the program works.
//!
//! While it runs, all do: the library records only what the program itself
//! gave back. When it has ended, its last moments may have been spent on
//! giving everything back, which says nothing of how long things live.

use shm_protocol::hist::{BUCKETS, lower_bound_ms};

use crate::snapshot::Stats;

/// What a program does on its way out is done within this time.
const EXIT_TAKES_MS: u64 = 1000;

/// Lives that the program ended in its normal course.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// By half octave
    pub lives: [u64; BUCKETS],
    /// The longest
    pub longest_ms: u64,
}

impl Closed {
    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.lives.iter().sum()
    }
}

/// Of a site at one look. Of a process that ended, the lives that ended since
/// the last checkpoint before its end may be the exit's doing; they are taken
/// to be the longest ones.
#[must_use]
pub fn closed(stats: &Stats, alive: bool, moment_ms: u64) -> Closed {
    let mut found = Closed {
        lives: stats.lifetimes,
        longest_ms: stats.longest_ms,
    };
    if alive {
        return found;
    }
    let end = moment_ms.saturating_sub(EXIT_TAKES_MS);
    let sure = stats.points.iter().rfind(|point| point.at_ms <= end);
    let mut doubtful = stats
        .deaths
        .saturating_sub(sure.map_or(0, |point| point.deaths));
    if doubtful == 0 {
        return found;
    }
    for bucket in found.lives.iter_mut().rev() {
        let taken = doubtful.min(*bucket);
        *bucket -= taken;
        doubtful -= taken;
    }
    let last = found.lives.iter().rposition(|count| *count > 0);
    let bound = last.map_or(0, |last| lower_bound_ms(last) as u64);
    found.longest_ms = found.longest_ms.min(bound);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::hist::bucket;
    use shm_protocol::view::PointInfo;

    fn stats(short: u64, long: u64, points: Vec<PointInfo>) -> Stats {
        let mut lifetimes = [0; BUCKETS];
        lifetimes[bucket(10)] = short;
        lifetimes[bucket(60_000)] = long;
        Stats {
            first_ms: 0,
            births: short + long,
            deaths: short + long,
            est_births: 0.0,
            longest_ms: 60_000,
            lifetimes,
            points,
        }
    }

    fn point(at_ms: u64, deaths: u64) -> PointInfo {
        PointInfo {
            at_ms,
            births: 0,
            deaths,
        }
    }

    #[test]
    fn a_running_program_closes_by_itself() {
        let found = closed(&stats(90, 10, vec![]), true, 60_000);
        assert_eq!((found.count(), found.longest_ms), (100, 60_000));
    }

    #[test]
    fn what_the_exit_may_have_closed_is_not_learned() {
        let found = closed(&stats(90, 10, vec![point(50_000, 80)]), false, 60_000);
        assert_eq!(found.count(), 80);
        assert!((8..=10).contains(&found.longest_ms), "{}", found.longest_ms);
        // A checkpoint of the exit itself proves nothing.
        let late = closed(&stats(90, 10, vec![point(59_900, 100)]), false, 60_000);
        assert_eq!((late.count(), late.longest_ms), (0, 0));
    }

    #[test]
    fn what_was_closed_before_the_end_is() {
        let found = closed(&stats(90, 10, vec![point(50_000, 100)]), false, 60_000);
        assert_eq!((found.count(), found.longest_ms), (100, 60_000));
    }
}
