//! `memguard.report/1`: everything one report says.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Cache, Kind, Memory, Process};

/// One report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `memguard.report/1`
    pub schema: String,
    /// When the process was looked at
    pub taken_at: Timestamp,
    /// Who it is about
    pub process: Process,
    /// How much of it was seen
    pub coverage: Coverage,
    /// Sums over everything held
    pub totals: Totals,
    /// Where the resident memory lies, where the kernel tells
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// What the watching costs
    pub overhead: Overhead,
    /// One figure for dashboards
    pub health: Health,
    /// What was found, worst first
    pub findings: Vec<Finding>,
    /// Closes of numbers that were not open, the latest first
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad_closes: Vec<BadClose>,
    /// Caches that the program has registered
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<Cache>,
    /// What rules hid
    pub suppressed: Vec<SuppressedRule>,
    /// After `memguard run`: the reports on child processes with findings
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Report>,
    /// With several targets: who it is about, `process` being the first of them
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
}

impl Report {
    /// The value of `schema`.
    pub const SCHEMA: &str = "memguard.report/1";

    /// The worst verdict, if there is any finding.
    #[must_use]
    pub fn worst(&self) -> Option<Verdict> {
        self.findings.iter().map(|finding| finding.verdict).min()
    }

    /// Seconds that the process has lived; of one that was killed, until it last
    /// did something.
    #[must_use]
    pub fn lived_s(&self) -> Option<f64> {
        let until_last = |start| self.taken_at.duration_since(start).as_secs_f64().max(0.0);
        let process = &self.process;
        process.uptime_s.or(process.started_at.map(until_last))
    }
}

/// How the heap was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeapCoverage {
    /// A sample, scaled up
    Sampled,
    /// Every allocation
    Full,
    /// Not at all
    None,
}

/// How much of the process was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// How the heap was recorded
    pub heap: HeapCoverage,
    /// Since when every allocation is recorded, where that was switched on
    /// later than at the start: what is older is a sample
    #[serde(default)]
    pub full_since: Option<Timestamp>,
    /// Mean bytes between two samples
    pub sample_bytes: Option<u64>,
    /// Share of allocations that were sampled, as measured
    pub effective_rate: Option<f64>,
    /// Events the library had to drop
    pub lost_events: Option<u64>,
    /// Open descriptors whose creation was not seen
    pub unknown_fds: Option<u64>,
    /// What else a reader should know, one sentence each
    pub notes: Vec<String>,
}

impl Coverage {
    /// Whether figures of the heap are counted and not estimated.
    #[must_use]
    pub fn exact(&self) -> bool {
        self.heap == HeapCoverage::Full && self.full_since.is_none()
    }
}

/// Sums over the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Live heap bytes, estimated where sampled
    pub live_bytes: Option<u64>,
    /// Resident set
    pub rss_bytes: Option<u64>,
    /// Open descriptors
    pub open_fds: Option<u64>,
    /// The soft limit on descriptors
    pub fd_limit: Option<u64>,
    /// Distinct creation sites seen
    pub sites: Option<u64>,
    /// `held` and `socket_states` count only what was created after this
    /// moment, if there is one
    pub since: Option<Timestamp>,
    /// What is held now, by kind
    pub held: Vec<Held>,
    /// How many sockets are in which state
    pub socket_states: BTreeMap<String, u64>,
}

/// What is held of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The kind
    pub kind: Kind,
    /// How many, estimated where sampled
    pub count: u64,
    /// Their bytes, where they have any
    pub bytes: Option<u64>,
    /// Age of the oldest, at the least
    pub oldest_s: Option<f64>,
}

/// What the watching costs the process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Overhead {
    /// Estimated share of its CPU time
    pub estimated_percent: Option<f64>,
    /// The share it was allowed
    pub budget_percent: Option<f64>,
    /// How the estimate was made
    pub method: Option<String>,
}

/// One figure for dashboards.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// 0 to 100
    pub score: Option<u8>,
    /// A to F
    pub grade: Option<String>,
    /// Why it is not 100
    pub reasons: Vec<String>,
    /// What it is made of; the worst of them decides
    #[serde(default)]
    pub parts: Vec<HealthPart>,
}

/// One thing that the health is judged by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthPart {
    /// verdicts, exhaustion, overhead or coverage
    pub name: String,
    /// 0 to 100; null: not known, and it does not count
    pub score: Option<u8>,
    /// Why that much
    pub reason: String,
}

/// How sure memguard is, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Proven, or the statistics agree
    Leak,
    /// Hardly ever freed and still growing; may be a cache
    Growing,
    /// Looks like one, but a question is open: whether it is used, mostly
    Suspect,
    /// Not enough seen yet
    Early,
    /// A pool, a bounded cache, static state
    Held,
}

impl Verdict {
    /// The name in JSON and text.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Growing => "growing",
            Self::Suspect => "suspect",
            Self::Early => "early",
            Self::Held => "held",
        }
    }
}

/// What `memguard fix` could do about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fix {
    /// Show the owner an end of file
    Eof,
    /// Close descriptors nobody holds a number of
    CloseLost,
    /// fclose what nobody points to
    Fclose,
    /// Park unused files
    Retire,
    /// Stop timers
    Disarm,
    /// Remove stale epoll registrations
    EpollDel,
    /// Remove stale watches
    WatchDel,
    /// Give free memory back
    GiveBack,
    /// Free unreachable blocks
    Reclaim,
    /// Nothing is safe
    None,
}

impl Fix {
    /// What a plan says of it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Eof => "show end of file",
            Self::CloseLost => "close (lost)",
            Self::Fclose => "fclose",
            Self::Retire => "retire",
            Self::Disarm => "stop",
            Self::EpollDel => "unregister",
            Self::WatchDel => "remove watch",
            Self::GiveBack => "give back",
            Self::Reclaim => "free",
            Self::None => "report only",
        }
    }
}

/// One site that holds more than it should.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable for one build of the program: kind and site
    pub id: String,
    /// What sort of thing
    pub kind: Kind,
    /// How sure
    pub verdict: Verdict,
    /// 0 to 1; 1 is a proof
    pub confidence: Option<f64>,
    /// A person said so
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub labelled: bool,
    /// A fix has ended them; only their numbers are still held
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended_by_fix: bool,
    /// How many are held, estimated where sampled
    pub count: u64,
    /// Their bytes, where they have any
    pub bytes: Option<u64>,
    /// How many more an hour
    pub rate_per_hour: Option<f64>,
    /// Seconds until a limit is hit at that rate
    pub exhaustion_s: Option<f64>,
    /// The share of what the site makes that stays
    #[serde(default)]
    pub stays: Option<Stays>,
    /// One sentence a person believes
    pub summary: String,
    /// What speaks for the verdict, one fact each
    pub evidence: Vec<String>,
    /// What rules call it
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Lifetimes of those that were given back
    pub lifetimes: Option<Lifetimes>,
    /// The share that lives longer than an age, for pictures; at most 20
    /// points, for leak, growing and suspect only
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub survival: Vec<Survivors>,
    /// Where they were created, innermost call first
    pub stack: Vec<Frame>,
    /// The held objects, oldest first
    pub resources: Vec<Resource>,
    /// What `memguard fix` could do
    pub fix: Fix,
    /// Whether it would
    pub fixable: bool,
    /// With several targets: what each process holds of it, worst first
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Share>,
}

/// What one process holds of a finding in several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The process
    pub pid: i32,
    /// How many it holds, estimated where sampled
    pub count: u64,
    /// How sure of it alone
    pub verdict: Verdict,
}

/// A share with what it may be, at 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stays {
    /// As counted
    pub share: f64,
    /// At the least
    pub low: f64,
    /// At the most
    pub high: f64,
}

/// One point of a survival curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Survivors {
    /// Age in seconds
    pub age_s: f64,
    /// Share that lives longer
    pub share: f64,
}

/// Lifetimes of the objects that were given back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lifetimes {
    /// How many were
    pub completed: u64,
    /// Half lived at most this long
    pub p50_s: f64,
    /// Nine in ten did
    pub p90_s: f64,
    /// Ninety-nine in a hundred did
    pub p99_s: f64,
    /// The longest
    pub longest_s: f64,
}

/// One call of a stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// Demangled name
    pub function: Option<String>,
    /// Source file
    pub file: Option<String>,
    /// Line in it
    pub line: Option<u32>,
    /// The object file
    pub module: Option<String>,
    /// Offset in that object file
    pub offset: Option<u64>,
}

/// One held object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// Its process, where a finding is in several
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Its descriptor
    pub fd: Option<i32>,
    /// Seconds since it was created
    pub age_s: Option<f64>,
    /// Seconds since it was last used
    pub idle_s: Option<f64>,
    /// A socket's state
    pub state: Option<String>,
    /// A socket's own address
    pub local: Option<String>,
    /// A socket's peer
    pub peer: Option<String>,
    /// A file's path
    pub path: Option<String>,
    /// What takes no descriptor, in words
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    /// A timerfd's state
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<TimerState>,
    /// How many registrations an epoll has
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registrations: Option<u64>,
    /// Whether it is a file without a name in any directory
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<bool>,
    /// Disk space of such a file, or memory of a thread's stack
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_bytes: Option<u64>,
}

/// A timerfd's state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerState {
    /// Whether another expiration can come
    pub armed: bool,
    /// Expirations that nobody has read
    pub unread_ticks: u64,
    /// The period in milliseconds, 0 for one shot
    pub interval_ms: u64,
}

/// Closes of numbers that were not open, from one place: somebody closes what
/// somebody has closed before, and may some day close what is another's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BadClose {
    /// The number that the latest of them was about
    pub fd: i32,
    /// When that was
    pub at: Timestamp,
    /// How many are on record
    pub count: u64,
    /// Where it was closed while it was not open, innermost call first
    pub stack: Vec<Frame>,
    /// Where it had been closed before; empty where that was not recorded:
    /// closes are followed only from the first bad one on
    pub closed_before: Vec<Frame>,
    /// Where what it named last was created
    pub created: Vec<Frame>,
}

/// How much one rule hid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuppressedRule {
    /// The rule as written
    pub rule: String,
    /// How many findings it hid
    pub count: u64,
    /// How many held objects, those of findings that are still shown included
    #[serde(default)]
    pub objects: u64,
}
