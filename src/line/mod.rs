//! Line protocol as the InfluxDB servers read it.
//!
//! Promise: for both dialects a line is accepted or refused exactly as the servers' own parser does, and an accepted
//! line holds the data that they store. Nothing is copied: lines borrow the body. No input panics, and the time taken
//! grows with the body alone.
//!
//! [`lines`] reads a body, [`values`] hands out its parts and keeps none, [`outline`] reads it without keeping the parts, [`inspect`] only counts, [`stamp`] gives untimed lines a time, [`split`] cuts a body,
//! [`series_hash`] names a line's series, [`write_canonical`] writes a line in the one form that both servers read
//! alike, [`rescale`] gives times another unit, [`sketch`] tells what a body holds by measurement, [`Rules`] drop and rename,
//! [`Reading`] says what each server makes of each line, and [`unfit`] finds the lines that a server would refuse with their neighbours, or acknowledge and then not show.
//!
//! [`project`] writes lines for servers that hold less. [`victoria`] and [`questdb`] read the dialects of other servers, in the common form of [`record`].

mod boundaries;
mod canonical;
mod careful;
mod cut;
mod digits;
mod escape;
mod excerpt;
mod fast;
mod float;
mod index;
pub mod influx;
pub mod influx3;
mod inspect;
mod mend;
pub mod naive;
mod numbers;
mod patch;
mod pattern;
mod point;
mod prefix;
pub mod project;
pub mod questdb;
mod reading;
mod reason;
pub mod record;
mod rescale;
mod rules;
mod scalar;
pub mod scan;
mod series;
mod shields;
mod sketch;
mod spans;
mod stamp;
#[cfg(test)]
mod tests;
mod values;
pub mod victoria;

use std::iter::FusedIterator;

pub use boundaries::{boundaries, boundaries_with};
pub use canonical::{Unfit, may_be_unfit, unfit, unstorable, write_canonical, write_parts, write_plain};
pub use cut::{split, whole_lines};
pub use inspect::{Outline, Summary, inspect, inspect_with, outline, outline_with};
pub use point::{Field, FieldKind, Line, Malformed, Tag, Value};
pub use reading::Reading;
pub use reason::{MAX_KEY_BYTES, Reason};
pub use rescale::{Unscaled, rescale};
pub use rules::{BadRule, LeftOut, Part, Refused, Reshaped, Rules};
pub use series::{SeriesKey, series_hash, series_hash_with};
pub use sketch::{Sketch, SketchRow, sketch};
pub use spans::{Visitor, spans, spans_with};
pub use stamp::stamp;
pub use values::{Head, Receiver, values, values_with};

use fast::Reader;
use point::Parts;

/// Whose rules decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// InfluxDB 1.x: unsigned integers are refused.
    Influx1,
    /// InfluxDB 2.x: unsigned integers are accepted, the tag keys `time`, `_field` and `_measurement` are refused.
    Influx2,
}

/// The unit of a body's timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 1 ns; what the servers take when nothing is said.
    Nanosecond,
    /// 1,000 ns.
    Microsecond,
    /// 1,000,000 ns.
    Millisecond,
    /// 1,000,000,000 ns.
    Second,
    /// 60 s; InfluxDB 1.x only.
    Minute,
    /// 3,600 s; InfluxDB 1.x only.
    Hour,
}

impl Precision {
    /// Nanoseconds in one unit.
    #[must_use]
    pub const fn unit_ns(self) -> i64 {
        match self {
            Self::Nanosecond => 1,
            Self::Microsecond => 1_000,
            Self::Millisecond => 1_000_000,
            Self::Second => 1_000_000_000,
            Self::Minute => 60_000_000_000,
            Self::Hour => 3_600_000_000_000,
        }
    }

    /// The latest whole unit that is not after `ns`, in nanoseconds. Within one unit of the earliest time that 64 bits
    /// hold there is none; then the earliest whole unit.
    #[must_use]
    pub const fn truncate(self, ns: i64) -> i64 {
        let unit = self.unit_ns();
        match ns.div_euclid(unit).checked_mul(unit) {
            Some(whole) => whole,
            None => ns / unit * unit,
        }
    }

    /// As a word for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nanosecond => "nanosecond",
            Self::Microsecond => "microsecond",
            Self::Millisecond => "millisecond",
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
        }
    }
}

/// Reads a body line by line.
#[must_use]
pub fn lines(body: &[u8], dialect: Dialect, precision: Precision) -> Lines<'_> {
    lines_with(scan::best(), body, dialect, precision)
}

/// The same with a scanner of one's choice.
#[must_use]
pub fn lines_with(level: scan::Level, body: &[u8], dialect: Dialect, precision: Precision) -> Lines<'_> {
    Lines { reader: Reader::with(level, body, dialect, precision) }
}

/// The lines of a body in order, accepted or refused; blank lines and comments are left out.
#[derive(Debug)]
pub struct Lines<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Line<'a>, Malformed<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut parts = Parts::default();
        let frame = match self.reader.next(&mut parts)? {
            Ok(frame) => frame,
            Err(malformed) => return Some(Err(malformed)),
        };
        let Parts { tags, fields } = parts;
        Some(Ok(Line { body: self.reader.body, dialect: self.reader.dialect, frame, tags, fields }))
    }
}

impl FusedIterator for Lines<'_> {}
