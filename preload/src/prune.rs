//! Removal of what dead neighbours left: a few at each start.
//!
//! The last few are kept, since a crash is worth a report. Only files of our
//! own user and pid namespace are looked at.

use crate::text::{Text, leading_number};
use crate::{live, sys};

/// Entries looked at, at most: start-up is not the time for long walks.
const LOOK_AT: usize = 48;
/// Dead ones that stay: tmpfs lists the newest first.
const KEEP: usize = 16;

/// Looks at some names in `folder` and unlinks those of processes long dead.
pub fn dead_neighbours(folder: &mut Text, namespace: u64) {
    let own = folder.bytes().len();
    let fd = sys::open(folder.path(), libc::O_RDONLY | libc::O_DIRECTORY, 0);
    if fd < 0 {
        return;
    }
    let buffer = live::room();
    let filled = sys::getdents(fd, buffer);
    sys::close(fd);
    let (mut rest, mut dead) = (&buffer[..filled], 0);
    for _ in 0..LOOK_AT {
        let Some((name, after)) = next_name(rest) else {
            return;
        };
        if is_dead(name, namespace) {
            dead += 1;
            if dead > KEEP {
                sys::unlink(folder.cut(own).push(name).path());
            }
        }
        rest = after;
    }
}

/// First name of a getdents64 buffer, and what follows.
pub fn next_name(entries: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u16::from_le_bytes(entries.get(16..18)?.try_into().ok()?) as usize;
    let name = entries.get(19..length)?;
    let end = name.iter().position(|byte| *byte == 0)?;
    Some((&name[..end], entries.get(length..)?))
}

/// Whether `<namespace>.<pid>.<start>.<n>`, perhaps with an ending, names a
/// dead process of ours.
fn is_dead(name: &[u8], namespace: u64) -> bool {
    let mut parts = name.split(|byte| *byte == b'.');
    let mut part = || parts.next().and_then(leading_number);
    let (Some(there), Some(pid), Some(_), Some(_)) = (part(), part(), part(), part()) else {
        return false;
    };
    there == namespace && sys::kill_probe(pid as u32) == -(libc::ESRCH as isize)
}
