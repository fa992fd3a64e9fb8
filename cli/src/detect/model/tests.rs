//! What must hold of the model whatever it is told.

use proptest::prelude::*;
use shm_protocol::hist::{BUCKETS, bucket};
use shm_protocol::view::PointInfo;

use super::*;
use crate::detect::context::Prior;
use crate::model::Verdict;

/// A site that can be owned.
#[derive(Debug, Clone)]
struct Made {
    births: u64,
    lifetimes: [u64; BUCKETS],
    longest_ms: u64,
    points: Vec<PointInfo>,
    now_ms: u64,
    live: Vec<Holding>,
    floor_ms: u64,
    prior: Option<Prior>,
}

impl Made {
    fn data(&self) -> SiteData<'_> {
        SiteData {
            births: self.births,
            deaths: self
                .lifetimes
                .iter()
                .fold(0, |sum: u64, n| sum.saturating_add(*n)),
            lifetimes: &self.lifetimes,
            longest_ms: self.longest_ms,
            points: &self.points,
            first_ms: 0,
            since_ms: 0,
            still_ms: 0,
            sampled: false,
            now_ms: self.now_ms,
            live: self.live.clone(),
            floor_ms: self.floor_ms,
            prior: self.prior,
        }
    }

    fn verdict(&self, look: u32) -> Verdict {
        self.decision(look).verdict
    }

    fn decision(&self, look: u32) -> Decision {
        judge(&[measure(&self.data(), look)], Sort::Scarce, look)[0]
    }
}

/// A site that closes most of what it makes and keeps some, seen for long.
fn plausible() -> impl Strategy<Value = Made> {
    let lives = proptest::collection::vec(1..20_000u64, 0..300);
    let held = proptest::collection::vec((0..3_600_000u64, any::<bool>()), 0..60);
    (lives, held).prop_map(|(lives, held)| {
        let mut lifetimes = [0; BUCKETS];
        lives.iter().for_each(|ms| lifetimes[bucket(*ms)] += 1);
        let live = held.iter().map(|(born_ms, idle)| Holding {
            born_ms: *born_ms,
            idle: Idle::Known(if *idle { 3_600_000 - born_ms } else { 0 }),
            abandoned: false,
        });
        Made {
            births: (lives.len() + held.len()) as u64,
            lifetimes,
            longest_ms: lives.iter().max().copied().unwrap_or(0),
            points: vec![],
            now_ms: 3_600_000,
            live: live.collect(),
            floor_ms: 30_000,
            prior: None,
        }
    })
}

/// Whatever a hostile program may have written.
fn absurd() -> impl Strategy<Value = Made> {
    let counts = proptest::collection::vec(any::<u64>(), BUCKETS);
    let points = proptest::collection::vec((any::<u64>(), any::<u64>()), 0..24);
    let idle = prop_oneof![Just(Idle::Unknown), any::<u64>().prop_map(Idle::Known)];
    let held = (any::<u64>(), idle, any::<bool>()).prop_map(|(born_ms, idle, abandoned)| Holding {
        born_ms,
        idle,
        abandoned,
    });
    let live = proptest::collection::vec(held, 0..40);
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    let prior = proptest::option::of((any::<u64>(), any::<u64>(), any::<u32>()).prop_map(
        |(long, gap, extra_looks)| Prior {
            q90_ms: gap,
            q99_ms: long,
            longest_ms: long,
            woken_gap_ms: gap,
            plateau: Some(long),
            extra_looks,
            ..Prior::default()
        },
    ));
    (counts, points, live, numbers, prior).prop_map(|(counts, points, live, numbers, prior)| {
        let point = |(at_ms, births)| PointInfo {
            at_ms,
            births,
            deaths: 0,
        };
        Made {
            births: numbers.0,
            lifetimes: counts.try_into().unwrap(),
            longest_ms: numbers.1,
            points: points.into_iter().map(point).collect(),
            now_ms: numbers.2,
            live,
            floor_ms: numbers.3,
            prior,
        }
    })
}

proptest! {
    #[test]
    fn any_site_is_survived(sites in proptest::collection::vec(absurd(), 0..4), look in any::<u32>()) {
        let measured: Vec<Measured> = sites.iter().map(|site| measure(&site.data(), look)).collect();
        for decision in judge(&measured, Sort::Roomy, look) {
            prop_assert!((0.0..=1.0).contains(&decision.chance));
            prop_assert!(decision.confidence.is_none_or(|sure| (0.0..=0.99).contains(&sure)));
        }
        for (site, found) in sites.iter().zip(&measured) {
            prop_assert!(found.coming.per_hour().is_finite());
            let (old, births) = found.coming.of_births();
            if let Some(share) = fraction(old, births) {
                prop_assert!(0.0 <= share.low && share.low <= share.share && share.share <= share.high && share.high <= 1.0);
            }
            let mut ages: Vec<u64> = site.live.iter().map(|one| one.born_ms).collect();
            let curve = survival(&Lives::new(&site.lifetimes, site.longest_ms), &mut ages);
            prop_assert!(curve.iter().all(|(age, share)| age.is_finite() && (0.0..=1.0).contains(share)));
        }
    }

    #[test]
    fn one_more_recent_idle_survivor_lowers_no_suspicion(site in plausible(), look in 1..9u32) {
        let before = measure(&site.data(), look);
        let mut more = site.clone();
        more.births += 1;
        let middle = (site.now_ms - before.old_ms) / 2;
        more.live.push(Holding {
            born_ms: middle,
            idle: Idle::Known(site.now_ms - middle),
            abandoned: false,
        });
        let (was, is) = (site.decision(look), more.decision(look));
        // It also makes the site one that closes a little less: right at a bound that decides.
        let less_sure = was.chance < is.chance && is.chance <= was.chance * 1.05;
        // Of another tier the chance is another one.
        let a_leak_just_so = was.verdict == Verdict::Leak && was.chance * 1.05 > constants::FALSE_SHARE;
        let at_a_bound = less_sure || a_leak_just_so;
        prop_assert!(is.verdict <= was.verdict || at_a_bound, "{was:?}, {is:?} of {before:?}");
    }

    #[test]
    fn what_holds_nothing_old_is_no_leak(site in plausible(), look in 1..9u32) {
        let mut all_closed = site.clone();
        all_closed.live.clear();
        prop_assert!(all_closed.verdict(look) >= Verdict::Early);
    }

    #[test]
    fn used_things_are_never_a_leak(site in plausible(), look in 1..9u32) {
        let mut used = site.clone();
        used.live.iter_mut().for_each(|one| one.idle = Idle::Known(0));
        prop_assert!(used.verdict(look) > Verdict::Growing);
        used.live.iter_mut().for_each(|one| one.idle = Idle::Unknown);
        prop_assert!(used.verdict(look) > Verdict::Growing);
    }

    #[test]
    fn order_does_not_matter(site in plausible(), seed in 0..97usize) {
        let mut turned = site.clone();
        let by = seed % turned.live.len().max(1);
        turned.live.rotate_left(by);
        turned.live.reverse();
        prop_assert_eq!(measure(&turned.data(), 2), measure(&site.data(), 2));
    }

    #[test]
    fn more_looks_and_earlier_runs_only_make_it_careful(site in plausible(), longest_ms in 0..2_000_000u64) {
        if site.verdict(1) != Verdict::Leak {
            prop_assert!(site.verdict(5) != Verdict::Leak);
        }
        let taught = Made {
            prior: Some(Prior { longest_ms, woken_gap_ms: longest_ms / 4, ..Prior::default() }),
            ..site.clone()
        };
        if site.verdict(1) != Verdict::Leak {
            prop_assert!(taught.verdict(1) != Verdict::Leak);
        }
    }
}
