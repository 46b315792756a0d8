//! The scanner for processors with AVX2: 32 bytes at a time.
//!
//! Promise: bit for bit the answer of the portable scanner; [`with_avx2`] is reached only after the processor was asked.

#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
    _mm256_setr_epi8, _mm256_shuffle_epi8,
};

use super::{BLOCK_BYTES, Scanner, Work};

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
    assert!(super::best() == super::Level::Avx2, "asked for instructions that the processor does not have");
    // SAFETY: `best` says Avx2 only after `available` was true, so each instruction of the features named at `run`
    // exists here.
    unsafe { run(work) }
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn run<W: Work>(work: W) -> W::Out {
    work.run::<Avx2>()
}

impl Scanner for Avx2 {
    #[inline(always)]
    fn structural(block: &[u8; BLOCK_BYTES]) -> u64 {
        // SAFETY: `Avx2` cannot be named outside this module, and in it `run` alone does, where AVX2 is known to be there.
        unsafe { mask(block) }
    }
}

/// A byte is found by its low nibble: the table holds the one structural byte with that nibble (the backslash shares its
/// own with the comma and is compared apart), else a byte with another one, which equals nothing looked up through it.
#[inline]
#[target_feature(enable = "avx2")]
fn mask(block: &[u8; BLOCK_BYTES]) -> u64 {
    const NONE: i8 = -1;
    // Bytes above 127 look up zero, which is none of them; the nibble 15 holds 0 for the same reason.
    let half = [
        b' ' as i8,
        NONE,
        b'"' as i8,
        NONE,
        NONE,
        NONE,
        NONE,
        NONE,
        NONE,
        NONE,
        b'\n' as i8,
        NONE,
        b',' as i8,
        b'=' as i8,
        NONE,
        0,
    ];
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = half;
    let table = _mm256_setr_epi8(
        a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p,
    );
    let backslash = _mm256_set1_epi8(b'\\' as i8);
    let of = |bytes: __m256i| {
        let by_nibble = _mm256_cmpeq_epi8(_mm256_shuffle_epi8(table, bytes), bytes);
        let found = _mm256_or_si256(by_nibble, _mm256_cmpeq_epi8(bytes, backslash));
        u64::from(_mm256_movemask_epi8(found).cast_unsigned())
    };
    let pointer = block.as_ptr().cast::<__m256i>();
    // SAFETY: the block has 64 bytes, so both halves of 32 lie in it; the loads ask for no alignment.
    let (low, high) = unsafe { (_mm256_loadu_si256(pointer), _mm256_loadu_si256(pointer.add(1))) };
    of(low) | of(high) << 32
}

#[cfg(test)]
mod tests {
    use super::super::{Level, Swar, best};
    use super::*;
    use proptest::prelude::*;

    struct Mask<'a>(&'a [u8; BLOCK_BYTES]);

    impl Work for Mask<'_> {
        type Out = u64;
        fn run<S: Scanner>(self) -> u64 {
            S::structural(self.0)
        }
    }

    proptest! {
        #[test]
        fn both_scanners_find_the_same(block in prop::array::uniform32(any::<u8>()), plain in prop::array::uniform32(0x0au8..0x5e)) {
            let mut bytes = [0; BLOCK_BYTES];
            bytes[..32].copy_from_slice(&block);
            bytes[32..].copy_from_slice(&plain);
            if best() == Level::Avx2 {
                prop_assert_eq!(with_avx2(Mask(&bytes)), Swar::structural(&bytes));
            }
        }
    }

    #[test]
    fn every_byte_value_is_classified_alike() {
        if best() != Level::Avx2 {
            eprintln!("this processor has no AVX2: not run");
            return;
        }
        for byte in 0..=255 {
            let block = [byte; BLOCK_BYTES];
            assert_eq!(with_avx2(Mask(&block)), Swar::structural(&block), "{byte}");
        }
    }
}
