//! `memguard.undo/1`: what can be set back, and what was.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::FixOutcome;

/// Actions that can be taken back, or were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    /// `memguard.undo/1`
    pub schema: String,
    /// One each, the oldest first
    pub items: Vec<UndoItem>,
}

impl Undo {
    /// The value of `schema`.
    pub const SCHEMA: &str = "memguard.undo/1";
}

/// One action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UndoItem {
    /// The action's id
    pub id: String,
    /// When it was done
    pub at: Timestamp,
    /// On which process
    pub pid: i32,
    /// Its name
    pub process: String,
    /// The descriptor
    pub fd: Option<i32>,
    /// The object in words
    pub what: String,
    /// What came of setting it back; null where it was only listed
    pub outcome: Option<FixOutcome>,
    /// More on that
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
