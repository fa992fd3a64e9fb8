//! Which process a snapshot is of, for good: pids come again, also after a
//! restart of the machine.

/// Programs that run others' files; by the beginnings of their names.
const INTERPRETERS: [&str; 12] = [
    "python", "node", "perl", "ruby", "java", "php", "bash", "dash", "zsh", "lua", "deno", "bun",
];
/// Words of a command line that tell what they run: `-m uvicorn app:app`.
const SCRIPT_WORDS: usize = 3;

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

    /// For an interpreter what it runs, so that its programs do not learn from
    /// each other: a hash of the first words after it. Else nothing.
    #[must_use]
    pub fn script_of(executable: &str, cmdline: &[String]) -> String {
        let name = executable.rsplit('/').next().unwrap_or_default();
        if !INTERPRETERS.iter().any(|prefix| name.starts_with(prefix)) {
            return String::new();
        }
        let words: Vec<&str> = (cmdline.iter().skip(1).take(SCRIPT_WORDS))
            .map(String::as_str)
            .collect();
        format!(
            "{:016x}",
            crate::state::sealed::hash(words.join("\0").as_bytes())
        )
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
    fn an_interpreter_is_as_many_programs_as_it_runs() {
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            Identity::script_of("/usr/bin/python3.11", &words)
        };
        assert_eq!(of(&["python3", "a.py"]), of(&["/usr/bin/python3", "a.py"]));
        assert_ne!(of(&["python3", "a.py"]), of(&["python3", "b.py"]));
        let uvicorn = |app| of(&["python3", "-m", "uvicorn", app, "--port", "80"]);
        assert_ne!(uvicorn("a:app"), uvicorn("b:app"));
        assert_eq!(
            Identity::script_of("/opt/app", &["app".into(), "x".into()]),
            ""
        );
    }

    #[test]
    fn without_a_build_id_the_path_names_a_build() {
        assert_eq!(Identity::program_of(Some("ab12"), "/x"), "ab12");
        let by_path = Identity::program_of(None, "/x");
        assert!(by_path.starts_with("path-") && by_path != Identity::program_of(None, "/y"));
        assert_eq!(Identity::program_of(Some("../../etc"), "/x"), by_path);
    }
}
