//! What the tests of the command line share.
#![allow(dead_code)]

pub mod segment;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use memguard_tests::artifacts;

/// The command line under test, with its segments in a private folder.
pub fn memguard(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memguard"));
    command
        .env("MEMGUARD_DIR", folder)
        .env("MEMGUARD_STATE", state_folder(folder))
        .env("MEMGUARD_LIBRARY", artifacts::library());
    // Nobody's own rules.
    command.env("XDG_CONFIG_HOME", folder);
    for other in [
        "MEMGUARD_CONFIG",
        "LD_PRELOAD",
        "MEMGUARD_KEEP",
        "MEMGUARD_MONITORING_MODE",
        "COLUMNS",
        "NO_COLOR",
    ] {
        command.env_remove(other);
    }
    command
}

/// The same under a limit on the size of files.
pub fn limited(folder: &Path, bytes: u64) -> Command {
    let plain = memguard(folder);
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--fsize={bytes}"))
        .arg(plain.get_program());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// What it learns stays in the same private folder.
pub fn state_folder(folder: &Path) -> PathBuf {
    folder.join("state")
}

/// Runs it to its end.
pub fn run(folder: &Path, args: &[&str]) -> Output {
    memguard(folder)
        .args(args)
        .output()
        .expect("memguard starts")
}

/// Its exit code.
pub fn code(output: &Output) -> i32 {
    output.status.code().expect("memguard is not killed")
}

/// Its standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Its standard output.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The JSON of a verb that must succeed.
#[track_caller]
pub fn json(folder: &Path, args: &[&str]) -> serde_json::Value {
    let done = run(folder, args);
    assert!(done.status.success(), "{args:?}: {}", stderr(&done));
    serde_json::from_slice(&done.stdout)
        .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", stdout(&done)))
}

/// The report of a process, in which everything counts as old.
#[track_caller]
pub fn report(folder: &Path, word: &str) -> serde_json::Value {
    let args = ["report", "--min-age", "0s", "--format", "json", word];
    json(folder, &args)
}

/// Whether a finding has this function on its stack.
pub fn is_made_by(finding: &serde_json::Value, function: &str) -> bool {
    let frames = finding["stack"].as_array().expect("a stack");
    frames.iter().any(|frame| frame["function"] == function)
}

/// Fails unless it was refused with this code, in one sentence that has the
/// words.
#[track_caller]
pub fn assert_refused(output: &Output, wanted: i32, words: &str) {
    let said = stderr(output);
    assert_eq!(code(output), wanted, "{said}");
    assert!(
        said.starts_with("memguard: ") && said.trim_end().ends_with('.'),
        "{said}"
    );
    assert!(said.contains(words), "no `{words}` in: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// Copies a program that is to be started. Another process does it: a file
/// that this one writes may, for a moment, be open in a child that another
/// test just forked, and then it cannot be started.
pub fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status();
    assert!(copied.expect("cp starts").success());
}

/// The program that forgets things, built once.
pub fn forgets() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| fixture("forgets"))
}

/// The program that keeps things and gives them back later, built once.
pub fn keeps() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| fixture("keeps"))
}

/// The echo server that forgets things, built once.
pub fn serves() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| fixture("serves"))
}

/// The program that loses things and keeps others, built once.
pub fn loses() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| fixture("loses"))
}

/// The program that becomes another one, built once.
pub fn replaces() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| fixture("replaces"))
}

/// The program that hands descriptors round, built once.
pub fn hands_round() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| fixture("hands_round"))
}

/// The program that has a child, built once.
pub fn begets() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| fixture("begets"))
}

/// A static program, which the library cannot be in, built once.
pub fn stands() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("stands", &["-static"]))
}

fn fixture(name: &str) -> PathBuf {
    built(name, &["-pthread"])
}

fn built(name: &str, options: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.c"));
    let program =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let built = Command::new("gcc")
        .args(["-g", "-O1"])
        .args(options)
        .arg("-o")
        .arg(&program)
        .arg(source)
        .status();
    assert!(built.expect("gcc starts").success());
    program
}

/// A program that stands still until it is told to go on.
pub struct Held {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    /// Its own pid, also when a wrapper started it
    pub pid: i32,
}

impl Held {
    /// Starts it and waits until it stands still.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut held = Self {
            child,
            lines,
            pid: 0,
        };
        held.wait();
        held
    }

    /// The forgetful program with the library in it.
    #[track_caller]
    pub fn forgetful(folder: &Path, args: &[&str]) -> Self {
        Self::watched(folder, forgets(), args)
    }

    /// Another program with the library in it.
    #[track_caller]
    pub fn watched(folder: &Path, program: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command
            .args(args)
            .env("LD_PRELOAD", artifacts::library())
            .env("MEMGUARD_DIR", folder);
        command.env("MEMGUARD_KEEP", "always");
        Self::start(command)
    }

    #[track_caller]
    fn wait(&mut self) {
        let line = self.lines.next().expect("it says READY").unwrap();
        self.pid = line
            .strip_prefix("READY ")
            .expect("it says READY")
            .parse()
            .unwrap();
    }

    /// Its pid as a word.
    pub fn word(&self) -> String {
        self.pid.to_string()
    }

    /// Lets it go on to where it stands still again.
    #[track_caller]
    pub fn go_on(&mut self) {
        self.push();
        self.wait();
    }

    /// Tells it something; the last line that it says before it stands still
    /// again.
    #[track_caller]
    pub fn ask(&mut self, what: &str) -> String {
        // In one write: a reader that is quick would take it for two lines.
        let line = format!("{what}\n");
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(line.as_bytes()).expect("it reads");
        let mut said = String::new();
        loop {
            let line = self.lines.next().expect("it answers").unwrap();
            if line.starts_with("READY ") {
                return said;
            }
            said = line;
        }
    }

    fn push(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap()).expect("it reads");
    }

    /// Lets it go on to its end.
    pub fn finish(mut self) -> std::process::ExitStatus {
        self.push();
        self.child.wait().unwrap()
    }

    /// Ends it as the out-of-memory killer would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A pid that is of no process.
pub fn free_pid() -> i32 {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id() as i32
}
