//! The allocator family.
//!
//! The fast paths are four and five instructions: count the bytes down and
//! jump on, or test the pointer and the size before the block and jump on.
//! Sampled blocks are made so that these give them away ([`crate::marks`]).

use crate::blocks::{self, FILTER, MAYBE};
use crate::boot::{self, early};
use crate::interpose::stub_asm;
use crate::unwind::Caller;
use crate::{clock, live, marks, mode, sample};
use core::cell::Cell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use shm_protocol::codes::Kind;

type Pointer = *mut c_void;

/// Above what caches of threads hold. A smaller sample, once freed, would be
/// handed out again and again, page-aligned as it is.
const OUT_OF_CACHE: usize = 1040;
/// What malloc aligns by itself.
const ALIGNED: usize = 16;
/// Larger blocks are not touched just to be marked.
const CLEAR_AT_MOST: usize = 1 << 16;
/// Larger blocks are not moved just to be marked.
const MOVE_AT_MOST: usize = 1 << 20;

/// What an allocation does after the countdown.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Path {
    /// Straight to the allocator.
    Through = 0,
    /// Straight to the allocator: the countdown of bytes decides.
    ByBytes = 1,
    /// Count calls down.
    ByRate = 2,
    /// Record every one.
    All = 3,
}

static PATH: AtomicU64 = AtomicU64::new(Path::Through as u64);
/// Pointers with none of these bits need a look before they are freed, and so
/// do others by the word before them. 0 where that is not to be read.
#[unsafe(link_section = ".data.hot.first")]
static MASK: AtomicU64 = AtomicU64::new(0);
/// There, pointers with any of these bits need none. Else 0.
#[unsafe(link_section = ".data.hot.first")]
static PAGE_MASK: AtomicU64 = AtomicU64::new(0);

#[unsafe(link_section = ".data.hot.first")]
static NEXT_MALLOC: AtomicPtr<c_void> = AtomicPtr::new(boot_malloc as *mut c_void);
#[unsafe(link_section = ".data.hot.first")]
static NEXT_CALLOC: AtomicPtr<c_void> = AtomicPtr::new(boot_calloc as *mut c_void);
#[unsafe(link_section = ".data.hot.first")]
static NEXT_REALLOC: AtomicPtr<c_void> = AtomicPtr::new(boot_realloc as *mut c_void);
#[unsafe(link_section = ".data.hot.first")]
static NEXT_POSIX_MEMALIGN: AtomicPtr<c_void> = AtomicPtr::new(posix_memalign_each as *mut c_void);
#[unsafe(link_section = ".data.hot.first")]
static REAL_FREE: AtomicPtr<c_void> = AtomicPtr::new(boot_free as *mut c_void);

/// Until the allocator is known, a function that looks for it.
#[unsafe(link_section = ".data.hot.first")]
static NEXT_USABLE_SIZE: AtomicPtr<c_void> = AtomicPtr::new(usable_size as *mut c_void);

static REAL_MALLOC: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static REAL_CALLOC: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static REAL_REALLOC: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static REAL_MEMALIGN: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static REAL_POSIX_MEMALIGN: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

// The four that programs call all the time share three lines: what is rare lies
// elsewhere, and each ends where the next one may begin.
//
// What lies before a block is read for glibc only. Of nothing, other allocators
// give blocks in pages that cannot be read.

#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.hot.heap")]
pub unsafe extern "C" fn calloc(_count: usize, _size: usize) -> Pointer {
    stub_asm!([
        "mov rax, rdi",
        "mul rsi",
        // Overflowing products are the allocator's to refuse.
        "jo 2f",
        "mov rcx, qword ptr [rip + memguard_tls@GOTTPOFF]",
        "sub qword ptr fs:[rcx], rax",
        "jb {out}",
        "2:",
        "jmp qword ptr [rip + {next}]",
        ".p2align 5",
    ] next = sym NEXT_CALLOC, out = sym calloc_out)
}

#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.hot.heap")]
pub unsafe extern "C" fn free(_block: Pointer) {
    stub_asm!([
        "test qword ptr [rip + {mask}], rdi",
        "jz {looks}",
        "test dword ptr [rdi - 8], {size_bits}",
        "jz {looks}",
        "jmp qword ptr [rip + {real}]",
        ".p2align 5",
    ]
        mask = sym MASK,
        size_bits = const marks::SIZE_BITS,
        looks = sym free_looks,
        real = sym REAL_FREE,
    )
}

#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.hot.heap")]
pub unsafe extern "C" fn malloc(_size: usize) -> Pointer {
    stub_asm!([
        "mov rax, qword ptr [rip + memguard_tls@GOTTPOFF]",
        "sub qword ptr fs:[rax], rdi",
        "jb {out}",
        "jmp qword ptr [rip + {next}]",
        ".p2align 5",
    ] next = sym NEXT_MALLOC, out = sym malloc_out)
}

#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.hot.heap")]
pub unsafe extern "C" fn realloc(_block: Pointer, _size: usize) -> Pointer {
    stub_asm!([
        "test qword ptr [rip + {mask}], rdi",
        "jz {looks}",
        "test dword ptr [rdi - 8], {size_bits}",
        "jz {looks}",
        "mov rax, qword ptr [rip + memguard_tls@GOTTPOFF]",
        "sub qword ptr fs:[rax], rsi",
        "jb {out}",
        "jmp qword ptr [rip + {next}]",
        ".p2align 6",
    ]
        mask = sym MASK,
        size_bits = const marks::SIZE_BITS,
        looks = sym realloc_looks,
        next = sym NEXT_REALLOC,
        out = sym realloc_out,
    )
}

/// Jumps to 1 where the first argument has no mark; else compares with zero how
/// many rows fall on its page.
macro_rules! look_at_page {
    () => {
        "test qword ptr [rip + {page_mask}], rdi
         jnz 1f
         mov eax, edi
         shr eax, 12
         and eax, {places}
         lea rcx, [rip + {maybe}]
         cmp byte ptr [rcx + rax], 0"
    };
}

/// Perhaps marked like a sample: is there one on such a page?
#[unsafe(naked)]
unsafe extern "C" fn free_looks() {
    stub_asm!([
        look_at_page!(),
        "jne {slow}",
        "1:",
        "jmp qword ptr [rip + {real}]",
    ]
        page_mask = sym PAGE_MASK,
        places = const FILTER - 1,
        maybe = sym MAYBE,
        slow = sym free_marked,
        real = sym REAL_FREE,
    )
}

#[unsafe(naked)]
unsafe extern "C" fn realloc_looks() {
    stub_asm!([
        look_at_page!(),
        "jne 2f",
        "1:",
        "mov rax, qword ptr [rip + memguard_tls@GOTTPOFF]",
        "sub qword ptr fs:[rax], rsi",
        "jb {out}",
        "jmp qword ptr [rip + {next}]",
        "2:",
        "mov rdx, rsp",
        "mov rcx, rbp",
        "jmp {marked}",
    ]
        page_mask = sym PAGE_MASK,
        places = const FILTER - 1,
        maybe = sym MAYBE,
        out = sym realloc_out,
        next = sym NEXT_REALLOC,
        marked = sym realloc_marked,
    )
}

/// nginx takes each of its pools by this one, so it has a fast path too.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.hot")]
pub unsafe extern "C" fn posix_memalign(_out: *mut Pointer, _align: usize, _size: usize) -> i32 {
    stub_asm!([
        "mov rax, qword ptr [rip + memguard_tls@GOTTPOFF]",
        "sub qword ptr fs:[rax], rdx",
        "jb 2f",
        "jmp qword ptr [rip + {next}]",
        "2:",
        "mov rcx, rsp",
        "mov r8, rbp",
        "jmp {slow}",
    ] next = sym NEXT_POSIX_MEMALIGN, slow = sym posix_memalign_counted_out)
}

/// Counts calls down, behind the countdown of bytes.
macro_rules! by_rate {
    ($name:ident, $real:ident, $out:ident, $sp:literal, $bp:literal) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            stub_asm!([
                "mov rax, qword ptr [rip + memguard_tls@GOTTPOFF]",
                "sub qword ptr fs:[rax + 8], 1",
                "jb 2f",
                "jmp qword ptr [rip + {real}]",
                "2:",
                concat!("mov ", $sp, ", rsp"),
                concat!("mov ", $bp, ", rbp"),
                "jmp {out}",
            ] real = sym $real, out = sym $out)
        }
    };
}

by_rate!(malloc_by_rate, REAL_MALLOC, malloc_sampled, "rsi", "rdx");
by_rate!(calloc_by_rate, REAL_CALLOC, calloc_sampled, "rdx", "rcx");
by_rate!(realloc_by_rate, REAL_REALLOC, realloc_sampled, "rdx", "rcx");

crate::interpose::stubs! {
    memalign(2) => memalign_hook;
    aligned_alloc(2) => aligned_alloc_hook;
    valloc(1) => valloc_hook;
    pvalloc(1) => pvalloc_hook;
}

/// Stubs that only add the caller: of allocations that are counted out, and of
/// every one in deep mode.
macro_rules! every_one {
    ($name:ident, $to:ident, $sp:literal, $bp:literal) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            stub_asm!([
                concat!("mov ", $sp, ", rsp"),
                concat!("mov ", $bp, ", rbp"),
                "jmp {to}",
            ] to = sym $to)
        }
    };
}

every_one!(malloc_out, malloc_counted_out, "rsi", "rdx");
every_one!(calloc_out, calloc_counted_out, "rdx", "rcx");
every_one!(realloc_out, realloc_counted_out, "rdx", "rcx");
every_one!(malloc_each, malloc_recorded, "rsi", "rdx");
every_one!(calloc_each, calloc_recorded, "rdx", "rcx");
every_one!(realloc_each, realloc_sampled, "rdx", "rcx");
every_one!(posix_memalign_each, posix_memalign_counted, "rcx", "r8");
every_one!(boot_malloc, malloc_at_boot, "rsi", "rdx");
every_one!(boot_calloc, calloc_at_boot, "rdx", "rcx");
every_one!(boot_realloc, realloc_marked, "rdx", "rcx");

fn caller(stack_pointer: usize, frame_pointer: usize) -> Caller {
    Caller {
        stack_pointer,
        frame_pointer,
    }
}

fn path() -> u64 {
    PATH.load(Ordering::Relaxed)
}

/// A round of [`look_at_marked`] that is not through yet. No pointer has this
/// bit or those of the round's number, so that free looks at all meanwhile.
const PENDING: u64 = 1 << 62;
const ROUND: u64 = 1 << 48;
const ROUNDS: u64 = PENDING - ROUND;

/// The mask in use.
fn mask_in_use() -> &'static AtomicU64 {
    if marks::by_size() { &MASK } else { &PAGE_MASK }
}

/// Has free look at every pointer.
pub fn look_at_all() {
    let in_use = mask_in_use();
    if in_use.load(Ordering::SeqCst) & !ROUNDS != 0 {
        in_use.fetch_and(ROUNDS, Ordering::SeqCst);
    }
}

/// Has free look only at pointers with none of the bits of `mask`, if
/// `allowed` says so and nobody calls [`look_at_all`] while it is asked.
pub fn look_at_marked(mask: u64, allowed: impl Fn() -> bool) {
    let in_use = mask_in_use();
    let before = in_use.load(Ordering::SeqCst);
    // A forked child finds it so, and would pay for the page.
    if before & !ROUNDS == mask {
        return;
    }
    let round = before.wrapping_add(ROUND) & ROUNDS;
    let mine = round | PENDING;
    let begun = in_use.compare_exchange(before, mine, Ordering::SeqCst, Ordering::Relaxed);
    if begun.is_ok() && allowed() {
        let _ = in_use.compare_exchange(mine, round | mask, Ordering::SeqCst, Ordering::Relaxed);
    }
}

/// Sends allocations down another path.
pub fn set_path(path: Path) {
    if PATH.load(Ordering::Relaxed) != path as u64 {
        PATH.store(path as u64, Ordering::Relaxed);
    }
    let real = |slot: &AtomicPtr<c_void>| slot.load(Ordering::Relaxed);
    let (malloc, calloc, realloc) = match path {
        Path::Through | Path::ByBytes => {
            (real(&REAL_MALLOC), real(&REAL_CALLOC), real(&REAL_REALLOC))
        }
        Path::ByRate => (
            malloc_by_rate as _,
            calloc_by_rate as _,
            realloc_by_rate as _,
        ),
        Path::All => (malloc_each as _, calloc_each as _, realloc_each as _),
    };
    set(&NEXT_MALLOC, malloc);
    set(&NEXT_CALLOC, calloc);
    set(&NEXT_REALLOC, realloc);
    let found = real(&REAL_POSIX_MEMALIGN);
    let straight = matches!(path, Path::Through | Path::ByBytes) && !found.is_null();
    let posix_memalign = if straight {
        found
    } else {
        posix_memalign_each as _
    };
    set(&NEXT_POSIX_MEMALIGN, posix_memalign);
}

/// Stores what is not there yet: a forked child pays for each page that it
/// writes to.
fn set(slot: &AtomicPtr<c_void>, to: Pointer) {
    if slot.load(Ordering::Relaxed) != to {
        slot.store(to, Ordering::Relaxed);
    }
}

/// The allocator's own functions, found by `boot`.
pub fn set_real([malloc, calloc, realloc, memalign, posix_memalign]: [Pointer; 5], free: Pointer) {
    REAL_MALLOC.store(malloc, Ordering::Relaxed);
    REAL_CALLOC.store(calloc, Ordering::Relaxed);
    REAL_REALLOC.store(realloc, Ordering::Relaxed);
    REAL_MEMALIGN.store(memalign, Ordering::Relaxed);
    REAL_POSIX_MEMALIGN.store(posix_memalign, Ordering::Relaxed);
    REAL_FREE.store(free, Ordering::Release);
    if let Some(function) = real::malloc_usable_size::get() {
        NEXT_USABLE_SIZE.store(function as Pointer, Ordering::Relaxed);
    }
    set_path(Path::Through);
}

macro_rules! real_call {
    ($name:ident, $slot:ident, ($($arg:ident: $type:ty),*) -> $out:ty) => {
        #[inline(always)]
        fn $name($($arg: $type),*) -> $out {
            let at = $slot.load(Ordering::Relaxed);
            if at.is_null() {
                return core::ptr::null_mut();
            }
            // SAFETY: the allocator's function of this name, found by boot.
            unsafe {
                core::mem::transmute::<Pointer, unsafe extern "C" fn($($type),*) -> $out>(at)($($arg),*)
            }
        }
    };
}

real_call!(real_malloc, REAL_MALLOC, (size: usize) -> Pointer);
real_call!(real_calloc, REAL_CALLOC, (count: usize, size: usize) -> Pointer);
real_call!(real_realloc, REAL_REALLOC, (block: Pointer, size: usize) -> Pointer);
real_call!(real_memalign, REAL_MEMALIGN, (align: usize, size: usize) -> Pointer);

fn real_free(block: Pointer) {
    let at = REAL_FREE.load(Ordering::Acquire);
    // SAFETY: the allocator's free, or `boot_free` until it is found.
    unsafe { core::mem::transmute::<Pointer, unsafe extern "C" fn(Pointer)>(at)(block) }
}

// ---- before the allocator is known ----

extern "C" fn malloc_at_boot(size: usize, sp: usize, bp: usize) -> Pointer {
    match boot::allocator_ready() {
        true => malloc_counted(size, caller(sp, bp)),
        false => early::allocate(size),
    }
}

extern "C" fn calloc_at_boot(count: usize, size: usize, _sp: usize, _bp: usize) -> Pointer {
    match boot::allocator_ready() {
        true => real_calloc(count, size),
        // Early memory is zero and never used twice.
        false => count
            .checked_mul(size)
            .map_or(core::ptr::null_mut(), early::allocate),
    }
}

extern "C" fn boot_free(block: Pointer) {
    if !early::holds(block) && boot::allocator_ready() {
        real_free(block);
    }
}

// ---- sampling ----

/// The countdown of bytes ran out (or was never started).
extern "C" fn malloc_counted_out(size: usize, sp: usize, bp: usize) -> Pointer {
    if !boot::allocator_ready() {
        return early::allocate(size);
    }
    match sampled_after_underflow(size) {
        true => malloc_sampled(size, sp, bp),
        false => malloc_onwards(size, sp, bp),
    }
}

/// An allocation that no stub has counted.
fn malloc_counted(size: usize, from: Caller) -> Pointer {
    if sample::take_bytes(size as u64) && sampled_after_underflow(size) {
        return malloc_sampled(size, from.stack_pointer, from.frame_pointer);
    }
    malloc_onwards(size, from.stack_pointer, from.frame_pointer)
}

/// What follows the countdown of bytes, by the path in force.
fn malloc_onwards(size: usize, sp: usize, bp: usize) -> Pointer {
    match onwards() {
        Onwards::Real => real_malloc(size),
        Onwards::Sample => malloc_sampled(size, sp, bp),
        Onwards::Record => malloc_recorded(size, sp, bp),
    }
}

enum Onwards {
    Real,
    Sample,
    Record,
}

/// What the stub behind the countdown of bytes would do.
fn onwards() -> Onwards {
    if path() == Path::All as u64 {
        return Onwards::Record;
    }
    if path() == Path::ByRate as u64 {
        let block = crate::tls::block();
        let (left, out) = block.calls_left.overflowing_sub(1);
        block.calls_left = left;
        return if out { Onwards::Sample } else { Onwards::Real };
    }
    Onwards::Real
}

/// After an underflow on `size` bytes: draws anew, and says whether this
/// allocation is the sampled one.
fn sampled_after_underflow(size: usize) -> bool {
    let segment = live::segment_for_event();
    let Some(segment) = segment else {
        sample::restart_bytes();
        return false;
    };
    let (_, class) = mode::class(segment);
    if path() != Path::ByBytes as u64 {
        // It decides nothing on this path, but runs on for the day that the
        // mode goes back.
        if !sample::started() {
            sample::restart(class);
        }
        sample::restart_bytes();
        mode::tick(segment, clock::now_ms());
        return false;
    }
    if !sample::started() {
        // First allocation of the thread: this is where it starts counting.
        sample::restart(class);
        if !sample::take_bytes(size as u64) {
            return false;
        }
    }
    sample::account_bytes(segment, size as u64);
    sample::restart(class);
    true
}

/// After a sample by rate: draws anew.
fn redraw_calls() {
    if path() != Path::ByRate as u64 {
        return;
    }
    if let Some(segment) = live::segment_for_event() {
        let started = sample::started();
        if started {
            sample::account_calls(segment);
        }
        sample::restart(mode::class(segment).1);
    }
}

extern "C" fn malloc_sampled(size: usize, sp: usize, bp: usize) -> Pointer {
    redraw_calls();
    let block = marked(size).unwrap_or_else(|| real_malloc(size));
    record(block, size, caller(sp, bp));
    block
}

extern "C" fn malloc_recorded(size: usize, sp: usize, bp: usize) -> Pointer {
    let block = real_malloc(size);
    record(block, size, caller(sp, bp));
    block
}

/// A block that free will know by its mark.
fn marked(size: usize) -> Option<Pointer> {
    if !marks::possible() {
        return None;
    }
    by_its_size(size, real_malloc).or_else(|| by_its_page(size))
}

/// One whose size gives it away, unless the allocator gave more than it was
/// asked for: it does so where too little would be left over.
fn by_its_size(size: usize, allocate: impl Fn(usize) -> Pointer) -> Option<Pointer> {
    let block = allocate(marks::size_for(size)?);
    if block.is_null() || marks::is_marked(block as u64) {
        return (!block.is_null()).then_some(block);
    }
    real_free(block);
    None
}

fn by_its_page(size: usize) -> Option<Pointer> {
    let block = real_memalign(marks::PAGE, size.max(OUT_OF_CACHE));
    (!block.is_null()).then_some(block)
}

fn record(block: Pointer, size: usize, from: Caller) {
    if !boot::heap_is_ours() {
        // Its free would not come by here.
        return;
    }
    if let Some(segment) = live::segment_for_event().filter(|_| !block.is_null()) {
        blocks::born(segment, block as u64, size as u64, Kind::Heap, from);
    }
}

extern "C" fn calloc_counted_out(count: usize, size: usize, sp: usize, bp: usize) -> Pointer {
    if !boot::allocator_ready() {
        return count
            .checked_mul(size)
            .map_or(core::ptr::null_mut(), early::allocate);
    }
    if sampled_after_underflow(count.wrapping_mul(size)) {
        return calloc_sampled(count, size, sp, bp);
    }
    match onwards() {
        Onwards::Real => real_calloc(count, size),
        Onwards::Sample => calloc_sampled(count, size, sp, bp),
        Onwards::Record => calloc_recorded(count, size, sp, bp),
    }
}

extern "C" fn calloc_sampled(count: usize, size: usize, sp: usize, bp: usize) -> Pointer {
    redraw_calls();
    let Some(bytes) = count.checked_mul(size) else {
        return real_calloc(count, size);
    };
    let block = marks::possible().then(|| cleared(bytes)).flatten();
    let block = block.unwrap_or_else(|| real_calloc(count, size));
    record(block, bytes, caller(sp, bp));
    block
}

/// A marked block of zeros. Large ones may come zeroed from the kernel:
/// touching them is dear.
fn cleared(bytes: usize) -> Option<Pointer> {
    let by_size = by_its_size(bytes, |bytes| real_calloc(1, bytes));
    if by_size.is_some() || bytes > CLEAR_AT_MOST {
        return by_size;
    }
    let block = by_its_page(bytes)?;
    // SAFETY: a fresh block of `bytes`.
    unsafe { block.cast::<u8>().write_bytes(0, bytes) };
    Some(block)
}

extern "C" fn calloc_recorded(count: usize, size: usize, sp: usize, bp: usize) -> Pointer {
    let block = real_calloc(count, size);
    record(block, count.wrapping_mul(size), caller(sp, bp));
    block
}

// ---- giving back ----

/// A pointer that may have a row (or null, or early memory).
pub extern "C" fn free_marked(block: Pointer) {
    if block.is_null() || early::holds(block) {
        return;
    }
    forget(block);
    real_free(block);
}

/// Takes out the row of a block that is about to be freed.
fn forget(block: Pointer) {
    let segment = live::segment().filter(|_| blocks::may_be_known(block as u64));
    if let Some(segment) = segment {
        blocks::died(segment, block as u64);
    }
}

/// realloc of a block that may have a row.
extern "C" fn realloc_marked(block: Pointer, size: usize, sp: usize, bp: usize) -> Pointer {
    if !boot::allocator_ready() {
        return early::reallocate(block, size);
    }
    if block.is_null() {
        return malloc_counted(size, caller(sp, bp));
    }
    if early::holds(block) {
        return leave_early(block, size, caller(sp, bp));
    }
    if sample::take_bytes(size as u64) && sampled_after_underflow(size) {
        return realloc_sampled(block, size, sp, bp);
    }
    match onwards() {
        Onwards::Real => moved(block, size, None),
        Onwards::Sample | Onwards::Record => realloc_sampled(block, size, sp, bp),
    }
}

fn leave_early(block: Pointer, size: usize, from: Caller) -> Pointer {
    let fresh = malloc_counted(size, from);
    if !fresh.is_null() {
        // SAFETY: early memory is followed by more of it; `fresh` has `size`.
        unsafe { fresh.copy_from_nonoverlapping(block, early::size_of(block).min(size)) };
    }
    fresh
}

extern "C" fn realloc_counted_out(block: Pointer, size: usize, sp: usize, bp: usize) -> Pointer {
    if !boot::allocator_ready() {
        return early::reallocate(block, size);
    }
    if sampled_after_underflow(size) {
        return realloc_sampled(block, size, sp, bp);
    }
    match onwards() {
        Onwards::Real => moved(block, size, None),
        Onwards::Sample | Onwards::Record => realloc_sampled(block, size, sp, bp),
    }
}

extern "C" fn realloc_sampled(block: Pointer, size: usize, sp: usize, bp: usize) -> Pointer {
    redraw_calls();
    moved(block, size, Some(caller(sp, bp)))
}

/// The real realloc; the row goes before, comes back if it failed, and the
/// new block gets one if `sampled_by` says so.
fn moved(block: Pointer, size: usize, sampled_by: Option<Caller>) -> Pointer {
    let segment = live::segment();
    let known = segment.filter(|_| !block.is_null() && blocks::may_be_known(block as u64));
    let row = known
        .and_then(|segment| blocks::remove(segment, block as u64))
        .flatten();
    let fresh = match sampled_by {
        Some(_) => grown(block, size),
        None => real_realloc(block, size),
    };
    if let (Some(segment), Some(row)) = (segment, &row) {
        match fresh.is_null() && size != 0 {
            true => blocks::back(segment, block as u64, row),
            false => blocks::count_death(segment, block as u64, row),
        }
    }
    match sampled_by {
        Some(from) if !fresh.is_null() => {
            let fresh = mark_moved(fresh, size);
            record(fresh, size, from);
            fresh
        }
        _ => fresh,
    }
}

/// The real realloc, to a size that gives the block away if there is one.
fn grown(block: Pointer, size: usize) -> Pointer {
    let exact = size == 0 || path() == Path::All as u64;
    let enough = marks::size_for(size).filter(|_| !exact).unwrap_or(size);
    let fresh = real_realloc(block, enough);
    if fresh.is_null() && enough != size {
        return real_realloc(block, size);
    }
    fresh
}

/// Moves a block to where free will know it, unless it knows it or the block is
/// too large.
fn mark_moved(block: Pointer, size: usize) -> Pointer {
    let by_all = path() == Path::All as u64;
    if by_all || marks::is_marked(block as u64) || size > MOVE_AT_MOST {
        return block;
    }
    let Some(to) = marked(size) else { return block };
    // SAFETY: both blocks have at least `size` bytes and are apart.
    unsafe { to.copy_from_nonoverlapping(block, size) };
    real_free(block);
    to
}

// ---- aligned ones, all rare ----

/// Calls `allocate` with the alignment and size to use, and records when sampled.
fn aligned(
    align: usize,
    size: usize,
    from: Caller,
    allocate: impl Fn(usize, usize) -> Pointer,
) -> Pointer {
    let out = sample::take_bytes(size as u64);
    aligned_counted(out, align, size, from, allocate)
}

/// The same behind the countdown of bytes, which ran `out` or did not.
fn aligned_counted(
    out: bool,
    align: usize,
    size: usize,
    from: Caller,
    allocate: impl Fn(usize, usize) -> Pointer,
) -> Pointer {
    let counted = out && sampled_after_underflow(size);
    let sampled = counted || !matches!(onwards(), Onwards::Real);
    if !sampled {
        return allocate(align, size);
    }
    redraw_calls();
    let by_all = path() == Path::All as u64;
    let markable = marks::possible() && !by_all && align.is_power_of_two();
    let block = match markable {
        true => aligned_marked(align, size, allocate),
        false => allocate(align, size),
    };
    record(block, size, from);
    block
}

fn aligned_marked(
    align: usize,
    size: usize,
    allocate: impl Fn(usize, usize) -> Pointer,
) -> Pointer {
    let by_size = (align <= ALIGNED).then(|| by_its_size(size, |size| allocate(align, size)));
    let block = by_size.flatten();
    block.unwrap_or_else(|| allocate(align.max(marks::PAGE), size))
}

extern "C" fn memalign_hook(align: usize, size: usize, sp: usize, bp: usize) -> Pointer {
    match boot::allocator_ready() {
        true => aligned(align, size, caller(sp, bp), real_memalign),
        false => early::allocate(size),
    }
}

extern "C" fn aligned_alloc_hook(align: usize, size: usize, sp: usize, bp: usize) -> Pointer {
    if !boot::allocator_ready() {
        return early::allocate(size);
    }
    // Refused or not is for aligned_alloc itself to say.
    aligned(
        align,
        size,
        caller(sp, bp),
        |wanted, bytes| match real::aligned_alloc::get() {
            // SAFETY: aligned_alloc(3).
            Some(real) if (wanted, bytes) == (align, size) => unsafe { real(align, size) },
            _ => real_memalign(wanted, bytes),
        },
    )
}

extern "C" fn posix_memalign_counted(
    out: *mut Pointer,
    align: usize,
    size: usize,
    sp: usize,
    bp: usize,
) -> i32 {
    posix_memalign_after(false, out, align, size, caller(sp, bp))
}

extern "C" fn posix_memalign_counted_out(
    out: *mut Pointer,
    align: usize,
    size: usize,
    sp: usize,
    bp: usize,
) -> i32 {
    posix_memalign_after(true, out, align, size, caller(sp, bp))
}

fn posix_memalign_after(
    counted_out: bool,
    out: *mut Pointer,
    align: usize,
    size: usize,
    from: Caller,
) -> i32 {
    let refused = !align.is_power_of_two() || align < size_of::<Pointer>();
    if refused || !boot::allocator_ready() {
        // Refused as it is: a sample would widen it to something valid.
        sample::run_out_next(counted_out);
        return real_posix_memalign(out, align, size);
    }
    let status = Cell::new(0);
    let block = aligned_counted(counted_out, align, size, from, |align, size| {
        let mut block = core::ptr::null_mut();
        status.set(real_posix_memalign(&mut block, align, size));
        block
    });
    if status.get() == 0 {
        // SAFETY: the caller's place for the result, which a failure leaves alone.
        unsafe { *out = block };
    }
    status.get()
}

fn real_posix_memalign(out: *mut Pointer, align: usize, size: usize) -> i32 {
    type Original = unsafe extern "C" fn(*mut Pointer, usize, usize) -> i32;
    let at = REAL_POSIX_MEMALIGN.load(Ordering::Relaxed);
    if at.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: posix_memalign(3), found by boot; the caller's own arguments.
    unsafe { core::mem::transmute::<Pointer, Original>(at)(out, align, size) }
}

extern "C" fn valloc_hook(size: usize, sp: usize, bp: usize) -> Pointer {
    match boot::allocator_ready() {
        true => aligned(4096, size, caller(sp, bp), real_memalign),
        false => early::allocate(size),
    }
}

extern "C" fn pvalloc_hook(size: usize, sp: usize, bp: usize) -> Pointer {
    match size.checked_next_multiple_of(4096) {
        Some(size) => valloc_hook(size, sp, bp),
        None => real_memalign(4096, usize::MAX),
    }
}

/// redis asks for each block it takes or frees. Early memory, which the
/// allocator knows nothing of, comes in whole pages.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.hot.often")]
pub unsafe extern "C" fn malloc_usable_size(_block: Pointer) -> usize {
    stub_asm!([
        "test edi, 4095",
        "jz {of_page}",
        "jmp qword ptr [rip + {next}]",
    ] of_page = sym usable_size, next = sym NEXT_USABLE_SIZE)
}

extern "C" fn usable_size(block: Pointer) -> usize {
    if early::holds(block) {
        return early::size_of(block);
    }
    // SAFETY: malloc_usable_size(3), the caller's own block.
    real::malloc_usable_size::get().map_or(0, |real| unsafe { real(block) })
}

/// Removes the row of a block that another function than free will free.
pub fn before_free(block: Pointer) -> Pointer {
    forget(block);
    block
}

pub mod real {
    //! The allocator's rarer functions.
    use super::Pointer;

    crate::interpose::originals! {
        aligned_alloc: c"aligned_alloc", unsafe extern "C" fn(usize, usize) -> Pointer;
        malloc_usable_size: c"malloc_usable_size", unsafe extern "C" fn(Pointer) -> usize;
    }
}
