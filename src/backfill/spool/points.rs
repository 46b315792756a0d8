//! Points as bytes: each series and each field name once in a frame, then numbers.

use std::sync::Arc;

use super::Point;
use crate::cell::{Series, Value};

const SERIES: u8 = 0;
const FIELD: u8 = 1;
const POINT: u8 = 2;

/// Points of one frame, as they are added.
#[derive(Debug, Default)]
pub(super) struct Packing {
    pub(super) bytes: Vec<u8>,
    series: Option<Arc<Series>>,
    fields: Vec<Arc<[u8]>>,
}

impl Packing {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.series = None;
        self.fields.clear();
    }

    pub(super) fn add(&mut self, point: &Point) {
        let is_same = |known: &Arc<Series>| Arc::ptr_eq(known, &point.series) || **known == *point.series;
        if !self.series.as_ref().is_some_and(is_same) {
            self.bytes.push(SERIES);
            put(&mut self.bytes, point.series.measurement());
            number(&mut self.bytes, point.series.tags().len() as u64);
            for (key, value) in point.series.tags() {
                put(&mut self.bytes, key);
                put(&mut self.bytes, value);
            }
            self.series = Some(Arc::clone(&point.series));
        }
        let places: Vec<usize> =
            point.values.iter().enumerate().map(|(at, (field, _))| self.field(at, field)).collect();
        self.bytes.push(POINT);
        self.bytes.extend_from_slice(&point.time_ns.to_le_bytes());
        number(&mut self.bytes, point.values.len() as u64);
        for (place, (_, value)) in places.into_iter().zip(&point.values) {
            number(&mut self.bytes, place as u64);
            self.value(value);
        }
    }

    /// The number of a field's name; mostly the same one stands at the same place.
    fn field(&mut self, at: usize, field: &Arc<[u8]>) -> usize {
        if self.fields.get(at).is_some_and(|known| known == field) {
            return at;
        }
        self.fields.iter().position(|known| known == field).unwrap_or_else(|| {
            self.bytes.push(FIELD);
            put(&mut self.bytes, field);
            self.fields.push(Arc::clone(field));
            self.fields.len() - 1
        })
    }

    fn value(&mut self, value: &Value) {
        let out = &mut self.bytes;
        match value {
            Value::Float(v) => (out.push(0), out.extend_from_slice(&v.to_bits().to_le_bytes())).1,
            Value::Integer(v) => (out.push(1), out.extend_from_slice(&v.to_le_bytes())).1,
            Value::Unsigned(v) => (out.push(2), out.extend_from_slice(&v.to_le_bytes())).1,
            Value::Boolean(v) => out.push(3 + u8::from(*v)),
            Value::String(text) => {
                out.push(5);
                put(out, text);
            }
        }
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Seven bits a byte, the lowest first.
fn number(out: &mut Vec<u8>, mut left: u64) {
    while left >= 0x80 {
        out.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// The points of a frame; `None` where these bytes are none.
pub(super) fn unpack(bytes: &[u8]) -> Option<Vec<Point>> {
    let mut from = From(bytes);
    let (mut points, mut series, mut fields) = (Vec::new(), None::<Arc<Series>>, Vec::<Arc<[u8]>>::new());
    while !from.0.is_empty() {
        match from.byte()? {
            SERIES => {
                let measurement = from.take()?.to_vec();
                let count = from.number()?;
                let mut tags = Vec::new();
                for _ in 0..count {
                    tags.push((from.take()?.to_vec(), from.take()?.to_vec()));
                }
                series = Some(Arc::new(Series::new(measurement, tags)));
            }
            FIELD => fields.push(from.take()?.into()),
            POINT => {
                let time_ns = i64::from_le_bytes(from.array()?);
                let count = from.number()?;
                let mut values = Vec::new();
                for _ in 0..count {
                    let field = fields.get(usize::try_from(from.number()?).ok()?)?;
                    values.push((Arc::clone(field), from.value()?));
                }
                points.push(Point { series: Arc::clone(series.as_ref()?), time_ns, values });
            }
            _ => return None,
        }
    }
    Some(points)
}

struct From<'b>(&'b [u8]);

impl<'b> From<'b> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn number(&mut self) -> Option<u64> {
        let mut found = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            found |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(found);
            }
        }
        None
    }

    fn take(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn value(&mut self) -> Option<Value> {
        Some(match self.byte()? {
            0 => Value::Float(f64::from_bits(u64::from_le_bytes(self.array()?))),
            1 => Value::Integer(i64::from_le_bytes(self.array()?)),
            2 => Value::Unsigned(u64::from_le_bytes(self.array()?)),
            3 => Value::Boolean(false),
            4 => Value::Boolean(true),
            5 => Value::String(self.take()?.to_vec()),
            _ => return None,
        })
    }
}
