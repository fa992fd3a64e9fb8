//! dlopen and dlclose: addresses may mean something else afterwards.
//!
//! dlopen looks at its caller (for its search path), so it must be reached by
//! a jump, not by a call of ours. The generation is bumped before; stacks
//! taken meanwhile ask libc afresh anyway, and what they learn is right.

use crate::interpose::{pop, push, stub_asm};
use core::ffi::{c_char, c_int, c_long, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};

static NEXT_DLOPEN: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static NEXT_DLMOPEN: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// Leaves the argument registers alone and tail-jumps to the original.
macro_rules! passes_by {
    ($name:ident, $next:ident, $before:path) => {
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name() {
            stub_asm!([
                push!("rdi"),
                push!("rsi"),
                push!("rdx"),
                "call {before}",
                pop!("rdx"),
                pop!("rsi"),
                pop!("rdi"),
                "jmp qword ptr [rip + {next}]",
            ] before = sym $before, next = sym $next)
        }
    };
}

passes_by!(dlopen, NEXT_DLOPEN, before_load);
passes_by!(dlmopen, NEXT_DLMOPEN, before_load_apart);

extern "C" fn before_load_apart(_space: c_long, path: *const c_char) {
    before_load(path);
}

extern "C" fn before_load(path: *const c_char) {
    crate::retire::named(path);
    if NEXT_DLOPEN.load(Ordering::Relaxed).is_null() {
        real::resolve_all();
    }
    crate::modules::changed();
}

/// Unloading: rows of modules that went are marked, so that a later one at
/// the same place is not taken for them.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn dlclose(handle: *mut c_void) -> c_int {
    crate::modules::changed();
    let status = match real::dlclose::get() {
        // SAFETY: the original, the caller's handle.
        Some(close) => unsafe { close(handle) },
        None => return super::missing(),
    };
    crate::modules::changed();
    if let Some(segment) = crate::live::segment() {
        crate::modules::mark_unloaded(segment);
    }
    status
}

pub mod real {
    //! Their originals.
    use super::*;

    mod table {
        use super::*;
        crate::interpose::originals! {
            dlclose: c"dlclose", unsafe extern "C-unwind" fn(*mut c_void) -> c_int;
        }
    }
    pub use table::dlclose;

    /// Finds them.
    pub fn resolve_all() {
        table::resolve_all();
        NEXT_DLOPEN.store(crate::boot::next(c"dlopen"), Ordering::Relaxed);
        NEXT_DLMOPEN.store(crate::boot::next(c"dlmopen"), Ordering::Relaxed);
    }
}
