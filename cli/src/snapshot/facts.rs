//! What the kernel said of a process at one look. It is kept beside the
//! segment and in snapshot files, so it must survive its own JSON.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::Kind;

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
    /// The soft limit on descriptors
    pub fd_limit: Option<u64>,
    /// Open descriptors by number; none when they could not be read
    pub descriptors: Option<Vec<FdFact>>,
    /// Whether memguard's library is in its maps, record or not
    #[serde(default)]
    pub library: bool,
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
    /// Whether a thread waits in a call on it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<bool>,
    /// Whether the library had a matching row at that look
    #[serde(default)]
    pub tracked: bool,
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
    /// Since anything at all came: in CLOSE_WAIT, at most the time since the
    /// peer's end of stream
    pub heard_ms: Option<u64>,
}

impl Facts {
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
            ..FdFact::default()
        };
        let facts = Facts {
            pid: 3,
            descriptors: Some(vec![FdFact::default(), tcp]),
            ..Facts::default()
        };
        let json = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<Facts>(&json).unwrap(), facts);
        assert_eq!(facts.descriptor(7).unwrap().what, "tcp");
        assert_eq!(facts.descriptor(6), None);
    }
}
