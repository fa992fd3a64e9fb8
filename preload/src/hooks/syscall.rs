//! syscall(2): some libraries close and open by number (libuv does).
//!
//! The stub tests the number against a small set and jumps on for the rest,
//! so that all six arguments, errno and cancellation stay libc's business.

use super::uses::{counted_out, far, keeping_arguments, unstamped};
use super::{caller, children, listeners};
use crate::descriptors::{Closing, born, closing};
use crate::interpose::{pop, push, stub_asm};
use crate::traps::{self, broken_pipe};
use crate::{live, retire, stamps};
use core::ffi::{c_int, c_long, c_uint, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};
use shm_protocol::codes::{Kind, note};

static NEXT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

pub mod real {
    //! Its original.
    use super::*;

    /// Finds it.
    pub fn resolve_all() {
        NEXT.store(crate::boot::next(c"syscall"), Ordering::Relaxed);
    }
}

type Syscall =
    unsafe extern "C-unwind" fn(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long;

/// Numbers up to 511 that are looked at, as bits.
const WATCHED: [u64; 8] = watched();

const fn watched() -> [u64; 8] {
    bits(&[
        libc::SYS_sendfile,
        libc::SYS_tee,
        libc::SYS_splice,
        libc::SYS_copy_file_range,
        libc::SYS_open,
        libc::SYS_close,
        libc::SYS_pipe,
        libc::SYS_dup,
        libc::SYS_fcntl,
        libc::SYS_dup2,
        libc::SYS_socket,
        libc::SYS_accept,
        libc::SYS_socketpair,
        libc::SYS_clone,
        libc::SYS_fork,
        libc::SYS_wait4,
        libc::SYS_waitid,
        libc::SYS_timer_create,
        libc::SYS_timer_settime,
        libc::SYS_timer_gettime,
        libc::SYS_timer_getoverrun,
        libc::SYS_timer_delete,
        libc::SYS_epoll_ctl,
        libc::SYS_inotify_add_watch,
        libc::SYS_inotify_rm_watch,
        libc::SYS_vfork,
        libc::SYS_creat,
        libc::SYS_prctl,
        libc::SYS_epoll_create,
        libc::SYS_openat,
        libc::SYS_unshare,
        libc::SYS_signalfd,
        libc::SYS_timerfd_create,
        libc::SYS_eventfd,
        libc::SYS_accept4,
        libc::SYS_signalfd4,
        libc::SYS_eventfd2,
        libc::SYS_epoll_create1,
        libc::SYS_dup3,
        libc::SYS_pipe2,
        libc::SYS_inotify_init,
        libc::SYS_inotify_init1,
        libc::SYS_perf_event_open,
        libc::SYS_fanotify_init,
        libc::SYS_seccomp,
        libc::SYS_memfd_create,
        libc::SYS_bpf,
        libc::SYS_userfaultfd,
        libc::SYS_pidfd_open,
        libc::SYS_close_range,
        libc::SYS_openat2,
        libc::SYS_pidfd_getfd,
        libc::SYS_io_uring_setup,
        libc::SYS_mlockall,
        libc::SYS_exit_group,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_fsmount,
        libc::SYS_memfd_secret,
        libc::SYS_landlock_create_ruleset,
    ])
}

/// Numbers that use the descriptor that they name first, and no more.
const USES: [u64; 8] = bits(&[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_vmsplice,
    libc::SYS_mq_timedsend,
    libc::SYS_mq_timedreceive,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_getdents,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_ioctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
]);

/// Those of them that write to it.
const WRITES: [u64; 8] = bits(&[
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwritev2,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
]);

const fn bits(numbers: &[c_long]) -> [u64; 8] {
    let (mut bits, mut i) = ([0u64; 8], 0);
    while i < numbers.len() {
        bits[numbers[i] as usize / 64] |= 1 << (numbers[i] % 64);
        i += 1;
    }
    bits
}

static WATCHED_BITS: [u64; 8] = WATCHED;
static USES_BITS: [u64; 8] = USES;
static WRITES_BITS: [u64; 8] = WRITES;

#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall() {
    stub_asm!([
        "cmp rdi, 512",
        "jae 1f",
        "lea rax, [rip + {bits}]",
        "bt dword ptr [rax], edi",
        "jc 2f",
        "lea rax, [rip + {uses}]",
        "bt dword ptr [rax], edi",
        "jc 5f",
        "cmp dword ptr [rip + {parked}], 0",
        "jne 7f",
        "1:",
        "cmp qword ptr [rip + {next}], 0",
        "je 2f",
        "jmp qword ptr [rip + {next}]",
        "2:",
        // Seven arguments come in: six registers and one stack word. Our
        // hook gets them all, and the caller behind them.
        "mov rax, rsp",
        push!("rbp"),
        push!("rax"),
        push!("qword ptr [rax + 8]"),
        "call {hook}",
        "add rsp, 24",
        ".cfi_adjust_cfa_offset -24",
        "ret",
        // As the stubs of `uses` do it; the descriptor comes second here.
        "5:",
        "mov r11, qword ptr [rip + memguard_tls@GOTTPOFF]",
        "sub dword ptr fs:[r11 + 32], {use_}",
        "js 4f",
        "3:",
        "mov r10d, esi",
        "call {far}",
        "6:",
        "test r11d, r11d",
        "jz 1b",
        "lea rax, [rip + {writes}]",
        "bt dword ptr [rax], edi",
        "jnc 1b",
        "jmp {broken}",
        "4:",
        "call {counted_out}",
        "test r10d, r10d",
        "jnz 3b",
        "mov r10d, esi",
        "call {unstamped}",
        "jmp 6b",
        "7:",
        "call {looks}",
        "jmp 1b",
    ]
        bits = sym WATCHED_BITS, uses = sym USES_BITS, next = sym NEXT, hook = sym syscall_hook,
        use_ = const stamps::USE, far = sym far, counted_out = sym counted_out, writes = sym WRITES_BITS,
        unstamped = sym unstamped, broken = sym broken_pipe, parked = sym retire::PARKED,
        looks = sym look_first)
}

/// Any other number, while files are retired. Keeps every argument.
#[unsafe(naked)]
unsafe extern "C" fn look_first() {
    stub_asm!([keeping_arguments!("call {look}"), "ret"] look = sym look)
}

/// What such a call may look at comes back first.
extern "C" fn look(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize) {
    match number {
        libc::SYS_poll | libc::SYS_ppoll => retire::before_poll(a as *const _, b as u64),
        libc::SYS_select | libc::SYS_pselect6 => {
            retire::before_select(a as c_int, b as *const _, c as *const _, d as *const _);
        }
        libc::SYS_mmap => retire::due(e as c_int),
        libc::SYS_stat | libc::SYS_lstat | libc::SYS_access | libc::SYS_readlink => {
            retire::before_path(a as *const _);
        }
        libc::SYS_newfstatat | libc::SYS_statx | libc::SYS_linkat | libc::SYS_readlinkat => {
            retire::due(a as c_int);
            retire::before_path(b as *const _);
        }
        // Most take a descriptor first. One that takes something else there
        // names no retired number, or brings one back for nothing.
        _ => retire::due(a as c_int),
    }
}

extern "C-unwind" fn syscall_hook(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
    sp: usize,
    bp: usize,
) -> c_long {
    let mut next = NEXT.load(Ordering::Relaxed);
    if next.is_null() {
        real::resolve_all();
        next = NEXT.load(Ordering::Relaxed);
    }
    if next.is_null() {
        return super::missing().into();
    }
    // SAFETY: libc's syscall, found by its name.
    let real = unsafe { core::mem::transmute::<*mut c_void, Syscall>(next) };
    // SAFETY: the caller's own arguments.
    let call = || unsafe { real(number, a, b, c, d, e, f) };
    let from = caller(sp, bp);
    let fd = a as c_int;
    if traps::any() && !matches!(number, libc::SYS_close | libc::SYS_close_range) {
        retire::due(fd);
    }
    match number {
        libc::SYS_open | libc::SYS_creat => retire::named(a as *const _),
        libc::SYS_openat | libc::SYS_openat2 => retire::named(b as *const _),
        _ => {}
    }
    match number {
        libc::SYS_close => {
            let known = closing(fd, from);
            if known == Closing::Ours {
                return 0;
            }
            let status = call();
            if status < 0 && known == Closing::Unknown {
                super::files::close_failed(fd, sp, bp);
            }
            status
        }
        libc::SYS_sendfile => used(b as c_int, fd, call),
        libc::SYS_tee => used(fd, b as c_int, call),
        libc::SYS_splice | libc::SYS_copy_file_range => used(fd, c as c_int, call),
        libc::SYS_dup => {
            let copy = call();
            super::files::duplicated(fd, copy as c_int, 0, sp, bp);
            copy
        }
        libc::SYS_fcntl => {
            super::files::after_fcntl(fd, b as c_int, call() as c_int, sp, bp).into()
        }
        libc::SYS_close_range => {
            // SAFETY: the caller's own call, on a part of its range.
            let part = |first: c_uint, last: c_uint| unsafe {
                real(number, first.into(), last.into(), c, d, e, f) as c_int
            };
            super::files::closing_range(a as c_uint, b as c_uint, c as c_int, part).into()
        }
        libc::SYS_dup2 | libc::SYS_dup3 => placed(fd, b as c_int, sp, bp, call),
        libc::SYS_pipe | libc::SYS_pipe2 => {
            let status = call();
            super::files::pair_born(a as *const c_int, status as c_int, Kind::Pipe, sp, bp);
            status
        }
        libc::SYS_socketpair => {
            let status = call();
            super::files::pair_born(d as *const c_int, status as c_int, Kind::Socket, sp, bp);
            status
        }
        libc::SYS_prctl if fd == libc::PR_SET_SECCOMP => {
            live::freeze();
            call()
        }
        libc::SYS_seccomp => {
            live::freeze();
            call()
        }
        libc::SYS_clone => {
            super::process::before_clone(fd);
            let made = call();
            if fd & (libc::CLONE_THREAD | libc::CLONE_PARENT) == 0 {
                children::made(made as c_int, from);
            }
            made
        }
        libc::SYS_fork => {
            live::forking();
            children::forked(from, || call() as c_int).into()
        }
        libc::SYS_vfork => {
            live::share();
            call()
        }
        libc::SYS_unshare | libc::SYS_mlockall => rights_changed(number, fd, call()),
        libc::SYS_execve => {
            retire::named(a as *const _);
            super::exec::replacing(call)
        }
        libc::SYS_execveat => {
            retire::due(fd);
            super::exec::replacing(call)
        }
        libc::SYS_exit_group => {
            live::end();
            call()
        }
        libc::SYS_signalfd | libc::SYS_signalfd4 if fd != -1 => call(),
        libc::SYS_epoll_ctl => {
            let status = || call() as c_int;
            listeners::control(fd, b as c_int, c as c_int, from, status).into()
        }
        libc::SYS_inotify_add_watch => {
            let watch = call();
            listeners::watched(fd, watch as c_int, from);
            watch
        }
        libc::SYS_inotify_rm_watch => listeners::unwatch(fd, b as c_int, || call() as c_int).into(),
        libc::SYS_timer_create..=libc::SYS_timer_delete => {
            super::timers::by_number(number, [a, c], from, call)
        }
        libc::SYS_wait4 => {
            let mut ours = 0;
            let status = children::place(b as *mut c_int, &mut ours);
            // SAFETY: the caller's own arguments, but for a place of ours
            // where it gave none.
            let pid = unsafe { real(number, a, status as c_long, c, d, e, f) };
            if pid > 0 {
                // SAFETY: the kernel has just written there.
                children::waited(pid as c_int, unsafe { *status });
            }
            pid
        }
        libc::SYS_waitid => {
            let status = call();
            let info = c as *const libc::siginfo_t;
            if !info.is_null() {
                // SAFETY: the kernel has filled it in.
                unsafe { children::waited_for(status as c_int, info, d as c_int) };
            }
            status
        }
        _ => {
            let made = call();
            if let Some(kind) = makes(number) {
                born(made as c_int, kind, 0, from);
            }
            made
        }
    }
}

/// Two descriptors are in use, the second is written to.
fn used(one: c_int, other: c_int, call: impl FnOnce() -> c_long) -> c_long {
    stamps::touch(one);
    if stamps::touch(other) {
        return broken_pipe() as c_long;
    }
    call()
}

fn placed(from: c_int, to: c_int, sp: usize, bp: usize, call: impl FnOnce() -> c_long) -> c_long {
    super::files::placed(from, to, sp, bp, || call() as c_int).into()
}

fn rights_changed(number: c_long, flags: c_int, status: c_long) -> c_long {
    if number == libc::SYS_unshare && status == 0 && flags & libc::CLONE_FILES != 0 {
        crate::descriptors::leave_table();
    }
    if number == libc::SYS_mlockall
        && status == 0
        && let Some(segment) = live::segment()
    {
        segment.freeze(note::MLOCKALL);
    }
    status
}

/// What a call makes, if it makes a descriptor.
fn makes(number: c_long) -> Option<Kind> {
    Some(match number {
        libc::SYS_open | libc::SYS_openat | libc::SYS_openat2 | libc::SYS_creat => Kind::File,
        libc::SYS_socket => Kind::Socket,
        libc::SYS_accept | libc::SYS_accept4 => Kind::Accepted,
        libc::SYS_epoll_create | libc::SYS_epoll_create1 => Kind::Epoll,
        libc::SYS_signalfd | libc::SYS_signalfd4 => Kind::SignalFd,
        libc::SYS_timerfd_create => Kind::TimerFd,
        libc::SYS_eventfd | libc::SYS_eventfd2 => Kind::EventFd,
        libc::SYS_inotify_init | libc::SYS_inotify_init1 => Kind::Inotify,
        libc::SYS_fanotify_init => Kind::Fanotify,
        libc::SYS_memfd_create | libc::SYS_memfd_secret => Kind::MemFd,
        libc::SYS_userfaultfd => Kind::UserFaultFd,
        libc::SYS_pidfd_open => Kind::PidFd,
        libc::SYS_pidfd_getfd => Kind::Received,
        libc::SYS_io_uring_setup => {
            if let Some(segment) = live::segment() {
                segment.note(note::IO_URING);
            }
            Kind::IoUring
        }
        libc::SYS_perf_event_open
        | libc::SYS_open_tree
        | libc::SYS_fsopen
        | libc::SYS_fsmount
        | libc::SYS_landlock_create_ruleset => Kind::Other,
        _ => return None,
    })
}
