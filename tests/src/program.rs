//! A program to run: bare, or with the library in one of its modes.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::run::{finish, keep_own_descriptors};
use crate::{Held, Outcome, Scratch, artifacts, compile};

/// How the library watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As started without any setting.
    Light,
    /// Light, but with a sample every 4 KiB: the sampled path, often.
    Dense,
    /// Every allocation with its stack.
    Deep,
    /// Hooks in place, nothing recorded.
    Off,
}

impl Mode {
    /// The modes that record.
    pub const RECORDING: [Self; 3] = [Self::Light, Self::Dense, Self::Deep];

    /// The variables that choose the mode.
    pub(crate) fn variables(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Light => &[],
            Self::Dense => &[("MEMGUARD_SAMPLE_BYTES", "4096")],
            Self::Deep => &[("MEMGUARD_MONITORING_MODE", "deep")],
            Self::Off => &[("MEMGUARD_MONITORING_MODE", "off")],
        }
    }
}

/// A program with its arguments and environment.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    before: Vec<PathBuf>,
    after: Vec<PathBuf>,
    folder: Option<PathBuf>,
    mode: Mode,
    inside: Vec<OsString>,
    work: Duration,
}

impl Program {
    /// A fixture, built if it is not yet.
    pub fn fixture(name: &str) -> Self {
        Self::at(compile::program(name))
    }

    /// Any program.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            args: Vec::new(),
            variables: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            folder: None,
            mode: Mode::Light,
            inside: Vec::new(),
            work: Duration::ZERO,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Sets a variable of its environment, bare or not.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Preloads another library in front of ours; bare runs have it too.
    pub fn preload_before(mut self, library: impl Into<PathBuf>) -> Self {
        self.before.push(library.into());
        self
    }

    /// Preloads another library after ours; bare runs have it too.
    pub fn preload_after(mut self, library: impl Into<PathBuf>) -> Self {
        self.after.push(library.into());
        self
    }

    /// Starts it inside a filter, a mount, a limit, a group or another user:
    /// the words of `fixtures/inside.c`. Whoever starts it is not watched.
    pub fn inside(mut self, words: &[&str]) -> Self {
        self.inside.extend(words.iter().map(OsString::from));
        self
    }

    /// Says that it has so much to do before it stands still.
    pub fn works_for(mut self, work: Duration) -> Self {
        self.work = work;
        self
    }

    /// Chooses the mode of watched runs.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Puts the segments of watched runs there instead of a private folder.
    pub fn segments(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Runs it without the library.
    #[track_caller]
    pub fn bare(&self) -> Outcome {
        finish(self.start(&self.command(None)))
    }

    /// Runs it with the library.
    #[track_caller]
    pub fn watched(&self) -> Outcome {
        self.watched_in(&Scratch::new())
    }

    /// Runs it with the library, its segments in a folder that outlives it.
    #[track_caller]
    pub fn watched_in(&self, scratch: &Scratch) -> Outcome {
        let folder = self.folder.clone().unwrap_or_else(|| scratch.segments());
        finish(self.start(&self.command(Some(&folder))))
    }

    /// Starts it with the library, and waits until it stands still.
    #[track_caller]
    pub fn hold(&self) -> Held {
        self.hold_in(Scratch::new())
    }

    /// The same, its segments in a given folder.
    #[track_caller]
    pub fn hold_in(&self, scratch: Scratch) -> Held {
        let folder = self.folder.clone().unwrap_or_else(|| scratch.segments());
        let child = self.start(&self.command(Some(&folder)));
        Held::new(child, scratch, folder, self.work)
    }

    /// Starts it without the library, and waits until it stands still.
    #[track_caller]
    pub fn hold_bare(&self) -> Held {
        let child = self.start(&self.command(None));
        Held::new(child, Scratch::new(), PathBuf::new(), self.work)
    }

    /// Fails unless the program does the same bare and in every recording
    /// mode. Gives the bare outcome.
    #[track_caller]
    pub fn assert_same(&self) -> Outcome {
        let bare = self.bare();
        for mode in Mode::RECORDING {
            let watched = self.clone().mode(mode).watched();
            watched
                .plain()
                .assert_same(&bare.plain(), &format!("{mode:?}"));
        }
        bare
    }

    /// Fails unless the program does the same bare and watched, and memguard,
    /// the library's rows, the fixture and the kernel agree about every
    /// descriptor while it stands still.
    #[track_caller]
    pub fn assert_agrees(&self) {
        self.assert_same();
        for mode in [Mode::Light, Mode::Deep] {
            let held = self.clone().mode(mode).hold();
            held.record().assert_rows_are_true(held.pid());
            held.assert_fds_agree();
            held.finish_ok();
        }
    }

    /// The command line of a run: an empty list of preloads is no variable.
    fn command(&self, folder: Option<&Path>) -> Recipe {
        let mut preloads = self.before.clone();
        let mut variables = self.variables.clone();
        if let Some(folder) = folder {
            preloads.push(artifacts::library());
            let chosen = self.mode.variables().iter();
            variables.extend(chosen.map(|(n, v)| (n.into(), v.into())));
            variables.push(("MEMGUARD_DIR".into(), folder.into()));
        }
        preloads.extend(self.after.iter().cloned());
        Recipe {
            preloads,
            variables,
        }
    }

    #[track_caller]
    fn start(&self, recipe: &Recipe) -> Child {
        keep_own_descriptors();
        let mut command = self.command_line();
        for name in INHERITED_NOT {
            command.env_remove(name);
        }
        if !recipe.preloads.is_empty() {
            let inner = if self.inside.is_empty() {
                "LD_PRELOAD"
            } else {
                "INNER_PRELOAD"
            };
            command.env(inner, joined(&recipe.preloads));
        }
        command.envs(recipe.variables.iter().map(|(n, v)| (n, v)));
        command.process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let started = command.spawn();
        started.unwrap_or_else(|e| panic!("{} does not start: {e}", self.path.display()))
    }

    fn command_line(&self) -> Command {
        let mut command = if self.inside.is_empty() {
            Command::new(&self.path)
        } else {
            let mut wrapped = Command::new(compile::program("inside"));
            wrapped.args(&self.inside).arg("--").arg(&self.path);
            wrapped
        };
        command.args(&self.args);
        command
    }
}

/// What a run needs beside the program and its arguments.
struct Recipe {
    preloads: Vec<PathBuf>,
    variables: Vec<(OsString, OsString)>,
}

/// Settings of whoever runs the tests are not the tests' settings.
const INHERITED_NOT: [&str; 9] = [
    "LD_PRELOAD",
    "INNER_PRELOAD",
    "MEMGUARD_DIR",
    "MEMGUARD_KEEP",
    "MEMGUARD_DISABLE",
    "MEMGUARD_MONITORING_MODE",
    "MEMGUARD_SAMPLE_BYTES",
    "MEMGUARD_LIGHT_SAMPLE_RATE",
    "MEMGUARD_DEEP_SAMPLE_RATE",
];

fn joined(preloads: &[PathBuf]) -> OsString {
    let parts: Vec<&OsStr> = preloads.iter().map(|p| p.as_os_str()).collect();
    parts.join(OsStr::new(":"))
}
