//! Runs of a pattern, looked at as `report` would.

use memguard::detect::decide::at_this_look;
use memguard::detect::model::{Sort, judge, measure};
use memguard::detect::{Context, Looks, Prior};
use memguard::model::Verdict;

use super::patterns::{PATTERNS, Pattern};
use super::random::Random;
use super::site::{Activity, Recorded};
use super::thing::Thing;

/// How the runs are looked at.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    pub runs: u64,
    pub seed: u64,
    /// Moments of the looks, in seconds
    pub looks: &'a [f64],
    pub activity: Activity,
    /// Whether an earlier run taught anything
    pub learned: bool,
    /// Replaces the floor of the pattern's kind
    pub floor_s: Option<f64>,
}

impl Setting<'_> {
    /// The first runs of a program, with activity known.
    pub fn first(runs: u64) -> Self {
        Self {
            runs,
            seed: 1,
            looks: &[],
            activity: Activity::Known,
            learned: false,
            floor_s: None,
        }
    }
}

/// How many runs got which verdict, at the worst of all their looks.
#[derive(Debug, Default, Clone, Copy)]
pub struct Shares {
    pub leak: u64,
    pub growing: u64,
    pub suspect: u64,
    pub held: u64,
    pub early: u64,
    /// Of those that were a leak at any look, those that were one at the last
    pub at_last: u64,
    /// Those that the last look calls anything but held or early
    pub accused: u64,
}

impl Shares {
    fn add(&mut self, worst: Verdict) {
        *match worst {
            Verdict::Leak => &mut self.leak,
            Verdict::Growing => &mut self.growing,
            Verdict::Suspect => &mut self.suspect,
            Verdict::Held => &mut self.held,
            Verdict::Early => &mut self.early,
        } += 1;
    }
}

/// Every run's worst verdict.
pub fn simulate(pattern: &Pattern, setting: &Setting<'_>) -> Shares {
    let mut shares = Shares::default();
    for run in 0..setting.runs {
        let mut random = Random::new(setting.seed << 32 | run << 8);
        let until = setting.looks.last().copied().unwrap_or_default();
        let prior = setting.learned.then(|| {
            let mut earlier = Random::new(setting.seed << 32 | run << 8 | 1);
            lesson(pattern, &mut earlier, setting.activity)
        });
        let things = made(pattern, pattern.make, &mut random, until);
        let mut looker = Looker::new(pattern, setting, prior);
        let looks = setting.looks.iter();
        let verdicts: Vec<Verdict> = looks
            .map(|now| looker.look(&recorded(pattern, &things, *now, setting)))
            .collect();
        shares.add(
            verdicts
                .iter()
                .copied()
                .min_by_key(rank)
                .unwrap_or(Verdict::Early),
        );
        shares.at_last += u64::from(verdicts.last() == Some(&Verdict::Leak));
        shares.accused += u64::from(verdicts.last().is_some_and(|last| *last < Verdict::Early));
    }
    shares
}

/// Held says more than early: once seen for long enough, that is the word.
fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Leak => 0,
        Verdict::Growing => 1,
        Verdict::Suspect => 2,
        Verdict::Held => 3,
        Verdict::Early => 4,
    }
}

/// What an earlier run of three hours taught: a healthy program's, or a leaky
/// one's before its leak.
fn lesson(pattern: &Pattern, random: &mut Random, activity: Activity) -> Prior {
    const LOOKS: [f64; 6] = [300.0, 600.0, 1200.0, 1800.0, 5400.0, 10800.0];
    let make = pattern.before.unwrap_or(pattern.make);
    let things = made(pattern, make, random, LOOKS[5]);
    let setting = Setting {
        activity,
        ..Setting::first(1)
    };
    let (mut plateau, mut looker) = (None, Looker::new(pattern, &setting, None));
    for now in LOOKS {
        let recorded = recorded(pattern, &things, now, &setting);
        // What grows after all had no plateau.
        plateau = match looker.look(&recorded) {
            Verdict::Held => recorded.plateau().max(plateau),
            Verdict::Early => plateau,
            _ => None,
        };
    }
    recorded(pattern, &things, LOOKS[5], &setting).lesson(plateau)
}

/// In the order of their births; of blocks only those that are sampled.
fn made(
    pattern: &Pattern,
    make: fn(&mut Random, f64) -> Vec<Thing>,
    random: &mut Random,
    until: f64,
) -> Vec<Thing> {
    let mut things = make(random, until);
    if let Some(share) = pattern.sampled {
        things.retain(|_| random.chance(share));
    }
    things.sort_by(|a, b| a.born.total_cmp(&b.born));
    things
}

fn recorded(pattern: &Pattern, things: &[Thing], now: f64, setting: &Setting<'_>) -> Recorded {
    let is_sampled = pattern.sampled.is_some();
    let activity = if is_sampled {
        Activity::Unknown
    } else {
        setting.activity
    };
    Recorded::until(things, now, activity, is_sampled)
}

/// Looks at one run, again and again; each look counts.
struct Looker {
    floor_s: f64,
    sort: Sort,
    prior: Option<Prior>,
    looks: Looks,
}

impl Looker {
    fn new(pattern: &Pattern, setting: &Setting<'_>, prior: Option<Prior>) -> Self {
        Self {
            floor_s: setting.floor_s.unwrap_or(pattern.floor_s),
            sort: if pattern.sampled.is_some() {
                Sort::Roomy
            } else {
                Sort::Scarce
            },
            prior,
            looks: Looks {
                number: 0,
                ..Looks::default()
            },
        }
    }

    fn look(&mut self, recorded: &Recorded) -> Verdict {
        self.looks.number += 1;
        let found = measure(&recorded.data(self.floor_s, self.prior), self.looks.number);
        let now = judge(&[found], self.sort, self.looks.number)[0];
        let context = Context {
            looks: self.looks.clone(),
            ..Context::default()
        };
        let verdict = at_this_look(now, &found, "site", &context).verdict;
        self.looks.last.insert("site".to_owned(), verdict);
        verdict
    }
}

/// Seconds until half of the runs of a 10 % leak at 2 a second are found,
/// when somebody asks every second.
pub fn median_time_to_detect(floor_s: f64, runs: u64) -> f64 {
    let pattern = PATTERNS
        .iter()
        .find(|one| one.name == "10 % of 2 a second")
        .unwrap();
    let mut found: Vec<f64> = (0..runs)
        .map(|run| {
            let mut random = Random::new(7 << 32 | run << 8);
            let things = made(pattern, pattern.make, &mut random, 600.0);
            let setting = Setting {
                floor_s: Some(floor_s),
                ..Setting::first(1)
            };
            let mut looker = Looker::new(pattern, &setting, None);
            let mut looks = counted_looks(600.0).into_iter();
            let is_found = |now: &f64| {
                looker.look(&recorded(pattern, &things, *now, &setting)) == Verdict::Leak
            };
            looks.find(is_found).unwrap_or(f64::INFINITY)
        })
        .collect();
    found.sort_by(f64::total_cmp);
    found[found.len() / 2]
}

/// The looks that count, of one every second.
fn counted_looks(until: f64) -> Vec<f64> {
    let mut looks: Vec<f64> = Vec::new();
    for second in 1..=until as u64 {
        let now = second as f64;
        if looks.last().is_none_or(|last| now >= 1.5 * last) {
            looks.push(now);
        }
    }
    looks
}
