//! The page that fork wipes, and the page that a forked child writes to.
//!
//! What must be gone in a forked child at once lives here: whether there is a
//! segment, and where descriptors are stamped. It is a page of the library's
//! own zeroed data, at a known place, so that a stub reaches it without asking
//! for its address first.

//!
//! What else a child changes as it begins has a section of its own, a page that
//! is copied once; large tables have another, so that they do not lie between
//! small words. Statics say by `link_section` that they belong there.

use crate::segment::Segment;
use core::arch::global_asm;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};

global_asm!(
    ".section .bss.memguard_child,\"aw\",@nobits",
    ".balign 4096",
    ".text",
);

/// Zeros: no segment, nothing to stamp.
#[repr(C, align(4096))]
pub struct Page {
    pub segment: AtomicPtr<Segment>,
    pub phase: AtomicU32,
    pub image: AtomicU32,
    pub since_ns: AtomicU64,
    /// A thread of this process is at the mailbox.
    pub executing: AtomicU32,
    /// The thread whose cache callback runs, and the cache.
    pub caller: AtomicU32,
    pub calling: AtomicU64,
    /// The header's `mail` of the segment, for the stubs of calls that wait.
    pub mail: AtomicPtr<AtomicU64>,
    pub stamps: Stamps,
}

/// What the stubs of `hooks::uses` need.
#[repr(C, align(64))]
pub struct Stamps {
    /// Numbers below are stamped at [`FIRST`]. 0: none are.
    pub below: AtomicU64,
    /// The value of a stamp now: the tick plus one.
    pub now: AtomicU32,
    /// By the highest set bit of a number: where number 0 would be, if the run
    /// that the number lies in began there. Null: those are not stamped.
    pub runs: [AtomicPtr<AtomicU32>; 32],
}

impl Page {
    const fn new() -> Page {
        Page {
            segment: AtomicPtr::new(core::ptr::null_mut()),
            phase: AtomicU32::new(0),
            image: AtomicU32::new(0),
            since_ns: AtomicU64::new(0),
            executing: AtomicU32::new(0),
            caller: AtomicU32::new(0),
            calling: AtomicU64::new(0),
            mail: AtomicPtr::new(core::ptr::null_mut()),
            stamps: Stamps {
                below: AtomicU64::new(0),
                now: AtomicU32::new(0),
                runs: [const { AtomicPtr::new(core::ptr::null_mut()) }; 32],
            },
        }
    }
}

const _: () = assert!(size_of::<Page>() == 4096);

#[unsafe(link_section = ".bss.memguard_tables")]
pub static PAGE: Page = Page::new();

/// The first run of stamps, where `below` is not 0. Not on the page: a child
/// that a signal handler forked may go back to a use that has just looked at
/// `below`, and finds its parent's stamps here, which stay mapped.
#[unsafe(link_section = ".data.hot.first")]
pub static FIRST: AtomicPtr<AtomicU32> = AtomicPtr::new(core::ptr::null_mut());
