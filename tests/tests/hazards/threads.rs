//! Threads come and go by the thousand.
//!
//! Guard: what a thread has in the library and in the segment is used again by
//! a later one. Without it both grow with the number of threads.

use std::fs;

use memguard_tests::{Held, Mode, Program};

/// KiB of the process that are resident in the segment or owned by it alone.
fn kilobytes(held: &Held) -> i64 {
    let path = format!("/proc/{}/smaps_rollup", held.pid());
    let text = fs::read_to_string(path).expect("a live process has smaps");
    let line = text.lines().find_map(|l| l.strip_prefix("Rss:"));
    let figure = line.and_then(|l| l.trim().strip_suffix(" kB"));
    figure
        .and_then(|f| f.trim().parse().ok())
        .expect("smaps has Rss")
}

/// How much a run to ten thousand threads adds.
fn growth(mut held: Held) -> i64 {
    let before = kilobytes(&held);
    held.go_on();
    let after = kilobytes(&held);
    held.finish_ok();
    after - before
}

#[test]
fn ten_thousand_short_threads() {
    let program = Program::fixture("threads").arg("10000");
    program.assert_same().ok();
    let bare = growth(program.hold_bare());
    for mode in [Mode::Light, Mode::Deep] {
        let watched = growth(program.clone().mode(mode).hold());
        assert!(
            watched - bare <= 128,
            "{mode:?}: {watched} KiB more, bare {bare}"
        );
    }
}
