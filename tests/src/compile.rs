//! Builds the C and C++ fixtures, each once: a build is kept under a name
//! that holds a hash of its source, its flags and the shared header.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::artifacts;

/// What a fixture becomes.
#[derive(Clone, Copy, Hash, PartialEq)]
enum Shape {
    Program,
    Library,
}

/// The folder of the fixtures' sources.
pub fn sources() -> PathBuf {
    artifacts::workspace().join("tests/fixtures")
}

/// Builds the program `<name>` (a C or C++ file of the fixtures).
pub fn program(name: &str) -> PathBuf {
    build(name, Shape::Program, &[])
}

/// Builds the program with further compiler or linker arguments.
pub fn program_with(name: &str, flags: &[&str]) -> PathBuf {
    build(name, Shape::Program, flags)
}

/// Builds the shared library `<name>.so`.
pub fn library(name: &str) -> PathBuf {
    build(name, Shape::Library, &[])
}

/// Builds the shared library with further compiler or linker arguments.
pub fn library_with(name: &str, flags: &[&str]) -> PathBuf {
    build(name, Shape::Library, flags)
}

fn build(name: &str, shape: Shape, flags: &[&str]) -> PathBuf {
    let source = source_of(name);
    let folder = artifacts::target().join("fixtures");
    fs::create_dir_all(&folder).expect("the folder of the fixtures can be made");
    let ending = if shape == Shape::Library { ".so" } else { "" };
    let key = key_of(&source, shape, flags);
    let built = folder.join(format!("{name}-{key:016x}{ending}"));
    if !built.exists() {
        compile(&source, &built, shape, flags);
    }
    built
}

fn source_of(name: &str) -> PathBuf {
    let c = sources().join(format!("{name}.c"));
    let cpp = sources().join(format!("{name}.cpp"));
    if c.exists() { c } else { cpp }
}

fn key_of(source: &Path, shape: Shape, flags: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let headers = [
        "fixture.h",
        "filter.h",
        "uses.h",
        "../../include/memguard.h",
    ]
    .map(|name| sources().join(name));
    for part in [source]
        .into_iter()
        .chain(headers.iter().map(PathBuf::as_path))
    {
        let text = fs::read(part).unwrap_or_else(|e| panic!("{}: {e}", part.display()));
        text.hash(&mut hasher);
    }
    (shape, flags).hash(&mut hasher);
    hasher.finish()
}

/// Two tests may build the same fixture at once: each builds under a name of
/// its own, and the first one done gives it the final name. A later one must
/// not replace that: the first may be running, and would have no symbols.
fn compile(source: &Path, built: &Path, shape: Shape, flags: &[&str]) {
    let own = built.with_extension(format!("{}.part", thread_unique()));
    let cpp = source.extension().is_some_and(|e| e == "cpp");
    let mut gcc = Command::new(if cpp { "g++" } else { "gcc" });
    // Real programs have no frame pointers; tail calls would hide the very
    // frames that the tests look for.
    gcc.args(["-g", "-O2", "-fno-optimize-sibling-calls"]);
    // A compiler that knows malloc leaves out pairs of malloc and free.
    gcc.args([
        "-fno-builtin",
        "-fomit-frame-pointer",
        "-D_GNU_SOURCE",
        "-pthread",
    ]);
    if shape == Shape::Library {
        gcc.args(["-shared", "-fPIC"]);
    }
    gcc.arg("-o").arg(&own).arg(source).args(flags);
    let done = gcc
        .output()
        .expect("gcc can be started (apt-get install gcc g++)");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "{} does not build:\n{said}",
        source.display()
    );
    let named = fs::hard_link(&own, built);
    assert!(
        named.is_ok() || built.exists(),
        "a built fixture can be named {}: {named:?}",
        built.display()
    );
    let _ = fs::remove_file(&own);
}

fn thread_unique() -> String {
    format!("{}-{:?}", std::process::id(), std::thread::current().id())
}
