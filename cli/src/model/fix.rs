//! `memguard.fix/1`: what a fix would do, may do and did, item by item.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Fix as Action, FixTook, Kind, Process};

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
    /// Ways to give memory back, where `--kind caches` asks for them; none of
    /// them counts as a fix
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<FixCache>,
    /// The latest search of the program's memory for descriptors' numbers
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<FixSearch>,
    /// Where the time went
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took: Option<FixTook>,
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

/// A search for numbers that the program may still know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FixSearch {
    /// For how many
    pub numbers: u64,
    /// How much memory was read
    pub bytes: u64,
    /// How long it took
    pub took_ms: f64,
    /// The longest that a thread stood still, for its registers
    pub longest_stop_ms: f64,
    /// Why not everything was searched
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
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
    /// Why it was not, where no gate says so
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
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
    /// The number of a stale registration, which `fd`'s epoll lists, or of a
    /// watch of the inotify at `fd`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<i32>,
    /// The kernel's number of a POSIX timer
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<u32>,
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
    /// For a socket whose owner takes no notice of its end: the further
    /// conditions under which the program has lost it, and it is closed
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<FixGate>,
    /// What came of it; null while it is only planned
    pub outcome: Option<FixOutcome>,
    /// More on the outcome
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl FixItem {
    /// One that is to be filled in.
    #[must_use]
    pub fn new(finding: &str, kind: Kind, action: Action, what: String) -> Self {
        Self {
            finding: finding.to_owned(),
            kind,
            action,
            fd: None,
            entry: None,
            timer: None,
            what,
            object: (0, 0),
            cookie: None,
            born_ms: None,
            gates: Vec::new(),
            lost: Vec::new(),
            outcome: None,
            detail: None,
        }
    }

    /// Whether the program has lost it, by every condition.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        let gates = if self.lost.is_empty() {
            &self.gates
        } else {
            &self.lost
        };
        gates.iter().all(|gate| gate.open) && gates.iter().any(|gate| gate.name == "lost")
    }

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

/// How memory is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FixMeans {
    /// What the allocator has free
    Allocator,
    /// sqlite's pages
    Sqlite,
    /// Python's garbage
    Python,
    /// A cache that the program has registered
    Registered,
    /// Pages to swap
    PageOut,
    /// A runtime that offers no way
    Runtime,
}

impl FixMeans {
    /// Whether the program's own threads do it.
    #[must_use]
    pub fn is_inside(self) -> bool {
        !matches!(self, Self::PageOut | Self::Runtime)
    }

    /// The word for a person.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Allocator => "allocator",
            Self::Sqlite => "sqlite",
            Self::Python => "python",
            Self::Registered => "registered",
            Self::PageOut => "page-out",
            Self::Runtime => "runtime",
        }
    }
}

/// One way to give memory back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FixCache {
    /// Which sort of way
    pub means: FixMeans,
    /// In words; a registered cache's name
    pub what: String,
    /// What it holds or may give at most, as far as that is known
    pub size_bytes: Option<u64>,
    /// How much a registered cache may hold
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// How long a thread of the program may be held up, at a guess
    pub expected_pause_ms: Option<f64>,
    /// Every condition, whether it holds, and the fact
    pub gates: Vec<FixGate>,
    /// What came of it; null while it is only planned
    pub outcome: Option<FixOutcome>,
    /// What the resident set shrank by meanwhile, by the kernel's word
    pub given_bytes: Option<u64>,
    /// What it says itself that it let go
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed_bytes: Option<u64>,
    /// How long it took inside
    pub pause_ms: Option<f64>,
    /// More on the outcome
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Number and generation of a registered cache
    #[serde(skip)]
    pub place: Option<(u64, u64)>,
}

impl FixCache {
    /// One of which nothing else is known yet.
    #[must_use]
    pub fn new(means: FixMeans, what: &str) -> Self {
        Self {
            means,
            what: what.to_owned(),
            size_bytes: None,
            limit_bytes: None,
            expected_pause_ms: None,
            gates: Vec::new(),
            outcome: None,
            given_bytes: None,
            freed_bytes: None,
            pause_ms: None,
            detail: None,
            place: None,
        }
    }

    /// Whether every gate is open.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.gates.iter().all(|gate| gate.open)
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

impl FixGate {
    /// Whether it is shut for all objects of the process alike.
    #[must_use]
    pub fn is_of_process(&self) -> bool {
        const NAMES: [&str; 6] = ["running", "process", "scripts", "inside", "kernel", "asked"];
        !self.open && NAMES.contains(&self.name.as_str())
    }
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
    /// The file is parked; its number has a placeholder, which a touch undoes
    Retired,
    /// A parked file that nobody touched was closed: fixed
    ClosedRetired,
    /// Memory went back to the system; no object was touched
    GivenBack,
    /// The old state is back
    Restored,
    /// A gate was shut
    Refused,
    /// It was gone or another by the time
    Vanished,
    /// Another fix stopped it meanwhile
    ByAnother,
    /// The program has not come by yet
    Pending,
    /// The kernel refused
    Failed,
    /// It could not be written to the log, without which nothing is done
    NotLogged,
}

impl FixOutcome {
    /// Whether it counts as fixed.
    #[must_use]
    pub fn is_fix(self) -> bool {
        matches!(
            self,
            Self::ClosedByOwner
                | Self::Disarmed
                | Self::Removed
                | Self::ClosedLost
                | Self::ClosedRetired
        )
    }

    /// Whether something was done, or begun.
    #[must_use]
    pub fn is_done(self) -> bool {
        !matches!(
            self,
            Self::Refused | Self::Vanished | Self::ByAnother | Self::Failed | Self::NotLogged
        )
    }

    /// What that means for the program and its owner, in a sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::ClosedByOwner => {
                "Closed by its owner: the program saw the end of file and closed it itself."
            }
            Self::Neutered => {
                "Neutered: the connection has ended, and the program still keeps the number until it closes it or ends."
            }
            Self::Disarmed => "Disarmed: `memguard undo` sets it back.",
            Self::Removed => {
                "Removed: the program gets no more events from it; nothing was closed."
            }
            Self::ClosedLost => {
                "Closed (lost): nothing in the program held the number any more; the program closed it by command."
            }
            Self::Retired => {
                "Retired: the file is parked; it is back as soon as the program touches it, and `memguard undo` \
                 sets it back."
            }
            Self::ClosedRetired => {
                "Closed after quarantine: nobody touched it while it was parked, and it was closed for good."
            }
            Self::GivenBack => "Given back: memory that was free already; no object was touched.",
            Self::Restored => "Restored: it is what it was before it was touched.",
            Self::Refused => "Refused: a gate was shut, and it was not touched.",
            Self::Vanished => {
                "Gone by itself: it was closed, ran no more, or its number named something else, before its turn."
            }
            Self::ByAnother => {
                "Stopped by another fix, which was faster: it is counted there, and `memguard undo` sets it back."
            }
            Self::Pending => {
                "Pending: the program has not answered, and nothing of it is left waiting in the program but an \
                 end of file that it has been shown; ask again later."
            }
            Self::Failed => "Failed: it could not be done, and it is as it was.",
            Self::NotLogged => {
                "Not done: nothing is touched before the log has a line on it, and that cannot be written."
            }
        }
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
            Self::Retired => "retired, in quarantine",
            Self::ClosedRetired => "closed after quarantine",
            Self::GivenBack => "given back",
            Self::Restored => "restored",
            Self::Refused => "refused: gate",
            Self::Vanished => "gone by itself",
            Self::ByAnother => "stopped by another fix",
            Self::Pending => "pending (idle)",
            Self::Failed => "failed",
            Self::NotLogged => "not done: no log",
        }
    }
}
