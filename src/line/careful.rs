//! Reads any one line exactly as the servers do, oddities included, and says why a line is refused.
//!
//! The servers read a line in sections, each with its own idea of what a backslash protects: names look one byte
//! back, the field section skips pairs, and the field section is then split a second time by a third rule. All three
//! are kept here, since together they decide what is accepted and what is stored.

use smallvec::SmallVec;

use super::index::Cursor;
use super::point::{Field, FieldKind, Frame, Sink, Tag};
use super::prefix::{may_be_reserved, prefix};
use super::reason::{MAX_KEY_BYTES, Reason};
use super::{Dialect, Precision, scalar, series};

/// Why a line is refused, and the byte at which the rule is broken.
pub(super) type Refusal = (Reason, usize);

/// The bytes that the servers put between series key and field key count towards the limit.
const FIELD_SEPARATOR_BYTES: usize = 4;

/// Spaces, tabs and NULs are skipped where a section begins; elsewhere tabs and NULs are data.
pub(super) fn skip_blanks(block: &[u8], from: usize) -> usize {
    let rest = block.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | 0)).count()
}

/// The name of a tag key that InfluxDB 2.x keeps for itself, as its message prints it.
#[inline]
pub(super) fn reserved(key: &[u8], dialect: Dialect) -> Option<&'static str> {
    match (dialect, key) {
        (Dialect::Influx1, _) => None,
        (_, b"time") => Some("time"),
        (_, b"_field") => Some("_field"),
        (_, b"_measurement") => Some("_measurement"),
        (_, b"\x00") => Some("\\x00"),
        (_, b"\xff") => Some("\\xff"),
        _ => None,
    }
}

/// Reads `body[start..end]`, which must be one line as the servers cut it, not blank and not a comment. The cursor, which
/// must be one of the same body, is somewhere afterwards.
///
/// # Errors
/// The servers' reason to refuse it, with the offset in the body.
pub(super) fn parse<'a>(
    cursor: &mut Cursor<'a>,
    (start, end): (usize, usize),
    rules: (Dialect, Precision),
    sink: &mut impl Sink<'a>,
) -> Result<Frame<'a>, Refusal> {
    let text_start = skip_blanks(&cursor.body()[..end], start);
    cursor.seek(text_start);
    let block = &cursor.body()[text_start..end];
    let mut walk = Walk { cursor, block, text_start };
    let (name_end, fields_end, time_ns) =
        sections(&mut walk, rules, sink).map_err(|(reason, at)| (reason, text_start + at))?;
    let fields_end = text_start + fields_end;
    Ok(Frame { start, end, fields_end, measurement: &block[..name_end], time_ns, sorted: false, plain: false })
}

/// Walks the structural bytes of one line, which is the block. From here on places are offsets in it.
struct Walk<'a, 'c> {
    cursor: &'c mut Cursor<'a>,
    block: &'a [u8],
    text_start: usize,
}

impl Walk<'_, '_> {
    /// The next one that is wanted, by its byte and then by its place, behind those that were looked at, and not before `from`.
    #[inline(always)]
    fn find(&mut self, from: usize, byte: impl Fn(u8) -> bool, place: impl Fn(usize) -> bool) -> Option<(usize, u8)> {
        let (text_start, end) = (self.text_start, self.block.len());
        let hit = self.cursor.find(|at, found| {
            // One before the line began is in its leading white space, and far behind the end here.
            let at = at.wrapping_sub(text_start);
            (byte(found) | (found == b'\n')) && (at >= end || byte(found) && at >= from && place(at))
        });
        Some((hit.0.wrapping_sub(text_start), hit.1)).filter(|(at, _)| *at < end)
    }

    #[inline(always)]
    fn next_from(&mut self, from: usize) -> Option<(usize, u8)> {
        self.find(from, |_| true, |_| true)
    }

    /// The next one of some bytes that has no backslash before it.
    #[inline(always)]
    fn next_unprotected(&mut self, from: usize, is_one: impl Fn(u8) -> bool) -> Option<(usize, u8)> {
        let block = self.block;
        self.find(from, is_one, |at| !protected(block, at))
    }

    /// Key end and value end of the tag at `from`, if it is an ordinary one with another behind it.
    #[inline(always)]
    fn ordinary_tag(&mut self, from: usize) -> Option<(usize, usize)> {
        let mut entries = self.cursor.entries();
        let ((equals, is_equals), (end, is_comma)) = (entries.next(), entries.next());
        let next = entries.next;
        let (equals, end) = (equals.wrapping_sub(self.text_start), end.wrapping_sub(self.text_start));
        let is_ordinary = (is_equals == b'=') & (is_comma == b',') & (equals > from) & (end > equals + 1);
        let found = (is_ordinary && end < self.block.len()).then_some((equals, end));
        if found.is_some() {
            self.cursor.next = next;
        }
        found
    }
}

/// Where the measurement and the fields end, and the time.
fn sections<'a>(
    walk: &mut Walk<'a, '_>,
    (dialect, precision): (Dialect, Precision),
    sink: &mut impl Sink<'a>,
) -> Result<(usize, usize, Option<i64>), Refusal> {
    let block = walk.block;
    let name_end = measurement_end(walk)?;
    let key_end = if block[name_end] == b',' { tags(walk, name_end + 1, dialect, sink)? } else { name_end };
    if key_end > MAX_KEY_BYTES {
        return Err((Reason::KeyTooLong(key_end), MAX_KEY_BYTES));
    }
    let (first, fields_end) = fields_span(walk, key_end, dialect)?;
    walk.cursor.seek(walk.text_start + first);
    let mut stored = Stored { walk, at: first, end: fields_end };
    loop {
        let at = stored.at;
        let Some(field) = stored.next() else { break };
        let field = field.map_err(|reason| (reason, at))?;
        let size = key_end + FIELD_SEPARATOR_BYTES + field.key.len();
        if size > MAX_KEY_BYTES {
            return Err((Reason::KeyTooLong(size), at));
        }
        sink.field(field);
    }
    Ok((name_end, fields_end, time(block, fields_end, precision)?))
}

#[inline(always)]
fn protected(block: &[u8], at: usize) -> bool {
    at > 0 && block[at - 1] == b'\\'
}

fn measurement_end(walk: &mut Walk<'_, '_>) -> Result<usize, Refusal> {
    if matches!(walk.block.first(), None | Some(b',')) {
        return Err((Reason::MissingMeasurement, 0));
    }
    let end = walk.next_unprotected(1, |byte| matches!(byte, b',' | b' '));
    end.map(|(at, _)| at).ok_or((Reason::MissingFields, walk.block.len()))
}

/// Reads the tags from the byte after the first comma; returns the position of the space after them.
fn tags<'a>(
    walk: &mut Walk<'a, '_>,
    from: usize,
    dialect: Dialect,
    sink: &mut impl Sink<'a>,
) -> Result<usize, Refusal> {
    let block = walk.block;
    let mut keys = Keys::default();
    let mut first_reserved = None;
    let mut at = from;
    loop {
        let (equals, end) = match walk.ordinary_tag(at) {
            Some(ends) => ends,
            None => {
                let equals = tag_key_end(walk, at)?;
                (equals, tag_value_end(walk, equals + 1)?)
            }
        };
        let tag = Tag { key: &block[at..equals], value: &block[equals + 1..end] };
        if first_reserved.is_none() && may_be_reserved(prefix(block, at, equals - at)) {
            first_reserved = reserved(tag.key, dialect).map(|shown| (Reason::ReservedTagKey(shown), at));
        }
        keys.push(block, at, equals - at);
        sink.tag(tag);
        at = end + 1;
        if block[end] == b' ' {
            return match first_reserved {
                Some(refusal) => Err(refusal),
                None => keys.second(block).map_or(Ok(end), |at| Err((Reason::DuplicateTags, at))),
            };
        }
    }
}

/// The places and lengths of the tag keys of a line.
#[derive(Default)]
struct Keys {
    all: SmallVec<[(usize, usize); 32]>,
    /// The first bytes of the last one.
    last: u64,
    unsorted: bool,
}

impl Keys {
    #[inline(always)]
    fn push(&mut self, block: &[u8], at: usize, length: usize) {
        let first = prefix(block, at, length);
        if first <= self.last && !self.unsorted {
            let before = self.all.last().map(|(at, length)| &block[*at..at + length]);
            self.unsorted = before.is_some_and(|before| before >= &block[at..at + length]);
        }
        self.last = first;
        self.all.push((at, length));
    }

    /// The first place where a key stands for the second time.
    fn second(&self, block: &[u8]) -> Option<usize> {
        if !self.unsorted {
            return None;
        }
        // By their hashes, since there may be thousands that all begin alike.
        let key = |(at, length): &(usize, usize)| &block[*at..at + length];
        let mut by_hash: SmallVec<[_; 32]> =
            self.all.iter().map(|place| (series::SeriesKey::FIXED.hash(key(place)), *place)).collect();
        by_hash.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| key(&a.1).cmp(key(&b.1))).then(a.1.cmp(&b.1)));
        let equal = |pair: &&[(u64, (usize, usize))]| pair[0].0 == pair[1].0 && key(&pair[0].1) == key(&pair[1].1);
        by_hash.windows(2).filter(equal).map(|pair| pair[1].1.0).min()
    }
}

fn tag_key_end(walk: &mut Walk<'_, '_>, from: usize) -> Result<usize, Refusal> {
    if matches!(walk.block.get(from), None | Some(b' ' | b',' | b'=')) {
        return Err((Reason::MissingTagKey, from));
    }
    match walk.next_unprotected(from + 1, |byte| matches!(byte, b' ' | b',' | b'=')) {
        Some((at, b'=')) => Ok(at),
        other => Err((Reason::MissingTagValue, other.map_or(walk.block.len(), |(at, _)| at))),
    }
}

/// The first byte of a value may be anything but a separator, even an equals sign.
fn tag_value_end(walk: &mut Walk<'_, '_>, from: usize) -> Result<usize, Refusal> {
    if matches!(walk.block.get(from), None | Some(b' ' | b',')) {
        return Err((Reason::MissingTagValue, from));
    }
    match walk.next_unprotected(from + 1, |byte| matches!(byte, b' ' | b',' | b'=')) {
        Some((at, b'=')) => Err((Reason::InvalidTagFormat, at)),
        Some((at, _)) => Ok(at),
        None => Err((Reason::MissingFields, walk.block.len())),
    }
}

/// Begin and end of the field section. Values are checked here, by the servers' first reading.
fn fields_span(walk: &mut Walk<'_, '_>, key_end: usize, dialect: Dialect) -> Result<(usize, usize), Refusal> {
    let block = walk.block;
    let first = skip_blanks(block, key_end);
    let (mut from, mut quoted, mut equals, mut commas) = (first, false, 0usize, 0usize);
    // The quote that was seen last, the first one whose text goes on behind a line feed, and the first place where keys and values
    // did not pair up.
    let (mut quote, mut long, mut odd) = (first, None, None);
    let end = loop {
        let Some((at, byte)) = walk.next_from(from) else { break block.len() };
        match byte {
            b'\\' if at + 1 < block.len() => from = at + 2,
            b'"' if equals > commas => (quoted, quote) = (!quoted, at),
            b'\n' if quoted => long = long.or(Some(quote)),
            _ if quoted => {}
            b'=' => {
                equals += 1;
                if equals > commas + 1 {
                    odd = odd.or(Some(at));
                }
                if let [.., before, b' ' | b','] = &block[..at]
                    && *before != b'\\'
                {
                    return Err((Reason::MissingFieldKey, at));
                }
                match block.get(at + 1) {
                    None | Some(b',' | b' ') => return Err((Reason::MissingFieldValue, at + 1)),
                    Some(b'"') => {}
                    Some(_) => from = at + 1 + checked_value(block, at + 1, dialect)?,
                }
            }
            b',' => {
                commas += 1;
                if commas > equals {
                    odd = odd.or(Some(at));
                }
            }
            b' ' => break at,
            _ => {}
        }
    };
    if quoted {
        // Where a quote is missing, each one behind it opens what it should close: the last one is hardly to blame.
        return Err((Reason::UnbalancedQuotes, long.unwrap_or(quote)));
    }
    if equals == 0 || commas != equals - 1 {
        return Err((Reason::InvalidFieldFormat, odd.unwrap_or(end)));
    }
    Ok((first, end))
}

/// The length of a value that is not a string.
fn checked_value(block: &[u8], from: usize, dialect: Dialect) -> Result<usize, Refusal> {
    let value = &block[from..];
    let length = value.iter().position(|b| matches!(b, b',' | b' ')).unwrap_or(value.len());
    let token = &value[..length];
    match scalar::check(token, dialect) {
        Ok(_) => Ok(length),
        Err(reason) => Err((reason, from + scalar::broken_at(token, reason))),
    }
}

/// The fields as the storage finds them: its own, simpler split of the section that was accepted.
struct Stored<'w, 'a, 'c> {
    walk: &'w mut Walk<'a, 'c>,
    /// What is left lies between these.
    at: usize,
    end: usize,
}

impl<'a> Iterator for Stored<'_, 'a, '_> {
    type Item = Result<Field<'a>, Reason>;

    fn next(&mut self) -> Option<Self::Item> {
        let (block, start) = (self.walk.block, self.at);
        if start >= self.end {
            return None;
        }
        let equals = self.walk.next_unprotected(start, |byte| byte == b'=').map(|(at, _)| at);
        let Some(equals) = equals.filter(|at| at + 1 < self.end) else {
            self.at = self.end;
            return Some(Err(Reason::InvalidFieldValue));
        };
        let value_end = self.value_end(equals + 1);
        self.at = value_end + 1;
        let value = &block[equals + 1..value_end];
        let kind = scalar::kind_as_stored(value);
        Some(Ok(Field { key: &block[start..equals], value, kind }))
    }
}

impl Stored<'_, '_, '_> {
    /// The end of the value that begins at `from`. Outside quotes a comma ends it, whatever stands before the comma: there the bytes
    /// themselves are looked at. Inside they may be many, and quotes alone matter.
    fn value_end(&mut self, from: usize) -> usize {
        let section = &self.walk.block[..self.end];
        let mut at = from;
        while at < section.len() {
            match section[at] {
                b'\\' if matches!(section.get(at + 1), Some(b'"' | b'\\')) => at += 1,
                b'"' => match self.string_end(at + 1) {
                    Some(close) => at = close,
                    None => break,
                },
                b',' => return at,
                _ => {}
            }
            at += 1;
        }
        section.len()
    }

    /// The quote that ends what is quoted from this place on.
    fn string_end(&mut self, mut from: usize) -> Option<usize> {
        loop {
            let (at, byte) = self.walk.next_from(from).filter(|(at, _)| *at < self.end)?;
            match byte {
                b'\\' if matches!(self.walk.block.get(at + 1), Some(b'"' | b'\\')) => from = at + 2,
                b'"' => return Some(at),
                _ => {}
            }
        }
    }
}

fn time(block: &[u8], fields_end: usize, precision: Precision) -> Result<Option<i64>, Refusal> {
    let start = skip_blanks(block, fields_end);
    let rest = &block[start..];
    // A line feed can stand here: the line cutter and the sections disagree about what is quoted. What follows it is
    // ignored when it comes first, and refused after a timestamp.
    let length = rest.iter().position(|b| matches!(b, b' ' | b'\n')).unwrap_or(rest.len());
    let (token, tail) = rest.split_at(length);
    if token.is_empty() {
        return Ok(None);
    }
    let time_ns =
        scalar::time_ns(token, precision).map_err(|reason| (reason, start + scalar::broken_at(token, reason)))?;
    match tail.iter().position(|b| *b != b' ') {
        Some(at) => Err((Reason::InvalidPoint, start + length + at)),
        None => Ok(Some(time_ns)),
    }
}

/// Whether a field of the line has a value that the storage cannot decode.
pub(super) fn is_undecodable(field: &Field<'_>) -> bool {
    field.kind == FieldKind::Undecodable
}
