//! What a diagnosis consists of.

use std::path::PathBuf;

/// How much a finding takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing is lost.
    Note,
    /// A part cannot be seen.
    Limits,
    /// The library cannot work in this program.
    Blocks,
}

/// One thing that was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A stable short name: `static`, `setuid`, `allocator`.
    pub name: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What was seen and what that means: a finished sentence. Names in it
    /// come from the program and are lossily decoded.
    pub sentence: String,
    /// What to do about it: a finished sentence.
    pub remedy: Option<String>,
}

impl Finding {
    /// Something that is as it should be.
    pub fn ok(name: &'static str, sentence: impl Into<String>) -> Self {
        Self {
            name,
            severity: Severity::Ok,
            sentence: sentence.into(),
            remedy: None,
        }
    }

    /// Something that matters, and what to do.
    pub fn new(
        name: &'static str,
        severity: Severity,
        sentence: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name,
            severity,
            sentence: sentence.into(),
            remedy: Some(remedy.into()).filter(|remedy: &String| !remedy.is_empty()),
        }
    }
}

/// All that was found out about one program or process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What was asked about.
    pub subject: String,
    /// The executable that was looked at in the end.
    pub program: Option<PathBuf>,
    /// The gravest first.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    pub(super) fn of(subject: &str, program: Option<PathBuf>) -> Self {
        Self {
            subject: subject.to_owned(),
            program,
            findings: Vec::new(),
        }
    }

    pub(super) fn sorted(mut self) -> Self {
        self.findings
            .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        self
    }

    /// The gravest severity.
    pub fn worst(&self) -> Severity {
        let severities = self.findings.iter().map(|finding| finding.severity);
        severities.max().unwrap_or(Severity::Ok)
    }

    /// One sentence: fully, partly or not observable.
    pub fn summary(&self) -> String {
        let subject = &self.subject;
        match self.worst() {
            Severity::Ok | Severity::Note => format!("memguard can observe {subject} fully."),
            Severity::Limits => format!("memguard can observe {subject} in part."),
            Severity::Blocks => {
                format!("memguard cannot observe {subject} from within as it is.")
            }
        }
    }
}
