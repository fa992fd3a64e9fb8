//! Whatever is wrong with a target, the answer is one sentence that says what
//! to do next, and the promised exit code.

mod support;

use std::mem::offset_of;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use shm_protocol::codes::{Kind, Section};
use shm_protocol::layout::{DATA_AT, Header};
use support::segment::Made;
use support::{
    Held, assert_refused, code, copy_program, free_pid, json, memguard, run, stderr, stdout,
};
use tempfile::tempdir;

/// What `list` says of records that it cannot read.
fn notes(folder: &Path) -> String {
    json(folder, &["list", "--format", "json"])["notes"].to_string()
}

#[test]
fn no_such_pid_name_or_file() {
    let folder = tempdir().unwrap();
    let pid = free_pid().to_string();
    for verb in ["report", "fds"] {
        assert_refused(&run(folder.path(), &[verb, &pid]), 3, "There is no process");
        assert_refused(
            &run(folder.path(), &[verb, "no-such-name"]),
            3,
            "No process is named",
        );
        assert_refused(
            &run(folder.path(), &[verb, "/no/such/file"]),
            3,
            "no such file",
        );
    }
    assert_refused(
        &run(folder.path(), &["mode", &pid, "deep"]),
        3,
        "There is no process",
    );
    assert_refused(
        &run(folder.path(), &["doctor", "no-such-name"]),
        3,
        "There is no command",
    );
    let text = folder.path().join("text");
    std::fs::write(&text, "not a record, though long enough to be read as one").unwrap();
    assert_refused(
        &run(folder.path(), &["report", text.to_str().unwrap()]),
        4,
        "not a memguard record",
    );
    assert_refused(
        &run(folder.path(), &["report", "/dev/null"]),
        4,
        "not a memguard record",
    );
}

#[test]
fn a_pipe_in_place_of_a_file_is_not_waited_for() {
    let folder = tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    assert_refused(
        &run(folder.path(), &["report", pipe.to_str().unwrap()]),
        4,
        "not a memguard record",
    );
}

#[test]
fn a_kept_record_is_read_and_named_in_every_verb() {
    let folder = tempdir().unwrap();
    let mut made = Made::new(free_pid(), 7);
    made.descriptor(0, Kind::Inherited, 0);
    made.descriptor(3, Kind::File, 90_000);
    let path = made.keep(folder.path());
    for target in [
        made.pid.to_string(),
        "handmade".into(),
        path.display().to_string(),
    ] {
        let report = json(folder.path(), &["report", "--format", "json", &target]);
        assert_eq!(
            (&report["process"]["pid"], &report["process"]["alive"]),
            (&made.pid.into(), &false.into())
        );
        assert_eq!(report["process"]["cmdline"][0], "handmade");
        assert!(report["totals"]["rss_bytes"].is_null() && report["totals"]["open_fds"] == 2);
        let fds = json(folder.path(), &["fds", "--format", "json", &target]);
        assert_eq!(
            (
                &fds["descriptors"][1]["fd"],
                &fds["descriptors"][1]["age_s"]
            ),
            (&3.into(), &10.0.into())
        );
    }
    let list = json(folder.path(), &["list", "--format", "json"]);
    assert!(
        list["processes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["pid"] == made.pid && row["alive"] == false)
    );
    assert_refused(
        &run(folder.path(), &["mode", &made.pid.to_string(), "deep"]),
        3,
        "has ended",
    );
}

#[test]
fn another_version_is_refused() {
    let folder = tempdir().unwrap();
    let mut made = Made::new(free_pid(), 7);
    made.put(offset_of!(Header, abi), 9 << 32);
    made.keep(folder.path());
    assert_refused(
        &run(folder.path(), &["report", &made.pid.to_string()]),
        4,
        "another version of memguard",
    );
    assert!(notes(folder.path()).contains("another version"));
}

#[test]
fn a_cut_off_record_is_refused_at_every_length() {
    let folder = tempdir().unwrap();
    let made = Made::new(free_pid(), 7);
    let path = made.keep(folder.path());
    for length in [
        0,
        7,
        8,
        100,
        4096,
        DATA_AT - 1,
        DATA_AT,
        DATA_AT + 1,
        made.bytes.len() - 1,
    ] {
        std::fs::write(&path, &made.bytes[..length]).unwrap();
        assert_refused(
            &run(folder.path(), &["report", &made.pid.to_string()]),
            4,
            "cut off",
        );
    }
}

#[test]
fn scribbled_records_never_upset_the_reader() {
    let folder = tempdir().unwrap();
    let made = Made::new(free_pid(), 7);
    let path = made.keep(folder.path());
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..60 {
        let mut bytes = made.bytes.clone();
        // Magic, version and identity stay, so that the rest is believed.
        for _ in 0..200 {
            let at = 64 + random() as usize % (bytes.len() - 72);
            bytes[at..at + 8].copy_from_slice(&random().to_le_bytes());
        }
        std::fs::write(&path, &bytes).unwrap();
        let done = run(
            folder.path(),
            &[
                "report",
                "--no-symbols",
                "--format",
                "json",
                &made.pid.to_string(),
            ],
        );
        assert!(
            [0, 4].contains(&code(&done)),
            "{} {}",
            code(&done),
            stderr(&done)
        );
        assert!(!stderr(&done).contains("panicked"), "{}", stderr(&done));
    }
}

#[test]
fn directory_entries_that_reach_past_the_end_are_harmless() {
    let folder = tempdir().unwrap();
    let mut made = Made::new(free_pid(), 7);
    made.descriptor(3, Kind::File, 5);
    made.extent(1, Section::Heap, u64::MAX - 10, u64::MAX);
    made.extent(2, Section::Sites, DATA_AT as u64, u64::MAX);
    made.extent(3, Section::Stacks, 1 << 60, 5);
    made.keep(folder.path());
    let report = json(
        folder.path(),
        &["report", "--format", "json", &made.pid.to_string()],
    );
    assert_eq!(report["totals"]["open_fds"], 1);
}

#[test]
fn a_record_under_a_wrong_name_is_refused() {
    let folder = tempdir().unwrap();
    let mut made = Made::new(free_pid(), 7);
    made.put(offset_of!(Header, start_ticks), 8);
    made.keep(folder.path());
    assert_refused(
        &run(folder.path(), &["report", &made.pid.to_string()]),
        4,
        "different processes",
    );
}

#[test]
fn a_forged_record_in_another_users_folder_is_not_read() {
    if !memguard_tests::skip::root("a_forged_record_in_another_users_folder_is_not_read") {
        return;
    }
    let folder = tempdir().unwrap();
    let mut made = Made::new(free_pid(), 7);
    made.put32(offset_of!(Header, uid), 1234);
    let path = made.keep_for(folder.path(), 1234);
    chown(&path, Some(4321), Some(4321)).unwrap();
    assert_refused(
        &run(folder.path(), &["report", &made.pid.to_string()]),
        3,
        "belongs to user 4321",
    );
    assert!(notes(folder.path()).contains("belongs to user 4321"));
    chown(&path, Some(1234), Some(1234)).unwrap();
    assert_eq!(
        code(&run(folder.path(), &["report", &made.pid.to_string()])),
        0
    );
}

#[test]
fn a_link_in_place_of_a_record_is_not_followed() {
    let folder = tempdir().unwrap();
    let made = Made::new(free_pid(), 7);
    let path = made.keep(folder.path());
    let elsewhere = folder.path().join("elsewhere");
    std::fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert_refused(
        &run(folder.path(), &["report", &made.pid.to_string()]),
        4,
        "not a memguard record",
    );
}

#[test]
fn a_pid_in_use_again_is_not_taken_for_the_old_one() {
    let folder = tempdir().unwrap();
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let made = Made::new(other.id() as i32, 7);
    let path = made.keep(folder.path());
    let refused = run(folder.path(), &["report", &made.pid.to_string()]);
    assert_refused(&refused, 3, "is now another program (sleep)");
    assert!(stderr(&refused).contains(path.to_str().unwrap()));
    assert_eq!(
        json(
            folder.path(),
            &["report", "--format", "json", path.to_str().unwrap()]
        )["process"]["alive"],
        false
    );
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn somebody_elses_process_is_not_permitted() {
    if !memguard_tests::skip::root("somebody_elses_process_is_not_permitted") {
        return;
    }
    let folder = tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = folder.path().join("memguard");
    copy_program(Path::new(env!("CARGO_BIN_EXE_memguard")), &copy);
    let pid = std::process::id().to_string();
    let ask = |args: &[&str]| {
        let words = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
        Command::new("setpriv")
            .args(words)
            .arg(&copy)
            .args(args)
            .output()
            .unwrap()
    };
    assert_refused(&ask(&["report", &pid]), 3, "you may not look into it");
    assert_refused(&ask(&["mode", &pid, "deep"]), 3, "you may not look into it");
}

#[test]
fn several_of_a_name_are_listed() {
    let folder = tempdir().unwrap();
    let program = folder.path().join("twin-program");
    copy_program(Path::new("/bin/sleep"), &program);
    let mut twins: Vec<_> = (0..2)
        .map(|_| Command::new(&program).arg("60").spawn().unwrap())
        .collect();
    let done = run(folder.path(), &["report", "twin-program"]);
    assert_eq!(code(&done), 3);
    for twin in &mut twins {
        assert!(
            stderr(&done).contains(&twin.id().to_string()),
            "{}",
            stderr(&done)
        );
        twin.kill().unwrap();
        twin.wait().unwrap();
    }
}

#[test]
fn usage_mistakes_are_2_and_125_for_run() {
    let folder = tempdir().unwrap();
    for args in [
        &["report"][..],
        &["nonesuch"],
        &["report", "1", "--kind", "spoons"],
        &["report", "1", "--min-age", "soon"],
    ] {
        assert_eq!(code(&run(folder.path(), args)), 2, "{args:?}");
    }
    assert_eq!(
        code(&run(folder.path(), &["run", "--nonesuch", "--", "true"])),
        125
    );
    assert_eq!(code(&run(folder.path(), &["--help"])), 0);
    assert_eq!(code(&run(folder.path(), &["run", "--help"])), 0);
    let pid = std::process::id().to_string();
    assert_refused(
        &run(folder.path(), &["list", "--format", "folded"]),
        2,
        "use text, json or csv",
    );
    assert_refused(
        &run(folder.path(), &["report", &pid, "-o", "/no/such/folder/x"]),
        2,
        "choose another file",
    );
}

#[test]
fn nobody_reading_is_no_failure() {
    let folder = tempdir().unwrap();
    let pid = std::process::id().to_string();
    for verb in [
        &["report", &pid, "--format", "json"][..],
        &["fds", &pid],
        &["completions", "bash"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = memguard(folder.path())
            .args(verb)
            .stdout(writer)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(0), "{verb:?}");
    }
}

#[test]
fn a_full_device_is_told_in_a_sentence_by_every_verb() {
    let folder = tempdir().unwrap();
    let pid = std::process::id().to_string();
    for verb in [
        &["report", &pid][..],
        &["report", &pid, "--format", "json"],
        &["list"],
        &["fds", &pid],
        &["fix", &pid, "--dry-run"],
        &["fix", &pid, "--yes"],
        &["undo"],
        &["learn", "show"],
        &["learn", "export"],
        &["label", "list"],
        &["doctor", "/bin/true"],
        &["completions", "bash"],
        &["--help"],
        &["fix", "--help"],
        &["--version"],
    ] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let done = memguard(folder.path())
            .args(verb)
            .stdout(full)
            .output()
            .unwrap();
        assert_refused(&done, 2, "standard output");
        assert_eq!(stderr(&done).lines().count(), 1, "{verb:?}");
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_not_our_end() {
    let folder = tempdir().unwrap();
    let held = Held::forgetful(folder.path(), &["files", "5", "end"]);
    let word = held.word();
    let limited = |args: &[&str]| {
        let mut command = support::limited(folder.path(), 512);
        command.args(args).output().unwrap()
    };
    let told = limited(&["report", "--format", "json", &word]);
    assert_eq!(code(&told), 0, "{}", stderr(&told));
    let said = stdout(&told);
    assert!(said.contains("File too large"), "{said}");
    let file = folder.path().join("saved");
    let saved = limited(&["snapshot", &word, "-o", file.to_str().unwrap()]);
    assert_refused(&saved, 2, "File too large");
    // What it starts finds the signal as it was.
    let signals = |wrapper: &[&str]| {
        let program = [
            "run",
            "--no-report",
            "--",
            "grep",
            "Sig[IC]",
            "/proc/self/status",
        ];
        let all = [wrapper, &[env!("CARGO_BIN_EXE_memguard")], &program].concat();
        let plain = memguard(folder.path());
        let mut command = std::process::Command::new(all[0]);
        for (name, value) in plain.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        stdout(&command.args(&all[1..]).output().unwrap())
    };
    let ignored = |said: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let mask = u64::from_str_radix(line.expect(said).trim(), 16).unwrap();
        mask >> (25 - 1) & 1 == 1
    };
    assert!(!ignored(&signals(&["env"])));
    assert!(ignored(&signals(&["env", "--ignore-signal=XFSZ"])));
    held.kill();
}

#[test]
fn manual_pages_and_completions_name_every_verb() {
    let folder = tempdir().unwrap();
    let pages = folder.path().join("man1");
    assert_eq!(
        code(&run(folder.path(), &["man", pages.to_str().unwrap()])),
        0
    );
    let script = stdout(&run(folder.path(), &["completions", "bash"]));
    for verb in [
        "run",
        "list",
        "report",
        "fds",
        "snapshot",
        "mode",
        "doctor",
        "completions",
    ] {
        let page = std::fs::read_to_string(pages.join(format!("memguard-{verb}.1"))).unwrap();
        assert!(page.contains("Examples") && script.contains(verb), "{verb}");
    }
    assert!(pages.join("memguard.1").exists());
}

#[test]
fn the_doctor_tells_the_dead_from_the_forbidden() {
    let folder = tempdir().unwrap();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id().to_string();
    let ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('Z')
    };
    for _ in 0..2000 {
        if ended() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(ended());
    let refused = run(folder.path(), &["doctor", &pid]);
    assert_refused(&refused, 3, "has ended and only waits for its parent");
    child.wait().unwrap();
}
