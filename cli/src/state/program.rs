//! What the runs of one build of a program taught, site by site.
//!
//! Counts of lives fade with a half-life of [`HALF_LIFE_RUNS`]; maxima are
//! forgotten after [`REMEMBERED_RUNS`]. All that is made of this can only make
//! a verdict more careful: a [`Prior`] raises thresholds, never lowers one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shm_protocol::hist::{BUCKETS, lower_bound_ms};

use super::peaks::{Peaks, REMEMBERED_RUNS};
use crate::detect::{Prior, Priors, finding_id};
use crate::model::{Kind, Verdict};

/// After as many runs, what was learned counts half.
pub const HALF_LIFE_RUNS: f64 = 7.0;
/// What the file is called in its first line.
pub const CONTENT: &str = "program";
/// Counted looks more that a site needs after a false alarm.
const LOOKS_AFTER_ALARM: u32 = 2;
/// Sites remembered of one program.
const MOST_SITES: usize = 10_000;
/// Verdicts remembered of one site.
const MOST_VERDICTS: usize = 8;
/// Processes remembered of one run.
const MOST_MEMBERS: usize = 64;
/// Less than this of one life is none.
const LEAST_WEIGHT: f64 = 0.01;

/// One build of a program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Its build id, or a name made of its path where it has none
    pub key: String,
    /// Its file's name
    pub name: String,
    /// The same with what it runs, if it is an interpreter
    #[serde(default)]
    pub title: String,
    /// The number of the latest run, from 1
    pub run: u64,
    /// When it was last added to
    pub updated: Timestamp,
    /// The processes of the latest run that added to it
    pub members: Vec<String>,
    /// Its sites by finding id
    pub sites: BTreeMap<String, SiteMemory>,
}

/// One site of a program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SiteMemory {
    /// Where it is, for people
    pub place: Option<String>,
    /// The latest run that added to it
    pub run: u64,
    /// How many runs did
    pub runs: u32,
    /// Lives that the program ended, over all runs
    pub closes: u64,
    /// How long they lived, by half octave, faded as of `run`
    pub lives: BTreeMap<u8, f64>,
    /// The longest of them, by run
    pub longest_ms: Peaks,
    /// The longest idle time after which one was used again, by run
    pub woken_gap_ms: Peaks,
    /// The most held at once while not growing, by run
    pub plateau: Peaks,
    /// False alarms, by run
    pub alarms: Peaks,
    /// The latest verdicts that differ from the one before, with their runs
    pub verdicts: Vec<(u64, Verdict)>,
}

/// What one look adds to a site.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lesson {
    /// Lives ended since this process was last asked
    pub lives: BTreeMap<u8, u64>,
    /// The longest life that it ended
    pub longest_ms: u64,
    /// The longest idle time that ended in a use
    pub woken_gap_ms: u64,
    /// How many are held, if it is steady
    pub plateau: Option<u64>,
    /// It is growing: what was called a plateau in this run was none
    pub growing: bool,
    /// Objects called leaked that the program then used or closed
    pub false_alarms: u64,
    /// What was decided
    pub verdict: Option<Verdict>,
    /// Where the site is
    pub place: Option<String>,
}

impl Lesson {
    /// Whether there is anything to remember. A site that only holds things,
    /// undecided, is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let decided = self.verdict.is_some_and(|verdict| verdict < Verdict::Early);
        self.lives.is_empty()
            && self.longest_ms == 0
            && self.woken_gap_ms == 0
            && self.plateau.is_none()
            && self.false_alarms == 0
            && !decided
    }
}

impl Program {
    /// Begins a run if this process is the first of one: none of the latest
    /// run's processes runs any more, and it started after that was last
    /// heard of. So the workers of one server are one run.
    pub fn begin(
        &mut self,
        process: &str,
        started: Option<Timestamp>,
        now: Timestamp,
        runs_still: impl Fn(&str) -> bool,
    ) {
        let known = self.members.iter().any(|member| member == process);
        let after = started.is_some_and(|started| started > self.updated);
        let same = known
            || self.run > 0 && (!after || self.members.iter().any(|member| runs_still(member)));
        if !same {
            self.run += 1;
            self.members.clear();
        }
        if !known && self.members.len() < MOST_MEMBERS {
            self.members.push(process.to_owned());
        }
        self.updated = self.updated.max(now);
    }

    /// Adds what a look taught of a site, to the latest run.
    pub fn learn(&mut self, id: &str, lesson: &Lesson) {
        let run = self.run;
        let site = self.sites.entry(id.to_owned()).or_default();
        site.learn(run, lesson);
    }

    /// Drops what no recent run has spoken of.
    pub fn forget(&mut self) {
        let run = self.run;
        self.sites
            .retain(|_, site| site.run + REMEMBERED_RUNS > run);
        let spare = self.sites.len().saturating_sub(MOST_SITES);
        if spare == 0 {
            return;
        }
        let mut least: Vec<(u64, u64, String)> = self
            .sites
            .iter()
            .map(|(id, site)| (site.run, site.closes, id.clone()))
            .collect();
        least.sort_unstable();
        for (_, _, id) in least.drain(..spare) {
            self.sites.remove(&id);
        }
    }

    /// As a process may be judged by it: what its own run once held is no sign
    /// that a run stops there. A leak that chance let look steady early on
    /// would explain itself.
    #[must_use]
    pub fn for_process(mut self, name: &str) -> Self {
        if self.members.iter().any(|member| member == name) {
            let run = self.run;
            let sites = self.sites.values_mut();
            sites.for_each(|site| site.plateau.forget(run));
        }
        self
    }

    /// What is known of a site.
    #[must_use]
    pub fn prior(&self, id: &str) -> Option<Prior> {
        self.sites.get(id).map(|site| site.prior(self.run))
    }

    /// Takes in what another place learned of the same build: of each site the
    /// more careful. Doing it twice changes nothing.
    pub fn join(&mut self, other: &Self) {
        if self.run == 0 {
            *self = other.clone();
            self.members.clear();
            return;
        }
        for (id, theirs) in &other.sites {
            let Some(moved) = theirs.moved(other.run, self.run) else {
                continue;
            };
            match self.sites.get_mut(id) {
                Some(ours) => ours.join(&moved),
                None => {
                    self.sites.insert(id.clone(), moved);
                }
            }
        }
    }
}

impl SiteMemory {
    fn learn(&mut self, run: u64, lesson: &Lesson) {
        if self.run < run {
            self.lives = self.lives_at(run);
            self.run = run;
            self.runs += 1;
        }
        for (bucket, count) in &lesson.lives {
            *self.lives.entry(*bucket).or_default() += *count as f64;
            self.closes = self.closes.saturating_add(*count);
        }
        let more = |peaks: &mut Peaks, value: u64| {
            if value > 0 {
                peaks.add(run, value);
            }
        };
        more(&mut self.longest_ms, lesson.longest_ms);
        more(&mut self.woken_gap_ms, lesson.woken_gap_ms);
        more(&mut self.alarms, lesson.false_alarms);
        if lesson.growing {
            self.plateau.forget(run);
        } else {
            more(&mut self.plateau, lesson.plateau.unwrap_or(0));
        }
        if let Some(place) = &lesson.place {
            self.place = Some(place.clone());
        }
        self.remember(run, lesson.verdict);
    }

    fn remember(&mut self, run: u64, verdict: Option<Verdict>) {
        let Some(verdict) = verdict else { return };
        if self
            .verdicts
            .last()
            .is_some_and(|(of, last)| (*of, *last) == (run, verdict))
        {
            return;
        }
        self.verdicts.push((run, verdict));
        let spare = self.verdicts.len().saturating_sub(MOST_VERDICTS);
        self.verdicts.drain(..spare);
    }

    /// The faded counts of a later run.
    fn lives_at(&self, run: u64) -> BTreeMap<u8, f64> {
        let share = (-(run.saturating_sub(self.run) as f64) / HALF_LIFE_RUNS).exp2();
        let faded = self
            .lives
            .iter()
            .map(|(bucket, weight)| (*bucket, weight * share));
        faded
            .filter(|(_, weight)| *weight >= LEAST_WEIGHT)
            .collect()
    }

    /// What it means for a verdict in run `now`.
    #[must_use]
    pub fn prior(&self, now: u64) -> Prior {
        let lives = self.lives_at(now);
        let longest_ms = self.longest_ms.value(now).unwrap_or(0);
        // An upper bound: a bucket's lives may all be at its end.
        let quantile = |share| upper_quantile_ms(&lives, share).min(longest_ms);
        let alarmed = self.alarms.value(now).is_some();
        Prior {
            q90_ms: quantile(0.90),
            q99_ms: quantile(0.99),
            longest_ms,
            woken_gap_ms: self.woken_gap_ms.value(now).unwrap_or(0),
            plateau: self.plateau.value(now),
            closes: self.closes,
            runs: self.runs,
            extra_looks: if alarmed { LOOKS_AFTER_ALARM } else { 0 },
        }
    }

    /// As the runs of another place count it; none when it is too long ago.
    fn moved(&self, theirs: u64, ours: u64) -> Option<Self> {
        Some(Self {
            run: ours.checked_sub(theirs.saturating_sub(self.run))?,
            longest_ms: self.longest_ms.moved(theirs, ours),
            woken_gap_ms: self.woken_gap_ms.moved(theirs, ours),
            plateau: self.plateau.moved(theirs, ours),
            alarms: self.alarms.moved(theirs, ours),
            verdicts: Vec::new(),
            ..self.clone()
        })
    }

    fn join(&mut self, other: &Self) {
        let run = self.run.max(other.run);
        let (mut lives, theirs) = (self.lives_at(run), other.lives_at(run));
        for (bucket, weight) in theirs {
            let own = lives.entry(bucket).or_default();
            *own = own.max(weight);
        }
        (self.lives, self.run) = (lives, run);
        self.runs = self.runs.max(other.runs);
        self.closes = self.closes.max(other.closes);
        self.longest_ms.join(&other.longest_ms);
        self.woken_gap_ms.join(&other.woken_gap_ms);
        self.plateau.join(&other.plateau);
        self.alarms.join(&other.alarms);
        self.place = self.place.take().or_else(|| other.place.clone());
    }
}

/// The end of the bucket in which that share of lives is reached.
fn upper_quantile_ms(lives: &BTreeMap<u8, f64>, share: f64) -> u64 {
    let mut left = lives.values().sum::<f64>() * share;
    for (bucket, weight) in lives {
        left -= weight;
        if left <= 1e-9 {
            return lower_bound_ms(usize::from(*bucket) + 1).ceil() as u64;
        }
    }
    0
}

/// Which buckets hold more than they did.
#[must_use]
pub fn increment(now: &[u64; BUCKETS], before: &BTreeMap<u8, u64>) -> BTreeMap<u8, u64> {
    let more = now.iter().enumerate().filter_map(|(bucket, count)| {
        let bucket = bucket as u8;
        let known = before.get(&bucket).copied().unwrap_or(0);
        Some((bucket, count.checked_sub(known).filter(|more| *more > 0)?))
    });
    more.collect()
}

impl Priors for Program {
    fn of(&self, site_key: u64, kind: Kind) -> Option<Prior> {
        // What is called a cache is a site of blocks.
        let kind = if kind == Kind::Caches {
            Kind::Memory
        } else {
            kind
        };
        self.prior(&finding_id(kind, site_key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shm_protocol::hist::bucket;

    const ID: &str = "files-0000000000000001";

    fn lives(of: &[(u64, u64)]) -> Lesson {
        Lesson {
            lives: of
                .iter()
                .map(|(ms, count)| (bucket(*ms) as u8, *count))
                .collect(),
            longest_ms: of.iter().map(|(ms, _)| *ms).max().unwrap_or(0),
            ..Lesson::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The process of a run that nothing else overlaps.
    fn run(program: &mut Program, number: i64) {
        let started = at(number * 100);
        program.begin(
            &format!("p{number}"),
            Some(started),
            at(number * 100 + 50),
            |_| false,
        );
    }

    #[test]
    fn a_life_counts_half_after_seven_runs() {
        let mut program = Program::default();
        run(&mut program, 1);
        program.learn(ID, &lives(&[(1000, 100)]));
        for number in 2..=8 {
            run(&mut program, number);
        }
        assert_eq!(program.run, 8);
        let site = &program.sites[ID];
        let left: f64 = site.lives_at(8).values().sum();
        assert!((left - 50.0).abs() < 1e-9, "{left}");
        assert_eq!((site.runs, site.closes), (1, 100));
    }

    #[test]
    fn workers_of_one_server_are_one_run() {
        let mut program = Program::default();
        program.begin("first", Some(at(10)), at(100), |_| false);
        program.begin("second", Some(at(20)), at(101), |_| false);
        // A worker that was started again while another still runs.
        program.begin("third", Some(at(200)), at(201), |other| other == "first");
        program.begin("first", Some(at(10)), at(300), |_| false);
        assert_eq!((program.run, program.members.len()), (1, 3));
        program.begin("later", Some(at(400)), at(401), |_| false);
        assert_eq!((program.run, program.members.len()), (2, 1));
    }

    #[test]
    fn quantiles_are_upper_bounds_within_half_an_octave() {
        let mut program = Program::default();
        run(&mut program, 1);
        program.learn(ID, &lives(&[(10, 90), (100, 9), (10_000, 1)]));
        let prior = program.prior(ID).unwrap();
        assert!((10..15).contains(&prior.q90_ms), "{prior:?}");
        assert!((100..142).contains(&prior.q99_ms), "{prior:?}");
        assert_eq!(
            (prior.longest_ms, prior.closes, prior.runs),
            (10_000, 100, 1)
        );
        assert_eq!(program.prior("files-0000000000000002"), None);
    }

    #[test]
    fn a_plateau_of_a_run_that_grows_after_all_is_taken_back() {
        let mut program = Program::default();
        run(&mut program, 1);
        let held = |plateau, growing| Lesson {
            plateau,
            growing,
            ..Lesson::default()
        };
        program.learn(ID, &held(Some(50), false));
        run(&mut program, 2);
        program.learn(ID, &held(Some(80), false));
        assert_eq!(program.prior(ID).unwrap().plateau, Some(80));
        program.learn(ID, &held(None, true));
        assert_eq!(program.prior(ID).unwrap().plateau, Some(50));
    }

    #[test]
    fn a_plateau_explains_the_growth_of_later_runs_only() {
        let mut program = Program::default();
        run(&mut program, 1);
        let held = |plateau| Lesson {
            plateau: Some(plateau),
            ..Lesson::default()
        };
        program.learn(ID, &held(50));
        let plateau = |program: &Program, name| {
            let program = program.clone().for_process(name);
            program.prior(ID).unwrap().plateau
        };
        assert_eq!(plateau(&program, "p1"), None);
        assert_eq!(plateau(&program, "p2"), Some(50));
        run(&mut program, 2);
        program.learn(ID, &held(80));
        assert_eq!(plateau(&program, "p2"), Some(50));
        assert_eq!(plateau(&program, "p3"), Some(80));
    }

    #[test]
    fn a_false_alarm_asks_for_more_looks_until_it_is_forgotten() {
        let mut program = Program::default();
        run(&mut program, 1);
        program.learn(
            ID,
            &Lesson {
                false_alarms: 1,
                ..Lesson::default()
            },
        );
        assert_eq!(program.prior(ID).unwrap().extra_looks, 2);
        for number in 2..=22 {
            run(&mut program, number);
            assert_eq!(
                program.prior(ID).unwrap().extra_looks,
                if number < 22 { 2 } else { 0 }
            );
        }
        program.forget();
        assert!(program.sites.is_empty());
    }

    #[test]
    fn of_too_many_sites_the_busiest_of_late_stay() {
        let mut program = Program::default();
        run(&mut program, 1);
        for site in 0..MOST_SITES as u64 + 5 {
            let id = finding_id(Kind::Files, site);
            program.learn(&id, &lives(&[(10, site + 1)]));
        }
        program.forget();
        assert_eq!(program.sites.len(), MOST_SITES);
        assert!(!program.sites.contains_key(&finding_id(Kind::Files, 4)));
        assert!(program.sites.contains_key(&finding_id(Kind::Files, 5)));
    }

    #[test]
    fn only_what_is_new_is_added() {
        let mut now = [0; BUCKETS];
        (now[3], now[5], now[7]) = (10, 4, 2);
        let before = BTreeMap::from([(3, 7), (7, 2)]);
        assert_eq!(increment(&now, &before), BTreeMap::from([(3, 3), (5, 4)]));
    }

    #[test]
    fn what_another_place_learned_is_taken_in_once() {
        let mut here = Program::default();
        (1..=3).for_each(|number| run(&mut here, number));
        here.learn(ID, &lives(&[(1000, 10)]));
        let mut there = Program::default();
        (1..=9).for_each(|number| run(&mut there, number));
        there.learn(ID, &lives(&[(90_000, 5)]));
        there.learn("files-0000000000000002", &lives(&[(5, 5)]));
        here.join(&there);
        let once = here.clone();
        here.join(&there);
        assert_eq!(here, once);
        assert_eq!(here.prior(ID).unwrap().longest_ms, 90_000);
        assert_eq!(here.sites.len(), 2);
        let mut empty = Program::default();
        empty.join(&there);
        assert_eq!(empty.sites, there.sites);
    }

    proptest! {
        /// Whatever one more look teaches, within a run nothing that makes
        /// memguard careful gets less.
        #[test]
        fn within_a_run_every_lesson_makes_more_careful(
            lessons in proptest::collection::vec((1_u64..1 << 30, 1_u64..1000, 0_u64..100_000, 0_u64..500, 0_u64..3), 1..30)
        ) {
            let mut program = Program::default();
            run(&mut program, 1);
            let mut before = Prior::default();
            for (ms, count, gap, plateau, alarms) in lessons {
                let lesson = Lesson {
                    woken_gap_ms: gap,
                    plateau: Some(plateau).filter(|plateau| *plateau > 0),
                    false_alarms: alarms,
                    ..lives(&[(ms, count)])
                };
                program.learn(ID, &lesson);
                let now = program.prior(ID).unwrap();
                prop_assert!(now.longest_ms >= before.longest_ms && now.longest_ms >= ms);
                prop_assert!(now.woken_gap_ms >= before.woken_gap_ms && now.woken_gap_ms >= gap);
                prop_assert!(now.plateau >= before.plateau && now.extra_looks >= before.extra_looks);
                prop_assert!(now.closes == before.closes + count);
                prop_assert!(now.q90_ms <= now.q99_ms && now.q99_ms <= now.longest_ms);
                before = now;
            }
        }
    }
}
