//! Puts facts and tables together.

use jiff::Timestamp;
use shm_protocol::codes::cache_flag;
use shm_protocol::view::{DescriptorInfo, HeaderInfo, ModuleInfo, View};

use super::activity;
use super::closes::{self, BadClose};
use super::descriptors::{self, Descriptor};
use super::facts::Facts;
use super::heap::{self, HeapTotals};
use super::identity::Identity;
use super::notes;
use super::sites::Sites;
use super::things::{self, Thing};
use crate::error::Error;
use crate::model::{Cache, Coverage, HeapCoverage, Kind, Mode, Process};

/// One process at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Who
    pub process: Process,
    /// What the kernel said
    pub facts: Facts,
    /// The moment that ages count to, ms since the segment was made
    pub moment_ms: u64,
    /// How much was seen
    pub coverage: Coverage,
    /// The live heap, none where it is not recorded
    pub heap: Option<HeapTotals>,
    /// Creation sites
    pub sites: Sites,
    /// Open descriptors, by number
    pub descriptors: Vec<Descriptor>,
    /// Closes of numbers that were not open, the latest first
    pub bad_closes: Vec<BadClose>,
    /// Caches that the program has registered
    pub caches: Vec<Cache>,
    /// What else is held: timers, registrations, watches, ended threads,
    /// children that nobody waited for
    pub things: Vec<Thing>,
    /// Rows of such things that the kernel did not confirm
    pub things_dropped: u64,
    /// The soft limit on descriptors
    pub fd_limit: Option<u64>,
    /// What the frames refer to
    pub modules: Vec<ModuleInfo>,
    /// Which process it is, none without a segment
    pub identity: Option<Identity>,
    /// Whether this is a look at the process itself and not at a saved one
    pub fresh: bool,
}

impl Snapshot {
    /// Builds from facts and a segment's bytes (none: the outside view).
    ///
    /// # Errors
    /// When the bytes are no segment of this version.
    pub fn build(
        facts: Facts,
        segment: &[u8],
        rows_after: Option<&[DescriptorInfo]>,
        what: &str,
    ) -> Result<Self, Error> {
        if segment.is_empty() {
            return Ok(Self::outside(facts));
        }
        let view = View::new(segment).map_err(|error| crate::attach::read::refused(error, what))?;
        Ok(Self::inside(facts, &view, rows_after))
    }

    fn inside(mut facts: Facts, view: &View<'_>, rows_after: Option<&[DescriptorInfo]>) -> Self {
        let (header, modules) = (view.header(), view.modules());
        let mut sites = Sites::merge(view.sites(), &modules);
        let heap = heap::add_blocks(view, &header, &mut sites);
        let rows = descriptors::settle(&view.descriptors(), rows_after, &facts);
        let mut checked = descriptors::reconcile(&rows, &facts);
        let others = things::reconcile(&view.things(), &facts);
        things::add(&others.things, &mut sites);
        things::add_removed(&others.removed, &mut sites);
        add_descriptors(&checked.open, &mut sites);
        let newest = rows
            .iter()
            .map(|row| row.info.origin.at_ms)
            .max()
            .unwrap_or(0)
            .max(heap.newest_ms)
            .max(newest_thing(&others.things));
        let moment_ms = moment(&facts, &header).max(newest);
        activity::settle(&mut checked.open, &header, moment_ms);
        let bad_closes = closes::merge(&view.bad_closes(), &sites, &header);
        // It may have worked for long since the last look.
        let looked_ms = facts.moment_ms;
        if !facts.alive && looked_ms.is_none_or(|looked_ms| moment_ms > looked_ms) {
            facts.taken_at = timestamp(header.real_ns(moment_ms));
        }
        let (covered, sample_bytes, effective_rate) = heap::coverage(view, &header, &sites);
        let full_since = (covered == HeapCoverage::Full)
            .then(|| heap::full_since(view, &header, moment_ms))
            .flatten();
        let mut all_notes = notes::notes(view, &header, checked.dropped);
        // While the process lives its mapping tells: such an exec is on its way, or has failed.
        let replaced = !facts.alive && header.replaced();
        all_notes.extend(replaced.then(|| REPLACED.to_owned()));
        all_notes.extend(facts.notes.iter().cloned());
        all_notes.extend(facts.clock_stopped().then(|| NO_END.to_owned()));
        let coverage = Coverage {
            heap: covered,
            full_since: full_since.map(|at| timestamp(header.real_ns(at))),
            sample_bytes,
            effective_rate,
            lost_events: Some(notes::lost_events(view)),
            unknown_fds: Some(checked.unknown),
            notes: all_notes,
        };
        let process = process(&facts, Some((&header, &modules)), Some(moment_ms));
        Self {
            identity: Some(identity(&header, &process)),
            fresh: true,
            process,
            moment_ms,
            coverage,
            heap: (covered != HeapCoverage::None || heap.rows > 0).then_some(heap),
            sites,
            descriptors: checked.open,
            bad_closes,
            caches: caches(view, moment_ms),
            things: others.things,
            things_dropped: others.dropped,
            fd_limit: facts
                .fd_limit
                .or(Some(header.fd_limit).filter(|limit| *limit != 0)),
            modules,
            facts,
        }
    }

    /// What the kernel alone tells of a process without the library.
    fn outside(facts: Facts) -> Self {
        let checked = descriptors::reconcile(&[], &facts);
        let things = things::reconcile(&[], &facts).things;
        let mut sites = Sites::default();
        things::add(&things, &mut sites);
        let mut notes = vec![without_record(&facts)];
        notes.extend(facts.notes.iter().cloned());
        Self {
            process: process(&facts, None, None),
            moment_ms: 0,
            coverage: Coverage {
                heap: HeapCoverage::None,
                full_since: None,
                sample_bytes: None,
                effective_rate: None,
                lost_events: None,
                unknown_fds: facts.descriptors.as_ref().map(|_| checked.unknown),
                notes,
            },
            heap: None,
            sites,
            descriptors: checked.open,
            bad_closes: Vec::new(),
            caches: Vec::new(),
            things,
            things_dropped: 0,
            fd_limit: facts.fd_limit,
            modules: Vec::new(),
            identity: None,
            fresh: true,
            facts,
        }
    }

    /// How long ago something was born, in seconds.
    #[must_use]
    pub fn age_s(&self, born_ms: u64) -> f64 {
        self.moment_ms.saturating_sub(born_ms) as f64 / 1000.0
    }
}

fn caches(view: &View<'_>, moment_ms: u64) -> Vec<Cache> {
    let each = view.caches().into_iter().map(|cache| Cache {
        name: String::from_utf8_lossy(&cache.name).into_owned(),
        size_bytes: cache.size_bytes,
        measured_s: cache
            .size_bytes
            .map(|_| moment_ms.saturating_sub(cache.measured_ms) as f64 / 1000.0),
        shrinks: cache.flags & cache_flag::FIXED == 0,
        asked: cache.shrinks,
        given_bytes: cache.given_bytes,
    });
    each.collect()
}

/// Said where another program came that left no record.
const REPLACED: &str = "The process then became another program (exec) in which memguard's library was not: \
    of that one nothing is known; `memguard doctor COMMAND` says why.";

/// Said where no clock goes on to the end.
const NO_END: &str = "Nobody saw the process end: ages count to the last thing that it did, and how long it ran on \
    without doing anything is not known.";

/// Why there is only the kernel's view.
fn without_record(facts: &Facts) -> String {
    if let Some(record) = &facts.former_record {
        return became(facts.pid, record);
    }
    let why = if facts.library {
        "The process is a forked child without a record yet (it gets one at its first event after 3 ms: a descriptor \
         opened or closed, a heap block sampled), or monitoring is off: this is the kernel's view only."
    } else {
        "The process was started without memguard's library: this is the kernel's view only, without creators or \
         heap; start it with `memguard run` to see those."
    };
    why.to_owned()
}

fn became(pid: i32, record: &str) -> String {
    format!(
        "The process became this program (exec), in which memguard's library is not: this is the kernel's view only, \
         without creators or heap; `memguard doctor {pid}` says why. What it was before left a record: \
         `memguard report {record}`."
    )
}

/// A dead process's last sign of life: its own tick, or its last look.
fn moment(facts: &Facts, header: &HeaderInfo) -> u64 {
    let last_tick_ms = header.tick_s.saturating_mul(1000);
    let ended = facts.ended_ms.unwrap_or(last_tick_ms);
    facts
        .moment_ms
        .unwrap_or(0)
        .max(if facts.alive { 0 } else { ended })
}

fn process(
    facts: &Facts,
    inside: Option<(&HeaderInfo, &[ModuleInfo])>,
    moment_ms: Option<u64>,
) -> Process {
    let mode = inside
        .zip(moment_ms)
        .and_then(|((header, _), at)| mode_at(header, at));
    let ended = inside.zip(facts.ended_ms);
    let ended = ended.map(|((header, _), at)| timestamp(header.real_ns(at)));
    // Without an end that somebody saw, only a lower bound is known.
    let until = if facts.alive {
        Some(facts.taken_at)
    } else {
        ended
    };
    Process {
        pid: facts.pid,
        comm: facts.comm.clone(),
        cmdline: facts.cmdline.clone(),
        started_at: facts
            .started_at
            .map(|at| at.round(jiff::Unit::Millisecond).unwrap_or(at)),
        uptime_s: facts.started_at.zip(until).map(|(start, until)| {
            (until.duration_since(start).as_secs_f64().max(0.0) * 1000.0).round() / 1000.0
        }),
        mode,
        policy: inside.and_then(|(header, _)| notes::policy(header)),
        alive: facts.alive,
        build_id: facts
            .build_id
            .clone()
            .or_else(|| inside.and_then(|(header, modules)| own_build_id(header, modules))),
        instrumented: inside.is_some(),
        library: inside.is_some() || facts.library,
        replaced: facts.former_record.is_some()
            || inside.is_some_and(|(header, _)| !facts.alive && header.replaced()),
    }
}

fn identity(header: &HeaderInfo, process: &Process) -> Identity {
    let comm = process.comm.as_deref();
    let first_word = header.cmdline.first().map(String::as_str);
    Identity {
        namespace: header.pid_namespace,
        pid: header.pid as i32,
        start_ticks: header.start_ticks,
        created_ns: header.created_real_ns,
        executable: header.executable.clone(),
        called: Identity::called_of(&header.executable, comm, first_word),
        program: Identity::program_of(process.build_id.as_deref(), &header.executable)
            + &Identity::script_of(&header.executable, &header.cmdline, header.folder_hash),
        script: Identity::told(&header.executable, &header.cmdline)
            .unwrap_or_default()
            .into_iter()
            .map(str::to_owned)
            .collect(),
    }
}

/// The mode in force. An idle process goes back from one whose time is over
/// at its next event; whoever looks before that knows.
fn mode_at(header: &HeaderInfo, at_ms: u64) -> Option<Mode> {
    use shm_protocol::codes::{Mode as Row, Policy};
    let over = header.mode_until_ms != 0 && at_ms >= header.mode_until_ms;
    let started_in = match header.policy {
        Some(Policy::Off) => Row::Off,
        Some(Policy::Deep) => Row::Deep,
        _ => Row::Light,
    };
    Some(match if over { started_in } else { header.mode? } {
        Row::Off => Mode::Off,
        Row::Light => Mode::Light,
        Row::Deep => Mode::Deep,
    })
}

fn own_build_id(header: &HeaderInfo, modules: &[ModuleInfo]) -> Option<String> {
    let own = modules
        .iter()
        .find(|module| module.path == header.executable)?;
    let hex: String = own
        .build_id
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Some(hex).filter(|hex| !hex.is_empty())
}

/// Gives each descriptor to its site. Inherited ones and the standard three
/// were not created by this program.
fn add_descriptors(open: &[Descriptor], sites: &mut Sites) {
    for (at, descriptor) in open.iter().enumerate() {
        let site = descriptor.site.and_then(|id| sites.index(id));
        let (Some(site), Some(born_ms), false) =
            (site, descriptor.born_ms, descriptor.inherited == Some(true))
        else {
            continue;
        };
        let site = &mut sites.all[site];
        site.live.add(born_ms, 1.0, 0.0);
        site.live.descriptors.push(at);
        site.kind = site.kind.or(descriptor.kind);
    }
    for site in &mut sites.all {
        site.live.births_ms.sort_unstable();
        if site.kind == Some(Kind::Memory) {
            site.live.descriptors.clear();
        }
    }
}

fn newest_thing(things: &[Thing]) -> u64 {
    let born = things.iter().filter_map(|thing| thing.born_ms);
    born.max().unwrap_or(0)
}

/// A moment of the wall clock.
pub(super) fn timestamp(real_ns: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(real_ns)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_without_a_record_yet_was_not_started_without_the_library() {
        let look = |library| {
            Snapshot::outside(Facts {
                library,
                ..Facts::default()
            })
        };
        let child = look(true);
        assert!(child.coverage.notes[0].contains("forked child without a record yet"));
        assert!(child.process.library && !child.process.instrumented);
        assert!(look(false).coverage.notes[0].contains("without memguard's library"));
    }
}
