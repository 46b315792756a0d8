//! Decimal numbers of a few digits as 64-bit floats, without the standard library's general way.
//!
//! Promise: a number that is handed out is the float that is nearest to the decimal one, the even one of two that are equally
//! near; where that cannot be told for certain, nothing is.

use std::hint::select_unpredictable;

/// Digits behind the point up to which [`nearest`] has an answer.
const MAX_FRACTION: usize = 22;

/// Up to here each integer is a float.
const EXACT_MAX: u64 = 1 << 53;

/// Numbers below are likely to be short ones.
const SHORT: u64 = 1 << 32;

/// These powers of ten are floats.
const POWERS: [f64; MAX_FRACTION + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// `digits / 10^fraction`.
#[inline]
pub(super) fn nearest(digits: u64, fraction: usize) -> Option<f64> {
    let (power, reciprocal) = (POWERS.get(fraction)?, RECIPROCALS.get(fraction)?);
    let exact = digits <= EXACT_MAX;
    // Up to there both are, and so their quotient is rounded once, as it must be.
    let quotient = digits.cast_signed() as f64 / power;
    if digits < SHORT {
        return Some(quotient);
    }
    // Numbers of sixteen digits are on either side: to work out both costs less than to guess wrong.
    let (product, is_sure) = reciprocal.times(digits);
    (exact | is_sure).then_some(select_unpredictable(exact, quotient, product))
}

/// `1 / 5^n`, as `floor(2^scale / 5^n)` of 128 bits.
#[derive(Clone, Copy)]
struct Reciprocal {
    high: u64,
    low: u64,
    /// `n + scale`: what it takes to get from a product to a number over `10^n`.
    exponent: i32,
}

static RECIPROCALS: [Reciprocal; MAX_FRACTION + 1] = {
    let mut all = [Reciprocal { high: 0, low: 0, exponent: 0 }; MAX_FRACTION + 1];
    let (mut n, mut power) = (0, 1u64);
    while n <= MAX_FRACTION {
        all[n] = Reciprocal::of(power, n as i32);
        n += 1;
        power *= 5;
    }
    all
};

impl Reciprocal {
    const fn of(power: u64, n: i32) -> Self {
        // So many bits that the quotient has 128, long division, bit by bit; for 1 as well.
        let scale = 127 + (u64::BITS - (power - 1).leading_zeros()) as i32;
        let (mut quotient, mut rest, mut bits) = ((1 / power) as u128, (1 % power) as u128, scale);
        while bits > 0 {
            rest <<= 1;
            quotient <<= 1;
            if rest >= power as u128 {
                rest -= power as u128;
                quotient |= 1;
            }
            bits -= 1;
        }
        Self { high: (quotient >> 64) as u64, low: quotient as u64, exponent: n + scale }
    }

    /// The float nearest to a product with an integer above zero, and whether it is certain that it is.
    #[inline(always)]
    fn times(&self, digits: u64) -> (f64, bool) {
        let zeros = digits.leading_zeros();
        let factor = u128::from(digits << zeros);
        // The upper 128 of 192 bits. The reciprocal is too small by less than one, so the product is by less than `factor`, and what
        // is cut off here is less than one: the true value lies above this one by less than two.
        let product = factor * u128::from(self.high) + ((factor * u128::from(self.low)) >> 64);
        let (above, below) = ((product >> 64) as u64, product as u64);
        // 53 bits and one more to round by. The first bit is the top one or the next.
        let shift = 9 + (above >> 63);
        let mantissa = ((above >> shift) + 1) >> 1;
        // Where the rest is all zeros or all ones it is not known what the bits are, or that the number is no tie.
        let is_sure = below.wrapping_add(2) > 4;
        let exponent = 129 + shift as i32 - zeros as i32 - self.exponent;
        // The exponents of such numbers are small: no overflow, and nothing below the normal floats.
        (mantissa.cast_signed() as f64 * f64::from_bits(((exponent + 1023) as u64) << 52), is_sure)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(digits: u64, fraction: usize) -> String {
        format!("{digits}e-{fraction}")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn the_nearest_float_is_what_the_standard_library_finds(digits: u64, bits in 0u32..64, fraction in 0usize..=MAX_FRACTION) {
            let digits = digits >> bits;
            if let Some(float) = nearest(digits, fraction) {
                let expected: f64 = text(digits, fraction).parse().expect("it is a number");
                prop_assert_eq!(float.to_bits(), expected.to_bits());
            }
        }

        #[test]
        fn a_float_that_was_printed_is_read_back(float in prop_oneof![0f64..1e3, 0f64..1.0, 1e3..1e9]) {
            let printed = float.to_string();
            let (whole, fraction) = printed.split_once('.').unwrap_or((&printed, ""));
            if let Ok(digits) = format!("{whole}{fraction}").parse()
                && fraction.len() <= MAX_FRACTION
            {
                match nearest(digits, fraction.len()) {
                    Some(read) => prop_assert_eq!(read.to_bits(), float.to_bits()),
                    // It is the decimal number itself, to the last bit: that looks like a tie.
                    None => prop_assert!(digits > EXACT_MAX && (float * f64::from(1 << 30)).fract() == 0.0),
                }
            }
        }
    }

    #[test]
    fn ties_and_their_neighbours_are_right_or_left_to_others() {
        // Halfway between two floats of 54 bits, and next to it; exact numbers.
        for digits in [(1u64 << 54) + 2, (1 << 54) + 1, (1 << 54) + 3, u64::MAX, 1 << 63, (1 << 53) + 1] {
            for (times, fraction) in [(1, 0), (5, 1), (10, 1), (100, 2)] {
                let Some(digits) = digits.checked_mul(times) else { continue };
                let expected: f64 = text(digits, fraction).parse().expect("it is a number");
                let found = nearest(digits, fraction);
                assert!(found.is_none_or(|float| float.to_bits() == expected.to_bits()), "{digits} {fraction}");
            }
        }
        assert_eq!(nearest(1, MAX_FRACTION + 1), None);
        assert_eq!(nearest(u64::MAX, MAX_FRACTION + 1), None);
    }
}
