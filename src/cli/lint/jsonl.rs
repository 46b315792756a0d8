//! One JSON object for each line, on one line, with its keys in a fixed order.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Seen;
use crate::line::Value;
use crate::line::record::{Datum, Fault, Outcome, Point};

/// Writes the object of a line.
pub(super) fn write(out: &mut impl Write, seen: &Seen<'_>) -> io::Result<()> {
    let (line, offset) = (seen.line, seen.piece.offset + seen.record.span.start as u64);
    let verdict = match &seen.record.outcome {
        Outcome::Point(_) => "ok",
        Outcome::Fault(_) => "error",
        Outcome::Skipped => "skip",
    };
    write!(out, "{{\"line\":{line},\"offset\":{offset},\"verdict\":\"{verdict}\",")?;
    match &seen.record.outcome {
        Outcome::Point(data) => point(out, data)?,
        _ => out.write_all(b"\"measurement\":null,\"tags\":[],\"fields\":[],\"timestamp\":null")?,
    }
    out.write_all(b",\"error\":")?;
    match &seen.record.outcome {
        Outcome::Fault(fault) => error(out, fault, seen.piece.offset)?,
        _ => out.write_all(b"null")?,
    }
    out.write_all(b",\"differs\":")?;
    serde_json::to_writer(&mut *out, seen.differs)?;
    out.write_all(b"}\n")
}

fn point(out: &mut impl Write, data: &Point<'_>) -> io::Result<()> {
    out.write_all(b"\"measurement\":")?;
    text(out, &data.measurement)?;
    out.write_all(b",\"tags\":")?;
    list(out, &data.tags, |out, (key, value)| {
        out.write_all(b"[")?;
        text(out, key)?;
        out.write_all(b",")?;
        text(out, value)?;
        out.write_all(b"]")
    })?;
    out.write_all(b",\"fields\":")?;
    list(out, &data.fields, |out, (key, value)| {
        out.write_all(b"[")?;
        text(out, key)?;
        out.write_all(b",{\"type\":")?;
        typed(out, value)?;
        out.write_all(b"}]")
    })?;
    match data.time_ns {
        Some(ns) => write!(out, ",\"timestamp\":{ns}"),
        None => out.write_all(b",\"timestamp\":null"),
    }
}

fn list<W: Write, T>(out: &mut W, items: &[T], each: impl Fn(&mut W, &T) -> io::Result<()>) -> io::Result<()> {
    for (number, item) in items.iter().enumerate() {
        out.write_all(if number == 0 { b"[" } else { b"," })?;
        each(out, item)?;
    }
    out.write_all(if items.is_empty() { b"[]" } else { b"]" })
}

fn typed(out: &mut impl Write, datum: &Datum<'_>) -> io::Result<()> {
    match datum {
        Datum::Value(value) => known(out, value),
        Datum::Null => out.write_all(b"\"null\",\"value\":null"),
        Datum::Other { kind, text: value } => {
            write!(out, "\"{kind}\",\"value\":")?;
            text(out, value)
        }
    }
}

fn known(out: &mut impl Write, value: &Value<'_>) -> io::Result<()> {
    match value {
        // The shortest digits that read back as the same number.
        Value::Float(value) if value.is_finite() => write!(out, "\"float\",\"value\":{value:?}"),
        // JSON has no such numbers.
        Value::Float(value) => {
            let name = if value.is_nan() {
                "NaN"
            } else if *value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            write!(out, "\"float\",\"value\":\"{name}\"")
        }
        Value::Integer(value) => write!(out, "\"integer\",\"value\":{value}"),
        Value::Unsigned(value) => write!(out, "\"unsigned\",\"value\":{value}"),
        Value::Bool(value) => write!(out, "\"boolean\",\"value\":{value}"),
        Value::String(value) => {
            out.write_all(b"\"string\",\"value\":")?;
            text(out, value)
        }
        Value::Undecodable(raw) => {
            out.write_all(b"\"undecodable\",\"value\":")?;
            text(out, raw)
        }
    }
}

/// A string, or its bytes where it is not UTF-8.
fn text(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(serde_json::to_writer(out, text)?),
        Err(_) => write!(out, "{{\"b64\":\"{}\"}}", STANDARD.encode(bytes)),
    }
}

fn error(out: &mut impl Write, fault: &Fault, piece: u64) -> io::Result<()> {
    write!(out, "{{\"code\":\"{}\",\"offset\":{},\"reason\":", fault.code, piece + fault.at as u64)?;
    serde_json::to_writer(&mut *out, &fault.reason)?;
    out.write_all(b",\"mend\":")?;
    serde_json::to_writer(&mut *out, fault.mend)?;
    out.write_all(b"}")
}
