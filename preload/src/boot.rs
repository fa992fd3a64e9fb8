//! Start: finding the real functions, and the constructor.
//!
//! The loader may call malloc before any constructor runs, and looking a
//! function up may call it again. Until the allocator is known, memory comes
//! from [`early`].

use crate::hooks::heap;
use crate::marks::{self, Marking};
use crate::segment::Segment;
use crate::{allocators, clock, config, live, modules, sys, thread, unwind};
use core::ffi::{CStr, c_char, c_void};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use shm_protocol::codes::{Section, note};

/// Memory before the allocator is known.
pub mod early {
    use core::cell::UnsafeCell;
    use core::ffi::c_void;
    use core::sync::atomic::{AtomicUsize, Ordering};

    const BYTES: usize = 256 * 1024;
    const PAGE: usize = 4096;

    #[repr(C, align(4096))]
    struct Arena(UnsafeCell<[u8; BYTES]>);

    // SAFETY: handed out in disjoint parts by the atomic below.
    unsafe impl Sync for Arena {}

    #[unsafe(link_section = ".bss.memguard_tables")]
    static ARENA: Arena = Arena(UnsafeCell::new([0; BYTES]));
    static USED: AtomicUsize = AtomicUsize::new(0);

    /// Whole pages, so that free and realloc know these blocks by their
    /// alignment. Null when there is no more.
    pub fn allocate(bytes: usize) -> *mut c_void {
        let pages = bytes.max(1).next_multiple_of(PAGE);
        let at = USED.fetch_add(pages, Ordering::Relaxed);
        if pages > BYTES || at > BYTES - pages {
            return core::ptr::null_mut();
        }
        // SAFETY: within the arena.
        let block = unsafe { ARENA.0.get().cast::<u8>().add(at) };
        (0..pages / PAGE).for_each(|page| {
            crate::blocks::always_look_at(block as u64 + (page * PAGE) as u64);
        });
        block.cast()
    }

    /// Whether a block came from here.
    #[inline]
    pub fn holds(block: *const c_void) -> bool {
        (block as usize).wrapping_sub(ARENA.0.get() as usize) < BYTES
    }

    /// Bytes from a block to the end of what was handed out: at least what
    /// it has.
    pub fn size_of(block: *const c_void) -> usize {
        let at = (block as usize).wrapping_sub(ARENA.0.get() as usize);
        USED.load(Ordering::Relaxed).min(BYTES).saturating_sub(at)
    }

    /// A larger copy; the old one is not used again.
    pub fn reallocate(block: *mut c_void, bytes: usize) -> *mut c_void {
        let fresh = allocate(bytes);
        if !block.is_null() && holds(block) && !fresh.is_null() {
            let part = size_of(block).min(bytes);
            // SAFETY: both within the arena; `fresh` has `bytes`.
            unsafe { fresh.cast::<u8>().copy_from(block.cast::<u8>(), part) };
        }
        fresh
    }
}

const UNKNOWN: u32 = 0;
const LOOKING: u32 = 1;
const READY: u32 = 2;

static ALLOCATOR: AtomicU32 = AtomicU32::new(UNKNOWN);
/// Text of the allocator's module: mappings that it makes are its own.
static ALLOCATOR_START: AtomicU64 = AtomicU64::new(0);
static ALLOCATOR_END: AtomicU64 = AtomicU64::new(0);
static HEAP_IS_OURS: AtomicBool = AtomicBool::new(true);

unsafe extern "C" {
    /// Where the kernel put argc, argv and the environment.
    static __libc_stack_end: *const usize;
}

/// The next definition of a symbol after ours, null when there is none.
pub fn next(symbol: &CStr) -> *mut c_void {
    // SAFETY: dlsym with a valid name.
    unsafe { libc::dlsym(libc::RTLD_NEXT, symbol.as_ptr()) }
}

/// Whether the real allocator is known; finds it on the first call. False
/// only to calls that come from within that search.
#[inline]
pub fn allocator_ready() -> bool {
    ALLOCATOR.load(Ordering::Acquire) == READY || find_allocator()
}

#[cold]
fn find_allocator() -> bool {
    let won = ALLOCATOR.compare_exchange(UNKNOWN, LOOKING, Ordering::AcqRel, Ordering::Acquire);
    if won.is_err() {
        return ALLOCATOR.load(Ordering::Acquire) == READY;
    }
    modules::init(next(c"_dl_find_object"));
    let takers = [
        c"malloc",
        c"calloc",
        c"realloc",
        c"memalign",
        c"posix_memalign",
    ]
    .map(next);
    let [malloc, _, _, memalign, _] = takers;
    let free = next(c"free");
    heap::set_real(takers, free);
    choose_marking(malloc, free, memalign);
    ALLOCATOR.store(READY, Ordering::Release);
    // Our failed look-ups are not the program's errors.
    // SAFETY: dlerror only hands out and clears this thread's message.
    unsafe { libc::dlerror() };
    true
}

/// Sampled blocks are marked only if one allocator does it all.
fn choose_marking(malloc: *mut c_void, free: *mut c_void, memalign: *mut c_void) {
    let one = same_object(malloc, free) && same_object(malloc, memalign);
    let glibc = same_object(malloc, next(c"gnu_get_libc_version"));
    marks::choose(match (one, glibc) {
        (false, _) => Marking::None,
        (true, false) => Marking::ByPage,
        (true, true) => Marking::BySize,
    });
    heap::look_at_marked(marks::mask(), || true);
}

/// Where the object that holds `function` is mapped, 0 when unknown.
fn object_of(function: *mut c_void) -> usize {
    if modules::can_find() {
        return modules::find(function as usize).map_or(0, |module| module.start);
    }
    // SAFETY: all-zero is a valid Dl_info.
    let mut info: libc::Dl_info = unsafe { core::mem::zeroed() };
    // SAFETY: dladdr writes `info` on success. It looks through all symbols.
    let found = !function.is_null() && unsafe { libc::dladdr(function, &mut info) } != 0;
    if found { info.dli_fbase as usize } else { 0 }
}

fn same_object(a: *mut c_void, b: *mut c_void) -> bool {
    let object = object_of(a);
    object != 0 && object == object_of(b)
}

/// Whether `address` is in the allocator's own code, and that is not libc.
pub fn in_foreign_allocator(address: usize) -> bool {
    let start = ALLOCATOR_START.load(Ordering::Relaxed);
    (address as u64) >= start && (address as u64) < ALLOCATOR_END.load(Ordering::Relaxed)
}

/// Whether the program's malloc is ours: no library before us and not the
/// executable itself defines another.
pub fn heap_is_ours() -> bool {
    HEAP_IS_OURS.load(Ordering::Relaxed)
}

/// The malloc that the program calls.
fn first_malloc() -> *mut c_void {
    // SAFETY: dlsym with a valid name.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"malloc".as_ptr()) }
}

fn look_for_a_malloc_before_ours() {
    let (first, here) = (first_malloc(), find_foreign_allocator as *mut c_void);
    let ours = same_object(first, here) || is_way_to_another(first);
    HEAP_IS_OURS.store(ours, Ordering::Relaxed);
}

/// Whether a symbol's address is only the executable's own entry to a function
/// that it does not define: that stands for the function in programs at fixed
/// addresses which keep a pointer to it, such as Debian's python and node.
fn is_way_to_another(function: *mut c_void) -> bool {
    const SYMBOL: i32 = 1;
    unsafe extern "C" {
        fn dladdr1(
            address: *const c_void,
            info: *mut libc::Dl_info,
            extra: *mut *mut c_void,
            what: i32,
        ) -> i32;
    }
    // SAFETY: all-zero is a valid Dl_info.
    let mut info: libc::Dl_info = unsafe { core::mem::zeroed() };
    let mut symbol = core::ptr::null_mut();
    // SAFETY: dladdr1(3) writes both on success.
    let found = unsafe { dladdr1(function, &mut info, &mut symbol, SYMBOL) } != 0;
    // SAFETY: null, or an entry of the module's symbol table, mapped for good.
    let symbol = unsafe { symbol.cast::<libc::Elf64_Sym>().as_ref() }.filter(|_| found);
    symbol.is_some_and(|symbol| symbol.st_shndx == 0)
}

/// The malloc behind ours, or the one that comes before it.
fn malloc_in_use() -> *mut c_void {
    if heap_is_ours() {
        next(c"malloc")
    } else {
        first_malloc()
    }
}

/// The one in use, if it is a library of its own. An executable's own maps
/// for the program as well as for its malloc.
fn find_foreign_allocator() {
    let malloc = malloc_in_use();
    // SAFETY: getauxval only reads the auxiliary vector.
    let entry = unsafe { libc::getauxval(libc::AT_ENTRY) } as *mut c_void;
    let libc = next(c"gnu_get_libc_version");
    if same_object(malloc, libc) || same_object(malloc, entry) {
        return;
    }
    if let Some(module) = modules::find(malloc as usize) {
        ALLOCATOR_START.store(module.start as u64, Ordering::Relaxed);
        ALLOCATOR_END.store(module.end as u64, Ordering::Relaxed);
    }
}

/// The module of a function, as its first and last byte.
struct Span(AtomicU64, AtomicU64);

impl Span {
    const fn new() -> Span {
        Span(AtomicU64::new(0), AtomicU64::new(0))
    }

    fn set(&self, function: *mut c_void) {
        if let Some(module) = modules::find(function as usize) {
            self.0.store(module.start as u64, Ordering::Relaxed);
            self.1.store(module.end as u64, Ordering::Relaxed);
        }
    }

    fn holds(&self, address: usize) -> bool {
        let address = address as u64;
        address >= self.0.load(Ordering::Relaxed) && address < self.1.load(Ordering::Relaxed)
    }
}

static LIBC: Span = Span::new();
static LOADER: Span = Span::new();
static OURS: Span = Span::new();

/// Whose code an address is in, as far as it matters who waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// libc's, or ours.
    Libc,
    /// The loader's or an allocator's: they wait with locks of their own.
    Locking,
    Program,
}

/// Whose code an address is in.
pub fn code_at(address: usize) -> Code {
    if LIBC.holds(address) || OURS.holds(address) {
        Code::Libc
    } else if LOADER.holds(address) || in_foreign_allocator(address) {
        Code::Locking
    } else {
        Code::Program
    }
}

fn find_own_modules() {
    LIBC.set(next(c"gnu_get_libc_version"));
    LOADER.set(next(c"_dl_find_object"));
    OURS.set(find_own_modules as *mut c_void);
}

/// Whether libc and the loader are known, without which nobody can say whose
/// code waits.
pub fn knows_modules() -> bool {
    LIBC.0.load(Ordering::Relaxed) != 0 && LOADER.0.load(Ordering::Relaxed) != 0
}

ctor::declarative::ctor! {
    /// Runs before the constructors of all other libraries (-z initfirst).
    #[ctor(unsafe)]
    fn start() {
        begin();
    }
}

fn begin() {
    clock::init();
    allocator_ready();
    crate::hooks::resolve_all();
    // SAFETY: as in find_allocator.
    unsafe { libc::dlerror() };
    look_for_a_malloc_before_ours();
    find_foreign_allocator();
    find_own_modules();
    allocators::find(malloc_in_use(), next(c"gnu_get_libc_version"), same_object);
    config::read(environment());
    let filtered = seccomp_filtered();
    // SAFETY: set by the loader before any constructor.
    let stack_end = unsafe { __libc_stack_end } as usize;
    let stack_limit = if filtered {
        8 << 20
    } else {
        sys::limit(libc::RLIMIT_STACK).0
    };
    unwind::init_main_thread(stack_end, stack_limit);
    thread::init();
    crate::hooks::threads::init();
    live::start(filtered);
    if let Some(segment) = live::segment() {
        segment.note(if modules::can_find() {
            0
        } else {
            note::FRAME_POINTERS_ONLY
        });
    }
    register_end();
}

/// The environment as the kernel left it above the stack.
fn environment() -> *const *const c_char {
    // SAFETY: argc at the stack's end, then argv, a null, the environment.
    unsafe {
        let argc = *__libc_stack_end;
        __libc_stack_end.add(argc + 2).cast()
    }
}

/// The arguments from there, each ended by 0, as far as they fit: what
/// /proc/self/cmdline says, for less.
pub fn command_line(buffer: &mut [u8]) -> &[u8] {
    let mut filled = 0;
    // SAFETY: argc at the stack's end, then as many strings.
    let arguments = unsafe {
        let argc = *__libc_stack_end;
        core::slice::from_raw_parts(__libc_stack_end.add(1).cast::<*const c_char>(), argc)
    };
    for argument in arguments.iter().filter(|argument| !argument.is_null()) {
        // SAFETY: a string of the kernel's making, or what the program put there.
        let text = unsafe { CStr::from_ptr(*argument) }.to_bytes_with_nul();
        let room = buffer.iter_mut().skip(filled);
        filled += room.zip(text).map(|(place, byte)| *place = *byte).count();
    }
    buffer.get(..filled).unwrap_or_default()
}

/// Whether a seccomp filter is in force, found out by calls that the loader
/// has just made itself.
fn seccomp_filtered() -> bool {
    let mut buffer = [0u8; 4096];
    let text = sys::read_file(c"/proc/self/status", &mut buffer);
    let key = b"\nSeccomp:\t";
    let at = text.windows(key.len()).position(|part| part == key);
    at.and_then(|at| text.get(at + key.len()))
        .is_some_and(|digit| *digit != b'0')
}

/// The variables, for watchers to obey.
pub fn store_settings(segment: &Segment) {
    let room = segment.rows(Section::Settings) as usize;
    let places = segment.in_run::<AtomicU8>(Section::Settings, 0, 0, room, true);
    for (place, byte) in places.unwrap_or_default().iter().zip(config::settings()) {
        place.store(byte.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

fn register_end() {
    // SAFETY: a function that stays mapped; quick_exit runs it last.
    unsafe { at_quick_exit(at_end) };
}

unsafe extern "C" {
    fn at_quick_exit(function: extern "C" fn()) -> i32;
}

extern "C" fn at_end() {
    live::end();
}

#[used]
#[unsafe(link_section = ".fini_array")]
static END: extern "C" fn() = at_end;
