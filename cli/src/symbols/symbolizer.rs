//! One session of symbolising: modules in, frames out.

use super::PerfMap;
use super::files::{Files, Finder, Living};
use super::open::{Missing, Root};
use crate::kernel::{KernelError, ProcDir, Process};
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A program or library as it was recorded when it was loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Module {
    /// Its path as the program saw it.
    pub path: PathBuf,
    /// Its build id. Without one, a file of that path is believed to be the
    /// same only while a process that has it mapped shows the same inode, or
    /// when no such process is at hand.
    pub build_id: Option<Vec<u8>>,
}

/// A module that a [`Symbolizer`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId(usize);

/// Where in a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Offset in the file.
    FileOffset(u64),
    /// Address before relocation: the address less the load bias.
    Virtual(u64),
}

/// One address to name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// In which module.
    pub module: ModuleId,
    /// Where.
    pub place: Place,
    /// True for return addresses, so for all frames of a stack but one taken
    /// from an interrupted instruction: they point behind the call, perhaps
    /// into the next line or function.
    pub after_call: bool,
}

/// A function at an address. Texts come from the program's files and are
/// lossily decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Its name, demangled.
    pub function: String,
    /// How many bytes behind the function's start the address is; 0 for
    /// inlined functions.
    pub offset: u64,
    /// Source file, as the compiler was given it.
    pub file: Option<String>,
    /// Line of the call or instruction.
    pub line: Option<u32>,
    /// True when the compiler put it into the function of the next frame.
    pub inlined: bool,
}

/// Names addresses; keep one for the whole session, it remembers what it read
/// and what it failed to find.
pub struct Symbolizer {
    blazesym: blazesym::symbolize::Symbolizer,
    /// The program's root first, where it differs from ours or is known.
    roots: Vec<Root>,
    /// The living process, for files that only it still has open.
    living: Option<Living>,
    modules: Vec<State>,
    known: HashMap<Module, ModuleId>,
    generated: Option<PerfMap>,
}

/// What is known of a module.
struct State {
    module: Module,
    opened: Option<Result<Files, Missing>>,
    named: HashMap<u64, Rc<[Frame]>>,
}

impl Symbolizer {
    /// For a process that has ended: files are looked for by their recorded
    /// paths in our own root.
    pub fn for_dead() -> Result<Self, Missing> {
        Ok(Self::new(vec![Root::host()?], None, None))
    }

    /// For a living process: files are looked for in its root, then among
    /// its open mappings, then in ours.
    pub fn for_living(dir: ProcDir) -> Result<Self, KernelError> {
        let process = Process::read(&dir)?;
        let root = Root::of(&dir)?;
        let generated = PerfMap::load(&root, &process);
        let roots = std::iter::once(root).chain(Root::host().ok()).collect();
        Ok(Self::new(
            roots,
            Some(Living::of(dir, &process)?),
            generated,
        ))
    }

    pub(super) fn new(
        roots: Vec<Root>,
        living: Option<Living>,
        generated: Option<PerfMap>,
    ) -> Self {
        let blazesym = blazesym::symbolize::Symbolizer::builder()
            .enable_code_info(true)
            .enable_inlined_fns(true)
            .enable_demangling(true)
            .build();
        Self {
            blazesym,
            roots,
            living,
            modules: Vec::new(),
            known: HashMap::new(),
            generated,
        }
    }

    /// Makes a module known; the same one gets the same id. Nothing is opened
    /// yet.
    pub fn module(&mut self, module: Module) -> ModuleId {
        if let Some(&id) = self.known.get(&module) {
            return id;
        }
        let id = ModuleId(self.modules.len());
        self.known.insert(module.clone(), id);
        self.modules.push(State {
            module,
            opened: None,
            named: HashMap::new(),
        });
        id
    }

    /// Names addresses: per query the frames, innermost first, the last of
    /// which is not inlined. Empty where nothing is known; [`Self::missing`]
    /// says why.
    pub fn symbolise(&mut self, queries: &[Query]) -> Vec<Rc<[Frame]>> {
        let mut by_module: HashMap<ModuleId, Vec<usize>> = HashMap::new();
        for (at, query) in queries.iter().enumerate() {
            by_module.entry(query.module).or_default().push(at);
        }
        let mut named = vec![Rc::from([]); queries.len()];
        for (module, places) in by_module {
            let wanted: Vec<Query> = places.iter().map(|&at| queries[at]).collect();
            for (at, frames) in places.into_iter().zip(self.of_module(module, &wanted)) {
                named[at] = frames;
            }
        }
        named
    }

    /// Names an address in code that was generated at run time.
    pub fn generated(&self, address: u64) -> Option<Frame> {
        let name = self.generated.as_ref()?.name(address)?;
        Some(Frame {
            function: name.to_owned(),
            ..Frame::default()
        })
    }

    /// Why a module has no names, after something in it was asked for.
    pub fn missing(&self, module: ModuleId) -> Option<&Missing> {
        let opened = self.modules.get(module.0)?.opened.as_ref()?;
        opened.as_ref().err()
    }

    fn of_module(&mut self, id: ModuleId, queries: &[Query]) -> Vec<Rc<[Frame]>> {
        let nothing = || vec![Rc::from([]); queries.len()];
        let Some(state) = self.modules.get_mut(id.0) else {
            return nothing();
        };
        let finder = Finder {
            roots: &self.roots,
            living: self.living.as_ref(),
        };
        let opened = state
            .opened
            .get_or_insert_with(|| finder.find(&state.module));
        let Ok(files) = opened else {
            return nothing();
        };
        let addresses: Vec<Option<u64>> =
            queries.iter().map(|query| files.address(query)).collect();
        let mut fresh: Vec<u64> = addresses.iter().flatten().copied().collect();
        fresh.sort_unstable();
        fresh.dedup();
        fresh.retain(|address| !state.named.contains_key(address));
        let frames = files.symbolise(&self.blazesym, &fresh);
        state.named.extend(fresh.into_iter().zip(frames));
        let named = |address: Option<u64>| state.named.get(&address?).cloned();
        addresses
            .into_iter()
            .map(|address| named(address).unwrap_or_else(|| Rc::from([])))
            .collect()
    }
}

impl Files {
    fn address(&self, query: &Query) -> Option<u64> {
        let back = u64::from(query.after_call);
        match query.place {
            Place::FileOffset(offset) => self.facts.address_of(offset.checked_sub(back)?),
            Place::Virtual(address) => address.checked_sub(back),
        }
    }

    /// Falls back to plain symbols when the debug information is broken.
    fn symbolise(
        &self,
        blazesym: &blazesym::symbolize::Symbolizer,
        addresses: &[u64],
    ) -> Vec<Rc<[Frame]>> {
        let plain = self.plain.as_ref().unwrap_or(&self.best);
        let attempts = [(&self.best, self.has_debug_info), (plain, false)];
        let first = attempts
            .into_iter()
            .find_map(|(file, debug)| ask(blazesym, &file.path(), debug, addresses));
        first.unwrap_or_else(|| vec![Rc::from([]); addresses.len()])
    }
}

/// One batch of one file. blazesym has places that panic on broken debug
/// information; a panic counts as unreadable.
fn ask(
    blazesym: &blazesym::symbolize::Symbolizer,
    path: &Path,
    debug_syms: bool,
    addresses: &[u64],
) -> Option<Vec<Rc<[Frame]>>> {
    if addresses.is_empty() {
        return Some(Vec::new());
    }
    let mut elf = Elf::new(path);
    elf.debug_syms = debug_syms;
    let source = Source::Elf(elf);
    let call = || blazesym.symbolize(&source, Input::VirtOffset(addresses));
    let answers = super::quiet::catch(call)?.ok()?;
    Some(answers.into_iter().map(frames).collect())
}

fn frames(symbolized: Symbolized<'_>) -> Rc<[Frame]> {
    match symbolized {
        Symbolized::Sym(symbol) => stack_of(&symbol),
        Symbolized::Unknown(_) => Rc::from([]),
    }
}

/// blazesym gives the containing function first and the innermost last.
fn stack_of(symbol: &Sym<'_>) -> Rc<[Frame]> {
    let inlined = symbol.inlined.iter().rev().map(|inner| Frame {
        inlined: true,
        ..frame(&inner.name, inner.code_info.as_ref())
    });
    // Of a function in several pieces only the first piece's start is known.
    let inside = symbol.size.is_none_or(|size| symbol.offset < size);
    let outer = Frame {
        offset: if inside { symbol.offset as u64 } else { 0 },
        ..frame(&symbol.name, symbol.code_info.as_deref())
    };
    inlined.chain(std::iter::once(outer)).collect()
}

fn frame(name: &str, code: Option<&CodeInfo<'_>>) -> Frame {
    Frame {
        function: name.to_owned(),
        offset: 0,
        file: code.map(|code| code.to_path().to_string_lossy().into_owned()),
        line: code.and_then(|code| code.line).filter(|&line| line > 0),
        inlined: false,
    }
}
