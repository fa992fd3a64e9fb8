//! How free knows a sampled block without looking it up.
//!
//! glibc keeps the size of a block in the word before it, which its free reads
//! anyway. So a sample asks for so many bytes that this size is a multiple of
//! 512, as few others are; it is an ordinary block otherwise, and realloc can
//! enlarge it where it lies. Of another allocator's blocks only the address is
//! known: there a sample begins a page.
//!
//! A mark only says that the filter is to be asked ([`crate::blocks`]).

use core::sync::atomic::{AtomicU8, Ordering};

/// How samples are marked. The numbers are for the atomic.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Marking {
    /// Not at all: malloc and free may be of different allocators.
    None = 0,
    /// They begin a page.
    ByPage = 1,
    /// By the size that glibc keeps, or they begin a page.
    BySize = 2,
}

static MARKING: AtomicU8 = AtomicU8::new(Marking::None as u8);

/// Alignment that marks a block.
pub const PAGE: usize = 4096;
/// Bits of glibc's size word that are 0 for a sample. Lower ones are flags.
pub const SIZE_BITS: u32 = STEP as u32 - 16;
/// Sizes of samples, the word itself included, are multiples of this.
const STEP: usize = 512;

pub fn choose(marking: Marking) {
    MARKING.store(marking as u8, Ordering::Relaxed);
}

/// Whether samples are to be marked.
pub fn possible() -> bool {
    MARKING.load(Ordering::Relaxed) != Marking::None as u8
}

/// Whether the word before a block is its size.
pub fn by_size() -> bool {
    MARKING.load(Ordering::Relaxed) == Marking::BySize as u8
}

/// Pointers with none of these bits need a look, whatever lies before them.
pub fn mask() -> u64 {
    if possible() { PAGE as u64 - 1 } else { 0 }
}

/// Whether free recognises this block, which is in use.
pub fn is_marked(block: u64) -> bool {
    let begins_page = block & (PAGE as u64 - 1) == 0;
    // SAFETY: a block in use, of glibc's: its size lies before it.
    let size = || unsafe { *(block as *const u32).wrapping_sub(2) };
    possible() && (begins_page || by_size() && size() & SIZE_BITS == 0)
}

/// What to ask for, so that a block of at least `size` bytes is marked by its
/// size. `None` where the size is not known, or there is no such number.
pub fn size_for(size: usize) -> Option<usize> {
    let word = size_of::<usize>();
    let whole = size.checked_add(word)?.checked_next_multiple_of(STEP)?;
    by_size().then_some(whole - word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_gives_a_size_that_marks() {
        choose(Marking::BySize);
        for size in [0, 1, 24, 503, 504, 505, 4096, 1 << 20] {
            let asked = size_for(size).unwrap();
            assert!((size..size + STEP).contains(&asked) || size == 0);
            assert_eq!((asked + 8) % STEP, 0, "{size}");
        }
        assert_eq!(size_for(usize::MAX - 100), None);
        choose(Marking::ByPage);
        assert_eq!(size_for(24), None);
        choose(Marking::None);
    }
}
