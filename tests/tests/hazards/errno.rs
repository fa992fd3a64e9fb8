//! errno and results of every hooked call, in success and in failure.
//!
//! Guard: what hooks do touches errno nowhere, and where it would (a stream
//! without a descriptor is asked for its number) it is put back. Without it, or
//! with any wrong result, the printed lines differ.

use memguard_tests::{Mode, Program, Scratch};

#[test]
fn results_and_errno_are_the_real_calls() {
    let run = |mode: Option<Mode>| {
        let scratch = Scratch::new();
        let program = Program::fixture("errno").arg(scratch.path());
        match mode {
            None => program.bare().ok(),
            Some(mode) => program.mode(mode).watched().ok(),
        }
    };
    let bare = run(None);
    for mode in [Mode::Light, Mode::Dense, Mode::Deep, Mode::Off] {
        run(Some(mode)).assert_same(&bare, &format!("{mode:?}"));
    }
}
