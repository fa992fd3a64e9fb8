//! AF_UNIX sockets: an end of file, where whoever holds the other end can bear
//! it. A socket that takes no more data breaks its peer's next write at once,
//! and SIGPIPE with it; TCP has no such link.

use std::os::fd::AsFd;

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::gates::{self, Case, gate};
use crate::kernel::threads::{SigPipe, sigpipe};
use crate::kernel::{Kind, ProcDir};
use crate::model::FixGate;
use crate::snapshot::{FdFact, SocketFact};

/// Whether it has another end that could be told apart from its own.
#[must_use]
pub fn is_connected(fact: &FdFact) -> bool {
    fact.what == Kind::Unix.name()
        && fact
            .socket
            .as_ref()
            .is_some_and(|socket| socket.peer_inode.is_some())
}

/// The conditions under which one is shown an end of file.
#[must_use]
pub fn gates(case: &Case<'_>) -> Vec<FixGate> {
    let none = SocketFact::default();
    let fact = case.open.fact.as_ref();
    let socket = fact.and_then(|fact| fact.socket.as_ref()).unwrap_or(&none);
    let mut all = gates::common(case);
    all.extend([
        gates::connected(socket),
        gates::nothing_to_send(socket),
        gates::idle(case, case.snapshot.idle_s(case.open)),
        bearable(case, socket),
    ]);
    all
}

/// Everyone who holds the other end, this process too, must ignore SIGPIPE.
fn bearable(case: &Case<'_>, socket: &SocketFact) -> FixGate {
    let inode = socket.peer_inode.unwrap_or(0);
    let holders = case.owners.of_inode(inode);
    let killed = holders.iter().find(|holder| !ignores(holder.pid));
    match (holders, killed) {
        ([], _) => gate("peer", false, "who holds its other end is not known"),
        (_, Some(holder)) => {
            let said = format!("a write to it could kill pid {} by SIGPIPE", holder.pid);
            gate("peer", false, said)
        }
        _ => gate("peer", true, "whoever holds its other end ignores SIGPIPE"),
    }
}

fn ignores(pid: i32) -> bool {
    let dir = ProcDir::open(pid);
    dir.is_ok_and(|dir| matches!(sigpipe(&dir), Ok(SigPipe::Ignored)))
}

/// Whether the socket is of this family.
#[must_use]
pub fn is_one(socket: &impl AsFd) -> bool {
    sockopt::socket_domain(socket).is_ok_and(|family| family == AddressFamily::UNIX)
}

/// Whether an end of file means anything to it: datagrams have none.
#[must_use]
pub fn has_an_end(socket: &impl AsFd) -> bool {
    sockopt::socket_type(socket).is_ok_and(|kind| kind != SocketType::DGRAM)
}
