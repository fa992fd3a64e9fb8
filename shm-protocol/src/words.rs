//! Packing of a row's words, and the check that finds torn rows.
//!
//! A row is a few 64-bit words that one thread writes and another process
//! copies at the same time. The check, 16 bits over the other words, tells a
//! whole row from one that was copied half old and half new.

/// Most sites a segment can hold; site ids have 24 bits, 0 means none.
pub const MAX_SITES: u32 = (1 << 24) - 1;

/// Birth of a resource and the site that made it, in one word.
///
/// Milliseconds since the segment was made (40 bits, 34 years) above the
/// site's id (24 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Origin {
    /// Milliseconds since the segment was made.
    pub at_ms: u64,
    /// Site id, 0 when unknown.
    pub site: u32,
}

impl Origin {
    /// Packs; what does not fit is cut.
    pub fn pack(self) -> u64 {
        self.at_ms << 24 | u64::from(self.site & MAX_SITES)
    }

    /// Unpacks any word.
    pub fn unpack(word: u64) -> Origin {
        Origin {
            at_ms: word >> 24,
            site: word as u32 & MAX_SITES,
        }
    }
}

/// Sixteen bits over an id and two words.
pub fn check16(id: u64, a: u64, b: u64) -> u16 {
    let mixed = (id ^ a.rotate_left(21) ^ b.rotate_left(42)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 48) as u16
}

/// One frame of a stack, tagged in its top four bits.
///
/// | tag | rest |
/// |---|---|
/// | 0 native | module id (16 bits), then offset from the load bias (40 bits) |
/// | 1 name | offset of an interned name in the strings |
/// | 2 raw | an address that no known module covers (JIT code, say) |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Frame {
    Native { module: u16, offset: u64 },
    Name(u64),
    Raw(u64),
}

const FRAME_REST: u64 = (1 << 60) - 1;
const OFFSET_BITS: u64 = (1 << 40) - 1;

impl Frame {
    /// Packs; what does not fit is cut.
    pub fn pack(self) -> u64 {
        match self {
            Frame::Native { module, offset } => u64::from(module) << 40 | offset & OFFSET_BITS,
            Frame::Name(at) => 1 << 60 | at & FRAME_REST,
            Frame::Raw(address) => 2 << 60 | address & FRAME_REST,
        }
    }

    /// Unpacks; an unknown tag gives nothing.
    pub fn unpack(word: u64) -> Option<Frame> {
        match word >> 60 {
            0 => Some(Frame::Native {
                module: (word >> 40) as u16,
                offset: word & OFFSET_BITS,
            }),
            1 => Some(Frame::Name(word & FRAME_REST)),
            2 => Some(Frame::Raw(word & FRAME_REST)),
            _ => None,
        }
    }
}

/// Hash of a stack and a kind: the identity of a site. Never 0.
pub fn site_hash(kind: u8, frames: &[u64]) -> u64 {
    let mut hash = 0x51_7C_C1_B7_27_22_0A_95 ^ u64::from(kind);
    for frame in frames {
        hash = (hash.rotate_left(5) ^ frame).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (hash ^ hash >> 32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn origin_survives(at_ms in 0u64..1 << 40, site in 0u32..=MAX_SITES) {
            let origin = Origin { at_ms, site };
            prop_assert_eq!(Origin::unpack(origin.pack()), origin);
        }

        #[test]
        fn frames_survive(module: u16, offset in 0u64..1 << 40, raw in 0u64..1 << 60) {
            for frame in [Frame::Native { module, offset }, Frame::Name(raw), Frame::Raw(raw)] {
                prop_assert_eq!(Frame::unpack(frame.pack()), Some(frame));
            }
        }

        #[test]
        fn any_word_is_an_origin(word: u64) {
            prop_assert_eq!(Origin::unpack(word).pack(), word);
        }

        #[test]
        fn what_does_not_fit_is_cut_and_spoils_nothing_else(at_ms: u64, site: u32) {
            let origin = Origin::unpack(Origin { at_ms, site }.pack());
            prop_assert_eq!(origin.at_ms, at_ms & ((1 << 40) - 1));
            prop_assert_eq!(origin.site, site & MAX_SITES);
        }

        #[test]
        fn frames_that_do_not_fit_keep_their_tag(rest: u64, module: u16) {
            let native = Frame::unpack(Frame::Native { module, offset: rest }.pack());
            prop_assert_eq!(native, Some(Frame::Native { module, offset: rest & OFFSET_BITS }));
            prop_assert_eq!(Frame::unpack(Frame::Name(rest).pack()), Some(Frame::Name(rest & FRAME_REST)));
            prop_assert_eq!(Frame::unpack(Frame::Raw(rest).pack()), Some(Frame::Raw(rest & FRAME_REST)));
        }

        #[test]
        fn unknown_tags_are_no_frames(tag in 3u64..16, rest in 0u64..1 << 60) {
            prop_assert_eq!(Frame::unpack(tag << 60 | rest), None);
        }

        /// The multiplier has no run of sixteen equal bits, so the top sixteen
        /// of the product change with every single bit.
        #[test]
        fn one_changed_bit_is_always_noticed(words: [u64; 3], word in 0usize..3, bit in 0u32..64) {
            let mut changed = words;
            changed[word] ^= 1 << bit;
            let check = |[id, a, b]: [u64; 3]| check16(id, a, b);
            prop_assert_ne!(check(words), check(changed));
        }

        #[test]
        fn stacks_differ_by_kind_frame_order_and_depth(kind: u8, frames in prop::collection::vec(1u64.., 2..20)) {
            let hash = site_hash(kind, &frames);
            prop_assert_ne!(hash, 0);
            prop_assert_ne!(hash, site_hash(kind ^ 1, &frames));
            prop_assert_ne!(hash, site_hash(kind, &frames[1..]));
            let mut turned = frames.clone();
            turned.rotate_left(1);
            prop_assert_eq!(hash == site_hash(kind, &turned), frames == turned);
        }
    }

    #[test]
    fn a_mixture_of_two_rows_is_noticed_all_but_always() {
        let row = |i: u64| {
            [
                i * 4096,
                Origin {
                    at_ms: 1000 + i * 7,
                    site: (i % 50) as u32,
                }
                .pack(),
                (64 + i % 900) << 16,
            ]
        };
        let mixed = (0..40_000).filter(|&i| {
            let (old, new) = (row(i), row(i + 1));
            check16(new[0], old[1], new[2]) == check16(new[0], new[1], new[2])
        });
        // One in 65 536 by chance.
        assert!(mixed.count() <= 4);
    }
}
