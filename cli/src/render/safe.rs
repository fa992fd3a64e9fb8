//! Names and paths come from the watched process and from strangers on its
//! network: nothing of theirs may move the cursor or colour the screen.

use std::borrow::Cow;

/// The text with every control character shown instead of obeyed.
#[must_use]
pub fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let show = |c: char| {
        if is_unsafe(c) {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    Cow::Owned(text.chars().map(show).collect())
}

/// Control characters, and those that turn the direction of text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_shown_and_not_obeyed() {
        assert_eq!(safe("/tmp/a b-ü"), "/tmp/a b-ü");
        assert_eq!(safe("x\u{1b}[31m\ny\u{9b}"), "x\\u{1b}[31m\\ny\\u{9b}");
        assert_eq!(safe("a\u{202e}b"), "a\\u{202e}b");
    }
}
