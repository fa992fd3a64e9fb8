//! Finds `libmemguard.so` and a path to it that `LD_PRELOAD` can carry.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::error::RunError;

const NAME: &str = "libmemguard.so";
/// Folders, seen from the one that memguard itself is in.
const BESIDE: [&str; 3] = ["", "../lib", "../lib/memguard"];

/// Where the library is: beside memguard, in `../lib`, or in MEMGUARD_LIBRARY.
pub fn find() -> Result<PathBuf, RunError> {
    let own = std::env::current_exe().ok();
    let folder = own.as_deref().and_then(Path::parent);
    let named = std::env::var_os("MEMGUARD_LIBRARY").filter(|name| !name.is_empty());
    let candidates = candidates(folder, named.as_deref());
    let found = candidates.iter().find(|path| path.is_file());
    let found = found.and_then(|path| path.canonicalize().ok());
    found.ok_or_else(|| RunError::NoLibrary {
        tried: tried(&candidates),
    })
}

fn candidates(folder: Option<&Path>, named: Option<&OsStr>) -> Vec<PathBuf> {
    let beside = folder
        .into_iter()
        .flat_map(|folder| BESIDE.map(|below| folder.join(below).join(NAME)));
    beside.chain(named.map(PathBuf::from)).collect()
}

fn tried(candidates: &[PathBuf]) -> String {
    let list: Vec<String> = candidates
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    format!("looked for {}", list.join(", "))
}

/// The value for `LD_PRELOAD`: ours first, so that its malloc is the one
/// called, then whatever was there.
pub fn preload_value(library: &Path, existing: Option<OsString>) -> Result<OsString, RunError> {
    let mut value = carryable(library)?.into_os_string();
    let others = existing.unwrap_or_default();
    let others = others.as_bytes().split(|byte| separates(*byte));
    for other in others.filter(|other| !other.is_empty() && !other.ends_with(NAME.as_bytes())) {
        value.push(":");
        value.push(OsStr::from_bytes(other));
    }
    Ok(value)
}

/// The loader splits `LD_PRELOAD` at blanks and colons, see ld.so(8).
fn separates(byte: u8) -> bool {
    byte == b':' || byte.is_ascii_whitespace()
}

/// The library's path, or a link to it whose path has no separator in it (nor
/// a `$`, which the loader would expand).
fn carryable(library: &Path) -> Result<PathBuf, RunError> {
    let splits = |byte: &u8| separates(*byte) || *byte == b'$';
    if !library.as_os_str().as_bytes().iter().any(splits) {
        return Ok(library.to_owned());
    }
    let own = |source| RunError::Own {
        doing: "link the library to a path without spaces",
        source,
    };
    ["/tmp", "/var/tmp", "/dev/shm"]
        .iter()
        .map(|base| link_below(Path::new(base), library))
        .reduce(|first, next| first.or(next))
        .unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
        .map_err(own)
}

/// A lasting link, since children may be started long after `run` has gone.
/// The folder lets everybody pass, as children may change their user.
fn link_below(base: &Path, library: &Path) -> io::Result<PathBuf> {
    let meta = library.metadata()?;
    let uid = rustix::process::geteuid().as_raw();
    let folder = base.join(format!(
        "memguard-lib-{uid}-{:x}-{:x}",
        meta.dev(),
        meta.ino()
    ));
    match std::fs::DirBuilder::new().mode(0o755).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = folder.symlink_metadata()?;
    if !found.is_dir() || found.uid() != uid || found.mode() & 0o022 != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let link = folder.join(NAME);
    if std::fs::read_link(&link).ok().as_deref() != Some(library) {
        let _ = std::fs::remove_file(&link);
        symlink(library, &link)?;
    }
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_in_the_promised_order() {
        let found = candidates(
            Some(Path::new("/opt/bin")),
            Some(OsStr::new("/x/libmemguard.so")),
        );
        let found: Vec<_> = found.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(
            found,
            [
                "/opt/bin/libmemguard.so",
                "/opt/bin/../lib/libmemguard.so",
                "/opt/bin/../lib/memguard/libmemguard.so",
                "/x/libmemguard.so"
            ]
        );
    }

    #[test]
    fn keeps_other_preloads_behind_ours_and_itself_once() {
        let existing = Some(OsString::from(
            "/a/libjemalloc.so /old/libmemguard.so:/b/x.so",
        ));
        let value = preload_value(Path::new("/opt/libmemguard.so"), existing).unwrap();
        assert_eq!(value, "/opt/libmemguard.so:/a/libjemalloc.so:/b/x.so");
    }

    #[test]
    fn a_path_with_a_space_is_linked_to_one_without() {
        let folder = tempfile::tempdir().unwrap();
        let spaced = folder.path().join("with space:and colon");
        std::fs::create_dir(&spaced).unwrap();
        let library = spaced.join(NAME);
        std::fs::write(&library, "").unwrap();
        let value = preload_value(&library, None).unwrap();
        assert!(
            !value.as_bytes().iter().any(|byte| separates(*byte)),
            "{value:?}"
        );
        assert_eq!(
            Path::new(&value).canonicalize().unwrap(),
            library.canonicalize().unwrap()
        );
        std::fs::remove_dir_all(Path::new(&value).parent().unwrap()).unwrap();
    }
}
