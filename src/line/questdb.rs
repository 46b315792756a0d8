//! Line protocol as QuestDB reads it.
//!
//! Promise: a line is accepted or refused exactly as the server's own parser does (`LineTcpParser` of 9.3, which serves HTTP too),
//! and an accepted line holds the data that the parser hands on. No input panics, and the time taken grows with the body alone.
//!
//! What the parser hands on may still be refused behind it, by what is known of the table only: an empty or forbidden table
//! name, a value that does not go into its column, a time before 1970. The server counts integers and times of
//! −9223372036854775808 as missing.
//!
//! What follows a refused line is read too, from the next CR or LF on. The server answers a request with 400 at its first
//! refused line and reads no further. By its source it passes in silence over a last line whose end a backslash protects; here
//! that is a fault.

mod binary;
mod fault;
pub(super) mod number;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use super::record::{Datum, Outcome, Point, Record, Text};
use super::{Precision, Value};
use fault::Broken;

/// Every line of a body, blank lines included; there are no comments.
#[must_use]
pub fn records(body: &[u8], precision: Precision) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    let mut start = 0;
    while start < body.len() {
        let (record, next) = line(body, start, precision);
        records.push(record);
        start = next;
    }
    records
}

/// Where the last whole line of a body's beginning ends, whatever follows; 0 when there is none.
#[must_use]
pub fn whole_lines(beginning: &[u8]) -> usize {
    let mut start = 0;
    while start < beginning.len() {
        let (record, next) = line(beginning, start, Precision::Nanosecond);
        // A CR may be half of what ends the line.
        if next == record.span.end || (next == beginning.len() && beginning.ends_with(b"\r")) {
            break;
        }
        start = next;
    }
    start
}

/// The line that begins there, and where the next one does. That is the line's own end when nothing ends it.
fn line(body: &[u8], start: usize, precision: Precision) -> (Record<'_>, usize) {
    let mut reader = Reader::new(body, start);
    let outcome = match reader.line(precision) {
        Ok(true) => Outcome::Point(Point {
            measurement: reader.table,
            tags: reader.tags,
            fields: reader.fields,
            time_ns: reader.time_ns,
        }),
        Ok(false) => Outcome::Skipped,
        Err(broken) => Outcome::Fault(reader.fault(broken)),
    };
    let from = reader.at.min(body.len());
    let end = memchr::memchr2(b'\n', b'\r', &body[from..]).map_or(body.len(), |at| from + at);
    let mut next = (end + 1).min(body.len());
    if body[end..].starts_with(b"\r\n") {
        next += 1;
    }
    (Record { span: start..end, outcome }, next)
}

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Table,
    Name,
    Value,
    /// A field's value behind its closing quote.
    Quoted,
    Time,
}

/// A line while it is read. The server puts a line feed behind the body; so does [`Reader::byte`].
struct Reader<'a> {
    body: &'a [u8],
    /// Everything before is read.
    at: usize,
    /// Where the name or value begins that is being read.
    from: usize,
    part: Part,
    /// Whether what is read are still tags.
    is_tag: bool,
    table: Text<'a>,
    /// Of the value that is being read.
    name: Text<'a>,
    tags: Vec<(Text<'a>, Text<'a>)>,
    fields: Vec<(Text<'a>, Datum<'a>)>,
    time_ns: Option<i64>,
}

impl<'a> Reader<'a> {
    fn new(body: &'a [u8], start: usize) -> Self {
        let (table, name) = (Text::default(), Text::default());
        let (tags, fields) = (Vec::new(), Vec::new());
        Self { body, at: start, from: start, part: Part::Table, is_tag: true, table, name, tags, fields, time_ns: None }
    }

    /// Whether there is a point on the line.
    fn line(&mut self, precision: Precision) -> Result<bool, Broken> {
        if !self.table()? {
            return Ok(false);
        }
        loop {
            match self.name(precision)? {
                b'\n' | b'\r' => break,
                b' ' if self.part == Part::Time => {
                    self.time(precision)?;
                    break;
                }
                _ => {}
            }
        }
        if self.tags.is_empty() && self.fields.is_empty() { Err(Broken::NoFields) } else { Ok(true) }
    }

    /// The table's name and what ends it; false when the line is blank.
    fn table(&mut self) -> Result<bool, Broken> {
        // An equals sign before anything else goes the way of an empty line.
        while self.byte(self.at) == Some(b'=') {
            self.at += 1;
        }
        self.begin(Part::Table);
        match self.separator()? {
            b' ' => self.is_tag = false,
            b',' => {}
            b'\n' | b'\r' if self.at == self.from => return Ok(false),
            _ => return Err(Broken::NoFields),
        }
        self.table = self.token();
        self.at += 1;
        Ok(true)
    }

    /// A name with its value, or what stands in its place. Returns what ended it, and is behind it unless that is a line end.
    fn name(&mut self, precision: Precision) -> Result<u8, Broken> {
        self.begin(Part::Name);
        let separator = self.separator()?;
        let is_empty = self.at == self.from;
        match separator {
            b'=' if is_empty => Err(if self.is_tag { Broken::NoTagKey } else { Broken::NoFieldKey }),
            b'=' => {
                self.name = self.token();
                self.at += 1;
                self.value()
            }
            b' ' if is_empty => {
                self.behind_space();
                Ok(separator)
            }
            b'\n' | b'\r' if is_empty => Ok(separator),
            b'\n' | b'\r' if !self.is_tag && self.fields.is_empty() && !self.tags.is_empty() => {
                // One word behind the tags is the time.
                self.timestamp(precision)?;
                Ok(separator)
            }
            _ if self.is_tag => Err(Broken::NoTagValue),
            _ => Err(Broken::NoFieldValue),
        }
    }

    fn value(&mut self) -> Result<u8, Broken> {
        self.begin(Part::Value);
        if !self.is_tag && self.byte(self.at) == Some(b'"') {
            self.quoted()?;
        }
        let separator = self.separator()?;
        let is_binary = separator == b'=' && self.at == self.from && !self.is_tag;
        if is_binary {
            let datum = binary::read(self)?;
            self.fields.push((std::mem::take(&mut self.name), datum));
        } else if separator == b'=' {
            return Err(Broken::Separator);
        } else if self.is_tag {
            let value = self.token();
            self.tags.push((std::mem::take(&mut self.name), value));
        } else {
            let datum = datum(self.token()).ok_or(Broken::Value)?;
            self.fields.push((std::mem::take(&mut self.name), datum));
        }
        // What ends a binary value is not what announced it.
        let separator = self.byte(self.at).unwrap_or(b'\n');
        match separator {
            b' ' => self.behind_space(),
            b',' => self.at += 1,
            _ => {}
        }
        Ok(separator)
    }

    /// A text up to its closing quote: only a line feed ends it before.
    fn quoted(&mut self) -> Result<(), Broken> {
        self.at += 1;
        loop {
            match self.byte(self.at).ok_or(Broken::Unfinished)? {
                b'\\' => self.escaped()?,
                b'\n' => return Err(Broken::OpenQuote),
                b'"' => break,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.part = Part::Quoted;
        Ok(())
    }

    /// A space ends the tags, then the fields.
    fn behind_space(&mut self) {
        self.at += 1;
        if self.is_tag {
            self.is_tag = false;
        } else {
            self.part = Part::Time;
        }
    }

    fn time(&mut self, precision: Precision) -> Result<(), Broken> {
        self.begin(Part::Time);
        match self.separator()? {
            b'\n' | b'\r' => self.timestamp(precision),
            _ => Err(Broken::Separator),
        }
    }

    /// What is read is a timestamp, with its own unit or that of the request.
    fn timestamp(&mut self, precision: Precision) -> Result<(), Broken> {
        let text = self.token();
        let (count, unit_ns) = match &*text {
            [] => return Ok(()),
            [count @ .., b'n'] => (count, 1),
            [count @ .., b't'] => (count, 1_000),
            [count @ .., b'm'] => (count, 1_000_000),
            count => (count, precision.unit_ns()),
        };
        let count = number::integer(count).ok_or(Broken::Timestamp)?;
        // Microseconds reach further than nanoseconds; what is past them is shown as the last that they reach.
        self.time_ns = (count != i64::MIN).then(|| count.saturating_mul(unit_ns));
        Ok(())
    }

    fn begin(&mut self, part: Part) {
        self.part = part;
        self.from = self.at;
    }

    /// A byte of the body; the line feed that the server adds; nothing.
    fn byte(&self, at: usize) -> Option<u8> {
        self.body.get(at).copied().or((at == self.body.len()).then_some(b'\n'))
    }

    /// What was read, unescaped.
    fn token(&self) -> Text<'a> {
        unescape(self.body, self.from..self.at)
    }

    /// Goes on to the byte that ends a name, value or time.
    fn separator(&mut self) -> Result<u8, Broken> {
        let is_value = matches!(self.part, Part::Value | Part::Quoted);
        loop {
            let byte = self.byte(self.at).ok_or(Broken::Unfinished)?;
            match byte {
                b'\n' | b'\r' | b',' | b'=' | b' ' => return Ok(byte),
                b'\\' => self.escaped()?,
                b'"' if self.part == Part::Quoted => return Err(Broken::SecondQuote),
                0 => return Err(self.forbidden()),
                b'/' if !is_value => return Err(self.forbidden()),
                _ => self.at += 1,
            }
        }
    }

    /// A backslash and what it protects. Two of them are taken in values only.
    fn escaped(&mut self) -> Result<(), Broken> {
        let is_value = matches!(self.part, Part::Value | Part::Quoted);
        if !is_value && self.byte(self.at + 1) == Some(b'\\') {
            self.at += 1;
            return Err(self.forbidden());
        }
        self.at += 2;
        Ok(())
    }

    fn forbidden(&self) -> Broken {
        match self.part {
            Part::Table => Broken::TableName,
            Part::Name => Broken::ColumnName,
            Part::Value | Part::Quoted => Broken::ValueByte,
            Part::Time => Broken::TimeByte,
        }
    }
}

/// A field's value by its last byte; `None` where the server finds none.
fn datum(text: Text<'_>) -> Option<Datum<'_>> {
    let Some((last, head)) = text.split_last() else { return Some(Datum::Null) };
    let timestamp = |kind| (!head.is_empty()).then(|| number::integer(head)).flatten().map(|_| kind);
    let kind = match last {
        b'i' if !head.is_empty() && text[1] != b'x' => return number::integer(head).map(|n| Value::Integer(n).into()),
        b'i' if text.len() > 3 && text.starts_with(b"0x") => "long256",
        b'i' => return None,
        b'n' => timestamp("timestamp_ns")?,
        b'm' => timestamp("timestamp_ms")?,
        b't' if !head.is_empty() => timestamp("timestamp_us")?,
        b't' | b'T' | b'f' | b'F' | b'e' | b'E' => return boolean(&text).map(|truth| Value::Bool(truth).into()),
        b'"' if head.starts_with(b"\"") => return Some(Value::String(cut(text, 1, 1)).into()),
        b'"' => return None,
        b'd' => match number::decimal(head)? {
            number::Decimal::Null => return Some(Datum::Null),
            number::Decimal::Number => "decimal",
        },
        _ => return number::float(&text).map(|value| Value::Float(value).into()),
    };
    Some(Datum::Other { kind, text: cut(text, 0, 1) })
}

/// A lone `E` is false, too.
fn boolean(text: &[u8]) -> Option<bool> {
    match text {
        b"t" | b"T" => Some(true),
        b"f" | b"F" | b"E" => Some(false),
        _ if text.eq_ignore_ascii_case(b"true") => Some(true),
        _ if text.eq_ignore_ascii_case(b"false") => Some(false),
        _ => None,
    }
}

/// Without its first and last bytes.
fn cut(text: Text<'_>, front: usize, back: usize) -> Text<'_> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[front..text.len() - back]),
        Cow::Owned(mut text) => {
            text.truncate(text.len() - back);
            text.drain(..front);
            Cow::Owned(text)
        }
    }
}

/// Takes each backslash off and keeps what follows it. A last one protects the line feed that the server adds.
fn unescape(body: &[u8], place: Range<usize>) -> Text<'_> {
    let raw = &body[place.start..place.end.min(body.len())];
    if memchr::memchr(b'\\', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut plain = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(byte) = bytes.next() {
        let kept = if *byte == b'\\' { bytes.next().unwrap_or(&b'\n') } else { byte };
        plain.push(*kept);
    }
    Cow::Owned(plain)
}
