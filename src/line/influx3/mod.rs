//! Line protocol as InfluxDB 3 reads it.
//!
//! Promise: a line is accepted or refused, and an accepted line holds the same data, as with InfluxDB 3 Core's own parser. No input
//! panics, nothing recurses, and the time taken grows with the body alone.
//!
//! What is unlike the older servers: the body must be UTF-8, or it is refused whole; `\\` is one backslash in names too; a comma in a
//! tag key or a field key and an `=` in a tag value need no backslash; the comma behind the first field may be followed by none; a
//! float has digits on both sides of its point, and may be infinite (`1e400`); a space behind the fields must be followed by a
//! timestamp; a tag may come twice; no name and no text is longer than 64 KiB (the published crate of the parser has no such limit,
//! and is otherwise alike).
//!
//! A comment is cut as any other line is, so an odd quote or a backslash in it may hold its line feed; the server then reads what
//! follows as a line of its own, up to where the cut line ends. Here the comment, and each blank line, has a record of its own too.
//!
//! Above the parser, and not judged here: the server refuses a line that names a field twice, that uses one name for a tag and a
//! field, or whose field has another type than its column; it takes no minutes or hours, and guesses the unit where the request
//! says `auto`. It multiplies by the unit without looking: a time that then leaves 64 bits would be stored as another one, and is a
//! fault here.

mod cut;
mod fault;
mod name;
mod read;
mod value;

#[cfg(test)]
mod tests;

use std::ops::Range;

use super::Precision;
use super::record::{Outcome, Record};

/// The most bytes of a name or a text, unescaped.
pub const MAX_TEXT_BYTES: usize = 65_536;

/// Reads a body: one record for each line, comments and blank lines included; one in all when the body is not UTF-8.
#[must_use]
pub fn records(body: &[u8], precision: Precision) -> Vec<Record<'_>> {
    if let Err(error) = std::str::from_utf8(body) {
        let outcome = Outcome::Fault(fault::not_utf8(&error));
        return vec![Record { span: 0..body.len(), outcome }];
    }
    let mut records = Vec::new();
    let mut start = 0;
    while start < body.len() {
        let end = cut::line_end(body, start);
        read_cut(body, start..end, precision, &mut records);
        start = end + 1;
    }
    records
}

/// Reads what was cut as one line: comments and blank lines first, where a quote or a backslash holds their line feeds.
fn read_cut<'a>(body: &'a [u8], cut: Range<usize>, precision: Precision, records: &mut Vec<Record<'a>>) {
    let (mut start, end) = (cut.start, cut.end);
    let text = &body[..end];
    let mut skip = |span| records.push(Record { span, outcome: Outcome::Skipped });
    loop {
        let first = text[start..].iter().position(|byte| !b" \t\n".contains(byte)).map_or(end, |count| start + count);
        while let Some(count) = memchr::memchr(b'\n', &text[start..first]) {
            skip(start..start + count);
            start += count + 1;
        }
        match text.get(first) {
            Some(b'#') => {
                let Some(count) = memchr::memchr(b'\n', &text[first..]) else {
                    skip(start..end);
                    return;
                };
                skip(start..first + count);
                start = first + count + 1;
            }
            Some(_) => {
                let outcome = match read::line(text, first, precision) {
                    Ok(point) => Outcome::Point(point),
                    Err(fault) => Outcome::Fault(fault),
                };
                records.push(Record { span: start..end, outcome });
                return;
            }
            // Behind the last line feed of a body there is no line.
            None if start == body.len() => return,
            None => {
                skip(start..end);
                return;
            }
        }
    }
}
