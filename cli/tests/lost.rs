//! What a program has lost is closed, and nothing that it may still use: what
//! is open is counted in /proc, and asked of the program itself.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use memguard_tests::{artifacts, skip};
use serde_json::Value;
use support::{Held, code, is_made_by, json, loses, memguard, report, run, stderr};
use tempfile::{TempDir, tempdir};

/// The fix of a process that closes what is lost, whatever its age.
fn fix_command(folder: &Path, word: &str, args: &[&str]) -> Command {
    let mut command = memguard(folder);
    let usual = "fix --format json --min-age 0s --yes --close-lost";
    command.args(usual.split(' ')).arg(word).args(args);
    command
}

/// A program that has lost something.
struct Loser {
    folder: TempDir,
    held: Held,
}

impl Loser {
    fn start(what: &str, count: usize, how: &[&str]) -> Self {
        let folder = tempdir().unwrap();
        let files = folder.path().join("files");
        std::fs::create_dir(&files).unwrap();
        let count = count.to_string();
        let mut args = vec![what, &count, files.to_str().unwrap()];
        args.extend(how);
        let held = Held::watched(folder.path(), loses(), &args);
        Self { folder, held }
    }

    fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Open descriptors whose link begins so.
    fn open(&self, prefix: &str) -> usize {
        open(self.held.pid, prefix)
    }

    fn open_files(&self) -> usize {
        self.open(self.dir().join("files").to_str().unwrap())
    }

    fn blame(&self, function: &str) -> String {
        blame(self.dir(), &self.held.word(), function)
    }

    fn command(&self, args: &[&str]) -> Command {
        fix_command(self.dir(), &self.held.word(), args)
    }

    /// The outcome as JSON, with the exit code.
    fn fix(&self, args: &[&str]) -> (i32, Value) {
        let done = self.command(args).output().unwrap();
        let report = serde_json::from_slice(&done.stdout);
        let report = report.unwrap_or_else(|error| panic!("{error}: {}", stderr(&done)));
        (code(&done), report)
    }

    #[track_caller]
    fn assert_well(&mut self) {
        assert_eq!(self.held.ask("c"), "CHECK all well");
    }
}

fn open(pid: i32, prefix: &str) -> usize {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let links = links.into_iter().flatten().flatten();
    let names = links.filter_map(|link| std::fs::read_link(link.path()).ok());
    names
        .filter(|name| name.to_str().is_some_and(|name| name.starts_with(prefix)))
        .count()
}

/// Somebody says that what this function makes leaks.
/// It may have several callers; the id of the worst of those findings.
fn blame(dir: &Path, word: &str, function: &str) -> String {
    let found = findings(dir, word, function);
    let ids = found.iter().map(|one| one["id"].as_str().unwrap());
    for id in ids {
        assert_eq!(code(&run(dir, &["label", "leak", id])), 0);
    }
    found[0]["id"].as_str().unwrap().to_owned()
}

/// What the report says that a fix would do about that.
fn told(dir: &Path, word: &str, function: &str) -> String {
    let found = finding(dir, word, function);
    assert_eq!(found["fixable"], true, "{found}");
    found["fix"].as_str().unwrap().to_owned()
}

/// The finding on what this function makes.
fn finding(dir: &Path, word: &str, function: &str) -> Value {
    findings(dir, word, function).remove(0)
}

/// One for each of its callers, at least one.
fn findings(dir: &Path, word: &str, function: &str) -> Vec<Value> {
    let report = report(dir, word);
    let of = |finding: &&Value| is_made_by(finding, function);
    let all = report["findings"].as_array().unwrap().iter();
    let found: Vec<Value> = all.filter(of).cloned().collect();
    assert!(!found.is_empty(), "{report}");
    found
}

fn items(report: &Value) -> &[Value] {
    report["items"].as_array().unwrap()
}

fn ended(report: &Value, outcome: &str) -> usize {
    items(report)
        .iter()
        .filter(|item| item["outcome"] == outcome)
        .count()
}

/// Every item was refused, and that gate is shut.
#[track_caller]
fn assert_gate(report: &Value, gate: &str) {
    assert!(!items(report).is_empty(), "{report}");
    for item in items(report) {
        assert!(
            is_shut(item, gate) && item["outcome"] == "refused",
            "{item}"
        );
    }
}

fn is_shut(item: &Value, gate: &str) -> bool {
    let gates = item["gates"].as_array().unwrap();
    gates
        .iter()
        .any(|one| one["name"] == gate && one["open"] == false)
}

#[track_caller]
fn wait_until(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it never happened"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn nothing_lost_is_closed_unless_that_is_asked_for() {
    let loser = Loser::start("files", 100, &[]);
    loser.blame("open_one");
    let before = loser.open_files();
    let word = loser.held.word();
    let args = ["fix", "--format", "json", "--min-age", "0s", "--yes", &word];
    let done = run(loser.dir(), &args);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let items = report["items"].as_array().unwrap();
    let asked = |item: &Value| {
        let gates = item["gates"].as_array().unwrap();
        gates
            .iter()
            .any(|gate| gate["name"] == "asked" && gate["open"] == false)
    };
    assert!(items.len() >= 100 && items.iter().all(asked), "{report}");
    assert_eq!(loser.open_files(), before);
}

#[test]
fn of_a_thousand_lost_files_most_are_closed_and_of_a_hundred_held_ones_none() {
    let mut loser = Loser::start("files", 1000, &[]);
    loser.blame("open_one");
    assert_eq!(loser.open_files(), 1100);
    let (exit, report) = loser.fix(&["--rate", "unlimited"]);
    assert_eq!(exit, 0, "{report}");
    let closed = ended(&report, "closed-lost");
    assert!(closed >= 500, "{closed} of 1000: {}", report["search"]);
    assert_eq!(
        closed + ended(&report, "refused"),
        1100,
        "{:?}",
        items(&report)[0]
    );
    assert_eq!(loser.open_files(), 1100 - closed, "as the kernel counts");
    loser.assert_well();
    let stopped = report["search"]["longest_stop_ms"].as_f64().unwrap();
    println!(
        "closed {closed}, stopped {stopped} ms: {}",
        report["search"]
    );
    // Whatever else comes to those numbers is not touched.
    loser.held.ask("m");
    let (_, again) = loser.fix(&["--rate", "unlimited", "--max", "50"]);
    assert!(ended(&again, "closed-lost") <= 50);
    loser.assert_well();
    loser.held.kill();
}

#[test]
fn pairs_go_only_when_both_ends_are_lost() {
    let loser = Loser::start("kinds", 20, &[]);
    let before = [
        loser.open("pipe:"),
        loser.open("socket:"),
        loser.open("anon_inode:"),
    ];
    for (function, fix) in [
        ("pair", "close-lost"),
        ("unbound", "close-lost"),
        ("ticks", "disarm"),
    ] {
        loser.blame(function);
        assert_eq!(told(loser.dir(), &loser.held.word(), function), fix);
    }
    let (exit, report) = loser.fix(&["--rate", "unlimited"]);
    assert_eq!(exit, 0, "{report}");
    let after = [
        loser.open("pipe:"),
        loser.open("socket:"),
        loser.open("anon_inode:"),
    ];
    let gone = before.iter().sum::<usize>() - after.iter().sum::<usize>();
    assert_eq!(gone, ended(&report, "closed-lost"), "{report}");
    // Half of each sort, of which some look like numbers that are written.
    for (before, after) in before.iter().zip(after) {
        assert!(after < *before, "{before} -> {after}: {report}");
    }
    let kept = items(&report)
        .iter()
        .filter(|item| is_shut(item, "other end"));
    assert!(kept.count() >= 20, "{report}");
    assert!(after[0] >= 40 && after[1] >= 40, "{after:?}");
    loser.held.kill();
}

#[test]
fn locks_and_epolls_keep_what_they_need() {
    let loser = Loser::start("needed", 10, &[]);
    for (function, gate) in [("open_one", "lock"), ("unbound", "epoll")] {
        let id = loser.blame(function);
        let (exit, report) = loser.fix(&[&id]);
        assert_eq!((exit, items(&report).len()), (5, 10), "{report}");
        assert_gate(&report, gate);
    }
    assert_eq!((loser.open_files(), loser.open("socket:")), (10, 10));
    loser.held.kill();
}

#[test]
fn a_socket_that_nobody_ends_is_closed_when_it_is_lost() {
    let loser = Loser::start("sockets", 12, &[]);
    loser.blame("sockets");
    let before = loser.open("socket:");
    let (exit, report) = loser.fix(&["--kind", "sockets"]);
    assert_eq!(exit, 0, "{report}");
    let closed = ended(&report, "closed-lost");
    assert!(closed >= 6, "{report}");
    assert_eq!(loser.open("socket:"), before - closed);
    loser.held.kill();
}

#[test]
fn a_program_that_stands_still_is_not_waited_for_and_nothing_happens_later() {
    let mut loser = Loser::start("files", 20, &["still"]);
    loser.blame("open_one");
    let (exit, report) = loser.fix(&[]);
    let pending = ended(&report, "pending");
    assert!(exit == 0 && pending >= 5, "{report}");
    let before = loser.open_files();
    assert_eq!(before, 22);
    // It moves: what was asked then is not done now.
    loser.held.ask("c");
    loser.held.ask("c");
    assert_eq!(loser.open_files(), before);
    loser.held.kill();
}

#[test]
fn a_memguard_that_dies_half_way_leaves_the_rest_to_the_next() {
    let mut loser = Loser::start("files", 1000, &[]);
    loser.blame("open_one");
    let mut fixing = loser.command(&["--rate", "100"]);
    let mut fixing = fixing.stdout(Stdio::null()).spawn().unwrap();
    wait_until(|| loser.open_files() < 1060);
    fixing.kill().unwrap();
    fixing.wait().unwrap();
    let left = loser.open_files();
    // What it closed by command lived no life, so the rest is not young beside it.
    let found = finding(loser.dir(), &loser.held.word(), "open_one");
    assert!(found["lifetimes"].is_null(), "{found}");
    let (exit, report) = loser.fix(&["--rate", "unlimited"]);
    let closed = ended(&report, "closed-lost");
    assert!(exit == 0 && closed > 0, "{report}");
    assert!(loser.open_files() <= left - closed);
    loser.assert_well();
    loser.held.kill();
}

#[test]
fn two_memguards_at_once_close_each_once() {
    let mut loser = Loser::start("files", 1000, &[]);
    loser.blame("open_one");
    let both = std::thread::scope(|scope| {
        let one = scope.spawn(|| loser.fix(&["--rate", "unlimited"]));
        let other = scope.spawn(|| loser.fix(&["--rate", "unlimited"]));
        [one.join().unwrap().1, other.join().unwrap().1]
    });
    let closed: usize = both.iter().map(|report| ended(report, "closed-lost")).sum();
    assert!(closed >= 500, "{closed}");
    assert_eq!(loser.open_files(), 1100 - closed, "none is counted twice");
    loser.assert_well();
    loser.held.kill();
}

/// Begins a slow fix, has the program do something once some are closed, and
/// gives the report of the end.
fn meanwhile(loser: &mut Loser, act: impl FnOnce(&mut Loser)) -> Value {
    loser.blame("open_one");
    let mut fixing = loser.command(&["--rate", "100"]);
    let fixing = fixing.stdout(Stdio::piped()).spawn().unwrap();
    wait_until(|| loser.open_files() < 1060);
    act(loser);
    let done = fixing.wait_with_output().unwrap();
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_program_that_forks_meanwhile_loses_nothing_it_holds() {
    let mut loser = Loser::start("files", 1000, &[]);
    let report = meanwhile(&mut loser, |loser| {
        loser.held.ask("f");
    });
    assert!(ended(&report, "closed-lost") >= 40, "{report}");
    loser.assert_well();
    loser.held.kill();
}

#[test]
fn a_program_that_starts_another_meanwhile_keeps_what_that_inherits() {
    let mut loser = Loser::start("files", 1000, &[]);
    let mut inherited = 0;
    let report = meanwhile(&mut loser, |loser| {
        loser.held.ask("x");
        inherited = loser.open_files();
    });
    // The new image never gave the command: what is open now stays open.
    assert_eq!(loser.open_files(), inherited, "{report}");
    loser.held.kill();
}

#[test]
fn a_program_that_ends_meanwhile_is_said_to_be_gone() {
    let loser = Loser::start("files", 1000, &[]);
    loser.blame("open_one");
    let mut fixing = loser.command(&["--rate", "100"]);
    let fixing = fixing.stdout(Stdio::piped()).spawn().unwrap();
    wait_until(|| loser.open_files() < 1060);
    loser.held.kill();
    let done = fixing.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(
        report["stopped"].as_str().unwrap().contains("ended"),
        "{report}"
    );
    assert_eq!(code(&done), 5);
}

#[test]
fn a_shell_keeps_what_its_script_may_name_later() {
    if !skip::file("a_shell_keeps_what_its_script_may_name_later", "/bin/bash") {
        return;
    }
    let folder = tempdir().unwrap();
    let file = folder.path().join("kept");
    let script = "exec 913>\"$1\"; echo one >&913; echo READY $$; \
                  while read line; do : </dev/null; echo two >&913; echo READY $$; done";
    let mut command = Command::new("/bin/bash");
    command.args(["-c", script, "bash", file.to_str().unwrap()]);
    command.env("LD_PRELOAD", artifacts::library());
    command.env("MEMGUARD_DIR", folder.path());
    let mut held = Held::start(command);
    let word = held.word();
    let report = report(folder.path(), &word);
    let path = file.to_str().unwrap();
    let holds = |finding: &&Value| {
        let resources = finding["resources"].as_array().unwrap();
        resources
            .iter()
            .any(|one| one["fd"] == 913 && one["path"] == path)
    };
    let findings = report["findings"].as_array().unwrap();
    let found = findings
        .iter()
        .find(holds)
        .unwrap_or_else(|| panic!("{report}"));
    let id = found["id"].as_str().unwrap();
    assert_eq!(code(&run(folder.path(), &["label", "leak", id])), 0);
    let done = fix_command(folder.path(), &word, &[id]).output().unwrap();
    let report: Value = serde_json::from_slice(&done.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(&done)));
    assert_gate(&report, "scripts");
    held.go_on();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one\ntwo\n");
    held.kill();
}

#[test]
fn posix_timers_are_stopped_by_their_program_and_set_back() {
    let loser = Loser::start("timers", 20, &[]);
    let id = loser.blame("start_timer");
    assert_eq!(
        told(loser.dir(), &loser.held.word(), "start_timer"),
        "disarm"
    );
    let (exit, report) = loser.fix(&[&id, "--rate", "unlimited"]);
    assert_eq!((exit, ended(&report, "disarmed")), (0, 20), "{report}");
    assert!(
        items(&report)
            .iter()
            .all(|item| item["timer"].is_number() && item["fd"].is_null())
    );
    let log = support::state_folder(loser.dir()).join("actions.jsonl");
    let log = std::fs::read_to_string(log).unwrap();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let kept: Vec<Value> = lines.filter(|line| line["timer"].is_object()).collect();
    assert_eq!(kept.len(), 20, "each once, before it is stopped");
    for line in &kept {
        assert!(line["outcome"].is_null(), "{line}");
        assert_eq!(line["timer"]["interval_ns"], 3_600_000_000_000_u64);
    }
    // Stopped ones are no case for a second fix, and each is set back once.
    let (exit, again) = loser.fix(&[&id]);
    assert_eq!(exit, 5, "{again}");
    assert_gate(&again, "armed");
    let back = |what: &str| json(loser.dir(), &["undo", "--format", "json", what]);
    let one = back(kept[0]["id"].as_str().unwrap());
    assert_eq!(ended(&one, "restored"), 1, "{one}");
    let rest = back(&loser.held.word());
    assert_eq!(ended(&rest, "restored"), 19, "{rest}");
    // Set, and with the period that they had: they can be stopped again.
    let (exit, report) = loser.fix(&[&id, "--rate", "unlimited"]);
    assert_eq!((exit, ended(&report, "disarmed")), (0, 20), "{report}");
    let log = support::state_folder(loser.dir()).join("actions.jsonl");
    let log = std::fs::read_to_string(log).unwrap();
    let last: Value = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .rfind(|line| line["timer"].is_object())
        .unwrap();
    assert_eq!(
        last["timer"]["interval_ns"], 3_600_000_000_000_u64,
        "as it was"
    );
    loser.held.kill();
}

#[test]
fn of_timers_that_a_stop_left_alone_the_log_says_nothing() {
    let loser = Loser::start("timers", 20, &[]);
    let id = loser.blame("start_timer");
    let mut fixing = loser.command(&[&id, "--rate", "2"]);
    let fixing = fixing.stdout(Stdio::piped()).spawn().unwrap();
    // The canary, a tenth, and the first of the rest.
    wait_until(|| actions(loser.dir()).iter().filter(is_first_line).count() >= 4);
    let stop = ["-STOP", &loser.held.word()];
    assert!(Command::new("kill").args(stop).status().unwrap().success());
    let done = fixing.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(code(&done), 5, "{report}");
    let untouched = |item: &&Value| item["outcome"].is_null();
    assert!(items(&report).iter().any(|item| untouched(&item)));
    let mut begun = Vec::new();
    for line in actions(loser.dir()) {
        let id = line["id"].as_str().unwrap().to_owned();
        if is_first_line(&&line) {
            begun.push(id);
            continue;
        }
        let at: usize = id.rsplit_once('.').unwrap().1.parse().unwrap();
        let item = &items(&report)[at];
        assert!(begun.contains(&id), "an end without a beginning: {line}");
        assert_eq!(line["outcome"], item["outcome"], "{item}");
        assert!(!untouched(&item), "{item}");
    }
    loser.held.kill();
}

/// Whether it was written before something was done.
fn is_first_line(line: &&Value) -> bool {
    line["outcome"].is_null()
}

/// The lines of the log so far.
fn actions(dir: &Path) -> Vec<Value> {
    let log = support::state_folder(dir).join("actions.jsonl");
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines = log.lines();
    // The last one may be on its way.
    lines
        .map_while(|line| serde_json::from_str(line).ok())
        .collect()
}
