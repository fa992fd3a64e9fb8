//! Lists sockets by sock_diag(7).

use super::message::{Answer, TABLES, Table, answers};
use super::{Address, Socket, State};
use crate::kernel::ProcDir;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

/// The kernel fills at most 32 KiB per receive call.
const BUFFER_BYTES: usize = 64 << 10;

/// The wanted sockets of the process's network namespace; an error says in a
/// few words why the kernel did not answer.
pub fn list(dir: &ProcDir, wanted: &HashSet<u64>) -> Result<HashMap<u64, Socket>, String> {
    let socket = open(dir)?;
    let mut found = HashMap::with_capacity(wanted.len());
    let (mut names, mut waiting) = (HashMap::new(), Waiting::default());
    for (sequence, table) in (1..).zip(TABLES) {
        let keep = |inode, row: Socket| {
            if let (Table::Unix, Some(name)) = (table, &row.local) {
                names.insert(inode, name.clone());
            }
            waiting.add(inode, &row);
            if wanted.contains(&inode) {
                found.insert(inode, row);
            }
        };
        dump(&socket, table, sequence, keep).map_err(|errno| errno.to_string())?;
    }
    for socket in found.values_mut() {
        let peer = socket.peer_inode.and_then(|inode| names.get(&inode));
        socket.peer = socket.peer.take().or_else(|| peer.cloned());
        socket.peer_waits = waiting.for_answer_of(socket);
    }
    Ok(found)
}

/// Who of the namespace waits for an answer: whoever connected, closed the
/// connection for sending only, and has it open still. What was closed for good
/// has no inode. A server that closed its half has nothing to wait for.
#[derive(Default)]
struct Waiting {
    closed: HashSet<[SocketAddr; 2]>,
    listening: HashSet<u16>,
}

impl Waiting {
    fn add(&mut self, inode: u64, row: &Socket) {
        match (row.state, &row.local) {
            (Some(State::FinWait1 | State::FinWait2), _) if inode != 0 => {
                self.closed.extend(ends(&row.local, &row.peer));
            }
            (Some(State::Listen), Some(Address::Inet(own))) => {
                self.listening.insert(own.port());
            }
            _ => {}
        }
    }

    fn for_answer_of(&self, socket: &Socket) -> bool {
        let of_peer = ends(&socket.peer, &socket.local);
        let is_server = |[_, own]: &[SocketAddr; 2]| self.listening.contains(&own.port());
        socket.state == Some(State::CloseWait)
            && of_peer.is_some_and(|ends| is_server(&ends) && self.closed.contains(&ends))
    }
}

/// One space for both families: `::ffff:10.0.0.9` is 10.0.0.9.
fn ends(from: &Option<Address>, to: &Option<Address>) -> Option<[SocketAddr; 2]> {
    let plain = |end: &Option<Address>| match end {
        Some(Address::Inet(end)) => Some(SocketAddr::new(end.ip().to_canonical(), end.port())),
        _ => None,
    };
    Some([plain(from)?, plain(to)?])
}

/// A diagnostics socket of the process's network namespace. A socket belongs
/// to the namespace it was made in, so a short-lived thread that enters it and
/// makes one is enough; ours is never left.
fn open(dir: &ProcDir) -> Result<OwnedFd, String> {
    let theirs = dir.namespace("net").map_err(|error| error.to_string())?;
    if crate::kernel::Namespaces::ours().net == Some(theirs) {
        return make().map_err(|errno| errno.to_string());
    }
    let link = dir
        .open_file("ns/net", OFlags::RDONLY)
        .map_err(|error| error.to_string())?;
    let entered = std::thread::spawn(move || {
        move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network))?;
        make()
    });
    let made = entered.join().unwrap_or(Err(Errno::AGAIN));
    made.map_err(|errno| format!("entering its network namespace: {errno}"))
}

fn make() -> Result<OwnedFd, Errno> {
    let kind = SocketType::RAW;
    rustix::net::socket_with(
        AddressFamily::NETLINK,
        kind,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )
}

/// Hands every row of a table to `keep`. A kernel without that family refuses
/// with ENOENT, and the table is then empty.
fn dump(
    socket: &OwnedFd,
    table: Table,
    sequence: u32,
    mut keep: impl FnMut(u64, Socket),
) -> Result<(), Errno> {
    rustix::net::send(socket, &table.request(sequence), SendFlags::empty())?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let receive = || rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty());
        let (length, _) = rustix::io::retry_on_intr(receive)?;
        for answer in answers(&buffer[..length], sequence) {
            match answer {
                Answer::Row(body) => {
                    let _ = table.row(body).map(|(inode, row)| keep(inode, row));
                }
                Answer::Done | Answer::Refused(0 | 2) => return Ok(()),
                Answer::Refused(code) => return Err(Errno::from_raw_os_error(code)),
            }
        }
        if length == 0 {
            return Err(Errno::PIPE);
        }
    }
}
