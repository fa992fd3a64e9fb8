//! Which descriptors are duplicates of one open file, where files share an
//! inode: kcmp(2) orders open files, and calls equal ones equal.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::epoll::Entry;
use super::owners::Owner;
use crate::kernel::kcmp;

/// Files that one epoll watches under one number: all but one of them are stale.
const SAME_NUMBER: u32 = 64;

/// How often each one's file is open; what the kernel does not tell is
/// missing.
#[must_use]
pub fn counts(open: &[Owner]) -> HashMap<Owner, usize> {
    let mut files: Vec<Vec<Owner>> = Vec::new();
    for owner in open {
        let mut known = true;
        let place = files.binary_search_by(|file| {
            compare(file[0], *owner).unwrap_or_else(|| {
                known = false;
                Ordering::Equal
            })
        });
        match place {
            _ if !known => {}
            Ok(at) => files[at].push(*owner),
            Err(at) => files.insert(at, vec![*owner]),
        }
    }
    let counted = files.into_iter().flat_map(|file| {
        let count = file.len();
        file.into_iter().map(move |owner| (owner, count))
    });
    counted.collect()
}

/// Descriptors in the kernel's order of their files.
#[derive(Debug)]
pub struct Ordered(Vec<Owner>);

impl Ordered {
    /// Orders them; what the kernel does not tell is missing.
    pub fn of(open: impl IntoIterator<Item = Owner>) -> Self {
        let mut all: Vec<Owner> = Vec::new();
        for owner in open {
            if let Some(Ok(at) | Err(at)) = search(&all, |one| compare(one, owner)) {
                all.insert(at, owner);
            }
        }
        Self(all)
    }

    /// Those whose files an epoll of that process watches under that number.
    pub fn watched(&self, pid: i32, entry: Entry) -> impl Iterator<Item = Owner> + '_ {
        let slots = (0..SAME_NUMBER).map(move |which| Slot {
            epoll: entry.epoll as u32,
            fd: entry.fd as u32,
            which,
        });
        let places = slots.map(move |slot| search(&self.0, |one| slot.compare(one, pid)));
        let found = places.map_while(|place| place);
        found.filter_map(|place| Some(self.0[place.ok()?]))
    }
}

/// Where it is, or would be; none when one of them cannot be compared.
fn search(
    all: &[Owner],
    mut order: impl FnMut(Owner) -> Option<Ordering>,
) -> Option<Result<usize, usize>> {
    let mut known = true;
    let place = all.binary_search_by(|one| {
        order(*one).unwrap_or_else(|| {
            known = false;
            Ordering::Equal
        })
    });
    known.then_some(place)
}

/// `struct kcmp_epoll_slot`: one of the files watched under a number.
#[repr(C)]
struct Slot {
    epoll: u32,
    fd: u32,
    which: u32,
}

impl Slot {
    /// None also when the epoll watches no more files under that number.
    fn compare(&self, one: Owner, pid: i32) -> Option<Ordering> {
        let slot = std::ptr::from_ref(self).expose_provenance();
        kcmp::watched((one.pid, one.fd), (pid, slot as libc::c_long))
    }
}

/// Whether both are one open file; none when that cannot be told.
#[must_use]
pub fn is_same(one: Owner, other: Owner) -> Option<bool> {
    compare(one, other).map(|order| order == Ordering::Equal)
}

/// None when one of them is gone, or may not be asked about.
fn compare(one: Owner, other: Owner) -> Option<Ordering> {
    kcmp::files((one.pid, one.fd), (other.pid, other.fd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
    use std::os::fd::AsRawFd;

    #[test]
    fn duplicates_are_one_file_and_equal_looking_ones_are_not() {
        let timer = || timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC).unwrap();
        let (one, other) = (timer(), timer());
        let again = one.try_clone().unwrap();
        let owner = |fd: i32| Owner {
            pid: std::process::id() as i32,
            fd,
        };
        let all = [&one, &other, &again].map(|fd| owner(fd.as_raw_fd()));
        let counted = counts(&all);
        assert_eq!(all.map(|owner| counted[&owner]), [2, 1, 2]);
        assert!(counts(&[owner(one.as_raw_fd()), owner(1 << 20)]).len() < 2);
    }
}
