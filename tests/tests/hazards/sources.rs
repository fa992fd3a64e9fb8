//! Every way to come by a descriptor.
//!
//! Guard: the hook of each. Where one is taken out, its descriptor is "origin
//! unknown" instead of carrying the function that took it.

use memguard_tests::{Mode, Program, Scratch};

#[test]
fn every_source_is_known() {
    for mode in [Mode::Light, Mode::Deep] {
        let scratch = Scratch::new();
        let held = Program::fixture("sources")
            .arg(scratch.path())
            .mode(mode)
            .hold();
        held.record().assert_rows_are_true(held.pid());
        held.assert_fds_agree();
        held.finish_ok();
    }
}
