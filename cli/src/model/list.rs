//! `memguard.list/1`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Process, Verdict};

/// Every process being watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// `memguard.list/1`
    pub schema: String,
    /// When they were looked at
    pub taken_at: Timestamp,
    /// One row a process
    pub processes: Vec<ListRow>,
    /// Records that could not be read, one sentence each
    pub notes: Vec<String>,
}

impl List {
    /// The value of `schema`.
    pub const SCHEMA: &str = "memguard.list/1";
}

/// One process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListRow {
    /// Who
    #[serde(flatten)]
    pub process: Process,
    /// Its user
    pub uid: Option<u32>,
    /// Resident set
    pub rss_bytes: Option<u64>,
    /// Live heap, estimated where sampled
    pub live_bytes: Option<u64>,
    /// Open descriptors
    pub open_fds: Option<u64>,
    /// The soft limit on them
    pub fd_limit: Option<u64>,
    /// The worst finding
    pub verdict: Option<Verdict>,
    /// Health, A to F; null where too little was seen
    #[serde(default)]
    pub grade: Option<String>,
}
