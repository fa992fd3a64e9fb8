//! What is never touched, whatever the statistics say: infrastructure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::model::Kind;
use crate::rules::care::{Care, Floors};

/// Ports of infrastructure, local or remote: name service, remote shells,
/// mail, directories, databases, queues, coordination.
const PORTS: [u16; 34] = [
    22, 25, 53, 67, 68, 69, 88, 111, 123, 135, 139, 161, 162, 389, 445, 464, 514, 587, 636, 873,
    1433, 1521, 2049, 2181, 2379, 2380, 3306, 5432, 5672, 6379, 9042, 9092, 11211, 27017,
];

/// Programs that hold a machine together. A name ending in `*` is a prefix.
const PROCESSES: [&str; 18] = [
    "init",
    "systemd*",
    "dbus-daemon",
    "dbus-broker*",
    "sshd*",
    "udevd",
    "NetworkManager",
    "dhclient",
    "chronyd",
    "ntpd",
    "cron",
    "crond",
    "agetty",
    "login",
    "dockerd",
    "containerd*",
    "kubelet",
    "memguard",
];

/// What this run protects.
#[derive(Debug, Clone)]
pub struct Protection {
    ports: BTreeSet<u16>,
    processes: Vec<String>,
    floors: BTreeMap<Kind, Floors>,
    since: Option<Timestamp>,
}

impl Default for Protection {
    fn default() -> Self {
        Self {
            ports: PORTS.into(),
            processes: PROCESSES.iter().map(ToString::to_string).collect(),
            floors: BTreeMap::new(),
            since: None,
        }
    }
}

impl Protection {
    /// Adds ports and process patterns to the built-in ones.
    #[must_use]
    pub fn and(
        mut self,
        ports: impl IntoIterator<Item = u16>,
        processes: impl IntoIterator<Item = String>,
    ) -> Self {
        self.ports.extend(ports);
        self.processes.extend(processes);
        self
    }

    /// Takes ports out, for whoever leaks connections to one of them.
    #[must_use]
    pub fn but(mut self, ports: &[u16]) -> Self {
        ports.iter().for_each(|port| {
            self.ports.remove(port);
        });
        self
    }

    /// What a file adds, takes away and asks for.
    #[must_use]
    pub fn with(mut self, care: &Care) -> Self {
        let allowed = |name: &String| care.allow_processes.contains(name);
        self.processes.retain(|name| !allowed(name));
        self.floors.clone_from(&care.floors);
        self.and(care.ports.iter().copied(), care.processes.iter().cloned())
            .but(&care.allow_ports)
    }

    /// For a second look: whatever moved since the first one is in use.
    #[must_use]
    pub fn since(mut self, first_look: Timestamp) -> Self {
        self.since = Some(first_look);
        self
    }

    /// What the user asks of a kind.
    #[must_use]
    pub fn floors(&self, kind: Kind) -> Floors {
        self.floors.get(&kind).copied().unwrap_or_default()
    }

    /// Seconds from the first look to this one, which is the second.
    #[must_use]
    pub fn first_look_s(&self, now: Timestamp) -> f64 {
        let since = self.since.map(|first| now.duration_since(first));
        since.map_or(0.0, |since| since.as_secs_f64())
    }

    /// Whether a socket with this address (`127.0.0.1:80`, `[::1]:80`) is.
    #[must_use]
    pub fn covers(&self, address: Option<&str>) -> Option<u16> {
        let port = address?.rsplit_once(':')?.1.parse().ok()?;
        self.ports.contains(&port).then_some(port)
    }

    /// The pattern that protects a process of this name, if one does.
    #[must_use]
    pub fn covers_process(&self, name: &str) -> Option<&str> {
        let matches = |pattern: &&String| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern.as_str(),
        };
        self.processes.iter().find(matches).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_protected_on_either_side_and_in_both_families() {
        let own = Protection::default();
        assert_eq!(own.covers(Some("127.0.0.1:5432")), Some(5432));
        assert_eq!(own.covers(Some("[::1]:22")), Some(22));
        assert_eq!(own.covers(Some("127.0.0.1:8080")), None);
        assert_eq!(own.covers(Some("/run/a.sock")), None);
        assert_eq!(own.covers(None), None);
        assert_eq!(own.clone().but(&[5432]).covers(Some("10.0.0.1:5432")), None);
        let more = own.and([8080], ["shop*".to_owned()]);
        assert_eq!(more.covers(Some("10.0.0.1:8080")), Some(8080));
        assert_eq!(more.covers_process("shopkeeper"), Some("shop*"));
    }

    #[test]
    fn a_file_adds_and_takes_away() {
        let care = Care {
            ports: vec![8080, 9000],
            allow_ports: vec![6379],
            processes: vec!["shop*".into()],
            allow_processes: vec!["cron".into()],
            ..Care::default()
        };
        let own = Protection::default().with(&care);
        assert_eq!(own.covers(Some("10.0.0.1:8080")), Some(8080));
        assert_eq!(own.covers(Some("10.0.0.1:6379")), None);
        assert_eq!(own.covers(Some("10.0.0.1:5432")), Some(5432));
        let covers = |name| own.covers_process(name);
        assert_eq!(
            [covers("shopkeeper"), covers("cron"), covers("crond")],
            [Some("shop*"), None, Some("crond")]
        );
    }

    #[test]
    fn a_pattern_is_a_name_or_a_prefix() {
        let own = Protection::default();
        assert_eq!(own.covers_process("systemd-resolved"), Some("systemd*"));
        assert_eq!(own.covers_process("init"), Some("init"));
        assert_eq!(own.covers_process("initial"), None);
    }
}
