//! What came of a run: output and exit status, or the signal it died of.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// What a finished program left behind.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its pid.
    pub pid: u32,
    /// Everything it wrote to standard output.
    pub stdout: String,
    /// Everything it wrote to standard error.
    pub stderr: String,
    /// How it ended.
    pub status: ExitStatus,
}

impl Outcome {
    /// Fails unless the program ended with status 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "the program failed: {self:#?}");
        self
    }

    /// The signal that killed the program.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// The value of the first line `<key> <value>` of standard output.
    #[track_caller]
    pub fn value(&self, key: &str) -> u64 {
        value_in(&self.stdout, key)
            .unwrap_or_else(|| panic!("no line \"{key} NUMBER\" in {self:#?}"))
    }

    /// Fails unless output and status are the same.
    #[track_caller]
    pub fn assert_same(&self, other: &Self, what: &str) {
        assert_same_text(
            &self.stdout,
            &other.stdout,
            &format!("{what}, standard output"),
        );
        assert_same_text(
            &self.stderr,
            &other.stderr,
            &format!("{what}, standard error"),
        );
        assert_eq!(self.status, other.status, "{what}: the exit status differs");
    }
}

/// The value of the first line `<key> <value>` of a text.
pub fn value_in(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
}

/// Lines that begin so are for the harness: pids and figures, which differ
/// from run to run.
pub const ASIDE: &str = "# ";

impl Outcome {
    /// The same outcome without the lines that are for the harness.
    pub fn plain(&self) -> Self {
        let lines = self.stdout.lines().filter(|line| !line.starts_with(ASIDE));
        let stdout = lines.map(|line| format!("{line}\n")).collect();
        Self {
            stdout,
            ..self.clone()
        }
    }
}

/// Fails unless two texts are the same, and shows where they part.
#[track_caller]
pub fn assert_same_text(watched: &str, bare: &str, what: &str) {
    if watched == bare {
        return;
    }
    let (watched, bare): (Vec<_>, Vec<_>) = (watched.lines().collect(), bare.lines().collect());
    let parts = watched
        .iter()
        .zip(&bare)
        .take_while(|(one, other)| one == other)
        .count();
    let around = |lines: &[&str]| {
        let from = parts.saturating_sub(2);
        lines
            .iter()
            .skip(from)
            .take(8)
            .map(|l| format!("  {l}\n"))
            .collect::<String>()
    };
    panic!(
        "{what} differs\nwatched:\n{}bare:\n{}",
        around(&watched),
        around(&bare)
    );
}
