//! How much the control group still lets this process have.
//!
//! tmpfs pages are charged to the group of whoever touches them first, so a
//! growing segment must not be what drives the program into its limit.

use crate::sys;
use crate::text::{Text, leading_number};

/// A group's limit and what it has.
pub struct Memory {
    pub limit_bytes: u64,
    used_bytes: u64,
}

impl Memory {
    pub fn left_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }
}

/// Of the process's own group; `None` where there is no limit.
pub fn memory() -> Option<Memory> {
    let mut buffer = [0u8; 1024];
    let groups = sys::read_file(c"/proc/self/cgroup", &mut buffer);
    groups.split(|byte| *byte == b'\n').find_map(|line| {
        let mut parts = line.splitn(3, |byte| *byte == b':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        match controllers {
            b"" => of_group(b"/sys/fs/cgroup", path, b"/memory.max", b"/memory.current"),
            b"memory" => of_group(
                b"/sys/fs/cgroup/memory",
                path,
                b"/memory.limit_in_bytes",
                b"/memory.usage_in_bytes",
            ),
            _ => None,
        }
    })
}

fn of_group(mount: &[u8], group: &[u8], limit: &[u8], used: &[u8]) -> Option<Memory> {
    let value = |file: &[u8]| {
        let mut path = Text::new();
        path.push(mount).push(group).push(file);
        let mut buffer = [0u8; 32];
        // "max" is no number: no limit.
        leading_number(sys::read_file(path.path(), &mut buffer))
    };
    Some(Memory {
        limit_bytes: value(limit)?,
        used_bytes: value(used)?,
    })
}
