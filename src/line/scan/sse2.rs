//! The scanner for every x86-64 processor: 16 bytes at a time.
//!
//! Promise: bit for bit the answer of the naive scanner. Nothing is asked of the processor: SSE2 is part of x86-64.

#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
    _mm_set1_epi8, _mm_sub_epi8,
};

use super::{Block, Breaks, Classes, Scanner};

/// Works on all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sse2;

/// What the arguments below rest on: a target without it, such as one for a kernel, does not get this far.
const _: () = assert!(cfg!(target_feature = "sse2"), "x86-64 without SSE2");

impl Scanner for Sse2 {
    #[inline(always)]
    fn classify(block: &Block) -> Classes {
        // SAFETY: SSE2 is there: the assertion above was compiled.
        unsafe { classes(block) }
    }

    #[inline(always)]
    fn breaks(block: &Block) -> Breaks {
        // SAFETY: as for `classify`.
        unsafe { breaks(block) }
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn quarters(block: &Block) -> [__m128i; 4] {
    let pointer = block.as_ptr().cast::<__m128i>();
    // SAFETY: the block has 64 bytes, so the four quarters of 16 lie in it; the loads ask for no alignment.
    unsafe {
        [
            _mm_loadu_si128(pointer),
            _mm_loadu_si128(pointer.add(1)),
            _mm_loadu_si128(pointer.add(2)),
            _mm_loadu_si128(pointer.add(3)),
        ]
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn is(bytes: __m128i, byte: u8) -> __m128i {
    _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8))
}

#[inline]
#[target_feature(enable = "sse2")]
fn mask(found: __m128i) -> u64 {
    u64::from(_mm_movemask_epi8(found).cast_unsigned())
}

#[inline]
#[target_feature(enable = "sse2")]
fn breaks(block: &Block) -> Breaks {
    let mut breaks = Breaks::default();
    for (at, bytes) in quarters(block).into_iter().enumerate() {
        breaks.feeds |= mask(is(bytes, b'\n')) << (16 * at);
        breaks.special |= mask(_mm_or_si128(is(bytes, b'"'), is(bytes, b'\\'))) << (16 * at);
    }
    breaks
}

#[inline]
#[target_feature(enable = "sse2")]
fn classes(block: &Block) -> Classes {
    let mut classes = Classes::default();
    for (at, bytes) in quarters(block).into_iter().enumerate() {
        // Space (0x20) and quote (0x22) differ in one bit only, so one comparison serves both.
        let space_or_quote = is(_mm_and_si128(bytes, _mm_set1_epi8(!0x02)), b' ');
        let equals = is(bytes, b'=');
        let backslashes = is(bytes, b'\\');
        let comma_or_feed = _mm_or_si128(is(bytes, b','), is(bytes, b'\n'));
        let structural = _mm_or_si128(_mm_or_si128(space_or_quote, comma_or_feed), _mm_or_si128(equals, backslashes));
        let value = _mm_sub_epi8(bytes, _mm_set1_epi8(b'0' as i8));
        let digits = _mm_cmpeq_epi8(_mm_min_epu8(value, _mm_set1_epi8(9)), value);
        let to = 16 * at;
        classes.structural |= mask(structural) << to;
        classes.backslashes |= mask(backslashes) << to;
        classes.equals |= mask(equals) << to;
        classes.digits |= mask(digits) << to;
        classes.points |= mask(is(bytes, b'.')) << to;
        classes.minuses |= mask(is(bytes, b'-')) << to;
        classes.suffixes |= mask(is(bytes, b'i')) << to;
    }
    classes
}
