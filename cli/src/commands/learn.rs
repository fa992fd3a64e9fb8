//! `memguard learn`.

use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::common::{emit, emit_error, writer};
use crate::args::{
    LearnAction, LearnArgs, LearnExportArgs, LearnImportArgs, LearnResetArgs, LearnShowArgs,
};
use crate::attach::records::open_plain;
use crate::attach::resolve;
use crate::error::{Error, OutputError};
use crate::model::{Learned, LearnedProgram, LearnedSite};
use crate::snapshot::{Identity, of_target};
use crate::state::folder::{Lock, Part};
use crate::state::labels::{Labels, is_finding_id};
use crate::state::program::{Program, SiteMemory};
use crate::state::recall::{load_program, store_program};
use crate::state::{Folder, StateError};
use crate::symbols::elf::{self, ElfFacts};
use crate::units::count;

/// The schema of an export.
const EXPORT: &str = "memguard.learned-export/1";
/// No export is larger.
const CAP_BYTES: u64 = 256 << 20;

/// What `export` writes and `import` reads.
#[derive(Debug, Serialize, Deserialize)]
struct Export {
    schema: String,
    exported_at: Timestamp,
    programs: Vec<Program>,
    labels: Labels,
}

/// Runs the verb.
pub fn run(args: &LearnArgs) -> Result<ExitCode, Error> {
    match &args.action {
        LearnAction::Show(args) => show(args),
        LearnAction::Reset(args) => reset(args),
        LearnAction::Export(args) => export(args),
        LearnAction::Import(args) => import(args),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that is known, by name.
pub fn programs(
    folder: &Folder,
    lock: &Lock,
    notes: &mut Vec<String>,
) -> Result<Vec<Program>, StateError> {
    let mut programs = Vec::new();
    for (file, _) in folder.names(Part::Programs)? {
        let key = file.strip_suffix(".json").unwrap_or(&file);
        let program = load_program(folder, lock, key, notes)?;
        if program.run > 0 {
            programs.push(program);
        }
    }
    programs.sort_by(|a, b| (&a.name, &a.key).cmp(&(&b.name, &b.key)));
    Ok(programs)
}

/// The build of an executable, or of a process or snapshot.
pub fn program_key(text: &str) -> Result<String, Error> {
    Ok(program_called(text)?.0)
}

/// The same with what a person knows it by, where that is more than its file.
pub fn program_called(text: &str) -> Result<(String, Option<String>), Error> {
    match executable(Path::new(text)) {
        Some(key) => Ok((key, None)),
        None => {
            let snapshot = of_target(resolve(text)?)?;
            let identity = snapshot.identity;
            let named = identity.map(|one| (one.program.clone(), Some(one.title())));
            named.ok_or_else(|| StateError::Unknown(text.to_owned()).into())
        }
    }
}

/// None for what is no program on disk.
fn executable(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let facts = ElfFacts::read(open_plain(&path).ok()?).ok()?;
    let build_id = facts.build_id.as_deref().map(elf::hex);
    Some(Identity::program_of(
        build_id.as_deref(),
        &path.display().to_string(),
    ))
}

/// Those that a person means: by name all builds of it, else one.
fn chosen(all: Vec<Program>, text: Option<&str>) -> Result<Vec<Program>, Error> {
    let Some(text) = text else { return Ok(all) };
    if all
        .iter()
        .any(|program| program.name == text || program.key == text)
    {
        let named = |program: &Program| program.name == text || program.key == text;
        return Ok(all.into_iter().filter(named).collect());
    }
    let key = program_key(text)?;
    let one: Vec<Program> = all
        .into_iter()
        .filter(|program| program.key == key)
        .collect();
    if one.is_empty() {
        return Err(StateError::Unknown(text.to_owned()).into());
    }
    Ok(one)
}

fn show(args: &LearnShowArgs) -> Result<(), Error> {
    let (folder, mut notes) = (Folder::open()?, Vec::new());
    let lock = folder.lock()?;
    let labels = Labels::load(&folder, &lock, &mut notes)?;
    let all = programs(&folder, &lock, &mut notes)?;
    drop(lock);
    let chosen = chosen(all, args.program.as_deref())?;
    let learned = Learned {
        schema: Learned::SCHEMA.to_owned(),
        folder: folder.path().display().to_string(),
        programs: chosen
            .iter()
            .map(|program| shown(program, &labels))
            .collect(),
        notes,
    };
    let text = writer(&args.output, false).learned(&learned)?;
    emit(&text, args.output.output.as_deref())?;
    Ok(())
}

fn shown(program: &Program, labels: &Labels) -> LearnedProgram {
    let said = labels.of(&program.key);
    let site = |(id, site): (&String, &SiteMemory)| {
        let (prior, seconds) = (site.prior(program.run), |ms: u64| ms as f64 / 1000.0);
        LearnedSite {
            id: id.clone(),
            place: site.place.clone(),
            runs: site.runs,
            closes: site.closes,
            p90_s: seconds(prior.q90_ms),
            p99_s: seconds(prior.q99_ms),
            longest_s: seconds(prior.longest_ms),
            woken_gap_s: seconds(prior.woken_gap_ms),
            plateau: prior.plateau,
            false_alarm: prior.extra_looks > 0,
            verdicts: site.verdicts.iter().map(|(_, verdict)| *verdict).collect(),
            label: said.get(id).copied(),
        }
    };
    LearnedProgram {
        build: program.key.clone(),
        name: program.name.clone(),
        runs: program.run,
        updated_at: program.updated,
        sites: program.sites.iter().map(site).collect(),
    }
}

fn reset(args: &LearnResetArgs) -> Result<(), Error> {
    let (folder, mut notes) = (Folder::open()?, Vec::new());
    let lock = folder.lock()?;
    let all = programs(&folder, &lock, &mut notes)?;
    let gone = chosen(all, args.program.as_deref())?;
    for program in &gone {
        let file = format!("{}.json", program.key);
        folder.remove(&lock, (Part::Programs, &file))?;
    }
    say(notes)?;
    emit(
        &format!("Forgot what was learned of {}.\n", builds(gone.len())),
        None,
    )?;
    Ok(())
}

fn export(args: &LearnExportArgs) -> Result<(), Error> {
    let (folder, mut notes) = (Folder::open()?, Vec::new());
    let lock = folder.lock()?;
    let mut labels = Labels::load(&folder, &lock, &mut notes)?;
    let programs = chosen(
        programs(&folder, &lock, &mut notes)?,
        args.program.as_deref(),
    )?;
    drop(lock);
    if args.program.is_some() {
        let known = |key: &String| programs.iter().any(|program| program.key == *key);
        labels
            .0
            .retain(|entry| entry.program.as_ref().is_some_and(known));
    }
    let export = Export {
        schema: EXPORT.to_owned(),
        exported_at: Timestamp::now(),
        programs,
        labels,
    };
    let text =
        serde_json::to_string_pretty(&export).map_err(|error| OutputError::Screen(error.into()))?;
    say(notes)?;
    emit(&(text + "\n"), args.output.as_deref())?;
    Ok(())
}

fn import(args: &LearnImportArgs) -> Result<(), Error> {
    let export = read(&args.file)?;
    let (folder, mut notes) = (Folder::open()?, Vec::new());
    let lock = folder.lock()?;
    for theirs in &export.programs {
        let mut ours = load_program(&folder, &lock, &theirs.key, &mut notes)?;
        ours.join(theirs);
        store_program(&folder, &lock, &ours)?;
    }
    let mut labels = Labels::load(&folder, &lock, &mut notes)?;
    labels.join(&export.labels);
    labels.store(&folder, &lock)?;
    say(notes)?;
    let labelled = export.labels.0.len();
    let programs = builds(export.programs.len());
    emit(
        &format!(
            "Took in what was learned of {programs}, and {} labels.\n",
            count(labelled as u64)
        ),
        None,
    )?;
    Ok(())
}

/// The file comes from elsewhere: nothing in it may name a file of ours but a
/// build, and no number may be out of range.
fn read(path: &Path) -> Result<Export, Error> {
    let not_ours = |detail: &str| StateError::NotOurs {
        path: path.to_owned(),
        detail: detail.to_owned(),
    };
    let file = open_plain(path)?;
    let size = file.metadata().map(|meta| meta.len()).unwrap_or(u64::MAX);
    if size > CAP_BYTES {
        return Err(not_ours("it is too large").into());
    }
    let text = std::io::read_to_string(file).map_err(|error| not_ours(&error.to_string()))?;
    let version: Version =
        serde_json::from_str(&text).map_err(|_| not_ours("it is not the JSON of an export"))?;
    if version.schema != EXPORT {
        return Err(not_ours("it is of another version").into());
    }
    let export: Export =
        serde_json::from_str(&text).map_err(|error| not_ours(&error.to_string()))?;
    let whole = export.programs.iter().all(is_sound)
        && export.labels.0.iter().all(|entry| is_finding_id(&entry.id));
    if whole {
        Ok(export)
    } else {
        Err(not_ours("what it says of a program makes no sense").into())
    }
}

#[derive(Deserialize)]
struct Version {
    schema: String,
}

fn is_sound(program: &Program) -> bool {
    let key = !program.key.is_empty()
        && program
            .key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let weights = |site: &SiteMemory| {
        site.lives.iter().all(|(bucket, weight)| {
            usize::from(*bucket) < shm_protocol::hist::BUCKETS
                && weight.is_finite()
                && *weight >= 0.0
        })
    };
    key && program.run > 0
        && program
            .sites
            .iter()
            .all(|(id, site)| is_finding_id(id) && weights(site) && site.run <= program.run)
}

fn builds(n: usize) -> String {
    match n {
        1 => "1 program".to_owned(),
        n => format!("{} programs", count(n as u64)),
    }
}

fn say(notes: Vec<String>) -> Result<(), Error> {
    for note in notes {
        emit_error(&format!("memguard: {note}\n"))?;
    }
    Ok(())
}
