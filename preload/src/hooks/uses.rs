//! Calls that use a descriptor: they stamp it, and jump on.
//!
//! A stub touches no register that carries an argument and leaves nothing on
//! the stack, so that arguments, results, errno and cancellation stay libc's
//! business: ten instructions, no clock, no system call. Most numbers lie in
//! the first run of stamps; higher ones, and a thread whose uses are counted
//! out, go by a helper that keeps all registers.
//!
//! Once in a tick, when a descriptor's stamp is not the tick, a stub asks
//! whether something has to be done before the use ([`crate::traps`]). A write
//! to what was hung up goes no further.
//!
//! Callers may leave the upper half of an int's register as it is. Such a
//! number looks too high for the first run, and the helper looks at its lower
//! half.

use crate::interpose::{pop, push, stub_asm};
use crate::page::{FIRST, PAGE, Page, Stamps};
use crate::quiet;
use crate::retire::{self, PARKED};
use crate::stamps::{self, FIRST_ROWS, USE, WAIT};
use crate::traps::{TRAPS, broken_pipe, hit};
use core::ffi::{CStr, c_void};
use core::mem::offset_of;
use core::sync::atomic::{AtomicPtr, Ordering};
use shm_protocol::mailbox::mail;

const BELOW: usize = offset_of!(Page, stamps) + offset_of!(Stamps, below);
const NOW: usize = offset_of!(Page, stamps) + offset_of!(Stamps, now);
const MAIL: usize = offset_of!(Page, mail);
const RUNS: usize = offset_of!(Page, stamps) + offset_of!(Stamps, runs);

const _: () = assert!(offset_of!(crate::tls::Block, flags) == 32);

/// Some lines with every register kept that may carry an argument; functions
/// with `...` take numbers in vector registers too.
macro_rules! keeping_arguments {
    ($($line:literal),*) => {
        concat!(
            push!("rdi"), "\n", push!("rsi"), "\n", push!("rdx"), "\n", push!("rcx"), "\n",
            push!("r8"), "\n", push!("r9"), "\n", push!("rax"), "
             sub rsp, 136
             .cfi_adjust_cfa_offset 136
             movups [rsp], xmm0
             movups [rsp + 16], xmm1
             movups [rsp + 32], xmm2
             movups [rsp + 48], xmm3
             movups [rsp + 64], xmm4
             movups [rsp + 80], xmm5
             movups [rsp + 96], xmm6
             movups [rsp + 112], xmm7
            ",
            $($line, "\n",)*
            "movups xmm0, [rsp]
             movups xmm1, [rsp + 16]
             movups xmm2, [rsp + 32]
             movups xmm3, [rsp + 48]
             movups xmm4, [rsp + 64]
             movups xmm5, [rsp + 80]
             movups xmm6, [rsp + 96]
             movups xmm7, [rsp + 112]
             add rsp, 136
             .cfi_adjust_cfa_offset -136
            ",
            pop!("rax"), "\n", pop!("r9"), "\n", pop!("r8"), "\n", pop!("rcx"), "\n",
            pop!("rdx"), "\n", pop!("rsi"), "\n", pop!("rdi")
        )
    };
}

pub(crate) use keeping_arguments;

/// Counts `{takes}` down, and lets the tick move when they are counted out;
/// threads whose descriptors are not the segment's go on at 3.
macro_rules! count {
    () => {
        "mov r11, qword ptr [rip + memguard_tls@GOTTPOFF]
         sub dword ptr fs:[r11 + 32], {takes}
         js 4f
         1:"
    };
}

/// The way on, and where [`count`] goes when uses are counted out.
macro_rules! go_on {
    () => {
        go_on!("")
    };
    ($before:expr) => {
        concat!(
            "3:\n",
            $before,
            "
         jmp qword ptr [rip + {next}]
         4:
         call {counted_out}
         test r10d, r10d
         jnz 1b
         jmp 3b"
        )
    };
}

/// What a call that waits does before: where mail waits for a quiet moment,
/// this may be one.
macro_rules! quiet {
    () => {
        "mov r11, qword ptr [rip + {page} + {mail}]
         test r11, r11
         jz 7f
         test byte ptr [r11], {bit}
         jz 7f
         call {quiet}
         7:"
    };
}

/// Stamps the descriptor that comes first, or goes to 6 with its place and
/// number where there is more to do, or to 5 with its number.
macro_rules! stamp_first {
    () => {
        "cmp rdi, qword ptr [rip + {page} + {below}]
         jae 5f
         mov r11, qword ptr [rip + {first}]
         mov r10d, dword ptr [rip + {page} + {now}]
         cmp dword ptr [r11 + 4 * rdi], r10d
         jne 6f"
    };
}

/// What [`stamp_first`] leaves out; then `{then}` looks at r11d, or goes on.
macro_rules! stamp_rest {
    ($then:literal) => {
        concat!(
            "6:
             lea r11, [r11 + 4 * rdi]
             mov r10d, edi
             call {due}
             ",
            $then,
            "
             5:
             mov r10d, edi
             call {far}
             ",
            $then
        )
    };
}

macro_rules! body {
    // The same of a call that waits.
    (first WAIT, $next:path) => {
        stub_asm!([
            count!(),
            stamp_first!(),
            "3:",
            quiet!(),
            "jmp qword ptr [rip + {next}]",
            "4:",
            "call {counted_out}",
            "test r10d, r10d",
            "jnz 1b",
            "mov r10d, edi",
            "call {unstamped}",
            "jmp 3b",
            stamp_rest!("jmp 3b"),
        ]
            takes = const WAIT, next = sym $next, counted_out = sym counted_out, far = sym far,
            due = sym due, page = sym PAGE, below = const BELOW, first = sym FIRST,
            now = const NOW, unstamped = sym unstamped, quiet = sym waits_quietly,
            mail = const MAIL, bit = const mail::QUIET)
    };
    // The descriptor comes first.
    (first $takes:expr, $next:path) => {
        stub_asm!([
            count!(),
            stamp_first!(),
            "3:",
            "jmp qword ptr [rip + {next}]",
            "4:",
            "call {counted_out}",
            "test r10d, r10d",
            "jnz 1b",
            "mov r10d, edi",
            "call {unstamped}",
            "jmp 3b",
            stamp_rest!("jmp 3b"),
        ]
            takes = const $takes, next = sym $next, counted_out = sym counted_out, far = sym far,
            due = sym due, page = sym PAGE, below = const BELOW, first = sym FIRST,
            now = const NOW, unstamped = sym unstamped)
    };
    // The same, and it is written to.
    (writes, $next:path) => {
        stub_asm!([
            count!(),
            stamp_first!(),
            "3:",
            "jmp qword ptr [rip + {next}]",
            "4:",
            "call {counted_out}",
            "test r10d, r10d",
            "jnz 1b",
            "mov r10d, edi",
            "call {unstamped}",
            "2:",
            "test r11d, r11d",
            "jz 3b",
            "jmp {broken}",
            stamp_rest!("jmp 2b"),
        ]
            takes = const USE, next = sym $next, counted_out = sym counted_out, far = sym far,
            due = sym due, page = sym PAGE, below = const BELOW, first = sym FIRST,
            now = const NOW, unstamped = sym unstamped, broken = sym broken_pipe)
    };
    // Two of them come, in these registers; the second is written to.
    ($one:literal $other:literal, $next:path) => {
        stub_asm!([
            count!(),
            concat!("mov r10d, ", $one),
            "call {far}",
            concat!("mov r10d, ", $other),
            "call {far}",
            "2:",
            "test r11d, r11d",
            "jnz 5f",
            "3:",
            "jmp qword ptr [rip + {next}]",
            "4:",
            "call {counted_out}",
            "test r10d, r10d",
            "jnz 1b",
            concat!("mov r10d, ", $one),
            "call {unstamped}",
            concat!("mov r10d, ", $other),
            "call {unstamped}",
            "jmp 2b",
            "5:",
            "jmp {broken}",
        ] takes = const USE, next = sym $next, counted_out = sym counted_out, far = sym far,
            unstamped = sym unstamped, broken = sym broken_pipe)
    };
    // None comes: it waits for many, which are looked at where files are retired.
    (many $look:path, $next:path) => {
        stub_asm!([
            count!(),
            "cmp dword ptr [rip + {parked}], 0",
            "jne 5f",
            go_on!(quiet!()),
            "5:",
            "call {look}",
            "jmp 3b",
        ]
            takes = const WAIT, next = sym $next, counted_out = sym counted_out,
            parked = sym PARKED, look = sym $look, page = sym PAGE, quiet = sym waits_quietly,
            mail = const MAIL, bit = const mail::QUIET)
    };
    // No use, but a look at what stands in this register: only traps matter.
    (looks $at:literal, $next:path) => {
        stub_asm!([
            "cmp qword ptr [rip + {traps}], 0",
            "jne 5f",
            "3:",
            "jmp qword ptr [rip + {next}]",
            "5:",
            concat!("mov r10d, ", $at),
            "call {unstamped}",
            "jmp 3b",
        ] next = sym $next, traps = sym TRAPS, unstamped = sym unstamped)
    };
    // The same, or a path that may lead there is in the second register.
    (looks $at:literal names $look:path, $next:path) => {
        stub_asm!([
            "cmp qword ptr [rip + {traps}], 0",
            "jne 5f",
            "3:",
            "jmp qword ptr [rip + {next}]",
            "5:",
            concat!("mov r10d, ", $at),
            "call {unstamped}",
            "call {look}",
            "jmp 3b",
        ] next = sym $next, traps = sym TRAPS, unstamped = sym unstamped, look = sym $look)
    };
    // A path, which may lead through a retired number.
    (names $look:path, $next:path) => {
        stub_asm!([
            "cmp dword ptr [rip + {parked}], 0",
            "jne 5f",
            "3:",
            "jmp qword ptr [rip + {next}]",
            "5:",
            "call {look}",
            "jmp 3b",
        ] next = sym $next, parked = sym PARKED, look = sym $look)
    };
    // Another program is started in a child.
    (starts, $next:path) => {
        stub_asm!([
            "cmp dword ptr [rip + {parked}], 0",
            "jne 5f",
            "3:",
            "jmp qword ptr [rip + {next}]",
            "5:",
            "call {before}",
            "jmp 3b",
        ] next = sym $next, parked = sym PARKED, before = sym another_program)
    };
    // None comes: it sleeps.
    (none, $next:path) => {
        stub_asm!([count!(), go_on!(quiet!())]
            takes = const WAIT, next = sym $next, counted_out = sym counted_out, page = sym PAGE,
            quiet = sym waits_quietly, mail = const MAIL, bit = const mail::QUIET)
    };
}

/// Declares a stub for each function: `name(where its descriptors come)`. The
/// `often` used ones have their ways on side by side.
macro_rules! uses {
    (often { $($often:ident($($how_often:tt)*);)* } $($name:ident($($how:tt)*);)*) => {
        $(use_stub!($often, ".text.hot.often", ".data.hot.first", $($how_often)*);)*
        $(use_stub!($name, ".text.hot", ".data.hot", $($how)*);)*

        /// Finds all originals now, so that no stub looks one up later.
        pub extern "C" fn resolve_all() {
            $(resolve(&$often::NEXT, concat!(stringify!($often), "\0"));)*
            $(resolve(&$name::NEXT, concat!(stringify!($name), "\0"));)*
        }
    };
}

/// One stub, in this section, and its way on in that one.
macro_rules! use_stub {
    ($name:ident, $text:literal, $section:literal, $($how:tt)*) => {
        mod $name {
            use super::*;

            #[unsafe(link_section = $section)]
            pub static NEXT: AtomicPtr<c_void> = AtomicPtr::new(unresolved as *mut c_void);

            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            #[unsafe(link_section = $text)]
            pub unsafe extern "C" fn $name() {
                body!($($how)*, NEXT)
            }

            /// Called before our constructor ran.
            #[unsafe(naked)]
            unsafe extern "C" fn unresolved() {
                stub_asm!([
                    push!("rdi"), push!("rsi"), push!("rdx"), push!("rcx"), push!("r8"), push!("r9"),
                    push!("rax"),
                    "call {resolve}",
                    pop!("rax"), pop!("r9"), pop!("r8"), pop!("rcx"), pop!("rdx"), pop!("rsi"),
                    pop!("rdi"),
                    "jmp qword ptr [rip + {next}]",
                ] resolve = sym resolve_all, next = sym NEXT)
            }
        }
    };
}

uses! {
    often {
        read(first USE);
        write(writes);
        writev(writes);
        readv(first USE);
        send(writes);
        sendto(writes);
        recv(first USE);
        recvfrom(first USE);
        epoll_wait(first WAIT);
        poll(many look_at_polled);
        sendfile64("esi" "edi");
        fstat64(looks "edi");
        pread64(first USE);
        lseek64(first USE);
        stat64(names first_path);
        ioctl(first USE);
        fstat(looks "edi");
        stat(names first_path);
        lseek(first USE);
        pwrite64(first USE);
        select(many look_at_selected);
        pread(first USE);
        pwrite(first USE);
        sendfile("esi" "edi");
    }
    __read(first USE);
    __read_chk(first USE);
    __pread64(first USE);
    __pread_chk(first USE);
    __pread64_chk(first USE);
    preadv(first USE);
    preadv64(first USE);
    preadv2(first USE);
    preadv64v2(first USE);
    __write(writes);
    __pwrite64(first USE);
    pwritev(first USE);
    pwritev64(first USE);
    pwritev2(writes);
    pwritev64v2(writes);
    __send(writes);
    sendmmsg(writes);
    __recv_chk(first USE);
    __recvfrom_chk(first USE);
    vmsplice(first USE);
    // libc's own calls within these go past the hooks.
    dprintf(writes);
    vdprintf(writes);
    __dprintf_chk(writes);
    __vdprintf_chk(writes);
    eventfd_read(first USE);
    eventfd_write(first USE);
    mq_send(first USE);
    mq_timedsend(first USE);
    mq_receive(first USE);
    mq_timedreceive(first USE);
    timerfd_settime(first USE);
    timerfd_gettime(first USE);
    getdents64(first USE);
    __lseek(first USE);
    fsync(first USE);
    fdatasync(first USE);
    ftruncate(first USE);
    ftruncate64(first USE);
    // What devices, lock files and heartbeats are used by.
    flock(first USE);
    lockf(first USE);
    lockf64(first USE);
    fchmod(first USE);
    fchown(first USE);
    futimens(first USE);
    futimes(first USE);
    fallocate(first USE);
    fallocate64(first USE);
    posix_fallocate(first USE);
    posix_fallocate64(first USE);
    posix_fadvise(first USE);
    posix_fadvise64(first USE);
    readahead(first USE);
    sync_file_range(first USE);
    tee("edi" "esi");
    splice("edi" "edx");
    copy_file_range("edi" "edx");
    epoll_pwait(first WAIT);
    epoll_pwait2(first WAIT);
    __poll(many look_at_polled);
    __poll_chk(many look_at_polled);
    ppoll(many look_at_polled);
    __ppoll_chk(many look_at_polled);
    __select(many look_at_selected);
    pselect(many look_at_selected);
    // What is asked of a descriptor, and is no use of it.
    fstatat(looks "edi" names second_path);
    fstatat64(looks "edi" names second_path);
    statx(looks "edi" names second_path);
    fgetxattr(looks "edi");
    fsetxattr(looks "edi");
    flistxattr(looks "edi");
    fremovexattr(looks "edi");
    fstatfs(looks "edi");
    fstatfs64(looks "edi");
    fstatvfs(looks "edi");
    fstatvfs64(looks "edi");
    syncfs(looks "edi");
    isatty(looks "edi");
    fpathconf(looks "edi");
    utimensat(looks "edi" names second_path);
    __fxstat(looks "esi");
    __fxstat64(looks "esi");
    __fxstatat(looks "esi" names third_path);
    __fxstatat64(looks "esi" names third_path);
    aio_read(looks "dword ptr [rdi]");
    aio_read64(looks "dword ptr [rdi]");
    aio_write(looks "dword ptr [rdi]");
    aio_write64(looks "dword ptr [rdi]");
    aio_fsync(looks "dword ptr [rsi]");
    aio_fsync64(looks "dword ptr [rsi]");
    // What goes by a path, perhaps through /proc/self/fd.
    lstat(names first_path);
    lstat64(names first_path);
    access(names first_path);
    eaccess(names first_path);
    euidaccess(names first_path);
    readlink(names first_path);
    realpath(names first_path);
    truncate(names first_path);
    truncate64(names first_path);
    chmod(names first_path);
    chown(names first_path);
    utime(names first_path);
    utimes(names first_path);
    statfs(names first_path);
    statfs64(names first_path);
    statvfs(names first_path);
    statvfs64(names first_path);
    getxattr(names first_path);
    setxattr(names first_path);
    listxattr(names first_path);
    __readlink_chk(names first_path);
    __realpath_chk(names first_path);
    __xstat(names second_path);
    __xstat64(names second_path);
    __lxstat(names second_path);
    __lxstat64(names second_path);
    faccessat(names second_path);
    readlinkat(names second_path);
    fchmodat(names second_path);
    fchownat(names second_path);
    __readlinkat_chk(names second_path);
    linkat(looks "edi" names second_path);
    system(starts);
    nanosleep(none);
    __nanosleep(none);
    clock_nanosleep(none);
    usleep(none);
    sleep(none);
    thrd_sleep(none);
}

/// Starts a page with the stubs that are used often: one page of code, if this
/// comes first among them, as its name has it.
#[unsafe(naked)]
#[unsafe(link_section = ".text.hot.often")]
unsafe extern "C" fn page_begins() {
    stub_asm!([".balign 4096", "ud2"])
}

#[used]
static PAGE_BEGINS: unsafe extern "C" fn() = page_begins;

fn resolve(next: &AtomicPtr<c_void>, name: &'static str) {
    let name = CStr::from_bytes_with_nul(name.as_bytes()).unwrap_or_default();
    let found = crate::boot::next(name);
    let way = if found.is_null() {
        missing as *mut c_void
    } else {
        found
    };
    next.store(way, Ordering::Relaxed);
}

/// libc has no such function.
extern "C" fn missing() -> isize {
    super::missing() as isize
}

/// Mail waits for a quiet moment. Keeps all registers that carry arguments;
/// calls that wait take none in vector registers.
#[unsafe(naked)]
unsafe extern "C" fn waits_quietly() {
    stub_asm!([
        push!("rdi"), push!("rsi"), push!("rdx"), push!("rcx"), push!("r8"), push!("r9"), push!("rax"),
        "sub rsp, 8",
        ".cfi_adjust_cfa_offset 8",
        // Past all that: where the stub's caller goes on.
        "lea rdi, [rsp + 72]",
        "mov rsi, rbp",
        "call {look}",
        "add rsp, 8",
        ".cfi_adjust_cfa_offset -8",
        pop!("rax"), pop!("r9"), pop!("r8"), pop!("rcx"), pop!("rdx"), pop!("rsi"), pop!("rdi"),
        "ret",
    ] look = sym quiet::look)
}

/// Lets the tick move. In r10d: whether the descriptor is to be stamped.
/// Keeps every other register but r11.
#[unsafe(naked)]
#[unsafe(link_section = ".text.hot")]
pub unsafe extern "C" fn counted_out() {
    stub_asm!([keeping_arguments!("call {look}", "movzx r10d, al"), "ret"]
        look = sym stamps::look_at_clock)
}

/// Stamps the number in r10d. In r11d: whether a write to it must not be made.
/// Keeps every register but r10 and r11.
#[unsafe(naked)]
#[unsafe(link_section = ".text.hot")]
pub unsafe extern "C" fn far() {
    stub_asm!([
        push!("rax"),
        "mov r11d, r10d",
        "or r11d, {low}",
        "bsr r11d, r11d",
        "lea rax, [rip + {page} + {runs}]",
        "mov r11, qword ptr [rax + 8 * r11]",
        "test r11, r11",
        "jz 2f",
        "mov eax, dword ptr [rip + {page} + {now}]",
        "cmp dword ptr [r11 + 4 * r10], eax",
        "jne 3f",
        "xor r11d, r11d",
        pop!("rax"),
        "ret",
        // No stamp, and r11 is 0.
        "2:",
        ".cfi_adjust_cfa_offset 8",
        pop!("rax"),
        "cmp qword ptr [rip + {traps}], 0",
        "jne {perhaps}",
        "ret",
        "3:",
        ".cfi_adjust_cfa_offset 8",
        "lea r11, [r11 + 4 * r10]",
        pop!("rax"),
        "jmp {due}",
    ] low = const FIRST_ROWS - 1, page = sym PAGE, runs = const RUNS, now = const NOW,
        traps = sym TRAPS, perhaps = sym perhaps_trapped, due = sym due)
}

/// The stamp at r11 of the number in r10d is not the tick. As [`far`].
///
/// It is read before it is asked whether there are traps: where one is set
/// in between, the swap fails.
#[unsafe(naked)]
#[unsafe(link_section = ".text.hot")]
pub unsafe extern "C" fn due() {
    stub_asm!([
        push!("rax"),
        "mov eax, dword ptr [r11]",
        "cmp qword ptr [rip + {traps}], 0",
        "jne 2f",
        "mov r10d, dword ptr [rip + {page} + {now}]",
        "lock cmpxchg dword ptr [r11], r10d",
        "xor r11d, r11d",
        pop!("rax"),
        "ret",
        "2:",
        ".cfi_adjust_cfa_offset 8",
        pop!("rax"),
        "jmp {perhaps}",
    ] traps = sym TRAPS, page = sym PAGE, now = const NOW, perhaps = sym perhaps_trapped)
}

/// Nothing is stamped for the number in r10d. As [`far`].
#[unsafe(naked)]
pub unsafe extern "C" fn unstamped() {
    stub_asm!([
        "xor r11d, r11d",
        "cmp qword ptr [rip + {traps}], 0",
        "jne {perhaps}",
        "ret",
    ] traps = sym TRAPS, perhaps = sym perhaps_trapped)
}

/// poll(2) or select(2), while files are retired. Keep every argument.
#[unsafe(naked)]
unsafe extern "C" fn look_at_polled() {
    stub_asm!([keeping_arguments!("call {look}"), "ret"] look = sym retire::before_poll)
}

#[unsafe(naked)]
unsafe extern "C" fn look_at_selected() {
    stub_asm!([keeping_arguments!("call {look}"), "ret"] look = sym retire::before_select)
}

/// A path in the first, second or third register, while files are retired. Keep
/// every argument.
#[unsafe(naked)]
unsafe extern "C" fn first_path() {
    stub_asm!([keeping_arguments!("call {look}"), "ret"] look = sym retire::before_path)
}

#[unsafe(naked)]
unsafe extern "C" fn second_path() {
    stub_asm!([keeping_arguments!("mov rdi, rsi", "call {look}"), "ret"]
        look = sym retire::before_path)
}

#[unsafe(naked)]
unsafe extern "C" fn third_path() {
    stub_asm!([keeping_arguments!("mov rdi, rdx", "call {look}"), "ret"]
        look = sym retire::before_path)
}

/// system(3), which starts another program, while files are retired.
#[unsafe(naked)]
unsafe extern "C" fn another_program() {
    stub_asm!([keeping_arguments!("call {before}"), "ret"] before = sym retire::before_exec)
}

/// There are traps: number in r10d, stamp or 0 in r11. As [`far`].
#[unsafe(naked)]
unsafe extern "C" fn perhaps_trapped() {
    stub_asm!([
        keeping_arguments!("mov edi, r10d", "mov rsi, r11", "call {hit}", "mov r11d, eax"),
        "ret",
    ] hit = sym hit)
}
