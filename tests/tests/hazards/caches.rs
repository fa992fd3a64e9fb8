//! Caches that a program has registered by `include/memguard.h`.
//!
//! Guards, in `preload/src/caches.rs`: a callback runs at `memguard_poll` or,
//! where the program allows it, at a quiet moment; a command names a cache with
//! its generation; whoever unregisters one waits for a callback of it (without
//! that the fixture's callbacks find freed memory). The header's functions do
//! nothing where the library is not.

use std::sync::atomic::{AtomicBool, Ordering};

use memguard_tests::{Held, Mail, Program, compile};
use shm_protocol::mailbox::{Answer, GIVEN, Phase, Verb};
use shm_protocol::view::CacheInfo;

fn held(way: &str) -> Held {
    Program::fixture("caches").arg(way).hold()
}

fn caches(held: &Held) -> Vec<CacheInfo> {
    held.record().view().caches()
}

fn named(held: &Held, name: &str) -> CacheInfo {
    let found = caches(held)
        .into_iter()
        .find(|cache| cache.name == name.as_bytes());
    found.unwrap_or_else(|| panic!("no {name} in {:?}", caches(held)))
}

#[test]
fn it_is_asked_at_the_programs_own_safe_point() {
    let mut held = held("poll");
    assert_eq!(held.value("registered"), 2);
    let (pages, fixed) = (named(&held, "pages"), named(&held, "fixed"));
    assert_eq!(
        (pages.size_bytes, fixed.size_bytes),
        (Some(64 << 20), Some(4096))
    );
    let mail = Mail::of(held.pid(), held.folder());
    let keep = 1 << 20;
    mail.post(
        0,
        1,
        Verb::ShrinkCache,
        &[pages.number, pages.generation, keep],
    );
    mail.post(
        1,
        1,
        Verb::ShrinkCache,
        &[pages.number, pages.generation + 2, 0],
    );
    mail.post(
        2,
        1,
        Verb::ShrinkCache,
        &[fixed.number, fixed.generation, 0],
    );
    mail.post(3, 1, Verb::ShrinkCache, &[u64::MAX, 1, 0]);
    held.go_on();
    // A quiet moment is not enough for it.
    assert_eq!(held.value("shrinks"), 0);
    assert_eq!(mail.state(0).map(|state| state.phase), Some(Phase::Ready));
    held.go_on();
    let answers = [0, 1, 2, 3].map(|slot| mail.answer(slot, 1));
    use Answer::{Done, Gone, Malformed, Protected};
    assert_eq!(answers, [Done, Gone, Protected, Malformed]);
    assert_eq!((held.value("shrinks"), held.value("bytes")), (1, keep));
    let words = [0, 2].map(|at| mail.argument(0, GIVEN + at));
    assert_eq!(words, [64 << 20, keep]);
    let pages = named(&held, "pages");
    assert_eq!(
        (pages.size_bytes, pages.shrinks, pages.given_bytes),
        (Some(keep), 1, (64 << 20) - keep)
    );
    held.go_on();
    assert_eq!(caches(&held), []);
    held.finish_ok();
}

#[test]
fn it_is_asked_wherever_the_program_waits_if_it_allows_that() {
    let mut held = held("anywhere");
    let pages = named(&held, "pages");
    let mail = Mail::of(held.pid(), held.folder());
    mail.post(
        0,
        1,
        Verb::ShrinkCache,
        &[pages.number, pages.generation, 5],
    );
    held.go_on();
    assert_eq!(mail.answer(0, 1), Answer::Done);
    assert_eq!(held.value("shrinks"), 1);
    // Its size is asked for about once a second, whoever looks.
    assert!(held.value("sizes") >= 3);
    assert_eq!(named(&held, "pages").size_bytes, Some(5));
    // The one beside it does not allow that.
    assert_eq!(held.value("at_polls"), 0);
    held.finish_ok();
}

#[test]
fn a_cache_in_cpp_registers_for_as_long_as_it_lives() {
    let mut held = Program::fixture("caches_cpp").hold();
    assert_eq!(held.value("registered"), 1);
    let pages = named(&held, "rendered pages");
    assert_eq!(pages.size_bytes, Some(10_000_000));
    let mail = Mail::of(held.pid(), held.folder());
    mail.post(
        0,
        1,
        Verb::ShrinkCache,
        &[pages.number, pages.generation, 500_000],
    );
    held.go_on();
    assert_eq!(
        (mail.answer(0, 1), held.value("bytes")),
        (Answer::Done, 500_000)
    );
    held.go_on();
    assert_eq!(caches(&held), []);
    held.finish_ok();
}

/// Threads register, unregister and free while commands for what was there a
/// moment ago arrive: callbacks look at the memory that they are given.
#[test]
fn nobody_is_called_after_it_was_unregistered() {
    let mut held = held("unregister");
    let over = AtomicBool::new(false);
    let (pid, folder) = (held.pid(), held.folder().to_owned());
    let done = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mail = Mail::of(pid, &folder);
            let (mut sequence, mut done) = (0, 0);
            while done < 300 && !over.load(Ordering::Relaxed) {
                let record = memguard_tests::Record::of(pid, &folder);
                for cache in record.view().caches() {
                    sequence += 1;
                    let words = [cache.number, cache.generation, 7];
                    mail.post(0, sequence, Verb::ShrinkCache, &words);
                    done += u32::from(mail.answer(0, sequence) == Answer::Done);
                }
            }
            done
        });
        std::thread::sleep(std::time::Duration::from_secs(3));
        over.store(true, Ordering::Relaxed);
        sender.join().expect("the sender ends")
    });
    held.go_on();
    assert!(u64::from(done) <= held.value("shrinks"), "{done}");
    assert_eq!(caches(&held), []);
    held.finish_ok();
}

#[test]
fn a_forked_child_has_them_in_its_own_record() {
    let held = held("fork");
    let child = held.value("child") as u32;
    let theirs = held.record_of(child).view().caches();
    let sizes: Vec<_> = theirs.iter().map(|cache| cache.size_bytes).collect();
    assert_eq!(sizes, [Some(77)]);
    assert_eq!(named(&held, "pages").size_bytes, Some(4096));
}

/// Without the library the header's functions do nothing, however the program
/// is linked.
#[test]
fn without_the_library_nothing_happens() {
    for flags in [
        &["-no-pie", "-fno-pic"][..],
        &["-static"],
        &["-O0"],
        &["-flto"],
        &[],
    ] {
        let program = Program::at(compile::program_with("caches", flags)).arg("poll");
        let mut bare = program.hold_bare();
        assert_eq!(bare.value("registered"), 0, "{flags:?}");
        (0..3).for_each(|_| bare.go_on());
        assert_eq!(bare.value("shrinks"), 0);
        bare.finish_ok();
        if flags != ["-static"] {
            assert_eq!(program.hold().value("registered"), 2, "{flags:?}");
        }
    }
}
