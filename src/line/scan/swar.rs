//! The portable scanner: eight bytes at a time in an ordinary register, no special instructions.

use super::{Block, Breaks, Classes, Scanner};

/// Works on every processor.
#[derive(Clone, Copy, Debug)]
pub struct Swar;

const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;

#[inline(always)]
const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The top bit of each byte of the result is *clear* exactly where `word` holds a zero byte.
#[inline(always)]
const fn non_zero(word: u64) -> u64 {
    ((word & LOW_BITS) + LOW_BITS) | word
}

/// One bit for each byte whose top bit is set.
#[inline(always)]
const fn gathered(tops: u64) -> u64 {
    // One bit per byte, at bits 0, 8, 16 …; the product gathers them in the top byte, in order.
    ((tops & !LOW_BITS) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

impl Scanner for Swar {
    #[inline(always)]
    fn classify(block: &Block) -> Classes {
        let (words, _) = block.as_chunks::<8>();
        let mut classes = Classes::default();
        for (at, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let is = |byte: u8| !non_zero(word ^ repeat(byte));
            // Space (0x20) and quote (0x22) differ in one bit only, so one comparison serves both.
            let space_or_quote = !non_zero((word & repeat(!0x02)) ^ repeat(b' '));
            let equals = is(b'=');
            let backslashes = is(b'\\');
            let structural = space_or_quote | equals | is(b',') | is(b'\n') | backslashes;
            // The digits' upper half is 3; of its sixteen values adding 6 takes the six behind the digits out of it.
            let upper = |word: u64| word & repeat(0xf0);
            let digits =
                !non_zero(upper(word) ^ repeat(0x30)) & !non_zero(upper((word & LOW_BITS) + repeat(6)) ^ repeat(0x30));
            let to = 8 * at;
            classes.structural |= gathered(structural) << to;
            classes.backslashes |= gathered(backslashes) << to;
            classes.equals |= gathered(equals) << to;
            classes.digits |= gathered(digits) << to;
            classes.points |= gathered(is(b'.')) << to;
            classes.minuses |= gathered(is(b'-')) << to;
            classes.suffixes |= gathered(is(b'i')) << to;
        }
        classes
    }

    #[inline(always)]
    fn breaks(block: &Block) -> Breaks {
        let (words, _) = block.as_chunks::<8>();
        let mut breaks = Breaks::default();
        for (at, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let is = |byte: u8| !non_zero(word ^ repeat(byte));
            breaks.feeds |= gathered(is(b'\n')) << (8 * at);
            breaks.special |= gathered(is(b'"') | is(b'\\')) << (8 * at);
        }
        breaks
    }
}
