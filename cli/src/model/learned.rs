//! `memguard.learned/1` and `memguard.labels/1`: what earlier runs taught, and
//! what people said.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::detect::Label;

/// What is known of programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// `memguard.learned/1`
    pub schema: String,
    /// The folder it is kept in
    pub folder: String,
    /// One entry a build
    pub programs: Vec<LearnedProgram>,
    /// What else a reader should know, one sentence each
    pub notes: Vec<String>,
}

impl Learned {
    /// The value of `schema`.
    pub const SCHEMA: &str = "memguard.learned/1";
}

/// One build of a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnedProgram {
    /// Its build id in hex, or `path-` and a hash of its path
    pub build: String,
    /// Its file's name
    pub name: String,
    /// Runs that taught something
    pub runs: u64,
    /// When it was last added to
    pub updated_at: Timestamp,
    /// Its sites
    pub sites: Vec<LearnedSite>,
}

/// One site of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnedSite {
    /// The id that findings there have
    pub id: String,
    /// Where that is
    pub place: Option<String>,
    /// Runs that it was learned from
    pub runs: u32,
    /// Lives that the program ended
    pub closes: u64,
    /// Nine in ten lived at most this long
    pub p90_s: f64,
    /// Ninety-nine in a hundred did
    pub p99_s: f64,
    /// The longest of the remembered runs
    pub longest_s: f64,
    /// The longest idle time after which one was used again
    pub woken_gap_s: f64,
    /// The most that was held at once without growing further
    pub plateau: Option<u64>,
    /// Whether one that was called leaked was used or closed after all
    pub false_alarm: bool,
    /// The latest verdicts, oldest first
    pub verdicts: Vec<Verdict>,
    /// What a person said
    pub label: Option<Label>,
}

/// What people said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// `memguard.labels/1`
    pub schema: String,
    /// One entry a word
    pub labels: Vec<Labelled>,
    /// What else a reader should know, one sentence each
    pub notes: Vec<String>,
}

impl Labels {
    /// The value of `schema`.
    pub const SCHEMA: &str = "memguard.labels/1";
}

/// One person's word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Labelled {
    /// The finding
    pub id: String,
    /// What was said
    pub label: Label,
    /// Of which build alone; of any when null
    pub build: Option<String>,
    /// That build's file name, where it is known
    pub name: Option<String>,
    /// The same with what it runs, if it is an interpreter
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where the finding is, where that is known
    pub place: Option<String>,
    /// When it was said
    pub at: Timestamp,
}
