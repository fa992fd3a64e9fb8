//! Removal of what dead neighbours left: a few at every eighth start.
//!
//! The last few are kept, since a crash is worth a report; of a normal end
//! nothing is, where the process could only say so. Only files of our own
//! user and pid namespace are looked at.

use crate::text::{Text, leading_number};
use crate::{live, sys};
use core::mem::offset_of;
use shm_protocol::codes::State;
use shm_protocol::layout::{Header, MAGIC};

/// Entries looked at, at most: start-up is not the time for long walks.
const LOOK_AT: usize = 48;
/// Dead ones that stay: tmpfs lists the newest first.
const KEEP: usize = 16;

/// One start of so many looks: it takes a sixth of what a start takes.
const EVERY: u32 = 8;

/// Whether it is this process's turn.
pub fn is_due() -> bool {
    sys::getpid().is_multiple_of(EVERY)
}

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
            let unwanted = is_unwanted(folder.cut(own).push(name));
            dead += usize::from(!unwanted);
            if unwanted || dead > KEEP {
                live::remove(folder);
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

/// Whether a file says of itself that nobody wants it any more.
fn is_unwanted(path: &Text) -> bool {
    let fd = sys::open(path.path(), libc::O_NOFOLLOW | libc::O_NONBLOCK, 0);
    if fd < 0 {
        return false;
    }
    let mut head = [0u8; offset_of!(Header, state) + 4];
    let read = sys::read(fd, &mut head);
    sys::close(fd);
    let magic = head.first_chunk().map(|word| u64::from_le_bytes(*word));
    let state = head.last_chunk().map(|word| u32::from_le_bytes(*word));
    read == head.len() && magic == Some(MAGIC) && state == Some(State::Unwanted as u32)
}

/// Whether `<namespace>.<pid>.<start>.<n>` names a dead process of ours. What
/// has an ending lies beside such a file and goes with it.
fn is_dead(name: &[u8], namespace: u64) -> bool {
    let mut parts = name.split(|byte| *byte == b'.');
    let mut part = || parts.next().and_then(leading_number);
    let (Some(there), Some(pid), Some(_), Some(_)) = (part(), part(), part(), part()) else {
        return false;
    };
    let whole = parts.next().is_none();
    whole && there == namespace && sys::kill_probe(pid as u32) == -(libc::ESRCH as isize)
}
