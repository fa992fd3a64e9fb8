//! Fitting text into a width.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Longer lines are hard to read, however wide the screen.
const WIDEST: usize = 200;

/// Breaks at blanks (not at no-break spaces) into lines of at most `room`
/// columns, each after the indent. A longer word stands alone and sticks out.
pub fn wrap(text: &str, indent: usize, room: usize) -> String {
    let room = room.min(WIDEST);
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let at = lines.len() - 1;
        let line = &mut lines[at];
        if line.is_empty() {
            line.push_str(word);
        } else if width(line) + 1 + width(word) + indent <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    let pad = " ".repeat(indent);
    lines.iter().map(|line| format!("{pad}{line}\n")).collect()
}

/// The text in at most `room` columns, cut at the end.
pub fn cut(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

/// The same, cut in front: the end of a path says more.
pub fn cut_front(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut used = 1;
    let kept = text.char_indices().rev().take_while(|(_, c)| {
        used += c.width().unwrap_or(0);
        used <= room
    });
    let start = kept.last().map_or(text.len(), |(at, _)| at);
    format!("…{}", &text[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_at_blanks() {
        assert_eq!(wrap("one two three", 2, 10), "  one two\n  three\n");
        assert_eq!(
            wrap("averyveryverylongword x", 0, 10),
            "averyveryverylongword\nx\n"
        );
        assert_eq!(wrap("9\u{a0}940 of", 0, 6), "9\u{a0}940\nof\n");
    }

    #[test]
    fn cuts_show_that_they_cut() {
        assert_eq!(
            (cut("abcdef", 4), cut("abcd", 4)),
            ("abc…".into(), "abcd".into())
        );
        assert_eq!(
            (cut_front("abcdef", 4), cut_front("abcd", 4)),
            ("…def".into(), "abcd".into())
        );
        assert_eq!(cut("日本語", 4), "日…");
    }
}
