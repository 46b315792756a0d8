//! One way to write a line: read alike by InfluxDB 1.x and 2.x, and readable after it was stored.
//!
//! The servers keep a series key as it was written and build it anew from its unescaped parts when they read. A line
//! written in any other than this form can be acknowledged and never be seen again.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::point::{Field, FieldKind, Line, Tag, Value};
use super::reason::MAX_KEY_BYTES;
use super::{Dialect, Precision, careful, escape, lines};

/// Appends the line with its tags sorted, its names escaped as the servers escape them, the time in nanoseconds and a
/// line feed. Numbers and booleans stay as they were written. The result is the same data exactly when
/// [`unstorable`] has nothing to say.
pub fn write_canonical(line: &Line<'_>, at_ns: i64, out: &mut Vec<u8>) {
    write_untimed(line, out);
    write_time(at_ns, out);
    out.push(b'\n');
}

/// Appends a line that needs no rewriting (see [`super::Outline`]) up to its fields' end, the time and a line feed.
pub fn write_plain(untimed: &[u8], at_ns: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(untimed);
    write_time(at_ns, out);
    out.push(b'\n');
}

/// Appends a line in the same form from its parts, unescaped; tags in order. A value that no storage decodes stays as it is.
pub fn write_parts<'p>(
    (measurement, tags): (&[u8], impl Iterator<Item = (&'p [u8], &'p [u8])>),
    fields: impl Iterator<Item = (&'p [u8], Value<'p>)>,
    at_ns: i64,
    out: &mut Vec<u8>,
) {
    escape::write_measurement(measurement, out);
    for (key, value) in tags {
        out.push(b',');
        escape::write_tag(key, out);
        out.push(b'=');
        escape::write_tag(value, out);
    }
    let mut separator = b' ';
    for (key, value) in fields {
        out.push(separator);
        separator = b',';
        escape::write_field_key(key, out);
        out.push(b'=');
        match value {
            // The shortest text that reads back as the same bits.
            Value::Float(v) => out.extend_from_slice(format!("{v:?}").as_bytes()),
            Value::Integer(v) => out.extend_from_slice(format!("{v}i").as_bytes()),
            Value::Unsigned(v) => out.extend_from_slice(format!("{v}u").as_bytes()),
            Value::Bool(v) => out.extend_from_slice(if v { b"true" } else { b"false" }),
            Value::String(text) => escape::write_string(&text, out),
            Value::Undecodable(raw) => out.extend_from_slice(raw),
        }
    }
    write_time(at_ns, out);
    out.push(b'\n');
}

/// A space and an integer.
pub(super) fn write_time(units: i64, out: &mut Vec<u8>) {
    out.push(b' ');
    write_integer(units, out);
}

pub(super) fn write_integer(units: i64, out: &mut Vec<u8>) {
    /// A sign and nineteen digits.
    const LONGEST: usize = 20;
    let (mut digits, mut at, mut left) = ([0; LONGEST], LONGEST, units.unsigned_abs());
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if units < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

pub(super) fn write_untimed(line: &Line<'_>, out: &mut Vec<u8>) {
    escape::write_measurement(&line.measurement(), out);
    line.in_order(|tag| write_tag(&tag.key(), tag, out));
    write_fields(line.fields().iter().map(|field| (field.key(), field)), out);
}

/// A comma and a tag, under a key that need not be its own.
pub(super) fn write_tag(key: &[u8], tag: &Tag<'_>, out: &mut Vec<u8>) {
    out.push(b',');
    escape::write_tag(key, out);
    out.push(b'=');
    escape::write_tag(&tag.value(), out);
}

/// A space and the fields, under keys that need not be their own.
pub(super) fn write_fields<'f, K: AsRef<[u8]>>(fields: impl Iterator<Item = (K, &'f Field<'f>)>, out: &mut Vec<u8>) {
    let mut separator = b' ';
    for (key, field) in fields {
        out.push(separator);
        separator = b',';
        escape::write_field_key(key.as_ref(), out);
        out.push(b'=');
        match field.value() {
            Value::String(text) => escape::write_string(&text, out),
            _ => out.extend_from_slice(field.raw_value()),
        }
    }
}

/// Why a line, written in canonical form, would not be at a server what it is elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Short stable code: `bad-name` (refused, with every other line of its request), `unstorable` (an error of the storage
    /// for ever, or the end of the server), `unreadable` (acknowledged and never shown).
    pub code: &'static str,
    /// For people.
    pub why: &'static str,
    /// Only a part of it is lost, and it harms nothing.
    pub in_part: bool,
}

/// Whether a server of dialect `to` would refuse this line together with its neighbours, break on it, or acknowledge it
/// and never show it. `None` for a line that can be stored and read back.
#[must_use]
pub fn unfit(line: &Line<'_>, to: Dialect) -> Option<Unfit> {
    let whole = |code, why| Some(Unfit { code, why, in_part: false });
    if to == Dialect::Influx2
        && line.dialect != to
        && line.tags().iter().any(|tag| careful::reserved(tag.raw_key(), to).is_some())
    {
        return whole("bad-name", "a tag key that InfluxDB 2.x keeps for itself");
    }
    if let Some((code, why)) = lost(line) {
        return whole(code, why);
    }
    // Measured on 1.13: a query never shows the first, and makes up a row for the second.
    let hidden = |key: &[u8]| key == b"_tagKey" || key == b"_name";
    let some = to == Dialect::Influx1 && line.fields().iter().any(|field| hidden(field.raw_key()));
    let why = "a field `_tagKey` or `_name`, which InfluxDB 1.x stores and does not show";
    some.then_some(Unfit { code: "unreadable", why, in_part: true })
}

/// Whether [`unfit`] can find something in a plain line of this body (see [`super::Outline`]); the others are few and
/// looked at anyway. A fast look at all of it that is wrong only by saying yes.
#[must_use]
pub fn may_be_unfit(body: &[u8], from: Dialect, to: Dialect) -> bool {
    /// What reserved tag keys and hidden fields look like where they stand.
    static TAGS: LazyLock<Vec<Finder<'static>>> =
        LazyLock::new(|| [",time=", ",_field=", ",_measurement=", ",\0="].iter().map(Finder::new).collect());
    static FIELDS: LazyLock<Vec<Finder<'static>>> =
        LazyLock::new(|| ["_tagKey=", ",_name=", " _name="].iter().map(Finder::new).collect());
    let any = |finders: &[Finder<'_>]| finders.iter().any(|finder| finder.find(body).is_some());
    match to {
        Dialect::Influx2 => from != to && (any(&TAGS) || memchr::memmem::find(body, b",\xff=").is_some()),
        Dialect::Influx1 => any(&FIELDS),
    }
}

/// Why the servers would answer this line with success, or for ever with an error of their storage, and never show its
/// data, whatever form it is written in. `None` for a line that can be stored and read back.
#[must_use]
pub fn unstorable(line: &Line<'_>) -> Option<&'static str> {
    lost(line).map(|(_, why)| why)
}

fn lost(line: &Line<'_>) -> Option<(&'static str, &'static str)> {
    if line.frame.plain {
        return None;
    }
    // First of all: the others do no harm.
    if line.fields().iter().any(careful::is_undecodable) {
        return Some(("unstorable", "a field value that the storage cannot decode"));
    }
    let hides = |window: &[u8]| matches!(window, [b'\\', b'\\', b',' | b' ' | b'=' | b'"']);
    if line.raw_measurement().windows(3).any(hides) {
        let why = "a double backslash before a comma, space, equals sign or quote in the measurement";
        return Some(("unreadable", why));
    }
    if line.fields().iter().any(|field| field.raw_key().is_empty()) {
        return Some(("unreadable", "an empty field key"));
    }
    if is_unambiguous(line) || reads_back(line) {
        None
    } else {
        Some(("unreadable", "names that no escaping keeps apart from their neighbours"))
    }
}

/// Whether each backslash of the canonical form either escapes one byte or is plain by every rule of the servers: then
/// the form reads back for certain. It spares ordinary lines with escapes the proof.
fn is_unambiguous(line: &Line<'_>) -> bool {
    let plain = |name: &[u8]| {
        let risky = |at| !matches!(name.get(at + 1), Some(next) if !b", =".contains(next));
        !name.contains(&b'\n') && !memchr::memchr_iter(b'\\', name).any(risky)
    };
    line.raw().len() <= MAX_KEY_BYTES / 2
        && plain(&line.measurement())
        && line.tags().iter().all(|tag| plain(&tag.key()) && plain(&tag.value()))
        && line.fields().iter().all(|field| plain(&field.key()) && field.kind() != FieldKind::Unsigned)
}

/// Whether the canonical form says the same as the line, with another line behind it.
fn reads_back(line: &Line<'_>) -> bool {
    let mut text = Vec::with_capacity(line.raw().len() + 32);
    write_canonical(line, 0, &mut text);
    let length = text.len() - 1;
    text.extend_from_slice(b"next v=1\n");
    let first = lines(&text, line.dialect, Precision::Nanosecond).next();
    matches!(first, Some(Ok(first)) if first.span() == (0..length) && first.timestamp_ns() == Some(0) && first.same_data(line))
}
