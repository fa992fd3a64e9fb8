//! When to sample: exponential draws in fixed point, per thread.
//!
//! No floating point: it would set the program's exception flags behind its
//! back. Logarithms come from a table of 257 entries; the error of a draw is
//! below one part in a hundred thousand.

use crate::segment::Segment;
use crate::{config, live, sys, tls};
use shm_protocol::codes::Counter;
use shm_protocol::weight::Class;

/// ln 2 in 32.32 fixed point.
const LN2: u64 = 2_977_044_472;

/// log2(1 + i/256) in 0.32 fixed point.
const LOG2: [u64; 257] = log2_table();

const fn log2_table() -> [u64; 257] {
    let mut out = [0u64; 257];
    let mut i = 0;
    while i < 257 {
        out[i] = log2_bits(256 + i as u64);
        i += 1;
    }
    out
}

/// Fraction bits of log2(n/256) by repeated squaring, 32 of them.
const fn log2_bits(n: u64) -> u64 {
    if n == 512 {
        return 1 << 32;
    }
    let (mut x, mut bits, mut i) = ((n as u128) << 54, 0u64, 0);
    while i < 32 {
        x = (x * x) >> 62;
        bits <<= 1;
        if x >= 2 << 62 {
            x >>= 1;
            bits |= 1;
        }
        i += 1;
    }
    bits
}

/// `-ln(x / 2^64)` in 32.32 fixed point, for x > 0.
fn minus_ln(x: u64) -> u64 {
    let zeros = x.leading_zeros();
    let mantissa = x << zeros << 1;
    let (step, part) = ((mantissa >> 56) as usize, mantissa >> 24 & 0xFFFF_FFFF);
    let log = LOG2[step] + (((LOG2[step + 1] - LOG2[step]) * part) >> 32);
    let minus_log2 = (u64::from(zeros) << 32) + ((1 << 32) - log);
    ((u128::from(minus_log2) * u128::from(LN2)) >> 32) as u64
}

/// The next random number of this thread (xorshift64*).
fn random() -> u64 {
    let state = &mut tls::block().random;
    if *state == 0 {
        *state = seed();
    }
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

#[cold]
fn seed() -> u64 {
    let mut bytes = [0u8; 8];
    if !live::frozen() {
        sys::random(&mut bytes);
    }
    let place = tls::block() as *mut tls::Block as u64;
    (u64::from_le_bytes(bytes) ^ place.rotate_left(32) ^ crate::clock::coarse_ns()).max(1)
}

/// Forgets the random state, so that a forked child draws numbers of its own.
pub fn reseed() {
    tls::block().random = 0;
}

/// Bytes until the next sample: exponential with this mean.
fn draw_bytes(mean: u64) -> u64 {
    let drawn = (u128::from(minus_ln(random().max(1))) * u128::from(mean)) >> 32;
    (drawn as u64).max(1)
}

/// Calls until the next sample, this one counted: geometric with this rate.
fn draw_calls(ppb: u64) -> u64 {
    const BILLION: u64 = 1_000_000_000;
    if ppb >= BILLION {
        return 1;
    }
    // λ = -ln(1 - p): by its series where the table would be too coarse.
    let p = (ppb << 32) / BILLION;
    let lambda = if ppb < BILLION / 100 {
        p + ((p * p) >> 33) + ((((p * p) >> 32) * p) >> 32) / 3
    } else {
        minus_ln(u64::MAX - ((u128::from(ppb) << 64) / u128::from(BILLION)) as u64)
    };
    1 + minus_ln(random().max(1)) / lambda.max(1)
}

/// Whether the thread's first countdown has been drawn.
pub fn started() -> bool {
    tls::block().random != 0
}

/// Draws new countdowns.
pub fn restart(class: Class) {
    let block = tls::block();
    match class {
        Class::Bytes(mean) => {
            block.drawn_bytes = draw_bytes(mean);
            block.bytes_left = block.drawn_bytes;
        }
        Class::Rate(ppb) => {
            let calls = draw_calls(u64::from(ppb));
            block.drawn_calls = calls.min(u64::from(u32::MAX)) as u32;
            block.calls_left = calls - 1;
            restart_bytes();
        }
        Class::All => restart_bytes(),
    }
}

/// Draws a countdown of bytes on a path where it does not decide.
pub fn restart_bytes() {
    let block = tls::block();
    // Nothing is accounted for while it does not decide.
    (block.bytes_left, block.drawn_bytes) = (draw_bytes(config::sample_bytes()), 0);
}

/// Takes `bytes` off the countdown. True when that samples the block.
pub fn take_bytes(bytes: u64) -> bool {
    let block = tls::block();
    match block.bytes_left.checked_sub(bytes) {
        Some(left) => {
            block.bytes_left = left;
            false
        }
        None => {
            block.bytes_left = block.bytes_left.wrapping_sub(bytes);
            true
        }
    }
}

/// The call on which a countdown of bytes ran out, if it did, came to nothing:
/// the next one stands in for it.
pub fn run_out_next(ran_out: bool) {
    if ran_out {
        tls::block().bytes_left = 0;
    }
}

/// After a byte countdown ran out on a block of `bytes`: accounts for what it
/// used up.
pub fn account_bytes(segment: &Segment, bytes: u64) {
    let block = tls::block();
    let before = block.bytes_left.wrapping_add(bytes);
    if let Some(used) = block.drawn_bytes.checked_sub(before) {
        segment.count(Counter::ConsumedBytes, used.saturating_add(bytes));
    }
}

/// The same for a countdown of calls.
pub fn account_calls(segment: &Segment) {
    let drawn = u64::from(tls::block().drawn_calls);
    segment.count(Counter::ConsumedCalls, drawn);
}
