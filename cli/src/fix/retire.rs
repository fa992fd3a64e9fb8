//! `--retire`: regular files of a leak are parked inside the program, with a
//! placeholder on their number, and closed for good when a quarantine is over.
//! What the program touches before that it has back, and it was a false alarm.
//!
//! The order is what keeps it safe. The library notices the next use from the
//! mark on; a thread that had looked before the mark may still be on its way to
//! the kernel. So every thread is then seen waiting in another call, and only
//! then the file is taken. A handler that waits while what it interrupted was
//! on that way is not told apart; it is a window of three instructions.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::gates::{self, Case, gate};
use super::inside::Inside;
use super::means::{Means, picked, settle_with};
use super::outside::Untouched;
use super::undo::item_of;
use crate::kernel::{ProcDir, maps, process::start_ticks, threads};
use crate::model::{FixGate, FixItem, FixOutcome};
use crate::state::audit::Action;
use shm_protocol::mailbox::SLOTS;

/// How long the threads have to come to rest.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at them.
const BEAT: Duration = Duration::from_millis(5);

/// What the kernel knows of files besides who has them open.
#[derive(Debug, Default)]
pub struct Seen {
    locked: HashSet<u64>,
    mapped: HashSet<u64>,
    asynchronous: bool,
}

impl Seen {
    /// Of a process, now. None when it may not be looked into.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let dir = ProcDir::open(pid).ok()?;
        let mappings = maps::read(&dir).ok()?;
        Some(Self {
            locked: locked(&std::fs::read_to_string("/proc/locks").ok()?),
            mapped: mappings.iter().map(|mapping| mapping.inode).collect(),
            // The ring of io_submit(2), which takes numbers past every hook.
            asynchronous: mappings
                .iter()
                .any(|mapping| mapping.path.contains("[aio]")),
        })
    }
}

/// Inodes that anybody has a lock on (proc_locks(5)). Their devices are left
/// out: better one file too many than one too few.
fn locked(text: &str) -> HashSet<u64> {
    let words = text.split_whitespace();
    words.filter_map(inode).collect()
}

/// `08:02:1234`: device in two parts, inode.
fn inode(word: &str) -> Option<u64> {
    let mut parts = word.split(':');
    let (_, _, inode) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(inode)?.parse().ok()
}

/// The gates of a regular file.
#[must_use]
pub fn gates(case: &Case<'_>) -> Vec<FixGate> {
    let mut all = gates::common(case);
    all.extend([hooked(case), unused(case)]);
    let object = case.open.fact.as_ref().map_or((0, 0), |fact| fact.object);
    all.push(match case.files {
        Some(seen) => untouched_otherwise(seen, object.1),
        None => gate("file", false, "its locks and mappings cannot be seen"),
    });
    all
}

/// Uses are dated only where every one of them is seen.
fn hooked(case: &Case<'_>) -> FixGate {
    let open = case.open;
    let copied = open.duplicated || open.copy_of.is_some();
    let passed = open.stdio || open.elsewhere || open.used_ms.is_none();
    gate(
        "hooks",
        !copied && !passed,
        match (copied, passed) {
            (true, _) => "it was duplicated",
            (_, true) => "it may be used past the library",
            _ => "every use of it is seen",
        },
    )
}

fn unused(case: &Case<'_>) -> FixGate {
    let idle = case.open.used_ms.map(|used| {
        Duration::from_millis(case.snapshot.moment_ms.saturating_sub(used)).as_secs_f64()
    });
    gates::idle(case, idle)
}

fn untouched_otherwise(seen: &Seen, inode: u64) -> FixGate {
    let (open, said) = match (seen.locked.contains(&inode), seen.mapped.contains(&inode)) {
        (true, _) => (false, "somebody has a lock on it"),
        (_, true) => (false, "it is mapped"),
        _ if seen.asynchronous => (false, "the program reads and writes by io_submit"),
        _ => (true, "no lock, no mapping"),
    };
    gate("file", open, said)
}

/// Has these parked, with one wait for all of them.
pub fn retire(means: &Means, items: &mut [FixItem], which: &[usize]) {
    if which.is_empty() {
        return;
    }
    let Some(inside) = means.inside() else {
        let absent = "the library is not in it, or takes no commands";
        return refuse(items, which, absent);
    };
    let marked = inside.mark_to_retire(&picked(items, which));
    let marked = settled_but(FixOutcome::Retired, items, which, marked);
    let numbers: BTreeSet<i32> = marked.iter().filter_map(|at| items[*at].fd).collect();
    let restless = not_at_rest(&means.dir, numbers);
    let (restless, unused): (Vec<usize>, Vec<usize>) =
        (marked.into_iter()).partition(|at| restless.contains(&items[*at].fd.unwrap_or(-1)));
    refuse(items, &restless, "not every thread of it came to rest");
    let taken = inside.retire(&picked(items, &unused));
    for at in settled_but(FixOutcome::Retired, items, &unused, taken) {
        let parked = means.is_gone(&items[at]);
        items[at].outcome = Some(match parked {
            true => FixOutcome::Retired,
            false => FixOutcome::Failed,
        });
    }
    for at in unused {
        if items[at].outcome == Some(FixOutcome::Refused) {
            items[at].detail = Some("it was used just now".to_owned());
        }
    }
}

fn refuse(items: &mut [FixItem], which: &[usize], why: &str) {
    for at in which {
        items[*at].outcome = Some(FixOutcome::Refused);
        items[*at].detail = Some(why.to_owned());
    }
}

/// Those with that answer; every other answer is an outcome.
fn settled_but(
    wanted: FixOutcome,
    items: &mut [FixItem],
    which: &[usize],
    answers: Vec<Result<FixOutcome, Untouched>>,
) -> Vec<usize> {
    let mut with_it = Vec::new();
    for (at, answer) in which.iter().zip(answers) {
        match answer {
            Ok(outcome) if outcome == wanted => with_it.push(*at),
            other => settle_with(&mut items[*at], other.map(Some)),
        }
    }
    with_it
}

/// Those of these numbers on which not each thread was seen waiting in a call
/// on something else. Threads that begin later have seen the mark.
fn not_at_rest(dir: &ProcDir, numbers: BTreeSet<i32>) -> BTreeSet<i32> {
    let begun = Instant::now();
    let Ok(ids) = threads::ids(dir) else {
        return numbers;
    };
    let mut left: BTreeMap<i32, BTreeSet<i32>> =
        ids.into_iter().map(|tid| (tid, numbers.clone())).collect();
    while !left.is_empty() && begun.elapsed() < PATIENCE {
        let Ok(now) = threads::read(dir) else {
            return numbers;
        };
        let now: BTreeMap<i32, &threads::Thread> =
            now.iter().map(|thread| (thread.tid, thread)).collect();
        left.retain(|tid, numbers| {
            let Some(thread) = now.get(tid) else {
                return false;
            };
            keep_used(thread, numbers);
            !numbers.is_empty()
        });
        if !left.is_empty() {
            std::thread::sleep(BEAT);
        }
    }
    left.into_values().flatten().collect()
}

/// Of a thread that waits, only what it waits for stays.
fn keep_used(thread: &threads::Thread, numbers: &mut BTreeSet<i32>) {
    let blocked = thread.blocked.as_ref().filter(|blocked| blocked.complete);
    if let Some(blocked) = blocked {
        numbers.retain(|fd| blocked.descriptors.contains(fd));
    }
}

/// Of these, what is parked in a process longer than a quarantine.
#[must_use]
pub fn due(actions: Vec<Action>, pid: i32, quarantine: Duration) -> Vec<Action> {
    let start = ProcDir::open(pid).and_then(|dir| start_ticks(&dir)).ok();
    let due = |action: &Action| {
        let age = Timestamp::now().duration_since(action.at);
        let over = Duration::try_from(age).is_ok_and(|age| age >= quarantine);
        action.pid == pid && Some(action.start_ticks) == start && over
    };
    actions.into_iter().filter(due).collect()
}

/// Closes for good what is parked, or finds it back with the program that had
/// used it.
#[must_use]
pub fn end(due: Vec<Action>, pid: i32) -> Vec<(Action, FixItem)> {
    let inside = (!due.is_empty())
        .then(|| Inside::of(pid).ok().flatten())
        .flatten();
    let Some(inside) = inside else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for some in due.chunks(SLOTS) {
        let ended = ended(&inside, some);
        let is_pending = |item: &FixItem| item.outcome == Some(FixOutcome::Pending);
        // A program that does not come by is not waited for again.
        let idle = ended.iter().all(is_pending);
        all.extend(some.iter().cloned().zip(ended));
        if idle {
            break;
        }
    }
    all
}

/// Has these closed for good.
fn ended(inside: &Inside, some: &[Action]) -> Vec<FixItem> {
    // A close gives back the locks of the whole process on that file.
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let locked = locked(&locks);
    let mut items: Vec<FixItem> = some.iter().map(item_of).collect();
    let is_free = |at: &usize| !locked.contains(&items[*at].object.1);
    let free: Vec<usize> = (0..items.len()).filter(is_free).collect();
    for item in &mut items {
        item.outcome = Some(FixOutcome::Pending);
        item.detail = Some("somebody has a lock on it now".to_owned());
    }
    let answers = inside.end_retired(&picked(&items, &free));
    for (at, answer) in free.into_iter().zip(answers) {
        let (outcome, detail) = end_of(&some[at], answer);
        items[at].outcome = Some(outcome);
        items[at].detail = detail.map(str::to_owned);
    }
    items
}

fn end_of(
    action: &Action,
    answer: Result<FixOutcome, Untouched>,
) -> (FixOutcome, Option<&'static str>) {
    match answer {
        Ok(FixOutcome::Restored) => (FixOutcome::Restored, Some(FALSE_ALARM)),
        // Nothing is recorded there now.
        Ok(FixOutcome::Refused) => (FixOutcome::Pending, None),
        Ok(outcome) => (outcome, None),
        Err(Untouched::Vanished) if action.outcome == Some(FixOutcome::Retired) => {
            (FixOutcome::ClosedByOwner, None)
        }
        Err(Untouched::Vanished) => (FixOutcome::Vanished, None),
        Err(_) => (FixOutcome::Failed, None),
    }
}

/// Said of what was used while it was parked.
const FALSE_ALARM: &str = "the program used it: a false alarm";

/// Puts a parked file back.
///
/// # Errors
/// Why not, in words.
pub fn give_back(inside: &Inside, action: &Action) -> Result<(), String> {
    match inside.give_back(&item_of(action)) {
        Ok(FixOutcome::Restored) => Ok(()),
        Ok(FixOutcome::Pending) => Err("the program has not come by; try again".to_owned()),
        Ok(_) => Err("it is not parked any more".to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::blocked::Blocked;

    #[test]
    fn locks_are_found_by_inode_whatever_their_sort() {
        let text = "1: POSIX  ADVISORY  WRITE 12 08:02:1234 0 EOF\n\
                    1: -> POSIX  ADVISORY  WRITE 13 00:1b:77 0 9\n\
                    2: FLOCK  ADVISORY  READ 14 fd:00:9 0 EOF\n";
        assert_eq!(locked(text), HashSet::from([1234, 77, 9]));
        assert!(locked("").is_empty());
    }

    #[test]
    fn of_a_thread_that_waits_only_what_it_waits_for_is_not_at_rest() {
        let thread = |blocked| threads::Thread {
            tid: 1,
            comm: String::new(),
            state: 'S',
            blocked,
        };
        let waits_for = |descriptors: &[i32], complete| Blocked {
            syscall: 0,
            descriptors: descriptors.iter().copied().collect(),
            complete,
        };
        let left = |blocked| {
            let mut numbers = BTreeSet::from([3, 4, 5]);
            keep_used(&thread(blocked), &mut numbers);
            numbers.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(left(None), [3, 4, 5], "it runs");
        assert_eq!(left(Some(waits_for(&[], false))), [3, 4, 5], "on what?");
        assert_eq!(left(Some(waits_for(&[4, 9], true))), [4]);
        assert!(left(Some(waits_for(&[], true))).is_empty());
    }

    #[test]
    fn a_mapping_a_lock_and_asynchronous_calls_shut_the_gate() {
        let with = |locked: &[u64], mapped: &[u64], asynchronous| Seen {
            locked: locked.iter().copied().collect(),
            mapped: mapped.iter().copied().collect(),
            asynchronous,
        };
        assert!(untouched_otherwise(&with(&[8], &[9], false), 7).open);
        assert!(!untouched_otherwise(&with(&[7], &[], false), 7).open);
        assert!(!untouched_otherwise(&with(&[], &[7], false), 7).open);
        assert!(!untouched_otherwise(&with(&[], &[], true), 7).open);
    }
}
