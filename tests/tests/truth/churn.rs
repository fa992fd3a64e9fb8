//! Storms of forks, threads, library loads and descriptors: nothing grows, and
//! no row is wrong afterwards.
//!
//! Guards: what a thread, a module or a descriptor had in the library is used
//! again, and children's segments go with them. MEMGUARD_CHURN_SECONDS makes
//! it longer; `scripts/churn` does that.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use memguard_tests::{Held, Program, compile};

fn plugin(name: &str) -> PathBuf {
    compile::library_with("plugin", &[&format!("-DPLUGIN={name}")])
}

/// Resident KiB of the segment and of the library's own pages.
fn own_kilobytes(held: &Held) -> i64 {
    let maps = fs::read_to_string(format!("/proc/{}/smaps", held.pid()));
    let maps = maps.expect("a live process has maps");
    let folder = held.folder().to_string_lossy().into_owned();
    let (mut sum, mut ours) = (0, false);
    for line in maps.lines() {
        let first = line.split(' ').next().unwrap_or("");
        if first.contains('-') {
            ours = line.contains(&folder) || line.contains("libmemguard.so");
        } else if first == "Rss:" && ours {
            let figure = line.split_whitespace().nth(1);
            sum += figure
                .and_then(|f| f.parse::<i64>().ok())
                .expect("smaps has figures");
        }
    }
    sum
}

fn assert_rows_are_right(held: &Held) {
    held.record().assert_rows_are_true(held.pid());
    held.assert_fds_agree();
    let files = held.scratch().segment_files();
    assert_eq!(files.len(), 1, "children leave no segment: {files:?}");
}

#[test]
fn nothing_grows_and_no_row_is_wrong() {
    let seconds = env::var("MEMGUARD_CHURN_SECONDS").ok();
    let seconds: u64 = seconds.and_then(|s| s.parse().ok()).unwrap_or(8);
    let (first, rest) = (seconds / 4, seconds - seconds / 4);
    let program = Program::fixture("churn")
        .arg(plugin("first"))
        .arg(plugin("second"))
        .works_for(Duration::from_secs(first));
    let mut held = program.arg(first.to_string()).arg(rest.to_string()).hold();
    assert_rows_are_right(&held);
    let before = own_kilobytes(&held);
    held.go_on_for(Duration::from_secs(rest));
    assert_rows_are_right(&held);
    let after = own_kilobytes(&held);
    for storm in ["forks", "threads", "loads", "opens"] {
        println!("{storm}: {}", held.value(storm));
    }
    println!("library and segment: {before} KiB after {first} s, {after} KiB after {seconds} s");
    assert!(
        before > 0 && (after - before).abs() <= 64,
        "from {before} to {after} KiB"
    );
    held.finish_ok();
}
