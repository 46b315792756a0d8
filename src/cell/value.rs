//! The words of a typed point: field type, value, series, cell.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The type of a field value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldType {
    /// IEEE 754 double.
    Float,
    /// Signed 64-bit integer.
    Integer,
    /// Unsigned 64-bit integer (InfluxDB 2.x and later).
    Unsigned,
    /// True or false.
    Boolean,
    /// Bytes; usually, but not always, UTF-8.
    String,
}

impl FieldType {
    /// The name that InfluxQL uses, as in `SHOW FIELD KEYS`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Integer => "integer",
            Self::Unsigned => "unsigned",
            Self::Boolean => "boolean",
            Self::String => "string",
        }
    }

    /// The type of an InfluxQL name; `None` for a name that is not a field type.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"float" => Self::Float,
            b"integer" => Self::Integer,
            b"unsigned" => Self::Unsigned,
            b"boolean" => Self::Boolean,
            b"string" => Self::String,
            _ => return None,
        })
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A field value. Equality is that of type and bits: `-0.0` differs from `0.0`, a NaN equals itself, `1` differs from
/// `1.0`.
#[derive(Clone, Debug)]
pub enum Value {
    /// IEEE 754 double.
    Float(f64),
    /// Signed integer.
    Integer(i64),
    /// Unsigned integer.
    Unsigned(u64),
    /// True or false.
    Boolean(bool),
    /// Bytes as stored.
    String(Vec<u8>),
}

impl Value {
    /// The type of this value.
    #[must_use]
    pub fn field_type(&self) -> FieldType {
        match self {
            Self::Float(_) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::Unsigned(_) => FieldType::Unsigned,
            Self::Boolean(_) => FieldType::Boolean,
            Self::String(_) => FieldType::String,
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Unsigned(a), Self::Unsigned(b)) => a == b,
            (Self::Boolean(a), Self::Boolean(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.field_type().hash(state);
        match self {
            Self::Float(v) => v.to_bits().hash(state),
            Self::Integer(v) => v.hash(state),
            Self::Unsigned(v) => v.hash(state),
            Self::Boolean(v) => v.hash(state),
            Self::String(v) => v.hash(state),
        }
    }
}

/// Written as in line protocol: `1.5`, `2i`, `3u`, `true`, `"text"`; bytes that are not UTF-8 show as U+FFFD.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(v) => write!(f, "{v:?}"),
            Self::Integer(v) => write!(f, "{v}i"),
            Self::Unsigned(v) => write!(f, "{v}u"),
            Self::Boolean(v) => write!(f, "{v}"),
            Self::String(v) => write!(f, "{:?}", String::from_utf8_lossy(v)),
        }
    }
}

/// Tags: keys and values.
pub type Tags = Vec<(Vec<u8>, Vec<u8>)>;

/// A measurement and its tags. Tags are sorted by key, without duplicates and without empty values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    measurement: Vec<u8>,
    tags: Tags,
}

impl Series {
    /// A series in its normal form: tags sorted by key bytes, a tag without a value left out (the databases hold no
    /// such tag), the last of two tags of one key kept.
    #[must_use]
    pub fn new(measurement: Vec<u8>, mut tags: Tags) -> Self {
        tags.retain(|(_, value)| !value.is_empty());
        tags.sort_by(|a, b| a.0.cmp(&b.0));
        // The sort is stable: of equal keys the later one stands last, and `dedup_by` keeps the earlier slot.
        tags.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(&mut later.1, &mut kept.1);
            }
            same
        });
        Self { measurement, tags }
    }

    /// The measurement's name.
    #[must_use]
    pub fn measurement(&self) -> &[u8] {
        &self.measurement
    }

    /// The tags, sorted by key.
    #[must_use]
    pub fn tags(&self) -> &[(Vec<u8>, Vec<u8>)] {
        &self.tags
    }

    /// The value of a tag; `None` where the series has no such tag.
    #[must_use]
    pub fn tag(&self, key: &[u8]) -> Option<&[u8]> {
        self.tags.binary_search_by(|(k, _)| k.as_slice().cmp(key)).ok().map(|at| self.tags[at].1.as_slice())
    }
}

/// For people: `cpu,host=a`. Not escaped; not for machines.
impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.measurement))?;
        for (key, value) in &self.tags {
            write!(f, ",{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value))?;
        }
        Ok(())
    }
}

/// One value of one field of one series at one time. Cells of a series share its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// Measurement and tags.
    pub series: Arc<Series>,
    /// The field's key.
    pub field: Arc<[u8]>,
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub time_ns: i64,
    /// What is stored there.
    pub value: Value,
}

/// For people: `cpu,host=a usage at 2020-09-13T12:26:40Z = 1.5`.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = crate::base::clock::rfc3339(self.time_ns);
        write!(f, "{} {} at {time} = {}", self.series, String::from_utf8_lossy(&self.field), self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_equal_by_type_and_bits() {
        assert_ne!(Value::Float(0.0), Value::Float(-0.0));
        assert_eq!(Value::Float(f64::NAN), Value::Float(f64::NAN));
        assert_ne!(Value::Float(1.0), Value::Integer(1));
        assert_ne!(Value::Integer(1), Value::Unsigned(1));
        assert_ne!(Value::Boolean(true), Value::Integer(1));
        assert_eq!(Value::String(vec![0xff]), Value::String(vec![0xff]));
    }

    #[test]
    fn a_series_has_one_normal_form() {
        let tag = |k: &str, v: &str| (k.as_bytes().to_vec(), v.as_bytes().to_vec());
        let series = Series::new(b"m".to_vec(), vec![tag("b", "1"), tag("a", "2"), tag("c", ""), tag("b", "3")]);
        assert_eq!(series.tags(), &[tag("a", "2"), tag("b", "3")]);
        assert_eq!(series.tag(b"b"), Some(b"3".as_slice()));
        assert_eq!(series.tag(b"c"), None);
    }
}
