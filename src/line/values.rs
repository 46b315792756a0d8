//! Lines with their values decoded, handed out while they are read: for those who take a body apart and keep what they want.
//!
//! Promise: what is handed out of an accepted line is what [`super::lines`] finds there, in the same order, and nothing is copied or
//! kept. Names stay as they stand in the body; unescaping is the receiver's choice.

use std::ops::Range;

use super::fast::Reader;
use super::point::{Field, Frame, Malformed, Sink, Tag, Value};
use super::scan::{self, Level};
use super::{Dialect, Precision, digits, float};

/// Receives the parts of a body.
pub trait Receiver<'a> {
    /// A line is about to be read, perhaps for the second time: tags and fields since the last accepted line mean nothing.
    fn begin(&mut self);
    /// A tag of the line that comes next.
    fn tag(&mut self, tag: Tag<'a>);
    /// A field of the line that comes next: its key as it stands there (see [`Field::key`] for what the servers read), and its value.
    fn field(&mut self, key: &'a [u8], value: Value<'a>);
    /// The line of the tags and fields since it was begun.
    fn line(&mut self, head: Head<'a>);
    /// A line that the dialect refuses.
    fn refused(&mut self, line: Malformed<'a>);
}

/// What an accepted line has but once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Bytes of the body that make up the line, without the line feed that ends it.
    pub span: Range<usize>,
    /// The measurement as it stands in the line.
    pub measurement: &'a [u8],
    /// The time in nanoseconds since 1970, or `None` when the line has no timestamp.
    pub time_ns: Option<i64>,
}

/// Hands out the lines of a body, in order; blank lines and comments are left out.
pub fn values<'a>(body: &'a [u8], dialect: Dialect, precision: Precision, receiver: &mut impl Receiver<'a>) {
    values_with(scan::best(), body, dialect, precision, receiver);
}

/// The same with a scanner of one's choice.
pub fn values_with<'a>(
    level: Level,
    body: &'a [u8],
    dialect: Dialect,
    precision: Precision,
    receiver: &mut impl Receiver<'a>,
) {
    let mut reader = Reader::with(level, body, dialect, precision);
    let mut decoder = Decoder(receiver);
    while let Some(outcome) = reader.next(&mut decoder) {
        match outcome {
            Ok(Frame { start, end, measurement, time_ns, .. }) => {
                decoder.0.line(Head { span: start..end, measurement, time_ns });
            }
            Err(malformed) => decoder.0.refused(malformed),
        }
    }
}

struct Decoder<'r, R>(&'r mut R);

impl<'a, R: Receiver<'a>> Sink<'a> for Decoder<'_, R> {
    #[inline(always)]
    fn clear(&mut self) {
        self.0.begin();
    }

    #[inline(always)]
    fn tag(&mut self, tag: Tag<'a>) {
        self.0.tag(tag);
    }

    #[inline(always)]
    fn field(&mut self, field: Field<'a>) {
        self.0.field(field.key, field.value());
    }

    #[inline(always)]
    fn plain_number(&mut self, body: &'a [u8], key: Range<usize>, value: Range<usize>) {
        match ordinary(body, value.clone()) {
            Some(number) => self.0.field(&body[key], number),
            None => self.field(Field::of_number(&body[key], &body[value])),
        }
    }
}

/// The value of an ordinary number (see `numbers`) at this place, if it can be told quickly.
#[inline(always)]
fn ordinary<'a>(body: &[u8], place: Range<usize>) -> Option<Value<'a>> {
    let [first, .., last] = body[place.clone()] else { return Some(small(body[place.start])) };
    let count = place.len() - usize::from(first == b'-');
    if last == b'i' {
        let number = digits::before(body, place.end - 1, count - 1)?.cast_signed();
        return Some(Value::Integer(if first == b'-' { -number } else { number }));
    }
    let (digits, fraction) = digits::decimal_before(body, place.end, count)?;
    let number = float::nearest(digits, fraction)?;
    Some(Value::Float(if first == b'-' { -number } else { number }))
}

/// A number of one byte, which is a digit. Many are.
#[inline(always)]
fn small<'a>(digit: u8) -> Value<'a> {
    Value::Float(f64::from(digit.wrapping_sub(b'0')))
}
