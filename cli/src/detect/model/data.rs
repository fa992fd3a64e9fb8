//! What the model is told of one site.

use shm_protocol::hist::BUCKETS;
use shm_protocol::view::PointInfo;

use crate::detect::context::Prior;

/// One site: what it gave back and what it holds. Counts are raw: thinning by
/// sampling keeps hazards and rates, so weights are for magnitudes only.
#[derive(Debug, Clone)]
pub struct SiteData<'a> {
    /// Made since the start
    pub births: u64,
    /// Given back since the start
    pub deaths: u64,
    /// Completed lives by half octave
    pub lifetimes: &'a [u64; BUCKETS],
    /// The longest of them
    pub longest_ms: u64,
    /// Cumulative births over time, oldest first
    pub points: &'a [PointInfo],
    /// The site's first birth
    pub first_ms: u64,
    /// Start of the observation: the first birth, or later
    pub since_ms: u64,
    /// The moment of the look, or of the site's last sign before it
    pub now_ms: u64,
    /// From then to the look nothing is known to have come or gone
    pub still_ms: u64,
    /// What is held of what was born since then
    pub live: Vec<Holding>,
    /// Whether what is held are samples of what there is
    pub sampled: bool,
    /// The least age that counts as old
    pub floor_ms: u64,
    /// What earlier runs taught
    pub prior: Option<Prior>,
}

/// One thing that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// When it was made
    pub born_ms: u64,
    /// For how long nobody used it
    pub idle: Idle,
    /// The kernel says that nobody cares for it: a peer that has gone
    /// (CLOSE_WAIT), expiries that nobody reads
    pub abandoned: bool,
}

/// For how long something was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// This long, in milliseconds
    Known(u64),
    /// Nothing tells
    Unknown,
}

impl Holding {
    /// As it stood so long before.
    #[must_use]
    pub fn before(self, span_ms: u64) -> Self {
        Self {
            idle: match self.idle {
                Idle::Known(idle_ms) => Idle::Known(idle_ms.saturating_sub(span_ms)),
                Idle::Unknown => Idle::Unknown,
            },
            ..self
        }
    }

    /// Something whose use nothing tells of: heap blocks, mappings.
    #[must_use]
    pub fn silent(born_ms: u64) -> Self {
        Self {
            born_ms,
            idle: Idle::Unknown,
            abandoned: false,
        }
    }
}
