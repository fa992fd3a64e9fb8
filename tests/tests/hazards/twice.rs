//! Closes of numbers that were not open, with both stacks.
//!
//! Guard: after the first such close every close notes where it came from.
//! Without that only the second of two closes is known. Without `was_held` a
//! program that closes all numbers fills the table.

use memguard_tests::facts::BadClose;
use memguard_tests::{Mode, Program, Report};
use shm_protocol::codes::Counter;

/// Those by one function of what another had made.
fn closes(report: &Report, closer: &str, maker: &str) -> Vec<BadClose> {
    let all = report.bad_closes_in(closer).into_iter();
    all.filter(|close| close.passes("created", maker)).collect()
}

#[test]
fn both_closes_are_named() {
    for mode in [Mode::Light, Mode::Deep] {
        let held = Program::fixture("twice").mode(mode).hold();
        let report = held.report();
        let dropped = closes(&report, "drop", "open_log");
        let both = dropped.iter().find(|close| close.has_both());
        let both = both.unwrap_or_else(|| panic!("the first close is not known: {dropped:#?}"));
        assert!(both.passes("closed_before", "finish"), "{both:#?}");
        assert!(both.count() > 10, "they are counted together: {both:#?}");
        let by_number = &closes(&report, "drop_by_number", "open_log")[0];
        assert!(by_number.passes("closed_before", "finish"));
        let foreign = &closes(&report, "owner_closes", "owner_opens")[0];
        assert!(foreign.passes("closed_before", "stranger_closes"));
        assert!(report.bad_closes_in("sweep").is_empty());
        assert_eq!(held.record().counter(Counter::BadCloses), 404);
        held.assert_fds_agree();
        held.finish_ok();
    }
}

#[test]
fn the_most_recent_are_kept() {
    let held = Program::fixture("twice").hold();
    let report = held.report();
    let dropped = closes(&report, "drop", "open_log");
    // Two of the sixty-four rows are not about these.
    let kept: u64 = dropped.iter().map(BadClose::count).sum();
    assert_eq!(kept, 62, "{dropped:#?}");
    held.finish_ok();
}

#[test]
fn the_same_with_and_without() {
    Program::fixture("twice").assert_same().ok();
}
