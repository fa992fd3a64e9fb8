//! Commands in the mailbox of a program under test, word by word: what the
//! command line sends, and what it never would.

use std::fs::File;
use std::mem::{offset_of, size_of};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::thread::sleep;
use std::time::{Duration, Instant};

use shm_protocol::codes::{Mode, Section};
use shm_protocol::layout::Header;
use shm_protocol::mailbox::{
    ARGUMENTS, Answer, MailSlot, MailState, Phase, SLOTS, Verb, check, mail, unpack_result,
};

use crate::Record;
use crate::record::files_of;

/// Later than any test.
const NEVER_MS: u64 = 1 << 40;

/// The mailbox of a program.
#[derive(Debug)]
pub struct Mail {
    file: File,
    at: u64,
}

impl Mail {
    /// Opens the mailbox of a process.
    #[track_caller]
    pub fn of(pid: u32, folder: &std::path::Path) -> Self {
        let path = &files_of(pid, folder)[0];
        let record = Record::read(path);
        let view = record.view();
        let extent = view.extents().iter();
        let mut extent = extent.filter(|extent| extent.section == Section::Mailbox);
        let at = extent.next().expect("a segment has a mailbox").offset as u64;
        let file = File::options().read(true).write(true).open(path);
        Self {
            file: file.expect("a segment can be written"),
            at,
        }
    }

    /// Leaves a command that never expires in a slot.
    pub fn post(&self, slot: usize, sequence: u64, verb: Verb, words: &[u64]) {
        self.post_until(slot, sequence, verb, words, NEVER_MS);
    }

    /// The same with a last moment.
    pub fn post_until(&self, slot: usize, sequence: u64, verb: Verb, words: &[u64], end_ms: u64) {
        let mut arguments = [0; ARGUMENTS];
        arguments[..words.len()].copy_from_slice(words);
        let state = |phase| MailState { phase, sequence }.pack();
        let verb = (verb as u64) << 48;
        self.put(slot, offset_of!(MailSlot, state), state(Phase::Free));
        self.put(slot, offset_of!(MailSlot, verb), verb);
        for (at, word) in arguments.iter().enumerate() {
            self.put(slot, offset_of!(MailSlot, arguments) + 8 * at, *word);
        }
        let sum = check(sequence, verb, end_ms, &arguments);
        self.put(slot, offset_of!(MailSlot, check), sum);
        self.put(slot, offset_of!(MailSlot, expires_ms), end_ms);
        self.put(slot, offset_of!(MailSlot, state), state(Phase::Ready));
        self.ring();
    }

    /// Leaves a command whose words are not those that its check is over.
    pub fn post_torn(&self, slot: usize, sequence: u64, verb: Verb, words: &[u64]) {
        let state = |phase| MailState { phase, sequence }.pack();
        self.post(slot, sequence, verb, &[u64::MAX]);
        self.put(slot, offset_of!(MailSlot, state), state(Phase::Free));
        for (at, word) in words.iter().enumerate() {
            self.put(slot, offset_of!(MailSlot, arguments) + 8 * at, *word);
        }
        self.put(slot, offset_of!(MailSlot, state), state(Phase::Ready));
        self.ring();
    }

    /// Says that there is mail.
    pub fn ring(&self) {
        let at = offset_of!(Header, mail) as u64;
        let written = self.file.write_all_at(&mail::ALL.to_le_bytes(), at);
        written.expect("a segment can be written");
    }

    /// Wishes for a mode, as `memguard mode` does.
    pub fn wish(&self, mode: Mode, sequence: u64) {
        let at = offset_of!(Header, wanted_mode) as u64;
        let wanted = u64::from(mode as u8) << 56 | sequence;
        let written = self.file.write_all_at(&wanted.to_le_bytes(), at);
        written.expect("a segment can be written");
    }

    /// Writes these bytes over all slots.
    pub fn scribble(&self, bytes: &[u8]) {
        let room = SLOTS * size_of::<MailSlot>();
        let written = self.file.write_all_at(&bytes[..room], self.at);
        written.expect("a segment can be written");
        self.ring();
    }

    /// The state of a slot.
    pub fn state(&self, slot: usize) -> Option<MailState> {
        MailState::unpack(self.get(slot, offset_of!(MailSlot, state)))
    }

    /// Waits for the answer to a command.
    #[track_caller]
    pub fn answer(&self, slot: usize, sequence: u64) -> Answer {
        let begun = Instant::now();
        let phase = Phase::Done;
        while self.state(slot) != Some(MailState { phase, sequence }) {
            let state = self.state(slot);
            assert!(begun.elapsed() < Duration::from_secs(30), "{state:?}");
            sleep(Duration::from_millis(1));
        }
        let result = unpack_result(self.get(slot, offset_of!(MailSlot, result)));
        result.expect("an answer has a known code").0
    }

    /// An argument of a slot.
    pub fn argument(&self, slot: usize, at: usize) -> u64 {
        self.get(slot, offset_of!(MailSlot, arguments) + 8 * at)
    }

    fn put(&self, slot: usize, field: usize, value: u64) {
        let at = self.at + (slot * size_of::<MailSlot>() + field) as u64;
        let written = self.file.write_all_at(&value.to_le_bytes(), at);
        written.expect("a segment can be written");
    }

    fn get(&self, slot: usize, field: usize) -> u64 {
        let mut word = [0; 8];
        let at = self.at + (slot * size_of::<MailSlot>() + field) as u64;
        let read = self.file.read_exact_at(&mut word, at);
        read.expect("a segment can be read");
        u64::from_le_bytes(word)
    }
}

/// What a command says of a descriptor: number, generation, origin, device,
/// inode; none when it is not open by both accounts.
pub fn words_of(pid: u32, folder: &std::path::Path, fd: i32) -> Option<[u64; 5]> {
    let rows = Record::of(pid, folder).view().descriptors();
    let row = rows.iter().find(|row| row.fd as i32 == fd)?;
    let meta = std::fs::metadata(format!("/proc/{pid}/fd/{fd}")).ok()?;
    Some([
        fd as u64,
        row.info.generation.into(),
        row.info.origin.pack(),
        meta.dev(),
        meta.ino(),
    ])
}
