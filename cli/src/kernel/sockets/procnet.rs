//! Lists sockets from `/proc/PID/net/{tcp,tcp6,udp,udp6,unix}`: proc(5).
//!
//! Strangers may name their AF_UNIX sockets with line ends and so write rows
//! of their own making into that list: what is odd is skipped, and the first
//! row of an inode counts.

use super::message::inet;
use super::{Address, Socket, State};
use crate::kernel::text::{hex, lines, lossy, words};
use crate::kernel::{Kind, ProcDir};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The wanted sockets; tables that cannot be read are empty.
pub fn list(dir: &ProcDir, wanted: &HashSet<u64>) -> HashMap<u64, Socket> {
    let mut found = HashMap::new();
    for (file, kind) in [
        ("net/tcp", Kind::Tcp),
        ("net/tcp6", Kind::Tcp),
        ("net/udp", Kind::Udp),
        ("net/udp6", Kind::Udp),
        ("net/unix", Kind::Unix),
    ] {
        let table = dir.read(file).unwrap_or_default();
        for (inode, socket) in lines(&table).skip(1).filter_map(|line| row(kind, line)) {
            if wanted.contains(&inode) {
                found.entry(inode).or_insert(socket);
            }
        }
    }
    found
}

fn row(kind: Kind, line: &[u8]) -> Option<(u64, Socket)> {
    match kind {
        Kind::Unix => unix_row(line),
        _ => inet_row(kind, line),
    }
}

/// `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12345 ...`
fn inet_row(kind: Kind, line: &[u8]) -> Option<(u64, Socket)> {
    let words: Vec<&str> = words(line).take(10).collect();
    let [_, local, peer, state, queues, _, _, _, _, inode] = *words.as_slice() else {
        return None;
    };
    let state = State::from_number(hex(state)? as u8);
    let (send, receive) = queues.split_once(':')?;
    let socket = Socket {
        state,
        local: address(local),
        peer: address(peer),
        receive_queue: hex(receive).map(|bytes| bytes as u32),
        send_queue: hex(send)
            .map(|bytes| bytes as u32)
            .filter(|_| state != Some(State::Listen)),
        ..Socket::of(kind)
    };
    Some((inode.parse().ok()?, socket.without_fin()))
}

/// Each group of eight digits is a 32-bit word as this machine stores it.
fn address(text: &str) -> Option<Address> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some((hex(ip.get(at * 8..at * 8 + 8)?)? as u32).to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let whole = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(whole).ok()?))
        }
        _ => return None,
    };
    inet(ip, port)
}

/// `ffff8880: 00000002 00000000 00010000 0001 01 9041 /run/path`
fn unix_row(line: &[u8]) -> Option<(u64, Socket)> {
    let words: Vec<&str> = words(line).take(7).collect();
    let [_, _, _, flags, _, state, inode] = *words.as_slice() else {
        return None;
    };
    let state = match (hex(flags)? & 0x1_0000 != 0, hex(state)?) {
        (true, _) => State::Listen,
        (_, 2) => State::SynSent,
        (_, 3) => State::Established,
        _ => State::Close,
    };
    let name = line.splitn(2, |&byte| byte == b'/' || byte == b'@').nth(1);
    let start = line.len() - name.map_or(0, |rest| rest.len() + 1);
    let socket = Socket {
        state: Some(state),
        local: name.map(|_| Address::Unix(lossy(&line[start..]))),
        ..Socket::of(Kind::Unix)
    };
    Some((inode.parse().ok()?, socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_of_both_ip_versions() {
        let line = b"   0: 0100007F:1F90 0200007F:0050 08 00000001:00000007 00:00000000 00000000     0        0 12345 1";
        let (inode, socket) = inet_row(Kind::Tcp, line).expect("a full row");
        assert_eq!((inode, socket.state), (12345, Some(State::CloseWait)));
        assert_eq!(
            (socket.send_queue, socket.receive_queue),
            (Some(1), Some(6))
        );
        assert_eq!(socket.end_unread, Some(true));
        let shown = |address: Option<Address>| address.map(|address| address.to_string());
        assert_eq!(shown(socket.local).as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(shown(socket.peer).as_deref(), Some("127.0.0.2:80"));
        let six = shown(address("00000000000000000000000001000000:0016"));
        assert_eq!(six.as_deref(), Some("[::1]:22"));
        assert_eq!(address("00000000:0000"), None);
    }

    #[test]
    fn unix_rows_with_and_without_a_name() {
        let line = b"0000000000000000: 00000002 00000000 00010000 0001 01  9041 /run/a b";
        let (inode, socket) = unix_row(line).expect("a full row");
        assert_eq!((inode, socket.state), (9041, Some(State::Listen)));
        assert_eq!(socket.local, Some(Address::Unix("/run/a b".into())));
        let line = b"0000000000000000: 00000003 00000000 00000000 0001 03  9042";
        let (inode, socket) = unix_row(line).expect("a full row");
        assert_eq!((inode, socket.local), (9042, None));
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line in "[0-9A-F: /@é]{0,120}") {
            let _ = row(Kind::Tcp, line.as_bytes());
            let _ = row(Kind::Unix, line.as_bytes());
        }
    }
}
