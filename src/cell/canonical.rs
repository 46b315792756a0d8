//! One byte form of a cell: no two different cells share it, and it does not depend on the machine.
//!
//! Layout, all numbers little-endian: measurement, count of tags (u32), each tag's key and value, field, time (i64),
//! type (u8), value. A text is its length (u32) and its bytes, so that no separator can be imitated by data.

use super::{Cell, Value};

/// Type bytes. They are part of evidence that outlives the process: never renumber.
const FLOAT: u8 = 1;
const INTEGER: u8 = 2;
const UNSIGNED: u8 = 3;
const BOOLEAN: u8 = 4;
const STRING: u8 = 5;

/// Appends the canonical bytes of `cell` to `out`.
pub fn put_canonical(cell: &Cell, out: &mut Vec<u8>) {
    put_text(cell.series.measurement(), out);
    put_length(cell.series.tags().len(), out);
    for (key, value) in cell.series.tags() {
        put_text(key, out);
        put_text(value, out);
    }
    put_text(&cell.field, out);
    out.extend_from_slice(&cell.time_ns.to_le_bytes());
    match &cell.value {
        Value::Float(v) => put_number(FLOAT, v.to_bits(), out),
        Value::Integer(v) => put_number(INTEGER, v.cast_unsigned(), out),
        Value::Unsigned(v) => put_number(UNSIGNED, *v, out),
        Value::Boolean(v) => out.extend_from_slice(&[BOOLEAN, u8::from(*v)]),
        Value::String(v) => {
            out.push(STRING);
            put_text(v, out);
        }
    }
}

fn put_number(kind: u8, bits: u64, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&bits.to_le_bytes());
}

fn put_text(text: &[u8], out: &mut Vec<u8>) {
    put_length(text.len(), out);
    out.extend_from_slice(text);
}

/// Lengths above 4 GiB cannot occur: every reader bounds a body far below; saturating keeps the form total.
fn put_length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::cell::Series;

    fn cell(measurement: &str, tags: &[(&str, &str)], field: &str, time_ns: i64, value: Value) -> Cell {
        let tags = tags.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        let series = Arc::new(Series::new(measurement.as_bytes().to_vec(), tags));
        Cell { series, field: field.as_bytes().into(), time_ns, value }
    }

    #[test]
    fn different_cells_have_different_bytes() {
        let one = |value| cell("m", &[], "f", 1, value);
        let cells = [
            one(Value::Float(0.0)),
            one(Value::Float(-0.0)),
            one(Value::Float(1.0)),
            one(Value::Float(f64::NAN)),
            one(Value::Integer(0)),
            one(Value::Integer(1)),
            one(Value::Unsigned(1)),
            one(Value::Boolean(true)),
            one(Value::Boolean(false)),
            one(Value::String(b"1".to_vec())),
            one(Value::String(Vec::new())),
            one(Value::String(vec![0])),
            one(Value::Integer(-1)),
            one(Value::Unsigned(u64::MAX)),
            cell("m", &[], "f", 2, Value::Integer(1)),
            cell("m", &[], "ff", 1, Value::Integer(1)),
            cell("mf", &[], "", 1, Value::Integer(1)),
            cell("m", &[("a", "bc")], "f", 1, Value::Integer(1)),
            cell("m", &[("ab", "c")], "f", 1, Value::Integer(1)),
            cell("m", &[("a", "b"), ("c", "d")], "f", 1, Value::Integer(1)),
            cell("m", &[("a", "b,c=d")], "f", 1, Value::Integer(1)),
        ];
        let mut seen = BTreeMap::new();
        for cell in &cells {
            let mut bytes = Vec::new();
            put_canonical(cell, &mut bytes);
            if let Some(other) = seen.insert(bytes, cell) {
                panic!("{cell} and {other} share their bytes");
            }
        }
    }

    #[test]
    fn the_form_is_fixed() {
        let mut bytes = Vec::new();
        put_canonical(&cell("m", &[("t", "x")], "f", 258, Value::Integer(-1)), &mut bytes);
        let series = b"\x01\0\0\0m\x01\0\0\0\x01\0\0\0t\x01\0\0\0x";
        let rest = b"\x01\0\0\0f\x02\x01\0\0\0\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(bytes, [&series[..], rest].concat());
    }
}
