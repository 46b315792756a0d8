//! Decimal digits, eight at a time in an ordinary register.
//!
//! Promise: a number that is handed out is the one that the digits write; what is no number, or cannot be read at once, is `None`.

const ZEROS: u64 = repeat(b'0');
const TOP_BITS: u64 = repeat(0x80);

#[inline(always)]
const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Numbers that are read from their ends. Neighbours often differ in their last eight digits only: what stood before those is
/// remembered; at first nothing, which is zero.
#[derive(Debug, Default)]
pub(super) struct Similar {
    /// Digits of the last number, and which bytes of its words they are.
    count: usize,
    masks: [u64; 2],
    /// The words before the last one, with their digits' values.
    upper: [u64; 2],
    /// Their number, times a hundred million.
    number: u64,
}

impl Similar {
    /// The number whose digits are the `count` bytes before `end`; `None` when they are no digits, more than nineteen or none,
    /// or too near to the begin of the text to be read at once.
    #[inline(always)]
    pub(super) fn number_before(&mut self, text: &[u8], end: usize, count: usize) -> Option<u64> {
        let [high, middle, low] = *text.get(end.wrapping_sub(24)..end)?.as_chunks::<8>().0 else { return None };
        let upper = [u64::from_le_bytes(high) ^ ZEROS, u64::from_le_bytes(middle) ^ ZEROS];
        let mut low = u64::from_le_bytes(low) ^ ZEROS;
        let changed = (upper[0] & self.masks[0] ^ self.upper[0]) | (upper[1] & self.masks[1] ^ self.upper[1]);
        if changed != 0 || count != self.count || count < 8 {
            low = self.another(upper, low, count)?;
        }
        is_digits(low).then(|| self.number + eight(low))
    }

    /// Remembers a number; its last digits.
    #[inline(never)]
    fn another(&mut self, words: [u64; 2], low: u64, count: usize) -> Option<u64> {
        if !(1..=19).contains(&count) {
            return None;
        }
        let masks = [MASKS[count.saturating_sub(16)], MASKS[count.saturating_sub(8).min(8)]];
        let upper = [words[0] & masks[0], words[1] & masks[1]];
        if !upper.into_iter().all(is_digits) {
            return None;
        }
        let number = (eight(upper[0]) * 100_000_000 + eight(upper[1])) * 100_000_000;
        *self = Self { count, masks, upper, number };
        Some(low & MASKS[count.min(8)])
    }
}

/// The number whose digits are the `count` bytes before `end`, eighteen at most; `None` also where they are too near to the begin
/// of the text to be read at once. That they are digits is known.
#[inline(always)]
pub(super) fn before(text: &[u8], end: usize, count: usize) -> Option<u64> {
    let [high, middle, low] = *text.get(end.wrapping_sub(24)..end)?.as_chunks::<8>().0 else { return None };
    match count {
        0..=8 => Some(eight(last(low, count))),
        9..=16 => Some(eight(last(middle, count - 8)) * 100_000_000 + eight(last(low, 8))),
        17..=18 => {
            let upper = eight(last(high, count - 16)) * 100_000_000 + eight(last(middle, 8));
            Some(upper * 100_000_000 + eight(last(low, 8)))
        }
        _ => None,
    }
}

/// The digits of the decimal number in the `count` bytes before `end`, as one number, and how many of them stand behind its point; as
/// [`before`]. `None` also where a point may stand behind the eighth byte.
#[inline(always)]
pub(super) fn decimal_before(text: &[u8], end: usize, count: usize) -> Option<(u64, usize)> {
    let start = end - count;
    let first = u64::from_le_bytes(*text.get(start..start + 8)?.first_chunk()?) ^ ZEROS;
    // The top bits of the bytes that are points; the first of them is right.
    let point = first ^ repeat(b'.' ^ b'0');
    let points = point.wrapping_sub(repeat(1)) & !point & TOP_BITS;
    let whole = points.trailing_zeros() as usize / 8;
    if count <= 8 {
        let digits = first << (64 - 8 * count);
        if whole >= count {
            return Some((eight(digits), 0));
        }
        // What stands before the point moves up to what stands behind it.
        let behind = u64::MAX << (64 - 8 * (count - whole));
        return Some((eight(digits & (behind << 8) | (digits & !behind) << 8), count - whole - 1));
    }
    if (whole == 8) | (count > 19) {
        return None;
    }
    let fraction = count - whole - 1;
    let above = eight(first << (64 - 8 * whole));
    Some((above * POWERS[fraction.min(18)] + before(text, end, fraction)?, fraction))
}

/// Of eight digits as characters the values of the last ones, zeros before them.
#[inline(always)]
fn last(bytes: [u8; 8], count: usize) -> u64 {
    (u64::from_le_bytes(bytes) ^ ZEROS) & MASKS[count.min(8)]
}

/// The last so many bytes of a word.
const MASKS: [u64; 9] = [0, !0 << 56, !0 << 48, !0 << 40, !0 << 32, !0 << 24, !0 << 16, !0 << 8, !0];

/// Powers of ten.
const POWERS: [u64; 19] = {
    let mut powers = [1; 19];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// Whether these are eight digits' values.
#[inline(always)]
fn is_digits(word: u64) -> bool {
    // A digit leaves 0 to 9. Adding 0x76 takes 10 and more to the top bit, which 128 and more have already.
    ((word & !TOP_BITS).wrapping_add(repeat(0x76)) | word) & TOP_BITS == 0
}

/// The number that at most nineteen digits write, which 64 bits hold; `None` for anything else, nothing included.
#[inline(always)]
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if !(1..=19).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (chunks, rest) = digits.as_chunks::<8>();
    let mut number =
        chunks.iter().fold(0, |number: u64, chunk| number * 100_000_000 + eight(u64::from_le_bytes(*chunk) ^ ZEROS));
    for digit in rest {
        number = number * 10 + u64::from(digit - b'0');
    }
    Some(number)
}

/// Eight digits' values, the first in the lowest byte: neighbours become pairs, pairs fours, fours the number.
#[inline(always)]
fn eight(ones: u64) -> u64 {
    let pairs = (ones * 10 + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_is_read_from_its_end_as_from_its_begin(
            before in "[0-9 =]{0,30}", text in "[0-9]{0,21}|[0-9]{0,8}[-+ a/:é]?[0-9]{0,9}", behind in "[0-9 ]{0,9}",
        ) {
            let (all, end) = (format!("{before}{text}{behind}"), before.len() + text.len());
            let expected = number(text.as_bytes()).filter(|_| end >= 24);
            let mut similar = Similar::default();
            for _ in 0..2 {
                prop_assert_eq!(similar.number_before(all.as_bytes(), end, text.len()), expected);
            }
        }

        #[test]
        fn numbers_are_read_as_the_standard_library_does(text in "[0-9]{0,21}|[0-9]{0,8}[-+ a/:]?[0-9]{0,9}") {
            let expected = text.parse::<u64>().ok().filter(|_| text.len() <= 19 && !text.starts_with('+'));
            prop_assert_eq!(number(text.as_bytes()), expected);
        }
    }

    #[test]
    fn the_longest_number_fits() {
        assert_eq!(number(&[b'9'; 19]), Some(9_999_999_999_999_999_999));
        assert_eq!((number(b""), number(&[b'0'; 20])), (None, None));
        assert_eq!(number(b"1234567890123456789"), Some(1_234_567_890_123_456_789));
    }
}
