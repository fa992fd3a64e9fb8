//! Descriptors that the program has lost: the conditions under which one is
//! closed for it, and the search that comes last, once for all of them.
//!
//! Closing is the one thing that cannot be taken back, so whatever is not
//! known shuts a gate.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::gates::{Case, beside, gate, idle_floor, not_infrastructure};
use super::inside::Inside;
use super::lost::{Search, reading_library, reads_scripts, search};
use super::owners::Owner;
use crate::kernel::{Kind as Seen, ProcDir, maps, text};
use crate::model::{Fix, FixGate, FixItem, FixSearch};
use crate::snapshot::{FdFact, Snapshot};
use crate::units::count;

/// A search that takes longer finds nothing lost.
const SEARCH_WITHIN: Duration = Duration::from_secs(30);
/// The kernel's O_ASYNC: a signal tells the number.
const ASYNC: u32 = 0o20000;

/// What of a process decides for all its descriptors.
#[derive(Debug)]
pub struct Whole<'a> {
    dir: Option<ProcDir>,
    reader: Result<(), String>,
    mapped: HashSet<u64>,
    outside_hooks: Option<&'static str>,
    watched: Option<HashSet<i32>>,
    inside: Option<&'a Inside>,
    asked: bool,
}

impl<'a> Whole<'a> {
    /// Reads what is needed of a running process.
    #[must_use]
    pub fn of(snapshot: &Snapshot, inside: Option<&'a Inside>, asked: bool) -> Self {
        let dir = ProcDir::open(snapshot.facts.pid).ok();
        let mappings = dir.as_ref().and_then(|dir| maps::read(dir).ok());
        let reader = match (&dir, &mappings) {
            (Some(dir), Some(mappings)) => reader(dir, mappings),
            _ => Err("what it runs cannot be read".to_owned()),
        };
        let mappings = mappings.unwrap_or_default();
        let open = snapshot.facts.descriptors.iter().flatten();
        let rings = open
            .filter(|fact| fact.what == Seen::IoUring.name())
            .count();
        let aio = mappings.iter().any(|map| map.path.starts_with("/[aio]"));
        let watched = snapshot.facts.registrations.as_ref();
        Self {
            reader,
            mapped: mappings.iter().map(|map| map.inode).collect(),
            outside_hooks: match (rings, aio) {
                (1.., _) => Some("io_uring"),
                (_, true) => Some("asynchronous I/O"),
                _ => None,
            },
            watched: watched.map(|all| all.iter().map(|one| one.fd).collect()),
            inside,
            asked,
            dir,
        }
    }
}

impl<'a> Whole<'a> {
    /// The way in.
    #[must_use]
    pub fn inside(&self) -> Option<&'a Inside> {
        self.inside
    }
}

fn reader(dir: &ProcDir, mappings: &[maps::Mapping]) -> Result<(), String> {
    let path = dir.link("exe").map(|path| text::lossy(&path));
    let path = path.map_err(|_| "what it runs cannot be read".to_owned())?;
    if reads_scripts(&path) {
        return Err(format!("{path} may read numbers from a script"));
    }
    match reading_library(mappings) {
        Some(path) => Err(format!(
            "{path} is in it and may read numbers from a script"
        )),
        None => Ok(()),
    }
}

/// Kinds whose close, if nobody knows the number, nobody else feels.
#[must_use]
pub fn can_be(fact: &FdFact) -> bool {
    const KINDS: [Seen; 7] = [
        Seen::Regular,
        Seen::Directory,
        Seen::Memfd,
        Seen::Tcp,
        Seen::Udp,
        Seen::Unix,
        Seen::Pipe,
    ];
    fact.what == Seen::Timerfd.name() || KINDS.iter().any(|kind| fact.what == kind.name())
}

/// All conditions but the search, and those that hold for every fix.
#[must_use]
pub fn gates(case: &Case<'_>, whole: &Whole<'_>) -> Vec<FixGate> {
    let none = FdFact::default();
    let fact = case.open.fact.as_ref().unwrap_or(&none);
    let mut gates = vec![
        asked(whole),
        way_in(whole.inside),
        match &whole.reader {
            Ok(()) => gate("scripts", true, "it reads no numbers from scripts"),
            Err(why) => gate("scripts", false, why.clone()),
        },
        chosen_by_the_kernel(case),
        not_shared(case, whole, fact),
        unused(case),
        not_told_by_signal(whole, fact),
        match whole.outside_hooks {
            None => gate("kernel", true, "no io_uring and no asynchronous I/O"),
            Some(what) => gate("kernel", false, format!("it uses {what}")),
        },
    ];
    gates.push(unwatched(whole, fact.fd));
    gates.extend(socket(case, fact));
    gates
}

fn unwatched(whole: &Whole<'_>, fd: i32) -> FixGate {
    match whole.watched.as_ref().map(|watched| watched.contains(&fd)) {
        Some(false) => gate("epoll", true, "no epoll watches it"),
        Some(true) => gate("epoll", false, "an epoll watches it"),
        None => gate("epoll", false, "what epolls watch was not looked at"),
    }
}

/// A program may know a number by its place alone, in a set of bits or a table
/// by number: no search finds that. So a person says that it does not.
fn asked(whole: &Whole<'_>) -> FixGate {
    let said = match whole.asked {
        true => "closing what is lost is asked for",
        false => {
            "only closed with --close-lost; not for programs that keep numbers as bits or places"
        }
    };
    gate("asked", whole.asked, said)
}

fn way_in(inside: Option<&Inside>) -> FixGate {
    let said = match inside {
        Some(_) => "the library is in the program and closes it there",
        None => "memguard's library is not in the program, so nobody can close it there",
    };
    gate("inside", inside.is_some(), said)
}

fn chosen_by_the_kernel(case: &Case<'_>) -> FixGate {
    let placed = case.open.placed;
    let said = match placed {
        true => "the program chose its number, by dup2",
        false => "the kernel chose its number",
    };
    gate("placed", !placed, said)
}

fn not_shared(case: &Case<'_>, whole: &Whole<'_>, fact: &FdFact) -> FixGate {
    let mapped = case.open.mapped || whole.mapped.contains(&fact.object.1);
    let (open, said) = match (case.open.elsewhere, mapped) {
        (true, _) => (false, "it was passed on, or received"),
        (_, true) => (false, "it is mapped"),
        _ => (true, "neither mapped nor passed on"),
    };
    gate("shared", open, said)
}

fn unused(case: &Case<'_>) -> FixGate {
    let least = idle_floor(case);
    match case.snapshot.idle_s(case.open) {
        Some(idle) => {
            let (idle_said, least_said) = beside(idle, least);
            let said = format!("none for {idle_said}, at least {least_said} is asked");
            gate("use", idle >= least, said)
        }
        None => gate("use", false, "not all uses of it are seen"),
    }
}

/// A signal may bring the number back. Locks are looked at once more.
fn not_told_by_signal(whole: &Whole<'_>, fact: &FdFact) -> FixGate {
    let info = whole
        .dir
        .as_ref()
        .and_then(|dir| dir.read(&format!("fdinfo/{}", fact.fd)).ok());
    let Some(info) = info else {
        return gate("signal", false, "what the kernel says of it cannot be read");
    };
    if text::lines(&info).any(|line| line.starts_with(b"lock:")) {
        return gate("signal", false, "the program holds a lock on it");
    }
    let flags = text::field(&info, "flags:").and_then(|word| u32::from_str_radix(word, 8).ok());
    match flags {
        Some(flags) if flags & ASYNC == 0 => gate("signal", true, "no signal tells of it"),
        _ => gate("signal", false, "a signal tells of it"),
    }
}

fn socket(case: &Case<'_>, fact: &FdFact) -> Vec<FixGate> {
    let is_socket = [Seen::Tcp, Seen::Udp, Seen::Unix]
        .iter()
        .any(|kind| kind.name() == fact.what);
    let Some(socket) = fact.socket.as_ref().filter(|_| is_socket) else {
        let unknown = gate("state", false, "what the kernel says of it cannot be read");
        return is_socket.then_some(unknown).into_iter().collect();
    };
    let state = socket.state.as_deref().unwrap_or("unknown");
    let waits = matches!(state, "LISTEN" | "SYN_SENT" | "SYN_RECV");
    let sent = socket.send_queue.unwrap_or(0);
    vec![
        gate("state", !waits, state),
        gate("send queue", sent == 0, format!("{sent} bytes wait")),
        not_infrastructure(case.protection, socket),
    ]
}

/// Who may be at the other end of a pipe or an AF_UNIX socket: its end would
/// be felt there.
fn others<'a>(case: &Case<'a>, fact: &FdFact) -> Vec<Owner> {
    let own = Owner {
        pid: case.snapshot.facts.pid,
        fd: case.open.fd,
    };
    let at = match &fact.socket {
        _ if fact.what == Seen::Pipe.name() => Some(fact.object.1),
        Some(socket) if fact.what == Seen::Unix.name() => socket.peer_inode,
        _ => None,
    };
    let owners = at.map_or(&[][..], |inode| case.owners.of_inode(inode));
    owners
        .iter()
        .copied()
        .filter(|owner| *owner != own)
        .collect()
}

/// One that passes so far: its item, and who is at its other end.
#[derive(Debug)]
pub struct Candidate {
    item: usize,
    fd: i32,
    others: Vec<Owner>,
}

impl Candidate {
    /// Of an item with all gates but the search.
    #[must_use]
    pub fn of(item: usize, case: &Case<'_>) -> Option<Self> {
        Some(Self {
            item,
            fd: case.open.fd,
            others: others(case, case.open.fact.as_ref()?),
        })
    }
}

/// Searches for the candidates' numbers and adds the last gate to each.
pub fn judge(
    whole: &Whole<'_>,
    items: &mut [FixItem],
    candidates: &[Candidate],
) -> Option<FixSearch> {
    let (dir, inside) = (whole.dir.as_ref()?, whole.inside?);
    let numbers: BTreeSet<i32> = candidates.iter().map(|one| one.fd).collect();
    if numbers.is_empty() {
        return None;
    }
    let found = search(dir, &numbers, Some(inside.identity()), SEARCH_WITHIN);
    let lost: HashMap<Owner, bool> = candidates
        .iter()
        .map(|one| {
            let owner = Owner {
                pid: dir.pid(),
                fd: one.fd,
            };
            (owner, found.lost(one.fd))
        })
        .collect();
    for one in candidates {
        let item = &mut items[one.item];
        let gates = [written(&found, one.fd), peer(one, &lost)];
        match item.action {
            Fix::CloseLost => item.gates.extend(gates),
            _ => item.lost.extend(gates),
        }
    }
    Some(summary(&found, numbers.len()))
}

fn summary(found: &Search, numbers: usize) -> FixSearch {
    let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    FixSearch {
        numbers: numbers as u64,
        bytes: found.searched_bytes,
        took_ms: ms(found.took),
        longest_stop_ms: ms(found.longest_stop),
        missed: found.missed.clone(),
    }
}

fn written(found: &Search, fd: i32) -> FixGate {
    let said = match &found.missed {
        Some(why) => format!("whether its number is written anywhere is not known: {why}"),
        None if found.lost(fd) => "its number is in no memory and no register".to_owned(),
        None => "its number, or what looks like it, is still in memory".to_owned(),
    };
    gate("lost", found.lost(fd), said)
}

fn peer(one: &Candidate, lost: &HashMap<Owner, bool>) -> FixGate {
    let held = one
        .others
        .iter()
        .filter(|other| lost.get(other) != Some(&true))
        .count();
    match held {
        0 => gate("other end", true, "nobody else would notice"),
        n => {
            let said = format!("its other end is open at {} descriptors", count(n as u64));
            gate("other end", false, said)
        }
    }
}

/// Of these items those whose number is written somewhere by now, or all when
/// that cannot be told.
#[must_use]
pub fn known_again(dir: &ProcDir, inside: &Inside, items: &[&FixItem]) -> BTreeSet<i32> {
    let numbers: BTreeSet<i32> = items.iter().filter_map(|item| item.fd).collect();
    let found = search(dir, &numbers, Some(inside.identity()), SEARCH_WITHIN);
    numbers.into_iter().filter(|fd| !found.lost(*fd)).collect()
}
