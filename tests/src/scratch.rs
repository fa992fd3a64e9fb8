//! Private folders, removed when the test is over.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder of one test. Its `segments` folder is what MEMGUARD_DIR names.
#[derive(Debug)]
pub struct Scratch {
    dir: TempDir,
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Scratch {
    /// Makes a folder with a `segments` folder in it, open to every user as
    /// /dev/shm is: some tests drop their rights.
    pub fn new() -> Self {
        let base = Path::new("/dev/shm");
        let builder = || tempfile::Builder::new().prefix("mgtest-").to_owned();
        let dir = builder()
            .tempdir_in(base)
            .or_else(|_| builder().tempdir())
            .expect("a temporary folder can be made");
        open_to_all(dir.path(), 0o755);
        let made = Self { dir };
        fs::create_dir(made.segments()).expect("the segments' folder can be made");
        open_to_all(&made.segments(), 0o1777);
        made
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The folder that MEMGUARD_DIR names.
    pub fn segments(&self) -> PathBuf {
        self.join("segments")
    }

    /// Every segment file that lies in the folder now, sorted. The command
    /// line keeps its own notes beside them, under longer names.
    pub fn segment_files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for user in entries(&self.segments()) {
            found.extend(entries(&user).into_iter().filter(|p| is_segment(p)));
        }
        found.sort();
        found
    }
}

fn is_segment(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    path.is_file() && name.split('.').count() == 4
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a folder can be opened");
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(read) = fs::read_dir(dir) else {
        return Vec::new();
    };
    read.filter_map(|entry| Some(entry.ok()?.path())).collect()
}
