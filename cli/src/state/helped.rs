//! What memguard itself brought to an end is no life of the program's: it says
//! nothing of how long things live there. Counted as one, what was fixed would
//! shield what is not fixed yet, and teach that the verdict was wrong.
//!
//! Only deaths are taken back: what was fixed had been born and had stayed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shm_protocol::hist::{BUCKETS, bucket, lower_bound_ms};

use crate::detect::finding_id;
use crate::snapshot::{Site, Snapshot, Stats};

/// Times kept apart; older ones are taken together.
const MOST_TIMES: usize = 32;
/// By how many half octaves a life may have been taken for another: memguard
/// knows when it acted, the library when the owner closed.
const UNSURE: usize = 3;

/// An object that memguard brought to an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The finding it belonged to
    pub finding: String,
    /// When it was made, ms since the segment was made
    pub born_ms: u64,
    /// When it was acted on, likewise
    pub ended_ms: u64,
    /// Whether the library counts its end as a life
    pub is_life: bool,
}

/// By finding, all that memguard ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Helped(BTreeMap<String, Vec<Time>>);

/// One fix of one finding.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Time {
    /// When the last of them was acted on
    ended_ms: u64,
    /// Lives by half octave
    lives: BTreeMap<u8, u64>,
}

impl Helped {
    /// Adds what one fix did.
    pub fn add(&mut self, all: &[Ended]) {
        let mut times: BTreeMap<&str, Time> = BTreeMap::new();
        for one in all.iter().filter(|one| one.is_life) {
            let time = times.entry(&one.finding).or_default();
            time.ended_ms = time.ended_ms.max(one.ended_ms);
            let life = bucket(one.ended_ms.saturating_sub(one.born_ms));
            *time.lives.entry(life as u8).or_default() += 1;
        }
        for (finding, time) in times {
            let known = self.0.entry(finding.to_owned()).or_default();
            known.push(time);
            while known.len() > MOST_TIMES {
                let first = known.remove(0);
                for (life, count) in first.lives {
                    *known[0].lives.entry(life).or_default() += count;
                }
            }
        }
    }

    /// Takes it out of what a look says of lives.
    pub fn correct(&self, snapshot: &mut Snapshot) {
        if self.0.is_empty() {
            return;
        }
        for site in &mut snapshot.sites.all {
            if let Some(times) = id_of(site).and_then(|id| self.0.get(&id)) {
                times
                    .iter()
                    .for_each(|time| time.take_from(&mut site.stats));
            }
        }
    }
}

fn id_of(site: &Site) -> Option<String> {
    Some(finding_id(site.kind?, site.key))
}

impl Time {
    fn take_from(&self, stats: &mut Stats) {
        let lives = self.lives.iter().rev();
        let taken = lives
            .map(|(life, count)| take(&mut stats.lifetimes, usize::from(*life), *count))
            .sum();
        stats.deaths = stats.deaths.saturating_sub(taken);
        let after = |at_ms: &u64| *at_ms >= self.ended_ms;
        for point in stats.points.iter_mut().filter(|point| after(&point.at_ms)) {
            point.deaths = point.deaths.saturating_sub(taken);
        }
        let last = stats.lifetimes.iter().rposition(|count| *count > 0);
        let bound_ms = last.map_or(0, |last| lower_bound_ms(last + 1) as u64);
        stats.longest_ms = stats.longest_ms.min(bound_ms);
    }
}

/// Takes so many out of a bucket, and out of those beside it what it lacks,
/// longer ones first. How many it found.
fn take(lives: &mut [u64; BUCKETS], life: usize, count: u64) -> u64 {
    let longer = life..(life + UNSURE + 1).min(BUCKETS);
    let shorter = (life.saturating_sub(1)..life).rev();
    let mut left = count;
    for at in longer.chain(shorter) {
        let taken = left.min(lives[at]);
        lives[at] -= taken;
        left -= taken;
    }
    count - left
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::view::PointInfo;

    const ID: &str = "sockets-0000000000000001";

    fn stats() -> Stats {
        let mut lifetimes = [0; BUCKETS];
        lifetimes[bucket(10)] = 80;
        lifetimes[bucket(60_000)] = 20;
        let point = |at_ms, deaths| PointInfo {
            at_ms,
            births: 200,
            deaths,
        };
        Stats {
            first_ms: 0,
            births: 200,
            deaths: 100,
            est_births: 200.0,
            longest_ms: 61_000,
            lifetimes,
            points: vec![point(50_000, 80), point(70_000, 100)],
        }
    }

    fn ended(count: usize) -> Helped {
        let one = Ended {
            finding: ID.into(),
            born_ms: 1000,
            ended_ms: 60_000,
            is_life: true,
        };
        let mut helped = Helped::default();
        helped.add(&vec![one; count]);
        helped
    }

    #[test]
    fn what_was_fixed_is_no_life() {
        let mut stats = stats();
        ended(20).0[ID][0].take_from(&mut stats);
        assert_eq!((stats.births, stats.deaths), (200, 80));
        let deaths: Vec<u64> = stats.points.iter().map(|point| point.deaths).collect();
        assert_eq!(deaths, [80, 80]);
        assert!(stats.longest_ms < 20, "{}", stats.longest_ms);
    }

    #[test]
    fn what_the_program_closed_beside_it_stays() {
        let mut stats = stats();
        ended(15).0[ID][0].take_from(&mut stats);
        assert_eq!((stats.deaths, stats.longest_ms), (85, 61_000));
        // More than there are were hardly ours: short lives are never taken.
        ended(50).0[ID][0].take_from(&mut stats);
        assert_eq!(stats.deaths, 80);
    }

    #[test]
    fn a_life_that_ended_a_little_later_than_thought_is_found() {
        let mut lives = [0; BUCKETS];
        lives[bucket(8000)] = 3;
        assert_eq!(take(&mut lives, bucket(5000), 3), 3);
        lives[bucket(60_000)] = 3;
        assert_eq!(take(&mut lives, bucket(5000), 3), 0, "that was another");
    }

    #[test]
    fn many_times_are_kept_as_few_and_lose_none() {
        let mut helped = ended(1);
        for _ in 0..3 * MOST_TIMES {
            helped.add(&[Ended {
                finding: ID.into(),
                born_ms: 0,
                ended_ms: 60_000,
                is_life: true,
            }]);
        }
        let times = &helped.0[ID];
        let lives: u64 = times.iter().flat_map(|time| time.lives.values()).sum();
        assert_eq!(
            (times.len(), lives),
            (MOST_TIMES, 3 * MOST_TIMES as u64 + 1)
        );
    }
}
