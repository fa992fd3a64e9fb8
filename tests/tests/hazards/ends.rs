//! All ways to end.
//!
//! Guards: a normal end removes the segment, whichever function it goes by; a
//! crash leaves it, and `memguard report` reads it; later starts remove what is
//! left of older ones. Without the first or the last the folder fills up;
//! without the second there is nothing to report on.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use memguard_tests::{Fds, Program, Record, Report, Scratch, artifacts};

fn ends(how: &str) -> Scratch {
    let program = Program::fixture("ends").arg(how);
    program.assert_same();
    let scratch = Scratch::new();
    let outcome = program.watched_in(&scratch);
    if let [file] = &scratch.segment_files()[..] {
        let rows = Record::read(file).fd_rows();
        assert_eq!(rows.len(), 1, "what was open at the end: {rows:#?}");
        let report = Report::of(outcome.pid, &scratch.segments());
        assert!(!report.alive());
        let fds = Fds::of(outcome.pid, &scratch.segments());
        let row = fds.get(3).expect("the dead process's descriptor");
        assert!(row.created_in("keep_file"), "{row:#?}");
    }
    scratch
}

#[track_caller]
fn leaves(how: &str, segments: usize) {
    let files = ends(how).segment_files();
    assert_eq!(files.len(), segments, "after {how}: {files:?}");
}

#[test]
fn normal_ends_leave_nothing() {
    for how in [
        "return",
        "exit",
        "_exit",
        "_Exit",
        "quick_exit",
        "pthread_exit",
        "syscall",
    ] {
        leaves(how, 0);
    }
}

#[test]
fn ends_from_another_thread_leave_nothing() {
    leaves("thread_exit", 0);
    leaves("thread__exit", 0);
}

#[test]
fn crashes_leave_the_segment() {
    for how in ["abort", "segv", "kill", "term"] {
        leaves(how, 1);
    }
}

#[test]
fn a_kept_segment_stays() {
    let scratch = Scratch::new();
    let program = Program::fixture("ends")
        .arg("exit")
        .env("MEMGUARD_KEEP", "always");
    program.watched_in(&scratch);
    assert_eq!(scratch.segment_files().len(), 1);
}

#[test]
fn of_many_crashes_the_last_few_stay() {
    let scratch = Scratch::new();
    let program = Program::fixture("ends").arg("kill");
    let mut before = 0;
    for _ in 0..1000 {
        program.watched_in(&scratch);
        let left = scratch.segment_files().len();
        // One was removed and one added: as many as before.
        if left <= before {
            // Sixteen and the one that removed the others, unless there were
            // more than one start looks at.
            assert!(left == 17 || before > 70, "{left} of {before} are left");
            return;
        }
        assert_eq!(left, before + 1);
        before = left;
    }
    panic!("{before} segments of the dead, and no start removed one");
}

const LIVES_ON: &str = "import os, sys
sys.stdin.readline()
open('/dev/null').close()
os.kill(os.getpid(), 9)
";

#[test]
fn the_last_to_crash_stays_though_it_was_the_first_to_start() {
    let scratch = Scratch::new();
    let mut old = Command::new("python3")
        .args(["-c", LIVES_ON])
        .env("LD_PRELOAD", artifacts::library())
        .env("MEMGUARD_DIR", scratch.segments())
        .stdin(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let start = |how| Program::fixture("ends").arg(how).watched_in(&scratch);
    (0..30).for_each(|_| drop(start("kill")));
    // A record says to the second when its process was last at work.
    std::thread::sleep(Duration::from_millis(1100));
    drop(old.stdin.take());
    old.wait().expect("it ends");
    let its = format!(".{}.", old.id());
    let is_its = |file: &PathBuf| file.to_string_lossy().contains(&its);
    let before = scratch.segment_files().len();
    for _ in 0..1000 {
        start("exit");
        let files = scratch.segment_files();
        assert!(files.iter().any(is_its), "{files:?}");
        if files.len() < before {
            return;
        }
    }
    panic!("{before} segments of the dead, and no start removed one");
}
