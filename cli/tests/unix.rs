//! `memguard fix` on AF_UNIX sockets: an end of file reaches the owner only
//! where no write of the other end could kill anybody.

mod support;

use std::path::Path;

use serde_json::Value;
use support::{Held, code, report, run};
use tempfile::tempdir;

const COUNT: usize = 10;

/// Leaks pairs whose one end it watches, and closes that at its end of file.
const LOOP: &str = "
import os, selectors, signal, socket, sys
signal.signal(signal.SIGPIPE, getattr(signal, sys.argv[1]))
watched, forgotten = selectors.DefaultSelector(), []
for _ in range(int(sys.argv[2])):
    here, there = socket.socketpair()
    here.setblocking(False)
    watched.register(here, selectors.EVENT_READ)
    forgotten.append(there)
watched.register(sys.stdin, selectors.EVENT_READ)
print('READY', os.getpid(), flush=True)
while True:
    for key, _ in watched.select(0.05):
        if key.fileobj is sys.stdin:
            sys.exit(0)
        if key.fileobj.recv(64) == b'':
            watched.unregister(key.fileobj)
            key.fileobj.close()
";

fn start(folder: &Path, on_broken_pipe: &str) -> Held {
    let count = COUNT.to_string();
    let args = ["-c", LOOP, on_broken_pipe, &count];
    Held::watched(folder, Path::new("/usr/bin/python3"), &args)
}

/// Somebody says that all its sockets leak.
fn blame(folder: &Path, held: &Held) {
    let report = report(folder, &held.word());
    let findings = report["findings"].as_array().unwrap();
    let sockets = |finding: &&Value| finding["kind"] == "sockets";
    let found = findings
        .iter()
        .find(sockets)
        .unwrap_or_else(|| panic!("{report}"));
    let id = found["id"].as_str().unwrap();
    assert_eq!(code(&run(folder, &["label", "leak", id])), 0);
}

fn fix(folder: &Path, held: &Held) -> Vec<Value> {
    let word = held.word();
    let args = [
        "fix",
        "--yes",
        "--kind",
        "sockets",
        "--min-age",
        "0s",
        "--format",
        "json",
        &word,
    ];
    let done: Value = serde_json::from_slice(&run(folder, &args).stdout).unwrap();
    done["items"].as_array().unwrap().clone()
}

fn outcomes(items: &[Value], outcome: &str) -> usize {
    items
        .iter()
        .filter(|item| item["outcome"] == outcome)
        .count()
}

fn open(held: &Held) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", held.pid)).map_or(0, Iterator::count)
}

/// Stamps are of whole seconds: what was used at the start has to get older.
fn let_it_rest() {
    std::thread::sleep(std::time::Duration::from_secs(4));
}

#[test]
fn the_owner_closes_what_it_is_shown_the_end_of() {
    let folder = tempdir().unwrap();
    let held = start(folder.path(), "SIG_IGN");
    blame(folder.path(), &held);
    let before = open(&held);
    let_it_rest();
    let items = fix(folder.path(), &held);
    assert_eq!(items.len(), 2 * COUNT, "{items:#?}");
    assert!(outcomes(&items, "closed-by-owner") >= COUNT, "{items:#?}");
    assert!(open(&held) <= before - COUNT);
    assert!(held.finish().success());
}

#[test]
fn where_a_write_could_kill_by_sigpipe_nothing_is_touched() {
    let folder = tempdir().unwrap();
    let held = start(folder.path(), "SIG_DFL");
    blame(folder.path(), &held);
    let before = open(&held);
    let_it_rest();
    let items = fix(folder.path(), &held);
    assert_eq!(outcomes(&items, "refused"), 2 * COUNT, "{items:#?}");
    let refused = |item: &Value| {
        let gates = item["gates"].as_array().unwrap();
        gates
            .iter()
            .any(|gate| gate["name"] == "peer" && gate["open"] == false)
    };
    assert!(items.iter().all(refused), "{items:#?}");
    assert_eq!(open(&held), before);
    assert!(held.finish().success());
}
