//! Daemons close every number they can think of.
//!
//! Guards: the library keeps no descriptor, and a close of a number without a
//! row is nothing. Without the first there is a row of a descriptor that is not
//! the program's; without the second each such close makes the record unsure.
//! The parent of daemon(3) ends inside libc: its record goes before. Without
//! that each start leaves one.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use memguard_tests::outcome::value_in;
use memguard_tests::run::kill;
use memguard_tests::truth::Truth;
use memguard_tests::{Fds, Program, Record, Scratch};
use shm_protocol::codes::Counter;

/// A daemon outlives whoever started it, but not the test.
struct Daemon(u32);

impl Drop for Daemon {
    fn drop(&mut self) {
        kill(self.0, libc::SIGKILL);
    }
}

/// Waits until the daemon has said all it has to say.
fn said(scratch: &Scratch) -> String {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        let text = fs::read_to_string(scratch.join("daemon")).unwrap_or_default();
        if value_in(&text, "pid").is_some() {
            return text;
        }
        sleep(Duration::from_millis(10));
    }
    panic!("the daemon says nothing");
}

fn becomes(how: &str) {
    let scratch = Scratch::new();
    let program = Program::fixture("daemon")
        .arg(how)
        .arg(scratch.join("daemon"));
    program.watched_in(&scratch).ok();
    let text = said(&scratch);
    let pid = value_in(&text, "pid").expect("the daemon says its pid") as u32;
    let _end = Daemon(pid);
    let (record, fds) = (
        Record::of(pid, &scratch.segments()),
        Fds::of(pid, &scratch.segments()),
    );
    record.assert_rows_are_true(pid);
    assert_eq!(record.counter(Counter::Unsure), 0, "closes of no row");
    Truth::of(pid, &text).assert_agrees(&fds);
}

#[test]
fn a_daemon_that_uses_closefrom() {
    becomes("closefrom");
}

#[test]
fn a_daemon_that_uses_close_range() {
    becomes("range");
}

#[test]
fn a_daemon_that_closes_in_a_loop() {
    becomes("loop");
}

#[test]
fn the_parent_of_daemon_leaves_no_record() {
    let scratch = Scratch::new();
    let program = Program::fixture("daemon")
        .arg("libc")
        .arg(scratch.join("daemon"));
    program.watched_in(&scratch).ok();
    let pid = value_in(&said(&scratch), "pid").expect("the daemon says its pid") as u32;
    let _end = Daemon(pid);
    let left = scratch.segment_files();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(
        left,
        memguard_tests::record::files_of(pid, &scratch.segments())
    );
}
