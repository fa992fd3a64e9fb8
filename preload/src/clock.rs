//! The coarse clock by way of the vDSO: six nanoseconds, no system call.
//!
//! libc's clock_gettime may be somebody's interposer (faked time, say), which
//! may allocate; the function in the vDSO is the kernel's own.

use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

type GetTime = unsafe extern "C" fn(i32, *mut [i64; 2]) -> i32;

#[unsafe(link_section = ".data.hot.first")]
static GET_TIME: AtomicPtr<u8> = AtomicPtr::new(no_time as *mut u8);
/// Moment that `now_ms` counts from, in ns of the coarse clock.
#[unsafe(link_section = ".data.hot.first")]
static ORIGIN_NS: AtomicU64 = AtomicU64::new(0);

/// Where there is no vDSO: always 0.
unsafe extern "C" fn no_time(_clock: i32, _time: *mut [i64; 2]) -> i32 {
    0
}

/// Finds the vDSO's clock. Called once, early.
pub fn init() {
    // SAFETY: getauxval only reads the auxiliary vector.
    let vdso = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as *const u8;
    if let Some(function) = crate::elf::find_vdso_symbol(vdso, b"__vdso_clock_gettime") {
        GET_TIME.store(function as *mut u8, Ordering::Relaxed);
    }
}

fn read(clock: i32) -> u64 {
    let function = GET_TIME.load(Ordering::Relaxed);
    let mut time = [0i64; 2];
    // SAFETY: the kernel's own function, found by its name and checked for
    // lying within the vDSO.
    unsafe {
        core::mem::transmute::<*mut u8, GetTime>(function)(clock, &mut time);
    }
    time[0] as u64 * 1_000_000_000 + time[1] as u64
}

/// CLOCK_MONOTONIC_COARSE in ns; 0 where there is no vDSO.
#[inline]
pub fn coarse_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC_COARSE)
}

/// CLOCK_MONOTONIC in ns, for spans shorter than a step of the coarse clock.
pub fn fine_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// CLOCK_REALTIME in ns since 1970.
pub fn real_ns() -> u64 {
    read(libc::CLOCK_REALTIME)
}

/// CLOCK_BOOTTIME in ns, which the kernel stamps new processes by.
pub fn boot_ns() -> u64 {
    read(libc::CLOCK_BOOTTIME)
}

/// Makes `now_ms` count from now. Returns the moment in ns.
pub fn start() -> u64 {
    let now = coarse_ns();
    ORIGIN_NS.store(now, Ordering::Relaxed);
    now
}

/// Milliseconds since [`start`].
pub fn now_ms() -> u64 {
    ms_at(coarse_ns())
}

/// What [`now_ms`] says, or said, at that moment of the coarse clock.
pub fn ms_at(coarse_ns: u64) -> u64 {
    coarse_ns.saturating_sub(ORIGIN_NS.load(Ordering::Relaxed)) / 1_000_000
}
