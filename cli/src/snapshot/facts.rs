//! What the kernel said of a process at one look. It is kept beside the
//! segment and in snapshot files, so it must survive its own JSON.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::memory::MemoryFact;
use crate::model::{Kind, TimerState};

/// One look at the kernel's records.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// When it was
    pub taken_at: Timestamp,
    /// The same in milliseconds since the segment was made
    pub moment_ms: Option<u64>,
    /// When the process was seen to end, by the same clock
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// The pid, as the one who looked sees it
    pub pid: i32,
    /// Whether it ran
    pub alive: bool,
    /// The kernel's short name
    pub comm: Option<String>,
    /// The command line
    pub cmdline: Option<Vec<String>>,
    /// Real user
    pub uid: Option<u32>,
    /// When the process started
    pub started_at: Option<Timestamp>,
    /// The executable's build id in hex
    pub build_id: Option<String>,
    /// Resident set
    pub rss_bytes: Option<u64>,
    /// Where the resident memory lies; none when it could not be read
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryFact>,
    /// The soft limit on descriptors
    pub fd_limit: Option<u64>,
    /// Bytes that it may still take: what its memory group has left, or the
    /// machine, whichever is less
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_headroom_bytes: Option<u64>,
    /// Open descriptors by number; none when they could not be read
    pub descriptors: Option<Vec<FdFact>>,
    /// POSIX timers; none when they could not be read
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posix_timers: Option<Vec<PosixTimerFact>>,
    /// What the epolls watch; none when it could not be read
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registrations: Option<Vec<RegistrationFact>>,
    /// What the inotifies watch; none when it could not be read
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watches: Option<Vec<WatchFact>>,
    /// Threads, by the process's own numbers; none when they could not be read
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<Vec<i32>>,
    /// Children; none when they could not be read
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<Vec<ChildFact>>,
    /// Whether memguard's library is in its maps, record or not
    #[serde(default)]
    pub library: bool,
    /// The record of the program that the process was before this one, in which
    /// the library is not
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_record: Option<String>,
    /// What could not be read, a sentence each
    pub notes: Vec<String>,
}

/// One open descriptor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FdFact {
    /// Its number
    pub fd: i32,
    /// The group `--kind` selects by
    pub kind: Option<Kind>,
    /// What exactly: file, tcp, pipe, epoll
    pub what: String,
    /// A path, or the kernel's name for something without one
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Device and inode
    pub object: (u64, u64),
    /// Its least age, where the kernel keeps anything that tells
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// A socket's addresses and state
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<SocketFact>,
    /// A timerfd's state
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<TimerFact>,
    /// How many registrations an epoll has
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registrations: Option<usize>,
    /// Whether it is a file without a name in any directory
    #[serde(default)]
    pub deleted: bool,
    /// Disk space of such a file, free again when it is closed
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_bytes: Option<u64>,
    /// The position in a file or directory
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Whether the process holds a lock on the file, by whichever call and
    /// through whichever descriptor
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub locked: bool,
    /// Whether it is an end of a pipe whose both ends are here and of which an
    /// epoll of the process watches one
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub self_pipe: bool,
    /// Whether a thread waits in a call on it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<bool>,
    /// Whether the library had a matching row at that look
    #[serde(default)]
    pub tracked: bool,
    /// Whether the process's parent has the same open file under the same number
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_parent: bool,
}

/// What the kernel says of a socket.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SocketFact {
    /// Its own address
    pub local: Option<String>,
    /// Its peer
    pub peer: Option<String>,
    /// ESTABLISHED, CLOSE_WAIT, LISTEN and so on
    pub state: Option<String>,
    /// Bytes sent that the peer has not acknowledged, or that wait to be sent
    pub send_queue: Option<u64>,
    /// Bytes that the program has not read
    pub receive_queue: Option<u64>,
    /// Since data was last sent
    pub sent_ms: Option<u64>,
    /// Since data last came
    pub received_ms: Option<u64>,
    /// SO_COOKIE: never used twice, unlike inodes
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
    /// Inode of an AF_UNIX socket's other end
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_inode: Option<u64>,
    /// Since anything at all came: in CLOSE_WAIT, at most the time since the
    /// peer's end of stream
    pub heard_ms: Option<u64>,
    /// In CLOSE_WAIT: the other end is known to be open still, and waits for an
    /// answer
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub peer_waits: bool,
}

/// A timerfd's state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerFact {
    /// Whether another expiration can come
    pub armed: bool,
    /// Expirations that nobody has read
    pub unread_ticks: u64,
    /// The period, 0 for one shot
    pub interval_ms: u64,
}

impl From<TimerFact> for TimerState {
    fn from(fact: TimerFact) -> Self {
        Self {
            armed: fact.armed,
            unread_ticks: fact.unread_ticks,
            interval_ms: fact.interval_ms,
        }
    }
}

/// A POSIX timer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PosixTimerFact {
    /// The kernel's number
    pub id: i32,
    /// The signal it sends, 0 for none
    pub signal: i32,
    /// Whether a thread of libc's takes that signal and calls a function
    #[serde(default)]
    pub calls: bool,
    /// The CLOCK_* number
    pub clock: i32,
}

impl PosixTimerFact {
    /// How it tells the program, in a word or two.
    #[must_use]
    pub fn tells(&self) -> String {
        match (self.calls, self.signal) {
            (true, _) => "calls a function".to_owned(),
            (_, 0) => "no signal".to_owned(),
            (_, libc::SIGALRM) => "SIGALRM".to_owned(),
            (_, libc::SIGUSR1) => "SIGUSR1".to_owned(),
            (_, libc::SIGUSR2) => "SIGUSR2".to_owned(),
            (_, libc::SIGPROF) => "SIGPROF".to_owned(),
            (_, libc::SIGVTALRM) => "SIGVTALRM".to_owned(),
            (_, signal) => format!("signal {signal}"),
        }
    }
}

/// One registration of an epoll.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationFact {
    /// The epoll
    pub epoll: i32,
    /// The number it was made by
    pub fd: i32,
    /// Device and inode of what it watches
    #[serde(default)]
    pub object: (u64, u64),
    /// Why it is stale, if it is
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<StaleFact>,
}

/// Why a registration is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StaleFact {
    /// Its number is closed, the file lives on
    Closed,
    /// Its number names another file
    Another,
}

/// One inotify watch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchFact {
    /// The inotify
    pub inotify: i32,
    /// Its number there
    pub watch: i32,
    /// Device and inode of what is watched
    pub object: (u64, u64),
}

/// One child.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildFact {
    /// Its number as the process sees it
    pub pid: i32,
    /// Its name
    pub comm: String,
    /// Whether it has ended and nobody has waited for it
    pub zombie: bool,
}

impl Facts {
    /// Whether all that is known of its last hours is when it last did
    /// something: nobody looked at it, and nobody saw it end.
    #[must_use]
    pub fn clock_stopped(&self) -> bool {
        !self.alive && self.ended_ms.is_none() && self.moment_ms.is_none()
    }

    /// The descriptor of that number.
    #[must_use]
    pub fn descriptor(&self, fd: i32) -> Option<&FdFact> {
        let open = self.descriptors.as_ref()?;
        open.binary_search_by_key(&fd, |fact| fact.fd)
            .ok()
            .and_then(|at| open.get(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_its_own_json() {
        let socket = SocketFact {
            state: Some("CLOSE_WAIT".into()),
            heard_ms: Some(5),
            ..SocketFact::default()
        };
        let tcp = FdFact {
            fd: 7,
            what: "tcp".into(),
            socket: Some(socket),
            blocked: Some(true),
            timer: Some(TimerFact::default()),
            registrations: Some(4),
            held_bytes: Some(4096),
            ..FdFact::default()
        };
        let facts = Facts {
            pid: 3,
            descriptors: Some(vec![FdFact::default(), tcp]),
            posix_timers: Some(vec![PosixTimerFact::default()]),
            registrations: Some(vec![RegistrationFact {
                stale: Some(StaleFact::Another),
                ..RegistrationFact::default()
            }]),
            watches: Some(vec![WatchFact::default()]),
            threads: Some(vec![3]),
            children: Some(vec![ChildFact::default()]),
            ..Facts::default()
        };
        let json = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<Facts>(&json).unwrap(), facts);
        assert_eq!(facts.descriptor(7).unwrap().what, "tcp");
        assert_eq!(facts.descriptor(6), None);
    }
}
