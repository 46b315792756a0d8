//! Stamping, splitting and rewriting keep what a body says, or what is asked for.

use twinline::line::naive::{Datum, Point};
use twinline::line::{self, Dialect, Line, Precision};

use super::operations::operations;
use super::{DIALECTS, HEAD, copied, rules, slow};

pub fn rewrites(input: &[u8]) {
    let Some((head, body)) = input.split_first_chunk::<HEAD>() else { return };
    let (dialect, precision) = rules(head[0]);
    // A clock of our centuries, before 1970 too.
    let at_ns = i64::from(i16::from_le_bytes([head[2], head[3]])) * 70_000_000_000_007;
    stamps(body, dialect, precision, at_ns);
    splits(body, usize::from(head[1]) * 2, dialect, precision);
    canonical(body, dialect, precision, at_ns);
    plain(body, dialect, precision, at_ns);
    operations(head[1], body, dialect, precision);
}

fn stamps(body: &[u8], dialect: Dialect, precision: Precision, at_ns: i64) {
    let stamped = line::stamp(body, dialect, precision, at_ns);
    let (before, after) = (slow(body, dialect, precision), slow(&stamped, dialect, precision));
    assert_eq!(before.len(), after.len(), "{}", stamped.escape_ascii());
    for ((span, before), (_, after)) in before.into_iter().zip(after) {
        match (before, after) {
            (Ok(before), Ok(after)) if before.time_ns.is_none() => {
                // No form of the line can carry a time: it holds a line feed or a stray end.
                let kept = after.time_ns.is_none() && body[span].iter().any(|byte| matches!(byte, b'\\' | b'\n'));
                let time_ns = if kept { None } else { Some(precision.truncate(at_ns)) };
                assert_eq!(after, Point { time_ns, ..before });
            }
            (before, after) => assert_eq!(before, after),
        }
    }
    assert_eq!(line::stamp(&stamped, dialect, precision, at_ns), stamped, "a second stamp changes nothing");
}

fn splits(body: &[u8], most: usize, dialect: Dialect, precision: Precision) {
    let pieces = line::split(body, most);
    let mut next = 0;
    let mut read = Vec::new();
    for piece in pieces {
        assert!(piece.start == next && piece.end > next);
        next = piece.end;
        let text = &body[piece.clone()];
        // Longer than allowed only when it cannot be cut.
        assert!(text.len() <= most || line::split(text, 1).len() == 1, "{}", text.escape_ascii());
        let at = |span: std::ops::Range<usize>| span.start + piece.start..span.end + piece.start;
        read.extend(slow(text, dialect, precision).into_iter().map(|(span, outcome)| (at(span), outcome)));
    }
    assert_eq!(next, body.len());
    let whole = slow(body, dialect, precision);
    assert_eq!(read.len(), whole.len());
    for ((read_at, read), (whole_at, whole)) in read.into_iter().zip(whole) {
        assert_eq!((read_at.start, read), (whole_at.start, whole));
    }
}

fn storable(body: &[u8], dialect: Dialect, precision: Precision) -> Vec<Line<'_>> {
    line::lines(body, dialect, precision).flatten().filter(|line| line::unstorable(line).is_none()).collect()
}

fn canonical(body: &[u8], dialect: Dialect, precision: Precision, at_ns: i64) {
    let storable = storable(body, dialect, precision);
    let write = |lines: &[Line<'_>]| {
        let mut text = Vec::new();
        for line in lines {
            line::write_canonical(line, line.timestamp_ns().unwrap_or(at_ns), &mut text);
        }
        text
    };
    let text = write(&storable);
    let expected: Vec<_> = storable
        .iter()
        .map(|line| Ok(Point { time_ns: Some(line.timestamp_ns().unwrap_or(at_ns)), ..copied(line) }))
        .collect();
    let read: Vec<_> = slow(&text, dialect, Precision::Nanosecond).into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(read, expected, "{}", text.escape_ascii());
    let again: Vec<_> = line::lines(&text, dialect, Precision::Nanosecond).flatten().collect();
    let hashes = |lines: &[Line<'_>]| lines.iter().map(line::series_hash).collect::<Vec<_>>();
    assert_eq!(hashes(&again), hashes(&storable));
    assert!(write(&again) == text, "the canonical form of {} is another", text.escape_ascii());
}

/// Lines that need no rewriting are the same data at a server of either dialect, unless that is told.
fn plain(body: &[u8], dialect: Dialect, precision: Precision, at_ns: i64) {
    let mut lines = line::lines(body, dialect, precision).flatten();
    line::outline(body, dialect, precision, |outlined| {
        let Ok(outlined) = outlined else { return };
        let Some(line) = lines.next().filter(|_| outlined.careful.is_none()) else { return };
        assert_eq!(line::unstorable(&line), None);
        let mut text = Vec::new();
        line::write_plain(&body[outlined.span.start..outlined.fields_end], at_ns, &mut text);
        let expected = Point { time_ns: Some(at_ns), ..copied(&line) };
        for to in DIALECTS {
            let unfit = line::unfit(&line, to);
            assert!(unfit.is_none() || line::may_be_unfit(body, dialect, to), "{unfit:?}");
            let unsigned = expected.fields.iter().any(|(_, value)| matches!(value, Datum::Unsigned(_)));
            let refused = unfit.is_some_and(|unfit| !unfit.in_part) || (unsigned && to == Dialect::Influx1);
            let read = slow(&text, to, Precision::Nanosecond);
            assert!(
                refused || read == [(0..text.len() - 1, Ok(expected.clone()))],
                "{}: {read:?}",
                text.escape_ascii()
            );
        }
    });
}
