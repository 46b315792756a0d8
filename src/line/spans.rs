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
    /// A line is about to be read, perhaps for the second time: tags and fields since the last line mean nothing.
    fn begin(&mut self);
    /// A tag of the line that comes next, as it stands there.
    fn tag(&mut self, key: &'a [u8], value: &'a [u8]);
    /// A field of the line that comes next, as it stands there.
    fn field(&mut self, key: &'a [u8], value: &'a [u8]);
    /// The line of the tags and fields since it was begun; its time is empty when it has none. Tabs and NULs before the time, which
    /// the servers pass over, are there too.
    fn line(&mut self, measurement: &'a [u8], time: &'a [u8]);
    /// A line that is not ordinary, blank ones and comments included. Tags and fields since the last one was begun mean nothing.
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
            visitor.begin();
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

#[cfg(test)]
mod tests {
    use super::super::index::WINDOW_BYTES;
    use super::*;

    /// Each line's tags and fields, as many as there are.
    #[derive(Default)]
    struct Counts {
        parts: usize,
        lines: Vec<usize>,
    }

    impl<'a> Visitor<'a> for Counts {
        fn begin(&mut self) {
            self.parts = 0;
        }
        fn tag(&mut self, _: &'a [u8], _: &'a [u8]) {
            self.parts += 1;
        }
        fn field(&mut self, _: &'a [u8], _: &'a [u8]) {
            self.parts += 1;
        }
        fn line(&mut self, _: &'a [u8], _: &'a [u8]) {
            self.lines.push(self.parts);
        }
        fn other(&mut self, _: &'a [u8]) {}
    }

    #[test]
    fn a_line_across_the_end_of_a_window_is_handed_out_once() {
        let line = b"m,t=a,u=b v=1,w=2i 17\n";
        for blank in WINDOW_BYTES - line.len() - 2..WINDOW_BYTES + 2 {
            let body = [&b"\n".repeat(blank)[..], line].concat();
            for level in Level::all() {
                let mut counts = Counts::default();
                spans_with(level, &body, &mut counts);
                assert_eq!(counts.lines, [4], "{level:?} behind {blank}");
            }
        }
    }
}
