//! Call-frame information: how to get from a function to its caller.
//!
//! Reads the `.eh_frame_hdr` table of a mapped module and interprets the one
//! entry that covers an address (DWARF 5, section 6.4; LSB core, 10.6). Only
//! the stack pointer, frame pointer and return address matter here, so a row
//! is a few bytes and nothing is allocated.

/// How to find the canonical frame address, the caller's stack pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cfa {
    /// Stack pointer plus this.
    Stack(i32),
    /// Frame pointer plus this.
    Frame(i32),
    /// What lies at frame pointer plus this.
    InFrame(i32),
    /// In a form that is not followed.
    Unknown,
}

/// Where the caller's frame pointer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pointer {
    /// Unchanged.
    Same,
    /// Saved at the canonical frame address plus this.
    At(i32),
    /// Saved at the frame pointer plus this.
    AtFrame(i32),
    /// Lost.
    Gone,
}

/// What to do at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// An ordinary frame.
    Call(Cfa, Pointer),
    /// The trampoline below a signal handler.
    Signal,
    /// The outermost frame.
    End,
    /// Nothing is known about this address.
    None,
}

const STACK_POINTER: u64 = 7;
const FRAME_POINTER: u64 = 6;
const RETURN_ADDRESS: u64 = 16;

#[derive(Clone, Copy)]
struct Row {
    cfa: Cfa,
    cfa_register: u64,
    cfa_offset: i64,
    pointer: Pointer,
    outermost: bool,
}

const START: Row = Row {
    cfa: Cfa::Unknown,
    cfa_register: 0,
    cfa_offset: 0,
    pointer: Pointer::Same,
    outermost: false,
};

impl Row {
    fn set_cfa(&mut self, register: u64, offset: i64) {
        (self.cfa_register, self.cfa_offset) = (register, offset);
        self.cfa = match (register, i32::try_from(offset)) {
            (STACK_POINTER, Ok(offset)) => Cfa::Stack(offset),
            (FRAME_POINTER, Ok(offset)) => Cfa::Frame(offset),
            _ => Cfa::Unknown,
        };
    }

    fn set_register(&mut self, register: u64, rule: Pointer) {
        match register {
            FRAME_POINTER => self.pointer = rule,
            RETURN_ADDRESS => self.outermost = rule == Pointer::Gone,
            _ => {}
        }
    }
}

/// Reads forward through a module's own unwind tables.
#[derive(Clone, Copy)]
struct Cursor {
    at: *const u8,
    end: *const u8,
}

impl Cursor {
    fn take<T: Copy>(&mut self) -> Option<T> {
        let left = (self.end as usize).checked_sub(self.at as usize)?;
        if left < size_of::<T>() {
            return None;
        }
        // SAFETY: `at..end` lies within one table entry of a mapped module,
        // whose length the entry itself states.
        unsafe {
            let value = self.at.cast::<T>().read_unaligned();
            self.at = self.at.add(size_of::<T>());
            Some(value)
        }
    }

    fn unsigned(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.take::<u8>()?;
            if shift < 64 {
                value |= u64::from(byte & 0x7F) << shift;
            }
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
    }

    fn signed(&mut self) -> Option<i64> {
        let (mut value, mut shift) = (0i64, 0);
        loop {
            let byte = self.take::<u8>()?;
            if shift < 64 {
                value |= i64::from(byte & 0x7F) << shift;
            }
            shift += 7;
            if byte & 0x80 == 0 {
                let negative = byte & 0x40 != 0 && shift < 64;
                return Some(if negative { value | -1 << shift } else { value });
            }
        }
    }

    fn skip(&mut self, bytes: u64) -> Option<()> {
        let left = (self.end as usize).checked_sub(self.at as usize)?;
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= left)?;
        // SAFETY: within the entry, as just checked.
        self.at = unsafe { self.at.add(bytes) };
        Some(())
    }

    /// A block with its length in front.
    fn block(&mut self) -> Option<Cursor> {
        let length = self.unsigned()?;
        let start = self.at;
        self.skip(length)?;
        Some(Cursor {
            at: start,
            end: self.at,
        })
    }

    /// A pointer in the encoding `form`; only the forms compilers use.
    fn pointer(&mut self, form: u8) -> Option<usize> {
        let here = self.at as usize;
        let value = match form & 0x0F {
            0x00 | 0x04 | 0x0C => self.take::<u64>()? as usize,
            0x02 => usize::from(self.take::<u16>()?),
            0x03 => self.take::<u32>()? as usize,
            0x0A => self.take::<i16>()? as usize,
            0x0B => self.take::<i32>()? as usize,
            _ => return None,
        };
        match form & 0x70 {
            0x00 => Some(value),
            0x10 => Some(here.wrapping_add(value)),
            _ => None,
        }
    }
}

/// What a frame description needs from its common part.
struct Common {
    code_align: u64,
    data_align: i64,
    pointer_form: u8,
    sized: bool,
    signal: bool,
    program: Cursor,
}

/// The step at `address` of the module whose PT_GNU_EH_FRAME is `header`.
pub fn step(header: *const u8, address: usize) -> Step {
    find_entry(header, address)
        .and_then(|entry| interpret(entry, address))
        .unwrap_or(Step::None)
}

/// Binary search in the table of `.eh_frame_hdr`.
fn find_entry(header: *const u8, address: usize) -> Option<*const u8> {
    // Version 1; pointer pc-relative, count absolute, table relative to the
    // header, all in four bytes: what every linker writes.
    const USUAL: [u8; 4] = [1, 0x1B, 0x03, 0x3B];
    if header.is_null() {
        return None;
    }
    // SAFETY: PT_GNU_EH_FRAME of a mapped module: four bytes of form, the
    // pointer, the count, then `count` pairs.
    let (form, count, table) = unsafe {
        let form = header.cast::<[u8; 4]>().read_unaligned();
        (
            form,
            header.add(8).cast::<u32>().read_unaligned() as usize,
            header.add(12).cast::<[i32; 2]>(),
        )
    };
    if form != USUAL || count == 0 {
        return None;
    }
    // SAFETY: `i < count`.
    let pair = |i: usize| unsafe { table.add(i).read_unaligned() };
    let wanted = address.wrapping_sub(header as usize) as i64;
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if i64::from(pair(middle)[0]) <= wanted {
            low = middle + 1
        } else {
            high = middle
        }
    }
    let [_, entry] = pair(low.checked_sub(1)?);
    // SAFETY: the linker's own offset from the header to the entry.
    Some(unsafe { header.offset(entry as isize) })
}

/// The entry's body, after its length.
fn body(entry: *const u8) -> Option<Cursor> {
    // SAFETY: an entry starts with its length.
    let length = unsafe { entry.cast::<u32>().read_unaligned() };
    // SAFETY: the entry is that long.
    (length != 0 && length != u32::MAX).then(|| unsafe {
        Cursor {
            at: entry.add(4),
            end: entry.add(4 + length as usize),
        }
    })
}

fn interpret(entry: *const u8, address: usize) -> Option<Step> {
    let mut fde = body(entry)?;
    let back_from = fde.at;
    let back = fde.take::<u32>()? as usize;
    if back == 0 {
        return None;
    }
    // SAFETY: the entry's own distance to its common part.
    let common = common(unsafe { back_from.sub(back) })?;
    let start = fde.pointer(common.pointer_form)?;
    let length = fde.pointer(common.pointer_form & 0x0F)?;
    if address.wrapping_sub(start) >= length {
        return None;
    }
    if common.sized {
        fde.block()?;
    }
    if common.signal {
        return Some(Step::Signal);
    }
    let row = run(&common, fde, start, address)?;
    Some(if row.outermost {
        Step::End
    } else {
        Step::Call(row.cfa, row.pointer)
    })
}

fn common(entry: *const u8) -> Option<Common> {
    let mut cie = body(entry)?;
    cie.take::<u32>()?;
    let version = cie.take::<u8>()?;
    let mut letters = [0u8; 8];
    for i in 0.. {
        let letter = cie.take::<u8>()?;
        if letter == 0 {
            break;
        }
        *letters.get_mut(i)? = letter;
    }
    let (code_align, data_align) = (cie.unsigned()?, cie.signed()?);
    if version == 1 {
        u64::from(cie.take::<u8>()?)
    } else {
        cie.unsigned()?
    };
    let sized = letters[0] == b'z';
    let (mut pointer_form, mut signal) = (0, false);
    if sized {
        let mut data = cie.block()?;
        for letter in &letters[1..] {
            match letter {
                b'R' => pointer_form = data.take::<u8>()?,
                b'L' => drop(data.take::<u8>()?),
                b'P' => {
                    let form = data.take::<u8>()?;
                    data.pointer(form & 0x7F)?;
                }
                b'S' => signal = true,
                _ => {}
            }
        }
    }
    Some(Common {
        code_align,
        data_align,
        pointer_form,
        sized,
        signal,
        program: cie,
    })
}

/// Runs the common program, then the entry's own up to `address`.
fn run(common: &Common, program: Cursor, start: usize, address: usize) -> Option<Row> {
    let mut machine = Machine {
        common,
        row: START,
        first: START,
        saved: [START; 8],
        depth: 0,
    };
    let mut at = start;
    machine.run(common.program, &mut at, usize::MAX)?;
    machine.first = machine.row;
    let mut at = start;
    machine.run(program, &mut at, address)?;
    Some(machine.row)
}

struct Machine<'a> {
    common: &'a Common,
    row: Row,
    first: Row,
    saved: [Row; 8],
    depth: usize,
}

impl Machine<'_> {
    /// Runs until an instruction moves past `address`.
    fn run(&mut self, mut program: Cursor, at: &mut usize, address: usize) -> Option<()> {
        while program.at < program.end {
            let op = program.take::<u8>()?;
            let advance = match op {
                0x40..=0x7F => Some(u64::from(op & 0x3F)),
                0x02 => Some(u64::from(program.take::<u8>()?)),
                0x03 => Some(u64::from(program.take::<u16>()?)),
                0x04 => Some(u64::from(program.take::<u32>()?)),
                _ => None,
            };
            match advance {
                Some(steps) => {
                    *at = at.wrapping_add((steps * self.common.code_align) as usize);
                    if *at > address {
                        return Some(());
                    }
                }
                None => self.execute(op, &mut program)?,
            }
        }
        Some(())
    }

    /// One instruction that does not move. Long because DWARF's list is.
    fn execute(&mut self, op: u8, program: &mut Cursor) -> Option<()> {
        let scale = self.common.data_align;
        match op {
            0x80..=0xBF => {
                let offset = program.unsigned()? as i64 * scale;
                self.saved_at(u64::from(op & 0x3F), offset);
            }
            0xC0..=0xFF => self.restore(u64::from(op & 0x3F)),
            0x00 => {}
            0x01 => drop(program.pointer(self.common.pointer_form)?),
            0x05 => {
                let (register, offset) = (program.unsigned()?, program.unsigned()? as i64 * scale);
                self.saved_at(register, offset);
            }
            0x06 => {
                let register = program.unsigned()?;
                self.restore(register);
            }
            0x07 => self.row.set_register(program.unsigned()?, Pointer::Gone),
            0x08 => self.row.set_register(program.unsigned()?, Pointer::Same),
            0x09 => {
                let register = program.unsigned()?;
                program.unsigned()?;
                self.row.set_register(register, Pointer::Gone);
            }
            0x0A => {
                *self.saved.get_mut(self.depth)? = self.row;
                self.depth += 1;
            }
            0x0B => {
                self.depth = self.depth.checked_sub(1)?;
                self.row = *self.saved.get(self.depth)?;
            }
            0x0C => {
                let (register, offset) = (program.unsigned()?, program.unsigned()? as i64);
                self.row.set_cfa(register, offset);
            }
            0x0D => {
                let register = program.unsigned()?;
                self.row.set_cfa(register, self.row.cfa_offset);
            }
            0x0E => {
                let offset = program.unsigned()? as i64;
                self.row.set_cfa(self.row.cfa_register, offset);
            }
            0x0F => self.row.cfa = cfa_expression(program.block()?),
            0x10 => {
                let register = program.unsigned()?;
                let rule = saved_expression(program.block()?);
                self.row.set_register(register, rule);
            }
            0x11 => {
                let (register, offset) = (program.unsigned()?, program.signed()? * scale);
                self.saved_at(register, offset);
            }
            0x12 => {
                let (register, offset) = (program.unsigned()?, program.signed()? * scale);
                self.row.set_cfa(register, offset);
            }
            0x13 => {
                let offset = program.signed()? * scale;
                self.row.set_cfa(self.row.cfa_register, offset);
            }
            0x14 | 0x15 => {
                let register = program.unsigned()?;
                program.unsigned()?;
                self.row.set_register(register, Pointer::Gone);
            }
            0x16 => {
                let register = program.unsigned()?;
                program.block()?;
                self.row.set_register(register, Pointer::Gone);
            }
            0x2E => drop(program.unsigned()?),
            0x2F => {
                let (register, offset) = (program.unsigned()?, program.unsigned()? as i64 * -scale);
                self.saved_at(register, offset);
            }
            _ => return None,
        }
        Some(())
    }

    fn saved_at(&mut self, register: u64, offset: i64) {
        let rule = i32::try_from(offset).map_or(Pointer::Gone, Pointer::At);
        self.row.set_register(register, rule);
    }

    fn restore(&mut self, register: u64) {
        match register {
            FRAME_POINTER => self.row.pointer = self.first.pointer,
            RETURN_ADDRESS => self.row.outermost = self.first.outermost,
            _ => {}
        }
    }
}

const BREG_FRAME: u8 = 0x70 + FRAME_POINTER as u8;
const DEREF: u8 = 0x06;

/// The one form that compilers write: a realigned function keeps the frame
/// address in its frame (`breg6 n; deref`).
fn cfa_expression(mut block: Cursor) -> Cfa {
    let parts = (
        block.take::<u8>(),
        block.signed(),
        block.take::<u8>(),
        block.take::<u8>(),
    );
    match parts {
        (Some(BREG_FRAME), Some(offset), Some(DEREF), None) => {
            i32::try_from(offset).map_or(Cfa::Unknown, Cfa::InFrame)
        }
        _ => Cfa::Unknown,
    }
}

/// `breg6 n`: saved in the frame itself.
fn saved_expression(mut block: Cursor) -> Pointer {
    match (block.take::<u8>(), block.signed(), block.take::<u8>()) {
        (Some(BREG_FRAME), Some(offset), None) => {
            i32::try_from(offset).map_or(Pointer::Gone, Pointer::AtFrame)
        }
        _ => Pointer::Gone,
    }
}
