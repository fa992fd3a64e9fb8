//! Under limits of its own memguard says one sentence, and no wrong figure. The
//! guards: `descriptor_limit.rs` and `memory_limit.rs`.

mod support;

use std::path::Path;
use std::process::{Command, Output};

use support::{Held, assert_refused, code, memguard, stderr, stdout};
use tempfile::tempdir;

/// The command line under a limit of the shell's.
fn under(limit: &str, folder: &Path, words: &[&str]) -> Output {
    let plain = memguard(folder);
    let mut command = Command::new("sh");
    let script = format!("ulimit {limit} && exec \"$@\"");
    command.args(["-c", &script, "sh"]).arg(plain.get_program());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.args(words).output().expect("sh starts")
}

#[test]
fn with_too_few_descriptors_for_a_look_there_is_no_figure() {
    let folder = tempdir().unwrap();
    let held = Held::forgetful(folder.path(), &["files", "3"]);
    let pid = held.word();
    // Three are standard ones; with four the loader opens libraries.
    for limit in ["-n 5", "-n 6", "-n 7"] {
        for verb in ["report", "fds", "list"] {
            let words = [verb, &pid];
            let words = if verb == "list" { &words[..1] } else { &words };
            let done = under(limit, folder.path(), words);
            assert_refused(&done, 3, "too few to look at a process");
            assert_eq!(stdout(&done), "", "{limit}");
        }
    }
    let fine = under("-n 64", folder.path(), &["report", &pid]);
    assert_eq!(code(&fine), 0, "{}", stderr(&fine));
}

#[test]
fn a_program_runs_and_only_its_report_is_missing() {
    let folder = tempdir().unwrap();
    let words = ["run", "--", "sh", "-c", "echo done"];
    let done = under("-n 8", folder.path(), &words);
    assert_eq!(stdout(&done), "done\n");
    assert_refused(
        &done,
        125,
        "there is no report on it: memguard may have only 8",
    );
}

/// From what the loader refuses to start by to what is enough: somewhere between
/// memory lacks, and then it says so.
#[test]
fn without_memory_it_ends_with_a_sentence() {
    let folder = tempdir().unwrap();
    let held = Held::forgetful(folder.path(), &["files", "3"]);
    let mut ends = 0;
    for kib in (8_000..200_000).step_by(2_000) {
        let limit = format!("-v {kib}");
        let done = under(&limit, folder.path(), &["report", &held.word()]);
        let said = stderr(&done);
        assert!(
            !said.contains("panicked") && !said.contains("allocation of"),
            "{limit}: {said}"
        );
        if said.contains("no memory left") {
            assert_refused(&done, 3, "raise its limit");
            ends += 1;
        }
    }
    assert!(ends > 0, "it never lacked memory");
}
