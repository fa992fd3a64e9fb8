//! `--kind caches`: gives back memory that is free already, and asks caches
//! that the program has registered to shrink. No object in use is touched, so
//! it is apart from all other fixes: only done where it is named, never counted
//! as a fix, and what it gave is the kernel's word on the resident set.
//!
//! - this file: the plan, with every gate
//! - [`symbols`]: which libraries are in the process
//! - [`give`]: carries it out through the target's mailbox
//! - [`page_out`]: from outside, where there is swap

pub mod give;
pub mod page_out;
mod symbols;

use shm_protocol::codes::{Allocator, Mode, cache_flag};
use shm_protocol::view::{CacheInfo, HeaderInfo};

use crate::attach::{Running, live};
use crate::error::{Error, TargetError};
use crate::kernel::{ProcDir, Rollup, smaps};
use crate::model::{FixCache, FixGate, FixMeans};
use crate::rules::Limits;
use crate::units::bytes;

/// What a gigabyte of resident memory may hold up each allocator, in ms: as
/// measured on a machine that had far too much to do (docs/CACHES.md).
fn pause_ms_per_gib(allocator: Option<Allocator>) -> f64 {
    match allocator {
        Some(Allocator::Jemalloc) => 4600.0,
        Some(Allocator::Tcmalloc) => 4400.0,
        Some(Allocator::Mimalloc) => 1.0,
        _ => 900.0,
    }
}

/// What is known of a process.
struct Target {
    dir: ProcDir,
    rollup: Rollup,
    /// None without the library
    header: Option<HeaderInfo>,
    /// Whether the library knows how to give memory back
    knows_how: bool,
    caches: Vec<CacheInfo>,
}

/// The plan for a process.
///
/// # Errors
/// When it is gone, or may not be looked into.
pub fn plan(pid: i32, limits: &Limits) -> Result<Vec<FixCache>, Error> {
    let target = Target::look(pid)?;
    let found = symbols::found(&target.dir);
    let way = |there: bool, means, what| there.then(|| target.library_way(means, what));
    let caches = target.caches.iter();
    let mut all: Vec<FixCache> = caches
        .map(|cache| target.registered(cache, limits))
        .collect();
    all.extend(way(found.sqlite, FixMeans::Sqlite, SQLITE));
    all.extend(way(found.python, FixMeans::Python, PYTHON));
    all.extend(found.runtime.map(|name| target.runtime(name)));
    // What the others let go is the allocator's to give back.
    all.push(target.allocator());
    all.push(page_out::plan(&target.dir, &target.rollup));
    Ok(all)
}

const SQLITE: &str = "sqlite: pages that it can read again";
const PYTHON: &str = "CPython: its own collection of garbage";

impl Target {
    fn look(pid: i32) -> Result<Self, Error> {
        let process = Running::find(pid).ok_or(TargetError::Vanished(pid))?;
        let found = live::find(&process)?;
        let dir = ProcDir::open(pid).map_err(TargetError::from)?;
        let view = match &found {
            Some(found) => Some(found.segment.view("The record")?),
            None => None,
        };
        let header = view.as_ref().map(|view| view.header());
        Ok(Self {
            rollup: smaps::rollup(&dir).map_err(TargetError::from)?,
            dir,
            knows_how: header
                .as_ref()
                .is_some_and(|header| header.abi_minor >= super::mailbox::GIVES_BACK_SINCE_MINOR),
            header,
            caches: view.map(|view| view.caches()).unwrap_or_default(),
        })
    }

    /// What everything needs that is done inside.
    fn inside(&self) -> Vec<FixGate> {
        let (there, fact) = match (&self.header, self.knows_how) {
            (None, _) => (
                false,
                "memguard's library is not in it, and nothing else can ask it from within; start it by \
                 `memguard run`, or with LD_PRELOAD=libmemguard.so",
            ),
            (_, false) => (
                false,
                "memguard's library in it is too old; restart it with the present one",
            ),
            (_, true) => (true, "memguard's library is in it"),
        };
        let mut gates = vec![gate("library", there, fact.to_owned())];
        if let Some(mode) = self.header.as_ref().and_then(|header| header.mode) {
            let on = mode != Mode::Off;
            let said = if on {
                "hooks are in force"
            } else {
                "it is switched off; see `memguard mode`"
            };
            gates.push(gate("mode", on, said.to_owned()));
        }
        gates
    }

    fn allocator(&self) -> FixCache {
        let code = self.header.as_ref().and_then(|header| header.allocator);
        let (known, what) = match code {
            Some(Allocator::Glibc) => (true, "glibc: malloc_trim"),
            Some(Allocator::Jemalloc) => (true, "jemalloc: purge of all arenas"),
            Some(Allocator::Tcmalloc) => (true, "tcmalloc: ReleaseFreeMemory"),
            Some(Allocator::Mimalloc) => (true, "mimalloc: mi_collect"),
            Some(Allocator::Other) => (false, "the allocator"),
            None => (self.header.is_none(), "the allocator"),
        };
        let mut item = self.library_way(FixMeans::Allocator, what);
        if !known {
            let fact = "it is none of glibc, jemalloc, tcmalloc and mimalloc, and cannot be asked";
            item.gates.push(gate("allocator", false, fact.to_owned()));
        }
        item.size_bytes = Some(self.rollup.anonymous_bytes);
        let gib = self.rollup.anonymous_bytes as f64 / f64::from(1 << 30);
        let pause_ms = gib * pause_ms_per_gib(code);
        item.expected_pause_ms = Some(pause_ms.max(1.0).ceil());
        item
    }

    fn library_way(&self, means: FixMeans, what: &str) -> FixCache {
        FixCache {
            gates: self.inside(),
            ..FixCache::new(means, what)
        }
    }

    fn runtime(&self, name: &str) -> FixCache {
        let fact = format!("{name} offers nothing that is safe to call from outside its own code");
        FixCache {
            gates: vec![gate("way", false, fact)],
            ..FixCache::new(FixMeans::Runtime, &format!("{name}: its heap"))
        }
    }

    fn registered(&self, cache: &CacheInfo, limits: &Limits) -> FixCache {
        let name = String::from_utf8_lossy(&cache.name).into_owned();
        let limit = limits.of(&name);
        let mut item = self.library_way(FixMeans::Registered, &name);
        item.gates.push(limit_gate(cache.size_bytes, limit));
        if cache.flags & cache_flag::FIXED != 0 {
            let fact = "it was registered without a way to shrink it";
            item.gates.push(gate("callback", false, fact.to_owned()));
        }
        item.size_bytes = cache.size_bytes;
        item.limit_bytes = limit;
        item.expected_pause_ms = (cache.longest_ns > 0).then(|| in_ms(cache.longest_ns));
        item.place = Some((cache.number, cache.generation));
        item
    }
}

fn limit_gate(size_bytes: Option<u64>, limit: Option<u64>) -> FixGate {
    let (open, fact) = match (limit, size_bytes) {
        (None, _) => (
            false,
            "no limit is set; write `limit = \"64MiB\"` under [caches] in memguard.toml".to_owned(),
        ),
        (Some(limit), None) => (
            true,
            format!("its size is not known, the limit is {}", bytes(limit)),
        ),
        (Some(limit), Some(size)) if size <= limit => (
            false,
            format!("{} are within its limit of {}", bytes(size), bytes(limit)),
        ),
        (Some(limit), Some(size)) => (
            true,
            format!(
                "{} are more than its limit of {}",
                bytes(size),
                bytes(limit)
            ),
        ),
    };
    gate("limit", open, fact)
}

fn in_ms(ns: u64) -> f64 {
    (ns as f64 / 1e3).round() / 1e3
}

fn gate(name: &str, open: bool, fact: String) -> FixGate {
    FixGate {
        name: name.to_owned(),
        open,
        fact,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FixOutcome;

    #[test]
    fn each_allocator_has_a_rate_of_its_own() {
        let rate = |allocator| pause_ms_per_gib(Some(allocator));
        assert!(rate(Allocator::Jemalloc) > 4.0 * rate(Allocator::Glibc));
        assert!(rate(Allocator::Mimalloc) < rate(Allocator::Tcmalloc));
    }

    fn here() -> Vec<FixCache> {
        plan(std::process::id() as i32, &Limits::default()).unwrap()
    }

    #[test]
    fn without_the_library_everything_inside_is_refused_with_the_remedy() {
        let all = here();
        let mut ways = all.iter();
        let allocator = ways.find(|way| way.means == FixMeans::Allocator).unwrap();
        let shut = allocator.gates.iter().find(|gate| !gate.open).unwrap();
        assert!(shut.name == "library" && shut.fact.contains("LD_PRELOAD=libmemguard.so"));
        assert!(allocator.size_bytes.unwrap() > 0 && !allocator.passes());
        assert_eq!(all.last().unwrap().means, FixMeans::PageOut);
    }

    #[test]
    fn what_a_gate_refuses_is_not_done() {
        let mut all = here();
        all.iter_mut()
            .for_each(|cache| cache.gates.push(gate("test", false, "shut".into())));
        let life = crate::fix::life::Life::of(std::process::id() as i32).unwrap();
        give::give_back(&life, &mut all, &mut |_, _| true);
        assert!(
            all.iter()
                .all(|cache| cache.outcome == Some(FixOutcome::Refused))
        );
    }

    #[test]
    fn a_cache_is_asked_only_beyond_its_limit() {
        assert!(!limit_gate(Some(10), None).open);
        assert!(!limit_gate(Some(10), Some(10)).open);
        assert!(limit_gate(Some(11), Some(10)).open);
        assert!(limit_gate(None, Some(10)).open);
    }
}
