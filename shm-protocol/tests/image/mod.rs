//! A segment in ordinary memory, laid out and filled as the library does it:
//! what the reader's tests, its fuzzing seeds and its measurement work on.
#![allow(dead_code)] // Each user takes a part of it.

pub mod inspect;
pub mod plan;

use shm_protocol::codes::{Section, State};
use shm_protocol::layout::{
    self, ABI_MAJOR, ABI_MINOR, DATA_AT, DIRECTORY_AT, EXTENTS, Extent, Header,
};
use shm_protocol::sync::{AtomicU32, AtomicU64, Ordering};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::mem::{align_of, size_of};
use std::ptr::NonNull;

const PAGE: usize = 4096;

/// Types that may lie in a segment: all atomics, so that any bytes are valid
/// and shared access is sound.
///
/// # Safety
/// The type consists of atomic integers only.
pub unsafe trait Shared {}

macro_rules! shared {
    ($($name:ty),* $(,)?) => {
        // SAFETY: each is `repr(C)` and made of atomic integers.
        $(unsafe impl Shared for $name {})*
    };
}
shared! {
    AtomicU32, AtomicU64, Header, Extent, layout::ModuleRow, shm_protocol::heap::HeapBucket,
    shm_protocol::fds::FdRow, shm_protocol::sites::Site, shm_protocol::ring::RingSlot,
    shm_protocol::mailbox::MailSlot, shm_protocol::plain::PlainRow, shm_protocol::caches::CacheRow,
}

/// Zeroed memory that becomes a segment.
pub struct Image {
    start: NonNull<u8>,
    capacity: usize,
    used: usize,
    extents: usize,
}

impl Image {
    /// Lays out header and an empty directory.
    pub fn new(capacity: usize) -> Image {
        let capacity = capacity.max(DATA_AT).next_multiple_of(PAGE);
        // SAFETY: the size is at least a page.
        let start = unsafe { alloc_zeroed(layout_of(capacity)) };
        let image = Image {
            start: NonNull::new(start).expect("memory for a segment"),
            capacity,
            used: DATA_AT,
            extents: 0,
        };
        let header = image.header();
        header.abi.store(abi(), Ordering::Relaxed);
        header.state.store(State::Ready as u32, Ordering::Relaxed);
        header.magic.store(layout::MAGIC, Ordering::Release);
        image
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.rows(0, 1)[0]
    }

    /// Appends an extent to its section and enters it in the directory; gives
    /// its offset.
    pub fn add(&mut self, section: Section, first_row: u64, rows: usize) -> usize {
        let (offset, row_bytes) = (self.used, layout::row_bytes(section));
        self.used = (offset + rows * row_bytes).next_multiple_of(64);
        assert!(self.used <= self.capacity && self.extents < EXTENTS);
        let entry = &self.rows::<Extent>(DIRECTORY_AT, EXTENTS)[self.extents];
        entry.offset.store(offset as u64, Ordering::Relaxed);
        entry.first_row.store(first_row, Ordering::Relaxed);
        entry.rows.store(rows as u64, Ordering::Relaxed);
        entry.version.store(1, Ordering::Relaxed);
        let kind = (row_bytes as u64) << 32 | section as u64;
        entry.kind.store(kind, Ordering::Release);
        self.extents += 1;
        let header = self.header();
        header.extents.store(self.extents as u32, Ordering::Relaxed);
        header.used_bytes.store(self.used as u64, Ordering::Relaxed);
        offset
    }

    /// Rows at an offset.
    pub fn rows<T: Shared>(&self, offset: usize, count: usize) -> &[T] {
        let end = count.checked_mul(size_of::<T>()).unwrap() + offset;
        assert!(end <= self.capacity && offset.is_multiple_of(align_of::<T>()));
        // SAFETY: within the allocation and aligned, both just checked (the
        // allocation is aligned to a page, more than any row); zeroed at first
        // and only written through atomics, of which T consists.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset).cast(), count) }
    }

    /// Writes plain bytes, as the library does for strings.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.capacity);
        // SAFETY: within the allocation; `&mut self`: nobody holds rows of it.
        let to =
            unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(offset), bytes.len()) };
        to.copy_from_slice(bytes);
    }

    /// The bytes in use, as a copy of the segment's file would have them.
    pub fn into_bytes(self) -> Vec<u8> {
        // SAFETY: within the allocation; `self`: nobody holds rows of it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.used) }.to_vec()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout.
        unsafe { dealloc(self.start.as_ptr(), layout_of(self.capacity)) }
    }
}

fn layout_of(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, PAGE).expect("a sane size")
}

/// The ABI word of this version.
pub fn abi() -> u64 {
    u64::from(ABI_MAJOR) << 32 | u64::from(ABI_MINOR)
}
