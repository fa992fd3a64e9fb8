//! Libraries come and go.
//!
//! Guards: each dlopen and dlclose empties the caches of what an address
//! means, the rows of modules that went are marked, and a module that comes
//! back takes its old row. Without the first or the second the two libraries,
//! which take turns at one address, are mixed up; without the third there is a
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
