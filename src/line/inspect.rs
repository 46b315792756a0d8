//! A body in figures, or line by line without its parts: what can be told without keeping any of it.

use std::ops::Range;

use super::fast::Reader;
use super::point::{Frame, Line, Malformed, Nothing, Parts};
use super::scan::{self, Level};
use super::series::{SeriesHash, SeriesKey};
use super::{Dialect, Precision};

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Lines that the dialect accepts.
    pub lines: u32,
    /// Those of them without a timestamp.
    pub untimed: u32,
    /// Lines that the dialect refuses.
    pub malformed: u32,
    /// Earliest time, in nanoseconds: of the timed lines and, when there are untimed ones, the given default truncated
    /// to the precision. `i64::MAX` when no line is accepted.
    pub min_ns: i64,
    /// Latest time, likewise. `i64::MIN` when no line is accepted.
    pub max_ns: i64,
}

impl Summary {
    const EMPTY: Self = Self { lines: 0, untimed: 0, malformed: 0, min_ns: i64::MAX, max_ns: i64::MIN };

    #[inline(always)]
    fn add(&mut self, frame: Option<&Frame<'_>>, default_ns: i64) {
        let Some(frame) = frame else {
            self.malformed += 1;
            return;
        };
        self.lines += 1;
        self.untimed += u32::from(frame.time_ns.is_none());
        let time_ns = frame.time_ns.unwrap_or(default_ns);
        self.min_ns = self.min_ns.min(time_ns);
        self.max_ns = self.max_ns.max(time_ns);
    }
}

/// Reads a body once and counts.
#[must_use]
pub fn inspect(body: &[u8], dialect: Dialect, precision: Precision, default_ns: i64) -> Summary {
    inspect_with(scan::best(), body, dialect, precision, default_ns)
}

/// The same with a scanner of one's choice.
#[must_use]
pub fn inspect_with(level: Level, body: &[u8], dialect: Dialect, precision: Precision, default_ns: i64) -> Summary {
    let default_ns = precision.truncate(default_ns);
    let mut summary = Summary::EMPTY;
    let mut reader = Reader::with(level, body, dialect, precision);
    while let Some(outcome) = reader.next(&mut Nothing) {
        summary.add(outcome.as_ref().ok(), default_ns);
    }
    summary
}

/// An accepted line without its tags and fields.
#[derive(Clone, Debug)]
pub struct Outline<'a> {
    /// Bytes of the body that make up the line, without the line feed that ends it.
    pub span: Range<usize>,
    /// Offset in the body right after the last field's value.
    pub fields_end: usize,
    /// The time in nanoseconds since 1970, or `None` when the line has no timestamp.
    pub time_ns: Option<i64>,
    /// As [`super::series_hash_with`].
    pub series: u64,
    /// All of the line, unless it has no backslash, no leading white space and nothing after the fields but a timestamp:
    /// such a line both servers read, store and show as it is, up to `fields_end`.
    pub careful: Option<Box<Line<'a>>>,
}

/// Visits the lines of a body in order; blank lines and comments are left out. Faster than [`super::lines`], which keeps
/// the parts of each line.
pub fn outline<'a>(
    body: &'a [u8],
    dialect: Dialect,
    precision: Precision,
    visit: impl FnMut(Result<Outline<'a>, Malformed<'a>>),
) {
    outline_with(SeriesKey::FIXED, body, dialect, precision, 0, visit);
}

/// The same with a key for [`Outline::series`]; counts besides, as [`inspect`] does.
pub fn outline_with<'a>(
    key: SeriesKey,
    body: &'a [u8],
    dialect: Dialect,
    precision: Precision,
    default_ns: i64,
    mut visit: impl FnMut(Result<Outline<'a>, Malformed<'a>>),
) -> Summary {
    let default_ns = precision.truncate(default_ns);
    let mut summary = Summary::EMPTY;
    let mut reader = Reader::new(body, dialect, precision);
    let mut tags = SeriesHash::new(key);
    while let Some(outcome) = reader.next(&mut tags) {
        summary.add(outcome.as_ref().ok(), default_ns);
        visit(outcome.map(|frame| {
            let whole = |reader: &mut Reader<'a>| {
                let Parts { tags, fields } = reader.parts_of(&frame);
                Box::new(Line { body, dialect, frame, tags, fields })
            };
            Outline {
                span: frame.start..frame.end,
                fields_end: frame.fields_end,
                time_ns: frame.time_ns,
                series: tags.with_measurement(frame.measurement),
                careful: (!frame.plain).then(|| whole(&mut reader)),
            }
        }));
    }
    summary
}
