//! A slow second reader, written apart from the quick one: the judge in tests and fuzzing.
//!
//! It first works out which bytes a backslash protects, then splits and copies. It shares no code with the parser but
//! the names of dialects and reasons.

use std::ops::Range;

use super::{Dialect, Precision, Reason};

/// A point with everything copied and unescaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The measurement.
    pub measurement: Vec<u8>,
    /// Keys and values, sorted.
    pub tags: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys and values in the order of the line.
    pub fields: Vec<(Vec<u8>, Datum)>,
    /// Nanoseconds since 1970.
    pub time_ns: Option<i64>,
}

/// A field's value; floats by their bits, so that values can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datum {
    /// IEEE 754 bits.
    Float(u64),
    /// Signed.
    Integer(i64),
    /// Unsigned.
    Unsigned(u64),
    /// True or false.
    Bool(bool),
    /// Unescaped.
    String(Vec<u8>),
    /// What the storage cannot decode.
    Undecodable(Vec<u8>),
}

/// Reads a body: for each line that is neither blank nor a comment its place and what became of it.
#[must_use]
pub fn parse(body: &[u8], dialect: Dialect, precision: Precision) -> Vec<(Range<usize>, Result<Point, Reason>)> {
    let mut outcomes = Vec::new();
    for mut span in cut(body) {
        let text_start = span.start + blanks(&body[span.clone()]);
        if text_start == span.end || body[text_start] == b'#' {
            continue;
        }
        if body[span.end - 1] == b'\n' {
            span.end -= 1;
        }
        outcomes.push((span.clone(), point(&body[text_start..span.end], dialect, precision)));
    }
    outcomes
}

fn blanks(text: &[u8]) -> usize {
    text.iter().position(|b| !b" \t\0".contains(b)).unwrap_or(text.len())
}

/// For each byte whether it is the second of a pair that begins with a backslash.
fn paired(text: &[u8], unpaired_at_end: usize) -> Vec<bool> {
    let mut second = vec![false; text.len()];
    for at in 1..text.len() {
        second[at] = text[at - 1] == b'\\' && !second[at - 1] && at + unpaired_at_end < text.len();
    }
    second
}

/// For each byte whether a backslash stands directly before it.
fn shielded(text: &[u8]) -> Vec<bool> {
    (0..text.len()).map(|at| at > 0 && text[at - 1] == b'\\').collect()
}

fn cut(body: &[u8]) -> Vec<Range<usize>> {
    let second = paired(body, 1);
    let mut spans = Vec::new();
    let (mut start, mut spaces, mut open, mut balance) = (0, 0, false, 0i64);
    for (at, byte) in body.iter().enumerate().filter(|(at, _)| !second[*at]) {
        match (*byte, open) {
            (b'\n', false) => {
                spans.push(start..at);
                (start, spaces, balance) = (at + 1, 0, 0);
            }
            (b' ', _) => spaces += 1,
            (b'=', false) if spaces > 0 => balance += 1,
            (b',', false) if spaces > 0 => balance -= 1,
            (b'"', _) if spaces > 0 && balance > 0 => open = !open,
            _ => {}
        }
    }
    spans.push(start..body.len());
    spans.retain(|span| !span.is_empty());
    spans
}

fn point(text: &[u8], dialect: Dialect, precision: Precision) -> Result<Point, Reason> {
    let shield = shielded(text);
    let key_end = (1..text.len()).find(|at| text[*at] == b' ' && !shield[*at]);
    let key = &text[..key_end.unwrap_or(text.len())];
    let (measurement, tags) = series(key, key_end.is_some(), dialect)?;
    let key_end = key_end.ok_or(Reason::MissingFields)?;
    if key.len() > 65_535 {
        return Err(Reason::KeyTooLong(key.len()));
    }
    let first = key_end + blanks(&text[key_end..]);
    let fields_end = check_fields(text, first, dialect)?;
    let mut fields = Vec::new();
    let (split, left_over) = stored(&text[first..fields_end]);
    for (name, value) in split {
        let size = key.len() + 4 + name.len();
        if size > 65_535 {
            return Err(Reason::KeyTooLong(size));
        }
        fields.push((strip(name, b",\" ="), datum(value)));
    }
    if !left_over.is_empty() {
        return Err(Reason::InvalidFieldValue);
    }
    let time_ns = time(&text[fields_end..], precision)?;
    Ok(Point { measurement, tags, fields, time_ns })
}

type Series = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);

fn series(key: &[u8], closed: bool, dialect: Dialect) -> Result<Series, Reason> {
    let pieces = split_unshielded(key, b',');
    if pieces[0].is_empty() {
        return Err(Reason::MissingMeasurement);
    }
    let mut raw: Vec<(&[u8], &[u8])> = Vec::new();
    for piece in &pieces[1..] {
        if matches!(piece.first(), None | Some(b'=')) {
            return Err(Reason::MissingTagKey);
        }
        let shield = shielded(piece);
        let equals: Vec<usize> = (0..piece.len()).filter(|at| piece[*at] == b'=' && !shield[*at]).collect();
        let Some(mark) = equals.first() else { return Err(Reason::MissingTagValue) };
        if mark + 1 == piece.len() {
            return Err(Reason::MissingTagValue);
        }
        if equals.iter().any(|at| *at > mark + 1) {
            return Err(Reason::InvalidTagFormat);
        }
        raw.push((&piece[..*mark], &piece[mark + 1..]));
    }
    if !closed {
        return Err(Reason::MissingFields);
    }
    if dialect == Dialect::Influx2 {
        for (name, _) in &raw {
            let shown = match *name {
                b"time" => "time",
                b"_field" => "_field",
                b"_measurement" => "_measurement",
                b"\x00" => "\\x00",
                b"\xff" => "\\xff",
                _ => continue,
            };
            return Err(Reason::ReservedTagKey(shown));
        }
    }
    let mut names: Vec<&[u8]> = raw.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() != raw.len() {
        return Err(Reason::DuplicateTags);
    }
    let mut tags: Vec<_> = raw.iter().map(|(name, value)| (strip(name, b", ="), strip(value, b", ="))).collect();
    tags.sort();
    Ok((strip(pieces[0], b",\" ="), tags))
}

fn split_unshielded(text: &[u8], separator: u8) -> Vec<&[u8]> {
    let shield = shielded(text);
    let mut pieces = Vec::new();
    let mut start = 0;
    for at in (0..text.len()).filter(|at| text[*at] == separator && !shield[*at]) {
        pieces.push(&text[start..at]);
        start = at + 1;
    }
    pieces.push(&text[start..]);
    pieces
}

fn strip(raw: &[u8], set: &[u8]) -> Vec<u8> {
    let mut plain: Vec<u8> = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        if raw[at] == b'\\' && at + 1 < raw.len() && set.contains(&raw[at + 1]) {
            at += 1;
        }
        plain.push(raw[at]);
        at += 1;
    }
    plain
}

fn check_fields(text: &[u8], first: usize, dialect: Dialect) -> Result<usize, Reason> {
    let mut second = paired(&text[first..], 0);
    second.splice(0..0, vec![false; first]);
    let (mut open, mut balance, mut any) = (false, 0i64, false);
    for at in first..text.len() {
        if second[at] {
            continue;
        }
        match (text[at], open) {
            (b'"', _) if balance > 0 => open = !open,
            (b',', false) => balance -= 1,
            (b' ', false) => return settled(balance, any).map(|()| at),
            (b'=', false) => {
                (balance, any) = (balance + 1, true);
                if matches!(text[at - 1], b' ' | b',') && text[at - 2] != b'\\' {
                    return Err(Reason::MissingFieldKey);
                }
                let value: &[u8] = text[at + 1..].split(|b| *b == b',' || *b == b' ').next().unwrap_or_default();
                match value.first() {
                    None => return Err(Reason::MissingFieldValue),
                    Some(b'"') => {}
                    Some(b'0'..=b'9' | b'.' | b'-' | b'n' | b'N') => number(value, dialect)?,
                    Some(_) => {
                        truth(value).ok_or(Reason::InvalidBoolean)?;
                    }
                }
            }
            _ => {}
        }
    }
    if open {
        return Err(Reason::UnbalancedQuotes);
    }
    settled(balance, any).map(|()| text.len())
}

fn settled(balance: i64, any: bool) -> Result<(), Reason> {
    if any && balance == 1 { Ok(()) } else { Err(Reason::InvalidFieldFormat) }
}

fn number(token: &[u8], dialect: Dialect) -> Result<(), Reason> {
    let text = String::from_utf8_lossy(token).into_owned();
    let unsigned_text = text.strip_prefix('-').unwrap_or(&text);
    let digits_before = |suffix: char| {
        unsigned_text.strip_suffix(suffix).is_some_and(|digits| !digits.is_empty() && digits.bytes().all(is_digit))
    };
    if digits_before('i') {
        return text[..text.len() - 1].parse::<i64>().map(drop).map_err(|_| Reason::IntegerOutOfRange);
    }
    if digits_before('u') {
        if dialect == Dialect::Influx1 || text.starts_with('-') {
            return Err(Reason::InvalidNumber);
        }
        return text[..text.len() - 1].parse::<u64>().map(drop).map_err(|_| Reason::UnsignedOutOfRange);
    }
    real(&text).map(drop).ok_or(Reason::InvalidNumber)
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

fn real(text: &str) -> Option<f64> {
    let unsigned_text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned_text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned_text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = whole.len() + fraction.len();
    if digits == 0 || !whole.bytes().chain(fraction.bytes()).all(is_digit) {
        return None;
    }
    if let Some(exponent) = exponent {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if digits.is_empty() || !digits.bytes().all(is_digit) {
            return None;
        }
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

fn truth(token: &[u8]) -> Option<bool> {
    match token {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Some(true),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Some(false),
        _ => None,
    }
}

type Named<'a> = (&'a [u8], &'a [u8]);

/// The fields as the storage splits them, and what is left when the last of them has no value.
fn stored(section: &[u8]) -> (Vec<Named<'_>>, &[u8]) {
    let mut fields = Vec::new();
    let mut rest = section;
    while let Some((name, value, tail)) = first_stored(rest) {
        fields.push((name, value));
        rest = tail;
    }
    (fields, rest)
}

fn first_stored(section: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let shield = shielded(section);
    let equals = (0..section.len()).find(|at| section[*at] == b'=' && !shield[*at])?;
    let value = section.get(equals + 1..).filter(|value| !value.is_empty())?;
    let mut open = false;
    let mut at = 0;
    while at < value.len() {
        if value[at..].starts_with(b"\\\"") || value[at..].starts_with(b"\\\\") {
            at += 1;
        } else if value[at] == b'"' {
            open = !open;
        } else if value[at] == b',' && !open {
            return Some((&section[..equals], &value[..at], &value[at + 1..]));
        }
        at += 1;
    }
    Some((&section[..equals], value, b""))
}

fn datum(value: &[u8]) -> Datum {
    let text = String::from_utf8_lossy(value).into_owned();
    let known = match value.first() {
        Some(b'"') => (value.len() > 1).then(|| Datum::String(strip(&value[1..value.len() - 1], b"\"\\"))),
        Some(b'0'..=b'9' | b'-' | b'.' | b'n' | b'N' | b'i' | b'I' | b'u') => {
            let head = text.get(..text.len() - 1).unwrap_or_default();
            match value.last() {
                Some(b'i') => head.parse().ok().map(Datum::Integer),
                Some(b'u') => head.parse().ok().map(Datum::Unsigned),
                _ => real(&text).map(|value| Datum::Float(value.to_bits())),
            }
        }
        _ => truth(value).map(Datum::Bool),
    };
    known.unwrap_or_else(|| Datum::Undecodable(value.to_vec()))
}

fn time(tail: &[u8], precision: Precision) -> Result<Option<i64>, Reason> {
    let rest = &tail[blanks(tail)..];
    let token: Vec<u8> = rest.iter().copied().take_while(|b| *b != b' ' && *b != b'\n').collect();
    if token.is_empty() {
        return Ok(None);
    }
    if !token.iter().enumerate().all(|(at, b)| is_digit(*b) || (at == 0 && *b == b'-')) {
        return Err(Reason::BadTimestamp);
    }
    if token == b"-" {
        return Err(Reason::LoneMinus);
    }
    let text = String::from_utf8_lossy(&token).into_owned();
    let count: i64 = text.parse().map_err(|_| Reason::TimestampOutOfRange)?;
    let ns = i128::from(count) * i128::from(precision.unit_ns());
    if ns < i128::from(i64::MIN) + 2 || ns > i128::from(i64::MAX) - 1 {
        return Err(Reason::TimeOutOfRange);
    }
    if rest[token.len()..].iter().any(|b| *b != b' ') {
        return Err(Reason::InvalidPoint);
    }
    Ok(i64::try_from(ns).ok())
}
