//! Work that takes locks, asked for from outside.
//!
//! Guards, in `preload/src/quiet.rs`: the way from the thread's start to the
//! call that waits must be one of ordinary calls (without it the program stands
//! still as soon as a handler that came upon malloc waits), no call back from
//! libc or the loader may lie in between, and the stack must be the thread's
//! own. A handler and a call back from the loader are kept out twice: by what
//! they are, and by libc's code that lies between. What may not be done waits,
//! and is done when the program waits of itself.

use std::path::Path;

use memguard_tests::{Held, Mail, Program, skip};
use shm_protocol::codes::Allocator;
use shm_protocol::mailbox::{Answer, GIVEN, Phase, Verb};

const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

fn held(words: &[&str]) -> Held {
    let start = Program::fixture("quiet");
    words.iter().fold(start, |all, word| all.arg(word)).hold()
}

fn mail_of(held: &Held) -> Mail {
    Mail::of(held.pid(), held.folder())
}

/// Of what the program wrote: pages of files come in as code is run.
fn resident_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
    let text = text.expect("the process is there");
    let field = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number
            .expect("the field is there")
            .parse()
            .expect("a number")
    };
    field("Anonymous:") - field("LazyFree:")
}

/// A fragmented heap of 100 MB goes back but for what is in use.
#[track_caller]
fn trims(mut held: Held, allocator: Allocator) {
    let before_kib = resident_kib(held.pid());
    assert!(before_kib > 90_000, "{before_kib} KiB are no heap");
    let mail = mail_of(&held);
    mail.post(0, 1, Verb::TrimHeap, &[]);
    held.go_on();
    assert_eq!(mail.answer(0, 1), Answer::Done);
    let words = [0, 1].map(|at| mail.argument(0, GIVEN + at));
    assert_eq!(words[0], allocator as u64);
    assert!(words[1] > 0, "it took no time");
    let after_kib = resident_kib(held.pid());
    // mimalloc gives back whole pages of blocks only, and had done so before.
    let most_kib = match allocator {
        Allocator::Mimalloc => before_kib,
        _ => before_kib / 2,
    };
    assert!(after_kib <= most_kib, "{before_kib} -> {after_kib} KiB");
    held.finish_ok();
}

#[test]
fn every_call_that_waits_is_a_quiet_moment() {
    let ways = [
        "poll",
        "ppoll",
        "select",
        "pselect",
        "epoll_wait",
        "epoll_pwait",
        "accept",
        "accept4",
        "nanosleep",
        "clock_nanosleep",
        "usleep",
        "sleep",
        "thrd_sleep",
    ];
    for way in ways {
        println!("{way}");
        trims(held(&["trim", way]), Allocator::Glibc);
    }
}

#[test]
fn every_allocator_gives_back() {
    let all = [
        ("libjemalloc.so.2", Allocator::Jemalloc),
        ("libtcmalloc.so.4", Allocator::Tcmalloc),
        ("libtcmalloc_minimal.so.4", Allocator::Tcmalloc),
        ("libmimalloc.so.2", Allocator::Mimalloc),
    ];
    for (name, allocator) in all {
        let path = Path::new(LIBRARIES).join(name);
        if !skip::file("every_allocator_gives_back", &path.to_string_lossy()) {
            continue;
        }
        println!("{name}");
        let program = Program::fixture("quiet").arg("trim").arg("epoll_wait");
        trims(program.clone().preload_after(&path).hold(), allocator);
        trims(program.preload_before(&path).hold(), allocator);
    }
}

/// Commands of every verb that takes locks wait; the program comes by calls
/// that wait where nothing may be done, then of itself.
#[track_caller]
fn waits_for_a_quiet_moment(words: &[&str], least: u64) {
    let mut held = held(words);
    let mail = mail_of(&held);
    for slot in 0..4 {
        mail.post(slot, 1, Verb::TrimHeap, &[]);
    }
    mail.post(4, 1, Verb::CollectPython, &[]);
    held.go_on();
    let waited = held.value("waited");
    assert!(waited >= least, "it waited {waited} times");
    let phases: Vec<_> = (0..5)
        .map(|slot| mail.state(slot).map(|state| state.phase))
        .collect();
    assert_eq!(phases, [Some(Phase::Ready); 5], "{words:?}");
    mail.post_until(1, 2, Verb::TrimHeap, &[], 0);
    held.go_on();
    assert_eq!(mail.answer(0, 1), Answer::Done);
    let late = mail.state(1).map(|state| (state.phase, state.sequence));
    assert_eq!(late, Some((Phase::Expired, 2)));
    held.finish_ok();
}

#[test]
fn a_handler_may_wait_while_it_comes_upon_malloc() {
    waits_for_a_quiet_moment(&["handler", "own"], 3000);
}

#[test]
fn a_handler_may_wait_on_its_own_stack() {
    waits_for_a_quiet_moment(&["handler", "alternate"], 3000);
}

#[test]
fn a_call_back_from_libc_is_no_quiet_moment() {
    for way in ["qsort", "loader", "atfork", "once"] {
        println!("{way}");
        waits_for_a_quiet_moment(&["between", way], 1);
    }
}

#[test]
fn a_coroutine_is_no_quiet_moment() {
    for how in ["switched", "called"] {
        println!("{how}");
        waits_for_a_quiet_moment(&["coroutine", how], 10);
    }
}

#[test]
fn a_child_does_nothing_for_its_parent() {
    waits_for_a_quiet_moment(&["forks"], 20);
}

/// Threads trim while others are at it, and are cancelled where they wait.
#[test]
fn a_thread_may_be_cancelled_meanwhile() {
    let mut held = held(&["thread"]);
    let mail = mail_of(&held);
    held.go_on();
    for slot in 0..16 {
        mail.post(slot, 1, Verb::TrimHeap, &[]);
    }
    for slot in 0..8 {
        assert_eq!(mail.answer(slot, 1), Answer::Done);
    }
    // The others may still be under way.
    held.go_on();
    held.finish_ok();
}
