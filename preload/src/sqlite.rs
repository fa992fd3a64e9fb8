//! sqlite: pages of all connections that it can read again.
//!
//! `sqlite3_release_memory` does nothing unless sqlite was built for it, which
//! the library is asked for. Debian's is not: there a connection gives its
//! pages back only by itself (`PRAGMA shrink_memory`).

use core::ffi::{CStr, c_char, c_int, c_void};

/// sqlite's own library, for whoever loaded it without showing its symbols.
const LIBRARY: &CStr = c"libsqlite3.so.0";

type Used = unsafe extern "C" fn(*const c_char) -> c_int;
type Release = unsafe extern "C" fn(c_int) -> c_int;

/// A function of sqlite as it is loaded already, null when it is not.
fn symbol(name: &CStr) -> *mut c_void {
    let seen = crate::allocators::symbol(name);
    if !seen.is_null() {
        return seen;
    }
    let only_if_loaded = libc::RTLD_LAZY | libc::RTLD_NOLOAD;
    // SAFETY: dlopen(3) of what is loaded only counts a reference, given back
    // below.
    unsafe {
        let library = libc::dlopen(LIBRARY.as_ptr(), only_if_loaded);
        if library.is_null() {
            return library;
        }
        let found = libc::dlsym(library, name.as_ptr());
        libc::dlclose(library);
        found
    }
}

/// Has sqlite release what it can; the bytes. `None` when there is no sqlite
/// or it was not built for this.
pub fn release() -> Option<u64> {
    let (used, release) = (
        symbol(c"sqlite3_compileoption_used"),
        symbol(c"sqlite3_release_memory"),
    );
    if used.is_null() || release.is_null() {
        return None;
    }
    // SAFETY: sqlite's own functions by name; both may be called by any thread
    // at any time (sqlite.org/c3ref), and this thread is in none of sqlite's
    // functions.
    unsafe {
        let option = c"ENABLE_MEMORY_MANAGEMENT".as_ptr();
        if core::mem::transmute::<*mut c_void, Used>(used)(option) == 0 {
            return None;
        }
        let bytes = core::mem::transmute::<*mut c_void, Release>(release)(c_int::MAX);
        Some(bytes.max(0) as u64)
    }
}
