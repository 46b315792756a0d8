//! Numbers as QuestDB reads them.
//!
//! Promise: a text is a number here exactly when it is one for the server, and the same one. The single known exception is a
//! decimal float of more than a thousand digits whose exponent is above 10,000.

/// An integer or a time without its suffix: digits set apart by underscores, an `L` behind them.
///
/// The server sees an overflow only where the sum turns its direction; a number with too many digits may pass and be another.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let is_negative = text.starts_with(b"-");
    // The sum is kept below zero, where there is room for one more.
    let mut sum = 0_i64;
    let mut digits = 0;
    for (at, byte) in text.iter().enumerate().skip(usize::from(is_negative)) {
        match byte {
            b'0'..=b'9' => {
                let next = sum.wrapping_mul(10).wrapping_sub(i64::from(byte - b'0'));
                if next > sum {
                    return None;
                }
                sum = next;
                digits += 1;
            }
            // The server compares without regard to case: the second is its other case of an underscore.
            b'_' | 0x7f if digits > 0 => digits = 0,
            b'l' | b'L' if at > 0 && at + 1 == text.len() => {}
            _ => return None,
        }
    }
    if digits == 0 || (sum == i64::MIN && !is_negative) {
        return None;
    }
    Some(if is_negative { sum } else { -sum })
}

/// A float as Java writes it, blanks around it and a suffix allowed. One that is not zero but nearer to it than any float, or too
/// large for one, is none.
pub(in crate::line) fn float(text: &[u8]) -> Option<f64> {
    let blanks = text.iter().take_while(|byte| **byte <= b' ').count();
    let number = &text[blanks..];
    let (is_negative, number) = match number {
        [b'-', number @ ..] => (true, number),
        [b'+', number @ ..] => (false, number),
        _ => (false, number),
    };
    let signed = |value: f64| if is_negative { -value } else { value };
    match number {
        [] => None,
        [b'N', ..] => number.strip_prefix(b"NaN").filter(|rest| is_blank(rest)).map(|_| f64::NAN),
        [b'I'..=0x7f, ..] => {
            number.strip_prefix(b"Infinity").filter(|rest| is_blank(rest)).map(|_| signed(f64::INFINITY))
        }
        [b'0', b'x' | b'X', digits @ ..] => hex(digits).map(signed),
        _ => decimal_float(number).map(signed),
    }
}

fn is_blank(rest: &[u8]) -> bool {
    rest.iter().all(|byte| *byte <= b' ')
}

/// Nothing more, but for a suffix and blanks.
fn is_end(rest: &[u8]) -> bool {
    match rest {
        [b'd' | b'D' | b'f' | b'F', rest @ ..] => is_blank(rest),
        _ => is_blank(rest),
    }
}

fn count_digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Sign and digits behind an `e` or `p`.
fn exponent(text: &[u8]) -> Option<(bool, &[u8], &[u8])> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        _ => (false, text),
    };
    let (digits, rest) = digits.split_at(count_digits(digits));
    (!digits.is_empty()).then_some((is_negative, digits, rest))
}

fn decimal_float(number: &[u8]) -> Option<f64> {
    let whole = count_digits(number);
    let mut end = whole;
    if number.get(end) == Some(&b'.') {
        end += 1 + count_digits(&number[end + 1..]);
    }
    let mantissa = &number[..end];
    if !mantissa.iter().any(u8::is_ascii_digit) {
        return None;
    }
    let mut rest = &number[end..];
    if let [b'e' | b'E', behind @ ..] = rest {
        (_, _, rest) = exponent(behind)?;
    }
    if !is_end(rest) {
        return None;
    }
    let literal = std::str::from_utf8(&number[..number.len() - rest.len()]).ok()?;
    let value: f64 = literal.parse().ok()?;
    let is_zero = mantissa.iter().all(|byte| matches!(byte, b'0' | b'.'));
    (is_zero || (value != 0.0 && value.is_finite())).then_some(value)
}

/// What follows `0x`: hexadecimal digits with a point, `p`, and a power of two.
fn hex(number: &[u8]) -> Option<f64> {
    let end = number.iter().take_while(|byte| byte.is_ascii_hexdigit() || **byte == b'.').count();
    let (mantissa, rest) = number.split_at(end);
    let [b'p' | b'P', rest @ ..] = rest else { return None };
    let (is_negative, power, rest) = exponent(rest)?;
    let points = mantissa.iter().filter(|byte| **byte == b'.').count();
    if points > 1 || mantissa.len() == points || !is_end(rest) {
        return None;
    }
    let places = mantissa.iter().position(|byte| *byte == b'.').map_or(0, |point| mantissa.len() - point - 1);
    let digits = mantissa.iter().filter_map(|byte| char::from(*byte).to_digit(16)).map(u64::from);
    let mut kept = Kept::default();
    digits.for_each(|digit| kept.add(digit));
    if kept.bits == 0 {
        return Some(0.0);
    }
    // The server's shortcut: its exponent may have gone round, and what comes out may be infinite.
    let short = power.iter().fold(0_i32, |sum, digit| sum.wrapping_mul(10).wrapping_add(i32::from(digit - b'0')));
    let short = if is_negative { short.wrapping_neg() } else { short };
    let short = i64::from(short.wrapping_sub(i32::try_from(places).ok()?.wrapping_mul(4)));
    if kept.dropped == 0 && kept.bits < 1 << 53 && (-1022..=1023).contains(&short) {
        return Some(kept.bits as f64 * two_to(short));
    }
    let power = power.iter().fold(0_i64, |sum, digit| (sum * 10 + i64::from(digit - b'0')).min(FAR));
    let power = if is_negative { -power } else { power };
    let value = kept.times_two_to(power - 4 * i64::try_from(places).ok()?);
    (value != 0.0 && value.is_finite()).then_some(value)
}

/// An exponent from which on nothing changes; larger than four times any body, so that no number of digits makes up for it.
const FAR: i64 = 1 << 56;

/// The first bits of a long number.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    bits: u64,
    /// Hexadecimal digits behind them.
    dropped: i64,
    /// Whether one of those was not zero.
    is_more: bool,
}

impl Kept {
    fn add(&mut self, digit: u64) {
        if self.bits < 1 << 60 {
            self.bits = self.bits << 4 | digit;
        } else {
            self.dropped += 1;
            self.is_more |= digit != 0;
        }
    }

    /// The nearest float, an even one where two are as near. `bits` is not zero.
    fn times_two_to(self, power: i64) -> f64 {
        let zeros = self.bits.leading_zeros();
        let bits = self.bits << zeros;
        let power = power + 4 * self.dropped - i64::from(zeros);
        // The power of the first bit.
        let first = power + 63;
        if first > 1023 {
            return f64::INFINITY;
        }
        // Below the least normal float fewer bits are left, in the end none.
        let lost = 11 + (-1022 - first).max(0);
        let (left, rest, half) = match lost {
            ..=63 => (bits >> lost, bits & ((1 << lost) - 1), 1 << (lost - 1)),
            64 => (0, bits, 1 << 63),
            _ => return 0.0,
        };
        let is_up = rest > half || (rest == half && (self.is_more || left & 1 == 1));
        (left + u64::from(is_up)) as f64 * two_to(power + lost)
    }
}

/// From 2^-1074 to 2^1023.
fn two_to(power: i64) -> f64 {
    let bits = if power < -1022 { 1 << (power + 1074) } else { (power + 1023) << 52 };
    f64::from_bits(bits.cast_unsigned())
}

/// What a decimal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decimal {
    /// Written as `NaN` or `Infinity`.
    Null,
    Number,
}

/// Digits, or places behind the point, of the widest decimal.
const MAX_DECIMAL: i32 = 76;

/// A decimal without its suffix.
pub(super) fn decimal(text: &[u8]) -> Option<Decimal> {
    let text = match text {
        [text @ .., b'm' | b'M'] => text,
        _ => text,
    };
    let text = match text {
        [text @ .., b'f' | b'F' | b'd' | b'D'] => text,
        _ => text,
    };
    let spaces = text.iter().take_while(|byte| **byte == b' ').count();
    let text = match &text[spaces..] {
        [b'-' | b'+', text @ ..] => text,
        text => text,
    };
    if text.starts_with(b"NaN") || text.starts_with(b"Infinity") {
        return Some(Decimal::Null);
    }
    let zeros = text.iter().take_while(|byte| **byte == b'0').count().min(text.len().saturating_sub(1));
    let text = &text[zeros..];
    let whole = count_digits(text);
    let places = match &text[whole..] {
        [b'.', behind @ ..] => Some(count_digits(behind)),
        _ => None,
    };
    let end = whole + places.map_or(0, |places| places + 1);
    let places = i32::try_from(places.unwrap_or(0)).ok()?;
    let mut digits = i32::try_from(whole).ok()? + places;
    if digits == 0 {
        if zeros == 0 {
            return None;
        }
        // The zero that was skipped is the one digit.
        digits = 1;
    }
    let (mut scale, mut power) = (places, 0);
    match &text[end..] {
        [] => {}
        [b'e' | b'E', exponent @ ..] => {
            let exponent = small_integer(exponent)?;
            if exponent > places {
                (scale, power) = (0, exponent - places);
            } else {
                scale = places.wrapping_sub(exponent);
            }
        }
        _ => return None,
    }
    let precision = digits.wrapping_add(power).max(scale.wrapping_add(1));
    (scale <= MAX_DECIMAL && precision <= MAX_DECIMAL).then_some(Decimal::Number)
}

/// 32 bits, digits set apart by underscores.
fn small_integer(text: &[u8]) -> Option<i32> {
    let (is_negative, text) = match text {
        [b'-', text @ ..] => (true, text),
        [b'+', text @ ..] => (false, text),
        _ => (false, text),
    };
    let mut sum = 0_i64;
    let mut digits = 0;
    for byte in text {
        match byte {
            b'0'..=b'9' => {
                sum = sum * 10 + i64::from(byte - b'0');
                digits += 1;
            }
            b'_' if digits > 0 => digits = 0,
            _ => return None,
        }
        if sum > 1 << 31 {
            return None;
        }
    }
    let signed = if is_negative { -sum } else { sum };
    if digits > 0 { i32::try_from(signed).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_may_have_underscores_and_an_l() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("007", 7),
            ("1_000_000", 1_000_000),
            ("1L", 1),
            ("-1l", -1),
            ("1\u{7f}0", 10),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            // 2^64 + 2^62, whose sum comes round without a turn that the server could see.
            ("23058430092136939520", 1 << 62),
        ] {
            assert_eq!(integer(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", "-", "+1", "_1", "1_", "1__0", "l", "-l", "1l0", "1_l", "9223372036854775808", "1.0", "0x1"] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn floats_are_those_of_java() {
        for (text, value) in [
            ("1", 1.0),
            ("+1", 1.0),
            ("-0", -0.0),
            ("-0e999", -0.0),
            ("1.", 1.0),
            ("0.", 0.0),
            (".5", 0.5),
            ("1.e3", 1000.0),
            ("1E+2", 100.0),
            ("1D", 1.0),
            ("1e1F", 10.0),
            ("\t1f\u{1}", 1.0),
            ("1e308", 1e308),
            ("5e-324", 5e-324),
            ("-Infinity", f64::NEG_INFINITY),
            ("0x1p4", 16.0),
            ("0X.8p1", 1.0),
            ("-0x1.8p-1", -0.75),
            ("0x0p9", 0.0),
            ("0x1p-1074", 5e-324),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0x20000000000001p0", 9_007_199_254_740_992.0),
            ("0x20000000000003p0", 9_007_199_254_740_996.0),
            ("0x200000000000010000000000000000001p-76", 9_007_199_254_740_994.0),
            // The exponent goes round, and a sum of the shortcut may be infinite.
            ("0x1p4294967297", 2.0),
            ("0x3p1023", f64::INFINITY),
        ] {
            assert_eq!(float(text.as_bytes()).map(f64::to_bits), Some(f64::to_bits(value)), "{text}");
        }
        assert!(float(b"-NaN ").is_some_and(f64::is_nan));
        for text in [
            "",
            "-",
            ".",
            "-.",
            "e5",
            "1e",
            "1e+",
            "1..2",
            "1.2.3",
            "--1",
            "1_0",
            "1x",
            "nan",
            "Inf",
            "Infinityx",
            "1fd",
            "1e400",
            "1e-400",
            "-1e-400",
            "0x1",
            "0xp1",
            "0x.p1",
            "0x1p",
            "0x1p+",
            "0x1.2.3p1",
            "0x1p1024",
            "0x1p-2000",
            "0x.8p-1074",
            "1 2",
            "é",
        ] {
            assert_eq!(float(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn decimals_have_at_most_76_digits() {
        let long = "9".repeat(76);
        for text in
            ["1", "-1.5", "+.5", "1.", "0.", "000", "1e5", "1e-5", "12e+1_0", "1m", "1fM", " 1", &long, "1e75", "1e-75"]
        {
            assert_eq!(decimal(text.as_bytes()), Some(Decimal::Number), "{text}");
        }
        assert_eq!(decimal(b"NaN"), Some(Decimal::Null));
        assert_eq!(decimal(b"-Infinity"), Some(Decimal::Null));
        let longer = format!("{long}9");
        for text in
            ["", "-", ".", "e5", "1e", "1e+", "1e76", "1e-76", "1Mf", "1x", "1 ", "1..2", "1e99999999999", &longer]
        {
            assert_eq!(decimal(text.as_bytes()), None, "{text}");
        }
    }
}
