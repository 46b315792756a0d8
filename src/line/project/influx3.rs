//! Lines for InfluxDB 3: the same data, in the forms that its parser takes. Source of the rules: its own parser at 3.10, and what
//! stands above it (one field twice, one name for a tag and a field).

use std::io::Write;

use super::kept_fields;
use crate::line::canonical::{write_tag, write_time};
use crate::line::record::{Datum, Outcome, Point};
use crate::line::{Line, Precision, Unfit, Value, escape, influx3 as dialect};

/// Appends a line with its time in nanoseconds and a line feed.
///
/// # Errors
/// InfluxDB 3 would refuse it, or read something else; nothing is appended.
pub fn influx3(line: &Line<'_>, at_ns: i64, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let unfit = |why| Unfit { code: "bad-name", why, in_part: false };
    if line.tags().iter().any(|tag| line.fields().iter().any(|field| field.key() == tag.key())) {
        return Err(unfit("one name for a tag and a field, which InfluxDB 3 refuses"));
    }
    let begin = out.len();
    for floats_anew in [false, true] {
        write(line, at_ns, floats_anew, out);
        if reads_back(line, at_ns, &out[begin..]) {
            return Ok(());
        }
        out.truncate(begin);
    }
    Err(unfit("names or texts that InfluxDB 3 refuses or reads as others, whatever their form"))
}

fn write(line: &Line<'_>, at_ns: i64, floats_anew: bool, out: &mut Vec<u8>) {
    escape::write_measurement(&line.measurement(), out);
    line.in_order(|tag| write_tag(&tag.key(), tag, out));
    let mut separator = b' ';
    for field in kept_fields(line) {
        out.push(separator);
        separator = b',';
        escape::write_field_key(&field.key(), out);
        out.push(b'=');
        match field.value() {
            Value::String(text) => escape::write_string(&text, out),
            // A float needs digits on both sides of its point.
            Value::Float(value) if floats_anew => _ = write!(out, "{value:e}"),
            _ => out.extend_from_slice(field.raw_value()),
        }
    }
    write_time(at_ns, out);
    out.push(b'\n');
}

fn reads_back(line: &Line<'_>, at_ns: i64, text: &[u8]) -> bool {
    let records = dialect::records(text, Precision::Nanosecond);
    let [record] = &records[..] else { return false };
    let Outcome::Point(Point { measurement, tags, fields, time_ns }) = &record.outcome else { return false };
    let mut own_tags = Vec::with_capacity(tags.len());
    line.in_order(|tag| own_tags.push((tag.key(), tag.value())));
    let same = |datum: &Datum<'_>, value: Value<'_>| match (datum, value) {
        (Datum::Value(Value::Float(a)), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Datum::Value(a), b) => *a == b,
        _ => false,
    };
    let own: Vec<_> = kept_fields(line).collect();
    *measurement == line.measurement()
        && *tags == own_tags
        && *time_ns == Some(at_ns)
        && fields.len() == own.len()
        && fields.iter().zip(own).all(|((key, datum), field)| *key == field.key() && same(datum, field.value()))
}
