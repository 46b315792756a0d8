//! What a server makes of each line of a body, decoded: the common form of all dialects, for those who look rather than hurry.
//!
//! Promise: one [`Record`] for each line as the dialect cuts them, comments and blank lines included; records are in order and
//! their spans do not overlap.

use std::borrow::Cow;
use std::ops::Range;

use super::Value;

/// A name or a text, unescaped; any bytes.
pub type Text<'a> = Cow<'a, [u8]>;

/// One line, as a dialect reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<'a> {
    /// Bytes of the body that make up the line, without what ends it.
    pub span: Range<usize>,
    /// What became of it.
    pub outcome: Outcome<'a>,
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<'a> {
    /// A comment, or nothing but blanks.
    Skipped,
    /// The server takes it.
    Point(Point<'a>),
    /// The server refuses it.
    Fault(Fault),
}

/// What the server takes from a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Point<'a> {
    /// The measurement, or table.
    pub measurement: Text<'a>,
    /// In the order of the line; a key may come twice where the dialect allows that.
    pub tags: Vec<(Text<'a>, Text<'a>)>,
    /// In the order of the line; a key may come twice where the dialect allows that.
    pub fields: Vec<(Text<'a>, Datum<'a>)>,
    /// Nanoseconds since 1970, or `None` when the line has no timestamp.
    pub time_ns: Option<i64>,
}

/// What a field holds, as a dialect reads it.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum<'a> {
    /// A value of a kind that InfluxDB has. With [`super::victoria`] a float may be infinite or no number.
    Value(Value<'a>),
    /// The field has a name and no value ([`super::questdb`]).
    Null,
    /// A value of a kind that InfluxDB has not ([`super::questdb`]).
    Other {
        /// `timestamp_ns`, `timestamp_us`, `timestamp_ms`, `timestamp`, `long256`, `decimal` or `array`.
        kind: &'static str,
        /// As it stands in the line, without what marks its kind.
        text: Text<'a>,
    },
}

impl<'a> From<Value<'a>> for Datum<'a> {
    fn from(value: Value<'a>) -> Self {
        Self::Value(value)
    }
}

/// Why a server refuses a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The byte of the body at which the rule is broken; at most the body's length.
    pub at: usize,
    /// A short name that does not change: `missing-fields`, `duplicate-tags`, …
    pub code: &'static str,
    /// What is wrong there, in the server's words where it has some.
    pub reason: String,
    /// What to write instead, for a person.
    pub mend: &'static str,
}
