//! `[protect]` and `[fix.KIND]`, checked key by key like rules.

use toml::de::{DeTable, DeValue};

use super::{Source, Value, kind, list, number, port, seconds, text};
use crate::model::Kind;
use crate::rules::RuleError;
use crate::rules::care::{Care, Floors};

/// What `[protect]` can have.
const PROTECTS: [&str; 4] = ["ports", "allow_ports", "processes", "allow_processes"];
/// What `[fix.KIND]` can have.
const FLOORS: [&str; 3] = ["min_age", "min_idle", "min_count"];

impl Source<'_> {
    /// Reads `[protect]`.
    pub(super) fn protect(&self, table: &Value<'_>, care: &mut Care) -> Result<(), RuleError> {
        let keys = self.table(
            table,
            "`protect` is a table; write [protect] and its keys below it.",
        )?;
        for (key, value) in keys {
            let read = match key.get_ref().as_ref() {
                "ports" => list(value.get_ref(), port).map(|all| care.ports = all),
                "allow_ports" => list(value.get_ref(), port).map(|all| care.allow_ports = all),
                "processes" => list(value.get_ref(), name).map(|all| care.processes = all),
                "allow_processes" => {
                    list(value.get_ref(), name).map(|all| care.allow_processes = all)
                }
                other => {
                    let sentence = format!(
                        "`{other}` is not a key of [protect]; use one of {}.",
                        PROTECTS.join(", ")
                    );
                    return Err(self.wrong(key, &sentence));
                }
            };
            read.map_err(|sentence| self.wrong(value, &sentence))?;
        }
        Ok(())
    }

    /// Reads the `[fix.KIND]` tables.
    pub(super) fn fix(&self, table: &Value<'_>, care: &mut Care) -> Result<(), RuleError> {
        let kinds = self.table(
            table,
            "`fix` is a table of kinds; write [fix.sockets] and its keys below it.",
        )?;
        for (key, value) in kinds {
            let name = DeValue::String(key.get_ref().clone());
            let kind = kind(&name).map_err(|sentence| self.wrong(key, &sentence))?;
            let floors = self.floors(value, kind)?;
            care.floors.insert(kind, floors);
        }
        Ok(())
    }

    fn floors(&self, table: &Value<'_>, kind: Kind) -> Result<Floors, RuleError> {
        let sentence = format!(
            "`{0}` is a table; write [fix.{0}] and its keys below it.",
            kind.name()
        );
        let mut floors = Floors::default();
        for (key, value) in self.table(table, &sentence)? {
            let read = match key.get_ref().as_ref() {
                "min_age" => seconds(value.get_ref()).map(|span| floors.min_age_s = Some(span)),
                "min_idle" => seconds(value.get_ref()).map(|span| floors.min_idle_s = Some(span)),
                "min_count" => number(value.get_ref()).map(|count| floors.min_count = Some(count)),
                other => {
                    let sentence = format!(
                        "`{other}` is not a key of [fix.{}]; use one of {}.",
                        kind.name(),
                        FLOORS.join(", ")
                    );
                    return Err(self.wrong(key, &sentence));
                }
            };
            read.map_err(|sentence| self.wrong(value, &sentence))?;
        }
        Ok(floors)
    }

    fn table<'a, 'b>(
        &self,
        value: &'a Value<'b>,
        sentence: &str,
    ) -> Result<&'a DeTable<'b>, RuleError> {
        match value.get_ref() {
            DeValue::Table(keys) => Ok(keys),
            _ => Err(self.wrong(value, sentence)),
        }
    }
}

/// The name of a process, with a `*` at most at its end.
fn name(value: &DeValue<'_>) -> Result<String, String> {
    let name = text(value)?;
    match name.strip_suffix('*').unwrap_or(name) {
        "" => Err("`*` is every process; name those that are meant.".to_owned()),
        rest if rest.contains(['*', '?', '[', '{']) => Err(format!(
            "`{name}` is not the name of a process; write it out, with a `*` at most at its end."
        )),
        _ => Ok(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::super::tests::refused;
    use super::*;

    #[test]
    fn everything_that_fix_heeds_is_read_and_rules_beside_it() {
        let written = read(
            "memguard.toml",
            "[protect]\nports = [8080, 9000]\nallow_ports = 6379\nprocesses = ['shop*']\nallow_processes = 'cron'\n\
             [fix.sockets]\nmin_age = '10m'\nmin_idle = 90\nmin_count = 20\n[fix.timers]\nmin_age = '1h'\n\
             [[rule]]\nfunction = 'f'\nignore = true\n",
        )
        .unwrap();
        let sockets = Floors {
            min_age_s: Some(600.0),
            min_idle_s: Some(90.0),
            min_count: Some(20),
        };
        let timers = Floors {
            min_age_s: Some(3600.0),
            ..Floors::default()
        };
        let wanted = Care {
            ports: vec![8080, 9000],
            allow_ports: vec![6379],
            processes: vec!["shop*".into()],
            allow_processes: vec!["cron".into()],
            floors: [(Kind::Sockets, sockets), (Kind::Timers, timers)].into(),
        };
        assert_eq!((written.care, written.rules.len()), (wanted, 1));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        refused("[protect]\nport = 1\n", 2, "use one of ports");
        refused("[protect]\nports = [70000]\n", 2, "not a port");
        refused("[protect]\nprocesses = ['a', '*']\n", 2, "every process");
        refused("[protect]\nprocesses = 'sh?p'\n", 2, "at its end");
        refused("protect = 1\n", 1, "[protect]");
        refused("\n[fix.socket]\nmin_age = 1\n", 2, "not a kind");
        refused("[fix]\nmin_age = 1\n", 2, "not a kind");
        refused("[fix]\nsockets = 1\n", 2, "[fix.sockets]");
        refused("[fix.sockets]\nmax = 1\n", 2, "use one of min_age");
        refused("[fix.sockets]\nmin_age = 'soon'\n", 2, "");
        refused("[fix.sockets]\nmin_count = 0\n", 2, "no effect");
    }
}
