//! `memguard undo`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::common::{emit, emit_done, table_writer_for};
use super::progress::Progress;
use crate::args::UndoArgs;
use crate::error::Error;
use crate::fix::undo::Ground;
use crate::model::{FixOutcome, Undo, UndoItem};
use crate::state::audit::{Action, Journal, read};
use crate::state::pending::pending;
use crate::state::{Folder, StateError};

/// Runs the verb.
pub fn run(args: &UndoArgs) -> Result<ExitCode, Error> {
    let open = pending(&read(&Folder::open()?)?);
    let (items, missing) = match args.what.as_deref() {
        None => (open.iter().map(listed).collect(), None),
        Some(what) => set_back(chosen(open, what)?)?,
    };
    let done = |item: &UndoItem| item.outcome.is_none_or(|one| one == FixOutcome::Restored);
    let whole = missing.is_none() && items.iter().all(done);
    let code = if whole { 0 } else { 5 };
    let undo = Undo {
        schema: Undo::SCHEMA.to_owned(),
        items,
    };
    let text = table_writer_for(args.format, None).undo(&undo)?;
    if args.what.is_some() {
        emit_done(&text, None, Some(missing))?;
    } else {
        emit(&text, None)?;
    }
    Ok(ExitCode::from(code))
}

fn chosen(open: Vec<Action>, what: &str) -> Result<Vec<Action>, Error> {
    let pid: Option<i32> = what.parse().ok();
    let is_meant = |action: &Action| action.id == what || pid == Some(action.pid);
    let meant: Vec<Action> = open.into_iter().filter(is_meant).collect();
    if meant.is_empty() {
        return Err(Error::Usage(format!(
            "Nothing that was done to `{what}` can be set back; `memguard undo` alone lists what can be."
        )));
    }
    Ok(meant)
}

/// What became of them, and why the log has not all of it. They are set back all
/// the same: that is what they were before anything was done.
fn set_back(actions: Vec<Action>) -> Result<(Vec<UndoItem>, Option<String>), StateError> {
    let (mut items, mut missing) = (Vec::new(), None);
    let mut grounds = BTreeMap::new();
    let Some(first) = actions.first() else {
        return Ok((items, missing));
    };
    let mut journal = Journal::open(first.pid, &first.process)?;
    let progress = Progress::of("Setting back", actions.len());
    for (done, action) in actions.into_iter().enumerate() {
        progress.done(done);
        let mut item = listed(&action);
        let ground = grounds
            .entry((action.pid, action.start_ticks))
            .or_insert_with(|| Ground::of(&action));
        let done = ground.as_ref().map_err(Clone::clone);
        match done.and_then(|ground| ground.restore(&action)) {
            Ok(()) => item.outcome = Some(FixOutcome::Restored),
            Err(why) => {
                item.outcome = Some(FixOutcome::Failed);
                item.detail = Some(why);
            }
        }
        // What was not tried may be tried again: it stays as it was.
        if item.outcome == Some(FixOutcome::Failed) && ground.as_ref().is_ok_and(Ground::stands) {
            items.push(item);
            continue;
        }
        let kept = journal.write(&Action {
            at: jiff::Timestamp::now(),
            by_uid: rustix::process::getuid().as_raw(),
            outcome: item.outcome,
            detail: item.detail.clone(),
            ..action
        });
        // The next is set back all the same; this one may be listed again.
        if let Err(why) = kept {
            let lacks = format!("the log lacks that. {why}");
            item.detail = Some(match item.detail {
                Some(said) => format!("{said}; {lacks}"),
                None => lacks,
            });
            missing.get_or_insert(format!(
                "Not all that was set back stands in the log. {why}"
            ));
        }
        items.push(item);
    }
    Ok((items, missing))
}

fn listed(action: &Action) -> UndoItem {
    UndoItem {
        id: action.id.clone(),
        at: action.at,
        pid: action.pid,
        process: action.process.clone(),
        fd: action.fd,
        what: action.what.clone(),
        outcome: None,
        detail: None,
    }
}
