//! A scripted session with a real program (`fixtures/sessions/*.sh`), bare and
//! with the library.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use serde_json::Value;

use crate::facts::Fds;
use crate::outcome::assert_same_text;
use crate::program::Mode;
use crate::run::{finish, keep_own_descriptors};
use crate::{Outcome, Scratch, artifacts, compile, python};

/// A session of that name, with further arguments.
#[derive(Debug)]
pub struct Session<'a> {
    name: &'a str,
    args: &'a [&'a str],
    port: u16,
}

impl<'a> Session<'a> {
    /// Names the script. Its port is free now, and both runs use the same.
    #[track_caller]
    pub fn new(name: &'a str, args: &'a [&'a str]) -> Self {
        let port = free_port();
        Self { name, args, port }
    }

    /// Fails unless the session prints the same and ends the same, bare and
    /// with the library in each mode, and memguard agrees with the kernel
    /// about each process that was looked at on the way.
    #[track_caller]
    pub fn assert_same(&self, modes: &[Mode]) {
        let bare = self.run(None, &Scratch::new());
        for mode in modes {
            let scratch = Scratch::new();
            let watched = self.run(Some(*mode), &scratch);
            let what = format!("{} in {mode:?} mode\n{}", self.name, watched.stderr);
            assert_same_text(&watched.stdout, &bare.stdout, &what);
            assert_eq!(watched.status, bare.status, "{what}");
            assert_looks_agree(scratch.path(), mode);
        }
    }

    fn run(&self, mode: Option<Mode>, scratch: &Scratch) -> Outcome {
        let script = compile::sources().join(format!("sessions/{}.sh", self.name));
        let mut bash = Command::new("bash");
        bash.arg(script)
            .arg(scratch.path())
            .arg(self.port.to_string())
            .args(self.args);
        bash.env("VENV", python::venv())
            .env("MEMGUARD", artifacts::memguard());
        bash.env_remove("LD_PRELOAD").env("LC_ALL", "C.UTF-8");
        if let Some(mode) = mode {
            bash.env("WATCH", artifacts::library());
            bash.env("MEMGUARD_DIR", scratch.segments());
            bash.env("MEMGUARD_STATE", scratch.segments().join("state"));
            bash.envs(mode.variables().iter().copied());
        }
        bash.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        keep_own_descriptors();
        finish(bash.spawn().expect("bash can be started"))
    }
}

/// A port that is free, and that the kernel gives to nobody who asks for any:
/// it lies below those. Processes that run tests at once begin at different
/// places.
#[track_caller]
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const MANY: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % u32::from(MANY)) as u16;
    let tried = || FIRST + (start + NEXT.fetch_add(1, Relaxed) % MANY) % MANY;
    (0..MANY)
        .map(|_| tried())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("there is a free port")
}

/// Compares every `look-*.memguard` with its `look-*.kernel`.
#[track_caller]
fn assert_looks_agree(folder: &Path, mode: &Mode) {
    for entry in fs::read_dir(folder)
        .expect("the session's folder is there")
        .flatten()
    {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "memguard") {
            let what = format!("{} in {mode:?} mode", path.display());
            assert_look_agrees(&path, &what);
        }
    }
}

#[track_caller]
fn assert_look_agrees(path: &Path, what: &str) {
    let text = fs::read_to_string(path).expect("a look is text");
    let value: Value =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{what}: {e}\n{text}"));
    // A worker that has had nothing to record since its first milliseconds
    // has no record yet: only the kernel's own list can be compared.
    let no_record_yet =
        value["process"]["library"] == true && value["process"]["instrumented"] == false;
    let fds = Fds::from(value);
    let kernel = fs::read_to_string(path.with_extension("kernel")).expect("a look is text");
    let mut open: Vec<i32> = kernel.lines().filter_map(|l| l.parse().ok()).collect();
    open.sort_unstable();
    assert_eq!(fds.numbers(), open, "{what}");
    // Servers open nothing by calls that no hook sees, but for a few of
    // their libraries; what is inherited is known to be.
    let unknown: Vec<_> = fds
        .rows()
        .into_iter()
        .filter(|r| r.is_unknown() && r.number() > 2)
        .collect();
    assert!(
        no_record_yet || unknown.is_empty(),
        "{what}: origin unknown: {unknown:#?}"
    );
}
