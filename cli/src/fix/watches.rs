//! Watches of an inotify whose target is dead: it has no name any more, so
//! nobody can come to it again. The kernel takes a watch off when the last one
//! who holds such a file lets go; until then this does.
//!
//! All other watches are only reported.

use std::collections::{BTreeMap, HashSet};

use rustix::fd::OwnedFd;
use rustix::fs::inotify;

use super::gates::{gate, process, verdict};
use super::means::settle_with;
use super::outside::{Hold, Untouched};
use super::plan::Wish;
use crate::detect::Found;
use crate::kernel::descriptors::fdinfo;
use crate::kernel::{Facts, Kind as Seen, ProcDir};
use crate::model::{Fix, FixItem, FixOutcome};
use crate::snapshot::Snapshot;

/// Files without a name that the program has open.
#[must_use]
pub fn nameless(snapshot: &Snapshot) -> HashSet<(u64, u64)> {
    let open = snapshot.facts.descriptors.iter().flatten();
    let nameless = open.filter(|fact| fact.deleted);
    nameless.map(|fact| fact.object).collect()
}

/// The items of a finding's watches.
#[must_use]
pub fn items(snapshot: &Snapshot, found: &Found, wish: &Wish) -> Vec<FixItem> {
    let id = found.id(snapshot);
    let nameless = nameless(snapshot);
    let things = found.things.iter().map(|at| &snapshot.things[*at]);
    let watches = things.filter_map(|thing| Some((thing, thing.watch?)));
    watches
        .map(|(thing, watch)| {
            let dead = nameless.contains(&watch.object);
            let said = match dead {
                true => "its file has no name any more, and only open descriptors keep it",
                false => "its file is not known to be gone; the watch is only reported",
            };
            let mut gates = vec![verdict(found), gate("target", dead, said)];
            gates.extend(process(snapshot, &wish.protection));
            FixItem {
                fd: Some(watch.inotify),
                entry: Some(watch.watch),
                object: watch.object,
                born_ms: thing.born_ms,
                gates,
                ..FixItem::new(&id, found.kind, Fix::WatchDel, thing.what.clone())
            }
        })
        .collect()
}

/// Takes these watches off, and asks the kernel whether they are gone. An
/// inotify is listed once for all of its watches.
pub fn remove(hold: &Hold, dir: &ProcDir, items: &mut [FixItem], which: &[usize]) {
    let mut by_inotify: BTreeMap<Option<i32>, Vec<usize>> = BTreeMap::new();
    for at in which {
        by_inotify.entry(items[*at].fd).or_default().push(*at);
    }
    for (fd, which) in by_inotify {
        let held = fd.ok_or(Untouched::Vanished).and_then(|fd| {
            // First held, then known to be the one: numbers of watches are not
            // used again soon, and not within one inotify while another has them.
            Ok((fd, hold.duplicate(fd)?))
        });
        match held {
            Ok((fd, inotify)) => remove_of(dir, fd, &inotify, items, &which),
            Err(why) => which.iter().for_each(|at| {
                settle_with(&mut items[*at], Err(why.clone()));
            }),
        }
    }
}

fn remove_of(dir: &ProcDir, fd: i32, inotify: &OwnedFd, items: &mut [FixItem], which: &[usize]) {
    let before = listed(dir, fd);
    for at in which {
        let item = &mut items[*at];
        let watch = item
            .entry
            .filter(|watch| before.contains(&(*watch, item.object)));
        let removed = watch.ok_or(Untouched::Vanished);
        let removed = removed.and_then(|watch| Ok(inotify::remove_watch(inotify, watch)?));
        settle_with(item, removed.map(|()| None));
    }
    let after = listed(dir, fd);
    for at in which {
        let item = &mut items[*at];
        let is_left = item
            .entry
            .is_some_and(|watch| after.contains(&(watch, item.object)));
        item.outcome.get_or_insert(match is_left {
            true => FixOutcome::Failed,
            false => FixOutcome::Removed,
        });
    }
}

/// Number, device and inode of all that an inotify watches.
fn listed(dir: &ProcDir, fd: i32) -> HashSet<(i32, (u64, u64))> {
    let text = dir.read(&format!("fdinfo/{fd}")).unwrap_or_default();
    let Facts::Watches(listed) = fdinfo::parse(Seen::Inotify, &text).facts else {
        return HashSet::new();
    };
    let one = |one: &fdinfo::Watch| Some((one.id?, (one.device, one.inode)));
    listed.iter().filter_map(one).collect()
}
