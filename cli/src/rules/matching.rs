//! What a rule is about: which findings, and which of their objects.

use super::When;
use super::pattern::{Glob, port};
use crate::model::{Finding, Frame, Process, Resource};

/// The part of a finding that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Nothing of it
    None,
    /// The whole finding
    Whole,
    /// Some of its objects, by index
    Objects(Vec<usize>),
}

impl Part {
    /// Those of a finding's objects that are wanted, each with its place.
    pub fn of(finding: &Finding, wanted: impl Fn(usize, &Resource) -> bool) -> Self {
        let objects = finding.resources.iter().enumerate();
        let some: Vec<usize> = objects
            .filter(|(at, object)| wanted(*at, object))
            .map(|(at, _)| at)
            .collect();
        match some.len() as u64 {
            0 => Self::None,
            n if n == finding.count => Self::Whole,
            _ => Self::Objects(some),
        }
    }

    /// Whether the object at this place belongs to it.
    #[must_use]
    pub fn has(&self, at: usize) -> bool {
        match self {
            Self::None => false,
            Self::Whole => true,
            Self::Objects(some) => some.binary_search(&at).is_ok(),
        }
    }

    /// How many things that is.
    #[must_use]
    pub fn count(&self, finding: &Finding) -> u64 {
        match self {
            Self::None => 0,
            Self::Whole => finding.count,
            Self::Objects(some) => some.len() as u64,
        }
    }
}

/// What a finding must have for a rule to be about any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needle<'a> {
    /// That id
    Id(&'a str),
    /// That in a name of its stack or in a path of its objects
    Text(&'a str),
    /// One of these ports at an object
    Ports(&'a [u16]),
    /// Nothing that can be looked for
    Any,
}

impl<'a> Needle<'a> {
    /// Texts of one letter are everywhere.
    pub fn text(literal: &'a str) -> Self {
        if literal.len() < 2 {
            Self::Any
        } else {
            Self::Text(literal)
        }
    }
}

impl When {
    /// What to look for, for all findings that the rule may be about.
    #[must_use]
    pub fn needle(&self) -> Needle<'_> {
        if let Some(id) = &self.id {
            return Needle::Id(id);
        }
        let globs = [&self.function, &self.module, &self.file, &self.path];
        let globs = globs.into_iter().flatten().chain(&self.stack);
        let literals = globs.map(Glob::literal);
        let longest = literals.max_by_key(|literal| literal.len()).unwrap_or("");
        match Needle::text(longest) {
            Needle::Any if !self.port.is_empty() => Needle::Ports(&self.port),
            needle => needle,
        }
    }

    /// Whether the rule is about this process.
    #[must_use]
    pub fn is_process(&self, process: &Process) -> bool {
        let Some(glob) = &self.process else {
            return true;
        };
        let program = process.cmdline.as_ref().and_then(|words| words.first());
        let comm = process.comm.as_deref();
        glob.is(process.name())
            || comm.is_some_and(|name| glob.is(name))
            || program.is_some_and(|path| glob.is(path) || glob.is(last(path)))
    }

    /// What of a finding the rule is about.
    #[must_use]
    pub fn part_of(&self, finding: &Finding) -> Part {
        if !self.is_finding(finding) {
            return Part::None;
        }
        if !self.asks_for_objects() {
            return Part::Whole;
        }
        Part::of(finding, |_, object| self.is_object(object))
    }

    fn is_finding(&self, finding: &Finding) -> bool {
        let id = self.id.as_ref().is_none_or(|id| *id == finding.id);
        let kind = self.kind.is_empty() || self.kind.contains(&finding.kind);
        id && kind && self.has_frame(&finding.stack) && self.has_stack(&finding.stack)
    }

    /// One and the same frame must be of the function, module and file.
    fn has_frame(&self, stack: &[Frame]) -> bool {
        let asked = self.function.is_some() || self.module.is_some() || self.file.is_some();
        !asked || stack.iter().any(|frame| self.is_frame(frame))
    }

    fn is_frame(&self, frame: &Frame) -> bool {
        is(&self.function, &frame.function, Glob::is_function)
            && is(&self.module, &frame.module, Glob::is_path)
            && is(&self.file, &frame.file, Glob::is_path)
    }

    fn has_stack(&self, stack: &[Frame]) -> bool {
        let calls = self.stack.iter().zip(stack);
        self.stack.len() <= stack.len()
            && calls
                .into_iter()
                .all(|(glob, frame)| match &frame.function {
                    Some(function) => glob.is_function(function),
                    None => glob.is(&nameless(frame)),
                })
    }

    fn asks_for_objects(&self) -> bool {
        self.path.is_some() || !self.peer.is_empty() || !self.port.is_empty()
    }

    fn is_object(&self, object: &Resource) -> bool {
        let peer = object.peer.as_deref();
        let from = |network: &super::Network| peer.is_some_and(|peer| network.has(peer));
        let ports = [&object.local, &object.peer].map(|address| port(address.as_deref()?));
        let at = |wanted: &u16| ports.contains(&Some(*wanted));
        is(&self.path, &object.path, Glob::is_path)
            && (self.peer.is_empty() || self.peer.iter().any(from))
            && (self.port.is_empty() || self.port.iter().any(at))
    }
}

/// Whether a text is there and matches, where there is anything to match.
fn is(glob: &Option<Glob>, text: &Option<String>, matches: fn(&Glob, &str) -> bool) -> bool {
    let Some(glob) = glob else {
        return true;
    };
    text.as_deref().is_some_and(|text| matches(glob, text))
}

/// What a call without a name goes by in `stack`: `libx.so+0x1234`.
#[must_use]
pub fn nameless(frame: &Frame) -> String {
    let module = frame.module.as_deref().map_or("?", last);
    format!("{module}+{:#x}", frame.offset.unwrap_or(0))
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
