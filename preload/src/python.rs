//! CPython's garbage collector, by its own pending calls.
//!
//! `Py_AddPendingCall` may be called by any thread without the interpreter's
//! lock; the interpreter calls back on its main thread between two bytecodes,
//! with its lock held. Only there the collector runs. A program that has
//! switched the collector off meant it: then nothing is done.

use crate::{clock, live};
use core::ffi::{CStr, c_int, c_void};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use shm_protocol::mailbox::{Answer, GIVEN, MailSlot, pack_result};

type PendingCall = unsafe extern "C" fn(*mut c_void) -> c_int;
type Add = unsafe extern "C" fn(PendingCall, *mut c_void) -> c_int;
type Ask = unsafe extern "C" fn() -> c_int;
type Collect = unsafe extern "C" fn() -> isize;

/// The command that waits for the interpreter, null for none.
static SLOT: AtomicPtr<MailSlot> = AtomicPtr::new(core::ptr::null_mut());
static SEQUENCE: AtomicU64 = AtomicU64::new(0);
static EXPIRES_MS: AtomicU64 = AtomicU64::new(0);
/// Segment that the slot is in: a forked child has the call too, not the slot.
static EPOCH: AtomicU32 = AtomicU32::new(0);
static IS_ENABLED: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static COLLECT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

fn symbol(name: &CStr) -> Option<*mut c_void> {
    let found = crate::allocators::symbol(name);
    (!found.is_null()).then_some(found)
}

/// Asks the interpreter to collect; the answer to the command comes when it
/// has. Under the mailbox's guard.
pub fn ask(slot: &'static MailSlot, sequence: u64) -> Result<(), (Answer, u64)> {
    let absent = (Answer::Gone, 0);
    let initialized = symbol(c"Py_IsInitialized").ok_or(absent)?;
    let add = symbol(c"Py_AddPendingCall").ok_or(absent)?;
    COLLECT.store(symbol(c"PyGC_Collect").ok_or(absent)?, Ordering::Relaxed);
    // From 3.10 on. Before, PyGC_Collect itself does nothing when it is off.
    let enabled = symbol(c"PyGC_IsEnabled").unwrap_or(core::ptr::null_mut());
    IS_ENABLED.store(enabled, Ordering::Relaxed);
    // SAFETY: CPython's own functions by name; both need no lock of its.
    unsafe {
        if core::mem::transmute::<*mut c_void, Ask>(initialized)() == 0 {
            return Err((Answer::NotNow, 0));
        }
        SEQUENCE.store(sequence, Ordering::Relaxed);
        EXPIRES_MS.store(slot.expires_ms.load(Ordering::Relaxed), Ordering::Relaxed);
        EPOCH.store(live::epoch(), Ordering::Relaxed);
        SLOT.store((&raw const *slot).cast_mut(), Ordering::Release);
        let add = core::mem::transmute::<*mut c_void, Add>(add);
        if add(collect, core::ptr::null_mut()) != 0 {
            SLOT.store(core::ptr::null_mut(), Ordering::Relaxed);
            return Err((Answer::Failed, libc::EAGAIN as u64));
        }
    }
    Ok(())
}

/// Called by the interpreter. What was asked for last is what is answered, so
/// that a call which comes late finds nothing to do.
unsafe extern "C" fn collect(_: *mut c_void) -> c_int {
    let slot = SLOT.swap(core::ptr::null_mut(), Ordering::AcqRel);
    let ours = EPOCH.load(Ordering::Relaxed) == live::epoch() && live::segment().is_some();
    if slot.is_null() || !ours {
        return 0;
    }
    // SAFETY: a slot of this process's segment, which is never unmapped.
    let slot = unsafe { &*slot };
    let sequence = SEQUENCE.load(Ordering::Relaxed);
    let late = clock::now_ms() > EXPIRES_MS.load(Ordering::Relaxed);
    let answer = if late || !is_enabled() {
        Answer::NotNow
    } else {
        collect_now(slot);
        Answer::Done
    };
    slot.finish(sequence, pack_result(answer, 0), clock::now_ms());
    0
}

fn is_enabled() -> bool {
    let ask = IS_ENABLED.load(Ordering::Relaxed);
    // SAFETY: PyGC_IsEnabled, called by the interpreter with its lock held.
    ask.is_null() || unsafe { core::mem::transmute::<*mut c_void, Ask>(ask)() } != 0
}

fn collect_now(slot: &MailSlot) {
    let collect = COLLECT.load(Ordering::Relaxed);
    let begun_ns = clock::fine_ns();
    // SAFETY: PyGC_Collect, called by the interpreter with its lock held.
    let freed = unsafe { core::mem::transmute::<*mut c_void, Collect>(collect)() };
    let took_ns = clock::fine_ns().saturating_sub(begun_ns);
    let words = [0, took_ns, freed.max(0) as u64];
    for (place, word) in slot.arguments[GIVEN..].iter().zip(words) {
        place.store(word, Ordering::Relaxed);
    }
}
