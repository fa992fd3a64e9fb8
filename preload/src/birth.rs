//! When a child began, as /proc tells it (stat, field 22), without a look there.
//!
//! The kernel stamps a child between two moments that its parent knows. Where
//! both lie in one tick, so does the stamp. The parent leaves the tick in the
//! child's row, and the child reads it there: its parent's segment is still
//! mapped by the time that it makes its own.

use crate::{clock, live};
use core::sync::atomic::{AtomicU64, Ordering};

/// A tick of /proc: USER_HZ is 100.
const TICK_NS: u64 = 10_000_000;
/// So far apart may two readings be that were meant to be of one moment.
const SLACK_NS: u64 = 100_000;

/// How far CLOCK_REALTIME was ahead of CLOCK_BOOTTIME at the last fork.
#[unsafe(link_section = ".bss.memguard_child")]
static REAL_AHEAD_NS: AtomicU64 = AtomicU64::new(0);

/// The moment before a fork, 0 when it is not known.
pub struct BeforeFork(u64);

/// In the parent.
pub fn before_fork() -> BeforeFork {
    if live::frozen() {
        return BeforeFork(0);
    }
    let now_ns = clock::boot_ns();
    let ahead_ns = clock::real_ns().wrapping_sub(now_ns);
    REAL_AHEAD_NS.store(ahead_ns, Ordering::Relaxed);
    BeforeFork(now_ns)
}

impl BeforeFork {
    /// The tick in which the child began, plus one; 0 where two come into
    /// question. In the parent, after the fork.
    pub fn tick_plus_one(&self) -> u64 {
        let first = self.0.saturating_sub(SLACK_NS) / TICK_NS;
        let last = clock::boot_ns().saturating_add(SLACK_NS) / TICK_NS;
        if self.0 != 0 && first == last {
            first + 1
        } else {
            0
        }
    }
}

/// Whether this child's clocks begin where its parent's do: in a new time
/// namespace they need not, but for CLOCK_REALTIME.
pub fn same_clocks() -> bool {
    let ahead_ns = clock::real_ns().wrapping_sub(clock::boot_ns());
    let apart_ns = ahead_ns.wrapping_sub(REAL_AHEAD_NS.load(Ordering::Relaxed)) as i64;
    apart_ns.unsigned_abs() < SLACK_NS / 2
}
