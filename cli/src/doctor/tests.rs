//! Over real programs, made on the spot.

use super::*;
use crate::kernel::testing::{Running, is_root, wait_for};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const PLAIN: &str = "#include <stdlib.h>\n#include <unistd.h>\n\
    int main(void) { char *volatile p = malloc(7); free(p); pause(); return 0; }\n";

const OWN_MALLOC: &str = "#include <stddef.h>\n#include <unistd.h>\n\
    static char pool[1 << 20]; static size_t used;\n\
    void *malloc(size_t n) { void *p = pool + used; used += (n + 15) & ~(size_t)15; return p; }\n\
    void free(void *p) { (void)p; }\n\
    int main(void) { char *volatile p = malloc(7); free(p); pause(); return 0; }\n";

const RUST_JEMALLOC: &str = "#include <unistd.h>\nvoid *_rjem_malloc(unsigned long n) { (void)n; return 0; }\n\
    int main(void) { pause(); return 0; }\n";

struct Made {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

/// Compiles a program; `None` where that compiler is not installed.
fn make(compiler: &str, source: &str, flags: &[&str]) -> Option<Made> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("program");
    let text = folder.path().join("program.c");
    std::fs::write(&text, source).expect("writable");
    let mut command = Command::new(compiler);
    let status = command.arg(&text).arg("-o").arg(&path).args(flags).status();
    status.ok()?.success().then_some(Made {
        _folder: folder,
        path,
    })
}

fn gcc(source: &str, flags: &[&str]) -> Made {
    make("gcc", source, flags).expect("gcc compiles it")
}

impl Made {
    fn name(&self) -> &str {
        self.path.to_str().expect("plain")
    }

    fn diagnosis(&self) -> Diagnosis {
        command(self.name(), &Surroundings::default()).expect("it was made")
    }

    fn tool(&self, words: &[&str]) {
        let status = Command::new(words[0])
            .args(&words[1..])
            .arg(&self.path)
            .status();
        assert!(status.expect("binutils").success());
    }
}

/// The severity of the finding of that name.
fn severity(diagnosis: &Diagnosis, name: &str) -> Option<Severity> {
    let finding = diagnosis
        .findings
        .iter()
        .find(|finding| finding.name == name)?;
    Some(finding.severity)
}

fn of(child: &Running) -> Diagnosis {
    process(&child.dir(), &Surroundings::default()).expect("our child")
}

#[test]
fn an_ordinary_program_is_fully_observable() {
    let diagnosis = gcc(PLAIN, &[]).diagnosis();
    assert!(diagnosis.worst() <= Severity::Note, "{diagnosis:#?}");
    assert_eq!(severity(&diagnosis, "loader"), Some(Severity::Ok));
    assert_eq!(severity(&diagnosis, "allocator"), Some(Severity::Ok));
    assert!(diagnosis.summary().contains("fully"));
}

#[test]
fn every_finding_is_a_sentence_with_something_to_do() {
    let programs = [
        gcc(PLAIN, &["-static"]),
        gcc(OWN_MALLOC, &[]),
        gcc(PLAIN, &[]),
    ];
    for made in programs {
        for finding in made.diagnosis().findings {
            assert!(finding.sentence.ends_with('.'), "{finding:?}");
            let advised = finding.remedy.is_some_and(|remedy| remedy.ends_with('.'));
            assert!(
                advised || finding.severity == Severity::Ok,
                "{}",
                finding.sentence
            );
        }
    }
}

#[test]
fn static_programs_of_both_forms() {
    for flags in [&["-static"][..], &["-static-pie"]] {
        let diagnosis = gcc(PLAIN, flags).diagnosis();
        assert_eq!(
            severity(&diagnosis, "static"),
            Some(Severity::Blocks),
            "{flags:?}"
        );
        assert_eq!(diagnosis.worst(), Severity::Blocks);
        assert!(diagnosis.summary().contains("cannot"));
    }
}

#[test]
fn musl_programs() {
    let Some(made) = make("musl-gcc", PLAIN, &[]) else {
        return;
    };
    assert_eq!(severity(&made.diagnosis(), "musl"), Some(Severity::Blocks));
    let fixed = make("musl-gcc", PLAIN, &["-static"]).expect("as before");
    assert_eq!(
        severity(&fixed.diagnosis(), "static"),
        Some(Severity::Blocks)
    );
}

#[test]
#[cfg(target_arch = "x86_64")]
fn programs_of_32_bits_and_other_processors() {
    let bare = "void _start(void) { for (;;); }\n";
    let made = make("gcc", bare, &["-m32", "-nostdlib", "-static"]).expect("it needs no library");
    assert_eq!(
        severity(&made.diagnosis(), "32-bit"),
        Some(Severity::Blocks)
    );
    // e_machine lies at offset 18; 183 is AArch64.
    let other = gcc(PLAIN, &[]);
    let mut bytes = std::fs::read(&other.path).expect("it was made");
    bytes[18] = 183;
    std::fs::write(&other.path, bytes).expect("ours");
    assert_eq!(
        severity(&other.diagnosis(), "machine"),
        Some(Severity::Blocks)
    );
}

#[test]
fn allocators_inside_the_program() {
    let own = gcc(OWN_MALLOC, &[]).diagnosis();
    assert_eq!(severity(&own, "allocator"), Some(Severity::Limits));
    assert!(
        own.findings
            .iter()
            .any(|finding| finding.sentence.contains("malloc of its own"))
    );
    let rust = gcc(RUST_JEMALLOC, &[]).diagnosis();
    assert!(
        rust.findings
            .iter()
            .any(|finding| finding.sentence.contains("jemalloc compiled in"))
    );
    // Stripped, the exported malloc is still known; a hidden one by its texts.
    let stripped = gcc(OWN_MALLOC, &["-s"]).diagnosis();
    assert_eq!(severity(&stripped, "allocator"), Some(Severity::Limits));
    let texts = format!("const char *text = \"<jemalloc>: Out of memory\";\n{PLAIN}");
    let texts = gcc(&texts, &["-s"]).diagnosis();
    assert!(
        texts
            .findings
            .iter()
            .any(|finding| finding.sentence.contains("probably"))
    );
}

#[test]
fn go_programs_with_and_without_libc() {
    let note = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(note.path(), "\u{ff} Go buildinf:").expect("ours");
    let add = format!(".go.buildinfo={}", note.path().display());
    for (flags, expected) in [
        (&["-static"][..], Severity::Blocks),
        (&[], Severity::Limits),
    ] {
        let made = gcc(PLAIN, flags);
        made.tool(&["objcopy", "--add-section", &add]);
        assert_eq!(severity(&made.diagnosis(), "go"), Some(expected));
    }
}

#[test]
fn programs_that_gain_rights() {
    if !is_root() {
        return;
    }
    let made = gcc(PLAIN, &[]);
    let mode =
        |mode| std::fs::set_permissions(&made.path, PermissionsExt::from_mode(mode)).expect("ours");
    let own =
        |uid, gid| std::os::unix::fs::chown(&made.path, Some(uid), Some(gid)).expect("root may");
    own(65534, 65534);
    mode(0o4755);
    assert_eq!(
        severity(&made.diagnosis(), "setuid"),
        Some(Severity::Blocks)
    );
    mode(0o2755);
    assert_eq!(
        severity(&made.diagnosis(), "setuid"),
        Some(Severity::Blocks)
    );
    own(0, 0);
    mode(0o4755);
    assert_eq!(
        severity(&made.diagnosis(), "setuid"),
        Some(Severity::Note),
        "root gains nothing"
    );
    mode(0o755);
    assert_eq!(severity(&made.diagnosis(), "setuid"), None);
}

#[test]
fn file_capabilities_gain_rights_for_others_only() {
    if !is_root() {
        return;
    }
    let made = gcc(PLAIN, &[]);
    // struct vfs_cap_data, revision 2, cap_net_raw permitted and effective.
    let words = [0x0200_0001u32, 1 << 13, 0, 0, 0];
    let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&made.path, "security.capability", &value, flags).is_err() {
        return;
    }
    assert_eq!(severity(&made.diagnosis(), "setuid"), Some(Severity::Note));
}

#[test]
fn a_static_program_that_runs_is_not_told_to_start_again() {
    let made = gcc(PLAIN, &["-static"]);
    let diagnosis = of(&Running::start(&mut Command::new(&made.path)));
    assert_eq!(severity(&diagnosis, "static"), Some(Severity::Blocks));
    assert_eq!(severity(&diagnosis, "library"), None);
}

#[test]
fn a_setuid_program_that_runs_tells_why_it_has_no_library() {
    if !is_root() {
        return;
    }
    let made = gcc(PLAIN, &[]);
    std::fs::set_permissions(made._folder.path(), PermissionsExt::from_mode(0o755)).expect("ours");
    std::os::unix::fs::chown(&made.path, Some(1), Some(1)).expect("root may");
    std::fs::set_permissions(&made.path, PermissionsExt::from_mode(0o4755)).expect("ours");
    let child = Running::start(
        Command::new(&made.path)
            .uid(65534)
            .env("LD_PRELOAD", "libmemguard.so")
            .stderr(Stdio::null()),
    );
    let diagnosis = of(&child);
    let library = diagnosis
        .findings
        .iter()
        .find(|finding| finding.name == "library");
    assert!(
        library.is_some_and(|finding| finding.sentence.contains("gained rights")),
        "{diagnosis:#?}"
    );
    assert_eq!(severity(&diagnosis, "dumpable"), Some(Severity::Note));
}

#[test]
fn a_process_without_the_library_says_how_it_was_started() {
    let sentence = |child: &Running| {
        let diagnosis = of(child);
        let finding = diagnosis
            .findings
            .into_iter()
            .find(|finding| finding.name == "library");
        finding.expect("always there").sentence
    };
    let plain = Running::start(Command::new("sleep").arg("60").env_remove("LD_PRELOAD"));
    assert!(sentence(&plain).contains("was not set"));
    // The loader warns that there is no such file, and goes on.
    let missing = Running::start(
        Command::new("sleep")
            .arg("60")
            .env("LD_PRELOAD", "/no/libmemguard.so")
            .stderr(Stdio::null()),
    );
    assert!(sentence(&missing).contains("LD_PRELOAD names"));
}

#[test]
fn a_process_with_the_library() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("libmemguard.so");
    let made = gcc("int memguard_test;\n", &["-shared", "-fPIC"]);
    std::fs::copy(&made.path, &library).expect("a copy");
    let child = Running::start(Command::new("sleep").arg("60").env("LD_PRELOAD", &library));
    let diagnosis = wait_for(|| {
        Some(of(&child)).filter(|found| severity(found, "library") == Some(Severity::Ok))
    });
    assert!(diagnosis.worst() <= Severity::Note, "{diagnosis:#?}");
}

#[test]
fn seccomp_limits_and_small_limits() {
    let (child, _) = Running::python(
        "import ctypes, time, struct\n\
         c = ctypes.CDLL(None, use_errno=True); c.prctl(38, 1, 0, 0, 0)\n\
         code = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000))\n\
         class P(ctypes.Structure): _fields_ = [('n', ctypes.c_ushort), ('p', ctypes.c_void_p)]\n\
         done = c.prctl(22, 2, ctypes.byref(P(1, ctypes.addressof(code))), 0, 0)\n\
         print(done, flush=True); time.sleep(60)",
    );
    assert_eq!(severity(&of(&child), "seccomp"), Some(Severity::Limits));
    assert_eq!(severity(&of(&child), "file-limit"), None);
    let script = "ulimit -f 100; exec sleep 60";
    let child = Running::spawn(Command::new("sh").args(["-c", script]));
    wait_for(|| (child.process().comm == "sleep").then_some(()));
    assert_eq!(severity(&of(&child), "file-limit"), Some(Severity::Limits));
    let script = "ulimit -v 20000; exec sleep 60";
    let child = Running::spawn(Command::new("sh").args(["-c", script]));
    wait_for(|| (child.process().comm == "sleep").then_some(()));
    assert_eq!(
        severity(&of(&child), "address-limit"),
        Some(Severity::Limits)
    );
}

#[test]
fn a_process_in_other_namespaces_is_judged_by_its_own_shm() {
    if !is_root() {
        return;
    }
    let in_namespaces = |mount: &str| {
        let script = format!("{mount}; exec sleep 60");
        let arguments = [
            "--pid",
            "--mount",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            &script,
        ];
        let child = Running::spawn(Command::new("unshare").args(arguments));
        let inner = wait_for(|| {
            let list = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.pid()))
                .ok()?;
            let dir = ProcDir::open(list.split_whitespace().next()?.parse().ok()?).ok()?;
            (Process::read(&dir).ok()?.comm == "sleep").then_some(dir)
        });
        severity(
            &process(&inner, &Surroundings::default()).expect("our child"),
            "shm",
        )
    };
    assert_eq!(
        in_namespaces("mount -t tmpfs none /dev/shm"),
        Some(Severity::Ok)
    );
    assert_eq!(
        in_namespaces("mount -t tmpfs -o ro none /dev/shm"),
        Some(Severity::Limits)
    );
    assert_eq!(
        in_namespaces("mount -t tmpfs -o size=64k none /dev/shm"),
        Some(Severity::Limits)
    );
    assert_eq!(
        in_namespaces("mount -t tmpfs none /dev"),
        Some(Severity::Limits)
    );
}

#[test]
fn threads_of_the_kernel_are_no_programs() {
    let Ok(dir) = ProcDir::open(2) else { return };
    let Ok(found) = Process::read(&dir) else {
        return;
    };
    if found.kernel_thread {
        let diagnosis = process(&dir, &Surroundings::default()).expect("it is there");
        assert_eq!(
            severity(&diagnosis, "kernel-thread"),
            Some(Severity::Blocks)
        );
    }
}
