//! What the library would have written of a simulated site at a look.

use memguard::detect::Prior;
use memguard::detect::model::{Holding, Idle, SiteData};
use shm_protocol::hist::{BUCKETS, bucket};
use shm_protocol::sites::{FIRST_STEP_MS, POINTS};
use shm_protocol::view::PointInfo;

use super::thing::Thing;

/// Whether anything tells of use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    Known,
    Unknown,
}

/// A site as recorded up to a look.
pub struct Recorded {
    births: u64,
    deaths: u64,
    lifetimes: [u64; BUCKETS],
    longest_ms: u64,
    first_ms: u64,
    points: Vec<PointInfo>,
    live: Vec<Holding>,
    now_ms: u64,
    woken_ms: u64,
    sampled: bool,
}

fn ms(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}

impl Recorded {
    /// The things are in the order of their births.
    pub fn until(things: &[Thing], now: f64, activity: Activity, sampled: bool) -> Self {
        let mut found = Self {
            births: 0,
            deaths: 0,
            lifetimes: [0; BUCKETS],
            longest_ms: 0,
            first_ms: things.first().map_or(0, |first| ms(first.born)),
            points: checkpoints(things, now),
            live: Vec::new(),
            now_ms: ms(now),
            woken_ms: 0,
            sampled,
        };
        for thing in things.iter().take_while(|thing| thing.born <= now) {
            found.births += 1;
            found.woken_ms = found.woken_ms.max(ms(thing.woken()));
            if thing.ends <= now {
                let life_ms = ms(thing.ends - thing.born);
                found.deaths += 1;
                found.lifetimes[bucket(life_ms)] += 1;
                found.longest_ms = found.longest_ms.max(life_ms);
            } else {
                found.live.push(Holding {
                    born_ms: ms(thing.born),
                    idle: match activity {
                        Activity::Known => Idle::Known(ms(thing.idle(now))),
                        Activity::Unknown => Idle::Unknown,
                    },
                    abandoned: false,
                });
            }
        }
        found
    }

    pub fn data(&self, floor_s: f64, prior: Option<Prior>) -> SiteData<'_> {
        let (now_ms, still_ms) = self.last_sign();
        SiteData {
            births: self.births,
            deaths: self.deaths,
            lifetimes: &self.lifetimes,
            longest_ms: self.longest_ms,
            points: &self.points,
            first_ms: self.first_ms,
            since_ms: self.first_ms,
            still_ms,
            sampled: self.sampled,
            now_ms,
            live: (self.live.iter()).map(|one| one.before(still_ms)).collect(),
            floor_ms: ms(floor_s),
            prior,
        }
    }

    /// When it last made or gave back anything that is recorded, and for how
    /// long it has stood still since.
    fn last_sign(&self) -> (u64, u64) {
        let point = self.points.last().map_or(0, |point| point.at_ms);
        let born = self.live.last().map_or(0, |one| one.born_ms);
        let last_ms = point.max(born).max(self.first_ms).min(self.now_ms);
        (last_ms, self.now_ms - last_ms)
    }

    /// How many it holds, if at half the time it held about as many already:
    /// what a look that finds it `held` takes for a plateau.
    pub fn plateau(&self) -> Option<u64> {
        let middle_ms = self.first_ms + (self.now_ms - self.first_ms) / 2;
        let point = self.points.iter().rfind(|point| point.at_ms <= middle_ms);
        let then = point.map_or(0, |point| point.births - point.deaths);
        let older = self.live.partition_point(|one| one.born_ms < middle_ms) as u64;
        let now = self.live.len() as u64;
        (now > 0 && then.max(older) as f64 >= 0.8 * now as f64).then_some(now)
    }

    /// What this run teaches the next one.
    pub fn lesson(&self, plateau: Option<u64>) -> Prior {
        let lives = memguard::detect::model::Lives::new(&self.lifetimes, self.longest_ms);
        Prior {
            q90_ms: lives.upper_ms(0.9) as u64,
            q99_ms: lives.upper_ms(0.99) as u64,
            longest_ms: self.longest_ms,
            woken_gap_ms: self.woken_ms,
            plateau,
            closes: self.deaths,
            runs: 1,
            extra_looks: 0,
        }
    }
}

/// As the library writes them: at an event that is due, thinned by doubling
/// the step. To the second, which is the first step.
fn checkpoints(things: &[Thing], now: f64) -> Vec<PointInfo> {
    let mut seconds = vec![(0_u64, 0_u64); now as usize + 1];
    for thing in things.iter().take_while(|thing| thing.born <= now) {
        seconds[thing.born as usize].0 += 1;
        if thing.ends <= now {
            seconds[thing.ends as usize].1 += 1;
        }
    }
    let (mut points, mut step_ms, mut due_ms) = (Vec::new(), FIRST_STEP_MS, 0);
    let (mut births, mut deaths) = (0, 0);
    for (second, (born, died)) in seconds.into_iter().enumerate() {
        (births, deaths) = (births + born, deaths + died);
        let at_ms = ms(now.min(second as f64 + 1.0));
        if born + died == 0 || at_ms < due_ms {
            continue;
        }
        due_ms = at_ms + step_ms;
        if points.len() >= POINTS {
            step_ms *= 2;
            points = points.into_iter().skip(1).step_by(2).collect();
        }
        points.push(PointInfo {
            at_ms,
            births,
            deaths,
        });
    }
    points
}
