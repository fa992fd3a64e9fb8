//! What a thread needs to take stacks: rule cache, recent stacks, scratch.
//!
//! A state is claimed at a thread's first recorded event and given back at
//! its end, so threads may come and go by the thousand. States live in pages
//! of our own, never in the program's heap.

use crate::{live, sys, tls, unwind};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Threads that can have a state at once; others go without stacks.
const STATES: usize = 4096;
/// Beyond this many, states of threads that vanished are looked for.
const PROBE_FROM: usize = 64;

/// A thread's own working memory. Zeroed memory is a valid state.
///
/// In this order, so that a forked child writes to few pages of it.
#[repr(C)]
pub struct ThreadState {
    owner: AtomicU32,
    pub stacks: unwind::Stacks,
    pub rules: unwind::RuleCache,
    pub recent: crate::sites::Recent,
}

#[unsafe(link_section = ".bss.memguard_tables")]
static TABLE: [AtomicPtr<ThreadState>; STATES] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; STATES];
static COUNT: AtomicU32 = AtomicU32::new(0);
/// Key whose destructor gives the state back, plus one.
static KEY: AtomicU32 = AtomicU32::new(0);

impl ThreadState {
    fn forget_stacks(&mut self) {
        self.recent.forget();
        self.stacks.forget();
    }
}

/// Owner mark of a thread whose id we may not ask for.
const NAMELESS: u32 = u32::MAX;

/// Makes the key. From the constructor, so that its number is small and
/// setting it needs no memory.
pub fn init() {
    let mut key = 0;
    // SAFETY: an ordinary key; the destructor stays mapped (-z nodelete).
    if unsafe { libc::pthread_key_create(&mut key, Some(at_thread_end)) } == 0 && key < 32 {
        KEY.store(key + 1, Ordering::Relaxed);
    }
}

/// This thread's state, claimed if need be. Only under the guard.
pub fn state() -> Option<&'static mut ThreadState> {
    let block = tls::block();
    if block.state.is_null() {
        if live::in_vfork_child() {
            // It would stay with the parent's thread, under a dead owner.
            return None;
        }
        let state = claim()?;
        // SAFETY: just claimed. What it remembers is of another's stack,
        // which may be mapped no more.
        unsafe { (*state).forget_stacks() };
        block.state = state;
        remember_to_release(state);
    }
    // SAFETY: claimed by this thread; the guard keeps signal handlers out.
    unsafe { block.state.as_mut() }
}

/// Kernel id of this thread, 0 when it has no state yet.
pub fn id() -> u32 {
    let state = tls::block().state;
    // SAFETY: null or this thread's state.
    let owner = unsafe { state.as_ref() }.map_or(0, |state| state.owner.load(Ordering::Relaxed));
    if owner == NAMELESS { 0 } else { owner }
}

fn remember_to_release(state: *mut ThreadState) {
    if let Some(key) = KEY.load(Ordering::Relaxed).checked_sub(1) {
        // SAFETY: the key exists; small keys need no allocation.
        unsafe { libc::pthread_setspecific(key, state.cast()) };
    }
}

unsafe extern "C" fn at_thread_end(state: *mut libc::c_void) {
    tls::block().state = core::ptr::null_mut();
    // SAFETY: the value set above: a state from TABLE, never unmapped.
    unsafe { &*state.cast::<ThreadState>() }
        .owner
        .store(0, Ordering::Release);
}

fn claim() -> Option<*mut ThreadState> {
    let me = if live::frozen() {
        NAMELESS
    } else {
        sys::gettid()
    };
    let count = (COUNT.load(Ordering::Acquire) as usize).min(STATES);
    let free = TABLE
        .iter()
        .take(count)
        .find_map(|entry| take(entry, 0, me));
    let free = free.or_else(|| {
        if count >= PROBE_FROM {
            take_from_the_dead(count, me)
        } else {
            None
        }
    });
    free.or_else(|| add(me))
}

fn take(entry: &AtomicPtr<ThreadState>, from: u32, me: u32) -> Option<*mut ThreadState> {
    let at = entry.load(Ordering::Acquire);
    // SAFETY: null or a state that is never unmapped.
    let state = unsafe { at.as_ref() }?;
    let owner = &state.owner;
    let won = owner.load(Ordering::Relaxed) == from
        && owner
            .compare_exchange(from, me, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
    won.then_some(at)
}

/// A thread that ended without running key destructors left its state.
fn take_from_the_dead(count: usize, me: u32) -> Option<*mut ThreadState> {
    if live::frozen() {
        return None;
    }
    let pid = sys::getpid();
    let start = me as usize % count;
    (0..8).find_map(|i| {
        let entry = TABLE.get((start + i) % count)?;
        // SAFETY: null or a state that is never unmapped.
        let state = unsafe { entry.load(Ordering::Acquire).as_ref() }?;
        let owner = state.owner.load(Ordering::Relaxed);
        let dead = owner != 0 && owner != NAMELESS && !sys::thread_exists(pid, owner);
        if dead { take(entry, owner, me) } else { None }
    })
}

fn add(me: u32) -> Option<*mut ThreadState> {
    if live::frozen() || COUNT.load(Ordering::Relaxed) as usize >= STATES {
        return None;
    }
    let fresh = sys::map_private(size_of::<ThreadState>())?.cast::<ThreadState>();
    // SAFETY: fresh zeroed pages, valid as a state.
    unsafe { &*fresh }.owner.store(me, Ordering::Relaxed);
    let index = COUNT.fetch_add(1, Ordering::AcqRel) as usize;
    let Some(entry) = TABLE.get(index) else {
        COUNT.fetch_sub(1, Ordering::AcqRel);
        sys::unmap(fresh.cast(), size_of::<ThreadState>());
        return None;
    };
    entry.store(fresh, Ordering::Release);
    Some(fresh)
}

/// States for threads to come, made while memory may still be mapped: a
/// seccomp filter is about to forbid it.
pub fn set_some_aside() {
    const ASIDE: usize = 8;
    for _ in 0..ASIDE {
        add(0);
    }
}

/// In a forked child only the forking thread goes on: frees the others'
/// states, and takes this one's id anew.
pub fn forget_all_but_mine() {
    let mine = tls::block().state;
    let me = if live::frozen() {
        NAMELESS
    } else {
        sys::gettid()
    };
    let count = (COUNT.load(Ordering::Acquire) as usize).min(STATES);
    for entry in TABLE.iter().take(count) {
        let at = entry.load(Ordering::Acquire);
        // SAFETY: null or a state that is never unmapped.
        if let Some(state) = unsafe { at.as_ref() } {
            state
                .owner
                .store(if at == mine { me } else { 0 }, Ordering::Release);
        }
    }
}
