//! What can go wrong when the kernel is asked about a process.

use rustix::io::Errno;
use thiserror::Error;

/// Why the kernel's records of a process could not be read.
#[derive(Debug, Error)]
pub enum KernelError {
    /// No such process, or `/proc` hides it from this user (`hidepid`).
    #[error(
        "There is no process {pid} that this user can see; check the number, \
         or run memguard as root if the process belongs to somebody else."
    )]
    NoProcess {
        /// The pid that was asked for.
        pid: i32,
    },
    /// The process ended while it was being read.
    #[error("Process {pid} ended while it was being looked at; run the command again.")]
    Gone {
        /// The pid that was asked for.
        pid: i32,
    },
    /// The kernel refuses this user.
    #[error(
        "The kernel does not let this user read {file} of process {pid}; \
         run memguard as root, or see `memguard doctor {pid}`."
    )]
    NotPermitted {
        /// The pid that was asked for.
        pid: i32,
        /// The file below `/proc/PID`.
        file: String,
    },
    /// Another failure of a read below `/proc/PID`.
    #[error(
        "Could not read {file} of process {pid} ({reason}); \
         check that /proc is mounted and run the command again."
    )]
    Read {
        /// The pid that was asked for.
        pid: i32,
        /// The file below `/proc/PID`.
        file: String,
        /// What the kernel said, or what was wrong with the contents.
        reason: String,
    },
    /// The kernel's socket tables could not be read.
    #[error(
        "Could not read the kernel's socket tables ({reason}); \
         sockets are shown without their state: run memguard as root to see it."
    )]
    Sockets {
        /// What the kernel said.
        reason: String,
    },
}

impl KernelError {
    /// Turns a failed call on `/proc/PID/file` into a sentence.
    pub fn from_errno(pid: i32, file: &str, errno: Errno) -> Self {
        let file = file.to_owned();
        match errno {
            Errno::SRCH => Self::Gone { pid },
            Errno::ACCESS | Errno::PERM => Self::NotPermitted { pid, file },
            other => Self::Read {
                pid,
                file,
                reason: other.to_string(),
            },
        }
    }

    /// Contents that the kernel would not have written that way.
    pub fn malformed(pid: i32, file: &str, reason: impl ToString) -> Self {
        Self::Read {
            pid,
            file: file.to_owned(),
            reason: reason.to_string(),
        }
    }
}
