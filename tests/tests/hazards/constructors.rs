//! Other libraries' constructors and destructors take and give back.
//!
//! Guard: the library's constructor runs before all others (`-z initfirst`).
//! Without it what `ctor_opens` took is only found open, and has no stack.

use memguard_tests::{Program, compile};

#[test]
fn what_constructors_took_is_known() {
    let library = compile::library("ctorlib");
    let flags = [library.to_str().expect("the target folder's path is UTF-8")];
    Program::at(compile::program_with("constructors", &flags)).assert_agrees();
}
