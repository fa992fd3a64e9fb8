//! A server gives up root, then forks its workers.
//!
//! Guard: a child that may not write into the folder of its parent's user makes
//! its own, or failing that an anonymous segment. Without both the workers have
//! no rows.

use memguard_tests::{Program, skip};

#[test]
fn workers_of_another_user_are_watched() {
    if !skip::root("drop") {
        return;
    }
    Program::fixture("drop").assert_same();
    let held = Program::fixture("drop").hold();
    held.assert_fds_agree();
    for number in ["1", "2"] {
        let worker = held.value(&format!("worker{number}")) as u32;
        let fds = held.fds_of(worker);
        let fd = held.value(&format!("fd{number}")) as i32;
        let row = fds.get(fd).expect("memguard knows the worker's descriptor");
        assert!(row.created_in("worker_opens"), "{row:#?}");
        let old = fds
            .get(3)
            .expect("memguard knows what the worker inherited");
        assert!(old.is_inherited(), "{old:#?}");
    }
    held.finish_ok();
}
