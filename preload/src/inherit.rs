//! Descriptors that were open before this image or this child began.

use crate::segment::Segment;
use crate::text::leading_number;
use crate::{descriptors, live, prune, sites, sys};
use shm_protocol::codes::Kind;
use shm_protocol::fds::FdInfo;
use shm_protocol::words::Origin;

/// Numbers asked for one by one where /proc is not to be had.
const PROBED: u32 = 1024;

/// Enters all open descriptors as inherited. The one descriptor that this
/// takes is closed again before it returns.
pub fn record_open_descriptors(segment: &Segment) {
    if live::frozen() {
        return;
    }
    let site = sites::without_stack(segment, Kind::Inherited, 0);
    let folder = sys::open(c"/proc/self/fd", libc::O_RDONLY | libc::O_DIRECTORY, 0);
    if folder < 0 {
        // In a chroot, say: ask for each of the first numbers instead.
        let open = (0..PROBED).filter(|fd| sys::is_open(*fd));
        return open.for_each(|fd| enter(segment, fd, site));
    }
    let buffer = live::room();
    loop {
        let filled = sys::getdents(folder, buffer);
        if filled == 0 {
            break;
        }
        let mut rest = &buffer[..filled];
        while let Some((name, after)) = prune::next_name(rest) {
            if let Some(fd) = leading_number(name).filter(|fd| *fd != folder as u64) {
                enter(segment, fd as u32, site);
            }
            rest = after;
        }
    }
    sys::close(folder);
}

fn enter(segment: &Segment, fd: u32, site: u32) {
    if let Some(row) = descriptors::row(segment, fd) {
        let origin = Origin { at_ms: 0, site };
        let info = FdInfo {
            origin,
            kind: Kind::Inherited as u8,
            ..FdInfo::default()
        };
        row.insert(fd, &info);
        sites::count_birth(segment, site, 0);
    }
}
