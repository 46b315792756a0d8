//! One line of line protocol to one point.
//!
//! Promise: a line is a point when InfluxDB 1.x or 2.x takes it and its storage can keep it; its values are theirs, to the bit.

use std::sync::Arc;

use super::Point;
use crate::cell::{Series, Value};
use crate::line::record::Outcome;
use crate::line::{Dialect, Line, Precision, Reading, Value as Read, lines, unstorable};

/// Remembers the series of the line before, which most lines share.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    last: Option<Arc<Series>>,
}

impl Decoder {
    pub(super) fn shared(&mut self, series: Series) -> Arc<Series> {
        match &self.last {
            Some(last) if **last == series => Arc::clone(last),
            _ => Arc::clone(self.last.insert(Arc::new(series))),
        }
    }
}

/// Why a line is no point.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: &'static str,
    pub(super) reason: String,
    pub(super) mend: &'static str,
    /// The byte of the line.
    pub(super) at: usize,
}

/// Reads a line without its line feed.
pub(super) fn decode(
    decoder: &mut Decoder,
    text: &[u8],
    unit: Precision,
    untimed_ns: Option<i64>,
) -> Result<Point, Refused> {
    let refused = |code, reason: &str, mend, at| Err(Refused { code, reason: reason.to_owned(), mend, at });
    let Some(line) = one(text, Dialect::Influx1, unit).or_else(|| one(text, Dialect::Influx2, unit)) else {
        return Err(why(text, unit));
    };
    if let Some(why) = unstorable(&line) {
        return refused("unstorable", why, "no server can store it: leave it out", 0);
    }
    let Some(time_ns) = line.timestamp_ns().or(untimed_ns) else {
        let mend = "add the time behind the fields, or let all such lines have the time of the import: --untimed now";
        return refused("no-time", "the line has no time", mend, text.len());
    };
    let mut fields: Vec<(Vec<u8>, Value)> = Vec::with_capacity(line.fields().len());
    for field in line.fields() {
        let (key, Some(value)) = (field.key(), value(field.value())) else {
            return refused("unstorable", "a value that no storage decodes", "no server can store it: leave it out", 0);
        };
        // Of a name that comes twice storage keeps the last.
        match fields.iter_mut().find(|(known, _)| **known == *key) {
            Some((_, known)) => *known = value,
            None => fields.push((key.into_owned(), value)),
        }
    }
    let tags = line.tags().iter().map(|tag| (tag.key().into_owned(), tag.value().into_owned())).collect();
    let series = decoder.shared(Series::new(line.measurement().into_owned(), tags));
    Ok(Point { series, fields, time_ns })
}

/// The text as one line.
fn one(text: &[u8], dialect: Dialect, unit: Precision) -> Option<Line<'_>> {
    let mut all = lines(text, dialect, unit);
    let line = all.next()?.ok()?;
    all.next().is_none().then_some(line)
}

fn value(value: Read<'_>) -> Option<Value> {
    Some(match value {
        Read::Float(value) => Value::Float(value),
        Read::Integer(value) => Value::Integer(value),
        Read::Unsigned(value) => Value::Unsigned(value),
        Read::Bool(value) => Value::Boolean(value),
        Read::String(text) => Value::String(text.into_owned()),
        Read::Undecodable(_) => return None,
    })
}

/// What the servers say to it.
#[cold]
fn why(text: &[u8], unit: Precision) -> Refused {
    let fault = Reading::Influx1.records(text, unit).into_iter().find_map(|record| match record.outcome {
        Outcome::Fault(fault) => Some(fault),
        _ => None,
    });
    match fault {
        Some(fault) => Refused { code: fault.code, reason: fault.reason, mend: fault.mend, at: fault.at },
        None => {
            let reason = "it reads as more than one line, or as none".to_owned();
            Refused { code: "no-line", reason, mend: "look at its backslashes and quotes", at: 0 }
        }
    }
}
