//! How much the control group still lets this process have.
//!
//! tmpfs pages are charged to the group of whoever touches them first, so a
//! growing segment must not be what drives the program into its limit.

use crate::sys;
use crate::text::{Text, leading_number};

/// Bytes left below the memory limit; `None` where there is no limit.
pub fn headroom_bytes() -> Option<u64> {
    let mut buffer = [0u8; 1024];
    let groups = sys::read_file(c"/proc/self/cgroup", &mut buffer);
    groups.split(|byte| *byte == b'\n').find_map(|line| {
        let mut parts = line.splitn(3, |byte| *byte == b':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        match controllers {
            b"" => left(b"/sys/fs/cgroup", path, b"/memory.max", b"/memory.current"),
            b"memory" => left(
                b"/sys/fs/cgroup/memory",
                path,
                b"/memory.limit_in_bytes",
                b"/memory.usage_in_bytes",
            ),
            _ => None,
        }
    })
}

fn left(mount: &[u8], group: &[u8], limit: &[u8], used: &[u8]) -> Option<u64> {
    let value = |file: &[u8]| {
        let mut path = Text::new();
        path.push(mount).push(group).push(file);
        let mut buffer = [0u8; 32];
        // "max" is no number: no limit.
        leading_number(sys::read_file(path.path(), &mut buffer))
    };
    Some(value(limit)?.saturating_sub(value(used)?))
}
