//! The structure of a body: which bytes are names, tags, fields and times, without a look at what they say.
//!
//! Promise: what is handed out of a line are the parts that [`super::lines`] finds there, if that accepts the line; whether it does is
//! not asked: numbers, times and keys may be anything. Lines that are not ordinary (see `fast`) are handed out whole.

use super::cut::line_end;
use super::fast::begins_oddly;
use super::index::{Cursor, Entries, Numbering};
use super::scan::{self, Level};

/// Receives the parts of a body.
pub trait Visitor<'a> {
    /// A tag of the line that comes next, as it stands there.
    fn tag(&mut self, key: &'a [u8], value: &'a [u8]);
    /// A field of the line that comes next, as it stands there.
    fn field(&mut self, key: &'a [u8], value: &'a [u8]);
    /// The line of the tags and fields since the one before; its time is empty when it has none. Tabs and NULs before the time, which
    /// the servers pass over, are there too.
    fn line(&mut self, measurement: &'a [u8], time: &'a [u8]);
    /// A line that is not ordinary, blank ones and comments included. Tags and fields since the line before mean nothing.
    fn other(&mut self, line: &'a [u8]);
}

/// Hands out the parts of a body, in order.
pub fn spans<'a>(body: &'a [u8], visitor: &mut impl Visitor<'a>) {
    spans_with(scan::best(), body, visitor);
}

/// The same with a scanner of one's choice.
pub fn spans_with<'a>(level: Level, body: &'a [u8], visitor: &mut impl Visitor<'a>) {
    let mut cursor = Cursor::new(body, level, Numbering::Unknown, 0);
    let mut start = 0;
    while start < body.len() {
        if body[start] == b'\n' {
            visitor.other(&body[start..start]);
            cursor.next();
            start += 1;
            continue;
        }
        if !begins_oddly(body[start]) {
            let mut parts = Parts { body, entries: cursor.entries() };
            if let Some(end) = parts.line(start, visitor) {
                cursor.next = parts.entries.next;
                start = end + 1;
                continue;
            }
            if cursor.follows(start) {
                continue;
            }
        }
        let end = line_end(&mut cursor, body, start);
        cursor.seek(end + 1);
        visitor.other(&body[start..end]);
        start = end + 1;
    }
}

/// A line that is read from its entries in the index.
struct Parts<'a, 'i> {
    body: &'a [u8],
    entries: Entries<'i>,
}

impl<'a> Parts<'a, '_> {
    /// The end of an ordinary line.
    #[inline(always)]
    fn line(&mut self, start: usize, visitor: &mut impl Visitor<'a>) -> Option<usize> {
        let (name_end, mut kind) = self.entries.next_but_equals();
        let mut at = name_end;
        while kind == b',' {
            let (equals, is_equals) = self.entries.next();
            let (end, separator) = self.entries.next();
            let ends = (separator == b',') | (separator == b' ');
            if (is_equals != b'=') | (equals == at + 1) | (end == equals + 1) | !ends {
                return None;
            }
            visitor.tag(&self.body[at + 1..equals], &self.body[equals + 1..end]);
            (at, kind) = (end, separator);
        }
        if kind != b' ' || matches!(self.body.get(at + 1), Some(b'\t' | 0)) {
            return None;
        }
        loop {
            let (equals, is_equals) = self.entries.next();
            let (mut end, mut separator) = self.entries.next();
            if (is_equals != b'=') | (equals == at + 1) {
                return None;
            }
            if separator == b'"' && end == equals + 1 {
                (end, separator) = self.entries.behind_string()?;
            }
            let ends = (separator == b',') | (separator == b' ') | (separator == b'\n');
            if !ends | (end == equals + 1) {
                return None;
            }
            visitor.field(&self.body[at + 1..equals], &self.body[equals + 1..end]);
            (at, kind) = (end, separator);
            if kind != b',' {
                break;
            }
        }
        let fields_end = at;
        if kind == b' ' {
            (at, kind) = self.entries.next();
            if kind != b'\n' || at == fields_end + 1 {
                return None;
            }
        }
        // What stands behind the last entry was read: the line is not whole.
        if !self.entries.are_whole() {
            return None;
        }
        visitor.line(&self.body[start..name_end], self.body.get(fields_end + 1..at).unwrap_or_default());
        Some(at)
    }
}
