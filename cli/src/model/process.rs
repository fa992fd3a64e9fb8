//! Who a report is about.

use clap::ValueEnum;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How much the library records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Sampled heap, every descriptor; made to stay on
    Light,
    /// Every allocation, with its stack
    Deep,
    /// Nothing new; what is given back is still noticed
    Off,
}

impl Mode {
    /// The name in JSON and text.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Light => "light",
            Self::Deep => "deep",
        }
    }
}

/// What was asked for; hybrid runs light until a watcher comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Always light
    Light,
    /// Always deep
    Deep,
    /// Light, and deep for a while when something grows
    Hybrid,
}

/// One process, alive or dead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its id, as this machine's user sees it
    pub pid: i32,
    /// The kernel's short name for it
    pub comm: Option<String>,
    /// Its command line
    pub cmdline: Option<Vec<String>>,
    /// When it started
    pub started_at: Option<Timestamp>,
    /// How long it has run, or ran
    pub uptime_s: Option<f64>,
    /// What the library records
    pub mode: Option<Mode>,
    /// What was asked for
    pub policy: Option<Policy>,
    /// Whether it still runs
    pub alive: bool,
    /// The executable's build id, in hex
    pub build_id: Option<String>,
    /// Whether memguard's library records it; if not, only the kernel's view is known
    pub instrumented: bool,
    /// Whether the library is in it, also where it has no record yet
    #[serde(default)]
    pub library: bool,
    /// Whether it became another program (exec), of which there is no record:
    /// of one that runs that is what it is now
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
}

impl Process {
    /// Its command line in one, empty where it is not known. What programs write
    /// over their own they fill up with blanks.
    #[must_use]
    pub fn command_line(&self) -> String {
        let words = self.cmdline.as_deref().unwrap_or_default();
        words.join(" ").trim_end().to_owned()
    }

    /// The name a person knows it by: the program's file name, else the kernel's.
    #[must_use]
    pub fn name(&self) -> &str {
        let program = self.cmdline.as_ref().and_then(|words| words.first());
        let file = program
            .and_then(|path| path.rsplit('/').next())
            .filter(|name| !name.is_empty());
        self.comm.as_deref().or(file).unwrap_or("?")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_after_a_title_are_left_out() {
        let said = r#"{"pid": 1, "cmdline": ["redis-server *:6379   "], "alive": true, "instrumented": true}"#;
        let process: Process = serde_json::from_str(said).unwrap();
        assert_eq!(process.command_line(), "redis-server *:6379");
    }
}
