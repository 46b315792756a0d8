//! Binary values, which `==` announces behind a field's name.
//!
//! Promise: as many bytes are taken as the server takes, whatever they are. Of an array only its extent is checked.

use super::{Broken, Reader};
use crate::line::Value;
use crate::line::record::{Datum, Text};

const BOOLEAN: u8 = 6;
const FLOAT: u8 = 2;
const INTEGER: u8 = 3;
const TIMESTAMP: u8 = 13;
const ARRAY: u8 = 14;
const LONG: u8 = 15;
const DOUBLE: u8 = 16;
const DECIMAL: u8 = 23;

/// The one kind of elements that arrays have. An array of the kind "null" is none; its number changes from version to version.
const DOUBLES: u8 = 10;
const DOUBLE_BYTES: i32 = 8;
const MAX_DIMENSIONS: u8 = 32;
const MAX_SCALE: u8 = 76;

/// Reads a value from the second equals sign on, and goes on to what ends it.
pub(super) fn read<'a>(reader: &mut Reader<'a>) -> Result<Datum<'a>, Broken> {
    let datum = match next(reader)? {
        BOOLEAN => Value::Bool(next(reader)? == 1).into(),
        FLOAT => Value::Float(f64::from(f32::from_le_bytes(array(reader)?))).into(),
        DOUBLE => Value::Float(f64::from_le_bytes(array(reader)?)).into(),
        INTEGER => Value::Integer(i64::from(i32::from_le_bytes(array(reader)?))).into(),
        LONG => Value::Integer(i64::from_le_bytes(array(reader)?)).into(),
        TIMESTAMP => timestamp(next(reader)?, i64::from_le_bytes(array(reader)?)),
        ARRAY => doubles(reader)?,
        DECIMAL => decimal(reader)?,
        _ => return Err(Broken::Binary("UNSUPPORTED_BINARY_FORMAT")),
    };
    // Its last byte may be a line feed that ends nothing.
    reader.at += 1;
    match reader.byte(reader.at) {
        Some(b' ' | b',' | b'\n' | b'\r') => Ok(datum),
        Some(_) => Err(Broken::Separator),
        None => Err(Broken::Unfinished),
    }
}

/// The bytes behind the last one that was read.
fn part<'a>(reader: &mut Reader<'a>, length: usize) -> Result<&'a [u8], Broken> {
    let first = reader.at + 1;
    let bytes = first.checked_add(length).and_then(|end| reader.body.get(first..end));
    reader.at = if bytes.is_some() { reader.at + length } else { reader.body.len() };
    bytes.ok_or(Broken::Unfinished)
}

fn array<const N: usize>(reader: &mut Reader<'_>) -> Result<[u8; N], Broken> {
    part(reader, N)?.try_into().map_err(|_| Broken::Unfinished)
}

fn next(reader: &mut Reader<'_>) -> Result<u8, Broken> {
    array(reader).map(|[byte]| byte)
}

fn timestamp<'a>(unit: u8, count: i64) -> Datum<'a> {
    let kind = match unit {
        1 => "timestamp_ns",
        2 => "timestamp_us",
        3 => "timestamp_ms",
        // Taken as it is; what becomes of it, the table decides.
        _ => "timestamp",
    };
    Datum::Other { kind, text: count.to_string().into_bytes().into() }
}

/// Kind of the elements, number of dimensions, size of each, elements. The text is all of that.
fn doubles<'a>(reader: &mut Reader<'a>) -> Result<Datum<'a>, Broken> {
    let first = reader.at + 1;
    if next(reader)? != DOUBLES {
        return Err(Broken::Binary("ARRAY_INVALID_TYPE"));
    }
    let dimensions = next(reader)?;
    if dimensions > MAX_DIMENSIONS {
        return Err(Broken::Binary("ARRAY_TOO_MANY_DIMENSIONS"));
    }
    if dimensions == 0 {
        return Ok(Datum::Null);
    }
    let shape = part(reader, usize::from(dimensions) * 4)?;
    let sizes = || shape.as_chunks::<4>().0.iter().map(|size| i32::from_le_bytes(*size));
    if !sizes().any(|size| size == 0) {
        let bytes = sizes().try_fold(DOUBLE_BYTES, i32::checked_mul).ok_or(Broken::Binary("ARRAY_TOO_LARGE"))?;
        // Of a negative size there is never enough.
        part(reader, usize::try_from(bytes).unwrap_or(usize::MAX))?;
    }
    Ok(Datum::Other { kind: "array", text: Text::Borrowed(&reader.body[first..=reader.at]) })
}

/// Places behind the point, number of bytes, a whole number with its first byte first.
fn decimal<'a>(reader: &mut Reader<'a>) -> Result<Datum<'a>, Broken> {
    let scale = next(reader)?;
    if scale > MAX_SCALE {
        return Err(Broken::Binary("DECIMAL_INVALID_SCALE"));
    }
    let length = next(reader)?;
    if length.cast_signed() <= 0 {
        return Ok(Datum::Null);
    }
    let digits = part(reader, usize::from(length))?;
    // Not even the sign may reach above 256 bits.
    let above = digits.len().saturating_sub(32);
    if digits[..above].iter().any(|byte| *byte != 0) {
        return Err(Broken::Binary("DECIMAL_OVERFLOW"));
    }
    let hex: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Datum::Other { kind: "decimal", text: format!("0x{hex}/10^{scale}").into_bytes().into() })
}
