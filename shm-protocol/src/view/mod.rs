//! The reader over a copy of a segment. It trusts nothing.
//!
//! A hostile or dying program may leave any bytes whatever. The view works on
//! an immutable copy (a live segment is read by pread first), checks every
//! offset against its length, drops rows that are torn and counts them.
//!
//! Work and memory are bounded by the size of the copy: extents that share a
//! byte with an earlier one are refused, so no byte is decoded twice, and what
//! many rows may refer to (stacks, strings) is cut short or budgeted.
//!
//! - this file: opening, and the directory
//! - `header`, `sites`, `heap`, `fds`, `things`, `closes`, `caches`, `modules`:
//!   what each section holds

mod caches;
mod closes;
mod fds;
mod header;
mod heap;
mod modules;
mod sites;
mod things;

pub use caches::CacheInfo;
pub use fds::DescriptorInfo;
pub use header::HeaderInfo;
pub use heap::BlockInfo;
pub use modules::{MAX_STRING, ModuleInfo};
pub use sites::{MAX_FRAMES, PointInfo, SiteInfo};
pub use things::ThingInfo;

use crate::codes::Section;
use crate::layout::{self, DATA_AT, DIRECTORY_AT, EXTENTS, Extent, Header};
use core::cell::Cell;
use core::mem::{offset_of, size_of};

/// Why bytes are not a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewError {
    /// Too short for a header.
    TooShort,
    /// The magic is missing.
    NotASegment,
    /// The layout is another major version.
    OtherVersion {
        /// Major version found.
        major: u32,
        /// Minor version found.
        minor: u32,
    },
    /// The library has not finished laying it out.
    NotReady,
}

impl core::fmt::Display for ViewError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            ViewError::TooShort => write!(f, "the segment is cut off before the end of its header"),
            ViewError::NotASegment => write!(f, "this is not a memguard segment"),
            ViewError::OtherVersion { major, minor } => write!(
                f,
                "the segment has layout {major}.{minor}, this memguard reads {}.x",
                layout::ABI_MAJOR
            ),
            ViewError::NotReady => write!(f, "the segment is still being laid out"),
        }
    }
}

impl core::error::Error for ViewError {}

/// A segment, or what is left of one.
#[derive(Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
    /// By section, then by first row; none is empty.
    extents: Vec<ExtentInfo>,
    refused: u64,
    cut_rows: u64,
    torn: Cell<u64>,
}

/// One run of rows, checked to lie within the copy and to share no byte with
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentInfo {
    /// What the rows are.
    pub section: Section,
    /// Where they start, in bytes.
    pub offset: usize,
    /// Index of the first one in its section.
    pub first_row: u64,
    /// Rows that are within the copy.
    pub rows: usize,
    /// Size of each; a newer library may have longer ones.
    pub row_bytes: usize,
}

impl ExtentInfo {
    fn end(&self) -> usize {
        self.offset + self.rows * self.row_bytes
    }

    /// Whether both hold a common byte, or number a row alike where rows are
    /// found by number.
    fn clashes(&self, other: &ExtentInfo) -> bool {
        let bytes = self.offset < other.end() && other.offset < self.end();
        let numbers = self.section == other.section
            && is_numbered(self.section)
            && self.first_row < other.first_row + other.rows as u64
            && other.first_row < self.first_row + self.rows as u64;
        bytes || numbers
    }
}

/// Sections whose rows are referred to by their number.
fn is_numbered(section: Section) -> bool {
    use Section::*;
    matches!(section, Modules | Strings | Stacks | Sites | Fds | FdStamps)
}

/// An entry of the directory.
enum Entry {
    /// Free, being written, or of a later version.
    Unknown,
    /// It cannot be true.
    Refused,
    /// Believed, and the number of its rows that lie past the copy.
    Rows(ExtentInfo, u64),
}

impl<'a> View<'a> {
    /// Checks header and directory. Extents that reach past the copy are cut,
    /// those that make no sense are refused.
    pub fn new(bytes: &'a [u8]) -> Result<View<'a>, ViewError> {
        if bytes.len() < DATA_AT {
            return Err(ViewError::TooShort);
        }
        let mut view = View {
            bytes,
            extents: Vec::new(),
            refused: 0,
            cut_rows: 0,
            torn: Cell::new(0),
        };
        view.check_header()?;
        (0..EXTENTS).for_each(|entry| view.add_extent(entry));
        view.extents
            .sort_by_key(|extent| (extent.section as u32, extent.first_row));
        Ok(view)
    }

    fn check_header(&self) -> Result<(), ViewError> {
        let abi = self.u64(offset_of!(Header, abi));
        let (major, minor) = ((abi >> 32) as u32, abi as u32);
        match self.u64(offset_of!(Header, magic)) {
            layout::MAGIC if major == layout::ABI_MAJOR => Ok(()),
            layout::MAGIC => Err(ViewError::OtherVersion { major, minor }),
            // The magic is stored last.
            0 if abi != 0 => Err(ViewError::NotReady),
            _ => Err(ViewError::NotASegment),
        }
    }

    fn add_extent(&mut self, entry: usize) {
        match self.entry(entry) {
            Entry::Unknown => {}
            Entry::Refused => self.refused += 1,
            Entry::Rows(extent, cut) => {
                self.cut_rows = self.cut_rows.saturating_add(cut);
                if self.extents.iter().any(|other| extent.clashes(other)) {
                    self.refused += 1;
                } else if extent.rows > 0 {
                    self.extents.push(extent);
                }
            }
        }
    }

    fn entry(&self, entry: usize) -> Entry {
        let at = DIRECTORY_AT + entry * size_of::<Extent>();
        let kind = self.u64(at + offset_of!(Extent, kind));
        let Some(section) = Section::from_number(kind as u32) else {
            return Entry::Unknown;
        };
        let row_bytes = (kind >> 32) as usize;
        let offset = self.u64(at + offset_of!(Extent, offset));
        let first_row = self.u64(at + offset_of!(Extent, first_row));
        let claimed = self.u64(at + offset_of!(Extent, rows));
        let sane = row_bytes >= layout::row_bytes(section)
            && offset >= DATA_AT as u64
            && first_row.checked_add(claimed).is_some();
        if !sane {
            return Entry::Refused;
        }
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let room = self.bytes.len().saturating_sub(offset) / row_bytes;
        let rows = claimed.min(room as u64);
        let extent = ExtentInfo {
            section,
            offset,
            first_row,
            rows: rows as usize,
            row_bytes,
        };
        Entry::Rows(extent, claimed - rows)
    }

    /// The directory, as far as this version knows and believes it: by section,
    /// then by first row.
    pub fn extents(&self) -> &[ExtentInfo] {
        &self.extents
    }

    /// Entries of the directory that were refused: rows too small, inside the
    /// header, numbered past the end of numbers, or laid over another's.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Rows that the directory promises and the copy is too short for.
    pub fn cut_rows(&self) -> u64 {
        self.cut_rows
    }

    /// Rows that were dropped so far because they were torn. Each decoding of a
    /// section counts its own.
    pub fn torn(&self) -> u64 {
        self.torn.get()
    }

    fn count_torn(&self, rows: u64) {
        self.torn.set(self.torn.get().saturating_add(rows));
    }

    fn u64(&self, at: usize) -> u64 {
        u64_at(self.bytes, at)
    }

    fn u32(&self, at: usize) -> u32 {
        u32_at(self.bytes, at)
    }

    /// The extents of a section, by first row.
    fn of(&self, section: Section) -> &[ExtentInfo] {
        let number = |extent: &ExtentInfo| extent.section as u32;
        let from = self
            .extents
            .partition_point(|extent| number(extent) < section as u32);
        let rest = &self.extents[from..];
        &rest[..rest.partition_point(|extent| extent.section == section)]
    }

    /// All rows of a section with their numbers.
    fn rows(&self, section: Section) -> impl Iterator<Item = (u64, &'a [u8])> + '_ {
        self.of(section).iter().flat_map(|extent| {
            let rows = self.bytes[extent.offset..extent.end()].chunks_exact(extent.row_bytes);
            (extent.first_row..).zip(rows)
        })
    }

    /// The extent that holds a row, and how many rows before it.
    fn find(&self, section: Section, row: u64) -> Option<(&ExtentInfo, usize)> {
        let extents = self.of(section);
        let after = extents.partition_point(|extent| extent.first_row <= row);
        let extent = &extents[after.checked_sub(1)?];
        let before = usize::try_from(row - extent.first_row).ok()?;
        (before < extent.rows).then_some((extent, before))
    }

    /// From a row to the end of its extent.
    fn row(&self, section: Section, row: u64) -> Option<&'a [u8]> {
        let (extent, before) = self.find(section, row)?;
        Some(&self.bytes[extent.offset + before * extent.row_bytes..extent.end()])
    }
}

/// The word at `at`, 0 past the end.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

/// The half word at `at`, 0 past the end.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u32::from_le_bytes(*word))
}
