//! A server moves into an empty root, then forks.
//!
//! Guard: where the segments' folder is out of reach, the child's segment is
//! anonymous, and read through the process's memory. Without it the child is
//! not watched, or the program stops.

use std::fs;

use memguard_tests::{Program, Scratch, skip};

#[test]
fn parent_and_child_in_another_root() {
    if !skip::root("chroot") {
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.join("root");
    fs::create_dir(&root).expect("the new root can be made");
    let program = Program::fixture("chroot").arg(&root);
    program.assert_same();
    let held = program.hold_in(scratch);
    held.assert_fds_agree();
    let child = held.fds_of(held.value("child") as u32);
    let fd = *child.numbers().last().expect("the child has descriptors");
    let row = child.get(fd).expect("the number came from there");
    assert!(
        row.created_in("inside_opens") && row.path().ends_with("/file"),
        "{row:#?}"
    );
    held.finish_ok();
}
