//! Which descriptors are duplicates of one open file, where files share an
//! inode: kcmp(2) orders open files, and calls equal ones equal.
#![allow(unsafe_code, reason = "kcmp(2) has no safe wrapper")]

use std::cmp::Ordering;
use std::collections::HashMap;

use super::owners::Owner;

const KCMP_FILE: libc::c_int = 0;
const KCMP_FILES: libc::c_int = 2;

/// How often each one's file is open; what the kernel does not tell is
/// missing.
#[must_use]
pub fn counts(open: &[Owner]) -> HashMap<Owner, usize> {
    let mut files: Vec<Vec<Owner>> = Vec::new();
    for owner in open {
        let mut known = true;
        let place = files.binary_search_by(|file| {
            compare(file[0], *owner).unwrap_or_else(|| {
                known = false;
                Ordering::Equal
            })
        });
        match place {
            _ if !known => {}
            Ok(at) => files[at].push(*owner),
            Err(at) => files.insert(at, vec![*owner]),
        }
    }
    let counted = files.into_iter().flat_map(|file| {
        let count = file.len();
        file.into_iter().map(move |owner| (owner, count))
    });
    counted.collect()
}

/// Whether a thread has another descriptor table than its process.
#[must_use]
pub fn has_own_table(pid: i32, tid: i32) -> bool {
    let answer = kcmp(KCMP_FILES, (pid, 0), (tid, 0));
    answer.is_some_and(|order| order != Ordering::Equal)
}

/// Whether both are one open file; none when that cannot be told.
#[must_use]
pub fn is_same(one: Owner, other: Owner) -> Option<bool> {
    compare(one, other).map(|order| order == Ordering::Equal)
}

/// None when one of them is gone, or may not be asked about.
fn compare(one: Owner, other: Owner) -> Option<Ordering> {
    kcmp(KCMP_FILE, (one.pid, one.fd), (other.pid, other.fd))
}

fn kcmp(what: libc::c_int, one: (i32, i32), other: (i32, i32)) -> Option<Ordering> {
    // SAFETY: numbers only; the kernel reads and writes no memory of ours.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            one.0,
            other.0,
            what,
            libc::c_long::from(one.1),
            libc::c_long::from(other.1),
        )
    };
    match answer {
        0 => Some(Ordering::Equal),
        1 => Some(Ordering::Less),
        2 => Some(Ordering::Greater),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
    use std::os::fd::AsRawFd;

    #[test]
    fn duplicates_are_one_file_and_equal_looking_ones_are_not() {
        let timer = || timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC).unwrap();
        let (one, other) = (timer(), timer());
        let again = one.try_clone().unwrap();
        let owner = |fd: i32| Owner {
            pid: std::process::id() as i32,
            fd,
        };
        let all = [&one, &other, &again].map(|fd| owner(fd.as_raw_fd()));
        let counted = counts(&all);
        assert_eq!(all.map(|owner| counted[&owner]), [2, 1, 2]);
        assert!(counts(&[owner(one.as_raw_fd()), owner(1 << 20)]).len() < 2);
    }
}
