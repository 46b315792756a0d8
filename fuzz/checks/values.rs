//! Decoded values: what a receiver is handed is what reading finds.

use twinline::line::scan::Level;
use twinline::line::{Dialect, Head, Malformed, Precision, Receiver, Tag, Value, lines_with, values_with};

use super::{Datum, datum};

/// For each line the same tags, fields, values, head or refusal as from `lines`, by the same scanner.
pub fn values(level: Level, body: &[u8], dialect: Dialect, precision: Precision) {
    let mut received = Received::default();
    values_with(level, body, dialect, precision, &mut received);
    let mut received = received.lines.into_iter();
    for expected in lines_with(level, body, dialect, precision) {
        let expected = expected.map(|line| Whole {
            head: Head { span: line.span(), measurement: line.raw_measurement(), time_ns: line.timestamp_ns() },
            tags: line.tags().to_vec(),
            fields: line.fields().iter().map(|field| (field.raw_key(), datum(field.value()))).collect(),
        });
        assert_eq!(received.next(), Some(expected), "{level:?} {}", body.escape_ascii());
    }
    assert_eq!(received.next(), None, "{level:?} {}", body.escape_ascii());
}

#[derive(Debug, PartialEq, Eq)]
struct Whole<'a> {
    head: Head<'a>,
    tags: Vec<Tag<'a>>,
    fields: Vec<(&'a [u8], Datum)>,
}

/// All lines, and the tags and fields of one that is not over.
#[derive(Debug, Default)]
struct Received<'a> {
    begun: bool,
    tags: Vec<Tag<'a>>,
    fields: Vec<(&'a [u8], Datum)>,
    lines: Vec<Result<Whole<'a>, Malformed<'a>>>,
}

impl<'a> Receiver<'a> for Received<'a> {
    fn begin(&mut self) {
        self.begun = true;
        self.tags.clear();
        self.fields.clear();
    }

    fn tag(&mut self, tag: Tag<'a>) {
        assert!(self.begun, "{tag:?}");
        self.tags.push(tag);
    }

    fn field(&mut self, key: &'a [u8], value: Value<'a>) {
        assert!(self.begun, "{}", key.escape_ascii());
        self.fields.push((key, datum(value)));
    }

    fn line(&mut self, head: Head<'a>) {
        assert!(std::mem::take(&mut self.begun), "{head:?}");
        let (tags, fields) = (std::mem::take(&mut self.tags), std::mem::take(&mut self.fields));
        self.lines.push(Ok(Whole { head, tags, fields }));
    }

    fn refused(&mut self, line: Malformed<'a>) {
        assert!(std::mem::take(&mut self.begun), "{line:?}");
        self.lines.push(Err(line));
    }
}
