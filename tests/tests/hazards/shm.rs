//! /dev/shm full, nearly full, without inodes, read-only, or missing.
//!
//! Guard: pages are made real before the first write, and where no file can be
//! had the segment is anonymous. Without it the program dies of SIGBUS at the
//! first write to a page that the full file system cannot give.

use memguard_tests::outcome::assert_same_text;
use memguard_tests::{Mode, Program, skip};

/// In each such folder the program does the same, and is still readable.
fn runs_in(folder: &str, options: &str, arguments: [&str; 2]) {
    let mut program = Program::fixture(arguments[0]).inside(&["mount", folder, options]);
    if !arguments[1].is_empty() {
        program = program.arg(arguments[1]);
    }
    let bare = program.bare().ok();
    let program = program.segments(folder);
    for mode in Mode::RECORDING {
        let program = program.clone().mode(mode);
        let watched = program.watched().ok();
        assert_same_text(
            &watched.stdout,
            &bare.stdout,
            &format!("{mode:?}, {options}"),
        );
        let held = program.hold();
        held.assert_fds_agree();
        held.finish_ok();
    }
}

fn all_programs(options: &str) {
    if !skip::root("shm") {
        return;
    }
    runs_in("/dev/shm", options, ["plain", ""]);
    runs_in("/dev/shm", options, ["hungry", "20"]);
}

#[test]
fn full_from_the_start() {
    all_programs("size=4k");
}

#[test]
fn full_after_a_little() {
    all_programs("size=64k");
    all_programs("size=1m");
}

#[test]
fn full_after_a_while() {
    all_programs("size=3m");
}

#[test]
fn without_inodes() {
    all_programs("nr_inodes=1");
    all_programs("nr_inodes=3");
}

#[test]
fn read_only() {
    all_programs("ro");
}

#[test]
fn a_folder_that_cannot_be_made() {
    let program = Program::fixture("plain").segments("/proc/no/such/folder");
    program.assert_same().ok();
    let held = program.hold();
    held.assert_fds_agree();
    let notes = held.report().notes().join("\n");
    assert!(notes.contains("No file could be made"), "{notes}");
    held.finish_ok();
}

#[test]
fn a_folder_that_is_a_file() {
    let scratch = memguard_tests::Scratch::new();
    let file = scratch.join("file");
    std::fs::write(&file, "not a folder").expect("a file can be written");
    let held = Program::fixture("plain").segments(&file).hold();
    held.assert_fds_agree();
    held.finish_ok();
}
