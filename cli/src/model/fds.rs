//! `memguard.fds/1`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Frame, Kind, Process, TimerState};

/// Every open descriptor of a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fds {
    /// `memguard.fds/1`
    pub schema: String,
    /// When they were looked at
    pub taken_at: Timestamp,
    /// Who it is about
    pub process: Process,
    /// How many are open in all
    pub open_fds: Option<u64>,
    /// The soft limit on them
    pub fd_limit: Option<u64>,
    /// One row a descriptor
    pub descriptors: Vec<FdRow>,
    /// What else a reader should know, one sentence each
    pub notes: Vec<String>,
}

impl Fds {
    /// The value of `schema`.
    pub const SCHEMA: &str = "memguard.fds/1";
}

/// One descriptor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FdRow {
    /// Its number
    pub fd: i32,
    /// The group `--kind` selects by
    pub kind: Option<Kind>,
    /// What exactly: file, tcp, unix, pipe, epoll
    pub what: String,
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
    /// A timerfd's state
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<TimerState>,
    /// How many registrations an epoll has
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registrations: Option<u64>,
    /// Whether it is a file without a name in any directory
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<bool>,
    /// Disk space of such a file, free again when it is closed
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_bytes: Option<u64>,
    /// Whether it came from the parent process or from before exec
    pub inherited: Option<bool>,
    /// Whether its creation was seen
    pub origin_known: bool,
    /// Where it was created, innermost call first
    pub stack: Vec<Frame>,
}

impl FdRow {
    /// The first function of the program's own that led to it.
    #[must_use]
    pub fn creator(&self) -> Option<&Frame> {
        self.stack.first()
    }
}
