//! Carries out what gives memory back, one after the other: the resident set
//! is read before and after each, and the difference is what it gave.

use std::time::{Duration, Instant};

use shm_protocol::caches::is_size;
use shm_protocol::mailbox::{ARGUMENTS, Answer, GIVEN, Verb};

use super::{in_ms, page_out};
use crate::attach::{Running, live};
use crate::fix::life::Life;
use crate::fix::mailbox::{Mailbox, Order, Reply};
use crate::kernel::{ProcDir, smaps};
use crate::model::{FixCache, FixMeans, FixOutcome};
use crate::units::span;

/// How long the target has to come to a quiet moment: then it is idle, or
/// never waits where this can be done.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pages go to swap after the call that asks for it.
const SETTLES: Duration = Duration::from_millis(50);

/// Told of each before and after. Says whether that is kept: nothing is done
/// without.
pub type Record<'a> = &'a mut dyn FnMut(usize, &FixCache) -> bool;

/// Does all that the gates let through.
pub fn give_back(life: &Life, all: &mut [FixCache], record: Record<'_>) {
    let pid = life.pid();
    let mailbox = mailbox_of(pid);
    let (began, mut is_kept) = (Instant::now(), true);
    for (at, cache) in all.iter_mut().enumerate() {
        if !cache.passes() {
            cache.outcome = Some(FixOutcome::Refused);
            continue;
        }
        is_kept = is_kept && record(at, cache);
        if !is_kept {
            cache.outcome = Some(FixOutcome::NotLogged);
            continue;
        }
        // A target that does not come by for one does not for the others.
        let patience = PATIENCE.saturating_sub(began.elapsed()).max(2 * SETTLES);
        match life.end() {
            None => act(pid, cache, mailbox.as_ref(), patience),
            Some(_) => cache.outcome = Some(FixOutcome::Vanished),
        }
        told(cache, life);
        is_kept = record(at, cache);
    }
}

/// Where nothing came of it because of what became of the program.
fn told(cache: &mut FixCache, life: &Life) {
    let undone = matches!(
        cache.outcome,
        Some(FixOutcome::Pending | FixOutcome::Vanished | FixOutcome::Failed)
    );
    let change = undone.then(|| life.change()).flatten();
    let Some(change) = change else { return };
    if change.is_end() {
        cache.outcome = Some(FixOutcome::Vanished);
    }
    cache.detail = Some(change.to_string());
}

fn mailbox_of(pid: i32) -> Option<Mailbox> {
    let process = Running::find(pid)?;
    let found = live::find(&process).ok()??;
    Mailbox::open(&process, &found).ok()?
}

fn act(pid: i32, cache: &mut FixCache, mailbox: Option<&Mailbox>, patience: Duration) {
    let before = resident(pid);
    if cache.means == FixMeans::PageOut {
        match page_out::page_out(pid) {
            Ok(()) => std::thread::sleep(SETTLES),
            Err(why) => return fail(cache, &why.to_string()),
        }
        cache.outcome = Some(FixOutcome::GivenBack);
    } else {
        let Some((mailbox, order)) = mailbox.zip(order(cache)) else {
            return fail(cache, "the way into the process is gone");
        };
        match mailbox.post(&[order], patience) {
            Ok(replies) => {
                take(cache, replies.first().copied().unwrap_or(Reply::Pending));
                if replies == [Reply::Pending] && mailbox.is_at_work() {
                    cache.detail = Some(HELD_UP.to_owned());
                }
            }
            Err(why) => return fail(cache, &why.to_string()),
        }
    }
    if cache.outcome == Some(FixOutcome::GivenBack) {
        let after = resident(pid);
        cache.given_bytes = before
            .zip(after)
            .map(|(before, after)| before.saturating_sub(after));
    }
}

fn fail(cache: &mut FixCache, why: &str) {
    cache.outcome = Some(FixOutcome::Failed);
    cache.detail = Some(why.to_owned());
}

/// What is in memory and not given up already.
fn resident(pid: i32) -> Option<u64> {
    let rollup = smaps::rollup(&ProcDir::open(pid).ok()?).ok()?;
    Some(rollup.rss_bytes.saturating_sub(rollup.lazy_free_bytes))
}

fn order(cache: &FixCache) -> Option<Order> {
    let mut arguments = [0; ARGUMENTS];
    let verb = match cache.means {
        FixMeans::Allocator => Verb::TrimHeap,
        FixMeans::Sqlite => Verb::ReleaseSqlite,
        FixMeans::Python => Verb::CollectPython,
        FixMeans::Registered => {
            let (number, generation) = cache.place?;
            arguments[..3].copy_from_slice(&[number, generation, cache.limit_bytes?]);
            Verb::ShrinkCache
        }
        FixMeans::PageOut | FixMeans::Runtime => return None,
    };
    Some(Order { verb, arguments })
}

fn take(cache: &mut FixCache, reply: Reply) {
    let (outcome, detail) = match reply {
        Reply::Unfinished { for_ms } => return unfinished(cache, for_ms),
        Reply::Ended => (FixOutcome::Vanished, None),
        Reply::Pending => (FixOutcome::Pending, Some(never_quiet(cache.means))),
        Reply::Answered {
            answer: Answer::Done,
            arguments,
            ..
        } => {
            return done(cache, [0, 1, 2].map(|at| arguments[GIVEN + at]));
        }
        Reply::Answered { answer, detail, .. } => said(cache.means, answer, detail),
    };
    cache.outcome = Some(outcome);
    cache.detail = detail.map(str::to_owned);
}

/// It may come to its end yet; nothing else is done in the program until then.
fn unfinished(cache: &mut FixCache, for_ms: u64) {
    let what = match cache.means {
        FixMeans::Registered => "its shrink callback has not returned",
        _ => "it has not come to its end",
    };
    cache.outcome = Some(FixOutcome::Pending);
    cache.detail = Some(format!("{what} for {}", span(for_ms as f64 / 1e3)));
}

/// Said of what waits behind another command.
const HELD_UP: &str = "the program has not come to the end of what it was asked before, such as a shrink callback \
    that does not return";

fn done(cache: &mut FixCache, [first, took_ns, last]: [u64; 3]) {
    cache.outcome = Some(FixOutcome::GivenBack);
    cache.pause_ms = Some(in_ms(took_ns));
    match cache.means {
        FixMeans::Registered => {
            let size = |said| is_size(said).then_some(said);
            cache.size_bytes = size(last);
            cache.freed_bytes = size(first)
                .zip(size(last))
                .map(|(before, after)| before.saturating_sub(after));
        }
        FixMeans::Sqlite => cache.freed_bytes = Some(last),
        FixMeans::Python => cache.detail = Some(format!("{last} objects collected")),
        _ => {}
    }
}

/// Why nothing was done.
fn said(means: FixMeans, answer: Answer, detail: u64) -> (FixOutcome, Option<&'static str>) {
    match (means, answer) {
        (_, Answer::Failed) if detail == libc::EAGAIN as u64 => {
            (FixOutcome::Failed, Some("it takes no more calls just now"))
        }
        (_, Answer::Failed) => (FixOutcome::Failed, None),
        (FixMeans::Sqlite, Answer::Protected) => (
            FixOutcome::Refused,
            Some(
                "this sqlite was not built with SQLITE_ENABLE_MEMORY_MANAGEMENT; the program can run \
                 `PRAGMA shrink_memory` itself, or register its connections (memguard.h)",
            ),
        ),
        (FixMeans::Python, Answer::NotNow) => (
            FixOutcome::Refused,
            Some("the program has switched the collector off (gc.disable)"),
        ),
        (FixMeans::Python, Answer::Gone) => (
            FixOutcome::Refused,
            Some("its Python was loaded in a way that hides its functions"),
        ),
        (_, Answer::Gone | Answer::OtherObject) => (FixOutcome::Vanished, None),
        (_, Answer::Malformed) => (FixOutcome::Failed, Some("it did not understand")),
        _ => (FixOutcome::Refused, None),
    }
}

fn never_quiet(means: FixMeans) -> &'static str {
    match means {
        FixMeans::Registered => {
            "it called memguard_poll at no time meanwhile (or, where the cache allows it, waited nowhere)"
        }
        FixMeans::Python => "its main thread ran no bytecode meanwhile",
        _ => "no thread of it came to wait in poll, select, epoll_wait, accept or sleep meanwhile",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(means: FixMeans) -> FixCache {
        FixCache::new(means, "x")
    }

    fn answered(answer: Answer, words: [u64; 3]) -> Reply {
        let mut arguments = [0; ARGUMENTS];
        arguments[GIVEN..GIVEN + 3].copy_from_slice(&words);
        Reply::Answered {
            answer,
            detail: 0,
            arguments,
        }
    }

    #[test]
    fn what_a_cache_gave_is_told_from_what_the_kernel_saw() {
        let mut pages = cache(FixMeans::Registered);
        take(&mut pages, answered(Answer::Done, [100, 2_500_000, 40]));
        assert_eq!(pages.outcome, Some(FixOutcome::GivenBack));
        assert_eq!(
            (pages.pause_ms, pages.freed_bytes, pages.size_bytes),
            (Some(2.5), Some(60), Some(40))
        );
        assert_eq!(pages.given_bytes, None);
        let unknown = u64::MAX;
        take(&mut pages, answered(Answer::Done, [unknown, 1, 40]));
        assert_eq!((pages.freed_bytes, pages.size_bytes), (None, Some(40)));
        take(&mut pages, answered(Answer::Done, [100, 1, unknown]));
        assert_eq!((pages.freed_bytes, pages.size_bytes), (None, None));
    }

    #[test]
    fn a_callback_that_does_not_return_is_told_apart_from_none() {
        let mut pages = cache(FixMeans::Registered);
        take(&mut pages, Reply::Unfinished { for_ms: 10_000 });
        assert_eq!(pages.outcome, Some(FixOutcome::Pending));
        let said = pages.detail.unwrap();
        assert!(said.contains("has not returned for 10 s"), "{said}");
    }

    #[test]
    fn nothing_done_says_why() {
        let mut python = cache(FixMeans::Python);
        take(&mut python, answered(Answer::NotNow, [0; 3]));
        assert_eq!(python.outcome, Some(FixOutcome::Refused));
        assert!(python.detail.unwrap().contains("gc.disable"));
        let mut sqlite = cache(FixMeans::Sqlite);
        take(&mut sqlite, answered(Answer::Protected, [0; 3]));
        assert!(sqlite.detail.unwrap().contains("PRAGMA shrink_memory"));
        let mut idle = cache(FixMeans::Allocator);
        take(&mut idle, Reply::Pending);
        assert_eq!(idle.outcome, Some(FixOutcome::Pending));
        assert!(idle.detail.unwrap().contains("epoll_wait"));
    }

    #[test]
    fn a_registered_cache_is_named_with_its_limit() {
        let mut pages = cache(FixMeans::Registered);
        assert!(order(&pages).is_none());
        (pages.place, pages.limit_bytes) = (Some((3, 7)), Some(64));
        assert_eq!(order(&pages).unwrap().arguments[..3], [3, 7, 64]);
    }
}
