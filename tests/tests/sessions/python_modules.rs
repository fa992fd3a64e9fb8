//! Python's own tests of what the library hooks: the same result for each test
//! with the library as without.

use memguard_tests::outcome::assert_same_text;
use memguard_tests::{Program, compile, skip};

const SUITE: &str = "/usr/lib/python3.11/test/test_subprocess.py";

/// Runs one part of a module, bare and in light mode.
fn module(name: &str, parts: u32, part: u32) {
    if !skip::file("python_modules", SUITE) {
        return;
    }
    let script = compile::sources().join("python_modules.py");
    let python = Program::at("/usr/bin/python3").arg(script).arg(name);
    let program = python.arg(parts.to_string()).arg(part.to_string());
    let (bare, watched) = (program.bare().ok(), program.watched());
    assert_same_text(&watched.stdout, &bare.stdout, &watched.stderr);
    assert_eq!(watched.status, bare.status);
    assert!(
        bare.stdout.lines().any(|l| l.ends_with(" fine")),
        "{bare:#?}"
    );
}

#[test]
fn test_subprocess() {
    module("test_subprocess", 1, 0);
}

#[test]
fn test_socket() {
    module("test_socket", 1, 0);
}

#[test]
fn test_select() {
    module("test_select", 1, 0);
}

#[test]
fn test_threading() {
    module("test_threading", 1, 0);
}

#[test]
fn test_mmap() {
    module("test_mmap", 1, 0);
}
