//! What is never touched: real programs whose every descriptor is called a
//! leak, so that only the gates are left to protect them. Each test names the
//! gate that refuses; without it the item would pass.

mod support;

use std::path::Path;
use std::process::{Command, Output};

use memguard_tests::artifacts;
use serde_json::Value;
use support::{Held, code, memguard, serves, stderr};
use tempfile::tempdir;

/// `memguard fix --yes` with every verdict forced to `leak`.
fn forced(folder: &Path, args: &[&str]) -> Output {
    let usual = memguard(folder);
    let mut command = Command::new(artifacts::forced());
    for (name, value) in usual.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("MEMGUARD_FORCED_VERDICTS", "leak").arg("fix");
    command.args(args).output().expect("memguard starts")
}

fn forced_fix(folder: &Path, pid: i32, args: &[&str]) -> (i32, Value) {
    let pid = pid.to_string();
    let mut all = vec!["--yes", "--format", "json", "--min-age", "0s", &pid];
    all.extend(args);
    let done = forced(folder, &all);
    let report = serde_json::from_slice(&done.stdout);
    (
        code(&done),
        report.unwrap_or_else(|error| panic!("{error}: {}", stderr(&done))),
    )
}

/// The item of a descriptor.
#[track_caller]
fn item(report: &Value, fd: i32) -> &Value {
    let items = report["items"].as_array().unwrap();
    let found = items.iter().find(|item| item["fd"] == fd);
    found.unwrap_or_else(|| panic!("no descriptor {fd}: {report}"))
}

fn shut_gates(item: &Value) -> Vec<String> {
    let gates = item["gates"].as_array().unwrap();
    let shut = gates.iter().filter(|gate| gate["open"] == false);
    shut.map(|gate| gate["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn without_the_feature_the_switch_does_nothing() {
    let folder = tempdir().unwrap();
    let port = memguard_tests::session::free_port().to_string();
    let held = Held::watched(folder.path(), serves(), &["loop", "1", &port]);
    let usual = memguard(folder.path())
        .env("MEMGUARD_FORCED_VERDICTS", "leak")
        .args([
            "fix",
            "--yes",
            "--format",
            "json",
            "--min-age",
            "0s",
            &held.word(),
        ])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&usual.stdout).unwrap();
    assert_eq!(report["items"].as_array().unwrap().len(), 0, "{report}");
    let (exit, report) = forced_fix(folder.path(), held.pid, &["--kind", "files"]);
    assert_eq!(exit, 5, "{report}");
    for fd in [0, 1, 2] {
        let shut = shut_gates(item(&report, fd));
        assert!(shut.contains(&"number".to_owned()), "{report}");
    }
    assert!(report["notes"].to_string().contains("forced"), "{report}");
    held.kill();
}
