//! Line protocol as VictoriaMetrics reads it.
//!
//! Promise: a line is accepted or refused exactly as the server's own parser does, and an accepted line holds the data that the
//! server is left with: every field is a float (texts that are no numbers and anything unknown are 0, true is 1, and not even
//! infinity is refused), tags without a name or a value are gone, times are whole milliseconds. No input panics, and the time
//! taken grows with the body alone.
//!
//! What follows a refused line is read too. The server does so for a stream; of a request it stores nothing once a line is
//! refused, and reads no further.
//!
//! The unit is taken as given. A request that names none is left to the server's guess by the size of each timestamp: from
//! 10^17 nanoseconds, from 10^14 microseconds, from 10^11 milliseconds, below that seconds.

pub(super) mod number;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use super::excerpt::excerpt;
use super::record::{Datum, Fault, Outcome, Point, Record, Text};
use super::{Precision, Value, scalar};
use number::{Unfit, float, integer, unsigned};

const NS_PER_MS: i64 = 1_000_000;

/// Every line of a body, comments and blank lines included.
#[must_use]
pub fn records(body: &[u8], precision: Precision) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    let mut start = 0;
    while start < body.len() {
        let line_feed = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |at| start + at);
        let is_windows = line_feed > start && body[line_feed - 1] == b'\r';
        let span = start..line_feed - usize::from(is_windows);
        let outcome = match body[span.clone()].first() {
            None | Some(b'#') => Outcome::Skipped,
            Some(_) => point(body, span.clone(), precision).map_or_else(Outcome::Fault, Outcome::Point),
        };
        records.push(Record { span, outcome });
        start = line_feed + 1;
    }
    records
}

/// Where the last whole line of a body's beginning ends, whatever follows; 0 when there is none.
#[must_use]
pub fn whole_lines(beginning: &[u8]) -> usize {
    memchr::memrchr(b'\n', beginning).map_or(0, |at| at + 1)
}

fn point(body: &[u8], line: Range<usize>, precision: Precision) -> Result<Point<'_>, Fault> {
    let Some(space) = bare(body, line.clone(), b' ') else {
        return Err(Fault {
            at: line.end,
            code: "missing-fields",
            reason: format!("cannot find Whitespace I in {}", excerpt(&body[line])),
            mend: "a space and at least one field must follow the measurement and its tags: measurement,tag=value field=1",
        });
    };
    let comma = bare(body, line.start..space, b',');
    let measurement = unescape(&body[line.start..comma.unwrap_or(space)]);
    let tags = match comma {
        Some(comma) => tags(body, comma + 1..space)?,
        None => Vec::new(),
    };
    let first = skip_spaces(body, space + 1..line.end);
    let fields_end = unquoted(body, first..line.end, b' ').unwrap_or(line.end);
    let fields = fields(body, first..fields_end)?;
    let time_ns = time(body, skip_spaces(body, fields_end..line.end)..line.end, precision)?;
    Ok(Point { measurement, tags, fields, time_ns })
}

fn tags(body: &[u8], section: Range<usize>) -> Result<Vec<(Text<'_>, Text<'_>)>, Fault> {
    let mut tags = Vec::new();
    let mut start = section.start;
    loop {
        let comma = bare(body, start..section.end, b',');
        let end = comma.unwrap_or(section.end);
        let Some(equals) = bare(body, start..end, b'=') else {
            return Err(Fault {
                at: end,
                code: "missing-tag-value",
                reason: format!("missing tag value for {}", excerpt(&body[start..end])),
                mend: "write each tag as name=value, and no comma behind the last one; a space or comma inside a name or \
                       value needs a backslash before it",
            });
        };
        let (key, value) = (start..equals, equals + 1..end);
        if !key.is_empty() && !value.is_empty() {
            tags.push((unescape(&body[key]), unescape(&body[value])));
        }
        match comma {
            Some(comma) => start = comma + 1,
            None => return Ok(tags),
        }
    }
}

fn fields(body: &[u8], section: Range<usize>) -> Result<Vec<(Text<'_>, Datum<'_>)>, Fault> {
    let mut fields = Vec::new();
    let mut start = section.start;
    loop {
        let comma = unquoted(body, start..section.end, b',');
        let end = comma.unwrap_or(section.end);
        let Some(equals) = bare(body, start..end, b'=') else {
            return Err(missing_field_value(body, start..end, section.is_empty()));
        };
        if equals == start {
            return Err(Fault {
                at: start,
                code: "missing-field-key",
                reason: "field key cannot be empty".to_owned(),
                mend: "write the field's name right before the =",
            });
        }
        let key = unescape(&body[start..equals]);
        let value = value(body, equals + 1..end).map_err(|fault| Fault {
            reason: format!("cannot parse field value for {}: {}", excerpt(&key), fault.reason),
            ..fault
        })?;
        fields.push((key, Value::Float(value).into()));
        match comma {
            Some(comma) => start = comma + 1,
            None => return Ok(fields),
        }
    }
}

#[cold]
fn missing_field_value(body: &[u8], field: Range<usize>, is_all: bool) -> Fault {
    Fault {
        at: field.end,
        code: if is_all { "missing-fields" } else { "missing-field-value" },
        reason: format!("missing field value for {}", excerpt(&body[field])),
        mend: "write each field as name=value, with a comma and no space between, and no comma behind the last one",
    }
}

/// One field's value; the fault's reason does not name the field yet.
fn value(body: &[u8], place: Range<usize>) -> Result<f64, Fault> {
    let raw = &body[place.clone()];
    let fault = |code, reason, mend| Err(Fault { at: place.start, code, reason, mend });
    match raw {
        [] => fault(
            "missing-field-value",
            "field value cannot be empty".to_owned(),
            "write the value right after the =, or leave the field out; an empty text is \"\"",
        ),
        [b'"', inner @ .., b'"'] => Ok(float(inner)),
        [b'"', ..] => fault(
            "unbalanced-quotes",
            format!(
                "missing closing quote for quoted field value {}; this may be caused by a raw newline (`\\n`) inside the \
                 quoted field value",
                excerpt(raw)
            ),
            "end the text with a quote right before the next comma or space; VictoriaMetrics takes no line feed inside a text",
        ),
        [digits @ .., b'i'] => match integer(digits) {
            Ok(number) => Ok(number as f64),
            Err(Unfit::Malformed) => fault(
                "invalid-number",
                format!("cannot parse int64 from {}", excerpt(digits)),
                "an integer is digits with an optional minus before them and an i behind; without the i it is a float",
            ),
            Err(Unfit::OutOfRange) => fault(
                "integer-out-of-range",
                format!("parsing {}: value out of range", excerpt(digits)),
                "an integer is -9223372036854775808i to 9223372036854775807i; without the i the number is a float",
            ),
        },
        [digits @ .., b'u'] => match unsigned(digits) {
            Ok(number) => Ok(number as f64),
            Err(Unfit::Malformed) => fault(
                "invalid-number",
                format!("cannot parse uint64 from {}", excerpt(digits)),
                "an unsigned integer is digits alone with a u behind; without the u it is a float",
            ),
            Err(Unfit::OutOfRange) => fault(
                "unsigned-out-of-range",
                format!("parsing {}: value out of range", excerpt(digits)),
                "an unsigned integer is 0u to 18446744073709551615u; without the u the number is a float",
            ),
        },
        _ => Ok(scalar::boolean(raw).map_or_else(|| float(raw), f64::from)),
    }
}

/// The time as the server keeps it. A timestamp of 0 is none: the server takes its own time then.
fn time(body: &[u8], place: Range<usize>, precision: Precision) -> Result<Option<i64>, Fault> {
    let raw = &body[place.clone()];
    if raw.is_empty() {
        return Ok(None);
    }
    let count = integer(raw).map_err(|unfit| {
        let (code, why) = match unfit {
            Unfit::Malformed => ("bad-timestamp", "not an integer"),
            Unfit::OutOfRange => ("timestamp-out-of-range", "value out of range"),
        };
        Fault {
            at: place.start,
            code,
            reason: format!("cannot parse timestamp {}: {why}", excerpt(raw)),
            mend: "a timestamp is a whole number of at most 19 digits, and nothing may follow it, not even a space",
        }
    })?;
    let ms = match precision {
        Precision::Nanosecond | Precision::Microsecond | Precision::Millisecond => {
            count / (NS_PER_MS / precision.unit_ns())
        }
        // Past what 64 bits hold the server goes round.
        Precision::Second | Precision::Minute | Precision::Hour => count.wrapping_mul(precision.unit_ns() / NS_PER_MS),
    };
    // Milliseconds reach further than nanoseconds; no server keeps data of those years.
    Ok((count != 0).then(|| ms.saturating_mul(NS_PER_MS)))
}

fn skip_spaces(body: &[u8], place: Range<usize>) -> usize {
    let spaces = body[place.clone()].iter().take_while(|byte| **byte == b' ').count();
    place.start + spaces
}

/// The first of these bytes that no backslash escapes.
fn bare(body: &[u8], place: Range<usize>, wanted: u8) -> Option<usize> {
    let mut at = place.start;
    while at < place.end {
        match body[at] {
            byte if byte == wanted => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// The first of these bytes that no backslash escapes and that does not stand between quotes. A quote counts anywhere.
fn unquoted(body: &[u8], place: Range<usize>, wanted: u8) -> Option<usize> {
    let mut at = place.start;
    let mut is_open = false;
    while at < place.end {
        match body[at] {
            b'"' => is_open = !is_open,
            b'\\' => at += 1,
            byte if byte == wanted && !is_open => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Takes the backslash off before a space, comma, equals sign and backslash; any other stays, and so does what follows it.
fn unescape(raw: &[u8]) -> Text<'_> {
    if memchr::memchr(b'\\', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut plain = Vec::with_capacity(raw.len());
    let mut rest = raw;
    loop {
        match rest {
            [b'\\', escaped, tail @ ..] => {
                if !matches!(escaped, b' ' | b',' | b'=' | b'\\') {
                    plain.push(b'\\');
                }
                plain.push(*escaped);
                rest = tail;
            }
            [byte, tail @ ..] => {
                plain.push(*byte);
                rest = tail;
            }
            [] => return Cow::Owned(plain),
        }
    }
}
