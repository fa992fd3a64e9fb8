//! What is used is stamped, and nothing else.
//!
//! Guards: the stub of each call (without it, its descriptor is as idle as the
//! one beside it); the page that fork wipes and the flag of vfork (without
//! them a child's uses count as the parent's); creation stamps (without that a
//! number keeps the stamp of its last holder); the rows that say who else may
//! use it.

use memguard_tests::facts::Fds;
use memguard_tests::{Held, Mode, Program, Scratch};

/// Numbers after a word, with the name of the call.
fn listed(held: &Held, word: &str) -> Vec<(i32, String)> {
    let lines = held
        .said()
        .lines()
        .map(|l| l.split(' ').collect::<Vec<_>>());
    let numbers = lines.filter(|l| l[0] == word && l.len() == 3);
    let listed: Vec<_> = numbers
        .map(|l| (l[1].parse().expect("a number"), l[2].to_owned()))
        .collect();
    assert!(!listed.is_empty(), "the fixture lists what is {word}");
    listed
}

/// How long the one or the other was idle, with their names.
fn idle(held: &Held, fds: &Fds, word: &str) -> Vec<(Option<f64>, String)> {
    let numbers = listed(held, word).into_iter();
    numbers
        .map(|(fd, name)| (fds.get(fd).expect("it is open").idle_s(), name))
        .collect()
}

fn starts(how: Option<&str>, mode: Mode) -> Held {
    let scratch = Scratch::new();
    let folder = scratch.join("files");
    std::fs::create_dir(&folder).expect("a folder can be made");
    let program = Program::fixture("uses").arg(&folder).mode(mode);
    match how {
        Some(how) => program.arg(how),
        None => program,
    }
    .hold_in(scratch)
}

fn used_and_unused(how: Option<&str>, mode: Mode) {
    let held = starts(how, mode);
    let fds = held.fds();
    let known = |word| -> Vec<(f64, String)> {
        let all = idle(&held, &fds, word).into_iter();
        all.map(|(idle, name)| {
            (
                idle.unwrap_or_else(|| panic!("{word} {name}: unknown")),
                name,
            )
        })
        .collect()
    };
    let marker = known("marker")[0].0;
    for (idle, name) in known("used") {
        assert!(
            idle < marker,
            "{name} was used {idle} s ago, after {marker} s"
        );
    }
    for (idle, name) in known("unused") {
        assert!(
            idle > marker,
            "{name} was not used for {idle} s, before {marker} s"
        );
    }
    for (idle, number) in self::idle(&held, &fds, "unjudged") {
        assert_eq!(idle, None, "unjudged {number}");
    }
    held.finish_ok();
}

#[test]
fn every_use_counts_and_nothing_else() {
    for mode in [Mode::Light, Mode::Deep] {
        used_and_unused(None, mode);
    }
}

#[test]
fn a_childs_uses_are_its_own() {
    for how in ["fork", "_Fork", "clone", "vfork"] {
        used_and_unused(Some(how), Mode::Light);
    }
}

#[test]
fn switched_off_nothing_is_known_of_uses() {
    let held = starts(None, Mode::Off);
    let fds = held.fds();
    for word in ["used", "unused"] {
        for (idle, name) in idle(&held, &fds, word) {
            assert_eq!(idle, None, "{word} {name}");
        }
    }
    held.finish_ok();
}
