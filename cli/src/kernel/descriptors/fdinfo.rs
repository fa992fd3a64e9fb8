//! The facts of `/proc/PID/fdinfo/N`: proc_pid_fdinfo(5).

use super::Kind;
use crate::kernel::text::{bracketed_pair, hex, lines, words};

/// What the kernel tells about a descriptor beyond its link.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Facts {
    /// Nothing, or it was not read.
    #[default]
    None,
    /// A regular file, a memfd or a directory.
    File {
        /// The offset of the open file in bytes.
        position: u64,
        /// Locks that are held through it or on its inode by this process.
        locks: usize,
    },
    /// An epoll descriptor.
    Epoll(Vec<Registration>),
    /// A timerfd.
    Timer(TimerState),
    /// An inotify or fanotify descriptor.
    Watches(Vec<Watch>),
    /// An eventfd's counter.
    Counter(u64),
    /// The signals that a signalfd takes, bit N-1 for signal N.
    Signals(u64),
    /// A pidfd.
    Process {
        /// The process in our pid namespace; 0 when it is not visible from
        /// here, -1 when it has ended.
        pid: i32,
    },
}

/// One descriptor that an epoll watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The number it was registered by. It is stale when that number is closed
    /// or now names another object than `device` and `inode`.
    pub fd: i32,
    /// The EPOLL* mask.
    pub events: u32,
    /// The program's own word, often a pointer.
    pub data: u64,
    /// Inode of the watched object.
    pub inode: u64,
    /// Device of the watched object, as stat(2) gives it.
    pub device: u64,
}

/// A timerfd's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerState {
    /// The CLOCK_* number.
    pub clock: i32,
    /// Expirations that nobody has read.
    pub unread_ticks: u64,
    /// Time until the next expiration in nanoseconds, 0 when none is set.
    pub next_ns: u64,
    /// The period in nanoseconds, 0 for one shot.
    pub interval_ns: u64,
}

impl TimerState {
    /// True while another expiration can come.
    pub fn armed(&self) -> bool {
        self.next_ns > 0 || self.interval_ns > 0
    }
}

/// One inotify watch or fanotify mark on an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// inotify's watch descriptor; `None` for fanotify.
    pub id: Option<i32>,
    /// Inode of the target.
    pub inode: u64,
    /// Device of the target, as stat(2) gives it.
    pub device: u64,
    /// The IN_* or FAN_* mask.
    pub mask: u64,
}

/// Everything that one fdinfo file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FdInfo {
    /// The O_* flags, O_CLOEXEC included; `None` if the line is missing.
    pub flags: Option<u32>,
    /// The facts of this kind.
    pub facts: Facts,
}

/// True for kinds whose fdinfo tells more than the flags.
pub fn has_facts(kind: Kind) -> bool {
    use Kind::*;
    matches!(
        kind,
        Regular
            | Memfd
            | Directory
            | Epoll
            | Timerfd
            | Inotify
            | Fanotify
            | Eventfd
            | Signalfd
            | Pidfd
    )
}

/// Parses one fdinfo file of a descriptor of that kind.
pub fn parse(kind: Kind, text: &[u8]) -> FdInfo {
    let flags = value(text, "flags:").and_then(|word| u32::from_str_radix(word, 8).ok());
    let facts = facts(kind, text).unwrap_or_default();
    FdInfo { flags, facts }
}

fn facts(kind: Kind, text: &[u8]) -> Option<Facts> {
    Some(match kind {
        Kind::Regular | Kind::Memfd | Kind::Directory => Facts::File {
            position: value(text, "pos:")?.parse().ok()?,
            locks: lines(text)
                .filter(|line| line.starts_with(b"lock:"))
                .count(),
        },
        Kind::Epoll => Facts::Epoll(lines(text).filter_map(registration).collect()),
        Kind::Timerfd => Facts::Timer(timer(text)?),
        Kind::Inotify | Kind::Fanotify => Facts::Watches(lines(text).filter_map(watch).collect()),
        Kind::Eventfd => Facts::Counter(hex(value(text, "eventfd-count:")?)?),
        Kind::Signalfd => Facts::Signals(hex(value(text, "sigmask:")?)?),
        Kind::Pidfd => Facts::Process {
            pid: value(text, "Pid:")?.parse().ok()?,
        },
        _ => return None,
    })
}

fn value<'a>(text: &'a [u8], name: &str) -> Option<&'a str> {
    crate::kernel::text::field(text, name)
}

/// `tfd:        4 events:       19 data:                4  pos:0 ino:785c sdev:f`
fn registration(line: &[u8]) -> Option<Registration> {
    let mut words = words(line.strip_prefix(b"tfd:")?);
    let fd = words.next()?.parse().ok()?;
    let pairs = Pairs::of(words);
    Some(Registration {
        fd,
        events: pairs.hex("events")? as u32,
        data: pairs.hex("data")?,
        inode: pairs.hex("ino").unwrap_or(0),
        device: pairs.hex("sdev").map_or(0, user_device),
    })
}

/// `inotify wd:1 ino:3c4a7 sdev:fe00000 mask:fff ignored_mask:0 ...`, or
/// `fanotify ino:3c4a7 sdev:fe00000 mflags:0 mask:8 ignored_mask:0 ...`
fn watch(line: &[u8]) -> Option<Watch> {
    let mut words = words(line);
    if !matches!(words.next()?, "inotify" | "fanotify") {
        return None;
    }
    let pairs = Pairs::of(words);
    Some(Watch {
        id: pairs.hex("wd").map(|wd| wd as i32),
        inode: pairs.hex("ino")?,
        device: pairs.hex("sdev").map_or(0, user_device),
        mask: pairs.hex("mask")?,
    })
}

fn timer(text: &[u8]) -> Option<TimerState> {
    Some(TimerState {
        clock: value(text, "clockid:")?.parse().ok()?,
        unread_ticks: value(text, "ticks:")?.parse().ok()?,
        next_ns: nanoseconds(value(text, "it_value:")?)?,
        interval_ns: nanoseconds(value(text, "it_interval:")?)?,
    })
}

/// `(1, 500)` is one second and 500 ns.
fn nanoseconds(pair: &str) -> Option<u64> {
    let (seconds, nanos) = bracketed_pair(pair)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// The kernel prints its inner device number (12 bits major, 20 bits minor);
/// stat(2) packs the same two differently.
fn user_device(inner: u64) -> u64 {
    rustix::fs::makedev((inner >> 20) as u32, (inner & 0xf_ffff) as u32)
}

/// The `name:value` words of a line, where a blank may follow the colon.
struct Pairs<'a>(Vec<&'a str>);

impl<'a> Pairs<'a> {
    fn of(words: impl Iterator<Item = &'a str>) -> Self {
        Self(words.take(32).collect())
    }

    fn hex(&self, name: &str) -> Option<u64> {
        let at = self.0.iter().position(|word| {
            word.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(':'))
        })?;
        match self.0[at].get(name.len() + 1..)? {
            "" => hex(self.0.get(at + 1)?),
            value => hex(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_epoll_lists_what_it_watches() {
        let text = b"pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t1038\n\
            tfd:        4 events:       19 data:     7ffdeadbeef0  pos:0 ino:785c sdev:fe00003\n";
        let info = parse(Kind::Epoll, text);
        assert_eq!(info.flags, Some(0o2000002));
        let expected = Registration {
            fd: 4,
            events: 0x19,
            data: 0x7ffd_eadb_eef0,
            inode: 0x785c,
            device: rustix::fs::makedev(0xfe, 3),
        };
        assert_eq!(info.facts, Facts::Epoll(vec![expected]));
    }

    #[test]
    fn a_timer_shows_its_unread_ticks() {
        let text = b"flags:\t02\nclockid: 1\nticks: 17\nsettime flags: 00\n\
            it_value: (0, 499825344)\nit_interval: (2, 5)\n";
        let Facts::Timer(state) = parse(Kind::Timerfd, text).facts else {
            panic!("not a timer")
        };
        assert_eq!((state.clock, state.unread_ticks), (1, 17));
        assert_eq!(
            (state.next_ns, state.interval_ns),
            (499_825_344, 2_000_000_005)
        );
        assert!(state.armed());
    }

    #[test]
    fn watches_of_both_kinds() {
        let inotify =
            b"inotify wd:1 ino:3c4a7 sdev:fe00000 mask:fff ignored_mask:0 fhandle-bytes:8\n";
        let fanotify = b"fanotify flags:0 event-flags:8000\n\
            fanotify ino:3c4a7 sdev:fe00000 mflags:0 mask:8 ignored_mask:0\n";
        for (kind, text, id, mask) in [
            (Kind::Inotify, &inotify[..], Some(1), 0xfff),
            (Kind::Fanotify, &fanotify[..], None, 8),
        ] {
            let expected = Watch {
                id,
                inode: 0x3c4a7,
                device: rustix::fs::makedev(0xfe, 0),
                mask,
            };
            assert_eq!(parse(kind, text).facts, Facts::Watches(vec![expected]));
        }
    }

    #[test]
    fn counters_signals_processes_and_locks() {
        let eventfd = parse(
            Kind::Eventfd,
            b"eventfd-count:               1f\neventfd-id: 1\n",
        );
        assert_eq!(eventfd.facts, Facts::Counter(31));
        let signalfd = parse(Kind::Signalfd, b"sigmask:\t0000000000000200\n");
        assert_eq!(signalfd.facts, Facts::Signals(0x200));
        let pidfd = parse(Kind::Pidfd, b"Pid:\t-1\nNSpid:\t-1\n");
        assert_eq!(pidfd.facts, Facts::Process { pid: -1 });
        let file = parse(
            Kind::Regular,
            b"pos:\t790\nflags:\t02100000\nlock:\t1: FLOCK  ADVISORY\n",
        );
        assert_eq!(
            file.facts,
            Facts::File {
                position: 790,
                locks: 1
            }
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(tfd:|inotify|fanotify|it_value:|pos:|wd:|ino:|[ \\n0-9a-f:(),é])*") {
            for kind in [Kind::Regular, Kind::Epoll, Kind::Timerfd, Kind::Inotify, Kind::Pidfd] {
                let _ = parse(kind, text.as_bytes());
            }
        }
    }
}
