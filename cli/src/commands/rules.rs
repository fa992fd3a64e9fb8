//! Finds and reads the files of rules.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::args::RulesArgs;
use crate::error::Error;
use crate::rules::care::Care;
use crate::rules::{Rules, lsan, toml};

/// No file of rules is larger.
const CAP_BYTES: u64 = 4 << 20;

/// What the flags, the environment and the folders say is fine.
pub fn rules(args: &RulesArgs) -> Result<Rules, Error> {
    let mut rules = Rules::default();
    if args.no_rules {
        return Ok(rules);
    }
    let written = written(args)?;
    (rules.rules, rules.limits) = (written.rules, written.limits);
    for path in &args.suppressions {
        let file = path.display().to_string();
        rules.suppressions.extend(lsan::parse(&file, &read(path)?)?);
    }
    Ok(rules)
}

/// What `fix` is to heed. `--no-rules` shows more, and unprotects nothing.
pub fn care(args: &RulesArgs) -> Result<Care, Error> {
    Ok(written(args)?.care)
}

/// What `memguard.toml` says, if there is one.
fn written(args: &RulesArgs) -> Result<toml::Written, Error> {
    let Some(path) = config(args) else {
        return Ok(toml::Written::default());
    };
    Ok(toml::read(&path.display().to_string(), &read(&path)?)?)
}

/// The file that is named (by the flag, else by the variable), else the first
/// that is there. A variable that is empty names none.
fn config(args: &RulesArgs) -> Option<PathBuf> {
    let named = args
        .config
        .as_ref()
        .filter(|path| !path.as_os_str().is_empty());
    named
        .cloned()
        .or_else(|| places().into_iter().find(|path| path.exists()))
}

/// This folder, the user's, the system's.
fn places() -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let home = || Some(variable("HOME")?.join(".config"));
    let user = variable("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(home);
    let mut places = vec![PathBuf::from("memguard.toml")];
    places.extend(user.map(|folder| folder.join("memguard/memguard.toml")));
    places.push(PathBuf::from("/etc/memguard/memguard.toml"));
    places
}

/// Links are followed: configuration is often behind some. A pipe would have
/// no end.
fn read(path: &Path) -> Result<String, Error> {
    let refused = |why: String| {
        Error::Usage(format!(
            "The rules in {} cannot be read ({why}); name another file, or use --no-rules.",
            path.display()
        ))
    };
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path);
    let file = file.map_err(|error| refused(error.to_string()))?;
    if !file
        .metadata()
        .is_ok_and(|meta| meta.is_file() && meta.len() <= CAP_BYTES)
    {
        return Err(refused(
            "it is no file, or larger than any rules".to_owned(),
        ));
    }
    let mut text = String::new();
    let read = file.take(CAP_BYTES).read_to_string(&mut text);
    read.map_err(|error| refused(error.to_string()))?;
    Ok(text)
}
