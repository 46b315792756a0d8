//! The scanner for processors with AVX-512 and VBMI2: a whole block at a time, and all its places in a few instructions.
//!
//! Promise: bit for bit the answer of the naive scanner; [`with_avx512`] is reached only after the processor was asked.

#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m512i, _mm_setr_epi8, _mm512_add_epi16, _mm512_broadcast_i32x4, _mm512_castsi512_si256, _mm512_cmpeq_epi8_mask,
    _mm512_cmple_epu8_mask, _mm512_cvtepu8_epi16, _mm512_extracti64x4_epi64, _mm512_loadu_si512,
    _mm512_maskz_compress_epi8, _mm512_set1_epi8, _mm512_set1_epi16, _mm512_shuffle_epi8, _mm512_storeu_si512,
    _mm512_sub_epi8,
};

use super::{BLOCK_BYTES, BY_NIBBLE, Block, Breaks, Classes, Scanner, Slots, Work};

/// Works on processors with these instructions, which [`available`] tells.
#[derive(Clone, Copy, Debug)]
struct Avx512(());

/// Whether this processor has what [`with_avx512`] needs.
#[must_use]
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
}

/// Runs `work` compiled for these instructions.
#[inline]
pub(super) fn with_avx512<W: Work>(work: W) -> W::Out {
    assert!(available(), "asked for instructions that the processor does not have");
    // SAFETY: `available` was just true, so each instruction of the features named at `run` exists here.
    unsafe { run(work) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2,bmi1,bmi2,lzcnt,popcnt")]
fn run<W: Work>(work: W) -> W::Out {
    work.run::<Avx512>()
}

impl Scanner for Avx512 {
    #[inline(always)]
    fn classify(block: &Block) -> Classes {
        // SAFETY: `Avx512` cannot be named outside this module, and in it `run` alone does, where they are known to be there.
        unsafe { classes(block) }
    }

    #[inline(always)]
    fn breaks(block: &Block) -> Breaks {
        // SAFETY: as for `classify`.
        unsafe { breaks(block) }
    }

    #[inline(always)]
    fn gather(block: &Block, which: u64, from: u16, slots: &mut Slots<'_>) {
        // SAFETY: as for `classify`.
        unsafe { places(block, which, from, slots) }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(block: &Block) -> __m512i {
    // SAFETY: the block has 64 bytes; the load asks for no alignment.
    unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn classes(block: &Block) -> Classes {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = BY_NIBBLE;
    let table = _mm512_broadcast_i32x4(_mm_setr_epi8(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p));
    let bytes = load(block);
    let is = |byte: u8| _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte as i8));
    let values = _mm512_sub_epi8(bytes, _mm512_set1_epi8(b'0' as i8));
    let backslashes = is(b'\\');
    Classes {
        structural: _mm512_cmpeq_epi8_mask(_mm512_shuffle_epi8(table, bytes), bytes) | backslashes,
        backslashes,
        equals: is(b'='),
        digits: _mm512_cmple_epu8_mask(values, _mm512_set1_epi8(9)),
        points: is(b'.'),
        minuses: is(b'-'),
        suffixes: is(b'i'),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn breaks(block: &Block) -> Breaks {
    let bytes = load(block);
    let is = |byte: u8| _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte as i8));
    Breaks { feeds: is(b'\n'), special: is(b'"') | is(b'\\') }
}

/// The offset of each byte in a block.
const OFFSETS: Block = {
    let mut offsets = [0; BLOCK_BYTES];
    let mut at = 0;
    while at < BLOCK_BYTES {
        offsets[at] = at as u8;
        at += 1;
    }
    offsets
};

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2")]
fn places(block: &Block, which: u64, from: u16, slots: &mut Slots<'_>) {
    let kinds = _mm512_maskz_compress_epi8(which, load(block));
    let offsets = _mm512_maskz_compress_epi8(which, load(&OFFSETS));
    let from = _mm512_set1_epi16(from.cast_signed());
    let low = _mm512_add_epi16(_mm512_cvtepu8_epi16(_mm512_castsi512_si256(offsets)), from);
    let places = slots.places.as_mut_ptr();
    // SAFETY: both have 64 places, of 128 and 64 bytes, and the stores ask for no alignment: 32 places of 2 bytes from the
    // first or the 33rd on, and 64 kinds of one.
    unsafe {
        _mm512_storeu_si512(slots.kinds.as_mut_ptr().cast(), kinds);
        _mm512_storeu_si512(places.cast(), low);
    }
    if which.count_ones() > 32 {
        let high = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(offsets, 1));
        // SAFETY: as above.
        unsafe { _mm512_storeu_si512(places.add(32).cast(), _mm512_add_epi16(high, from)) };
    }
}
