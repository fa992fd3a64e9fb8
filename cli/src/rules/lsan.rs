//! Suppression files of LeakSanitizer, read as they are:
//! <https://clang.llvm.org/docs/AddressSanitizer.html#suppressing-memory-leaks>
//!
//! A line `leak:pattern` hides every heap finding with a frame whose function,
//! source file or module contains the pattern; `*` is any text, `^` and `$`
//! are the ends. It says nothing of descriptors, since LeakSanitizer knows
//! none.

use super::RuleError;
use crate::model::{Finding, Kind};

/// One line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// File, line and what is written there
    pub name: String,
    pattern: String,
}

/// Reads a file.
///
/// # Errors
/// The first line that LeakSanitizer would refuse.
pub fn parse(file: &str, text: &str) -> Result<Vec<Suppression>, RuleError> {
    let lines = text.lines().enumerate();
    let wanted = lines
        .map(|(at, line)| (at + 1, line.trim_matches([' ', '\t', '\r'])))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    wanted
        .map(|(number, line)| one(file, number, line))
        .collect()
}

fn one(file: &str, number: usize, line: &str) -> Result<Suppression, RuleError> {
    let wrong = |sentence: String| RuleError {
        file: file.to_owned(),
        line: number,
        sentence,
    };
    match line.split_once(':') {
        Some(("leak", "")) => Err(wrong(
            "`leak:` has no pattern; name a function, source file or module behind it.".into(),
        )),
        Some(("leak", pattern)) => Ok(Suppression {
            name: format!("{file}:{number} ({line})"),
            pattern: pattern.to_owned(),
        }),
        _ => Err(wrong(format!(
            "`{line}` is not a suppression of LeakSanitizer; write it like leak:function, or as a comment with #."
        ))),
    }
}

impl Suppression {
    /// What stands in every text that it fits; may be empty.
    #[must_use]
    pub fn literal(&self) -> &str {
        let pattern = self.pattern.strip_prefix('^').unwrap_or(&self.pattern);
        let until_end = pattern.split('$').next().unwrap_or_default();
        let pieces = until_end.split('*');
        pieces.max_by_key(|piece| piece.len()).unwrap_or_default()
    }

    /// Whether it hides a finding.
    #[must_use]
    pub fn hides(&self, finding: &Finding) -> bool {
        let heap = matches!(finding.kind, Kind::Memory | Kind::Cycles | Kind::Caches);
        let fits = |text: &Option<String>| {
            text.as_deref()
                .is_some_and(|text| fits(&self.pattern, text))
        };
        heap && finding
            .stack
            .iter()
            .any(|frame| fits(&frame.function) || fits(&frame.file) || fits(&frame.module))
    }
}

/// The sanitizers' TemplateMatch (compiler-rt, sanitizer_common.cpp): each
/// piece between stars is looked for behind the one before it.
fn fits(pattern: &str, text: &str) -> bool {
    if text.is_empty() {
        return false;
    }
    let (mut at_start, mut rest) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let (mut text, mut after_star) = (text, false);
    while let Some(first) = rest.chars().next() {
        match first {
            '*' => {
                (at_start, after_star) = (false, true);
                rest = &rest[1..];
                continue;
            }
            '$' => return text.is_empty() || after_star,
            _ if text.is_empty() => return false,
            _ => {}
        }
        let piece = &rest[..rest.find(['*', '$']).unwrap_or(rest.len())];
        let Some(found) = text.find(piece).filter(|found| !at_start || *found == 0) else {
            return false;
        };
        text = &text[found + piece.len()..];
        rest = &rest[piece.len()..];
        (at_start, after_star) = (false, false);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Frame;
    use crate::render::samples;

    #[test]
    fn patterns_match_as_in_compiler_rt() {
        // The cases of its SuppressionContext and TemplateMatch tests.
        for (pattern, text) in [
            ("*foobar*", "foobar"),
            ("*foobar*", "foobarfoobar"),
            ("foobar", "foobarbaz"),
            ("foo*bar", "foobar"),
            ("foo*bar", "foobazbar"),
            ("foo*bar", "foobazbarbaz"),
            ("^foobar", "foobar"),
            ("^foobar", "foobarbaz"),
            ("foobar$", "foobar"),
            ("^foobar$", "foobar"),
            ("^foobar*", "foobarbaz"),
            ("^*foobar", "bazfoobar"),
            ("foo*$", "foobar"),
            ("*", "x"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
            let one = &parse("s", &format!("leak:{pattern}")).unwrap()[0];
            assert!(text.contains(one.literal()), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("foo", "baz"),
            ("foobarbaz", "foobar"),
            ("foo*bar", "foobaz"),
            ("^foobar", "bazfoobar"),
            ("foobar$", "foobarbaz"),
            ("^foobar$", "foobarbaz"),
            ("foo$", ""),
            ("*", ""),
        ] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_file_with_all_that_may_be_in_it() {
        let text = "# known\n\n  leak:grow_cache \r\nleak:^libpool*.so$\n\t# more\nleak:a:b";
        let read = parse("lsan.supp", text).unwrap();
        let patterns: Vec<&str> = read.iter().map(|one| one.pattern.as_str()).collect();
        assert_eq!(patterns, ["grow_cache", "^libpool*.so$", "a:b"]);
        assert_eq!(read[0].name, "lsan.supp:3 (leak:grow_cache)");
    }

    #[test]
    fn a_wrong_line_is_named() {
        let said = |text| parse("s.supp", text).unwrap_err().to_string();
        assert_eq!(
            said("leak:x\nrace:y\n"),
            "s.supp:2: `race:y` is not a suppression of LeakSanitizer; write it like leak:function, or as a comment with #."
        );
        assert!(said("leak:").starts_with("s.supp:1: `leak:` has no pattern;"));
        assert!(said("\n\nx").starts_with("s.supp:3: "));
    }

    #[test]
    fn any_frame_counts_by_function_file_or_module_and_only_for_the_heap() {
        let outer = Frame {
            function: Some("main".into()),
            file: Some("/src/app/main.c".into()),
            module: Some("/opt/app/bin/app".into()),
            ..Frame::default()
        };
        let mut finding = samples::report().findings[1].clone();
        finding.stack = vec![Frame::default(), outer];
        let hides = |finding: &Finding, line: &str| parse("s", line).unwrap()[0].hides(finding);
        for line in ["leak:^main$", "leak:src/*/main.c$", "leak:bin/app"] {
            assert!(hides(&finding, line), "{line}");
        }
        assert!(!hides(&finding, "leak:other"));
        finding.kind = Kind::Sockets;
        assert!(!hides(&finding, "leak:^main$"));
    }
}
