//! The hot paths in instructions, which no busy machine can change.
//!
//! callgrind counts what a loop executes bare and under the library; the
//! difference per operation is what memguard adds, samples included. The
//! loops are the benchmark's own programs, so a figure here can be compared
//! with a time there.

use std::path::{Path, PathBuf};
use std::process::Command;

use memguard_tests::{Scratch, artifacts, skip};

/// What a malloc+free pair may cost, sample path included.
const MOST_PER_PAIR: f64 = 16.0;

/// What open and close of one file may cost together, from 20 frames deep: a
/// tenth above what was measured when this was written.
const MOST_PER_OPEN_AND_CLOSE: f64 = 530.0;

/// What stamping may add to a read: the stub's ten, and its share of looking
/// at the clock.
const MOST_PER_READ: f64 = 12.0;

/// The same for a descriptor with a high number.
const MOST_PER_HIGH_READ: f64 = 22.0;

/// A loop to count: a program of `bench/programs`, with the function that
/// callgrind looks at.
struct Loop {
    program: PathBuf,
    arguments: Vec<String>,
    operations: u64,
}

impl Loop {
    fn pairs(pairs: u64) -> Self {
        Self::new("pairs", pairs, |n| vec!["1".into(), n, "1".into()])
    }

    fn new(name: &str, operations: u64, arguments: impl Fn(String) -> Vec<String>) -> Self {
        Self {
            program: built(name),
            arguments: arguments(operations.to_string()),
            operations,
        }
    }

    /// Instructions per operation that these variables add.
    #[track_caller]
    fn added(&self, variables: &[(&str, &str)]) -> f64 {
        let scratch = Scratch::new();
        let library = artifacts::library();
        let mut all = vec![
            ("LD_PRELOAD", library.to_str().expect("a path in UTF-8")),
            ("MEMGUARD_DIR", scratch.path().to_str().expect("UTF-8")),
        ];
        all.extend_from_slice(variables);
        let (bare, preloaded) = (self.count(&[]), self.count(&all));
        (preloaded as f64 - bare as f64) / self.operations as f64
    }

    #[track_caller]
    fn count(&self, variables: &[(&str, &str)]) -> u64 {
        let done = Command::new("valgrind")
            .args(["--tool=callgrind", "--toggle-collect=work"])
            .arg("--callgrind-out-file=/dev/null")
            .arg(&self.program)
            .args(&self.arguments)
            .env_remove("LD_PRELOAD")
            .envs(variables.iter().copied())
            .output()
            .expect("valgrind can be started");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}");
        collected(&said)
    }
}

/// The sum that callgrind prints at its end.
#[track_caller]
fn collected(said: &str) -> u64 {
    let line = said.lines().find(|line| line.contains("Collected : "));
    let number = line.and_then(|line| line.rsplit(' ').next());
    number
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("callgrind printed no sum:\n{said}"))
}

/// Builds one of the benchmark's programs as `scripts/bench` does.
fn built(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = folder.join(format!("{name}-{:?}", std::thread::current().id()));
    let source = artifacts::workspace().join(format!("bench/programs/{name}.c"));
    let done = Command::new("gcc")
        .args(["-O2", "-g", "-pthread", "-o"])
        .args([&program, &source])
        .status()
        .expect("gcc can be started (apt-get install gcc)");
    assert!(done.success(), "{} does not build", source.display());
    program
}

fn valgrind(test: &str) -> bool {
    skip::file(test, "/usr/bin/valgrind")
}

#[test]
fn a_pair_of_malloc_and_free_stays_within_its_instructions() {
    if !valgrind("a_pair_of_malloc_and_free_stays_within_its_instructions") {
        return;
    }
    let added = Loop::pairs(2_000_000).added(&[]);
    println!("malloc+free: {added:.2} more instructions a pair");
    assert!(added > 1.0, "the library hooks nothing: {added}");
    assert!(
        added <= MOST_PER_PAIR,
        "{added:.2} instructions a pair are more than {MOST_PER_PAIR}"
    );
}

#[test]
fn open_and_close_stay_within_their_instructions() {
    if !valgrind("open_and_close_stay_within_their_instructions") {
        return;
    }
    let arguments = |n| [n, "1".into(), "0".into(), "/etc/hostname".into()].to_vec();
    let added = Loop::new("open_close", 20_000, arguments).added(&[]);
    println!("open+close: {added:.0} more instructions");
    assert!(added > 100.0, "the library hooks nothing: {added}");
    assert!(
        added <= MOST_PER_OPEN_AND_CLOSE,
        "{added:.0} instructions are more than {MOST_PER_OPEN_AND_CLOSE}"
    );
}

/// The pairs' figure would mean little if it counted no samples: more of them
/// must show in it.
#[test]
fn samples_are_part_of_the_count() {
    if !valgrind("samples_are_part_of_the_count") {
        return;
    }
    let pairs = Loop::pairs(100_000);
    let rare = pairs.added(&[("MEMGUARD_SAMPLE_BYTES", "1073741824")]);
    let often = pairs.added(&[("MEMGUARD_SAMPLE_BYTES", "16384")]);
    assert!(
        often > rare + 2.0,
        "a sample every 16 KiB costs {often:.2}, none costs {rare:.2}"
    );
}

fn a_read_of(number: &str, most: f64) {
    let arguments = |n| [n, number.into()].to_vec();
    let added = Loop::new("small_reads", 100_000, arguments).added(&[]);
    println!("read from {number}: {added:.2} more instructions");
    assert!(added > 1.0, "the library stamps nothing: {added}");
    assert!(
        added <= most,
        "{added:.2} instructions a read are more than {most}"
    );
}

#[test]
fn a_small_read_stays_within_its_instructions() {
    if valgrind("a_small_read_stays_within_its_instructions") {
        a_read_of("10", MOST_PER_READ);
        a_read_of("700", MOST_PER_HIGH_READ);
    }
}
