//! What is never touched: real programs whose every descriptor is called a
//! leak, so that only the gates are left to protect them. Each test names the
//! gate that refuses; without it the item would pass.

mod support;

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use memguard_tests::{artifacts, skip};
use serde_json::Value;
use support::{Held, assert_refused, code, copy_program, memguard, run, serves, stderr};
use tempfile::{TempDir, tempdir};

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

/// A program that holds things of one sort, and uses them when it is told to.
struct Program {
    folder: TempDir,
    held: Held,
    numbers: BTreeMap<String, i32>,
}

impl Program {
    fn start(what: &str) -> Self {
        Self::with(what, &[])
    }

    fn with(what: &str, more: &[&str]) -> Self {
        let folder = tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/protected.py");
        let numbers = folder.path().join("numbers");
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg("-B")
            .arg(script)
            .arg(what)
            .arg(&numbers)
            .args(more);
        command
            .env("LD_PRELOAD", artifacts::library())
            .env("MEMGUARD_DIR", folder.path());
        let held = Held::start(command);
        let numbers = serde_json::from_slice(&std::fs::read(numbers).unwrap()).unwrap();
        Self {
            folder,
            held,
            numbers,
        }
    }

    fn fix(&self, args: &[&str]) -> (i32, Value) {
        forced_fix(self.folder.path(), self.held.pid, args)
    }

    /// Its descriptors, and what each names.
    fn open(&self) -> BTreeMap<i32, PathBuf> {
        let links = std::fs::read_dir(format!("/proc/{}/fd", self.held.pid)).unwrap();
        let named = links.flatten().filter_map(|link| {
            let fd = link.file_name().to_str()?.parse().ok()?;
            Some((fd, std::fs::read_link(link.path()).ok()?))
        });
        named.collect()
    }

    /// Of every kind, everything; nothing is touched, and it goes on as usual.
    #[track_caller]
    fn survives(&mut self) -> Value {
        self.survives_fix(&[])
    }

    #[track_caller]
    fn survives_fix(&mut self, args: &[&str]) -> Value {
        let before = self.open();
        let (exit, report) = self.fix(args);
        assert_eq!(exit, 5, "{report}");
        for item in report["items"].as_array().unwrap() {
            assert_eq!(item["outcome"], "refused", "{item}");
        }
        assert_eq!(self.open(), before, "{report}");
        self.held.go_on();
        report
    }

    /// The gates that are shut for each thing that the program named.
    fn shut(&self, report: &Value) -> BTreeMap<String, Vec<String>> {
        let named = self.numbers.iter();
        named
            .map(|(name, fd)| (name.clone(), shut_gates(item(report, *fd))))
            .collect()
    }

    /// The findings of what it named; the other ends are not protected.
    fn findings(&self) -> Vec<String> {
        let (_, plan) = self.fix(&["--dry-run"]);
        let named = self.numbers.values();
        named
            .map(|fd| item(&plan, *fd)["finding"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Nothing but that gate refuses what it named. On a slow machine a life
    /// may have lasted so long that all is young beside it, for a while.
    #[track_caller]
    fn only_by(&mut self, gate: &str) {
        let begun = Instant::now();
        loop {
            let findings = self.findings();
            let findings: Vec<&str> = findings.iter().map(String::as_str).collect();
            let report = self.survives_fix(&findings);
            let shut = self.shut(&report);
            let young = shut.values().flatten().any(|gate| gate == "age");
            if young && begun.elapsed() < Duration::from_secs(60) {
                continue;
            }
            for (name, shut) in shut {
                assert_eq!(shut, [gate], "{name}: {report}");
            }
            return;
        }
    }
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
    let (exit, report) = forced_fix(folder.path(), held.pid, &["--dry-run"]);
    assert_eq!(exit, 0, "{report}");
    for fd in [0, 1, 2] {
        let shut = shut_gates(item(&report, fd));
        assert!(shut.contains(&"number".to_owned()), "{report}");
    }
    assert!(report["notes"].to_string().contains("forced"), "{report}");
    held.kill();
}

#[test]
fn what_would_pass_does_pass_so_that_the_other_tests_can_fail() {
    let mut program = Program::start("idle");
    let (exit, report) = program.fix(&["--kind", "sockets", "--dry-run"]);
    assert_eq!(exit, 0, "{report}");
    for (name, shut) in program.shut(&report) {
        assert_eq!(shut, [""; 0], "{name}: {report}");
    }
    program.held.go_on();
}

#[test]
fn listening_sockets() {
    let mut program = Program::start("listening");
    let report = program.survives();
    for (name, shut) in program.shut(&report) {
        assert!(shut.contains(&"listener".to_owned()), "{name}: {report}");
    }
}

#[test]
fn descriptors_from_before_exec() {
    Program::start("inherited").only_by("origin");
}

#[test]
fn sockets_that_a_service_manager_hands_over() {
    let mut program = Program::start("activated");
    let report = program.survives();
    let shut = program.shut(&report);
    assert_eq!(shut["ours"], ["origin"], "{report}");
    assert_eq!(shut["theirs"], ["origin"], "{report}");
    for gate in ["origin", "listener"] {
        assert!(shut["listener"].contains(&gate.to_owned()), "{report}");
    }
}

#[test]
fn sockets_that_a_child_has_too() {
    Program::start("forked").only_by("owner");
}

#[test]
fn sockets_that_a_thread_with_its_own_table_has_too() {
    Program::start("unshared").only_by("owner");
}

#[test]
fn sockets_with_a_duplicate() {
    Program::start("duplicated").only_by("owner");
}

#[test]
fn sockets_that_were_sent_or_received() {
    Program::start("passed").only_by("passed on");
}

#[test]
fn sockets_that_threads_wait_on_in_read_poll_and_select() {
    Program::start("awaited").only_by("in use");
}

#[test]
fn files_with_a_lock_of_any_kind_and_their_other_descriptors() {
    let mut program = Program::start("locked");
    let report = program.survives();
    for (name, shut) in program.shut(&report) {
        assert!(shut.contains(&"lock".to_owned()), "{name}: {report}");
    }
}

#[test]
fn what_programs_wake_themselves_with() {
    let mut program = Program::start("wakeups");
    let report = program.survives();
    for (name, shut) in program.shut(&report) {
        let pair = name.starts_with("pair");
        assert!(
            pair || shut.contains(&"wake-up".to_owned()),
            "{name}: {report}"
        );
    }
}

#[test]
fn connections_on_which_something_moves() {
    let mut program = Program::start("busy");
    let before = program.open();
    // As idle as can be asked for, and still: it moved since the first look.
    let (exit, report) = program.fix(&["--kind", "sockets"]);
    assert_eq!(exit, 5, "{report}");
    for (name, shut) in program.shut(&report) {
        assert_eq!(shut, ["traffic"], "{name}: {report}");
    }
    assert_eq!(program.open(), before);
    program.held.go_on();
}

/// A file of settings in the program's folder.
fn settings(folder: &Path, text: &str) -> String {
    let path = folder.join("settings.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The port at the other end of a socket's item.
fn remote_port(item: &Value) -> u16 {
    let what = item["what"].as_str().unwrap();
    what.rsplit(':').next().unwrap().parse().unwrap()
}

#[test]
fn ports_and_thresholds_of_the_settings() {
    let mut program = Program::start("idle");
    let ours = program.numbers["ours"];
    let shut_with = |program: &Program, text: &str, more: &[&str]| {
        let config = settings(program.folder.path(), text);
        let mut args = vec!["--kind", "sockets", "--dry-run", "--config", &config];
        args.extend(more);
        let (exit, report) = program.fix(&args);
        assert_eq!(exit, 0, "{report}");
        (
            shut_gates(item(&report, ours)),
            remote_port(item(&report, ours)),
        )
    };
    let (shut, port) = shut_with(&program, "", &[]);
    assert_eq!(shut, [""; 0]);
    let remote = format!("[protect]\nports = [{port}]\n");
    assert_eq!(shut_with(&program, &remote, &[]).0, ["port"]);
    // Rules are left out by the flag, protection is not.
    assert_eq!(shut_with(&program, &remote, &["--no-rules"]).0, ["port"]);
    let allowed = port.to_string();
    let allow = ["--allow-port", allowed.as_str()];
    assert_eq!(
        shut_with(&program, &remote, &allow).0,
        [""; 0],
        "the last word counts"
    );
    let many = "[fix.sockets]\nmin_count = 1000\n";
    assert_eq!(shut_with(&program, many, &[]).0, ["count"]);
    let other = "[fix.timers]\nmin_count = 1000\n";
    assert_eq!(shut_with(&program, other, &[]).0, [""; 0]);

    // Without the flag for impatience the spans of the file hold.
    let spans = |text: &str| {
        let config = settings(program.folder.path(), text);
        let word = program.held.word();
        let args = ["--dry-run", "--format", "json", "--config", &config, &word];
        let done = forced(program.folder.path(), &args);
        let report = serde_json::from_slice(&done.stdout).unwrap();
        shut_gates(item(&report, ours))
    };
    assert_eq!(spans(""), ["age", "traffic"]);
    assert_eq!(
        spans("[fix.sockets]\nmin_age = '1h'\nmin_idle = 0\n"),
        ["age"]
    );
    assert_eq!(
        spans("[fix.sockets]\nmin_age = 0\nmin_idle = '1h'\n"),
        ["traffic"]
    );
    assert_eq!(spans("[fix.sockets]\nmin_age = 0\nmin_idle = 0\n"), [""; 0]);
    program.held.go_on();
}

#[test]
fn settings_that_are_wrong_are_refused_with_their_line() {
    let folder = tempdir().unwrap();
    let config = settings(folder.path(), "[protect]\nport = 1\n");
    let pid = std::process::id().to_string();
    let args = ["--dry-run", "--config", &config, &pid];
    assert_refused(&forced(folder.path(), &args), 2, "settings.toml:2");
}

#[test]
fn programs_of_a_protected_name() {
    for (name, text, protected) in [
        ("sshd-session", "", true),
        ("shopkeeper", "", false),
        ("shopkeeper", "[protect]\nprocesses = 'shop*'\n", true),
        (
            "sshd-session",
            "[protect]\nallow_processes = 'sshd*'\n",
            false,
        ),
    ] {
        let folder = tempdir().unwrap();
        let program = folder.path().join(name);
        copy_program(serves(), &program);
        let port = memguard_tests::session::free_port().to_string();
        let held = Held::watched(folder.path(), &program, &["loop", "1", &port]);
        let config = settings(folder.path(), text);
        let args = ["--kind", "sockets", "--dry-run", "--config", &config];
        let (_, report) = forced_fix(folder.path(), held.pid, &args);
        let all = report["items"].as_array().unwrap();
        let refused = |item: &&Value| shut_gates(item).contains(&"process".to_owned());
        let count = all.iter().filter(refused).count();
        let wanted = if protected { all.len() } else { 0 };
        assert!(count == wanted && all.len() > 1, "{name}: {report}");
        held.kill();
    }
}

/// A server that is ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(folder: &Path, command: &mut Command, address: &str) -> Self {
        let server = command
            .env("LD_PRELOAD", artifacts::library())
            .env("MEMGUARD_DIR", folder)
            .stdout(Stdio::null())
            .spawn();
        let server = Self(server.unwrap());
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "it does not answer"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

#[test]
fn connections_of_redis_at_both_ends() {
    let test = "connections_of_redis_at_both_ends";
    if !skip::file(test, "/usr/bin/redis-server") {
        return;
    }
    // An address of its own, so that the port of the built-in list is free.
    let host = format!(
        "127.{}.{}.9",
        60 + std::process::id() % 100,
        1 + std::process::id() % 250
    );
    let (folder, address) = (tempdir().unwrap(), format!("{host}:6379"));
    let mut redis = Command::new("/usr/bin/redis-server");
    redis.args(["--bind", &host, "--port", "6379", "--save", ""]);
    let redis = Server::start(folder.path(), &mut redis, &address);
    let mut client = Program::with("client", &[&address]);
    client.only_by("port");
    let (exit, report) = forced_fix(folder.path(), redis.pid(), &[]);
    assert_eq!(exit, 5, "{report}");
    let connections = report["items"].as_array().unwrap().iter();
    let connections = connections.filter(|item| item["what"].as_str().unwrap().contains(" -> "));
    let shut: Vec<Vec<String>> = connections.map(shut_gates).collect();
    assert!(!shut.is_empty(), "{report}");
    for shut in shut {
        assert!(shut.contains(&"port".to_owned()), "{report}");
    }
    client.held.go_on();
    let config = settings(client.folder.path(), "[protect]\nallow_ports = 6379\n");
    let (_, report) = client.fix(&["--kind", "sockets", "--dry-run", "--config", &config]);
    assert_eq!(client.shut(&report)["ours"], [""; 0], "{report}");
    client.held.go_on();
}

#[test]
fn nginx_that_waits_for_requests() {
    if !skip::file("nginx_that_waits_for_requests", "/usr/sbin/nginx") {
        return;
    }
    let folder = tempdir().unwrap();
    let at = folder.path().display();
    let address = format!("127.0.0.1:{}", memguard_tests::session::free_port());
    let config = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log {at}/access.log; client_body_temp_path {at}/a; proxy_temp_path {at}/b;\n\
         fastcgi_temp_path {at}/c; uwsgi_temp_path {at}/d; scgi_temp_path {at}/e;\n\
         server {{ listen {address}; location / {{ return 200 'ping'; }} }} }}\n"
    );
    let written = folder.path().join("nginx.conf");
    std::fs::write(&written, config).unwrap();
    let mut nginx = Command::new("/usr/sbin/nginx");
    nginx
        .arg("-e")
        .arg(folder.path().join("error.log"))
        .arg("-c")
        .arg(&written);
    let nginx = Server::start(folder.path(), &mut nginx, &address);
    let open = || {
        std::fs::read_dir(format!("/proc/{}/fd", nginx.pid()))
            .unwrap()
            .count()
    };
    let ask = || {
        let mut client = TcpStream::connect(&address).unwrap();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("ping"), "{answer}");
    };
    ask();
    let before = settled(&open);
    let (exit, report) = forced_fix(folder.path(), nginx.pid(), &[]);
    assert_eq!(exit, 5, "{report}");
    for item in report["items"].as_array().unwrap() {
        assert_eq!(item["outcome"], "refused", "{item}");
    }
    assert_eq!(open(), before, "{report}");
    ask();
}

/// A count, once it has stood still for a while.
fn settled(count: &dyn Fn() -> usize) -> usize {
    let (mut last, mut since) = (count(), Instant::now());
    while since.elapsed() < Duration::from_millis(500) {
        std::thread::sleep(Duration::from_millis(20));
        if count() != last {
            (last, since) = (count(), Instant::now());
        }
    }
    last
}

/// What the kernel shows of it from outside, without what our look is itself.
fn from_outside(pid: i32) -> BTreeMap<String, String> {
    let read = |path: String| std::fs::read_to_string(&path).unwrap_or_default();
    let infos = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let mut all: BTreeMap<String, String> = infos
        .flatten()
        .map(|info| {
            let path = info.path().display().to_string();
            (path.clone(), read(path))
        })
        .collect();
    let pid = pid.to_string();
    let locks = read("/proc/locks".to_owned());
    let own = locks
        .lines()
        .filter(|line| line.split_whitespace().any(|word| word == pid));
    // The first word is a line number.
    let own = own.map(|line| line.split_once(' ').map_or("", |(_, rest)| rest));
    all.insert("locks".to_owned(), own.collect());
    all
}

#[test]
fn looking_planning_and_refusing_change_nothing_that_can_be_observed() {
    let folder = tempdir().unwrap();
    let facts = folder.path().join("facts");
    let mut program = Program::with("watched", &[facts.to_str().unwrap()]);
    let observe = |program: &mut Program| {
        program.held.go_on();
        let inside = std::fs::read_to_string(&facts).unwrap();
        let inside: Value = serde_json::from_str(&inside).unwrap();
        (inside, from_outside(program.held.pid))
    };
    let before = observe(&mut program);
    assert!(before.1["locks"].contains("POSIX"), "{:?}", before.1);
    let word = program.held.word();
    let own = program.folder.path().to_owned();
    for _ in 0..2 {
        assert_eq!(code(&run(&own, &["report", "--min-age", "0s", &word])), 0);
        let plan = forced(&own, &["--dry-run", "--min-age", "0s", &word]);
        assert_eq!(code(&plan), 0, "{}", stderr(&plan));
        // All are too young.
        let fix = forced(&own, &["--yes", &word]);
        assert_eq!(code(&fix), 5, "{}", stderr(&fix));
    }
    let after = observe(&mut program);
    for (name, facts) in before.0.as_object().unwrap() {
        assert_eq!(facts, &after.0[name], "{name}");
    }
    assert_eq!(before.1, after.1);
}

#[test]
fn who_may_not_look_is_told_what_to_do() {
    let test = "who_may_not_look_is_told_what_to_do";
    if !skip::root(test) || !skip::file(test, "/usr/bin/setpriv") {
        return;
    }
    let mut program = Program::start("idle");
    let shared = tempdir().unwrap();
    std::fs::set_permissions(shared.path(), Permissions::from_mode(0o777)).unwrap();
    let memguard = shared.path().join("memguard");
    copy_program(artifacts::forced(), &memguard);
    let before = program.open();
    let refused = Command::new("/usr/bin/setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(memguard)
        .args(["fix", "--yes", "--min-age", "0s", &program.held.word()])
        .env("MEMGUARD_FORCED_VERDICTS", "leak")
        .env("MEMGUARD_DIR", program.folder.path())
        .env("MEMGUARD_STATE", shared.path().join("state"))
        .env("XDG_CONFIG_HOME", shared.path())
        .output()
        .unwrap();
    assert_refused(&refused, 3, "as root");
    assert_eq!(program.open(), before);
    program.held.go_on();
}
