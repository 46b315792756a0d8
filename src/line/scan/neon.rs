//! The scanner for every aarch64 processor: 16 bytes at a time, and the masks of a whole block at once.
//!
//! Promise: bit for bit the answer of the naive scanner. Nothing is asked of the processor: NEON is part of aarch64.

#![allow(unsafe_code)]

use std::arch::aarch64::{
    uint8x16_t, vandq_u8, vceqq_u8, vcleq_u8, vdupq_n_u8, vgetq_lane_u64, vld1q_s8, vld1q_u8, vorrq_u8, vpaddq_u8,
    vqtbl1q_u8, vreinterpretq_u8_s8, vreinterpretq_u64_u8, vsubq_u8,
};

use super::{BY_NIBBLE, Block, Breaks, Classes, Scanner};

/// Works on all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neon;

/// What the arguments below rest on: a target without it, such as one for a kernel, does not get this far.
const _: () = assert!(cfg!(target_feature = "neon"), "aarch64 without NEON");

/// For each byte of a block a byte of ones where it was found, of zeros elsewhere.
type Found = [uint8x16_t; 4];

impl Scanner for Neon {
    #[inline(always)]
    fn classify(block: &Block) -> Classes {
        // SAFETY: NEON is there: the assertion above was compiled.
        unsafe { classes(block) }
    }

    #[inline(always)]
    fn breaks(block: &Block) -> Breaks {
        // SAFETY: as for `classify`.
        unsafe { breaks(block) }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn quarters(block: &Block) -> [uint8x16_t; 4] {
    let pointer = block.as_ptr();
    // SAFETY: the block has 64 bytes, so the four quarters of 16 lie in it; the loads ask for no alignment.
    unsafe { [vld1q_u8(pointer), vld1q_u8(pointer.add(16)), vld1q_u8(pointer.add(32)), vld1q_u8(pointer.add(48))] }
}

#[inline]
#[target_feature(enable = "neon")]
fn is([a, b, c, d]: [uint8x16_t; 4], byte: u8) -> Found {
    let byte = vdupq_n_u8(byte);
    [vceqq_u8(a, byte), vceqq_u8(b, byte), vceqq_u8(c, byte), vceqq_u8(d, byte)]
}

#[inline]
#[target_feature(enable = "neon")]
fn either([a, b, c, d]: Found, [e, f, g, h]: Found) -> Found {
    [vorrq_u8(a, e), vorrq_u8(b, f), vorrq_u8(c, g), vorrq_u8(d, h)]
}

/// What a byte of each place in a group of eight weighs in the mask of the group.
const WEIGHTS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];

/// One bit for each byte. Each keeps its weight alone; three times the neighbours are added up, of two registers into one.
#[inline]
#[target_feature(enable = "neon")]
fn mask([a, b, c, d]: Found) -> u64 {
    // SAFETY: the array has the 16 bytes that are loaded; the load asks for no alignment.
    let weights = unsafe { vld1q_u8(WEIGHTS.as_ptr()) };
    let low = vpaddq_u8(vandq_u8(a, weights), vandq_u8(b, weights));
    let high = vpaddq_u8(vandq_u8(c, weights), vandq_u8(d, weights));
    let both = vpaddq_u8(low, high);
    vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(both, both)))
}

#[inline]
#[target_feature(enable = "neon")]
fn breaks(block: &Block) -> Breaks {
    let bytes = quarters(block);
    Breaks { feeds: mask(is(bytes, b'\n')), special: mask(either(is(bytes, b'"'), is(bytes, b'\\'))) }
}

#[inline]
#[target_feature(enable = "neon")]
fn classes(block: &Block) -> Classes {
    let bytes = quarters(block);
    let [a, b, c, d] = bytes;
    let backslashes = is(bytes, b'\\');
    let by_nibble = [by_nibble(a), by_nibble(b), by_nibble(c), by_nibble(d)];
    Classes {
        structural: mask(either(by_nibble, backslashes)),
        backslashes: mask(backslashes),
        equals: mask(is(bytes, b'=')),
        digits: mask([digits(a), digits(b), digits(c), digits(d)]),
        points: mask(is(bytes, b'.')),
        minuses: mask(is(bytes, b'-')),
        suffixes: mask(is(bytes, b'i')),
    }
}

/// The structural bytes but the backslash.
#[inline]
#[target_feature(enable = "neon")]
fn by_nibble(bytes: uint8x16_t) -> uint8x16_t {
    // SAFETY: the table has the 16 bytes that are loaded; the load asks for no alignment.
    let table = vreinterpretq_u8_s8(unsafe { vld1q_s8(BY_NIBBLE.as_ptr()) });
    vceqq_u8(vqtbl1q_u8(table, vandq_u8(bytes, vdupq_n_u8(0x0f))), bytes)
}

#[inline]
#[target_feature(enable = "neon")]
fn digits(bytes: uint8x16_t) -> uint8x16_t {
    vcleq_u8(vsubq_u8(bytes, vdupq_n_u8(b'0')), vdupq_n_u8(9))
}
