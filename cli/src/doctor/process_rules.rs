//! What can be seen of a process that runs: one rule a function.

use super::elf_view::ElfView;
use super::finding::{Finding, Severity};
use super::system_rules::Surroundings;
use crate::attach::name::SegmentName;
use crate::attach::{Running, live};
use crate::kernel::text::{self, lossy};
use crate::kernel::{Mapping, ProcDir, Process, maps, threads};
use crate::symbols::open::Root;
use rustix::process::geteuid;
use shm_protocol::codes::note;
use std::path::Path;

/// The library's file name, as the loader maps it.
const LIBRARY: &str = "libmemguard.so";

/// getauxval(3): set when the program gained rights by being started.
const AT_SECURE: u64 = 23;

/// Below this the light mode's tables do not fit.
const SMALL_LIMIT_BYTES: u64 = 64 << 20;

/// What only those see who may read the process's memory.
#[derive(Debug, Default)]
pub struct Inside {
    mappings: Option<Vec<Mapping>>,
    preload: Option<String>,
    environment_read: bool,
    secure: Option<bool>,
    shadow_stack: bool,
    confinement: Option<String>,
    glibc: Option<(u32, u32)>,
}

impl Inside {
    /// Reads what may be read.
    pub fn of(dir: &ProcDir) -> Self {
        let environment = threads::read_shared(dir, "environ").ok();
        let status = dir.read("status").unwrap_or_default();
        let mappings = maps::read(dir).ok();
        let features = text::field(&status, "x86_Thread_features:").unwrap_or("");
        Self {
            glibc: mappings
                .as_deref()
                .and_then(|mappings| glibc(dir, mappings)),
            mappings,
            preload: environment
                .as_deref()
                .and_then(|bytes| variable(bytes, b"LD_PRELOAD=")),
            environment_read: environment.is_some(),
            secure: threads::read_shared(dir, "auxv")
                .ok()
                .and_then(|bytes| auxiliary(&bytes, AT_SECURE))
                .map(|value| value != 0),
            shadow_stack: features.split(' ').any(|feature| feature == "shstk"),
            confinement: dir
                .read("attr/current")
                .ok()
                .and_then(|bytes| confinement(&bytes)),
        }
    }

    fn has_library(&self) -> Option<bool> {
        let is_library = |mapping: &Mapping| mapping.path.rsplit('/').next() == Some(LIBRARY);
        self.mappings.as_ref().map(|all| all.iter().any(is_library))
    }

    /// The file of its record, if there is one.
    pub fn record(&self) -> Option<&str> {
        let mut paths = self.mappings.iter().flatten().map(|mapping| &*mapping.path);
        paths.find(|path| SegmentName::of_path(Path::new(path)).is_some())
    }
}

/// The version of the C library that the process has loaded.
fn glibc(dir: &ProcDir, mappings: &[Mapping]) -> Option<(u32, u32)> {
    let is_libc = |mapping: &&Mapping| mapping.path.ends_with("/libc.so.6");
    let path = &mappings.iter().find(is_libc)?.path;
    let file = Root::of(dir).ok()?.open(Path::new(path)).ok()?;
    ElfView::read(&file).ok()?.newest_glibc
}

fn variable(environment: &[u8], name: &[u8]) -> Option<String> {
    let mut all = environment.split(|&byte| byte == 0);
    all.find_map(|setting| setting.strip_prefix(name).map(lossy))
}

/// Pairs of native words; a 32-bit process's are half as long and show nothing
/// here.
fn auxiliary(bytes: &[u8], wanted: u64) -> Option<u64> {
    let word = |bytes: &[u8]| Some(u64::from_ne_bytes(bytes.try_into().ok()?));
    let mut pairs = bytes.chunks_exact(16);
    pairs.find_map(|pair| (word(&pair[..8])? == wanted).then(|| word(&pair[8..]))?)
}

/// AppArmor's profile in enforce mode.
fn confinement(label: &[u8]) -> Option<String> {
    let label = lossy(label.trim_ascii_end());
    label.strip_suffix(" (enforce)").map(str::to_owned)
}

/// All rules.
pub fn all(process: &Process, inside: &Inside, surroundings: &Surroundings) -> Vec<Finding> {
    let rules = [
        permission(process),
        yama(process),
        library(process, inside),
        old_glibc(inside, surroundings),
        dumpable(process),
        seccomp(process, inside),
        limits(process),
        shadow_stack(inside),
        confined(inside),
    ];
    rules.into_iter().flatten().collect()
}

/// Whether its record says so.
pub fn heap_is_out_of_reach(pid: i32) -> bool {
    let segment = Running::find(pid).and_then(|process| live::find(&process).ok().flatten());
    let notes = segment.and_then(|live| Some(live.segment.view("").ok()?.header().notes));
    notes.is_some_and(|notes| notes & note::STATIC_ALLOCATOR != 0)
}

/// The program's own malloc does not come first, nor does memguard's.
pub fn another_malloc(pid: i32) -> Finding {
    let sentence = format!(
        "In process {pid} a malloc of another library comes before memguard's: what is allocated there is not seen."
    );
    let remedy =
        "Name memguard's library first in LD_PRELOAD; it lets the other one serve all the same.";
    Finding::new("allocator", Severity::Limits, sentence, remedy)
}

/// Its record has a file, which stays when it is killed.
pub fn recorded(pid: i32, file: &str) -> Finding {
    Finding::ok("shm", format!("The record of process {pid} is in {file}."))
}

/// Threads of the kernel.
pub fn kernel_thread(process: &Process) -> Finding {
    let sentence = format!(
        "{} is a thread of the kernel: it has no memory and no descriptors of its own.",
        process.pid
    );
    Finding::new(
        "kernel-thread",
        Severity::Blocks,
        sentence,
        "Name a program's process.",
    )
}

fn permission(process: &Process) -> Option<Finding> {
    if process.access.read {
        return None;
    }
    let (pid, user) = (process.pid, geteuid());
    let why = match (process.uid == user.as_raw(), process.access.dumpable) {
        _ if user.is_root() => {
            "root itself lacks the right to (CAP_SYS_PTRACE), as in most containers"
        }
        (_, Some(false)) => {
            "it is not dumpable (it changed its user, has capabilities, or asked for it)"
        }
        (false, _) => "it belongs to another user",
        (true, _) => "it has more rights than you, or lives in another user namespace",
    };
    let remedy = match user.is_root() {
        true => "Run memguard outside of the container, or start the container with --cap-add SYS_PTRACE.".to_owned(),
        false => format!("Run `sudo memguard doctor {pid}`, and the other verbs as root, too."),
    };
    let sentence = format!("This user may not look into process {pid}: {why}.");
    Some(Finding::new(
        "permission",
        Severity::Blocks,
        sentence,
        remedy,
    ))
}

/// Reading is allowed, attaching is not: Yama, as a rule.
fn yama(process: &Process) -> Option<Finding> {
    let denied = process.access.read && !process.access.attach;
    denied.then(|| {
        let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
        let scope = scope.trim();
        let cause = if scope.is_empty() { String::new() } else { format!(" (kernel.yama.ptrace_scope is {scope})") };
        let sentence = format!("The kernel does not let this user attach to process {}{cause}: its memory and copies of its descriptors are out of reach.", process.pid);
        let remedy = "Run memguard as root; reports need the memory only where the segment's file is gone.";
        Finding::new("ptrace", Severity::Limits, sentence, remedy)
    })
}

/// Whether it runs with the library, and if not, why.
fn library(process: &Process, inside: &Inside) -> Option<Finding> {
    let pid = process.pid;
    if inside.has_library()? {
        return Some(Finding::ok(
            "library",
            format!("Process {pid} runs with memguard's library."),
        ));
    }
    let asked_for = inside
        .preload
        .as_deref()
        .is_some_and(|value| value.contains(LIBRARY));
    let (sentence, remedy) = match (asked_for, inside.secure) {
        (_, Some(true)) => (
            "The program gained rights when it started, so the loader ignored LD_PRELOAD"
                .to_owned(),
            "Start it as the user whose rights it gains.",
        ),
        (true, _) => (
            format!(
                "LD_PRELOAD names memguard's library, but the loader did not bring it into process {pid}"
            ),
            "Look for the loader's message in the program's error output; the file must be readable at that path inside the program's own root.",
        ),
        (false, _) if inside.environment_read => (
            format!(
                "Process {pid} was started without memguard's library: LD_PRELOAD was not set, or was taken out on the way (sudo, su, env -i and service managers do that)"
            ),
            "Restart it with `memguard run -- COMMAND`, or set LD_PRELOAD where it is started (systemd: Environment=).",
        ),
        (false, _) => (
            format!("Process {pid} runs without memguard's library"),
            "Restart it with `memguard run -- COMMAND`.",
        ),
    };
    let sentence = format!("{sentence}; only the outside view is to be had.");
    Some(Finding::new("library", Severity::Blocks, sentence, remedy))
}

/// In a container the C library may be older than the one that memguard's
/// library was linked against.
fn old_glibc(inside: &Inside, surroundings: &Surroundings) -> Option<Finding> {
    if inside.has_library() == Some(true) {
        return None;
    }
    let (has, needs) = (inside.glibc?, surroundings.library_view()?.newest_glibc?);
    (has < needs).then(|| {
        let sentence = format!(
            "It runs with glibc {}.{}, and memguard's library needs {}.{}: the program would not start with it.",
            has.0, has.1, needs.0, needs.1
        );
        let remedy = "Build memguard on the older system, or update the one that the program runs in.";
        Finding::new("glibc", Severity::Blocks, sentence, remedy)
    })
}

fn dumpable(process: &Process) -> Option<Finding> {
    let hidden = process.access.dumpable == Some(false) && process.access.read;
    hidden.then(|| {
        let sentence = format!(
            "Process {} is not dumpable: only root may read what memguard records of it.",
            process.pid
        );
        Finding::new(
            "dumpable",
            Severity::Note,
            sentence,
            "Go on running memguard as root for it.",
        )
    })
}

fn seccomp(process: &Process, inside: &Inside) -> Option<Finding> {
    if process.seccomp.unwrap_or(0) == 0 {
        return None;
    }
    let sentence = match inside.has_library() {
        Some(true) => {
            "It runs under a seccomp filter: from the moment it was installed the library makes no system call of its own, so its tables do not grow and, if the filter was there first, end with the process."
        }
        _ => {
            "It runs under a seccomp filter: a library started under it makes no system call of its own, and its records end with the process."
        }
    };
    let remedy = "Take a `memguard snapshot` while it runs; or start it once without the filter, in a place where that is safe.";
    Some(Finding::new("seccomp", Severity::Limits, sentence, remedy))
}

/// Small limits on file size and address space make for small tables.
fn limits(process: &Process) -> Option<Finding> {
    let soft = |limit: Option<crate::kernel::Limit>| limit.and_then(|limit| limit.soft);
    let left = process.virtual_bytes;
    let (name, what, bytes) = match (soft(process.file_bytes), soft(process.address_bytes)) {
        (Some(bytes), _) if bytes < SMALL_LIMIT_BYTES => ("file-limit", "files larger than", bytes),
        (_, Some(bytes)) if bytes.saturating_sub(left) < SMALL_LIMIT_BYTES => {
            ("address-limit", "an address space larger than", bytes)
        }
        _ => return None,
    };
    let sentence = format!(
        "Process {} may not have {what} {} KiB: the library's tables stay small and may fill up.",
        process.pid,
        bytes >> 10
    );
    let remedy = "Raise the limit where it is started (ulimit -f, ulimit -v; systemd: LimitFSIZE=, LimitAS=).";
    Some(Finding::new(name, Severity::Limits, sentence, remedy))
}

fn shadow_stack(inside: &Inside) -> Option<Finding> {
    inside.shadow_stack.then(|| {
        let sentence = "It runs with shadow stacks; with a library that is not marked for them glibc switches them off.";
        Finding::new("shadow-stack", Severity::Note, sentence, "If you rely on them, watch a copy that is not exposed.")
    })
}

fn confined(inside: &Inside) -> Option<Finding> {
    let profile = inside.confinement.as_ref()?;
    let sentence = format!(
        "It is confined by the AppArmor profile {profile}, which may keep the library from being loaded and from writing below /dev/shm."
    );
    let remedy = "Allow the library's file (mr) and /dev/shm/memguard/** (rw) in the profile.";
    Some(Finding::new("apparmor", Severity::Note, sentence, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn variables_and_auxiliary_values() {
        let environment = b"A=1\0XLD_PRELOAD=no\0LD_PRELOAD=/a/libmemguard.so /b.so\0";
        assert_eq!(
            variable(environment, b"LD_PRELOAD=").as_deref(),
            Some("/a/libmemguard.so /b.so")
        );
        let own = std::fs::read("/proc/self/auxv").expect("our own");
        assert_eq!(auxiliary(&own, AT_SECURE), Some(0));
        assert_eq!(auxiliary(&own, 6), Some(rustix::param::page_size() as u64));
        assert_eq!(
            confinement(b"docker-default (enforce)\n").as_deref(),
            Some("docker-default")
        );
        assert_eq!(confinement(b"unconfined\n"), None);
    }

    #[test]
    fn rights_that_are_missing_are_told_apart() {
        let dir = ProcDir::open(std::process::id() as i32).expect("ourselves");
        let mut process = Process::read(&dir).expect("ourselves");
        let severity = |finding: Option<Finding>| finding.map(|finding| finding.severity);
        assert_eq!((permission(&process), yama(&process)), (None, None));
        process.access.attach = false;
        assert_eq!(permission(&process), None);
        assert_eq!(severity(yama(&process)), Some(Severity::Limits));
        process.access.read = false;
        assert_eq!(severity(permission(&process)), Some(Severity::Blocks));
        assert_eq!(yama(&process), None, "one finding is enough");
    }

    #[test]
    fn an_older_glibc_than_the_librarys_blocks() {
        let ourselves = ProcDir::open(std::process::id() as i32).expect("ourselves");
        let inside = Inside::of(&ourselves);
        let needs = inside.glibc.expect("we run with glibc");
        let libc = maps::read(&ourselves).expect("our own");
        let libc = libc
            .iter()
            .find(|mapping| mapping.path.ends_with("libc.so.6"))
            .expect("mapped");
        let surroundings = Surroundings {
            library: Some((&libc.path).into()),
            ..Surroundings::default()
        };
        assert_eq!(old_glibc(&inside, &surroundings), None);
        let older = Inside {
            glibc: Some((needs.0, needs.1 - 1)),
            ..inside
        };
        let finding = old_glibc(&older, &surroundings).expect("too old");
        assert_eq!(finding.severity, Severity::Blocks);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = auxiliary(&bytes, AT_SECURE);
            let _ = variable(&bytes, b"A=");
            let _ = confinement(&bytes);
        }
    }
}
