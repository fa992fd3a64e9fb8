//! Which allocator serves malloc, and how it is asked to give back what is
//! free.
//!
//! Found out once, from the constructor. Each is asked by its own documented
//! function, which takes its locks: only at a quiet moment ([`crate::quiet`]).

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use shm_protocol::codes::Allocator;

static CODE: AtomicU32 = AtomicU32::new(0);
static GIVE_BACK: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// The allocators beside glibc's, and the function that tells each.
const OTHERS: [(Allocator, &CStr); 4] = [
    (Allocator::Jemalloc, c"mallctl"),
    (Allocator::Jemalloc, c"je_mallctl"),
    (Allocator::Tcmalloc, c"MallocExtension_ReleaseFreeMemory"),
    (Allocator::Mimalloc, c"mi_collect"),
];

type Trim = unsafe extern "C" fn(usize) -> c_int;
type Control =
    unsafe extern "C" fn(*const c_char, *mut c_void, *mut usize, *mut c_void, usize) -> c_int;
type Release = unsafe extern "C" fn();
type Collect = unsafe extern "C" fn(bool);

/// The first function of that name, null when there is none.
pub fn symbol(name: &CStr) -> *mut c_void {
    // SAFETY: dlsym with a valid name.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

/// Finds the allocator that `malloc` belongs to. From the constructor.
pub fn find(
    malloc: *mut c_void,
    libc: *mut c_void,
    same_object: fn(*mut c_void, *mut c_void) -> bool,
) {
    let (code, function) = if same_object(malloc, libc) {
        (Allocator::Glibc, crate::boot::next(c"malloc_trim"))
    } else {
        let mut all = OTHERS.iter().map(|(code, name)| (*code, symbol(name)));
        let found = all.find(|(_, function)| same_object(*function, malloc));
        found.unwrap_or((Allocator::Other, core::ptr::null_mut()))
    };
    GIVE_BACK.store(function, Ordering::Relaxed);
    CODE.store(code as u32, Ordering::Relaxed);
}

/// Who serves malloc, 0 while that is not known.
pub fn code() -> u32 {
    CODE.load(Ordering::Relaxed)
}

/// Has the allocator give back what is free; what it says of that. `None` when
/// it cannot be asked, an error number when it refused.
pub fn give_back() -> Option<Result<u64, i32>> {
    let function = GIVE_BACK.load(Ordering::Relaxed);
    let code = Allocator::from_number(code()).filter(|_| !function.is_null())?;
    // SAFETY: the allocator's own function, found by its name in the object
    // that malloc is in; its type is its manual's.
    unsafe {
        match code {
            Allocator::Glibc => {
                let trim = core::mem::transmute::<*mut c_void, Trim>(function);
                Some(Ok(trim(0) as u64))
            }
            Allocator::Jemalloc => {
                let control = core::mem::transmute::<*mut c_void, Control>(function);
                Some(purge_jemalloc(|name| do_it(control, name)))
            }
            Allocator::Tcmalloc => {
                core::mem::transmute::<*mut c_void, Release>(function)();
                Some(Ok(1))
            }
            Allocator::Mimalloc => {
                core::mem::transmute::<*mut c_void, Collect>(function)(true);
                Some(Ok(1))
            }
            Allocator::Other => None,
        }
    }
}

/// jemalloc 5 has a number for "all arenas", 4096; this thread's cache goes
/// back to its arena before.
fn purge_jemalloc(do_it: impl Fn(&CStr) -> c_int) -> Result<u64, i32> {
    do_it(c"thread.tcache.flush");
    match do_it(c"arena.4096.purge") {
        0 => Ok(1),
        error => Err(error),
    }
}

/// # Safety
/// `control` is jemalloc's mallctl.
unsafe fn do_it(control: Control, name: &CStr) -> c_int {
    let nothing = core::ptr::null_mut();
    // SAFETY: the caller's promise; these names neither read nor write.
    unsafe { control(name.as_ptr(), nothing, core::ptr::null_mut(), nothing, 0) }
}
