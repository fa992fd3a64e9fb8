//! The segment as this process holds it: mappings, growth, bounds.
//!
//! The file is truncated to its limit once and never held open. Sections grow
//! by extents at the file's end, mapped through a second mapping of the same
//! object (see `growth`), and each part is made real before its first write, so that a full
//! tmpfs is an error here and not a SIGBUS in the program.

mod growth;

use crate::{config, sys};
use core::mem::size_of;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use shm_protocol::codes::{Counter, Section};
use shm_protocol::layout::{self, Header};

/// What is mapped at start: room for most processes in one mapping.
pub const BASE_BYTES: usize = 512 << 10;
/// What of it is made real at start. A new process pays for each page.
pub const FIRST_BYTES: usize = 32 << 10;
/// Made real at a time.
const CHUNK: usize = 256 * 1024;
/// Runs of one section.
const RUNS: usize = 16;

/// Places for sections, by their number.
const SECTIONS: usize = Section::Caches as usize + 1;

/// Rows that each section starts with; others come with their first row. Most
/// double when they are full, and stay in the base mapping. What each use of a
/// descriptor reads or writes shares a page.
const FIRST: [(Section, usize); 10] = [
    (Section::FdStamps, crate::stamps::FIRST_ROWS),
    (Section::Fds, 64),
    (Section::Mailbox, 16),
    (Section::SiteIndex, 64),
    (Section::Modules, 8),
    (Section::Strings, 1024),
    (Section::Stacks, 256),
    (Section::Sites, 4),
    (Section::Heap, 16),
    (Section::Settings, config::SETTINGS),
];

const _: () = {
    let (mut end, mut at) = (layout::DATA_AT, 0);
    while at < FIRST.len() {
        let (section, rows) = FIRST[at];
        end = end.next_multiple_of(64) + rows * layout::row_bytes(section);
        at += 1;
    }
    assert!(end <= FIRST_BYTES);
};

/// One extent as mapped here.
struct Run {
    at: AtomicPtr<u8>,
    first: AtomicU64,
    rows: AtomicU64,
    /// One bit for each chunk that is real; of the first ones.
    real: AtomicU64,
}

/// Of a run whose chunks are all real: it lies in the base mapping.
const ALL_REAL: u64 = u64::MAX;

/// The same of a run's other chunks: away from what hooks read all the time.
struct MoreReal([AtomicU64; 63]);

/// Whether a section has extents.
struct Runs {
    count: AtomicU32,
    growing: AtomicBool,
    /// Somebody has waited for that in vain.
    stuck: AtomicBool,
}

/// Sections whose rows each event looks for.
#[derive(Clone, Copy)]
pub enum Quick {
    Sites,
    Fds,
}

impl Quick {
    const ALL: [Quick; 2] = [Quick::Sites, Quick::Fds];

    const fn section(self) -> Section {
        match self {
            Quick::Sites => Section::Sites,
            Quick::Fds => Section::Fds,
        }
    }

    fn of(section: Section) -> Option<Quick> {
        let is_it = |quick: &Quick| quick.section() as u32 == section as u32;
        Quick::ALL.into_iter().find(is_it)
    }

    /// The bit that a row's run is found by: all rows of a run have the same.
    #[inline(always)]
    const fn bit(self, row: u64) -> usize {
        (row | (first_rows(self.section()) as u64 - 1)).ilog2() as usize
    }
}

/// Rows that a section starts with.
const fn first_rows(section: Section) -> usize {
    let mut at = 0;
    while FIRST[at].0 as u32 != section as u32 {
        at += 1;
    }
    FIRST[at].1
}

/// By that bit: where row 0 would be, if the run began there. Null: not all of
/// the run is real.
struct ByBit([AtomicPtr<u8>; 64]);

/// The segment of this process. There is one, in `live`.
///
/// What every event reads comes first.
#[repr(C, align(64))]
pub struct Segment {
    base: AtomicPtr<u8>,
    quick: [ByBit; Quick::ALL.len()],
    /// Bytes mapped at `base`.
    base_bytes: AtomicU64,
    /// Up to where extents within the base mapping may lie: it is real there.
    base_real: AtomicU64,
    /// Rows of sites that are real.
    sites_real: AtomicU64,
    /// Pages come from a file that may be full.
    in_file: AtomicBool,
    /// No growth that needs a system call any more.
    frozen: AtomicBool,
    /// Before this moment growth is not tried again.
    retry_ms: AtomicU64,
    /// Nothing is laid out: what was is the parent's, and has been let go of.
    gone: AtomicBool,
    sections: [Runs; SECTIONS],
    /// Of each section the first and the second one: what a new process writes
    /// lies together.
    first: [[Run; SECTIONS]; 2],
}

/// The later ones, by index and section.
#[unsafe(link_section = ".bss.memguard_tables")]
static LATER: [[Run; SECTIONS]; RUNS - 2] = [const { [const { Run::new() }; SECTIONS] }; RUNS - 2];

/// Of each section's runs.
#[unsafe(link_section = ".bss.memguard_tables")]
static MORE_REAL: [[MoreReal; RUNS]; SECTIONS] =
    [const { [const { MoreReal([const { AtomicU64::new(0) }; 63]) }; RUNS] }; SECTIONS];

/// Empty memory over what is mapped, which no child inherits.
fn put_empty(at: *mut u8, bytes: usize) {
    let bytes = bytes.next_multiple_of(4096);
    sys::map_private_over(at, bytes);
    sys::madvise(at, bytes, libc::MADV_DONTFORK);
}

impl Run {
    const fn new() -> Run {
        Run {
            at: AtomicPtr::new(core::ptr::null_mut()),
            first: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            real: AtomicU64::new(0),
        }
    }
}

impl Segment {
    /// A segment that holds nothing yet.
    pub const fn new() -> Segment {
        #[allow(
            clippy::declare_interior_mutable_const,
            reason = "copied into the array"
        )]
        const EMPTY: Runs = Runs {
            count: AtomicU32::new(0),
            growing: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
        };
        Segment {
            base: AtomicPtr::new(core::ptr::null_mut()),
            quick: [const { ByBit([const { AtomicPtr::new(core::ptr::null_mut()) }; 64]) };
                Quick::ALL.len()],
            base_bytes: AtomicU64::new(0),
            base_real: AtomicU64::new(0),
            sites_real: AtomicU64::new(0),
            in_file: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            retry_ms: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            sections: [EMPTY; SECTIONS],
            first: [const { [const { Run::new() }; SECTIONS] }; 2],
        }
    }

    /// Takes over fresh zeroed shared memory and lays the directory out.
    ///
    /// Only while no other thread can see the segment.
    pub fn lay_out(&self, base: *mut u8, bytes: usize, limit: u64, in_file: bool) {
        self.base.store(base, Ordering::Relaxed);
        self.base_bytes.store(bytes as u64, Ordering::Relaxed);
        let real = if in_file { FIRST_BYTES } else { bytes };
        self.base_real.store(real as u64, Ordering::Relaxed);
        let sites_real = if in_file { 0 } else { u64::MAX };
        self.sites_real.store(sites_real, Ordering::Relaxed);
        self.in_file.store(in_file, Ordering::Relaxed);
        self.frozen.store(false, Ordering::Relaxed);
        self.retry_ms.store(0, Ordering::Relaxed);
        self.gone.store(false, Ordering::Relaxed);
        for section in Section::ALL {
            self.forget_runs(section);
        }
        let header = self.header();
        header
            .used_bytes
            .store(layout::DATA_AT as u64, Ordering::Relaxed);
        header.limit_bytes.store(limit, Ordering::Relaxed);
        header.site_rows.store(1, Ordering::Relaxed);
        for (section, most) in FIRST {
            let rows = match section {
                Section::Settings => config::settings().len(),
                _ => most,
            };
            self.add_run(section, rows);
        }
    }

    /// Forgets also a run that another thread was adding while this one forked.
    /// What was never written is left so, and later runs, which nobody looks at
    /// before they are added anew: a new process pays for each page.
    fn forget_runs(&self, section: Section) {
        let used = self.run_count(section);
        let runs = self.runs(section);
        runs.growing.store(false, Ordering::Relaxed);
        runs.count.store(0, Ordering::Relaxed);
        let quick = Quick::of(section).map(|quick| &self.quick[quick as usize].0);
        for run in quick.into_iter().flatten() {
            if !run.load(Ordering::Relaxed).is_null() {
                run.store(core::ptr::null_mut(), Ordering::Relaxed);
            }
        }
        for run in self.first.iter().take(used + 1) {
            run[section as usize].rows.store(0, Ordering::Relaxed);
        }
    }

    /// In a forked child: puts zeroed memory in the place of the parent's
    /// segment, which had no file and did not grow.
    pub fn replace(&self) -> bool {
        let bytes = self.base_bytes.load(Ordering::Relaxed) as usize;
        sys::map_over(self.base.load(Ordering::Relaxed), bytes)
    }

    /// In a forked child that makes its own: puts empty memory in the place of
    /// the parent's segment, so that the parent alone keeps its pages. A hook
    /// that a signal handler forked under may yet write there, so nothing is
    /// unmapped; the child's own children have no such hook and no such memory.
    pub fn let_go(&self) {
        if self.gone.swap(true, Ordering::Relaxed) {
            return;
        }
        let base = self.base.load(Ordering::Relaxed);
        let base_bytes = self.base_bytes.load(Ordering::Relaxed) as usize;
        put_empty(base, base_bytes);
        for section in Section::ALL {
            for index in 0..self.run_count(section) {
                let Some(run) = self.run(section, index) else {
                    continue;
                };
                let at = run.at.load(Ordering::Relaxed);
                if (at as usize).wrapping_sub(base as usize) >= base_bytes {
                    let (_, rows) = self.run_rows(section, index);
                    put_empty(at, rows as usize * layout::row_bytes(section));
                }
            }
        }
    }

    /// Lays out what [`Segment::replace`] put there.
    pub fn lay_out_again(&self) {
        let bytes = self.base_bytes.load(Ordering::Relaxed);
        let base = self.base.load(Ordering::Relaxed);
        self.lay_out(base, bytes as usize, bytes, false);
    }

    /// The header. Valid once laid out.
    pub fn header(&self) -> &'static Header {
        // SAFETY: `lay_out` stored a mapping of at least BASE_BYTES that is
        // never unmapped; the header is made of atomics.
        unsafe { &*self.base.load(Ordering::Relaxed).cast::<Header>() }
    }

    /// The header of what is mapped, if anything is: a forked child's is its
    /// parent's until it has let go of that.
    pub fn header_there(&self) -> Option<&'static Header> {
        let there = !self.base.load(Ordering::Relaxed).is_null();
        (there && !self.gone.load(Ordering::Relaxed)).then(|| self.header())
    }

    /// Counts something in the header.
    pub fn count(&self, counter: Counter, by: u64) {
        self.header().counters[counter as usize].fetch_add(by, Ordering::Relaxed);
    }

    /// Notes a fact about coverage.
    pub fn note(&self, bits: u64) {
        self.header().notes.fetch_or(bits, Ordering::Relaxed);
    }

    /// Stops all growth that would need a system call, and makes some room for
    /// growth that does not.
    pub fn freeze(&self, why: u64) {
        if !self.frozen.load(Ordering::Relaxed) {
            self.make_real_for_good();
        }
        self.frozen.store(true, Ordering::Relaxed);
        self.note(why);
    }

    fn runs(&self, section: Section) -> &Runs {
        &self.sections[section as usize]
    }

    fn run(&self, section: Section, index: usize) -> Option<&Run> {
        let runs = match index.checked_sub(2) {
            None => self.first.get(index)?,
            Some(later) => LATER.get(later)?,
        };
        Some(&runs[section as usize])
    }

    /// Number of runs of a section.
    pub fn run_count(&self, section: Section) -> usize {
        (self.runs(section).count.load(Ordering::Acquire) as usize).min(RUNS)
    }

    /// Rows of run `index`: index of the first one, and how many.
    pub fn run_rows(&self, section: Section, index: usize) -> (u64, u64) {
        let Some(run) = self.run(section, index) else {
            return (0, 0);
        };
        (
            run.first.load(Ordering::Relaxed),
            run.rows.load(Ordering::Relaxed),
        )
    }

    /// Rows of a section, all runs.
    pub fn rows(&self, section: Section) -> u64 {
        let Some(last) = self.run_count(section).checked_sub(1) else {
            return 0;
        };
        let (first, rows) = self.run_rows(section, last);
        first + rows
    }

    /// `count` rows of run `index` from `row` on, if they are real or, for
    /// `write`, can be made so. `T` is the section's row type.
    pub fn in_run<T>(
        &self,
        section: Section,
        index: usize,
        row: u64,
        count: usize,
        write: bool,
    ) -> Option<&'static [T]> {
        debug_assert!(size_of::<T>() == layout::row_bytes(section));
        let run = self.run(section, index)?;
        let rows = run.rows.load(Ordering::Relaxed);
        if row.checked_add(count as u64)? > rows {
            return None;
        }
        let (start, bytes) = (row as usize * size_of::<T>(), count * size_of::<T>());
        let real = (start / CHUNK..=(start + bytes.max(1) - 1) / CHUNK).all(|chunk| {
            self.is_real(section, index, chunk) || (write && self.make_real(section, index, chunk))
        });
        if !real {
            return None;
        }
        // SAFETY: within the run, whose pages are real; rows are atomics, and
        // extents are never unmapped.
        Some(unsafe {
            let at = run.at.load(Ordering::Acquire).add(start);
            core::slice::from_raw_parts(at.cast::<T>(), count)
        })
    }

    /// One row by its index in a section that grows by doubling: the run
    /// follows from the index. The first run is always real.
    #[inline]
    pub fn row<T>(&self, section: Section, row: u64, write: bool) -> Option<&'static T> {
        let run = &self.first[0][section as usize];
        let first_rows = run.rows.load(Ordering::Relaxed);
        if row < first_rows {
            let at = run.at.load(Ordering::Relaxed).cast::<T>();
            // SAFETY: within the first run, which lies in the base mapping.
            return Some(unsafe { &*at.add(row as usize) });
        }
        self.later_row(section, row, first_rows, write)
    }

    /// The same where it is found by one look.
    #[inline(always)]
    pub fn quick_row<T>(&self, quick: Quick, row: u64) -> Option<&'static T> {
        let run = &self.quick[quick as usize].0[quick.bit(row) % 64];
        let zero = run.load(Ordering::Acquire).cast::<T>();
        // SAFETY: `add_run` stores a run only when it lies in the base mapping; it
        // covers every row with this bit, and runs are never unmapped. Its rows are
        // real, those of sites before their numbers are handed out.
        (!zero.is_null()).then(|| unsafe { &*zero.wrapping_add(row as usize) })
    }

    fn make_quick(&self, section: Section, first: u64, at: *mut u8) {
        if let Some(quick) = Quick::of(section) {
            let zero = at.wrapping_sub(first as usize * layout::row_bytes(section));
            self.quick[quick as usize].0[quick.bit(first) % 64].store(zero, Ordering::Release);
        }
    }

    fn later_row<T>(
        &self,
        section: Section,
        row: u64,
        first_rows: u64,
        write: bool,
    ) -> Option<&'static T> {
        // The first run's rows are a power of two, and each later one ends at the next.
        let times = row.checked_shr(first_rows.trailing_zeros())?;
        let index = times.checked_ilog2()? as usize + 1;
        if index >= self.run_count(section) {
            return None;
        }
        let run = self.run(section, index)?;
        let within = row.checked_sub(run.first.load(Ordering::Relaxed))?;
        if run.real.load(Ordering::Acquire) == ALL_REAL && within < run.rows.load(Ordering::Relaxed)
        {
            let at = run.at.load(Ordering::Relaxed).cast::<T>();
            // SAFETY: within the run, all of which is real.
            return Some(unsafe { &*at.add(within as usize) });
        }
        self.in_run::<T>(section, index, within, 1, write)?.first()
    }

    /// Doubles a section whose rows are found by their index, as `grow` does.
    pub fn double(&self, section: Section) -> bool {
        self.grow_by(section, |rows| rows)
    }

    /// The word that says of a chunk whether it is real.
    fn real_word(&self, section: Section, index: usize, chunk: usize) -> Option<&AtomicU64> {
        match (chunk / 64).checked_sub(1) {
            None => Some(&self.run(section, index)?.real),
            Some(later) => MORE_REAL[section as usize][index].0.get(later),
        }
    }

    fn is_real(&self, section: Section, index: usize, chunk: usize) -> bool {
        let word = self.real_word(section, index, chunk);
        word.is_some_and(|word| word.load(Ordering::Acquire) >> (chunk % 64) & 1 == 1)
    }

    fn set_real(&self, section: Section, index: usize, chunk: usize) {
        if let Some(word) = self.real_word(section, index, chunk) {
            word.fetch_or(1 << (chunk % 64), Ordering::Release);
        }
    }

    /// Of a new run of so many chunks. Only these words are written: a new
    /// process pays for each page.
    fn none_real(&self, section: Section, index: usize, chunks: usize) {
        let words = (0..=chunks).step_by(64);
        let words = words.filter_map(|chunk| self.real_word(section, index, chunk));
        words.for_each(|word| word.store(0, Ordering::Relaxed));
    }
}
