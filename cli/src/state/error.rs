//! Why the state folder cannot be used.

use std::io;
use std::path::PathBuf;

/// A sentence each, also when it is only a note in a report.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// No home
    #[error(
        "No place for what memguard learns is known (HOME is not set); name a folder in MEMGUARD_STATE."
    )]
    Nowhere,
    /// It would be another folder wherever one stands
    #[error(
        "MEMGUARD_STATE={path} is no absolute path; set one that begins with a slash, or unset it."
    )]
    Relative {
        /// As it was named
        path: PathBuf,
    },
    /// The file system refuses
    #[error(
        "What memguard learns cannot be kept in {path} ({source}); name a folder that can be written in MEMGUARD_STATE."
    )]
    Unusable {
        /// The folder or file
        path: PathBuf,
        /// What the kernel said
        source: io::Error,
    },
    /// The log of what is done to processes
    #[error(
        "The log {path} cannot be written ({source}); free some space there, or name another folder in MEMGUARD_STATE."
    )]
    Log {
        /// The file
        path: PathBuf,
        /// What the kernel said
        source: io::Error,
    },
    /// Somebody else's folder, or a link that somebody else made
    #[error(
        "What memguard learns is not kept in {path}, because that belongs to user {owner}; \
        name a folder of your own in MEMGUARD_STATE."
    )]
    Foreign {
        /// The folder or link
        path: PathBuf,
        /// Whose it is
        owner: u32,
    },
    /// Locked for long
    #[error(
        "{path} has been locked by another memguard for seconds; end that one, or ask again later."
    )]
    Busy {
        /// The folder
        path: PathBuf,
    },
    /// A file that was to be read in is none of ours
    #[error("{path} cannot be read in ({detail}); name a file that `memguard learn export` wrote.")]
    NotOurs {
        /// The file
        path: PathBuf,
        /// What is wrong with it
        detail: String,
    },
    /// Nothing was learned of what was named
    #[error(
        "Nothing has been learned of `{0}` yet; `memguard learn show` lists the programs that are known."
    )]
    Unknown(String),
    /// Not the name of a finding
    #[error(
        "`{0}` is not the id of a finding; `memguard report <target>` shows each with its id, like sockets-0b9fe07c6da6fc8b."
    )]
    NoSuchFinding(String),
}
