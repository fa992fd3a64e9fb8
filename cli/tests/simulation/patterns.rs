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

/// Nine healthy ones, three that were made to deceive, seven leaks.
pub const PATTERNS: [Pattern; 19] = [
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
    leaky("bursts on an error path", bursts),
];

const fn healthy(name: &'static str, make: fn(&mut Random, f64) -> Vec<Thing>) -> Pattern {
    Pattern {
        name,
        kind: Health::Healthy,
        floor_s: FILES_S,
        make,
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
        name,
        kind: Health::Adversarial,
        floor_s: SOCKETS_S,
        make,
    }
}

const fn leaky(name: &'static str, make: fn(&mut Random, f64) -> Vec<Thing>) -> Pattern {
    Pattern {
        name,
        kind: Health::Leaky,
        floor_s: FILES_S,
        make,
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

/// Every few minutes something fails for seconds, and nothing is closed then.
fn bursts(random: &mut Random, until: f64) -> Vec<Thing> {
    let mut failing = Vec::new();
    let mut at = random.exponential(120.0);
    while at < until {
        let lasts = random.between(2.0, 6.0);
        failing.push((at, at + lasts));
        at += lasts + random.exponential(180.0);
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
