//! Numbers, booleans and timestamps: what the servers accept, and what they read.

use std::borrow::Cow;

use super::point::{FieldKind, Value};
use super::reason::Reason;
use super::{Dialect, Precision};
use super::{digits, escape, float};

/// Earliest and latest time that the servers store, in nanoseconds; the outermost values of 64 bits are theirs.
const TIME_RANGE_NS: std::ops::RangeInclusive<i64> = i64::MIN + 2..=i64::MAX - 1;

/// Digits of a float below which its value cannot leave the range of 64 bits.
const SAFE_FLOAT_BYTES: usize = 25;

/// An ordinary number (see `numbers`) of so many bytes is in range, of whichever kind it is: an integer has eighteen digits
/// at most.
pub(super) const ORDINARY_BYTES: usize = 19;

/// Checks a field value that is not a string.
///
/// # Errors
/// The servers' reason to refuse it.
#[inline]
pub(super) fn check(token: &[u8], dialect: Dialect) -> Result<FieldKind, Reason> {
    match token.first() {
        Some(b'0'..=b'9' | b'.' | b'-' | b'N' | b'n') => check_number(token, dialect),
        Some(_) if boolean(token).is_some() => Ok(FieldKind::Bool),
        _ => Err(Reason::InvalidBoolean),
    }
}

#[inline]
fn check_number(token: &[u8], dialect: Dialect) -> Result<FieldKind, Reason> {
    let digits = token.strip_prefix(b"-").unwrap_or(token);
    let whole = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let rest = &digits[whole..];
    match rest {
        [] if whole > 0 => float_in_range(token),
        [b'i'] if whole > 0 => integer_in_range(&token[..token.len() - 1]),
        [b'.', fraction @ ..] if fraction.iter().all(u8::is_ascii_digit) && digits.len() > 1 => float_in_range(token),
        [b'u'] if whole > 0 && dialect == Dialect::Influx2 => unsigned_in_range(token),
        _ => check_unusual_number(token),
    }
}

fn integer_in_range(token: &[u8]) -> Result<FieldKind, Reason> {
    if token.len() >= 19 && text(token).parse::<i64>().is_err() {
        return Err(Reason::IntegerOutOfRange);
    }
    Ok(FieldKind::Integer)
}

fn unsigned_in_range(token: &[u8]) -> Result<FieldKind, Reason> {
    match token {
        [b'-', ..] => Err(Reason::InvalidNumber),
        [digits @ .., _] if digits.len() >= 20 && text(digits).parse::<u64>().is_err() => {
            Err(Reason::UnsignedOutOfRange)
        }
        _ => Ok(FieldKind::Unsigned),
    }
}

fn float_in_range(token: &[u8]) -> Result<FieldKind, Reason> {
    if token.len() >= SAFE_FLOAT_BYTES && float(token).is_none() {
        return Err(Reason::InvalidFloat);
    }
    Ok(FieldKind::Float)
}

/// What is left: scientific notation, and everything that is wrong.
#[cold]
fn check_unusual_number(token: &[u8]) -> Result<FieldKind, Reason> {
    let after_exponent = |at: usize| at > 0 && matches!(token[at - 1], b'e' | b'E');
    let spelled_like_a_float = token.iter().enumerate().skip(usize::from(token[0] == b'-')).all(|(at, b)| match b {
        b'0'..=b'9' | b'.' => true,
        b'e' | b'E' => at > 0,
        b'+' | b'-' => after_exponent(at),
        _ => false,
    });
    let points = token.iter().filter(|b| **b == b'.').count();
    if !spelled_like_a_float || points > 1 || !token.iter().any(|b| matches!(b, b'e' | b'E')) {
        return Err(Reason::InvalidNumber);
    }
    float(token).map(|_| FieldKind::Float).ok_or(Reason::InvalidFloat)
}

/// Where in a refused value or timestamp the first byte stands that does not fit; 0 where it is wrong as a whole.
#[cold]
pub(super) fn broken_at(token: &[u8], reason: Reason) -> usize {
    let minus = usize::from(token.first() == Some(&b'-'));
    let digits = |from: usize| from + token[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    match reason {
        Reason::BadTimestamp => digits(minus),
        Reason::InvalidNumber => {
            let mut at = digits(minus);
            if token.get(at) == Some(&b'.') {
                at = digits(at + 1);
            }
            if at > minus && matches!(token.get(at), Some(b'e' | b'E')) {
                at += 1;
                at = digits(at + usize::from(matches!(token.get(at), Some(b'+' | b'-'))));
            }
            at
        }
        // The spelling is right, and the line ends in a carriage return.
        Reason::InvalidBoolean if token.strip_suffix(b"\r").is_some_and(|token| boolean(token).is_some()) => {
            token.len() - 1
        }
        _ => 0,
    }
}

fn text(token: &[u8]) -> &str {
    std::str::from_utf8(token).unwrap_or_default()
}

/// The value of a float, unless it is malformed or infinite.
fn float(token: &[u8]) -> Option<f64> {
    if !token.iter().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')) {
        return None;
    }
    let shortened = with_short_exponent(token);
    text(&shortened).parse::<f64>().ok().filter(|value| value.is_finite())
}

/// The servers read at most five significant digits of an exponent. That shows only beside a mantissa of thousands of
/// digits that makes up for it.
fn with_short_exponent(token: &[u8]) -> Cow<'_, [u8]> {
    let Some(mark) = token.iter().position(|b| matches!(b, b'e' | b'E')) else { return Cow::Borrowed(token) };
    let digits = mark + 1 + usize::from(matches!(token.get(mark + 1), Some(b'+' | b'-')));
    let zeros = token[digits..].iter().take_while(|b| **b == b'0').count();
    let significant = &token[digits + zeros..];
    if significant.len() <= 5 || !significant.iter().all(u8::is_ascii_digit) {
        return Cow::Borrowed(token);
    }
    Cow::Owned([&token[..digits], &significant[..5]].concat())
}

/// One of the ten spellings.
pub(super) fn boolean(token: &[u8]) -> Option<bool> {
    match token {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Some(true),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Some(false),
        _ => None,
    }
}

/// How the servers' storage reads a value, which it finds by its own rule and does not check again.
pub(super) fn kind_as_stored(token: &[u8]) -> FieldKind {
    let kind = match token {
        [b'"', .., _] => FieldKind::String,
        [b'0'..=b'9' | b'-' | b'.' | b'n' | b'N' | b'i' | b'I' | b'u', .., b'i'] => FieldKind::Integer,
        [b'0'..=b'9' | b'-' | b'.' | b'n' | b'N' | b'i' | b'I' | b'u', .., b'u'] => FieldKind::Unsigned,
        [b'0'..=b'9' | b'-' | b'.', ..] => FieldKind::Float,
        [] | [b'"'] => FieldKind::Undecodable,
        _ => FieldKind::Bool,
    };
    match kind {
        // Of two bytes or more, which is all that it takes.
        FieldKind::String => kind,
        _ if matches!(decode(token, kind), Value::Undecodable(_)) => FieldKind::Undecodable,
        _ => kind,
    }
}

/// The value of a token whose kind is known.
pub(super) fn decode(token: &[u8], kind: FieldKind) -> Value<'_> {
    let number = || text(&token[..token.len().saturating_sub(1)]);
    let value = match kind {
        FieldKind::Float => short_float(token).or_else(|| float(token)).map(Value::Float),
        FieldKind::Integer => short_integer(token).or_else(|| number().parse().ok()).map(Value::Integer),
        FieldKind::Unsigned => number().parse().ok().map(Value::Unsigned),
        FieldKind::Bool => boolean(token).map(Value::Bool),
        FieldKind::String => match token {
            // The servers cut the first and the last byte, whatever they are.
            [_, inner @ .., _] => Some(Value::String(escape::unescape_string(inner))),
            _ => None,
        },
        FieldKind::Undecodable => None,
    };
    value.unwrap_or(Value::Undecodable(token))
}

/// The value of a float of few digits, without an exponent.
#[inline]
fn short_float(token: &[u8]) -> Option<f64> {
    /// With a point; so that 64 bits hold the digits.
    const LONGEST: usize = 20;
    let (negative, digits) = token.strip_prefix(b"-").map_or((false, token), |digits| (true, digits));
    if !(1..=LONGEST).contains(&digits.len()) {
        return None;
    }
    let (mut number, mut point) = (0u64, None);
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => number = number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
            b'.' if point.is_none() => point = Some(at),
            _ => return None,
        }
    }
    if point.is_some() && digits.len() == 1 {
        return None;
    }
    let value = float::nearest(number, point.map_or(0, |at| digits.len() - 1 - at))?;
    Some(if negative { -value } else { value })
}

/// The value of an integer of at most eighteen digits, with its `i`.
#[inline]
fn short_integer(token: &[u8]) -> Option<i64> {
    let number = token.strip_suffix(b"i")?;
    let (negative, digits) = number.strip_prefix(b"-").map_or((false, number), |digits| (true, digits));
    let value = digits::number(digits).filter(|_| digits.len() <= 18)?.cast_signed();
    Some(if negative { -value } else { value })
}

/// A timestamp of digits with an optional minus sign, in nanoseconds.
///
/// # Errors
/// The servers' reason to refuse it.
#[inline(always)]
pub(super) fn time_ns(token: &[u8], precision: Precision) -> Result<i64, Reason> {
    let digits = token.strip_prefix(b"-").unwrap_or(token);
    match digits::number(digits) {
        Some(count) if digits.len() == token.len() => in_range(count, precision),
        Some(count) if i64::try_from(count).is_ok() => of_units(-count.cast_signed(), precision),
        // The lowest value of all, more digits than nineteen, and what is no number.
        _ if token == b"-" => Err(Reason::LoneMinus),
        _ if digits.iter().all(u8::is_ascii_digit) => {
            of_units(text(token).parse().map_err(|_| Reason::TimestampOutOfRange)?, precision)
        }
        _ => Err(Reason::BadTimestamp),
    }
}

/// So many units since 1970, in nanoseconds.
///
/// # Errors
/// The servers' reason to refuse it.
#[inline(always)]
pub(super) fn in_range(count: u64, precision: Precision) -> Result<i64, Reason> {
    of_units(i64::try_from(count).map_err(|_| Reason::TimestampOutOfRange)?, precision)
}

#[inline(always)]
fn of_units(count: i64, precision: Precision) -> Result<i64, Reason> {
    count.checked_mul(precision.unit_ns()).filter(|ns| TIME_RANGE_NS.contains(ns)).ok_or(Reason::TimeOutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn short_numbers_are_read_as_the_standard_library_does(text in "-?[0-9]{0,18}(\\.[0-9]{0,18})?(e[0-9])?") {
            let expected = text.parse::<f64>().ok();
            if let Some(value) = short_float(text.as_bytes()) {
                prop_assert_eq!(Some(value.to_bits()), expected.map(f64::to_bits));
            }
            let integer = text.parse::<i64>().ok();
            if let Some(value) = short_integer(format!("{text}i").as_bytes()) {
                prop_assert_eq!(Some(value), integer);
            }
        }

        #[test]
        fn ordinary_numbers_take_the_short_way(whole in 0u64..1_000_000_000, fraction in 0u64..1_000_000) {
            let texts = (format!("-{whole}.{fraction}"), format!("-{whole}{fraction}i"));
            prop_assert!(short_float(texts.0.as_bytes()).is_some());
            prop_assert!(short_integer(texts.1.as_bytes()).is_some());
        }
    }
}
