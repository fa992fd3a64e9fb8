//! Which descriptors a blocked thread is using: `/proc/PID/task/TID/syscall`.
//!
//! Such a descriptor is in use, whatever any statistics say.

use super::{ProcDir, text};
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use std::collections::BTreeSet;

/// Larger poll and select sets are cut off: more than any limit of
/// descriptors that a default kernel allows a process to poll at once.
const SET_CAP: usize = 1 << 20;

/// The system call that a thread sleeps in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Its number, in the process's own numbering.
    pub syscall: i64,
    /// The descriptors among its arguments: what it reads, waits for, polls.
    pub descriptors: BTreeSet<i32>,
    /// False when the call's set of descriptors lies in memory that this user
    /// may not read.
    pub complete: bool,
}

/// A thread's call and its six arguments; `None` for a thread that runs or
/// sleeps outside of any call.
fn parse(line: &[u8]) -> Option<(i64, [u64; 6])> {
    let mut words = text::words(line);
    let number: i64 = words.next()?.parse().ok()?;
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = text::hex(words.next()?.strip_prefix("0x")?)?;
    }
    (number >= 0).then_some((number, arguments))
}

/// Reads what one thread blocks on. `memory` is the process's
/// `/proc/PID/mem`, if this user may open it.
pub fn read(dir: &ProcDir, tid: i32, memory: Option<&OwnedFd>) -> Option<Blocked> {
    let line = dir.read(&format!("task/{tid}/syscall")).ok()?;
    let (syscall, arguments) = parse(&line)?;
    let mut blocked = Blocked {
        syscall,
        descriptors: BTreeSet::new(),
        complete: true,
    };
    match set_of(syscall, &arguments) {
        Some(set) => match memory.and_then(|memory| set.read(memory)) {
            Some(found) => blocked.descriptors.extend(found),
            None => blocked.complete = false,
        },
        None => blocked.descriptors.extend(direct(syscall, &arguments)),
    }
    Some(blocked)
}

/// Opens the process's memory for [`read`].
pub fn memory(dir: &ProcDir) -> Option<OwnedFd> {
    dir.open_file("mem", OFlags::RDONLY).ok()
}

/// The arguments that are descriptors by themselves.
fn direct(syscall: i64, arguments: &[u64; 6]) -> Vec<i32> {
    let places: &[usize] = match syscall {
        libc::SYS_sendfile | libc::SYS_tee => &[0, 1],
        libc::SYS_splice | libc::SYS_copy_file_range | libc::SYS_epoll_ctl => &[0, 2],
        // waitid(P_PIDFD, pidfd, ...)
        libc::SYS_waitid if arguments[0] == 3 => &[1],
        number if FIRST_ARGUMENT.contains(&number) => &[0],
        _ => &[],
    };
    let valid = |&place: &usize| i32::try_from(arguments[place] as u32).ok();
    places.iter().filter_map(valid).collect()
}

/// Calls that can block and whose first argument is a descriptor.
const FIRST_ARGUMENT: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_ioctl,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fstat,
    libc::SYS_getdents64,
    libc::SYS_vmsplice,
    libc::SYS_readahead,
    libc::SYS_io_uring_enter,
    libc::SYS_mq_timedreceive,
    libc::SYS_mq_timedsend,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
];

/// A set of descriptors in the process's memory.
enum Set {
    /// An array of `struct pollfd`.
    Poll { address: u64, count: usize },
    /// Up to three bit sets.
    Select { addresses: [u64; 3], count: usize },
}

fn set_of(syscall: i64, arguments: &[u64; 6]) -> Option<Set> {
    let poll = Set::Poll {
        address: arguments[0],
        count: (arguments[1] as usize).min(SET_CAP),
    };
    let select = Set::Select {
        addresses: [arguments[1], arguments[2], arguments[3]],
        count: (arguments[0] as u32 as usize).min(SET_CAP),
    };
    match syscall {
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => Some(poll),
        libc::SYS_ppoll => Some(poll),
        // A poll that a signal interrupted goes on under this number with its
        // old arguments; the other calls that do have no such small count.
        libc::SYS_restart_syscall if arguments[1] <= 4096 => Some(poll),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_select => Some(select),
        libc::SYS_pselect6 => Some(select),
        _ => None,
    }
}

impl Set {
    fn read(&self, memory: &OwnedFd) -> Option<Vec<i32>> {
        match *self {
            Self::Poll { address, count } => poll_set(memory, address, count),
            Self::Select { addresses, count } => select_set(memory, addresses, count),
        }
    }
}

fn poll_set(memory: &OwnedFd, address: u64, count: usize) -> Option<Vec<i32>> {
    let bytes = read_memory(memory, address, count * 8)?;
    let number = |entry: &[u8]| i32::from_ne_bytes([entry[0], entry[1], entry[2], entry[3]]);
    Some(
        bytes
            .chunks_exact(8)
            .map(number)
            .filter(|&fd| fd >= 0)
            .collect(),
    )
}

fn select_set(memory: &OwnedFd, addresses: [u64; 3], count: usize) -> Option<Vec<i32>> {
    let mut found = Vec::new();
    for address in addresses.into_iter().filter(|&address| address != 0) {
        let bits = read_memory(memory, address, count.div_ceil(8))?;
        let is_set = |&fd: &usize| bits[fd / 8] & 1 << (fd % 8) != 0;
        found.extend((0..count).filter(is_set).map(|fd| fd as i32));
    }
    Some(found)
}

fn read_memory(memory: &OwnedFd, address: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        match rustix::io::pread(
            memory,
            &mut bytes[done..],
            address.checked_add(done as u64)?,
        ) {
            Ok(got) if got > 0 => done += got,
            _ => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Running, wait_for};
    use super::*;
    use proptest::prelude::*;

    /// What the first thread of a Python program blocks on, once it does.
    fn blocked_in(text: &str, calls: &[i64]) -> (Vec<i32>, Blocked) {
        let (child, line) = Running::python(text);
        let expected = line
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let dir = child.dir();
        let memory = memory(&dir);
        let found = wait_for(|| {
            read(&dir, child.pid(), memory.as_ref()).filter(|found| calls.contains(&found.syscall))
        });
        (expected, found)
    }

    #[test]
    fn a_read_uses_its_descriptor() {
        let text = "import os; r, w = os.pipe(); print(r, flush=True); os.read(r, 1)";
        let (expected, found) = blocked_in(text, &[libc::SYS_read]);
        assert!(found.descriptors.iter().eq(&expected), "{found:?}");
    }

    #[test]
    fn polls_and_selects_use_their_whole_set() {
        let poll = "import os, select; a, _ = os.pipe(); b, _ = os.pipe(); p = select.poll(); \
                    p.register(a); p.register(b, 1); p.modify(a, 1); print(a, b, flush=True); p.poll()";
        let (expected, found) = blocked_in(poll, &[7, libc::SYS_ppoll]);
        assert!(
            found.complete && found.descriptors.iter().eq(&expected),
            "{found:?}"
        );
        let select = "import os, select; a, _ = os.pipe(); b, _ = os.pipe(); os.dup2(b, 200); \
                      print(a, 200, flush=True); select.select([a], [], [200])";
        let (expected, found) = blocked_in(select, &[23, libc::SYS_pselect6]);
        assert!(
            found.complete && found.descriptors.iter().eq(&expected),
            "{found:?}"
        );
    }

    #[test]
    fn an_address_that_is_not_mapped_is_incomplete_not_empty() {
        let dir = ProcDir::open(std::process::id() as i32).expect("ourselves");
        let memory = memory(&dir).expect("our own");
        assert_eq!(poll_set(&memory, 8, 1), None);
        assert_eq!(poll_set(&memory, u64::MAX - 3, 2), None);
    }

    proptest! {
        #[test]
        fn any_arguments_are_survived(number in 0i64..500, arguments: [u64; 6], line in "[-0-9a-fx ]{0,150}") {
            let _ = direct(number, &arguments);
            let _ = set_of(number, &arguments);
            let _ = parse(line.as_bytes());
        }
    }
}
