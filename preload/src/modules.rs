//! Which module an address belongs to, and its row in the segment.
//!
//! Modules are entered when a stack first runs through them. libc answers
//! `_dl_find_object` without a lock or memory, so nothing here waits for the
//! loader, and start-up does not pay for libraries that never matter.

use crate::guard::undisturbed;
use crate::segment::Segment;
use crate::{clock, elf, live, who};
use core::ffi::{CStr, c_char, c_void};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use shm_protocol::codes::{Counter, Section};
use shm_protocol::layout::ModuleRow;
use shm_protocol::words::Frame;

/// Modules followed at once.
const KNOWN: usize = 1024;
/// Those entered first, where a forked child writes anyway.
const NEAR: usize = 16;

/// Most that is kept of a path.
const PATH_BYTES: usize = 511;

/// What libc says about an address. Layout: `struct dl_find_object`.
#[repr(C)]
struct Found {
    flags: u64,
    map_start: usize,
    map_end: usize,
    link_map: *const LinkMap,
    eh_frame_header: *const u8,
    reserved: [u64; 8],
}

/// The public head of `struct link_map`.
#[repr(C)]
struct LinkMap {
    bias: usize,
    name: *const c_char,
}

type FindObject = unsafe extern "C" fn(*const c_void, *mut Found) -> i32;

/// A module in use, as far as the hooks need it.
struct Known {
    start: AtomicU64,
    end: AtomicU64,
    bias: AtomicU64,
    /// Row in the segment.
    id: AtomicU32,
    /// Segment that `id` belongs to.
    epoch: AtomicU32,
}

static FIND_OBJECT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
#[unsafe(link_section = ".bss.memguard_child")]
static NEAR_MODULES: [Known; NEAR] = [const { Known::new() }; NEAR];
#[unsafe(link_section = ".bss.memguard_tables")]
static FAR_MODULES: [Known; KNOWN - NEAR] = [const { Known::new() }; KNOWN - NEAR];

/// All places for modules; those in use come first.
fn known_modules() -> impl Iterator<Item = &'static Known> {
    NEAR_MODULES.iter().chain(&FAR_MODULES)
}

#[unsafe(link_section = ".bss.memguard_child")]
static COUNT: AtomicU32 = AtomicU32::new(0);
#[unsafe(link_section = ".bss.memguard_child")]
static ENTERING: AtomicBool = AtomicBool::new(false);
/// Bumped when the set of mapped modules may have changed.
#[unsafe(link_section = ".data.hot.first")]
static GENERATION: AtomicU32 = AtomicU32::new(1);

/// A module around an address.
#[derive(Clone, Copy)]
pub struct Module {
    pub start: usize,
    pub end: usize,
    pub bias: usize,
    /// PT_GNU_EH_FRAME of the module.
    pub eh_frame_header: *const u8,
    link_map: *const LinkMap,
}

/// Hands over libc's `_dl_find_object`, null where libc is older than 2.35.
pub fn init(find_object: *mut c_void) {
    FIND_OBJECT.store(find_object, Ordering::Relaxed);
}

/// Whether modules can be found without a lock.
pub fn can_find() -> bool {
    !FIND_OBJECT.load(Ordering::Relaxed).is_null()
}

/// Changes whenever cached answers may be wrong.
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Acquire)
}

/// dlopen or dlclose happened, or is about to.
pub fn changed() {
    GENERATION.fetch_add(1, Ordering::AcqRel);
}

/// In a forked child nobody is entering a module any more.
pub fn reset() {
    ENTERING.store(false, Ordering::Release);
}

/// The module around `address`.
pub fn find(address: usize) -> Option<Module> {
    let function = FIND_OBJECT.load(Ordering::Relaxed);
    if function.is_null() {
        return None;
    }
    let mut found = Found {
        flags: 0,
        map_start: 0,
        map_end: 0,
        link_map: core::ptr::null(),
        eh_frame_header: core::ptr::null(),
        reserved: [0; 8],
    };
    // SAFETY: libc's own function, by name; async-signal-safe and lock-free
    // by its documentation; the buffer is larger than its struct.
    let status = unsafe {
        core::mem::transmute::<*mut c_void, FindObject>(function)(
            address as *const c_void,
            &mut found,
        )
    };
    // SAFETY: on success the link map lives as long as the module.
    let link_map = unsafe { found.link_map.as_ref() };
    let bias = link_map.filter(|_| status == 0)?.bias;
    Some(Module {
        start: found.map_start,
        end: found.map_end,
        bias,
        eh_frame_header: found.eh_frame_header,
        link_map: found.link_map,
    })
}

/// The frame word of the call before a return address.
pub fn frame_of_call(segment: &Segment, return_address: u64) -> u64 {
    let address = (return_address as usize).wrapping_sub(1);
    let raw = || Frame::Raw(address as u64).pack();
    find(address).map_or_else(raw, |module| frame(segment, &module, address))
}

/// The frame word of `address`, which lies in `module`.
pub fn frame(segment: &Segment, module: &Module, address: usize) -> u64 {
    let offset = address.wrapping_sub(module.bias) as u64;
    match id_of(segment, module) {
        Some(id) => Frame::Native { module: id, offset }.pack(),
        None => Frame::Raw(address as u64).pack(),
    }
}

fn id_of(segment: &Segment, module: &Module) -> Option<u16> {
    let count = (COUNT.load(Ordering::Acquire) as usize).min(KNOWN);
    let known = known_modules().take(count).find(|known| known.is(module));
    if let Some(known) = known {
        return Some(known.id.load(Ordering::Relaxed) as u16);
    }
    // A handler that leaves by longjmp would leave it entering for good.
    undisturbed(|| {
        if ENTERING.swap(true, Ordering::Acquire) {
            return None;
        }
        make_room(segment);
        let id = enter(segment, module);
        ENTERING.store(false, Ordering::Release);
        id
    })
}

impl Known {
    const fn new() -> Known {
        Known {
            start: AtomicU64::new(0),
            end: AtomicU64::new(0),
            bias: AtomicU64::new(0),
            id: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
        }
    }

    fn is(&self, module: &Module) -> bool {
        self.start.load(Ordering::Relaxed) == module.start as u64
            && self.end.load(Ordering::Relaxed) == module.end as u64
            && self.bias.load(Ordering::Relaxed) == module.bias as u64
            && self.epoch.load(Ordering::Acquire) == live::epoch()
    }
}

/// For a module more. The stack may be small, and [`enter`] takes much of it.
fn make_room(segment: &Segment) {
    let rows = segment.header().module_rows.load(Ordering::Relaxed);
    if rows >= segment.rows(Section::Modules) {
        segment.double(Section::Modules);
    }
    crate::strings::make_room(segment, PATH_BYTES);
}

/// Enters a module new to this segment, or known but mapped elsewhere now.
#[inline(never)]
fn enter(segment: &Segment, module: &Module) -> Option<u16> {
    let (mut build_id, mut path) = ([0u8; 24], [0u8; PATH_BYTES]);
    let build_id_bytes = elf::build_id(module.start as *const u8, &mut build_id);
    let path = path_of(segment, module, &mut path);
    let identity = (build_id.get(..build_id_bytes).unwrap_or_default(), path);
    let row = find_row(segment, identity).or_else(|| new_row(segment, identity))?;
    let id = u16::try_from(row).ok()?;
    let at = segment.row::<ModuleRow>(Section::Modules, u64::from(id), true)?;
    at.bias.store(module.bias as u64, Ordering::Relaxed);
    at.start.store(module.start as u64, Ordering::Relaxed);
    at.end.store(module.end as u64, Ordering::Relaxed);
    at.loads.fetch_add(1, Ordering::Relaxed);
    at.loaded_ms.store(clock::now_ms(), Ordering::Relaxed);
    at.state.store(1, Ordering::Release);
    segment
        .header()
        .module_generation
        .fetch_add(1, Ordering::Relaxed);
    remember(module, id);
    Some(id)
}

fn path_of<'a>(segment: &Segment, module: &Module, buffer: &'a mut [u8]) -> &'a [u8] {
    // SAFETY: the link map of a module that is in use by this very stack.
    let name = unsafe { CStr::from_ptr((*module.link_map).name) }.to_bytes();
    let link = match name.is_empty() {
        true => who::executable(segment, buffer).len(),
        false => 0,
    };
    if link > 0 {
        return buffer.get(..link).unwrap_or_default();
    }
    let name = if name.is_empty() { executed_as() } else { name };
    let part = name.len().min(buffer.len());
    for (place, byte) in buffer.iter_mut().zip(name) {
        *place = *byte;
    }
    buffer.get(..part).unwrap_or_default()
}

/// The path that was given to execve, for want of a better one.
fn executed_as() -> &'static [u8] {
    // SAFETY: the auxiliary vector's string lies above the stack for good.
    unsafe {
        let at = libc::getauxval(libc::AT_EXECFN) as *const c_char;
        if at.is_null() {
            &[]
        } else {
            CStr::from_ptr(at).to_bytes()
        }
    }
}

/// Identity of a module: build id and path.
type Identity<'a> = (&'a [u8], &'a [u8]);

/// A row of the same module that is not mapped just now.
fn find_row(segment: &Segment, identity: Identity) -> Option<u64> {
    let rows = segment.header().module_rows.load(Ordering::Relaxed);
    (0..rows).find(|&row| {
        let at = segment.row::<ModuleRow>(Section::Modules, row, false);
        at.is_some_and(|at| same(segment, at, identity) && (unloaded(at) || !still_mapped(at)))
    })
}

fn same(segment: &Segment, row: &ModuleRow, (build_id, path): Identity) -> bool {
    let length = row.build_id_bytes.load(Ordering::Relaxed) as usize;
    let mut bytes = [0u8; 24];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(&row.build_id) {
        chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
    }
    length == build_id.len()
        && bytes.starts_with(build_id)
        && crate::strings::equals(segment, row.path.load(Ordering::Relaxed), path)
}

/// Whether the row's module was seen to go. It comes back to the same place
/// more often than not, and there is told apart by this alone.
fn unloaded(row: &ModuleRow) -> bool {
    row.state.load(Ordering::Acquire) == 2
}

/// Whether the row's last mapping is there and is the same module.
fn still_mapped(row: &ModuleRow) -> bool {
    let start = row.start.load(Ordering::Relaxed) as usize;
    let bias = row.bias.load(Ordering::Relaxed) as usize;
    find(start).is_some_and(|found| found.start == start && found.bias == bias)
}

fn new_row(segment: &Segment, (build_id, path): Identity) -> Option<u64> {
    let header = segment.header();
    let row = header.module_rows.load(Ordering::Relaxed);
    if row >= segment.rows(Section::Modules) {
        segment.count(Counter::ModulesFull, 1);
        return None;
    }
    let at = segment.row::<ModuleRow>(Section::Modules, row, true)?;
    let mut bytes = [0u8; 24];
    for (place, byte) in bytes.iter_mut().zip(build_id) {
        *place = *byte;
    }
    for (word, chunk) in at.build_id.iter().zip(bytes.chunks_exact(8)) {
        word.store(
            u64::from_le_bytes(chunk.try_into().unwrap_or_default()),
            Ordering::Relaxed,
        );
    }
    at.build_id_bytes
        .store(build_id.len() as u64, Ordering::Relaxed);
    at.path
        .store(crate::strings::add(segment, path), Ordering::Relaxed);
    // Rows are entered one at a time, under ENTERING.
    header.module_rows.store(row + 1, Ordering::Relaxed);
    Some(row)
}

/// Keeps the module for quick answers: in the place of one that went away,
/// or at the end.
fn remember(module: &Module, id: u16) {
    let count = (COUNT.load(Ordering::Relaxed) as usize).min(KNOWN);
    let stale = known_modules().take(count).position(|known| {
        known.epoch.load(Ordering::Relaxed) != live::epoch() || known.overlaps(module)
    });
    let Some(known) = known_modules().nth(stale.unwrap_or(count)) else {
        return;
    };
    known.epoch.store(0, Ordering::Release);
    known.start.store(module.start as u64, Ordering::Relaxed);
    known.end.store(module.end as u64, Ordering::Relaxed);
    known.bias.store(module.bias as u64, Ordering::Relaxed);
    known.id.store(u32::from(id), Ordering::Relaxed);
    known.epoch.store(live::epoch(), Ordering::Release);
    if stale.is_none() {
        COUNT.store(count as u32 + 1, Ordering::Release);
    }
}

impl Known {
    fn overlaps(&self, module: &Module) -> bool {
        self.start.load(Ordering::Relaxed) < module.end as u64
            && self.end.load(Ordering::Relaxed) > module.start as u64
    }
}

/// After dlclose: marks rows whose module is gone, a bounded number of them.
pub fn mark_unloaded(segment: &Segment) {
    let rows = segment
        .header()
        .module_rows
        .load(Ordering::Relaxed)
        .min(KNOWN as u64);
    for row in 0..rows {
        let Some(at) = segment.row::<ModuleRow>(Section::Modules, row, false) else {
            continue;
        };
        if at.state.load(Ordering::Relaxed) == 1 && can_find() && !still_mapped(at) {
            at.unloaded_ms.store(clock::now_ms(), Ordering::Relaxed);
            at.state.store(2, Ordering::Release);
            forget(at);
        }
    }
}

/// A module that is loaded again must be entered again.
fn forget(row: &ModuleRow) {
    let start = row.start.load(Ordering::Relaxed);
    for known in known_modules().take(COUNT.load(Ordering::Relaxed) as usize) {
        if known.start.load(Ordering::Relaxed) == start {
            known.epoch.store(0, Ordering::Release);
        }
    }
}
