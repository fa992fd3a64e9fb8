//! When descriptors were used last, by the library's stamps.
//!
//! A stamp says "used between its tick and the next". Idleness counts from the
//! later end. Creation stamps too, so a descriptor that was never used is idle
//! since then. Where some use goes past the hooks, nothing is said at all.

use shm_protocol::activity;
use shm_protocol::codes::{Kind as Row, Mode, fd_flag, note};
use shm_protocol::view::{DescriptorInfo, HeaderInfo};

use super::descriptors::Descriptor;
use super::facts::FdFact;
use crate::kernel::Kind as Seen;

/// Fills in the latest moment at which each may have been used last.
pub fn settle(open: &mut [Descriptor], header: &HeaderInfo, moment_ms: u64) {
    let ring = |open: &Descriptor| {
        let fact = open.fact.as_ref();
        fact.is_some_and(|fact| fact.what == Seen::IoUring.name())
    };
    if !all_seen(header) || open.iter().any(ring) {
        return;
    }
    for descriptor in open {
        descriptor.used_ms = descriptor
            .used_s
            .map(|used_s| used_ms(used_s, header, moment_ms));
    }
}

/// The later end of a stamp.
fn used_ms(used_s: u32, header: &HeaderInfo, moment_ms: u64) -> u64 {
    let until = activity::used_until_s(used_s, header.tick_s, &header.pauses);
    until.map_or(moment_ms, |second| {
        (second.saturating_add(1))
            .saturating_mul(1000)
            .min(moment_ms)
    })
}

/// Whether uses of any descriptor may have gone past the stamps.
fn all_seen(header: &HeaderInfo) -> bool {
    header.notes & (note::IO_URING | note::PID_GATE) == 0
        && header.mode.is_some_and(|mode| mode != Mode::Off)
}

/// Whether every use of this descriptor is stamped. The streams of the C
/// library use the first three by themselves.
#[must_use]
pub fn is_stamped(row: &DescriptorInfo, fact: Option<&FdFact>) -> bool {
    let past_the_hooks = fd_flag::STDIO | fd_flag::SENT | fd_flag::MAPPED;
    row.fd > 2
        && row.info.flags & past_the_hooks == 0
        && row.kind.is_some_and(is_stamped_kind)
        && fact.is_none_or(|fact| !is_used_otherwise(&fact.what))
}

fn is_stamped_kind(kind: Row) -> bool {
    use Row::*;
    match kind {
        File | Socket | Accepted | Pipe | Epoll | EventFd | TimerFd | SignalFd | Inotify
        | Fanotify | MemFd | MessageQueue | Pty | SharedMemory | Duplicate => true,
        // Others hold them too, or they serve as places, for waiting and the
        // like.
        Directory | Popen | PidFd | UserFaultFd | IoUring | Received | Inherited | Other => false,
        _ => false,
    }
}

/// What a file or duplicate may turn out to be: places to start a path from,
/// or things that are waited for.
fn is_used_otherwise(what: &str) -> bool {
    [
        Seen::Directory,
        Seen::Pidfd,
        Seen::Userfaultfd,
        Seen::IoUring,
    ]
    .iter()
    .any(|kind| kind.name() == what)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use shm_protocol::activity::Pause;
    use shm_protocol::fds::FdInfo;
    use shm_protocol::view::View;

    pub fn header() -> HeaderInfo {
        // What a segment of zeros says, but for its magic and version.
        let mut bytes = vec![0; shm_protocol::layout::DATA_AT];
        bytes[..8].copy_from_slice(&shm_protocol::layout::MAGIC.to_le_bytes());
        bytes[12..16].copy_from_slice(&shm_protocol::layout::ABI_MAJOR.to_le_bytes());
        HeaderInfo {
            mode: Some(Mode::Light),
            tick_s: 100,
            ..View::new(&bytes).unwrap().header()
        }
    }

    fn used(used_s: u32, header: &HeaderInfo) -> Option<u64> {
        let mut open = [Descriptor {
            used_s: Some(used_s),
            ..Descriptor::default()
        }];
        settle(&mut open, header, 130_500);
        open[0].used_ms
    }

    #[test]
    fn idleness_counts_from_the_end_of_the_next_tick() {
        let mut header = header();
        assert_eq!(used(40, &header), Some(42_000));
        header.pauses[0] = Some(Pause {
            from_s: 40,
            to_s: 70,
        });
        assert_eq!(used(40, &header), Some(71_000));
    }

    #[test]
    fn without_a_later_tick_it_may_be_in_use_now() {
        assert_eq!(used(100, &header()), Some(130_500));
        assert_eq!(used(101, &header()), Some(130_500));
    }

    #[test]
    fn where_uses_go_unseen_nothing_is_said() {
        for notes in [note::IO_URING, note::PID_GATE] {
            assert_eq!(used(40, &HeaderInfo { notes, ..header() }), None);
        }
        let mode = Some(Mode::Off);
        assert_eq!(used(40, &HeaderInfo { mode, ..header() }), None);
        let ring = Descriptor {
            fact: Some(FdFact {
                what: Seen::IoUring.name().into(),
                ..FdFact::default()
            }),
            used_s: Some(40),
            ..Descriptor::default()
        };
        let mut open = [ring.clone(), ring];
        settle(&mut open, &header(), 130_500);
        assert_eq!(open[1].used_ms, None);
    }

    #[test]
    fn what_others_or_libc_use_is_not_judged_by_stamps() {
        let row = |fd, kind, flags| DescriptorInfo {
            fd,
            info: FdInfo {
                kind: kind as u8,
                flags,
                ..FdInfo::default()
            },
            kind: Some(kind),
            used_s: Some(1),
        };
        assert!(is_stamped(&row(3, Row::Socket, 0), None));
        assert!(is_stamped(&row(3, Row::Duplicate, fd_flag::PLACED), None));
        assert!(!is_stamped(&row(1, Row::Duplicate, fd_flag::PLACED), None));
        for flag in [fd_flag::STDIO, fd_flag::SENT, fd_flag::MAPPED] {
            assert!(!is_stamped(&row(3, Row::File, flag), None));
        }
        for kind in [Row::Popen, Row::Received, Row::Inherited, Row::Directory] {
            assert!(!is_stamped(&row(3, kind, 0), None), "{kind:?}");
        }
        let folder = FdFact {
            what: Seen::Directory.name().into(),
            ..FdFact::default()
        };
        assert!(!is_stamped(&row(3, Row::File, 0), Some(&folder)));
    }
}
