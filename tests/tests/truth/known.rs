//! A program that opens, closes, allocates and frees at random, and says what
//! is left: memguard must say the same, to the block and to the byte.
//!
//! Guard: every hook's removal. One that is lost shows as a count too high.

use std::collections::BTreeMap;

use memguard_tests::{Held, Mode, Program, Report};

/// Blocks and bytes of each function, by the fixture's own account.
fn blocks_left(held: &Held) -> BTreeMap<String, (u64, u64)> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let &[name, count, bytes] = &words[..] else {
            return None;
        };
        let figures = (count.parse().ok()?, bytes.parse().ok()?);
        name.starts_with("takes_")
            .then(|| (name.to_owned(), figures))
    };
    held.said().lines().filter_map(row).collect()
}

/// The innermost function of each finding, with its count and bytes.
fn findings(report: &Report, memory: bool) -> BTreeMap<String, (u64, u64)> {
    let all = report.value["findings"]
        .as_array()
        .expect("a report has findings");
    let wanted = all.iter().filter(|f| (f["kind"] == "memory") == memory);
    let row = |f: &serde_json::Value| {
        let name = f["stack"][0]["function"].as_str().unwrap_or("?").to_owned();
        (
            name,
            (
                f["count"].as_u64().unwrap_or(0),
                f["bytes"].as_u64().unwrap_or(0),
            ),
        )
    };
    wanted.map(row).collect()
}

fn descriptors_agree(held: &Held) {
    held.record().assert_rows_are_true(held.pid());
    held.assert_fds_agree();
    let found = findings(&held.report(), false);
    let found: BTreeMap<String, u64> = found
        .into_iter()
        .map(|(n, (count, _))| (n, count))
        .collect();
    assert_eq!(found, held.truth().counts(), "descriptors by function");
}

#[test]
fn descriptors_are_known_exactly() {
    for seed in 1..=4 {
        let held = Program::fixture("known").arg(seed.to_string()).hold();
        descriptors_agree(&held);
        held.finish_ok();
    }
}

#[test]
fn deep_mode_knows_every_block() {
    for seed in 5..=8 {
        let held = Program::fixture("known")
            .arg(seed.to_string())
            .mode(Mode::Deep)
            .hold();
        descriptors_agree(&held);
        let (report, left) = (held.report(), blocks_left(&held));
        assert_eq!(
            findings(&report, true),
            left,
            "blocks and bytes by function"
        );
        let bytes: u64 = left.values().map(|(_, bytes)| bytes).sum();
        assert_eq!(report.live_bytes(), bytes as f64);
        held.finish_ok();
    }
}

#[test]
fn the_same_with_and_without() {
    Program::fixture("known").arg("9").assert_same().ok();
}
