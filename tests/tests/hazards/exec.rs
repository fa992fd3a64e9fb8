//! exec: same pid, same start time, another program.
//!
//! Guard: the new image retires its predecessor's segment and takes the next
//! number. Without it there are two segments for one process. A failed exec
//! changes nothing, since nothing is done before one: a hook that did would
//! lose the rows here.

use memguard_tests::record::files_of;
use memguard_tests::{Held, Mode, Program};

#[test]
fn the_new_image_retires_its_predecessor() {
    for mode in [Mode::Light, Mode::Deep] {
        let mut held = Program::fixture("exec").mode(mode).hold();
        one_segment(&mut held);
        held.finish_ok();
    }
}

/// A run keeps records to its end, but of one process only the last.
#[test]
fn so_it_does_in_a_run() {
    let program = Program::fixture("exec")
        .env("MEMGUARD_KEEP", "always")
        .env("MEMGUARD_RUN_ID", "7");
    let mut held = program.hold();
    one_segment(&mut held);
    held.finish_ok();
}

fn one_segment(held: &mut Held) {
    held.record().assert_rows_are_true(held.pid());
    held.assert_fds_agree();
    let before = files_of(held.pid(), held.folder());
    held.go_on();
    let after = files_of(held.pid(), held.folder());
    assert_eq!(
        (before.len(), after.len()),
        (1, 1),
        "one segment for one process"
    );
    assert_ne!(before, after, "the new image has a segment of its own");
    held.record().assert_rows_are_true(held.pid());
    held.assert_fds_agree();
}

#[test]
fn exec_passes_status_and_output() {
    Program::fixture("exec").assert_same();
}
