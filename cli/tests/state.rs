//! What outlives one look: labels, what runs taught, false alarms, and a
//! state folder that loses nothing.
//!
//! Guards: the lock around each change and `Shelf::write`'s renaming (two
//! writers), `Folder::load`'s setting aside (bad files), `ProcessMemory::
//! lessons` (false alarms), `judge::hide` (labels).

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{
    Held, assert_refused, code, is_made_by, json, keeps, memguard, report, run, state_folder,
    stderr, stdout,
};
use tempfile::tempdir;

fn finding<'a>(report: &'a Value, kind: &str, function: &str) -> Option<&'a Value> {
    let mut findings = report["findings"].as_array().unwrap().iter();
    findings.find(|one| one["kind"] == kind && is_made_by(one, function))
}

fn learned(folder: &Path) -> Value {
    json(folder, &["learn", "show", "--format", "json"])
}

/// The site of that finding, of the only program there is.
fn site(learned: &Value, id: &Value) -> Value {
    let programs = learned["programs"].as_array().unwrap();
    assert_eq!(programs.len(), 1, "{learned}");
    let sites = programs[0]["sites"].as_array().unwrap();
    let found = sites.iter().find(|site| site["id"] == *id);
    found
        .unwrap_or_else(|| panic!("no {id} in {learned}"))
        .clone()
}

fn only_file(folder: &Path) -> PathBuf {
    let files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn a_label_is_final_until_it_is_taken_back() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let held = Held::watched(at, keeps(), &["stdio", "4"]);
    let id = finding(&report(at, &held.word()), "files", "open_table").unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();

    let said = stdout(&run(at, &["label", "ok", &id]));
    assert!(
        said.contains("left out of reports") && said.contains("label clear"),
        "{said}"
    );
    let hidden = report(at, &held.word());
    assert!(finding(&hidden, "files", "open_table").is_none());
    let rule = &hidden["suppressed"][0];
    assert_eq!(
        (&rule["rule"], &rule["count"]),
        (&"memguard label ok".into(), &1.into())
    );

    assert!(
        run(at, &["label", "leak", &id, &held.word()])
            .status
            .success()
    );
    assert!(run(at, &["label", "clear", &id]).status.success());
    assert!(
        run(at, &["label", "leak", &id, keeps().to_str().unwrap()])
            .status
            .success()
    );
    let leaks = report(at, &held.word());
    assert_eq!(
        finding(&leaks, "files", "open_table").unwrap()["verdict"],
        "leak"
    );
    let failed = run(at, &["report", "--fail-on", "leak", &held.word()]);
    assert_eq!(code(&failed), 1, "{}", stderr(&failed));
    let labels = json(at, &["label", "list", "--format", "json"]);
    assert_eq!(labels["labels"].as_array().unwrap().len(), 1, "{labels}");
    assert_eq!(
        (&labels["labels"][0]["id"], &labels["labels"][0]["label"]),
        (&id.as_str().into(), &"leak".into())
    );

    assert!(run(at, &["label", "clear", &id]).status.success());
    let judged = report(at, &held.word());
    assert_ne!(
        finding(&judged, "files", "open_table").unwrap()["verdict"],
        "leak"
    );
    held.kill();
}

const SCRIPT: &str = "import os, sys
kept = [open('app.py') for _ in range(4)]
print('READY', os.getpid(), flush=True)
sys.stdin.readline()
";

/// The same script by the same relative name, in a folder of its own.
fn in_its_own_folder(state: &Path, own: &Path) -> Held {
    fs::write(own.join("app.py"), SCRIPT).unwrap();
    let mut python = std::process::Command::new("python3");
    python.arg("app.py").current_dir(own);
    python.env("LD_PRELOAD", memguard_tests::artifacts::library());
    Held::start({
        python.env("MEMGUARD_DIR", state);
        python
    })
}

#[test]
fn a_label_is_not_for_the_script_of_that_name_in_another_folder() {
    let (folder, here, there) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let at = folder.path();
    let (one, other) = (
        in_its_own_folder(at, here.path()),
        in_its_own_folder(at, there.path()),
    );
    let files = |held: &Held| {
        let report = report(at, &held.word());
        let mut all = report["findings"].as_array().unwrap().iter();
        let of_files = all.find(|one| one["kind"] == "files" && one["count"] == 4);
        of_files.map(|one| one["id"].as_str().unwrap().to_owned())
    };
    let id = files(&one).expect("it keeps four files");
    assert_eq!(files(&other).as_ref(), Some(&id));
    let labelled = run(at, &["label", "ok", &id, &one.word()]);
    assert!(labelled.status.success(), "{}", stderr(&labelled));
    assert_eq!((files(&one), files(&other)), (None, Some(id)));
    one.kill();
    other.kill();
}

#[test]
fn what_is_no_finding_cannot_be_labelled() {
    let folder = tempdir().unwrap();
    for wrong in ["everything", "sockets-12", "shoes-0123456789abcdef"] {
        let refused = run(folder.path(), &["label", "ok", wrong]);
        assert_refused(&refused, 2, "is not the id of a finding");
    }
    let unknown = "files-0123456789abcdef";
    let refused = run(folder.path(), &["label", "leak", unknown]);
    assert_eq!(code(&refused), 2);
    let said = stderr(&refused);
    let hint = format!("`memguard label leak {unknown} <target>`");
    assert!(said.contains(&hint), "{said}");
}

#[test]
fn a_proven_leak_that_is_closed_after_all_is_a_false_alarm() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let mut held = Held::watched(at, keeps(), &["sockets", "6"]);
    let accused = report(at, &held.word());
    let accused = finding(&accused, "sockets", "half_closed").unwrap();
    assert_eq!(
        (&accused["verdict"], &accused["count"]),
        (&"leak".into(), &6.into())
    );
    let before = site(&learned(at), &accused["id"]);
    assert_eq!(
        (&before["false_alarm"], &before["closes"]),
        (&false.into(), &0.into())
    );
    held.go_on();
    report(at, &held.word());
    let after = site(&learned(at), &accused["id"]);
    assert_eq!(
        (&after["false_alarm"], &after["closes"]),
        (&true.into(), &6.into())
    );
    assert!(after["longest_s"].as_f64().unwrap() > 0.0);
    assert_eq!(after["verdicts"][0], "leak");
    // Nothing more is learned of the same six.
    report(at, &held.word());
    assert_eq!(site(&learned(at), &accused["id"])["closes"], 6);
    held.kill();
}

#[test]
fn the_position_of_stdio_files_tells_how_long_they_are_idle() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let mut held = Held::watched(at, keeps(), &["stdio", "3"]);
    let idle = |report: &Value| -> Vec<Option<f64>> {
        let resources = finding(report, "files", "open_table").unwrap()["resources"].clone();
        let resources = resources.as_array().unwrap();
        resources
            .iter()
            .map(|open| open["idle_s"].as_f64())
            .collect()
    };
    let every = ["report", "--format", "json", "--all", &held.word()].map(str::to_owned);
    let every: Vec<&str> = every.iter().map(String::as_str).collect();
    assert_eq!(idle(&json(at, &every)), [None, None, None]);
    std::thread::sleep(std::time::Duration::from_millis(50));
    let still = idle(&json(at, &every));
    assert!(
        still
            .iter()
            .all(|idle| idle.is_some_and(|idle| idle >= 0.05)),
        "{still:?}"
    );
    held.go_on();
    assert_eq!(idle(&json(at, &every)), [Some(0.0); 3]);
    held.kill();
}

#[test]
fn each_run_teaches_once_and_what_it_taught_can_be_carried_over() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    for _ in 0..2 {
        let mut held = Held::watched(at, keeps(), &["closes", "50"]);
        report(at, &held.word());
        held.go_on();
        report(at, &held.word());
        report(at, &held.word());
        held.kill();
    }
    let shown = learned(at);
    assert_eq!(shown["programs"][0]["runs"], 2, "{shown}");
    let sites = shown["programs"][0]["sites"].as_array().unwrap();
    let closed = sites
        .iter()
        .map(|site| site["closes"].as_u64().unwrap())
        .sum::<u64>();
    assert_eq!(closed, 200, "{shown}");
    let text = stdout(&run(at, &["learn", "show"]));
    assert!(
        text.contains("100 closed") && text.contains("keeps.c"),
        "{text}"
    );

    let file = at.join("learned.json");
    let file = file.to_str().unwrap();
    assert!(run(at, &["learn", "export", "-o", file]).status.success());
    assert!(run(at, &["learn", "reset", "--all"]).status.success());
    assert_eq!(learned(at)["programs"].as_array().unwrap().len(), 0);
    for _ in 0..2 {
        assert!(run(at, &["learn", "import", file]).status.success());
        assert_eq!(learned(at)["programs"], shown["programs"]);
    }
    let one = [
        "learn",
        "show",
        "--format",
        "json",
        keeps().to_str().unwrap(),
    ];
    assert_eq!(json(at, &one)["programs"], shown["programs"]);
    let unknown = run(at, &["learn", "show", "/bin/true"]);
    assert_refused(&unknown, 2, "Nothing has been learned");
}

#[test]
fn what_is_no_export_is_not_taken_in() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let file = at.join("wrong.json");
    let evil = r#"{"schema":"memguard.learned-export/1","exported_at":"2026-01-01T00:00:00Z","programs":
        [{"key":"../../x","name":"x","run":1,"updated":"2026-01-01T00:00:00Z","members":[],"sites":{}}],"labels":[]}"#;
    for (text, words) in [
        ("", "not the JSON"),
        (
            r#"{"schema":"memguard.learned-export/9"}"#,
            "another version",
        ),
        (r#"{"schema":"memguard.learned-export/1"}"#, "missing field"),
        (evil, "makes no sense"),
    ] {
        fs::write(&file, text).unwrap();
        assert_refused(
            &run(at, &["learn", "import", file.to_str().unwrap()]),
            2,
            words,
        );
    }
    assert_eq!(learned(at)["programs"].as_array().unwrap().len(), 0);
}

#[test]
fn a_spoiled_file_is_set_aside_with_a_sentence_and_its_data_kept() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let held = Held::watched(at, keeps(), &["closes", "50"]);
    report(at, &held.word());
    let file = only_file(&state_folder(at).join("programs"));
    let whole = fs::read(&file).unwrap();
    let newer = String::from_utf8(whole.clone())
        .unwrap()
        .replacen("/1 ", "/2 ", 1);
    for spoiled in [
        &whole[..whole.len() / 2],
        &whole[..3],
        &[],
        newer.as_bytes(),
    ] {
        fs::write(&file, spoiled).unwrap();
        let notes = report(at, &held.word())["coverage"]["notes"].to_string();
        assert!(
            notes.contains("was moved to") && notes.contains("learns anew."),
            "{notes}"
        );
        let quiet = report(at, &held.word())["coverage"]["notes"].to_string();
        assert!(!quiet.contains("was moved to"), "said once: {quiet}");
    }
    let aside = fs::read_dir(state_folder(at).join("aside")).unwrap();
    let mut sizes: Vec<u64> = aside
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    sizes.sort_unstable();
    let kept = [0, 3, whole.len() as u64 / 2, newer.len() as u64];
    assert_eq!(sizes, kept);
    held.kill();
}

#[test]
fn without_a_state_folder_a_report_has_one_note_more() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("file"), "").unwrap();
    let held = Held::watched(at, keeps(), &["stdio", "2"]);
    let done = memguard(at)
        .env("MEMGUARD_STATE", at.join("file/below"))
        .args(["report", "--format", "json", &held.word()])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let notes = report["coverage"]["notes"].as_array().unwrap();
    let of_state = |note: &&Value| note.as_str().unwrap().contains("MEMGUARD_STATE");
    assert_eq!(notes.iter().filter(of_state).count(), 1, "{notes:?}");
    let refused = memguard(at)
        .env("MEMGUARD_STATE", at.join("file/below"))
        .args(["label", "list"])
        .output()
        .unwrap();
    assert_refused(&refused, 2, "MEMGUARD_STATE");
    held.kill();
}

#[test]
fn a_label_says_for_which_script_it_is() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let script = at.join("app.py");
    let opens = "import os\nkept = [os.open('/dev/null', os.O_RDONLY) for _ in range(9)]\n\
                 print('READY', os.getpid(), flush=True)\ninput()\n";
    fs::write(&script, opens).unwrap();
    let python = Path::new("/usr/bin/python3");
    let held = Held::watched(at, python, &[script.to_str().unwrap()]);
    let told = report(at, &held.word());
    let mut found = told["findings"].as_array().unwrap().iter();
    // There may be several: they go different ways through the interpreter.
    let is_opened = |one: &&Value| one["kind"] == "files";
    let opened = found.find(is_opened);
    let id = opened.unwrap_or_else(|| panic!("{told}"))["id"]
        .as_str()
        .unwrap();
    let other = "files-0000000000000001";
    assert_eq!(code(&run(at, &["label", "leak", id])), 0);
    assert_eq!(code(&run(at, &["label", "ok", other, &held.word()])), 0);
    held.kill();
    let labels = json(at, &["label", "list", "--format", "json"]);
    let labels = labels["labels"].as_array().unwrap();
    let title = format!("python3 {}", script.display());
    assert!(
        labels.iter().all(|label| label["title"] == *title),
        "{labels:?}"
    );
    let text = stdout(&run(at, &["label", "list"]));
    assert_eq!(
        text.matches(&format!("only in {title}")).count(),
        2,
        "{text}"
    );
}

#[test]
fn many_writers_at_once_lose_nothing() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let held = Held::watched(at, keeps(), &["closes", "50"]);
    let label = |n: u32| {
        let mut command = memguard(at);
        command.args(["label", "ok", &format!("files-{n:016x}")]);
        command
    };
    let look = |_| {
        let mut command = memguard(at);
        command.args(["report", "--format", "json", "--no-symbols", &held.word()]);
        command
    };
    let commands = (0..8).map(label).chain((0..4).map(look));
    let writers: Vec<_> = commands
        .map(|mut command| {
            command
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for writer in writers {
        assert!(writer.wait_with_output().unwrap().status.success());
    }
    let labels = json(at, &["label", "list", "--format", "json"]);
    assert_eq!(labels["labels"].as_array().unwrap().len(), 8, "{labels}");
    let shown = learned(at);
    let sites = shown["programs"][0]["sites"].as_array().unwrap();
    let closed = sites
        .iter()
        .map(|site| site["closes"].as_u64().unwrap())
        .max();
    assert_eq!(
        (closed, &shown["programs"][0]["runs"]),
        (Some(50), &1.into()),
        "{shown}"
    );
    assert!(!state_folder(at).join("aside").exists());
    held.kill();
}

#[test]
fn writers_that_are_killed_on_the_way_leave_whole_files() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let mut written = 0;
    for n in 0..24_u32 {
        let id = format!("files-{n:016x}");
        let mut writer = memguard(at)
            .args(["label", "ok", &id])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Each a little later in its work than the one before.
        std::thread::sleep(std::time::Duration::from_micros(u64::from(n) * 500));
        let _ = writer.kill();
        written += usize::from(writer.wait().unwrap().success());
        let labels = json(at, &["label", "list", "--format", "json"]);
        assert_eq!(labels["notes"].as_array().unwrap().len(), 0, "{labels}");
        let known = labels["labels"].as_array().unwrap().len();
        assert!((written..=n as usize + 1).contains(&known), "{known}");
    }
    assert!(!state_folder(at).join("aside").exists());
}

#[test]
fn a_server_and_its_workers_are_one_report() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let held = Held::watched(at, keeps(), &["prefork", "3"]);
    let tree = json(at, &["report", "--format", "json", "--tree", &held.word()]);
    let processes = tree["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 4, "{processes:?}");
    assert_eq!(tree["process"]["pid"], held.pid);
    let files = finding(&tree, "files", "open_log").unwrap();
    assert_eq!(files["count"], 15);
    let shares = files["processes"].as_array().unwrap();
    assert_eq!(shares.len(), 3);
    assert!(shares.iter().all(|share| share["count"] == 5), "{shares:?}");
    let summary = files["summary"].as_str().unwrap();
    assert!(summary.contains("in 3 processes ("), "{summary}");
    assert!(
        files["resources"]
            .as_array()
            .unwrap()
            .iter()
            .all(|open| open["pid"].is_i64())
    );

    let workers: Vec<String> = shares
        .iter()
        .map(|share| share["pid"].to_string())
        .collect();
    let two = json(
        at,
        &["report", "--format", "json", &workers[0], &workers[1]],
    );
    assert_eq!(finding(&two, "files", "open_log").unwrap()["count"], 10);
    let text = stdout(&run(at, &["report", "--all", "--tree", &held.word()]));
    assert!(
        text.contains("and 3 more: pid ") && text.contains("in 3 processes ("),
        "{text}"
    );
    held.finish();
}

#[test]
fn watching_first_says_what_came_and_went() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let held = Held::watched(at, keeps(), &["stdio", "3"]);
    let watched = json(
        at,
        &[
            "report",
            "--for",
            "100ms",
            "--format",
            "json",
            "--all",
            &held.word(),
        ],
    );
    let files = finding(&watched, "files", "open_table").unwrap();
    let evidence = files["evidence"].to_string();
    assert!(
        evidence.contains("In the 100 ms that it was watched, 0 more came and 0 went."),
        "{evidence}"
    );
    let idle = |open: &Value| open["idle_s"].as_f64().is_some_and(|idle| idle >= 0.1);
    assert!(
        files["resources"].as_array().unwrap().iter().all(idle),
        "{files}"
    );
    let saved = at.join("saved.mg");
    let saved = saved.to_str().unwrap();
    assert!(
        run(at, &["snapshot", &held.word(), "-o", saved])
            .status
            .success()
    );
    assert_refused(
        &run(at, &["report", "--for", "1s", saved]),
        2,
        "leave it out",
    );
    let other = std::process::id().to_string();
    let twice = run(at, &["report", "--since", saved, &held.word(), &other]);
    assert_refused(&twice, 2, "name a single target");
    held.kill();
}
