//! Functions, files and lines for the frames of a snapshot.

use std::collections::HashMap;
use std::path::PathBuf;

use jiff::Timestamp;
use shm_protocol::view::ModuleInfo;
use shm_protocol::words;

use crate::detect::{Offsets, Symbolise};
use crate::kernel::{ProcDir, Process};
use crate::model::Frame;
use crate::snapshot::{Identity, Snapshot};
use crate::symbols::{self, Module, ModuleId, Place, Query, Symbolizer};

/// Names by the files of the process itself.
pub struct Names {
    symbolizer: Symbolizer,
    known: HashMap<u16, ModuleId>,
}

/// Names for this snapshot's frames, or offsets alone where they are not
/// wanted or no file can be opened at all.
pub fn names(snapshot: &Snapshot, without: bool) -> Box<dyn Symbolise> {
    let symbolizer = || living(snapshot).or_else(|| Symbolizer::for_dead().ok());
    let names: Box<dyn Symbolise> = match symbolizer().filter(|_| !without) {
        Some(symbolizer) => Box::new(Names {
            symbolizer,
            known: HashMap::new(),
        }),
        None => Box::new(Offsets),
    };
    let linked = |identity: &&Identity| identity.called != identity.executable;
    match snapshot.identity.as_ref().filter(linked) {
        Some(identity) => Box::new(Called {
            names,
            executable: identity.executable.clone(),
            called: identity.called.clone(),
        }),
        None => names,
    }
}

/// Frames of the program's own file, by the link that it was started through.
struct Called {
    names: Box<dyn Symbolise>,
    executable: String,
    called: String,
}

impl Symbolise for Called {
    fn stack(&mut self, modules: &[ModuleInfo], frames: &[words::Frame]) -> Vec<Frame> {
        let mut stack = self.names.stack(modules, frames);
        let own = |frame: &&mut Frame| frame.module.as_ref() == Some(&self.executable);
        for frame in stack.iter_mut().filter(own) {
            frame.module = Some(self.called.clone());
        }
        stack
    }
}

/// While the process runs, its own root and its open files count.
fn living(snapshot: &Snapshot) -> Option<Symbolizer> {
    let dir = ProcDir::open(snapshot.process.pid)
        .ok()
        .filter(|_| snapshot.process.alive)?;
    let started = Timestamp::try_from(Process::read(&dir).ok()?.started_at).ok()?;
    let same = started
        .duration_since(snapshot.facts.started_at?)
        .abs()
        .as_secs()
        < 2;
    same.then(|| Symbolizer::for_living(dir).ok()).flatten()
}

impl Symbolise for Names {
    fn stack(&mut self, modules: &[ModuleInfo], frames: &[words::Frame]) -> Vec<Frame> {
        frames
            .iter()
            .flat_map(|frame| self.frame(modules, *frame))
            .collect()
    }
}

impl Names {
    /// One recorded frame: the function, and those inlined into it.
    fn frame(&mut self, modules: &[ModuleInfo], frame: words::Frame) -> Vec<Frame> {
        let plain = Offsets.stack(modules, &[frame]);
        let named = match frame {
            words::Frame::Native { module, offset } => self.native(modules, module, offset),
            words::Frame::Raw(address) => self.symbolizer.generated(address).into_iter().collect(),
            words::Frame::Name(_) => Vec::new(),
        };
        if named.is_empty() {
            return plain;
        }
        let with_names = |found: symbols::Frame| Frame {
            function: Some(found.function).filter(|name| !name.is_empty()),
            file: found.file,
            line: found.line,
            ..plain[0].clone()
        };
        named.into_iter().map(with_names).collect()
    }

    fn native(&mut self, modules: &[ModuleInfo], module: u16, offset: u64) -> Vec<symbols::Frame> {
        let Some(id) = self.module(modules, module) else {
            return Vec::new();
        };
        // The library records addresses inside the call, not behind it.
        let query = Query {
            module: id,
            place: Place::Virtual(offset),
            after_call: false,
        };
        self.symbolizer
            .symbolise(&[query])
            .into_iter()
            .flat_map(|frames| frames.to_vec())
            .collect()
    }

    fn module(&mut self, modules: &[ModuleInfo], id: u16) -> Option<ModuleId> {
        if let Some(known) = self.known.get(&id) {
            return Some(*known);
        }
        let recorded = modules.iter().find(|module| module.id == id)?;
        let build_id = Some(recorded.build_id.clone()).filter(|build_id| !build_id.is_empty());
        let module = self.symbolizer.module(Module {
            path: PathBuf::from(&recorded.path),
            build_id,
        });
        self.known.insert(id, module);
        Some(module)
    }
}
