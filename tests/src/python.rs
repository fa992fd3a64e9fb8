//! A virtual environment with the Python packages that the sessions use.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{artifacts, compile};

/// The environment, made once: `requirements.txt` says what is in it.
pub fn venv() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(make).clone()
}

/// Made under the name of its requirements, so that a change of them makes a
/// new one, and finished by a mark, so that half of one is made again.
fn make() -> PathBuf {
    let wanted = compile::sources().join("requirements.txt");
    let text = fs::read_to_string(&wanted).expect("the requirements are there");
    let folder = artifacts::target().join("venv");
    let mark = folder.join("made-for.txt");
    let _alone = lock(&folder.with_extension("lock"));
    if fs::read_to_string(&mark).is_ok_and(|made_for| made_for == text) {
        return folder;
    }
    run(Command::new("/usr/bin/python3")
        .args(["-m", "venv", "--clear"])
        .arg(&folder));
    let pip = folder.join("bin/pip");
    run(Command::new(pip)
        .args(["install", "--quiet", "-r"])
        .arg(&wanted));
    fs::write(mark, text).expect("the mark can be written");
    folder
}

/// Waits until no other process makes the environment. Held until dropped.
fn lock(path: &Path) -> File {
    fs::create_dir_all(artifacts::target()).expect("the target folder can be made");
    let file = File::create(path).expect("a lock file can be made");
    // SAFETY: flock has no preconditions; the descriptor is open.
    let done = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
    assert_eq!(done, 0, "flock(2) waits");
    file
}

fn run(command: &mut Command) {
    let done = command
        .status()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(done.success(), "{command:?} failed");
}
