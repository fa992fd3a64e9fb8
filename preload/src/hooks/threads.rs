//! pthread_create: a new thread learns where its stack is.

use crate::{tls, unwind};
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicU32, Ordering};

type Start = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// Threads that can be between pthread_create and their first instruction.
const STARTING: usize = 256;

/// What a new thread is to run. Ours, since the program's heap is not.
struct Errand {
    taken: AtomicU32,
    what: UnsafeCell<(Option<Start>, *mut c_void, usize)>,
}

// SAFETY: `what` is touched by the creator between taking the errand and
// pthread_create, then by the one thread that it was handed to.
unsafe impl Sync for Errand {}

static ERRANDS: [Errand; STARTING] = [const {
    Errand {
        taken: AtomicU32::new(0),
        what: UnsafeCell::new((None, core::ptr::null_mut(), 0)),
    }
}; STARTING];
static HINT: AtomicU32 = AtomicU32::new(0);

pub mod real {
    //! Its original.
    use super::*;

    crate::interpose::originals! {
        pthread_create: c"pthread_create", unsafe extern "C" fn(*mut libc::pthread_t, *const libc::pthread_attr_t, Start, *mut c_void) -> c_int;
        pthread_getattr_default_np: c"pthread_getattr_default_np", unsafe extern "C" fn(*mut libc::pthread_attr_t) -> c_int;
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

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    let Some(real) = real::pthread_create::get() else {
        return libc::ENOSYS;
    };
    let size = stack_size(attributes);
    let Some(errand) = take_errand().filter(|_| size != 0) else {
        // SAFETY: the original, the caller's arguments.
        return unsafe { real(thread, attributes, start, argument) };
    };
    // SAFETY: taken by us alone.
    unsafe { *errand.what.get() = (Some(start), argument, size) };
    let parcel = (errand as *const Errand).cast_mut().cast();
    // SAFETY: the original; `begin` gives the errand back.
    let status = unsafe { real(thread, attributes, begin, parcel) };
    if status != 0 {
        errand.taken.store(0, Ordering::Release);
    }
    status
}

extern "C-unwind" fn begin(parcel: *mut c_void) -> *mut c_void {
    // SAFETY: what pthread_create above handed over.
    let errand = unsafe { &*parcel.cast::<Errand>() };
    // SAFETY: this thread is the one it was handed to.
    let (start, argument, size) = unsafe { *errand.what.get() };
    errand.taken.store(0, Ordering::Release);
    unwind::init_thread(size);
    tls::block().flags &= !tls::flag::MAIN;
    start.map_or(core::ptr::null_mut(), |start| start(argument))
}

/// Size of the stack that these attributes ask for, 0 when unknown.
fn stack_size(attributes: *const libc::pthread_attr_t) -> usize {
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
        let mut attributes: libc::pthread_attr_t = core::mem::zeroed();
        if default(&mut attributes) == 0 {
            libc::pthread_attr_getstacksize(&attributes, &mut size);
            libc::pthread_attr_destroy(&mut attributes);
        }
    }
    size
}
