//! A program that stands still, so that it can be looked at while it lives.
//!
//! The fixture writes `HOLD` and waits for a line on its standard input.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::truth::Truth;
use crate::{Fds, Outcome, Record, Report, Scratch, outcome, run};

/// A program that stands still for longer than this never will again.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program.
#[derive(Debug)]
pub struct Held {
    child: Option<Child>,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    said: String,
    scratch: Scratch,
    folder: PathBuf,
}

impl Held {
    /// Waits until the program stands still for the first time.
    #[track_caller]
    pub(crate) fn new(mut child: Child, scratch: Scratch, folder: PathBuf, work: Duration) -> Self {
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let stderr = child.stderr.take().expect("standard error is a pipe");
        let mut held = Self {
            input: child.stdin.take(),
            lines: lines_of(stdout),
            stderr: Some(run::collect(stderr)),
            child: Some(child),
            said: String::new(),
            scratch,
            folder,
        };
        held.until_hold(work + PATIENCE);
        held
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child
            .as_ref()
            .expect("the program was not finished")
            .id()
    }

    /// The folder of its segments.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The private folder of this run.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Everything it has written to standard output so far.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// The last figure it gave under a name, in a line `# <key> <number>` or
    /// `<key> <number>`.
    #[track_caller]
    pub fn value(&self, key: &str) -> u64 {
        let said = &self.said;
        let lines = said
            .lines()
            .rev()
            .map(|l| l.strip_prefix(outcome::ASIDE).unwrap_or(l));
        lines
            .filter_map(|l| outcome::value_in(l, key))
            .next()
            .unwrap_or_else(|| panic!("the program gave no {key}:\n{said}"))
    }

    /// Lets it go on until it stands still again.
    #[track_caller]
    pub fn go_on(&mut self) {
        self.go_on_for(Duration::ZERO);
    }

    /// The same for a program that has so much to do in between.
    #[track_caller]
    pub fn go_on_for(&mut self, work: Duration) {
        self.push();
        self.until_hold(work + PATIENCE);
    }

    /// What the program says it keeps, since it last stood still.
    pub fn truth(&self) -> Truth {
        Truth::of(self.pid(), &self.said)
    }

    /// What `memguard fds` says about it.
    #[track_caller]
    pub fn fds(&self) -> Fds {
        Fds::of(self.pid(), &self.folder)
    }

    /// What `memguard report` says about it.
    #[track_caller]
    pub fn report(&self) -> Report {
        Report::of(self.pid(), &self.folder)
    }

    /// The library's own rows about it.
    #[track_caller]
    pub fn record(&self) -> Record {
        Record::of(self.pid(), &self.folder)
    }

    /// The library's own rows about a process that this one started.
    #[track_caller]
    pub fn record_of(&self, pid: u32) -> Record {
        Record::of(pid, &self.folder)
    }

    /// What `memguard fds` says about a process that this one started.
    #[track_caller]
    pub fn fds_of(&self, pid: u32) -> Fds {
        Fds::of(pid, &self.folder)
    }

    /// What `memguard report` says about a process that this one started.
    #[track_caller]
    pub fn report_of(&self, pid: u32) -> Report {
        Report::of(pid, &self.folder)
    }

    /// Fails unless every kept descriptor, and no other, is open, and
    /// memguard names the function that created each.
    #[track_caller]
    pub fn assert_fds_agree(&self) {
        self.truth().assert_agrees(&self.fds());
    }

    /// Fails unless memguard, the library's rows and the kernel agree about
    /// which numbers are open: for programs that do not tell what they keep.
    #[track_caller]
    pub fn assert_numbers_agree(&self) {
        self.record().assert_rows_are_true(self.pid());
        assert_eq!(self.fds().numbers(), open_fds(self.pid()));
    }

    /// Kills it, as the out-of-memory killer would.
    pub fn kill(&mut self) -> Outcome {
        run::kill(self.pid(), libc::SIGKILL);
        self.end()
    }

    /// Lets it go on to its end.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        self.push();
        self.end()
    }

    /// Fails unless it ends well.
    #[track_caller]
    pub fn finish_ok(self) {
        self.finish().ok();
    }

    fn push(&mut self) {
        let input = self.input.as_mut().expect("standard input is a pipe");
        // A program that died meanwhile shows in what comes next.
        let _ = input.write_all(b"\n");
    }

    #[track_caller]
    fn until_hold(&mut self, patience: Duration) {
        let begun = Instant::now();
        loop {
            let left = patience.saturating_sub(begun.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) if line == "HOLD" => return,
                Ok(line) => self.said.push_str(&(line + "\n")),
                Err(_) => {
                    let ended = self.kill();
                    panic!("the program does not stand still: {ended:#?}");
                }
            }
        }
    }

    #[track_caller]
    fn end(&mut self) -> Outcome {
        self.input = None;
        let child = self
            .child
            .take()
            .expect("the program was not finished before");
        let pid = child.id();
        let status = run::wait(child);
        let rest: Vec<String> = self.lines.iter().filter(|l| l != "HOLD").collect();
        let stdout = rest
            .iter()
            .fold(self.said.clone(), |said, line| said + line + "\n");
        let stderr = self
            .stderr
            .take()
            .expect("standard error was not read before");
        let stderr = stderr.join().expect("a reader ends");
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        Outcome {
            pid,
            stdout,
            stderr,
            status,
        }
    }
}

impl Drop for Held {
    /// A test that failed leaves no process behind, nor any of its children.
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            run::kill_group(child.id());
            let _ = child.wait();
        }
    }
}

fn lines_of(pipe: std::process::ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The descriptors that are open in a process now, by the kernel's word.
pub fn open_fds(pid: u32) -> Vec<i32> {
    let read = fs::read_dir(format!("/proc/{pid}/fd")).expect("a live process has descriptors");
    let names = read.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    let mut found: Vec<i32> = names.collect();
    found.sort_unstable();
    found
}
