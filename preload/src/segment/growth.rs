//! Making more of a segment real, and adding extents to it.

use super::{ALL_REAL, CHUNK, SECTIONS, Segment};
use crate::guard::undisturbed;
use crate::{cgroup, clock, live, sys};
use core::sync::atomic::Ordering;
use shm_protocol::codes::{Counter, Section, note};
use shm_protocol::layout::{self, Extent};

/// By how much more of it becomes real at a time.
const STEP: u64 = 8 << 10;
/// Extents from here on must leave the control group room to live.
const LARGE: usize = 256 << 10;
/// A large extent takes at most this part of what the group has left.
const SHARE_OF_REST: u64 = 4;
/// And the whole segment this part of the group's limit: what the program
/// itself will want is not known.
const SHARE_OF_LIMIT: u64 = 8;
/// After a failure, growth is not tried again for so long.
const RETRY_MS: u64 = 1000;

/// For so many moments a thread waits for another one that makes a section
/// larger: on a busy machine that one may have to wait for a processor.
const PATIENCE: u32 = 2000;

/// Before an extent of so many bytes is added, [`RESERVE`] is seen to.
const RESERVE_FROM: usize = 16 << 10;
/// Rows that there are to be before a table grows large: it may be that which
/// fills the file system, and what comes then still wants its call stack.
const RESERVED_SITES: u64 = 32;
const RESERVE: [(Section, u64); 5] = [
    (Section::Modules, 64),
    (Section::Strings, 8 << 10),
    (Section::Stacks, 2 << 10),
    (Section::Sites, RESERVED_SITES),
    (Section::SiteIndex, 512),
];

/// Rows of sites that become real at a time: four pages. Asking costs as much as a page.
const SITES_AT_ONCE: u64 = 16;
/// How much of the base mapping is real when growth ends before its time.
const FROZEN_BYTES: u64 = 128 << 10;

impl Segment {
    #[cold]
    pub(super) fn make_real(&self, section: Section, index: usize, chunk: usize) -> bool {
        if !self.in_file.load(Ordering::Relaxed) {
            self.set_real(section, index, chunk);
            return true;
        }
        if !self.may_grow() || self.real_word(section, index, chunk).is_none() {
            return false;
        }
        let (_, rows) = self.run_rows(section, index);
        let run_bytes = rows as usize * layout::row_bytes(section);
        let start = chunk * CHUNK;
        let bytes = CHUNK.min(run_bytes.next_multiple_of(4096) - start);
        let Some(run) = self.run(section, index) else {
            return false;
        };
        // SAFETY: within the run's mapping.
        let at = unsafe { run.at.load(Ordering::Acquire).add(start) };
        let done = sys::madvise(at, bytes, libc::MADV_POPULATE_WRITE) == 0;
        if done {
            self.set_real(section, index, chunk);
        } else {
            self.growth_failed();
        }
        done
    }

    /// Whether system calls are allowed and the last failure is long ago.
    pub(super) fn may_grow(&self) -> bool {
        !self.frozen.load(Ordering::Relaxed) && !self.resting()
    }

    /// Whether the last failure is so recent that no other try is worth it.
    fn resting(&self) -> bool {
        clock::now_ms() < self.retry_ms.load(Ordering::Relaxed)
    }

    /// Not for a child in its parent's tables: the parent can grow.
    fn growth_failed(&self) {
        if !live::owned() {
            return;
        }
        let retry_ms = clock::now_ms() + RETRY_MS;
        self.retry_ms.store(retry_ms, Ordering::Relaxed);
        self.count(Counter::GrowthFailed, 1);
        self.note(note::GROWTH_STOPPED);
    }

    /// Whether the control group can bear an extent.
    fn affordable(&self, bytes: usize) -> bool {
        bytes < LARGE || self.affordable_large(bytes)
    }

    /// On its own: reading what a group may take needs more stack than the rest.
    #[cold]
    #[inline(never)]
    fn affordable_large(&self, bytes: usize) -> bool {
        let used = self.header().used_bytes.load(Ordering::Relaxed);
        cgroup::memory().is_none_or(|group| {
            bytes as u64 <= group.left_bytes() / SHARE_OF_REST
                && used + bytes as u64 <= group.limit_bytes / SHARE_OF_LIMIT
        })
    }

    /// Adds `rows` rows to a section, or waits a moment for a thread that is at
    /// it. False when the section is no larger then.
    pub fn grow(&self, section: Section, rows: usize) -> bool {
        self.grow_by(section, |_| rows)
    }

    /// The rows to add follow from those there are, seen by one thread.
    pub(super) fn grow_by(&self, section: Section, more: impl Fn(usize) -> usize) -> bool {
        if !live::owned() || self.resting() {
            return false;
        }
        let before = self.rows(section);
        if self.is_growing(section) {
            return self.grown_by_another(section, before);
        }
        // A handler that leaves by longjmp would leave it growing for good.
        let grown = undisturbed(|| {
            self.alone(section, || {
                let rows = more(self.rows(section) as usize);
                self.reserve(section, rows * layout::row_bytes(section));
                self.add_run(section, rows)
            })
        });
        grown || self.grown_by_another(section, before)
    }

    /// Enters something in a level of a section after the first `levels`, which
    /// have no room for it; `add` makes another, if it can. One that was made just
    /// now may be full by the time that this thread comes to it.
    pub fn enter_later(
        &self,
        section: Section,
        levels: usize,
        add: impl Fn(usize) -> bool,
        enters: impl Fn(usize) -> bool,
    ) -> bool {
        let mut seen = levels;
        while self.run_count(section) > seen || add(seen) {
            let now = self.run_count(section);
            if (seen..now).any(&enters) {
                return true;
            }
            seen = now;
        }
        false
    }

    /// Whether a thread adds to a section right now.
    pub fn is_growing(&self, section: Section) -> bool {
        self.runs(section).growing.load(Ordering::Acquire)
    }

    /// Whether a section comes to have more than so many rows in a moment. Where
    /// it does not, nobody waits any more: a thread that a debugger holds would
    /// hold up each event of the others, and one that was killed, as a child in
    /// this memory may be, for good. A forked child has no such thread at all.
    #[cold]
    fn grown_by_another(&self, section: Section, rows: u64) -> bool {
        let stuck = &self.runs(section).stuck;
        let mut looks = 0;
        let hopeless = || stuck.load(Ordering::Relaxed) || live::frozen() || live::inherited();
        while self.is_growing(section) && !hopeless() {
            sys::sleep_a_moment();
            looks += 1;
            if looks == PATIENCE {
                stuck.store(true, Ordering::Relaxed);
            }
        }
        self.rows(section) > rows
    }

    /// Adds to a section that nobody else adds to meanwhile.
    fn alone(&self, section: Section, add: impl FnOnce() -> bool) -> bool {
        let growing = &self.runs(section).growing;
        if growing.swap(true, Ordering::Acquire) {
            return false;
        }
        self.runs(section).stuck.store(false, Ordering::Relaxed);
        let grown = add();
        growing.store(false, Ordering::Release);
        grown
    }

    /// Whoever is growing already is left alone.
    #[inline(never)]
    fn reserve(&self, section: Section, bytes: usize) {
        let is_it = |(reserved, _): &(Section, u64)| *reserved as u32 == section as u32;
        if bytes < RESERVE_FROM || RESERVE.iter().any(is_it) {
            return;
        }
        for (section, rows) in RESERVE {
            while self.rows(section) < rows && self.double_small(section) {}
        }
        let sites = self.rows(Section::Sites);
        self.make_site_real(sites.min(RESERVED_SITES).saturating_sub(1));
    }

    /// Sites are numbered in order, and their rows are large: of an extent in the
    /// base mapping they become real when they are handed out. False where that
    /// cannot be.
    pub fn make_site_real(&self, site: u64) -> bool {
        site < self.sites_real.load(Ordering::Relaxed) || self.make_sites_real(site)
    }

    #[cold]
    #[inline(never)]
    fn make_sites_real(&self, site: u64) -> bool {
        let from = self.sites_real.load(Ordering::Relaxed);
        (0..self.run_count(Section::Sites)).all(|index| {
            let (first, rows) = self.run_rows(Section::Sites, index);
            let end = (first + rows).min(site + SITES_AT_ONCE);
            let from = from.max(first);
            from >= end || site < first || self.make_sites_of_run_real(index, from, end)
        })
    }

    fn make_sites_of_run_real(&self, index: usize, from: u64, end: u64) -> bool {
        let Some(run) = self.run(Section::Sites, index) else {
            return false;
        };
        // Elsewhere each write sees to it.
        if run.real.load(Ordering::Relaxed) != ALL_REAL {
            return true;
        }
        if !self.may_grow() {
            return false;
        }
        let first = run.first.load(Ordering::Relaxed);
        let bytes = layout::row_bytes(Section::Sites);
        let at = |row: u64| {
            run.at
                .load(Ordering::Relaxed)
                .wrapping_add((row - first) as usize * bytes)
        };
        let start = (at(from) as usize) & !4095;
        let stop = (at(end) as usize).next_multiple_of(4096);
        let done = sys::madvise(start as *mut u8, stop - start, libc::MADV_POPULATE_WRITE) == 0;
        if done {
            self.sites_real.fetch_max(end, Ordering::Relaxed);
        } else {
            self.growth_failed();
        }
        done
    }

    /// Makes the start of the base mapping real, before growth ends for good.
    pub(super) fn make_real_for_good(&self) {
        let base = self.base.load(Ordering::Relaxed);
        let end = FROZEN_BYTES.min(self.base_bytes.load(Ordering::Relaxed));
        if !self.in_file.load(Ordering::Relaxed)
            || sys::madvise(base, end as usize, libc::MADV_POPULATE_WRITE) != 0
        {
            return;
        }
        self.base_real.fetch_max(end, Ordering::Relaxed);
        let bytes = layout::row_bytes(Section::Sites) as u64;
        for index in 0..self.run_count(Section::Sites) {
            let Some(run) = self.run(Section::Sites, index) else {
                return;
            };
            let offset = (run.at.load(Ordering::Relaxed) as u64).wrapping_sub(base as u64);
            let (first, rows) = self.run_rows(Section::Sites, index);
            let real = rows.min(end.saturating_sub(offset) / bytes);
            self.sites_real.fetch_max(first + real, Ordering::Relaxed);
            if real < rows {
                return;
            }
        }
    }

    fn double_small(&self, section: Section) -> bool {
        self.alone(section, || {
            self.add_run(section, self.rows(section) as usize)
        })
    }

    pub(super) fn add_run(&self, section: Section, rows: usize) -> bool {
        let index = self.run_count(section);
        let bytes = (rows * layout::row_bytes(section)).next_multiple_of(64);
        let Some(run) = self.run(section, index) else {
            return false;
        };
        let lazy = section as u32 == Section::Sites as u32
            && index > 0
            && !self.frozen.load(Ordering::Relaxed);
        let Some((offset, at)) = self.take(bytes, lazy) else {
            self.growth_failed();
            return false;
        };
        let first = self.rows(section);
        run.at.store(at, Ordering::Relaxed);
        run.first.store(first, Ordering::Relaxed);
        run.rows.store(rows as u64, Ordering::Relaxed);
        self.none_real(section, index, bytes / CHUNK);
        if self.is_in_base(offset, at) && bytes < CHUNK {
            run.real.store(ALL_REAL, Ordering::Relaxed);
        }
        if !self.list(section, offset, first, rows as u64) {
            run.rows.store(0, Ordering::Relaxed);
            return false;
        }
        if section as u32 == Section::Sites as u32 && !lazy {
            self.sites_real
                .fetch_max(first + rows as u64, Ordering::Relaxed);
        }
        self.runs(section)
            .count
            .store(index as u32 + 1, Ordering::Release);
        if run.real.load(Ordering::Relaxed) == ALL_REAL {
            self.make_quick(section, first, at);
        }
        true
    }

    /// Takes bytes from the end of the file and maps them. Another section may
    /// have taken the same, and each grows by one thread at a time: one try more
    /// than there are others.
    fn take(&self, bytes: usize, lazy: bool) -> Option<(u64, *mut u8)> {
        (0..SECTIONS)
            .find_map(|_| self.try_take(bytes, lazy))
            .flatten()
    }

    /// None: another section was faster. Some(None): there is no room.
    fn try_take(&self, bytes: usize, lazy: bool) -> Option<Option<(u64, *mut u8)>> {
        let header = self.header();
        let used = header.used_bytes.load(Ordering::Relaxed);
        let Some((offset, end, at)) = self.place_behind(used, bytes, lazy) else {
            return Some(None);
        };
        // A child that a signal handler forked meanwhile goes no further: it
        // would take from its parent's file.
        let owned = live::owned();
        let won = owned
            && header
                .used_bytes
                .compare_exchange(used, end, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if won {
            return Some(Some((offset, at)));
        }
        if !self.is_in_base(offset, at) {
            sys::unmap(at, (end - offset) as usize);
        }
        (!owned).then_some(None)
    }

    /// Where bytes would lie if the file were used so far, where that ends, and
    /// their mapping. `lazy`: what lies in the base mapping need not be real yet.
    fn place_behind(&self, used: u64, bytes: usize, lazy: bool) -> Option<(u64, u64, *mut u8)> {
        let mapped = self.base_bytes.load(Ordering::Relaxed);
        // Inside the base mapping rows pack by cache lines, outside by pages.
        let small = bytes < LARGE || !self.in_file.load(Ordering::Relaxed);
        let inside = small && used.next_multiple_of(64) + bytes as u64 <= mapped;
        let (step, align) = if inside {
            (bytes as u64, 64)
        } else {
            (bytes.next_multiple_of(4096) as u64, 4096)
        };
        let offset = used.next_multiple_of(align);
        let end = offset.checked_add(step)?;
        if end > self.header().limit_bytes.load(Ordering::Relaxed) {
            return None;
        }
        let at = if !inside {
            self.map_at(offset as usize, step as usize)?
        } else if lazy || self.make_base_real(offset, end) {
            // SAFETY: `offset + bytes` is within the base mapping.
            unsafe { self.base.load(Ordering::Relaxed).add(offset as usize) }
        } else {
            return None;
        };
        Some((offset, end, at))
    }

    /// Whether that is where the base mapping has this offset.
    fn is_in_base(&self, offset: u64, at: *const u8) -> bool {
        let base = self.base.load(Ordering::Relaxed).cast_const();
        base.wrapping_add(offset as usize) == at
    }

    /// Makes the base mapping real where an extent is to lie. What lies between
    /// its start and what was real so far is an extent mapped elsewhere, or sites.
    pub(super) fn make_base_real(&self, offset: u64, end: u64) -> bool {
        let real = self.base_real.load(Ordering::Relaxed);
        if end <= real {
            return true;
        }
        if !self.in_file.load(Ordering::Relaxed) || !self.may_grow() {
            return false;
        }
        let mapped = self.base_bytes.load(Ordering::Relaxed);
        let (from, to) = (
            real.max(offset & !4095),
            end.next_multiple_of(STEP).min(mapped),
        );
        // SAFETY: within the base mapping.
        let at = unsafe { self.base.load(Ordering::Relaxed).add(from as usize) };
        let done = sys::madvise(at, (to - from) as usize, libc::MADV_POPULATE_WRITE) == 0;
        if done {
            self.base_real.fetch_max(to, Ordering::Relaxed);
        }
        done
    }

    /// Maps `bytes` at `offset` of the file without a descriptor: the object
    /// is mapped a second time from its start, then the part before is let go.
    fn map_at(&self, offset: usize, bytes: usize) -> Option<*mut u8> {
        if !self.in_file.load(Ordering::Relaxed) || !self.may_grow() || !self.affordable(bytes) {
            return None;
        }
        let again = sys::map_again(self.base.load(Ordering::Relaxed), offset + bytes)?;
        sys::unmap(again, offset);
        // SAFETY: the mapping is `offset + bytes` long.
        let at = unsafe { again.add(offset) };
        sys::madvise(at, bytes, libc::MADV_DONTDUMP);
        Some(at)
    }

    /// Enters an extent into the directory.
    fn list(&self, section: Section, offset: u64, first: u64, rows: u64) -> bool {
        if !live::owned() {
            return false;
        }
        let entry = self.header().extents.fetch_add(1, Ordering::Relaxed) as usize;
        if entry >= layout::EXTENTS {
            return false;
        }
        let at = layout::DIRECTORY_AT + entry * size_of::<Extent>();
        // SAFETY: the directory lies within the base mapping, asserted in
        // `layout`; this entry is ours by the fetch_add.
        let extent = unsafe { &*self.base.load(Ordering::Relaxed).add(at).cast::<Extent>() };
        extent.offset.store(offset, Ordering::Relaxed);
        extent.first_row.store(first, Ordering::Relaxed);
        extent.rows.store(rows, Ordering::Relaxed);
        extent.version.store(1, Ordering::Relaxed);
        let kind = (layout::row_bytes(section) as u64) << 32 | section as u64;
        extent.kind.store(kind, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SEGMENT: Segment = Segment::new();

    #[test]
    fn one_growth_that_does_not_end_is_waited_for_once() {
        let runs = SEGMENT.runs(Section::Stacks);
        let add = || {
            assert!(SEGMENT.is_growing(Section::Stacks));
            assert!(!runs.stuck.load(Ordering::Relaxed));
            assert!(!SEGMENT.grown_by_another(Section::Stacks, 0));
            assert!(runs.stuck.load(Ordering::Relaxed));
            // These would take hours, each as patient as the first one.
            (0..100_000).all(|_| !SEGMENT.grown_by_another(Section::Stacks, 0))
        };
        assert!(SEGMENT.alone(Section::Stacks, add));
        // The next growth is another one.
        assert!(SEGMENT.alone(Section::Stacks, || !runs.stuck.load(Ordering::Relaxed)));
    }
}
