//! A body in figures, without keeping any of it.

use super::fast::Reader;
use super::point::Nothing;
use super::scan::Swar;
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

/// Reads a body once and counts.
#[must_use]
pub fn inspect(body: &[u8], dialect: Dialect, precision: Precision, default_ns: i64) -> Summary {
    let mut summary = Summary { lines: 0, untimed: 0, malformed: 0, min_ns: i64::MAX, max_ns: i64::MIN };
    let default_ns = precision.truncate(default_ns);
    let mut reader = Reader::<Swar>::new(body, dialect, precision);
    while let Some(outcome) = reader.next(&mut Nothing) {
        let Ok(frame) = outcome else {
            summary.malformed += 1;
            continue;
        };
        summary.lines += 1;
        summary.untimed += u32::from(frame.time_ns.is_none());
        let time_ns = frame.time_ns.unwrap_or(default_ns);
        summary.min_ns = summary.min_ns.min(time_ns);
        summary.max_ns = summary.max_ns.max(time_ns);
    }
    summary
}
