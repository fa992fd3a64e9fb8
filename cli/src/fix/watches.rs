//! Watches of an inotify whose target is dead: it has no name any more, so
//! nobody can come to it again. The kernel takes a watch off when the last one
//! who holds such a file lets go; until then this does.
//!
//! All other watches are only reported.

use std::collections::{BTreeMap, HashSet};

use rustix::fd::OwnedFd;
use rustix::fs::inotify;

use super::gates::{gate, idle_floor_of, process, thing_old_enough, verdict};
use super::means::settle_with;
use super::outside::{Hold, Untouched};
use super::owners::Owners;
use super::plan::Wish;
use crate::detect::Found;
use crate::kernel::descriptors::fdinfo;
use crate::kernel::{Facts, Kind as Seen, ProcDir, text};
use crate::model::{Fix, FixGate, FixItem, FixOutcome};
use crate::snapshot::{Descriptor, FdFact, Snapshot};

/// Files without a name that the program has open.
#[must_use]
pub fn nameless(snapshot: &Snapshot) -> HashSet<(u64, u64)> {
    let open = snapshot.facts.descriptors.iter().flatten();
    let nameless = open.filter(|fact| fact.deleted);
    nameless.map(|fact| fact.object).collect()
}

/// Of a file, writes through open descriptors are still told, whether it has a
/// name or not; of a directory that has none, nothing more comes.
fn nothing_comes(snapshot: &Snapshot, object: (u64, u64), owners: &Owners, idle_s: f64) -> FixGate {
    let own = |fact: &&FdFact| fact.object == object;
    let here = || snapshot.facts.descriptors.iter().flatten().filter(own);
    if here().any(|fact| fact.what == Seen::Directory.name()) {
        return gate(
            "events",
            true,
            "nothing is made in a directory that is gone",
        );
    }
    let pid = snapshot.facts.pid;
    let others = owners.of_file(object).iter();
    if others.filter(|owner| owner.pid != pid).count() > 0 {
        return gate(
            "events",
            false,
            "another process has the file open, and may change it",
        );
    }
    let is_still = |open: &Descriptor| {
        let idle = snapshot.idle_s(open);
        idle.is_some_and(|idle| idle >= idle_s) && is_read_only(pid, open.fd)
    };
    let fds: HashSet<i32> = here().map(|fact| fact.fd).collect();
    let mut open = snapshot.descriptors.iter();
    match open.all(|open| !fds.contains(&open.fd) || is_still(open)) {
        true => gate("events", true, "nobody has the file open to change it"),
        false => gate(
            "events",
            false,
            "the program has the file open, and may change it",
        ),
    }
}

fn is_read_only(pid: i32, fd: i32) -> bool {
    let info = ProcDir::open(pid).and_then(|dir| dir.read(&format!("fdinfo/{fd}")));
    let flags = info.ok().and_then(|info| {
        let flags = text::field(&info, "flags:")?.trim();
        i32::from_str_radix(flags, 8).ok()
    });
    flags.is_some_and(|flags| flags & libc::O_ACCMODE == libc::O_RDONLY)
}

/// What the finding's watches watch, as far as it is open here.
pub fn watched<'a>(snapshot: &'a Snapshot, found: &Found) -> impl Iterator<Item = &'a FdFact> {
    let things = found.things.iter().map(|at| &snapshot.things[*at]);
    let objects: HashSet<(u64, u64)> = things
        .filter_map(|thing| Some(thing.watch?.object))
        .collect();
    let open = snapshot.facts.descriptors.iter().flatten();
    open.filter(move |fact| objects.contains(&fact.object))
}

/// The items of a finding's watches.
#[must_use]
pub fn items(snapshot: &Snapshot, found: &Found, owners: &Owners, wish: &Wish) -> Vec<FixItem> {
    let protection = &wish.protection;
    let idle_s = idle_floor_of(protection, found.kind, wish.min_age);
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
            if dead {
                gates.push(nothing_comes(snapshot, watch.object, owners, idle_s));
            }
            gates.push(thing_old_enough(snapshot, found, wish, thing));
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
