//! Files that are parked, with a placeholder on their number: the first touch,
//! whatever it is, finds the file as it was.
//!
//! Guards, in `preload/src/retire.rs` unless said otherwise: each stub's question
//! before the call (without it the call answers EBADF); the mark, which a use
//! takes off; the identity of what is parked; that closes go around it and take
//! it along; the child's own table (`descriptors::ours`); `before_exec`.

use memguard_tests::mail::words_of;
use memguard_tests::{Held, Mail, Program, Scratch, held};
use shm_protocol::mailbox::{Answer, SLOTS, Verb};

fn held_as(how: &str) -> Held {
    let scratch = Scratch::new();
    let files = scratch.join("files");
    std::fs::create_dir(&files).expect("a folder can be made");
    Program::fixture("retire")
        .arg(how)
        .arg(&files)
        .hold_in(scratch)
}

/// What a command says of each of so many files.
fn words(held: &Held, count: usize) -> Vec<[u64; 5]> {
    let of = |n: usize| {
        let fd = held.value(&format!("fd{n}")) as i32;
        words_of(held.pid(), held.folder(), fd).expect("it is open")
    };
    (0..count).map(of).collect()
}

/// Sends a command about each while the program comes by; the answers.
fn ask(held: &mut Held, verb: Verb, files: &[[u64; 5]], sequence: u64) -> Vec<Answer> {
    let mail = Mail::of(held.pid(), held.folder());
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let mut answers = Vec::new();
            for (round, some) in files.chunks(SLOTS).enumerate() {
                let sequence = sequence + round as u64;
                for (slot, words) in some.iter().enumerate() {
                    mail.post(slot, sequence, verb, words);
                }
                answers.extend((0..some.len()).map(|slot| mail.answer(slot, sequence)));
            }
            answers
        });
        held.go_on();
        asked.join().expect("the sender ends")
    })
}

fn retire(held: &mut Held, count: usize) -> Vec<[u64; 5]> {
    let files = words(held, count);
    let marked = ask(held, Verb::MarkToRetire, &files, 1);
    assert!(
        marked.iter().all(|answer| *answer == Answer::Done),
        "{marked:?}"
    );
    let taken = ask(held, Verb::Retire, &files, 100);
    assert!(
        taken.iter().all(|answer| *answer == Answer::Done),
        "{taken:?}"
    );
    for (n, words) in files.iter().enumerate() {
        assert_eq!(parked_file(held, words[0] as i32), format!("file{n}"));
    }
    files
}

/// The name of the file for which a placeholder stands at this number: its own
/// name tells where that is.
fn parked_file(held: &Held, fd: i32) -> String {
    let link_of = |fd| link(held, fd).expect("it is open");
    let said = link_of(fd);
    // Whoever comes by a path from outside meets an error, never another file.
    let by_path = std::fs::read(format!("/proc/{}/fd/{fd}", held.pid()));
    let error = by_path.expect_err("a placeholder cannot be opened");
    assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    let number = said.strip_prefix(&format!("/proc/{}/fd/", held.pid()));
    let number = number.unwrap_or_else(|| panic!("no placeholder: {said}"));
    let path = link_of(number.parse().expect("a number"));
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn link(held: &Held, fd: i32) -> Option<String> {
    let link = std::fs::read_link(format!("/proc/{}/fd/{fd}", held.pid())).ok()?;
    Some(link.to_str()?.to_owned())
}

/// How many descriptors name that file.
fn held_open(held: &Held, name: &str) -> usize {
    let open = held::open_fds(held.pid());
    open.iter()
        .filter(|fd| link(held, **fd).is_some_and(|link| link.ends_with(name)))
        .count()
}

#[test]
fn the_first_touch_finds_the_file_as_it_was() {
    const FORMS: usize = 47;
    let mut held = held_as("all");
    let files = retire(&mut held, FORMS + 1);
    held.go_on();
    assert!(!held.said().contains("wrong_form"), "{}", held.said());
    let ended = ask(&mut held, Verb::EndRetired, &files, 200);
    let touched = &ended[..FORMS];
    assert!(
        touched.iter().all(|answer| *answer == Answer::Changed),
        "{ended:?}"
    );
    // The last one was parked until now, and is closed for good.
    assert_eq!(ended[FORMS], Answer::Done);
    assert_eq!(held_open(&held, &format!("/file{FORMS}")), 0);
    assert_eq!(held_open(&held, "/file1"), 1);
    held.finish_ok();
}

#[test]
fn what_is_used_after_the_mark_is_not_taken() {
    let mut held = held_as("used");
    let files = words(&held, 1);
    assert_eq!(
        ask(&mut held, Verb::MarkToRetire, &files, 1),
        [Answer::Done]
    );
    assert_eq!(ask(&mut held, Verb::Retire, &files, 2), [Answer::Changed]);
    assert_eq!(held_open(&held, "/file0"), 1);
    held.finish_ok();
}

#[test]
fn closes_take_what_is_parked_along_and_go_around_the_rest() {
    let mut held = held_as("closes");
    retire(&mut held, 6);
    held.finish_ok();
}

/// Closing the parked descriptor would drop them (`is_locked`).
#[test]
fn locks_that_are_taken_meanwhile_stay() {
    let mut held = held_as("locks");
    retire(&mut held, 2);
    held.finish_ok();
}

#[test]
fn what_comes_unseen_to_a_number_is_not_taken_for_the_file() {
    use Answer::{Changed, Done, OtherObject};
    let mut held = held_as("unseen");
    let files = words(&held, 5);
    let marked = ask(&mut held, Verb::MarkToRetire, &files, 1);
    assert_eq!(marked, [Done; 5]);
    let mut named = files.clone();
    named[1][4] ^= 1;
    let taken = ask(&mut held, Verb::Retire, &named, 100);
    assert_eq!(taken, [OtherObject, Changed, Done, Done, Done]);
    held.go_on();
    held.finish_ok();
}

#[test]
fn children_and_what_they_start_find_the_files() {
    let mut held = held_as("children");
    let files = retire(&mut held, 5);
    held.go_on();
    // Children put theirs back in their own tables.
    for (n, words) in files.iter().enumerate() {
        assert_eq!(parked_file(&held, words[0] as i32), format!("file{n}"));
    }
    held.go_on();
    held.finish_ok();
}
