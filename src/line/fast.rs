//! Reads lines one after another: ordinary ones from the list of their structural bytes, the rest by `careful`.
//!
//! The quick path only ever says yes. It takes a line when every reading of the servers must agree on it (no
//! backslash but such as `shields` takes out, no leading white space, one space between sections) and leaves all others, good or bad, to `careful`.

use super::careful::{self, reserved};
use super::cut::line_end;
use super::digits::Similar;
use super::index::{Cursor, Entries, Numbering, WINDOW_BYTES};
use super::prefix::{may_be_reserved, prefix};
use super::point::{Field, FieldKind, Frame, Malformed, Parts, Sink, Tag};
use super::scan::{self, Level};
use super::{Dialect, Precision, scalar};

/// Tags up to which the quick path compares unsorted keys pair by pair.
const PLAIN_TAGS: usize = 24;

// A line of the quick path lies in one window and so cannot exceed the servers' limit on keys.
const _: () = assert!(WINDOW_BYTES < super::MAX_KEY_BYTES);

/// Hands out the lines of a body in order.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) body: &'a [u8],
    pub(super) dialect: Dialect,
    pub(super) precision: Precision,
    cursor: Cursor<'a>,
    keys: Keys,
    times: Similar,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a [u8], dialect: Dialect, precision: Precision) -> Self {
        Self::with(scan::best(), body, dialect, precision)
    }

    /// A reader with a scanner of one's choice.
    pub(super) fn with(level: Level, body: &'a [u8], dialect: Dialect, precision: Precision) -> Self {
        Self {
            body,
            dialect,
            precision,
            cursor: Cursor::new(body, level, Numbering::Found, 0),
            keys: Keys::default(),
            times: Similar::default(),
            at: 0,
        }
    }

    /// The next line that is neither blank nor a comment; its tags and fields are in `sink` when it is accepted.
    #[inline(always)]
    pub(super) fn next<K: Sink<'a>>(&mut self, sink: &mut K) -> Option<Result<Frame<'a>, Malformed<'a>>> {
        loop {
            let start = self.at;
            sink.clear();
            match self.body.get(start)? {
                b'\n' => {
                    self.skip_line_feeds();
                    continue;
                }
                b' ' | b'\t' | 0 | b'#' | b',' | b'\\' => {}
                _ => {
                    let read = self.plain_line(start, sink);
                    if let Some((frame, next)) = read {
                        self.cursor.next = next;
                        self.at = frame.end + 1;
                        return Some(Ok(frame));
                    }
                    if self.cursor.follows(start) {
                        continue;
                    }
                    sink.clear();
                }
            }
            if let Some(outcome) = self.other_line(start, sink) {
                return Some(outcome);
            }
        }
    }

    /// Blank lines, of which there is one here.
    #[inline]
    fn skip_line_feeds(&mut self) {
        const ALL: u64 = u64::from_ne_bytes([b'\n'; 8]);
        let (words, _) = self.body[self.at..].as_chunks::<8>();
        let run = 8 * words.iter().take_while(|word| u64::from_ne_bytes(**word) == ALL).count();
        if run == 0 {
            self.cursor.next();
            self.at += 1;
        } else {
            self.at += run;
            self.cursor.seek(self.at);
        }
    }

    /// The line at `start`, and the entry behind it.
    #[inline(always)]
    fn plain_line<K: Sink<'a>>(&mut self, start: usize, sink: &mut K) -> Option<(Frame<'a>, usize)> {
        let mut line = Plain { body: self.body, dialect: self.dialect, entries: self.cursor.entries() };
        let (name_end, kind) = line.entries.next_but_equals();
        let (key_end, sorted) = match kind {
            b',' => line.tags(name_end + 1, &mut self.keys, sink)?,
            b' ' => (name_end, true),
            _ => return None,
        };
        // A section may begin with tabs and NULs, which are not part of the key.
        if matches!(self.body.get(key_end + 1), Some(b'\t' | 0)) {
            return None;
        }
        let (fields_end, kind) = line.fields(key_end + 1, sink)?;
        let (end, time_ns) = if kind == b' ' {
            let (end, kind) = line.entries.next();
            if kind != b'\n' || end == fields_end + 1 {
                return None;
            }
            let (body, precision) = (self.body, self.precision);
            let time_ns = match self.times.number_before(body, end, end - fields_end - 1) {
                Some(count) => scalar::in_range(count, precision),
                None => scalar::time_ns(&body[fields_end + 1..end], precision),
            };
            (end, Some(time_ns.ok()?))
        } else {
            (fields_end, None)
        };
        // What stands behind the last entry was read: the line is not whole.
        if !line.entries.are_whole() {
            return None;
        }
        let plain = !line.entries.have_shields() || memchr::memchr(b'\\', &self.body[start..end]).is_none();
        let measurement = &self.body[start..name_end];
        Some((Frame { start, end, fields_end, measurement, time_ns, sorted, plain }, line.entries.next))
    }

    /// The parts of the line that was accepted last.
    #[cold]
    pub(super) fn parts_of(&mut self, frame: &Frame<'a>) -> Parts<'a> {
        let mut parts = Parts::default();
        self.cursor.seek(frame.start);
        if self.plain_line(frame.start, &mut parts).is_none() {
            parts.clear();
            let rules = (self.dialect, self.precision);
            let again = careful::parse(&mut self.cursor, (frame.start, frame.end), rules, &mut parts);
            debug_assert!(again.is_ok(), "the same bytes were accepted before");
        }
        self.cursor.seek(self.at);
        parts
    }

    /// `None` for blank lines and comments.
    #[cold]
    fn other_line<K: Sink<'a>>(&mut self, start: usize, sink: &mut K) -> Option<Result<Frame<'a>, Malformed<'a>>> {
        let mut end = line_end(&mut self.cursor, self.body, start);
        self.at = end + 1;
        let text = careful::skip_blanks(&self.body[..end], start);
        if text == end || self.body[text] == b'#' {
            self.cursor.seek(self.at);
            return None;
        }
        // Only where a body ends inside quotes.
        if self.body[end - 1] == b'\n' {
            end -= 1;
        }
        let outcome = careful::parse(&mut self.cursor, (start, end), (self.dialect, self.precision), sink);
        self.cursor.seek(self.at);
        Some(outcome.map_err(|(reason, at)| Malformed { span: start..end, raw: &self.body[start..end], reason, at }))
    }
}

/// A line that is read from its entries in the index. Places are offsets in the body.
struct Plain<'a, 'i> {
    body: &'a [u8],
    dialect: Dialect,
    entries: Entries<'i>,
}

impl<'a> Plain<'a, '_> {
    /// Reads tags from the byte after a comma; returns the position of the space after them, and whether they are sorted.
    #[inline(always)]
    fn tags<K: Sink<'a>>(&mut self, from: usize, keys: &mut Keys, sink: &mut K) -> Option<(usize, bool)> {
        let tags = Tags { first: self.entries.next, from };
        let (mut key_start, mut last, mut count, mut sorted) = (from, 0, 0, true);
        let mut before = (from, 0);
        loop {
            let (equals, kind) = self.entries.next();
            let (end, separator) = self.entries.next();
            let ends = (separator == b',') | (separator == b' ');
            if (kind != b'=') | (equals == key_start) | (end == equals + 1) | (count == PLAIN_TAGS) | !ends {
                return None;
            }
            let prefix = prefix(self.body, key_start, equals - key_start);
            if may_be_reserved(prefix) && reserved(&self.body[key_start..equals], self.dialect).is_some() {
                return None;
            }
            // Sorted keys are no news. Comparing bytes is left to keys that share their first eight.
            let key = (key_start, equals - key_start);
            if (prefix <= last) | !sorted && !(sorted && prefix == last && self.is_later(before, key)) {
                sorted = self.is_new(&tags, keys, prefix, count)?;
            }
            keys.prefixes[count] = prefix;
            (last, before, count) = (prefix, key, count + 1);
            if self.entries.have_shields() {
                sink.tag(Tag { key: &self.body[key_start..equals], value: &self.body[equals + 1..end] });
            } else {
                sink.plain_tag(self.body, key_start..equals, equals + 1..end);
            }
            if separator == b' ' {
                return Some((end, sorted));
            }
            key_start = end + 1;
        }
    }

    /// Whether the second of two keys that share their first eight bytes sorts behind the first by its next eight; often so.
    #[inline(always)]
    fn is_later(&self, before: (usize, usize), key: (usize, usize)) -> bool {
        let next = |(start, length): (usize, usize)| prefix(self.body, start + 8, length.saturating_sub(8));
        next(before) < next(key)
    }

    /// False when the keys of a line are not sorted any more with this one, of these first bytes, behind so many; `None` when it
    /// is there already.
    #[inline(never)]
    fn is_new(&self, tags: &Tags, keys: &Keys, prefix: u64, count: usize) -> Option<bool> {
        let key = self.key(tags, count);
        let alike = keys.prefixes[..count].iter().fold(false, |alike, other| alike | (*other == prefix));
        (!alike || (0..count).all(|other| self.key(tags, other) != key)).then_some(count == 0)
    }

    /// A tag's key.
    fn key(&self, tags: &Tags, number: usize) -> &'a [u8] {
        let equals = tags.first + 2 * number;
        let start = if number == 0 { tags.from } else { self.entries.place(equals - 1) + 1 };
        &self.body[start..self.entries.place(equals)]
    }

    /// Reads fields; returns the position and the value of the byte after them, a space or a line end.
    #[inline(always)]
    fn fields<K: Sink<'a>>(&mut self, from: usize, sink: &mut K) -> Option<(usize, u8)> {
        let mut key_start = from;
        loop {
            let (equals, kind) = self.entries.next();
            let (mut end, mut separator) = self.entries.next();
            if (kind != b'=') | (equals == key_start) {
                return None;
            }
            if self.entries.is_behind_number(end) & (end.wrapping_sub(equals) <= 1 + scalar::ORDINARY_BYTES) {
                sink.plain_number(self.body, key_start..equals, equals + 1..end);
            } else {
                let kind;
                (kind, end, separator) = self.other_value(equals + 1, (end, separator))?;
                sink.field(Field { key: &self.body[key_start..equals], value: &self.body[equals + 1..end], kind });
            }
            match separator {
                b',' => key_start = end + 1,
                b' ' | b'\n' => return Some((end, separator)),
                _ => return None,
            }
        }
    }

    /// A value that is no ordinary number: its kind, and the entry behind it. The given entry is the first behind its begin.
    #[inline(never)]
    fn other_value(&mut self, start: usize, (end, separator): (usize, u8)) -> Option<(FieldKind, usize, u8)> {
        match separator {
            b'"' if end == start => self.entries.behind_string().map(|(end, kind)| (FieldKind::String, end, kind)),
            b',' | b' ' | b'\n' => {
                let kind = scalar::check(&self.body[start..end], self.dialect).ok()?;
                Some((kind, end, separator))
            }
            _ => None,
        }
    }
}

/// Where the tags of a line are: their first entry, and the begin of the first key.
struct Tags {
    first: usize,
    from: usize,
}

/// The first bytes of the tag keys of a line.
#[derive(Debug, Default)]
struct Keys {
    prefixes: [u64; PLAIN_TAGS],
}
