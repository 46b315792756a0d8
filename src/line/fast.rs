//! Reads lines one after another: ordinary ones in one pass over their structural bytes, the rest by `careful`.
//!
//! The quick path only ever says yes. It takes a line when every reading of the servers must agree on it (no
//! backslash, no leading white space, one space between sections) and leaves all others, good or bad, to `careful`.

use smallvec::SmallVec;

use super::careful::{self, reserved};
use super::cut::line_end;
use super::point::{Field, FieldKind, Frame, Malformed, Sink, Tag};
use super::scan::{Cursor, Scanner};
use super::{Dialect, Precision, scalar};

/// Lines up to this length cannot exceed the servers' limit on keys.
const PLAIN_LINE_BYTES: usize = 65_000;

/// Tags up to which the quick path compares unsorted keys pair by pair.
const PLAIN_TAGS: usize = 24;

/// Hands out the lines of a body in order.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a, S> {
    pub(super) body: &'a [u8],
    pub(super) dialect: Dialect,
    pub(super) precision: Precision,
    cursor: Cursor<'a, S>,
    at: usize,
}

impl<'a, S: Scanner> Reader<'a, S> {
    pub(super) fn new(body: &'a [u8], dialect: Dialect, precision: Precision) -> Self {
        Self { body, dialect, precision, cursor: Cursor::new(body, 0), at: 0 }
    }

    /// The next line that is neither blank nor a comment; its tags and fields are in `sink` when it is accepted.
    #[inline(always)]
    pub(super) fn next<K: Sink<'a>>(&mut self, sink: &mut K) -> Option<Result<Frame<'a>, Malformed<'a>>> {
        loop {
            let start = self.at;
            sink.clear();
            match self.body.get(start)? {
                b'\n' => {
                    self.cursor.next();
                    self.at += 1;
                    continue;
                }
                b' ' | b'\t' | 0 | b'#' | b',' | b'\\' => {}
                _ => {
                    if let Some(frame) = self.plain_line(start, sink) {
                        self.at = frame.end + 1;
                        return Some(Ok(frame));
                    }
                    sink.clear();
                }
            }
            if let Some(outcome) = self.other_line(start, sink) {
                return Some(outcome);
            }
        }
    }

    /// `None` for blank lines and comments.
    #[cold]
    fn other_line<K: Sink<'a>>(&mut self, start: usize, sink: &mut K) -> Option<Result<Frame<'a>, Malformed<'a>>> {
        let mut end = line_end(&mut self.cursor, self.body, start);
        self.cursor.seek(end + 1);
        self.at = end + 1;
        let text = careful::skip_blanks(&self.body[..end], start);
        if text == end || self.body[text] == b'#' {
            return None;
        }
        // Only where a body ends inside quotes.
        if self.body[end - 1] == b'\n' {
            end -= 1;
        }
        let outcome = careful::parse(self.body, (start, end), (self.dialect, self.precision), sink);
        Some(outcome.map_err(|reason| Malformed { span: start..end, raw: &self.body[start..end], reason }))
    }

    #[inline(always)]
    fn plain_line<K: Sink<'a>>(&mut self, start: usize, sink: &mut K) -> Option<Frame<'a>> {
        let (name_end, byte) = self.next_but_quote_or_equals();
        let (key_end, sorted) = match byte {
            b',' => self.plain_tags(name_end + 1, sink)?,
            b' ' => (name_end, true),
            _ => return None,
        };
        let (fields_end, byte) = self.plain_fields(key_end + 1, sink)?;
        let (end, time_ns) = if byte == b' ' {
            let (end, byte) = self.cursor.next();
            let token = &self.body[fields_end + 1..end];
            if byte != b'\n' || token.is_empty() {
                return None;
            }
            (end, Some(scalar::time_ns(token, self.precision).ok()?))
        } else {
            (fields_end, None)
        };
        let measurement = &self.body[start..name_end];
        let frame = Frame { start, end, fields_end, measurement, time_ns, sorted, plain: true };
        (end - start <= PLAIN_LINE_BYTES).then_some(frame)
    }

    /// Reads tags from the byte after a comma; returns the position of the space after them, and whether they are sorted.
    #[inline(always)]
    fn plain_tags<K: Sink<'a>>(&mut self, from: usize, sink: &mut K) -> Option<(usize, bool)> {
        let mut keys = SmallVec::<[(u64, &[u8]); PLAIN_TAGS]>::new();
        let mut sorted = true;
        let mut key_start = from;
        loop {
            let (equals, byte) = self.next_but_quote();
            let (end, separator) = self.next_but_quote();
            let key = &self.body[key_start..equals];
            let full = keys.len() == PLAIN_TAGS;
            if byte != b'=' || key.is_empty() || end == equals + 1 || full || reserved(key, self.dialect).is_some() {
                return None;
            }
            let prefix = prefix(self.body, key_start, key.len());
            // Comparing bytes is left to keys that share their first eight.
            sorted &= keys.last().is_none_or(|last| last.0 < prefix || last.0 == prefix && last.1 < key);
            if !sorted && keys.iter().any(|other| other.0 == prefix && other.1 == key) {
                return None;
            }
            keys.push((prefix, key));
            sink.plain_tag(Tag { key, value: &self.body[equals + 1..end] });
            match separator {
                b',' => key_start = end + 1,
                b' ' => return Some((end, sorted)),
                _ => return None,
            }
        }
    }

    /// Reads fields; returns the position and the value of the byte after them, a space or a line end.
    #[inline(always)]
    fn plain_fields<K: Sink<'a>>(&mut self, from: usize, sink: &mut K) -> Option<(usize, u8)> {
        let mut key_start = from;
        loop {
            let (equals, byte) = self.next_but_quote();
            // A section may begin with tabs and NULs, which are not part of the key.
            if byte != b'=' || equals == key_start || matches!(self.body[key_start], b'\t' | 0) {
                return None;
            }
            let value_start = equals + 1;
            let (mut end, mut byte) = self.cursor.next();
            let kind = if byte == b'"' && end == value_start {
                let close = self.closing_quote()?;
                (end, byte) = self.cursor.next();
                if end != close + 1 {
                    return None;
                }
                FieldKind::String
            } else {
                match scalar::ordinary_number(&self.body[value_start..], end - value_start) {
                    Some(kind) => kind,
                    None => scalar::check(&self.body[value_start..end], self.dialect).ok()?,
                }
            };
            sink.field(Field { key: &self.body[key_start..equals], value: &self.body[value_start..end], kind });
            match byte {
                b',' => key_start = end + 1,
                b' ' | b'\n' => return Some((end, byte)),
                _ => return None,
            }
        }
    }

    #[inline(always)]
    fn closing_quote(&mut self) -> Option<usize> {
        loop {
            match self.cursor.next() {
                (at, _) if at == self.body.len() => return None,
                (at, b'"') => return Some(at),
                (_, b'\\') => return None,
                _ => {}
            }
        }
    }

    #[inline(always)]
    fn next_but_quote(&mut self) -> (usize, u8) {
        loop {
            let hit = self.cursor.next();
            if hit.1 != b'"' {
                return hit;
            }
        }
    }

    #[inline(always)]
    fn next_but_quote_or_equals(&mut self) -> (usize, u8) {
        loop {
            let hit = self.cursor.next();
            if !matches!(hit.1, b'"' | b'=') {
                return hit;
            }
        }
    }
}

/// The first eight bytes of a key as a number that sorts like them; keys whose numbers differ are different keys.
#[inline(always)]
fn prefix(body: &[u8], start: usize, length: usize) -> u64 {
    match body[start..].first_chunk() {
        Some(bytes) if length >= 8 => u64::from_be_bytes(*bytes),
        Some(bytes) => u64::from_be_bytes(*bytes) & !(u64::MAX >> (8 * length)),
        None => (0..8).fold(0, |prefix, at| {
            let byte = if at < length { body[start + at] } else { 0 };
            (prefix << 8) | u64::from(byte)
        }),
    }
}
