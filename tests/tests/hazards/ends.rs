//! All ways to end.
//!
//! Guards: a normal end removes the segment, whichever function it goes by; a
//! crash leaves it, and `memguard report` reads it; later starts remove what is
//! left of older ones. Without the first or the last the folder fills up;
//! without the second there is nothing to report on.

use memguard_tests::{Fds, Program, Record, Report, Scratch};

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
            assert!(left == 17 || before > 47, "{left} of {before} are left");
            return;
        }
        assert_eq!(left, before + 1);
        before = left;
    }
    panic!("{before} segments of the dead, and no start removed one");
}
