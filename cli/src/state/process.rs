//! What is remembered of one process: how often it was looked at and what was
//! decided, what of it has been learned already, and what would show that a
//! decision was wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::closed::closed;
use super::helped::{Ended, Helped};
use super::hung_up::{AllHungUp, HungUp};
use super::program::{Lesson, increment};
use super::sharpen::Earlier;
use crate::detect::{Looks, Wanted, finding_id};
use crate::model::Verdict;
use crate::snapshot::{Identity, Site, Snapshot};

/// What the file is called in its first line.
pub const CONTENT: &str = "process";
/// Floors on ages that looks are counted for, one by one.
const MOST_FLOORS: usize = 8;
/// Fixed floors on ages, in place of `--min-age`: none is lower.
const LEAST_FLOOR_MS: u64 = 30_000;
/// A plateau held at least this share of it at half the time already.
const STEADY_SHARE: f64 = 0.8;

/// One process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessMemory {
    /// Which image of it (exec keeps pid and start time)
    pub image: u64,
    /// Its build
    #[serde(default)]
    pub program: String,
    /// What a person knows that by
    #[serde(default)]
    pub title: String,
    /// What the last look saw
    pub earlier: Earlier,
    /// Counted looks, by the floor on ages that they had
    pub looks: BTreeMap<String, Counted>,
    /// Completed lives that its program has learned already, by finding
    pub learned: BTreeMap<String, BTreeMap<u8, u64>>,
    /// What memguard itself brought to an end
    #[serde(default)]
    pub helped: Helped,
    /// Connections that it ended and that are still held
    #[serde(default)]
    pub hung_up: AllHungUp,
    /// What was called a leak or growing, by finding
    pub accused: BTreeMap<String, Accused>,
    /// What the last look found beside what counted looks did
    #[serde(default)]
    pub found: BTreeSet<String>,
}

/// The looks that counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// How many
    pub number: u32,
    /// When the latest was, ms since the segment was made
    pub moment_ms: u64,
    /// What it decided, by finding
    pub last: BTreeMap<String, Verdict>,
}

/// A site that was accused, and its objects older than any that it had closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accused {
    /// When
    pub moment_ms: u64,
    /// Those born before this moment are meant
    pub born_before_ms: u64,
    /// How many they were
    pub held: u64,
}

/// What the numbers decided of one site.
#[derive(Debug, Clone, Copy)]
pub struct Decision {
    /// Index of the site in the snapshot
    pub site: usize,
    /// The verdict
    pub verdict: Verdict,
}

/// Looks are counted apart for each floor: they ask different questions.
fn floor(wanted: &Wanted) -> String {
    wanted.min_age.map_or_else(
        || "built-in".to_owned(),
        |age| format!("{}ms", age.as_millis()),
    )
}

impl ProcessMemory {
    /// The name of its file.
    #[must_use]
    pub fn file(identity: &Identity) -> String {
        format!("{}.json", identity.name())
    }

    /// The looks so far, this one included.
    #[must_use]
    pub fn looks(&self, wanted: &Wanted, moment_ms: u64) -> Looks {
        let Some(counted) = self.looks.get(&floor(wanted)) else {
            return Looks {
                next_ms: Some(next_ms(moment_ms)),
                ..Looks::default()
            };
        };
        let counts = moment_ms >= next_ms(counted.moment_ms);
        let latest_ms = if counts { moment_ms } else { counted.moment_ms };
        Looks {
            number: counted.number.saturating_add(u32::from(counts)),
            counted: counts,
            next_ms: Some(next_ms(latest_ms)),
            last: counted.last.clone(),
        }
    }

    /// Counts this look, if it does, and keeps what it decided.
    pub fn count(&mut self, wanted: &Wanted, moment_ms: u64, decided: BTreeMap<String, Verdict>) {
        let looks = self.looks(wanted, moment_ms);
        if !looks.counted {
            return;
        }
        let counted = Counted {
            number: looks.number,
            moment_ms,
            last: decided,
        };
        self.looks.insert(floor(wanted), counted);
        while self.looks.len() > MOST_FLOORS {
            let oldest = self
                .looks
                .iter()
                .min_by_key(|(_, counted)| counted.moment_ms);
            let Some(floor) = oldest.map(|(floor, _)| floor.clone()) else {
                return;
            };
            self.looks.remove(&floor);
        }
    }

    /// Keeps what this look found, whether it counts or not.
    pub fn find(&mut self, found: impl IntoIterator<Item = String>) {
        let counted = |id: &String| self.looks.values().any(|look| look.last.contains_key(id));
        self.found = found.into_iter().filter(|id| !counted(id)).collect();
    }

    /// The ids of all that reports on it told of.
    pub fn told(&self) -> impl Iterator<Item = &String> {
        let counted = self.looks.values().flat_map(|look| look.last.keys());
        counted.chain(self.accused.keys()).chain(&self.found)
    }

    /// Makes more of a look by what is known: what memguard ended is no life of
    /// the program's, and what stands still shows by two looks.
    pub fn sharpen(&self, snapshot: &mut Snapshot) {
        self.correct(snapshot);
        self.earlier.sharpen(snapshot);
    }

    /// Only the former.
    pub fn correct(&self, snapshot: &mut Snapshot) {
        self.helped.correct(snapshot);
        self.hung_up.mark(snapshot);
    }

    /// Remembers what a fix ended: none of it was a false alarm.
    pub fn help(&mut self, all: &[Ended], hung_up: &[HungUp]) {
        self.helped.add(all);
        self.hung_up.add(hung_up);
        for one in all {
            if let Some(accused) = self.accused.get_mut(&one.finding) {
                let meant = one.born_ms < accused.born_before_ms;
                accused.held = accused.held.saturating_sub(u64::from(meant));
            }
        }
    }

    /// What this look teaches, by finding. Each completed life teaches once.
    pub fn lessons(
        &mut self,
        snapshot: &Snapshot,
        decisions: &[Decision],
    ) -> BTreeMap<String, Lesson> {
        let mut lessons = BTreeMap::new();
        for site in &snapshot.sites.all {
            if let Some(id) = id_of(site) {
                let lesson = self.lesson(snapshot, site, &id);
                lessons.insert(id, lesson);
            }
        }
        if snapshot.process.alive {
            self.woken(snapshot, &mut lessons);
        }
        for decision in decisions {
            let site = &snapshot.sites.all[decision.site];
            if let Some(id) = id_of(site) {
                let lesson = lessons.entry(id).or_default();
                decided(lesson, decision, site, snapshot.moment_ms);
            }
        }
        lessons.retain(|_, lesson| !lesson.is_empty());
        lessons
    }

    fn lesson(&mut self, snapshot: &Snapshot, site: &Site, id: &str) -> Lesson {
        let closed = closed(&site.stats, snapshot.process.alive, snapshot.moment_ms);
        let known = self.learned.entry(id.to_owned()).or_default();
        let lives = increment(&closed.lives, known);
        for (bucket, more) in &lives {
            *known.entry(*bucket).or_default() += more;
        }
        if known.is_empty() {
            self.learned.remove(id);
        }
        Lesson {
            lives,
            longest_ms: closed.longest_ms,
            false_alarms: if snapshot.process.alive {
                self.closed_after_all(snapshot, site, id)
            } else {
                0
            },
            ..Lesson::default()
        }
    }

    /// Accused objects that the program has given back since.
    fn closed_after_all(&self, snapshot: &Snapshot, site: &Site, id: &str) -> u64 {
        self.accused.get(id).map_or(0, |accused| {
            let held = self.held(snapshot, site, id, accused.born_before_ms);
            accused.held.saturating_sub(held)
        })
    }

    /// How many of a site are still held of those born before a moment, without
    /// those of which only the number is left.
    fn held(&self, snapshot: &Snapshot, site: &Site, id: &str, born_before_ms: u64) -> u64 {
        let hung_up = self.hung_up.held(id, born_before_ms, snapshot);
        older_than(site, born_before_ms).saturating_sub(hung_up)
    }

    /// Objects that were used after having lain idle: the gap is learned, and
    /// if they were accused, it was wrong.
    fn woken(&self, snapshot: &Snapshot, lessons: &mut BTreeMap<String, Lesson>) {
        let ids: BTreeMap<u64, String> = snapshot
            .sites
            .all
            .iter()
            .filter_map(|site| Some((site.key, id_of(site)?)))
            .collect();
        for woken in self.earlier.woken(snapshot) {
            let Some(id) = ids.get(&woken.site) else {
                continue;
            };
            let lesson = lessons.entry(id.clone()).or_default();
            lesson.woken_gap_ms = lesson.woken_gap_ms.max(woken.gap_ms);
            let accused = self.accused.get(id);
            let meant = accused.is_some_and(|accused| woken.born_ms < accused.born_before_ms);
            lesson.false_alarms += u64::from(meant);
        }
    }

    /// Remembers this look for the next one.
    pub fn remember(&mut self, snapshot: &Snapshot, wanted: &Wanted, decisions: &[Decision]) {
        self.earlier = Earlier::of(snapshot);
        self.hung_up.forget_closed(snapshot);
        self.accused.clear();
        let floor_ms = wanted
            .min_age
            .map_or(LEAST_FLOOR_MS, |age| age.as_millis() as u64);
        for decision in decisions {
            if !matches!(decision.verdict, Verdict::Leak | Verdict::Growing) {
                continue;
            }
            let site = &snapshot.sites.all[decision.site];
            let younger_ms = site.stats.longest_ms.max(floor_ms);
            let born_before_ms = snapshot.moment_ms.saturating_sub(younger_ms);
            if let Some(id) = id_of(site) {
                let accused = Accused {
                    moment_ms: snapshot.moment_ms,
                    born_before_ms,
                    held: self.held(snapshot, site, &id, born_before_ms),
                };
                self.accused.insert(id, accused);
            }
        }
    }
}

/// The observation must have grown by half.
fn next_ms(moment_ms: u64) -> u64 {
    moment_ms.saturating_add(moment_ms.div_ceil(2)).max(1)
}

fn older_than(site: &Site, born_before_ms: u64) -> u64 {
    let births = &site.live.births_ms;
    births.partition_point(|born| *born < born_before_ms) as u64
}

/// By the kind of its site, whatever a finding there is called.
fn id_of(site: &Site) -> Option<String> {
    Some(finding_id(site.kind?, site.key))
}

fn decided(lesson: &mut Lesson, decision: &Decision, site: &Site, moment_ms: u64) {
    // A site may give two findings: the worse one is its verdict.
    let worst = lesson
        .verdict
        .map_or(decision.verdict, |other| other.min(decision.verdict));
    lesson.verdict = Some(worst);
    lesson.growing = worst < Verdict::Early;
    let steady = worst == Verdict::Held && is_steady(site, moment_ms);
    lesson.plateau = steady.then_some(site.live.births_ms.len() as u64);
}

/// Whether at half the time it held about as many as now: either the same ones,
/// or as many by the checkpoints, which miss what came between two of them.
/// `held` alone may have been said because of an earlier plateau: taken for
/// one of its own, it would let a slow leak climb from run to run.
fn is_steady(site: &Site, moment_ms: u64) -> bool {
    let stats = &site.stats;
    let middle_ms = stats.first_ms + moment_ms.saturating_sub(stats.first_ms) / 2;
    let point = stats.points.iter().rfind(|point| point.at_ms <= middle_ms);
    let then = point.map_or(0, |point| point.births.saturating_sub(point.deaths));
    let now = site.live.births_ms.len() as f64;
    then.max(older_than(site, middle_ms)) as f64 >= STEADY_SHARE * now
}

/// The verdicts by finding; of two with one id the milder, statistical one.
#[must_use]
pub fn by_id(snapshot: &Snapshot, decisions: &[Decision]) -> BTreeMap<String, Verdict> {
    let mut verdicts = BTreeMap::new();
    for decision in decisions {
        if let Some(id) = id_of(&snapshot.sites.all[decision.site]) {
            let verdict = verdicts.entry(id).or_insert(decision.verdict);
            *verdict = decision.verdict.max(*verdict);
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;
    use crate::snapshot::{Facts, Live, Stats};
    use shm_protocol::hist::{BUCKETS, bucket};
    use shm_protocol::view::PointInfo;
    use std::time::Duration;

    const ID: &str = "files-0000000000000001";

    fn wanted(seconds: u64) -> Wanted {
        Wanted {
            min_age: Some(Duration::from_secs(seconds)),
            ..Wanted::default()
        }
    }

    fn look(moment_ms: u64, births_ms: &[u64], lives: &[u64]) -> Snapshot {
        let mut snapshot = Snapshot::build(Facts::default(), &[], None, "").unwrap();
        let mut lifetimes = [0; BUCKETS];
        lives.iter().for_each(|ms| lifetimes[bucket(*ms)] += 1);
        let mut live = Live::default();
        births_ms.iter().for_each(|born| live.add(*born, 1.0, 0.0));
        snapshot.sites.all.push(Site {
            kind: Some(Kind::Files),
            frames: vec![],
            key: 1,
            stats: Stats {
                first_ms: 0,
                births: 0,
                deaths: lives.len() as u64,
                est_births: 0.0,
                longest_ms: lives.iter().copied().max().unwrap_or(0),
                lifetimes,
                points: vec![],
            },
            live,
        });
        (snapshot.moment_ms, snapshot.process.alive) = (moment_ms, true);
        snapshot
    }

    fn called(verdict: Verdict) -> [Decision; 1] {
        [Decision { site: 0, verdict }]
    }

    #[test]
    fn a_look_counts_when_the_observation_has_grown_by_half() {
        let (mut memory, wanted) = (ProcessMemory::default(), wanted(1));
        let mut numbers = Vec::new();
        for moment_ms in [100, 149, 150, 200, 224, 225, 1000, 1001] {
            let looks = memory.looks(&wanted, moment_ms);
            numbers.push((moment_ms, looks.number, looks.counted));
            memory.count(
                &wanted,
                moment_ms,
                BTreeMap::from([(ID.into(), Verdict::Held)]),
            );
        }
        let counted: Vec<u64> = numbers.iter().filter(|n| n.2).map(|n| n.0).collect();
        assert_eq!(counted, [100, 150, 225, 1000]);
        assert_eq!(numbers.last().unwrap().1, 4);
        let looks = memory.looks(&wanted, 1001);
        assert_eq!((looks.next_ms, looks.last[ID]), (Some(1500), Verdict::Held));
    }

    #[test]
    fn another_floor_is_another_question() {
        let mut memory = ProcessMemory::default();
        memory.count(&wanted(1), 100, BTreeMap::new());
        assert!(memory.looks(&wanted(2), 110).counted);
        for floor in 2..20 {
            memory.count(&wanted(floor), 100 + floor, BTreeMap::new());
        }
        assert_eq!(memory.looks.len(), MOST_FLOORS);
        assert!(memory.looks.contains_key("19000ms"));
    }

    #[test]
    fn a_completed_life_teaches_once() {
        let mut memory = ProcessMemory::default();
        let mut learn = |lives: &[u64]| memory.lessons(&look(1000, &[], lives), &[])[ID].clone();
        assert_eq!(learn(&[10, 10, 100]).lives.values().sum::<u64>(), 3);
        assert_eq!(learn(&[10, 10, 100]).lives.values().sum::<u64>(), 0);
        let more = learn(&[10, 10, 100, 10, 5000]);
        assert_eq!(
            (more.lives.values().sum::<u64>(), more.longest_ms),
            (2, 5000)
        );
    }

    #[test]
    fn an_accused_object_that_is_closed_was_a_false_alarm() {
        let mut memory = ProcessMemory::default();
        let first = look(100_000, &[1, 2, 3, 99_000], &[10]);
        memory.remember(&first, &wanted(5), &called(Verdict::Growing));
        assert_eq!(memory.accused[ID].held, 3);
        let still = memory.lessons(&look(110_000, &[1, 2, 3], &[10, 10]), &[]);
        assert_eq!(still[ID].false_alarms, 0, "the young one does not count");
        let closed = memory.lessons(&look(110_000, &[1, 3], &[10, 109_000]), &[]);
        assert_eq!(
            (closed[ID].false_alarms, closed[ID].longest_ms),
            (1, 109_000)
        );
    }

    #[test]
    fn what_nobody_accused_is_no_alarm_and_neither_is_an_exit() {
        let mut memory = ProcessMemory::default();
        let first = look(100_000, &[1, 2, 3], &[]);
        memory.remember(&first, &wanted(5), &called(Verdict::Suspect));
        assert!(memory.lessons(&look(110_000, &[], &[]), &[]).is_empty());
        memory.remember(&first, &wanted(5), &called(Verdict::Leak));
        let mut ended = look(110_000, &[], &[]);
        ended.process.alive = false;
        assert!(memory.lessons(&ended, &[]).is_empty());
    }

    fn with_points(births_ms: &[u64], points: &[(u64, u64)]) -> Snapshot {
        let mut snapshot = look(1000, births_ms, &[10]);
        let point = |(at_ms, births): &(u64, u64)| PointInfo {
            at_ms: *at_ms,
            births: *births,
            deaths: 0,
        };
        snapshot.sites.all[0].stats.points = points.iter().map(point).collect();
        snapshot
    }

    #[test]
    fn only_what_is_held_has_a_plateau() {
        let mut memory = ProcessMemory::default();
        let mut lesson = |verdict| {
            let lessons = memory.lessons(&with_points(&[1, 2, 3, 4, 5], &[]), &called(verdict));
            (lessons[ID].plateau, lessons[ID].growing)
        };
        assert_eq!(lesson(Verdict::Held), (Some(5), false));
        assert_eq!(lesson(Verdict::Early), (None, false));
        assert_eq!(lesson(Verdict::Growing), (None, true));
        assert_eq!(lesson(Verdict::Leak), (None, true));
    }

    #[test]
    fn what_came_in_the_second_half_is_no_plateau() {
        let mut memory = ProcessMemory::default();
        let young = [600, 700, 800, 900, 950];
        let mut plateau = |births_ms: &[u64], points: &[(u64, u64)]| {
            let look = with_points(births_ms, points);
            memory.lessons(&look, &called(Verdict::Held))[ID].plateau
        };
        assert_eq!(plateau(&young, &[(10, 2), (900, 5)]), None);
        // Others in the places of those that were there before.
        assert_eq!(plateau(&young, &[(10, 4), (900, 5)]), Some(5));
        assert_eq!(plateau(&[1, 2, 3, 4, 900], &[]), Some(5));
        assert_eq!(plateau(&young, &[]), None);
    }

    #[test]
    fn a_cache_of_blocks_is_known_by_its_blocks() {
        let mut snapshot = look(1000, &[1], &[]);
        snapshot.sites.all[0].kind = Some(Kind::Memory);
        let verdicts = by_id(&snapshot, &called(Verdict::Growing));
        assert_eq!(verdicts["memory-0000000000000001"], Verdict::Growing);
    }
}
