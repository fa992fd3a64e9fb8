//! A library in a name space of its own has a libc of its own.
//!
//! Guard: nothing is assumed of descriptors that no hook has seen. They are
//! "origin unknown", and the rest is as ever. Without it the record is unsure
//! of what it has. (Blocks go back to the libc that they came from; deepbind.rs
//! has those that do not.)

use memguard_tests::{Mode, Program};
use shm_protocol::codes::Counter;

use super::dlopen::plugin;

/// Both ways of bypassing the hooks: same output, same rows for the rest.
pub fn bypasses(fixture: &str) {
    let program = Program::fixture(fixture).arg(plugin("first"));
    program.assert_same();
    for mode in [Mode::Light, Mode::Deep] {
        let held = program.clone().mode(mode).hold();
        held.assert_fds_agree();
        let unsure = held.record().counter(Counter::Unsure);
        assert_eq!(unsure, 0, "what has no row is nothing");
        held.finish_ok();
    }
}

#[test]
fn another_name_space() {
    bypasses("dlmopen");
}
