//! How sites of real programs make, use and give back their things.

use super::healthy::{
    batch, cache, fixed_pool, full_cache, keep_alive, living_pool, quick_start, ramp,
    refilled_pool, replacing_cache, short, stages, start_up, websockets,
};
use super::leaky::{at_once, bursts, endless_cache, late_leak, leak, paused_leak, slow_start};
use super::random::Random;
use super::thing::Thing;

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

pub const FILES_S: f64 = 30.0;
const SOCKETS_S: f64 = 120.0;

/// Fifteen healthy ones, five that were made to deceive, fifteen leaks.
pub const PATTERNS: [Pattern; 35] = [
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
    blocks(
        "a sampled leak of a tenth",
        Health::Leaky,
        |random, until| leak(random, until, 20.0, 0.1, 0.5),
    ),
    blocks(
        "the same, of some 25 samples",
        Health::Leaky,
        |random, until| leak(random, until, 2.8, 0.1, 0.5),
    ),
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
