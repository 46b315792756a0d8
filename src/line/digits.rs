//! Decimal digits, eight at a time in an ordinary register.

const ZEROS: u64 = repeat(b'0');
const TOP_BITS: u64 = repeat(0x80);

#[inline(always)]
const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// How many digits `text` begins with.
#[inline(always)]
pub(super) fn leading(text: &[u8]) -> usize {
    let mut count = 0;
    while let Some(chunk) = text.get(count..).and_then(<[u8]>::first_chunk::<8>) {
        let values = u64::from_le_bytes(*chunk) ^ ZEROS;
        // A digit leaves 0 to 9 here. Adding 0x76 takes 10 and more to the top bit, which 128 and more have already; a carry
        // out of those reaches only bytes behind the first that is no digit.
        let others = (values.wrapping_add(repeat(0x76)) | values) & TOP_BITS;
        if others != 0 {
            return count + (others.trailing_zeros() / 8) as usize;
        }
        count += 8;
    }
    count + text[count..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The number that at most nineteen digits write, which 64 bits hold; `None` for anything else, nothing included.
#[inline(always)]
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if !(1..=19).contains(&digits.len()) || leading(digits) != digits.len() {
        return None;
    }
    let (chunks, rest) = digits.as_chunks::<8>();
    let mut number = chunks.iter().fold(0, |number: u64, chunk| number * 100_000_000 + eight(*chunk));
    for digit in rest {
        number = number * 10 + u64::from(digit - b'0');
    }
    Some(number)
}

/// Eight digits: neighbours become pairs, pairs fours, fours the number.
#[inline(always)]
fn eight(chunk: [u8; 8]) -> u64 {
    let ones = u64::from_le_bytes(chunk) ^ ZEROS;
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
        fn digits_are_counted_as_one_by_one(text in prop::collection::vec(prop_oneof![b'0'..=b'9', any::<u8>()], 0..40)) {
            prop_assert_eq!(leading(&text), text.iter().take_while(|byte| byte.is_ascii_digit()).count());
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
