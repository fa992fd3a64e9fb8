//! The library's kinds and the kernel's, and whether they can be one thing.

use shm_protocol::codes::Kind as Row;

use crate::kernel::{Group, Kind as Seen};
use crate::model::Kind;

/// The group of a kind that the library wrote; none where only the kernel
/// knows (a duplicate may be anything).
#[must_use]
pub fn group_of(row: Row) -> Option<Kind> {
    use Row::*;
    Some(match row {
        Heap => Kind::Memory,
        Mapping => Kind::Mappings,
        Thread => Kind::Threads,
        Child => Kind::Children,
        PosixTimer | TimerFd => Kind::Timers,
        Registration | Watch | Epoll | EventFd | SignalFd | Inotify | Fanotify | PidFd
        | UserFaultFd | IoUring => Kind::Listeners,
        File | Directory | MemFd | MessageQueue | Pty | SharedMemory => Kind::Files,
        Socket | Accepted => Kind::Sockets,
        Pipe | Popen => Kind::Pipes,
        Close | Duplicate | Received | Inherited | Other => return None,
    })
}

/// The group of a kind that the kernel names. What fits nowhere counts as a
/// file, or, if its job is to wait for something, as a listener.
#[must_use]
pub fn group_seen(seen: Seen) -> Kind {
    match (seen.group(), seen) {
        (Group::Sockets, _) => Kind::Sockets,
        (Group::Pipes, _) => Kind::Pipes,
        (Group::Timers, _) => Kind::Timers,
        (Group::Listeners, _) | (_, Seen::IoUring | Seen::Userfaultfd) => Kind::Listeners,
        (Group::Files | Group::Other, _) => Kind::Files,
    }
}

/// Whether a row of this kind can speak of what the kernel sees there. If
/// not, the number was reused unseen and the row's origin is another's.
#[must_use]
pub fn may_be(row: Row, what: &str) -> bool {
    use Row::*;
    match row {
        File => !is_special(what),
        Directory => what == Seen::Directory.name(),
        Socket | Accepted => is_socket(what),
        Pipe => what == Seen::Pipe.name(),
        Popen => what == Seen::Pipe.name() || is_socket(what),
        Epoll => what == Seen::Epoll.name(),
        EventFd => what == Seen::Eventfd.name(),
        TimerFd => what == Seen::Timerfd.name(),
        SignalFd => what == Seen::Signalfd.name(),
        Inotify => what == Seen::Inotify.name(),
        Fanotify => what == Seen::Fanotify.name(),
        MemFd => what == Seen::Memfd.name(),
        PidFd => what == Seen::Pidfd.name(),
        UserFaultFd => what == Seen::Userfaultfd.name(),
        IoUring => what == Seen::IoUring.name(),
        Pty => what == Seen::Device.name(),
        MessageQueue | SharedMemory => what == Seen::Regular.name(),
        Duplicate | Received | Inherited | Other => true,
        Heap | Mapping | Thread | PosixTimer | Registration | Watch | Close | Child => false,
    }
}

fn is_socket(what: &str) -> bool {
    [
        Seen::Tcp,
        Seen::Udp,
        Seen::Unix,
        Seen::Netlink,
        Seen::Socket,
    ]
    .iter()
    .any(|kind| kind.name() == what)
}

/// What no path can open.
fn is_special(what: &str) -> bool {
    let never = [
        Seen::Epoll,
        Seen::Eventfd,
        Seen::Timerfd,
        Seen::Signalfd,
        Seen::Inotify,
        Seen::Fanotify,
        Seen::Pidfd,
        Seen::Memfd,
    ];
    is_socket(what) || never.iter().any(|kind| kind.name() == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_reused_unseen_is_noticed() {
        assert!(
            may_be(Row::Socket, "tcp")
                && may_be(Row::File, "regular")
                && may_be(Row::Duplicate, "pipe")
        );
        assert!(
            !may_be(Row::File, "tcp")
                && !may_be(Row::Epoll, "eventfd")
                && !may_be(Row::Heap, "regular")
        );
    }

    #[test]
    fn every_kind_of_thing_has_a_group_unless_it_may_be_anything() {
        let open = [
            Row::Close,
            Row::Duplicate,
            Row::Received,
            Row::Inherited,
            Row::Other,
        ];
        for kind in Row::ALL {
            assert_eq!(group_of(kind).is_none(), open.contains(&kind), "{kind:?}");
        }
    }
}
