//! Lines for QuestDB: a measurement is a table, tags and fields are its columns. Source of the rules: 9.3.4, measured.
//!
//! Names are compared without regard to case there, and some are refused: [`QuestRules`] says by what rule they are changed.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

use super::{Change, Changes};
use crate::line::canonical::{write_integer, write_time};
use crate::line::questdb::number::float;
use crate::line::{Field, Line, Unfit, Value};

const NS_PER_US: i64 = 1_000;
/// Names are names of files, with an ending and a number: longer ones are cut.
const NAME_BYTES_MAX: usize = 120;
/// What stays of a name that is cut; then follows its hash.
const NAME_BYTES_KEPT: usize = 100;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuestRules {
    /// Tables begin with the name of the database, so that those of two databases are not one.
    pub names_place: bool,
    /// The tables were made with `timestamp_ns`; those that a write makes keep microseconds.
    pub keeps_ns: bool,
}

/// Appends what lines of one series and time hold together, as one line with nanoseconds and a line feed; of a field that
/// several have the last is kept. Nothing where nothing of it can be kept. `place`: what tables begin with.
///
/// # Errors
/// The lines do not fit; nothing is appended, nothing counted.
pub fn questdb(
    lines: &[Line<'_>],
    at_ns: i64,
    (rules, place): (QuestRules, &[u8]),
    out: &mut Vec<u8>,
    changes: &mut Changes,
) -> Result<(), Unfit> {
    let Some(line) = lines.last() else { return Ok(()) };
    let unfit = |tag: &[u8]| tag.contains(&0) || std::str::from_utf8(tag).is_err();
    if line.tags().iter().any(|tag| unfit(&tag.value())) {
        let why = "a tag that is not UTF-8 or holds a NUL, which the destination would refuse with all other lines";
        return Err(Unfit { code: "unstorable", why, in_part: false });
    }
    let fields = last_of_each(lines);
    if at_ns < 0 {
        changes.add(Change::TimeLeftOut, fields.len() as u64);
        return Ok(());
    }
    let begin = out.len();
    let (mut columns, mut of_row) = (Columns::default(), Changes::default());
    let mut table = if rules.names_place { place.to_vec() } else { Vec::new() };
    table.extend_from_slice(&line.measurement());
    let (table, is_renamed) = name_of(&table, Kind::Table);
    of_row.add(Change::Name, u64::from(is_renamed));
    write_name(table.as_bytes(), out);
    line.in_order(|tag| {
        let Some(name) = columns.take(&tag.key(), &mut of_row) else { return };
        out.push(b',');
        write_name(name.as_bytes(), out);
        out.push(b'=');
        write_name(&tag.value(), out);
    });
    let (mut separator, mut cells) = (b' ', 0);
    for field in fields {
        let value_at = out.len();
        if !is_kept(field, changes) {
            continue;
        }
        let Some(name) = columns.take(&field.key(), changes) else { continue };
        out.push(separator);
        write_name(name.as_bytes(), out);
        out.push(b'=');
        write_value(field, out, changes);
        debug_assert!(out.len() > value_at);
        separator = b',';
        cells += 1;
    }
    if cells == 0 {
        out.truncate(begin);
        return Ok(());
    }
    changes.add_all(&of_row);
    if !rules.keeps_ns && at_ns % NS_PER_US != 0 {
        changes.add(Change::Microseconds, cells);
    }
    write_time(at_ns, out);
    out.push(b'\n');
    Ok(())
}

/// The fields of some lines; of one name the last.
fn last_of_each<'l, 'a>(lines: &'l [Line<'a>]) -> Vec<&'l Field<'a>> {
    let mut met = HashSet::new();
    let all = lines.iter().rev().flat_map(|line| line.fields().iter().rev());
    let mut fields: Vec<_> = all.filter(|field| met.insert(field.key())).collect();
    fields.reverse();
    fields
}

/// Names of a line that are taken, as the destination compares them.
#[derive(Default)]
struct Columns(HashSet<String>);

impl Columns {
    /// The name of a column; `None` where another has it already.
    fn take(&mut self, raw: &[u8], changes: &mut Changes) -> Option<String> {
        let (name, is_renamed) = name_of(raw, Kind::Column);
        if !self.0.insert(without_case(&name)) {
            changes.add(Change::NameTaken, 1);
            return None;
        }
        changes.add(Change::Name, u64::from(is_renamed));
        Some(name)
    }
}

/// A name as the destination compares it, by the rule of its language: one unit of UTF-16 at a time.
#[must_use]
pub fn without_case(name: &str) -> String {
    let lower = |c: char| if c <= '\u{ffff}' { c.to_lowercase().next().unwrap_or(c) } else { c };
    name.chars().map(lower).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Table,
    Column,
}

/// The name of a table as it is there.
#[must_use]
pub fn table_name(raw: &[u8]) -> String {
    name_of(raw, Kind::Table).0
}

/// A name as the destination takes it, and whether that is another one.
fn name_of(raw: &[u8], kind: Kind) -> (String, bool) {
    let mut name = String::with_capacity(raw.len());
    let mut rest = raw;
    while !rest.is_empty() {
        let (valid, broken) = match std::str::from_utf8(rest) {
            Ok(all) => (all, 0),
            Err(error) => {
                let valid = &rest[..error.valid_up_to()];
                let broken = error.error_len().unwrap_or(rest.len() - valid.len());
                (std::str::from_utf8(valid).unwrap_or_default(), broken)
            }
        };
        let begin = raw.len() - rest.len();
        for (at, c) in valid.char_indices() {
            let at = begin + at;
            let is_end = at == 0 || at + c.len_utf8() == raw.len();
            let is_refused = is_refused(c, kind) || is_end && c == ' ' || c == '.' && (is_end || raw[at - 1] == b'.');
            if is_refused {
                push_codes(&raw[at..at + c.len_utf8()], &mut name);
            } else {
                name.push(c);
            }
        }
        push_codes(&rest[valid.len()..valid.len() + broken], &mut name);
        rest = &rest[valid.len() + broken..];
    }
    if kind == Kind::Column && without_case(&name) == "timestamp" || name.is_empty() {
        name.push('_');
    }
    if name.len() > NAME_BYTES_MAX {
        let end = (0..=NAME_BYTES_KEPT).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
        name.truncate(end);
        name.push_str(&format!("_{:016x}", xxh3_64(raw)));
    }
    let is_renamed = name.as_bytes() != raw;
    (name, is_renamed)
}

/// Each byte in place of which two digits stand.
fn push_codes(bytes: &[u8], name: &mut String) {
    for byte in bytes {
        name.push_str(&format!("_{byte:02x}"));
    }
}

fn is_refused(c: char, kind: Kind) -> bool {
    let everywhere = "?,:/\\()+*%~\"'\u{feff}".contains(c) || c < ' ' || c == '\u{7f}';
    everywhere || kind == Kind::Column && matches!(c, '.' | '-')
}

/// Whether a value can be kept; else why not is counted.
fn is_kept(field: &Field<'_>, changes: &mut Changes) -> bool {
    let change = match field.value() {
        Value::Integer(i64::MIN) => Change::IntegerLeftOut,
        Value::Unsigned(value) if i64::try_from(value).is_err() => Change::IntegerLeftOut,
        Value::Undecodable(_) => Change::TextLeftOut,
        _ => return true,
    };
    changes.add(change, 1);
    false
}

fn write_value(field: &Field<'_>, out: &mut Vec<u8>, changes: &mut Changes) {
    match field.value() {
        Value::Float(value) => {
            let raw = field.raw_value();
            if float(raw).is_some_and(|read| read.to_bits() == value.to_bits()) {
                out.extend_from_slice(raw);
            } else {
                out.extend_from_slice(format!("{value:.17e}").as_bytes());
            }
        }
        Value::Integer(value) => {
            write_integer(value, out);
            out.push(b'i');
        }
        Value::Unsigned(value) => {
            write_integer(i64::try_from(value).unwrap_or(i64::MAX), out);
            out.push(b'i');
            changes.add(Change::UnsignedAsInteger, 1);
        }
        Value::Bool(value) => out.push(if value { b't' } else { b'f' }),
        Value::String(text) => write_text(&text, out, changes),
        Value::Undecodable(_) => {}
    }
}

fn write_text(text: &[u8], out: &mut Vec<u8>, changes: &mut Changes) {
    let shown = String::from_utf8_lossy(text);
    changes.add(Change::BrokenText, u64::from(shown.as_bytes() != text));
    out.push(b'"');
    for byte in shown.bytes() {
        if matches!(byte, b'"' | b'\\' | b'\n') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// A name, or a tag's value: a backslash protects whatever follows it.
fn write_name(name: &[u8], out: &mut Vec<u8>) {
    for byte in name {
        if matches!(byte, b' ' | b',' | b'=' | b'\\' | b'\n' | b'\r') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
}

#[cfg(test)]
#[path = "questdb_tests.rs"]
mod tests;
