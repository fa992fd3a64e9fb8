//! `memguard label`.

use std::process::ExitCode;

use jiff::Timestamp;

use super::common::{emit, emit_error, writer_for};
use super::learn::{program_called, programs};
use crate::args::{LabelAction, LabelArgs, LabelListArgs, LabelledArgs};
use crate::detect::Label;
use crate::error::Error;
use crate::model::{Labelled, Labels};
use crate::state::labels::{self, Entry, is_finding_id};
use crate::state::recall::{programs_with, title_of};
use crate::state::{Folder, StateError};

/// Runs the verb.
pub fn run(args: &LabelArgs) -> Result<ExitCode, Error> {
    match &args.action {
        LabelAction::Ok(what) => say(what, Label::Ok),
        LabelAction::Leak(what) => say(what, Label::Leak),
        LabelAction::Clear(what) => clear(what),
        LabelAction::List(how) => list(how),
    }
}

fn say(what: &LabelledArgs, label: Label) -> Result<ExitCode, Error> {
    let named = match (checked(what)?, label) {
        (None, Label::Leak) => Some(only_program(&what.finding)?),
        (named, _) => named,
    };
    let (program, title) = named.unzip();
    let entry = Entry {
        id: what.finding.clone(),
        label,
        program,
        title: title.flatten(),
        at: Timestamp::now(),
    };
    change(|labels| labels.set(entry))?;
    let effect = match label {
        Label::Ok => "left out of reports",
        Label::Leak => "reported as a leak",
    };
    let undo = format!("`memguard label clear {}` takes that back", what.finding);
    emit(
        &format!("{} is {effect} from now on; {undo}.\n", what.finding),
        None,
    )?;
    Ok(ExitCode::SUCCESS)
}

fn clear(what: &LabelledArgs) -> Result<ExitCode, Error> {
    let program = checked(what)?.map(|(key, _)| key);
    let cleared = change(|labels| labels.clear(&what.finding, program.as_deref()))?;
    let text = match cleared {
        0 => "had no label",
        _ => "is judged by its numbers again",
    };
    emit(&format!("{} {text}.\n", what.finding), None)?;
    Ok(ExitCode::SUCCESS)
}

/// The program that is meant, and what it is called; none without a target.
fn checked(what: &LabelledArgs) -> Result<Option<(String, Option<String>)>, Error> {
    if !is_finding_id(&what.finding) {
        return Err(StateError::NoSuchFinding(what.finding.clone()).into());
    }
    what.target.as_deref().map(program_called).transpose()
}

/// The program that a finding is of. In an interpreter all scripts share the
/// ids of what it makes, and what leaks in one of them may be held in others.
fn only_program(finding: &str) -> Result<(String, Option<String>), Error> {
    let (folder, mut notes) = (Folder::open()?, Vec::new());
    let lock = folder.lock()?;
    let known = programs_with(&folder, &lock, finding, &mut notes)?;
    let mut known = known.into_iter();
    let found = match (known.next(), known.count()) {
        (Some(one), 0) => {
            let title = title_of(&folder, &lock, &one, &mut notes)?;
            return Ok((one, title));
        }
        (None, _) => "No report told of this finding yet".to_owned(),
        (_, more) => format!("{} programs have this finding", more + 1),
    };
    Err(Error::Usage(format!(
        "{found}; name the one in which it is a leak: `memguard label leak {finding} <target>`."
    )))
}

fn change<T>(act: impl FnOnce(&mut labels::Labels) -> T) -> Result<T, Error> {
    let folder = Folder::open()?;
    let lock = folder.lock()?;
    let mut notes = Vec::new();
    let mut labels = labels::Labels::load(&folder, &lock, &mut notes)?;
    let done = act(&mut labels);
    labels.store(&folder, &lock)?;
    for note in notes {
        emit_error(&format!("memguard: {note}\n"))?;
    }
    Ok(done)
}

fn list(how: &LabelListArgs) -> Result<ExitCode, Error> {
    let folder = Folder::open()?;
    let mut notes = Vec::new();
    let lock = folder.lock()?;
    let said = labels::Labels::load(&folder, &lock, &mut notes)?;
    let known = programs(&folder, &lock, &mut notes)?;
    drop(lock);
    let labelled = |entry: Entry| {
        let program = |key: &String| known.iter().find(|program| program.key == *key);
        let place = known
            .iter()
            .find_map(|program| program.sites.get(&entry.id)?.place.clone());
        let program = entry.program.as_ref().and_then(program);
        let learned = program.map(|program| program.title.clone());
        Labelled {
            name: program.map(|program| program.name.clone()),
            title: entry.title.or(learned.filter(|title| !title.is_empty())),
            id: entry.id,
            label: entry.label,
            build: entry.program,
            place,
            at: entry.at,
        }
    };
    let labels = Labels {
        schema: Labels::SCHEMA.to_owned(),
        labels: said.0.into_iter().map(labelled).collect(),
        notes,
    };
    emit(&writer_for(how.format, None, false).labels(&labels)?, None)?;
    Ok(ExitCode::SUCCESS)
}
