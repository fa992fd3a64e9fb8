//! The thread's own block: 64 bytes of initial-exec thread-local storage.
//!
//! `thread_local!` in a shared library calls `__tls_get_addr` on every use,
//! which costs and may allocate; stable Rust has no other form. So the block
//! is declared in assembly, and [`block`] is two instructions.
//!
//! Only its own thread (and that thread's signal handlers) touches a block.
//! A child of vfork(2) shares its parent's.

use core::arch::{asm, global_asm};

global_asm!(
    ".section .tbss,\"awT\",@nobits",
    ".balign 64",
    ".globl memguard_tls",
    ".hidden memguard_tls",
    ".type memguard_tls, @object",
    ".size memguard_tls, 64",
    "memguard_tls: .zero 64",
    ".text",
);

/// The block. The first two words and the flags are known to the assembly stubs.
#[repr(C)]
pub struct Block {
    /// Bytes until the next sample. 0 until the thread's first allocation.
    pub bytes_left: u64,
    /// Allocations until the next sample, when sampling by rate.
    pub calls_left: u64,
    /// Stack pointer of the hook at work on this thread, 0 for none.
    pub guard: usize,
    /// `ThreadState` of this thread, null until needed.
    pub state: *mut crate::thread::ThreadState,
    /// `flag` bits (8), and above them what is left of this thread's uses of
    /// descriptors before it looks at the clock. Known to the stubs.
    pub flags: u32,
    /// What was drawn for the countdown of calls, to know what it used up.
    pub drawn_calls: u32,
    /// The same for bytes; 0 while their countdown does not decide.
    pub drawn_bytes: u64,
    /// State of the random numbers; 0 until seeded.
    pub random: u64,
    /// Lowest address of this thread's stack, 0 when unknown.
    pub stack_low: usize,
}

/// Bits of `Block::flags`.
pub mod flag {
    /// Between vfork(2) and exec: the memory is the parent's. Change nothing.
    pub const VFORK_CHILD: u32 = 1 << 0;
    /// The thread has descriptors of its own since unshare(2).
    pub const OWN_FILES: u32 = 1 << 1;
    /// The main thread.
    pub const MAIN: u32 = 1 << 2;
    /// Where flags end.
    pub const ALL: u32 = 0xFF;
    /// No uses are left: below zero, and far from where that ends.
    pub const COUNTED_OUT: u32 = 3 << 30;
}

const _: () = assert!(core::mem::size_of::<Block>() == 64);
const _: () = assert!(core::mem::offset_of!(Block, calls_left) == 8);
const _: () = assert!(core::mem::offset_of!(Block, flags) == 32);

/// This thread's block.
#[inline(always)]
pub fn block() -> &'static mut Block {
    let at: *mut Block;
    // SAFETY: initial-exec access as the psABI has it; the block is zeroed at
    // thread start and lives as long as the thread. The reference is used for
    // single loads and stores only, never across the real call of a hook.
    unsafe {
        asm!("mov {0}, qword ptr [rip + memguard_tls@GOTTPOFF]", "add {0}, qword ptr fs:[0]",
            out(reg) at, options(pure, readonly, nostack));
        &mut *at
    }
}

/// The thread pointer: on x86_64 glibc it lies just above the thread's stack.
pub fn thread_pointer() -> usize {
    let at: usize;
    // SAFETY: fs:[0] holds its own address (psABI).
    unsafe { asm!("mov {}, qword ptr fs:[0]", out(reg) at, options(pure, readonly, nostack)) };
    at
}
