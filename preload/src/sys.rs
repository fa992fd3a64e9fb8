//! Raw system calls: no errno, no cancellation point, no way back into a hook.
//!
//! Our own work in the program goes through these few. A crate would do, but
//! those at hand look the vDSO up through files or libc at moments of their
//! own choosing, and a hook may run under a seccomp filter.

use core::arch::asm;
use core::mem::{size_of, size_of_val};

/// Calls the kernel. Errors come back as `-errno`.
#[inline(always)]
fn call(number: i64, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the kernel checks pointers itself; callers below pass memory
    // that they own (I5: nothing here acts on the program's objects).
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a[0], in("rsi") a[1],
            in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

fn call1(number: i64, a: usize) -> isize {
    call(number, [a, 0, 0, 0, 0, 0])
}

fn call3(number: i64, a: usize, b: usize, c: usize) -> isize {
    call(number, [a, b, c, 0, 0, 0])
}

/// A path that ends in 0.
pub type Path<'a> = &'a core::ffi::CStr;

pub fn getpid() -> u32 {
    call1(libc::SYS_getpid, 0) as u32
}

pub fn getppid() -> u32 {
    call1(libc::SYS_getppid, 0) as u32
}

pub fn gettid() -> u32 {
    call1(libc::SYS_gettid, 0) as u32
}

pub fn geteuid() -> u32 {
    call1(libc::SYS_geteuid, 0) as u32
}

/// Opens; `-errno` on failure.
pub fn open(path: Path, flags: i32, mode: u32) -> isize {
    let at = libc::AT_FDCWD as isize as usize;
    let flags = (flags | libc::O_CLOEXEC) as usize;
    call(
        libc::SYS_openat,
        [at, path.as_ptr() as usize, flags, mode as usize, 0, 0],
    )
}

/// Copies from an address of the program's that may be bad; how much there was.
pub fn copy_own(from: usize, to: &mut [u8]) -> usize {
    let own = getpid() as usize;
    let part = |base, length| [base, length];
    let here = part(to.as_mut_ptr() as usize, to.len());
    let there = part(from, to.len());
    let (here, there) = (here.as_ptr() as usize, there.as_ptr() as usize);
    let got = call(libc::SYS_process_vm_readv, [own, here, 1, there, 1, 0]);
    got.max(0) as usize
}

pub fn close(fd: isize) {
    call1(libc::SYS_close, fd as usize);
}

/// Whether a number is open.
pub fn is_open(fd: u32) -> bool {
    call3(libc::SYS_fcntl, fd as usize, libc::F_GETFD as usize, 0) >= 0
}

/// Reads into `buffer`; returns what came.
pub fn read(fd: isize, buffer: &mut [u8]) -> usize {
    call3(
        libc::SYS_read,
        fd as usize,
        buffer.as_mut_ptr() as usize,
        buffer.len(),
    )
    .max(0) as usize
}

/// Reads a small file whole, as far as it fits.
pub fn read_file<'a>(path: Path, buffer: &'a mut [u8]) -> &'a [u8] {
    let fd = open(path, libc::O_RDONLY, 0);
    if fd < 0 {
        return &[];
    }
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..) {
        let got = read(fd, room);
        filled += got;
        if got == 0 || filled == buffer.len() {
            break;
        }
    }
    close(fd);
    buffer.get(..filled).unwrap_or_default()
}

pub fn write(fd: i32, bytes: &[u8]) {
    call3(
        libc::SYS_write,
        fd as usize,
        bytes.as_ptr() as usize,
        bytes.len(),
    );
}

pub fn unlink(path: Path) -> isize {
    call1(libc::SYS_unlink, path.as_ptr() as usize)
}

pub fn mkdir(path: Path, mode: u32) -> isize {
    call3(libc::SYS_mkdir, path.as_ptr() as usize, mode as usize, 0)
}

pub fn chmod(path: Path, mode: u32) -> isize {
    call3(libc::SYS_chmod, path.as_ptr() as usize, mode as usize, 0)
}

pub fn ftruncate(fd: isize, bytes: u64) -> isize {
    call3(libc::SYS_ftruncate, fd as usize, bytes as usize, 0)
}

pub fn kill_probe(pid: u32) -> isize {
    call3(libc::SYS_kill, pid as usize, 0, 0)
}

/// Directory entries; see getdents64(2).
pub fn getdents(fd: isize, buffer: &mut [u8]) -> usize {
    let got = call3(
        libc::SYS_getdents64,
        fd as usize,
        buffer.as_mut_ptr() as usize,
        buffer.len(),
    );
    got.max(0) as usize
}

/// Device and inode of a path, links followed; zeros when there is none.
pub fn stat(path: Path) -> Option<libc::stat> {
    // SAFETY: all-zero is a valid stat.
    let mut out: libc::stat = unsafe { core::mem::zeroed() };
    let at = libc::AT_FDCWD as isize as usize;
    let result = call(
        libc::SYS_newfstatat,
        [at, path.as_ptr() as usize, &raw mut out as usize, 0, 0, 0],
    );
    (result == 0).then_some(out)
}

pub fn readlink<'a>(path: Path, buffer: &'a mut [u8]) -> &'a [u8] {
    let (path, room) = (path.as_ptr() as usize, buffer.len());
    let got = call3(libc::SYS_readlink, path, buffer.as_mut_ptr() as usize, room);
    buffer.get(..got.max(0) as usize).unwrap_or_default()
}

/// getcwd(2): the path, empty when there is none or it does not fit.
pub fn working_directory(buffer: &mut [u8]) -> &[u8] {
    let (at, room) = (buffer.as_mut_ptr() as usize, buffer.len());
    let got = call3(libc::SYS_getcwd, at, room, 0);
    // With the ending 0.
    buffer.get(..(got.max(1) - 1) as usize).unwrap_or_default()
}

/// Maps memory; `None` on failure.
pub fn map(bytes: usize, protection: i32, flags: i32, fd: isize) -> Option<*mut u8> {
    let result = call(
        libc::SYS_mmap,
        [
            0,
            bytes,
            protection as usize,
            flags as usize,
            fd as usize,
            0,
        ],
    );
    (!(-4095..=0).contains(&result)).then_some(result as *mut u8)
}

/// Private zeroed memory for ourselves.
pub fn map_private(bytes: usize) -> Option<*mut u8> {
    map(
        bytes,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        -1,
    )
}

/// Shared zeroed memory over what is mapped there.
pub fn map_over(at: *mut u8, bytes: usize) -> bool {
    map_fixed(at, bytes, libc::MAP_SHARED)
}

/// The same for this process alone: no file of the kernel's stands behind it.
pub fn map_private_over(at: *mut u8, bytes: usize) -> bool {
    map_fixed(at, bytes, libc::MAP_PRIVATE)
}

fn map_fixed(at: *mut u8, bytes: usize, how: i32) -> bool {
    let flags = how | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let (at, protection, flags) = (at as usize, protection as usize, flags as usize);
    call(
        libc::SYS_mmap,
        [at, bytes, protection, flags, usize::MAX, 0],
    ) == at as isize
}

pub fn unmap(at: *mut u8, bytes: usize) {
    call3(libc::SYS_munmap, at as usize, bytes, 0);
}

pub fn madvise(at: *mut u8, bytes: usize, advice: i32) -> isize {
    call3(libc::SYS_madvise, at as usize, bytes, advice as usize)
}

/// A second mapping of `bytes` of the shared memory mapped at `base`.
pub fn map_again(base: *mut u8, bytes: usize) -> Option<*mut u8> {
    let result = call(
        libc::SYS_mremap,
        [base as usize, 0, bytes, libc::MREMAP_MAYMOVE as usize, 0, 0],
    );
    (!(-4095..=0).contains(&result)).then_some(result as *mut u8)
}

/// Soft and hard limit.
pub fn limit(resource: u32) -> (u64, u64) {
    let mut out = [u64::MAX; 2];
    let at = &raw mut out as usize;
    call(libc::SYS_prlimit64, [0, resource as usize, 0, at, 0, 0]);
    (out[0], out[1])
}

/// Fills with random bytes, or leaves as it is.
pub fn random(buffer: &mut [u8]) {
    let nonblock = libc::GRND_NONBLOCK as usize;
    call3(
        libc::SYS_getrandom,
        buffer.as_mut_ptr() as usize,
        buffer.len(),
        nonblock,
    );
}

/// Like [`stat`], but a link itself.
pub fn lstat(path: Path) -> Option<libc::stat> {
    // SAFETY: all-zero is a valid stat.
    let mut out: libc::stat = unsafe { core::mem::zeroed() };
    let at = libc::AT_FDCWD as isize as usize;
    let (path, flags) = (path.as_ptr() as usize, libc::AT_SYMLINK_NOFOLLOW as usize);
    let result = call(
        libc::SYS_newfstatat,
        [at, path, &raw mut out as usize, flags, 0, 0],
    );
    (result == 0).then_some(out)
}

/// Whether a thread of this process still runs.
pub fn thread_exists(pid: u32, tid: u32) -> bool {
    call3(libc::SYS_tgkill, pid as usize, tid as usize, 0) != -(libc::ESRCH as isize)
}

/// Whether this process has a POSIX timer by that number.
pub fn timer_exists(number: u32) -> bool {
    call1(libc::SYS_timer_getoverrun, number as usize) >= 0
}

/// Whether this thread runs on its alternate signal stack.
pub fn on_alternate_stack() -> bool {
    // SAFETY: all-zero is a valid stack_t.
    let mut now: libc::stack_t = unsafe { core::mem::zeroed() };
    call3(libc::SYS_sigaltstack, 0, &raw mut now as usize, 0);
    now.ss_flags & libc::SS_ONSTACK != 0
}

/// What a descriptor names, or `-errno`.
pub fn stat_of(fd: u32) -> Result<libc::stat, isize> {
    // SAFETY: all-zero is a valid stat.
    let mut out: libc::stat = unsafe { core::mem::zeroed() };
    let result = call3(libc::SYS_fstat, fd as usize, &raw mut out as usize, 0);
    if result == 0 { Ok(out) } else { Err(result) }
}

/// The magic number of the file system that a descriptor's file is on.
pub fn file_system_of(fd: u32) -> Option<i64> {
    // SAFETY: all-zero is a valid statfs.
    let mut out: libc::statfs = unsafe { core::mem::zeroed() };
    let result = call3(libc::SYS_fstatfs, fd as usize, &raw mut out as usize, 0);
    (result == 0).then_some(out.f_type)
}

/// Bytes that are free on the file system of a descriptor's file; none where
/// it knows no bound.
pub fn free_bytes(fd: isize) -> Option<u64> {
    // SAFETY: all-zero is a valid statfs.
    let mut out: libc::statfs = unsafe { core::mem::zeroed() };
    let result = call3(libc::SYS_fstatfs, fd as usize, &raw mut out as usize, 0);
    let bounded = result == 0 && out.f_blocks != 0;
    bounded.then(|| out.f_bavail.saturating_mul(out.f_bsize as u64))
}

/// Whether closing a socket waits until its data are sent.
pub fn lingers(fd: u32) -> bool {
    let mut linger = [0i32; 2];
    let mut bytes = size_of_val(&linger) as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET as usize, libc::SO_LINGER as usize);
    let (at, room) = (&raw mut linger as usize, &raw mut bytes as usize);
    let result = call(
        libc::SYS_getsockopt,
        [fd as usize, level, option, at, room, 0],
    );
    result != 0 || linger[0] != 0 && linger[1] != 0
}

/// Closes a number of the program's; 0 or `-errno`.
pub fn close_number(fd: u32) -> isize {
    call1(libc::SYS_close, fd as usize)
}

/// What a POSIX timer is set to, or `-errno`.
pub fn timer_setting(number: u32) -> Result<libc::itimerspec, isize> {
    // SAFETY: all-zero is a valid itimerspec.
    let mut out: libc::itimerspec = unsafe { core::mem::zeroed() };
    let result = call3(
        libc::SYS_timer_gettime,
        number as usize,
        &raw mut out as usize,
        0,
    );
    if result == 0 { Ok(out) } else { Err(result) }
}

/// Sets a POSIX timer; what it was set to, or `-errno`.
pub fn set_timer(number: u32, to: &libc::itimerspec) -> Result<libc::itimerspec, isize> {
    // SAFETY: all-zero is a valid itimerspec.
    let mut old: libc::itimerspec = unsafe { core::mem::zeroed() };
    let (to, old_at) = (&raw const *to as usize, &raw mut old as usize);
    let result = call(
        libc::SYS_timer_settime,
        [number as usize, 0, to, old_at, 0, 0],
    );
    if result == 0 { Ok(old) } else { Err(result) }
}

/// Sleeps for a tenth of a millisecond.
pub fn sleep_a_moment() {
    let span = [0i64, 100_000];
    call3(libc::SYS_nanosleep, &raw const span as usize, 0, 0);
}

/// Blocks these signals on this thread; which ones were blocked before.
pub fn block_signals(mask: u64) -> u64 {
    let mut before = 0u64;
    let (set, old) = (&raw const mask as usize, &raw mut before as usize);
    let how = libc::SIG_SETMASK as usize;
    call(
        libc::SYS_rt_sigprocmask,
        [how, set, old, size_of::<u64>(), 0, 0],
    );
    before
}

/// A duplicate, close-on-exec, on the first free number from there on, or
/// `-errno`.
pub fn duplicate_from(fd: u32, from: u32) -> isize {
    let how = libc::F_DUPFD_CLOEXEC as usize;
    call3(libc::SYS_fcntl, fd as usize, how, from as usize)
}

/// Puts a duplicate on a number of the program's, in the place of what is
/// there; the number or `-errno`.
pub fn place(from: u32, to: u32, cloexec: bool) -> isize {
    let flags = if cloexec { libc::O_CLOEXEC } else { 0 };
    call3(libc::SYS_dup3, from as usize, to as usize, flags as usize)
}

/// Whether a number is closed by exec.
pub fn is_cloexec(fd: u32) -> bool {
    call3(libc::SYS_fcntl, fd as usize, libc::F_GETFD as usize, 0) & libc::FD_CLOEXEC as isize != 0
}

/// Whether a number names a place only (O_PATH in open(2)).
pub fn is_place_only(fd: u32) -> bool {
    let flags = call3(libc::SYS_fcntl, fd as usize, libc::F_GETFL as usize, 0);
    flags >= 0 && flags & libc::O_PATH as isize != 0
}

/// Whether anybody has a POSIX lock on the file, this process too: asked as who
/// holds none, since locks of an open file (fcntl(2)) are not the process's.
pub fn has_posix_lock(fd: u32) -> bool {
    // SAFETY: plain numbers.
    let mut whole: libc::flock = unsafe { core::mem::zeroed() };
    whole.l_type = libc::F_WRLCK as _;
    let at = &raw mut whole as usize;
    let asked = call3(libc::SYS_fcntl, fd as usize, libc::F_OFD_GETLK as usize, at);
    asked == 0 && whole.l_type != libc::F_UNLCK as libc::c_short
}

/// Lets other threads run.
pub fn yield_now() {
    call(libc::SYS_sched_yield, [0; 6]);
}
