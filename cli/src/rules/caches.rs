//! `[caches]` of `memguard.toml`: how much registered caches may hold.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::toml::{Source, Value};
use super::{Limits, RuleError};

impl Limits {
    /// How much a cache of that name may hold, if a limit is set.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).copied().or(self.all)
    }
}

/// Reads the table.
pub(super) fn limits(source: &Source<'_>, table: &Value<'_>) -> Result<Limits, RuleError> {
    let DeValue::Table(keys) = table.get_ref() else {
        let sentence = "`caches` is a table; write [caches] and its keys below it.";
        return Err(source.wrong(table, sentence));
    };
    let mut limits = Limits::default();
    for (key, value) in keys {
        match key.get_ref().as_ref() {
            "limit" => limits.all = Some(size(source, value)?),
            "limits" => limits.by_name = by_name(source, value)?,
            other => {
                let sentence = format!("`{other}` is not a key of [caches]; use limit or limits.");
                return Err(source.wrong(key, &sentence));
            }
        }
    }
    Ok(limits)
}

fn by_name(source: &Source<'_>, table: &Value<'_>) -> Result<BTreeMap<String, u64>, RuleError> {
    let DeValue::Table(names) = table.get_ref() else {
        let sentence = "`limits` is a table of names; write [caches.limits] and a line for each cache below it.";
        return Err(source.wrong(table, sentence));
    };
    let each = names.iter().map(|(name, value)| {
        let name = name.get_ref().clone().into_owned();
        Ok((name, size(source, value)?))
    });
    each.collect()
}

fn size(source: &Source<'_>, value: &Value<'_>) -> Result<u64, RuleError> {
    let bytes = match value.get_ref() {
        DeValue::String(text) => bytes_of(text),
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    };
    let sentence = "this is no size; write one like \"200MiB\", or a number of bytes.";
    bytes.ok_or_else(|| source.wrong(value, sentence))
}

/// `200MiB`, `64 KiB`, `1GiB`, `4096`.
fn bytes_of(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" | "K" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        "TiB" | "T" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::super::toml::read;
    use super::*;

    fn limits(text: &str) -> Result<Limits, RuleError> {
        read("my.toml", text).map(|written| written.limits)
    }

    #[test]
    fn a_limit_is_for_all_or_for_one() {
        let text =
            "[caches]\nlimit = '200MiB'\n[caches.limits]\npages = 4096\n'big one' = '1 GiB'\n";
        let limits = limits(text).unwrap();
        let known = ["pages", "big one", "other"].map(|name| limits.of(name));
        assert_eq!(known, [Some(4096), Some(1 << 30), Some(200 << 20)]);
    }

    #[test]
    fn without_a_table_there_is_no_limit() {
        let limits = limits("[[rule]]\nkind = 'files'\nignore = true\n").unwrap();
        assert_eq!(limits.of("pages"), None);
    }

    #[test]
    fn what_is_no_size_is_told_with_its_line() {
        for (text, line) in [
            ("[caches]\nlimit = 'much'\n", 2),
            ("[caches]\nlimit = true\n", 2),
            ("[caches]\nlimit = '-1'\n", 2),
            ("[caches]\nlimit = '99999999999TiB'\n", 2),
            ("[caches]\n[caches.limits]\npages = 'x'\n", 3),
            ("[caches]\nlimits = 3\n", 2),
            ("[caches]\nlimitt = 3\n", 2),
            ("caches = 3\n", 1),
        ] {
            let error = limits(text).expect_err(text);
            assert_eq!(error.line, line, "{error}");
        }
    }
}
