//! Rows against lists.

use super::*;
use crate::snapshot::facts::{ChildFact, WatchFact};
use shm_protocol::codes::thing_flag::ARMED;
use shm_protocol::plain::{MARK, Plain, pair};
use shm_protocol::words::Origin;

fn row(kind: Row, key: u64, at_ms: u64, detail: u64, flags: u8) -> ThingInfo {
    let origin = Origin { at_ms, site: 5 };
    let row = Plain {
        detail,
        origin,
        used_ms: 0,
        flags,
    };
    ThingInfo { kind, key, row }
}

fn rows() -> Vec<ThingInfo> {
    vec![
        row(Row::PosixTimer, pair(1, 0), 1, 1500, ARMED),
        row(Row::PosixTimer, pair(1, 8), 1, 0, 0),
        row(Row::Registration, pair(4, 5), 1, 0, 0),
        row(Row::Registration, pair(4, 6), 1, 0, 0),
        row(Row::Registration, pair(4, 7), 1, 0, 0),
        row(Row::Watch, pair(3, 1) | MARK, 1, 0, 0),
        row(Row::Watch, pair(3, 2) | MARK, 1, 0, 0),
        row(Row::Thread, 0x7000, 1, 2048 << 32 | 77, 0),
        row(Row::Child, pair(1, 90), 1, 0, 0),
        row(Row::Child, pair(1, 91), 1, 0, 0),
        row(Row::Child, pair(1, 92), 1, 0, 0),
    ]
}

fn look(alive: bool) -> Facts {
    let registration = |fd, stale| RegistrationFact {
        epoll: 4,
        fd,
        stale,
        ..RegistrationFact::default()
    };
    let child = |pid, zombie| ChildFact {
        pid,
        zombie,
        ..ChildFact::default()
    };
    Facts {
        alive,
        moment_ms: Some(100),
        posix_timers: Some(vec![
            PosixTimerFact {
                id: 0,
                signal: 14,
                ..PosixTimerFact::default()
            },
            PosixTimerFact {
                id: 2,
                ..PosixTimerFact::default()
            },
        ]),
        registrations: Some(vec![
            registration(5, None),
            registration(6, Some(StaleFact::Closed)),
            registration(9, Some(StaleFact::Another)),
            registration(10, None),
            registration(5, Some(StaleFact::Another)),
        ]),
        watches: Some(vec![WatchFact {
            inotify: 3,
            watch: 1,
            object: (1, 55),
        }]),
        threads: Some(vec![1, 2]),
        children: Some(vec![child(90, true), child(91, false), child(95, true)]),
        ..Facts::default()
    }
}

#[test]
fn the_kernel_has_the_last_word() {
    let checked = reconcile(&rows(), &look(true));
    let seen: Vec<(&str, &str, bool)> = checked
        .things
        .iter()
        .map(|thing| (&*thing.what, thing.state.name(), thing.site.is_some()))
        .collect();
    assert_eq!(
        seen,
        [
            ("timer 0, SIGALRM, every 1.5 s", "armed", true),
            ("epoll 4 -> fd 5", "live", true),
            (
                "epoll 4 -> fd 5, which names another file now",
                "stale",
                true
            ),
            ("epoll 4 -> fd 6, which is closed", "stale", true),
            ("inotify 3, watch 1 on inode 55", "live", true),
            ("thread 77, ended, stack 8.0 MiB", "ended", true),
            ("child 90, ended, never waited for", "zombie", true),
            ("timer 2, no signal", "live", false),
            (
                "epoll 4 -> fd 9, which names another file now",
                "stale",
                false
            ),
            ("child 95, ended, never waited for", "zombie", false),
        ]
    );
    // Timer 8, registration 7, watch 2, child 92.
    assert_eq!(checked.dropped, 4);
}

#[test]
fn what_was_made_after_the_last_look_of_a_dead_process_stands() {
    let late = [
        row(Row::PosixTimer, pair(1, 8), 200, 0, 0),
        row(Row::Registration, pair(4, 7), 200, 0, 0),
        row(Row::Registration, pair(4, 8), 50, 0, 0),
    ];
    let checked = reconcile(&late, &look(false));
    let ours = checked.things.iter().filter(|thing| thing.site.is_some());
    assert_eq!((ours.count(), checked.dropped), (2, 1));
}

#[test]
fn without_a_look_rows_stand_but_no_child_is_called_a_zombie() {
    let checked = reconcile(&rows(), &Facts::default());
    let children = checked
        .things
        .iter()
        .filter(|thing| thing.row == Row::Child);
    assert_eq!((checked.things.len(), children.count()), (8, 0));
    assert_eq!(checked.dropped, 0);
}

#[test]
fn a_thread_that_is_still_listed_has_not_quite_ended() {
    let mut facts = look(true);
    facts.threads = Some(vec![77]);
    let ended = |facts: &Facts| {
        let checked = reconcile(&rows(), facts);
        checked.things.iter().any(|thing| thing.row == Row::Thread)
    };
    assert!(!ended(&facts));
    // Long after, the number is another thread's.
    facts.moment_ms = Some(60_000);
    assert!(ended(&facts));
}

#[test]
fn a_stale_one_of_unknown_origin_has_a_site_of_its_own() {
    let checked = reconcile(&[], &look(true));
    let mut sites = Sites::default();
    add(&checked.things, &mut sites);
    assert_eq!(sites.all.len(), 1);
    assert_eq!(sites.all[0].live.things.len(), 3);
    assert_eq!(sites.all[0].kind, Some(Kind::Listeners));
}
