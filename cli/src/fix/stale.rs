//! Stale registrations: an epoll tells of a number that is closed or names
//! another file. From finding to item, and out of the epoll.

use std::cell::RefCell;
use std::collections::HashMap;

use super::epoll::{self, Entry};
use super::gates;
use super::outside::{Hold, Untouched};
use super::owners::{Owner, Owners, Sought};
use super::plan::Wish;
use crate::detect::Found;
use crate::kernel::descriptors::fdinfo;
use crate::kernel::{Facts, Kind as Seen, ProcDir};
use crate::model::{Fix, FixItem, FixOutcome};
use crate::snapshot::facts::RegistrationFact;
use crate::snapshot::{Snapshot, Thing};

/// Descriptors tried for one entry; files of the kernel's own share an inode.
const MOST_TRIED: usize = 256;

/// The inodes that the finding's stale entries watch.
pub fn inodes<'a>(snapshot: &'a Snapshot, found: &'a Found) -> impl Iterator<Item = u64> + 'a {
    entries(snapshot, found).map(|(_, entry)| entry.object.1)
}

fn entries<'a>(
    snapshot: &'a Snapshot,
    found: &'a Found,
) -> impl Iterator<Item = (&'a Thing, RegistrationFact)> + 'a {
    let things = found.things.iter().map(|at| &snapshot.things[*at]);
    things.filter_map(|thing| Some((thing, thing.stale?)))
}

/// The items of a finding's stale entries.
#[must_use]
pub fn items(snapshot: &Snapshot, found: &Found, owners: &Owners, wish: &Wish) -> Vec<FixItem> {
    let id = found.id(snapshot);
    let mut holders = Holders::default();
    entries(snapshot, found)
        .map(|(thing, entry)| FixItem {
            fd: Some(entry.epoll),
            entry: Some(entry.fd),
            object: entry.object,
            gates: {
                let known = holders.of(snapshot, owners, entry.object);
                gates::stale(snapshot, found, &wish.protection, entry, known)
            },
            ..FixItem::new(&id, found.kind, Fix::EpollDel, thing.what.clone())
        })
        .collect()
}

/// How many descriptors of each object there are; an object may be watched by
/// thousands of entries, and a process have as many descriptors.
#[derive(Default)]
struct Holders {
    here: Option<HashMap<(u64, u64), usize>>,
}

impl Holders {
    fn of(&mut self, snapshot: &Snapshot, owners: &Owners, object: (u64, u64)) -> usize {
        let here = self.here.get_or_insert_with(|| {
            let mut here = HashMap::new();
            for fact in snapshot.facts.descriptors.iter().flatten() {
                *here.entry(fact.object).or_default() += 1;
            }
            here
        });
        let pid = snapshot.facts.pid;
        let elsewhere = owners.of_inode(object.1).iter();
        let elsewhere = elsewhere.filter(|owner| owner.pid != pid).count();
        here.get(&object).copied().unwrap_or(0) + elsewhere
    }
}

/// Which numbers of the target name which object, read once for many entries.
#[derive(Debug, Default)]
pub struct Numbers(RefCell<HashMap<(u64, u64), Vec<i32>>>);

impl Numbers {
    /// Its own descriptors of that object. What was read is only a hint: each
    /// is looked at again, and all are read again when none of them holds.
    fn of(&self, dir: &ProcDir, object: (u64, u64)) -> Vec<Owner> {
        let known = self.known(dir, object);
        if !known.is_empty() {
            return known;
        }
        *self.0.borrow_mut() = read_numbers(dir);
        self.known(dir, object)
    }

    fn known(&self, dir: &ProcDir, object: (u64, u64)) -> Vec<Owner> {
        let all = self.0.borrow();
        let numbers = all.get(&object).into_iter().flatten().copied();
        let pid = dir.pid();
        numbers
            .filter(|fd| is_current(dir, *fd, object))
            .map(|fd| Owner { pid, fd })
            .collect()
    }
}

fn read_numbers(dir: &ProcDir) -> HashMap<(u64, u64), Vec<i32>> {
    let mut all: HashMap<_, Vec<i32>> = HashMap::new();
    for fd in dir.numbers("fd").unwrap_or_default() {
        if let Some(object) = object_of(dir, fd) {
            all.entry(object).or_default().push(fd);
        }
    }
    all
}

/// Takes the entry out; the kernel says whether it had one of that file and
/// number. Only where it had none its whole list is asked, which may be long.
///
/// # Errors
/// [`Untouched::Vanished`] when it was gone before, or is not stale any more.
pub fn remove(
    hold: &Hold,
    dir: &ProcDir,
    numbers: &Numbers,
    item: &FixItem,
) -> Result<FixOutcome, Untouched> {
    let (Some(epoll), Some(fd)) = (item.fd, item.entry) else {
        return Err(Untouched::Vanished);
    };
    if is_current(dir, fd, item.object) {
        return Err(Untouched::Vanished);
    }
    let own = numbers.of(dir, item.object).into_iter();
    let others = || {
        Owners::of(&Sought::inodes([item.object.1]))
            .of_inode(item.object.1)
            .to_vec()
    };
    let others = std::iter::once_with(others).flatten();
    for holder in own.chain(others).take(MOST_TRIED) {
        // Of another file with that inode the epoll has no entry: nothing happens.
        match epoll::remove(hold, Entry { epoll, fd }, holder) {
            Ok(()) => return Ok(FixOutcome::Removed),
            Err(Untouched::Vanished) => {}
            Err(why) => return Err(why),
        }
    }
    match listed(dir, epoll, fd, item.object) {
        0 => Err(Untouched::Vanished),
        _ => Ok(FixOutcome::Failed),
    }
}

/// How often the epoll lists this object under this number.
fn listed(dir: &ProcDir, epoll: i32, fd: i32, object: (u64, u64)) -> usize {
    let text = dir.read(&format!("fdinfo/{epoll}")).unwrap_or_default();
    let Facts::Epoll(entries) = fdinfo::parse(Seen::Epoll, &text).facts else {
        return 0;
    };
    let same = entries
        .iter()
        .filter(|entry| entry.fd == fd && (entry.device, entry.inode) == object);
    same.count()
}

/// Whether the number names that object again.
fn is_current(dir: &ProcDir, fd: i32, object: (u64, u64)) -> bool {
    object_of(dir, fd) == Some(object)
}

fn object_of(dir: &ProcDir, fd: i32) -> Option<(u64, u64)> {
    let path = format!("fd/{fd}");
    let stat = rustix::fs::statat(dir.fd(), &*path, rustix::fs::AtFlags::empty()).ok()?;
    Some((stat.st_dev, stat.st_ino))
}
