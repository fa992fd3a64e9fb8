//! Sites that lose some or all of what they make.

use super::healthy::{CACHE_CAP, misses, quick_start};
use super::random::Random;
use super::thing::{Thing, arrivals, forgotten, working};

pub fn leak(random: &mut Random, until: f64, per_second: f64, share: f64, life: f64) -> Vec<Thing> {
    let births = arrivals(random, until, per_second);
    let live = |born| {
        let works = random.exponential(life);
        if random.chance(share) {
            forgotten(born, works)
        } else {
            working(born, works)
        }
    };
    births.into_iter().map(live).collect()
}

/// Reads its whole configuration, keeps some of what it opened, and waits.
pub fn slow_start(random: &mut Random, until: f64) -> Vec<Thing> {
    let takes_s = random.between(120.0, 300.0).min(until);
    leak(random, takes_s, 2.0, 0.2, 0.5)
}

/// The same, and its cap is no longer heeded.
pub fn endless_cache(random: &mut Random, until: f64) -> Vec<Thing> {
    let births = arrivals(random, until, CACHE_CAP as f64 / 300.0);
    let touched = births.into_iter().map(|born| forgotten(born, 0.1));
    touched.chain(misses(until)).collect()
}

/// Many in two seconds, then nothing at all for minutes.
pub fn at_once(random: &mut Random, until: f64, share: f64) -> Vec<Thing> {
    let (every, size) = (random.between(120.0, 360.0), random.between(100.0, 300.0));
    let size = if share < 1.0 { size } else { size / 10.0 };
    let (mut all, mut at) = (Vec::new(), random.between(0.0, 10.0));
    while at < until {
        for _ in 0..size as usize {
            let (born, works) = (at + random.between(0.0, 2.0), random.exponential(0.5));
            let stays = random.chance(share);
            all.push(if stays {
                forgotten(born, works)
            } else {
                working(born, works)
            });
        }
        at += every * random.between(0.8, 1.2);
    }
    all.retain(|thing| thing.born < until);
    all
}

/// What its start leaves is held for good; its work begins ten minutes later.
pub fn late_leak(random: &mut Random, until: f64) -> Vec<Thing> {
    let mut all = quick_start(random, until);
    all.truncate(100);
    let later = leak(random, (until - 600.0).max(0.0), 2.0, 0.1, 0.5);
    all.extend(later.into_iter().map(|thing| thing.later(600.0)));
    all
}

/// At work in the first and in the last third.
pub fn paused_leak(random: &mut Random, until: f64) -> Vec<Thing> {
    let mut all = leak(random, until, 2.0, 0.1, 0.5);
    all.retain(|thing| !(until / 3.0..until / 1.5).contains(&thing.born));
    all
}

/// Every now and then something fails for seconds, and nothing is closed then.
pub fn bursts(random: &mut Random, until: f64, every: f64) -> Vec<Thing> {
    let mut failing = Vec::new();
    let mut at = random.exponential(every / 1.5);
    while at < until {
        let lasts = random.between(2.0, 6.0);
        failing.push((at, at + lasts));
        at += lasts + random.exponential(every);
    }
    let births = arrivals(random, until, 2.0);
    let live = |born| {
        let works = random.exponential(0.5);
        let fails = failing
            .iter()
            .any(|(from, to)| (*from..*to).contains(&born));
        if fails {
            forgotten(born, works)
        } else {
            working(born, works)
        }
    };
    births.into_iter().map(live).collect()
}
