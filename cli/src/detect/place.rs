//! Where a stack's things come from, in a few words.

use crate::model::Frame;

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
