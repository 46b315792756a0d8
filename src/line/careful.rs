//! Reads any one line exactly as the servers do, oddities included, and says why a line is refused.
//!
//! The servers read a line in sections, each with its own idea of what a backslash protects: names look one byte
//! back, the field section skips pairs, and the field section is then split a second time by a third rule. All three
//! are kept here, since together they decide what is accepted and what is stored.

use smallvec::SmallVec;

use super::point::{Field, FieldKind, Frame, Sink, Tag};
use super::reason::{MAX_KEY_BYTES, Reason};
use super::{Dialect, Precision, scalar};

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

/// Reads `body[start..end]`, which must be one line as the servers cut it, not blank and not a comment.
///
/// # Errors
/// The servers' reason to refuse it.
pub(super) fn parse<'a>(
    body: &'a [u8],
    (start, end): (usize, usize),
    (dialect, precision): (Dialect, Precision),
    sink: &mut impl Sink<'a>,
) -> Result<Frame<'a>, Reason> {
    let text_start = skip_blanks(&body[..end], start);
    let block = &body[text_start..end];
    let name_end = measurement_end(block)?;
    let key_end = if block[name_end] == b',' { tags(block, name_end + 1, dialect, sink)? } else { name_end };
    if key_end > MAX_KEY_BYTES {
        return Err(Reason::KeyTooLong(key_end));
    }
    let (first, fields_end) = fields_span(block, key_end, dialect)?;
    for field in (Stored { rest: &block[first..fields_end] }) {
        let field = field?;
        let size = key_end + FIELD_SEPARATOR_BYTES + field.key.len();
        if size > MAX_KEY_BYTES {
            return Err(Reason::KeyTooLong(size));
        }
        sink.field(field);
    }
    let time_ns = time(block, fields_end, precision)?;
    let fields_end = text_start + fields_end;
    Ok(Frame { start, end, fields_end, measurement: &block[..name_end], time_ns, sorted: false, plain: false })
}

fn protected(block: &[u8], at: usize) -> bool {
    at > 0 && block[at - 1] == b'\\'
}

fn measurement_end(block: &[u8]) -> Result<usize, Reason> {
    if matches!(block.first(), None | Some(b',')) {
        return Err(Reason::MissingMeasurement);
    }
    let ends = |at: &usize| matches!(block[*at], b',' | b' ') && !protected(block, *at);
    (1..block.len()).find(ends).ok_or(Reason::MissingFields)
}

/// Reads the tags from the byte after the first comma; returns the position of the space after them.
fn tags<'a>(block: &'a [u8], from: usize, dialect: Dialect, sink: &mut impl Sink<'a>) -> Result<usize, Reason> {
    let mut keys = SmallVec::<[&[u8]; 32]>::new();
    let mut at = from;
    loop {
        let equals = tag_key_end(block, at)?;
        let end = tag_value_end(block, equals + 1)?;
        let tag = Tag { key: &block[at..equals], value: &block[equals + 1..end] };
        keys.push(tag.key);
        sink.tag(tag);
        at = end + 1;
        if block[end] == b' ' {
            if let Some(shown) = keys.iter().find_map(|key| reserved(key, dialect)) {
                return Err(Reason::ReservedTagKey(shown));
            }
            keys.sort_unstable();
            return if keys.windows(2).any(|pair| pair[0] == pair[1]) { Err(Reason::DuplicateTags) } else { Ok(end) };
        }
    }
}

fn tag_key_end(block: &[u8], from: usize) -> Result<usize, Reason> {
    if matches!(block.get(from), None | Some(b' ' | b',' | b'=')) {
        return Err(Reason::MissingTagKey);
    }
    let ends = |at: &usize| matches!(block[*at], b' ' | b',' | b'=') && !protected(block, *at);
    (from + 1..block.len()).find(ends).filter(|at| block[*at] == b'=').ok_or(Reason::MissingTagValue)
}

/// The first byte of a value may be anything but a separator, even an equals sign.
fn tag_value_end(block: &[u8], from: usize) -> Result<usize, Reason> {
    if matches!(block.get(from), None | Some(b' ' | b',')) {
        return Err(Reason::MissingTagValue);
    }
    let ends = |at: &usize| matches!(block[*at], b' ' | b',' | b'=') && !protected(block, *at);
    let end = (from + 1..block.len()).find(ends).ok_or(Reason::MissingFields)?;
    if block[end] == b'=' { Err(Reason::InvalidTagFormat) } else { Ok(end) }
}

/// Begin and end of the field section. Values are checked here, by the servers' first reading.
fn fields_span(block: &[u8], key_end: usize, dialect: Dialect) -> Result<(usize, usize), Reason> {
    let first = skip_blanks(block, key_end);
    let (mut at, mut quoted, mut equals, mut commas) = (first, false, 0usize, 0usize);
    while at < block.len() {
        match block[at] {
            b'\\' if at + 1 < block.len() => at += 1,
            b'"' if equals > commas => quoted = !quoted,
            _ if quoted => {}
            b'=' => {
                equals += 1;
                if let [.., before, b' ' | b','] = &block[..at]
                    && *before != b'\\'
                {
                    return Err(Reason::MissingFieldKey);
                }
                match block.get(at + 1) {
                    None | Some(b',' | b' ') => return Err(Reason::MissingFieldValue),
                    Some(b'"') => {}
                    Some(_) => {
                        let value = &block[at + 1..];
                        let length = value.iter().position(|b| matches!(b, b',' | b' ')).unwrap_or(value.len());
                        scalar::check(&value[..length], dialect)?;
                        at += length;
                    }
                }
            }
            b',' => commas += 1,
            b' ' => break,
            _ => {}
        }
        at += 1;
    }
    if quoted {
        return Err(Reason::UnbalancedQuotes);
    }
    if equals == 0 || commas != equals - 1 {
        return Err(Reason::InvalidFieldFormat);
    }
    Ok((first, at))
}

/// The fields as the storage finds them: its own, simpler split of the section that was accepted.
struct Stored<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Stored<'a> {
    type Item = Result<Field<'a>, Reason>;

    fn next(&mut self) -> Option<Self::Item> {
        let section = std::mem::take(&mut self.rest);
        if section.is_empty() {
            return None;
        }
        let equals = (0..section.len()).find(|at| section[*at] == b'=' && !protected(section, *at));
        let Some(equals) = equals.filter(|at| at + 1 < section.len()) else {
            return Some(Err(Reason::InvalidFieldValue));
        };
        let value_end = stored_value_end(section, equals + 1);
        self.rest = section.get(value_end + 1..).unwrap_or_default();
        let value = &section[equals + 1..value_end];
        let kind = scalar::kind_as_stored(value);
        Some(Ok(Field { key: &section[..equals], value, kind }))
    }
}

fn stored_value_end(section: &[u8], from: usize) -> usize {
    let (mut at, mut quoted) = (from, false);
    while at < section.len() {
        match section[at] {
            b'\\' if matches!(section.get(at + 1), Some(b'"' | b'\\')) => at += 1,
            b'"' => quoted = !quoted,
            b',' if !quoted => break,
            _ => {}
        }
        at += 1;
    }
    at.min(section.len())
}

fn time(block: &[u8], fields_end: usize, precision: Precision) -> Result<Option<i64>, Reason> {
    let rest = &block[skip_blanks(block, fields_end)..];
    // A line feed can stand here: the line cutter and the sections disagree about what is quoted. What follows it is
    // ignored when it comes first, and refused after a timestamp.
    let length = rest.iter().position(|b| matches!(b, b' ' | b'\n')).unwrap_or(rest.len());
    let (token, tail) = rest.split_at(length);
    if token.is_empty() {
        return Ok(None);
    }
    let time_ns = scalar::time_ns(token, precision)?;
    if tail.iter().any(|b| *b != b' ') { Err(Reason::InvalidPoint) } else { Ok(Some(time_ns)) }
}

/// Whether a field of the line has a value that the storage cannot decode.
pub(super) fn is_undecodable(field: &Field<'_>) -> bool {
    field.kind == FieldKind::Undecodable
}
