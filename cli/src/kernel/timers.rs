//! POSIX timers of a process: `/proc/PID/timers`, proc_pid_timers(5).
//!
//! The kernel tells neither when they expire nor how often they did.

use super::{KernelError, ProcDir, text};

/// One timer made by timer_create(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PosixTimer {
    /// The kernel's timer id.
    pub id: i32,
    /// The signal it sends, 0 if none.
    pub signal: i32,
    /// The program's own word, often a pointer.
    pub value: u64,
    /// How it tells the program.
    pub notify: Notify,
    /// The thread or process that is told.
    pub receiver: i32,
    /// The CLOCK_* number; negative for a CPU clock.
    pub clock: i32,
}

/// The ways of sigevent(3type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// Not at all: the program asks.
    None,
    /// A signal.
    Signal,
    /// A new thread (only in old kernels' words; glibc uses a signal).
    Thread,
}

/// Reads the timers; none where this kernel has no such file.
pub fn read(dir: &ProcDir) -> Result<Vec<PosixTimer>, KernelError> {
    match dir.read("timers") {
        Ok(bytes) => Ok(parse(&bytes)),
        Err(KernelError::Read { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Four lines each, the first of which is `ID: n`.
fn parse(bytes: &[u8]) -> Vec<PosixTimer> {
    let lines: Vec<&[u8]> = text::lines(bytes).collect();
    lines
        .chunk_by(|_, next| !next.starts_with(b"ID:"))
        .filter_map(|timer| one(&timer.join(&b'\n')))
        .collect()
}

fn one(lines: &[u8]) -> Option<PosixTimer> {
    let (signal, value) = text::field(lines, "signal:")?.split_once('/')?;
    let (notify, receiver) = text::field(lines, "notify:")?.split_once('/')?;
    let (_, receiver) = receiver.split_once('.')?;
    Some(PosixTimer {
        id: text::field(lines, "ID:")?.parse().ok()?,
        signal: signal.parse().ok()?,
        value: text::hex(value)?,
        notify: match notify {
            "none" => Notify::None,
            "thread" => Notify::Thread,
            _ => Notify::Signal,
        },
        receiver: receiver.parse().ok()?,
        clock: text::field(lines, "ClockID:")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Running;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn timers_of_a_child() {
        let (child, line) = Running::python(
            "import ctypes, time; c = ctypes.CDLL(None); ids = (ctypes.c_void_p * 2)()\n\
             event = (ctypes.c_char * 64)()\n\
             ctypes.memmove(event, (0xfeed).to_bytes(8, 'little') + (10).to_bytes(4, 'little'), 12)\n\
             made = [c.timer_create(1, event, ctypes.byref(ids, 0)), c.timer_create(0, None, ctypes.byref(ids, 8))]\n\
             print(made, flush=True); time.sleep(60)",
        );
        assert_eq!(line, "[0, 0]");
        let timers = read(&child.dir()).expect("our child");
        assert_eq!(timers.len(), 2);
        let named = timers
            .iter()
            .find(|timer| timer.clock == 1)
            .expect("monotonic");
        assert_eq!(
            (named.signal, named.value, named.notify),
            (10, 0xfeed, Notify::Signal)
        );
        assert_eq!(named.receiver, child.pid());
        assert!(
            timers
                .iter()
                .any(|timer| timer.clock == 0 && timer.signal == 14)
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(ID:|signal:|notify:|ClockID:|[0-9a-f/. \\n])*") {
            let _ = parse(text.as_bytes());
        }
    }
}
