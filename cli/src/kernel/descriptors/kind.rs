//! What a descriptor is: from the text of its link and its file type.

use rustix::fs::FileType;

/// The finer kind of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file, also one on tmpfs or a POSIX message queue.
    Regular,
    /// A directory.
    Directory,
    /// A character or block device, terminals included.
    Device,
    /// A file made by `memfd_create`.
    Memfd,
    /// A TCP socket over IPv4 or IPv6.
    Tcp,
    /// A UDP socket over IPv4 or IPv6.
    Udp,
    /// An AF_UNIX socket.
    Unix,
    /// A netlink socket.
    Netlink,
    /// A socket of another family, or one whose family could not be found.
    Socket,
    /// An anonymous pipe.
    Pipe,
    /// A named pipe.
    Fifo,
    /// An epoll descriptor.
    Epoll,
    /// An eventfd.
    Eventfd,
    /// A timerfd.
    Timerfd,
    /// A signalfd.
    Signalfd,
    /// An inotify descriptor.
    Inotify,
    /// A fanotify descriptor.
    Fanotify,
    /// A pidfd.
    Pidfd,
    /// An io_uring.
    IoUring,
    /// A userfaultfd.
    Userfaultfd,
    /// A BPF program, map, link or the like.
    Bpf,
    /// A perf event.
    Perf,
    /// Anything else.
    Other,
}

/// The groups that `--kind` selects descriptors by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// Regular files, directories, devices, memfd.
    Files,
    /// Sockets of every family.
    Sockets,
    /// Pipes and FIFOs.
    Pipes,
    /// Timer descriptors.
    Timers,
    /// Epoll, inotify, fanotify, eventfd, signalfd, pidfd.
    Listeners,
    /// What no group of `--kind` covers.
    Other,
}

impl Kind {
    /// The word for it in texts and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Directory => "directory",
            Self::Device => "device",
            Self::Memfd => "memfd",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Unix => "unix",
            Self::Netlink => "netlink",
            Self::Socket => "socket",
            Self::Pipe => "pipe",
            Self::Fifo => "fifo",
            Self::Epoll => "epoll",
            Self::Eventfd => "eventfd",
            Self::Timerfd => "timerfd",
            Self::Signalfd => "signalfd",
            Self::Inotify => "inotify",
            Self::Fanotify => "fanotify",
            Self::Pidfd => "pidfd",
            Self::IoUring => "io_uring",
            Self::Userfaultfd => "userfaultfd",
            Self::Bpf => "bpf",
            Self::Perf => "perf",
            Self::Other => "other",
        }
    }

    /// The group of `--kind` that it belongs to.
    pub fn group(self) -> Group {
        match self {
            Self::Regular | Self::Directory | Self::Device | Self::Memfd => Group::Files,
            Self::Tcp | Self::Udp | Self::Unix | Self::Netlink | Self::Socket => Group::Sockets,
            Self::Pipe | Self::Fifo => Group::Pipes,
            Self::Timerfd => Group::Timers,
            Self::Epoll | Self::Inotify | Self::Fanotify => Group::Listeners,
            Self::Eventfd | Self::Signalfd | Self::Pidfd => Group::Listeners,
            _ => Group::Other,
        }
    }

    /// True for sockets, whose family [`crate::kernel::sockets`] finds.
    pub fn is_socket(self) -> bool {
        self.group() == Group::Sockets
    }
}

impl Group {
    /// The word that `--kind` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Sockets => "sockets",
            Self::Pipes => "pipes",
            Self::Timers => "timers",
            Self::Listeners => "listeners",
            Self::Other => "other",
        }
    }
}

/// The kind that a link's text tells without looking at the object itself.
///
/// A path always starts with a slash and these texts never do, so no file can
/// be named to look like a socket. `None`: it is a path, ask the file type.
pub fn from_link(text: &[u8]) -> Option<Kind> {
    match text {
        [b'/', ..] if is_memfd(text) => Some(Kind::Memfd),
        [b'/', ..] => None,
        _ if text.starts_with(b"socket:[") => Some(Kind::Socket),
        _ if text.starts_with(b"pipe:[") => Some(Kind::Pipe),
        _ if text.starts_with(b"pidfd:[") => Some(Kind::Pidfd),
        _ => text.strip_prefix(b"anon_inode:").map(anonymous),
    }
}

/// The kernel shows a memfd as a deleted file `memfd:NAME` in no directory.
fn is_memfd(text: &[u8]) -> bool {
    text.starts_with(b"/memfd:") && text.ends_with(b" (deleted)")
}

fn anonymous(name: &[u8]) -> Kind {
    match name {
        b"[eventpoll]" => Kind::Epoll,
        b"[eventfd]" => Kind::Eventfd,
        b"[timerfd]" => Kind::Timerfd,
        b"[signalfd]" => Kind::Signalfd,
        b"inotify" | b"[inotify]" => Kind::Inotify,
        b"[fanotify]" => Kind::Fanotify,
        b"[pidfd]" => Kind::Pidfd,
        b"[io_uring]" => Kind::IoUring,
        b"[userfaultfd]" => Kind::Userfaultfd,
        b"[perf_event]" => Kind::Perf,
        _ if name.starts_with(b"bpf") || name.starts_with(b"[bpf") => Kind::Bpf,
        _ => Kind::Other,
    }
}

/// The kind of something that has a path.
pub fn from_file_type(file_type: FileType) -> Kind {
    match file_type {
        FileType::RegularFile => Kind::Regular,
        FileType::Directory => Kind::Directory,
        FileType::CharacterDevice | FileType::BlockDevice => Kind::Device,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_cannot_pass_for_a_socket() {
        assert_eq!(from_link(b"/tmp/socket:[1]"), None);
        assert_eq!(from_link(b"socket:[1]"), Some(Kind::Socket));
        assert_eq!(from_link(b"/memfd:x (deleted)"), Some(Kind::Memfd));
        assert_eq!(from_link(b"/memfd:x"), None);
        assert_eq!(from_link(b""), None);
    }

    #[test]
    fn anonymous_inodes_are_told_apart() {
        for (text, kind) in [
            (&b"anon_inode:[eventpoll]"[..], Kind::Epoll),
            (b"anon_inode:inotify", Kind::Inotify),
            (b"anon_inode:bpf-map", Kind::Bpf),
            (b"anon_inode:[io_uring]", Kind::IoUring),
            (b"anon_inode:[never-heard-of]", Kind::Other),
        ] {
            assert_eq!(from_link(text), Some(kind));
        }
    }
}
