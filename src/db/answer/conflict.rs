//! The field that an answer names as of another type than the server has.
//!
//! The servers name the first conflict alone, with names as they are: they may hold quotes and the servers' own words. So the text is never
//! cut: a line is of it where the text begins as it would for one of the line's fields, to the last byte.

use crate::line::{FieldKind, Line};

/// What 2.x puts before the storage's own words.
const FAILED: &str = "failure writing points to database: ";
/// What stands before the words about a field.
const BEGIN: &str = "partial write: field type conflict: input field \"";

/// A conflict of types, in the server's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict<'a> {
    /// From the field's name on.
    words: &'a str,
}

impl<'a> Conflict<'a> {
    /// Of an answer by which everything else of the request was stored.
    #[must_use]
    pub fn of(text: &'a str) -> Option<Self> {
        let words = text.strip_prefix(FAILED).unwrap_or(text).strip_prefix(BEGIN)?;
        Some(Self { words })
    }

    /// Whether a line has the field, of the type that the server does not take. Another one may have it and be taken: types are by shard.
    #[must_use]
    pub fn is_of(&self, line: &Line<'_>) -> bool {
        self.field_of(line).is_some()
    }

    /// Which field of a line it is about.
    #[must_use]
    pub fn field_of(&self, line: &Line<'_>) -> Option<usize> {
        let names = [line.measurement(), line.raw_measurement().into()];
        line.fields().iter().position(|field| {
            let keys = [field.key(), field.raw_key().into()];
            keys.iter().any(|key| names.iter().any(|name| self.names(key, name, field.kind())))
        })
    }

    fn names(&self, field: &[u8], measurement: &[u8], kind: FieldKind) -> bool {
        let kind = match kind {
            FieldKind::Float => "float",
            FieldKind::Integer => "integer",
            FieldKind::Unsigned => "unsigned",
            FieldKind::Bool => "boolean",
            FieldKind::String => "string",
            FieldKind::Undecodable => return false,
        };
        // JSON replaces bytes that are no UTF-8: names are compared as they would stand there.
        let (field, measurement) = (String::from_utf8_lossy(field), String::from_utf8_lossy(measurement));
        let behind = self.words.strip_prefix(&*field).and_then(|rest| rest.strip_prefix("\" on measurement \""));
        let behind = behind.and_then(|rest| rest.strip_prefix(&*measurement));
        behind
            .and_then(|rest| rest.strip_prefix("\" is type "))
            .and_then(|rest| rest.strip_prefix(kind))
            .is_some_and(|rest| rest.starts_with(", already exists as type "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{Dialect, Precision, lines};

    fn is_of(text: &str, body: &str) -> bool {
        let line = lines(body.as_bytes(), Dialect::Influx2, Precision::Nanosecond).next().unwrap().unwrap();
        Conflict::of(text).is_some_and(|conflict| conflict.is_of(&line))
    }

    #[test]
    fn a_line_is_of_a_conflict_where_measurement_field_and_type_are() {
        let text = "partial write: field type conflict: input field \"v\" on measurement \"m\" is type string, already exists as type float dropped=2";
        for text in [text, &format!("{FAILED}{text}")] {
            assert!(is_of(text, "m,t=a u=1,v=\"x\" 1"));
            for other in ["m v=1 1", "m v=1i 1", "m w=\"x\" 1", "n v=\"x\" 1", "mm v=\"x\" 1", "m vv=\"x\" 1"] {
                assert!(!is_of(text, other), "{other}");
            }
        }
        for text in ["field type conflict", "partial write: field type conflict", "partial write: unable to parse 'm'"]
        {
            assert!(!is_of(text, "m v=\"x\" 1"), "{text}");
        }
    }

    #[test]
    fn names_may_hold_anything() {
        let text = "partial write: field type conflict: input field \"a\" on measurement \"b\" on measurement \"c d\" is type boolean, already exists as type string dropped=1";
        assert!(is_of(text, "c\\ d a\"\\ on\\ measurement\\ \"b=t 1"));
        assert!(!is_of(text, "c\\ d a=t 1") && !is_of(text, "b a=t 1"));
    }
}
