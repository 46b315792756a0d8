//! Lines for VictoriaMetrics: every field is a series of floats by the millisecond. Source of the rules: 1.150.0, measured.

use std::io::Write;

use super::{Change, Changes, kept_fields, significant_digits};
use crate::line::canonical::{write_integer, write_time};
use crate::line::victoria::number::float;
use crate::line::{Field, Line, Unfit, Value};

const NS_PER_MS: i64 = 1_000_000;
/// Label values that are longer are answered with 204 and dropped (`-maxLabelValueLen`).
const LABEL_BYTES_MAX: usize = 4096;
/// Digits that every float keeps.
const DIGITS_KEPT: usize = 15;
/// Integers beyond are no floats.
const EXACT_MAX: u64 = 1 << 53;

/// Of the first day of 1970 it keeps nothing.
const FIRST_MS: i64 = 86_400_000;
/// Labels that tell where a series comes from.
const PLACE: [&[u8]; 4] = [b"db", b"rp", b"org", b"bucket"];

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VictoriaRules {
    /// A line that holds a text is refused, instead of the text being left out.
    pub refuse_texts: bool,
    /// What is older than this is dropped (`-retentionPeriod`), ms.
    pub past_ms: i64,
    /// What is so far ahead as well (`-futureRetention`), ms.
    pub ahead_ms: i64,
    /// The clock, ms since 1970.
    pub now_ms: i64,
}

impl VictoriaRules {
    /// Whether it would keep a time, which it does not say: it answers with success and drops the others.
    fn keeps(&self, ms: i64) -> bool {
        let first = self.now_ms.saturating_sub(self.past_ms).max(FIRST_MS);
        (first..=self.now_ms.saturating_add(self.ahead_ms)).contains(&ms)
    }
}

/// Appends a line with its time in milliseconds and a line feed; nothing where nothing of it can be kept.
///
/// # Errors
/// The line as a whole does not fit; nothing is appended, nothing counted.
pub fn victoria(
    line: &Line<'_>,
    at_ns: i64,
    rules: VictoriaRules,
    out: &mut Vec<u8>,
    changes: &mut Changes,
) -> Result<(), Unfit> {
    if let Some((code, why)) = refused(line, rules) {
        return Err(Unfit { code, why, in_part: false });
    }
    let ms = at_ns.div_euclid(NS_PER_MS);
    if !rules.keeps(ms) {
        changes.add(Change::TimeLeftOut, kept_fields(line).count() as u64);
        return Ok(());
    }
    let begin = out.len();
    write_name(&line.measurement(), out);
    line.in_order(|tag| {
        out.push(b',');
        write_name(&tag.key(), out);
        out.push(b'=');
        write_name(&tag.value(), out);
    });
    let (mut separator, mut cells) = (b' ', 0);
    for field in kept_fields(line) {
        let key = field.key();
        let Some(value) = number(field, changes) else { continue };
        out.push(separator);
        separator = b',';
        changes.add(Change::Name, u64::from(write_key(&key, out)));
        out.push(b'=');
        match value {
            Number::Raw(raw) => out.extend_from_slice(raw),
            // So many digits that it is read exactly.
            Number::Float(value) => _ = write!(out, "{value:.17e}"),
            Number::Whole(whole) => write_integer(whole, out),
        }
        cells += 1;
    }
    if cells == 0 {
        out.truncate(begin);
        return Ok(());
    }
    if at_ns % NS_PER_MS != 0 {
        changes.add(Change::Milliseconds, cells);
    }
    // The request gives each series its place as labels; a tag of the same name stands in front of them.
    if line.tags().iter().any(|tag| PLACE.contains(&&*tag.key())) {
        changes.add(Change::Place, cells);
    }
    write_time(ms, out);
    out.push(b'\n');
    Ok(())
}

/// Why a line as a whole does not fit.
fn refused(line: &Line<'_>, rules: VictoriaRules) -> Option<(&'static str, &'static str)> {
    if rules.refuse_texts && kept_fields(line).any(|field| matches!(field.value(), Value::String(_))) {
        return Some(("text", "it holds a text, and the destination keeps numbers alone (projection.texts)"));
    }
    let too_long = |bytes: &[u8]| bytes.len() > LABEL_BYTES_MAX;
    let (measurement, tags) = (line.measurement(), line.tags());
    let name_is_long = kept_fields(line).any(|field| measurement.len() + 1 + field.key().len() > LABEL_BYTES_MAX);
    if name_is_long || tags.iter().any(|tag| too_long(&tag.value())) {
        return Some(("too-large", "a name or a tag of more than 4096 bytes, which the destination would drop"));
    }
    // It cuts lines at every line feed, whatever stands before it.
    let is_cut = |bytes: &[u8]| bytes.contains(&b'\n');
    let field_is_cut = kept_fields(line).any(|field| is_cut(&field.key()));
    if is_cut(&measurement) || field_is_cut || tags.iter().any(|tag| is_cut(&tag.key()) || is_cut(&tag.value())) {
        return Some(("bad-name", "a line feed in a name or a tag, at which the destination would cut the line"));
    }
    let is_name = |key: &[u8]| key == b"__name__";
    tags.iter()
        .any(|tag| is_name(&tag.key()))
        .then_some(("bad-name", "a tag `__name__`, which the destination takes for the name"))
}

enum Number<'a> {
    Raw(&'a [u8]),
    Float(f64),
    Whole(i64),
}

/// A field's value as it is written, and what that changes.
fn number<'a>(field: &Field<'a>, changes: &mut Changes) -> Option<Number<'a>> {
    let raw = field.raw_value();
    match field.value() {
        Value::Float(value) => {
            let is_exact = significant_digits(value) <= DIGITS_KEPT && value.is_normal() || value.to_bits() == 0;
            changes.add(Change::Digits, u64::from(!is_exact));
            // Some forms are no number there, or another one: it has its own shortcuts.
            Some(if float(raw).to_bits() == value.to_bits() { Number::Raw(raw) } else { Number::Float(value) })
        }
        Value::Integer(value) => {
            changes.add(Change::Digits, u64::from(value.unsigned_abs() > EXACT_MAX));
            Some(Number::Raw(raw))
        }
        Value::Unsigned(value) => {
            changes.add(Change::Digits, u64::from(value > EXACT_MAX));
            Some(Number::Raw(raw))
        }
        Value::Bool(value) => {
            changes.add(Change::BooleanAsNumber, 1);
            Some(Number::Whole(i64::from(value)))
        }
        Value::String(_) | Value::Undecodable(_) => {
            changes.add(Change::TextLeftOut, 1);
            None
        }
    }
}

/// A name in the section before the fields: there a backslash protects what follows it, and these four lose it again.
fn write_name(name: &[u8], out: &mut Vec<u8>) {
    for byte in name {
        if matches!(byte, b' ' | b',' | b'=' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
}

/// The name of a field. A quote in it would begin a text; behind a backslash it does not, and the backslash stays. True where
/// that has changed the name.
fn write_key(key: &[u8], out: &mut Vec<u8>) -> bool {
    let mut is_changed = false;
    for byte in key {
        if matches!(byte, b' ' | b',' | b'=' | b'\\' | b'"') {
            out.push(b'\\');
            is_changed |= *byte == b'"';
        }
        out.push(*byte);
    }
    is_changed
}
