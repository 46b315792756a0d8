//! What must hold for any input: run by the fuzz targets, and by `tests/bad_input.rs` on inputs that once failed.
//!
//! The first four bytes of an input choose the rules, the rest is the body.

pub mod by_crate;
mod dialects;
mod files;
mod levels;
mod operations;
mod rewrites;
mod scanners;
mod statements;
mod values;

pub use dialects::{dialects, in_bounds};
pub use files::files;
pub use levels::levels;
pub use rewrites::rewrites;
pub use scanners::scanners;
pub use statements::statements;
pub use values::values;

use std::ops::Range;

use twinline::line::naive::{self, Datum, Point};
use twinline::line::scan::Level;
use twinline::line::{Dialect, Line, Precision, Reason, Value, Visitor};

/// Bytes before the body.
pub const HEAD: usize = 4;

pub const DIALECTS: [Dialect; 2] = [Dialect::Influx1, Dialect::Influx2];

pub const PRECISIONS: [Precision; 6] = [
    Precision::Nanosecond,
    Precision::Microsecond,
    Precision::Millisecond,
    Precision::Second,
    Precision::Minute,
    Precision::Hour,
];

/// The scanner that is used where nobody chooses one.
pub fn fastest() -> Level {
    Level::all().pop().expect("the plainest one is always there")
}

/// The dialect and the precision that a byte chooses.
fn rules(choice: u8) -> (Dialect, Precision) {
    (DIALECTS[usize::from(choice & 1)], PRECISIONS[usize::from(choice >> 1) % PRECISIONS.len()])
}

/// A value in the form of the slow reader: floats by their bits.
fn datum(value: Value<'_>) -> Datum {
    match value {
        Value::Float(value) => Datum::Float(value.to_bits()),
        Value::Integer(value) => Datum::Integer(value),
        Value::Unsigned(value) => Datum::Unsigned(value),
        Value::Bool(value) => Datum::Bool(value),
        Value::String(text) => Datum::String(text.into_owned()),
        Value::Undecodable(raw) => Datum::Undecodable(raw.to_vec()),
    }
}

/// A line that was read, in the form of the slow reader.
fn copied(line: &Line<'_>) -> Point {
    let mut tags: Vec<_> = line.tags().iter().map(|tag| (tag.key().into_owned(), tag.value().into_owned())).collect();
    tags.sort();
    let fields = line.fields().iter().map(|field| (field.key().into_owned(), datum(field.value()))).collect();
    Point { measurement: line.measurement().into_owned(), tags, fields, time_ns: line.timestamp_ns() }
}

/// The slow reader does not tell a bad spelling from a bad range in floats.
fn merged(reason: Reason) -> Reason {
    if reason == Reason::InvalidFloat { Reason::InvalidNumber } else { reason }
}

/// What the slow reader makes of a body.
fn slow(body: &[u8], dialect: Dialect, precision: Precision) -> Vec<(Range<usize>, Result<Point, Reason>)> {
    let merge = |(span, outcome): (_, Result<Point, Reason>)| (span, outcome.map_err(merged));
    naive::parse(body, dialect, precision).into_iter().map(merge).collect()
}

/// Keys and values as they stand in a line.
type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

/// What [`twinline::line::spans`] hands out.
#[derive(Debug, PartialEq, Eq)]
enum Shape<'a> {
    Ordinary { measurement: &'a [u8], tags: Pairs<'a>, fields: Pairs<'a>, time: &'a [u8] },
    Other(&'a [u8]),
}

impl<'a> Shape<'a> {
    /// Where the line begins in its body.
    fn start(&self, body: &'a [u8]) -> usize {
        let (Self::Ordinary { measurement: first, .. } | Self::Other(first)) = self;
        first.as_ptr().addr() - body.as_ptr().addr()
    }
}

/// All lines, and the tags and fields of one that is not over.
#[derive(Debug, Default)]
struct Shapes<'a> {
    tags: Pairs<'a>,
    fields: Pairs<'a>,
    lines: Vec<Shape<'a>>,
}

impl<'a> Visitor<'a> for Shapes<'a> {
    fn begin(&mut self) {
        self.tags.clear();
        self.fields.clear();
    }

    fn tag(&mut self, key: &'a [u8], value: &'a [u8]) {
        self.tags.push((key, value));
    }

    fn field(&mut self, key: &'a [u8], value: &'a [u8]) {
        self.fields.push((key, value));
    }

    fn line(&mut self, measurement: &'a [u8], time: &'a [u8]) {
        let (tags, fields) = (std::mem::take(&mut self.tags), std::mem::take(&mut self.fields));
        self.lines.push(Shape::Ordinary { measurement, tags, fields, time });
    }

    fn other(&mut self, line: &'a [u8]) {
        self.lines.push(Shape::Other(line));
    }
}
