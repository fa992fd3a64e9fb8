//! Asks the kernel about a running process and puts its answers in our terms.

use jiff::Timestamp;

use super::facts::{Facts, FdFact, SocketFact};
use super::kinds;
use crate::attach::Running;
use crate::kernel::descriptors::Depth;
use crate::kernel::sockets::{Socket, Sockets, TcpTimes};
use crate::kernel::{Descriptor, Descriptors, KernelError, ProcDir, Process, threads};

/// Everything the kernel tells this user about the process. What it does not
/// tell is null, and a note says why.
///
/// # Errors
/// When the process is gone.
pub fn facts(process: &Running) -> Result<Facts, KernelError> {
    let dir = ProcDir::open(process.pid)?;
    let who = Process::read(&dir)?;
    let mut facts = Facts {
        taken_at: Timestamp::now(),
        pid: process.pid,
        alive: true,
        uid: Some(who.uid),
        started_at: Timestamp::try_from(who.started_at).ok(),
        rss_bytes: Some(who.rss_bytes),
        fd_limit: who.open_files.and_then(|limit| limit.soft),
        comm: Some(who.comm),
        cmdline: Some(who.cmdline),
        ..Facts::default()
    };
    match descriptors(&dir, who.access.attach, &mut facts.notes) {
        Ok(open) => facts.descriptors = Some(open),
        Err(error @ (KernelError::NoProcess { .. } | KernelError::Gone { .. })) => {
            return Err(error);
        }
        Err(error) => facts.notes.push(error.to_string()),
    }
    Ok(facts)
}

fn descriptors(
    dir: &ProcDir,
    sees_threads: bool,
    notes: &mut Vec<String>,
) -> Result<Vec<FdFact>, KernelError> {
    let mut open = Descriptors::read(dir, Depth::Facts)?;
    let sockets = Sockets::read(dir, &mut open);
    notes.extend(sockets.notes.iter().cloned());
    let waited = sees_threads.then(|| threads::read(dir).ok()).flatten();
    let waited = waited.map(|threads| threads::in_use(&threads));
    let mut facts: Vec<FdFact> = open
        .open
        .into_iter()
        .map(|open| fact(open, &sockets))
        .collect();
    for fact in &mut facts {
        fact.blocked = waited.as_ref().map(|waited| waited.contains(&fact.fd));
    }
    Ok(facts)
}

fn fact(open: Descriptor, sockets: &Sockets) -> FdFact {
    let socket = sockets.get(open.inode).filter(|_| open.kind.is_socket());
    let since_made = open
        .made_at_s
        .map(|made| Timestamp::now().as_second().saturating_sub(made).max(0) as u64 * 1000);
    FdFact {
        fd: open.fd,
        kind: Some(kinds::group_seen(open.kind)),
        what: open.kind.name().to_owned(),
        path: Some(if open.deleted {
            format!("{} (deleted)", open.path)
        } else {
            open.path
        }),
        object: (open.device, open.inode),
        age_ms: socket
            .and_then(Socket::age_at_least_ms)
            .map(u64::from)
            .or(since_made),
        socket: socket.map(socket_fact),
        ..FdFact::default()
    }
}

fn socket_fact(socket: &Socket) -> SocketFact {
    let time = |pick: fn(&TcpTimes) -> u32| socket.tcp.as_ref().map(pick).map(u64::from);
    SocketFact {
        local: socket.local.as_ref().map(ToString::to_string),
        peer: socket.peer.as_ref().map(ToString::to_string),
        state: socket.state.map(|state| state.name().to_owned()),
        send_queue: socket.send_queue.map(u64::from),
        receive_queue: socket.receive_queue.map(u64::from),
        sent_ms: time(|times| times.last_sent_ms),
        received_ms: time(|times| times.last_received_ms),
        cookie: socket.cookie,
        heard_ms: time(|times| times.last_segment_ms),
    }
}
