//! Records without a process: whose they are, when they go, and what may be
//! said of an end that nobody saw.

mod support;

use std::mem::offset_of;
use std::os::unix::fs::chown;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use memguard::snapshot::Facts;
use shm_protocol::codes::{Kind, State};
use shm_protocol::layout::Header;
use support::segment::{Made, namespace};
use support::{
    Held, assert_refused, code, free_pid, json, keeps, memguard, replaces, run, stands, stderr,
    stdout,
};
use tempfile::tempdir;

fn pids(folder: &std::path::Path) -> Vec<i64> {
    let list = json(folder, &["list", "--format", "json"]);
    let rows = list["processes"].as_array().unwrap().clone();
    let dead = rows.iter().filter(|row| row["alive"] == false);
    dead.map(|row| row["pid"].as_i64().unwrap()).collect()
}

#[test]
fn a_record_that_its_process_did_not_want_goes_at_sight() {
    let folder = tempdir().unwrap();
    let mut made = Made::new(free_pid(), 7);
    let kept = made.keep(folder.path());
    assert_eq!(pids(folder.path()), [i64::from(made.pid)]);
    made.put32(offset_of!(Header, state), State::Unwanted as u32);
    made.keep(folder.path());
    assert!(pids(folder.path()).is_empty());
    assert!(!kept.exists());
}

#[test]
fn an_end_that_nobody_saw_is_not_made_up() {
    let folder = tempdir().unwrap();
    let mut made = Made::new(free_pid(), 0);
    made.put(offset_of!(Header, tick_s), 0);
    for fd in 3..9 {
        made.descriptor(fd, Kind::File, 16);
    }
    made.keep(folder.path());
    let word = made.pid.to_string();
    let report = json(folder.path(), &["report", "--format", "json", &word]);
    assert!(report["process"]["uptime_s"].is_null(), "{report}");
    let notes = report["coverage"]["notes"].to_string();
    assert!(notes.contains("Nobody saw the process end"), "{notes}");
    let early = |finding: &serde_json::Value| finding["verdict"] == "early";
    assert!(!report["findings"].as_array().unwrap().iter().any(early));
    let text = stdout(&run(folder.path(), &["report", &word]));
    assert!(
        text.contains("ended, last did something 16 ms after its start"),
        "{text}"
    );
    assert!(!text.contains("too young"), "{text}");
}

#[test]
fn two_users_records_of_one_process_are_told_apart_by_a_person() {
    if !memguard_tests::skip::root("two_users_records_of_one_process_are_told_apart_by_a_person") {
        return;
    }
    let folder = tempdir().unwrap();
    let mut made = Made::new(free_pid(), 7);
    let word = made.pid.to_string();
    let own = made.keep(folder.path());
    let copy = made.keep_for(folder.path(), 65534);
    chown(&copy, Some(65534), Some(65534)).unwrap();
    // The copy still names us in its header: it is no rival, but no record.
    let read = run(folder.path(), &["report", copy.to_str().unwrap()]);
    assert_eq!(code(&read), 0, "named by a person: {}", stderr(&read));
    let listed = json(folder.path(), &["list", "--format", "json"]);
    assert!(listed["notes"].to_string().contains("does not own"));
    made.put32(offset_of!(Header, uid), 65534);
    made.keep_for(folder.path(), 65534);
    for target in [word.as_str(), "handmade"] {
        let refused = run(folder.path(), &["report", target]);
        assert_eq!(code(&refused), 3);
        let said = stderr(&refused);
        for path in [&own, &copy] {
            assert!(said.contains(path.to_str().unwrap()), "{said}");
        }
    }
    std::fs::remove_file(copy).unwrap();
    assert_eq!(code(&run(folder.path(), &["report", &word])), 0);
}

#[test]
fn earlier_images_of_a_process_do_not_make_its_name_ambiguous() {
    let folder = tempdir().unwrap();
    let made = Made::new(free_pid(), 7);
    let path = made.keep(folder.path());
    let name = path.to_str().unwrap().strip_suffix('0').unwrap();
    std::fs::copy(&path, format!("{name}1")).unwrap();
    let report = json(folder.path(), &["report", "--format", "json", "handmade"]);
    assert_eq!(report["process"]["pid"], made.pid);
}

#[test]
fn the_pid_that_list_shows_is_the_one_that_report_knows() {
    let folder = tempdir().unwrap();
    let mut made = Made::new(7, 7);
    made.put(offset_of!(Header, pid_namespace), 12_345);
    let kept = made.keep(folder.path());
    let elsewhere = kept.with_file_name("12345.7.7.0");
    std::fs::rename(&kept, &elsewhere).unwrap();
    let outer = free_pid();
    let look = Facts {
        pid: outer,
        alive: true,
        ..Facts::default()
    };
    let look = serde_json::to_vec(&look).unwrap();
    std::fs::write(elsewhere.with_file_name("12345.7.7.0.look"), look).unwrap();
    assert_ne!(namespace(), 12_345);
    assert_eq!(pids(folder.path()), [i64::from(outer)]);
    let report = json(
        folder.path(),
        &["report", "--format", "json", &outer.to_string()],
    );
    assert_eq!(report["process"]["pid"], outer);
}

#[test]
fn a_damaged_record_of_a_dead_process_can_only_be_deleted() {
    let folder = tempdir().unwrap();
    let mut made = Made::new(free_pid(), 7);
    made.put(offset_of!(Header, used_bytes), 1 << 30);
    made.keep(folder.path());
    assert_refused(
        &run(folder.path(), &["report", &made.pid.to_string()]),
        4,
        "delete that file",
    );
}

/// Its clock goes on: the last look only tells what the kernel knew then.
#[test]
fn what_was_done_after_the_last_look_is_in_the_life_of_a_killed_one() {
    let folder = tempdir().unwrap();
    let mut held = Held::watched(folder.path(), keeps(), &["closes", "1"]);
    let word = held.word();
    let taken_at = || {
        let report = json(folder.path(), &["report", "--format", "json", &word]);
        report["taken_at"].as_str().unwrap().to_owned()
    };
    let looked = taken_at();
    // The record's clock is one of whole seconds.
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    held.go_on();
    held.kill();
    let (ended, again) = (taken_at(), taken_at());
    assert!(ended > looked, "{looked}, then {ended}");
    assert_eq!(ended, again);
}

#[test]
fn a_zombie_has_ended() {
    let folder = tempdir().unwrap();
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id();
    let ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.contains(") Z ")
    };
    while !ended() {
        std::thread::yield_now();
    }
    assert_refused(
        &run(folder.path(), &["report", &pid.to_string()]),
        3,
        "has ended without a record and only waits for its parent",
    );
    child.wait().unwrap();
}

#[test]
fn without_proc_nothing_is_called_ended() {
    if !memguard_tests::skip::root("without_proc_nothing_is_called_ended") {
        return;
    }
    let folder = tempdir().unwrap();
    let own = std::process::id().to_string();
    for words in [vec!["list"], vec!["report", &own], vec!["fds", "sh"]] {
        let mut command = Command::new("unshare");
        command.args([
            "-m",
            "sh",
            "-c",
            "mount -t tmpfs none /proc && exec \"$@\"",
            "sh",
        ]);
        command.arg(env!("CARGO_BIN_EXE_memguard")).args(&words);
        let done = command.env("MEMGUARD_DIR", folder.path()).output();
        assert_refused(&done.unwrap(), 3, "/proc is not mounted");
    }
}

#[test]
fn a_folder_that_the_library_refuses_is_refused_here_too() {
    let folder = tempdir().unwrap();
    let long = format!("/{}", "x".repeat(200));
    for bad in ["relative", "/", long.as_str()] {
        let done = |words: &[&str]| {
            let mut command = memguard(folder.path());
            command.env("MEMGUARD_DIR", bad).current_dir(folder.path());
            command.args(words).output().unwrap()
        };
        assert_refused(&done(&["list"]), 2, "MEMGUARD_DIR");
        assert_refused(&done(&["run", "--", "true"]), 125, "MEMGUARD_DIR");
        let doctor = stdout(&done(&["doctor", "sleep"]));
        assert!(doctor.contains("is no absolute path"), "{doctor}");
    }
}

/// Else it would learn in each folder that one stands in, and leave one there.
#[test]
fn a_state_folder_that_depends_on_where_one_stands_is_refused() {
    let folder = tempdir().unwrap();
    let done = |words: &[&str]| {
        let mut command = memguard(folder.path());
        command.env("MEMGUARD_STATE", "relative");
        command
            .current_dir(folder.path())
            .args(words)
            .output()
            .unwrap()
    };
    assert_refused(&done(&["list"]), 2, "MEMGUARD_STATE=relative");
    assert_refused(&done(&["run", "--", "true"]), 125, "MEMGUARD_STATE");
    assert_eq!(code(&done(&["completions", "bash"])), 0);
    assert!(!folder.path().join("relative").exists());
}

#[test]
fn a_file_name_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempdir().unwrap();
    let made = Made::new(free_pid(), 7);
    made.keep(folder.path());
    let name = std::ffi::OsStr::from_bytes(b"saved\xff.mg");
    let done = |words: &[&std::ffi::OsStr]| {
        let mut command = memguard(folder.path());
        let command = command.args(words).current_dir(folder.path());
        command.output().unwrap()
    };
    let pid = made.pid.to_string();
    let saved = done(&["snapshot".as_ref(), pid.as_ref(), "-o".as_ref(), name]);
    assert_eq!(code(&saved), 0, "{}", stderr(&saved));
    for verb in ["report", "fds"] {
        let shown = done(&[verb.as_ref(), name]);
        assert_eq!(code(&shown), 0, "{}", stderr(&shown));
    }
}

#[test]
fn a_dash_is_standard_output() {
    let folder = tempdir().unwrap();
    let made = Made::new(free_pid(), 7);
    made.keep(folder.path());
    let word = made.pid.to_string();
    let plain = run(folder.path(), &["report", "--format", "json", &word]);
    let dashed = run(
        folder.path(),
        &["report", "--format", "json", "-o", "-", &word],
    );
    let head = |output: &std::process::Output| stdout(output).lines().count();
    assert!(head(&plain) > 10 && head(&plain) == head(&dashed));
    let saved = run(folder.path(), &["snapshot", &word, "-o", "-"]);
    assert_eq!(code(&saved), 0);
    let file = folder.path().join("saved.mg");
    std::fs::write(&file, &saved.stdout).unwrap();
    let again = json(
        folder.path(),
        &["report", "--format", "json", file.to_str().unwrap()],
    );
    assert_eq!(again["process"]["pid"], made.pid);
}

#[test]
fn a_list_is_not_filled_by_what_has_ended() {
    let folder = tempdir().unwrap();
    let held = Held::forgetful(folder.path(), &["files", "1", "end"]);
    // The pid of one that runs now, at another time; each began later.
    for number in 0..15_u64 {
        let mut made = Made::new(held.pid, 5 + number);
        made.put(
            offset_of!(Header, created_real_ns),
            (1_700_000_000 + number) * 1_000_000_000,
        );
        made.keep(folder.path());
    }
    // Others on this machine may be watched, too.
    let word = held.word();
    let ours = |line: &&str| {
        line.contains("handmade") || line.starts_with('…') || line.trim_start().starts_with(&word)
    };
    let shown = |words: &[&str]| -> Vec<String> {
        let text = stdout(&run(folder.path(), words));
        text.lines().filter(ours).map(str::to_owned).collect()
    };
    let usual = shown(&["list"]);
    assert_eq!(usual.len(), 1 + 10 + 1, "{usual:#?}");
    assert!(
        usual[0].contains("light") && !usual[0].contains("ended"),
        "{usual:#?}"
    );
    assert!(
        usual[1..11].iter().all(|line| line.contains("ended")),
        "{usual:#?}"
    );
    assert_eq!(
        usual[11],
        "… and 5 more that have ended; `memguard list --all` shows them."
    );
    // Whatever the order is, those that run come first.
    for by in ["pid", "name", "fds", "verdict"] {
        assert!(!shown(&["list", "--sort", by])[0].contains("ended"), "{by}");
    }
    assert_eq!(shown(&["list", "--all"]).len(), 1 + 15);
    let all = json(folder.path(), &["list", "--format", "json"]);
    let all = all["processes"].as_array().unwrap().iter();
    let ours = all.filter(|row| row["pid"] == held.pid);
    assert_eq!(ours.count(), 1 + 15);
    held.finish();
}

/// The report on a program that became another one by that function, or tried
/// to, and was killed.
fn replaced(words: &[&str]) -> (serde_json::Value, String) {
    let folder = tempdir().unwrap();
    let mut child = Command::new(replaces())
        .args(words)
        .env("LD_PRELOAD", memguard_tests::artifacts::library())
        .env("MEMGUARD_DIR", folder.path())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{words:?}: {status}");
    let report = json(folder.path(), &["report", "--format", "json", &pid]);
    let held = report["totals"]["held"][0]["count"].as_u64();
    assert!(held >= Some(3), "{report}");
    let text = stdout(&run(folder.path(), &["report", &pid]));
    let said = report["process"]["replaced"].clone();
    assert_listed(folder.path(), &pid, said == true);
    (said, text)
}

#[test]
fn what_became_a_program_without_the_library_is_listed_while_it_runs() {
    let folder = tempdir().unwrap();
    let program = stands().to_str().unwrap();
    let held = Held::watched(
        folder.path(),
        Path::new("/bin/sh"),
        &["-c", "exec \"$0\"", program],
    );
    let list = json(folder.path(), &["list", "--format", "json"]);
    let rows = list["processes"].as_array().unwrap().iter();
    let rows: Vec<_> = rows.filter(|row| row["pid"] == held.pid).collect();
    assert_eq!(rows.len(), 1, "{list}");
    let said = ["alive", "replaced", "instrumented"].map(|name| &rows[0][name]);
    assert_eq!(said, [true, true, false], "{list}");
    let text = stdout(&run(folder.path(), &["list"]));
    assert!(text.contains("  replaced  ") && text.contains("it became this program"));
    let report = json(folder.path(), &["report", "--format", "json", &held.word()]);
    let note = report["coverage"]["notes"][0].as_str().unwrap().to_owned();
    let before = note
        .split('`')
        .find_map(|one| one.strip_prefix("memguard report "));
    let before = stdout(&run(folder.path(), &["report", before.expect("a record")]));
    assert!(before.contains("became another program"), "{before}");
    let doctor = stdout(&run(folder.path(), &["doctor", &held.word()]));
    assert!(doctor.contains("is statically linked"), "{doctor}");
    assert!(held.finish().success());
}

/// Of a main thread that has ended the kernel has no maps to show.
#[test]
fn a_program_whose_main_thread_has_ended_is_looked_at_all_the_same() {
    const STANDS: &str = "
import ctypes, os, sys, threading, time
def stand():
    while open('/proc/self/maps').read():
        time.sleep(0.01)
    print('READY', os.getpid(), flush=True)
    sys.stdin.readline()
    os._exit(0)
threading.Thread(target=stand).start()
ctypes.CDLL(None).pthread_exit(None)";
    let folder = tempdir().unwrap();
    let held = Held::watched(
        folder.path(),
        Path::new("/usr/bin/python3"),
        &["-c", STANDS],
    );
    let list = json(folder.path(), &["list", "--format", "json"]);
    let rows = list["processes"].as_array().unwrap().iter();
    let rows: Vec<_> = rows.filter(|row| row["pid"] == held.pid).collect();
    assert_eq!(rows.len(), 1, "{list}");
    assert_eq!(rows[0]["alive"], true, "{list}");
    let report = json(folder.path(), &["report", "--format", "json", &held.word()]);
    let said = ["replaced", "instrumented"].map(|name| &report["process"][name]);
    assert_eq!(said[1], true, "{report}");
    assert_ne!(said[0], true, "{report}");
    let doctor = stdout(&run(folder.path(), &["doctor", &held.word()]));
    assert!(!doctor.contains("without memguard's library"), "{doctor}");
    assert!(!doctor.contains("may not look into"), "{doctor}");
    assert!(held.finish().success());
}

/// The list tells those that became another program from those that ended.
#[track_caller]
fn assert_listed(folder: &Path, pid: &str, replaced: bool) {
    let list = stdout(&run(folder, &["list", "--sort", "pid"]));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    let mut rows = list.lines().map(words);
    let row: Vec<String> = rows.find(|row: &Vec<String>| row[0] == pid).expect("a row");
    let wanted = if replaced { "replaced" } else { "ended" };
    assert_eq!(row[2], wanted, "{list}");
    let is_explained = list.contains("replaced: it then became another program");
    assert_eq!(is_explained, replaced, "{list}");
}

/// Guard: the note that `hooks/exec.rs` leaves before the call, takes back
/// when that fails, and does not make for a child in borrowed memory.
#[test]
fn what_another_program_did_is_not_said_of_the_one_before() {
    let names = [
        "execve",
        "execv",
        "execvp",
        "execvpe",
        "fexecve",
        "execveat",
        "syscall",
        "execl",
        "execlp",
        "execle",
        "execle-short",
    ];
    for name in names {
        let (said, text) = replaced(&[name]);
        assert_eq!(said, true, "{name}");
        assert!(
            text.contains("of which nothing is known")
                && text.contains("memguard's library was not"),
            "{text}"
        );
        for way in ["fails", "child"] {
            let (said, text) = replaced(&[name, way]);
            assert!(said.is_null(), "{name} {way}");
            assert!(!text.contains("another program"), "{text}");
        }
    }
}

/// Guard: `Record::is_replaced_in`, and the order of `latest_images`.
#[test]
fn who_drops_rights_and_then_becomes_the_program_is_not_taken_for_it() {
    if !memguard_tests::skip::root(
        "who_drops_rights_and_then_becomes_the_program_is_not_taken_for_it",
    ) {
        return;
    }
    let folder = tempdir().unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    std::fs::set_permissions(folder.path(), everybody).unwrap();
    let drops = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    // Killed: a record of each user stays.
    let mut child = Command::new(drops[0])
        .args(&drops[1..])
        .args(["sh", "-c", "exec 3</dev/null 4</dev/null; kill -9 $$"])
        .env("LD_PRELOAD", memguard_tests::artifacts::library())
        .env("MEMGUARD_DIR", folder.path())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    child.wait().unwrap();
    for user in ["0", "65534"] {
        let records = std::fs::read_dir(folder.path().join(user)).unwrap();
        assert_eq!(records.count(), 1, "{user}");
    }
    let report = json(folder.path(), &["report", "--format", "json", &pid]);
    assert_eq!(report["process"]["cmdline"][0], "sh", "{report}");
    let list = json(folder.path(), &["list", "--format", "json"]);
    let rows = list["processes"].as_array().unwrap();
    let number: i64 = pid.parse().unwrap();
    let ours = rows.iter().filter(|row| row["pid"] == number);
    assert_eq!(ours.count(), 1, "{list}");
    // Under a run, which leaves neither behind.
    let mut args = vec!["run", "--format", "json", "-o", "-", "--"];
    args.extend(drops);
    args.extend(["sh", "-c", "exec 3</dev/null; exit 0"]);
    let done = run(folder.path(), &args);
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["process"]["cmdline"][0], "sh", "{report}");
    let left = |user: &str| {
        std::fs::read_dir(folder.path().join(user))
            .unwrap()
            .flatten()
    };
    let other = |name: &std::ffi::OsStr| !name.to_string_lossy().contains(&format!(".{pid}."));
    for user in ["0", "65534"] {
        assert!(!left(user).any(|entry| other(&entry.file_name())), "{user}");
    }
}
