//! The memory that the machine can still hand out: proc_meminfo(5).

use rustix::fs::CWD;

use super::proc_dir::{READ_CAP_BYTES, read_at};
use super::text;

/// The kernel's own estimate of what can be taken without swapping.
#[must_use]
pub fn bytes() -> Option<u64> {
    available(&read_at(CWD, "/proc/meminfo", READ_CAP_BYTES).ok()?)
}

fn available(meminfo: &[u8]) -> Option<u64> {
    let line = text::lines(meminfo).find_map(|line| line.strip_prefix(b"MemAvailable:"))?;
    let kib: u64 = std::str::from_utf8(line)
        .ok()?
        .trim()
        .strip_suffix("kB")?
        .trim_end()
        .parse()
        .ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_estimate_is_read() {
        let text = b"MemTotal:  16 kB\nMemAvailable:    8123 kB\n";
        assert_eq!(available(text), Some(8123 * 1024));
        assert_eq!(available(b"MemAvailable: 99999999999999999999 kB"), None);
        assert_eq!(available(b""), None);
        assert!(bytes().is_some_and(|bytes| bytes > 0));
    }
}
