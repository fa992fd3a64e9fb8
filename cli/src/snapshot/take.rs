//! Copies what there is of a target: the segment, and what the kernel says.

use std::collections::HashSet;
use std::path::Path;

use shm_protocol::codes::note;
use shm_protocol::view::{DescriptorInfo, HeaderInfo, View};

use super::build::{Snapshot, timestamp};
use super::collect::Parts;
use super::facts::Facts;
use super::memory::{self, Known, MemoryFact};
use super::{collect, descriptors, file, look, parent};
use crate::attach::maps::MappedFile;
use crate::attach::process::own_namespace;
use crate::attach::{LiveSegment, Running, Target, former, live, records};
use crate::error::{Error, TargetError};
use crate::kernel::{ClocksAhead, ProcDir};

/// What a snapshot is made of, and what a snapshot file keeps.
#[derive(Debug)]
pub struct Taken {
    /// What the kernel said
    pub facts: Facts,
    /// The segment, empty when the process is not instrumented
    pub segment: Vec<u8>,
    /// The descriptor rows as they stood after the kernel was asked
    pub rows_after: Option<Vec<DescriptorInfo>>,
}

impl Taken {
    /// What that adds up to.
    ///
    /// # Errors
    /// When the segment is none of this version.
    pub fn snapshot(self, what: &str) -> Result<Snapshot, Error> {
        Snapshot::build(self.facts, &self.segment, self.rows_after.as_deref(), what)
    }
}

/// Looks at a target and makes a snapshot of it.
///
/// # Errors
/// When it cannot be looked at or its record not be trusted.
pub fn of_target(target: Target) -> Result<Snapshot, Error> {
    of_target_in(target, Parts::ALL)
}

/// The same, of these parts of a process that runs. What is left out is
/// unknown.
///
/// # Errors
/// As above.
pub fn of_target_in(target: Target, parts: Parts) -> Result<Snapshot, Error> {
    match target {
        Target::Saved { path } => {
            let saved = file::open(&path)?;
            let facts = saved.facts.clone();
            let what = file::name_of(&path).display().to_string();
            let snapshot = Snapshot::build(facts, saved.segment(), None, &what)?;
            Ok(Snapshot {
                fresh: false,
                ..snapshot
            })
        }
        target => {
            let taken = take_in(target, parts)?;
            taken.snapshot("The record")
        }
    }
}

/// Copies what there is of a process. A live look is kept for later.
///
/// # Errors
/// When it cannot be looked at or its record not be trusted.
pub fn take(target: Target) -> Result<Taken, Error> {
    take_in(target, Parts::ALL)
}

fn take_in(target: Target, parts: Parts) -> Result<Taken, Error> {
    match target {
        Target::Live {
            process,
            segment: None,
        } => Ok(Taken {
            facts: {
                let mut facts = ask(&process, parts)?;
                facts.library = process.has_library();
                if facts.library {
                    parent::mark_shared(&mut facts);
                } else {
                    let records = records::all();
                    let former = former::among(&records, &process);
                    facts.former_record = former.map(|record| record.path.display().to_string());
                }
                facts.memory = parts
                    .memory
                    .then(|| memory_of(&facts, &Known::default()))
                    .flatten();
                facts
            },
            segment: Vec::new(),
            rows_after: None,
        }),
        Target::Live {
            process,
            segment: Some(segment),
        } => take_live(&process, segment, parts),
        Target::Ended { path, segment } => {
            let facts = ended_facts(&path, &segment.view(&path.display().to_string())?.header());
            Ok(Taken {
                facts,
                segment: segment.bytes,
                rows_after: None,
            })
        }
        Target::Saved { path } => {
            let saved = file::open(&path)?;
            Ok(Taken {
                facts: saved.facts.clone(),
                segment: saved.segment().to_vec(),
                rows_after: None,
            })
        }
    }
}

fn ask(process: &Running, parts: Parts) -> Result<Facts, Error> {
    use crate::kernel::KernelError;
    collect::facts(process, parts).map_err(|error| match error {
        KernelError::NoProcess { pid } | KernelError::Gone { pid } => {
            TargetError::Vanished(pid).into()
        }
        other => TargetError::Kernel(other).into(),
    })
}

/// Rows, then the kernel's list, then the rows again: what was opened or
/// closed in between is then no contradiction.
fn take_live(process: &Running, found: LiveSegment, parts: Parts) -> Result<Taken, Error> {
    let mut facts = ask(process, parts)?;
    let view = found.segment.view("The record")?;
    facts.moment_ms = Some(moment_of(&view.header(), ClocksAhead::of(process.pid)));
    facts.memory = parts
        .memory
        .then(|| memory_of(&facts, &known(&view, &found.mapped)))
        .flatten();
    let rows = view.descriptors();
    let rows_after = contradicts(&rows, &facts)
        .then(|| rows_again(process))
        .flatten();
    let settled = descriptors::settle(&rows, rows_after.as_deref(), &facts);
    let open = descriptors::reconcile(&settled, &facts).open;
    let tracked: HashSet<i32> = (open.iter().filter(|open| open.origin_known))
        .map(|open| open.fd)
        .collect();
    for fact in facts.descriptors.iter_mut().flatten() {
        fact.tracked |= tracked.contains(&fact.fd);
    }
    if view.header().notes & note::FORKED != 0 {
        parent::mark_shared(&mut facts);
    }
    // A look at a part would wipe out what the last one knew of the rest.
    if let Some(path) = found.mapped.own_path().filter(|_| parts == Parts::ALL) {
        look::keep(&path, &facts);
    }
    Ok(Taken {
        facts,
        segment: found.segment.bytes,
        rows_after,
    })
}

/// Where its memory lies, as far as this user may know.
fn memory_of(facts: &Facts, known: &Known) -> Option<MemoryFact> {
    let dir = ProcDir::open(facts.pid).ok()?;
    memory::look(&dir, facts.rss_bytes?, known).ok()
}

fn known(view: &View<'_>, mapped: &MappedFile) -> Known {
    let blocks = view.blocks().into_iter();
    let rows = blocks.map(|block| (block.address, block.row.size_bytes));
    Known::new(rows, mapped.identity())
}

fn contradicts(rows: &[DescriptorInfo], facts: &Facts) -> bool {
    let result = descriptors::reconcile(rows, facts);
    result.dropped + result.unknown > 0
}

fn rows_again(process: &Running) -> Option<Vec<DescriptorInfo>> {
    let again = live::find(process).ok()??;
    Some(again.segment.view("The record").ok()?.descriptors())
}

/// Now, in ms since the segment was made, by the clock of the process that made it.
#[must_use]
pub fn moment_of(header: &HeaderInfo, clocks: ClocksAhead) -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now_ns = u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(now.tv_nsec).unwrap_or(0);
    let its_ns = now_ns.saturating_add_signed(clocks.monotonic_ns);
    its_ns.saturating_sub(header.created_mono_ns) / 1_000_000
}

/// The last look's facts, else what the segment itself tells; the kernel's
/// part is then unknown.
fn ended_facts(path: &Path, header: &HeaderInfo) -> Facts {
    let known = look::recall(path).unwrap_or_else(|| from_header(header));
    // A look from another pid namespace had another name for it.
    let here = own_namespace() == Some(header.pid_namespace);
    let pid = if here { header.pid as i32 } else { known.pid };
    Facts {
        alive: false,
        pid,
        ..known
    }
}

fn from_header(header: &HeaderInfo) -> Facts {
    let since_start = header
        .created_mono_ns
        .saturating_sub(header.start_ticks.saturating_mul(10_000_000));
    Facts {
        taken_at: timestamp(header.real_ns(header.tick_s.saturating_mul(1000))),
        pid: header.pid as i32,
        cmdline: Some(header.cmdline.clone()).filter(|words| !words.is_empty()),
        uid: Some(header.uid),
        started_at: Some(timestamp(
            header.created_real_ns.saturating_sub(since_start),
        )),
        fd_limit: Some(header.fd_limit).filter(|limit| *limit != 0),
        ..Facts::default()
    }
}
