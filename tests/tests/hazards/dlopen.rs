//! Libraries come and go.
//!
//! Guards: each dlopen and dlclose empties the caches of what an address
//! means, the rows of modules that went are marked, and a module that comes
//! back takes its old row. Without the second, or either half of the first,
//! what takes turns at one address is mixed up (two libraries by both halves
//! only, a library and code without one by each); without the third there is a
//! row and a site more each time that a library is loaded.

use std::path::{Path, PathBuf};

use memguard_tests::{Mode, Program, Record, compile};

pub fn plugin(name: &str) -> PathBuf {
    compile::library_with("plugin", &[&format!("-DPLUGIN={name}")])
}

fn in_turn() -> Program {
    Program::fixture("dlopen")
        .arg(plugin("first"))
        .arg(plugin("second"))
}

/// The module rows that name a file, and how often it was loaded by them.
fn loads(record: &Record, path: &Path) -> Vec<u64> {
    let modules = record.view().modules().into_iter();
    let of_path = modules.filter(|module| Path::new(&module.path) == path);
    of_path.map(|module| module.loads).collect()
}

#[test]
fn two_libraries_in_turn() {
    in_turn().assert_agrees();
    in_turn().mode(Mode::Dense).watched().ok();
}

#[test]
fn code_without_a_module_is_not_taken_for_the_one_before() {
    for mode in [Mode::Light, Mode::Deep] {
        let held = in_turn().mode(mode).hold();
        let fds = held.fds();
        let copied = fds.get(held.value("copied") as i32);
        let copied = copied.expect("what the copy opened is open");
        assert!(!copied.created_in("first_opens"), "{copied:#?}");
        held.assert_fds_agree();
        held.finish_ok();
    }
}

#[test]
fn a_module_that_comes_back_takes_its_old_row() {
    let held = in_turn().hold();
    for path in ["first", "second"].map(plugin) {
        let loads = loads(&held.record(), &path);
        assert_eq!(loads.len(), 1, "one row: {loads:?}");
        // A hundred times in turn, then a hundred times beside the thread.
        assert!(loads[0] >= 200, "entered {} times", loads[0]);
    }
    held.finish_ok();
}
