use super::*;
use crate::kernel::testing::{Running, is_root};
use crate::kernel::{ProcDir, maps};
use rustix::fs::{Mode, OFlags};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

const C: &str = r#"#include <stdio.h>
#include <unistd.h>
__attribute__((noinline)) void *where(void) { return __builtin_return_address(0); }
static inline __attribute__((always_inline)) void *inner(void) {
    return where();
}
__attribute__((noinline)) void *outer(void) {
    void *found =
        inner();
    return (char *)found + 0;
}
int main(void) {
    printf("%p\n", outer());
    fflush(stdout);
    pause();
}
"#;

const CPP: &str = r#"#include <cstdio>
#include <unistd.h>
#include <vector>
__attribute__((noinline)) void *where() { return __builtin_return_address(0); }
namespace shop {
struct Cart {
    template <class T> __attribute__((noinline)) void *add(std::vector<T> &items) {
        return items.push_back(T()), where();
    }
};
}
int main() {
    std::vector<int> items;
    std::printf("%p\n", shop::Cart().add(items));
    std::fflush(stdout);
    pause();
}
"#;

const RUST: &str = r#"
mod shop {
    #[inline(always)]
    pub fn here() -> usize {
        let at: usize;
        unsafe { std::arch::asm!("lea {}, [rip + 0]", out(reg) at) };
        at
    }
    pub struct Cart<T>(pub T);
    impl<T: Copy> Cart<T> {
        #[inline(never)]
        pub fn add(&self) -> usize {
            here()
        }
    }
}
fn main() {
    println!("{:#x}", shop::Cart(5u8).add());
    std::thread::park();
}
"#;

/// A program that was compiled here.
struct Built {
    folder: tempfile::TempDir,
    program: PathBuf,
}

fn build(compiler: &str, source: &str, file: &str, flags: &[&str]) -> Built {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("program");
    std::fs::write(folder.path().join(file), source).expect("writable");
    let mut command = Command::new(compiler);
    command
        .current_dir(folder.path())
        .args(flags)
        .arg("-o")
        .arg(&program)
        .arg(file);
    assert!(command.status().expect("a compiler").success());
    Built { folder, program }
}

fn build_c(flags: &[&str]) -> Built {
    let usual = ["-g", "-O1", "-fno-optimize-sibling-calls", "-Wl,--build-id"];
    build("gcc", C, "main.c", &[&usual, flags].concat())
}

impl Built {
    fn tool(&self, words: &[&str]) {
        let mut command = Command::new(words[0]);
        let done = command
            .args(&words[1..])
            .current_dir(self.folder.path())
            .status();
        assert!(done.expect("binutils").success(), "{words:?}");
    }

    fn module(&self) -> Module {
        Module {
            path: self.program.clone(),
            build_id: self.facts().build_id,
        }
    }

    fn facts(&self) -> elf::ElfFacts {
        let file = std::fs::File::open(&self.program).expect("it was built");
        elf::ElfFacts::read(file).expect("an ELF file")
    }

    /// Runs it and finds the place whose address it prints.
    fn run(&self) -> (Running, Place) {
        started(Command::new(&self.program))
    }
}

fn started(mut command: Command) -> (Running, Place) {
    let mut child = Running::spawn(command.stdout(Stdio::piped()));
    let mut line = String::new();
    let output = child.0.stdout.take().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)
        .expect("an address");
    let address =
        u64::from_str_radix(line.trim().trim_start_matches("0x"), 16).expect("an address");
    let place = place_of(&child.dir(), address);
    (child, place)
}

fn place_of(dir: &ProcDir, address: u64) -> Place {
    let mappings = maps::read(dir).expect("our child");
    let mapping = mappings
        .iter()
        .find(|m| m.start <= address && address < m.end);
    let mapping = mapping.expect("an address of its code");
    Place::FileOffset(address - mapping.start + mapping.offset)
}

fn ask(symbolizer: &mut Symbolizer, module: Module, place: Place, after_call: bool) -> Rc<[Frame]> {
    let module = symbolizer.module(module);
    let query = Query {
        module,
        place,
        after_call,
    };
    symbolizer.symbolise(&[query]).remove(0)
}

fn root_at(folder: &Path) -> Root {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(folder, flags, Mode::empty()).expect("a folder");
    Root::at(dir)
}

/// Function, file name, line, inlined.
fn summary(frames: &[Frame]) -> Vec<(&str, &str, u32, bool)> {
    let line = |frame: &Frame| frame.line.unwrap_or(0);
    let all = frames.iter();
    all.map(|frame| {
        (
            frame.function.as_str(),
            file_name(frame),
            line(frame),
            frame.inlined,
        )
    })
    .collect()
}

fn file_name(frame: &Frame) -> &str {
    let path = frame.file.as_deref().unwrap_or("");
    path.rsplit('/').next().unwrap_or("")
}

const EXPECTED_C: [(&str, &str, u32, bool); 2] =
    [("inner", "main.c", 5, true), ("outer", "main.c", 9, false)];

#[test]
fn c_with_inlined_functions_files_and_lines() {
    let built = build_c(&[]);
    let (child, place) = built.run();
    let mut living = Symbolizer::for_living(child.dir()).expect("our child");
    assert_eq!(
        summary(&ask(&mut living, built.module(), place, true)),
        EXPECTED_C
    );
    drop(child);
    let mut dead = Symbolizer::for_dead().expect("a root");
    assert_eq!(
        summary(&ask(&mut dead, built.module(), place, true)),
        EXPECTED_C
    );
    let Place::FileOffset(offset) = place else {
        panic!("an offset")
    };
    let place = Place::Virtual(built.facts().address_of(offset).expect("in a segment"));
    assert_eq!(
        summary(&ask(&mut dead, built.module(), place, true)),
        EXPECTED_C
    );
}

#[test]
fn cpp_and_rust_are_demangled() {
    let built = build(
        "g++",
        CPP,
        "main.cpp",
        &["-g", "-O1", "-fno-optimize-sibling-calls"],
    );
    let (child, place) = built.run();
    let mut symbolizer = Symbolizer::for_living(child.dir()).expect("our child");
    let frames = ask(&mut symbolizer, built.module(), place, true);
    let outer = frames.last().expect("found");
    assert!(
        outer
            .function
            .starts_with("void* shop::Cart::add<int>(std::vector<int"),
        "{frames:?}"
    );
    assert_eq!((file_name(outer), outer.line), ("main.cpp", Some(8)));

    let built = build(
        "rustc",
        RUST,
        "main.rs",
        &["-g", "-Copt-level=1", "--edition=2021"],
    );
    let (child, place) = built.run();
    let mut symbolizer = Symbolizer::for_living(child.dir()).expect("our child");
    // It prints the address behind the instruction, as a call would.
    let frames = ask(&mut symbolizer, built.module(), place, true);
    let shown = summary(&frames);
    assert_eq!(shown[0].1, "main.rs");
    assert!(
        shown[0].0.ends_with("shop::here") && shown[0].3,
        "{shown:?}"
    );
    assert_eq!(shown[1].0, "main::shop::Cart<T>::add");
    assert_eq!((shown[1].2, shown[1].3), (13, false));
}

#[test]
fn debug_information_kept_apart_is_found_both_ways() {
    let built = build_c(&[]);
    let (child, place) = built.run();
    drop(child);
    built.tool(&["objcopy", "--only-keep-debug", "program", "program.debug"]);
    built.tool(&["strip", "program"]);
    let module = built.module();
    let named = |root: &Path, module: &Module| {
        let mut symbolizer = Symbolizer::new(vec![root_at(root)], None, None);
        let frames = ask(&mut symbolizer, module.clone(), place, true);
        frames
            .iter()
            .map(|frame| frame.function.clone())
            .collect::<Vec<_>>()
    };
    assert!(
        named(Path::new("/"), &module).is_empty(),
        "stripped, and nothing links to it yet"
    );

    built.tool(&["objcopy", "--add-gnu-debuglink=program.debug", "program"]);
    assert_eq!(named(Path::new("/"), &module), ["inner", "outer"]);

    // In a root of its own, by build id.
    let id = elf::hex(module.build_id.as_deref().expect("asked for"));
    let root = tempfile::tempdir().expect("a folder");
    let by_id = root.path().join("usr/lib/debug/.build-id").join(&id[..2]);
    std::fs::create_dir_all(&by_id).expect("writable");
    std::fs::create_dir(root.path().join("bin")).expect("writable");
    std::fs::copy(&built.program, root.path().join("bin/program")).expect("a copy");
    let inside = Module {
        path: "/bin/program".into(),
        ..module
    };
    assert!(named(root.path(), &inside).is_empty());
    let debug = by_id.join(format!("{}.debug", &id[2..]));
    std::fs::copy(built.folder.path().join("program.debug"), &debug).expect("a copy");
    assert_eq!(named(root.path(), &inside), ["inner", "outer"]);

    // Debug information of another build is none.
    let other = build_c(&["-DOTHER", "-O2"]);
    other.tool(&["objcopy", "--only-keep-debug", "program", "program.debug"]);
    std::fs::copy(other.folder.path().join("program.debug"), &debug).expect("a copy");
    assert!(named(root.path(), &inside).is_empty());
}

#[test]
fn a_debug_link_without_build_id_is_checked_by_its_checksum() {
    let built = build_c(&["-Wl,--build-id=none"]);
    let (child, place) = built.run();
    drop(child);
    built.tool(&["objcopy", "--only-keep-debug", "program", "program.debug"]);
    built.tool(&["strip", "program"]);
    built.tool(&["objcopy", "--add-gnu-debuglink=program.debug", "program"]);
    assert_eq!(built.module().build_id, None);
    let named = || {
        let mut symbolizer = Symbolizer::for_dead().expect("a root");
        ask(&mut symbolizer, built.module(), place, true).len()
    };
    assert_eq!(named(), 2);
    let debug = built.folder.path().join("program.debug");
    let mut bytes = std::fs::read(&debug).expect("it is there");
    bytes.push(0);
    std::fs::write(&debug, bytes).expect("writable");
    assert_eq!(named(), 0);
}

#[test]
fn a_file_that_was_replaced_is_not_used_and_said_so() {
    let built = build_c(&[]);
    let (child, place) = built.run();
    let module = built.module();
    let other = build_c(&["-DOTHER", "-O2"]);
    std::fs::remove_file(&built.program).expect("it is there");
    std::fs::copy(&other.program, &built.program).expect("a copy");

    // The living process still has it.
    let mut living = Symbolizer::for_living(child.dir()).expect("our child");
    assert_eq!(
        summary(&ask(&mut living, module.clone(), place, true)),
        EXPECTED_C
    );
    drop(child);
    let mut dead = Symbolizer::for_dead().expect("a root");
    assert!(ask(&mut dead, module.clone(), place, true).is_empty());
    let id = dead.module(module.clone());
    let changed = Missing::Changed(built.program.display().to_string());
    assert_eq!(dead.missing(id), Some(&changed));

    std::fs::remove_file(&built.program).expect("it is there");
    let mut dead = Symbolizer::for_dead().expect("a root");
    assert!(ask(&mut dead, module.clone(), place, true).is_empty());
    let id = dead.module(module);
    assert!(matches!(dead.missing(id), Some(Missing::Gone(_))));
}

#[test]
fn without_a_build_id_the_mapped_inode_decides() {
    let built = build_c(&["-Wl,--build-id=none"]);
    let (child, place) = built.run();
    let module = built.module();
    let other = build_c(&["-DOTHER", "-O2", "-Wl,--build-id=none"]);
    std::fs::rename(&built.program, built.folder.path().join("kept")).expect("it is there");
    std::fs::copy(&other.program, &built.program).expect("a copy");
    let mut living = Symbolizer::for_living(child.dir()).expect("our child");
    // The mapping now bears the new name of the old file.
    let kept = Module {
        path: built.folder.path().join("kept"),
        ..module.clone()
    };
    assert_eq!(summary(&ask(&mut living, kept, place, true)), EXPECTED_C);
}

#[test]
fn files_are_those_of_the_processs_own_mounts() {
    if !is_root() {
        return;
    }
    let (ours, theirs) = (build_c(&["-DOTHER", "-O2"]), build_c(&[]));
    // The same path leads to `theirs` in the process and to `ours` here.
    let script = format!(
        "mount --bind {} {} && exec {}",
        theirs.program.display(),
        ours.program.display(),
        ours.program.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    let (child, place) = started(command);
    let module = Module {
        path: ours.program.clone(),
        build_id: theirs.module().build_id,
    };
    let mut living = Symbolizer::for_living(child.dir()).expect("our child");
    assert_eq!(
        summary(&ask(&mut living, module.clone(), place, true)),
        EXPECTED_C
    );
    let mut host = Symbolizer::for_dead().expect("a root");
    assert!(ask(&mut host, module.clone(), place, true).is_empty());
    let id = host.module(module);
    assert!(matches!(host.missing(id), Some(Missing::Changed(_))));
}

#[test]
fn links_of_the_programs_own_files_are_not_followed() {
    // A debug link beside debug information names a pipe: whoever opens it
    // waits for ever.
    let built = build_c(&[]);
    let (child, place) = built.run();
    drop(child);
    built.tool(&["mkfifo", "pipe"]);
    let pipe = built.folder.path().join("pipe");
    let mut section = pipe.to_str().expect("plain").as_bytes().to_vec();
    section.resize((section.len() + 1).next_multiple_of(4) + 4, 0);
    std::fs::write(built.folder.path().join("link"), section).expect("writable");
    built.tool(&["objcopy", "--add-section", ".gnu_debuglink=link", "program"]);
    let module = built.module();
    assert!(built.facts().has_debug_link && built.facts().debug_link.is_none());
    let (done, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut symbolizer = Symbolizer::for_dead().expect("a root");
        let _ = done.send(ask(&mut symbolizer, module, place, true).to_vec());
    });
    let frames = answer
        .recv_timeout(std::time::Duration::from_secs(60))
        .expect("it does not wait");
    assert_eq!(summary(&frames), EXPECTED_C);
}

#[test]
fn broken_debug_information_never_breaks_the_session() {
    let built = build_c(&[]);
    let (child, place) = built.run();
    drop(child);
    let module = built.module();
    let whole = std::fs::read(&built.program).expect("it is there");
    let facts = built.facts();
    let mut named = 0;
    for seed in 0..60u64 {
        let mut bytes = whole.clone();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let loaded = facts
            .segments
            .iter()
            .map(|s| s.offset + s.bytes)
            .max()
            .unwrap_or(0) as usize;
        for _ in 0..1 + seed % 20 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let at = loaded + (state >> 33) as usize % (bytes.len() - loaded);
            bytes[at] ^= (state >> 17) as u8;
        }
        std::fs::remove_file(&built.program).expect("it is there");
        std::fs::write(&built.program, &bytes).expect("writable");
        let mut symbolizer = Symbolizer::for_dead().expect("a root");
        named += ask(&mut symbolizer, module.clone(), place, true).len();
        let id = symbolizer.module(Module {
            path: "/proc/self/mem".into(),
            build_id: None,
        });
        let query = Query {
            module: id,
            place,
            after_call: false,
        };
        assert!(symbolizer.symbolise(&[query])[0].is_empty());
    }
    assert!(named > 0, "some of the broken files still have names");
}

#[test]
fn answers_are_in_the_order_of_the_questions_and_remembered() {
    let built = build_c(&[]);
    let (child, place) = built.run();
    let mut symbolizer = Symbolizer::for_living(child.dir()).expect("our child");
    let module = symbolizer.module(built.module());
    let gone = symbolizer.module(Module {
        path: "/nowhere".into(),
        build_id: None,
    });
    let known = Query {
        module,
        place,
        after_call: true,
    };
    let nowhere = Query {
        module: gone,
        ..known
    };
    let outside = Query {
        place: Place::FileOffset(1 << 40),
        ..known
    };
    let answers = symbolizer.symbolise(&[nowhere, known, outside, known]);
    let lengths: Vec<usize> = answers.iter().map(|frames| frames.len()).collect();
    assert_eq!(lengths, [0, 2, 0, 2]);
    std::fs::remove_file(&built.program).expect("it is there");
    assert_eq!(symbolizer.symbolise(&[known])[0].len(), 2);
}
