//! Text in a fixed buffer: paths and one-line messages without allocating.

use core::ffi::CStr;

/// Up to 511 bytes and the ending 0; what does not fit is cut.
pub struct Text {
    bytes: [u8; 512],
    length: usize,
}

impl Text {
    pub fn new() -> Text {
        Text {
            bytes: [0; 512],
            length: 0,
        }
    }

    /// Appends in place: a hook's stack has no room for copies.
    pub fn push(&mut self, bytes: &[u8]) -> &mut Text {
        let room = 511 - self.length;
        let places = self.bytes.iter_mut().skip(self.length).take(room);
        for (place, byte) in places.zip(bytes) {
            *place = *byte;
        }
        self.length += bytes.len().min(room);
        self
    }

    pub fn number(&mut self, mut value: u64) -> &mut Text {
        let (mut digits, mut at) = ([0u8; 20], 20);
        loop {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                return self.push(&digits[at..]);
            }
        }
    }

    /// Forgets all from `length` bytes on.
    pub fn cut(&mut self, length: usize) -> &mut Text {
        self.length = length.min(self.length);
        self.bytes
            .iter_mut()
            .skip(self.length)
            .for_each(|byte| *byte = 0);
        self
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    pub fn path(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

/// A decimal number at the start of `bytes`, if there is one.
pub fn leading_number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let value = bytes.iter().take(digits).try_fold(0u64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    value.filter(|_| digits > 0)
}
