//! The threads of a process, and what they block on.

use super::blocked::{self, Blocked};
use super::{KernelError, ProcDir, text};
use rustix::fs::OFlags;
use std::collections::BTreeSet;

/// One thread.
#[derive(Clone, Debug)]
pub struct Thread {
    /// Its number in our pid namespace.
    pub tid: i32,
    /// Its name, lossily decoded.
    pub comm: String,
    /// The state letter of proc_pid_stat(5).
    pub state: char,
    /// The call it sleeps in; `None` when it runs, or is a 32-bit program
    /// whose calls are numbered otherwise.
    pub blocked: Option<Blocked>,
}

/// What a process does with SIGPIPE: the default kills it when it writes to
/// a socket that was shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigPipe {
    /// The signal ends the process.
    Kills,
    /// It is ignored; the write fails with EPIPE.
    Ignored,
    /// A handler of the program's takes it.
    Handled,
}

/// Reads all threads that are still there.
pub fn read(dir: &ProcDir) -> Result<Vec<Thread>, KernelError> {
    let memory = blocked::memory(dir);
    let foreign = is_32_bit(dir);
    let thread = |tid| {
        let stat = dir.read(&format!("task/{tid}/stat")).ok()?;
        let (comm, state) = name_and_state(&stat)?;
        let wanted = !foreign && state != 'R';
        Some(Thread {
            tid,
            comm,
            state,
            blocked: wanted
                .then(|| blocked::read(dir, tid, memory.as_ref()))
                .flatten(),
        })
    };
    Ok(ids(dir)?.into_iter().filter_map(thread).collect())
}

/// All descriptors that some thread is using right now.
pub fn in_use(threads: &[Thread]) -> BTreeSet<i32> {
    let blocked = threads.iter().filter_map(|thread| thread.blocked.as_ref());
    blocked
        .flat_map(|blocked| blocked.descriptors.iter().copied())
        .collect()
}

/// The thread ids of a process, the first thread included.
pub fn ids(dir: &ProcDir) -> Result<Vec<i32>, KernelError> {
    dir.numbers("task")
}

/// Threads whose stacks are looked for.
const MOST_STACKS: usize = 4096;

/// Where the stack pointers of sleeping threads point; of a running one the
/// kernel does not tell.
pub fn stack_pointers(dir: &ProcDir) -> Vec<u64> {
    let pointer = |tid| stack_pointer(&dir.read(&format!("task/{tid}/syscall")).ok()?);
    let threads = ids(dir).unwrap_or_default().into_iter().take(MOST_STACKS);
    threads.filter_map(pointer).collect()
}

/// `0 0x3 0x7f.. 0x1 0x0 0x0 0x0 0x7ffd..(sp) 0x7f..(pc)`, or `-1 sp pc`.
fn stack_pointer(line: &[u8]) -> Option<u64> {
    let words: Vec<&str> = text::words(line).collect();
    let word = words.get(words.len().checked_sub(2)?)?;
    text::hex(word.strip_prefix("0x")?)
}

/// When the first thread has ended (`pthread_exit` in main), some other thread
/// that still runs; `None` when the first thread serves.
pub fn first_living(dir: &ProcDir) -> Option<i32> {
    if !ended(&dir.read("stat").ok()?) {
        return None;
    }
    let alive = |tid: &i32| {
        let stat = dir.read(&format!("task/{tid}/stat"));
        stat.is_ok_and(|stat| !ended(&stat))
    };
    ids(dir).ok()?.into_iter().find(alive)
}

/// The folder, below the process's own, of a thread that shows what all share.
pub fn living_folder(dir: &ProcDir) -> String {
    first_living(dir).map_or(String::new(), |tid| format!("task/{tid}/"))
}

/// Reads a file about the memory that all threads share: after the end of the
/// first one, its own is empty, or cannot be read.
pub fn read_shared(dir: &ProcDir, file: &str) -> Result<Vec<u8>, KernelError> {
    let own = dir.read(file);
    let is_there = own.as_ref().is_ok_and(|bytes| !bytes.is_empty());
    match (!is_there).then(|| first_living(dir)).flatten() {
        Some(tid) => dir.read(&format!("task/{tid}/{file}")),
        None => own,
    }
}

/// What the process does with SIGPIPE, from the signal sets in its status.
pub fn sigpipe(dir: &ProcDir) -> Result<SigPipe, KernelError> {
    const BIT: u64 = 1 << (libc::SIGPIPE - 1);
    let status = dir.read("status")?;
    let has = |name| {
        text::field(&status, name)
            .and_then(text::hex)
            .is_some_and(|set| set & BIT != 0)
    };
    Ok(match (has("SigIgn:"), has("SigCgt:")) {
        (true, _) => SigPipe::Ignored,
        (_, true) => SigPipe::Handled,
        _ => SigPipe::Kills,
    })
}

/// The class byte of the executable's ELF header.
fn is_32_bit(dir: &ProcDir) -> bool {
    let mut header = [0; 5];
    let file = dir.open_file("exe", OFlags::RDONLY | OFlags::NONBLOCK);
    let read = file
        .ok()
        .and_then(|file| rustix::io::read(&file, &mut header).ok());
    read == Some(5) && header == *b"\x7fELF\x01"
}

/// True for a zombie or dead thread.
fn ended(stat: &[u8]) -> bool {
    matches!(name_and_state(stat), Some((_, 'Z' | 'X')))
}

/// The name between the outer parentheses, and the letter behind them.
fn name_and_state(stat: &[u8]) -> Option<(String, char)> {
    let start = stat.iter().position(|&byte| byte == b'(')? + 1;
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let state = text::words(&stat[end + 1..]).next()?.chars().next()?;
    Some((text::lossy(stat.get(start..end)?), state))
}

#[cfg(test)]
mod tests {
    use super::super::descriptors::Depth;
    use super::super::testing::{Running, wait_for};
    use super::super::{Descriptors, Kind};
    use super::*;

    #[test]
    fn a_thread_that_ended_is_told_by_its_state() {
        assert!(ended(b"1 (a) b) Z 1 2"));
        assert!(!ended(b"1 (Z) S 1 2"));
        assert!(!ended(b"") && !ended(b")(") && !ended(b"1 (a"));
    }

    #[test]
    fn a_stack_pointer_is_the_last_word_but_one() {
        assert_eq!(
            stack_pointer(b"0 0x3 0x1 0x1 0x0 0x0 0x0 0x7ffd10 0x7f20\n"),
            Some(0x7f_fd10)
        );
        assert_eq!(stack_pointer(b"-1 0x7ffd10 0x7f20\n"), Some(0x7f_fd10));
        for none in [&b"running\n"[..], b"", b"-1", b"x 0x"] {
            assert_eq!(stack_pointer(none), None);
        }
    }

    #[test]
    fn each_thread_tells_what_it_uses() {
        let (child, line) = Running::python(
            "import os, threading; a, _ = os.pipe(); b, _ = os.pipe(); \
             threading.Thread(target=os.read, args=(b, 1)).start(); print(a, b, flush=True); os.read(a, 1)",
        );
        let expected: BTreeSet<i32> = line
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        let dir = child.dir();
        wait_for(|| (in_use(&read(&dir).expect("our child")) == expected).then_some(()));
        assert_eq!(read(&dir).expect("our child").len(), 2);
    }

    #[test]
    fn sigpipe_in_its_three_forms() {
        let after = |setting: &str| {
            let text =
                format!("import signal as s, time; {setting}; print(flush=True); time.sleep(60)");
            sigpipe(&Running::python(&text).0.dir()).expect("our child")
        };
        assert_eq!(after("s.signal(s.SIGPIPE, s.SIG_DFL)"), SigPipe::Kills);
        assert_eq!(after("s.signal(s.SIGPIPE, s.SIG_IGN)"), SigPipe::Ignored);
        assert_eq!(after("s.signal(s.SIGPIPE, lambda *a: 0)"), SigPipe::Handled);
    }

    #[test]
    fn a_process_whose_first_thread_ended_still_shows_its_descriptors() {
        let (child, _) = Running::python(
            "import ctypes, os, threading, time; r, w = os.pipe()\n\
             threading.Thread(target=time.sleep, args=(60,)).start()\n\
             print(flush=True); ctypes.CDLL(None).syscall(60, 0)",
        );
        let dir = child.dir();
        wait_for(|| first_living(&dir));
        let table = Descriptors::read(&dir, Depth::Facts).expect("by its other thread");
        assert_eq!(
            table
                .open
                .iter()
                .filter(|row| row.kind == Kind::Pipe && row.fd > 2)
                .count(),
            2
        );
    }
}
