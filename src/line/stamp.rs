//! Gives untimed lines a time and leaves every other byte of the body as it is.

use super::canonical::{write_time, write_untimed};
use super::fast::Reader;
use super::point::{Line, Nothing, Parts};
use super::{Dialect, Precision, lines};

/// The body with a timestamp on each accepted line that had none: `at_ns`, truncated to the precision and written in
/// its unit. Timed lines, refused lines, comments and line ends stay byte for byte, and reading the result gives the
/// same points.
///
/// A line whose accepted form cannot carry a timestamp (a stray byte that the servers ignore follows the fields) is
/// rewritten in canonical form; one that no form can carry stays untimed.
#[must_use]
pub fn stamp(body: &[u8], dialect: Dialect, precision: Precision, at_ns: i64) -> Vec<u8> {
    let units = precision.truncate(at_ns) / precision.unit_ns();
    let mut reader = Reader::new(body, dialect, precision);
    let mut out = Vec::with_capacity(body.len() + body.len() / 8 + 32);
    let mut copied = 0;
    while let Some(outcome) = reader.next(&mut Nothing) {
        let Ok(frame) = outcome else { continue };
        if frame.time_ns.is_some() {
            continue;
        }
        if simple_end(&body[frame.start..frame.end], &body[frame.fields_end..frame.end]) {
            out.extend_from_slice(&body[copied..frame.fields_end]);
            write_time(units, &mut out);
            copied = frame.fields_end;
            continue;
        }
        let Parts { tags, fields } = reader.parts_of(&frame);
        let line = Line { body, dialect, frame, tags, fields };
        if let Some(text) = stamped_with_care(&line, precision, units) {
            out.extend_from_slice(&body[copied..frame.start]);
            out.extend_from_slice(&text);
            copied = frame.end;
        }
    }
    out.extend_from_slice(&body[copied..]);
    out
}

/// Whether a stamp right after the fields is read as one: only spaces follow, and no backslash protects them.
fn simple_end(raw: &[u8], tail: &[u8]) -> bool {
    tail.iter().all(|b| *b == b' ') && !(tail.is_empty() && raw.ends_with(b"\\"))
}

/// The line with a stamp, in the first form that reads as the same data at its place in the body.
fn stamped_with_care(line: &Line<'_>, precision: Precision, units: i64) -> Option<Vec<u8>> {
    let mut after_blanks = line.raw().to_vec();
    after_blanks.extend_from_slice(units.to_string().as_bytes());
    let mut canonical = Vec::new();
    write_untimed(line, &mut canonical);
    write_time(units, &mut canonical);
    [after_blanks, canonical].into_iter().find(|text| says_the_same(text, line, precision))
}

fn says_the_same(text: &[u8], line: &Line<'_>, precision: Precision) -> bool {
    // What a backslash or a quote at the end of a line does depends on whether the body ends there.
    let behind: &[u8] = match &line.body[line.frame.end..] {
        [] => b"",
        [_] => b"\n",
        _ => b"\nnext v=1\n",
    };
    let placed = [text, behind].concat();
    let first = lines(&placed, line.dialect, precision).next();
    matches!(first, Some(Ok(first)) if first.span() == (0..text.len()) && first.timestamp_ns().is_some() && first.same_data(line))
}
