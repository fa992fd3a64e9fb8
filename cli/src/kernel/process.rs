//! Who a process is: names, times, owner, namespaces, limits.

use super::access::Access;
use super::cgroup::{self, CgroupMemory};
use super::{KernelError, ProcDir, text};
use procfs::FromRead;
use procfs::process::{LimitValue, Limits, Stat};
use rustix::fd::AsFd;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// PF_KTHREAD of the kernel's sched.h.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// What the kernel says about a process at one moment.
///
/// A field is `None` where the kernel does not tell this user, or does not
/// have it. Texts are lossily decoded and otherwise as the process set them.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number in our pid namespace.
    pub pid: i32,
    /// Its parent's number, 0 if that is outside our namespace.
    pub parent: i32,
    /// The kernel's short name.
    pub comm: String,
    /// The command line, word by word; empty for kernel threads.
    pub cmdline: Vec<String>,
    /// The executable's path as the process sees it, without ` (deleted)`.
    pub exe: Option<String>,
    /// True when the executable was replaced or removed since the start.
    pub exe_deleted: bool,
    /// True for a thread of the kernel: it has no memory of its own.
    pub kernel_thread: bool,
    /// Start in clock ticks since boot: with the pid, its identity.
    pub start_ticks: u64,
    /// Start by the wall clock, to the clock tick.
    pub started_at: SystemTime,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// The state letter of proc_pid_stat(5): R, S, D, T, Z ...
    pub state: char,
    /// How many threads it has.
    pub threads: u64,
    /// Its numbers from our pid namespace inwards; the last is its own view.
    pub namespace_pids: Vec<i32>,
    /// Inodes of its namespaces.
    pub namespaces: Namespaces,
    /// What we may read and do.
    pub access: Access,
    /// Seccomp: 0 off, 1 strict, 2 filtered.
    pub seccomp: Option<u32>,
    /// Resident memory in bytes; the kernel counts it per processor and lags
    /// behind by some hundred KiB.
    pub rss_bytes: u64,
    /// Address space in bytes.
    pub virtual_bytes: u64,
    /// RLIMIT_NOFILE, soft and hard.
    pub open_files: Option<Limit>,
    /// RLIMIT_FSIZE in bytes.
    pub file_bytes: Option<Limit>,
    /// RLIMIT_AS in bytes.
    pub address_bytes: Option<Limit>,
    /// What its cgroup may use and is charged.
    pub cgroup: Option<CgroupMemory>,
}

/// Inodes that name namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Processes.
    pub pid: Option<u64>,
    /// Mounts.
    pub mount: Option<u64>,
    /// Network.
    pub net: Option<u64>,
    /// Users.
    pub user: Option<u64>,
}

/// A resource limit; `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is enforced.
    pub soft: Option<u64>,
    /// How far the process itself may raise it.
    pub hard: Option<u64>,
}

impl Process {
    /// Reads everything about the process of that directory.
    pub fn read(dir: &ProcDir) -> Result<Self, KernelError> {
        let stat = stat(dir)?;
        let status = dir.read("status")?;
        let (exe, exe_deleted) = executable(dir);
        let limits = limits(dir);
        let limit = |pick: fn(&Limits) -> procfs::process::Limit| {
            limits.as_ref().map(|all| pick(all).into())
        };
        Ok(Self {
            pid: dir.pid(),
            parent: stat.ppid,
            comm: stat.comm.clone(),
            cmdline: cmdline(dir)?,
            exe,
            exe_deleted,
            kernel_thread: stat.flags & KERNEL_THREAD != 0,
            start_ticks: stat.starttime,
            started_at: wall_clock(stat.starttime),
            uid: number(&status, "Uid:", 0).unwrap_or(u32::MAX),
            euid: number(&status, "Uid:", 1).unwrap_or(u32::MAX),
            state: stat.state,
            threads: u64::try_from(stat.num_threads).unwrap_or(0),
            namespace_pids: namespace_pids(&status, dir.pid()),
            namespaces: Namespaces::of(dir),
            access: Access::probe(dir),
            seccomp: number(&status, "Seccomp:", 0),
            rss_bytes: stat.rss.saturating_mul(rustix::param::page_size() as u64),
            virtual_bytes: stat.vsize,
            open_files: limit(|all| all.max_open_files),
            file_bytes: limit(|all| all.max_file_size),
            address_bytes: limit(|all| all.max_address_space),
            cgroup: cgroup::memory(dir),
        })
    }

    /// How long it has run.
    pub fn uptime(&self) -> Duration {
        self.started_at.elapsed().unwrap_or_default()
    }

    /// Its number as it sees itself, which is what it names its own files by.
    pub fn own_pid(&self) -> i32 {
        self.namespace_pids.last().copied().unwrap_or(self.pid)
    }
}

impl Namespaces {
    /// The namespaces of a process, as far as this user may see them.
    pub fn of(dir: &ProcDir) -> Self {
        let inode = |name| dir.namespace(name).ok();
        Self {
            pid: inode("pid"),
            mount: inode("mnt"),
            net: inode("net"),
            user: inode("user"),
        }
    }

    /// Our own.
    pub fn ours() -> Self {
        let own = ProcDir::open(rustix::process::getpid().as_raw_nonzero().get());
        own.map_or_else(|_| Self::default(), |dir| Self::of(&dir))
    }
}

impl From<procfs::process::Limit> for Limit {
    fn from(limit: procfs::process::Limit) -> Self {
        let value = |value| match value {
            LimitValue::Unlimited => None,
            LimitValue::Value(value) => Some(value),
        };
        Self {
            soft: value(limit.soft_limit),
            hard: value(limit.hard_limit),
        }
    }
}

/// The start time alone, in clock ticks since boot: enough to tell whether a
/// pid still means the same process.
pub fn start_ticks(dir: &ProcDir) -> Result<u64, KernelError> {
    Ok(stat(dir)?.starttime)
}

fn stat(dir: &ProcDir) -> Result<Stat, KernelError> {
    let bytes = dir.read("stat")?;
    Stat::from_read(&*bytes).map_err(|error| KernelError::malformed(dir.pid(), "stat", error))
}

fn limits(dir: &ProcDir) -> Option<Limits> {
    Limits::from_read(&*dir.read("limits").ok()?).ok()
}

/// Words end with a NUL; a process that overwrote them may have left none.
fn cmdline(dir: &ProcDir) -> Result<Vec<String>, KernelError> {
    let bytes = dir.read("cmdline")?;
    let words = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if words.is_empty() {
        return Ok(Vec::new());
    }
    Ok(words.split(|&byte| byte == 0).map(text::lossy).collect())
}

/// Its path, and whether that file is gone. A path that really ends in
/// ` (deleted)` still has links.
fn executable(dir: &ProcDir) -> (Option<String>, bool) {
    let Ok(link) = dir.link("exe") else {
        return (None, false);
    };
    let unlinked = rustix::fs::statat(dir.fd().as_fd(), "exe", rustix::fs::AtFlags::empty())
        .is_ok_and(|stat| stat.st_nlink == 0);
    match link.strip_suffix(b" (deleted)").filter(|_| unlinked) {
        Some(path) => (Some(text::lossy(path)), true),
        None => (Some(text::lossy(&link)), false),
    }
}

fn number(status: &[u8], name: &str, index: usize) -> Option<u32> {
    let words = text::field(status, name)?;
    words.split_whitespace().nth(index)?.parse().ok()
}

fn namespace_pids(status: &[u8], pid: i32) -> Vec<i32> {
    let line = text::field(status, "NSpid:").unwrap_or("");
    let numbers: Vec<i32> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers.is_empty() {
        true => vec![pid],
        false => numbers,
    }
}

/// The wall clock at that many ticks after boot.
pub fn wall_clock(ticks: u64) -> SystemTime {
    let hz = rustix::param::clock_ticks_per_second().max(1);
    let after_boot = Duration::from_millis(ticks.saturating_mul(1000) / hz);
    boot_time().checked_add(after_boot).unwrap_or(UNIX_EPOCH)
}

/// The wall clock at boot, to the millisecond: the difference of two clocks
/// read next to each other, so that asking twice gives the same answer.
fn boot_time() -> SystemTime {
    let since = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    let pair = || {
        let before = since(ClockId::Realtime);
        let boot = since(ClockId::Boottime);
        let after = since(ClockId::Realtime);
        (after.saturating_sub(before), before.saturating_sub(boot))
    };
    let closest = (0..3).map(|_| pair()).min().unwrap_or_default();
    UNIX_EPOCH + Duration::from_millis((closest.1.as_micros() as u64 + 500) / 1000)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Running, is_root, wait_for};
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[test]
    fn names_times_and_owner_of_a_child() {
        let before = SystemTime::now();
        let child = Running::start(Command::new("sleep").arg("60").arg0("two words"));
        let process = child.process();
        assert_eq!(process.pid, child.pid());
        assert_eq!(process.parent, std::process::id() as i32);
        assert_eq!(process.comm, "sleep");
        assert_eq!(process.cmdline, ["two words", "60"]);
        assert!(
            process
                .exe
                .as_deref()
                .is_some_and(|path| path.contains("/bin/"))
        );
        assert_eq!(process.threads, 1);
        assert_eq!(process.own_pid(), process.pid);
        let tick = Duration::from_millis(20);
        assert!(
            process.started_at + tick >= before,
            "{:?}",
            process.started_at
        );
        assert!(process.started_at <= SystemTime::now() + tick);
        assert_eq!(process.namespaces, Namespaces::ours());
        assert!(process.access.read && process.access.attach);
    }

    #[test]
    fn resident_memory_follows_what_is_touched() {
        let (child, _) = Running::python(
            "import time; keep = bytearray(b'x') * (64 << 20); print(flush=True); time.sleep(60)",
        );
        let process = child.process();
        assert!(process.rss_bytes >= 64 << 20, "{process:?}");
        assert!(process.virtual_bytes > process.rss_bytes);
    }

    #[test]
    fn a_name_of_any_bytes_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let odd = std::os::unix::ffi::OsStrExt::from_bytes(b"a) Z (\xff\x1b[m");
        let odd = folder.path().join::<&std::ffi::OsStr>(odd);
        std::fs::copy("/bin/sleep", &odd).expect("a copy");
        let child = Running::start(Command::new(&odd).arg("60"));
        let process = child.process();
        assert_eq!(process.comm, "a) Z (\u{fffd}\u{1b}[m");
        assert_ne!(process.state, 'Z');
        std::fs::remove_file(&odd).expect("it is there");
        let process = child.process();
        assert!(process.exe_deleted);
        assert!(process.exe.is_some_and(|path| path.ends_with("\u{1b}[m")));
    }

    #[test]
    fn limits_are_those_of_the_process() {
        let script = "ulimit -Sn 77; ulimit -f 1000; exec sleep 60";
        let child = Running::spawn(Command::new("sh").args(["-c", script]));
        wait_for(|| (child.process().comm == "sleep").then_some(()));
        let process = child.process();
        assert_eq!(process.open_files.and_then(|limit| limit.soft), Some(77));
        assert_eq!(
            process.file_bytes.and_then(|limit| limit.soft),
            Some(512_000)
        );
        assert_eq!(process.address_bytes.map(|limit| limit.soft), Some(None));
    }

    #[test]
    fn the_start_by_the_wall_clock_is_the_same_each_time() {
        let first = wall_clock(12_345);
        assert!((0..100).all(|_| wall_clock(12_345) == first));
    }

    #[test]
    fn a_process_in_its_own_pid_namespace_has_two_numbers() {
        if !is_root() {
            return;
        }
        let arguments = [
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sleep",
            "60",
        ];
        let child = Running::spawn(Command::new("unshare").args(arguments));
        let inner = wait_for(|| {
            let inner = first_child(child.pid())?;
            let process = Process::read(&ProcDir::open(inner).ok()?).ok()?;
            (process.comm == "sleep").then_some(process)
        });
        assert_eq!(inner.own_pid(), 1);
        assert_eq!(inner.namespace_pids, [inner.pid, 1]);
        assert_ne!(inner.namespaces.pid, Namespaces::ours().pid);
        assert_ne!(inner.namespaces.mount, Namespaces::ours().mount);
    }

    fn first_child(pid: i32) -> Option<i32> {
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        list.split_whitespace().next()?.parse().ok()
    }
}
