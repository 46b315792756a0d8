//! The common form of what InfluxDB 1.x and 2.x read, with the byte of each fault and how to mend it.
//!
//! Promise: a line is refused here exactly when [`super::lines`] refuses it, or when the server's storage cannot decode one
//! of its values, and its data is what [`super::lines`] reads.

use super::cut::line_end;
use super::index::{Cursor, Numbering};
use super::mend::mend;
use super::point::{Line, Malformed, Value};
use super::record::{Fault, Outcome, Point, Record};
use super::{Dialect, Precision, lines, scan};

/// Every line of a body, comments and blank lines included.
#[must_use]
pub fn records(body: &[u8], dialect: Dialect, precision: Precision) -> Vec<Record<'_>> {
    let mut all = Lines { body, at: 0, cursor: None, records: Vec::new() };
    for outcome in lines(body, dialect, precision) {
        let (span, outcome) = match outcome {
            Ok(line) => (line.span(), point(body, &line)),
            Err(malformed) => (malformed.span.clone(), Outcome::Fault(fault(body, (dialect, precision), &malformed))),
        };
        all.skip_to(span.start);
        all.at = span.end + 1;
        all.records.push(Record { span, outcome });
    }
    all.skip_to(body.len());
    all.records
}

/// The lines so far, and where the next one begins.
struct Lines<'a> {
    body: &'a [u8],
    at: usize,
    cursor: Option<Cursor<'a>>,
    records: Vec<Record<'a>>,
}

impl Lines<'_> {
    /// Adds what the reader passes over before the line that begins here.
    fn skip_to(&mut self, start: usize) {
        while self.at < start {
            let at = self.at;
            let cursor =
                self.cursor.get_or_insert_with(|| Cursor::new(self.body, scan::best(), Numbering::Unknown, at));
            let end = line_end(cursor, self.body, at);
            self.at = end + 1;
            // A comment may hold a quote that stays open: then its line ends where the body does.
            let is_open = end > at && end == self.body.len() && self.body[end - 1] == b'\n';
            self.records.push(Record { span: at..end - usize::from(is_open), outcome: Outcome::Skipped });
        }
    }
}

fn point<'a>(body: &'a [u8], line: &Line<'a>) -> Outcome<'a> {
    let mut fields = Vec::with_capacity(line.fields().len());
    for field in line.fields() {
        let value = field.value();
        if let Value::Undecodable(raw) = value {
            return Outcome::Fault(undecodable(body, line, raw));
        }
        fields.push((field.key(), value.into()));
    }
    let tags = line.tags().iter().map(|tag| (tag.key(), tag.value())).collect();
    Outcome::Point(Point { measurement: line.measurement(), tags, fields, time_ns: line.timestamp_ns() })
}

/// Measured on 1.13 and 2.9: an answer 500 for ever, or the end of the server's process.
#[cold]
fn undecodable(body: &[u8], line: &Line<'_>, raw: &[u8]) -> Fault {
    let place = raw.as_ptr().addr().wrapping_sub(body.as_ptr().addr());
    Fault {
        at: if line.span().contains(&place) { place } else { line.span().start },
        code: "undecodable-value",
        reason: "the parser takes this value and the storage cannot decode it".to_owned(),
        mend: "a field's name must not end in a backslash, nor hold two backslashes before a separator",
    }
}

#[cold]
fn fault(body: &[u8], rules: (Dialect, Precision), malformed: &Malformed<'_>) -> Fault {
    let Malformed { span, reason, .. } = malformed;
    // A line that is a carriage return alone lacks everything; it is the carriage return that is too much.
    let only_return = malformed.quoted() == b"\r";
    let at = if only_return { span.end - 1 } else { malformed.at };
    Fault {
        at,
        code: reason.code(),
        reason: reason.to_string(),
        mend: mend(*reason, rules, &body[span.start..at], &body[at..span.end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn only_fault(text: &str, dialect: Dialect) -> Fault {
        let records = records(text.as_bytes(), dialect, Precision::Nanosecond);
        let [Record { outcome: Outcome::Fault(fault), .. }] = &records[..] else { panic!("{text:?}: {records:?}") };
        fault.clone()
    }

    /// The byte at which the rule is broken stands between `«` and what follows it.
    #[test]
    fn each_fault_points_at_its_byte() {
        for (marked, code, mend) in [
            ("«,t=a v=1", "missing-measurement", "before the first comma"),
            (" «,t=a v=1", "missing-measurement", ""),
            ("m,« t=a v=1", "missing-tag-key", "no space after the comma"),
            ("m,t=a,«,u=b v=1", "missing-tag-key", "too much"),
            ("m,«=a v=1", "missing-tag-key", "name before the ="),
            ("m,t=a,«", "missing-tag-key", "must follow"),
            ("m,t« v=1", "missing-tag-value", "name=value"),
            ("m,t=«,u=b v=1", "missing-tag-value", ""),
            ("m,t=a«=b v=1", "invalid-tag-format", "a\\=b"),
            ("m,t=a,s=1,«t=b v=1", "duplicate-tags", "remove one"),
            ("m,t=a,«t=b,t=c v=1", "duplicate-tags", ""),
            ("m,t=a«", "missing-fields", "at least one field"),
            ("m«", "missing-fields", ""),
            ("«\r", "missing-fields", "CR LF"),
            ("m «=1", "missing-field-key", "right before the ="),
            ("m v=1,«=2", "missing-field-key", ""),
            ("m v=« 1", "missing-field-value", "right after the ="),
            ("m v=«", "missing-field-value", ""),
            ("m v=12«abc", "invalid-number", "double quotes"),
            ("m v=1«\r", "invalid-number", "CR LF"),
            ("m v=5«u", "invalid-number", "i instead of u"),
            ("m v=1.5«i", "invalid-number", "without i"),
            ("m v=1.2«.3", "invalid-number", ""),
            ("m v=2020«-01-01", "invalid-number", "a date"),
            ("m v=«NaN", "invalid-number", "finite"),
            ("m v=-«-1", "invalid-number", ""),
            ("m v=1e5«x", "invalid-number", ""),
            ("m v=«1e400", "invalid-float", ""),
            ("m v=«9223372036854775808i", "integer-out-of-range", "float"),
            ("m v=«'a'", "invalid-boolean", "double quotes"),
            ("m v=«“a”", "invalid-boolean", "straight"),
            ("m v=«+1", "invalid-boolean", "no plus"),
            ("m v=«null", "invalid-number", "no null"),
            ("m v=«north", "invalid-number", "double quotes"),
            ("m v=«Infinity", "invalid-boolean", "finite"),
            ("m v=«yes", "invalid-boolean", "true is t"),
            ("m v=true«\r", "invalid-boolean", "CR LF"),
            ("m t=«a v=1", "invalid-boolean", "a tag follows"),
            ("m,t=a b=«c,v=1", "invalid-boolean", "double quotes"),
            ("m v=\"5\" «wide\" 1", "bad-timestamp", "inside a text"),
            ("m v=«\"a", "unbalanced-quotes", "close it"),
            ("m v=1,w=«\"a, x=3", "unbalanced-quotes", ""),
            ("m v=\"a\",w=«\"b 1\nm v=\"c\" 2\nm v=\"d\" 3", "unbalanced-quotes", "close it"),
            ("m v« 1", "invalid-field-format", "name=value"),
            ("m a=1,b«,c=2 1", "invalid-field-format", "name=value"),
            ("m v=1,« 1", "invalid-field-format", "comma behind the last"),
            ("m v=\"a\"«=3", "invalid-field-format", ""),
            ("m v=1 «abc", "bad-timestamp", "whole number"),
            ("m v=1 17«.5", "bad-timestamp", "no point"),
            ("m v=1 «w=2", "bad-timestamp", "separated by commas"),
            ("m v=1 «, w=2", "bad-timestamp", "no space before a comma"),
            ("m v=1 17«\r", "bad-timestamp", "CR LF"),
            ("m v=1 «-", "lone-minus", "digits must follow"),
            ("m v=1 «9223372036854775808", "timestamp-out-of-range", "19 digits"),
            ("m v=1 «9223372036854775807", "time-out-of-range", "64 bits"),
            ("m v=1 17 «18", "after-timestamp", "own line"),
        ] {
            let fault = only_fault(&marked.replacen('«', "", 1), Dialect::Influx1);
            assert_eq!((fault.code, Some(fault.at)), (code, marked.find('«')), "{marked:?}: {fault:?}");
            assert!(fault.mend.contains(mend), "{marked:?}: {fault:?}");
        }
        let fault = only_fault("m,t=a,time=b v=1", Dialect::Influx2);
        assert_eq!(
            (fault.code, fault.at, &*fault.reason),
            ("reserved-tag-key", 6, "cannot use reserved tag key \"time\"")
        );
        let long = format!("m {}=1", "k".repeat(65_535));
        assert_eq!(only_fault(&long, Dialect::Influx1).at, 2);
        let seconds = records(b"m v=1 1700000000000", Dialect::Influx1, Precision::Second);
        let Outcome::Fault(fault) = &seconds[0].outcome else { panic!("{seconds:?}") };
        assert_eq!((fault.at, fault.mend.contains("--precision ms")), (6, true), "{fault:?}");
    }

    #[test]
    fn comments_and_blank_lines_are_there_too() {
        let spans = |text: &str| -> Vec<_> {
            let records = records(text.as_bytes(), Dialect::Influx1, Precision::Nanosecond);
            records.into_iter().map(|r| (r.span, matches!(r.outcome, Outcome::Skipped))).collect()
        };
        assert_eq!(spans("# c\n\nm v=1\n  \n"), [(0..3, true), (4..4, true), (5..10, false), (11..13, true)]);
        assert_eq!(spans("# a=\"\nm v=1\n"), [(0..11, true)], "a quote in a comment swallows what follows");
        assert_eq!(spans(""), []);
    }

    proptest! {
        #[test]
        fn the_lines_cover_the_body_and_are_those_of_the_reader(
            body in prop::collection::vec(prop::sample::select(&b"m,= \"\\\n\n#a1i.\r\t\0"[..]), 0..60),
        ) {
            for dialect in [Dialect::Influx1, Dialect::Influx2] {
                let all = records(&body, dialect, Precision::Nanosecond);
                let mut end = None;
                for record in &all {
                    prop_assert_eq!(record.span.start, end.map_or(0, |end| end + 1));
                    end = Some(record.span.end);
                    if let Outcome::Fault(fault) = &record.outcome {
                        prop_assert!((record.span.start..=record.span.end).contains(&fault.at), "{:?}", fault);
                    }
                }
                prop_assert!(end.map_or(body.is_empty(), |end| end == body.len() || end + 1 == body.len()));
                let read: Vec<_> = lines(&body, dialect, Precision::Nanosecond)
                    .map(|line| match line { Ok(line) => (line.span(), true), Err(m) => (m.span, false) })
                    .collect();
                let shown: Vec<_> = all
                    .iter()
                    .filter(|record| record.outcome != Outcome::Skipped)
                    .map(|record| (record.span.clone(), !matches!(&record.outcome, Outcome::Fault(f) if f.code != "undecodable-value")))
                    .collect();
                prop_assert_eq!(read, shown);
            }
        }
    }
}
