//! Other libraries' constructors and destructors take and give back.
//!
//! Guard: the library's constructor runs first (`-z initfirst`), or its hooks
//! initialise by themselves. Without both, what `ctor_opens` took has no row.

use memguard_tests::{Program, compile};

#[test]
fn what_constructors_took_is_known() {
    let library = compile::library("ctorlib");
    let flags = [library.to_str().expect("the target folder's path is UTF-8")];
    Program::at(compile::program_with("constructors", &flags)).assert_agrees();
}
