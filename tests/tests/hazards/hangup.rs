//! Connections that are hung up from outside of a program that SIGPIPE would
//! kill: it gets EPIPE, by whatever it writes with.
//!
//! Guards: the trap's bit in the stamp, and that it stays there; the answer in
//! every stub that writes; the table that a child has a copy of
//! (`preload/src/traps.rs`); the object under the number (without it the
//! number's next holder is mute; `forget` only spares that one the question).
//! That the bit outlives a stamp stored at the very same moment (the swaps in
//! `due`, in `preload/src/hooks/uses.rs`, and in `hit`) is beyond what a run
//! meets: it can be read there, and is not tested here.

use memguard_tests::mail::words_of;
use memguard_tests::{Held, Mail, Program};
use shm_protocol::codes::Mode;
use shm_protocol::mailbox::{Answer, SLOTS, Verb};

fn held_as(how: &str) -> Held {
    Program::fixture("hangup").arg(how).hold()
}

/// Has the program expect that these are hung up; it comes by meanwhile.
fn expect_hang_ups(held: &mut Held, names: &[String], sequence: u64) {
    let mail = Mail::of(held.pid(), held.folder());
    let words: Vec<[u64; 5]> = names.iter().map(|name| words(held, name)).collect();
    let (pid, folder) = (held.pid(), held.folder().to_owned());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (round, some) in words.chunks(SLOTS).enumerate() {
                let sequence = sequence + round as u64;
                for (slot, words) in some.iter().enumerate() {
                    mail.post(slot, sequence, Verb::ExpectHangUp, words);
                }
                for slot in 0..some.len() {
                    assert_eq!(
                        mail.answer(slot, sequence),
                        Answer::Done,
                        "{pid} {folder:?}"
                    );
                }
            }
        });
        held.go_on();
    });
}

fn words(held: &Held, name: &str) -> [u64; 5] {
    let fd = held.value(name) as i32;
    words_of(held.pid(), held.folder(), fd).expect("it is open")
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("fd{n}")).collect()
}

/// Both forms of every number: in the stubs' first run of stamps and above it.
#[test]
fn every_way_to_write_answers_epipe() {
    for how in ["all", "high"] {
        let mut held = held_as(how);
        expect_hang_ups(&mut held, &names(32), 1);
        held.go_on();
        // Traps hold where nothing is stamped.
        Mail::of(held.pid(), held.folder()).wish(Mode::Off, 1);
        held.go_on();
        held.finish_ok();
    }
}

#[test]
fn the_next_holder_of_a_number_writes_as_ever() {
    let mut held = held_as("next");
    expect_hang_ups(&mut held, &names(2), 1);
    held.go_on();
    expect_hang_ups(&mut held, &["fd2".to_owned()], 9);
    held.go_on();
    held.finish_ok();
}

#[test]
fn children_do_not_die_of_it_either() {
    let mut held = held_as("child");
    expect_hang_ups(&mut held, &names(1), 1);
    held.go_on();
    held.finish_ok();
}
