//! Libraries come and go.
//!
//! Guards: the modules are read anew at each dlopen and dlclose, withdrawn
//! before a library is unmapped, and a module's rows outlive it. Without the
//! first the two libraries, which take turns at one address, are mixed up;
//! without the second the other thread's unwinding reads unmapped memory;
//! without the third the kept descriptors have no functions.

use std::path::PathBuf;

use memguard_tests::{Mode, Program, compile};

pub fn plugin(name: &str) -> PathBuf {
    compile::library_with("plugin", &[&format!("-DPLUGIN={name}")])
}

#[test]
fn two_libraries_in_turn() {
    let program = Program::fixture("dlopen")
        .arg(plugin("first"))
        .arg(plugin("second"));
    program.assert_agrees();
    program.mode(Mode::Dense).watched().ok();
}
