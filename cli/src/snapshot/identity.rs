//! Which process a snapshot is of, for good: pids come again, also after a
//! restart of the machine.

/// One image of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Inode of its pid namespace
    pub namespace: u64,
    /// Its pid there
    pub pid: i32,
    /// Clock ticks from boot to its start
    pub start_ticks: u64,
    /// When its segment was made, ns since 1970: exec keeps the rest
    pub created_ns: u64,
    /// The executable's path
    pub executable: String,
    /// The build: a build id, or a name made of the path where it has none
    pub program: String,
}

impl Identity {
    /// Pid namespace, pid and start, as a file can be named.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}.{}.{}", self.namespace, self.pid, self.start_ticks)
    }

    /// Namespace, pid and start out of such a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<(u64, i32, u64)> {
        let mut words = name.split('.');
        let mut next = || words.next();
        let parsed = (
            next()?.parse().ok()?,
            next()?.parse().ok()?,
            next()?.parse().ok()?,
        );
        words.next().is_none().then_some(parsed)
    }

    /// The executable's file name.
    #[must_use]
    pub fn program_name(&self) -> &str {
        self.executable.rsplit('/').next().unwrap_or_default()
    }

    /// The build by its id in hex, or by its path where it has none.
    #[must_use]
    pub fn program_of(build_id: Option<&str>, executable: &str) -> String {
        let hex = |id: &&str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        build_id.filter(hex).map_or_else(
            || {
                format!(
                    "path-{:016x}",
                    crate::state::sealed::hash(executable.as_bytes())
                )
            },
            str::to_owned,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back() {
        let identity = Identity {
            namespace: 7,
            pid: 42,
            start_ticks: 9,
            created_ns: 1,
            executable: "/opt/app".into(),
            program: "ab".into(),
        };
        assert_eq!(Identity::parse(&identity.name()), Some((7, 42, 9)));
        assert_eq!(Identity::parse("7.42"), None);
        assert_eq!(Identity::parse("7.42.9.1"), None);
        assert_eq!(identity.program_name(), "app");
    }

    #[test]
    fn without_a_build_id_the_path_names_a_build() {
        assert_eq!(Identity::program_of(Some("ab12"), "/x"), "ab12");
        let by_path = Identity::program_of(None, "/x");
        assert!(by_path.starts_with("path-") && by_path != Identity::program_of(None, "/y"));
        assert_eq!(Identity::program_of(Some("../../etc"), "/x"), by_path);
    }
}
