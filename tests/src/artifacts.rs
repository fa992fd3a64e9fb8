//! The files under test: `libmemguard.so` and `memguard`.
//!
//! `cargo test` builds neither of them in release form, so the first test of
//! each run asks cargo to; cargo knows by itself whether they are stale.
//! MEMGUARD_TEST_RELEASE names a folder with other builds of the two, which
//! is how one tries a test against a library without its guard.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests crate lies in the workspace")
}

/// The folder that everything built here goes to.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}

/// The folder that holds the library and the command line, freshly built.
pub fn release() -> &'static Path {
    static RELEASE: OnceLock<PathBuf> = OnceLock::new();
    RELEASE.get_or_init(|| match env::var_os("MEMGUARD_TEST_RELEASE") {
        Some(dir) => PathBuf::from(dir),
        None => build(),
    })
}

fn build() -> PathBuf {
    cargo(&["-p", "memguard-preload", "-p", "memguard"]);
    target().join("release")
}

fn cargo(what: &[&str]) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo)
        .args(["build", "--release", "--quiet"])
        .args(what)
        .current_dir(workspace())
        .status()
        .expect("cargo can be started");
    assert!(done.success(), "cargo could not build {what:?}");
}

/// A command line that, with MEMGUARD_FORCED_VERDICTS=leak, calls everything
/// a leak; no user gets one. MEMGUARD_TEST_FORCED names another build of it.
pub fn forced() -> &'static Path {
    static FORCED: OnceLock<PathBuf> = OnceLock::new();
    FORCED.get_or_init(|| match env::var_os("MEMGUARD_TEST_FORCED") {
        Some(program) => PathBuf::from(program),
        None => {
            let folder = target().join("forced");
            let to = folder.to_str().expect("the folder's name is text");
            cargo(&[
                "-p",
                "memguard",
                "--features",
                "forced-verdicts",
                "--target-dir",
                to,
            ]);
            folder.join("release/memguard")
        }
    })
}

/// The library, as LD_PRELOAD wants it.
pub fn library() -> PathBuf {
    release().join("libmemguard.so")
}

/// The command line.
pub fn memguard() -> PathBuf {
    release().join("memguard")
}
