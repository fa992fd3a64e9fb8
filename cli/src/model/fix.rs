//! `memguard.fix/1`: what a fix would do, may do and did, item by item.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Fix as Action, Kind, Process};

/// A plan, and after it was carried out, what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FixReport {
    /// `memguard.fix/1`
    pub schema: String,
    /// When the plan was made
    pub taken_at: Timestamp,
    /// Whose resources
    pub process: Process,
    /// Only the plan was asked for
    pub dry_run: bool,
    /// Everything that a leak finding holds
    pub items: Vec<FixItem>,
    /// The soft limit on descriptors, where it is to be raised
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<FixLimit>,
    /// Why it stopped early, if it did
    pub stopped: Option<String>,
    /// What else a reader should know, one sentence each
    pub notes: Vec<String>,
}

impl FixReport {
    /// The value of `schema`.
    pub const SCHEMA: &str = "memguard.fix/1";

    /// How many items ended so.
    #[must_use]
    pub fn count(&self, outcome: FixOutcome) -> usize {
        let ended = |item: &&FixItem| item.outcome == Some(outcome);
        self.items.iter().filter(ended).count()
    }
}

/// The soft limit on descriptors, to be raised to the hard one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixLimit {
    /// What it is
    pub from: u64,
    /// What it may become
    pub to: u64,
    /// Every condition, whether it holds, and the fact
    pub gates: Vec<FixGate>,
    /// Whether it was raised; null while it is only planned
    pub raised: Option<bool>,
}

impl FixLimit {
    /// Whether every gate is open.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.gates.iter().all(|gate| gate.open)
    }
}

/// One object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FixItem {
    /// The finding it belongs to
    pub finding: String,
    /// What sort of thing
    pub kind: Kind,
    /// What would be done
    pub action: Action,
    /// Its descriptor, or the epoll's that holds the entry
    pub fd: Option<i32>,
    /// The number of a stale registration, which `fd`'s epoll lists
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<i32>,
    /// The object in words
    pub what: String,
    /// Device and inode: the identity that is checked again before acting
    pub object: (u64, u64),
    /// A socket's cookie, which is never used twice
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
    /// When it was created, ms since the record was made: what tells apart
    /// objects that share an inode
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born_ms: Option<u64>,
    /// Every condition, whether it holds, and the fact
    pub gates: Vec<FixGate>,
    /// What came of it; null while it is only planned
    pub outcome: Option<FixOutcome>,
    /// More on the outcome
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl FixItem {
    /// Whether every gate is open.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.gates.iter().all(|gate| gate.open)
    }

    /// The first gate that is shut.
    #[must_use]
    pub fn refused_by(&self) -> Option<&FixGate> {
        self.gates.iter().find(|gate| !gate.open)
    }
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixGate {
    /// Its short name
    pub name: String,
    /// Whether it lets the item through
    pub open: bool,
    /// The fact that decides
    pub fact: String,
}

/// What came of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FixOutcome {
    /// The owner saw the end of file and closed it: fixed
    ClosedByOwner,
    /// The connection is gone, but the owner keeps the number
    Neutered,
    /// The timer no longer runs: fixed, can be undone
    Disarmed,
    /// The registration or watch is gone: fixed
    Removed,
    /// Closed inside the program, which had lost it: fixed
    ClosedLost,
    /// Memory went back to the system; no object was touched
    GivenBack,
    /// The old state is back
    Restored,
    /// A gate was shut
    Refused,
    /// It was gone or another by the time
    Vanished,
    /// The program has not come by yet
    Pending,
    /// The kernel refused
    Failed,
}

impl FixOutcome {
    /// Whether it counts as fixed.
    #[must_use]
    pub fn is_fix(self) -> bool {
        matches!(
            self,
            Self::ClosedByOwner | Self::Disarmed | Self::Removed | Self::ClosedLost
        )
    }

    /// The words for a person.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::ClosedByOwner => "closed by its owner",
            Self::Neutered => "neutered, slot still held",
            Self::Disarmed => "disarmed",
            Self::Removed => "removed",
            Self::ClosedLost => "closed (lost)",
            Self::GivenBack => "given back",
            Self::Restored => "restored",
            Self::Refused => "refused: gate",
            Self::Vanished => "gone by itself",
            Self::Pending => "pending (idle)",
            Self::Failed => "failed",
        }
    }
}
