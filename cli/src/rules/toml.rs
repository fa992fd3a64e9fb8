//! `memguard.toml`: `[[rule]]`, `[protect]` and `[fix.KIND]` tables, checked key
//! by key, so that a mistake is told with file, line and what to write instead.

mod care;

use std::ops::Range;

use clap::ValueEnum;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::care::Care;
use super::pattern::{Glob, Network};
use super::{Limits, Rule, RuleError, Then, When, caches};
use crate::args::parse_span;
use crate::model::{Kind, Verdict};

/// What a rule can be about.
pub const ABOUT: [&str; 10] = [
    "process", "kind", "function", "module", "file", "stack", "path", "peer", "port", "id",
];
/// What a rule can do.
pub const DOES: [&str; 7] = [
    "ignore",
    "expect",
    "min_age",
    "min_idle",
    "min_count",
    "severity",
    "label",
];

/// All that is written in a file.
#[derive(Debug, Default)]
pub struct Written {
    /// What is fine
    pub rules: Vec<Rule>,
    /// What `fix` is to heed
    pub care: Care,
    /// How much registered caches may hold
    pub limits: Limits,
}

/// Reads the rules of a file.
///
/// # Errors
/// The first thing in it that is wrong.
pub fn parse(file: &str, text: &str) -> Result<Vec<Rule>, RuleError> {
    read(file, text).map(|written| written.rules)
}

/// Reads a file.
///
/// # Errors
/// The first thing in it that is wrong.
pub fn read(file: &str, text: &str) -> Result<Written, RuleError> {
    let source = Source::new(file, text);
    let document = DeTable::parse(text).map_err(|error| source.broken(&error))?;
    let mut written = Written::default();
    for (name, value) in document.get_ref() {
        match (name.get_ref().as_ref(), value.get_ref()) {
            ("rule", DeValue::Array(tables)) => {
                for table in tables.iter() {
                    written.rules.push(source.rule(table)?);
                }
            }
            ("rule", _) => {
                return Err(source.wrong(
                    name,
                    "`rule` is a list of rules; write [[rule]], with two brackets on each side.",
                ));
            }
            ("protect", _) => source.protect(value, &mut written.care)?,
            ("fix", _) => source.fix(value, &mut written.care)?,
            ("caches", _) => written.limits = caches::limits(&source, value)?,
            (other, _) => {
                let sentence = format!(
                    "`{other}` is not known here; a rule begins with a line [[rule]] and its keys stand below it, \
                     and [protect] and [fix.KIND] are for `fix`."
                );
                return Err(source.wrong(name, &sentence));
            }
        }
    }
    Ok(written)
}

/// A text and what it is called.
pub(super) struct Source<'a> {
    file: &'a str,
    text: &'a str,
    /// Where each line ends
    ends: Vec<usize>,
}

pub(super) type Value<'a> = Spanned<DeValue<'a>>;

impl<'a> Source<'a> {
    fn new(file: &'a str, text: &'a str) -> Self {
        let ends = text.bytes().enumerate();
        Self {
            file,
            text,
            ends: ends
                .filter(|(_, byte)| *byte == b'\n')
                .map(|(at, _)| at)
                .collect(),
        }
    }

    /// The line of a byte, from 1.
    fn line_of(&self, at: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < at)
    }
}

impl Source<'_> {
    pub(super) fn wrong<T>(&self, place: &Spanned<T>, sentence: &str) -> RuleError {
        self.error(place.span(), sentence)
    }

    fn error(&self, span: Range<usize>, sentence: &str) -> RuleError {
        RuleError {
            file: self.file.to_owned(),
            line: self.line_of(span.start),
            sentence: sentence.to_owned(),
        }
    }

    /// It is no TOML at all.
    fn broken(&self, error: &toml::de::Error) -> RuleError {
        let message = error.message().replace('\n', ", ");
        let sentence = format!("this is not TOML ({message}); correct the line.");
        self.error(error.span().unwrap_or(0..0), &sentence)
    }

    fn rule(&self, table: &Value<'_>) -> Result<Rule, RuleError> {
        let DeValue::Table(keys) = table.get_ref() else {
            return Err(self.wrong(
                table,
                "a rule must be a table; write [[rule]] and its keys below it.",
            ));
        };
        let (mut when, mut then) = (When::default(), Then::default());
        for (key, value) in keys {
            let name = key.get_ref().as_ref();
            let read = if ABOUT.contains(&name) {
                about(&mut when, name, value.get_ref())
            } else if DOES.contains(&name) {
                does(&mut then, name, value.get_ref())
            } else {
                return Err(self.wrong(key, &unknown(name)));
            };
            read.map_err(|sentence| self.wrong(value, &sentence))?;
        }
        let at = self.first_line(table, keys);
        makes_sense(keys, &then).map_err(|sentence| self.error(at.clone(), &sentence))?;
        let line = self.line_of(at.start);
        Ok(Rule {
            name: format!("{}:{line} ({})", self.file, self.written(keys)),
            when,
            then,
        })
    }

    /// Where its `[[rule]]` stands: the table's own span, or else the last
    /// such line before its first key.
    fn first_line(&self, table: &Value<'_>, keys: &DeTable<'_>) -> Range<usize> {
        let span = table.span();
        let first_key = keys.iter().map(|(key, _)| key.span().start).min();
        let before = self
            .text
            .get(..first_key.unwrap_or(span.start))
            .unwrap_or_default();
        match before.rfind("[[") {
            Some(at) if first_key.is_some() && !span.contains(&at) => at..at + 1,
            _ => span,
        }
    }

    /// The keys in the order of the file, as they are written.
    fn written(&self, keys: &DeTable<'_>) -> String {
        let raw = |value: &Value<'_>| self.text.get(value.span()).unwrap_or_default();
        let mut all: Vec<(usize, String)> = keys
            .iter()
            .map(|(key, value)| {
                let words: Vec<&str> = raw(value).split_whitespace().collect();
                (
                    key.span().start,
                    format!("{}={}", key.get_ref(), words.join(" ")),
                )
            })
            .collect();
        all.sort();
        let all: Vec<String> = all.into_iter().map(|(_, text)| text).collect();
        all.join(" ")
    }
}

fn unknown(name: &str) -> String {
    format!(
        "`{name}` is not a key of a rule; use one of {}, {}.",
        ABOUT.join(", "),
        DOES.join(", ")
    )
}

/// A rule needs both halves, and `ignore` leaves nothing to count.
fn makes_sense(keys: &DeTable<'_>, then: &Then) -> Result<(), String> {
    let has = |names: &[&str]| names.iter().any(|name| keys.contains_key(*name));
    if keys.is_empty() {
        Err("the rule is empty; say what it is about and what to do, or remove it.".to_owned())
    } else if !has(&ABOUT) {
        Err(format!(
            "the rule is about everything; add at least one of {}.",
            ABOUT.join(", ")
        ))
    } else if !has(&DOES) {
        Err(format!(
            "the rule does nothing; add ignore = true, or one of {}.",
            DOES[1..].join(", ")
        ))
    } else if then.ignore && has(&DOES[1..6]) {
        Err("ignore = true hides everything, so the other actions of the rule have no effect; remove one or the other.".to_owned())
    } else {
        Ok(())
    }
}

fn about(when: &mut When, name: &str, value: &DeValue<'_>) -> Result<(), String> {
    match name {
        "process" => when.process = Some(glob(value, Glob::name)?),
        "function" => when.function = Some(glob(value, Glob::name)?),
        "module" => when.module = Some(glob(value, Glob::path)?),
        "file" => when.file = Some(glob(value, Glob::path)?),
        "path" => when.path = Some(glob(value, Glob::path)?),
        "stack" => when.stack = list(value, |one| glob(one, Glob::name))?,
        "kind" => when.kind = list(value, kind)?,
        "peer" => when.peer = list(value, network)?,
        "port" => when.port = list(value, port)?,
        _ => when.id = Some(text(value)?.to_owned()),
    }
    Ok(())
}

fn does(then: &mut Then, name: &str, value: &DeValue<'_>) -> Result<(), String> {
    match name {
        "ignore" => then.ignore = yes(value)?,
        "expect" => then.expect = Some(number(value)?),
        "min_age" => then.min_age_s = Some(seconds(value)?),
        "min_idle" => then.min_idle_s = Some(seconds(value)?),
        "min_count" => then.min_count = Some(number(value)?),
        "severity" => then.severity = Some(severity(value)?),
        _ => then.label = Some(text(value)?.to_owned()),
    }
    Ok(())
}

fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    match value {
        DeValue::String(text) if !text.is_empty() => Ok(text),
        DeValue::String(_) => Err(
            "the text is empty; write something between the quotes, or remove the key.".to_owned(),
        ),
        _ => Err(format!(
            "{} stands where a text is wanted; put it in quotes.",
            a(value)
        )),
    }
}

/// The word for what stands there.
fn a(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// One, or a list of at least one.
fn list<T>(
    value: &DeValue<'_>,
    read: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    match value {
        DeValue::Array(items) if items.is_empty() => {
            Err("the list is empty; put something into it, or remove the key.".to_owned())
        }
        DeValue::Array(items) => items.iter().map(|item| read(item.get_ref())).collect(),
        one => Ok(vec![read(one)?]),
    }
}

fn glob(value: &DeValue<'_>, make: fn(&str) -> Result<Glob, String>) -> Result<Glob, String> {
    let text = text(value)?;
    make(text).map_err(|why| {
        format!("`{text}` is not a pattern ({why}); write '\\[' and '\\{{' in single quotes for a bracket that means itself.")
    })
}

fn kind(value: &DeValue<'_>) -> Result<Kind, String> {
    let text = text(value)?;
    Kind::from_str(text, false).map_err(|_| {
        let names: Vec<&str> = Kind::value_variants()
            .iter()
            .map(|kind| kind.name())
            .collect();
        format!("`{text}` is not a kind; use one of {}.", names.join(", "))
    })
}

fn network(value: &DeValue<'_>) -> Result<Network, String> {
    let text = text(value)?;
    Network::parse(text).ok_or_else(|| {
        format!("`{text}` is not an address; write it like 10.0.0.9, 10.0.0.0/8 or fd00::/8.")
    })
}

fn integer(value: &DeValue<'_>) -> Result<u64, String> {
    let DeValue::Integer(number) = value else {
        return Err(format!(
            "{} stands where a number is wanted; write it without quotes.",
            a(value)
        ));
    };
    u64::from_str_radix(number.as_str(), number.radix())
        .map_err(|_| format!("{number} is out of range; write a whole number from 0 up."))
}

fn port(value: &DeValue<'_>) -> Result<u16, String> {
    let number = integer(value)?;
    u16::try_from(number).map_err(|_| format!("{number} is not a port; write one from 0 to 65535."))
}

fn number(value: &DeValue<'_>) -> Result<u64, String> {
    match integer(value)? {
        0 => Err("0 has no effect here; write a number from 1 up, or ignore = true.".to_owned()),
        number => Ok(number),
    }
}

fn yes(value: &DeValue<'_>) -> Result<bool, String> {
    match value {
        DeValue::Boolean(true) => Ok(true),
        DeValue::Boolean(false) => Err("ignore = false has no effect; remove the key.".to_owned()),
        _ => Err(format!(
            "{} stands where true is wanted; write ignore = true.",
            a(value)
        )),
    }
}

fn seconds(value: &DeValue<'_>) -> Result<f64, String> {
    let span = match value {
        DeValue::Integer(_) => std::time::Duration::from_secs(integer(value)?),
        _ => parse_span(text(value)?).map_err(|sentence| format!("{sentence}."))?,
    };
    Ok(span.as_secs_f64())
}

fn severity(value: &DeValue<'_>) -> Result<Verdict, String> {
    match text(value)? {
        "leak" => Ok(Verdict::Leak),
        "growing" => Ok(Verdict::Growing),
        "suspect" => Ok(Verdict::Suspect),
        "held" => Ok(Verdict::Held),
        other => Err(format!(
            "`{other}` is not a severity; use leak, growing, suspect or held."
        )),
    }
}

#[cfg(test)]
mod tests;
