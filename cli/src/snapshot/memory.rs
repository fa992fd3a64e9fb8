//! Where the resident memory of a process lies, by the kernel's account and
//! by what the library knows of its blocks and mappings.
//!
//! The parts are sums over the same lines of one read, so they add up to the
//! resident set exactly. What of the allocator's part is in use is told later,
//! by the segment: see `detect::memory`.

use serde::{Deserialize, Serialize};

use crate::kernel::maps::Class;
use crate::kernel::smaps::{self, Resident};
use crate::kernel::{KernelError, ProcDir, threads};

/// Where the pages in memory lie, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryFact {
    /// Everything: the sum of what follows up to `unread_bytes`
    pub rss_bytes: u64,
    /// The allocator's own: `[heap]`, arenas, maps that hold recorded blocks
    pub allocator_bytes: u64,
    /// Files mapped privately: programs and libraries, with what was written to them
    pub files_private_bytes: u64,
    /// Files mapped shared, tmpfs and memfd included
    pub files_shared_bytes: u64,
    /// Anonymous maps that the library saw the program make
    pub mappings_bytes: u64,
    /// Other anonymous maps
    pub anonymous_bytes: u64,
    /// Stacks of the threads
    pub stacks_bytes: u64,
    /// What the kernel maps into every process
    pub kernel_bytes: u64,
    /// memguard's record and library
    pub memguard_bytes: u64,
    /// What was not looked at: mappings after the first
    /// [`smaps::MOST_MAPPINGS`], or all of a very large process
    pub unread_bytes: u64,
    /// In swap space, and so in none of the above
    pub swap_bytes: u64,
}

/// What the segment knows of the address space.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Addresses of live heap blocks, in no order: there may be millions
    blocks: Vec<u64>,
    /// Mappings that the program made: start to size, apart from each other
    maps: Vec<(u64, u64)>,
    /// Device and inode of the segment itself
    segment: Option<(u64, u64)>,
}

/// Mappings stand in the heap's table under their address plus this; blocks
/// are aligned to more.
const MAPPING_TAG: u64 = 2;
const PAGE: u64 = 4096;

impl Known {
    /// From the rows of the heap's table (address and size), and the segment's
    /// own file.
    #[must_use]
    pub fn new(rows: impl Iterator<Item = (u64, u64)>, segment: (u64, u64)) -> Self {
        let (maps, blocks): (Vec<_>, Vec<_>) = rows.partition(|row| row.0 % PAGE == MAPPING_TAG);
        Self {
            blocks: blocks.into_iter().map(|row| row.0).collect(),
            maps: apart(maps),
            segment: Some(segment),
        }
    }

    /// For each mapping, by address: whether it is anonymous and holds a block.
    fn holding_blocks(&self, mappings: &[Resident]) -> Vec<bool> {
        let mut holding = vec![false; mappings.len()];
        let anonymous = mappings
            .iter()
            .enumerate()
            .filter(|(_, one)| one.mapping.writable && one.mapping.class() == Class::Anonymous);
        let ranges: Vec<(u64, u64, usize)> = anonymous
            .map(|(at, one)| (one.mapping.start, one.mapping.end, at))
            .collect();
        for address in &self.blocks {
            let after = ranges.partition_point(|range| range.0 <= *address);
            let range = after.checked_sub(1).map(|before| ranges[before]);
            if let Some((_, _, at)) = range.filter(|range| *address < range.1) {
                holding[at] = true;
            }
        }
        holding
    }

    /// How many bytes of a mapping the program mapped itself.
    fn mapped_bytes(&self, one: &Resident) -> u64 {
        let (start, end) = (one.mapping.start, one.mapping.end);
        let first = self.maps.partition_point(|map| map.0 + map.1 <= start);
        let within = self.maps[first..].iter().take_while(|map| map.0 < end);
        within
            .map(|map| (map.0 + map.1).min(end).saturating_sub(map.0.max(start)))
            .sum()
    }
}

/// Start and size in pages, sorted, each cut off where the next one begins.
fn apart(rows: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    let whole = |(at, size): (u64, u64)| {
        let size = size.checked_next_multiple_of(PAGE)?;
        let start = at - MAPPING_TAG;
        start.checked_add(size).map(|_| (start, size))
    };
    let mut maps: Vec<(u64, u64)> = rows.into_iter().filter_map(whole).collect();
    maps.sort_unstable();
    maps.dedup_by_key(|map| map.0);
    for at in 1..maps.len() {
        let room = maps[at].0 - maps[at - 1].0;
        maps[at - 1].1 = maps[at - 1].1.min(room);
    }
    maps
}

/// The kernel walks 1 GiB of small pages in some 20 ms, and the program's own
/// mmap may have to wait for a part of that: nobody looks into more than this.
const MOST_RSS_BYTES: u64 = 32 << 30;

/// Looks at a process of that resident set.
///
/// # Errors
/// When this user may not, or the process is gone.
pub fn look(dir: &ProcDir, rss_bytes: u64, known: &Known) -> Result<MemoryFact, KernelError> {
    if rss_bytes > MOST_RSS_BYTES {
        return Ok(MemoryFact {
            rss_bytes,
            unread_bytes: rss_bytes,
            ..MemoryFact::default()
        });
    }
    let smaps = smaps::read(dir)?;
    let stacks = threads::stack_pointers(dir);
    let mut fact = split(&smaps.mappings, &stacks, known);
    if !smaps.complete {
        let sums = smaps::rollup(dir)?;
        fact.unread_bytes = sums.rss_bytes.saturating_sub(fact.rss_bytes);
        fact.rss_bytes += fact.unread_bytes;
        fact.swap_bytes = fact.swap_bytes.max(sums.swap_bytes);
    }
    Ok(fact)
}

/// Gives every resident byte to a part.
fn split(mappings: &[Resident], stack_pointers: &[u64], known: &Known) -> MemoryFact {
    let mut fact = MemoryFact::default();
    let mut pointers = stack_pointers.to_vec();
    pointers.sort_unstable();
    let holding = known.holding_blocks(mappings);
    for (at, one) in mappings.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &mappings[before]);
        let after = mappings.get(at + 1);
        fact.rss_bytes += one.rss_bytes;
        fact.swap_bytes += one.swap_bytes;
        if is_own(one, known) {
            fact.memguard_bytes += one.rss_bytes;
        } else if is_stack(one, before, &pointers) {
            fact.stacks_bytes += one.rss_bytes;
        } else {
            fact.add(one, holding[at] || is_allocators(one, after), known);
        }
    }
    fact
}

impl MemoryFact {
    fn add(&mut self, one: &Resident, allocators: bool, known: &Known) {
        match one.mapping.class() {
            _ if allocators => self.add_anonymous(one, true, known),
            _ if is_shared_anonymous(one) => self.add_anonymous(one, false, known),
            Class::SharedFile => self.files_shared_bytes += one.rss_bytes,
            Class::File => self.files_private_bytes += one.rss_bytes,
            Class::Kernel => self.kernel_bytes += one.rss_bytes,
            Class::Heap | Class::Stack | Class::Anonymous => {
                self.add_anonymous(one, false, known);
            }
        }
    }

    /// The kernel joins neighbours into one mapping: what the program mapped
    /// itself gets its share of the pages.
    fn add_anonymous(&mut self, one: &Resident, allocators: bool, known: &Known) {
        let size = one.mapping.bytes().max(1);
        let mapped = known.mapped_bytes(one).min(size);
        let share = u128::from(one.rss_bytes) * u128::from(mapped) / u128::from(size);
        let share = u64::try_from(share).unwrap_or(one.rss_bytes);
        self.mappings_bytes += share;
        let rest = one.rss_bytes - share;
        if allocators {
            self.allocator_bytes += rest;
        } else {
            self.anonymous_bytes += rest;
        }
    }
}

fn is_own(one: &Resident, known: &Known) -> bool {
    let object = (one.mapping.device, one.mapping.inode);
    (one.mapping.inode != 0 && known.segment == Some(object))
        || one.mapping.path.ends_with("/libmemguard.so")
        || one.mapping.path.starts_with("[anon_shmem:memguard")
}

fn is_shared_anonymous(one: &Resident) -> bool {
    one.mapping.shared && one.mapping.path == "/dev/zero" && one.mapping.deleted
}

/// Guards are a page; sixteen pages leave room for other habits.
const WIDEST_GUARD: u64 = 16 * PAGE;

/// A sleeping thread's stack pointer lies in it, or it looks like the stack
/// of a running one: a guard below, and flags as of MAP_STACK.
fn is_stack(one: &Resident, below: Option<&Resident>, pointers: &[u64]) -> bool {
    let guarded = below.is_some_and(|below| {
        below.mapping.end == one.mapping.start
            && is_closed(below)
            && below.mapping.bytes() <= WIDEST_GUARD
    });
    match one.mapping.class() {
        Class::Stack => true,
        Class::Anonymous if one.mapping.path.starts_with("[anon: glibc: pthread stack") => true,
        Class::Anonymous => points_into(pointers, one) || (guarded && one.like_stack),
        _ => false,
    }
}

/// Whether one of the sorted addresses lies in it.
fn points_into(addresses: &[u64], one: &Resident) -> bool {
    let first = addresses.partition_point(|address| *address < one.mapping.start);
    let next = addresses.get(first);
    next.is_some_and(|address| *address < one.mapping.end)
}

fn is_closed(one: &Resident) -> bool {
    !one.mapping.readable && !one.mapping.writable && !one.mapping.executable
}

fn is_allocators(one: &Resident, after: Option<&Resident>) -> bool {
    match one.mapping.class() {
        Class::Heap => true,
        Class::Anonymous => is_named_allocator(&one.mapping.path) || is_arena(one, after),
        _ => false,
    }
}

/// Allocators that name their maps: glibc from 2.38 on, scudo, Android's.
fn is_named_allocator(path: &str) -> bool {
    path.starts_with("[anon:") && ["malloc", "scudo"].iter().any(|name| path.contains(name))
}

/// glibc's further arenas begin at multiples of 64 MiB; what is not used yet
/// of them is closed.
fn is_arena(one: &Resident, after: Option<&Resident>) -> bool {
    const ARENA: u64 = 64 << 20;
    let (start, end) = (one.mapping.start, one.mapping.end);
    let rest_closed = after.is_some_and(|after| {
        after.mapping.start == end && is_closed(after) && after.mapping.end % ARENA == 0
    });
    start % ARENA == 0 && one.mapping.writable && (rest_closed || end % ARENA == 0)
}

#[cfg(test)]
mod tests;
