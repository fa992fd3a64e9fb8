//! `memguard.doctor/1`.

use serde::{Deserialize, Serialize};

/// What memguard can see of one program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Doctor {
    /// `memguard.doctor/1`
    pub schema: String,
    /// What was asked about: a pid or a path
    pub target: String,
    /// One sentence: fully, partly or not observable
    pub summary: String,
    /// What was looked at
    pub checks: Vec<DoctorCheck>,
}

impl Doctor {
    /// The value of `schema`.
    pub const SCHEMA: &str = "memguard.doctor/1";
}

/// How one check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Stops memguard altogether
    Blocked,
    /// Hides a part
    Limited,
    /// Worth knowing; nothing is lost
    Note,
    /// Fine
    Ok,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DoctorCheck {
    /// A stable short name: static, setuid, seccomp
    pub name: String,
    /// How it went
    pub outcome: Outcome,
    /// What was seen, a sentence
    pub detail: String,
    /// What to do about it, a sentence
    pub advice: Option<String>,
}
