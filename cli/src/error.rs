//! Everything that can go wrong, as sentences that say what to do next.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// What a verb can fail with. Every message is a whole sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target cannot be found or looked at
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The target's record cannot be used
    #[error(transparent)]
    Record(#[from] RecordError),
    /// `memguard run` could not start or watch the program
    #[error(transparent)]
    Run(#[from] RunError),
    /// The result could not be written
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A file of rules is wrong
    #[error(transparent)]
    Rules(#[from] crate::rules::RuleError),
    /// The state folder cannot be used
    #[error(transparent)]
    State(#[from] crate::state::StateError),
    /// The request makes no sense
    #[error("{0}")]
    Usage(String),
    /// The target did not do what was asked
    #[error("{0}")]
    Refused(String),
}

/// Why a target cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Neither a process nor a record
    #[error(
        "There is no process {0} and no record of one that ended; `memguard list` shows what is being watched."
    )]
    NoSuchPid(i32),
    /// It has ended, and left no record
    #[error(
        "Process {0} has ended without a record and only waits for its parent to take note of it; \
        `memguard list` shows what is being watched."
    )]
    Zombie(i32),
    /// Nothing can be said of processes
    #[error(
        "/proc is not mounted, so no process can be looked at; mount it (mount -t proc proc /proc) and ask again."
    )]
    NoProc,
    /// Records of several users claim to be of one process
    #[error(
        "Several users' folders have a record of process {pid}, of which at most one is true; name the file that you \
        trust instead, and delete the others:\n{list}"
    )]
    Contested {
        /// The process
        pid: i32,
        /// One path a line
        list: String,
    },
    /// No process, no file
    #[error(
        "No process is named `{0}` and there is no such file; `memguard list` shows what is being watched."
    )]
    NoSuchName(String),
    /// More than one process has the name
    #[error("Several processes are named `{name}`; give one of these pids instead:\n{list}")]
    Ambiguous {
        /// What was asked for
        name: String,
        /// One line a process
        list: String,
    },
    /// Another user's process
    #[error(
        "Process {pid} belongs to {owner} and you may not look into it; run memguard as that user or as root."
    )]
    NotPermitted {
        /// The process
        pid: i32,
        /// Its user
        owner: String,
    },
    /// One's own process, which the kernel shows to root only
    #[error(
        "Process {0} is yours, but the kernel shows it to root only (it is set-user-ID or made itself undumpable); \
        run memguard as root."
    )]
    Undumpable(i32),
    /// Root is refused as well
    #[error(
        "The kernel refuses even root a look into process {0}: memguard lacks CAP_SYS_PTRACE here, or a security \
        module forbids it; run memguard where it has that capability, outside of a container say."
    )]
    Forbidden(i32),
    /// The pid is in use again
    #[error(
        "Process {pid} is now another program ({now}); to read the record of the one that ended, name its file \
        {record} instead, or delete that file to look at the running one."
    )]
    PidReused {
        /// The pid
        pid: i32,
        /// What runs there now
        now: String,
        /// The old one's record
        record: PathBuf,
    },
    /// It ended between two looks
    #[error(
        "Process {0} ended while memguard was looking at it; ask again to read what its record still says."
    )]
    Vanished(i32),
    /// The verb needs a live, instrumented process
    #[error(
        "Process {0} does not have memguard's library in it; start it with `memguard run -- COMMAND` first."
    )]
    NotInstrumented(i32),
    /// The same, but the library is in it
    #[error(
        "Process {0} is a forked child without a record yet, or its monitoring is off; a child gets its record at its \
        first event after 3 ms, so ask again when it has done something."
    )]
    NoRecordYet(i32),
    /// The verb needs a process
    #[error(
        "`{0}` has ended, or is but a record of what was known; give the pid or the name of a process that runs."
    )]
    NotRunning(String),
    /// We may open too few files to look at anything
    #[error(
        "memguard may have only {limit} descriptors open, too few to look at a process; raise its limit (ulimit -n 64) \
        and ask again."
    )]
    FewDescriptors {
        /// The limit
        limit: u64,
    },
    /// The kernel's files cannot be read
    #[error(
        "The kernel's records of process {pid} cannot be read ({source}); check that /proc is mounted."
    )]
    Proc {
        /// The process
        pid: i32,
        /// What the kernel said
        source: io::Error,
    },
    /// The same, in the words of whoever asked
    #[error(transparent)]
    Kernel(#[from] crate::kernel::KernelError),
    /// The doctor cannot look at it
    #[error(transparent)]
    Doctor(#[from] crate::doctor::DoctorError),
}

/// Why a record (live segment, kept segment or snapshot file) cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Made by another version
    #[error(
        "{what} was made by another version of memguard ({detail}); use the memguard that came with its library."
    )]
    Version {
        /// Whose record
        what: String,
        /// The two versions
        detail: String,
    },
    /// Damaged
    #[error(
        "{what} is damaged ({detail}) and cannot be trusted; restart the program under memguard for a new record."
    )]
    Corrupt {
        /// Whose record
        what: String,
        /// What is wrong with it
        detail: String,
    },
    /// Damaged, and its process is gone
    #[error(
        "{what} is damaged ({detail}) and cannot be trusted; delete that file, there is nothing more to be had from it."
    )]
    Spoiled {
        /// Whose record
        what: String,
        /// What is wrong with it
        detail: String,
    },
    /// Not made by memguard
    #[error("{0} is not a memguard record; name a file that `memguard snapshot` wrote.")]
    NotOurs(PathBuf),
    /// Somebody else's file under our name
    #[error(
        "{path} belongs to {owner}, who does not own that process, so it is not read; delete it if it is not wanted."
    )]
    Forged {
        /// The file
        path: PathBuf,
        /// Who made it
        owner: String,
    },
    /// `--since` with a snapshot of something else
    #[error(
        "That snapshot is of {snapshot} (pid {pid}), which is not the process asked about; \
        take a new one with `memguard snapshot`."
    )]
    OtherProcess {
        /// Its name
        snapshot: String,
        /// Its pid
        pid: i32,
    },
    /// Its process has just been started
    #[error("{0} is still being set up; ask again in a moment.")]
    Starting(String),
    /// The kernel refuses
    #[error("{path} cannot be read ({source}); check its owner and permissions.")]
    Unreadable {
        /// The file
        path: PathBuf,
        /// What the kernel said
        source: io::Error,
    },
}

/// Why `memguard run` could not do its job.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No library
    #[error(
        "libmemguard.so was not found ({tried}); install it beside memguard or name it in MEMGUARD_LIBRARY."
    )]
    NoLibrary {
        /// Where it was looked for
        tried: String,
    },
    /// No such program
    #[error("`{0}` was not found; check its name, or give its path.")]
    NotFound(String),
    /// There, but it cannot be started
    #[error(
        "`{command}` cannot be started ({source}); check that it is a program and that you may run it."
    )]
    CannotStart {
        /// The program
        command: String,
        /// What the kernel said
        source: io::Error,
    },
    /// The same, in the doctor's words
    #[error("`{command}` cannot be started. {why}")]
    NotStarted {
        /// The program
        command: String,
        /// Why, and what to do
        why: crate::doctor::DoctorError,
    },
    /// It would end as soon as it starts
    #[error("{0}")]
    Unstartable(String),
    /// It ran, but cannot be reported on
    #[error("The program succeeded, but there is no report on it: {0}")]
    Report(Box<Error>),
    /// Its rules are wrong or its file cannot be written, so it was not started
    #[error("The program was not started, since its report could not be made: {0}")]
    Beforehand(Box<Error>),
    /// Something of ours failed
    #[error("memguard could not {doing} ({source}); free some resources and try again.")]
    Own {
        /// What was being done
        doing: &'static str,
        /// What the kernel said
        source: io::Error,
    },
}

/// Why the result could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// A file
    #[error("{path} cannot be written ({source}); choose another file with -o.")]
    File {
        /// The file
        path: PathBuf,
        /// What the kernel said
        source: io::Error,
    },
    /// The screen or a pipe
    #[error("The result cannot be written to standard output ({0}); use -o FILE.")]
    Screen(io::Error),
    /// The same, after something was done
    #[error("What was done stands in {log}. {why}")]
    Unseen {
        /// The log of it
        log: PathBuf,
        /// Why it cannot be written elsewhere
        why: Box<OutputError>,
    },
    /// The same, and the log does not have all of it
    #[error("{missing} {why}")]
    Unkept {
        /// What the log lacks
        missing: String,
        /// Why it cannot be written elsewhere
        why: Box<OutputError>,
    },
    /// The format is not for this verb
    #[error("`--format {format}` is not for `memguard {verb}`; use {instead}.")]
    NoSuchFormat {
        /// What was asked
        format: &'static str,
        /// Of which verb
        verb: &'static str,
        /// What it can do
        instead: &'static str,
    },
}

impl TargetError {
    /// Why `asker` may not look into a process of `owner`.
    #[must_use]
    pub fn refused(pid: i32, owner: u32, asker: u32) -> Self {
        match asker {
            0 => Self::Forbidden(pid),
            asker if asker == owner => Self::Undumpable(pid),
            _ => Self::NotPermitted {
                pid,
                owner: format!("user {owner}"),
            },
        }
    }

    /// Whether the kernel refuses the look.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::NotPermitted { .. } | Self::Undumpable(_) | Self::Forbidden(_)
        )
    }
}

impl RecordError {
    /// The same, of a record that no process writes to any more.
    #[must_use]
    pub fn of_the_dead(self) -> Self {
        match self {
            Self::Corrupt { what, detail } => Self::Spoiled { what, detail },
            Self::Starting(what) => Self::Spoiled {
                what,
                detail: "its process ended before it was set up".to_owned(),
            },
            other => other,
        }
    }
}

impl Error {
    /// The exit code the command line promises for this failure.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Target(_) => 3,
            Self::Record(RecordError::Forged { .. }) => 3,
            Self::Record(RecordError::OtherProcess { .. }) => 2,
            Self::Record(_) => 4,
            Self::Run(RunError::NotFound(_)) => 127,
            Self::Run(
                RunError::CannotStart { .. }
                | RunError::NotStarted { .. }
                | RunError::Unstartable(_),
            ) => 126,
            Self::Run(_) => 125,
            Self::Output(_) | Self::Rules(_) | Self::State(_) | Self::Usage(_) => 2,
            Self::Refused(_) => 5,
        }
    }

    /// Whether nobody reads the output any more, which is no failure.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(OutputError::Screen(error)) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// The code for a wrong command line: `run` keeps 1 to 124 for its program.
pub fn own_failure(code: i32, mut words: impl Iterator<Item = OsString>) -> u8 {
    let wrapper = words.nth(1).is_some_and(|verb| verb == "run");
    match (code, wrapper) {
        (0, _) => 0,
        (_, true) => 125,
        (_, false) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_promised_ones() {
        assert_eq!(Error::from(TargetError::NoSuchPid(7)).exit_code(), 3);
        assert_eq!(Error::from(RecordError::NotOurs("x".into())).exit_code(), 4);
        assert_eq!(Error::from(RunError::NotFound("x".into())).exit_code(), 127);
        assert_eq!(Error::Usage("x".into()).exit_code(), 2);
    }

    #[test]
    fn root_is_not_told_to_become_root() {
        let said = |asker| TargetError::refused(7, 1000, asker).to_string();
        assert!(said(0).contains("CAP_SYS_PTRACE") && !said(0).contains("as root"));
        assert!(said(1000).contains("is yours") && said(1000).contains("as root"));
        assert!(said(1001).contains("belongs to user 1000"));
    }

    #[test]
    fn messages_are_sentences_that_go_on() {
        let samples = [
            TargetError::NoSuchPid(7).to_string(),
            TargetError::NoSuchName("app".into()).to_string(),
            TargetError::NotInstrumented(7).to_string(),
            RecordError::NotOurs("/tmp/x".into()).to_string(),
            RunError::NotFound("nonesuch".into()).to_string(),
        ];
        for text in samples {
            assert!(text.ends_with('.') && text.contains(';'), "{text}");
        }
    }

    #[test]
    fn a_wrong_line_for_run_is_125() {
        let line = |verb: &str| ["memguard", verb].map(OsString::from).into_iter();
        assert_eq!(own_failure(2, line("run")), 125);
        assert_eq!(own_failure(2, line("report")), 2);
        assert_eq!(own_failure(0, line("run")), 0);
    }
}
