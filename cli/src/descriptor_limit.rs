//! Under a small limit on descriptors (`ulimit -n`) a look would miss part of
//! what there is and take that for the whole: better none at all.

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::error::TargetError;

/// As many as a look has open at once, and some to spare.
const NEEDED: usize = 16;

/// Fails where not enough can be opened.
///
/// # Errors
/// Then.
pub fn check() -> Result<(), TargetError> {
    let all: Result<Vec<OwnedFd>, Errno> = (0..NEEDED)
        .map(|_| eventfd(0, EventfdFlags::CLOEXEC))
        .collect();
    match all {
        Err(Errno::MFILE) => Err(TargetError::FewDescriptors {
            limit: getrlimit(Resource::Nofile).current.unwrap_or(0),
        }),
        // What lacks otherwise is told by whoever meets it.
        _ => Ok(()),
    }
}
