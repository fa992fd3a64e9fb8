//! Which files a module's names are read from.

use super::debug_files;
use super::elf::ElfFacts;
use super::open::{Missing, RegularFile, Root};
use super::symbolizer::Module;
use crate::kernel::{KernelError, Mapping, Namespaces, ProcDir, Process, maps};
use rustix::fs::OFlags;
use std::path::Path;

/// The files of a module, held open since blazesym opens them again by their
/// descriptors' paths.
pub struct Files {
    /// Facts of the module itself.
    pub facts: ElfFacts,
    /// Symbols and debug information.
    pub best: RegularFile,
    /// Whether `best` has debug information that may be read.
    pub has_debug_info: bool,
    /// The module itself when `best` is a separate debug file.
    pub plain: Option<RegularFile>,
}

/// A process that still runs.
pub struct Living {
    dir: ProcDir,
    mappings: Vec<Mapping>,
    /// Its mounts are not ours: our files of the same path prove nothing.
    elsewhere: bool,
}

/// Where files are looked for.
pub struct Finder<'a> {
    /// Roots in order of trust.
    pub roots: &'a [Root],
    /// The process, if it still runs.
    pub living: Option<&'a Living>,
}

impl Finder<'_> {
    /// Finds and checks the files of a module.
    pub fn find(&self, module: &Module) -> Result<Files, Missing> {
        let (file, facts) = self.loaded_file(module)?;
        let read_only = |file: RegularFile, links: bool| match file.is_roots() && !links {
            true => Ok(file),
            false => file.private_copy(),
        };
        let safe = |file, links| {
            read_only(file, links).map_err(|errno| Missing::unreadable(&module.path, errno))
        };
        let roots: Vec<&Root> = self.roots.iter().collect();
        if !facts.has_debug_info
            && let Some(debug) = debug_files::find(&roots, &module.path, &facts)
        {
            return Ok(Files {
                facts,
                best: safe(debug, false)?,
                has_debug_info: true,
                plain: Some(safe(file, false)?),
            });
        }
        // Links are followed only with debug information switched on.
        let links = facts.has_debug_info && facts.has_debug_link;
        Ok(Files {
            has_debug_info: facts.has_debug_info,
            best: safe(file, links)?,
            plain: None,
            facts,
        })
    }

    /// The file that was loaded, or the best reason why it is not to be had.
    fn loaded_file(&self, module: &Module) -> Result<(RegularFile, ElfFacts), Missing> {
        let mut failure = None;
        let by_path = self
            .roots
            .iter()
            .enumerate()
            .map(|(at, root)| (at, root.open(&module.path)));
        let mapped = self
            .living
            .and_then(|living| living.mapped_file(&module.path));
        let candidates = by_path.chain(mapped.map(|file| (0, Ok(file))));
        for (at, candidate) in candidates {
            match candidate.and_then(|file| self.fits(module, file, at)) {
                Ok(found) => return Ok(found),
                Err(reason) => failure = Some(worse(failure, reason)),
            }
        }
        Err(failure.unwrap_or_else(|| Missing::Gone(module.path.display().to_string())))
    }

    /// Whether a candidate is the file that was loaded; `root` is the number
    /// of the root it was found in.
    fn fits(
        &self,
        module: &Module,
        file: RegularFile,
        root: usize,
    ) -> Result<(RegularFile, ElfFacts), Missing> {
        let facts = file
            .file()
            .map_err(|error| error.to_string())
            .and_then(ElfFacts::read);
        let facts = facts.map_err(|reason| Missing::unreadable(&module.path, reason))?;
        let same = match (&module.build_id, self.living) {
            (Some(build_id), _) => facts.build_id.as_ref() == Some(build_id),
            (None, Some(living)) => living.maps(&module.path, file.inode(), root),
            (None, None) => true,
        };
        match same {
            true => Ok((file, facts)),
            false => Err(Missing::Changed(module.path.display().to_string())),
        }
    }
}

/// Of two reasons the one that tells more: any is better than "gone".
fn worse(first: Option<Missing>, second: Missing) -> Missing {
    match first {
        None | Some(Missing::Gone(_)) => second,
        Some(reason) => reason,
    }
}

impl Living {
    /// The process of that directory.
    pub fn of(dir: ProcDir, process: &Process) -> Result<Self, KernelError> {
        Ok(Self {
            mappings: maps::read(&dir)?,
            elsewhere: process.namespaces.mount != Namespaces::ours().mount,
            dir,
        })
    }

    /// True when no mapping contradicts that the process has loaded the file
    /// of that inode.
    fn maps(&self, path: &Path, inode: u64, root: usize) -> bool {
        let path = path.to_string_lossy();
        let mut mapped = self
            .mappings
            .iter()
            .filter(|mapping| mapping.path == path)
            .peekable();
        match mapped.peek() {
            Some(_) => mapped.any(|mapping| mapping.inode == inode),
            // Unloaded since: in its own root the path is all there is.
            None => root == 0 || !self.elsewhere,
        }
    }

    /// The file behind a mapping, also one that has no name any more. Needs
    /// more rights than the rest; the program itself has a second way.
    fn mapped_file(&self, path: &Path) -> Option<RegularFile> {
        let name = path.to_string_lossy();
        let mapping = self
            .mappings
            .iter()
            .find(|mapping| mapping.inode != 0 && mapping.path == name)?;
        let links = [
            format!("map_files/{:x}-{:x}", mapping.start, mapping.end),
            "exe".to_owned(),
        ];
        let open = |link: &String| self.dir.open_file(link, OFlags::PATH).ok();
        let regular = |found| RegularFile::from_path_fd(found, path).ok();
        links
            .iter()
            .filter_map(|link| regular(open(link)?))
            .find(|file| file.inode() == mapping.inode)
    }
}
