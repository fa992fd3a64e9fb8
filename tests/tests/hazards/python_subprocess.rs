//! Python's subprocess on four threads: vfork, then close_range in the child.
//!
//! Guard: the vfork flag is per thread. With one flag for the process, closes
//! of the other threads are lost while a child runs; with none, the parent's
//! rows are.

use memguard_tests::{Program, compile, skip};

#[test]
fn python_subprocess_on_four_threads() {
    if !skip::file("python_subprocess", "/usr/bin/python3") {
        return;
    }
    let script = compile::sources().join("subprocesses.py");
    Program::at("/usr/bin/python3").arg(script).assert_agrees();
}
