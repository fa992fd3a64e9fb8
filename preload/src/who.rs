//! Who this process is: what names it for good, and what describes it.
//!
//! An image's first process asks the kernel. A forked child has most of it from
//! its parent's record, which is still mapped while it makes its own: files in
//! /proc are dear, and dearer still in a process that has just begun.

use crate::hooks::children;
use crate::segment::Segment;
use crate::text::leading_number;
use crate::{birth, boot, clock, config, live, plain, sys};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use shm_protocol::codes::Section;
use shm_protocol::layout::{self, Header};

/// Inode of our pid namespace and our start time, as last looked up.
#[unsafe(link_section = ".bss.memguard_child")]
static NAMESPACE: AtomicU64 = AtomicU64::new(0);
#[unsafe(link_section = ".bss.memguard_child")]
static STARTED: AtomicU64 = AtomicU64::new(0);
/// Hash of the working directory's path as this image began.
static FOLDER: AtomicU64 = AtomicU64::new(0);

/// Inode of the pid namespace, 0 where /proc is not to be had.
pub fn namespace() -> u64 {
    NAMESPACE.load(Relaxed)
}

/// Start time in ticks.
pub fn started() -> u64 {
    STARTED.load(Relaxed)
}

/// Finds both out, from the parent's segment where that can tell.
#[inline(never)]
pub fn identify(parent: Option<&Segment>) {
    let parent = parent.filter(|parent| is_parents(parent));
    let namespace = parent.map(|parent| parent.header().pid_namespace.load(Relaxed));
    NAMESPACE.store(
        namespace
            .filter(|namespace| *namespace != 0)
            .unwrap_or_else(pid_namespace),
        Relaxed,
    );
    let started = parent.and_then(start_by_parent);
    STARTED.store(started.unwrap_or_else(|| identity().start_ticks), Relaxed);
}

/// Whether this is the segment of the process that is our parent now. A parent
/// outside of our pid namespace has number 0 there.
pub fn is_parents(segment: &Segment) -> bool {
    segment.header_there().is_some_and(|header| {
        header.magic.load(Relaxed) == layout::MAGIC && header.pid.load(Relaxed) == sys::getppid()
    })
}

/// What our row there says, unless it is that of an earlier child.
fn start_by_parent(parent: &Segment) -> Option<u64> {
    let row = plain::read(
        parent,
        Section::Children,
        children::key(sys::getpid() as i32),
    )?;
    let ours = row.origin.at_ms >= live::forked_ms() && birth::same_clocks();
    row.detail.checked_sub(1).filter(|_| ours)
}

/// Inode of the pid namespace, 0 where /proc is not to be had.
fn pid_namespace() -> u64 {
    sys::stat(c"/proc/self/ns/pid").map_or(0, |stat| stat.st_ino)
}

/// This process by /proc/self/stat: the loader's own calls, which a filter
/// has just let pass, are enough to read it.
#[derive(Default)]
struct Identity {
    pid: u64,
    parent: u64,
    start_ticks: u64,
}

fn identity() -> Identity {
    let text = sys::read_file(c"/proc/self/stat", live::room());
    // The name in parentheses may hold anything, also parentheses.
    let after_name = text
        .iter()
        .rposition(|byte| *byte == b')')
        .map_or(0, |at| at + 2);
    let after = text.get(after_name..).unwrap_or_default();
    let mut fields = after.split(|byte| *byte == b' ').skip(1);
    let mut field = |n| fields.nth(n).and_then(leading_number).unwrap_or(0);
    Identity {
        pid: leading_number(text).unwrap_or(0),
        parent: field(0),
        start_ticks: field(17),
    }
}

/// Puts into a forked child's own header what it has in common with the image
/// that it was forked from.
pub fn take_over(from: &Segment, to: &Header) {
    let Some(from) = from.header_there() else {
        return;
    };
    let texts = [
        (&from.cmdline, &to.cmdline),
        (&from.executable, &to.executable),
    ];
    for (from, to) in texts {
        for (from, to) in from.iter().zip(to) {
            to.store(from.load(Relaxed), Relaxed);
        }
    }
}

/// Fills in who this process is.
#[inline(never)]
pub fn describe(segment: &Segment) {
    let header = segment.header();
    let set = |word: &AtomicU32, value: u32| word.store(value, Relaxed);
    let set64 = |word: &AtomicU64, value: u64| word.store(value, Relaxed);
    let abi = u64::from(layout::ABI_MAJOR) << 32 | u64::from(layout::ABI_MINOR);
    set64(&header.abi, abi);
    set64(&header.created_mono_ns, clock::start());
    set64(&header.run_id, config::run_id());
    set(&header.policy, config::policy() as u32);
    set64(&header.created_real_ns, clock::real_ns());
    if live::frozen() {
        let identity = identity();
        set(&header.pid, identity.pid as u32);
        set(&header.parent_pid, identity.parent as u32);
        set64(&header.start_ticks, identity.start_ticks);
        return;
    }
    set(&header.pid, sys::getpid());
    set(&header.parent_pid, sys::getppid());
    set(&header.uid, sys::geteuid());
    set(&header.image, live::image());
    set64(&header.pid_namespace, namespace());
    set64(&header.start_ticks, started());
    set64(&header.fd_limit, sys::limit(libc::RLIMIT_NOFILE).0);
    if header.executable[0].load(Relaxed) == 0 {
        describe_image(header);
    }
    set64(&header.folder_hash, FOLDER.load(Relaxed));
    boot::store_settings(segment);
}

/// What the kernel says of the image.
fn describe_image(header: &Header) {
    // One byte less than there is room for: the texts end in 0.
    let buffer = live::room().get_mut(..511).unwrap_or_default();
    store_text(&header.cmdline, boot::command_line(buffer));
    store_text(&header.executable, sys::readlink(c"/proc/self/exe", buffer));
    if FOLDER.load(Relaxed) == 0 {
        FOLDER.store(folder_hash(buffer), Relaxed);
    }
}

/// Of the image's first process, from which its forks have it. FNV-1a.
fn folder_hash(buffer: &mut [u8]) -> u64 {
    let room = buffer.len();
    let path = sys::working_directory(buffer);
    let whole = path.starts_with(b"/") && path.len() < room;
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let hash = path.iter().fold(0xcbf2_9ce4_8422_2325, mix);
    if whole { hash } else { 0 }
}

/// The executable's path as the header has it, if it does.
pub fn executable<'a>(segment: &Segment, buffer: &'a mut [u8]) -> &'a [u8] {
    let words = &segment.header().executable;
    for (chunk, word) in buffer.chunks_mut(8).zip(words) {
        let bytes = word.load(Relaxed).to_le_bytes();
        for (place, byte) in chunk.iter_mut().zip(bytes) {
            *place = byte;
        }
    }
    let end = buffer.iter().position(|byte| *byte == 0);
    buffer
        .get(..end.unwrap_or(buffer.len()))
        .unwrap_or_default()
}

/// Stores text in words, filled up with zeros.
pub fn store_text(words: &[AtomicU64; 64], text: &[u8]) {
    let chunks = text.chunks(8).chain(core::iter::repeat(&[][..]));
    for (word, chunk) in words.iter().zip(chunks) {
        let mut bytes = [0u8; 8];
        for (place, byte) in bytes.iter_mut().zip(chunk) {
            *place = *byte;
        }
        word.store(u64::from_le_bytes(bytes), Relaxed);
    }
}
