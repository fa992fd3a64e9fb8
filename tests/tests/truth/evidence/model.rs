//! What the lines count, counted again from the program's own log, by the
//! definitions of docs/DETECTION.md and not by the detector's code.

use shm_protocol::hist::{bucket, lower_bound_ms};

use super::log::{Life, Used};
use super::range::{CLOCK_STEP_S, Range};

/// A use right after the birth may read as one this much later.
pub const STAMP_S: f64 = 2.05;

/// One site in the log, as of one report.
#[derive(Debug)]
pub struct Site<'a> {
    /// All that it made
    pub all: Vec<&'a Life>,
    /// What one finding is about or counts beside that: held, and not another's
    pub held: Vec<&'a Life>,
    /// When the report looked
    pub at: Range,
}

impl<'a> Site<'a> {
    /// How long ago it was made, at the look.
    pub fn age(&self, life: &Life) -> Range {
        (self.at - life.made).wider(CLOCK_STEP_S)
    }

    /// How many it gave back.
    pub fn deaths(&self) -> usize {
        self.all.iter().filter(|life| !life.is_held()).count()
    }

    /// The lives it ended, in seconds.
    pub fn lives(&self) -> Vec<Range> {
        let lived = self.all.iter().filter_map(|life| life.lived());
        lived.map(|life| life.wider(CLOCK_STEP_S)).collect()
    }

    /// The longest of them.
    pub fn longest(&self) -> Range {
        Range::each(self.lives().into_iter(), f64::max).unwrap_or(Range::new(0.0, 0.0))
    }

    /// When it last did something, as far as a report may know: no earlier than
    /// the last that it still holds.
    pub fn last_sign(&self) -> Range {
        let held = self.all.iter().filter(|life| life.is_held());
        let least = held.map(|life| life.made.low).fold(f64::MIN, f64::max);
        let ends = self.all.iter().map(|life| life.ended.unwrap_or(life.made));
        let most = ends.map(|end| end.high).fold(f64::MIN, f64::max);
        let made = self.all.iter().map(|life| life.made.high);
        Range::new(least, most.max(made.fold(f64::MIN, f64::max))).wider(CLOCK_STEP_S)
    }

    /// From which age on something counts as old.
    pub fn old(&self, floor_s: f64) -> Range {
        let lives = self.lives();
        let q99 = |pick: fn(&Range) -> f64| {
            let mut sorted: Vec<f64> = lives.iter().map(pick).collect();
            sorted.sort_by(f64::total_cmp);
            let rank = (sorted.len() as f64 * 0.99).ceil().max(1.0) as usize;
            sorted.get(rank - 1).map_or(0.0, |life| {
                lower_bound_ms(bucket((life.max(0.0) * 1000.0) as u64) + 1) / 1000.0
            })
        };
        let longest = self.longest();
        let of = |q99: f64, longest: f64| floor_s.max(4.0 * q99.min(longest)).max(1.5 * longest);
        Range::new(
            of(q99(|life| life.low), longest.low.max(0.0)),
            of(q99(|life| life.high), longest.high) + 0.001,
        )
    }

    /// How many of what it holds were made before some moment.
    pub fn made_before(&self, moment: Range) -> Range {
        self.count(|life| life.made.wider(CLOCK_STEP_S), moment)
    }

    fn count(&self, made: impl Fn(&Life) -> Range, moment: Range) -> Range {
        let surely = self.held.iter().filter(|one| made(one).high < moment.low);
        let perhaps = self.held.iter().filter(|one| made(one).low < moment.high);
        Range::new(surely.count() as f64, perhaps.count() as f64)
    }

    /// What was made before some moment, given back or not.
    pub fn births_before(&self, moment: Range) -> Range {
        let before = |at: f64| self.all.iter().filter(|life| life.made.low < at).count() as f64;
        Range::new(before(moment.low), before(moment.high))
    }

    /// The first birth.
    pub fn first(&self) -> Range {
        Range::each(self.all.iter().map(|life| life.made), f64::min)
            .expect("a site made something")
            .wider(CLOCK_STEP_S)
    }

    /// Until when the old ones were made, and the middle of the time before.
    pub fn halves(&self, old: Range) -> (Range, Range) {
        let until = self.last_sign() - old;
        let middle = (self.first() + until).times(0.5, 0.5);
        (middle, until)
    }

    /// How long the old ones waited beyond the old age, all together.
    pub fn waited(&self, old: Range) -> Range {
        let last = self.last_sign();
        let waited = self.held.iter().map(|life| last - life.made - old);
        let zero = Range::new(0.0, 0.0);
        waited
            .map(|one| Range::new(one.low.max(0.0), one.high.max(0.0)))
            .fold(zero, |sum, one| sum + one)
    }

    /// Closes among the old that a quarter of the earlier rate would have seen.
    pub fn expected(&self, old: Range) -> Range {
        let slacks = [-CLOCK_STEP_S, 0.0, CLOCK_STEP_S];
        let each = slacks.map(|slack| self.expected_with(slack, (old.low + old.high) / 2.0));
        let (low, high) = each.iter().fold((f64::MAX, f64::MIN), |(low, high), one| {
            (low.min(*one), high.max(*one))
        });
        // Half an octave of the lives is as much in the rate.
        Range::new(low * 0.5, high * 2.0)
    }

    fn expected_with(&self, slack_s: f64, old_s: f64) -> f64 {
        let lived = self.all.iter().filter_map(|life| life.lived());
        let mut lives: Vec<f64> = lived
            .map(|life| ((life.low + life.high) / 2.0 + slack_s).max(0.0))
            .collect();
        lives.sort_by(f64::total_cmp);
        let Some(ninth) = lives.get((lives.len() as f64 * 0.9).ceil().max(1.0) as usize - 1) else {
            return 0.0;
        };
        // The library counts lives by half octave: each is taken for its middle.
        let longest_ms = lives.iter().copied().fold(0.0, f64::max) * 1000.0;
        let middle = |life: &f64| {
            let at = bucket((life * 1000.0) as u64);
            let (low, high) = (lower_bound_ms(at), lower_bound_ms(at + 1));
            (low.max(1.0) * high).sqrt().min(longest_ms.max(low)) / 1000.0
        };
        let from_s = (lower_bound_ms(bucket((ninth * 1000.0) as u64)) / 1000.0).min(old_s);
        let middles: Vec<f64> = lives.iter().map(middle).collect();
        let beyond = middles.iter().filter(|life| **life >= from_s);
        let (deaths, of_dead) = beyond.fold((0.0, 0.0), |(n, exposed), life| {
            (n + 1.0, exposed + life.min(old_s) - from_s)
        });
        let last = self.last_sign();
        let ages = self.held.iter().map(|life| last.low - life.made.low);
        let of_held: f64 = ages.map(|age| (age.min(old_s) - from_s).max(0.0)).sum();
        let sure = f64::max(deaths - 2.0 * f64::sqrt(deaths), 0.0);
        let waited = self.waited(Range::about(old_s, 0.0));
        0.25 * sure / (of_dead + of_held) * (waited.low + waited.high) / 2.0
    }

    /// Of the old ones: never used, used later, nobody knows.
    pub fn used(&self, old: Range) -> [Range; 3] {
        let last = self.last_sign();
        let of = |pick: fn(Used) -> bool, ages: Range| {
            let held = self.held.iter().copied().filter(|life| pick(life.used));
            let part = Self {
                all: self.all.clone(),
                held: held.collect(),
                at: self.at,
            };
            part.made_before(last - ages)
        };
        // Of a young one nobody knows in which second it was used.
        let unused = of(|used| used == Used::Never, old);
        let surely = of(
            |used| used == Used::Never,
            Range::new(old.low.max(STAMP_S), old.high.max(STAMP_S)),
        );
        let used = of(|used| matches!(used, Used::At(_)), old);
        [
            Range::new(surely.low, unused.high),
            Range::new(used.low, used.high + unused.high - surely.low),
            of(|used| used == Used::Unknown, old),
        ]
    }
}

/// The chance of at least so many, where so many are expected.
pub fn at_least(n: f64, mean: f64) -> f64 {
    let first = n.max(0.0) as u64;
    if first == 0 || mean <= 0.0 {
        return if first == 0 { 1.0 } else { 0.0 };
    }
    let ln_factorial = |n: u64| (1..=n).map(|i| (i as f64).ln()).sum::<f64>();
    let mut term = (-mean + first as f64 * mean.ln() - ln_factorial(first)).exp();
    let mut sum = 0.0;
    for next in first + 1..first + 2000 {
        sum += term;
        term *= mean / next as f64;
    }
    sum.min(1.0)
}

/// A share and Wilson's interval of it at 95 %.
pub fn wilson(part: f64, whole: f64) -> [f64; 3] {
    let (z, share) = (1.96_f64, part / whole);
    let scale = 1.0 + z * z / whole;
    let middle = (share + z * z / (2.0 * whole)) / scale;
    let spread = z / scale * (share * (1.0 - share) / whole + z * z / (4.0 * whole * whole)).sqrt();
    [share, middle - spread, middle + spread]
}
