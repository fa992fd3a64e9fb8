//! The state of every socket that a process has open.
//!
//! - [`diag`]: asks the kernel by sock_diag(7), in the process's network
//!   namespace; [`message`]: what those messages look like
//! - [`procnet`]: the same from `/proc/PID/net`, where sock_diag is not to be
//!   had: without times, cookies and peers
//!
//! A descriptor names its socket by inode; both sources list a whole network
//! namespace by inode, so one pass serves thousands of descriptors. Sockets
//! that were never bound or connected are in no list: the kernel then still
//! tells the protocol.

mod diag;
mod message;
mod procnet;

use super::{Descriptor, Descriptors, KernelError, Kind, ProcDir, text};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;

/// Why a socket's list entry is what it is; the numbers are the kernel's
/// (include/net/tcp_states.h), UDP and AF_UNIX use a part of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Connected.
    Established,
    /// Connecting: the peer has not answered.
    SynSent,
    /// A connection that is being accepted.
    SynReceived,
    /// Closed here; the peer has not confirmed.
    FinWait1,
    /// Closed here; the peer keeps its side open.
    FinWait2,
    /// Over; kept for late packets.
    TimeWait,
    /// Not connected, or no longer.
    Close,
    /// The peer has closed its side and we have not: often a forgotten socket.
    CloseWait,
    /// Closed on both sides; the last confirmation is missing.
    LastAck,
    /// Waits for connections.
    Listen,
    /// Closed on both sides at once.
    Closing,
    /// Bound to a port, nothing else.
    Bound,
}

impl State {
    /// From the kernel's number.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynReceived,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            13 => Self::Bound,
            _ => return None,
        })
    }

    /// The name netstat and ss users know.
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynReceived => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::Bound => "BOUND",
        }
    }
}

/// One end of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// IPv4 or IPv6.
    Inet(SocketAddr),
    /// A path, or a name in the abstract namespace with an `@` before it;
    /// lossily decoded.
    Unix(String),
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(out),
            Self::Unix(name) => name.fmt(out),
        }
    }
}

/// What the kernel tells about one socket. `None`: it does not, for this kind
/// or by this way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// tcp, udp, unix, netlink, or socket for the rest.
    pub kind: Kind,
    /// The kernel's name for the protocol if no list has the socket: it is
    /// then not connected, or belongs to another network namespace.
    pub protocol: Option<String>,
    /// Where it stands.
    pub state: Option<State>,
    /// Its own address.
    pub local: Option<Address>,
    /// Its peer's address.
    pub peer: Option<Address>,
    /// Inode of a connected AF_UNIX peer.
    pub peer_inode: Option<u64>,
    /// Bytes that the program has not read; of a listening socket,
    /// connections that it has not accepted.
    pub receive_queue: Option<u32>,
    /// Whether the peer has closed its side of a TCP connection and the
    /// program has not read so far; `None` while the peer has not closed.
    pub end_unread: Option<bool>,
    /// Whether the peer has closed its side only, connected to us, and is open
    /// in some process of the same network namespace: it waits for an answer.
    /// False where nothing is known of the other end.
    pub peer_waits: bool,
    /// Bytes that the peer has not confirmed.
    pub send_queue: Option<u32>,
    /// SO_COOKIE: never used twice, unlike inodes.
    pub cookie: Option<u64>,
    /// What tcp_info adds.
    pub tcp: Option<TcpTimes>,
}

/// The part of tcp_info that tells idle from busy: times are milliseconds
/// before the look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpTimes {
    /// Since data was last sent, or since the connection was made.
    pub last_sent_ms: u32,
    /// Since data last arrived (whether or not the program has read it), or
    /// since the connection was made.
    pub last_received_ms: u32,
    /// Since any segment last arrived, also without data: acknowledgements,
    /// keepalives, the peer's FIN.
    pub last_segment_ms: u32,
    /// Bytes sent that the peer has confirmed.
    pub bytes_acked: Option<u64>,
    /// Bytes of data that arrived.
    pub bytes_received: Option<u64>,
}

impl Socket {
    fn of(kind: Kind) -> Self {
        Self {
            kind,
            protocol: None,
            state: None,
            local: None,
            peer: None,
            peer_inode: None,
            receive_queue: None,
            end_unread: None,
            peer_waits: false,
            send_queue: None,
            cookie: None,
            tcp: None,
        }
    }

    /// The kernel counts the peer's FIN as one byte of the receive queue until
    /// the program has read up to it, and as one byte received.
    fn without_fin(mut self) -> Self {
        use State::{CloseWait, Closing, LastAck};
        if let (Kind::Tcp, Some(CloseWait | Closing | LastAck)) = (self.kind, self.state) {
            self.end_unread = self.receive_queue.map(|queue| queue > 0);
            self.receive_queue = self.receive_queue.map(|queue| queue.saturating_sub(1));
            let received = self
                .tcp
                .as_mut()
                .and_then(|tcp| tcp.bytes_received.as_mut());
            received
                .into_iter()
                .for_each(|bytes| *bytes = bytes.saturating_sub(1));
        }
        self
    }

    /// For how long at least the peer has been gone from a CLOSE_WAIT socket:
    /// its FIN was the last segment, or came before it.
    pub fn half_closed_at_least_ms(&self) -> Option<u32> {
        let times = self.tcp.as_ref()?;
        (self.state == Some(State::CloseWait)).then_some(times.last_segment_ms)
    }

    /// How old the connection is at least: it was there when anything was
    /// last sent or received on it.
    pub fn age_at_least_ms(&self) -> Option<u32> {
        let times = self
            .tcp
            .as_ref()
            .filter(|_| self.state != Some(State::Listen))?;
        Some(times.last_sent_ms.max(times.last_received_ms))
    }
}

/// The sockets of a process by inode.
#[derive(Debug, Default)]
pub struct Sockets {
    by_inode: HashMap<u64, Socket>,
    /// What could not be read, as finished sentences.
    pub notes: Vec<String>,
}

impl Sockets {
    /// Looks up the sockets among these descriptors and sets their `kind`.
    pub fn read(dir: &ProcDir, descriptors: &mut Descriptors) -> Self {
        let is_socket = |row: &&Descriptor| row.kind.is_socket();
        let wanted: HashSet<u64> = descriptors
            .open
            .iter()
            .filter(is_socket)
            .map(|row| row.inode)
            .collect();
        let mut found = Self::default();
        if !wanted.is_empty() {
            found.list(dir, &wanted);
        }
        for row in descriptors
            .open
            .iter_mut()
            .filter(|row| row.kind.is_socket())
        {
            let socket = found.by_inode.entry(row.inode);
            row.kind = socket.or_insert_with(|| unlisted(dir, row.fd)).kind;
        }
        found
    }

    /// Those of these inodes that the lists of the process's network namespace
    /// have.
    pub fn listed(dir: &ProcDir, wanted: &HashSet<u64>) -> Self {
        let mut found = Self::default();
        found.list(dir, wanted);
        found
    }

    /// The socket of that inode.
    pub fn get(&self, inode: u64) -> Option<&Socket> {
        self.by_inode.get(&inode)
    }

    fn list(&mut self, dir: &ProcDir, wanted: &HashSet<u64>) {
        let mut listed = diag::list(dir, wanted);
        if let Err(reason) = &listed {
            self.notes.push(
                KernelError::Sockets {
                    reason: reason.clone(),
                }
                .to_string(),
            );
            listed = Ok(procnet::list(dir, wanted));
        }
        self.by_inode = listed.unwrap_or_default();
    }
}

/// A socket that is in no list: of a family that has none here, never bound
/// or connected, reset by its peer, or made in another network namespace. The
/// kernel names its protocol in an extended attribute, and no more.
fn unlisted(dir: &ProcDir, fd: i32) -> Socket {
    let mut name = [0; 64];
    let path = format!("/proc/{}/fd/{fd}", dir.pid());
    let length = rustix::fs::getxattr(&*path, "system.sockprotoname", &mut name[..]).unwrap_or(0);
    let name = name[..length]
        .split(|&byte| byte == 0)
        .next()
        .unwrap_or(&[]);
    let kind = match name {
        b"TCP" | b"TCPv6" | b"MPTCP" | b"MPTCPv6" => Kind::Tcp,
        b"UDP" | b"UDPv6" | b"UDP-Lite" | b"UDPLITEv6" => Kind::Udp,
        b"NETLINK" => Kind::Netlink,
        _ if name.starts_with(b"UNIX") => Kind::Unix,
        _ => Kind::Socket,
    };
    Socket {
        protocol: Some(text::lossy(name)).filter(|name| !name.is_empty()),
        ..Socket::of(kind)
    }
}

#[cfg(test)]
mod tests;
