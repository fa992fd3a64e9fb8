//! Rules that say what is fine: which findings to hide, from when on to count
//! them, how to show them.
//!
//! They are applied after detection, so they change no verdict's ground, and
//! each says in the report what it hid. Everything here is pure; files are
//! found and read by the verbs.
//!
//! - [`caches`]: how much registered caches may hold
//! - [`toml`]: `memguard.toml`, with file and line where it is wrong
//! - [`care`]: what of it is for `fix`
//! - [`lsan`]: suppression files of LeakSanitizer
//! - [`pattern`]: globs and networks; [`matching`]: what a rule is about;
//!   [`index`]: of many rules, those that may be about a finding
//! - [`apply`]: what it does; [`generate`]: rules for findings, to paste

pub mod apply;
mod caches;
pub mod care;
pub mod generate;
mod index;
pub mod lsan;
pub mod matching;
pub mod pattern;
pub mod toml;

use std::collections::BTreeMap;

use crate::model::{Kind, Verdict};
use pattern::{Glob, Network};

/// How much registered caches may hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Each of them
    pub all: Option<u64>,
    /// One by its name, in place of that
    pub by_name: BTreeMap<String, u64>,
}

/// All rules of one invocation, in the order in which they apply.
#[derive(Debug, Default)]
pub struct Rules {
    /// Of `memguard.toml`
    pub rules: Vec<Rule>,
    /// Of suppression files
    pub suppressions: Vec<lsan::Suppression>,
    /// Of `memguard.toml` as well
    pub limits: Limits,
}

/// One `[[rule]]`.
#[derive(Debug)]
pub struct Rule {
    /// File, line and what is written there
    pub name: String,
    /// What it is about
    pub when: When,
    /// What it does
    pub then: Then,
}

/// What a rule is about: all that is named must match.
#[derive(Debug, Default)]
pub struct When {
    /// A finding's id
    pub id: Option<String>,
    /// Name of the process
    pub process: Option<Glob>,
    /// Kinds of things
    pub kind: Vec<Kind>,
    /// A function of the stack
    pub function: Option<Glob>,
    /// That function's object file
    pub module: Option<Glob>,
    /// That function's source file
    pub file: Option<Glob>,
    /// The innermost functions in their order
    pub stack: Vec<Glob>,
    /// Path of a file
    pub path: Option<Glob>,
    /// Address of a socket's peer
    pub peer: Vec<Network>,
    /// Either port of a socket
    pub port: Vec<u16>,
}

/// What a rule does.
#[derive(Debug, Default)]
pub struct Then {
    /// Hides all
    pub ignore: bool,
    /// Hides them while there are no more than so many
    pub expect: Option<u64>,
    /// Hides what is younger
    pub min_age_s: Option<f64>,
    /// Hides what was used since
    pub min_idle_s: Option<f64>,
    /// Hides a finding with fewer
    pub min_count: Option<u64>,
    /// Shows what is judged at all as this
    pub severity: Option<Verdict>,
    /// Words for the finding
    pub label: Option<String>,
}

/// Why a file of rules cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {sentence}")]
pub struct RuleError {
    /// The file as it was named
    pub file: String,
    /// The line, from 1
    pub line: usize,
    /// What is wrong and what to do
    pub sentence: String,
}
