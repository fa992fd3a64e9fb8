//! How sites of real programs make, use and give back their things.

use super::random::Random;

/// One thing in its whole life, in seconds since the program's start.
#[derive(Clone, Copy)]
pub struct Thing {
    pub born: f64,
    /// Infinite when it is never given back
    pub ends: f64,
    pub used: Used,
}

/// When it is used.
#[derive(Clone, Copy)]
pub enum Used {
    /// Every so many seconds
    Every(f64),
    /// Until that moment
    Until(f64),
}

impl Thing {
    /// Seconds since its last use, at a moment of its life.
    pub fn idle(&self, now: f64) -> f64 {
        match self.used {
            Used::Every(gap) => (now - self.born) % gap,
            Used::Until(last) => (now - last).max(0.0),
        }
    }

    /// The same, so much later.
    fn later(self, by: f64) -> Self {
        Self {
            born: self.born + by,
            ends: self.ends + by,
            used: match self.used {
                Used::Until(last) => Used::Until(last + by),
                every @ Used::Every(_) => every,
            },
        }
    }

    /// The longest pause that it woke from.
    pub fn woken(&self) -> f64 {
        match self.used {
            Used::Every(gap) if gap < self.ends - self.born => gap,
            _ => 0.0,
        }
    }
}

/// A way of making and giving back.
pub struct Pattern {
    pub name: &'static str,
    pub kind: Health,
    /// The least age that counts as old: of sockets or of files
    pub floor_s: f64,
    /// Everything it makes until a moment
    pub make: fn(&mut Random, f64) -> Vec<Thing>,
    /// Blocks, of which only this share is recorded, and of whose use nothing
    /// tells
    pub sampled: Option<f64>,
    /// What an earlier run of it was like, where not as this one
    pub before: Option<fn(&mut Random, f64) -> Vec<Thing>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Healthy,
    /// Healthy, and made to look like a leak
    Adversarial,
    Leaky,
}

const FILES_S: f64 = 30.0;
const SOCKETS_S: f64 = 120.0;

/// Fifteen healthy ones, five that were made to deceive, fourteen leaks.
pub const PATTERNS: [Pattern; 34] = [
    healthy("short requests", short),
    connections("keep-alive, 75 to 600 s", keep_alive),
    connections("short, and 1 to 5 % websockets", |random, until| {
        websockets(random, until, 0.0)
    }),
    connections("fixed pool", fixed_pool),
    connections("pool with a maximal life", living_pool),
    healthy("cache that fills to its cap", cache),
    healthy("load that ramps up", ramp),
    healthy("static state of the start", start_up),
    healthy("periodic batch", batch),
    healthy("start-up of up to t*, then still", quick_start),
    healthy("filled in stages, then still", |random, until| {
        stages(random, until, 0.0)
    }),
    healthy("cache at its cap, entries replaced", replacing_cache),
    connections("pool, emptied and slowly refilled", refilled_pool),
    blocks(
        "a sampled cache that fills to its cap",
        Health::Healthy,
        full_cache,
    ),
    blocks(
        "the same, entries replaced",
        Health::Healthy,
        replacing_cache,
    ),
    adversarial(
        "1 to 5 % live long, 30 % of them silent",
        |random, until| websockets(random, until, 0.3),
    ),
    adversarial("1 to 5 % live long, all silent", |random, until| {
        websockets(random, until, 1.0)
    }),
    Pattern {
        floor_s: FILES_S,
        ..adversarial("the same, and no sockets", |random, until| {
            websockets(random, until, 1.0)
        })
    },
    Pattern {
        floor_s: FILES_S,
        ..adversarial("filled in stages beside short requests", |random, until| {
            stages(random, until, 5.0)
        })
    },
    Pattern {
        floor_s: FILES_S,
        ..adversarial(
            "start-up of 2 to 5 min keeps a fifth, then still",
            slow_start,
        )
    },
    leaky("all, 1 a minute", |random, until| {
        leak(random, until, 1.0 / 60.0, 1.0, 0.5)
    }),
    leaky("all, 1 a second", |random, until| {
        leak(random, until, 1.0, 1.0, 0.5)
    }),
    leaky("10 % of 2 a second", |random, until| {
        leak(random, until, 2.0, 0.1, 0.5)
    }),
    leaky("1 % of 10 a second", |random, until| {
        leak(random, until, 10.0, 0.01, 0.5)
    }),
    leaky("0.1 % of 10 a second", |random, until| {
        leak(random, until, 10.0, 0.001, 0.5)
    }),
    leaky("5 % of 1 a second that live 60 s", |random, until| {
        leak(random, until, 1.0, 0.05, 60.0)
    }),
    leaky("bursts on an error path", |random, until| {
        bursts(random, until, 180.0)
    }),
    leaky("the same, one in 10 min", |random, until| {
        bursts(random, until, 600.0)
    }),
    leaky("all, at once every 2 to 6 min", |random, until| {
        at_once(random, until, 1.0)
    }),
    leaky("a tenth, at once every 2 to 6 min", |random, until| {
        at_once(random, until, 0.1)
    }),
    leaky("a plateau first, then 10 % of 2 a second", late_leak),
    leaky("10 % of 2 a second, with a long pause", paused_leak),
    Pattern {
        before: Some(full_cache),
        ..blocks(
            "a sampled cache that no longer ends at its cap",
            Health::Leaky,
            endless_cache,
        )
    },
    blocks("a sampled leak of a tenth", Health::Leaky, sampled_leak),
];

const fn healthy(name: &'static str, make: fn(&mut Random, f64) -> Vec<Thing>) -> Pattern {
    Pattern {
        name,
        kind: Health::Healthy,
        floor_s: FILES_S,
        make,
        sampled: None,
        before: None,
    }
}

/// Of which a twentieth is sampled.
const fn blocks(
    name: &'static str,
    kind: Health,
    make: fn(&mut Random, f64) -> Vec<Thing>,
) -> Pattern {
    Pattern {
        kind,
        sampled: Some(0.05),
        ..healthy(name, make)
    }
}

const fn connections(name: &'static str, make: fn(&mut Random, f64) -> Vec<Thing>) -> Pattern {
    Pattern {
        floor_s: SOCKETS_S,
        ..healthy(name, make)
    }
}

const fn adversarial(name: &'static str, make: fn(&mut Random, f64) -> Vec<Thing>) -> Pattern {
    Pattern {
        kind: Health::Adversarial,
        ..connections(name, make)
    }
}

const fn leaky(name: &'static str, make: fn(&mut Random, f64) -> Vec<Thing>) -> Pattern {
    Pattern {
        kind: Health::Leaky,
        before: Some(short),
        ..healthy(name, make)
    }
}

/// Births of a steady load.
fn arrivals(random: &mut Random, until: f64, per_second: f64) -> Vec<f64> {
    let mut at = 0.0;
    let mut births = Vec::new();
    loop {
        at += random.exponential(1.0 / per_second);
        if at > until {
            return births;
        }
        births.push(at);
    }
}

/// Used for as long as it lives.
fn working(born: f64, life: f64) -> Thing {
    Thing {
        born,
        ends: born + life,
        used: Used::Until(born + life),
    }
}

/// Used for `life`, then forgotten.
fn forgotten(born: f64, life: f64) -> Thing {
    Thing {
        born,
        ends: f64::INFINITY,
        used: Used::Until(born + life),
    }
}

fn short(random: &mut Random, until: f64) -> Vec<Thing> {
    let births = arrivals(random, until, 5.0);
    let live = |born| working(born, random.exponential(0.5));
    births.into_iter().map(live).collect()
}

/// Busy for a time of any order of magnitude, then idle until the timeout.
fn keep_alive(random: &mut Random, until: f64) -> Vec<Thing> {
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
fn websockets(random: &mut Random, until: f64, silent: f64) -> Vec<Thing> {
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

fn fixed_pool(random: &mut Random, until: f64) -> Vec<Thing> {
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
fn living_pool(random: &mut Random, until: f64) -> Vec<Thing> {
    let size = random.between(10.0, 50.0) as usize;
    let most = random.between(300.0, 1800.0);
    let mut all = Vec::new();
    for _ in 0..size {
        let mut born = random.between(0.0, 30.0);
        while born < until {
            let life = most * random.between(0.9, 1.0);
            all.push(Thing {
                born,
                ends: born + life,
                used: Used::Every(random.exponential(60.0)),
            });
            born += life;
        }
    }
    all
}

/// Misses get rarer as it fills; entries are touched again now and then.
fn cache(random: &mut Random, until: f64) -> Vec<Thing> {
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

fn ramp(random: &mut Random, until: f64) -> Vec<Thing> {
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

fn start_up(random: &mut Random, until: f64) -> Vec<Thing> {
    let size = random.between(5.0, 200.0) as usize;
    (0..size)
        .map(|_| forgotten(random.between(0.0, until.min(10.0)), 0.1))
        .collect()
}

/// Opened together, closed together when the work is done.
fn batch(random: &mut Random, until: f64) -> Vec<Thing> {
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

fn leak(random: &mut Random, until: f64, per_second: f64, share: f64, life: f64) -> Vec<Thing> {
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

/// All that it ever holds comes within the least age that counts as old.
fn quick_start(random: &mut Random, until: f64) -> Vec<Thing> {
    let size = random.between(10.0, 300.0) as usize;
    let takes_s = random.between(5.0, FILES_S - 1.0).min(until);
    (0..size)
        .map(|_| forgotten(random.between(0.0, takes_s), 0.1))
        .collect()
}

/// Modules that are loaded when they are first needed, some at a time, and
/// what is given back at once between them.
fn stages(random: &mut Random, until: f64, short_per_second: f64) -> Vec<Thing> {
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

/// Reads its whole configuration, keeps some of what it opened, and waits.
fn slow_start(random: &mut Random, until: f64) -> Vec<Thing> {
    let takes_s = random.between(120.0, 300.0).min(until);
    leak(random, takes_s, 2.0, 0.2, 0.5)
}

/// As many as fit from its second minute on; each makes room for another.
fn replacing_cache(random: &mut Random, until: f64) -> Vec<Thing> {
    let cap = random.between(100.0, 500.0) as usize;
    let median = random.between(200.0, 1200.0);
    let mut all = Vec::new();
    for _ in 0..cap {
        let mut born = random.between(0.0, 60.0);
        while born < until {
            let life = random.log_normal(median, 1.0);
            all.push(Thing {
                born,
                ends: born + life,
                used: Used::Every(random.exponential(600.0)),
            });
            born += life;
        }
    }
    all
}

/// All are closed when nothing was asked for long, and made again one by one.
fn refilled_pool(random: &mut Random, until: f64) -> Vec<Thing> {
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
fn full_cache(random: &mut Random, until: f64) -> Vec<Thing> {
    let fills_s = random.between(100.0, 400.0).min(until);
    let births = (0..CACHE_CAP).map(|_| random.between(0.0, fills_s));
    let touched = births.map(|born| forgotten(born, 0.1));
    touched.chain(misses(until)).collect()
}

/// The same, and its cap is no longer heeded.
fn endless_cache(random: &mut Random, until: f64) -> Vec<Thing> {
    let births = arrivals(random, until, CACHE_CAP as f64 / 300.0);
    let touched = births.into_iter().map(|born| forgotten(born, 0.1));
    touched.chain(misses(until)).collect()
}

/// Entries of the caches that are sampled: some 20 samples.
const CACHE_CAP: usize = 400;

/// What is made and, since the cache is full, thrown away again: it goes on.
fn misses(until: f64) -> impl Iterator<Item = Thing> {
    (0..until as usize).map(|second| working(second as f64, 0.01))
}

fn sampled_leak(random: &mut Random, until: f64) -> Vec<Thing> {
    leak(random, until, 20.0, 0.1, 0.5)
}

/// Many in two seconds, then nothing at all for minutes.
fn at_once(random: &mut Random, until: f64, share: f64) -> Vec<Thing> {
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
fn late_leak(random: &mut Random, until: f64) -> Vec<Thing> {
    let mut all = quick_start(random, until);
    all.truncate(100);
    let later = leak(random, (until - 600.0).max(0.0), 2.0, 0.1, 0.5);
    all.extend(later.into_iter().map(|thing| thing.later(600.0)));
    all
}

/// At work in the first and in the last third.
fn paused_leak(random: &mut Random, until: f64) -> Vec<Thing> {
    let mut all = leak(random, until, 2.0, 0.1, 0.5);
    all.retain(|thing| !(until / 3.0..until / 1.5).contains(&thing.born));
    all
}

/// Every now and then something fails for seconds, and nothing is closed then.
fn bursts(random: &mut Random, until: f64, every: f64) -> Vec<Thing> {
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
