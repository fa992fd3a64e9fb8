//! The hooks, one family a file.
//!
//! A hook makes the real call, then hands what came of it to `descriptors` or
//! `blocks`; what frees an id is recorded before the call (the kernel may
//! give the id out again at once). Hooks of cancellation points are
//! "C-unwind", so that a cancelled thread can unwind through them, and keep
//! nothing with a destructor across the real call.

pub mod children;
pub mod events;
pub mod exec;
pub mod files;
pub mod heap;
pub mod listeners;
pub mod loader;
pub mod maps;
pub mod process;
pub mod sized;
pub mod sockets;
pub mod stdio;
pub mod syscall;
pub mod threads;
pub mod timers;
pub mod uses;

/// Finds all originals now, so that no hook looks one up later.
pub fn resolve_all() {
    children::real::resolve_all();
    exec::real::resolve_all();
    files::real::resolve_all();
    heap::real::resolve_all();
    listeners::real::resolve_all();
    loader::real::resolve_all();
    maps::real::resolve_all();
    process::real::resolve_all();
    sized::resolve_all();
    sockets::real::resolve_all();
    stdio::real::resolve_all();
    syscall::real::resolve_all();
    threads::real::resolve_all();
    uses::resolve_all();
    timers::real::resolve_all();
    events::resolve_all();
}

/// Sets errno to ENOSYS and returns -1: libc has no such function.
pub fn missing() -> i32 {
    // SAFETY: errno of this thread.
    unsafe { *libc::__errno_location() = libc::ENOSYS };
    -1
}

/// errno after a failed call.
pub fn errno() -> i32 {
    // SAFETY: errno of this thread.
    unsafe { *libc::__errno_location() }
}

/// A caller from the two words that a stub added.
pub fn caller(stack_pointer: usize, frame_pointer: usize) -> crate::unwind::Caller {
    crate::unwind::Caller {
        stack_pointer,
        frame_pointer,
    }
}

/// Calls an original or answers ENOSYS.
macro_rules! original {
    ($name:ident($($arg:expr),*)) => {
        match real::$name::get() {
            // SAFETY: the original of this very hook, the caller's arguments.
            Some(function) => unsafe { function($($arg),*) },
            None => return crate::hooks::missing(),
        }
    };
}

/// A hook that makes one descriptor: the real call, then its row.
macro_rules! makes {
    // With `at`, of the file at that path.
    ($hook:ident, $real:ident($($arg:ident: $type:ty),*), $kind:expr $(, at $path:ident)?) => {
        #[unsafe(link_section = ".text.hot")]
        extern "C-unwind" fn $hook(
            $($arg: $type,)*
            sp: usize,
            bp: usize,
        ) -> core::ffi::c_int {
            $(crate::retire::named($path);)?
            let fd = crate::hooks::original!($real($($arg),*));
            crate::descriptors::born(fd, $kind, 0, crate::hooks::caller(sp, bp));
            fd
        }
    };
}

pub(crate) use {makes, original};
