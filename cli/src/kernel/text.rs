//! Small parsers for the texts below `/proc`: over bytes, never panicking.

/// The trimmed rest of the first line that starts with `name`.
pub fn field<'a>(text: &'a [u8], name: &str) -> Option<&'a str> {
    lines(text)
        .find_map(|line| line.strip_prefix(name.as_bytes()))
        .and_then(|rest| std::str::from_utf8(rest).ok())
        .map(str::trim)
}

/// The lines of a text without their ends.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
}

/// The words of a line, split at blanks and tabs.
pub fn words(line: &[u8]) -> impl Iterator<Item = &str> {
    line.split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
        .map(|word| std::str::from_utf8(word).unwrap_or(""))
}

/// The number between the last brackets: `socket:[123]`.
pub fn bracketed(text: &[u8]) -> Option<u64> {
    let inner = text.strip_suffix(b"]")?;
    let start = inner.iter().rposition(|&byte| byte == b'[')? + 1;
    std::str::from_utf8(&inner[start..]).ok()?.parse().ok()
}

/// The two numbers of `(1, 2)`.
pub fn bracketed_pair(text: &str) -> Option<(u64, u64)> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let (first, second) = inner.split_once(',')?;
    Some((first.trim().parse().ok()?, second.trim().parse().ok()?))
}

/// A hexadecimal number.
pub fn hex(word: &str) -> Option<u64> {
    u64::from_str_radix(word, 16).ok()
}

/// Bytes of unknown encoding as text: what is not UTF-8 becomes U+FFFD.
/// Control characters stay; whoever prints them neutralises them.
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_and_brackets() {
        assert_eq!(field(b"A:\t1\nTgid:\t42\n", "Tgid:"), Some("42"));
        assert_eq!(bracketed(b"socket:[77]"), Some(77));
        assert_eq!(bracketed(b"socket:[]"), None);
        assert_eq!(bracketed(b"77]"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = field(&text, "pos:");
            let _ = bracketed(&text);
            let _ = lines(&text).flat_map(words).count();
        }
    }
}
