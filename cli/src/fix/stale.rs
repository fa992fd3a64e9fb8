//! Stale registrations: an epoll tells of a number that is closed or names
//! another file. From finding to item, and out of the epoll.

use std::cell::{Cell, LazyCell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::epoll::{Entry, Remover, removing};
use super::gates;
use super::means::settle_with;
use super::outside::{Hold, Untouched};
use super::owners::{Owner, Owners, Sought};
use super::pace::Turns;
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
pub struct Numbers {
    all: RefCell<HashMap<(u64, u64), Vec<i32>>>,
    read: Cell<Option<Instant>>,
}

/// What was read is not read again so soon, for thousands of entries of a file
/// that only others have open.
const FRESH: Duration = Duration::from_millis(500);

impl Numbers {
    /// Numbers that have named that object, some that it is open at first.
    /// What was read is only a hint: all are read again when none of them holds.
    fn of(&self, dir: &ProcDir, object: (u64, u64)) -> Vec<i32> {
        let known = self.known(dir, object);
        let is_fresh = |read: Instant| read.elapsed() < FRESH;
        if !known.is_empty() || self.read.get().is_some_and(is_fresh) {
            return known;
        }
        *self.all.borrow_mut() = read_numbers(dir);
        self.read.set(Some(Instant::now()));
        self.known(dir, object)
    }

    fn known(&self, dir: &ProcDir, object: (u64, u64)) -> Vec<i32> {
        let mut all = self.all.borrow_mut();
        let Some(numbers) = all.get_mut(&object) else {
            return Vec::new();
        };
        // Those that do not hold any more go, until one does.
        while let Some(first) = numbers.first() {
            if is_current(dir, *first, object) {
                break;
            }
            numbers.swap_remove(0);
        }
        numbers.iter().take(MOST_TRIED).copied().collect()
    }

    /// With this one an entry was found: where many entries are of one file,
    /// it is tried first from then on.
    fn prefer(&self, object: (u64, u64), number: i32) {
        let mut all = self.all.borrow_mut();
        let numbers = all.get_mut(&object);
        let at = numbers.as_ref().and_then(|numbers| {
            let tried = numbers.iter().take(MOST_TRIED);
            tried.copied().position(|one| one == number)
        });
        if let (Some(numbers), Some(at)) = (numbers, at) {
            numbers.swap(0, at);
        }
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

/// Takes these entries out, each at its turn.
pub fn remove(
    hold: &Hold,
    dir: &ProcDir,
    numbers: &Numbers,
    items: &mut [FixItem],
    which: &[usize],
    turns: &mut Turns<'_>,
) {
    let Some(highest) = which.iter().filter_map(|at| items[*at].entry).max() else {
        return;
    };
    let inodes: Vec<u64> = which.iter().map(|at| items[*at].object.1).collect();
    let elsewhere = LazyCell::new(|| Owners::of(&Sought::inodes(inodes)));
    removing(hold, highest, |by| {
        for at in which {
            if !turns.take(*at) {
                return;
            }
            let removal = Removal { by, dir, numbers };
            let removed = removal.of(&items[*at], || elsewhere.of_inode(items[*at].object.1));
            settle_with(&mut items[*at], removed.map(Some));
        }
    });
}

/// What it takes to take one out.
struct Removal<'a> {
    by: &'a Remover,
    dir: &'a ProcDir,
    numbers: &'a Numbers,
}

impl Removal<'_> {
    /// The kernel says whether it had one of that file and number. Only where it
    /// had none its whole list is asked, which may be long.
    fn of<'b>(
        &self,
        item: &FixItem,
        elsewhere: impl FnOnce() -> &'b [Owner],
    ) -> Result<FixOutcome, Untouched> {
        let (Some(epoll), Some(fd)) = (item.fd, item.entry) else {
            return Err(Untouched::Vanished);
        };
        if is_current(self.dir, fd, item.object) {
            return Err(Untouched::Vanished);
        }
        let entry = Entry { epoll, fd };
        let pid = self.dir.pid();
        for fd in self.numbers.of(self.dir, item.object) {
            let holds = is_current(self.dir, fd, item.object);
            if holds && self.goes(entry, Owner { pid, fd }, item)? {
                self.numbers.prefer(item.object, fd);
                return Ok(FixOutcome::Removed);
            }
        }
        for holder in elsewhere().iter().take(MOST_TRIED) {
            if self.goes(entry, *holder, item)? {
                return Ok(FixOutcome::Removed);
            }
        }
        match listed(self.dir, epoll, fd, item.object) {
            0 => Err(Untouched::Vanished),
            _ => Ok(FixOutcome::Failed),
        }
    }

    /// Of another file with that inode the epoll has no entry: nothing happens.
    fn goes(&self, entry: Entry, holder: Owner, item: &FixItem) -> Result<bool, Untouched> {
        match self.by.remove(entry, holder, item.object.1) {
            Ok(()) => Ok(true),
            Err(Untouched::Vanished) => Ok(false),
            Err(why) => Err(why),
        }
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
