//! The last look's facts, kept beside the segment: after a crash the kernel
//! has forgotten the process, but `memguard report` still knows.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use super::facts::Facts;
use crate::attach::name::look_path;
use crate::attach::records::open_plain;

/// A look is never larger; what claims to be is not read.
const CAP_BYTES: u64 = 256 << 20;

/// Keeps the facts of a live look. Failing to is no reason to fail: the
/// report at hand does not need it.
pub fn keep(segment: &Path, facts: &Facts) {
    let path = look_path(segment);
    let part = segment.with_extension(format!("look{}", std::process::id()));
    let kept = write(&part, segment, facts).and_then(|()| std::fs::rename(&part, &path));
    if kept.is_err() {
        let _ = std::fs::remove_file(&part);
    }
}

/// Only the segment's owner (and root) may read it.
fn write(part: &Path, segment: &Path, facts: &Facts) -> std::io::Result<()> {
    let owner = segment.symlink_metadata()?;
    let _ = std::fs::remove_file(part);
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(part)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    if file.metadata()?.uid() != owner.uid() {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(&serde_json::to_vec(facts)?)
}

/// The facts of the last look, if there was one and the segment's owner or
/// root made it.
#[must_use]
pub fn recall(segment: &Path) -> Option<Facts> {
    let file = open_plain(&look_path(segment)).ok()?;
    let (meta, owner) = (
        file.metadata().ok()?,
        segment.symlink_metadata().ok()?.uid(),
    );
    let trusted = meta.uid() == 0 || meta.uid() == owner;
    let facts = (trusted && meta.len() <= CAP_BYTES)
        .then(|| std::io::read_to_string(file))?
        .ok()?;
    serde_json::from_str(&facts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_kept_and_recalled_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let segment = folder.path().join("1.2.3.4");
        std::fs::write(&segment, "").unwrap();
        assert_eq!(recall(&segment), None);
        let facts = Facts {
            pid: 2,
            rss_bytes: Some(5),
            ..Facts::default()
        };
        keep(&segment, &facts);
        keep(&segment, &facts);
        assert_eq!(recall(&segment), Some(facts));
        assert_eq!(
            look_path(&segment).metadata().unwrap().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let segment = folder.path().join("1.2.3.4");
        std::fs::write(&segment, "").unwrap();
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(
            &elsewhere,
            serde_json::to_string(&Facts::default()).unwrap(),
        )
        .unwrap();
        std::os::unix::fs::symlink(&elsewhere, look_path(&segment)).unwrap();
        assert_eq!(recall(&segment), None);
    }
}
