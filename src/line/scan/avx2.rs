//! The scanner for processors with AVX2: 32 bytes at a time.
//!
//! Promise: bit for bit the answer of the naive scanner; [`with_avx2`] is reached only after the processor was asked.

#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256i, _mm_setr_epi8, _mm256_broadcastsi128_si256, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8,
    _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_shuffle_epi8, _mm256_sub_epi8,
};

use super::{BY_NIBBLE, Block, Breaks, Classes, Scanner, Work};

/// Works on processors with AVX2, which [`available`] tells.
#[derive(Clone, Copy, Debug)]
struct Avx2(());

/// Whether this processor has what [`with_avx2`] needs.
#[must_use]
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
}

/// Runs `work` compiled for these instructions.
#[inline]
pub(super) fn with_avx2<W: Work>(work: W) -> W::Out {
    assert!(available(), "asked for instructions that the processor does not have");
    // SAFETY: `available` was just true, so each instruction of the features named at `run` exists here.
    unsafe { run(work) }
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn run<W: Work>(work: W) -> W::Out {
    work.run::<Avx2>()
}

impl Scanner for Avx2 {
    #[inline(always)]
    fn classify(block: &Block) -> Classes {
        // SAFETY: `Avx2` cannot be named outside this module, and in it `run` alone does, where AVX2 is known to be there.
        unsafe { classes(block) }
    }

    #[inline(always)]
    fn breaks(block: &Block) -> Breaks {
        // SAFETY: as for `classify`.
        unsafe { breaks(block) }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn halves(block: &Block) -> [__m256i; 2] {
    let pointer = block.as_ptr().cast::<__m256i>();
    // SAFETY: the block has 64 bytes, so both halves of 32 lie in it; the loads ask for no alignment.
    unsafe { [_mm256_loadu_si256(pointer), _mm256_loadu_si256(pointer.add(1))] }
}

#[inline]
#[target_feature(enable = "avx2")]
fn breaks(block: &Block) -> Breaks {
    let is = |half: __m256i, byte: u8| _mm256_cmpeq_epi8(half, _mm256_set1_epi8(byte as i8));
    let mask = |half: __m256i| u64::from(_mm256_movemask_epi8(half).cast_unsigned());
    let [low, high] = halves(block);
    let special = |half: __m256i| _mm256_or_si256(is(half, b'"'), is(half, b'\\'));
    Breaks {
        feeds: mask(is(low, b'\n')) | mask(is(high, b'\n')) << 32,
        special: mask(special(low)) | mask(special(high)) << 32,
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn classes(block: &Block) -> Classes {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = BY_NIBBLE;
    let table = _mm256_broadcastsi128_si256(_mm_setr_epi8(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p));
    let [low, high] = halves(block);
    let (low, high) = (one_half(low, table), one_half(high, table));
    let join = |at: usize| u64::from(low[at]) | u64::from(high[at]) << 32;
    Classes {
        structural: join(0),
        backslashes: join(1),
        equals: join(2),
        digits: join(3),
        points: join(4),
        minuses: join(5),
        suffixes: join(6),
    }
}

/// The seven masks of one half, in the order of [`Classes`].
#[inline]
#[target_feature(enable = "avx2")]
fn one_half(bytes: __m256i, table: __m256i) -> [u32; 7] {
    let is = |byte: u8| _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte as i8));
    let by_nibble = _mm256_cmpeq_epi8(_mm256_shuffle_epi8(table, bytes), bytes);
    let value = _mm256_sub_epi8(bytes, _mm256_set1_epi8(b'0' as i8));
    let digits = _mm256_cmpeq_epi8(_mm256_min_epu8(value, _mm256_set1_epi8(9)), value);
    // Not by `map`: what the standard library calls is not compiled for these instructions, and costs a call a mask.
    let mask = |found: __m256i| _mm256_movemask_epi8(found).cast_unsigned();
    let backslashes = is(b'\\');
    let structural = _mm256_or_si256(by_nibble, backslashes);
    [mask(structural), mask(backslashes), mask(is(b'=')), mask(digits), mask(is(b'.')), mask(is(b'-')), mask(is(b'i'))]
}
