//! Takes registrations out of another process's epolls.
//!
//! An epoll knows its entries by open file and by the *number* under which the
//! file was registered. A stale entry's number names something else by now, so
//! the program itself cannot remove it. Whoever has the epoll and any
//! duplicate of that file can, if the duplicate stands at the same number. So
//! a thread with a descriptor table of its own puts it there; one thread does
//! it for thousands, since such a table costs more than what is done in it.
#![allow(unsafe_code, reason = "unshare(2) and dup2(2) onto a chosen number")]

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::outside::{Hold, Untouched};
use super::owners::Owner;
use rustix::event::epoll;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::fstat;
use rustix::io::{Errno, fcntl_dupfd_cloexec};

/// Descriptors that the thread has besides the one that it places.
const SPARE: u64 = 64;

/// One registration of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The epoll's number in the target
    pub epoll: i32,
    /// The number it is registered under
    pub fd: i32,
}

/// An entry, whoever has its file open, and that file's inode.
type Wanted = (Entry, Owner, u64);

/// Whoever removes entries, one after the other.
#[derive(Debug)]
pub struct Remover {
    wanted: Sender<Wanted>,
    done: Receiver<Result<(), Untouched>>,
}

impl Remover {
    /// Removes an entry with the help of a descriptor of the same open file.
    /// With any other file this finds nothing, and changes nothing.
    ///
    /// # Errors
    /// [`Untouched::Vanished`] when the epoll has no such entry of that file,
    /// or the descriptor is of another inode by now.
    pub fn remove(&self, entry: Entry, holder: Owner, inode: u64) -> Result<(), Untouched> {
        const ENDED: Untouched = Untouched::Kernel(Errno::IO);
        self.wanted
            .send((entry, holder, inode))
            .map_err(|_| ENDED)?;
        self.done.recv().unwrap_or(Err(ENDED))
    }
}

/// Has somebody at hand who removes entries of the target's epolls whose
/// numbers are no higher than this.
pub fn removing<T>(target: &Hold, highest: i32, work: impl FnOnce(&Remover) -> T) -> T {
    raise_own_limit(highest);
    let (wanted, todo) = channel();
    let (answers, done) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || serve(target, highest, &todo, &answers));
        // It goes when the work is done, and the thread with it.
        let remover = Remover { wanted, done };
        work(&remover)
    })
}

/// In a thread that ends right after: its descriptor table goes with it.
fn serve(
    target: &Hold,
    highest: i32,
    todo: &Receiver<Wanted>,
    answers: &Sender<Result<(), Untouched>>,
) {
    let mut table = OwnTable::make(target, highest);
    for (entry, holder, inode) in todo {
        let removed = match &mut table {
            Ok(table) => table.remove(entry, holder, inode),
            Err(errno) => Err(Untouched::from(*errno)),
        };
        if answers.send(removed).is_err() {
            return;
        }
    }
}

/// This thread's own descriptor table. What is needed for long stands above
/// all numbers that files are placed at.
struct OwnTable {
    target: Hold,
    above: i32,
    epolls: HashMap<i32, OwnedFd>,
}

impl OwnTable {
    fn make(target: &Hold, highest: i32) -> Result<Self, Errno> {
        // SAFETY: the table becomes this thread's own, and what it holds stays
        // open in it; no descriptor of another thread changes.
        if unsafe { libc::unshare(libc::CLONE_FILES) } != 0 {
            return Err(last_error());
        }
        let above = highest.saturating_add(1);
        Ok(Self {
            target: target.again(above)?,
            above,
            epolls: HashMap::new(),
        })
    }

    fn remove(&mut self, entry: Entry, holder: Owner, inode: u64) -> Result<(), Untouched> {
        if entry.fd >= self.above {
            return Err(Untouched::Kernel(Errno::INVAL));
        }
        let file = match holder.pid == self.target.pid() {
            true => self.target.duplicate(holder.fd)?,
            false => Hold::of(holder.pid)?.duplicate(holder.fd)?,
        };
        if fstat(&file)?.st_ino != inode {
            return Err(Untouched::Vanished);
        }
        let (target, above) = (&self.target, self.above);
        let epoll = match self.epolls.entry(entry.epoll) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                let copy = target.duplicate(entry.epoll)?;
                new.insert(fcntl_dupfd_cloexec(&copy, above)?)
            }
        };
        let placed = Placed::at(entry.fd, file)?;
        epoll::delete(&*epoll, placed.borrowed()).map_err(not_watched)
    }
}

/// Files that share an inode are of many kinds: what no epoll can watch and the
/// epoll itself are none that it watches.
fn not_watched(errno: Errno) -> Untouched {
    match errno {
        Errno::INVAL | Errno::PERM => Untouched::Vanished,
        other => other.into(),
    }
}

/// A file at a chosen number, in this thread's own table.
struct Placed {
    number: i32,
    file: OwnedFd,
}

impl Placed {
    fn at(number: i32, file: OwnedFd) -> Result<Self, Untouched> {
        // SAFETY: in this thread's own table; whatever stood at the number was a
        // copy, and Rust's owners of it belong to threads with the other table,
        // or stand above all such numbers.
        if unsafe { libc::dup2(file.as_raw_fd(), number) } != number {
            return Err(last_error().into());
        }
        Ok(Self { number, file })
    }

    fn borrowed(&self) -> BorrowedFd<'_> {
        // SAFETY: open as of `at`, until this is dropped.
        unsafe { BorrowedFd::borrow_raw(self.number) }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if self.file.as_raw_fd() != self.number {
            // SAFETY: nobody else in this table owns what was placed.
            unsafe { libc::close(self.number) };
        }
    }
}

fn last_error() -> Errno {
    let code = std::io::Error::last_os_error().raw_os_error();
    Errno::from_raw_os_error(code.unwrap_or(libc::EIO))
}

/// Numbers go up to the target's limit, which may be above ours.
fn raise_own_limit(number: i32) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = number as u64 + SPARE;
    if limit.current.is_some_and(|soft| soft < wanted) {
        let raised = Rlimit {
            current: limit.maximum.map_or(Some(wanted), Some),
            ..limit
        };
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::epoll::{CreateFlags, EventData, EventFlags};
    use std::os::unix::net::UnixStream;

    fn entries(epoll: &OwnedFd) -> usize {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", epoll.as_raw_fd()));
        text.unwrap().matches("tfd:").count()
    }

    fn me(fd: &impl AsRawFd) -> Owner {
        Owner {
            pid: std::process::id() as i32,
            fd: fd.as_raw_fd(),
        }
    }

    fn inode(fd: &impl rustix::fd::AsFd) -> u64 {
        fstat(fd).unwrap().st_ino
    }

    /// Registered under numbers that no test beside these is given, and closed
    /// there; each number names nothing then, and the file is open elsewhere.
    fn with_stale(epoll: &OwnedFd, file: &UnixStream, from: i32, count: usize) -> Vec<Entry> {
        let mut open = Vec::new();
        for at in 0..count {
            let watched = fcntl_dupfd_cloexec(file, from).unwrap();
            let data = EventData::new_u64(at as u64);
            epoll::add(epoll, &watched, data, EventFlags::IN).unwrap();
            open.push(watched);
        }
        let entry = |watched: &OwnedFd| Entry {
            epoll: epoll.as_raw_fd(),
            fd: watched.as_raw_fd(),
        };
        open.iter().map(entry).collect()
    }

    #[test]
    fn a_stale_entry_goes_and_no_descriptor_of_ours_changes() {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let (kept, other) = UnixStream::pair().unwrap();
        let stale = with_stale(&epoll, &kept, 700, 1);
        assert_eq!(entries(&epoll), 1, "the duplicate keeps it");
        let hold = Hold::of(std::process::id() as i32).unwrap();
        let number = stale[0].fd;
        let removed =
            |holder, inode| removing(&hold, number, |by| by.remove(stale[0], holder, inode));
        for (holder, inode) in [
            (me(&other), inode(&other)),
            (me(&other), inode(&kept)),
            (me(&kept), inode(&other)),
        ] {
            let refused = removed(holder, inode);
            assert!(matches!(refused, Err(Untouched::Vanished)));
        }
        assert_eq!(entries(&epoll), 1);
        removed(me(&kept), inode(&kept)).unwrap();
        assert_eq!(entries(&epoll), 0);
        let open = std::fs::read_link(format!("/proc/self/fd/{number}"));
        assert!(
            open.is_err() || !open.unwrap().to_string_lossy().contains("eventpoll"),
            "the number was only taken in the thread's own table"
        );
    }

    /// Also the numbers that the thread's own descriptors would have had.
    #[test]
    fn one_thread_removes_many_of_several_epolls() {
        let epolls = [0, 1].map(|_| epoll::create(CreateFlags::CLOEXEC).unwrap());
        let (kept, _other) = UnixStream::pair().unwrap();
        let mut all = with_stale(&epolls[0], &kept, 3, 20);
        all.extend(with_stale(&epolls[1], &kept, 3, 20));
        let hold = Hold::of(std::process::id() as i32).unwrap();
        let highest = all.iter().map(|entry| entry.fd).max().unwrap();
        removing(&hold, highest, |by| {
            for entry in &all {
                by.remove(*entry, me(&kept), inode(&kept)).unwrap();
                let again = by.remove(*entry, me(&kept), inode(&kept));
                assert!(matches!(again, Err(Untouched::Vanished)));
            }
            let beyond = Entry {
                fd: highest + 1,
                ..all[0]
            };
            assert!(by.remove(beyond, me(&kept), inode(&kept)).is_err());
        });
        assert_eq!(epolls.each_ref().map(entries), [0, 0]);
        let mut ours = &kept;
        std::io::Write::write_all(&mut ours, b"open still").unwrap();
    }
}
