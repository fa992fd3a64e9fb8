//! A virtual environment with the Python packages that the sessions use.

use std::fs;
use std::path::PathBuf;
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

fn run(command: &mut Command) {
    let done = command
        .status()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(done.success(), "{command:?} failed");
}
