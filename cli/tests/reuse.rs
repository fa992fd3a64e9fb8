//! Numbers that are used again at once: fixes run all the time on a program
//! that hands its descriptors round as fast as it can. What it has in hand is
//! never touched, by its own account: device, inode and content at each use.

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use memguard_tests::artifacts;
use serde_json::Value;
use support::{Held, code, hands_round, json, memguard, run, stderr};
use tempfile::{TempDir, tempdir};

/// The usual length, and what MEMGUARD_REUSE_OPERATIONS makes of it.
const OPERATIONS: u64 = 300_000;
/// Of either sort, so many fixes at least must have acted.
const FIXES: usize = 1;
/// How long fixes are waited for; a short run takes what there was.
const PATIENCE: Duration = Duration::from_secs(1800);
const SHORT: Duration = Duration::from_secs(60);

fn is_long() -> bool {
    std::env::var_os("MEMGUARD_REUSE_OPERATIONS").is_some()
}

fn wanted_operations() -> u64 {
    let asked = std::env::var("MEMGUARD_REUSE_OPERATIONS");
    asked.map_or(OPERATIONS, |text| text.parse().expect("a number"))
}

/// What fixes did.
#[derive(Debug, Default)]
struct Done {
    runs: usize,
    acted: usize,
    lost_closed: usize,
    others: usize,
    ended_otherwise: usize,
}

impl Done {
    fn add(&mut self, report: &Value) {
        let mut acted = 0;
        for item in report["items"].as_array().unwrap() {
            match item["outcome"].as_str() {
                None | Some("refused") => continue,
                Some("closed-lost") => self.lost_closed += 1,
                Some("closed-by-owner" | "neutered") => self.others += 1,
                Some(_) => {
                    self.ended_otherwise += 1;
                    continue;
                }
            }
            acted += 1;
        }
        self.runs += 1;
        self.acted += usize::from(acted > 0);
    }
}

/// The program, and who asks it.
struct Program {
    folder: TempDir,
    held: Mutex<Held>,
    word: String,
    over: AtomicBool,
}

impl Program {
    fn start() -> Self {
        let folder = tempdir().unwrap();
        let files = folder.path().join("files");
        std::fs::create_dir(&files).unwrap();
        let held = Held::watched(folder.path(), hands_round(), &[files.to_str().unwrap()]);
        Self {
            word: held.word(),
            held: Mutex::new(held),
            folder,
            over: AtomicBool::new(false),
        }
    }

    fn dir(&self) -> &Path {
        self.folder.path()
    }

    fn ask(&self, what: &str) -> String {
        self.held.lock().unwrap().ask(what)
    }

    /// How much it has done, none of which may have gone wrong.
    fn operations(&self) -> u64 {
        let said = self.ask("c");
        let words: Vec<&str> = said.split(' ').collect();
        assert_eq!(words[2..4], ["WRONG", "0"], "{said}");
        words[1].parse().unwrap()
    }

    /// Has it lose more, and fixes, until it is over.
    fn fix(&self, is_forced: bool, often: &AtomicBool) -> Done {
        let mut done = Done::default();
        while !self.over.load(Ordering::Relaxed) {
            self.ask("l 100");
            let output = self.command(is_forced).output().unwrap();
            done.add(&report_of(&output));
            // What is forced is also to end connections, from outside.
            let enough = done.acted >= FIXES && (!is_forced || done.others > 0);
            often.store(enough, Ordering::Relaxed);
        }
        done
    }

    /// The usual memguard, with every verdict forced or not.
    fn command(&self, is_forced: bool) -> Command {
        let usual = memguard(self.dir());
        let program = match is_forced {
            true => artifacts::forced().as_os_str(),
            false => usual.get_program(),
        };
        let mut command = Command::new(program);
        for (name, value) in usual.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if is_forced {
            command.env("MEMGUARD_FORCED_VERDICTS", "leak");
        }
        command.args(["fix", "--yes", "--format", "json", "--min-age", "0s"]);
        command.args(["--close-lost", "--rate", "unlimited", &self.word]);
        command
    }

    /// Somebody says that what is lost leaks.
    fn blame_what_is_lost(&self) {
        self.ask("l 20");
        let report = json(
            self.dir(),
            &["report", "--min-age", "0s", "--format", "json", &self.word],
        );
        let findings = report["findings"].as_array().unwrap();
        let lost = findings.iter().find(|finding| {
            let frames = finding["stack"].as_array().unwrap();
            frames.iter().any(|frame| frame["function"] == "lose_one")
        });
        let id = lost.unwrap_or_else(|| panic!("{report}"))["id"].as_str();
        let labelled = run(self.dir(), &["label", "leak", id.unwrap()]);
        assert_eq!(code(&labelled), 0, "{}", stderr(&labelled));
    }

    /// Lost files that are open, as the kernel counts.
    fn open_lost(&self) -> usize {
        let links = std::fs::read_dir(format!("/proc/{}/fd", self.word)).unwrap();
        let names = links
            .flatten()
            .filter_map(|link| std::fs::read_link(link.path()).ok());
        let prefix = self.dir().join("files/lost-");
        names
            .filter(|name| name.to_str().unwrap().starts_with(prefix.to_str().unwrap()))
            .count()
    }

    fn made_lost(&self) -> usize {
        let files = std::fs::read_dir(self.dir().join("files")).unwrap();
        let names = files.flatten().map(|file| file.file_name());
        names
            .filter(|name| name.to_str().unwrap().starts_with("lost-"))
            .count()
    }
}

fn report_of(output: &Output) -> Value {
    let report = serde_json::from_slice(&output.stdout);
    report.unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// Ends the fixes also when the program complains.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "takes minutes; docs/FIXES.md has the command"]
fn what_is_in_hand_is_not_touched_while_its_number_goes_round() {
    let program = Program::start();
    program.blame_what_is_lost();
    let begun = Instant::now();
    let often = [AtomicBool::new(false), AtomicBool::new(false)];
    let (forced, usual) = std::thread::scope(|scope| {
        let over = Over(&program.over);
        let forced = scope.spawn(|| program.fix(true, &often[0]));
        let usual = scope.spawn(|| program.fix(false, &often[1]));
        let patience = if is_long() { PATIENCE } else { SHORT };
        let waits = || {
            let acted = often.iter().all(|often| often.load(Ordering::Relaxed));
            !acted && begun.elapsed() < patience
        };
        while program.operations() < wanted_operations() || waits() {
            sleep(Duration::from_millis(100));
        }
        drop(over);
        (forced.join().unwrap(), usual.join().unwrap())
    });
    println!(
        "{} operations in {:.0} s; forced: {forced:?}; lost: {usual:?}",
        program.operations(),
        begun.elapsed().as_secs_f64()
    );
    // As the kernel counts; nothing but the lost ones, and each of them once.
    let closed = program.made_lost() - program.open_lost();
    assert_eq!(forced.lost_closed + usual.lost_closed, closed);
    assert_eq!(usual.others, 0, "only what is lost was labelled");
    let acted = forced.others > 0 && usual.acted > 0;
    assert!(acted || !is_long(), "no fix ever acted");
    program.operations();
    program.held.into_inner().unwrap().kill();
}
