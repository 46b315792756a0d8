//! Numbers as VictoriaMetrics reads them, to the last bit.
//!
//! Promise: the same float as the server, its shortcuts and their rounding errors included: `-1.` is plus one, a mantissa of
//! up to 16 digits is divided by a power of ten and multiplied by another, and only what is longer is read exactly.

/// Why a text is no integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    Malformed,
    OutOfRange,
}

/// Digits with an optional minus.
pub(super) fn integer(text: &[u8]) -> Result<i64, Unfit> {
    parse(text, text.strip_prefix(b"-").unwrap_or(text))
}

/// Digits alone.
pub(super) fn unsigned(text: &[u8]) -> Result<u64, Unfit> {
    parse(text, text)
}

fn parse<N: std::str::FromStr>(text: &[u8], digits: &[u8]) -> Result<N, Unfit> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Unfit::Malformed);
    }
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Unfit::OutOfRange)
}

/// Digits before a number is handed to the exact reader, its minus counted.
const SHORT_WHOLE: usize = 18;
/// Digits and point of a number with a fraction before it is handed to the exact reader.
const SHORT_MANTISSA: usize = 16;
/// The largest exponent that the server works out itself.
const SHORT_EXPONENT: u32 = 300;

/// Whatever stands there as a number; what is none is 0.
pub(in crate::line) fn float(text: &[u8]) -> f64 {
    let number = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(number);
    if whole + text.len() - number.len() > SHORT_WHOLE {
        return exact(text);
    }
    match number.get(whole) {
        None if whole == 0 => 0.0,
        None => signed(text, decimal(number)),
        Some(b'.') => fraction(text, number, whole),
        Some(_) if whole == 0 => named(text, number),
        Some(_) => scaled(text, decimal(&number[..whole]), &number[whole..]),
    }
}

fn signed(text: &[u8], value: f64) -> f64 {
    if text.starts_with(b"-") { -value } else { value }
}

/// A number with a point behind its first digits, if it has any there.
fn fraction(text: &[u8], number: &[u8], whole: usize) -> f64 {
    let behind = &number[whole + 1..];
    let places = digits(behind);
    if whole == 0 && places == 0 {
        return 0.0;
    }
    if behind.is_empty() {
        // The server forgets the sign here.
        return decimal(&number[..whole]);
    }
    if places > 0 && whole + 1 + places > SHORT_MANTISSA {
        return exact(text);
    }
    let value = decimal_of(number[..whole].iter().chain(&behind[..places])) / TEN_TO[places];
    match &behind[places..] {
        [] => signed(text, value),
        rest => scaled(text, value, rest),
    }
}

/// What `rest` makes of a mantissa: 0, unless it is an exponent and no more.
fn scaled(text: &[u8], mantissa: f64, rest: &[u8]) -> f64 {
    let [b'e' | b'E', exponent @ ..] = rest else { return 0.0 };
    let (is_negative, exponent) = match exponent {
        [b'-', exponent @ ..] => (true, exponent),
        [b'+', exponent @ ..] => (false, exponent),
        _ => (false, exponent),
    };
    let mut power = 0;
    for digit in &exponent[..digits(exponent)] {
        power = power * 10 + u32::from(digit - b'0');
        if power > SHORT_EXPONENT {
            return exact(text);
        }
    }
    if exponent.is_empty() || digits(exponent) < exponent.len() {
        return 0.0;
    }
    signed(text, mantissa * ten_to(power, is_negative))
}

/// Infinity and not-a-number by their names, a further plus allowed.
fn named(text: &[u8], number: &[u8]) -> f64 {
    let name = number.strip_prefix(b"+").unwrap_or(number);
    if name.eq_ignore_ascii_case(b"inf") || name.eq_ignore_ascii_case(b"infinity") {
        return signed(text, f64::INFINITY);
    }
    if name.eq_ignore_ascii_case(b"nan") { f64::NAN } else { 0.0 }
}

/// The nearest float to a number in full notation, as Go's library reads it: digits may be set apart by underscores.
fn exact(text: &[u8]) -> f64 {
    let is_digit = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_digit);
    let apart = |at: usize| is_digit(at.checked_sub(1)) && is_digit(Some(at + 1));
    if memchr::memchr_iter(b'_', text).any(|at| !apart(at)) {
        return 0.0;
    }
    let plain: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'_').collect();
    std::str::from_utf8(&plain).ok().and_then(|plain| plain.parse().ok()).unwrap_or(0.0)
}

/// How many digits a text begins with.
fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// At most 18 digits.
fn decimal(digits: &[u8]) -> f64 {
    decimal_of(digits.iter())
}

/// Rounded here, as by the server.
fn decimal_of<'a>(digits: impl Iterator<Item = &'a u8>) -> f64 {
    digits.fold(0_u64, |value, digit| value * 10 + u64::from(digit - b'0')) as f64
}

const TEN_TO: [f64; 32] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28, 1e29, 1e30, 1e31,
];
const TEN_TO_32: [f64; 10] = [1e0, 1e32, 1e64, 1e96, 1e128, 1e160, 1e192, 1e224, 1e256, 1e288];
const TENTH_TO_32: [f64; 10] = [1e0, 1e-32, 1e-64, 1e-96, 1e-128, 1e-160, 1e-192, 1e-224, 1e-256, 1e-288];

/// A power of ten as Go's library works it out: not always the nearest float. `power` is at most 300.
fn ten_to(power: u32, is_negative: bool) -> f64 {
    let (large, small) = ((power / 32) as usize, (power % 32) as usize);
    if is_negative { TENTH_TO_32[large] / TEN_TO[small] } else { TEN_TO_32[large] * TEN_TO[small] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortcut_rounds_as_the_servers_does() {
        for (text, value) in [
            ("", 0.0),
            ("-", 0.0),
            (".", 0.0),
            ("-.", 0.0),
            ("-1", -1.0),
            ("-1.", 1.0),
            ("-1.e0", -1.0),
            ("-.5", -0.5),
            (".5e3", 500.0),
            ("1.e3", 1000.0),
            ("1e", 0.0),
            ("1e+", 0.0),
            ("1e5x", 0.0),
            ("1..2", 0.0),
            ("1_0", 0.0),
            ("0x1p4", 0.0),
            ("+1", 0.0),
            ("+inf", f64::INFINITY),
            ("-+Infinity", f64::NEG_INFINITY),
            ("-1e400", f64::NEG_INFINITY),
            ("1e-400", 0.0),
            ("1e301", 1e301),
            ("-1e301", -1e301),
            ("1234567890123456789", 1_234_567_890_123_456_789.0),
            ("-123456789012345678_9", -1_234_567_890_123_456_789.0),
            ("123456789012345678_", 0.0),
            ("1234567890123456789_", 0.0),
            ("1234567890123456789x", 0.0),
        ] {
            assert_eq!(float(text.as_bytes()).to_bits(), f64::to_bits(value), "{text}");
        }
        assert!(float(b"-NaN").is_nan());
        // 2^53 + 1 behind a point: read exactly, which is not what dividing would give.
        assert_eq!(Ok(float(b"-.9007199254740993e1")), "-.9007199254740993e1".parse());
        // 9007199254740993 is no float; the server rounds it before it divides.
        assert_eq!(float(b"900719925474099.3").to_bits(), (9_007_199_254_740_992.0_f64 / 10.0).to_bits());
    }

    #[test]
    fn integers_have_digits_and_a_range() {
        assert_eq!(integer(b"-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(integer(b"9223372036854775808"), Err(Unfit::OutOfRange));
        assert_eq!(unsigned(b"18446744073709551615"), Ok(u64::MAX));
        for malformed in ["", "-", "+1", "1x", "--1", "1_0"] {
            assert_eq!(integer(malformed.as_bytes()), Err(Unfit::Malformed), "{malformed}");
            assert_eq!(unsigned(malformed.as_bytes()), Err(Unfit::Malformed), "{malformed}");
        }
        assert_eq!(unsigned(b"-1"), Err(Unfit::Malformed));
    }
}
