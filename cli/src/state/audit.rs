//! Every action that was ever taken on a process: what, why, on which object,
//! by whom, and what came of it. One JSON object a line; a line is added
//! before something is done and another when the outcome is known.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::StateError;
use super::folder::Folder;
use super::pending::{of_the_living, pending};
use crate::kernel::{ProcDir, process::start_ticks};
use crate::model::{Fix, FixGate, FixItem, FixOutcome, Kind};

/// The log; the one before it has `.1` at its end.
pub const FILE: &str = "actions.jsonl";
/// A log that has grown larger becomes the one before. Ten thousand fixes are
/// some 15 MB.
const CAP_BYTES: u64 = 32 << 20;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// The same before and after
    pub id: String,
    /// When this was written
    pub at: Timestamp,
    /// The user who ran memguard
    pub by_uid: u32,
    /// On which process
    pub pid: i32,
    /// Clock ticks from boot to its start: pids come again
    pub start_ticks: u64,
    /// Its name
    pub process: String,
    /// The finding that was acted on
    pub finding: String,
    /// What sort of thing
    pub kind: Kind,
    /// What was done
    pub action: Fix,
    /// The descriptor, or the epoll's
    pub fd: Option<i32>,
    /// The number of a registration
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<i32>,
    /// The kernel's number of a POSIX timer
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posix_timer: Option<u32>,
    /// The object in words
    pub what: String,
    /// Device and inode
    pub object: (u64, u64),
    /// A socket's cookie
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
    /// When it was created, ms since the record was made
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born_ms: Option<u64>,
    /// The facts that opened the gates; only in the line before
    pub why: String,
    /// What a timer was set to before
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<Setting>,
    /// What came of it; null before
    pub outcome: Option<FixOutcome>,
    /// More on that
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What a timer is set to, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Until it runs out next
    pub next_ns: u64,
    /// The period, 0 for one shot
    pub interval_ns: u64,
}

/// The log of one run on one process.
#[derive(Debug)]
pub struct Journal {
    folder: Folder,
    file: File,
    /// It ends in the middle of a line
    torn: bool,
    run: String,
    pid: i32,
    start_ticks: u64,
    process: String,
}

impl Journal {
    /// Opens the log for what is about to be done.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(pid: i32, process: &str) -> Result<Self, StateError> {
        let folder = Folder::open()?;
        let file = open_log(&folder)?;
        let torn = ends_torn(&file);
        let dir = ProcDir::open(pid);
        let now = Timestamp::now().as_millisecond();
        Ok(Self {
            folder,
            file,
            torn,
            run: format!("{:x}-{pid}", now),
            pid,
            start_ticks: dir.and_then(|dir| start_ticks(&dir)).unwrap_or(0),
            process: process.to_owned(),
        })
    }

    /// What the ids of its lines begin with.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Adds a line on the item with that index in the plan.
    ///
    /// # Errors
    /// When it cannot be written: then nothing may be done that needs it.
    pub fn add(
        &mut self,
        at: usize,
        item: &FixItem,
        timer: Option<Setting>,
    ) -> Result<(), StateError> {
        self.add_all(&[(at, item, timer)])
    }

    /// Adds lines on several, all in one write, and waits until the disk has
    /// them.
    ///
    /// # Errors
    /// When they cannot be written: then nothing may be done that needs them.
    pub fn add_all(
        &mut self,
        lines: &[(usize, &FixItem, Option<Setting>)],
    ) -> Result<(), StateError> {
        let now = Timestamp::now();
        let line = |(at, item, timer): &(usize, &FixItem, Option<Setting>)| {
            self.action(now, *at, item, *timer)
        };
        let actions: Vec<Action> = lines.iter().map(line).collect();
        self.write_all(&actions)
    }

    fn action(&self, now: Timestamp, at: usize, item: &FixItem, timer: Option<Setting>) -> Action {
        let fact = |gate: &FixGate| format!("{}: {}", gate.name, gate.fact);
        // The line before has said it.
        let facts = item.gates.iter().filter(|_| item.outcome.is_none());
        let facts: Vec<String> = facts.map(fact).collect();
        Action {
            id: format!("{}.{at}", self.run),
            at: now,
            by_uid: rustix::process::getuid().as_raw(),
            pid: self.pid,
            start_ticks: self.start_ticks,
            process: self.process.clone(),
            finding: item.finding.clone(),
            kind: item.kind,
            action: item.action,
            fd: item.fd,
            entry: item.entry,
            posix_timer: item.timer,
            what: item.what.clone(),
            object: item.object,
            cookie: item.cookie,
            born_ms: item.born_ms,
            why: facts.join("; "),
            timer,
            outcome: item.outcome,
            detail: item.detail.clone(),
        }
    }

    /// Adds a line as it is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, action: &Action) -> Result<(), StateError> {
        self.write_all(std::slice::from_ref(action))
    }

    /// Adds lines as they are, in one write: lines of two memguards do not mix.
    fn write_all(&mut self, actions: &[Action]) -> Result<(), StateError> {
        if actions.is_empty() {
            return Ok(());
        }
        if self
            .file
            .metadata()
            .is_ok_and(|meta| meta.len() > CAP_BYTES)
        {
            self.file = open_log(&self.folder)?;
            self.torn = false;
        }
        let mut lines = in_lines(actions).map_err(|source| unwritable(&self.folder, source))?;
        // Behind a line that a full disk cut off, this is still one of its own.
        if self.torn {
            lines.insert(0, b'\n');
        }
        let written = self.file.write_all(&lines);
        self.torn = written.is_err();
        let synced = written.and_then(|()| self.file.sync_data());
        synced.map_err(|source| unwritable(&self.folder, source))
    }
}

/// The log to add to. A new one begins with what can still be taken back: the
/// one before is forgotten when the next is begun.
fn open_log(folder: &Folder) -> Result<File, StateError> {
    let mut file = opened(folder)?;
    if file.metadata().is_ok_and(|meta| meta.len() == 0) {
        let open = of_the_living(pending(&read(folder)?));
        let lines = in_lines(&open).and_then(|lines| file.write_all(&lines));
        lines.map_err(|source| unwritable(folder, source))?;
    }
    Ok(file)
}

fn in_lines(actions: &[Action]) -> std::io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for action in actions {
        serde_json::to_writer(&mut lines, action)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

fn opened(folder: &Folder) -> Result<File, StateError> {
    folder.log(FILE, CAP_BYTES).map_err(|why| match why {
        StateError::Unusable { source, .. } => unwritable(folder, source),
        other => other,
    })
}

fn unwritable(folder: &Folder, source: std::io::Error) -> StateError {
    StateError::Log {
        path: folder.path().join(FILE),
        source,
    }
}

/// Whether what is there ends in the middle of a line.
fn ends_torn(log: &File) -> bool {
    let bytes = log.metadata().map_or(0, |meta| meta.len());
    let mut last = [b'\n'];
    let got = bytes.checked_sub(1).map(|at| log.read_at(&mut last, at));
    got.is_some_and(|got| got.is_ok()) && last != [b'\n']
}

/// All actions that are still in the log, the oldest first. What was cut off
/// in the middle, as by a crash, is no line.
///
/// # Errors
/// When the folder cannot be used.
pub fn read(folder: &Folder) -> Result<Vec<Action>, StateError> {
    let bytes = folder.read_log(FILE)?;
    let lines = bytes.split(|byte| *byte == b'\n');
    Ok(lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: Setting = Setting {
        next_ns: 5,
        interval_ns: 7,
    };

    fn journal(base: &std::path::Path, pid: i32, start_ticks: u64) -> Journal {
        let folder = Folder::at(base).unwrap();
        Journal {
            file: folder.log(FILE, CAP_BYTES).unwrap(),
            folder,
            torn: false,
            run: "r".into(),
            pid,
            start_ticks,
            process: "p".into(),
        }
    }

    fn timer() -> FixItem {
        serde_json::from_str(
            r#"{"finding":"timers-1","kind":"timers","action":"disarm","fd":3,"what":"w","object":[1,2],
                "gates":[{"name":"age","open":true,"fact":"old"}],"outcome":null}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_new_log_begins_with_what_can_still_be_taken_back() {
        let base = tempfile::tempdir().unwrap();
        let pid = std::process::id() as i32;
        let start = start_ticks(&ProcDir::open(pid).unwrap()).unwrap();
        let mut journal = journal(base.path(), pid, start);
        let item = timer();
        let lines: Vec<_> = (0..3).map(|at| (at, &item, Some(SET))).collect();
        journal.add_all(&lines).unwrap();
        let restored = FixItem {
            outcome: Some(FixOutcome::Restored),
            ..timer()
        };
        journal.add(1, &restored, None).unwrap();
        for _ in 0..3 {
            journal.file.set_len(CAP_BYTES + 1).unwrap();
            journal.torn = true;
            journal.add(7, &restored, None).unwrap();
        }
        let left = pending(&read(&journal.folder).unwrap());
        let ids: Vec<&str> = left.iter().map(|action| action.id.as_str()).collect();
        assert_eq!(ids, ["r.0", "r.2"]);
        assert!(left.iter().all(|action| action.timer == Some(SET)));
    }

    #[test]
    fn the_log_is_bounded_and_survives_half_a_line() {
        let base = tempfile::tempdir().unwrap();
        let mut journal = journal(base.path(), 1, 2);
        let (item, set) = (timer(), SET);
        journal.add(0, &item, Some(set)).unwrap();
        journal.file.write_all(b"{\"id\":\"half").unwrap();
        journal.torn = true;
        journal.add(1, &item, None).unwrap();
        let all = read(&journal.folder).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].timer, all[0].why.as_str()), (Some(set), "age: old"));
        assert_eq!(all[1].id, "r.1");
        for _ in 0..2 {
            journal.file.set_len(CAP_BYTES + 1).unwrap();
            journal.add(2, &item, None).unwrap();
        }
        let sizes: Vec<u64> = std::fs::read_dir(base.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert!(
            sizes.iter().sum::<u64>() <= 2 * CAP_BYTES + (1 << 16),
            "{sizes:?}"
        );
        assert_eq!(read(&journal.folder).unwrap().last().unwrap().id, "r.2");
    }
}
