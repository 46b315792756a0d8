//! The portable scanner: eight bytes at a time in an ordinary register, no special instructions.

use super::{BLOCK_BYTES, Scanner};

/// Works on every processor.
#[derive(Clone, Copy, Debug)]
pub struct Swar;

const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;

#[inline(always)]
const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The top bit of each byte of the result is *clear* exactly where `word` holds a zero byte.
const fn non_zero(word: u64) -> u64 {
    ((word & LOW_BITS) + LOW_BITS) | word
}

#[inline(always)]
fn word_mask(word: u64) -> u64 {
    // Space (0x20) and quote (0x22) differ in one bit only, so one comparison serves both.
    let other = non_zero((word & repeat(!0x02)) ^ repeat(b' '))
        & non_zero(word ^ repeat(b','))
        & non_zero(word ^ repeat(b'='))
        & non_zero(word ^ repeat(b'\n'))
        & non_zero(word ^ repeat(b'\\'));
    let hits = (!other & !LOW_BITS) >> 7;
    // One bit per byte, at bits 0, 8, 16 …; the product gathers them in the top byte, in order.
    hits.wrapping_mul(0x0102_0408_1020_4080) >> 56
}

impl Scanner for Swar {
    #[inline(always)]
    fn structural(block: &[u8; BLOCK_BYTES]) -> u64 {
        let (words, _) = block.as_chunks::<8>();
        words.iter().rev().fold(0, |mask, word| (mask << 8) | word_mask(u64::from_le_bytes(*word)))
    }
}
