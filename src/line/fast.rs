//! Reads lines one after another: ordinary ones from the list of their structural bytes, the rest by `careful`.
//!
//! The quick path only ever says yes. It takes a line when every reading of the servers must agree on it (no
//! backslash but such as `shields` takes out, no leading white space, one space between sections) and leaves all others, good or bad, to `careful`.

use std::ops::Range;

use super::careful::{self, reserved};
use super::cut::line_end;
use super::digits::Similar;
use super::index::{Cursor, Entries, Numbering, WINDOW_BYTES};
use super::point::{Field, FieldKind, Frame, Malformed, Parts, Sink, Tag};
use super::prefix::{may_be_reserved, prefix};
use super::scan::{self, Level};
use super::{Dialect, Precision, scalar};

/// Tags up to which the quick path compares unsorted keys pair by pair.
pub(super) const PLAIN_TAGS: usize = 24;

// A line of the quick path lies in one window and so cannot exceed the servers' limit on keys.
const _: () = assert!(WINDOW_BYTES < super::MAX_KEY_BYTES);

/// What the first byte of a line says.
#[derive(Clone, Copy)]
enum First {
    Name,
    LineFeed,
    /// A blank, a comment or a name that the quick path leaves to others.
    Odd,
}

/// Whether a line with this first byte is none for the quick readers.
pub(super) const fn begins_oddly(first: u8) -> bool {
    matches!(first, b' ' | b'\t' | 0 | b'#' | b',' | b'\\')
}

const FIRST: [First; 256] = {
    let mut first = [First::Name; 256];
    let mut byte = 0;
    while byte < first.len() {
        if begins_oddly(byte as u8) {
            first[byte] = First::Odd;
        }
        byte += 1;
    }
    first[b'\n' as usize] = First::LineFeed;
    first
};

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
            match FIRST[usize::from(*self.body.get(start)?)] {
                First::LineFeed => {
                    self.skip_line_feeds();
                    continue;
                }
                First::Odd => {}
                First::Name => {
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
        const ALL: u64 = u64::from_le_bytes([b'\n'; 8]);
        let (words, _) = self.body[self.at..].as_chunks::<8>();
        let run = 8 * words.iter().take_while(|word| u64::from_le_bytes(**word) == ALL).count();
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
            b',' => match line.tags_as_before(name_end + 1, &self.keys, sink) {
                Some(tags) => tags,
                None => {
                    sink.clear();
                    line.tags(name_end + 1, &mut self.keys, sink)?
                }
            },
            b' ' => (name_end, true),
            _ => return None,
        };
        // A section may begin with tabs and NULs, which are not part of the key. Other such bytes are rare.
        if self.body.get(key_end + 1).is_none_or(|byte| *byte <= b'\t') {
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
        if begins_oddly(self.body[frame.start]) || self.plain_line(frame.start, &mut parts).is_none() {
            parts.clear();
            let rules = (self.dialect, self.precision);
            let again = careful::parse(&mut self.cursor, (frame.start, frame.end), rules, &mut parts);
            debug_assert!(again.is_ok(), "the same bytes were accepted before");
        }
        self.cursor.seek(self.at);
        self.keys.count = 0;
        parts
    }

    /// `None` for blank lines and comments.
    #[cold]
    fn other_line<K: Sink<'a>>(&mut self, start: usize, sink: &mut K) -> Option<Result<Frame<'a>, Malformed<'a>>> {
        let mut end = line_end(&mut self.cursor, self.body, start);
        self.at = end + 1;
        // The sink gets the tags of another line now.
        self.keys.count = 0;
        let text = careful::skip_blanks(&self.body[..end], start);
        if text == end || self.body[text] == b'#' {
            self.cursor.seek(self.at);
            return None;
        }
        // It is data, behind a backslash or in quotes that stay open, and the servers take it off there.
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
    /// Reads tags from the byte after a comma; returns the position of the space after them, and whether they are sorted. A function
    /// of its own, so that the loop keeps its state in registers.
    #[inline(never)]
    fn tags<K: Sink<'a>>(&mut self, from: usize, keys: &mut Keys, sink: &mut K) -> Option<(usize, bool)> {
        let Self { body, dialect, mut entries } = *self;
        let first = entries.next;
        // Until all of them are read and none is twice.
        keys.count = 0;
        let (mut key_start, mut last, mut count, mut sorted) = (from, 0, 0, true);
        let end = loop {
            let (equals, kind) = entries.next();
            let (end, separator) = entries.next();
            let ends = (separator == b',') | (separator == b' ');
            if (kind != b'=') | (equals == key_start) | (end == equals + 1) | (count == PLAIN_TAGS) | !ends {
                return None;
            }
            let prefix = prefix(body, key_start, equals - key_start);
            if may_be_reserved(prefix) && is_reserved(body, key_start..equals, dialect) {
                return None;
            }
            // Sorted keys are no news.
            if (prefix <= last) | !sorted {
                sorted = is_later_or_new(Tags { first, from, entries, body }, &keys.prefixes, prefix, count, sorted)?;
            }
            keys.prefixes[count] = prefix;
            keys.known[count] = Known::new(body, key_start, equals - key_start);
            (last, count) = (prefix, count + 1);
            if entries.have_shields() {
                sink.tag(Tag { key: &body[key_start..equals], value: &body[equals + 1..end] });
            } else {
                sink.plain_tag(body, key_start..equals, equals + 1..end);
            }
            if separator == b' ' {
                break end;
            }
            key_start = end + 1;
        };
        self.entries.next = entries.next;
        (keys.count, keys.sorted) = (count, sorted);
        Some((end, sorted))
    }

    /// The same for a line whose keys are those of the line that `tags` read last: then all is known about them.
    #[inline(always)]
    fn tags_as_before<K: Sink<'a>>(&mut self, from: usize, keys: &Keys, sink: &mut K) -> Option<(usize, bool)> {
        let Self { body, mut entries, .. } = *self;
        let known = keys.known.get(..keys.count).filter(|known| !known.is_empty())?;
        if entries.have_shields() {
            return None;
        }
        let (mut end, mut left) = (from - 1, known.len());
        for known in known {
            let key_start = end + 1;
            let (equals, value_end, found) = entries.next_two();
            left -= 1;
            let kinds = if left == 0 { *b"= " } else { *b"=," };
            let length = equals.wrapping_sub(key_start);
            if (found != kinds) | (length != known.length) | (value_end == equals + 1) || !known.is_at(body, key_start)
            {
                return None;
            }
            sink.known_tag(keys.count - 1 - left, body, key_start..equals, equals + 1..value_end);
            end = value_end;
        }
        self.entries.next = entries.next;
        Some((end, keys.sorted))
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
                (kind, end, separator, self.entries.next) =
                    other_value(self.body, self.dialect, self.entries, equals + 1, (end, separator))?;
                sink.field(Field { key: &self.body[key_start..equals], value: &self.body[equals + 1..end], kind });
            }
            match separator {
                b',' => key_start = end + 1,
                b' ' | b'\n' => return Some((end, separator)),
                _ => return None,
            }
        }
    }
}

// What follows is seldom needed. It takes copies, so that a line's own state can stay in registers.

#[cold]
fn is_reserved(body: &[u8], key: Range<usize>, dialect: Dialect) -> bool {
    reserved(&body[key], dialect).is_some()
}

/// A value that is no ordinary number: its kind, the entry behind it, and the number of the one behind that. The given entry is the
/// first behind its begin.
#[inline(never)]
fn other_value(
    body: &[u8],
    dialect: Dialect,
    mut entries: Entries<'_>,
    start: usize,
    (end, separator): (usize, u8),
) -> Option<(FieldKind, usize, u8, usize)> {
    match separator {
        b'"' if end == start => {
            let (end, separator) = entries.behind_string()?;
            Some((FieldKind::String, end, separator, entries.next))
        }
        b',' | b' ' | b'\n' => {
            let kind = scalar::check(&body[start..end], dialect).ok()?;
            Some((kind, end, separator, entries.next))
        }
        _ => None,
    }
}

/// Where the tags of a line are: their first entry, and the begin of the first key.
#[derive(Clone, Copy)]
struct Tags<'a, 'i> {
    first: usize,
    from: usize,
    entries: Entries<'i>,
    body: &'a [u8],
}

impl<'a> Tags<'a, '_> {
    /// A tag's key.
    fn key(&self, number: usize) -> &'a [u8] {
        let equals = self.first + 2 * number;
        let start = if number == 0 { self.from } else { self.entries.place(equals - 1) + 1 };
        &self.body[start..self.entries.place(equals)]
    }
}

/// Of a key with these first bytes behind so many: true when they all are sorted, false when they are not any more; `None` when the
/// key is there already.
#[inline(never)]
fn is_later_or_new(
    tags: Tags<'_, '_>,
    prefixes: &[u64; PLAIN_TAGS],
    prefix: u64,
    count: usize,
    sorted: bool,
) -> Option<bool> {
    let key = tags.key(count);
    if sorted && count > 0 && tags.key(count - 1) < key {
        return Some(true);
    }
    let alike = prefixes[..count].iter().fold(false, |alike, other| alike | (*other == prefix));
    (!alike || (0..count).all(|other| tags.key(other) != key)).then_some(count == 0)
}

/// The tag keys of the line that was read by `tags` last.
#[derive(Debug, Default)]
struct Keys {
    prefixes: [u64; PLAIN_TAGS],
    known: [Known; PLAIN_TAGS],
    count: usize,
    sorted: bool,
}

/// A key, to compare others with.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Its first eight bytes, and which of them are its own.
    first: u64,
    mask: u64,
    /// Where it stands in the body.
    start: usize,
    length: usize,
}

impl Known {
    #[inline(always)]
    fn new(body: &[u8], start: usize, length: usize) -> Self {
        let mask = if length >= 8 { u64::MAX } else { !(u64::MAX << (8 * length)) };
        Self { first: word(body, start).unwrap_or_default() & mask, mask, start, length }
    }

    /// Whether a key of the same length is the same. Near the end of the body none is.
    #[inline(always)]
    fn is_at(&self, body: &[u8], key: usize) -> bool {
        let Some(first) = word(body, key) else { return false };
        let rest = match self.length {
            0..=8 => true,
            9..=16 => word(body, self.start + self.length - 8) == word(body, key + self.length - 8),
            _ => body[self.start..self.start + self.length] == body[key..key + self.length],
        };
        (first & self.mask == self.first) & rest
    }
}

#[inline(always)]
fn word(body: &[u8], from: usize) -> Option<u64> {
    body.get(from..from + 8).and_then(<[u8]>::first_chunk).map(|word| u64::from_le_bytes(*word))
}
