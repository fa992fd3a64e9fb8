//! Watches of an inotify whose target is dead: it has no name any more, so
//! nobody can come to it again. The kernel takes a watch off when the last one
//! who holds such a file lets go; until then this does.
//!
//! All other watches are only reported.

use std::collections::HashSet;

use rustix::fs::inotify;

use super::gates::{gate, process, verdict};
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

/// Takes the watch off, and asks the kernel whether it is gone.
///
/// # Errors
/// [`Untouched::Vanished`] when it was gone before, or watches something else.
pub fn remove(hold: &Hold, dir: &ProcDir, item: &FixItem) -> Result<FixOutcome, Untouched> {
    let (Some(fd), Some(watch)) = (item.fd, item.entry) else {
        return Err(Untouched::Vanished);
    };
    // First held, then known to be the one: numbers of watches are not used
    // again soon, and not within one inotify while another has them.
    let copy = hold.duplicate(fd)?;
    if !is_listed(dir, item, fd, watch) {
        return Err(Untouched::Vanished);
    }
    inotify::remove_watch(&copy, watch)?;
    Ok(if is_listed(dir, item, fd, watch) {
        FixOutcome::Failed
    } else {
        FixOutcome::Removed
    })
}

fn is_listed(dir: &ProcDir, item: &FixItem, fd: i32, watch: i32) -> bool {
    let text = dir.read(&format!("fdinfo/{fd}")).unwrap_or_default();
    let Facts::Watches(listed) = fdinfo::parse(Seen::Inotify, &text).facts else {
        return false;
    };
    let same =
        |one: &fdinfo::Watch| one.id == Some(watch) && (one.device, one.inode) == item.object;
    listed.iter().any(same)
}
