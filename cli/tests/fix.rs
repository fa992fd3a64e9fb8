//! `memguard fix` on running programs: what it does is counted in /proc.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use memguard_tests::session::free_port;
use serde_json::Value;
use support::{
    Held, assert_refused, code, is_made_by, json, memguard, report, run, serves, stderr, stdout,
};
use tempfile::{TempDir, tempdir};

/// Set also when a panic comes by: a scope waits for its threads.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A server that forgot something, with the library in it.
struct Server {
    folder: TempDir,
    held: Held,
    port: u16,
}

impl Server {
    fn start(what: &str, count: usize) -> Self {
        let folder = tempdir().unwrap();
        let port = free_port();
        let args = [what, &count.to_string(), &port.to_string()];
        let held = Held::watched(folder.path(), serves(), &args);
        Self { folder, held, port }
    }

    fn dir(&self) -> &Path {
        self.folder.path()
    }

    fn open(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.held.pid)).map_or(0, Iterator::count)
    }

    /// The finding that its function is the creator of.
    fn finding(&self, function: &str) -> String {
        let found = self.report_of(function);
        found["id"].as_str().unwrap().to_owned()
    }

    /// The same as a whole.
    fn report_of(&self, function: &str) -> Value {
        let report = report(self.dir(), &self.held.word());
        let findings = report["findings"].as_array().unwrap();
        let of = |finding: &&Value| is_made_by(finding, function);
        let found = findings.iter().find(of);
        found.unwrap_or_else(|| panic!("{report}")).clone()
    }

    /// Somebody says that it leaks.
    fn blame(&self, function: &str) -> String {
        let id = self.finding(function);
        assert_eq!(code(&run(self.dir(), &["label", "leak", &id])), 0);
        id
    }

    /// The outcome as JSON, with the exit code.
    fn fix(&self, args: &[&str]) -> (i32, Value) {
        let word = self.held.word();
        let mut all = vec!["fix", "--format", "json", "--min-age", "0s", &word];
        all.extend(args);
        let done = run(self.dir(), &all);
        let report = serde_json::from_slice(&done.stdout);
        (
            code(&done),
            report.unwrap_or_else(|error| panic!("{error}: {}", stderr(&done))),
        )
    }

    fn assert_serves(&self) {
        let mut client = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        client.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ping");
    }

    /// Does something while clients come and go: then it comes by hooks.
    fn while_it_serves<T>(&self, work: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    self.assert_serves();
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let _over = SetAtEnd(&over);
            work()
        })
    }

    /// Long enough that nothing was used since the first of two looks, by
    /// stamps of whole seconds.
    fn stand_unused(&self) {
        self.while_it_serves(|| std::thread::sleep(Duration::from_secs(4)));
    }

    /// What it answers, so many bytes.
    fn told(&self, command: &[u8], bytes: usize) -> String {
        let mut client = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        client.write_all(command).unwrap();
        let mut answer = vec![0; bytes];
        client.read_exact(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// No connection to it waits in CLOSE_WAIT.
    #[track_caller]
    fn assert_none_half_closed(&self) {
        let tcp = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let remote = format!("0100007F:{:04X} 08 ", self.port);
        assert!(!tcp.contains(&remote), "half-closed ones are left:\n{tcp}");
    }

    /// Waits for a count of descriptors.
    #[track_caller]
    fn wait_for_open(&self, wanted: usize) {
        let begun = Instant::now();
        while self.open() != wanted && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.open(), wanted);
    }
}

fn outcomes<'a>(report: &'a Value, outcome: &str) -> Vec<&'a Value> {
    let items = report["items"].as_array().unwrap();
    items
        .iter()
        .filter(|item| item["outcome"] == outcome)
        .collect()
}

/// The fix went well, and so many items came to that.
#[track_caller]
fn assert_fixed((exit, report): (i32, &Value), outcome: &str, count: usize) {
    let got = outcomes(report, outcome).len();
    assert_eq!((exit, got), (0, count), "{report}");
}

/// Every item was refused, and that gate is shut.
#[track_caller]
fn assert_gate(report: &Value, gate: &str) {
    let items = report["items"].as_array().unwrap();
    assert!(!items.is_empty(), "{report}");
    for item in items {
        let gates = item["gates"].as_array().unwrap();
        let shut = gates
            .iter()
            .any(|one| one["name"] == gate && one["open"] == false);
        assert!(shut && item["outcome"] == "refused", "{item}");
    }
}

#[test]
fn the_owner_closes_what_its_loop_watches_and_serves_on() {
    let server = Server::start("loop", 12);
    let before = server.open();
    let id = server.blame("connect_upstream");
    let (exit, plan) = server.fix(&["--dry-run"]);
    assert_eq!(
        (exit, plan["items"].as_array().unwrap().len()),
        (0, 12),
        "{plan}"
    );
    assert_eq!(plan["dry_run"], true);
    for item in plan["items"].as_array().unwrap() {
        let gates = item["gates"].as_array().unwrap();
        assert!(gates.iter().all(|gate| gate["open"] == true), "{item}");
        assert!(item["outcome"].is_null());
    }
    assert_eq!(server.open(), before, "a plan touches nothing");

    let (exit, some) = server.fix(&["--yes", "--max", "5"]);
    assert_eq!(exit, 0, "{some}");
    assert_eq!(outcomes(&some, "closed-by-owner").len(), 5, "{some}");
    // Each has its peer in the same program.
    server.wait_for_open(before - 10);
    server.assert_serves();

    let word = server.held.word();
    let wrong = ["fix", "--yes", &word, "sockets-0000000000000000"];
    let refused = run(server.dir(), &wrong);
    assert_refused(&refused, 2, "no finding sockets-0000000000000000");
    assert!(stderr(&refused).contains(&id), "{}", stderr(&refused));
    let held = server.finding("listen_here");
    let wrong = ["fix", "--yes", &word, &held];
    assert_refused(&run(server.dir(), &wrong), 2, "only what is a `leak`");
    // What was just fixed is no life of the program's: the rest is as old as before.
    let (exit, rest) = server.fix(&[&id, "--yes"]);
    assert_fixed((exit, &rest), "closed-by-owner", 7);
    server.wait_for_open(before - 24);
    server.assert_serves();
    server.held.kill();
}

#[test]
fn what_leaks_again_is_fixed_again_as_fast_as_the_first_time() {
    let server = Server::start("loop", 100);
    let before = server.open();
    // From the second round on they come from one and the same place.
    for round in 0..3 {
        let id = server.blame("connect_upstream");
        let (exit, all) = server.fix(&[&id, "--yes", "--rate", "unlimited"]);
        assert_fixed((exit, &all), "closed-by-owner", 100);
        server.wait_for_open(before - 200);
        let learned = json(server.dir(), &["learn", "show", "--format", "json"]);
        let sites = learned["programs"][0]["sites"].as_array();
        let site = sites.and_then(|all| all.iter().find(|site| site["id"] == *id));
        let taught = site.map_or((0, false), |site| {
            let closes = site["closes"].as_u64().unwrap();
            (closes, site["false_alarm"].as_bool().unwrap())
        });
        assert_eq!(taught, (0, false), "round {round}: {learned}");
        assert_eq!(server.told(b"again", 6), "forgot");
        server.wait_for_open(before);
        let lives = server.report_of("connect_upstream")["lifetimes"].clone();
        assert!(lives.is_null(), "round {round}: {lives}");
    }
    server.held.kill();
}

#[test]
fn as_fast_as_it_goes_all_of_a_finding_are_closed_in_three_steps() {
    let server = Server::start("loop", 300);
    let before = server.open();
    let id = server.blame("connect_upstream");
    let (exit, all) = server.fix(&[&id, "--yes", "--rate", "unlimited"]);
    assert_fixed((exit, &all), "closed-by-owner", 300);
    server.wait_for_open(before - 600);
    server.assert_serves();
    let steps = all["took"]["steps"].as_array().unwrap();
    let items: Vec<u64> = (steps.iter())
        .map(|step| step["items"].as_u64().unwrap())
        .collect();
    assert_eq!(items, [1, 29, 270]);
    let times = |name: &str| all["took"][name].as_f64().unwrap();
    assert!(times("executor_ms") > 0.0 && times("executor_ms") < times("whole_ms"));
    // Of each first what is about to be done, then what came of it.
    let log = support::state_folder(server.dir()).join("actions.jsonl");
    let mut lines: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in std::fs::read_to_string(log).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let action = line["id"].as_str().unwrap().to_owned();
        lines.entry(action).or_default().push(line);
    }
    assert_eq!(lines.len(), 300);
    for lines in lines.values() {
        let outcomes: Vec<&Value> = lines.iter().map(|line| &line["outcome"]).collect();
        assert_eq!(outcomes, [&Value::Null, &"closed-by-owner".into()]);
    }
    server.held.kill();
}

#[test]
fn what_somebody_called_fine_or_a_rule_hides_is_not_touched() {
    let server = Server::start("forgotten", 3);
    let before = server.open();
    let rules = server.dir().join("rules.toml");
    std::fs::write(
        &rules,
        "[[rule]]\nfunction = \"connect_upstream\"\nignore = true\n",
    )
    .unwrap();
    let (exit, plan) = server.fix(&["--yes", "--config", rules.to_str().unwrap()]);
    assert_eq!(
        (exit, plan["items"].as_array().unwrap().len()),
        (0, 0),
        "{plan}"
    );
    let id = server.finding("connect_upstream");
    run(server.dir(), &["label", "ok", &id]);
    let (exit, plan) = server.fix(&["--yes"]);
    assert_eq!(
        (exit, plan["items"].as_array().unwrap().len()),
        (0, 0),
        "{plan}"
    );
    assert_eq!(server.open(), before);
    server.held.kill();
}

#[test]
fn each_gate_refuses_what_it_is_there_for() {
    for (what, gate) in [
        ("shared", "owner"),
        ("blocked", "in use"),
        ("unsent", "send queue"),
    ] {
        let server = Server::start(what, 2);
        let before = server.open();
        server.blame("connect_upstream");
        let (exit, refused) = server.fix(&["--yes"]);
        assert_eq!(exit, 5, "{what}: {refused}");
        assert_gate(&refused, gate);
        assert_eq!(server.open(), before);
        server.assert_serves();
        server.held.kill();
    }
    let server = Server::start("loop", 2);
    server.blame("connect_upstream");
    let (exit, refused) = server.fix(&["--yes", "--protect-port", &server.port.to_string()]);
    assert_eq!(exit, 5);
    assert_gate(&refused, "port");
    // Without the flag for impatience they are too young.
    let young = run(
        server.dir(),
        &["fix", "--format", "json", "--yes", &server.held.word()],
    );
    assert_gate(&serde_json::from_slice(&young.stdout).unwrap(), "age");
    server.held.kill();
}

#[test]
fn a_program_that_sigpipe_would_kill_and_that_stands_still_keeps_its_connections() {
    let server = Server::start("forgotten", 3);
    let before = server.open();
    server.blame("connect_upstream");
    let (exit, report) = server.fix(&["--yes"]);
    assert_fixed((exit, &report), "pending", 3);
    assert_eq!(server.open(), before, "nothing is closed behind its back");
    server.assert_serves();
    server.held.kill();
}

#[test]
fn a_program_that_sigpipe_would_kill_is_hung_up_on_and_lives() {
    let server = Server::start("forgotten", 30);
    let before = server.open();
    server.blame("connect_upstream");
    let fix = || server.fix(&["--yes", "--rate", "unlimited"]);
    let (exit, report) = server.while_it_serves(fix);
    assert_fixed((exit, &report), "neutered", 30);
    server.wait_for_open(before);
    server.assert_none_half_closed();
    assert_eq!(server.told(b"flood", 6), "took 0");
    server.assert_serves();
    // What is left of them is no leak that anything could be done about.
    let ended = server.report_of("connect_upstream");
    assert_eq!(
        (&ended["verdict"], &ended["count"]),
        (&"held".into(), &30.into())
    );
    assert_eq!(ended["ended_by_fix"], true, "{ended}");
    let said = ended["summary"].as_str().unwrap();
    assert!(
        said.contains("ended by memguard; their numbers are still held"),
        "{said}"
    );
    assert_eq!(ended["resources"].as_array().unwrap().len(), 30);
    let (exit, again) = server.fix(&["--yes"]);
    assert_eq!(
        (exit, &again["items"]),
        (0, &Value::Array(vec![])),
        "{again}"
    );
    // What leaks on is told apart from them.
    assert_eq!(server.told(b"again", 6), "forgot");
    let report = support::report(server.dir(), &server.held.word());
    let findings = report["findings"].as_array().unwrap().iter();
    let told: Vec<(&Value, &Value)> = findings
        .filter(|one| is_made_by(one, "connect_upstream"))
        .map(|one| (&one["verdict"], &one["count"]))
        .collect();
    assert!(told.contains(&(&"held".into(), &30.into())), "{report}");
    assert!(told.len() > 1, "{report}");
    server.held.kill();
}

#[test]
fn a_program_whose_own_handler_of_sigpipe_ends_it_lives() {
    let server = Server::start("handles", 3);
    server.blame("connect_upstream");
    let fix = || server.fix(&["--yes", "--rate", "unlimited"]);
    let (exit, report) = server.while_it_serves(fix);
    assert_fixed((exit, &report), "neutered", 3);
    assert_eq!(server.told(b"flood", 6), "took 0");
    server.assert_serves();
    server.held.kill();
}

#[test]
fn a_parked_file_is_back_when_touched_and_closed_when_not() {
    let server = Server::start("files", 6);
    let before = server.open();
    server.blame("open_report");
    let (exit, plain) = server.fix(&["--yes", "--close-lost"]);
    assert_eq!(exit, 5, "{plain}");
    // The program still knows their numbers.
    assert_gate(&plain, "lost");
    server.stand_unused();
    let fix = |also: &[&str]| {
        let args = [&["--yes", "--retire", "--kind", "files"], also].concat();
        server.while_it_serves(|| server.fix(&args))
    };
    let (exit, parked) = fix(&[]);
    assert_fixed((exit, &parked), "retired", 6);
    server.wait_for_open(before + 6);
    assert_eq!(server.told(b"reads", 7), "whole 2");
    let (_, ended) = fix(&["--quarantine", "0s"]);
    assert_eq!(outcomes(&ended, "closed-retired").len(), 4, "{ended}");
    let restored = outcomes(&ended, "restored");
    assert_eq!(restored.len(), 2, "{ended}");
    for item in restored {
        assert!(
            item["detail"].as_str().unwrap().contains("false alarm"),
            "{item}"
        );
    }
    server.wait_for_open(before);
    assert_eq!(server.told(b"reads", 7), "whole 2");
    server.held.kill();
}

/// All of them wait for it together, and then no more.
#[test]
fn files_of_a_program_that_stands_still_stay_and_are_asked_about_again() {
    let server = Server::start("files", 20);
    let before = server.open();
    server.blame("open_report");
    server.stand_unused();
    let args = [
        "--yes",
        "--retire",
        "--kind",
        "files",
        "--rate",
        "unlimited",
    ];
    let (exit, report) = server.fix(&args);
    assert_fixed((exit, &report), "pending", 20);
    assert_eq!(server.open(), before);
    server.stand_unused();
    let (exit, parked) = server.while_it_serves(|| server.fix(&args));
    assert_fixed((exit, &parked), "retired", 20);
    assert_eq!(server.told(b"reads", 7), "whole 2");
    server.held.kill();
}

#[test]
fn parked_files_are_set_back() {
    let server = Server::start("files", 3);
    let before = server.open();
    server.blame("open_report");
    server.stand_unused();
    let fix = || server.fix(&["--yes", "--retire"]);
    let (exit, parked) = server.while_it_serves(fix);
    assert_fixed((exit, &parked), "retired", 3);
    let word = server.held.word();
    signal(&server, "-STOP");
    let stood = run(server.dir(), &["undo", &word]);
    assert_eq!(code(&stood), 5, "{}", stdout(&stood));
    assert_eq!(stdout(&stood).matches("it is stopped").count(), 3);
    signal(&server, "-CONT");
    let undo = || json(server.dir(), &["undo", "--format", "json", &word]);
    let undone = server.while_it_serves(undo);
    assert_eq!(undone["items"].as_array().unwrap().len(), 3, "{undone}");
    for item in undone["items"].as_array().unwrap() {
        assert_eq!(item["outcome"], "restored", "{undone}");
    }
    server.wait_for_open(before);
    assert_eq!(server.told(b"reads", 7), "whole 2");
    server.held.kill();
}

#[test]
fn where_sigpipe_is_ignored_the_connections_end_and_the_numbers_stay() {
    let server = Server::start("ignores", 3);
    let before = server.open();
    // On a busy machine three of them are not always seen to keep coming.
    server.blame("connect_upstream");
    let (exit, report) = server.fix(&["--yes"]);
    assert_fixed((exit, &report), "neutered", 3);
    assert_eq!(server.open(), before);
    server.assert_none_half_closed();
    server.assert_serves();
    server.held.kill();
}

#[test]
fn a_loop_that_ignores_the_end_is_taken_out_of_its_spin() {
    let server = Server::start("spin", 20);
    server.blame("connect_upstream");
    let before = server.open();
    let (exit, report) = server.fix(&["--yes"]);
    assert_eq!(exit, 5, "{report}");
    assert!(
        report["stopped"].as_str().unwrap().contains("CPU"),
        "{report}"
    );
    let untouched = report["items"].as_array().unwrap();
    let untouched = untouched
        .iter()
        .filter(|item| item["outcome"].is_null())
        .count();
    // The canary; a thread that gets no processor meanwhile spins unseen, until
    // the next step, which is a tenth.
    let touched = 20 - untouched;
    assert!((1..=2).contains(&touched), "{report}");
    assert_eq!(outcomes(&report, "pending").len(), touched, "{report}");
    assert_eq!(server.open(), before, "its peer noticed nothing");
    let said = format!("{touched} were taken out");
    assert!(
        report["stopped"].as_str().unwrap().contains(&said),
        "{report}"
    );
    server.assert_serves();
    server.held.kill();
}

#[test]
fn nobody_to_ask_is_wrong_usage_and_touches_nothing() {
    let server = Server::start("forgotten", 4);
    let before = server.open();
    let asked = memguard(server.dir())
        .args(["fix", "--min-age", "0s", &server.held.word()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_refused(&asked, 2, "--yes");
    assert_eq!(server.open(), before);
    server.held.kill();
}

/// A fix of 20 connections to which something happens after the canary: what
/// it says then, and the server.
fn fix_amid(happens: impl FnOnce(&Server)) -> (Value, Server) {
    let server = Server::start("loop", 20);
    let before = server.open();
    server.blame("connect_upstream");
    let word = server.held.word();
    let fixing = memguard(server.dir())
        .args(["fix", "--yes", "--min-age", "0s", "--format", "json", &word])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The canary is done.
    server.wait_for_open(before - 2);
    happens(&server);
    let done = fixing.wait_with_output().unwrap();
    assert_eq!(code(&done), 5);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    // Whether the canary's end was still seen depends on when that was.
    assert!(outcomes(&report, "closed-by-owner").len() <= 1, "{report}");
    let items = report["items"].as_array().unwrap();
    let untouched = items.iter().filter(|item| item["outcome"].is_null());
    assert_eq!(untouched.count(), 19, "{report}");
    let lines = log_lines(&server);
    let ends = lines.iter().map(|line| line["outcome"].is_null());
    assert_eq!(ends.collect::<Vec<_>>(), [true, false], "{lines:?}");
    (report, server)
}

/// Every action in the log, before and after.
fn log_lines(server: &Server) -> Vec<Value> {
    let log = support::state_folder(server.dir()).join("actions.jsonl");
    let lines = std::fs::read_to_string(log).unwrap();
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn signal(server: &Server, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &server.held.word()])
        .status();
    assert!(sent.unwrap().success());
}

#[track_caller]
fn assert_stopped(report: &Value, words: &str) {
    let said = report["stopped"].as_str().unwrap_or_default();
    assert!(said.contains(words), "no `{words}`: {report}");
}

#[test]
fn a_program_that_dies_meanwhile_is_said_to_be_gone() {
    let (report, server) = fix_amid(|server| signal(server, "-KILL"));
    assert_stopped(&report, "the process ended");
    server.held.kill();
}

#[test]
fn a_program_that_becomes_another_meanwhile_is_left_alone() {
    let (report, server) = fix_amid(|server| {
        let mut client = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        client.write_all(b"sleep").unwrap();
        let is_another = || {
            let name = std::fs::read(format!("/proc/{}/comm", server.held.pid));
            name.is_ok_and(|name| name == b"sleep\n")
        };
        let begun = Instant::now();
        while !is_another() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    assert_stopped(&report, "it became another program (exec)");
    server.held.kill();
}

#[test]
fn a_program_that_is_stopped_is_not_fixed_until_it_goes_on() {
    let (report, server) = fix_amid(|server| signal(server, "-STOP"));
    let remedy = format!(
        "it is stopped; continue it (kill -CONT {})",
        server.held.pid
    );
    assert_stopped(&report, &remedy);

    let (exit, refused) = server.fix(&["--yes"]);
    assert_eq!(exit, 5, "{refused}");
    assert_gate(&refused, "running");
    let args = ["fix", "--min-age", "0s", "--dry-run", &server.held.word()];
    let shown = stdout(&run(server.dir(), &args));
    assert_eq!(shown.matches("kill -CONT").count(), 1, "{shown}");

    signal(&server, "-CONT");
    let (exit, fixed) = server.fix(&["--yes"]);
    assert_fixed((exit, &fixed), "closed-by-owner", 19);
    server.assert_serves();
    server.held.kill();
}

#[test]
fn what_could_not_be_set_back_without_the_log_is_not_done() {
    let server = Server::start("timers", 3);
    server.blame("start_timer");
    std::thread::sleep(Duration::from_millis(300));
    let log = support::state_folder(server.dir()).join("actions.jsonl");
    std::fs::create_dir(&log).unwrap();
    let (exit, report) = server.fix(&["--yes", "--kind", "timers"]);
    assert_eq!(exit, 5, "{report}");
    assert_eq!(outcomes(&report, "not-logged").len(), 3, "{report}");
    let note = report["notes"][0].as_str().unwrap();
    let whole = note.starts_with("The log ") && note.contains("MEMGUARD_STATE");
    assert!(whole && note.contains(log.to_str().unwrap()), "{note}");
    let off = "it_value: (0, 0)it_interval: (0, 0)";
    assert!(timer_lines(server.held.pid).iter().all(|line| line != off));
    server.held.kill();
}

#[test]
fn nothing_is_done_that_the_log_does_not_keep() {
    let server = Server::start("loop", 12);
    let before = server.open();
    server.blame("connect_upstream");
    let soft = ["--pid", &server.held.word(), "--nofile=200:4000"];
    assert!(
        Command::new("prlimit")
            .args(soft)
            .status()
            .unwrap()
            .success()
    );
    std::fs::create_dir(log_of(&server)).unwrap();
    let all = ["--yes", "--raise-limit", "--kind", "sockets,caches"];
    let (exit, report) = server.fix(&all);
    assert_eq!(exit, 5, "{report}");
    assert_eq!(outcomes(&report, "not-logged").len(), 12, "{report}");
    let caches = report["caches"].as_array().unwrap();
    let given = caches.iter().filter(|way| way["outcome"] == "given-back");
    assert_eq!(given.count(), 0, "{report}");
    assert_eq!(report["limit"]["raised"], false, "{report}");
    let note = report["notes"].as_array().unwrap().last().unwrap();
    let note = note.as_str().unwrap();
    assert!(
        note.ends_with("MEMGUARD_STATE. Nothing was done."),
        "{note}"
    );
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.held.pid));
    let is_low = |line: &str| line.starts_with("Max open files") && line.contains(" 200 ");
    assert!(limits.unwrap().lines().any(is_low));
    assert_eq!(server.open(), before);
    let unseen = into_full(&server, &["--yes"]);
    assert_refused(&unseen, 2, "Nothing was done. ");
    assert!(
        !stderr(&unseen).contains("stands in"),
        "{}",
        stderr(&unseen)
    );
    server.assert_serves();
    server.held.kill();
}

#[test]
fn a_log_that_is_full_half_way_stops_the_fix_and_what_it_lacks_is_said() {
    const LIMIT: u64 = 1 << 20;
    let server = Server::start("loop", 13);
    let before = server.open();
    server.blame("connect_upstream");
    let (exit, report) = server.fix(&["--yes", "--max", "1"]);
    assert_fixed((exit, &report), "closed-by-owner", 1);
    // There is room for one beginning, give or take a digit, and for no end.
    let log = std::fs::read_to_string(log_of(&server)).unwrap();
    let room = log.find('\n').unwrap() + 100;
    let junk = LIMIT as usize - room - log.len();
    std::fs::write(log_of(&server), log + &"x".repeat(junk - 1) + "\n").unwrap();
    let word = server.held.word();
    let done = support::limited(server.dir(), LIMIT)
        .args(["fix", "--yes", "--min-age", "0s", "--format", "json", &word])
        .output()
        .unwrap();
    assert_eq!(code(&done), 5, "{}", stderr(&done));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_stopped(&report, "the log could not be written any more");
    let closed = outcomes(&report, "closed-by-owner");
    assert_eq!(
        (closed.len(), outcomes(&report, "not-logged").len()),
        (1, 11)
    );
    let note = report["notes"].as_array().unwrap().last().unwrap();
    let lacks = format!("1 closed by its owner (descriptor {})", closed[0]["fd"]);
    assert!(note.as_str().unwrap().contains(&lacks), "{note}");
    server.wait_for_open(before - 4);
    // Where there is room again, and nobody to tell, the log has all of it.
    let unseen = into_full(&server, &["--yes"]);
    assert_refused(&unseen, 2, "What was done stands in ");
    server.wait_for_open(before - 26);
    let log = std::fs::read_to_string(log_of(&server)).unwrap();
    assert_eq!(log.matches("\"outcome\":\"closed-by-owner\"").count(), 12);
    server.held.kill();
}

#[test]
fn what_is_set_back_and_not_in_the_log_is_said_to_be_missing_there() {
    const LIMIT: usize = 1 << 20;
    let server = Server::start("timers", 1);
    server.blame("start_timer");
    std::thread::sleep(Duration::from_millis(300));
    let (exit, report) = server.fix(&["--yes", "--kind", "timers"]);
    assert_fixed((exit, &report), "disarmed", 1);
    let log = std::fs::read_to_string(log_of(&server)).unwrap();
    let junk = "x".repeat(LIMIT - 10 - log.len());
    std::fs::write(log_of(&server), log + &junk + "\n").unwrap();
    let undone = support::limited(server.dir(), LIMIT as u64)
        .args(["undo", "--format", "json", &server.held.word()])
        .output()
        .unwrap();
    assert_eq!(code(&undone), 5, "{}", stderr(&undone));
    let report: Value = serde_json::from_slice(&undone.stdout).unwrap();
    let item = &report["items"][0];
    assert_eq!(item["outcome"], "restored", "{item}");
    assert!(
        item["detail"]
            .as_str()
            .unwrap()
            .contains("the log lacks that")
    );
    let off = "it_value: (0, 0)it_interval: (0, 0)";
    assert_ne!(timer_lines(server.held.pid), [off]);
    server.held.kill();
}

fn log_of(server: &Server) -> std::path::PathBuf {
    support::state_folder(server.dir()).join("actions.jsonl")
}

/// A fix whose result nobody gets.
fn into_full(server: &Server, args: &[&str]) -> std::process::Output {
    let full = std::fs::File::options().write(true).open("/dev/full");
    memguard(server.dir())
        .args(["fix", "--min-age", "0s", &server.held.word()])
        .args(args)
        .stdout(full.unwrap())
        .output()
        .unwrap()
}

#[test]
fn a_flag_that_means_nothing_alone_is_wrong_usage() {
    let folder = tempdir().unwrap();
    let pid = std::process::id().to_string();
    let alone = ["fix", &pid, "--quarantine", "1m", "--yes"];
    assert_refused(&run(folder.path(), &alone), 2, "--retire");
    let none = run(folder.path(), &["fix", &pid, "--max", "0", "--yes"]);
    assert_eq!(code(&none), 2);
    assert!(stderr(&none).contains("above 0"), "{}", stderr(&none));
}

#[test]
fn the_plan_fits_a_screen() {
    let server = Server::start("forgotten", 4);
    let shown = memguard(server.dir())
        .args(["fix", "--dry-run", "--min-age", "0s", &server.held.word()])
        .env("COLUMNS", "80")
        .output()
        .unwrap();
    let text = stdout(&shown);
    assert!(text.contains("4 of 4 objects would be touched"), "{text}");
    for line in text.lines() {
        assert!(
            line.chars().count() <= 80,
            "{} columns: {line}",
            line.chars().count()
        );
    }
    server.held.kill();
}

/// The `it_value` and `it_interval` lines of its timers.
fn timer_lines(pid: i32) -> Vec<String> {
    let infos = std::fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .unwrap()
        .flatten();
    let texts = infos.filter_map(|info| std::fs::read_to_string(info.path()).ok());
    texts
        .filter(|text| text.contains("clockid:"))
        .map(|text| {
            text.lines()
                .filter(|line| line.starts_with("it_"))
                .collect()
        })
        .collect()
}

#[test]
fn timers_are_stopped_logged_and_set_back() {
    let server = Server::start("timers", 4);
    server.blame("start_timer");
    // They have run out unread by now, or soon.
    std::thread::sleep(Duration::from_millis(300));
    let (exit, report) = server.fix(&["--yes", "--kind", "timers"]);
    assert_fixed((exit, &report), "disarmed", 4);
    let off = "it_value: (0, 0)it_interval: (0, 0)";
    assert_eq!(timer_lines(server.held.pid), [off; 4]);

    let lines = log_lines(&server);
    assert_eq!(lines.len(), 8, "one before and one after each");
    let first = &lines[0];
    assert_eq!(
        (&first["pid"], &first["outcome"]),
        (&server.held.pid.into(), &Value::Null)
    );
    assert_eq!(first["timer"]["interval_ns"], 100_000_000);
    assert!(
        first["why"]
            .as_str()
            .unwrap()
            .contains("verdict: labelled a leak"),
        "{first}"
    );

    let listed = json(server.dir(), &["undo", "--format", "json"]);
    assert_eq!(listed["items"].as_array().unwrap().len(), 4, "{listed}");
    let id = listed["items"][0]["id"].as_str().unwrap().to_owned();
    let one = json(server.dir(), &["undo", "--format", "json", &id]);
    assert_eq!(one["items"][0]["outcome"], "restored", "{one}");
    let running = |lines: Vec<String>| lines.iter().filter(|line| *line != off).count();
    assert_eq!(running(timer_lines(server.held.pid)), 1);
    let rest = json(
        server.dir(),
        &["undo", "--format", "json", &server.held.word()],
    );
    assert_eq!(rest["items"].as_array().unwrap().len(), 3, "{rest}");
    let all = timer_lines(server.held.pid);
    assert!(
        all.iter()
            .all(|line| line.ends_with("it_interval: (0, 100000000)")),
        "{all:?}"
    );
    assert_refused(&run(server.dir(), &["undo", &id]), 2, "can be set back");
    server.held.kill();
}

#[test]
fn of_two_fixes_at_once_each_counts_the_timers_that_it_stopped() {
    const COUNT: usize = 30;
    let server = Server::start("timers", COUNT);
    server.blame("start_timer");
    std::thread::sleep(Duration::from_millis(300));
    let fix = |rate| server.fix(&["--yes", "--kind", "timers", "--rate", rate]).1;
    let both = std::thread::scope(|scope| {
        let slow = scope.spawn(|| fix("2"));
        // It has planned for all of them, and stops them one by one.
        let begun = Instant::now();
        while !log_of(&server).exists() && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(20));
        }
        [fix("unlimited"), slow.join().unwrap()]
    });
    let of_both = |outcome| -> usize {
        let each = both.iter().map(|report| outcomes(report, outcome).len());
        each.sum()
    };
    assert_eq!(of_both("disarmed"), COUNT, "{both:?}");
    assert_eq!(of_both("vanished"), 0, "{both:?}");
    assert!(of_both("by-another") > 0, "{both:?}");
    let off = "it_value: (0, 0)it_interval: (0, 0)";
    assert_eq!(timer_lines(server.held.pid), [off; COUNT]);
    let undo = ["undo", "--format", "json", &server.held.word()];
    let undone = json(server.dir(), &undo);
    assert_eq!(outcomes(&undone, "restored").len(), COUNT, "{undone}");
    server.held.kill();
}

#[test]
fn a_stopped_timer_of_a_program_that_ended_is_not_set_back() {
    let server = Server::start("timers", 1);
    server.blame("start_timer");
    std::thread::sleep(Duration::from_millis(300));
    let (exit, report) = server.fix(&["--yes", "--kind", "timers"]);
    assert_fixed((exit, &report), "disarmed", 1);
    let word = server.held.word();
    server.held.kill();
    let done = run(server.folder.path(), &["undo", &word]);
    assert_eq!(code(&done), 5, "{}", stdout(&done));
    assert!(stdout(&done).contains("ended"), "{}", stdout(&done));
}

#[test]
fn stale_registrations_leave_the_epoll_and_everything_stays_open() {
    const COUNT: usize = 200;
    let server = Server::start("stale", COUNT);
    let before = server.open();
    let entries = || {
        let infos = std::fs::read_dir(format!("/proc/{}/fdinfo", server.held.pid)).unwrap();
        let texts = infos
            .flatten()
            .filter_map(|info| std::fs::read_to_string(info.path()).ok());
        texts
            .map(|text| text.matches("tfd:").count())
            .sum::<usize>()
    };
    assert_eq!(entries(), 1 + COUNT, "the listener's, and the stale ones");
    let (exit, report) = server.fix(&["--yes", "--kind", "listeners", "--rate", "unlimited"]);
    assert_fixed((exit, &report), "removed", COUNT);
    assert_eq!((entries(), server.open()), (1, before));
    server.assert_serves();
    server.held.kill();
}

/// Whoever registers a connection and then gives it another number goes by its
/// events still; a program that has the epoll too, by numbers that are right.
#[test]
fn registrations_that_somebody_may_go_by_stay() {
    for (what, gate) in [("moved", "events"), ("heirs", "owner")] {
        let server = Server::start(what, 5);
        let entries = || {
            let folder = std::fs::read_dir(format!("/proc/{}/fdinfo", server.held.pid)).unwrap();
            let infos = folder.flatten().map(|info| info.path());
            let texts = infos.filter_map(|info| std::fs::read_to_string(info).ok());
            texts
                .map(|text| text.matches("tfd:").count())
                .sum::<usize>()
        };
        let before = entries();
        let (exit, refused) = server.fix(&["--yes", "--kind", "listeners"]);
        assert_eq!(exit, 5, "{what}: {refused}");
        assert_gate(&refused, gate);
        assert_eq!(entries(), before, "{what}");
        server.held.kill();
    }
}

/// Writes by an open descriptor are told whether the file has a name or not.
#[test]
fn watches_go_only_where_nothing_is_told_any_more() {
    for (what, is_over) in [("watched", false), ("gone", true)] {
        let server = Server::start(what, 5);
        server.blame("watch_name");
        let watches = || {
            let folder = std::fs::read_dir(format!("/proc/{}/fdinfo", server.held.pid)).unwrap();
            let infos = folder.flatten().map(|info| info.path());
            let texts = infos.filter_map(|info| std::fs::read_to_string(info).ok());
            texts
                .map(|text| text.matches("inotify wd:").count())
                .sum::<usize>()
        };
        assert_eq!(watches(), 5);
        let (exit, report) = server.fix(&["--yes", "--kind", "listeners"]);
        assert_eq!(exit, if is_over { 0 } else { 5 }, "{what}: {report}");
        let removed = outcomes(&report, "removed").len();
        assert_eq!((removed, watches()), if is_over { (5, 0) } else { (0, 5) });
        server.held.kill();
    }
}

#[test]
fn the_limit_is_raised_where_nothing_calls_select() {
    let server = Server::start("forgotten", 0);
    let limits = || std::fs::read_to_string(format!("/proc/{}/limits", server.held.pid)).unwrap();
    let set = Command::new("prlimit")
        .args(["--pid", &server.held.word(), "--nofile=128:4000"])
        .status();
    assert!(set.unwrap().success());
    let (exit, plan) = server.fix(&["--raise-limit", "--dry-run"]);
    assert_eq!(
        (exit, &plan["limit"]["from"], &plan["limit"]["to"]),
        (0, &128.into(), &4000.into())
    );
    assert!(plan["limit"]["raised"].is_null(), "{plan}");
    let (exit, done) = server.fix(&["--raise-limit", "--yes"]);
    assert_eq!(
        (exit, &done["limit"]["raised"]),
        (0, &true.into()),
        "{done}"
    );
    let line = limits()
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap()
        .to_owned();
    assert_eq!(line.matches("4000").count(), 2, "{line}");
    let log = support::state_folder(server.dir()).join("actions.jsonl");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("128 -> 4000"), "{log}");
    server.held.kill();
}

/// An event loop of Python's, whose forgotten connections stand in it.
const PYTHON: &str = "
import asyncio, os, sys
class Peer(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data): self.transport.write(data)
class Upstream(asyncio.Protocol): pass
async def main():
    loop, kept = asyncio.get_running_loop(), []
    server = await loop.create_server(Peer, '127.0.0.1', int(sys.argv[2]))
    for i in range(int(sys.argv[1])):
        kept.append(await loop.create_connection(Upstream, '127.0.0.1', int(sys.argv[2])))
    await asyncio.sleep(0.2)
    print('READY', os.getpid(), flush=True)
    await server.serve_forever()
asyncio.run(main())
";

#[test]
fn pythons_event_loop_closes_its_connections_and_serves_on() {
    let (folder, port) = (tempdir().unwrap(), free_port());
    let word = port.to_string();
    let args = ["-c", PYTHON, "8", &word];
    let held = Held::watched(folder.path(), Path::new("/usr/bin/python3"), &args);
    let server = Server { folder, held, port };
    let before = server.open();
    let report = report(server.dir(), &server.held.word());
    // The first goes other ways through the interpreter than the rest.
    const MOST_OF_THEM: usize = 7;
    let to_us = format!(":{port}");
    let connected = |finding: &&Value| {
        let open = finding["resources"].as_array().unwrap().iter();
        let to_us = open.filter(|one| {
            one["peer"]
                .as_str()
                .is_some_and(|peer| peer.ends_with(&to_us))
        });
        to_us.count() >= MOST_OF_THEM
    };
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(connected);
    let id = found.unwrap_or_else(|| panic!("{report}"))["id"]
        .as_str()
        .unwrap();
    run(server.dir(), &["label", "leak", id]);
    let (exit, fixed) = server.fix(&["--yes"]);
    let closed = outcomes(&fixed, "closed-by-owner").len();
    assert_eq!(exit, 0, "{fixed}");
    assert!(closed >= MOST_OF_THEM, "{fixed}");
    server.wait_for_open(before - 2 * closed);
    server.assert_serves();
    server.held.kill();
}

/// A healthy program, and what the kernel keeps of its objects.
const HEALTHY: &str = "
import fcntl, os, socket, sys, time
listener = socket.create_server(('127.0.0.1', int(sys.argv[2])), backlog=17)
client = socket.create_connection(listener.getsockname())
client.settimeout(7)
client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
peer = listener.accept()[0]
waiting = socket.create_connection(listener.getsockname())
file = open(sys.argv[1], 'r+b', buffering=0)
file.seek(5)
fcntl.flock(file, fcntl.LOCK_EX)
fcntl.lockf(file, fcntl.LOCK_EX, 3, 2)
print('READY', os.getpid(), flush=True)
time.sleep(600)
";

/// A keepalive timer runs on whoever looks.
fn without_countdown(line: &str) -> String {
    match line.split_once("timer:(") {
        Some((head, tail)) => head.to_owned() + tail.split_once(')').map_or("", |(_, rest)| rest),
        None => line.to_owned(),
    }
}

/// All that the kernel shows of a program's descriptors and files.
fn seen(pid: i32, port: u16, file: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let mut seen = String::new();
    let mut infos: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .unwrap()
        .flatten()
        .collect();
    infos.sort_by_key(std::fs::DirEntry::file_name);
    for info in infos {
        seen += &format!(
            "{:?}: {}\n",
            info.file_name(),
            std::fs::read_to_string(info.path()).unwrap()
        );
    }
    let meta = file.metadata().unwrap();
    seen += &format!(
        "{:?} {:?} {:?}\n",
        (meta.atime(), meta.atime_nsec()),
        (meta.mtime(), meta.mtime_nsec()),
        (meta.ctime(), meta.ctime_nsec())
    );
    let listed = Command::new("ss")
        .args(["-tanHem", &format!("( sport = {port} or dport = {port} )")])
        .output()
        .unwrap();
    let mut lines: Vec<String> = stdout(&listed).lines().map(without_countdown).collect();
    lines.sort();
    seen + &lines.join("\n")
}

#[test]
fn looking_changes_no_option_backlog_offset_lock_or_timestamp() {
    let (folder, port) = (tempdir().unwrap(), free_port());
    let file = folder.path().join("data");
    std::fs::write(&file, "0123456789").unwrap();
    let word = port.to_string();
    let args = ["-c", HEALTHY, file.to_str().unwrap(), &word];
    let held = Held::watched(folder.path(), Path::new("/usr/bin/python3"), &args);
    let before = seen(held.pid, port, &file);
    assert!(
        before.contains("pos:\t5") && before.contains("FLOCK") && before.contains("POSIX"),
        "{before}"
    );
    assert!(
        before.contains("LISTEN 1 "),
        "the backlog is seen: {before}"
    );
    for args in [
        ["fix", "--dry-run", &held.word()],
        ["report", "--all", &held.word()],
    ] {
        assert_eq!(code(&run(folder.path(), &args)), 0);
    }
    assert_eq!(seen(held.pid, port, &file), before);
    held.kill();
}
