//! Values of fields, and timestamps.
//!
//! What begins like a value and goes on as none is a value with something behind it, which the line's reader then refuses.

use std::borrow::Cow;

use super::fault::{
    self, INTEGER_OUT_OF_RANGE, TIME_OUT_OF_RANGE, TIMESTAMP_OUT_OF_RANGE, TOO_LONG, UNSIGNED_OUT_OF_RANGE,
};
use super::read::Reader;
use crate::line::record::Fault;
use crate::line::{Precision, Value};

/// The longest spelling first, where one begins with another.
const BOOLEANS: [(&[u8], bool); 10] = [
    (b"true", true),
    (b"True", true),
    (b"TRUE", true),
    (b"t", true),
    (b"T", true),
    (b"false", false),
    (b"False", false),
    (b"FALSE", false),
    (b"f", false),
    (b"F", false),
];

impl<'a> Reader<'a> {
    /// The value that begins here; `None`, and nothing read, where there is none.
    ///
    /// # Errors
    /// The server's reason to refuse what has the form of a value.
    pub(super) fn value(&mut self) -> Result<Option<Value<'a>>, Fault> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Ok(self.boolean()),
        }
    }

    fn boolean(&mut self) -> Option<Value<'a>> {
        let rest = &self.text[self.at..];
        let (word, value) = BOOLEANS.into_iter().find(|(word, _)| rest.starts_with(word))?;
        self.at += word.len();
        Some(Value::Bool(value))
    }

    fn number(&mut self) -> Result<Option<Value<'a>>, Fault> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        let Some(whole) = self.digits(start + usize::from(negative)) else { return Ok(None) };
        let value = match self.text.get(whole) {
            Some(b'i') => match self.parse(start, whole) {
                Some(value) => (whole + 1, Value::Integer(value)),
                None => return Err(fault::of_number(&INTEGER_OUT_OF_RANGE, "integer", &self.text[..whole], start)),
            },
            Some(b'u') if !negative => match self.parse(start, whole) {
                Some(value) => (whole + 1, Value::Unsigned(value)),
                None => {
                    return Err(fault::of_number(
                        &UNSIGNED_OUT_OF_RANGE,
                        "unsigned integer",
                        &self.text[..whole],
                        start,
                    ));
                }
            },
            _ => {
                let end = self.float_end(whole);
                // It is digits in a form that the standard library reads too, as infinite where it is too large.
                let Some(value) = self.parse(start, end) else { return Ok(None) };
                (end, Value::Float(value))
            }
        };
        self.at = value.0;
        Ok(Some(value.1))
    }

    /// Where the float ends whose digits before the point end at `whole`: as far as its form goes.
    fn float_end(&self, whole: usize) -> usize {
        let mantissa = match self.text.get(whole) {
            Some(b'.') => self.digits(whole + 1).unwrap_or(whole),
            _ => whole,
        };
        let exponent = match self.text.get(mantissa..).unwrap_or_default() {
            [b'e' | b'E', b'-' | b'+', ..] => self.digits(mantissa + 2),
            [b'e' | b'E', ..] => self.digits(mantissa + 1),
            _ => None,
        };
        exponent.unwrap_or(mantissa)
    }

    /// Where the digits end that begin at `start`, if one is there.
    fn digits(&self, start: usize) -> Option<usize> {
        let count = self.text.get(start..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then_some(start + count)
    }

    fn parse<T: std::str::FromStr>(&self, start: usize, end: usize) -> Option<T> {
        std::str::from_utf8(&self.text[start..end]).ok()?.parse().ok()
    }

    /// A text in quotes. Only a quote and a backslash lose a backslash before them. Without a closing quote it is no value.
    fn string(&mut self) -> Result<Option<Value<'a>>, Fault> {
        let start = self.at + 1;
        let mut taken: Vec<u8> = Vec::new();
        let (mut rest, mut at) = (start, start);
        loop {
            let Some(count) = memchr::memchr2(b'"', b'\\', &self.text[at..]) else { return Ok(None) };
            at += count;
            match self.text[at..] {
                [b'\\', b'"' | b'\\', ..] => {
                    taken.extend_from_slice(&self.text[rest..at]);
                    rest = at + 1;
                    at += 2;
                }
                [b'\\', ..] => at += 1,
                _ => break,
            }
        }
        let last = &self.text[rest..at];
        let text = if rest == start {
            Cow::Borrowed(last)
        } else {
            taken.extend_from_slice(last);
            Cow::Owned(taken)
        };
        if text.len() > super::MAX_TEXT_BYTES {
            return Err(fault::at(&TOO_LONG, start - 1));
        }
        self.at = at + 1;
        Ok(Some(Value::String(text)))
    }

    /// The timestamp behind the spaces that begin here, in nanoseconds, and the spaces behind it; `None`, and nothing read,
    /// where there is none.
    ///
    /// # Errors
    /// It does not fit.
    pub(super) fn timestamp(&mut self, precision: Precision) -> Result<Option<i64>, Fault> {
        let start = self.behind_spaces();
        if start == self.at {
            return Ok(None);
        }
        let negative = self.text.get(start) == Some(&b'-');
        let Some(end) = self.digits(start + usize::from(negative)) else { return Ok(None) };
        let Some(count) = self.parse::<i64>(start, end) else {
            return Err(fault::of_number(&TIMESTAMP_OUT_OF_RANGE, "timestamp", &self.text[..end], start));
        };
        let time_ns = count.checked_mul(precision.unit_ns()).ok_or_else(|| fault::at(&TIME_OUT_OF_RANGE, start))?;
        self.at = end;
        self.at = self.behind_spaces();
        Ok(Some(time_ns))
    }
}
