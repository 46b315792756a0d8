//! The lines of a record by rule: those that are left, with their numbers, and what was changed of them.
//!
//! Promise: a line that no rule touches is left byte for byte; each other one is left out, refused by name, or changed and counted.

use std::borrow::Cow;
use std::ops::Range;

use super::{Changed, LeftOut, Rules};
use crate::line::fast::Reader;
use crate::line::point::{Frame, Parts};
use crate::line::project::{Change, Changes};
use crate::line::series::{SeriesHash, SeriesKey};
use crate::line::{Dialect, Field, FieldKind, Precision, Value};

/// Integers beyond are no floats.
const EXACT_MAX: u64 = 1 << 53;

/// What rules make of a body.
#[derive(Clone, Debug, Default)]
pub struct Reshaped {
    /// The lines that are left, each with a line feed.
    pub body: Vec<u8>,
    /// Which each of them was among the accepted lines of the body.
    pub numbers: Vec<u32>,
    /// Lines that rules leave out.
    pub excluded: u64,
    /// Lines that would be others, or none.
    pub refused: Vec<Refused>,
    /// Cells that are left and are not what they were, and those of left lines that are not.
    pub changes: Changes,
}

/// A line that would be another one, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which it was among the accepted lines.
    pub number: u32,
    /// Its bytes in the body.
    pub span: Range<usize>,
    /// Its series, as it came.
    pub series: u64,
    /// Its time, if it has one.
    pub time_ns: Option<i64>,
    /// Why.
    pub why: LeftOut,
}

impl Rules {
    /// All lines of a body that are wanted, by number; others are as if they were not there.
    #[must_use]
    pub fn reshape<'r>(
        &'r self,
        body: &'r [u8],
        dialect: Dialect,
        precision: Precision,
        mut wanted: impl FnMut(u32) -> bool,
    ) -> Reshaped {
        let mut reader = Reader::new(body, dialect, precision);
        let (mut parts, mut number) = (Parts::default(), 0);
        let mut left = Reshaped { body: Vec::with_capacity(body.len() + body.len() / 16 + 1), ..Reshaped::default() };
        while let Some(outcome) = reader.next(&mut parts) {
            let Ok(frame) = outcome else { continue };
            let own = number;
            number += 1;
            if !wanted(own) {
                continue;
            }
            let begin = left.body.len();
            match self.reshaped(&frame, &parts, body, (dialect, precision), &mut left) {
                Ok(()) => {
                    left.body.push(b'\n');
                    left.numbers.push(own);
                }
                Err(LeftOut::Dropped | LeftOut::NoFields) => left.excluded += 1,
                Err(why) => {
                    let mut hash = SeriesHash::new(SeriesKey::FIXED);
                    parts.tags.iter().for_each(|tag| crate::line::point::Sink::tag(&mut hash, *tag));
                    let series = hash.with_measurement(frame.measurement);
                    left.body.truncate(begin);
                    left.refused.push(Refused {
                        number: own,
                        span: frame.start..frame.end,
                        series,
                        time_ns: frame.time_ns,
                        why,
                    });
                }
            }
        }
        left
    }

    fn reshaped<'r>(
        &'r self,
        frame: &Frame<'r>,
        parts: &Parts<'r>,
        body: &[u8],
        how: (Dialect, Precision),
        left: &mut Reshaped,
    ) -> Result<(), LeftOut> {
        if !self.touch(frame, parts) {
            left.body.extend_from_slice(&body[frame.start..frame.end]);
            return Ok(());
        }
        let changed = Changed::new(self, frame, parts)?;
        let mut text = Vec::with_capacity(frame.end - frame.start + 32);
        changed.write(frame, body, how, &mut text)?;
        left.body.extend_from_slice(&text);
        changed.count(frame, parts, &mut left.changes);
        Ok(())
    }
}

impl Changed<'_> {
    /// Each cell at most once for each reason; of one name that comes twice only the last is one.
    fn count(&self, frame: &Frame<'_>, parts: &Parts<'_>, changes: &mut Changes) {
        let kept: Vec<_> = last_of_each(&self.fields.iter().map(|(key, field)| (&**key, *field)).collect::<Vec<_>>());
        let cells = kept.len() as u64;
        let is_other = |new: &[u8], old: &Cow<'_, [u8]>| new != &**old;
        let renamed = is_other(&self.measurement, &super::measurement(frame))
            || self.tags.iter().any(|(key, tag)| is_other(key, &tag.key()));
        let fields_renamed = kept.iter().filter(|(key, field)| is_other(key, &field.key())).count() as u64;
        changes.add(Change::Renamed, if renamed { cells } else { fields_renamed });
        changes.add(Change::TagDropped, if self.tags.len() < parts.tags.len() { cells } else { 0 });
        let all: Vec<_> = parts.fields.iter().map(|field| (field.key, *field)).collect();
        changes.add(Change::FieldDropped, last_of_each(&all).len() as u64 - cells);
        for (_, field) in &kept {
            let before = parts.fields.iter().rev().find(|before| before.key == field.key);
            let Some(before) = before.filter(|before| before.kind != field.kind) else { continue };
            changes.add(Change::IntegerAsFloat, 1);
            let beyond = match before.value() {
                Value::Integer(value) => value.unsigned_abs() > EXACT_MAX,
                Value::Unsigned(value) => value > EXACT_MAX,
                _ => false,
            };
            changes.add(Change::Digits, u64::from(beyond));
        }
    }
}

/// Of fields of one name the last.
fn last_of_each<'k, 'f>(fields: &[(&'k [u8], Field<'f>)]) -> Vec<(&'k [u8], Field<'f>)> {
    let later = |at: usize, key: &[u8]| fields[at + 1..].iter().any(|(other, _)| *other == key);
    fields.iter().enumerate().filter(|(at, (key, _))| !later(*at, key)).map(|(_, field)| *field).collect()
}

/// The same number as a float.
pub(super) fn as_float<'a>(field: Field<'a>) -> Field<'a> {
    let digits = &field.value[..field.value.len() - 1];
    // The sign of a zero would be one more difference.
    let is_zero = digits.iter().all(|byte| matches!(byte, b'-' | b'0'));
    Field { value: if is_zero { b"0" } else { digits }, kind: FieldKind::Float, ..field }
}
