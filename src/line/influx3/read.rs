//! One line, from its measurement to its end.

use super::fault::{
    self, BAD_TIMESTAMP, CARRIAGE_RETURN, EXPECTED_SPACE, HELD_LINE_FEED, INVALID_NUMBER, INVALID_VALUE, Kind,
    MISSING_EQUALS, MISSING_FIELD_KEY, MISSING_FIELD_VALUE, MISSING_FIELDS, MISSING_MEASUREMENT, MISSING_TAG_EQUALS,
    MISSING_TAG_KEY, MISSING_TAG_VALUE, TEXT_BEHIND_VALUE, TRAILING_SPACE, UNTERMINATED_STRING,
};
use super::name::{KEY, MEASUREMENT, TAG_VALUE};
use crate::line::Precision;
use crate::line::record::{Datum, Fault, Point, Text};

type Tag<'a> = (Text<'a>, Text<'a>);
type Field<'a> = (Text<'a>, Datum<'a>);

/// Where a line is being read. Positions are those of the body.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// The body up to the line's end.
    pub(super) text: &'a [u8],
    /// Never behind the end.
    pub(super) at: usize,
}

/// No field stands there. That is no fault where none is needed.
#[derive(Debug)]
struct Miss {
    kind: &'static Kind,
    at: usize,
}

/// Why a field was not read.
#[derive(Debug)]
enum Stop {
    Miss(Miss),
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Reads the line whose first byte that is not blank is at `start`, and that ends where `text` does.
///
/// # Errors
/// The server's reason to refuse it.
pub(super) fn line(text: &[u8], start: usize, precision: Precision) -> Result<Point<'_>, Fault> {
    let mut reader = Reader { text, at: start };
    let Some(measurement) = reader.name(&MEASUREMENT)? else {
        return Err(fault::at(&MISSING_MEASUREMENT, start));
    };
    let tags = reader.tags()?;
    reader.space(start)?;
    let (fields, miss) = reader.fields()?;
    let time_ns = reader.timestamp(precision)?;
    if reader.at < text.len() {
        return Err(reader.left_over(miss.filter(|_| time_ns.is_none()), time_ns.is_some()));
    }
    Ok(Point { measurement, tags, fields, time_ns })
}

impl<'a> Reader<'a> {
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    /// The first byte from here on that is no space.
    pub(super) fn behind_spaces(&self) -> usize {
        self.at + self.rest().iter().take_while(|byte| **byte == b' ').count()
    }

    fn tags(&mut self) -> Result<Vec<Tag<'a>>, Fault> {
        let mut tags = Vec::new();
        let first = self.at + 1;
        while self.peek() == Some(b',') {
            self.at += 1;
            let Some(key) = self.name(&KEY)? else {
                return Err(fault::expected(&MISSING_TAG_KEY, "tag key", self.rest(), self.at));
            };
            if self.peek() != Some(b'=') {
                return Err(fault::of_tags(&MISSING_TAG_EQUALS, &self.text[first..], self.at));
            }
            self.at += 1;
            let Some(value) = self.name(&TAG_VALUE)? else {
                return Err(fault::expected(&MISSING_TAG_VALUE, "tag value", self.rest(), self.at));
            };
            tags.push((key, value));
        }
        Ok(tags)
    }

    /// The spaces before the fields of the line that begins at `start`.
    fn space(&mut self, start: usize) -> Result<(), Fault> {
        let behind = self.behind_spaces();
        if behind == self.at {
            let (kind, at) = match self.peek() {
                None if self.text[start..] == *b"\r" => (&CARRIAGE_RETURN, start),
                None => (&MISSING_FIELDS, self.at),
                Some(_) => (&EXPECTED_SPACE, self.at),
            };
            return Err(fault::expected(kind, "at least one space character", self.rest(), at));
        }
        self.at = behind;
        Ok(())
    }

    /// The fields, and what stands behind a comma instead of one more.
    ///
    /// The server takes the comma behind the first field for itself, whether a field follows or not. Each later one it takes
    /// together with a field only.
    fn fields(&mut self) -> Result<(Vec<Field<'a>>, Option<Miss>), Fault> {
        let mut fields = match self.field() {
            Ok(field) => vec![field],
            Err(Stop::Fault(fault)) => return Err(fault),
            Err(Stop::Miss(Miss { kind, at })) => {
                let nothing = at == self.text.len() && *kind == MISSING_FIELD_KEY;
                return Err(fault::no_fields(if nothing { &MISSING_FIELDS } else { kind }, at));
            }
        };
        while self.peek() == Some(b',') {
            let comma = self.at;
            self.at += 1;
            match self.field() {
                Ok(field) => fields.push(field),
                Err(Stop::Fault(fault)) => return Err(fault),
                Err(Stop::Miss(miss)) => {
                    self.at = if fields.len() == 1 { comma + 1 } else { comma };
                    return Ok((fields, Some(miss)));
                }
            }
        }
        Ok((fields, None))
    }

    fn field(&mut self) -> Result<Field<'a>, Stop> {
        let Some(key) = self.name(&KEY)? else { return Err(self.miss(&MISSING_FIELD_KEY)) };
        if self.peek() != Some(b'=') {
            return Err(self.miss(&MISSING_EQUALS));
        }
        self.at += 1;
        match self.value()? {
            Some(value) => Ok((key, value.into())),
            None => Err(self.miss(match self.peek() {
                None | Some(b',' | b' ' | b'\t' | b'\n' | b'\r') => &MISSING_FIELD_VALUE,
                Some(b'"') => &UNTERMINATED_STRING,
                Some(b'.' | b'-' | b'+') => &INVALID_NUMBER,
                Some(_) => &INVALID_VALUE,
            })),
        }
    }

    fn miss(&self, kind: &'static Kind) -> Stop {
        Stop::Miss(Miss { kind, at: self.at })
    }

    /// What is wrong with what is left of a line that is read.
    fn left_over(&self, miss: Option<Miss>, timed: bool) -> Fault {
        let Miss { kind, at } = miss.unwrap_or_else(|| {
            let at = self.behind_spaces();
            let kind = match self.text.get(at) {
                None => &TRAILING_SPACE,
                Some(b'\r') => &CARRIAGE_RETURN,
                Some(b'\n') => &HELD_LINE_FEED,
                Some(_) if timed || at > self.at => &BAD_TIMESTAMP,
                Some(b'\t') => &TEXT_BEHIND_VALUE,
                Some(_) if self.text[at - 1].is_ascii_digit() => &INVALID_NUMBER,
                Some(_) => &TEXT_BEHIND_VALUE,
            };
            Miss { kind, at: if at == self.text.len() { self.at } else { at } }
        });
        fault::left_over(kind, self.rest(), at)
    }
}
