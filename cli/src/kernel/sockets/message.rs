//! The messages of sock_diag(7): requests out, answers in. Pure functions.
//!
//! Layouts: `struct inet_diag_req_v2`, `inet_diag_msg`, `unix_diag_req`,
//! `unix_diag_msg` of the kernel's uapi headers, and `struct tcp_info`.

use super::{Address, Socket, State, TcpTimes};
use crate::kernel::{Kind, text};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_AND_DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER_BYTES: usize = 16;
const INET_MESSAGE_BYTES: usize = 72;
const UNIX_MESSAGE_BYTES: usize = 16;
/// All but the two states without a descriptor: TIME_WAIT, and requests that
/// nobody has accepted.
const STATES: u32 = !(1 << 6 | 1 << 12);
const INET_DIAG_INFO: u16 = 2;
const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_PEER: u16 = 2;
const UNIX_DIAG_RQLEN: u16 = 4;

/// A family and protocol to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// TCP or UDP over one IP version.
    Inet {
        /// AF_INET or AF_INET6.
        family: u8,
        /// IPPROTO_TCP or IPPROTO_UDP.
        protocol: u8,
    },
    /// AF_UNIX.
    Unix,
}

/// The five tables that memguard lists.
pub const TABLES: [Table; 5] = [
    Table::Inet {
        family: 2,
        protocol: 6,
    },
    Table::Inet {
        family: 10,
        protocol: 6,
    },
    Table::Inet {
        family: 2,
        protocol: 17,
    },
    Table::Inet {
        family: 10,
        protocol: 17,
    },
    Table::Unix,
];

impl Table {
    /// The request that has the kernel list the table.
    pub fn request(self, sequence: u32) -> Vec<u8> {
        let body = match self {
            Self::Inet { family, protocol } => inet_request(family, protocol),
            Self::Unix => unix_request(),
        };
        let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
        message.extend(((HEADER_BYTES + body.len()) as u32).to_ne_bytes());
        message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        message.extend(REQUEST_AND_DUMP.to_ne_bytes());
        message.extend(sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        message
    }

    /// One row of the table: the inode and what the kernel says about it.
    pub fn row(self, body: &[u8]) -> Option<(u64, Socket)> {
        match self {
            Self::Inet { protocol, .. } => inet_row(protocol, body),
            Self::Unix => unix_row(body),
        }
    }
}

fn inet_request(family: u8, protocol: u8) -> Vec<u8> {
    let extensions = 1 << (INET_DIAG_INFO - 1);
    let mut body = vec![family, protocol, extensions, 0];
    body.extend(STATES.to_ne_bytes());
    // struct inet_diag_sockid: all zero is any socket.
    body.extend([0; 48]);
    body
}

fn unix_request() -> Vec<u8> {
    let show: u32 = 1 << UNIX_DIAG_NAME | 1 << UNIX_DIAG_PEER | 1 << UNIX_DIAG_RQLEN;
    let mut body = vec![1, 0, 0, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend([0; 4]);
    body.extend(show.to_ne_bytes());
    body.extend([0; 8]);
    body
}

/// One message of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A row, without the netlink header.
    Row(&'a [u8]),
    /// The list is complete.
    Done,
    /// The kernel refuses, with that errno.
    Refused(i32),
}

/// Splits what one receive call gave into its messages. Whatever does not fit
/// its own length ends the list.
pub fn answers(mut bytes: &[u8], sequence: u32) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        loop {
            let length = word32(bytes, 0)? as usize;
            let body = bytes.get(HEADER_BYTES..length)?;
            let (kind, number) = (word16(bytes, 4)?, word32(bytes, 8)?);
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
            if number == sequence {
                return Some(answer(kind, body));
            }
        }
    })
}

fn answer(kind: u16, body: &[u8]) -> Answer<'_> {
    match kind {
        NLMSG_DONE => Answer::Done,
        NLMSG_ERROR => {
            Answer::Refused(word32(body, 0).map_or(0, |code| (code as i32).wrapping_neg()))
        }
        _ => Answer::Row(body),
    }
}

fn inet_row(protocol: u8, body: &[u8]) -> Option<(u64, Socket)> {
    let attributes = body.get(INET_MESSAGE_BYTES..)?;
    let (family, state) = (body[0], State::from_number(body[1]));
    let kind = if protocol == 6 { Kind::Tcp } else { Kind::Udp };
    let times = attribute(attributes, INET_DIAG_INFO).and_then(tcp_times);
    let socket = Socket {
        state,
        local: address(family, &body[8..24], &body[4..6]),
        peer: address(family, &body[24..40], &body[6..8]),
        receive_queue: word32(body, 56),
        send_queue: word32(body, 60).filter(|_| state != Some(State::Listen)),
        cookie: cookie(body, 44),
        tcp: times,
        ..Socket::of(kind)
    };
    Some((word32(body, 68)?.into(), socket.without_fin()))
}

fn unix_row(body: &[u8]) -> Option<(u64, Socket)> {
    let attributes = body.get(UNIX_MESSAGE_BYTES..)?;
    let queues = attribute(attributes, UNIX_DIAG_RQLEN);
    let peer = attribute(attributes, UNIX_DIAG_PEER).and_then(|value| word32(value, 0));
    let socket = Socket {
        state: State::from_number(body[2]),
        local: attribute(attributes, UNIX_DIAG_NAME).and_then(unix_name),
        peer_inode: peer.map(u64::from).filter(|&inode| inode != 0),
        receive_queue: queues.and_then(|value| word32(value, 0)),
        send_queue: queues
            .and_then(|value| word32(value, 4))
            .filter(|_| body[2] != 10),
        cookie: cookie(body, 8),
        ..Socket::of(Kind::Unix)
    };
    Some((word32(body, 4)?.into(), socket))
}

/// The name as people write it: abstract names begin with an `@`.
pub fn unix_name(name: &[u8]) -> Option<Address> {
    let text = match name {
        [] => return None,
        [0, rest @ ..] => format!("@{}", text::lossy(rest)),
        path => text::lossy(path.split(|&byte| byte == 0).next()?),
    };
    Some(Address::Unix(text))
}

/// `None` for the address of a side that is not connected or bound.
fn address(family: u8, ip: &[u8], port: &[u8]) -> Option<Address> {
    let port = u16::from_be_bytes(port.try_into().ok()?);
    let ip = match family {
        2 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(..4)?).ok()?)),
        10 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        _ => return None,
    };
    inet(ip, port)
}

/// An address unless it is all zero.
pub fn inet(ip: IpAddr, port: u16) -> Option<Address> {
    (port != 0 || !ip.is_unspecified()).then(|| Address::Inet(SocketAddr::new(ip, port)))
}

/// Offsets of `struct tcp_info`; older kernels give a shorter one.
fn tcp_times(info: &[u8]) -> Option<TcpTimes> {
    Some(TcpTimes {
        last_sent_ms: word32(info, 44)?,
        last_received_ms: word32(info, 52)?,
        last_segment_ms: word32(info, 56)?,
        bytes_acked: word64(info, 120),
        bytes_received: word64(info, 128),
    })
}

/// Two halves, the low one first, whatever the byte order.
fn cookie(body: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(word32(body, at)?) | u64::from(word32(body, at + 4)?) << 32)
}

/// The value of the first netlink attribute of that type.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(word16(bytes, 0)?);
        let kind = word16(bytes, 2)? & 0x3fff;
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

fn word16(bytes: &[u8], at: usize) -> Option<u16> {
    let found = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(found.try_into().ok()?))
}

fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    let found = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(found.try_into().ok()?))
}

fn word64(bytes: &[u8], at: usize) -> Option<u64> {
    let found = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_ne_bytes(found.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_have_the_kernels_sizes() {
        assert_eq!(TABLES[0].request(1).len(), HEADER_BYTES + 56);
        assert_eq!(Table::Unix.request(1).len(), HEADER_BYTES + 24);
    }

    #[test]
    fn names_of_both_namespaces() {
        let name = |bytes| unix_name(bytes).map(|address| address.to_string());
        assert_eq!(name(b"\0bus/1").as_deref(), Some("@bus/1"));
        assert_eq!(name(b"/run/x\0").as_deref(), Some("/run/x"));
        assert_eq!(name(b""), None);
    }

    #[test]
    fn a_refusal_carries_its_errno() {
        let mut message = Vec::new();
        for word in [20u32, u32::from(NLMSG_ERROR), 9, 0, (-2i32) as u32] {
            message.extend(word.to_ne_bytes());
        }
        assert_eq!(answers(&message, 9).next(), Some(Answer::Refused(2)));
        assert_eq!(
            answers(&message, 8).next(),
            None,
            "an answer to something else"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), length in 0u32..400) {
            let mut bytes = bytes;
            if let Some(start) = bytes.get_mut(..4) {
                start.copy_from_slice(&length.to_ne_bytes());
            }
            for answer in answers(&bytes, 0) {
                if let Answer::Row(body) = answer {
                    let _ = TABLES.map(|table| table.row(body));
                }
            }
            let _ = TABLES.map(|table| table.row(&bytes));
        }
    }
}
