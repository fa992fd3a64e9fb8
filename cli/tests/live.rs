//! Running and killed programs under the real library, seen by every verb.

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Held, assert_refused, begets, code, forgets, json, memguard, run, stderr, stdout};
use tempfile::tempdir;

/// Blanks what may differ between two looks: the time, and whether it lives.
fn timeless(mut report: Value) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields.iter_mut() {
                    let time = name.ends_with("_s")
                        || name.ends_with("_at")
                        || name == "rate_per_hour"
                        || name == "alive";
                    if time {
                        *field = Value::Null;
                    } else {
                        walk(field);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(walk),
            Value::String(text) => {
                *text = text
                    .split(", for up to ")
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            }
            _ => {}
        }
    }
    walk(&mut report);
    report
}

#[test]
fn kill_9_changes_nothing_but_alive_and_times() {
    let folder = tempdir().unwrap();
    let held = Held::forgetful(folder.path(), &["sockets", "8", "end"]);
    let args = [
        "report",
        "--format",
        "json",
        "--all",
        "--min-age",
        "1h",
        &held.word(),
    ]
    .map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let before = json(folder.path(), &args);
    assert_eq!(before["process"]["alive"], true);
    held.kill();
    let after = json(folder.path(), &args);
    assert_eq!(after["process"]["alive"], false);
    assert_eq!(timeless(after), timeless(before));
}

#[test]
fn without_a_look_before_the_end_the_kernels_part_is_null() {
    let folder = tempdir().unwrap();
    let held = Held::forgetful(folder.path(), &["sockets", "4", "end"]);
    let word = held.word();
    held.kill();
    let report = json(folder.path(), &["report", "--format", "json", &word]);
    assert!(report["totals"]["rss_bytes"].is_null());
    let sockets = &report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["kind"] == "sockets")
        .unwrap();
    let connect = sockets["resources"].as_array().unwrap();
    assert!(
        !connect.is_empty() && connect.iter().all(|socket| socket["state"].is_null()),
        "{connect:?}"
    );
}

#[test]
fn forgotten_half_closed_sockets_are_proven_and_exit_with_1() {
    let folder = tempdir().unwrap();
    let held = Held::forgetful(folder.path(), &["sockets", "6", "end"]);
    // Nobody has waited ten minutes yet.
    let young = json(folder.path(), &["report", "--format", "json", &held.word()]);
    assert!(
        young["findings"]
            .as_array()
            .unwrap()
            .iter()
            .all(|finding| finding["verdict"] != "leak")
    );
    let args = [
        "report",
        "--min-age",
        "0s",
        "--format",
        "json",
        "--fail-on",
        "leak",
        &held.word(),
    ];
    let done = run(folder.path(), &args);
    assert_eq!(code(&done), 1, "{}", stderr(&done));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let leak = &report["findings"][0];
    assert_eq!(
        (&leak["verdict"], &leak["kind"], &leak["count"]),
        (&"leak".into(), &"sockets".into(), &6.into())
    );
    assert_eq!(
        (&leak["confidence"], &leak["fix"], &leak["fixable"]),
        (&1.0.into(), &"eof".into(), &true.into())
    );
    assert_eq!(leak["stack"][0]["function"], "connect_upstream");
    assert!(
        leak["stack"][0]["file"]
            .as_str()
            .unwrap()
            .ends_with("forgets.c")
    );
    assert!(
        leak["resources"]
            .as_array()
            .unwrap()
            .iter()
            .all(|socket| socket["state"] == "CLOSE_WAIT")
    );
    let text = stdout(&run(
        folder.path(),
        &["report", "--min-age", "0s", &held.word()],
    ));
    assert!(
        text.contains("Leaks in 1 place") && text.contains("memguard fds"),
        "{text}"
    );
    held.finish();
}

/// What is said of where the terminals come from, those of high numbers first.
fn terminals_inherited(folder: &Path, pid: &str) -> Vec<Value> {
    let fds = json(folder, &["fds", "--format", "json", pid]);
    let rows = fds["descriptors"].as_array().unwrap().iter();
    let is_terminal = |row: &&Value| {
        let path = row["path"].as_str().unwrap_or_default();
        row["fd"].as_u64() > Some(2) && (path == "/dev/ptmx" || path.starts_with("/dev/pts/"))
    };
    let mut found: Vec<&Value> = rows.filter(is_terminal).collect();
    found.sort_by_key(|row| row["fd"].as_u64() < Some(64));
    found.iter().map(|row| row["inherited"].clone()).collect()
}

#[test]
fn a_child_has_from_its_parent_what_neither_has_a_row_of() {
    let folder = tempdir().unwrap();
    let mut held = Held::watched(folder.path(), begets(), &[]);
    let parents = terminals_inherited(folder.path(), &held.word());
    assert_eq!(parents, [Value::Null, Value::Null]);
    held.go_on();
    let childs = terminals_inherited(folder.path(), &held.word());
    let (yes, unknown) = (Value::Bool(true), Value::Null);
    assert_eq!(childs, [yes.clone(), yes, unknown.clone(), unknown]);
    assert!(held.finish().success());
}

#[test]
fn a_child_without_a_record_has_all_from_its_parent() {
    let folder = tempdir().unwrap();
    let mut held = Held::watched(folder.path(), begets(), &["idle"]);
    held.go_on();
    let fds = json(folder.path(), &["fds", "--format", "json", &held.word()]);
    assert_eq!(fds["process"]["instrumented"], false, "{fds}");
    assert_eq!(fds["process"]["library"], true, "{fds}");
    let rows = fds["descriptors"].as_array().unwrap();
    assert!(rows.len() >= 5, "{fds}");
    assert!(rows.iter().all(|row| row["inherited"] == true), "{fds}");
    assert!(held.finish().success());
}

#[test]
fn two_such_sockets_prove_nothing() {
    let folder = tempdir().unwrap();
    let held = Held::forgetful(folder.path(), &["sockets", "2", "end"]);
    let done = run(
        folder.path(),
        &[
            "report",
            "--min-age",
            "0s",
            "--fail-on",
            "leak",
            &held.word(),
        ],
    );
    assert_eq!(code(&done), 0, "{}", stdout(&done));
    held.finish();
}

#[test]
fn since_shows_only_what_came_after_and_stayed() {
    let folder = tempdir().unwrap();
    let mut held = Held::forgetful(folder.path(), &["files", "7", "more", "end"]);
    let before = folder.path().join("before.mg");
    let before = before.to_str().unwrap();
    assert_eq!(
        code(&run(
            folder.path(),
            &["snapshot", &held.word(), "-o", before]
        )),
        0
    );
    // Rows are stamped from the coarse clock.
    std::thread::sleep(std::time::Duration::from_millis(20));
    held.go_on();
    let files = |args: &[&str]| -> u64 {
        let report = json(folder.path(), args);
        let found = report["findings"].as_array().unwrap().iter();
        let files = found.filter(|finding| finding["kind"] == "files");
        files
            .map(|finding| finding["count"].as_u64().unwrap())
            .sum()
    };
    assert_eq!(files(&["report", "--format", "json", &held.word()]), 14);
    assert_eq!(
        files(&[
            "report",
            "--format",
            "json",
            "--since",
            before,
            &held.word()
        ]),
        7
    );
    assert_eq!(files(&["report", "--format", "json", before]), 7);
    // Nothing of it is too young by this floor, and nothing grows.
    let args = ["report", "--min-age", "0s", "--since", before, &held.word()];
    let said = stdout(&run(folder.path(), &args));
    assert!(said.contains("7  files"), "{said}");
    let report = json(folder.path(), &[&args[..], &["--format", "json"]].concat());
    let of_files = report["totals"]["held"].as_array().unwrap().iter();
    let counts: Vec<&Value> = of_files
        .filter(|held| held["kind"] == "files")
        .map(|held| &held["count"])
        .collect();
    assert_eq!(counts, [7], "{report}");
    let other = Held::forgetful(folder.path(), &["files", "1"]);
    assert_refused(
        &run(folder.path(), &["report", "--since", before, &other.word()]),
        2,
        "take a new one",
    );
    other.finish();
    held.finish();
}

#[test]
fn what_is_held_and_does_not_grow_is_shown_with_its_place() {
    let folder = tempdir().unwrap();
    let begun = std::time::Instant::now();
    let held = Held::forgetful(folder.path(), &["files", "11", "end"]);
    // All were made by now; when as long has gone by again, and more, the
    // second half of what is seen has none.
    std::thread::sleep(begun.elapsed() * 2 + std::time::Duration::from_millis(50));
    let args = ["report", "--min-age", "0s", &held.word()];
    let report = json(folder.path(), &[&args[..], &["--format", "json"]].concat());
    let files = report["findings"].as_array().unwrap().iter();
    let files: Vec<(&Value, &Value)> = files
        .filter(|finding| finding["kind"] == "files")
        .map(|finding| (&finding["verdict"], &finding["count"]))
        .collect();
    assert_eq!(files, [(&"held".into(), &11.into())]);
    let said = stdout(&run(folder.path(), &args));
    let row = said.lines().find(|line| line.starts_with("HELD"));
    assert!(
        row.is_some_and(|row| row.contains("11  files") && row.contains("open_log")),
        "{said}"
    );
    held.finish();
}

#[test]
fn a_snapshot_may_come_through_a_pipe() {
    let folder = tempdir().unwrap();
    let held = Held::forgetful(folder.path(), &["files", "3"]);
    let saved = run(folder.path(), &["snapshot", &held.word(), "-o", "-"]);
    assert_eq!(code(&saved), 0, "{}", stderr(&saved));
    let piped = |name: &str, bytes: &[u8]| {
        let mut command = memguard(folder.path());
        command.args(["report", "--format", "json", name]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        // What is none is not read to its end.
        let _ = child.stdin.take().unwrap().write_all(bytes);
        child.wait_with_output().unwrap()
    };
    for name in ["-", "/dev/stdin"] {
        let report = piped(name, &saved.stdout);
        let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
        assert_eq!(report["process"]["pid"], held.pid, "{name}");
        assert_refused(
            &piped(name, b"no snapshot at all"),
            4,
            "standard input is not a memguard record",
        );
        assert_refused(&piped(name, b""), 4, "standard input");
        assert_refused(
            &piped(name, &saved.stdout[..100]),
            4,
            "standard input is damaged",
        );
    }
}

#[test]
fn a_snapshot_is_a_target_like_the_process() {
    let folder = tempdir().unwrap();
    let held = Held::forgetful(folder.path(), &["blocks", "5000", "end"]);
    let file = folder.path().join("s.mg");
    assert_eq!(
        code(&run(
            folder.path(),
            &["snapshot", &held.word(), "-o", file.to_str().unwrap()]
        )),
        0
    );
    let live = json(
        folder.path(),
        &["report", "--format", "json", "--all", &held.word()],
    );
    let saved = json(
        folder.path(),
        &[
            "report",
            "--format",
            "json",
            "--all",
            file.to_str().unwrap(),
        ],
    );
    let pick = |report: &Value| timeless(report.clone())["findings"].clone();
    assert_eq!(pick(&saved), pick(&live));
    let fds = json(
        folder.path(),
        &["fds", "--format", "json", file.to_str().unwrap()],
    );
    assert_eq!(
        fds["descriptors"].as_array().unwrap().len() as u64,
        live["totals"]["open_fds"].as_u64().unwrap()
    );
    let again = folder.path().join("again.mg");
    assert_eq!(
        code(&run(
            folder.path(),
            &[
                "snapshot",
                file.to_str().unwrap(),
                "-o",
                again.to_str().unwrap()
            ]
        )),
        0
    );
    assert_eq!(std::fs::read(again).unwrap(), std::fs::read(file).unwrap());
    held.finish();
}

#[test]
fn the_mode_is_switched_live_and_back_at_the_deadline() {
    let folder = tempdir().unwrap();
    let mut held = Held::forgetful(
        folder.path(),
        &["blocks", "10", "churn", "churn", "churn", "churn", "end"],
    );
    let mode = |held: &Held| {
        json(folder.path(), &["report", "--format", "json", &held.word()])["process"]["mode"]
            .clone()
    };
    let mut switch = |words: &[&str]| {
        let word = held.word();
        let args: Vec<&str> = ["mode", &word]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        assert_eq!(code(&run(folder.path(), &args)), 0);
        held.go_on();
        mode(&held)
    };
    assert_eq!(switch(&["deep"]), "deep");
    assert_eq!(switch(&["off"]), "off");
    // Over before the program does anything again: it goes back by itself.
    assert_eq!(switch(&["light", "--for", "1ms"]), "off");
    assert_eq!(switch(&["light"]), "light");
    held.finish();
}

#[test]
fn deep_mode_counts_every_block() {
    let folder = tempdir().unwrap();
    let mut command = Command::new(forgets());
    command
        .args(["blocks", "3000", "end"])
        .env("MEMGUARD_MONITORING_MODE", "deep");
    command
        .env("LD_PRELOAD", memguard_tests::artifacts::library())
        .env("MEMGUARD_DIR", folder.path());
    let held = Held::start(command);
    let report = json(
        folder.path(),
        &[
            "report",
            "--format",
            "json",
            "--kind",
            "memory",
            &held.word(),
        ],
    );
    let top = &report["findings"][0];
    assert_eq!(
        (
            &report["coverage"]["heap"],
            &report["coverage"]["effective_rate"]
        ),
        (&"full".into(), &1.0.into())
    );
    assert_eq!(
        (&top["count"], &top["bytes"]),
        (&3000.into(), &(3000 * 64).into())
    );
    held.finish();
}

#[test]
fn a_record_without_a_path_is_read_out_of_the_process() {
    let folder = tempdir().unwrap();
    let held = Held::forgetful(folder.path(), &["files", "9", "end"]);
    let with_path = json(folder.path(), &["report", "--format", "json", &held.word()]);
    std::fs::remove_dir_all(
        folder
            .path()
            .join(rustix::process::geteuid().as_raw().to_string()),
    )
    .unwrap();
    let without = json(folder.path(), &["report", "--format", "json", &held.word()]);
    assert_eq!(timeless(without), timeless(with_path));
    held.finish();
}

#[test]
fn a_process_in_namespaces_of_its_own_is_found_from_here() {
    if !memguard_tests::skip::root("a_process_in_namespaces_of_its_own_is_found_from_here") {
        return;
    }
    let folder = tempdir().unwrap();
    let mut command = Command::new("unshare");
    // A tmpfs over /dev/shm that only the process sees, and a pid of its own.
    let script = "mount -t tmpfs none /dev/shm && LD_PRELOAD=$LIB exec \"$@\"";
    command.args([
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "sh",
        "-c",
        script,
        "sh",
    ]);
    command.arg(forgets()).args(["files", "13", "end"]);
    command
        .env("LIB", memguard_tests::artifacts::library())
        .env_remove("MEMGUARD_DIR")
        .env("MEMGUARD_KEEP", "always");
    let held = Held::start(command);
    assert!(held.pid < 10, "a pid of its own: {}", held.pid);
    // No other test has thirteen: all are listed.
    let name = forgets().file_name().unwrap().to_str().unwrap();
    let list = json(folder.path(), &["list", "--format", "json"]);
    let rows = list["processes"].as_array().unwrap().clone();
    let row = rows.iter().find(|row| {
        row["cmdline"][0]
            .as_str()
            .is_some_and(|word| word.ends_with(name))
            && row["cmdline"][1] == "files"
            && row["cmdline"][2] == "13"
    });
    let outer = row.expect("it is listed")["pid"].to_string();
    let report = json(folder.path(), &["report", "--format", "json", &outer]);
    let files = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["kind"] == "files")
        .unwrap();
    assert_eq!(
        (&files["count"], &files["stack"][0]["function"]),
        (&13.into(), &"open_log".into())
    );
    held.finish();
}

/// There it sees its own start, and all clocks since boot, shifted.
#[test]
fn a_process_in_a_time_namespace_runs_and_is_of_its_own_age() {
    let test = "a_process_in_a_time_namespace_runs_and_is_of_its_own_age";
    if !memguard_tests::skip::root(test) {
        return;
    }
    let unshare = [
        "--time",
        "--monotonic",
        "86400",
        "--boottime",
        "200000",
        "--fork",
        "--kill-child",
    ];
    let possible = Command::new("unshare").args(unshare).arg("true").status();
    if !possible.is_ok_and(|status| status.success()) {
        memguard_tests::skip::note(test, "no time namespace can be made");
        return;
    }
    let folder = tempdir().unwrap();
    let mut command = Command::new("unshare");
    let script = "LD_PRELOAD=$LIB exec \"$@\"";
    command.args(unshare).args(["sh", "-c", script, "sh"]);
    command.arg(forgets()).args(["files", "6", "end"]);
    command
        .env("LIB", memguard_tests::artifacts::library())
        .env("MEMGUARD_DIR", folder.path())
        .env("MEMGUARD_KEEP", "always");
    let held = Held::start(command);
    let list = json(folder.path(), &["list", "--format", "json"]);
    // What else runs on this machine is listed as well.
    let rows = list["processes"].as_array().unwrap().iter();
    let rows: Vec<_> = rows
        .filter(|row| row["pid"] == held.pid || row["alive"] == false)
        .collect();
    assert_eq!(rows.len(), 1, "it is no second, ended one: {list:#}");
    assert_eq!(rows[0]["alive"], true);
    let report = json(folder.path(), &["report", "--format", "json", &held.word()]);
    assert_eq!(report["process"]["alive"], true);
    let files = report["findings"].as_array().unwrap().iter();
    let files: Vec<_> = files.filter(|finding| finding["kind"] == "files").collect();
    assert_eq!((files.len(), &files[0]["count"]), (1, &6.into()));
    let age_s = files[0]["resources"][0]["age_s"].as_f64().unwrap();
    assert!(
        (0.0..3600.0).contains(&age_s),
        "{age_s} s, of which a day is not its own"
    );
    assert!(report["process"]["uptime_s"].as_f64().unwrap() < 3600.0);
    let again = json(folder.path(), &["report", "--format", "json", &held.word()]);
    assert_eq!(
        again["process"]["alive"], true,
        "what is known of it is of one that runs"
    );
    held.finish();
}

#[test]
fn a_program_behind_a_link_goes_by_the_link_everywhere() {
    let folder = tempdir().unwrap();
    let link = folder.path().join("linked-name");
    std::os::unix::fs::symlink(forgets(), &link).unwrap();
    let held = Held::watched(folder.path(), &link, &["files", "6", "end"]);
    let file = forgets().file_name().unwrap().to_str().unwrap();
    let said = |words: &[&str]| stdout(&run(folder.path(), words));
    let report = said(&[
        "report",
        &held.word(),
        "--no-symbols",
        "--min-age",
        "0s",
        "--all",
    ]);
    let fds = said(&["fds", &held.word(), "--no-symbols"]);
    // Others' rows may name the file.
    let list = said(&["list"]);
    let mut rows = list.lines().filter(|row| row.contains(&held.word()));
    let own = rows.next().expect("it is listed").to_owned();
    for text in [report, fds, own] {
        assert!(text.contains("linked-name"), "{text}");
        assert!(!text.contains(file), "{text}");
    }
    held.finish();
}

#[test]
fn a_link_in_a_targets_root_leads_nowhere() {
    if !memguard_tests::skip::root("a_link_in_a_targets_root_leads_nowhere") {
        return;
    }
    let folder = tempdir().unwrap();
    let held = Held::forgetful(folder.path(), &["files", "5", "end"]);
    let uid = rustix::process::geteuid().as_raw().to_string();
    let real = folder.path().join(&uid);
    let segment = std::fs::read_dir(&real)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|n| n != "look"))
        .unwrap();
    // Whoever owns the folder puts a link to another file in its place: the
    // mapping itself is read, and the other file is not.
    std::fs::remove_file(&segment).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", &segment).unwrap();
    let report = json(folder.path(), &["report", "--format", "json", &held.word()]);
    let files = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["kind"] == "files")
        .unwrap();
    assert_eq!(files["count"], 5);
    held.finish();
}

#[test]
fn a_process_without_the_library_is_seen_from_outside_and_marked() {
    let folder = tempdir().unwrap();
    let mut command = Command::new(forgets());
    command.args(["sockets", "3", "end"]);
    let held = Held::start(command);
    let report = json(folder.path(), &["report", "--format", "json", &held.word()]);
    assert_eq!(
        (
            &report["process"]["instrumented"],
            &report["coverage"]["heap"]
        ),
        (&false.into(), &"none".into())
    );
    assert!(
        report["process"]["mode"].is_null() && report["findings"].as_array().unwrap().is_empty()
    );
    assert_eq!(
        (
            &report["totals"]["socket_states"]["CLOSE_WAIT"],
            &report["totals"]["socket_states"]["LISTEN"]
        ),
        (&3.into(), &1.into())
    );
    assert!(
        report["coverage"]["notes"][0]
            .as_str()
            .unwrap()
            .contains("without memguard's library")
    );
    assert_refused(
        &run(folder.path(), &["mode", &held.word(), "deep"]),
        3,
        "does not have memguard's library",
    );
    held.finish();
}

/// Guards: the record's word on the heap, and the file that it is mapped from.
#[test]
fn the_doctor_believes_the_record_of_a_running_process() {
    let folder = tempdir().unwrap();
    let doctor = |preload: std::ffi::OsString| {
        let mut command = std::process::Command::new(forgets());
        command.args(["files", "1"]).env("LD_PRELOAD", preload);
        command.env("MEMGUARD_DIR", folder.path());
        let held = Held::start(command);
        let said = json(folder.path(), &["doctor", "--format", "json", &held.word()]);
        held.kill();
        said
    };
    let of = |said: &serde_json::Value, name: &str| {
        let checks = said["checks"].as_array().unwrap().iter();
        let mut of_name = checks.filter(|check| check["name"] == name);
        of_name
            .next()
            .unwrap_or_else(|| panic!("no {name}: {said}"))
            .clone()
    };
    let library = memguard_tests::artifacts::library().into_os_string();
    let said = doctor(library.clone());
    assert_eq!(of(&said, "allocator")["outcome"], "ok");
    let detail = of(&said, "shm")["detail"].to_string();
    assert!(detail.contains(folder.path().to_str().unwrap()), "{detail}");
    let other = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";
    if memguard_tests::skip::file("live", other) {
        let mut first = std::ffi::OsString::from(other);
        first.push(":");
        first.push(&library);
        let checked = of(&doctor(first), "allocator");
        assert_eq!(checked["outcome"], "limited", "{checked}");
        assert!(
            checked["advice"]
                .to_string()
                .contains("first in LD_PRELOAD")
        );
    }
}
