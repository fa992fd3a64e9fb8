//! The demo's leaky web service, looked at for the first time over and over while
//! it is asked: `fix` finds what `report` finds, and where it finds nothing it
//! says what it waits for. The guards: `commands/fix/why.rs`, and that `fix` and
//! `report` judge by the same look.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use memguard_tests::artifacts;
use serde_json::Value;
use support::{memguard, stderr};
use tempfile::{TempDir, tempdir};

/// Requests of a round; the price service is busy at one of a hundred.
const REQUESTS: usize = 300;
/// From so many on it takes as many recent ones, however many there are.
const MANY: usize = 9;
/// Rounds until sockets older than a second must be there at several moments.
const MOST_ROUNDS: usize = 200;

/// A service of the demo and its port; it ends with this.
struct Service(Child, u16);

impl Service {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut said = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut said).expect("it says its port");
        let port = said.trim().strip_prefix("listening on ").expect("a port");
        Self(child, port.parse().unwrap())
    }

    /// One answer on a connection of its own.
    fn ask(&self, path: &str) {
        let mut client = TcpStream::connect(("127.0.0.1", self.1)).unwrap();
        write!(client, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "), "no answer to {path}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn built(name: &str, folder: &Path) -> PathBuf {
    let source = artifacts::workspace().join(format!("demo/{name}.cpp"));
    let program = folder.join(name);
    let built = Command::new("g++")
        .args(["-std=c++17", "-O1", "-g", "-pthread", "-o"])
        .args([&program, &source])
        .status();
    assert!(built.expect("g++ starts").success());
    program
}

/// The shop with the library in it, and the price service that it asks.
struct Shop {
    folder: TempDir,
    shop: Service,
    _prices: Service,
}

impl Shop {
    fn start() -> Self {
        let folder = tempdir().unwrap();
        let prices = Service::start(Command::new(built("prices", folder.path())));
        let mut shop = Command::new(built("shop", folder.path()));
        shop.args([&prices.1.to_string(), "/nowhere"])
            .env("LD_PRELOAD", artifacts::library())
            .env("MEMGUARD_DIR", folder.path());
        Self {
            shop: Service::start(shop),
            _prices: prices,
            folder,
        }
    }

    fn ask(&self) {
        for item in 0..REQUESTS {
            self.shop.ask(&format!("/quote/{}", item % 7));
        }
    }

    /// What somebody sees who never looked at it before.
    fn first_look(&self, verb: &str, args: &[&str]) -> Value {
        let state = tempdir().unwrap();
        let pid = self.shop.0.id().to_string();
        let mut command = memguard(self.folder.path());
        command
            .env("MEMGUARD_STATE", state.path())
            .args([verb, &pid, "--kind", "sockets", "--format", "json"])
            .args(args);
        let done = command.output().expect("memguard starts");
        let said = serde_json::from_slice(&done.stdout);
        said.unwrap_or_else(|error| panic!("{error}: {}", stderr(&done)))
    }

    /// What a fix would touch, and what it says besides.
    fn plan(&self, age: &str) -> (usize, String) {
        let plan = self.first_look("fix", &["--dry-run", "--min-age", age]);
        let items = plan["items"].as_array().unwrap().len();
        (items, plan["notes"].to_string())
    }

    /// Sockets that a report calls leaked.
    fn leaked(&self, age: &str) -> usize {
        let report = self.first_look("report", &["--min-age", age]);
        let findings = report["findings"].as_array().unwrap();
        let leaks = findings.iter().filter(|one| one["verdict"] == "leak");
        leaks
            .map(|one| one["count"].as_u64().unwrap() as usize)
            .sum()
    }
}

#[test]
fn a_first_fix_finds_what_a_first_report_finds_and_else_says_what_it_waits_for() {
    let shop = Shop::start();
    let mut rounds = 0..MOST_ROUNDS;
    let found = rounds.find_map(|round| {
        // In every second round nobody has asked since the last: on a busy machine
        // some come of age between two looks after each asking.
        if round % 2 == 0 {
            shop.ask();
        }
        // Nobody asks it meanwhile: only time goes on.
        let (before, _) = shop.plan("1s");
        let leaked = shop.leaked("1s");
        let (after, _) = shop.plan("1s");
        if before == after {
            assert_eq!(leaked, before, "what a report finds and what a fix does");
        }
        (before >= MANY && before == after).then_some(before)
    });
    let found = found.expect("sockets leak");

    // Where only an hour is old, nothing shows that they keep coming.
    let (none, said) = shop.plan("1h");
    assert_eq!(none, 0, "{said}");
    let line = said.contains("sockets from shop.cpp:") && said.contains("are in CLOSE_WAIT, for ");
    assert!(line && said.contains("ask again when"), "{said}");
    let offer = said.split("--min-age ").nth(1).expect("an age is offered");
    let offer = offer.split('.').next().unwrap();
    let (would, said) = shop.plan(offer);
    assert!(would > 0, "{found} by 1s, none by {offer}: {said}");
}
