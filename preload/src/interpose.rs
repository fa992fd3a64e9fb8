//! The one way in: stubs that tell a hook where it was called from.
//!
//! A stub carries the name that the loader binds. It leaves the arguments as
//! they are, adds the stack pointer (which points at the return address) and
//! the frame pointer as two more, and jumps. So a hook needs no unwinding of
//! its own frames, and functions with `...` need no variadics: their optional
//! arguments travel in the same registers (System V ABI, 3.2.3).

/// The body of a stub: `[lines] operands`, with unwind information around it.
///
/// A naked function gets none by itself; a thread that is cancelled within
/// would lose its cleanup handlers, and a profiler its stack.
macro_rules! stub_asm {
    ([$($line:expr),* $(,)?] $($operand:tt)*) => {
        core::arch::naked_asm!(".cfi_startproc", $($line,)* ".cfi_endproc", $($operand)*)
    };
}

/// Pushes, and tells the unwinder.
macro_rules! push {
    ($what:literal) => {
        concat!("push ", $what, "\n.cfi_adjust_cfa_offset 8")
    };
}

/// Pops, and tells the unwinder.
macro_rules! pop {
    ($what:literal) => {
        concat!("pop ", $what, "\n.cfi_adjust_cfa_offset -8")
    };
}

/// Declares stubs: `name(number of arguments) => hook;`
macro_rules! stubs {
    ($($name:ident($count:tt) => $hook:path;)*) => {
        $(
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            #[unsafe(link_section = ".text.hot")]
            pub unsafe extern "C" fn $name() {
                crate::interpose::stub_body!($count, $hook)
            }
        )*
    };
}

macro_rules! stub_body {
    (0, $hook:path) => {
        crate::interpose::stub_asm!(["mov rdi, rsp", "mov rsi, rbp", "jmp {hook}"] hook = sym $hook)
    };
    (1, $hook:path) => {
        crate::interpose::stub_asm!(["mov rsi, rsp", "mov rdx, rbp", "jmp {hook}"] hook = sym $hook)
    };
    (2, $hook:path) => {
        crate::interpose::stub_asm!(["mov rdx, rsp", "mov rcx, rbp", "jmp {hook}"] hook = sym $hook)
    };
    (3, $hook:path) => {
        crate::interpose::stub_asm!(["mov rcx, rsp", "mov r8, rbp", "jmp {hook}"] hook = sym $hook)
    };
    (4, $hook:path) => {
        crate::interpose::stub_asm!(["mov r8, rsp", "mov r9, rbp", "jmp {hook}"] hook = sym $hook)
    };
    // More arguments than registers are left for: the two go on the stack.
    (6, $hook:path) => {
        crate::interpose::stub_asm!([
            "lea rax, [rsp]",
            crate::interpose::push!("rbp"),
            crate::interpose::push!("rbp"),
            crate::interpose::push!("rax"),
            "call {hook}",
            "add rsp, 24",
            ".cfi_adjust_cfa_offset -24",
            "ret",
        ] hook = sym $hook)
    };
}

pub(crate) use {pop, push, stub_asm, stub_body, stubs};

/// Declares where the real functions are: `NAME: "symbol", fn type;`
///
/// Each becomes a unit type with `call()`, the function as resolved at start
/// or, before that, now. `None` when libc has none.
macro_rules! originals {
    ($($name:ident: $symbol:expr, $type:ty;)*) => {
        $(
            #[allow(non_camel_case_types)]
            pub struct $name;
            impl $name {
                fn slot() -> &'static core::sync::atomic::AtomicPtr<libc::c_void> {
                    #[unsafe(link_section = ".data.hot")]
                    static SLOT: core::sync::atomic::AtomicPtr<libc::c_void> =
                        core::sync::atomic::AtomicPtr::new(core::ptr::null_mut());
                    &SLOT
                }

                /// The real function, if there is one.
                #[inline]
                pub fn get() -> Option<$type> {
                    let mut at = $name::slot().load(core::sync::atomic::Ordering::Relaxed);
                    if at.is_null() {
                        at = crate::boot::next($symbol);
                        $name::slot().store(at, core::sync::atomic::Ordering::Relaxed);
                    }
                    // SAFETY: null is None; else the symbol has this type by
                    // its man page.
                    unsafe { core::mem::transmute::<*mut libc::c_void, Option<$type>>(at) }
                }
            }
        )*
        /// Resolves all of them, so that no hook has to later.
        pub fn resolve_all() {
            $($name::slot().store(crate::boot::next($symbol), core::sync::atomic::Ordering::Relaxed);)*
        }
    };
}

pub(crate) use originals;
