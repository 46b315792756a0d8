//! How a point of the source is written for the destination.
//!
//! Promise: a point is written as delivery would write it, with every type and bit that the destination holds, or not at all.

use crate::cell::{Series, Value};
use crate::delivery::Writing;
use crate::line::project::{Changes, influx3, questdb, victoria};
use crate::line::{Dialect, Line, Precision, Value as Written, lines, unfit};

mod shaping;

pub use shaping::{Formed, Left, Shaping};

/// Why something is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Short and stable.
    pub code: &'static str,
    /// For people.
    pub why: String,
}

impl Stay {
    /// With its reason.
    pub fn new(code: &'static str, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }
}

/// Nothing of a line can be held, which is counted and no fault.
pub const NOTHING_HELD: &str = "nothing-held";
const NOTHING: &str = "the destination can hold nothing of it: a text, or a time that it does not keep";

/// How lines are written there, and what names of tables begin with.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// By kind of database.
    pub writing: Writing,
    /// Where the destination has tables alone.
    pub tables: &'a str,
}

impl Form<'_> {
    /// The line of a point, or none: see [`Shaping::point`] for what can be held of it. `values`: its fields, each once.
    ///
    /// # Errors
    /// No line of the destination's dialect holds all of it, or it holds nothing of it ([`NOTHING_HELD`]).
    pub fn point<'v>(
        self,
        (series, time_ns): (&Series, i64),
        values: impl Iterator<Item = (&'v [u8], &'v Value)> + Clone,
        changes: &mut Changes,
    ) -> Result<Vec<u8>, Stay> {
        match (Shaping { form: self, rules: None }).point((series, time_ns), values, changes) {
            Formed::Line(line) => Ok(line),
            Formed::Partly(_, left) => Err(left.why),
            Formed::Excluded | Formed::Nothing => Err(Stay::new(NOTHING_HELD, NOTHING)),
            Formed::Refused(why) => Err(why),
        }
    }

    /// A line of the source in the destination's form.
    ///
    /// # Errors
    /// As [`Form::point`].
    pub fn written(
        self,
        text: Vec<u8>,
        is_meant: impl Fn(&Line<'_>) -> bool,
        changes: &mut Changes,
    ) -> Result<Vec<u8>, Stay> {
        if let Writing::Influx(dialect) = self.writing {
            return fits(&text, dialect, is_meant).map(|()| text);
        }
        let odd = || Stay::new("unreadable", "names or values that no line holds");
        let line = any_line(&text, Precision::Nanosecond).filter(is_meant).ok_or_else(odd)?;
        self.project(&line, changes)
    }

    /// The same of a line that was read.
    ///
    /// # Errors
    /// As [`Form::point`].
    pub fn project(self, line: &Line<'_>, changes: &mut Changes) -> Result<Vec<u8>, Stay> {
        let Some(at_ns) = line.timestamp_ns() else { return Err(Stay::new("not-read", "a line without a time")) };
        let mut out = Vec::new();
        let done = match self.writing {
            Writing::Victoria(rules) => victoria(line, at_ns, rules, &mut out, changes),
            Writing::Questdb(rules) => {
                questdb(std::slice::from_ref(line), at_ns, (rules, self.tables.as_bytes()), &mut out, changes)
            }
            Writing::Influx3 => influx3(line, at_ns, &mut out),
            Writing::Influx(_) => Ok(()),
        };
        done.map_err(|unfit| Stay::new(unfit.code, unfit.why))?;
        if out.is_empty() {
            return Err(Stay::new(NOTHING_HELD, NOTHING));
        }
        Ok(out)
    }
}

/// The line as one of the two dialects reads it; the second takes more.
#[must_use]
pub fn any_line(text: &[u8], unit: Precision) -> Option<Line<'_>> {
    [Dialect::Influx2, Dialect::Influx1].into_iter().find_map(|dialect| {
        let mut all = lines(text, dialect, unit);
        let first = all.next()?.ok()?;
        all.next().is_none().then_some(first)
    })
}

/// Whether a destination of this dialect takes the line, harms nothing by it, and shows all of it.
///
/// # Errors
/// It does not.
pub fn fits(text: &[u8], dialect: Dialect, is_meant: impl Fn(&Line<'_>) -> bool) -> Result<(), Stay> {
    let mut all = lines(text, dialect, Precision::Nanosecond);
    let line = match (all.next(), all.next()) {
        (Some(Ok(line)), None) if is_meant(&line) => line,
        (Some(Err(malformed)), _) => {
            return Err(Stay::new("parse", format!("the destination would not read it: {}", malformed.reason)));
        }
        _ => return Err(Stay::new("unreadable", "names or values that no line of the destination's dialect holds")),
    };
    match unfit(&line, dialect) {
        Some(unfit) => Err(Stay::new(unfit.code, unfit.why)),
        None => Ok(()),
    }
}

/// The series of a line.
#[must_use]
pub fn series_of(line: &Line<'_>) -> Series {
    let tags = line.tags().iter().map(|tag| (tag.key().into_owned(), tag.value().into_owned())).collect();
    Series::new(line.measurement().into_owned(), tags)
}

/// A value as a line has it.
#[must_use]
pub fn written_of(value: &Value) -> Written<'_> {
    match value {
        Value::Float(v) => Written::Float(*v),
        Value::Integer(v) => Written::Integer(*v),
        Value::Unsigned(v) => Written::Unsigned(*v),
        Value::Boolean(v) => Written::Bool(*v),
        Value::String(text) => Written::String(text.as_slice().into()),
    }
}

/// Whether a value that was read from a line is this one, to the bit.
#[must_use]
pub fn is_value(value: &Value, written: &Written<'_>) -> bool {
    match (value, written) {
        (Value::Float(a), Written::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::Integer(a), Written::Integer(b)) => a == b,
        (Value::Unsigned(a), Written::Unsigned(b)) => a == b,
        (Value::Boolean(a), Written::Bool(b)) => a == b,
        (Value::String(a), Written::String(b)) => a.as_slice() == b.as_ref(),
        _ => false,
    }
}
