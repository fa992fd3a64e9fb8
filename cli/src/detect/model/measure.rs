//! One site measured: the age that counts as old, and what the three
//! questions find.

use std::borrow::Cow;

use super::closing::{Closing, closing};
use super::coming::{Births, Coming, coming};
use super::constants::{
    FALSE_SHARE, FEWEST_LIVES, FEWEST_RECENT, LEAST_FREED, LONG_ENOUGH, LOOK_GROWTH,
    MOMENTS_A_FLOOR, PLATEAU_NOISE, PLATEAU_SLACK, STILL_FLOOR, TIMES_LONGEST, TIMES_Q99,
    TIMES_STILL,
};
use super::data::{Holding, SiteData};
use super::lives::Lives;
use super::using::{Using, unused, using};
use crate::detect::context::Prior;
use crate::model::Verdict;

/// What was found of one site.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    /// Age from which something counts as old
    pub old_ms: u64,
    /// How long the site has been observed
    pub observed_ms: u64,
    /// How long it has stood still since
    pub still_ms: u64,
    /// Held now, raw
    pub held: u64,
    /// Q1; none where the site hardly ever gave anything back
    pub closing: Option<Closing>,
    /// Q2
    pub coming: Coming,
    /// Q3
    pub using: Using,
    /// Looks that may have judged this site so far, this one included
    pub looks: u32,
    /// No more are held than an earlier run held without growing further
    pub within_plateau: bool,
    /// Looks that must come first, after a false alarm
    pub extra_looks: u32,
    /// Age that its like reach when they are given back
    pub working_ms: f64,
    /// Longest pause that one of its site woke from
    pub woken_gap_ms: u64,
    /// The chances found without what earlier runs taught, which can only
    /// make a verdict more careful
    pub unlearned: Chances,
}

/// How likely a healthy site looks like this one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Chances {
    /// All three questions
    pub all: f64,
    /// New ones keep coming, and either of the other two; where closing could
    /// not be asked, that alone
    pub growth: f64,
}

impl Measured {
    /// Old survivors.
    #[must_use]
    pub fn old(&self) -> u64 {
        self.coming.before + self.coming.lately
    }

    /// Whether too few are left of what such a verdict was about.
    #[must_use]
    pub fn is_over(&self, verdict: Verdict) -> bool {
        let used = match verdict {
            Verdict::Leak => self.using.busy,
            _ => 0,
        };
        self.old().saturating_sub(used) < FEWEST_RECENT
    }

    /// The chance that the old ones are given up no more, by all that is asked
    /// of them but whether more come; none where that is not sure.
    #[must_use]
    pub fn still_lost(&self) -> Option<f64> {
        let chance = self.closing?.chance().max(self.using.chance());
        let sure = self.spend(chance) <= FALSE_SHARE && !self.is_over(Verdict::Leak);
        sure.then_some(chance)
    }

    /// How long a site must be observed before anything is said of it.
    #[must_use]
    pub fn long_enough_ms(&self) -> u64 {
        self.old_ms.saturating_mul(LONG_ENOUGH)
    }

    /// Whether all that it made came at once, and nothing more for long. One
    /// that worked for longer may wait for its next request; but not for ever.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        let done_ms = self.observed_ms.saturating_mul(TIMES_STILL);
        let done_ms = done_ms.max(STILL_FLOOR.as_millis() as u64);
        let at_once = self.observed_ms <= self.old_ms;
        let still_ms = self.still_ms;
        still_ms > 0 && still_ms >= self.long_enough_ms() && (at_once || still_ms >= done_ms)
    }

    /// Whether something is old and nobody uses it, or nothing tells.
    #[must_use]
    pub fn is_lost(&self, one: &Holding, now_ms: u64) -> bool {
        let old = now_ms.saturating_sub(one.born_ms) > self.old_ms;
        old && unused(one, now_ms, self.working_ms, self.woken_gap_ms) != Some(false)
    }

    /// What needs all answers is as unlikely to be wrong as the likeliest of
    /// them (Berger 1982, Technometrics 24:295).
    #[must_use]
    pub fn chances(&self) -> Chances {
        if self.coming.lately < FEWEST_RECENT {
            return Chances {
                all: 1.0,
                growth: 1.0,
            };
        }
        let (coming, using) = (self.coming.chance(), self.using.chance());
        let stopped = self.closing.map(|closing| closing.chance());
        let either = stopped.map_or(0.0, |stopped| (2.0 * stopped.min(using)).min(1.0));
        Chances {
            all: stopped
                .unwrap_or(1.0)
                .max(coming)
                .max(self.by_moments())
                .max(using)
                .max(self.unlearned.all),
            growth: coming.max(either).max(self.unlearned.growth),
        }
    }

    /// Whether those that stay came at enough moments for a leak.
    fn by_moments(&self) -> f64 {
        if self.coming.moments_lately < FEWEST_RECENT {
            1.0
        } else {
            self.coming.chance_by_moments()
        }
    }

    /// Whether nothing but the few moments at which they came speaks against a
    /// leak.
    #[must_use]
    pub fn came_seldom(&self) -> bool {
        let passes = |chance| self.spend(chance) <= FALSE_SHARE;
        let stopped = self.closing.is_some_and(|closing| passes(closing.chance()));
        stopped && passes(self.using.chance()) && !passes(self.by_moments())
    }

    /// What one look may err is shared out over all looks: the sum of
    /// 1/(j(j+1)) is 1 however many there are.
    #[must_use]
    pub fn spend(&self, chance: f64) -> f64 {
        let look = f64::from(self.looks.max(1));
        (chance * look * (look + 1.0)).min(1.0)
    }
}

/// Measures a site at the `number`th counted look.
#[must_use]
pub fn measure(site: &SiteData<'_>, number: u32) -> Measured {
    let mut live = Cow::Borrowed(&site.live[..]);
    if !live.is_sorted_by_key(|one| one.born_ms) {
        live.to_mut().sort_unstable_by_key(|one| one.born_ms);
    }
    let unlearned = measure_by(site, &live, &Prior::default(), number);
    match &site.prior {
        None => unlearned,
        Some(prior) => Measured {
            unlearned: unlearned.chances(),
            ..measure_by(site, &live, prior, number)
        },
    }
}

/// `live` is what is held, by birth.
fn measure_by(site: &SiteData<'_>, live: &[Holding], prior: &Prior, number: u32) -> Measured {
    let lives = Lives::new(site.lifetimes, site.longest_ms);
    let old_ms = old_age_ms(&lives, site, prior);
    let observed_ms = site.now_ms.saturating_sub(site.since_ms);
    let old_until = site.now_ms.saturating_sub(old_ms);
    let old = &live[..live.partition_point(|one| one.born_ms < old_until)];
    let old_births: Vec<u64> = old.iter().map(|one| one.born_ms).collect();
    let working_ms = lives.upper_ms(0.99);
    Measured {
        old_ms,
        observed_ms,
        still_ms: site.still_ms,
        held: live.len() as u64,
        closing: gives_back(site).then(|| {
            let ages = live
                .iter()
                .map(|one| site.now_ms.saturating_sub(one.born_ms) as f64);
            closing(&lives, ages, lives.lower_ms(0.9), old_ms as f64)
        }),
        coming: coming(
            &old_births,
            &births(site),
            site.since_ms,
            old_until,
            site.floor_ms / MOMENTS_A_FLOOR,
        ),
        using: using(old, site.now_ms, working_ms, prior.woken_gap_ms),
        looks: looks_so_far(number, observed_ms, site.floor_ms),
        within_plateau: is_within_plateau(site, live.len() as f64, prior),
        extra_looks: prior.extra_looks,
        working_ms,
        woken_gap_ms: prior.woken_gap_ms,
        unlearned: Chances::default(),
    }
}

/// Beyond what the site, in this run or an earlier one, was ever seen to end
/// by itself, and beyond the floor.
fn old_age_ms(lives: &Lives<'_>, site: &SiteData<'_>, prior: &Prior) -> u64 {
    let usual = TIMES_Q99 * lives.upper_ms(0.99).max(prior.q99_ms as f64);
    let longest = TIMES_LONGEST * site.longest_ms.max(prior.longest_ms) as f64;
    site.floor_ms.max(usual.max(longest).ceil() as u64)
}

/// Whether an earlier run that grew no further held about as many.
fn is_within_plateau(site: &SiteData<'_>, held: f64, prior: &Prior) -> bool {
    prior.plateau.is_some_and(|most| {
        let most = most as f64;
        let noise = if site.sampled {
            PLATEAU_NOISE * (most + held).sqrt()
        } else {
            0.0
        };
        held <= most * PLATEAU_SLACK + noise
    })
}

fn gives_back(site: &SiteData<'_>) -> bool {
    site.deaths >= FEWEST_LIVES && site.deaths as f64 >= LEAST_FREED * site.births as f64
}

fn births<'a>(site: &SiteData<'a>) -> Births<'a> {
    Births {
        points: site.points,
        first_ms: site.first_ms,
        now_ms: site.now_ms,
        total: site.births,
    }
}

/// No look judges a site before it was observed for [`LONG_ENOUGH`] times the
/// floor, and from then on each must have seen it for half as long again.
fn looks_so_far(number: u32, observed_ms: u64, floor_ms: u64) -> u32 {
    let first_ms = floor_ms.saturating_mul(LONG_ENOUGH) as f64;
    let grown = (observed_ms as f64 / first_ms).max(1.0).ln() / LOOK_GROWTH.ln();
    let most = 1.0 + grown.floor();
    number.clamp(
        1,
        if most.is_finite() {
            most as u32
        } else {
            u32::MAX
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::hist::{BUCKETS, bucket};

    fn site(lifetimes: &[u64; BUCKETS], longest_ms: u64) -> SiteData<'_> {
        SiteData {
            births: 1_000,
            deaths: lifetimes.iter().sum(),
            lifetimes,
            longest_ms,
            points: &[],
            first_ms: 0,
            since_ms: 0,
            now_ms: 1_000_000,
            still_ms: 0,
            live: vec![],
            sampled: false,
            floor_ms: 30_000,
            prior: None,
        }
    }

    #[test]
    fn old_is_beyond_lives_floor_and_prior() {
        let none = [0; BUCKETS];
        assert_eq!(measure(&site(&none, 0), 1).old_ms, 30_000);
        assert_eq!(measure(&site(&none, 40_000), 1).old_ms, 60_000);
        let mut lives = none;
        lives[bucket(20_000)] = 100;
        assert!((80_000..=160_000).contains(&measure(&site(&lives, 40_000), 1).old_ms));
        let taught = SiteData {
            prior: Some(Prior {
                longest_ms: 400_000,
                ..Prior::default()
            }),
            ..site(&lives, 40_000)
        };
        assert_eq!(measure(&taught, 1).old_ms, 600_000);
    }

    #[test]
    fn what_was_made_at_once_settles_and_what_waits_for_more_work_does_not() {
        let none = [0; BUCKETS];
        let settled = |worked_ms, still_ms| {
            let site = SiteData {
                now_ms: worked_ms,
                still_ms,
                floor_ms: 5_000,
                ..site(&none, 0)
            };
            measure(&site, 1).has_settled()
        };
        assert!(settled(100, 15_000) && settled(5_000, 15_000));
        assert!(!settled(100, 14_000), "too short to tell");
        assert!(!settled(100_000, 600_000), "its requests may come again");
        assert!(!settled(10_000, 599_000) && settled(10_000, 600_000));
        assert!(settled(100_000, 1_000_000), "it is done");
    }

    #[test]
    fn samples_of_a_full_cache_vary_from_run_to_run() {
        let none = [0; BUCKETS];
        let taught = |held: u64, sampled| SiteData {
            live: vec![Holding::silent(0); held as usize],
            sampled,
            prior: Some(Prior {
                plateau: Some(11),
                ..Prior::default()
            }),
            ..site(&none, 0)
        };
        let within = |held, sampled| measure(&taught(held, sampled), 1).within_plateau;
        assert!(within(13, false) && !within(15, false));
        assert!(within(15, true) && within(24, true) && !within(27, true));
    }

    #[test]
    fn looks_count_from_the_first_that_could_judge() {
        assert_eq!(looks_so_far(1, 1_000_000, 5_000), 1);
        assert_eq!(looks_so_far(12, 15_000, 5_000), 1);
        assert_eq!(looks_so_far(12, 23_000, 5_000), 2);
        assert_eq!(looks_so_far(3, 1_000_000, 5_000), 3);
        assert_eq!(looks_so_far(7, 1_000, 0), 7);
    }

    #[test]
    fn what_hardly_ever_gives_back_has_no_first_question() {
        let mut lives = [0; BUCKETS];
        lives[3] = 99;
        assert_eq!(measure(&site(&lives, 3), 1).closing, None);
        lives[3] = 100;
        assert!(measure(&site(&lives, 3), 1).closing.is_some());
    }
}
