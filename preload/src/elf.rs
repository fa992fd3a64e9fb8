//! Just enough ELF: a symbol of the vDSO, and the build id of a mapped module.

use core::ffi::CStr;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_NOTE: u32 = 4;
const DT_STRTAB: i64 = 5;
const DT_SYMTAB: i64 = 6;
const DT_HASH: i64 = 4;
const DT_GNU_HASH: i64 = 0x6fff_fef5;

/// Most symbols and notes that are looked through.
const MANY: usize = 4096;

/// A program header as it lies in memory.
#[derive(Clone, Copy)]
#[repr(C)]
struct Segment {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    physical: u64,
    file_bytes: u64,
    memory_bytes: u64,
    align: u64,
}

/// A mapped ELF image whose first page holds its headers.
struct Image {
    base: *const u8,
}

impl Image {
    /// An image at `base`, if one is there.
    ///
    /// `base` must be null or the start of a mapping of at least a page.
    fn at(base: *const u8) -> Option<Image> {
        if base.is_null() || base.align_offset(8) != 0 {
            return None;
        }
        let image = Image { base };
        // SAFETY: the caller's promise: a page is mapped at `base`.
        let magic = unsafe { image.read::<u32>(0) };
        (magic == 0x464C_457F).then_some(image)
    }

    /// # Safety
    /// `offset` lies within what is mapped.
    unsafe fn read<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: the caller's promise; ELF places its fields aligned, and
        // unaligned reads ask for nothing.
        unsafe { self.base.add(offset).cast::<T>().read_unaligned() }
    }

    fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        // SAFETY: header fields, within the first page.
        let (table, count) = unsafe { (self.read::<u64>(32) as usize, self.read::<u16>(56)) };
        let fits = table + usize::from(count) * 56 <= 4096;
        let count = if fits { usize::from(count) } else { 0 };
        // SAFETY: within the first page, as just checked.
        (0..count).map(move |i| unsafe { self.read::<Segment>(table + i * 56) })
    }

    /// First virtual address of the image.
    fn first_address(&self) -> u64 {
        let loads = self.segments().filter(|segment| segment.kind == PT_LOAD);
        loads
            .map(|segment| segment.address & !4095)
            .min()
            .unwrap_or(0)
    }

    fn find(&self, kind: u32) -> Option<Segment> {
        self.segments().find(|segment| segment.kind == kind)
    }
}

/// Address of a function in the vDSO.
pub fn find_vdso_symbol(vdso: *const u8, name: &[u8]) -> Option<*const u8> {
    let image = Image::at(vdso)?;
    let first = image.first_address();
    let offset = |address: u64| address.wrapping_sub(first) as usize;
    let dynamic = offset(image.find(PT_DYNAMIC)?.address);
    let (mut strings, mut symbols, mut count) = (0, 0, 0usize);
    for i in 0..64 {
        // SAFETY: the vDSO is mapped whole and its dynamic section ends in a
        // null entry.
        let [tag, value] = unsafe { image.read::<[i64; 2]>(dynamic + i * 16) };
        match tag {
            0 => break,
            DT_STRTAB => strings = offset(value as u64),
            DT_SYMTAB => symbols = offset(value as u64),
            // SAFETY: as above; the second word of the table is the count.
            DT_HASH => count = unsafe { image.read::<u32>(offset(value as u64) + 4) } as usize,
            DT_GNU_HASH if count == 0 => count = usize::MAX,
            _ => {}
        }
    }
    // Newer kernels leave DT_HASH out; the strings then end the symbols.
    let count = if count == usize::MAX {
        strings.saturating_sub(symbols) / 24
    } else {
        count
    };
    (0..count.min(MANY)).find_map(|i| {
        // SAFETY: symbol `i` of the vDSO and its name, which ends in 0.
        let (symbol_name, value) = unsafe {
            let at = symbols + i * 24;
            let text = strings + image.read::<u32>(at) as usize;
            (
                CStr::from_ptr(image.base.add(text).cast()),
                image.read::<u64>(at + 8),
            )
        };
        // SAFETY: an offset within the vDSO.
        (symbol_name.to_bytes() == name && value != 0)
            .then(|| unsafe { image.base.add(offset(value)) })
    })
}

/// Copies the build id of the module mapped at `base`; returns its length.
///
/// `base` must be the start of the module's first mapping.
pub fn build_id(base: *const u8, out: &mut [u8; 24]) -> usize {
    let Some(image) = Image::at(base) else {
        return 0;
    };
    let first = image.first_address();
    let notes = image.segments().filter(|segment| segment.kind == PT_NOTE);
    for note in notes {
        let start = note.address.wrapping_sub(first) as usize;
        if let Some(length) = build_id_note(&image, start, note.memory_bytes as usize, out) {
            return length;
        }
    }
    0
}

fn build_id_note(image: &Image, start: usize, bytes: usize, out: &mut [u8; 24]) -> Option<usize> {
    const GNU_BUILD_ID: u32 = 3;
    let mut at = 0;
    while at + 16 <= bytes {
        // SAFETY: within a PT_NOTE segment, which is mapped with the module.
        let [name, length, kind, gnu] = unsafe { image.read::<[u32; 4]>(start + at) };
        let body = at + 12 + (name as usize).next_multiple_of(4);
        if kind == GNU_BUILD_ID && gnu == u32::from_le_bytes(*b"GNU\0") {
            let length = (length as usize).min(out.len());
            for (i, byte) in out.iter_mut().take(length).enumerate() {
                // SAFETY: within the note, as its own header says.
                *byte = unsafe { image.read(start + body + i) };
            }
            return Some(length);
        }
        at = body + (length as usize).next_multiple_of(4);
    }
    None
}
