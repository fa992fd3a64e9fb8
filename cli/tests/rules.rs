//! Rules on real programs: where they come from, what they hide, what the
//! exit code becomes.

mod support;

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use support::{Held, assert_refused, code, forgets, memguard, stderr, stdout};
use tempfile::{TempDir, tempdir};

const IGNORE_LOGS: &str = "[[rule]]\nfunction = 'open_log'\nignore = true\n";

/// A report in JSON from a folder of rules, with what else belongs to it.
fn report(folder: &Path, rules: &Path, variable: Option<&Path>, more: &[&str]) -> Output {
    let mut command = memguard(folder);
    command
        .current_dir(rules)
        .env("XDG_CONFIG_HOME", rules.join("xdg"));
    if let Some(variable) = variable {
        command.env("MEMGUARD_CONFIG", variable);
    }
    let command = command.args(["report", "--min-age", "0s", "--format", "json"]);
    command.args(more).output().expect("memguard starts")
}

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(output)))
}

/// The rules that hid something.
fn hidden_by(output: &Output) -> Vec<String> {
    let report = parsed(output);
    let rules = report["suppressed"].as_array().unwrap();
    rules
        .iter()
        .map(|rule| rule["rule"].as_str().unwrap().to_owned())
        .collect()
}

fn has_finding_in(report: &Value, function: &str) -> bool {
    let findings = report["findings"].as_array().unwrap().iter();
    let frames = |finding: &Value| finding["stack"].as_array().unwrap().clone();
    findings
        .flat_map(frames)
        .any(|frame| frame["function"] == function)
}

fn write(folder: &TempDir, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_nearest_file_of_rules_counts() {
    let (folder, rules) = (tempdir().unwrap(), tempdir().unwrap());
    let held = Held::forgetful(folder.path(), &["files", "5", "end"]);
    let word = held.word();
    let none = report(folder.path(), rules.path(), None, &[&word]);
    assert!(has_finding_in(&parsed(&none), "open_log") && hidden_by(&none).is_empty());

    let used = |variable: Option<&Path>, more: &[&str]| {
        let done = report(
            folder.path(),
            rules.path(),
            variable,
            &[more, &[word.as_str()]].concat(),
        );
        assert!(!has_finding_in(&parsed(&done), "open_log"));
        let rules = hidden_by(&done);
        assert_eq!(rules.len(), 1, "{rules:?}");
        rules[0].split(" (").next().unwrap().to_owned()
    };
    let user = write(&rules, "xdg/memguard/memguard.toml", IGNORE_LOGS);
    assert_eq!(used(None, &[]), format!("{}:1", user.display()));
    write(&rules, "memguard.toml", &format!("# here\n{IGNORE_LOGS}"));
    assert_eq!(used(None, &[]), "memguard.toml:2");
    assert_eq!(used(Some(Path::new("")), &[]), "memguard.toml:2");
    let variable = write(&rules, "variable.toml", IGNORE_LOGS);
    assert_eq!(
        used(Some(&variable), &[]),
        format!("{}:1", variable.display())
    );
    write(&rules, "flag.toml", IGNORE_LOGS);
    assert_eq!(
        used(Some(&variable), &["--config", "flag.toml"]),
        "flag.toml:1"
    );
    let without = report(folder.path(), rules.path(), None, &["--no-rules", &word]);
    assert!(has_finding_in(&parsed(&without), "open_log") && hidden_by(&without).is_empty());
}

#[test]
fn fail_on_counts_what_rules_leave() {
    let (folder, rules) = (tempdir().unwrap(), tempdir().unwrap());
    let held = Held::forgetful(folder.path(), &["sockets", "6", "end"]);
    let word = held.word();
    let codes = |text: &str| {
        write(&rules, "memguard.toml", text);
        code(&report(
            folder.path(),
            rules.path(),
            None,
            &["--fail-on", "leak", &word],
        ))
    };
    assert_eq!(codes(""), 1);
    assert_eq!(
        codes("[[rule]]\nfunction = 'connect_upstream'\nexpect = 6\n"),
        0
    );
    assert_eq!(
        codes("[[rule]]\nfunction = 'connect_upstream'\nexpect = 5\n"),
        1
    );
    assert_eq!(codes("[[rule]]\npeer = '127.0.0.0/8'\nignore = true\n"), 0);
    assert_eq!(codes("[[rule]]\npeer = '10.0.0.0/8'\nignore = true\n"), 1);
    assert_eq!(codes("[[rule]]\nkind = 'sockets'\nseverity = 'held'\n"), 0);
    assert_eq!(codes("[[rule]]\nkind = 'sockets'\nmin_age = '1h'\n"), 0);
    let text = memguard(folder.path())
        .current_dir(rules.path())
        .args(["report", "--min-age", "0s", &word])
        .output()
        .unwrap();
    let text = stdout(&text);
    assert!(
        text.contains("Hidden   by rules: ") && text.contains("memguard.toml:1 (kind='sockets'"),
        "{text}"
    );
}

#[test]
fn bad_rules_are_told_with_file_and_line() {
    let (folder, rules) = (tempdir().unwrap(), tempdir().unwrap());
    let pid = std::process::id().to_string();
    let said = |more: &[&str]| {
        report(
            folder.path(),
            rules.path(),
            None,
            &[more, &[pid.as_str()]].concat(),
        )
    };
    write(
        &rules,
        "memguard.toml",
        "[[rule]]\nfunction = 'f'\nignroe = true\n",
    );
    assert_refused(
        &said(&[]),
        2,
        "memguard.toml:3: `ignroe` is not a key of a rule",
    );
    write(&rules, "bad.supp", "leak:x\nwhat\n");
    assert_refused(
        &said(&["--config", "", "--suppressions", "bad.supp"]),
        2,
        "memguard.toml:3",
    );
    write(&rules, "memguard.toml", "");
    assert_refused(
        &said(&["--suppressions", "bad.supp"]),
        2,
        "bad.supp:2: `what` is not a suppression",
    );
    assert_refused(
        &said(&["--config", "gone.toml"]),
        2,
        "gone.toml cannot be read",
    );
    assert_refused(
        &said(&["--config", "/dev/zero"]),
        2,
        "/dev/zero cannot be read",
    );
    write(&rules, "memguard.toml", "[[rule]]\n");
    let mut command = memguard(folder.path());
    let line = ["run", "--", "touch", "started"];
    let run = command
        .current_dir(rules.path())
        .args(line)
        .output()
        .unwrap();
    assert_refused(&run, 125, "memguard.toml:1: the rule is empty");
    assert!(
        !rules.path().join("started").exists(),
        "it was started all the same"
    );
}

#[test]
fn suppressions_of_lsan_hide_blocks() {
    let (folder, rules) = (tempdir().unwrap(), tempdir().unwrap());
    let held = Held::forgetful(folder.path(), &["big", "200", "end"]);
    let word = held.word();
    let plain = report(folder.path(), rules.path(), None, &[&word]);
    assert!(has_finding_in(&parsed(&plain), "grow_cache"));
    write(&rules, "lsan.supp", "# known\nleak:^grow_ca*he$\n");
    write(&rules, "more.supp", "leak:nothing_like_it\n");
    let files = [
        "--suppressions",
        "lsan.supp",
        "--suppressions",
        "more.supp",
        &word,
    ];
    let done = report(folder.path(), rules.path(), None, &files);
    assert!(!has_finding_in(&parsed(&done), "grow_cache"));
    assert_eq!(hidden_by(&done), ["lsan.supp:2 (leak:^grow_ca*he$)"]);
}

#[test]
fn generated_rules_hide_what_was_shown_and_nothing_else() {
    let (folder, rules) = (tempdir().unwrap(), tempdir().unwrap());
    let held = Held::forgetful(folder.path(), &["sockets", "6", "end"]);
    let word = held.word();
    let before = parsed(&report(folder.path(), rules.path(), None, &[&word]));
    let shown = |report: &Value| {
        let findings = report["findings"].as_array().unwrap().iter();
        let judged = findings.filter(|one| one["verdict"] != "early" && one["verdict"] != "held");
        judged.count()
    };
    assert!(shown(&before) > 0);
    let made = report(
        folder.path(),
        rules.path(),
        None,
        &["--gen-suppressions", &word],
    );
    assert_eq!(code(&made), 0, "{}", stderr(&made));
    write(&rules, "memguard.toml", &stdout(&made));
    let after = parsed(&report(folder.path(), rules.path(), None, &[&word]));
    assert_eq!(shown(&after), 0, "{}", stdout(&made));
    let count = |report: &Value| report["findings"].as_array().unwrap().len();
    assert_eq!(
        count(&after),
        count(&before) - shown(&before),
        "{}",
        stdout(&made)
    );
    let all = report(
        folder.path(),
        rules.path(),
        None,
        &["--gen-suppressions", "--all", "--no-rules", &word],
    );
    write(&rules, "memguard.toml", &stdout(&all));
    let none = parsed(&report(
        folder.path(),
        rules.path(),
        None,
        &["--all", &word],
    ));
    assert_eq!(count(&none), 0, "{}", stdout(&all));
}

#[test]
fn run_reports_what_rules_leave() {
    let (folder, rules) = (tempdir().unwrap(), tempdir().unwrap());
    write(&rules, "memguard.toml", IGNORE_LOGS);
    let mut command = memguard(folder.path());
    command
        .current_dir(rules.path())
        .args(["run", "--format", "json", "-o", "out.json", "--"]);
    let done = command
        .arg(forgets())
        .args(["files", "3"])
        .output()
        .unwrap();
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let text = std::fs::read(rules.path().join("out.json")).unwrap();
    let report: Value = serde_json::from_slice(&text).unwrap();
    assert!(!has_finding_in(&report, "open_log"), "{report}");
    assert_eq!(report["suppressed"][0]["objects"], 3);
}
