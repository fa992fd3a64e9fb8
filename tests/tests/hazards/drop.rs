//! A server gives up root, then forks its workers.
//!
//! Guard: a child that may not write into the folder of its parent's user makes
//! its own, or failing that an anonymous segment. Without both the workers have
//! no rows.
//! A process that may no longer remove its record says that nobody wants it,
//! and a later one of its user does. Without that such records pile up.

use memguard_tests::{Program, Scratch, skip};

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

#[test]
fn the_record_that_could_not_be_removed_goes_with_a_later_start() {
    if !skip::root("drop") {
        return;
    }
    let scratch = Scratch::new();
    let of_root = || {
        let own = scratch.segments().join("0");
        let all = scratch.segment_files().into_iter();
        all.filter(|path| path.starts_with(&own)).count()
    };
    Program::fixture("drop").watched_in(&scratch).ok();
    assert_eq!(of_root(), 1, "its user may not remove it");
    // One start of eight looks.
    let gone = (0..500).any(|_| {
        Program::fixture("plain").watched_in(&scratch).ok();
        of_root() == 0
    });
    assert!(gone, "no later start removed it");
}
