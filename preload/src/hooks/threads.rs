//! Threads: a new one learns where its stack is, and one that should be joined
//! leaves a row at its end.
//!
//! Only at its end, since only then it waits to be joined. So a thread that is
//! joined or detached while it runs costs no row but, when another detaches
//! it, a notice.

use super::caller;
use crate::{live, things, tls, unwind};
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicU32, Ordering};
use libc::{pthread_attr_t, pthread_t, timespec};
use shm_protocol::codes::Kind;

type Start = extern "C-unwind" fn(*mut c_void) -> *mut c_void;
/// The same for threads.h: an int comes back.
type ShortStart = extern "C-unwind" fn(*mut c_void) -> c_int;

/// Threads that can be between pthread_create and their first instruction.
const STARTING: usize = 256;
/// thrd_error of threads.h.
const THRD_ERROR: c_int = 2;

/// What a new thread is to run. Ours, since the program's heap is not.
struct Errand {
    taken: AtomicU32,
    what: UnsafeCell<Job>,
}

/// A function, its argument, and what to know of the thread.
#[derive(Clone, Copy)]
struct Job {
    /// Null for none, else a [`Start`] or a [`ShortStart`].
    start: *mut c_void,
    argument: *mut c_void,
    stack_bytes: usize,
    /// See [`Mark`]; 0 for a thread that nobody need join.
    mark: usize,
}

const NOTHING: Job = Job {
    start: core::ptr::null_mut(),
    argument: core::ptr::null_mut(),
    stack_bytes: 0,
    mark: 0,
};

// SAFETY: `what` is touched by the creator between taking the errand and
// pthread_create, then by the one thread that it was handed to.
unsafe impl Sync for Errand {}

#[unsafe(link_section = ".bss.memguard_tables")]
static ERRANDS: [Errand; STARTING] = [const {
    Errand {
        taken: AtomicU32::new(0),
        what: UnsafeCell::new(NOTHING),
    }
}; STARTING];
static HINT: AtomicU32 = AtomicU32::new(0);
/// Key whose destructor tells of a thread's end, plus one.
static KEY: AtomicU32 = AtomicU32::new(0);

crate::interpose::stubs! {
    pthread_create(4) => pthread_create_hook;
    thrd_create(3) => thrd_create_hook;
}

pub mod real {
    //! Their originals.
    use super::*;
    type Results = *mut *mut c_void;

    crate::interpose::originals! {
        pthread_create: c"pthread_create", unsafe extern "C" fn(*mut pthread_t, *const pthread_attr_t, Start, *mut c_void) -> c_int;
        pthread_getattr_default_np: c"pthread_getattr_default_np", unsafe extern "C" fn(*mut pthread_attr_t) -> c_int;
        thrd_create: c"thrd_create", unsafe extern "C" fn(*mut pthread_t, ShortStart, *mut c_void) -> c_int;
        pthread_join: c"pthread_join", unsafe extern "C-unwind" fn(pthread_t, Results) -> c_int;
        pthread_tryjoin_np: c"pthread_tryjoin_np", unsafe extern "C-unwind" fn(pthread_t, Results) -> c_int;
        pthread_timedjoin_np: c"pthread_timedjoin_np", unsafe extern "C-unwind" fn(pthread_t, Results, *const timespec) -> c_int;
        pthread_clockjoin_np: c"pthread_clockjoin_np", unsafe extern "C-unwind" fn(pthread_t, Results, c_int, *const timespec) -> c_int;
        pthread_detach: c"pthread_detach", unsafe extern "C" fn(pthread_t) -> c_int;
        thrd_join: c"thrd_join", unsafe extern "C-unwind" fn(pthread_t, *mut c_int) -> c_int;
        thrd_detach: c"thrd_detach", unsafe extern "C" fn(pthread_t) -> c_int;
    }
}

/// Makes the key. From the constructor, so that its number is small and
/// setting it needs no memory.
pub fn init() {
    let mut key = 0;
    // SAFETY: an ordinary key; the destructor stays mapped (-z nodelete).
    if unsafe { libc::pthread_key_create(&mut key, Some(at_thread_end)) } == 0 && key < 32 {
        KEY.store(key + 1, Ordering::Relaxed);
    }
}

/// What a thread carries to its end in the key's value: a one, the creation
/// site (24 bits), the pages of its stack (32), the number of the segment that
/// the site is in (7).
struct Mark {
    site: u32,
    stack_pages: u64,
}

impl Mark {
    fn pack(&self) -> usize {
        let pages = (self.stack_pages & 0xFFFF_FFFF) as usize;
        1 | (self.site as usize) << 1 | pages << 25 | Mark::epoch() << 57
    }

    /// None for a thread that went through a fork: its site is the parent's.
    fn unpack(word: usize) -> Option<Mark> {
        (word >> 57 == Mark::epoch()).then_some(Mark {
            site: (word >> 1) as u32 & 0xFF_FFFF,
            stack_pages: (word >> 25) as u64 & 0xFFFF_FFFF,
        })
    }

    fn epoch() -> usize {
        live::epoch() as usize & 0x7F
    }
}

/// Takes a free errand, beginning at a place that moves on.
fn take_errand() -> Option<&'static Errand> {
    let start = HINT.fetch_add(1, Ordering::Relaxed) as usize;
    (0..STARTING)
        .map(|i| &ERRANDS[(start + i) % STARTING])
        .find(|errand| {
            errand.taken.load(Ordering::Relaxed) == 0
                && errand
                    .taken
                    .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
        })
}

/// Has `create` start a thread that runs `job` through an errand; none when
/// there is none to be had.
fn through_errand(job: Job, create: impl FnOnce(*mut c_void) -> c_int) -> Option<c_int> {
    let errand = take_errand().filter(|_| job.stack_bytes != 0)?;
    // SAFETY: taken by us alone.
    unsafe { *errand.what.get() = job };
    let status = create((errand as *const Errand).cast_mut().cast());
    if status != 0 {
        errand.taken.store(0, Ordering::Release);
    }
    Some(status)
}

extern "C" fn pthread_create_hook(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    start: Start,
    argument: *mut c_void,
    sp: usize,
    bp: usize,
) -> c_int {
    let Some(real) = real::pthread_create::get() else {
        return libc::ENOSYS;
    };
    let stack_bytes = stack_size(attributes);
    let job = Job {
        start: start as *mut c_void,
        argument,
        stack_bytes,
        mark: mark(stack_bytes, detached(attributes), sp, bp),
    };
    // SAFETY: the original; `begin` gives the errand back.
    let ours = through_errand(job, |parcel| unsafe {
        real(thread, attributes, begin, parcel)
    });
    // SAFETY: the original, the caller's arguments.
    ours.unwrap_or_else(|| unsafe { real(thread, attributes, start, argument) })
}

/// C11's own.
extern "C" fn thrd_create_hook(
    thread: *mut pthread_t,
    start: ShortStart,
    argument: *mut c_void,
    sp: usize,
    bp: usize,
) -> c_int {
    let Some(real) = real::thrd_create::get() else {
        return THRD_ERROR;
    };
    let stack_bytes = stack_size(core::ptr::null());
    let job = Job {
        start: start as *mut c_void,
        argument,
        stack_bytes,
        mark: mark(stack_bytes, false, sp, bp),
    };
    // SAFETY: the original; `begin_short` gives the errand back.
    let ours = through_errand(job, |parcel| unsafe { real(thread, begin_short, parcel) });
    // SAFETY: the original, the caller's arguments.
    ours.unwrap_or_else(|| unsafe { real(thread, start, argument) })
}

/// The mark of a thread to be made.
fn mark(stack_bytes: usize, detached: bool, sp: usize, bp: usize) -> usize {
    if detached || KEY.load(Ordering::Relaxed) == 0 {
        return 0;
    }
    let stack_pages = stack_bytes as u64 >> 12;
    let site = things::thread_site(caller(sp, bp));
    site.map_or(0, |site| Mark { site, stack_pages }.pack())
}

extern "C-unwind" fn begin(parcel: *mut c_void) -> *mut c_void {
    let job = unpack_parcel(parcel);
    // SAFETY: what pthread_create was given, or null.
    let start = unsafe { core::mem::transmute::<*mut c_void, Option<Start>>(job.start) };
    start.map_or(core::ptr::null_mut(), |start| start(job.argument))
}

extern "C-unwind" fn begin_short(parcel: *mut c_void) -> c_int {
    let job = unpack_parcel(parcel);
    // SAFETY: what thrd_create was given, or null.
    let start = unsafe { core::mem::transmute::<*mut c_void, Option<ShortStart>>(job.start) };
    start.map_or(0, |start| start(job.argument))
}

/// Takes the job and readies this thread.
fn unpack_parcel(parcel: *mut c_void) -> Job {
    // SAFETY: what `through_errand` handed over.
    let errand = unsafe { &*parcel.cast::<Errand>() };
    // SAFETY: this thread is the one it was handed to.
    let job = unsafe { *errand.what.get() };
    errand.taken.store(0, Ordering::Release);
    unwind::init_thread(job.stack_bytes);
    tls::block().flags &= !tls::flag::MAIN;
    if let Some(key) = KEY.load(Ordering::Relaxed).checked_sub(1) {
        // SAFETY: the key exists; small keys need no allocation.
        unsafe { libc::pthread_setspecific(key, job.mark as *const c_void) };
    }
    job
}

/// However the thread ends: its function returned, pthread_exit, cancelled.
unsafe extern "C" fn at_thread_end(mark: *mut c_void) {
    if let Some(mark) = Mark::unpack(mark as usize) {
        // SAFETY: has no preconditions.
        let thread = unsafe { libc::pthread_self() };
        things::thread_ended(thread, mark.site, mark.stack_pages);
    }
}

/// A join, by whichever call: an ended thread's row goes before it, since the
/// thread's number may be given out again; one that still runs has its row at
/// its end, before the call returns.
fn join(thread: pthread_t, call: impl FnOnce() -> c_int) -> c_int {
    let ended = things::died(Kind::Thread, thread);
    let status = call();
    match (status, ended) {
        (0, None) => {
            things::died(Kind::Thread, thread);
        }
        (0, _) | (_, None) => {}
        (_, Some(row)) => things::back(Kind::Thread, thread, &row),
    }
    status
}

/// A detach, by whichever call.
fn detach(thread: pthread_t, call: impl FnOnce() -> c_int) -> c_int {
    let ended = things::thread_detached(thread);
    let status = call();
    if status != 0 {
        things::thread_not_detached(thread, ended.as_ref());
    }
    status
}

macro_rules! ends {
    ($($how:ident $name:ident($thread:ident: $first:ty $(, $arg:ident: $type:ty)*), $missing:expr;)*) => {
        $(
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $name($thread: $first $(, $arg: $type)*) -> c_int {
                let Some(real) = real::$name::get() else {
                    return $missing;
                };
                // SAFETY: the original, the caller's arguments.
                $how($thread, || unsafe { real($thread $(, $arg)*) })
            }
        )*
    };
}

ends! {
    join pthread_join(thread: pthread_t, result: *mut *mut c_void), libc::ENOSYS;
    join pthread_tryjoin_np(thread: pthread_t, result: *mut *mut c_void), libc::ENOSYS;
    join pthread_timedjoin_np(thread: pthread_t, result: *mut *mut c_void, until: *const timespec), libc::ENOSYS;
    join pthread_clockjoin_np(thread: pthread_t, result: *mut *mut c_void, clock: c_int, until: *const timespec), libc::ENOSYS;
    join thrd_join(thread: pthread_t, result: *mut c_int), THRD_ERROR;
    detach pthread_detach(thread: pthread_t), libc::ENOSYS;
    detach thrd_detach(thread: pthread_t), THRD_ERROR;
}

unsafe extern "C" {
    fn pthread_attr_getdetachstate(attributes: *const pthread_attr_t, state: *mut c_int) -> c_int;
}

/// Whether these attributes ask for a thread that nobody joins.
fn detached(attributes: *const pthread_attr_t) -> bool {
    let mut state = 0;
    // SAFETY: the caller's attributes; only read.
    !attributes.is_null()
        && unsafe { pthread_attr_getdetachstate(attributes, &mut state) } == 0
        && state == libc::PTHREAD_CREATE_DETACHED
}

/// Size of the stack that these attributes ask for, 0 when unknown.
fn stack_size(attributes: *const pthread_attr_t) -> usize {
    let mut size = 0;
    if !attributes.is_null() {
        // SAFETY: the caller's attributes; only read.
        let status = unsafe { libc::pthread_attr_getstacksize(attributes, &mut size) };
        return if status == 0 { size } else { 0 };
    }
    let Some(default) = real::pthread_getattr_default_np::get() else {
        return 0;
    };
    // SAFETY: all-zero attributes are filled in and then let go of.
    unsafe {
        let mut attributes: pthread_attr_t = core::mem::zeroed();
        if default(&mut attributes) == 0 {
            libc::pthread_attr_getstacksize(&attributes, &mut size);
            libc::pthread_attr_destroy(&mut attributes);
        }
    }
    size
}
