//! Which process a snapshot is of, for good: pids come again, also after a
//! restart of the machine.

use std::path::Path;

use super::script;

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
    /// The same by the link that it was started through, if it was
    pub called: String,
    /// The build: a build id, or a name made of the path where it has none
    pub program: String,
    /// Of an interpreter the words that say what it runs
    pub script: Vec<String>,
}

/// Characters of what an interpreter runs, at most: code may be among it.
const MOST_SHOWN: usize = 60;

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

    /// The file name that a person knows it by.
    #[must_use]
    pub fn program_name(&self) -> &str {
        file_name(&self.called)
    }

    /// The same, and of an interpreter what it runs: `python3.11 app.py`.
    #[must_use]
    pub fn title(&self) -> String {
        let words = self.script.join(" ");
        let mut shown: String = words.chars().take(MOST_SHOWN).collect();
        if shown.len() < words.len() {
            shown.push('…');
        }
        format!("{} {shown}", self.program_name())
            .trim_end()
            .to_owned()
    }

    /// The path that the program was started by, where that is a link to its
    /// executable: redis-server is one to redis-check-rdb. In another root the
    /// kernel's short name, which is the link's, has to do.
    #[must_use]
    pub fn called_of(executable: &str, comm: Option<&str>, first_word: Option<&str>) -> String {
        let word = first_word.unwrap_or_default();
        let name = file_name(word);
        if name.is_empty() || name == file_name(executable) {
            return executable.to_owned();
        }
        let folder = executable.strip_suffix(file_name(executable));
        let path = match word.strip_prefix('/') {
            Some(_) => word.to_owned(),
            None => format!("{}{name}", folder.unwrap_or_default()),
        };
        let is_link = std::fs::canonicalize(&path).is_ok_and(|file| file == Path::new(executable));
        // The kernel keeps 15 bytes.
        let short = name.get(..15).unwrap_or(name);
        if is_link || comm == Some(short) {
            path
        } else {
            executable.to_owned()
        }
    }

    /// For an interpreter what it runs, so that its programs do not learn from
    /// each other: a hash of the words that tell, and of the folder where it was
    /// started unless they name a file wherever that is. Else nothing.
    #[must_use]
    pub fn script_of(executable: &str, cmdline: &[String], folder_hash: u64) -> String {
        Self::told(executable, cmdline).map_or_else(String::new, |told| {
            let mut text = told.join("\0");
            if folder_hash != 0 && !told.iter().any(|word| word.starts_with('/')) {
                text += &format!("\0{folder_hash:x}");
            }
            format!("{:016x}", crate::state::sealed::hash(text.as_bytes()))
        })
    }

    /// The words that tell what an interpreter runs.
    #[must_use]
    pub fn told<'a>(executable: &str, cmdline: &'a [String]) -> Option<Vec<&'a str>> {
        script::of(file_name(executable), cmdline.get(1..).unwrap_or_default())
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

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_behind_a_link_goes_by_the_link() {
        let called = |comm, word| Identity::called_of("/opt/lib/redis-check-rdb", comm, word);
        let own = "/opt/lib/redis-check-rdb";
        assert_eq!(
            called(Some("redis-server"), Some("redis-server")),
            "/opt/lib/redis-server"
        );
        assert_eq!(
            called(Some("redis-server"), Some("/opt/redis-server")),
            "/opt/redis-server"
        );
        assert_eq!(called(Some("redis-check-rdb"), Some(own)), own);
        // A title that it gave itself is no name of a file.
        assert_eq!(called(Some("app"), Some("app: worker")), own);
        assert_eq!(called(None, None), own);
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let (file, link) = (file.to_str().unwrap(), link.to_str().unwrap());
        assert_eq!(Identity::called_of(file, None, Some("link")), link);
        assert_eq!(Identity::called_of(file, None, Some(link)), link);
        assert_eq!(Identity::called_of(file, None, Some("other")), file);
    }

    #[test]
    fn a_name_is_read_back() {
        let identity = Identity {
            namespace: 7,
            pid: 42,
            start_ticks: 9,
            created_ns: 1,
            executable: "/opt/app".into(),
            called: "/opt/app".into(),
            program: "ab".into(),
            script: Vec::new(),
        };
        assert_eq!(Identity::parse(&identity.name()), Some((7, 42, 9)));
        assert_eq!(Identity::parse("7.42"), None);
        assert_eq!(Identity::parse("7.42.9.1"), None);
        assert_eq!(identity.program_name(), "app");
        assert_eq!(identity.title(), "app");
        let script = ["-c", &"x".repeat(99)].map(str::to_owned).to_vec();
        let of_code = Identity { script, ..identity };
        assert_eq!(of_code.title(), format!("app -c {}…", "x".repeat(57)));
    }

    #[test]
    fn an_interpreter_is_as_many_programs_as_it_runs() {
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            Identity::script_of("/usr/bin/python3.11", &words, 7)
        };
        assert_eq!(of(&["python3", "a.py"]), of(&["/usr/bin/python3", "a.py"]));
        assert_ne!(of(&["python3", "a.py"]), of(&["python3", "b.py"]));
        let uvicorn = |app| of(&["python3", "-m", "uvicorn", app, "--port", "80"]);
        assert_ne!(uvicorn("a:app"), uvicorn("b:app"));
        assert_ne!(of(&["python3", "a.py"]), of(&["python3"]));
        let elsewhere = |script: &str, folder_hash| {
            let words = ["python3".into(), script.into()];
            Identity::script_of("/usr/bin/python3.11", &words, folder_hash)
        };
        assert_ne!(elsewhere("a.py", 8), elsewhere("a.py", 7));
        assert_eq!(elsewhere("/srv/a.py", 8), elsewhere("/srv/a.py", 7));
        assert_eq!(
            Identity::script_of("/opt/app", &["app".into(), "x".into()], 7),
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
