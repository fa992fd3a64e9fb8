//! Every way to give a descriptor back, and every way to fail at it.
//!
//! Guards, each with a function of its own in the fixture: `syscall(SYS_close)`
//! is hooked; the targets of dup2 end; a failed dup2 puts the row back;
//! CLOSE_RANGE_CLOEXEC is no close; the row of a number that comes back unseen
//! is written over, and counted.

use memguard_tests::{Mode, Program, Scratch};
use shm_protocol::codes::Counter;

#[test]
fn every_way_to_give_back() {
    for mode in [Mode::Light, Mode::Deep] {
        let scratch = Scratch::new();
        let held = Program::fixture("closes")
            .arg(scratch.path())
            .mode(mode)
            .hold();
        held.assert_fds_agree();
        let record = held.record();
        record.assert_rows_are_true(held.pid());
        assert_eq!(
            record.counter(Counter::Overwritten),
            1,
            "the one unseen close"
        );
        held.finish_ok();
    }
}

#[test]
fn the_same_with_and_without() {
    let scratch = Scratch::new();
    Program::fixture("closes")
        .arg(scratch.path())
        .assert_same()
        .ok();
}
