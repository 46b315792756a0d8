//! Reads any one line exactly as the servers do, oddities included, and says why a line is refused.
//!
//! The servers read a line in sections, each with its own idea of what a backslash protects: names look one byte
//! back, the field section skips pairs, and the field section is then split a second time by a third rule. All three
//! are kept here, since together they decide what is accepted and what is stored.

use smallvec::SmallVec;

use super::point::{Field, FieldKind, Frame, Sink, Tag};
use super::reason::{MAX_KEY_BYTES, Reason};
use super::{Dialect, Precision, scalar};

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

/// Reads `body[start..end]`, which must be one line as the servers cut it, not blank and not a comment.
///
/// # Errors
/// The servers' reason to refuse it, with the offset in the body.
pub(super) fn parse<'a>(
    body: &'a [u8],
    (start, end): (usize, usize),
    rules: (Dialect, Precision),
    sink: &mut impl Sink<'a>,
) -> Result<Frame<'a>, Refusal> {
    let text_start = skip_blanks(&body[..end], start);
    let block = &body[text_start..end];
    let (name_end, fields_end, time_ns) =
        sections(block, rules, sink).map_err(|(reason, at)| (reason, text_start + at))?;
    let fields_end = text_start + fields_end;
    Ok(Frame { start, end, fields_end, measurement: &block[..name_end], time_ns, sorted: false, plain: false })
}

/// Where the measurement and the fields end, and the time. From here on places are offsets in the block.
fn sections<'a>(
    block: &'a [u8],
    (dialect, precision): (Dialect, Precision),
    sink: &mut impl Sink<'a>,
) -> Result<(usize, usize, Option<i64>), Refusal> {
    let name_end = measurement_end(block)?;
    let key_end = if block[name_end] == b',' { tags(block, name_end + 1, dialect, sink)? } else { name_end };
    if key_end > MAX_KEY_BYTES {
        return Err((Reason::KeyTooLong(key_end), MAX_KEY_BYTES));
    }
    let (first, fields_end) = fields_span(block, key_end, dialect)?;
    let mut stored = Stored { section: &block[first..fields_end], at: 0 };
    loop {
        let at = first + stored.at;
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

fn protected(block: &[u8], at: usize) -> bool {
    at > 0 && block[at - 1] == b'\\'
}

fn measurement_end(block: &[u8]) -> Result<usize, Refusal> {
    if matches!(block.first(), None | Some(b',')) {
        return Err((Reason::MissingMeasurement, 0));
    }
    let ends = |at: &usize| matches!(block[*at], b',' | b' ') && !protected(block, *at);
    (1..block.len()).find(ends).ok_or((Reason::MissingFields, block.len()))
}

/// Reads the tags from the byte after the first comma; returns the position of the space after them.
fn tags<'a>(block: &'a [u8], from: usize, dialect: Dialect, sink: &mut impl Sink<'a>) -> Result<usize, Refusal> {
    let mut keys = SmallVec::<[(&[u8], usize); 32]>::new();
    let mut at = from;
    loop {
        let equals = tag_key_end(block, at)?;
        let end = tag_value_end(block, equals + 1)?;
        let tag = Tag { key: &block[at..equals], value: &block[equals + 1..end] };
        keys.push((tag.key, at));
        sink.tag(tag);
        at = end + 1;
        if block[end] == b' ' {
            if let Some((shown, at)) = keys.iter().find_map(|(key, at)| Some((reserved(key, dialect)?, *at))) {
                return Err((Reason::ReservedTagKey(shown), at));
            }
            keys.sort_unstable();
            let second = keys.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[1].1).min();
            return second.map_or(Ok(end), |at| Err((Reason::DuplicateTags, at)));
        }
    }
}

fn tag_key_end(block: &[u8], from: usize) -> Result<usize, Refusal> {
    if matches!(block.get(from), None | Some(b' ' | b',' | b'=')) {
        return Err((Reason::MissingTagKey, from));
    }
    let ends = |at: &usize| matches!(block[*at], b' ' | b',' | b'=') && !protected(block, *at);
    match (from + 1..block.len()).find(ends) {
        Some(at) if block[at] == b'=' => Ok(at),
        other => Err((Reason::MissingTagValue, other.unwrap_or(block.len()))),
    }
}

/// The first byte of a value may be anything but a separator, even an equals sign.
fn tag_value_end(block: &[u8], from: usize) -> Result<usize, Refusal> {
    if matches!(block.get(from), None | Some(b' ' | b',')) {
        return Err((Reason::MissingTagValue, from));
    }
    let ends = |at: &usize| matches!(block[*at], b' ' | b',' | b'=') && !protected(block, *at);
    let end = (from + 1..block.len()).find(ends).ok_or((Reason::MissingFields, block.len()))?;
    if block[end] == b'=' { Err((Reason::InvalidTagFormat, end)) } else { Ok(end) }
}

/// Begin and end of the field section. Values are checked here, by the servers' first reading.
fn fields_span(block: &[u8], key_end: usize, dialect: Dialect) -> Result<(usize, usize), Refusal> {
    let first = skip_blanks(block, key_end);
    let (mut at, mut quoted, mut equals, mut commas) = (first, false, 0usize, 0usize);
    // The quote that was seen last, and the first place where keys and values did not pair up.
    let (mut quote, mut odd) = (first, None);
    while at < block.len() {
        match block[at] {
            b'\\' if at + 1 < block.len() => at += 1,
            b'"' if equals > commas => (quoted, quote) = (!quoted, at),
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
                    Some(_) => at += checked_value(block, at + 1, dialect)?,
                }
            }
            b',' => {
                commas += 1;
                if commas > equals {
                    odd = odd.or(Some(at));
                }
            }
            b' ' => break,
            _ => {}
        }
        at += 1;
    }
    if quoted {
        return Err((Reason::UnbalancedQuotes, quote));
    }
    if equals == 0 || commas != equals - 1 {
        return Err((Reason::InvalidFieldFormat, odd.unwrap_or(at)));
    }
    Ok((first, at))
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
struct Stored<'a> {
    section: &'a [u8],
    /// What is left begins here.
    at: usize,
}

impl<'a> Iterator for Stored<'a> {
    type Item = Result<Field<'a>, Reason>;

    fn next(&mut self) -> Option<Self::Item> {
        let section = self.section.get(self.at..).filter(|rest| !rest.is_empty())?;
        let equals = (0..section.len()).find(|at| section[*at] == b'=' && !protected(section, *at));
        let Some(equals) = equals.filter(|at| at + 1 < section.len()) else {
            self.at = self.section.len();
            return Some(Err(Reason::InvalidFieldValue));
        };
        let value_end = stored_value_end(section, equals + 1);
        self.at += value_end + 1;
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
