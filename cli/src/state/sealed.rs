//! The form of a state file: one line that says what follows, then JSON.
//!
//! `memguard.state/1 program 0b9fe07c6da6fc8b`: version, content, and the
//! FNV-1a hash of everything behind the line. A file cut off anywhere, or with
//! a changed byte, is found out before anything in it is believed.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version that this memguard writes and reads.
pub const VERSION: u32 = 1;
const NAME: &str = "memguard.state/";

/// Why a file is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// Of a later memguard
    Newer(u32),
    /// Spoiled, and how
    Damaged(&'static str),
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Newer(version) => {
                write!(f, "it is of version {version}, made by a newer memguard")
            }
            Self::Damaged(how) => f.write_str(how),
        }
    }
}

/// The bytes of a file with this content.
///
/// # Errors
/// When the content has no JSON.
pub fn seal(content: &str, value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let body = serde_json::to_vec(value)?;
    let mut file = format!("{NAME}{VERSION} {content} {:016x}\n", hash(&body)).into_bytes();
    file.extend(body);
    Ok(file)
}

/// What such a file holds.
///
/// # Errors
/// When it is of another version or content, or spoiled.
pub fn open<T: DeserializeOwned>(content: &str, file: &[u8]) -> Result<T, Flaw> {
    let end = file.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or(Flaw::Damaged("its first line is cut off"))?;
    let line = std::str::from_utf8(&file[..end]).map_err(|_| Flaw::Damaged("it is not text"))?;
    let mut words = line.split(' ');
    let version = words.next().and_then(|word| word.strip_prefix(NAME));
    let version: u32 = version
        .and_then(|number| number.parse().ok())
        .ok_or(Flaw::Damaged("it does not start as a state file"))?;
    if version > VERSION {
        return Err(Flaw::Newer(version));
    }
    if version == 0 {
        return Err(Flaw::Damaged("there is no such version"));
    }
    if words.next() != Some(content) {
        return Err(Flaw::Damaged("it holds something else"));
    }
    let body = &file[end + 1..];
    if words.next() != Some(&format!("{:016x}", hash(body))) {
        return Err(Flaw::Damaged("its contents do not fit their checksum"));
    }
    serde_json::from_slice(body).map_err(|_| Flaw::Damaged("its contents make no sense"))
}

/// The 64-bit Fowler-Noll-Vo hash (FNV-1a).
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Vec<u8> {
        seal("test", &vec!["some", "words"]).unwrap()
    }

    #[test]
    fn what_was_sealed_opens() {
        assert_eq!(
            open::<Vec<String>>("test", &whole()).unwrap(),
            ["some", "words"]
        );
        assert_eq!(
            open::<Vec<String>>("other", &whole()),
            Err(Flaw::Damaged("it holds something else"))
        );
    }

    #[test]
    fn cut_off_at_any_byte_it_is_found_out() {
        let file = whole();
        for length in 0..file.len() {
            let cut = open::<Vec<String>>("test", &file[..length]);
            assert!(matches!(cut, Err(Flaw::Damaged(_))), "{length}: {cut:?}");
        }
    }

    #[test]
    fn any_changed_byte_is_found_out() {
        for at in 0..whole().len() {
            let mut file = whole();
            file[at] ^= 1;
            assert!(open::<Vec<String>>("test", &file).is_err(), "{at}");
        }
    }

    #[test]
    fn a_later_version_is_named() {
        let file = String::from_utf8(whole()).unwrap().replace("/1 ", "/7 ");
        assert_eq!(
            open::<Vec<String>>("test", file.as_bytes()),
            Err(Flaw::Newer(7))
        );
    }
}
