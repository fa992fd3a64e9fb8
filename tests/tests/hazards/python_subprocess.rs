//! Python's subprocess on four threads: vfork, then close_range in the child.
//!
//! Guard: the vfork stub's flag. Without it the parent's rows go with the first
//! child. (Python lets no other thread run meanwhile; vfork.rs has one that
//! does.)

use memguard_tests::{Program, compile, skip};

#[test]
fn python_subprocess_on_four_threads() {
    if !skip::file("python_subprocess", "/usr/bin/python3") {
        return;
    }
    let script = compile::sources().join("subprocesses.py");
    Program::at("/usr/bin/python3").arg(script).assert_agrees();
}
