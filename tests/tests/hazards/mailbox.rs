//! Commands from outside, carried out within a real program.
//!
//! Guards, each in `preload/src/execute.rs`: generation and origin of the row
//! (without them a number's next holder is closed), the object by fstat (without
//! it a number that came back past the hooks is), the protected rows, the check
//! over a command's words, blocked signals (without them a handler that jumps
//! out of a command leaves the mailbox to nobody). That a number is claimed
//! before it is closed matters for moments that a run hardly meets: loom has
//! them, in `shm-protocol/tests/loom/fds.rs`.

use memguard_tests::mail::words_of;
use memguard_tests::record::files_of;
use memguard_tests::{Held, Mail, Program, Scratch, held};
use shm_protocol::codes::{Counter, Kind};
use shm_protocol::mailbox::{Answer, MailSlot, OLD_TIMER, Phase, SLOTS, Verb};

fn held_as(words: &[&str]) -> Held {
    let scratch = Scratch::new();
    let files = scratch.join("files");
    std::fs::create_dir(&files).expect("a folder can be made");
    let mut program = Program::fixture("mailbox").arg(words[0]).arg(&files);
    for word in &words[1..] {
        program = program.arg(word);
    }
    program.hold_in(scratch)
}

fn mail_of(held: &Held) -> Mail {
    Mail::of(held.pid(), held.folder())
}

fn words(held: &Held, name: &str) -> [u64; 5] {
    let fd = held.value(name) as i32;
    words_of(held.pid(), held.folder(), fd).unwrap_or_else(|| panic!("{name} is not open"))
}

fn is_open(held: &Held, words: &[u64; 5]) -> bool {
    held::open_fds(held.pid()).contains(&(words[0] as i32))
}

#[test]
fn a_lost_descriptor_is_closed_and_nothing_else() {
    let mut held = held_as(&["still"]);
    let mail = mail_of(&held);
    let [lost, other, third] = ["lost0", "lost1", "lost2"].map(|name| words(&held, name));
    let kept = words(&held, "kept");
    let wrong = |at: usize| {
        let mut words = kept;
        words[at] ^= 1;
        words
    };
    mail.post(0, 1, Verb::CloseLost, &lost);
    for (slot, at) in [(1, 1), (2, 2), (3, 3), (4, 4)] {
        mail.post(slot, 1, Verb::CloseLost, &wrong(at));
    }
    mail.post(5, 1, Verb::CloseLost, &[1, 0, 0, 0, 0]);
    mail.post(6, 1, Verb::CloseLost, &[u64::MAX, 0, 0, 0, 0]);
    mail.post_until(7, 1, Verb::CloseLost, &other, 0);
    mail.post(8, 1, Verb::CloseLost, &third);
    mail.post(9, 1, Verb::CloseLost, &third);
    mail.post_torn(10, 1, Verb::CloseLost, &kept);
    held.go_on();
    let answers: Vec<Answer> = [0, 1, 2, 3, 4, 6, 8, 9]
        .map(|slot| mail.answer(slot, 1))
        .into();
    use Answer::{Done, Gone, Malformed, OtherObject};
    let expected = [
        Done,
        Gone,
        Gone,
        OtherObject,
        OtherObject,
        Malformed,
        Done,
        Gone,
    ];
    assert_eq!(answers, expected);
    assert_ne!(mail.answer(5, 1), Done);
    assert_eq!(mail.answer(10, 1), Malformed);
    let late = mail.state(7).map(|state| state.phase);
    assert_eq!(late, Some(Phase::Expired), "{:?}", mail.answer(7, 1));
    let open = [&lost, &other, &third, &kept].map(|words| is_open(&held, words));
    assert_eq!(open, [false, true, false, true]);
    held.record().assert_rows_are_true(held.pid());
    assert!(held.record().counter(Counter::BadCommands) > 0);
    // The same command once more, when the number may be another's.
    mail.post(0, 1, Verb::CloseLost, &lost);
    held.go_on();
    assert_eq!(mail.answer(0, 1), Gone);
    held.finish_ok();
}

/// Whoever asks for it: the first three, what was handed over to this program
/// or by it, streams, and what is placed or mapped.
#[test]
fn what_may_be_used_unseen_is_never_closed() {
    let mut held = held_as(&["still"]);
    let mail = mail_of(&held);
    let names = ["inherited", "second", "placed", "stream", "mapped", "sent"];
    let all = names.map(|name| words(&held, name));
    for (slot, words) in all.iter().enumerate() {
        mail.post(slot, 1, Verb::CloseLost, words);
    }
    held.go_on();
    for (slot, words) in all.iter().enumerate() {
        let name = names[slot];
        assert_eq!(mail.answer(slot, 1), Answer::Protected, "{name}");
        assert!(is_open(&held, words), "{name}");
    }
    held.finish_ok();
}

/// A jump out of a command under way would leave the mailbox to nobody.
#[test]
fn a_handler_may_jump_out_of_hooks_while_commands_wait() {
    let mut held = held_as(&["jumps"]);
    let mail = mail_of(&held);
    let lost = words(&held, "lost0");
    let mut wrong = lost;
    wrong[4] ^= 1;
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (end, mail) = (&over, &mail);
        scope.spawn(move || {
            let mut sequence = 1;
            while !end.load(std::sync::atomic::Ordering::Relaxed) {
                sequence += 1;
                for slot in 1..SLOTS {
                    mail.post(slot, sequence, Verb::CloseLost, &wrong);
                }
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
        });
        held.go_on();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(held.value("jumped") > 100, "it was hardly ever interrupted");
    mail.post(0, 1, Verb::CloseLost, &lost);
    held.go_on();
    assert_eq!(mail.answer(0, 1), Answer::Done);
    held.finish_ok();
}

#[test]
fn a_timer_is_stopped_and_set_again() {
    let mut held = held_as(&["timers"]);
    let mail = mail_of(&held);
    let number = held.value("timer");
    let things = held.record().view().things();
    let row = things
        .iter()
        .find(|thing| thing.kind == Kind::PosixTimer && u64::from(thing.numbers().1) == number)
        .expect("the timer has a row");
    let name = [number, row.row.origin.pack()];
    mail.post(0, 1, Verb::DisarmTimer, &name);
    mail.post(1, 1, Verb::DisarmTimer, &[number, name[1] ^ 1]);
    held.go_on();
    assert_eq!(
        [mail.answer(0, 1), mail.answer(1, 1)],
        [Answer::Done, Answer::Gone]
    );
    assert_eq!((held.value("left0"), held.value("left1") > 3000), (0, true));
    let old: Vec<u64> = (0..4).map(|at| mail.argument(0, OLD_TIMER + at)).collect();
    assert_eq!(old[0], 3600);
    assert!(old[2] > 3000, "{old:?}");
    let restored = [&name[..], &old[..]].concat();
    mail.post(0, 2, Verb::RestoreTimer, &restored);
    held.go_on();
    assert_eq!(mail.answer(0, 2), Answer::Done);
    assert!(held.value("left0") > 3000);
    mail.post(0, 3, Verb::RestoreTimer, &restored);
    held.go_on();
    assert_eq!(mail.answer(0, 3), Answer::Changed);
    held.finish_ok();
}

/// Commands for what is lost, each of them four times, while four threads hand
/// the same numbers round: they look at content and identity of all they have.
#[test]
fn numbers_that_go_round_are_never_mistaken() {
    const OPERATIONS: u64 = 1_000_000;
    let mut held = held_as(&["churn", &OPERATIONS.to_string()]);
    let (pid, folder) = (held.pid(), held.folder().to_owned());
    let over = std::sync::atomic::AtomicBool::new(false);
    let closed = std::thread::scope(|scope| {
        let sender = scope.spawn(|| close_lost_until(pid, &folder, &over));
        held.go_on();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        sender.join().expect("the sender ends")
    });
    assert!(closed > 20, "only {closed} lost files were closed");
    assert!(held.value("done") >= OPERATIONS);
    held.record().assert_rows_are_true(held.pid());
    held.finish_ok();
}

/// How many lost files were closed.
fn close_lost_until(
    pid: u32,
    folder: &std::path::Path,
    over: &std::sync::atomic::AtomicBool,
) -> u32 {
    let mail = Mail::of(pid, folder);
    let (mut closed, mut sequence) = (0, 0);
    while !over.load(std::sync::atomic::Ordering::Relaxed) {
        for fd in lost_by(pid) {
            let Some(words) = words_of(pid, folder, fd) else {
                continue;
            };
            // By now the number may be another's; if it is not, it stays lost.
            if !lost_by(pid).contains(&fd) {
                continue;
            }
            sequence += 1;
            (0..4).for_each(|slot| mail.post(slot, sequence, Verb::CloseLost, &words));
            let answers = (0..4).map(|slot| wait(&mail, slot, sequence, over));
            let done = answers
                .filter(|answer| *answer == Some(Answer::Done))
                .count();
            assert!(done <= 1, "closed {done} times");
            closed += done as u32;
        }
    }
    closed
}

fn wait(
    mail: &Mail,
    slot: usize,
    sequence: u64,
    over: &std::sync::atomic::AtomicBool,
) -> Option<Answer> {
    while !over.load(std::sync::atomic::Ordering::Relaxed) {
        if mail
            .state(slot)
            .is_some_and(|state| state.phase == Phase::Done)
        {
            return Some(mail.answer(slot, sequence));
        }
        std::thread::yield_now();
    }
    None
}

fn lost_by(pid: u32) -> Vec<i32> {
    let name = |fd: &i32| {
        let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
        Some(link.file_name()?.to_str()?.to_owned())
    };
    let mut open = held::open_fds(pid);
    open.retain(|fd| name(fd).is_some_and(|name| name.starts_with("lost")));
    open
}

/// Bytes that nobody meant, for ten seconds.
#[test]
fn random_bytes_do_nothing() {
    let mut held = held_as(&["still", "5000"]);
    let mail = mail_of(&held);
    let before = held::open_fds(held.pid());
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let end = &over;
        scope.spawn(move || scribble(&mail, end));
        held.go_on();
        held.go_on();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(held::open_fds(held.pid()), before);
    assert!(held.record().counter(Counter::BadCommands) > 0);
    assert_eq!(files_of(held.pid(), held.folder()).len(), 1);
    held.finish_ok();
}

fn scribble(mail: &Mail, over: &std::sync::atomic::AtomicBool) {
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let begun = std::time::Instant::now();
    while !over.load(std::sync::atomic::Ordering::Relaxed)
        && begun.elapsed() < std::time::Duration::from_secs(10)
    {
        let mut bytes: Vec<u8> = (0..SLOTS * size_of::<MailSlot>() / 8)
            .flat_map(|_| next().to_le_bytes())
            .collect();
        // Half of the slots are ready, with a verb that exists and small words.
        for slot in (0..SLOTS).step_by(2) {
            let at = slot * size_of::<MailSlot>();
            bytes[at + 7] = Phase::Ready as u8;
            bytes[at + 8..at + 16].fill(0);
            bytes[at + 14] = (next() % 21) as u8;
            bytes[at + 25..at + 32].fill(0);
        }
        mail.scribble(&bytes);
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
}

/// A handler that closes comes upon malloc, printf and every hook.
#[test]
fn a_handler_may_close_while_commands_wait() {
    let mut held = held_as(&["signals"]);
    let mail = mail_of(&held);
    let lost: Vec<[u64; 5]> = (0..12).map(|n| words(&held, &format!("lost{n}"))).collect();
    for (slot, words) in lost.iter().enumerate() {
        mail.post(slot, 1, Verb::CloseLost, words);
    }
    held.go_on();
    for (slot, words) in lost.iter().enumerate() {
        assert_eq!(mail.answer(slot, 1), Answer::Done);
        assert!(!is_open(&held, words));
    }
    held.record().assert_rows_are_true(held.pid());
    held.finish_ok();
}

/// A command is carried out once however many children the program makes, and
/// none of them ends for it. What still waits when it calls exec is lost with
/// the image, and the next image's numbers are safe from it.
#[test]
fn forks_and_exec_leave_commands_where_they_are() {
    let mut held = held_as(&["forks"]);
    let mail = mail_of(&held);
    let [first, second] = ["lost0", "lost1"].map(|name| words(&held, name));
    mail.post(0, 1, Verb::CloseLost, &first);
    held.go_on();
    // The parent comes by a hook itself when it forks.
    assert_eq!(mail.answer(0, 1), Answer::Done);
    assert!(!is_open(&held, &first) && is_open(&held, &second));
    mail.post(1, 1, Verb::CloseLost, &second);
    held.go_on();
    assert_eq!(mail.state(1).map(|state| state.phase), Some(Phase::Ready));
    let inherited = words_of(held.pid(), held.folder(), second[0] as i32);
    let new_mail = mail_of(&held);
    new_mail.post(0, 1, Verb::CloseLost, &inherited.expect("it is open"));
    held.go_on();
    assert_eq!(new_mail.answer(0, 1), Answer::Protected, "it is inherited");
    assert_eq!(mail.state(1).map(|state| state.phase), Some(Phase::Ready));
    assert!(is_open(&held, &second));
    held.finish_ok();
}
