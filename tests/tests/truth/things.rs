//! Timers, registrations, watches, ended threads and children: the library's
//! rows, the kernel's lists, the fixture's own word and `memguard report` must
//! be one.
//!
//! Guards: every hook of theirs, by name and by syscall(2); the notice that a
//! running thread is detached; the look at numbers that tells stale
//! registrations. Without one of them a count is off.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use memguard_tests::{Held, Mode, Program, Record};
use shm_protocol::codes::{Counter, Kind};

/// What the fixture says it holds of a kind, by function.
fn holds(held: &Held, kind: &str) -> BTreeMap<String, u64> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["holds", of, function, count] if of == kind => {
                Some((function.to_owned(), count.parse().ok()?))
            }
            _ => None,
        }
    };
    held.said().lines().filter_map(row).collect()
}

/// What the report says is held of a kind, by function. A verdict may stand
/// behind the kind.
fn reported(held: &Held, kind: &str, functions: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let report = held.report();
    let count = |function: &String| -> u64 {
        let found = report.findings_in(function);
        let of_kind = found.iter().filter(|finding| {
            let (of, verdict) = kind.split_once(' ').unwrap_or((kind, ""));
            finding["kind"] == of && (verdict.is_empty() || finding["verdict"] == verdict)
        });
        of_kind
            .filter_map(|finding| finding["count"].as_u64())
            .sum()
    };
    let counted = functions.keys().map(|name| (name.clone(), count(name)));
    counted.filter(|(_, count)| *count > 0).collect()
}

fn rows(record: &Record, kind: Kind) -> BTreeSet<(u32, u32)> {
    let things = record.view().things();
    let of_kind = things.iter().filter(|thing| thing.kind == kind);
    of_kind.map(|thing| thing.numbers()).collect()
}

/// Made and given back, by the sites of a kind.
fn lives(record: &Record, kind: Kind) -> (u64, u64) {
    let sites = record.view().sites();
    let of_kind = sites.iter().filter(|site| site.kind == kind);
    of_kind.fold((0, 0), |(born, died), site| {
        (born + site.births, died + site.deaths)
    })
}

/// The numbers behind a word in the lines of a file below /proc/PID.
fn listed(pid: u32, file: &str, word: &str) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a live process");
    let number = |line: &str| {
        let rest = line.strip_prefix(word)?.trim_start();
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    text.lines().filter_map(number).collect()
}

/// The descriptors of a kind, by the kernel's name for it.
fn numbers_of(pid: u32, name: &str) -> Vec<i32> {
    let of_kind = |fd: &i32| {
        let link = fs::read_link(format!("/proc/{pid}/fd/{fd}"));
        link.is_ok_and(|link| link.to_string_lossy().contains(name))
    };
    let open = memguard_tests::held::open_fds(pid);
    open.into_iter().filter(of_kind).collect()
}

/// Runs the fixture bare and watched, and stands it still in two modes.
fn each_mode(which: &str, look: impl Fn(&Held)) {
    let program = Program::fixture("things").arg(which);
    program.assert_same().ok();
    for mode in [Mode::Light, Mode::Deep] {
        let held = program.clone().mode(mode).hold();
        look(&held);
        held.finish_ok();
    }
}

#[test]
fn timers_are_those_of_the_kernel() {
    each_mode("timers", |held| {
        let record = held.record();
        let numbers: BTreeSet<u32> = listed(held.pid(), "timers", "ID:").into_iter().collect();
        let known: BTreeSet<u32> = rows(&record, Kind::PosixTimer)
            .into_iter()
            .map(|(_, id)| id)
            .collect();
        assert_eq!(known, numbers);
        assert_eq!(lives(&record, Kind::PosixTimer), (held.value("made"), 4));
        let said = holds(held, "timers");
        assert_eq!(reported(held, "timers", &said), said);
        let report = held.report();
        let found = report.findings_in("make_timer");
        let texts: Vec<&str> = found[0]["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["what"].as_str())
            .collect();
        let ends = |end: &str| texts.iter().filter(|text| text.ends_with(end)).count();
        assert_eq!(
            (ends("every 1.0 h"), ends("every 60 min"), ends("not set")),
            (0, 1, 5),
            "{texts:?}"
        );
        let calls = texts
            .iter()
            .filter(|text| text.contains("calls a function"));
        assert_eq!(calls.count(), 2, "{texts:?}");
    });
}

#[test]
fn stale_registrations_are_proven_and_no_other_is() {
    each_mode("registrations", |held| {
        let pid = held.pid();
        let epolls = numbers_of(pid, "eventpoll");
        let kernel: BTreeSet<(u32, u32)> = epolls
            .iter()
            .flat_map(|epoll| {
                let list = listed(pid, &format!("fdinfo/{epoll}"), "tfd:");
                list.into_iter().map(|fd| (*epoll as u32, fd))
            })
            .collect();
        let known = rows(&held.record(), Kind::Registration);
        assert!(known.is_superset(&kernel), "{known:?} {kernel:?}");
        let (live, stale) = (holds(held, "live"), holds(held, "stale"));
        let all: u64 = live.values().chain(stale.values()).sum();
        assert_eq!(kernel.len() as u64, all);
        assert_eq!(reported(held, "listeners leak", &stale), stale);
        let leaks: u64 = held.report().value["findings"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|found| found["verdict"] == "leak" && found["confidence"] == 1.0)
            .filter_map(|found| found["count"].as_u64())
            .sum();
        assert_eq!(leaks, stale.values().sum::<u64>());
    });
}

/// The kernel alone shows them, without their creators.
#[test]
fn stale_registrations_are_proven_without_the_library() {
    let held = Program::fixture("things").arg("registrations").hold_bare();
    let folder = memguard_tests::Scratch::new();
    let report = memguard_tests::Report::of(held.pid(), &folder.segments());
    let found = report.value["findings"].as_array().expect("findings");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["verdict"], "leak");
    assert_eq!(found[0]["kind"], "listeners");
    let stale: u64 = holds(&held, "stale").values().sum();
    assert_eq!(found[0]["count"], stale);
    held.finish_ok();
}

#[test]
fn registrations_of_python_are_seen_by_name_and_by_number() {
    let text = "import ctypes, os, select, sys; c = ctypes.CDLL(None); e = select.epoll()\n\
        fds = [c.eventfd(0, 0) for _ in range(6)]; event = (ctypes.c_char * 12)()\n\
        [e.register(fd) for fd in fds[:4]]; e.unregister(fds[0])\n\
        [c.syscall(233, e.fileno(), 1, fd, event) for fd in fds[4:]]\n\
        c.syscall(233, e.fileno(), 2, fds[4], None)\n\
        print('HOLD', flush=True); sys.stdin.readline()";
    let program = Program::at("/usr/bin/python3").arg("-c").arg(text);
    let held = program.hold();
    let epoll = numbers_of(held.pid(), "eventpoll")[0];
    let listed = listed(held.pid(), &format!("fdinfo/{epoll}"), "tfd:");
    let kernel: BTreeSet<(u32, u32)> = listed.into_iter().map(|fd| (epoll as u32, fd)).collect();
    assert_eq!(kernel.len(), 4);
    assert_eq!(rows(&held.record(), Kind::Registration), kernel);
    held.finish_ok();
}

/// The last look is kept beside the segment.
#[test]
fn all_of_them_are_known_after_a_crash() {
    for which in ["timers", "registrations", "watches", "threads", "children"] {
        let mut held = Program::fixture("things").arg(which).hold();
        let findings = |held: &memguard_tests::Report| {
            let all = held.value["findings"].as_array().expect("findings").iter();
            let mut found: Vec<String> = all
                .map(|found| format!("{} {} {}", found["kind"], found["id"], found["count"]))
                .collect();
            found.sort();
            found
        };
        let (pid, before) = (held.pid(), findings(&held.report()));
        held.kill();
        let after = memguard_tests::Report::of(pid, held.folder());
        assert!(!after.alive());
        assert_eq!(findings(&after), before, "{which}");
    }
}

#[test]
fn watches_are_those_of_the_kernel() {
    each_mode("watches", |held| {
        let inotify = numbers_of(held.pid(), "inotify")[0];
        let text = fs::read_to_string(format!("/proc/{}/fdinfo/{inotify}", held.pid()));
        let text = text.expect("a live process");
        let numbers = text.lines().filter_map(|line| {
            let rest = line.strip_prefix("inotify wd:")?;
            u32::from_str_radix(rest.split(' ').next()?, 16).ok()
        });
        let kernel: Vec<u32> = numbers.collect();
        let record = held.record();
        let known = rows(&record, Kind::Watch);
        assert!(
            kernel
                .iter()
                .all(|watch| known.contains(&(inotify as u32, *watch)))
        );
        // The kernel ended one by itself, and three of one place; the report knows.
        assert_eq!(known.len(), kernel.len() + 4);
        assert_eq!(lives(&record, Kind::Watch), (10, 1));
        let said = holds(held, "watches");
        assert_eq!(reported(held, "listeners", &said), said);
        let found = held.report().findings_in("watch_many");
        let evidence = found[0]["evidence"].to_string();
        assert!(
            evidence.contains("The kernel removed 3 ones with what they watched."),
            "{evidence}"
        );
    });
}

#[test]
fn threads_that_nobody_joins_or_detaches_are_told() {
    each_mode("threads", |held| {
        let said = holds(held, "threads");
        let record = held.record();
        let things = record.view().things();
        let ended: Vec<u64> = things
            .iter()
            .filter(|thing| thing.kind == Kind::Thread)
            .map(|thing| thing.thread().1)
            .collect();
        assert_eq!(ended.len() as u64, said.values().sum::<u64>());
        assert!(ended.iter().all(|stack| *stack >= 1 << 20), "{ended:?}");
        assert_eq!(reported(held, "threads", &said), said);
    });
}

#[test]
fn children_that_nobody_waits_for_are_told() {
    each_mode("children", |held| {
        let pid = held.pid();
        let text =
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("children");
        let kernel: BTreeSet<u32> = text
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let record = held.record();
        let known: BTreeSet<u32> = rows(&record, Kind::Child)
            .into_iter()
            .map(|(_, pid)| pid)
            .collect();
        assert_eq!(known, kernel);
        let made = held.value("made");
        assert_eq!(
            lives(&record, Kind::Child),
            (made, made - kernel.len() as u64)
        );
        let said = holds(held, "children");
        assert_eq!(reported(held, "children", &said), said);
        // One of them runs.
        assert_eq!(said.values().sum::<u64>(), kernel.len() as u64 - 1);
    });
}

#[test]
fn a_forked_child_has_none_of_its_parents_rows() {
    let held = Program::fixture("things").arg("inheritance").hold();
    let kinds = |record: &Record| -> Vec<Kind> {
        let mut kinds: Vec<Kind> = record.view().things().iter().map(|t| t.kind).collect();
        kinds.sort();
        kinds
    };
    let parents = [
        Kind::Thread,
        Kind::PosixTimer,
        Kind::Registration,
        Kind::Child,
    ];
    assert_eq!(kinds(&held.record()), parents);
    let child = held.value("child") as u32;
    assert_eq!(kinds(&held.record_of(child)), [Kind::PosixTimer; 2]);
    held.finish_ok();
}

/// Guard: `plain::begin`. Without it some of them find another making room.
#[test]
fn threads_that_end_at_once_all_leave_a_row() {
    for _ in 0..50 {
        let held = Program::fixture("things")
            .arg("at_once")
            .mode(Mode::Deep)
            .hold();
        let record = held.record();
        assert_eq!(record.counter(Counter::RowsFull), 0);
        assert_eq!(lives(&record, Kind::Thread), (2, 0));
        held.finish_ok();
    }
}

#[test]
fn storms_leave_the_tables_where_they_were() {
    let mut held = Program::fixture("things").arg("storm").hold();
    let size = |held: &Held| held.record().view().header().used_bytes;
    let first = size(&held);
    held.go_on();
    let record = held.record();
    let grown = size(&held) - first;
    // A level of the smallest table is 16 KiB; rows of 8 000 registrations
    // would be 256 KiB.
    assert!(grown <= 64 << 10, "grown by {grown} bytes");
    assert_eq!(record.counter(Counter::RowsFull), 0);
    for kind in [Kind::Thread, Kind::PosixTimer] {
        assert_eq!(rows(&record, kind).len(), 0, "{kind:?}");
        let (born, died) = lives(&record, kind);
        assert_eq!(born, died, "{kind:?}");
    }
    let report = held.report();
    let found = report.value["findings"].as_array().expect("findings");
    let of_things = found
        .iter()
        .filter(|f| f["kind"] == "children" || f["kind"] == "threads");
    assert_eq!(of_things.count(), 0, "{found:#?}");
    held.finish_ok();
}
