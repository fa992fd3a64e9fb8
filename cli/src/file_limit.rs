//! Under a limit on the size of files (`ulimit -f`) the kernel ends whoever
//! writes beyond it, by SIGXFSZ. Whoever catches that has the write fail
//! instead, which is reported as a full disk is.
//!
//! Caught, not ignored: exec makes it what it was, so that programs which
//! memguard starts know nothing of it. Where it is ignored already, it stays so,
//! for them too.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGXFSZ;
use signal_hook::flag;

/// From now on a write beyond the limit is an error (EFBIG).
pub fn bear() {
    if !is_ignored() {
        // Nobody reads that flag: the error of the write says it all.
        let _ = flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    }
}

/// Whether it was when memguard was started.
fn is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (SIGXFSZ - 1) & 1 == 1)
}
