//! What can truly be said of a process that memguard's library is not in:
//! kinds, counts, states, and ages only where the kernel keeps them.

use super::descriptors::Depth;
use super::maps::{self, ClassTotal};
use super::threads::{self, Thread};
use super::timers::{self, PosixTimer};
use super::{Descriptor, Descriptors, KernelError, Kind, ProcDir, Process, Socket, Sockets, State};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A process seen from outside at one moment.
#[derive(Debug)]
pub struct Outside {
    /// When.
    pub taken_at: SystemTime,
    /// Who it is.
    pub process: Process,
    /// Its descriptors; empty when they may not be read, and then a note says
    /// so.
    pub descriptors: Descriptors,
    /// Its sockets.
    pub sockets: Sockets,
    /// Its threads.
    pub threads: Vec<Thread>,
    /// Its POSIX timers.
    pub timers: Vec<PosixTimer>,
    /// Its address space by use.
    pub mappings: Vec<ClassTotal>,
    /// What could not be read, as finished sentences.
    pub notes: Vec<String>,
}

/// How long something has been there, as far as the kernel knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// The object behind the descriptor is this old.
    Exactly(Duration),
    /// It is this old or older.
    AtLeast(Duration),
}

/// How many descriptors there are of a kind and, for sockets, in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindCount {
    /// The kind.
    pub kind: Kind,
    /// A socket's state.
    pub state: Option<State>,
    /// How many.
    pub count: usize,
}

impl Outside {
    /// Looks at the process of that directory. Only a process that is gone is
    /// an error; what this user may not read becomes a note.
    pub fn read(dir: &ProcDir) -> Result<Self, KernelError> {
        let process = Process::read(dir)?;
        let mut notes = Vec::new();
        let mut descriptors = noted(&mut notes, Descriptors::read(dir, Depth::Facts))?;
        let sockets = Sockets::read(dir, &mut descriptors);
        notes.extend(sockets.notes.iter().cloned());
        Ok(Self {
            taken_at: SystemTime::now(),
            process,
            descriptors,
            sockets,
            threads: noted(&mut notes, threads::read(dir))?,
            timers: noted(&mut notes, timers::read(dir))?,
            mappings: maps::totals(&noted(&mut notes, maps::read(dir))?),
            notes,
        })
    }

    /// Descriptors by kind and state, the most frequent first.
    pub fn counts(&self) -> Vec<KindCount> {
        let mut sums: BTreeMap<(Kind, &str), KindCount> = BTreeMap::new();
        for row in &self.descriptors.open {
            let (kind, state) = (row.kind, self.socket(row).and_then(|socket| socket.state));
            let key = (kind, state.map_or("", State::name));
            let sum = sums.entry(key).or_insert(KindCount {
                kind,
                state,
                count: 0,
            });
            sum.count += 1;
        }
        let mut counts: Vec<_> = sums.into_values().collect();
        counts.sort_by_key(|sum| std::cmp::Reverse(sum.count));
        counts
    }

    /// The socket behind a descriptor.
    pub fn socket(&self, row: &Descriptor) -> Option<&Socket> {
        row.kind
            .is_socket()
            .then(|| self.sockets.get(row.inode))
            .flatten()
    }

    /// A descriptor's age. Files have none from outside: see
    /// [`Descriptor::made_at_s`].
    pub fn age(&self, row: &Descriptor) -> Option<Age> {
        let since = |made_at_s| {
            let made_at =
                UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(made_at_s).ok()?))?;
            Some(self.taken_at.duration_since(made_at).unwrap_or_default())
        };
        match row.kind {
            Kind::Memfd => since(row.made_at_s?).map(Age::Exactly),
            Kind::Pipe => since(row.made_at_s?).map(Age::AtLeast),
            _ => {
                let least = self.socket(row)?.age_at_least_ms()?;
                Some(Age::AtLeast(Duration::from_millis(least.into())))
            }
        }
    }

    /// For how long no data has passed through a TCP connection.
    pub fn idle(&self, row: &Descriptor) -> Option<Duration> {
        let socket = self.socket(row)?;
        let times = socket.tcp.filter(|_| socket.state != Some(State::Listen))?;
        let idle = times.last_sent_ms.min(times.last_received_ms);
        Some(Duration::from_millis(idle.into()))
    }
}

/// What was read, or nothing and a note; a process that is gone stays an
/// error.
fn noted<T: Default>(
    notes: &mut Vec<String>,
    read: Result<T, KernelError>,
) -> Result<T, KernelError> {
    match read {
        Err(KernelError::NotPermitted { pid, file }) => {
            notes.push(KernelError::NotPermitted { pid, file }.to_string());
            Ok(T::default())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Running;
    use super::*;

    #[test]
    fn a_leaky_program_shows_its_kinds_states_and_ages() {
        let (child, _) = Running::python(
            "import os, socket, time; keep = []\n\
             l = socket.create_server(('127.0.0.1', 0))\n\
             for i in range(5):\n    c = socket.create_connection(l.getsockname()); keep.append(l.accept()[0]); c.close()\n\
             keep += [open('/etc/passwd') for i in range(7)]; keep.append(os.pipe()); os.memfd_create('x')\n\
             time.sleep(1.1); print(flush=True); time.sleep(60)",
        );
        let view = Outside::read(&child.dir()).expect("our child");
        assert!(view.notes.is_empty(), "{:?}", view.notes);
        let count = |kind, state| {
            let counts = view.counts();
            counts
                .iter()
                .find(|sum| sum.kind == kind && sum.state == state)
                .map_or(0, |sum| sum.count)
        };
        assert_eq!(count(Kind::Tcp, Some(State::CloseWait)), 5);
        assert_eq!(count(Kind::Tcp, Some(State::Listen)), 1);
        // Its standard output or error may be one as well.
        let own = |row: &&Descriptor| row.fd > 2 && row.kind == Kind::Regular;
        assert_eq!(view.descriptors.open.iter().filter(own).count(), 7);
        let total: usize = view.counts().iter().map(|sum| sum.count).sum();
        assert_eq!(total, view.descriptors.open.len());

        for row in view.descriptors.open.iter().filter(|row| row.fd > 2) {
            let second = Duration::from_secs(1);
            match (row.kind, view.age(row)) {
                (Kind::Memfd, Some(Age::Exactly(age))) => assert!(age >= second, "{row:?}"),
                (Kind::Pipe, Some(Age::AtLeast(age))) => assert!(age >= second, "{row:?}"),
                (Kind::Tcp, Some(Age::AtLeast(age))) => {
                    assert!(age >= second && view.idle(row) >= Some(second), "{row:?}");
                }
                (Kind::Tcp, None) => assert_eq!(view.idle(row), None, "only the listener"),
                (Kind::Regular, age) => assert_eq!(age, None),
                other => panic!("{other:?} of {row:?}"),
            }
        }
        assert_eq!(view.threads.len(), 1);
        assert!(view.mappings.iter().any(|total| total.bytes > 0));
    }

    #[test]
    fn what_may_not_be_read_becomes_a_note() {
        let mut notes = Vec::new();
        let refused = KernelError::NotPermitted {
            pid: 7,
            file: "fd".into(),
        };
        let read: Vec<i32> = noted(&mut notes, Err(refused)).expect("a note instead");
        assert!(read.is_empty() && notes.len() == 1);
        assert!(noted::<Vec<i32>>(&mut notes, Err(KernelError::Gone { pid: 7 })).is_err());
    }
}
