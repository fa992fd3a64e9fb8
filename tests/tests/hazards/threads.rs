//! Threads come and go by the thousand.
//!
//! Guards: what a thread has in the library is used again by a later one, given
//! back at its end or taken from the dead, and so is the errand that tells it
//! where its stack is. Without the first two the process grows with the number
//! of threads; without the last late threads have no stacks. And who finds a
//! table being made larger waits for it: without that its row is lost.

use std::fs;

use memguard_tests::{Held, Mode, Program};
use shm_protocol::codes::Counter;

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
fn growth(mut held: Held, watched: bool) -> i64 {
    let before = kilobytes(&held);
    held.go_on();
    let after = kilobytes(&held);
    if watched {
        held.assert_fds_agree();
    }
    held.finish_ok();
    after - before
}

#[test]
fn ten_thousand_short_threads() {
    let program = Program::fixture("threads").arg("10000");
    program.assert_same().ok();
    let bare = growth(program.hold_bare(), false);
    for mode in [Mode::Light, Mode::Deep] {
        let grown = |_| growth(program.clone().mode(mode).hold(), true);
        // On a busy machine more of them live at once, with their stacks and
        // arenas: chance makes one run large, what is never given back all.
        let watched = (0..5).map(grown).find(|watched| watched - bare <= 128);
        assert!(watched.is_some(), "{mode:?}: more than 128 KiB over {bare}");
    }
}

#[test]
fn tables_that_grow_under_many_threads_lose_no_row() {
    for _ in 0..3 {
        let held = Program::fixture("at_once").mode(Mode::Deep).hold();
        let record = held.record();
        let lost = [Counter::FdsFull, Counter::HeapFull, Counter::SitesFull];
        assert_eq!(lost.map(|counter| record.counter(counter)), [0; 3]);
        record.assert_rows_are_true(held.pid());
        held.finish_ok();
    }
}
