//! Takes a registration out of another process's epoll.
//!
//! An epoll knows its entries by open file and by the *number* under which the
//! file was registered. A stale entry's number names something else by now, so
//! the program itself cannot remove it. Whoever has the epoll and any
//! duplicate of that file can, if the duplicate stands at the same number. So
//! a thread with a descriptor table of its own puts it there.
#![allow(unsafe_code, reason = "unshare(2) and dup2(2) onto a chosen number")]

use super::outside::{Hold, Untouched};
use super::owners::Owner;
use rustix::event::epoll;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

/// One registration of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The epoll's number in the target
    pub epoll: i32,
    /// The number it is registered under
    pub fd: i32,
}

/// Removes an entry with the help of a descriptor of the same open file.
/// With any other file this finds nothing, and changes nothing.
///
/// # Errors
/// [`Untouched::Vanished`] when the epoll has no such entry of that file.
pub fn remove(target: &Hold, entry: Entry, holder: Owner) -> Result<(), Untouched> {
    let epoll = target.duplicate(entry.epoll)?;
    let file = Hold::of(holder.pid)?.duplicate(holder.fd)?;
    raise_own_limit(entry.fd);
    std::thread::scope(|scope| {
        let removal = scope.spawn(move || remove_here(epoll, file, entry.fd));
        removal.join().unwrap_or(Err(Untouched::Kernel(Errno::IO)))
    })
}

/// In a thread that ends right after: its descriptor table goes with it.
fn remove_here(epoll: OwnedFd, file: OwnedFd, number: i32) -> Result<(), Untouched> {
    // SAFETY: the table becomes this thread's own, and what it holds stays open
    // in it; no descriptor of another thread changes.
    if unsafe { libc::unshare(libc::CLONE_FILES) } != 0 {
        return Err(last_error());
    }
    // The epoll may itself stand at the number.
    let epoll = rustix::io::fcntl_dupfd_cloexec(&epoll, number.saturating_add(1))?;
    // SAFETY: in this thread's own table; whatever stood at the number was a
    // copy, and Rust's owners of it belong to threads with the other table.
    if unsafe { libc::dup2(file.as_raw_fd(), number) } != number {
        return Err(last_error());
    }
    // SAFETY: open as of the line above, until this thread ends.
    let placed = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(epoll::delete(&epoll, placed)?)
}

fn last_error() -> Untouched {
    let code = std::io::Error::last_os_error().raw_os_error();
    Errno::from_raw_os_error(code.unwrap_or(libc::EIO)).into()
}

/// Numbers go up to the target's limit, which may be above ours.
fn raise_own_limit(number: i32) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = number as u64 + 16;
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

    #[test]
    fn a_stale_entry_goes_and_no_descriptor_of_ours_changes() {
        let me = std::process::id() as i32;
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let (low, _other) = UnixStream::pair().unwrap();
        // A number that no test beside this one is given.
        let watched = rustix::io::fcntl_dupfd_cloexec(&low, 700).unwrap();
        drop(low);
        let number = watched.as_raw_fd();
        epoll::add(&epoll, &watched, EventData::new_u64(1), EventFlags::IN).unwrap();
        let kept = watched.try_clone().unwrap();
        drop(watched);
        assert_eq!(entries(&epoll), 1, "the duplicate keeps it");
        let (hold, entry) = (
            Hold::of(me).unwrap(),
            Entry {
                epoll: epoll.as_raw_fd(),
                fd: number,
            },
        );
        let wrong = Owner {
            pid: me,
            fd: _other.as_raw_fd(),
        };
        assert!(matches!(
            remove(&hold, entry, wrong),
            Err(Untouched::Vanished)
        ));
        assert_eq!(entries(&epoll), 1);
        let holder = Owner {
            pid: me,
            fd: kept.as_raw_fd(),
        };
        remove(&hold, entry, holder).unwrap();
        assert_eq!(entries(&epoll), 0);
        let open = std::fs::read_link(format!("/proc/self/fd/{number}"));
        assert!(
            open.is_err() || !open.unwrap().to_string_lossy().contains("eventpoll"),
            "the number was only taken in the thread's own table"
        );
    }
}
