//! Stale registrations: an epoll tells of a number that is closed or names
//! another file. From finding to item, and out of the epoll.

use std::cell::{Cell, LazyCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::epoll::{Entry, Remover, removing};
use super::gates;
use super::means::settle_with;
use super::needed::Needed;
use super::outside::{Hold, Untouched};
use super::owners::{Owner, Owners, Sought};
use super::pace::Turns;
use super::plan::Wish;
use super::same_file::Ordered;
use crate::detect::Found;
use crate::kernel::descriptors::fdinfo;
use crate::kernel::{Facts, Kind as Seen, ProcDir};
use crate::model::{Fix, FixItem, FixOutcome};
use crate::snapshot::facts::RegistrationFact;
use crate::snapshot::{Snapshot, Thing};

/// Descriptors tried for one entry; files of the kernel's own share an inode.
const MOST_TRIED: usize = 256;
/// What an entry that could not be taken out is told with.
const NO_HOLDER: &str = "no descriptor of the file that it watches was found";

/// The inodes that the finding's stale entries watch.
pub fn inodes<'a>(snapshot: &'a Snapshot, found: &'a Found) -> impl Iterator<Item = u64> + 'a {
    entries(snapshot, found).map(|(_, entry)| entry.object.1)
}

/// The epolls that they stand in.
pub fn epolls<'a>(snapshot: &'a Snapshot, found: &'a Found) -> impl Iterator<Item = i32> + 'a {
    entries(snapshot, found).map(|(_, entry)| entry.epoll)
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
    let needed = Needed::of(snapshot, found, owners, wish);
    entries(snapshot, found)
        .map(|(thing, entry)| FixItem {
            fd: Some(entry.epoll),
            entry: Some(entry.fd),
            object: entry.object,
            gates: {
                let known = holders.of(snapshot, owners, entry.object);
                let mut all = gates::stale(snapshot, found, &wish.protection, entry, known);
                all.extend(needed.gates(thing, entry));
                all
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
    ordered: RefCell<HashMap<(u64, u64), Rc<Ordered>>>,
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
        if !known.is_empty() || !self.read_again(dir) {
            return known;
        }
        self.known(dir, object)
    }

    /// Whether it was time to.
    fn read_again(&self, dir: &ProcDir) -> bool {
        let is_fresh = |read: Instant| read.elapsed() < FRESH;
        if self.read.get().is_some_and(is_fresh) {
            return false;
        }
        *self.all.borrow_mut() = read_numbers(dir);
        self.ordered.borrow_mut().clear();
        self.read.set(Some(Instant::now()));
        true
    }

    /// The numbers that the kernel says hold what the entry watches.
    fn watched(&self, dir: &ProcDir, entry: Entry, object: (u64, u64)) -> Vec<Owner> {
        let pid = dir.pid();
        let found = || -> Vec<Owner> { self.ordered(pid, object).watched(pid, entry).collect() };
        match found() {
            none if none.is_empty() && self.read_again(dir) => found(),
            some => some,
        }
    }

    fn ordered(&self, pid: i32, object: (u64, u64)) -> Rc<Ordered> {
        let order = || {
            let all = self.all.borrow();
            let numbers = all.get(&object).into_iter().flatten();
            Rc::new(Ordered::of(numbers.map(|fd| Owner { pid, fd: *fd })))
        };
        let mut ordered = self.ordered.borrow_mut();
        ordered.entry(object).or_insert_with(order).clone()
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
            if let Ok(FixOutcome::Failed) = removed {
                items[*at].detail = Some(NO_HOLDER.to_owned());
            }
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
        let mut refused = None;
        if self.goes_by_own(entry, item, &mut refused) {
            return Ok(FixOutcome::Removed);
        }
        let elsewhere = elsewhere();
        let mut others = elsewhere.iter().take(MOST_TRIED);
        if others.any(|holder| self.goes(entry, *holder, item, &mut refused)) {
            return Ok(FixOutcome::Removed);
        }
        match (listed(self.dir, epoll, fd, item.object), refused) {
            (0, _) => Err(Untouched::Vanished),
            (_, Some(why)) => Err(why),
            _ => Ok(FixOutcome::Failed),
        }
    }

    /// By the target's own descriptors: the one that did it last, those that the
    /// kernel names, and where it does not tell, one after the other.
    fn goes_by_own(&self, entry: Entry, item: &FixItem, refused: &mut Option<Untouched>) -> bool {
        let pid = self.dir.pid();
        let numbers = self.numbers.of(self.dir, item.object);
        let mut numbers = numbers.into_iter().map(|fd| Owner { pid, fd });
        let mut by = |holder: Owner| {
            let holds = is_current(self.dir, holder.fd, item.object);
            let goes = holds && self.goes(entry, holder, item, refused);
            if goes {
                self.numbers.prefer(item.object, holder.fd);
            }
            goes
        };
        let first = numbers.by_ref().take(1).any(&mut by);
        let named = || self.numbers.watched(self.dir, entry, item.object);
        first || named().into_iter().any(&mut by) || numbers.any(by)
    }

    /// Of another file with that inode the epoll has no entry: nothing happens.
    fn goes(
        &self,
        entry: Entry,
        holder: Owner,
        item: &FixItem,
        refused: &mut Option<Untouched>,
    ) -> bool {
        match self.by.remove(entry, holder, item.object.1) {
            Ok(()) => return true,
            Err(Untouched::Vanished) => {}
            Err(why) => *refused = Some(why),
        }
        false
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, epoll, eventfd};
    use rustix::fd::{AsRawFd, OwnedFd};
    use rustix::io::fcntl_dupfd_cloexec;

    fn event() -> OwnedFd {
        eventfd(0, EventfdFlags::CLOEXEC).unwrap()
    }

    /// Eventfds, the epoll itself and hundreds of others share an inode.
    #[test]
    fn an_eventfd_is_found_among_all_that_share_its_inode() {
        let watching = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let _others: Vec<OwnedFd> = (0..MOST_TRIED + 20).map(|_| event()).collect();
        let watched: Vec<OwnedFd> = (0..20).map(|_| event()).collect();
        let stale = watched.iter().map(|file| {
            let number = fcntl_dupfd_cloexec(file, 800).unwrap();
            let data = epoll::EventData::new_u64(0);
            epoll::add(&watching, &number, data, epoll::EventFlags::IN).unwrap();
            number
        });
        let stale: Vec<OwnedFd> = stale.collect();
        let pid = std::process::id() as i32;
        let dir = ProcDir::open(pid).unwrap();
        let object = object_of(&dir, watching.as_raw_fd()).unwrap();
        let numbers: Vec<i32> = stale.iter().map(AsRawFd::as_raw_fd).collect();
        drop(stale);
        let item = |fd: i32| FixItem {
            fd: Some(watching.as_raw_fd()),
            entry: Some(fd),
            object,
            ..FixItem::new(
                "",
                crate::model::Kind::Listeners,
                Fix::EpollDel,
                String::new(),
            )
        };
        let hold = Hold::of(pid).unwrap();
        let highest = numbers.iter().copied().max().unwrap();
        let known = Numbers::default();
        removing(&hold, highest, |by| {
            let removal = Removal {
                by,
                dir: &dir,
                numbers: &known,
            };
            for fd in &numbers {
                let removed = removal.of(&item(*fd), || &[]);
                assert!(matches!(removed, Ok(FixOutcome::Removed)), "{removed:?}");
                let again = removal.of(&item(*fd), || &[]);
                assert!(matches!(again, Err(Untouched::Vanished)), "{again:?}");
            }
        });
        let left = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", watching.as_raw_fd()));
        assert_eq!(left.unwrap().matches("tfd:").count(), 0);
    }
}
