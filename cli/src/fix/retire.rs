//! `--retire`: regular files of a leak are parked inside the program, with a
//! placeholder on their number, and closed for good when a quarantine is over.
//! What the program touches before that it has back, and it was a false alarm.
//!
//! The order is what keeps it safe. The library notices the next use from the
//! mark on; a thread that had looked before the mark may still be on its way to
//! the kernel. So every thread is then seen waiting in another call, and only
//! then the file is taken. A handler that waits while what it interrupted was
//! on that way is not told apart; it is a window of three instructions.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::gates::{self, Case, gate};
use super::inside::Inside;
use super::means::Means;
use super::outside::Untouched;
use super::undo::item_of;
use crate::kernel::{ProcDir, maps, process::start_ticks, threads};
use crate::model::{FixGate, FixItem, FixOutcome};
use crate::state::audit::Action;

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

/// Has one parked.
///
/// # Errors
/// It is another object by now, or the kernel refused.
pub fn retire(means: &Means, item: &mut FixItem) -> Result<Option<FixOutcome>, Untouched> {
    let Some(inside) = means.inside() else {
        item.detail = Some("the library is not in it, or takes no commands".to_owned());
        return Ok(Some(FixOutcome::Refused));
    };
    let marked = inside.mark_to_retire(item)?;
    if marked != FixOutcome::Retired {
        return Ok(Some(marked));
    }
    if !rests(&means.dir, item.fd.unwrap_or(-1)) {
        item.detail = Some("not every thread of it came to rest".to_owned());
        return Ok(Some(FixOutcome::Refused));
    }
    let taken = inside.retire(item)?;
    match taken {
        FixOutcome::Refused => item.detail = Some("it was used just now".to_owned()),
        FixOutcome::Retired if !means.is_gone(item) => return Ok(Some(FixOutcome::Failed)),
        _ => {}
    }
    Ok(Some(taken))
}

/// Whether each thread was seen waiting in a call on something else. Threads
/// that begin later have seen the mark.
fn rests(dir: &ProcDir, fd: i32) -> bool {
    let begun = Instant::now();
    let Ok(ids) = threads::ids(dir) else {
        return false;
    };
    let mut left: BTreeSet<i32> = ids.into_iter().collect();
    while begun.elapsed() < PATIENCE {
        let Ok(now) = threads::read(dir) else {
            return false;
        };
        left.retain(|tid| {
            now.iter()
                .any(|thread| thread.tid == *tid && !waits(thread, fd))
        });
        if left.is_empty() {
            return true;
        }
        std::thread::sleep(BEAT);
    }
    false
}

fn waits(thread: &threads::Thread, fd: i32) -> bool {
    let blocked = thread.blocked.as_ref();
    blocked.is_some_and(|blocked| blocked.complete && !blocked.descriptors.contains(&fd))
}

/// What is parked in a process longer than a quarantine: closed for good, or
/// back with the program that had used it.
#[must_use]
pub fn end_due(actions: Vec<Action>, pid: i32, quarantine: Duration) -> Vec<(Action, FixItem)> {
    let start = ProcDir::open(pid).and_then(|dir| start_ticks(&dir)).ok();
    let due = |action: &Action| {
        let age = Timestamp::now().duration_since(action.at);
        let over = Duration::try_from(age).is_ok_and(|age| age >= quarantine);
        action.pid == pid && Some(action.start_ticks) == start && over
    };
    let due: Vec<Action> = actions.into_iter().filter(due).collect();
    let inside = (!due.is_empty())
        .then(|| Inside::of(pid).ok().flatten())
        .flatten();
    let Some(inside) = inside else {
        return Vec::new();
    };
    let end = |action: Action| {
        let item = ended(&inside, &action);
        (action, item)
    };
    due.into_iter().map(end).collect()
}

fn ended(inside: &Inside, action: &Action) -> FixItem {
    let item = item_of(action);
    // A close gives back the locks of the whole process on that file.
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let (outcome, detail) = if locked(&locks).contains(&action.object.1) {
        (FixOutcome::Pending, Some("somebody has a lock on it now"))
    } else {
        match inside.end_retired(&item) {
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
    };
    FixItem {
        outcome: Some(outcome),
        detail: detail.map(str::to_owned),
        ..item
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

    #[test]
    fn locks_are_found_by_inode_whatever_their_sort() {
        let text = "1: POSIX  ADVISORY  WRITE 12 08:02:1234 0 EOF\n\
                    1: -> POSIX  ADVISORY  WRITE 13 00:1b:77 0 9\n\
                    2: FLOCK  ADVISORY  READ 14 fd:00:9 0 EOF\n";
        assert_eq!(locked(text), HashSet::from([1234, 77, 9]));
        assert!(locked("").is_empty());
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
