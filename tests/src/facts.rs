//! What `memguard` says, as JSON: the one place that knows its fields.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::artifacts;

/// Runs the command line with arguments; segments are looked for in `folder`.
#[track_caller]
pub fn memguard(args: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(artifacts::memguard());
    command
        .args(args)
        .env("MEMGUARD_DIR", folder)
        .env("MEMGUARD_STATE", state_in(folder))
        .env_remove("LD_PRELOAD");
    command.output().expect("the command line can be started")
}

/// Where what is learned goes. Programs without the library have no folder.
fn state_in(folder: &Path) -> PathBuf {
    match folder.is_absolute() {
        true => folder.join("state"),
        false => artifacts::workspace().join("target/state"),
    }
}

/// The JSON that a verb prints about a target.
#[track_caller]
pub fn json(args: &[&str], folder: &Path) -> Value {
    let done = memguard(args, folder);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "memguard {args:?}: {}: {said}",
        done.status
    );
    let text = String::from_utf8_lossy(&done.stdout);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("memguard {args:?}: {e}:\n{text}"))
}

/// What `memguard fds` says.
#[derive(Clone, Debug)]
pub struct Fds {
    value: Value,
}

impl Fds {
    /// Asks about a process.
    #[track_caller]
    pub fn of(pid: u32, folder: &Path) -> Self {
        Self {
            value: json(&["fds", "--format", "json", &pid.to_string()], folder),
        }
    }

    /// The rows.
    #[track_caller]
    pub fn rows(&self) -> Vec<Fd> {
        let rows = self.value["descriptors"].as_array();
        let rows = rows.expect("memguard fds gives descriptors");
        rows.iter().map(|row| Fd { value: row.clone() }).collect()
    }

    /// The numbers of all rows, sorted.
    #[track_caller]
    pub fn numbers(&self) -> Vec<i32> {
        let mut numbers: Vec<i32> = self.rows().iter().map(Fd::number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The row of one descriptor.
    pub fn get(&self, fd: i32) -> Option<Fd> {
        self.rows().into_iter().find(|row| row.number() == fd)
    }
}

impl From<Value> for Fds {
    fn from(value: Value) -> Self {
        Self { value }
    }
}

/// One row of `memguard fds`.
#[derive(Clone, Debug)]
pub struct Fd {
    value: Value,
}

impl Fd {
    /// The descriptor's number.
    #[track_caller]
    pub fn number(&self) -> i32 {
        self.value["fd"].as_i64().expect("a row has its number") as i32
    }

    /// Its kind.
    pub fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or("")
    }

    /// Its path or peer.
    pub fn path(&self) -> &str {
        self.value["path"].as_str().unwrap_or("")
    }

    /// For how long nobody has used it, where that is known.
    pub fn idle_s(&self) -> Option<f64> {
        self.value["idle_s"].as_f64()
    }

    /// Whether a frame of its creating stack is this function.
    pub fn created_in(&self, function: &str) -> bool {
        frames(&self.value)
            .iter()
            .any(|name| is_function(name, function))
    }

    /// Whether it was there before the process (or its program) began.
    pub fn is_inherited(&self) -> bool {
        self.value["inherited"] == true
    }

    /// Whether nothing is known of its creation.
    pub fn is_unknown(&self) -> bool {
        self.value["origin_known"] == false
    }
}

/// What `memguard report` says.
#[derive(Clone, Debug)]
pub struct Report {
    /// The whole document.
    pub value: Value,
}

impl Report {
    /// Asks about a process.
    #[track_caller]
    pub fn of(pid: u32, folder: &Path) -> Self {
        Self {
            value: json(&["report", "--format", "json", &pid.to_string()], folder),
        }
    }

    /// Whether the process lives.
    pub fn alive(&self) -> bool {
        self.value["process"]["alive"] == true
    }

    /// The mode it is in.
    pub fn mode(&self) -> &str {
        self.value["process"]["mode"].as_str().unwrap_or("")
    }

    /// The sentences about what the report does not cover.
    pub fn notes(&self) -> Vec<String> {
        let notes = self.value["coverage"]["notes"].as_array();
        let texts = notes.into_iter().flatten().filter_map(|n| n.as_str());
        texts.map(str::to_owned).collect()
    }

    /// Closes of numbers that were not open, by a close in one function.
    pub fn bad_closes_in(&self, function: &str) -> Vec<BadClose> {
        let all = self.value["bad_closes"].as_array().into_iter().flatten();
        let all = all.map(|value| BadClose {
            value: value.clone(),
        });
        all.filter(|close| close.passes("stack", function))
            .collect()
    }

    /// Estimated bytes of the heap that are in use.
    #[track_caller]
    pub fn live_bytes(&self) -> f64 {
        self.value["totals"]["live_bytes"]
            .as_f64()
            .expect("a report has live_bytes")
    }

    /// The findings with a function in their stack.
    pub fn findings_in(&self, function: &str) -> Vec<Value> {
        let all = self.value["findings"].as_array().into_iter().flatten();
        all.filter(|f| frames(f).iter().any(|name| is_function(name, function)))
            .cloned()
            .collect()
    }

    /// Bytes of memory findings whose stack has the function.
    pub fn bytes_of(&self, function: &str) -> f64 {
        let memory = self.findings_in(function).into_iter();
        memory
            .filter(|f| f["kind"] == "memory")
            .filter_map(|f| f["bytes"].as_f64())
            .sum()
    }

    /// Blocks of memory findings whose stack has the function.
    pub fn count_of(&self, function: &str) -> f64 {
        let memory = self.findings_in(function).into_iter();
        memory
            .filter(|f| f["kind"] == "memory")
            .filter_map(|f| f["count"].as_f64())
            .sum()
    }
}

/// A close of a number that was not open.
#[derive(Clone, Debug)]
pub struct BadClose {
    value: Value,
}

impl BadClose {
    /// Whether one of its stacks (`stack`, `closed_before`, `created`) has the
    /// function.
    pub fn passes(&self, stack: &str, function: &str) -> bool {
        let names = functions(&self.value[stack]);
        names.iter().any(|name| is_function(name, function))
    }

    /// Whether it is known who had closed the number before.
    pub fn has_both(&self) -> bool {
        !functions(&self.value["closed_before"]).is_empty()
    }

    /// How many are on record.
    pub fn count(&self) -> u64 {
        self.value["count"].as_u64().unwrap_or(0)
    }
}

/// The functions of a row's stack, innermost first.
fn frames(value: &Value) -> Vec<&str> {
    functions(&value["stack"])
}

fn functions(stack: &Value) -> Vec<&str> {
    let stack = stack.as_array().into_iter().flatten();
    stack
        .filter_map(|frame| frame["function"].as_str())
        .collect()
}

/// A compiler may split a function: `keep` is also `keep.part.0`.
fn is_function(name: &str, function: &str) -> bool {
    name == function
        || name
            .strip_prefix(function)
            .is_some_and(|rest| rest.starts_with(['.', '(']))
}
