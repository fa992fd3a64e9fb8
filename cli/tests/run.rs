//! `memguard run`: a wrapper that the program does not notice, and what it
//! says at the end.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use memguard_tests::artifacts;
use rustix::process::{Pid, Signal, kill_process};
use support::{Held, assert_refused, code, forgets, json, memguard, run, stderr, stdout};
use tempfile::tempdir;

#[test]
fn the_exit_status_is_the_programs() {
    let folder = tempdir().unwrap();
    let shell = |script: &str| {
        code(&run(
            folder.path(),
            &["run", "--no-report", "--", "sh", "-c", script],
        ))
    };
    assert_eq!(shell("exit 0"), 0);
    assert_eq!(shell("exit 7"), 7);
    assert_eq!(shell("kill -TERM $$"), 128 + libc::SIGTERM);
    assert_eq!(shell("kill -KILL $$"), 128 + libc::SIGKILL);
}

#[test]
fn a_signal_that_ended_the_program_is_named() {
    let folder = tempdir().unwrap();
    let said = |script| stderr(&run(folder.path(), &["run", "--", "sh", "-c", script]));
    let crashed = said("kill -SEGV $$");
    assert!(
        crashed.contains("`sh` was ended by signal 11 (SIGSEGV)"),
        "{crashed}"
    );
    assert!(!said("exit 11").contains("was ended by"));
}

#[test]
fn children_whose_records_are_gone_are_not_passed_over_in_silence() {
    let folder = tempdir().unwrap();
    let said = |children: u32| {
        let script = format!("for i in $(seq {children}); do /bin/true; done");
        stderr(&run(folder.path(), &["run", "--", "sh", "-c", &script]))
    };
    let many = said(60);
    assert!(many.contains("keep their records"), "{many}");
    assert!(!said(3).contains("keep their records"));
}

#[test]
fn what_cannot_be_started_is_told_apart_as_env_does() {
    let folder = tempdir().unwrap();
    assert_refused(
        &run(folder.path(), &["run", "--", "no-such-command"]),
        127,
        "was not found",
    );
    assert_refused(
        &run(folder.path(), &["run", "--", "/no/such/command"]),
        127,
        "was not found",
    );
    let text = folder.path().join("text");
    let lost = folder.path().join("lost");
    for (file, content, mode) in [
        (&text, "no program\n", 0o644),
        (&lost, "#!/no/such/shell\n", 0o755),
    ] {
        std::fs::write(file, content).unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    for (file, why) in [
        (folder.path(), "is a folder and no program"),
        (&text, "is not executable; check its permissions"),
        (&lost, "asks to be run by /no/such/shell"),
    ] {
        let file = file.to_str().unwrap();
        let refused = run(folder.path(), &["run", "--", file]);
        assert_refused(&refused, 126, "cannot be started");
        // In the doctor's words.
        let doctor = run(folder.path(), &["doctor", file]);
        let both = stdout(&doctor) + &stderr(&doctor);
        assert!(stderr(&refused).contains(why), "{}", stderr(&refused));
        assert!(both.replace("\n", " ").contains(why), "{both}");
    }
    let without = memguard(folder.path())
        .env("MEMGUARD_LIBRARY", "/no/such.so")
        .args(["run", "--", "true"])
        .output();
    // Beside the binary of a release build there is one.
    if !artifacts::target().join("debug/libmemguard.so").exists() {
        assert_refused(&without.unwrap(), 125, "MEMGUARD_LIBRARY");
    }
}

#[test]
fn input_output_and_arguments_pass_untouched() {
    let folder = tempdir().unwrap();
    let mut child = memguard(folder.path())
        .args([
            "run",
            "--no-report",
            "--",
            "sh",
            "-c",
            "cat; printf '%s|' \"$@\"; echo err >&2",
            "sh",
            "a b",
            "--mode",
            "",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"in\0put\n").unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(stdout(&done), "in\0put\na b|--mode||");
    assert_eq!(stderr(&done), "err\n");
}

#[test]
fn the_program_finds_the_signals_that_memguard_was_given() {
    let folder = tempdir().unwrap();
    let masks = |wrapped: bool| {
        let own = env!("CARGO_BIN_EXE_memguard");
        let wrapper = if wrapped {
            format!("{own} run --no-report -- ")
        } else {
            String::new()
        };
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!(
            "trap '' INT PIPE USR2; exec {wrapper}grep -E '^Sig(Blk|Ign):' /proc/self/status"
        ));
        shell
            .env("MEMGUARD_DIR", folder.path())
            .env("MEMGUARD_LIBRARY", artifacts::library());
        stdout(&shell.output().unwrap())
    };
    let bare = masks(false);
    assert!(bare.contains("SigIgn"));
    assert_eq!(masks(true), bare);
}

/// Starts a wrapped shell that says which signals it got.
fn wrapped_shell(folder: &std::path::Path, script: &str) -> (std::process::Child, Pid) {
    let mut command = memguard(folder);
    command
        .args(["run", "--no-report", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        // Stop signals reach no process group whose parents are all elsewhere,
        // as that of a test under CI may be.
        .process_group(0);
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.as_mut().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    let pid = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
    (child, pid)
}

#[test]
fn signals_are_passed_on_and_the_program_decides() {
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::WINCH, "WINCH"),
    ] {
        let folder = tempdir().unwrap();
        let script = format!("trap 'exit 33' {name}; echo $$; while :; do sleep 0.05; done");
        let (mut child, _) = wrapped_shell(folder.path(), &script);
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(33), "{name}");
    }
}

#[test]
fn no_signal_leaves_the_program_behind() {
    let real_time = libc::SIGRTMIN() + 3;
    let all = [
        libc::SIGALRM,
        libc::SIGIO,
        libc::SIGPWR,
        libc::SIGXCPU,
        libc::SIGXFSZ,
        libc::SIGVTALRM,
        libc::SIGPROF,
        libc::SIGPIPE,
        libc::SIGABRT,
        libc::SIGSTKFLT,
        real_time,
    ];
    for signal in all {
        let folder = tempdir().unwrap();
        let (mut child, _) = wrapped_shell(folder.path(), "echo $$; exec sleep 60");
        let wrapper = child.id().to_string();
        let sent = Command::new("kill")
            .args([format!("-{signal}"), wrapper])
            .status();
        assert!(sent.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(128 + signal));
    }
}

#[test]
fn closed_standard_descriptors_stay_closed() {
    let folder = tempdir().unwrap();
    let open = |wrapped: bool, closed: &str| {
        let wrapper = format!("{} run --no-report -- ", env!("CARGO_BIN_EXE_memguard"));
        let wrapper = if wrapped { wrapper } else { String::new() };
        let mut shell = Command::new("sh");
        let list = "sh -c 'cd /proc/$$/fd && echo [0-2] >&3'";
        shell
            .arg("-c")
            .arg(format!("exec 3>&1 {closed}; exec {wrapper}{list}"));
        shell
            .env("MEMGUARD_DIR", folder.path())
            .env("MEMGUARD_LIBRARY", artifacts::library());
        stdout(&shell.output().unwrap())
    };
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let bare = open(false, closed);
        assert!(!bare.is_empty());
        assert_eq!(open(true, closed), bare, "{closed}");
    }
}

#[test]
fn a_signal_that_ends_the_program_ends_in_its_code() {
    let folder = tempdir().unwrap();
    let (mut child, _) = wrapped_shell(folder.path(), "echo $$; exec sleep 60");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(
        (status.code(), status.signal()),
        (Some(128 + libc::SIGTERM), None)
    );
}

fn state_of(pid: Pid) -> String {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    status
        .lines()
        .find_map(|line| line.strip_prefix("State:\t"))
        .unwrap()[..1]
        .to_owned()
}

fn wait_for_state(pid: Pid, wanted: &str) {
    for _ in 0..2000 {
        if state_of(pid) == wanted {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("{pid:?} is {} and not {wanted}", state_of(pid));
}

#[test]
fn stopping_and_going_on_reach_both() {
    let folder = tempdir().unwrap();
    let (mut child, program) = wrapped_shell(folder.path(), "echo $$; exec sleep 60");
    let wrapper = Pid::from_child(&child);
    kill_process(wrapper, Signal::TSTP).unwrap();
    wait_for_state(program, "T");
    wait_for_state(wrapper, "T");
    kill_process(wrapper, Signal::CONT).unwrap();
    wait_for_state(program, "S");
    wait_for_state(wrapper, "S");
    kill_process(wrapper, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + libc::SIGTERM));
}

#[test]
fn the_end_says_what_was_still_held_and_where_from() {
    let folder = tempdir().unwrap();
    let program = forgets().to_str().unwrap();
    let done = run(folder.path(), &["run", "--", program, "files", "12"]);
    assert_eq!(code(&done), 0);
    let said = stderr(&done);
    assert!(
        said.contains("open_log") && said.contains("12  files"),
        "{said}"
    );
    assert!(
        stdout(&done).starts_with("READY"),
        "standard output is the program's"
    );
    // Nothing is left behind, unless that is asked for.
    assert_eq!(
        json(folder.path(), &["list", "--format", "json"])["processes"]
            .as_array()
            .map(|rows| own(rows, program)),
        Some(0)
    );
    run(
        folder.path(),
        &["run", "--keep", "--no-report", "--", program, "files", "12"],
    );
    assert_eq!(
        json(folder.path(), &["list", "--format", "json"])["processes"]
            .as_array()
            .map(|rows| own(rows, program)),
        Some(1)
    );
}

/// Ended processes of a program in a list.
fn own(rows: &[serde_json::Value], program: &str) -> usize {
    rows.iter()
        .filter(|row| row["alive"] == false && row["cmdline"][0] == program)
        .count()
}

#[test]
fn children_with_findings_are_told_too() {
    let folder = tempdir().unwrap();
    let program = forgets().to_str().unwrap();
    let report = folder.path().join("report.json");
    let script = format!("{program} files 5 </dev/null >/dev/null; true");
    let args = [
        "run",
        "--format",
        "json",
        "-o",
        report.to_str().unwrap(),
        "--",
        "sh",
        "-c",
        &script,
    ];
    assert_eq!(code(&run(folder.path(), &args)), 0);
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(
        (&report["schema"], &report["process"]["cmdline"][0]),
        (&"memguard.report/1".into(), &"sh".into())
    );
    let children = report["children"].as_array().unwrap();
    assert_eq!(children.len(), 1, "{children:?}");
    let files = children[0]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["kind"] == "files")
        .unwrap();
    assert_eq!(files["count"], 5);
    assert_eq!(files["stack"][0]["function"], "open_log", "{files}");
}

#[test]
fn a_record_in_memory_only_is_said_to_be_so() {
    let folder = tempdir().unwrap();
    let nowhere = folder.path().join("no/such");
    // Else the state folder would be made below it.
    let done = memguard(&nowhere)
        .env("MEMGUARD_STATE", folder.path().join("state"))
        .args(["run", "--", "true"])
        .output()
        .expect("memguard starts");
    assert_eq!(code(&done), 0);
    let said = stderr(&done);
    assert!(
        said.contains("left no record. There is no ") && said.contains("set MEMGUARD_DIR"),
        "{said}"
    );
}

#[test]
fn a_program_that_bears_nothing_before_it_is_not_begun() {
    let folder = tempdir().unwrap();
    let source = folder.path().join("sanitized.c");
    std::fs::write(&source, "int main(void) { return 4; }").unwrap();
    let program = folder.path().join("sanitized");
    let built = Command::new("gcc")
        .arg("-fsanitize=address")
        .arg("-o")
        .args([&program, &source])
        .output()
        .unwrap();
    if !built.status.success() {
        memguard_tests::skip::note("run", "gcc has no AddressSanitizer");
        return;
    }
    let program = program.to_str().unwrap();
    let refused = run(folder.path(), &["run", "--", program]);
    assert_refused(&refused, 126, "AddressSanitizer");
    let doctor = stdout(&run(folder.path(), &["doctor", program]));
    assert!(doctor.contains("cannot observe"), "{doctor}");
    // The way out that it names.
    let said = stderr(&refused);
    let words = said.split("memguard run -- ").nth(1).unwrap().trim_end();
    let words = words.strip_suffix('.').unwrap().split(' ');
    let args: Vec<&str> = ["run", "--no-report", "--"]
        .into_iter()
        .chain(words)
        .collect();
    assert_eq!(code(&run(folder.path(), &args)), 4);
}

#[test]
fn fail_on_counts_only_when_the_program_succeeds() {
    let folder = tempdir().unwrap();
    let program = forgets().to_str().unwrap();
    let held = |extra: &str| {
        // The last look is what proves a socket leak after the end; here the
        // look is taken by asking for a report.
        let mut command = memguard(folder.path());
        command.args([
            "run",
            "--min-age",
            "0s",
            "--fail-on",
            "leak",
            "--",
            program,
            "sockets",
            "5",
            "idle",
            extra,
        ]);
        command.stderr(Stdio::null());
        let mut held = Held::start(command);
        let report = json(
            folder.path(),
            &[
                "report",
                "--format",
                "json",
                "--min-age",
                "0s",
                &held.word(),
            ],
        );
        assert_eq!(
            report["findings"][0]["verdict"], "leak",
            "{}",
            report["findings"][0]
        );
        held.go_on();
        held.finish().code()
    };
    assert_eq!(held("end"), Some(1));
    assert_eq!(held("abort"), Some(128 + libc::SIGABRT));
}

#[test]
fn a_library_path_with_spaces_and_another_preload_both_work() {
    let folder = tempdir().unwrap();
    let spaced = folder.path().join("with space:colon");
    std::fs::create_dir(&spaced).unwrap();
    let library = spaced.join("libmemguard.so");
    std::fs::copy(artifacts::library(), &library).unwrap();
    let program = forgets().to_str().unwrap();
    let mut command = memguard(folder.path());
    command
        .env("MEMGUARD_LIBRARY", &library)
        .env("LD_PRELOAD", "libm.so.6");
    let done = command
        .args(["run", "--", program, "files", "3"])
        .output()
        .unwrap();
    let said = stderr(&done);
    assert!(
        said.contains("open_log") && !said.contains("cannot be preloaded"),
        "{said}"
    );
    let shown = memguard(folder.path())
        .env("LD_PRELOAD", "libm.so.6")
        .args(["run", "--no-report", "--", "sh", "-c", "echo $LD_PRELOAD"])
        .output()
        .unwrap();
    assert_eq!(
        stdout(&shown).trim_end(),
        format!("{}:libm.so.6", artifacts::library().display())
    );
}

#[test]
fn a_program_without_a_record_is_sent_to_the_doctor() {
    let folder = tempdir().unwrap();
    let source = folder.path().join("static.c");
    std::fs::write(&source, "int main(void) { return 4; }").unwrap();
    let program = folder.path().join("static");
    let built = Command::new("gcc")
        .arg("-static")
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .status()
        .unwrap();
    assert!(built.success());
    let done = run(folder.path(), &["run", "--", program.to_str().unwrap()]);
    assert_eq!(code(&done), 4);
    assert!(
        stderr(&done).contains("left no record; `memguard doctor "),
        "{}",
        stderr(&done)
    );
}

#[test]
fn a_program_that_another_libc_loads_is_not_begun() {
    let folder = tempdir().unwrap();
    let source = folder.path().join("small.c");
    std::fs::write(&source, "int main(void) { return 4; }").unwrap();
    let program = folder.path().join("small");
    let built = Command::new("musl-gcc")
        .arg("-o")
        .args([&program, &source])
        .output();
    if !built.is_ok_and(|built| built.status.success()) {
        memguard_tests::skip::note("run", "there is no musl-gcc");
        return;
    }
    let program = program.to_str().unwrap();
    assert_refused(&run(folder.path(), &["run", "--", program]), 126, "musl");
}

#[test]
fn a_report_that_could_not_be_written_is_known_beforehand() {
    let folder = tempdir().unwrap();
    let trace = folder.path().join("trace");
    let touch = ["--", "touch", trace.to_str().unwrap()];
    let nowhere = folder.path().join("no/report");
    for file in [nowhere.as_path(), folder.path()] {
        let mut args = vec!["run", "-o", file.to_str().unwrap()];
        args.extend(touch);
        assert_refused(&run(folder.path(), &args), 125, "was not started");
        assert!(!trace.exists(), "{file:?}");
    }
}

#[test]
fn a_library_that_is_switched_off_is_said_to_be() {
    let folder = tempdir().unwrap();
    let off = |args: &[&str]| {
        memguard(folder.path())
            .env("MEMGUARD_DISABLE", "1")
            .args(args)
            .output()
            .unwrap()
    };
    let said = stderr(&off(&["run", "--", "true"]));
    assert!(said.contains("MEMGUARD_DISABLE=1 is set"), "{said}");
    let said = stdout(&off(&["doctor", "true"]));
    assert!(
        said.contains("cannot observe") && said.contains("MEMGUARD_DISABLE=1 is set"),
        "{said}"
    );
}

/// What outlives a silent run then removes its record at its own end.
#[test]
fn only_a_run_with_something_to_say_has_records_kept() {
    let folder = tempdir().unwrap();
    let script = "echo $MEMGUARD_KEEP";
    let kept = |more: &[&str]| {
        let mut args = vec!["run"];
        args.extend(more);
        args.extend(["--", "sh", "-c", script]);
        stdout(&run(folder.path(), &args))
    };
    assert_eq!(kept(&["--no-report"]), "\n");
    assert_eq!(kept(&["--no-report", "--keep"]), "always\n");
    assert_eq!(kept(&[]), "always\n");
}
