//! Sites that give back all they should.

use super::patterns::FILES_S;
use super::random::Random;
use super::thing::{Thing, Used, arrivals, forgotten, working};

pub fn short(random: &mut Random, until: f64) -> Vec<Thing> {
    let births = arrivals(random, until, 5.0);
    let live = |born| working(born, random.exponential(0.5));
    births.into_iter().map(live).collect()
}

/// Busy for a time of any order of magnitude, then idle until the timeout.
pub fn keep_alive(random: &mut Random, until: f64) -> Vec<Thing> {
    let timeout = random.between(75.0, 600.0);
    let births = arrivals(random, until, 0.5);
    let live = |born| {
        let busy = random.log_normal(5.0, 2.0);
        Thing {
            born,
            ends: born + busy + timeout,
            used: Used::Until(born + busy),
        }
    };
    births.into_iter().map(live).collect()
}

/// Half an hour in the mean; silent ones are used at their start only.
pub fn websockets(random: &mut Random, until: f64, silent: f64) -> Vec<Thing> {
    let share = random.between(0.01, 0.05);
    let births = arrivals(random, until, 5.0);
    let live = |born| {
        if !random.chance(share) {
            return working(born, random.exponential(0.5));
        }
        let used = if random.chance(silent) {
            Used::Until(born + 1.0)
        } else {
            Used::Every(random.between(15.0, 60.0))
        };
        Thing {
            born,
            ends: born + random.exponential(1800.0),
            used,
        }
    };
    births.into_iter().map(live).collect()
}

pub fn fixed_pool(random: &mut Random, until: f64) -> Vec<Thing> {
    let size = random.between(10.0, 100.0) as usize;
    let warm = random.between(1.0, 60.0);
    (0..size)
        .map(|_| Thing {
            born: random.between(0.0, warm.min(until)),
            ends: f64::INFINITY,
            used: Used::Every(random.exponential(120.0)),
        })
        .collect()
}

/// Each is replaced after half an hour, less a tenth or so.
pub fn living_pool(random: &mut Random, until: f64) -> Vec<Thing> {
    let size = random.between(10.0, 50.0) as usize;
    let most = random.between(300.0, 1800.0);
    let life = |random: &mut Random| most * random.between(0.9, 1.0);
    replaced(random, until, (size, 30.0), life, 60.0)
}

/// Misses get rarer as it fills; entries are touched again now and then.
pub fn cache(random: &mut Random, until: f64) -> Vec<Thing> {
    let cap = random.between(50.0, 500.0);
    let fills_s = random.between(60.0, 1800.0);
    let mut all: Vec<Thing> = Vec::new();
    for born in arrivals(random, until, 3.0 * cap / fills_s) {
        let held = all.len() as f64;
        if held < cap && random.chance(1.0 - held / cap) {
            all.push(Thing {
                born,
                ends: f64::INFINITY,
                used: Used::Every(random.exponential(600.0)),
            });
        }
    }
    all
}

pub fn ramp(random: &mut Random, until: f64) -> Vec<Thing> {
    let mean = random.between(0.5, 10.0);
    let births = arrivals(random, until, 5.0);
    let mut all = Vec::new();
    for born in births {
        if random.chance(born / until) {
            all.push(working(born, random.exponential(mean)));
        }
    }
    all
}

pub fn start_up(random: &mut Random, until: f64) -> Vec<Thing> {
    let size = random.between(5.0, 200.0) as usize;
    (0..size)
        .map(|_| forgotten(random.between(0.0, until.min(10.0)), 0.1))
        .collect()
}

/// Opened together, closed together when the work is done.
pub fn batch(random: &mut Random, until: f64) -> Vec<Thing> {
    let every = random.between(120.0, 600.0);
    let size = random.between(10.0, 100.0) as usize;
    let works_s = every * random.between(0.1, 0.9);
    let mut all = Vec::new();
    let mut at = random.between(0.0, every);
    while at < until {
        let life = works_s * random.between(0.8, 1.2);
        for _ in 0..size {
            let born = at + random.between(0.0, 2.0);
            all.push(Thing {
                born,
                ends: at + life,
                used: Used::Until(born + random.between(0.0, life * 0.5)),
            });
        }
        at += every;
    }
    all
}

/// All that it ever holds comes within the least age that counts as old.
pub fn quick_start(random: &mut Random, until: f64) -> Vec<Thing> {
    let size = random.between(10.0, 300.0) as usize;
    let takes_s = random.between(5.0, FILES_S - 1.0).min(until);
    (0..size)
        .map(|_| forgotten(random.between(0.0, takes_s), 0.1))
        .collect()
}

/// Modules that are loaded when they are first needed, some at a time, and
/// what is given back at once between them.
pub fn stages(random: &mut Random, until: f64, short_per_second: f64) -> Vec<Thing> {
    let mut all = Vec::new();
    if short_per_second > 0.0 {
        let births = arrivals(random, until, short_per_second);
        all.extend(
            births
                .into_iter()
                .map(|born| working(born, random.exponential(0.5))),
        );
    }
    let (mut at, stages) = (0.0, random.between(3.0, 6.0) as usize);
    for _ in 0..stages {
        let size = random.between(5.0, 50.0) as usize;
        let births = (0..size).map(|_| at + random.between(0.0, 2.0));
        all.extend(
            births
                .filter(|born| *born < until)
                .map(|born| forgotten(born, 0.1)),
        );
        at += random.between(60.0, 400.0);
    }
    all
}

/// As many as fit from its second minute on; each makes room for another.
pub fn replacing_cache(random: &mut Random, until: f64) -> Vec<Thing> {
    let cap = random.between(100.0, 500.0) as usize;
    let median = random.between(200.0, 1200.0);
    let life = |random: &mut Random| random.log_normal(median, 1.0);
    replaced(random, until, (cap, 60.0), life, 600.0)
}

/// So many places, filled within so many seconds; another thing takes the place
/// of each that ends.
fn replaced(
    random: &mut Random,
    until: f64,
    (places, filled_s): (usize, f64),
    life: impl Fn(&mut Random) -> f64,
    used_each_s: f64,
) -> Vec<Thing> {
    let mut all = Vec::new();
    for _ in 0..places {
        let mut born = random.between(0.0, filled_s);
        while born < until {
            let life = life(random);
            all.push(Thing {
                born,
                ends: born + life,
                used: Used::Every(random.exponential(used_each_s)),
            });
            born += life;
        }
    }
    all
}

/// All are closed when nothing was asked for long, and made again one by one.
pub fn refilled_pool(random: &mut Random, until: f64) -> Vec<Thing> {
    let size = random.between(20.0, 60.0) as usize;
    let (step, lasts) = (random.between(2.0, 15.0), random.between(300.0, 900.0));
    let (mut all, mut at) = (Vec::new(), 0.0);
    while at < until {
        let ends = at + step * size as f64 + lasts;
        let births = (0..size).map(|nth| at + step * nth as f64);
        all.extend(births.filter(|born| *born < until).map(|born| Thing {
            born,
            ends,
            used: Used::Every(random.exponential(60.0)),
        }));
        at = ends + random.between(10.0, 120.0);
    }
    all
}

/// Full within minutes, and then still.
pub fn full_cache(random: &mut Random, until: f64) -> Vec<Thing> {
    let fills_s = random.between(100.0, 400.0).min(until);
    let births = (0..CACHE_CAP).map(|_| random.between(0.0, fills_s));
    let touched = births.map(|born| forgotten(born, 0.1));
    touched.chain(misses(until)).collect()
}

/// Entries of the caches that are sampled: some 20 samples.
pub const CACHE_CAP: usize = 400;

/// What is made and, since the cache is full, thrown away again: it goes on.
pub fn misses(until: f64) -> impl Iterator<Item = Thing> {
    (0..until as usize).map(|second| working(second as f64, 0.01))
}
