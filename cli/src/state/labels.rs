//! What people said of findings. It is final until they take it back.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::StateError;
use super::folder::{Folder, Lock, Part};
use crate::detect::Label;

/// The file that holds them.
pub const FILE: (Part, &str) = (Part::Top, "labels.json");
/// What the file is called in its first line.
pub const CONTENT: &str = "labels";

/// One person's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The finding
    pub id: String,
    /// What was said
    pub label: Label,
    /// Of which program alone; of any when null
    pub program: Option<String>,
    /// What a person knows that program by
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// When
    pub at: Timestamp,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels(pub Vec<Entry>);

impl Labels {
    /// Reads them.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn load(folder: &Folder, lock: &Lock, notes: &mut Vec<String>) -> Result<Self, StateError> {
        Ok(folder.load(lock, FILE, CONTENT, notes)?.unwrap_or_default())
    }

    /// Keeps them.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn store(&self, folder: &Folder, lock: &Lock) -> Result<(), StateError> {
        folder.store(lock, FILE, CONTENT, self)
    }

    /// Says it; what was said before of the same is forgotten.
    pub fn set(&mut self, entry: Entry) {
        self.clear(&entry.id, entry.program.as_deref());
        self.0.push(entry);
        self.0
            .sort_by(|a, b| (&a.id, &a.program).cmp(&(&b.id, &b.program)));
    }

    /// Takes back what was said; without a program, of all programs. Returns
    /// how many words that were.
    pub fn clear(&mut self, id: &str, program: Option<&str>) -> usize {
        let before = self.0.len();
        self.0.retain(|entry| {
            entry.id != id || program.is_some() && entry.program.as_deref() != program
        });
        before - self.0.len()
    }

    /// What holds for a program, by finding. What was said of it alone goes
    /// before what was said of all.
    #[must_use]
    pub fn of(&self, program: &str) -> BTreeMap<String, Label> {
        let mut found = BTreeMap::new();
        let general = self.0.iter().filter(|entry| entry.program.is_none());
        let special = self
            .0
            .iter()
            .filter(|entry| entry.program.as_deref() == Some(program));
        for entry in general.chain(special) {
            found.insert(entry.id.clone(), entry.label);
        }
        found
    }

    /// Takes in another place's words where nothing was said here.
    pub fn join(&mut self, other: &Self) {
        for entry in &other.0 {
            let said = |own: &Entry| own.id == entry.id && own.program == entry.program;
            if !self.0.iter().any(said) {
                self.set(entry.clone());
            }
        }
    }
}

/// Whether a text can name a finding: a kind and a site.
#[must_use]
pub fn is_finding_id(text: &str) -> bool {
    use clap::ValueEnum;
    let Some((kind, key)) = text.split_once('-') else {
        return false;
    };
    crate::model::Kind::from_str(kind, false).is_ok()
        && key.len() == 16
        && key
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, label: Label, program: Option<&str>) -> Entry {
        Entry {
            id: id.into(),
            label,
            program: program.map(Into::into),
            title: None,
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_last_word_holds_and_the_special_goes_before_the_general() {
        let mut labels = Labels::default();
        labels.set(entry("a", Label::Ok, None));
        labels.set(entry("a", Label::Leak, None));
        labels.set(entry("a", Label::Ok, Some("p")));
        assert_eq!(labels.of("p")["a"], Label::Ok);
        assert_eq!(labels.of("q")["a"], Label::Leak);
        assert_eq!(labels.clear("a", Some("p")), 1);
        assert_eq!(labels.of("p")["a"], Label::Leak);
        labels.set(entry("a", Label::Ok, Some("p")));
        assert_eq!(labels.clear("a", None), 2);
        assert!(labels.of("p").is_empty());
    }

    #[test]
    fn own_words_go_before_those_of_another_place() {
        let mut here = Labels::default();
        here.set(entry("a", Label::Ok, None));
        let there = Labels(vec![
            entry("a", Label::Leak, None),
            entry("b", Label::Leak, None),
        ]);
        here.join(&there);
        assert_eq!(
            (here.of("")["a"], here.of("")["b"]),
            (Label::Ok, Label::Leak)
        );
    }

    #[test]
    fn an_id_is_a_kind_and_a_key() {
        assert!(is_finding_id("sockets-0b9fe07c6da6fc8b"));
        for wrong in [
            "",
            "sockets",
            "sockets-0b9f",
            "shoes-0b9fe07c6da6fc8b",
            "files-0B9FE07C6DA6FC8B",
        ] {
            assert!(!is_finding_id(wrong), "{wrong}");
        }
    }
}
