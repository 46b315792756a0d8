//! What a server accepts, and its user hardly meant.
//!
//! Promise: only lines that the parser does not refuse are noted, and only where it is known what the server does with them; and of
//! the file its first bytes, when they say that it is no plain text: whatever its lines say, that is to be mended first.

use super::Seen;
use crate::base::clock::rfc3339;
use crate::line::record::{Datum, Outcome, Point};
use crate::line::{Precision, Reading, Value};

/// One such thing.
#[derive(Debug)]
pub(super) struct Note {
    /// What notes of one kind share.
    pub(super) code: &'static str,
    /// The byte of the piece.
    pub(super) at: usize,
    pub(super) what: String,
    pub(super) mend: String,
}

/// A text above it is refused by the storage of InfluxDB 1.x and 2.x.
const LONGEST_TEXT: usize = 1 << 20;

/// What is to be said about a line that is accepted or skipped.
pub(super) fn notes(seen: &Seen<'_>, reading: Reading, precision: Precision) -> Vec<Note> {
    let raw = &seen.piece.bytes[seen.record.span.clone()];
    let start = seen.record.span.start;
    let point = match &seen.record.outcome {
        Outcome::Point(point) => point,
        Outcome::Skipped => return long_comment(raw, start, seen.line).into_iter().collect(),
        Outcome::Fault(_) => return Vec::new(),
    };
    let mut notes = Vec::new();
    let mut add = |code, at, what: String, mend: String| notes.push(Note { code, at: start + at, what, mend });
    if let Some((at, what, mend)) = point.time_ns.and_then(|ns| other_unit(raw, ns, precision)) {
        add("unit", at, what, mend);
    }
    if matches!(reading, Reading::Influx1 | Reading::Influx2) {
        if raw.ends_with(b"\"\r") {
            let what = "the carriage return belongs to the text for the server, which stores a quote at its end";
            let mend = "end lines with LF alone, for instance by tr -d '\\r' < FILE";
            add("carriage-return", raw.len() - 1, what.to_owned(), mend.to_owned());
        }
        if let Some((code, what, mend)) = storage(point) {
            add(code, 0, what, mend.to_owned());
        }
    }
    notes
}

/// What the first bytes of the file say, to be told with its first line.
pub(super) fn no_plain_text(seen: &Seen<'_>) -> Option<Note> {
    let is_first = seen.piece.offset == 0 && seen.record.span.start == 0;
    let (code, what, mend) = match seen.piece.bytes {
        _ if !is_first => return None,
        [0xef, 0xbb, 0xbf, ..] => (
            "byte-order-mark",
            "the file begins with a byte order mark, which becomes part of the measurement's name",
            "save the file as UTF-8 without it",
        ),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => (
            "utf-16",
            "the file is UTF-16, as Windows PowerShell writes it, and servers read UTF-8",
            "save the file as UTF-8, for instance by iconv -f UTF-16 -t UTF-8 FILE",
        ),
        [0x1f, 0x8b, ..] => ("gzip", "the file is compressed by gzip", "gzip -dc FILE | twinline lint -"),
        _ => return None,
    };
    Some(Note { code, at: 0, what: what.to_owned(), mend: mend.to_owned() })
}

/// A comment in which an open quote, or a backslash at the end of the line, swallows lines.
fn long_comment(raw: &[u8], start: usize, line: u64) -> Option<Note> {
    let more = memchr::memchr_iter(b'\n', raw).count() as u64;
    let what = format!("this comment goes on to line {}: none of these lines is read", line + more);
    let mend = "take the quotes out of the comment, and a backslash at the end of its line".to_owned();
    (more > 0).then_some(Note { code: "long-comment", at: start, what, mend })
}

/// What the storage of InfluxDB 1.x and 2.x refuses of a line that their parser takes; measured on 1.13 and 2.9.
fn storage(point: &Point<'_>) -> Option<(&'static str, String, &'static str)> {
    let rename = "give it another name";
    if point.tags.iter().any(|(key, _)| **key == *b"time") {
        return Some((
            "time-tag",
            "the storage drops a line with a tag called time, and answers 400".to_owned(),
            rename,
        ));
    }
    let timed = point.fields.iter().filter(|(key, _)| **key == *b"time").count();
    if timed > 0 {
        let lost = if timed == point.fields.len() { "drops a line that has only" } else { "leaves out" };
        return Some((
            "time-field",
            format!("the storage {lost} a field called time, and answers with an error"),
            rename,
        ));
    }
    let long = |value: &Datum<'_>| matches!(value, Datum::Value(Value::String(text)) if text.len() > LONGEST_TEXT);
    if point.fields.iter().any(|(_, value)| long(value)) {
        let what = format!("the storage refuses a text of more than {LONGEST_TEXT} bytes, and drops the line");
        return Some(("long-text", what, "shorten the text"));
    }
    None
}

/// When a timestamp has as many digits as one of our days in another unit.
fn other_unit(raw: &[u8], time_ns: i64, precision: Precision) -> Option<(usize, String, String)> {
    let units = time_ns / precision.unit_ns();
    let (meant, option) = match units {
        1_000_000_000..10_000_000_000 => (Precision::Second, "s"),
        1_000_000_000_000..10_000_000_000_000 => (Precision::Millisecond, "ms"),
        1_000_000_000_000_000..10_000_000_000_000_000 => (Precision::Microsecond, "us"),
        1_000_000_000_000_000_000.. => (Precision::Nanosecond, "ns"),
        _ => return None,
    };
    if meant == precision {
        return None;
    }
    let text = units.to_string();
    let at = memchr::memmem::rfind(raw, text.as_bytes())?;
    let of = |unit: Precision| units.checked_mul(unit.unit_ns()).map(rfc3339);
    let what = format!(
        "{text} is {} in {}s, and would be {} in {}s",
        rfc3339(time_ns),
        precision.name(),
        of(meant)?,
        meant.name()
    );
    Some((at, what, format!("--precision {option}, and precision={option} where it is sent")))
}
