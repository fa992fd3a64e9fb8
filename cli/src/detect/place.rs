//! Where a stack's things come from, in a few words.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Frame, Kind};

/// The first frame that is the program's own and not the C library's, as
/// `file.c:12 (function)`, `function in libx.so` or `libx.so+0x12`.
#[must_use]
pub fn place(stack: &[Frame]) -> String {
    let Some(frame) = own_frame(stack) else {
        return "an unknown place".to_owned();
    };
    let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let module = frame.module.as_deref().map(base);
    match (&frame.file, frame.line, &frame.function, module) {
        (Some(file), Some(line), Some(function), _) => {
            format!("{}:{line} ({function})", base(file))
        }
        (Some(file), Some(line), None, _) => format!("{}:{line}", base(file)),
        (_, _, Some(function), Some(module)) => format!("{function} in {module}"),
        (_, _, Some(function), None) => function.clone(),
        (_, _, None, Some(module)) => format!("{module}+{:#x}", frame.offset.unwrap_or(0)),
        _ => "an unknown place".to_owned(),
    }
}

/// The places of several stacks, told apart: where two of a kind are one, each
/// with the innermost call by which it differs from the others. Compilers make
/// several calls of one in a line; each is said to be one of them. `beside` are
/// stacks that nothing is told of, but that may come from the same line.
#[must_use]
pub fn apart<'a>(
    all: impl IntoIterator<Item = (Kind, &'a [Frame])>,
    beside: impl IntoIterator<Item = (Kind, &'a [Frame])>,
) -> Vec<String> {
    let mut all: Vec<(Kind, &[Frame])> = all.into_iter().collect();
    let told = all.len();
    all.extend(beside);
    let mut groups: BTreeMap<(Kind, String), Vec<usize>> = BTreeMap::new();
    for (at, (kind, stack)) in all.iter().enumerate() {
        groups.entry((*kind, place(stack))).or_default().push(at);
    }
    let mut places = vec![String::new(); told];
    for ((_, place), group) in groups {
        let stacks: Vec<&[Frame]> = group.iter().map(|at| all[*at].1).collect();
        for (nth, at) in group.iter().enumerate().filter(|(_, at)| **at < told) {
            places[*at] = among(&place, nth, &stacks);
        }
    }
    places
}

/// The place of one of several stacks that have it.
fn among(place: &str, nth: usize, stacks: &[&[Frame]]) -> String {
    let others = stacks.iter().enumerate().filter(|(other, _)| *other != nth);
    let others: Vec<&[Frame]> = others.map(|(_, stack)| *stack).collect();
    match difference(stacks[nth], &others) {
        Some(Difference::Caller(call)) => format!("{place} via {call}"),
        Some(Difference::Call(offset)) => {
            let calls: BTreeSet<Option<u64>> = stacks
                .iter()
                .map(|stack| own_frame(stack)?.offset)
                .collect();
            format!(
                "one of {} calls at {place}, that at {offset:#x}",
                calls.len().max(2)
            )
        }
        None => place.to_owned(),
    }
}

/// By what a stack differs from all others of its place.
enum Difference {
    /// The call of the place itself lies elsewhere in the code
    Call(u64),
    /// A caller, as `main.c:12 (main)`
    Caller(String),
}

/// None where a stack is another's.
fn difference(stack: &[Frame], others: &[&[Frame]]) -> Option<Difference> {
    let shared = |other: &&[Frame]| {
        let both = stack.iter().zip(other.iter());
        both.take_while(|(own, its)| own == its).count()
    };
    let at = others.iter().map(shared).max()?;
    let frame = stack.get(at)?;
    let name = |frame: &Frame| place(std::slice::from_ref(frame));
    let alike = |other: &&[Frame]| other.get(at).is_some_and(|its| name(its) == name(frame));
    let offset = frame.offset.unwrap_or(0);
    let is_inner = own_frame(stack).is_some_and(|own| stack[..at].iter().all(|call| call != own));
    Some(match (is_inner, others.iter().any(alike)) {
        (true, _) => Difference::Call(offset),
        (_, true) => Difference::Caller(format!("{} at {offset:#x}", name(frame))),
        _ => Difference::Caller(name(frame)),
    })
}

/// The innermost call that is the program's own, else the innermost.
#[must_use]
pub fn own_frame(stack: &[Frame]) -> Option<&Frame> {
    let own = stack.iter().find(|frame| !is_plumbing(frame));
    own.or(stack.first())
}

/// Whether a frame only creates things on somebody else's behalf.
fn is_plumbing(frame: &Frame) -> bool {
    let module = frame.module.as_deref().is_some_and(is_plumbing_library);
    let header = frame
        .file
        .as_deref()
        .is_some_and(|file| file.starts_with("/usr/include/"));
    module || header || frame.function.as_deref().is_some_and(is_plumbing_function)
}

fn is_plumbing_library(path: &str) -> bool {
    const NAMES: [&str; 9] = [
        "libc.so",
        "libc-",
        "libstdc++.so",
        "libpthread",
        "libgcc_s",
        "ld-linux",
        "libmemguard.so",
        "libm.so",
        "libjemalloc",
    ];
    let file = path.rsplit('/').next().unwrap_or_default();
    NAMES.iter().any(|name| file.starts_with(name))
}

/// Wrappers of malloc and the containers of C++: `xmalloc`, `operator new`,
/// `void std::vector<T>::push_back`.
fn is_plumbing_function(name: &str) -> bool {
    let bare = name.split(['<', '(']).next().unwrap_or_default().trim_end();
    let library = bare.rsplit(' ').next().unwrap_or_default();
    let of_cpp = ["std::", "__gnu_cxx::"]
        .iter()
        .any(|space| library.starts_with(space));
    let lower = bare.to_ascii_lowercase();
    of_cpp
        || bare.starts_with("operator new")
        || lower.ends_with("alloc")
        || lower.ends_with("strdup")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_of_one_line_are_told_apart() {
        let frame = |function: &str, line, offset| Frame {
            function: Some(function.into()),
            file: Some("/src/a.c".into()),
            line: Some(line),
            module: Some("/app".into()),
            offset: Some(offset),
        };
        let open = frame("get", 7, 1);
        let stacks = [
            vec![open.clone(), frame("serve", 20, 2), frame("main", 90, 3)],
            vec![open.clone(), frame("check", 30, 4), frame("main", 91, 5)],
            vec![open.clone(), frame("check", 30, 4), frame("main", 92, 6)],
            vec![frame("get", 7, 9), frame("main", 93, 7)],
            vec![frame("put", 8, 8)],
        ];
        let of = |stacks: &[Vec<Frame>]| {
            apart(
                stacks.iter().map(|stack| (Kind::Files, stack.as_slice())),
                [],
            )
        };
        assert_eq!(
            of(&stacks),
            [
                "a.c:7 (get) via a.c:20 (serve)",
                "a.c:7 (get) via a.c:91 (main)",
                "a.c:7 (get) via a.c:92 (main)",
                "one of 2 calls at a.c:7 (get), that at 0x9",
                "a.c:8 (put)",
            ]
        );
        // One site's proven part and the rest of it.
        let twice = [stacks[4].clone(), stacks[4].clone()];
        assert_eq!(of(&twice), ["a.c:8 (put)", "a.c:8 (put)"]);
        let kinds = [Kind::Files, Kind::Memory].map(|kind| (kind, stacks[0].as_slice()));
        assert_eq!(apart(kinds, []), ["a.c:7 (get)", "a.c:7 (get)"]);
        // What is only beside it is told of nothing, and still tells apart.
        let one = (Kind::Files, stacks[0].as_slice());
        let clone = (Kind::Files, stacks[3].as_slice());
        assert_eq!(
            apart([clone], [one]),
            ["one of 2 calls at a.c:7 (get), that at 0x9"]
        );
        assert_eq!(
            apart([one], [clone]),
            ["one of 2 calls at a.c:7 (get), that at 0x1"]
        );
        assert_eq!(
            apart([one], [(Kind::Files, stacks[4].as_slice())]),
            ["a.c:7 (get)"]
        );
    }

    #[test]
    fn a_place_is_the_programs_own() {
        let frame = |function: &str, file: Option<&str>, module: &str| Frame {
            function: Some(function.into()),
            file: file.map(Into::into),
            line: file.map(|_| 88),
            module: Some(module.into()),
            offset: Some(16),
        };
        let libc = frame("fopen", None, "/lib/x86_64-linux-gnu/libc.so.6");
        assert_eq!(
            place(&[libc.clone(), frame("get", Some("/src/pool.c"), "/app")]),
            "pool.c:88 (get)"
        );
        assert_eq!(
            place(&[libc.clone(), frame("get", None, "/opt/libpool.so")]),
            "get in libpool.so"
        );
        assert_eq!(place(&[libc]), "fopen in libc.so.6");
        assert_eq!(
            place(&[Frame {
                module: Some("/app".into()),
                offset: Some(16),
                ..Frame::default()
            }]),
            "app+0x10"
        );
        assert_eq!(place(&[]), "an unknown place");
        let wrappers = [
            "xmalloc",
            "_PyObject_Malloc",
            "operator new(unsigned long)",
            "void std::vector<int, X>::push_back(int)",
        ];
        for wrapper in wrappers {
            let wrapped = [
                frame(wrapper, Some("/src/util.c"), "/app"),
                frame("grow", Some("/src/cache.c"), "/app"),
            ];
            assert_eq!(place(&wrapped), "cache.c:88 (grow)", "{wrapper}");
        }
        let own = [
            frame("allocate_session", Some("/src/s.c"), "/app"),
            frame("main", Some("/src/s.c"), "/app"),
        ];
        assert_eq!(place(&own), "s.c:88 (allocate_session)");
    }
}
