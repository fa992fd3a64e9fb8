//! What an executable's file allows: one rule a function.

use super::elf_view::{self, Allocator, ElfView, Evidence, Libc};
use super::finding::{Finding, Severity};
use super::system_rules::Surroundings;
use crate::symbols::open::RegularFile;
use object::elf;
use std::path::Path;

/// All rules over the file's contents.
pub fn all(path: &Path, view: &ElfView, surroundings: &Surroundings) -> Vec<Finding> {
    let name = path.display().to_string();
    let loading = foreign_machine(&name, view)
        .or_else(|| go(&name, view))
        .or_else(|| without_loader(&name, view))
        .or_else(|| other_libc(&name, view))
        .or_else(|| sanitized(&name, &view.needed, surroundings.library.as_deref()))
        .unwrap_or_else(|| {
            Finding::ok(
                "loader",
                format!("{name} is a dynamic program for glibc, as it should be."),
            )
        });
    // Without a loader the allocator is out of reach anyway, and so is Go's.
    let blocked = loading.severity == Severity::Blocks;
    let allocator = (!blocked && !view.go).then(|| allocator(&name, view));
    let shadow = shadow_stack(&name, view, surroundings).filter(|_| !blocked);
    std::iter::once(loading)
        .chain(allocator)
        .chain(shadow)
        .collect()
}

/// A file that is no program of any kind that the loader knows.
pub fn not_elf(path: &Path, reason: &str) -> Finding {
    let sentence = format!(
        "{} could not be understood as a program: {reason}.",
        path.display()
    );
    let remedy = "If another program runs it (wine, qemu, java), ask about that one.";
    Finding::new("format", Severity::Blocks, sentence, remedy)
}

/// 32-bit programs and those of another processor.
fn foreign_machine(name: &str, view: &ElfView) -> Option<Finding> {
    let ours = match std::env::consts::ARCH {
        "x86_64" => elf::EM_X86_64,
        "aarch64" => elf::EM_AARCH64,
        _ => return None,
    };
    if view.bits == 32 {
        let sentence = format!(
            "{name} is a 32-bit program: a 64-bit library cannot be loaded into it, and the loader prints an error."
        );
        let remedy = "Build it for 64 bits to observe it.";
        return Some(Finding::new("32-bit", Severity::Blocks, sentence, remedy));
    }
    (view.machine != ours).then(|| {
        let sentence = format!("{name} is built for another processor than this memguard.");
        let remedy = "Use a memguard that is built for that processor.";
        Finding::new("machine", Severity::Blocks, sentence, remedy)
    })
}

/// Go makes its system calls and its heap by itself.
fn go(name: &str, view: &ElfView) -> Option<Finding> {
    if !view.go {
        return None;
    }
    let outside = "Use Go's own profiler (net/http/pprof) for its heap, and `memguard report <pid>` for its descriptors.";
    Some(match view.is_static() {
        true => {
            let sentence =
                format!("{name} is a Go program without libc: no library can be loaded into it.");
            Finding::new("go", Severity::Blocks, sentence, outside)
        }
        false => {
            let sentence = format!(
                "{name} is a Go program: its runtime bypasses libc, so only what its C parts allocate and open is seen."
            );
            Finding::new("go", Severity::Limits, sentence, outside)
        }
    })
}

fn without_loader(name: &str, view: &ElfView) -> Option<Finding> {
    view.is_static().then(|| {
        let sentence = format!("{name} is statically linked: no loader runs that could bring memguard's library in.");
        let remedy = "Link it dynamically (without -static); until then `memguard report <pid>` shows its descriptors from outside.";
        Finding::new("static", Severity::Blocks, sentence, remedy)
    })
}

fn other_libc(name: &str, view: &ElfView) -> Option<Finding> {
    match view.libc()? {
        Libc::Glibc => None,
        Libc::Musl => Some(musl(name)),
        Libc::Other => {
            let loader = view.interpreter.as_deref().unwrap_or("");
            let sentence = format!("{name} is loaded by {loader}, which memguard does not know.");
            let remedy = "Try it with a copy that does no harm if it does not start.";
            Some(Finding::new("loader", Severity::Limits, sentence, remedy))
        }
    }
}

fn musl(name: &str) -> Finding {
    let sentence = format!(
        "{name} uses musl: memguard's library is made for glibc and would keep it from starting."
    );
    let remedy = "Run a glibc build of it, for instance in a Debian image instead of Alpine; do not set LD_PRELOAD for it.";
    Finding::new("musl", Severity::Blocks, sentence, remedy)
}

/// Why a program would not start with the library in it, by its loader and the
/// libraries that it asks for.
pub fn unstartable(
    name: &str,
    loader: Option<&str>,
    needed: &[String],
    library: &Path,
) -> Option<Finding> {
    match loader.and_then(elf_view::Libc::of_loader)? {
        Libc::Musl => Some(musl(name)),
        _ => sanitized(name, needed, Some(library)),
    }
}

/// AddressSanitizer ends a program in which anything comes before it.
fn sanitized(name: &str, needed: &[String], library: Option<&Path>) -> Option<Finding> {
    let runtime = elf_view::address_sanitizer(needed)?;
    let library = library.unwrap_or(Path::new("libmemguard.so")).display();
    let sentence = format!(
        "{name} is built with AddressSanitizer, which ends a program into which another library is loaded before {runtime}."
    );
    let remedy = format!(
        "Build it without -fsanitize=address, or put {runtime} first, which leaves memguard its descriptors but not \
        its heap: memguard run -- env LD_PRELOAD={runtime}:{library} {name}."
    );
    Some(Finding::new(
        "sanitizer",
        Severity::Blocks,
        sentence,
        remedy,
    ))
}

/// An executable's own malloc comes before a preloaded one.
fn allocator(name: &str, view: &ElfView) -> Finding {
    let remedy = "Link the allocator as a shared library, or not at all; descriptors, threads and timers are seen all the same.";
    match view.allocator {
        Some((allocator, Evidence::Symbol)) => {
            let what = allocator.name();
            let sentence = format!(
                "{name} has {what} compiled in: what it allocates there does not pass through memguard."
            );
            Finding::new(
                "allocator",
                Severity::Limits,
                sentence,
                with_profiler(allocator, remedy),
            )
        }
        Some((allocator, Evidence::Text)) => {
            let what = allocator.name();
            let sentence = format!(
                "{name} carries texts of {what}, so it probably has it compiled in; its heap would then not be seen."
            );
            Finding::new(
                "allocator",
                Severity::Limits,
                sentence,
                with_profiler(allocator, remedy),
            )
        }
        None if !view.imports_malloc && view.needed.len() <= 1 => {
            let sentence = format!(
                "{name} asks no library for malloc: it allocates nothing, or in a way that is not seen."
            );
            Finding::new(
                "allocator",
                Severity::Note,
                sentence,
                "Compare the report's live bytes with its resident memory.",
            )
        }
        None => Finding::ok(
            "allocator",
            format!("{name} takes its memory from shared libraries, where it is seen."),
        ),
    }
}

fn with_profiler(allocator: Allocator, remedy: &str) -> String {
    match allocator {
        Allocator::Jemalloc => {
            format!("{remedy} jemalloc's own profiler (MALLOC_CONF=prof:true) shows its heap.")
        }
        Allocator::Tcmalloc => format!("{remedy} gperftools' own profiler shows its heap."),
        _ => remedy.to_owned(),
    }
}

/// glibc keeps shadow stacks only while every loaded library is fit for them.
fn shadow_stack(name: &str, view: &ElfView, surroundings: &Surroundings) -> Option<Finding> {
    let library_is_fit = surroundings
        .library_view()
        .is_some_and(|library| library.shadow_stack);
    (view.shadow_stack && !library_is_fit).then(|| {
        let sentence = format!(
            "{name} is marked for shadow stacks; where they are in use, glibc switches them off for it while memguard's library is loaded."
        );
        let remedy = "If you rely on them, watch a copy of the service that is not exposed.";
        Finding::new("shadow-stack", Severity::Note, sentence, remedy)
    })
}

/// What the file's mode and attributes grant to whoever runs it.
#[derive(Debug, Default)]
pub struct Privileges {
    set_user: Option<u32>,
    set_group: Option<u32>,
    capabilities: bool,
}

impl Privileges {
    /// Reads them.
    pub fn of(file: &RegularFile) -> Self {
        let mut value = [0; 64];
        let stat = file.stat();
        Self {
            set_user: (stat.st_mode & 0o4000 != 0).then_some(stat.st_uid),
            // Without the group's x bit it once meant mandatory locking.
            set_group: (stat.st_mode & 0o2010 == 0o2010).then_some(stat.st_gid),
            capabilities: rustix::fs::getxattr(file.path(), "security.capability", &mut value[..])
                .is_ok(),
        }
    }
}

/// Programs that gain rights by being started: the loader then ignores
/// LD_PRELOAD. Whoever already has these rights gains nothing.
pub fn privileges(path: &Path, found: &Privileges) -> Option<Finding> {
    let (uid, gid) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let grant = match found {
        Privileges {
            set_user: Some(owner),
            ..
        } if *owner != uid => "its setuid bit",
        Privileges {
            set_group: Some(group),
            ..
        } if *group != gid => "its setgid bit",
        Privileges {
            capabilities: true, ..
        } if uid != 0 => "its file capabilities",
        Privileges {
            set_user: None,
            set_group: None,
            capabilities: false,
        } => return None,
        _ => return Some(no_gain(path)),
    };
    let sentence = format!(
        "{} gains rights by {grant}: the loader then ignores LD_PRELOAD.",
        path.display()
    );
    let remedy = "Run it as the user whose rights it gains (sudo memguard run ...), or watch a copy without them.";
    Some(Finding::new("setuid", Severity::Blocks, sentence, remedy))
}

fn no_gain(path: &Path) -> Finding {
    let sentence = format!(
        "{} gains rights when others start it, and the loader then ignores LD_PRELOAD; for you it does not.",
        path.display()
    );
    Finding::new("setuid", Severity::Note, sentence, "")
}
