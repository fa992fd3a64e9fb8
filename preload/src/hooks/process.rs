//! fork, vfork, clone, exit, and what changes a process's rights.

use crate::interpose::{pop, push, stub_asm};
use crate::{descriptors, live};
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};

pub mod real {
    //! Their originals.
    use super::*;

    mod table {
        use super::*;
        crate::interpose::originals! {
            exit_now: c"_exit", unsafe extern "C" fn(c_int) -> !;
            daemon: c"daemon", unsafe extern "C" fn(c_int, c_int) -> c_int;
        }
    }
    pub use table::{daemon, exit_now};

    /// Finds them. redhook's resolve on their first `get`, which happens here.
    pub fn resolve_all() {
        table::resolve_all();
        NEXT_PRCTL.store(crate::boot::next(c"prctl"), Ordering::Relaxed);
        let fork = crate::boot::next(c"fork");
        let raw = crate::boot::next(c"_Fork");
        NEXT_FORK.store(fork, Ordering::Relaxed);
        // Before glibc 2.34 there is no _Fork.
        NEXT_RAW_FORK.store(if raw.is_null() { fork } else { raw }, Ordering::Relaxed);
        NEXT_CLONE.store(crate::boot::next(c"clone"), Ordering::Relaxed);
        let _ = redhook::real!(mlockall);
        let _ = redhook::real!(unshare);
    }
}

static NEXT_PRCTL: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static NEXT_FORK: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static NEXT_RAW_FORK: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static NEXT_CLONE: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// Between vfork and exec the child runs in the parent's memory, on this very
/// thread block: a flag there keeps it from changing a row. The return
/// address travels in a register, since the child reuses the stack slot.
macro_rules! vforks {
    ($name:ident) => {
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name() -> c_int {
            stub_asm!([
                "pop rdi",
                ".cfi_adjust_cfa_offset -8",
                ".cfi_register rip, rdi",
                "mov rsi, qword ptr [rip + memguard_tls@GOTTPOFF]",
                "mov edx, dword ptr fs:[rsi + 32]",
                // The flag, and no uses of descriptors left: the child stamps none.
                "or dword ptr fs:[rsi + 32], 0xC0000001",
                "mov eax, 58",
                "syscall",
                push!("rdi"),
                ".cfi_rel_offset rip, 0",
                "test rax, rax",
                "jz 3f",
                // The parent goes on: the child has called exec or is gone.
                "mov dword ptr fs:[rsi + 32], edx",
                "js 2f",
                push!("rax"),
                "mov edi, eax",
                "lea rsi, [rsp + 8]",
                "mov rdx, rbp",
                "call {made}",
                pop!("rax"),
                "3:",
                "ret",
                "2:",
                "mov rdi, rax",
                "sub rsp, 8",
                ".cfi_adjust_cfa_offset 8",
                "call {fail}",
                "add rsp, 8",
                ".cfi_adjust_cfa_offset -8",
                "ret",
            ] fail = sym failed, made = sym child_made)
        }
    };
}

vforks!(vfork);
vforks!(__vfork);

/// The parent has its stack for itself again.
extern "C" fn child_made(pid: c_int, sp: usize, bp: usize) {
    super::children::made(pid, super::caller(sp, bp));
}

extern "C" fn failed(status: isize) -> c_int {
    // SAFETY: errno of this thread.
    unsafe { *libc::__errno_location() = -status as c_int };
    -1
}

crate::interpose::stubs! {
    fork(0) => fork_hook;
    __fork(0) => fork_hook;
    _Fork(0) => raw_fork_hook;
}

extern "C" fn fork_hook(sp: usize, bp: usize) -> c_int {
    fork_by(&NEXT_FORK, sp, bp)
}

/// Without the handlers of pthread_atfork: ours is called here.
extern "C" fn raw_fork_hook(sp: usize, bp: usize) -> c_int {
    let child = fork_by(&NEXT_RAW_FORK, sp, bp);
    if child == 0 {
        live::child_under_filter();
    }
    child
}

/// Notes the moment, forks, and in the parent notes the child.
fn fork_by(next: &AtomicPtr<c_void>, sp: usize, bp: usize) -> c_int {
    if next.load(Ordering::Relaxed).is_null() {
        real::resolve_all();
    }
    live::forking();
    let real = next.load(Ordering::Relaxed);
    // SAFETY: fork(2) or _Fork(3), found by name.
    let fork = unsafe { core::mem::transmute::<*mut c_void, extern "C" fn() -> c_int>(real) };
    super::children::forked(super::caller(sp, bp), || fork())
}

/// clone(2) of libc. A child that shares memory but gets no thread block of
/// its own runs on its parent's; if it has its own descriptors, only the
/// kernel can tell whose a close is.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clone() {
    stub_asm!([
        push!("rdi"), push!("rsi"), push!("rdx"), push!("rcx"), push!("r8"), push!("r9"), push!("rax"),
        "mov edi, edx",
        "call {before}",
        pop!("rax"), pop!("r9"), pop!("r8"), pop!("rcx"), pop!("rdx"), pop!("rsi"), pop!("rdi"),
        "jmp qword ptr [rip + {next}]",
    ] before = sym before_clone, next = sym NEXT_CLONE)
}

/// From clone(2) and from syscall(SYS_clone).
pub extern "C" fn before_clone(flags: c_int) {
    if flags & libc::CLONE_VM == 0 {
        live::forking();
    }
    let shares = flags & libc::CLONE_VM != 0 && flags & libc::CLONE_SETTLS == 0;
    if shares {
        live::share();
    }
    if shares && flags & libc::CLONE_FILES == 0 {
        descriptors::guard_by_pid();
    }
    if NEXT_CLONE.load(Ordering::Relaxed).is_null() {
        real::resolve_all();
    }
}

/// prctl(2): a filter is on its way.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prctl() {
    stub_asm!([
        "cmp edi, 22",
        "je 2f",
        "1:",
        "cmp qword ptr [rip + {next}], 0",
        "je 2f",
        "jmp qword ptr [rip + {next}]",
        "2:",
        push!("rdi"), push!("rsi"), push!("rdx"), push!("rcx"), push!("r8"), push!("r9"), push!("rax"),
        "call {before}",
        pop!("rax"), pop!("r9"), pop!("r8"), pop!("rcx"), pop!("rdx"), pop!("rsi"), pop!("rdi"),
        "jmp qword ptr [rip + {next}]",
    ] before = sym before_prctl, next = sym NEXT_PRCTL)
}

extern "C" fn before_prctl(option: c_int) {
    if NEXT_PRCTL.load(Ordering::Relaxed).is_null() {
        real::resolve_all();
    }
    if option == libc::PR_SET_SECCOMP {
        live::freeze();
    }
}

macro_rules! exits {
    ($name:ident) => {
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(status: c_int) -> ! {
            // A vfork child ends itself, not the process whose memory it uses.
            if !live::in_vfork_child() {
                live::end();
            }
            if let Some(exit) = real::exit_now::get() {
                // SAFETY: _exit(2).
                unsafe { exit(status) }
            }
            // SAFETY: does not return either.
            unsafe { libc::abort() }
        }
    };
}

exits!(_exit);
exits!(_Exit);

/// daemon(3) forks and ends the parent within libc, where no hook sees it. A
/// call that fails before there is a child undoes that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn daemon(keep_folder: c_int, keep_standard: c_int) -> c_int {
    live::end_for_child();
    let status = crate::hooks::original!(daemon(keep_folder, keep_standard));
    if status == -1 {
        live::end_undone();
    }
    status
}

// redhook serves where a function has a fixed arity, is no cancellation
// point, always exists and needs no caller: it passes none on. It resolves
// under a lock on first use, so that use is made in the constructor.
redhook::hook! {
    unsafe fn mlockall(flags: c_int) -> c_int => mlockall_hook {
        if let Some(segment) = live::segment() {
            segment.freeze(shm_protocol::codes::note::MLOCKALL);
        }
        // SAFETY: the original, the caller's argument.
        unsafe { redhook::real!(mlockall)(flags) }
    }
}

redhook::hook! {
    unsafe fn unshare(flags: c_int) -> c_int => unshare_hook {
        // SAFETY: the original, the caller's argument.
        let status = unsafe { redhook::real!(unshare)(flags) };
        if status == 0 && flags & libc::CLONE_FILES != 0 {
            descriptors::leave_table();
        }
        status
    }
}
