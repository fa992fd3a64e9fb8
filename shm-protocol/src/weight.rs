//! What one sampled block stands for.
//!
//! Byte sampling with mean `m` takes a block of `s` bytes with probability
//! `1 - exp(-s/m)`, so each one taken stands for `w = 1 / (1 - exp(-s/m))`
//! blocks (Horvitz and Thompson's estimator). The library must not touch
//! floating point (it would set the program's exception flags), so it works
//! from a table; readers that can, use [`Class::blocks`].

/// How a heap row was sampled: the row's class is an index into
/// `Header::classes`, each one of these packed in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Every allocation.
    All,
    /// Byte sampling with this mean.
    Bytes(u64),
    /// A fraction of allocations, in parts per thousand million.
    Rate(u32),
}

const TAG_SHIFT: u32 = 62;

impl Class {
    /// Packs into a header word; 0 is never a class.
    pub fn pack(self) -> u64 {
        match self {
            Class::All => 1 << TAG_SHIFT,
            Class::Bytes(mean) => 2 << TAG_SHIFT | mean & ((1 << TAG_SHIFT) - 1),
            Class::Rate(ppb) => 3 << TAG_SHIFT | u64::from(ppb),
        }
    }

    /// Unpacks; nonsense gives nothing.
    pub fn unpack(word: u64) -> Option<Class> {
        let rest = word & ((1 << TAG_SHIFT) - 1);
        match word >> TAG_SHIFT {
            1 => Some(Class::All),
            2 if rest > 0 => Some(Class::Bytes(rest)),
            3 if rest > 0 => Some(Class::Rate(rest.min(1_000_000_000) as u32)),
            _ => None,
        }
    }

    /// Number of blocks that one sampled block of this size stands for.
    pub fn blocks(self, size_bytes: u64) -> f64 {
        match self {
            Class::All => 1.0,
            Class::Bytes(mean) => 1.0 / -(-(size_bytes.max(1) as f64) / mean as f64).exp_m1(),
            Class::Rate(ppb) => 1e9 / f64::from(ppb),
        }
    }

    /// Bytes that one sampled block stands for, in integers.
    pub fn estimate_bytes(self, size_bytes: u64) -> u64 {
        match self {
            Class::All => size_bytes,
            Class::Bytes(mean) => scaled(size_bytes, mean),
            Class::Rate(ppb) => {
                saturate(u128::from(size_bytes) * 1_000_000_000 / u128::from(ppb.max(1)))
            }
        }
    }

    /// Blocks that one sampled block stands for, in 1/256ths.
    pub fn estimate_blocks_256(self, size_bytes: u64) -> u64 {
        let size = size_bytes.max(1);
        saturate((u128::from(self.estimate_bytes(size)) << 8) / u128::from(size))
    }
}

/// `x / (1 - exp(-x))` for x = i/16, in 1/65536ths.
const TABLE: [u32; 257] = table();

/// Beyond this multiple of the mean every block is taken.
const CERTAIN: u64 = 16;

fn scaled(size_bytes: u64, mean_bytes: u64) -> u64 {
    let mean = mean_bytes.max(1);
    if size_bytes / mean >= CERTAIN {
        return size_bytes;
    }
    let x = ((u128::from(size_bytes) << 16) / u128::from(mean)) as u64;
    let (step, part) = ((x >> 12) as usize, x & 0xFFF);
    let (low, high) = (u64::from(TABLE[step]), u64::from(TABLE[step + 1]));
    let factor = low + (((high - low) * part) >> 12);
    // The table is rounded; a block stands for itself at least.
    saturate((u128::from(mean) * u128::from(factor)) >> 16).max(size_bytes)
}

fn saturate(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

const fn table() -> [u32; 257] {
    let mut out = [65536u32; 257];
    let mut i = 1;
    while i < 257 {
        let x = i as f64 / 16.0;
        let value = x + x / (exp(x) - 1.0);
        out[i] = (value * 65536.0 + 0.5) as u32;
        i += 1;
    }
    out
}

/// The exponential by its series, halved first so that few terms do.
const fn exp(x: f64) -> f64 {
    let y = x / 64.0;
    let (mut term, mut sum, mut n) = (1.0, 1.0, 1.0);
    while n < 16.0 {
        term *= y / n;
        sum += term;
        n += 1.0;
    }
    let mut i = 0;
    while i < 6 {
        sum *= sum;
        i += 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_agree_with_the_formula(size in 1u64..1 << 34, mean in 4096u64..1 << 26) {
            let class = Class::Bytes(mean);
            let exact = class.blocks(size) * size as f64;
            let ours = class.estimate_bytes(size) as f64;
            prop_assert!((ours / exact - 1.0).abs() < 1e-3, "{} {}", ours, exact);
        }

        #[test]
        fn classes_survive(mean in 1u64..1 << 60, ppb in 1u32..=1_000_000_000) {
            for class in [Class::All, Class::Bytes(mean), Class::Rate(ppb)] {
                prop_assert_eq!(Class::unpack(class.pack()), Some(class));
            }
        }
    }

    proptest! {
        #[test]
        fn any_class_and_size_has_a_finite_weight(word: u64, size: u64) {
            let Some(class) = Class::unpack(word) else { return Ok(()) };
            prop_assert!(class.blocks(size).is_finite() && class.blocks(size) >= 1.0);
            prop_assert!(class.estimate_bytes(size) >= size);
            prop_assert!(class.estimate_blocks_256(size) >= 256);
        }

        /// What a draw of bytes takes, times what it stands for, is what there is.
        #[test]
        fn blocks_and_bytes_agree(size in 1u64..1 << 24, mean in 4096u64..1 << 22) {
            let class = Class::Bytes(mean);
            let blocks = class.estimate_blocks_256(size) as f64 / 256.0;
            prop_assert!((blocks / class.blocks(size) - 1.0).abs() < 5e-3);
        }
    }

    #[test]
    fn words_that_are_no_class_give_none() {
        for word in [0, 1, (1 << 62) - 1, 2 << 62, 3 << 62] {
            assert_eq!(Class::unpack(word), None, "{word:#x}");
        }
        // A share above one is one.
        assert_eq!(Class::unpack(u64::MAX), Some(Class::Rate(1_000_000_000)));
    }

    #[test]
    fn blocks_far_above_the_mean_stand_for_themselves() {
        assert_eq!(Class::Bytes(4096).estimate_bytes(1 << 30), 1 << 30);
        assert_eq!(Class::Bytes(4096).estimate_blocks_256(1 << 30), 256);
        assert_eq!(Class::All.estimate_blocks_256(0), 256);
    }

    #[test]
    fn estimates_too_big_for_a_word_stop_at_its_end() {
        assert_eq!(Class::Rate(1).estimate_bytes(1 << 48), u64::MAX);
        assert_eq!(
            Class::Bytes((1 << 62) - 1).estimate_bytes(u64::MAX),
            u64::MAX
        );
    }

    #[test]
    fn a_hundredth_stands_for_a_hundred() {
        assert_eq!(Class::Rate(10_000_000).estimate_blocks_256(64), 100 * 256);
    }
}
