//! `memguard fix --kind caches` on real programs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memguard_tests::{Program, artifacts, skip};
use serde_json::Value;

mod support;

/// Holds garbage that only a collection finds, and waits.
const GARBAGE: &str = r#"
import gc, sys, time
gc.set_threshold(0)
if sys.argv[1] == "off":
    gc.disable()
class Node: pass
for _ in range(100_000):
    node = Node()
    node.me, node.data = node, bytearray(500)
print(flush=True)
while True:
    time.sleep(0.01)
"#;

/// A process that is ended however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn python(folder: &Path, how: &str, library: bool) -> Running {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", GARBAGE, how]).stdout(Stdio::piped());
    if library {
        command
            .env("LD_PRELOAD", artifacts::library())
            .env("MEMGUARD_DIR", folder);
    }
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let said = child.stdout.take().unwrap();
    BufReader::new(said).read_line(&mut line).unwrap();
    Running(child)
}

/// What the verb says, and its exit code.
fn fix(folder: &Path, pid: u32, more: &[&str]) -> (Value, i32) {
    let pid = pid.to_string();
    let words = ["fix", &pid, "--format", "json"];
    let done = support::run(folder, &[&words[..], more].concat());
    let said = serde_json::from_slice(&done.stdout);
    let said = said.unwrap_or_else(|_| panic!("{}", support::stderr(&done)));
    (said, support::code(&done))
}

fn way<'a>(said: &'a Value, means: &str) -> &'a Value {
    let ways = said["caches"].as_array().expect("ways are listed");
    let found = ways.iter().find(|way| way["means"] == means);
    found.unwrap_or_else(|| panic!("no {means} in {said:#}"))
}

/// The registered cache of that name; its program has others.
fn pages_of(said: &Value) -> &Value {
    let ways = said["caches"].as_array().expect("ways are listed");
    let found = ways.iter().find(|way| way["what"] == "pages");
    found.unwrap_or_else(|| panic!("no pages in {said:#}"))
}

fn shut(way: &Value) -> Vec<&str> {
    let gates = way["gates"].as_array().unwrap().iter();
    let shut = gates.filter(|gate| gate["open"] == false);
    shut.filter_map(|gate| gate["name"].as_str()).collect()
}

fn has_python(test: &str) -> bool {
    skip::file(test, "/usr/bin/python3")
}

#[test]
fn pythons_garbage_is_collected_and_goes_back_to_the_system() {
    if !has_python("pythons_garbage_is_collected_and_goes_back_to_the_system") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = python(folder.path(), "on", true);
    let (plan, code) = fix(
        folder.path(),
        program.0.id(),
        &["--kind", "caches", "--dry-run"],
    );
    assert_eq!(code, 0);
    assert!(way(&plan, "python")["outcome"].is_null());
    let (done, code) = fix(
        folder.path(),
        program.0.id(),
        &["--kind", "caches", "--yes"],
    );
    assert_eq!(code, 0);
    let (python, allocator) = (way(&done, "python"), way(&done, "allocator"));
    assert_eq!(python["outcome"], "given-back", "{done:#}");
    assert_eq!(allocator["outcome"], "given-back");
    assert!(python["pause_ms"].as_f64().unwrap() > 0.0);
    let given = [python, allocator].map(|way| way["given_bytes"].as_u64().unwrap());
    assert!(given.iter().sum::<u64>() > 20 << 20, "{done:#}");
    // Neither is a fix, and both are in the log.
    assert_eq!(done["items"], serde_json::json!([]));
    let log = std::fs::read_to_string(support::state_folder(folder.path()).join("actions.jsonl"));
    let log = log.expect("there is a log");
    assert_eq!(log.matches("python: CPython").count(), 2, "{log}");
}

#[test]
fn a_program_that_switched_its_collector_off_meant_it() {
    if !has_python("a_program_that_switched_its_collector_off_meant_it") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = python(folder.path(), "off", true);
    let (done, _) = fix(
        folder.path(),
        program.0.id(),
        &["--kind", "caches", "--yes"],
    );
    let python = way(&done, "python");
    assert_eq!(python["outcome"], "refused");
    assert!(python["detail"].as_str().unwrap().contains("gc.disable"));
}

#[test]
fn without_the_library_there_is_only_the_kernel_to_ask() {
    if !has_python("without_the_library_there_is_only_the_kernel_to_ask") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = python(folder.path(), "on", false);
    let (done, code) = fix(
        folder.path(),
        program.0.id(),
        &["--kind", "caches", "--yes"],
    );
    for means in ["allocator", "python"] {
        assert_eq!(shut(way(&done, means)), ["library"]);
        assert_eq!(way(&done, means)["outcome"], "refused");
    }
    let swap = std::fs::read_to_string("/proc/swaps").unwrap();
    if swap.lines().count() == 1 {
        assert_eq!(shut(way(&done, "page-out")), ["swap"]);
        assert_eq!(code, 5);
    }
}

#[test]
fn caches_are_left_alone_unless_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::fixture("caches").arg("anywhere").hold();
    let (done, _) = fix(folder.path(), program.pid(), &["--dry-run"]);
    assert_eq!(done.get("caches"), None);
    program.finish_ok();
}

#[test]
fn a_registered_cache_shrinks_to_its_limit() {
    let mut program = Program::fixture("caches").arg("anywhere").hold();
    let folder = program.folder().to_owned();
    let (plan, _) = fix(&folder, program.pid(), &["--kind", "caches", "--dry-run"]);
    assert_eq!(pages_of(&plan)["means"], "registered");
    assert_eq!(shut(pages_of(&plan)), ["limit"]);
    let config = folder.join("memguard.toml");
    std::fs::write(
        &config,
        "[caches]\nlimit = '1GiB'\n[caches.limits]\npages = '1 MiB'\n",
    )
    .unwrap();
    let config = config.to_str().unwrap().to_owned();
    let pid = program.pid();
    let words = ["--kind", "caches", "--yes", "--config", &config];
    let done = std::thread::scope(|scope| {
        let fixing = scope.spawn(|| fix(&folder, pid, &words).0);
        // It waits for the program, which stands still before.
        std::thread::sleep(Duration::from_millis(1500));
        program.go_on();
        fixing.join().unwrap()
    });
    let pages = pages_of(&done);
    assert_eq!(pages["outcome"], "given-back", "{done:#}");
    assert_eq!(
        (&pages["size_bytes"], &pages["freed_bytes"]),
        (&(1 << 20).into(), &(63 << 20).into())
    );
    assert!(
        pages["given_bytes"].as_u64().unwrap() > 50 << 20,
        "{done:#}"
    );
    let report = support::json(&folder, &["report", &pid.to_string(), "--format", "json"]);
    let caches = report["caches"].as_array().unwrap().iter();
    let sizes = caches.filter(|cache| cache["name"] == "pages");
    let sizes: Vec<&Value> = sizes.map(|cache| &cache["size_bytes"]).collect();
    assert_eq!(sizes, [&Value::from(1 << 20)], "{report}");
    let text = support::stdout(&support::run(&folder, &["report", &pid.to_string()]));
    assert!(text.contains("pages 1.0 MiB"), "{text}");
    program.finish_ok();
}

#[test]
fn a_callback_that_never_returns_is_told_and_what_waits_behind_it_too() {
    let mut program = Program::fixture("caches").arg("stuck").hold();
    let (folder, pid) = (program.folder().to_owned(), program.pid());
    let report = support::json(&folder, &["report", &pid.to_string(), "--format", "json"]);
    let unknown = report["caches"].as_array().unwrap();
    let unknown = unknown.iter().find(|cache| cache["name"] == "unknown");
    assert!(unknown.unwrap()["size_bytes"].is_null(), "{report}");
    let text = support::stdout(&support::run(&folder, &["report", &pid.to_string()]));
    assert!(text.contains("unknown of unknown size"), "{text}");

    let config = folder.join("memguard.toml");
    std::fs::write(&config, "[caches]\nlimit = '1KiB'\n").unwrap();
    program.go_on();
    let config = config.to_str().unwrap();
    let words = ["--kind", "caches", "--yes", "--config", config];
    let (done, _) = fix(&folder, pid, &words);
    let said = |means| {
        way(&done, means)["detail"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let registered = way(&done, "registered");
    assert_eq!(registered["outcome"], "pending", "{done:#}");
    assert!(
        said("registered").contains("has not returned for"),
        "{done:#}"
    );
    assert!(said("allocator").contains("does not return"), "{done:#}");
    program.finish_ok();
}

/// A client that asks for one thing after the other and looks at each answer.
fn ask(redis: &mut BufReader<TcpStream>, words: &str, answer: &str) {
    redis
        .get_mut()
        .write_all(format!("{words}\r\n").as_bytes())
        .unwrap();
    let mut line = String::new();
    redis.read_line(&mut line).unwrap();
    if let Some(bytes) = line.strip_prefix('$') {
        let mut rest = vec![0; bytes.trim().parse::<usize>().unwrap() + 2];
        redis.read_exact(&mut rest).unwrap();
        line = String::from_utf8(rest).unwrap();
    }
    assert_eq!(line.trim_end(), answer, "{words}");
}

fn connect(port: u16) -> BufReader<TcpStream> {
    let begun = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return BufReader::new(stream),
            Err(why) => assert!(begun.elapsed() < Duration::from_secs(30), "{why}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Redis has jemalloc: what it freed goes back while clients are served.
#[test]
fn redis_gives_back_under_load_and_answers_everything() {
    let test = "redis_gives_back_under_load_and_answers_everything";
    if !skip::file(test, "/usr/bin/redis-server") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let child = Command::new("/usr/bin/redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ])
        .args(["--bind", "127.0.0.1", "--enable-debug-command", "local"])
        .env("LD_PRELOAD", artifacts::library())
        .env("MEMGUARD_DIR", folder.path())
        // Free pages stay with it, as they do for a while by default.
        .env("MALLOC_CONF", "dirty_decay_ms:-1,muzzy_decay_ms:-1")
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let redis = Running(child);
    let mut client = connect(port);
    ask(&mut client, "DEBUG POPULATE 100000 key 1000", "+OK");
    ask(&mut client, "FLUSHALL SYNC", "+OK");
    let (over, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let done = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|n| {
                let (over, asked) = (&over, &asked);
                scope.spawn(move || {
                    let mut client = connect(port);
                    for i in 0.. {
                        ask(&mut client, &format!("SET k{n}-{} v{i}", i % 100), "+OK");
                        ask(
                            &mut client,
                            &format!("GET k{n}-{}", i % 100),
                            &format!("v{i}"),
                        );
                        asked.fetch_add(2, Ordering::Relaxed);
                        if over.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                })
            })
            .collect();
        while asked.load(Ordering::Relaxed) < 1000 {
            std::thread::sleep(Duration::from_millis(10));
        }
        let done = fix(folder.path(), redis.0.id(), &["--kind", "caches", "--yes"]).0;
        let before = asked.load(Ordering::Relaxed);
        while asked.load(Ordering::Relaxed) < before + 1000
            && clients.iter().all(|one| !one.is_finished())
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        over.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
        done
    });
    let allocator = way(&done, "allocator");
    assert!(allocator["what"].as_str().unwrap().starts_with("jemalloc"));
    assert_eq!(allocator["outcome"], "given-back", "{done:#}");
    // How much is left by then is the allocator's own decay's business.
    assert!(allocator["given_bytes"].as_u64().is_some(), "{done:#}");
}
