//! What a report says of the present, against /proc and `ss`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde_json::Value;

use super::range::Range;

/// A TCP socket by `ss`.
#[derive(Clone, Debug, Default)]
pub struct Tcp {
    /// The state as reports name it
    pub state: String,
    /// Bytes not read, bytes not sent
    pub queues: (u64, u64),
    /// Addresses
    pub local: String,
    /// Of the peer
    pub peer: String,
    /// Seconds since data was sent and since data came
    pub silent: (f64, f64),
}

/// All TCP sockets of this machine, by inode.
pub fn sockets() -> BTreeMap<u64, Tcp> {
    let done = Command::new("ss")
        .args(["-t", "-a", "-n", "-e", "-i", "-H", "-O"])
        .output();
    let done = done.expect("ss can be started (apt-get install iproute2)");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    text.lines().filter_map(socket).collect()
}

fn socket(line: &str) -> Option<(u64, Tcp)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
    let seconds =
        |key: &str| value(key).map_or(0.0, |ms| ms.parse::<f64>().unwrap_or(0.0) / 1000.0);
    let state = match words[0] {
        "ESTAB" => "ESTABLISHED".to_owned(),
        other => other.replace('-', "_"),
    };
    let tcp = Tcp {
        state,
        queues: (words.get(1)?.parse().ok()?, words.get(2)?.parse().ok()?),
        local: (*words.get(3)?).to_owned(),
        peer: (*words.get(4)?).to_owned(),
        silent: (seconds("lastsnd:"), seconds("lastrcv:")),
    };
    Some((value("ino:")?.parse().ok()?, tcp))
}

/// The kernel's word about one process, before a report and after it.
#[derive(Debug)]
pub struct Kernel {
    pid: u32,
    before: BTreeMap<u64, Tcp>,
    after: BTreeMap<u64, Tcp>,
    ticks_before: BTreeMap<i64, u64>,
}

impl Kernel {
    /// Asked before the report.
    pub fn before(pid: u32) -> Self {
        let fds = memguard_tests::held::open_fds(pid)
            .into_iter()
            .map(i64::from);
        let ticks =
            fds.filter_map(|fd| Some((fd, field(&fdinfo(pid, fd), "ticks:")?.parse().ok()?)));
        Self {
            pid,
            before: sockets(),
            after: BTreeMap::new(),
            ticks_before: ticks.collect(),
        }
    }

    /// And after it.
    pub fn after(&mut self) {
        self.after = sockets();
    }

    fn link(&self, fd: i64) -> String {
        let link = fs::read_link(format!("/proc/{}/fd/{fd}", self.pid));
        link.map_or_else(|_| "closed".to_owned(), |link| link.display().to_string())
    }

    fn tcp(&self, fd: i64) -> Option<(&Tcp, &Tcp)> {
        let link = self.link(fd);
        let inode = link
            .strip_prefix("socket:[")?
            .strip_suffix(']')?
            .parse()
            .ok()?;
        Some((self.before.get(&inode)?, self.after.get(&inode)?))
    }

    /// When the process started: the kernel counts hundredths of a second.
    pub fn started(&self) -> Range {
        let read = |path: String| fs::read_to_string(path).expect("the process runs");
        let stat = read(format!("/proc/{}/stat", self.pid));
        let behind_name = stat.rsplit_once(") ").expect("a name").1;
        let number = |text: Option<&str>| text.and_then(|word| word.parse::<f64>().ok());
        let ticks = number(behind_name.split(' ').nth(19)).expect("a start");
        let uptime_s = number(read("/proc/uptime".into()).split(' ').next()).expect("a time");
        Range::about(super::seconds() - uptime_s + ticks / 100.0, 0.05)
    }

    /// The soft limit of a name in /proc/PID/limits.
    pub fn limit(&self, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/limits", self.pid)).expect("limits");
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let words = line.expect("a limit").split_whitespace();
        words
            .clone()
            .next()
            .and_then(|word| word.parse().ok())
            .expect("a number")
    }

    /// Descriptors that are open.
    pub fn open_fds(&self) -> u64 {
        memguard_tests::held::open_fds(self.pid).len() as u64
    }

    /// How many of the process's TCP sockets are in which state.
    pub fn states(&self) -> BTreeMap<String, u64> {
        let fds = memguard_tests::held::open_fds(self.pid);
        let inodes: BTreeSet<String> = fds.into_iter().map(|fd| self.link(fd.into())).collect();
        let mut states = BTreeMap::new();
        for (inode, tcp) in &self.after {
            if inodes.contains(&format!("socket:[{inode}]")) {
                *states.entry(tcp.state.clone()).or_default() += 1;
            }
        }
        states
    }

    /// What does not fit in one row of a finding's resources.
    pub fn wrong(&self, row: &Value) -> Vec<String> {
        let mut wrong = match row["fd"].as_i64() {
            Some(fd) => self.wrong_descriptor(row, fd),
            None => self.wrong_thing(row["what"].as_str().unwrap_or_default()),
        };
        wrong
            .iter_mut()
            .for_each(|text| *text = format!("{text}: {row}"));
        wrong
    }

    fn wrong_descriptor(&self, row: &Value, fd: i64) -> Vec<String> {
        let (link, info) = (self.link(fd), fdinfo(self.pid, fd));
        let mut all = Checks::default();
        if let Some((before, after)) = self.tcp(fd) {
            all.same("state", row["state"].as_str(), Some(&after.state));
            all.same("local", row["local"].as_str(), Some(&after.local));
            let peer = Some(after.peer.as_str()).filter(|_| after.state != "LISTEN");
            all.same("peer", row["peer"].as_str(), peer);
            if let Some(idle) = row["idle_s"].as_f64().filter(|_| after.state != "LISTEN") {
                all.add(
                    "idle",
                    Range::about(idle, 0.06).meets(silence(before, after)),
                );
            }
        } else {
            all.same("path", row["path"].as_str(), Some(&link));
        }
        if let Some(timer) = row["timer"].as_object() {
            self.timer(&mut all, timer, fd, &info);
        }
        if let Some(n) = row["registrations"].as_u64() {
            all.add("registrations", n == lines(&info, "tfd:").len() as u64);
        }
        all.add(
            "deleted",
            (row["deleted"] == true) == link.ends_with(" (deleted)"),
        );
        if let Some(held) = row["held_bytes"].as_u64() {
            let disk =
                fs::metadata(format!("/proc/{}/fd/{fd}", self.pid)).map(|file| file.blocks() * 512);
            all.add("held bytes", disk.is_ok_and(|disk| disk == held));
        }
        all.0
    }

    fn timer(&self, all: &mut Checks, timer: &serde_json::Map<String, Value>, fd: i64, info: &str) {
        let time = |name| field(info, name).unwrap_or_default().to_owned();
        let (value, interval) = (time("it_value:"), time("it_interval:"));
        let ticks: u64 = field(info, "ticks:")
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        let shown = timer["unread_ticks"].as_u64().unwrap_or(u64::MAX);
        let least = self.ticks_before.get(&fd).copied().unwrap_or(0);
        all.add("unread ticks", (least..=ticks).contains(&shown));
        all.add(
            "armed",
            timer["armed"] == (ticks_to_come(&value) || ticks_to_come(&interval)),
        );
        all.add(
            "interval",
            timer["interval_ms"].as_u64() == Some(milliseconds(&interval)),
        );
    }

    fn wrong_thing(&self, what: &str) -> Vec<String> {
        let words: Vec<&str> = what
            .split([' ', ','])
            .filter(|word| !word.is_empty())
            .collect();
        let mut all = Checks::default();
        match words[..] {
            ["timer", id, "no", "signal", ..] => {
                let text =
                    fs::read_to_string(format!("/proc/{}/timers", self.pid)).expect("timers");
                all.add(
                    "timer",
                    lines(&text, "ID:").contains(&id) && text.contains("notify: none"),
                );
            }
            ["epoll", epoll, "->", "fd", fd, "which", "is", "closed"] => {
                let info = fdinfo(self.pid, epoll.parse().expect("a number"));
                let listed = lines(&info, "tfd:")
                    .iter()
                    .any(|line| line.split(' ').next() == Some(fd));
                all.add(
                    "registration",
                    listed && self.link(fd.parse().expect("a number")) == "closed",
                );
            }
            ["inotify", inotify, "watch", watch, "on", "inode", inode] => {
                let info = fdinfo(self.pid, inotify.parse().expect("a number"));
                let hex = |n: &str| format!("{:x}", n.parse::<u64>().expect("a number"));
                let (watch, inode) = (hex(watch), hex(inode));
                let is = |line: &&str| {
                    let words: Vec<&str> = line.split(' ').collect();
                    words[0] == watch.as_str() && words.contains(&&*format!("ino:{inode}"))
                };
                all.add("watch", lines(&info, "inotify wd:").iter().any(is));
            }
            ["child", pid, "ended", "never", "waited", "for"] => {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                all.add(
                    "child",
                    stat.contains(") Z ") && stat.contains(&format!(" {} ", self.pid)),
                );
            }
            ["thread", tid, "ended", "stack", size, unit] => {
                let runs = fs::exists(format!("/proc/{}/task/{tid}", self.pid));
                let stack = super::range::bytes(&format!("{size} {unit}"));
                let limit = Range::about(self.limit("Max stack size") as f64, 8192.0);
                all.add(
                    "thread",
                    runs.is_ok_and(|runs| !runs) && stack.is_some_and(|size| size.meets(limit)),
                );
            }
            _ => all.add("a thing that nobody compares", false),
        }
        all.0
    }

    /// What the line about states says, and what a proof claims of each.
    pub fn states_of(&self, rows: &[Value]) -> String {
        let mut states: Vec<(String, u64)> = Vec::new();
        for (_, after) in rows.iter().filter_map(|row| self.tcp(row["fd"].as_i64()?)) {
            match states.iter_mut().find(|(state, _)| *state == after.state) {
                Some((_, n)) => *n += 1,
                None => states.push((after.state.clone(), 1)),
            }
        }
        states.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        let list: Vec<String> = states
            .iter()
            .map(|(state, n)| format!("{n} in {state}"))
            .collect();
        list.join(", ")
    }

    /// Whether all of them are left by their peers, have nothing to send, and
    /// sent nothing for so long.
    pub fn are_abandoned(&self, rows: &[Value], least_s: f64) -> bool {
        rows.iter().all(|row| {
            let tcp = row["fd"].as_i64().and_then(|fd| self.tcp(fd));
            tcp.is_some_and(|(_, tcp)| {
                tcp.state == "CLOSE_WAIT" && tcp.queues.1 == 0 && tcp.silent.0 >= least_s
            })
        })
    }

    /// Bytes not read of one descriptor.
    pub fn unread(&self, fd: i64) -> u64 {
        self.tcp(fd).map_or(0, |(_, tcp)| tcp.queues.0)
    }
}

/// How long no data went either way. What waits to be read is no use, whenever
/// it came.
fn silence(before: &Tcp, after: &Tcp) -> Range {
    let of = |tcp: &Tcp| match tcp.queues.0 {
        0 => tcp.silent.0.min(tcp.silent.1),
        _ => tcp.silent.0,
    };
    let unread = after.queues.0 > 0 && after.state != "CLOSE_WAIT";
    // There the stamp counts as well, which may be two seconds later.
    Range::new(of(before) - if unread { 2.05 } else { 0.0 }, of(after))
}

#[derive(Default)]
struct Checks(Vec<String>);

impl Checks {
    fn add(&mut self, name: &str, holds: bool) {
        if !holds {
            self.0.push(format!("the {name} is not the kernel's"));
        }
    }

    fn same(&mut self, name: &str, shown: Option<&str>, truth: Option<&str>) {
        self.add(&format!("{name} (it is {truth:?})"), shown == truth);
    }
}

fn fdinfo(pid: u32, fd: i64) -> String {
    fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default()
}

/// What stands behind a word at the beginnings of lines.
fn lines<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let found = text.lines().filter_map(|line| line.strip_prefix(word));
    found.map(str::trim).collect()
}

fn field<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    lines(text, word).first().copied()
}

/// `(1, 500000000)` in fdinfo of a timerfd.
fn parts(time: &str) -> (u64, u64) {
    let inner = time.trim_matches(['(', ')']);
    let (s, ns) = inner.split_once(", ").unwrap_or(("0", "0"));
    (s.parse().unwrap_or(0), ns.parse().unwrap_or(0))
}

fn ticks_to_come(time: &str) -> bool {
    parts(time) != (0, 0)
}

fn milliseconds(time: &str) -> u64 {
    let (s, ns) = parts(time);
    s * 1000 + ns / 1_000_000
}

/// Bytes that a process here may still take: what the machine has, or the
/// memory groups above.
pub fn memory_left() -> u64 {
    let number = |text: &str| {
        text.split_whitespace()
            .find_map(|word| word.parse::<u64>().ok())
    };
    let meminfo = fs::read_to_string("/proc/meminfo").expect("meminfo");
    let available = field(&meminfo, "MemAvailable:")
        .and_then(number)
        .expect("a number")
        * 1024;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default()
        .to_owned();
    let above = std::path::Path::new(&own)
        .ancestors()
        .map(|part| std::path::Path::new("/sys/fs/cgroup").join(part));
    let read = |path: std::path::PathBuf| fs::read_to_string(path).ok().as_deref().and_then(number);
    let left = above.filter_map(|group| {
        let (max, now) = (
            read(group.join("memory.max"))?,
            read(group.join("memory.current"))?,
        );
        Some(max.saturating_sub(now))
    });
    left.fold(available, u64::min)
}
