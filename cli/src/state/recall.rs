//! What is known for one look, and what that look adds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::error::StateError;
use super::folder::{Folder, Lock, Part};
use super::helped::Ended;
use super::hung_up::HungUp;
use super::labels::Labels;
use super::process::{self, Decision, ProcessMemory};
use super::program::{self, Program};
use crate::attach::Running;
use crate::attach::process::own_namespace;
use crate::detect::{Context, Label, Looks, Wanted};
use crate::snapshot::{Identity, Snapshot};

/// A process that nobody has looked at for so long, and that does not run any
/// more, is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(7 * 86_400);
/// One of another pid namespace, of which nobody knows whether it runs.
const FORGET_UNSEEN_AFTER: Duration = Duration::from_secs(30 * 86_400);

/// The state folder, as far as it can be used.
#[derive(Debug)]
pub struct State {
    folder: Option<Folder>,
    notes: Vec<String>,
}

/// What is known beside one snapshot.
#[derive(Debug, Default)]
pub struct Known {
    /// Earlier looks
    pub looks: Looks,
    /// What the program's runs taught
    pub program: Program,
    /// What people said
    pub labels: BTreeMap<String, Label>,
    /// What was known of the process
    pub process: ProcessMemory,
}

impl Known {
    /// The same for the detector.
    #[must_use]
    pub fn context(&self) -> Context<'_> {
        Context {
            looks: self.looks.clone(),
            priors: &self.program,
            labels: self.labels.clone(),
        }
    }
}

impl State {
    /// Opens the folder. A report works without: then a note says so.
    #[must_use]
    pub fn open() -> Self {
        Self::of(Folder::open())
    }

    /// With this folder.
    #[must_use]
    pub fn of(folder: Result<Folder, StateError>) -> Self {
        match folder {
            Ok(folder) => Self {
                folder: Some(folder),
                notes: Vec::new(),
            },
            Err(error) => Self {
                folder: None,
                notes: vec![error.to_string()],
            },
        }
    }

    /// What there is to say since it was last asked.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// What is known beside this snapshot.
    pub fn recall(&mut self, snapshot: &Snapshot, wanted: &Wanted) -> Known {
        let Some(identity) = snapshot.identity.clone() else {
            return Known::default();
        };
        let known = self.under_lock(|folder, lock, notes| {
            let process = load_process(folder, lock, &identity, notes)?;
            Ok(Known {
                looks: if snapshot.fresh {
                    process.looks(wanted, snapshot.moment_ms)
                } else {
                    Looks::default()
                },
                labels: Labels::load(folder, lock, notes)?.of(&identity.program),
                program: load_program(folder, lock, &identity.program, notes)?
                    .for_process(&identity.name()),
                process,
            })
        });
        known.unwrap_or_default()
    }

    /// Keeps what this look taught: counts it, compares it with the one
    /// before, and adds to what is known of the program. A snapshot file was
    /// kept when it was made, and teaches nothing.
    /// `places` names sites for people, by finding.
    pub fn keep(
        &mut self,
        snapshot: &Snapshot,
        wanted: &Wanted,
        decisions: &[Decision],
        places: &BTreeMap<String, String>,
    ) {
        let Some(identity) = snapshot.identity.clone().filter(|_| snapshot.fresh) else {
            return;
        };
        self.under_lock(|folder, lock, notes| {
            let mut process = load_process(folder, lock, &identity, notes)?;
            let mut lessons = process.lessons(snapshot, decisions);
            for (id, lesson) in &mut lessons {
                lesson.place = places.get(id).cloned();
            }
            let decided = process::by_id(snapshot, decisions);
            process.count(wanted, snapshot.moment_ms, decided.clone());
            process.find(decided.into_keys());
            process.remember(snapshot, wanted, decisions);
            // In this order: a crash in between loses a few lives, and never
            // counts one twice. Maxima are said again at the next look.
            store_process(folder, lock, &identity, &process)?;
            if !lessons.is_empty() {
                let mut program = load_program(folder, lock, &identity.program, notes)?;
                teach(&mut program, snapshot, &identity, &lessons);
                store_program(folder, lock, &program)?;
            }
            forget_old(folder, lock)
        });
    }

    /// Keeps what a fix of that process ended.
    pub fn helped(&mut self, identity: &Identity, all: &[Ended], hung_up: &[HungUp]) {
        self.under_lock(|folder, lock, notes| {
            let mut process = load_process(folder, lock, identity, notes)?;
            process.help(all, hung_up);
            store_process(folder, lock, identity, &process)
        });
    }

    /// Keeps only what the program's own closes teach, as one does while
    /// nobody asks for a report.
    pub fn learn(&mut self, snapshot: &mut Snapshot) {
        let Some(identity) = snapshot.identity.clone().filter(|_| snapshot.fresh) else {
            return;
        };
        self.under_lock(|folder, lock, notes| {
            let mut process = load_process(folder, lock, &identity, notes)?;
            process.helped.correct(snapshot);
            let lessons = process.lessons(snapshot, &[]);
            store_process(folder, lock, &identity, &process)?;
            if lessons.is_empty() {
                return Ok(());
            }
            let mut program = load_program(folder, lock, &identity.program, notes)?;
            teach(&mut program, snapshot, &identity, &lessons);
            store_program(folder, lock, &program)
        });
    }

    fn under_lock<T>(
        &mut self,
        act: impl FnOnce(&Folder, &Lock, &mut Vec<String>) -> Result<T, StateError>,
    ) -> Option<T> {
        let folder = self.folder.as_ref()?;
        let notes = &mut self.notes;
        let done = folder.lock().and_then(|lock| act(folder, &lock, notes));
        match done {
            Ok(value) => Some(value),
            Err(error) => {
                // Said once; what follows would fail the same way.
                self.notes.push(error.to_string());
                self.folder = None;
                None
            }
        }
    }
}

fn load_process(
    folder: &Folder,
    lock: &Lock,
    identity: &Identity,
    notes: &mut Vec<String>,
) -> Result<ProcessMemory, StateError> {
    let file = ProcessMemory::file(identity);
    let found = folder.load(lock, (Part::Processes, &file), process::CONTENT, notes)?;
    let same = found.filter(|memory: &ProcessMemory| memory.image == identity.created_ns);
    Ok(ProcessMemory {
        image: identity.created_ns,
        program: identity.program.clone(),
        title: identity.title(),
        ..same.unwrap_or_default()
    })
}

fn store_process(
    folder: &Folder,
    lock: &Lock,
    identity: &Identity,
    memory: &ProcessMemory,
) -> Result<(), StateError> {
    let file = ProcessMemory::file(identity);
    folder.store(lock, (Part::Processes, &file), process::CONTENT, memory)
}

/// What is known of a program; nothing when it is not known.
///
/// # Errors
/// When the folder cannot be used.
pub fn load_program(
    folder: &Folder,
    lock: &Lock,
    key: &str,
    notes: &mut Vec<String>,
) -> Result<Program, StateError> {
    let file = format!("{key}.json");
    let found = folder.load(lock, (Part::Programs, &file), program::CONTENT, notes)?;
    Ok(found.unwrap_or_else(|| Program {
        key: key.to_owned(),
        ..Program::default()
    }))
}

/// Keeps what is known of a program.
///
/// # Errors
/// When the folder cannot be used.
pub fn store_program(folder: &Folder, lock: &Lock, program: &Program) -> Result<(), StateError> {
    let file = format!("{}.json", program.key);
    folder.store(lock, (Part::Programs, &file), program::CONTENT, program)
}

/// The programs of which that finding is known, by what was learned and by what
/// reports told of. One place in a program may give findings of several kinds.
///
/// # Errors
/// When the folder cannot be used.
pub fn programs_with(
    folder: &Folder,
    lock: &Lock,
    finding: &str,
    notes: &mut Vec<String>,
) -> Result<BTreeSet<String>, StateError> {
    let site = |id: &str| id.rsplit_once('-').map(|(_, key)| key.to_owned());
    let is_meant = |id: &String| site(id) == site(finding);
    let mut programs = BTreeSet::new();
    for (file, _) in folder.names(Part::Programs)? {
        let found = folder.load(lock, (Part::Programs, &file), program::CONTENT, notes)?;
        let meant = found.filter(|known: &Program| known.sites.keys().any(is_meant));
        programs.extend(meant.map(|known| known.key));
    }
    for (file, _) in folder.names(Part::Processes)? {
        let found = folder.load(lock, (Part::Processes, &file), process::CONTENT, notes)?;
        let meant = found.filter(|known: &ProcessMemory| known.told().any(is_meant));
        programs.extend(meant.map(|known| known.program));
    }
    // Of what an older version kept nobody knows the program.
    programs.remove("");
    Ok(programs)
}

/// What a person knows a program by, if anything that is kept of it says so.
///
/// # Errors
/// When the folder cannot be used.
pub fn title_of(
    folder: &Folder,
    lock: &Lock,
    key: &str,
    notes: &mut Vec<String>,
) -> Result<Option<String>, StateError> {
    let is_said = |title: &String| !title.is_empty();
    let learned = load_program(folder, lock, key, notes)?.title;
    if is_said(&learned) {
        return Ok(Some(learned));
    }
    for (file, _) in folder.names(Part::Processes)? {
        let found = folder.load(lock, (Part::Processes, &file), process::CONTENT, notes)?;
        let title = found.filter(|known: &ProcessMemory| known.program == key);
        if let Some(title) = title.map(|known| known.title).filter(is_said) {
            return Ok(Some(title));
        }
    }
    Ok(None)
}

fn teach(
    program: &mut Program,
    snapshot: &Snapshot,
    identity: &Identity,
    lessons: &BTreeMap<String, super::program::Lesson>,
) {
    let own = own_namespace();
    let (started, now) = (snapshot.process.started_at, snapshot.facts.taken_at);
    program.name = identity.program_name().to_owned();
    program.title = identity.title();
    program.begin(&identity.name(), started, now, |member| {
        runs_still(member, own) == Some(true)
    });
    for (id, lesson) in lessons {
        program.learn(id, lesson);
    }
    program.forget();
}

/// Whether the process of that name runs; none when it is of another pid
/// namespace.
fn runs_still(name: &str, own_namespace: Option<u64>) -> Option<bool> {
    let (namespace, pid, start_ticks) = Identity::parse(name)?;
    (own_namespace == Some(namespace))
        .then(|| Running::find(pid).is_some_and(|process| process.started_at(start_ticks)))
}

fn forget_old(folder: &Folder, lock: &Lock) -> Result<(), StateError> {
    let own = own_namespace();
    for (file, age) in folder.names(Part::Processes)? {
        let name = file.strip_suffix(".json").unwrap_or(&file);
        let old = age > FORGET_AFTER
            && match runs_still(name, own) {
                Some(runs) => !runs,
                None => age > FORGET_UNSEEN_AFTER,
            };
        if old {
            folder.remove(lock, (Part::Processes, &file))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn a_finding_is_known_in_the_programs_whose_reports_told_of_it() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::at(base.path()).unwrap();
        let lock = folder.lock().unwrap();
        let id = |n: u64| crate::detect::finding_id(crate::model::Kind::Files, n);
        let process = |pid: i32, program: &str, found: u64| {
            let memory = ProcessMemory {
                program: program.to_owned(),
                found: [id(found)].into(),
                ..ProcessMemory::default()
            };
            let file = format!("1.{pid}.1.json");
            let file = (Part::Processes, &*file);
            folder
                .store(&lock, file, process::CONTENT, &memory)
                .unwrap();
        };
        for (pid, program, found) in [(1, "a", 1), (2, "a", 1), (3, "b", 2), (4, "", 3)] {
            process(pid, program, found);
        }
        let mut learned = Program {
            key: "c".to_owned(),
            ..Program::default()
        };
        learned.sites.insert(id(2), program::SiteMemory::default());
        store_program(&folder, &lock, &learned).unwrap();
        let known = |id: &str| {
            let known = programs_with(&folder, &lock, id, &mut Vec::new()).unwrap();
            known.into_iter().collect::<Vec<String>>().concat()
        };
        assert_eq!([1, 2, 3, 4].map(|n| known(&id(n))), ["a", "bc", "", ""]);
        let of_another_kind = crate::detect::finding_id(crate::model::Kind::Listeners, 1);
        assert_eq!(known(&of_another_kind), "a");
    }

    #[test]
    fn processes_long_gone_are_forgotten_and_running_ones_are_not() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::at(base.path()).unwrap();
        let lock = folder.lock().unwrap();
        let here = own_namespace().unwrap();
        let own = Running::find(std::process::id() as i32).unwrap();
        let days = |days: u64| SystemTime::now() - Duration::from_secs(days * 86_400);
        let cases = [
            (here, own.pid, own.start_ticks, 365, true),
            (here, own.pid, own.start_ticks + 1, 8, false),
            (here, own.pid, own.start_ticks + 2, 6, true),
            (here + 1, 77, 1, 8, true),
            (here + 1, 77, 2, 31, false),
        ];
        let path = |case: &(u64, i32, u64, u64, bool)| {
            let file = format!("processes/{}.{}.{}.json", case.0, case.1, case.2);
            base.path().join(file)
        };
        folder
            .store(&lock, (Part::Processes, "x.json"), "x", &1_u32)
            .unwrap();
        for case in &cases {
            let file = std::fs::File::create(path(case)).unwrap();
            file.set_modified(days(case.3)).unwrap();
        }
        forget_old(&folder, &lock).unwrap();
        for case in &cases {
            assert_eq!(path(case).exists(), case.4, "{case:?}");
        }
    }
}
