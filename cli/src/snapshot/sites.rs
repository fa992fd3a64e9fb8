//! Creation sites, merged: the same code loaded twice at other addresses, or
//! seen through two versions of the module table, is one site.

use std::collections::HashMap;

use shm_protocol::codes::Kind as Row;
use shm_protocol::hist::BUCKETS;
use shm_protocol::view::{ModuleInfo, PointInfo, SiteInfo};
use shm_protocol::words::Frame;

use super::kinds;
use crate::model::Kind;

/// One place in the program that creates things of one kind.
#[derive(Debug, Clone)]
pub struct Site {
    /// What it creates; none until a live descriptor tells
    pub kind: Option<Kind>,
    /// The call stack, innermost first, in terms of the snapshot's modules
    pub frames: Vec<Frame>,
    /// Identity for one build: kind, build ids and offsets
    pub key: u64,
    /// What was made and given back
    pub stats: Stats,
    /// What is held now
    pub live: Live,
}

/// Counts since the process started. Heap counts are raw samples, `est_` ones
/// are scaled up by what each sample stands for.
#[derive(Debug, Clone)]
pub struct Stats {
    /// First seen, ms since the segment was made
    pub first_ms: u64,
    /// Made
    pub births: u64,
    /// Given back
    pub deaths: u64,
    /// Made, estimated
    pub est_births: f64,
    /// Longest completed lifetime
    pub longest_ms: u64,
    /// Completed lifetimes by half octave
    pub lifetimes: [u64; BUCKETS],
    /// Cumulative births and deaths over time, oldest first
    pub points: Vec<PointInfo>,
}

/// What a site holds now.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Raw births of what is held, ms since the segment was made, ascending
    pub births_ms: Vec<u64>,
    /// How many, estimated where sampled
    pub count: f64,
    /// Bytes, estimated where sampled
    pub bytes: f64,
    /// Indexes into the snapshot's descriptors
    pub descriptors: Vec<usize>,
    /// Indexes into the snapshot's things
    pub things: Vec<usize>,
    /// Watches that the kernel removed, with what they watched
    pub removed: u64,
    weights: Vec<Weight>,
}

/// What one recorded thing stands for.
#[derive(Debug, Clone, Copy)]
struct Weight {
    at_ms: u64,
    count: f64,
    bytes: f64,
}

impl Live {
    /// Adds one held thing that stands for `count`.
    pub fn add(&mut self, at_ms: u64, count: f64, bytes: f64) {
        self.births_ms.push(at_ms);
        self.weights.push(Weight {
            at_ms,
            count,
            bytes,
        });
        self.count += count;
        self.bytes += bytes;
    }

    /// How many, and their bytes; only of those born after a moment, if one is
    /// given.
    #[must_use]
    pub fn born_after(&self, after_ms: Option<u64>) -> (f64, f64) {
        let Some(after_ms) = after_ms else {
            return (self.count, self.bytes);
        };
        let young = self.weights.iter().filter(|one| one.at_ms > after_ms);
        young.fold((0.0, 0.0), |(count, bytes), one| {
            (count + one.count, bytes + one.bytes)
        })
    }
}

/// All sites, and from the segment's site ids to them.
#[derive(Debug, Default)]
pub struct Sites {
    /// The merged sites
    pub all: Vec<Site>,
    by_id: HashMap<u32, usize>,
}

impl Sites {
    /// Merges what the segment lists.
    #[must_use]
    pub fn merge(rows: Vec<SiteInfo>, modules: &[ModuleInfo]) -> Self {
        let modules: HashMap<u16, &ModuleInfo> =
            modules.iter().map(|module| (module.id, module)).collect();
        let mut sites = Self::default();
        let (mut by_key, mut most_held) = (HashMap::new(), Vec::new());
        for row in rows {
            let key = key_of(&row, &modules);
            let at = *by_key.entry(key).or_insert(sites.all.len());
            sites.by_id.insert(row.id, at);
            let Some(site) = sites.all.get_mut(at) else {
                most_held.push(held(&row));
                sites.all.push(Site::new(row, key));
                continue;
            };
            site.stats.add(&row);
            // The stack of the row that holds most is shown.
            if held(&row) > most_held[at] {
                most_held[at] = held(&row);
                site.frames = row.frames;
            }
        }
        sites
    }

    /// The site of things of a kind whose creation nobody saw.
    pub fn unknown(&mut self, kind: Kind) -> usize {
        let mut hash = Fnv::new();
        hash.write(b"unknown origin");
        hash.write(kind.name().as_bytes());
        let found = self.all.iter().position(|site| site.key == hash.0);
        found.unwrap_or_else(|| {
            self.all.push(Site {
                kind: Some(kind),
                frames: Vec::new(),
                key: hash.0,
                stats: Stats::none(),
                live: Live::default(),
            });
            self.all.len() - 1
        })
    }

    /// The site of a row, by the segment's number for it.
    #[must_use]
    pub fn index(&self, id: u32) -> Option<usize> {
        self.by_id.get(&id).copied()
    }
}

impl Site {
    fn new(row: SiteInfo, key: u64) -> Self {
        Self {
            kind: kinds::group_of(row.kind),
            key,
            stats: Stats::of(&row),
            frames: row.frames,
            live: Live::default(),
        }
    }
}

fn held(row: &SiteInfo) -> u64 {
    row.births.saturating_sub(row.deaths)
}

impl Stats {
    fn none() -> Self {
        Self {
            first_ms: 0,
            births: 0,
            deaths: 0,
            est_births: 0.0,
            longest_ms: 0,
            lifetimes: [0; BUCKETS],
            points: Vec::new(),
        }
    }

    fn of(row: &SiteInfo) -> Self {
        Self {
            first_ms: row.first_ms,
            births: row.births,
            deaths: row.deaths,
            est_births: scaled_births(row),
            longest_ms: row.longest_ms,
            lifetimes: row.lifetimes.map(u64::from),
            points: row.points.clone(),
        }
    }

    fn add(&mut self, row: &SiteInfo) {
        self.first_ms = self.first_ms.min(row.first_ms);
        self.births = self.births.saturating_add(row.births);
        self.deaths = self.deaths.saturating_add(row.deaths);
        self.est_births += scaled_births(row);
        self.longest_ms = self.longest_ms.max(row.longest_ms);
        for (sum, count) in self.lifetimes.iter_mut().zip(row.lifetimes) {
            *sum += u64::from(count);
        }
        self.points = added(&self.points, &row.points);
    }
}

/// Only bytes are sampled; everything else is counted one by one.
fn scaled_births(row: &SiteInfo) -> f64 {
    if row.kind == Row::Heap {
        row.est_births
    } else {
        row.births as f64
    }
}

/// The sum of two staircases.
fn added(a: &[PointInfo], b: &[PointInfo]) -> Vec<PointInfo> {
    let mut times: Vec<u64> = a.iter().chain(b).map(|point| point.at_ms).collect();
    times.sort_unstable();
    times.dedup();
    let at = |points: &[PointInfo], at_ms: u64| {
        let before = points.iter().rev().find(|point| point.at_ms <= at_ms);
        before.map_or((0, 0), |point| (point.births, point.deaths))
    };
    let sum = |at_ms| {
        let (a, b) = (at(a, at_ms), at(b, at_ms));
        PointInfo {
            at_ms,
            births: a.0.saturating_add(b.0),
            deaths: a.1.saturating_add(b.1),
        }
    };
    times.into_iter().map(sum).collect()
}

/// FNV-1a over kind, build ids (paths where there is none) and offsets: the
/// same for every run of one build.
///
/// Code that is generated at run time lies elsewhere in each run, and how many
/// calls of it there are changes when a function is compiled anew: such calls
/// in a row are one, whatever they are. So what is made through one native
/// function for several functions of a script may be one site; their native
/// callers on both sides tell others apart.
fn key_of(row: &SiteInfo, modules: &HashMap<u16, &ModuleInfo>) -> u64 {
    let mut hash = Fnv::new();
    hash.write(&[row.kind as u8]);
    let mut was_generated = false;
    for frame in &row.frames {
        let is_generated = matches!(frame, Frame::Raw(_));
        if is_generated && was_generated {
            continue;
        }
        was_generated = is_generated;
        match *frame {
            Frame::Native { module, offset } => {
                match modules.get(&module) {
                    Some(module) if !module.build_id.is_empty() => hash.write(&module.build_id),
                    Some(module) => hash.write(module.path.as_bytes()),
                    None => hash.write(&module.to_le_bytes()),
                }
                hash.write(&offset.to_le_bytes());
            }
            Frame::Name(at) => hash.write(&at.to_le_bytes()),
            Frame::Raw(_) => hash.write(b"generated code"),
        }
    }
    hash.0
}

/// The Fowler-Noll-Vo hash, <http://www.isthe.com/chongo/tech/comp/fnv/>: it
/// must not change between versions, as findings are named by it.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at_ms: u64, births: u64, deaths: u64) -> PointInfo {
        PointInfo {
            at_ms,
            births,
            deaths,
        }
    }

    #[test]
    fn what_came_after_a_moment_keeps_its_own_weight() {
        let mut live = Live::default();
        live.add(5, 1000.0, 16_000.0);
        live.add(9, 2.0, 2_000_000.0);
        assert_eq!(live.born_after(None), (1002.0, 2_016_000.0));
        assert_eq!(live.born_after(Some(5)), (2.0, 2_000_000.0));
        assert_eq!(live.born_after(Some(9)), (0.0, 0.0));
    }

    #[test]
    fn staircases_add_up() {
        let sum = added(
            &[point(1, 1, 0), point(5, 4, 2)],
            &[point(3, 10, 1), point(5, 11, 1)],
        );
        assert_eq!(sum, [point(1, 1, 0), point(3, 11, 1), point(5, 15, 3)]);
    }

    fn module(id: u16, build_id: &[u8]) -> ModuleInfo {
        ModuleInfo {
            id,
            loaded: true,
            bias: u64::from(id) << 20,
            start: 0,
            end: 0,
            path: "/lib/x.so".into(),
            build_id: build_id.to_vec(),
            loads: 1,
            loaded_ms: 0,
            unloaded_ms: 0,
        }
    }

    fn row(id: u32, frames: Vec<Frame>) -> SiteInfo {
        SiteInfo {
            id,
            kind: Row::File,
            hash: u64::from(id),
            frames,
            first_ms: 10 * u64::from(id),
            births: 2,
            deaths: 1,
            bytes_born: 0,
            bytes_died: 0,
            est_births: 0.0,
            est_bytes_born: 0,
            est_deaths: 0.0,
            est_bytes_died: 0,
            unsure: 0,
            longest_ms: u64::from(id),
            lifetimes: [1; BUCKETS],
            points: vec![],
        }
    }

    fn native(module: u16, offset: u64) -> Frame {
        Frame::Native { module, offset }
    }

    #[test]
    fn one_build_loaded_twice_is_one_site() {
        let modules = [module(1, b"abc"), module(2, b"abc"), module(3, b"other")];
        let rows = [(1, 1), (2, 2), (3, 3)];
        let rows = rows.map(|(id, module)| row(id, vec![native(module, 0x40)]));
        let sites = Sites::merge(rows.to_vec(), &modules);
        assert_eq!(
            (
                sites.all.len(),
                sites.index(1),
                sites.index(2),
                sites.index(3)
            ),
            (2, Some(0), Some(0), Some(1))
        );
        let stats = &sites.all[0].stats;
        assert_eq!(
            (
                stats.births,
                stats.deaths,
                stats.longest_ms,
                stats.first_ms,
                stats.lifetimes[0]
            ),
            (4, 2, 2, 10, 2)
        );
        assert!((stats.est_births - 4.0).abs() < 1e-9);
    }

    #[test]
    fn generated_code_is_one_call_wherever_it_lies() {
        let modules = [module(1, b"abc")];
        let keys = |stacks: &[Vec<Frame>]| -> Vec<u64> {
            let rows = stacks.iter().zip(1..);
            let rows = rows.map(|(stack, id)| row(id, stack.clone())).collect();
            let sites = Sites::merge(rows, &modules);
            let of = |id| sites.all[sites.index(id).unwrap()].key;
            (1..=stacks.len() as u32).map(of).collect()
        };
        let raw = Frame::Raw;
        let same = keys(&[
            vec![native(1, 8), raw(0x7f00), raw(0x7f40), native(1, 90)],
            vec![native(1, 8), raw(0x5500), native(1, 90)],
        ]);
        assert_eq!(same[0], same[1]);
        let others = keys(&[
            vec![native(1, 8), raw(0x7f00), native(1, 90)],
            vec![native(1, 9), raw(0x7f00), native(1, 90)],
            vec![native(1, 8), raw(0x7f00), native(1, 91)],
            vec![native(1, 8), native(1, 90)],
            vec![native(1, 8), native(1, 90), raw(0x7f00)],
        ]);
        let apart: std::collections::BTreeSet<&u64> = others.iter().collect();
        assert_eq!(apart.len(), others.len());
    }

    #[test]
    fn of_a_merged_site_the_stack_that_holds_most_is_shown() {
        let mut second = row(2, vec![native(1, 8), Frame::Raw(0x20)]);
        second.births = 50;
        let rows = vec![row(1, vec![native(1, 8), Frame::Raw(0x10)]), second];
        let sites = Sites::merge(rows, &[module(1, b"abc")]);
        assert_eq!(sites.all.len(), 1);
        assert_eq!(sites.all[0].frames[1], Frame::Raw(0x20));
    }
}
