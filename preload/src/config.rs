//! The `MEMGUARD_*` variables, read once when the library starts.
//!
//! Forked children go by what their parent read. A value that makes no sense
//! is reported in one line on standard error and its default is used.

use crate::sys;
use crate::text::{Text, leading_number};
use core::ffi::CStr;
use core::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed,
};
use shm_protocol::codes::{Policy, note};

/// Where segments live unless MEMGUARD_DIR says otherwise.
const DEFAULT_DIR: &[u8] = b"/dev/shm/memguard";
/// Mean bytes between samples in light mode.
const DEFAULT_SAMPLE_BYTES: u64 = 512 * 1024;
const BILLION: u64 = 1_000_000_000;

/// When the segment of an ended process stays.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Keep {
    Never = 0,
    Always = 1,
    OnFindings = 2,
}

static DISABLED: AtomicBool = AtomicBool::new(false);
static POLICY: AtomicU32 = AtomicU32::new(Policy::Light as u32);
static KEEP: AtomicU32 = AtomicU32::new(Keep::Never as u32);
static SAMPLE_BYTES: AtomicU64 = AtomicU64::new(DEFAULT_SAMPLE_BYTES);
static LIGHT_RATE_PPB: AtomicU64 = AtomicU64::new(0);
static DEEP_RATE_PPB: AtomicU64 = AtomicU64::new(0);
static RUN_ID: AtomicU64 = AtomicU64::new(0);
static NOTES: AtomicU64 = AtomicU64::new(0);
static DIR_BYTES: AtomicU64 = AtomicU64::new(0);
static DIR_AT: AtomicU64 = AtomicU64::new(0);

pub fn disabled() -> bool {
    DISABLED.load(Relaxed)
}

pub fn policy() -> Policy {
    Policy::from_number(POLICY.load(Relaxed) as u8).unwrap_or(Policy::Light)
}

pub fn keep() -> Keep {
    match KEEP.load(Relaxed) {
        1 => Keep::Always,
        2 => Keep::OnFindings,
        _ => Keep::Never,
    }
}

pub fn sample_bytes() -> u64 {
    SAMPLE_BYTES.load(Relaxed)
}

/// Fraction of allocations to sample in light mode, 0 for byte sampling.
pub fn light_rate_ppb() -> u32 {
    LIGHT_RATE_PPB.load(Relaxed) as u32
}

/// Fraction of allocations to sample in deep mode, 0 for all.
pub fn deep_rate_ppb() -> u32 {
    DEEP_RATE_PPB.load(Relaxed) as u32
}

pub fn run_id() -> u64 {
    RUN_ID.load(Relaxed)
}

/// `note` bits that the variables gave rise to.
pub fn notes() -> u64 {
    NOTES.load(Relaxed)
}

/// The folder that holds one folder per user.
pub fn dir() -> &'static [u8] {
    let (at, bytes) = (DIR_AT.load(Relaxed), DIR_BYTES.load(Relaxed));
    if bytes == 0 {
        return DEFAULT_DIR;
    }
    // SAFETY: set once in `read` to a copy that is never freed.
    unsafe { core::slice::from_raw_parts(at as *const u8, bytes as usize) }
}

/// Bytes kept of the variables.
pub const SETTINGS: usize = 2048;
#[unsafe(link_section = ".bss.memguard_tables")]
static KEPT: [AtomicU8; SETTINGS] = [const { AtomicU8::new(0) }; SETTINGS];
static KEPT_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The variables as they were at start, `NAME=value` each ended by 0.
///
/// A copy: by the time that a child wants them, the program may have changed
/// its environment or let go of it.
pub fn settings() -> &'static [AtomicU8] {
    &KEPT[..KEPT_BYTES.load(Relaxed).min(SETTINGS)]
}

fn remember(name: &[u8], value: &[u8]) {
    let from = KEPT_BYTES.load(Relaxed);
    let bytes = name.len() + value.len() + 2;
    let line = name.iter().chain(b"=").chain(value).chain(b"\0");
    if let Some(places) = KEPT.get(from..from + bytes) {
        places
            .iter()
            .zip(line)
            .for_each(|(place, byte)| place.store(*byte, Relaxed));
        KEPT_BYTES.store(from + bytes, Relaxed);
    }
}

/// Calls `each` with every variable that starts with `MEMGUARD_`.
fn for_each_variable(envp: *const *const libc::c_char, mut each: impl FnMut(&[u8], &[u8])) {
    if envp.is_null() {
        return;
    }
    for i in 0.. {
        // SAFETY: envp is an array of strings that a null ends.
        let entry = unsafe { *envp.add(i) };
        if entry.is_null() {
            return;
        }
        // SAFETY: as above.
        let text = unsafe { CStr::from_ptr(entry) }.to_bytes();
        if !text.starts_with(b"MEMGUARD_") {
            continue;
        }
        if let Some(equals) = text.iter().position(|byte| *byte == b'=') {
            each(&text[..equals], &text[equals + 1..]);
        }
    }
}

/// Reads the variables. Only from the constructor.
pub fn read(envp: *const *const libc::c_char) {
    // SAFETY: getauxval only reads the auxiliary vector.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        // Set-uid: whoever started it must not tell it where to write.
        DISABLED.store(true, Relaxed);
        return;
    }
    for_each_variable(envp, |name, value| {
        remember(name, value);
        if set(name, value).is_none() {
            complain(name, value);
        }
    });
}

fn set(name: &[u8], value: &[u8]) -> Option<()> {
    match name {
        b"MEMGUARD_DISABLE" => DISABLED.store(flag(value)?, Relaxed),
        b"MEMGUARD_MONITORING_MODE" => POLICY.store(mode(value)? as u32, Relaxed),
        b"MEMGUARD_SAMPLE_BYTES" => SAMPLE_BYTES.store(sample_mean(value)?, Relaxed),
        b"MEMGUARD_LIGHT_SAMPLE_RATE" => LIGHT_RATE_PPB.store(rate_ppb(value)?, Relaxed),
        b"MEMGUARD_DEEP_SAMPLE_RATE" => DEEP_RATE_PPB.store(rate_ppb(value)?, Relaxed),
        b"MEMGUARD_KEEP" => KEEP.store(keep_value(value)? as u32, Relaxed),
        b"MEMGUARD_RUN_ID" => RUN_ID.store(whole(value)?, Relaxed),
        b"MEMGUARD_DIR" => set_dir(value)?,
        _ => {}
    }
    Some(())
}

fn complain(name: &[u8], value: &[u8]) {
    NOTES.fetch_or(note::BAD_VARIABLE, Relaxed);
    let expected: &[u8] = match name {
        b"MEMGUARD_DISABLE" => b"0 or 1",
        b"MEMGUARD_MONITORING_MODE" => b"light, deep, hybrid or off",
        b"MEMGUARD_SAMPLE_BYTES" => b"bytes between 4096 and 1073741824",
        b"MEMGUARD_KEEP" => b"never, always or on-findings",
        b"MEMGUARD_DIR" => b"an absolute path of at most 200 bytes",
        b"MEMGUARD_RUN_ID" => b"a whole number",
        _ => b"a fraction between 0.000001 and 1",
    };
    let mut line = Text::new();
    line.push(b"memguard: ").push(name).push(b"=");
    // What came from elsewhere steers no terminal.
    for byte in value.iter().take(64) {
        let plain = byte.is_ascii_graphic() || *byte == b' ';
        line.push(&[if plain { *byte } else { b'?' }]);
    }
    line.push(b" is not ")
        .push(expected)
        .push(b"; using the default\n");
    sys::write(2, line.bytes());
}

fn flag(value: &[u8]) -> Option<bool> {
    match value {
        b"1" | b"true" | b"yes" | b"on" => Some(true),
        b"" | b"0" | b"false" | b"no" | b"off" => Some(false),
        _ => None,
    }
}

fn mode(value: &[u8]) -> Option<Policy> {
    match value {
        b"light" => Some(Policy::Light),
        b"deep" => Some(Policy::Deep),
        b"hybrid" => Some(Policy::Hybrid),
        b"off" => Some(Policy::Off),
        _ => None,
    }
}

fn keep_value(value: &[u8]) -> Option<Keep> {
    match value {
        b"never" | b"0" | b"" => Some(Keep::Never),
        b"always" | b"1" => Some(Keep::Always),
        b"on-findings" => Some(Keep::OnFindings),
        _ => None,
    }
}

fn whole(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit);
    leading_number(value).filter(|_| digits)
}

fn sample_mean(value: &[u8]) -> Option<u64> {
    whole(value).filter(|mean| (4096..=1 << 30).contains(mean))
}

/// A fraction in (0, 1] in thousand-millionths: "0.01", ".5", "1", "1.0".
fn rate_ppb(value: &[u8]) -> Option<u64> {
    let (units, decimals) = match value.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &b""[..]),
    };
    let all_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    if units.len() + decimals.len() == 0 || !all_digits(units) || !all_digits(decimals) {
        return None;
    }
    let units = leading_number(units).unwrap_or(0);
    let mut fraction = 0;
    for place in 0..9 {
        let digit = decimals.get(place).map_or(0, |byte| byte - b'0');
        fraction = fraction * 10 + u64::from(digit);
    }
    let ppb = units.checked_mul(BILLION)?.checked_add(fraction)?;
    (1000..=BILLION).contains(&ppb).then_some(ppb)
}

/// Keeps a copy of the folder's path.
fn set_dir(value: &[u8]) -> Option<()> {
    if value.is_empty() {
        return Some(());
    }
    let trimmed = value.strip_suffix(b"/").unwrap_or(value);
    if trimmed.first() != Some(&b'/') || trimmed.len() > 200 {
        return None;
    }
    let copy = sys::map_private(4096)?;
    // SAFETY: a fresh page of our own; the path is shorter than it.
    unsafe { copy.copy_from_nonoverlapping(trimmed.as_ptr(), trimmed.len()) };
    DIR_AT.store(copy as u64, Relaxed);
    DIR_BYTES.store(trimmed.len() as u64, Relaxed);
    Some(())
}
