//! Asks the kernel about a running process and puts its answers in our terms.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use super::facts::{
    ChildFact, Facts, FdFact, PosixTimerFact, RegistrationFact, SocketFact, StaleFact, TimerFact,
    WatchFact,
};
use super::kinds;
use crate::attach::Running;
use crate::kernel::descriptors::{self, Depth, Facts as Seen, Kind::Pipe, stale};
use crate::kernel::sockets::{Socket, Sockets, TcpTimes};
use crate::kernel::timers::{self, Notify};
use crate::kernel::{
    Descriptor, Descriptors, KernelError, ProcDir, Process, available, cgroup, children, text,
    threads,
};

/// What a look asks for besides the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// What epolls watch. The kernel lists it under the lock that the program
    /// needs to wait: ten thousand registrations hold it up for milliseconds.
    pub registrations: bool,
    /// Where its memory lies
    pub memory: bool,
}

impl Parts {
    /// All there is.
    pub const ALL: Self = Self {
        registrations: true,
        memory: true,
    };
}

/// Everything the kernel tells this user about the process. What it does not
/// tell is null, and a note says why.
///
/// # Errors
/// When the process is gone.
pub fn facts(process: &Running, parts: Parts) -> Result<Facts, KernelError> {
    let dir = ProcDir::open(process.pid)?;
    let who = Process::read(&dir)?;
    let alone = who.namespace_pids.len() == 1;
    let mut facts = Facts {
        taken_at: Timestamp::now(),
        pid: process.pid,
        alive: true,
        uid: Some(who.uid),
        started_at: Timestamp::try_from(who.started_at).ok(),
        rss_bytes: Some(who.rss_bytes),
        fd_limit: who.open_files.and_then(|limit| limit.soft),
        memory_headroom_bytes: headroom_bytes(&dir),
        comm: Some(who.comm),
        cmdline: Some(who.cmdline),
        ..Facts::default()
    };
    match descriptors(&dir, who.access.attach, parts, &mut facts) {
        Ok(open) => facts.descriptors = Some(open),
        Err(error @ (KernelError::NoProcess { .. } | KernelError::Gone { .. })) => {
            return Err(error);
        }
        Err(error) => facts.notes.push(error.to_string()),
    }
    facts.threads = own_numbers(&dir, alone);
    facts.posix_timers = timers::read(&dir).ok().map(posix_timers);
    facts.children = children::read(&dir).ok().flatten().map(|children| {
        let one = |child: children::Child| ChildFact {
            pid: child.own_pid,
            comm: child.comm,
            zombie: child.zombie,
        };
        children.into_iter().map(one).collect()
    });
    Ok(facts)
}

/// The threads' numbers as the process itself sees them, which is what the
/// library writes.
fn own_numbers(dir: &ProcDir, alone: bool) -> Option<Vec<i32>> {
    let ids = threads::ids(dir).ok()?;
    if alone {
        return Some(ids);
    }
    let own = |tid: i32| {
        let status = dir.read(&format!("task/{tid}/status")).ok()?;
        let line = text::field(&status, "NSpid:")?;
        line.split_whitespace().next_back()?.parse().ok()
    };
    Some(ids.into_iter().filter_map(own).collect())
}

fn posix_timers(timers: Vec<timers::PosixTimer>) -> Vec<PosixTimerFact> {
    /// The signal that glibc keeps for timers which call a function.
    const SIGTIMER: i32 = 32;
    let one = |timer: timers::PosixTimer| PosixTimerFact {
        id: timer.id,
        signal: match timer.notify {
            Notify::None => 0,
            _ => timer.signal,
        },
        calls: timer.notify == Notify::Thread || timer.signal == SIGTIMER,
        clock: timer.clock,
    };
    timers.into_iter().map(one).collect()
}

/// What epolls and inotifies watch.
fn listening(dir: &ProcDir, open: &Descriptors, parts: Parts, facts: &mut Facts) {
    // Several may stand under one number: which of them is stale tells which one
    // may be taken out.
    let mut stale: BTreeMap<_, Vec<stale::Why>> = BTreeMap::new();
    for one in stale::read(dir, open) {
        let watched = (one.registration.device, one.registration.inode);
        let key = (one.epoll, one.registration.fd, watched);
        stale.entry(key).or_default().push(one.why);
    }
    let mut why = |epoll, fd, watched| {
        let why = stale.get_mut(&(epoll, fd, watched))?.pop()?;
        Some(match why {
            stale::Why::Closed => StaleFact::Closed,
            stale::Why::Another => StaleFact::Another,
        })
    };
    let (mut registrations, mut watches) = (Vec::new(), Vec::new());
    for row in &open.open {
        match &row.facts {
            Seen::Epoll(list) => registrations.extend(list.iter().map(|one| RegistrationFact {
                epoll: row.fd,
                fd: one.fd,
                object: (one.device, one.inode),
                stale: why(row.fd, one.fd, (one.device, one.inode)),
            })),
            Seen::Watches(list) => watches.extend(list.iter().filter_map(|one| {
                Some(WatchFact {
                    inotify: row.fd,
                    watch: one.id?,
                    object: (one.device, one.inode),
                })
            })),
            _ => {}
        }
    }
    facts.registrations = parts.registrations.then_some(registrations);
    facts.watches = Some(watches);
}

/// The less of what the memory group and the machine have left.
fn headroom_bytes(dir: &ProcDir) -> Option<u64> {
    let group = cgroup::memory(dir).and_then(|memory| memory.headroom_bytes);
    [group, available::bytes()].into_iter().flatten().min()
}

fn descriptors(
    dir: &ProcDir,
    sees_threads: bool,
    parts: Parts,
    facts: &mut Facts,
) -> Result<Vec<FdFact>, KernelError> {
    let depth = match parts.registrations {
        true => Depth::Facts,
        false => Depth::WithoutEpolls,
    };
    let mut open = Descriptors::read(dir, depth)?;
    let sockets = Sockets::read(dir, &mut open);
    facts.notes.extend(sockets.notes.iter().cloned());
    listening(dir, &open, parts, facts);
    let waited = sees_threads.then(|| threads::read(dir).ok()).flatten();
    let waited = waited.map(|threads| threads::in_use(&threads));
    let mut rows: Vec<FdFact> = open
        .open
        .into_iter()
        .map(|open| fact(open, &sockets))
        .collect();
    for fact in &mut rows {
        fact.blocked = waited.as_ref().map(|waited| waited.contains(&fact.fd));
    }
    share_locks(&mut rows);
    mark_self_pipes(
        &mut rows,
        facts.registrations.as_deref().unwrap_or_default(),
    );
    Ok(rows)
}

/// POSIX locks are of process and file: every descriptor of it has them.
fn share_locks(rows: &mut [FdFact]) {
    let locked = rows.iter().filter(|fact| fact.locked);
    let locked: HashSet<_> = locked.map(|fact| fact.object).collect();
    for fact in rows {
        fact.locked = locked.contains(&fact.object);
    }
}

/// Pipes with both ends here, of which an epoll watches one.
fn mark_self_pipes(rows: &mut [FdFact], watched: &[RegistrationFact]) {
    let watched: HashSet<i32> = watched.iter().map(|entry| entry.fd).collect();
    let mut pipes: HashMap<(u64, u64), (usize, bool)> = HashMap::new();
    for fact in rows.iter().filter(|fact| fact.what == Pipe.name()) {
        let (ends, is_watched) = pipes.entry(fact.object).or_default();
        *ends += 1;
        *is_watched |= watched.contains(&fact.fd);
    }
    for fact in rows {
        fact.self_pipe = pipes
            .get(&fact.object)
            .is_some_and(|(ends, is_watched)| *ends > 1 && *is_watched);
    }
}

fn fact(open: Descriptor, sockets: &Sockets) -> FdFact {
    let socket = sockets.get(open.inode).filter(|_| open.kind.is_socket());
    let since_made = open
        .made_at_s
        .map(|made| Timestamp::now().as_second().saturating_sub(made).max(0) as u64 * 1000);
    let timer = match &open.facts {
        Seen::Timer(timer) => Some(TimerFact {
            armed: timer.armed(),
            unread_ticks: timer.unread_ticks,
            interval_ms: timer.interval_ns / 1_000_000,
        }),
        _ => None,
    };
    let registrations = match &open.facts {
        Seen::Epoll(list) => Some(list.len()),
        _ => None,
    };
    FdFact {
        fd: open.fd,
        timer,
        registrations,
        deleted: open.deleted,
        held_bytes: open.disk_bytes.filter(|_| open.deleted),
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
        locked: matches!(open.facts, Seen::File { locks: 1.., .. }),
        position: match open.facts {
            descriptors::Facts::File { position, .. } => Some(position),
            _ => None,
        },
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
        peer_inode: socket.peer_inode,
        heard_ms: time(|times| times.last_segment_ms),
        peer_waits: socket.peer_waits,
    }
}
