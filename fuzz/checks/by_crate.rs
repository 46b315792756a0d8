//! Our reader of InfluxDB 3's line protocol beside the published crate of the server's own parser.
//!
//! They agree but for two rules: the crate does not limit names and texts to 64 KiB (the server does), and it leaves the unit of a
//! time to whoever calls it.

use std::borrow::Cow;

use influxdb_line_protocol::{EscapedStr, FieldValue, ParsedLine, parse_lines};
use twinline::line::record::{Datum, Outcome, Point, Record};
use twinline::line::{Precision, Value, influx3};

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// As [`show`] writes it.
    Point(String),
    Refused,
    /// Only by the limit that the crate has not.
    TooLong,
}

/// A point in a form in which all sides can be compared and printed.
pub fn show(measurement: &[u8], tags: &[(Vec<u8>, Vec<u8>)], fields: &[String], time: Option<i64>) -> String {
    let tags: Vec<String> = tags.iter().map(|(k, v)| format!("{}={}", k.escape_ascii(), v.escape_ascii())).collect();
    format!("{} | {} | {} | {time:?}", measurement.escape_ascii(), tags.join(","), fields.join(","))
}

fn our_point(point: &Point<'_>) -> String {
    let tags: Vec<_> = point.tags.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    let field = |(key, datum): &(Cow<'_, [u8]>, Datum<'_>)| {
        let Datum::Value(value) = datum else { panic!("no value of this dialect: {datum:?}") };
        let value = match value {
            Value::Float(value) => format!("float:{:016x}", value.to_bits()),
            Value::Integer(value) => format!("int:{value}"),
            Value::Unsigned(value) => format!("uint:{value}"),
            Value::Bool(value) => format!("bool:{value}"),
            Value::String(text) => format!("string:{}", text.escape_ascii()),
            Value::Undecodable(raw) => panic!("undecodable: {}", raw.escape_ascii()),
        };
        format!("{}={value}", key.escape_ascii())
    };
    show(&point.measurement, &tags, &point.fields.iter().map(field).collect::<Vec<_>>(), point.time_ns)
}

/// `None` where the time leaves 64 bits in nanoseconds.
fn crate_point(line: &ParsedLine<'_>, precision: Precision) -> Option<String> {
    let text = |text: &EscapedStr<'_>| text.as_str().as_bytes().to_vec();
    let tags: Vec<_> = line.series.tag_set.iter().flatten().map(|(key, value)| (text(key), text(value))).collect();
    let field = |(key, value): &(EscapedStr<'_>, FieldValue<'_>)| {
        let value = match value {
            FieldValue::F64(value) => format!("float:{:016x}", value.to_bits()),
            FieldValue::I64(value) => format!("int:{value}"),
            FieldValue::U64(value) => format!("uint:{value}"),
            FieldValue::Boolean(value) => format!("bool:{value}"),
            FieldValue::String(value) => format!("string:{}", text(value).escape_ascii()),
        };
        format!("{}={value}", text(key).escape_ascii())
    };
    let fields: Vec<String> = line.field_set.iter().map(field).collect();
    let time = match line.timestamp {
        Some(count) => Some(count.checked_mul(precision.unit_ns())?),
        None => None,
    };
    Some(show(line.series.measurement.as_str().as_bytes(), &tags, &fields, time))
}

/// For each line that is no comment and not blank what became of it.
pub fn ours(body: &[u8], precision: Precision) -> Vec<Read> {
    let records = influx3::records(body, precision);
    in_order(body, &records);
    let read = |record: Record<'_>| match record.outcome {
        Outcome::Skipped => None,
        Outcome::Point(point) => Some(Read::Point(our_point(&point))),
        Outcome::Fault(fault) if fault.code == "too-long" => Some(Read::TooLong),
        Outcome::Fault(_) => Some(Read::Refused),
    };
    records.into_iter().filter_map(read).collect()
}

fn theirs(text: &str, precision: Precision) -> Vec<Read> {
    let read = |line: ParsedLine<'_>| crate_point(&line, precision).map(Read::Point);
    parse_lines(text).map(|line| line.ok().and_then(read).unwrap_or(Read::Refused)).collect()
}

/// Whether both read a text alike.
pub fn read_alike(text: &str, precision: Precision) {
    let (ours, mut theirs) = (ours(text.as_bytes(), precision), theirs(text, precision));
    assert_eq!(ours.len(), theirs.len(), "{text:?}: {ours:?} {theirs:?}");
    for (our, their) in ours.iter().zip(&mut theirs) {
        if *our == Read::TooLong {
            *their = Read::TooLong;
        }
    }
    assert_eq!(ours, theirs, "{text:?}");
}

/// What holds for the records of every body.
fn in_order(body: &[u8], records: &[Record<'_>]) {
    let mut behind = 0;
    for Record { span, outcome } in records {
        assert!(behind <= span.start && span.start <= span.end && span.end <= body.len(), "{}", body.escape_ascii());
        // Between two lines stands nothing but the line feed that ends the first.
        assert_eq!(span.start - behind, usize::from(span.start > 0), "{}", body.escape_ascii());
        assert!(span.start == 0 || body[span.start - 1] == b'\n', "{}", body.escape_ascii());
        behind = span.end;
        if let Outcome::Fault(fault) = outcome {
            assert!((span.start..=span.end).contains(&fault.at), "{fault:?} {}", body.escape_ascii());
            assert!(!fault.code.is_empty() && !fault.reason.is_empty() && !fault.mend.is_empty(), "{fault:?}");
            assert!(fault.reason.chars().count() < 160, "{fault:?}");
        }
    }
    assert!(body.len() - behind <= 1, "{}", body.escape_ascii());
}
