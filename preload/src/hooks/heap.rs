//! The allocator family.
//!
//! The fast paths are four and five instructions: count the bytes down and
//! jump on, or test the pointer and the size before the block and jump on.
//! Sampled blocks are made so that these give them away ([`crate::marks`]).

mod aligned;
mod giving_back;
mod sampling;

pub(super) use giving_back::{before_free, free_marked};

use crate::blocks::{FILTER, MAYBE};
use crate::boot::{self, early};
use crate::interpose::stub_asm;
use crate::marks;
use crate::unwind::Caller;
use aligned::{
    aligned_alloc_hook, memalign_hook, posix_memalign_counted, posix_memalign_counted_out,
    pvalloc_hook, valloc_hook,
};
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use giving_back::{realloc_counted_out, realloc_marked, realloc_sampled};
use sampling::{
    calloc_counted_out, calloc_recorded, calloc_sampled, malloc_counted, malloc_counted_out,
    malloc_recorded, malloc_sampled,
};

type Pointer = *mut c_void;

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
         cmp word ptr [rcx + rax * 2], 0"
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

pub mod real {
    //! The allocator's rarer functions.
    use super::Pointer;

    crate::interpose::originals! {
        aligned_alloc: c"aligned_alloc", unsafe extern "C" fn(usize, usize) -> Pointer;
        malloc_usable_size: c"malloc_usable_size", unsafe extern "C" fn(Pointer) -> usize;
    }
}
