//! exec(3): another program takes the process over. The record stays, unless
//! the new program has the library too and removes it, and says so: else it
//! would pass for the new program's.

use crate::interpose::{pop, push, stub_asm};
use crate::segment::Segment;
use crate::{live, retire, sys};
use core::ffi::{c_char, c_int};
use core::sync::atomic::Ordering;
use shm_protocol::codes::note;

type Words = *const *const c_char;

pub mod real {
    //! Their originals.
    use super::*;

    crate::interpose::originals! {
        execve: c"execve", unsafe extern "C" fn(*const c_char, Words, Words) -> c_int;
        execv: c"execv", unsafe extern "C" fn(*const c_char, Words) -> c_int;
        execvp: c"execvp", unsafe extern "C" fn(*const c_char, Words) -> c_int;
        execvpe: c"execvpe", unsafe extern "C" fn(*const c_char, Words, Words) -> c_int;
        fexecve: c"fexecve", unsafe extern "C" fn(c_int, Words, Words) -> c_int;
        execveat: c"execveat", unsafe extern "C" fn(c_int, *const c_char, Words, Words, c_int) -> c_int;
    }
}

/// Calls what comes back only if it fails, which undoes the note.
pub fn replacing<T>(exec: impl FnOnce() -> T) -> T {
    if retire::PARKED.load(Ordering::Relaxed) != 0 {
        retire::before_exec();
    }
    let segment = live::segment().filter(|segment| is_about_us(segment));
    if let Some(segment) = segment {
        segment.note(note::REPLACED);
    }
    let status = exec();
    if let Some(segment) = segment {
        let notes = &segment.header().notes;
        notes.fetch_and(!note::REPLACED, Ordering::Relaxed);
    }
    status
}

/// A child that borrows its parent's memory until now replaces itself only.
fn is_about_us(segment: &Segment) -> bool {
    let own = || segment.header().pid.load(Ordering::Relaxed) == sys::getpid();
    !live::in_vfork_child() && (live::frozen() || own())
}

macro_rules! execs {
    ($($name:ident($($argument:ident: $type:ty),*) of $file:expr;)*) => {
        $(
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($argument: $type),*) -> c_int {
                $file;
                replacing(|| crate::hooks::original!($name($($argument),*)))
            }
        )*
    };
}

execs! {
    execve(path: *const c_char, words: Words, environment: Words) of retire::named(path);
    execv(path: *const c_char, words: Words) of retire::named(path);
    execvp(name: *const c_char, words: Words) of retire::named(name);
    execvpe(name: *const c_char, words: Words, environment: Words) of retire::named(name);
    fexecve(fd: c_int, words: Words, environment: Words) of retire::due(fd);
    execveat(folder: c_int, path: *const c_char, words: Words, environment: Words, flags: c_int) of retire::due(folder);
}

/// The words come one by one: five in registers, the rest on the stack. Pushed
/// in front of those, where the return address was, they are an array.
macro_rules! lists {
    ($($name:ident => $hook:ident;)*) => {
        $(
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name() -> c_int {
                stub_asm!([
                    "pop rax",
                    ".cfi_adjust_cfa_offset -8",
                    ".cfi_register rip, rax",
                    push!("r9"),
                    push!("r8"),
                    push!("rcx"),
                    push!("rdx"),
                    push!("rsi"),
                    "mov rsi, rsp",
                    push!("rax"),
                    ".cfi_rel_offset rip, 0",
                    "call {hook}",
                    pop!("rdx"),
                    ".cfi_register rip, rdx",
                    "add rsp, 40",
                    ".cfi_adjust_cfa_offset -40",
                    push!("rdx"),
                    ".cfi_rel_offset rip, 0",
                    "ret",
                ] hook = sym $hook)
            }
        )*
    };
}

lists! {
    execl => execl_hook;
    execlp => execlp_hook;
    execle => execle_hook;
}

extern "C" fn execl_hook(path: *const c_char, words: Words) -> c_int {
    retire::named(path);
    replacing(|| crate::hooks::original!(execv(path, words)))
}

extern "C" fn execlp_hook(name: *const c_char, words: Words) -> c_int {
    retire::named(name);
    replacing(|| crate::hooks::original!(execvp(name, words)))
}

/// The environment comes behind the null that ends the words.
extern "C" fn execle_hook(path: *const c_char, words: Words) -> c_int {
    let mut end = words;
    // SAFETY: exec(3): a null ends them, and the environment follows.
    let environment = unsafe {
        while !(*end).is_null() {
            end = end.add(1);
        }
        *end.add(1).cast::<Words>()
    };
    retire::named(path);
    replacing(|| crate::hooks::original!(execve(path, words, environment)))
}
