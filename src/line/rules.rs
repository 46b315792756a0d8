//! Measurements, tags and fields that are left out or get another name on the way.
//!
//! Promise: a line that no rule touches comes out byte for byte, and a body of such lines is not copied. Of a touched line the
//! values, the time and the order of what stays are kept. A line that does not come out is named with the reason, and what the
//! dialect refuses never comes out: another server could take it.
//!
//! Rules see the names of the line that came, unescaped, and each name is changed once. What is dropped is looked at first; of
//! several renames the first that matches decides. To drop or rename a tag can make one series of two: then the later value of
//! a time wins, as anywhere.
//!
//! One set of rules is for delivery, backfill and verification alike (`exclude`, `rename_tag` … of a mapping rule); [`reshape`] is for
//! delivery.

mod reshape;

pub use reshape::{Refused, Reshaped};

use std::borrow::Cow;
use std::ops::Range;

use smallvec::SmallVec;

use super::canonical::{write_fields, write_tag, write_time};
use super::fast::Reader;
use super::patch::Patch;
use super::pattern::Pattern;
use super::point::{Field, FieldKind, Frame, Parts, Tag};
use super::reason::{MAX_KEY_BYTES, Reason};
use super::{Dialect, Precision, careful, escape, lines};
use crate::base::Glob;

/// A longer name is not given to a line without a look at the limit of the servers.
const NEW_NAME_BYTES: usize = 256;

/// What of a line a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Its measurement; a line whose measurement is dropped is left out.
    Measurement,
    /// The keys of its tags.
    Tag,
    /// The keys of its fields; a line without any left is left out.
    Field,
}

/// A rule that cannot be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// Nothing to match, or no name to give.
    #[error("a name is empty")]
    Empty,
    /// All names that match would become one, or there is nothing to put in.
    #[error("the old and the new name must have the same number of stars, one at most")]
    Stars,
    /// Names with such bytes cannot be written so that all servers read them alike.
    #[error("a new name holds a backslash, a quote or a control character, or begins with a blank or #")]
    NewName,
}

/// Why a line does not come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeftOut {
    /// A rule drops its measurement, or others name those that stay.
    #[error("its measurement is dropped by rule")]
    Dropped,
    /// Rules drop all of its fields.
    #[error("all of its fields are dropped by rule")]
    NoFields,
    /// Two of its tags, or two of its fields, would have one name.
    #[error("two of its names become the same by rule")]
    SameName,
    /// The dialect refuses it, as it came or with its new names.
    #[error("{0}")]
    Malformed(Reason),
    /// With its new names no form of it reads as the same data.
    #[error("no form of it reads as the same data")]
    Unwritable,
}

/// What is dropped and what is renamed.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Measurements that stay; all where there are none.
    kept: Vec<Glob>,
    measurements: Names,
    tags: Names,
    fields: Names,
    /// Integers that become floats, by measurement and field with a dot between them.
    floats: Vec<Glob>,
}

/// The rules of one part.
#[derive(Clone, Debug, Default)]
struct Names {
    dropped: Vec<Glob>,
    renamed: Vec<(Pattern, Pattern)>,
    first: FirstBytes,
}

/// With which bytes names begin that a rule may be about.
#[derive(Clone, Copy, Debug, Default)]
struct FirstBytes([u64; 4]);

impl FirstBytes {
    fn add(&mut self, first: Option<u8>) {
        match first {
            Some(byte) => self.0[usize::from(byte / 64)] |= 1 << (byte % 64),
            None => self.0 = [u64::MAX; 4],
        }
    }

    #[inline(always)]
    fn has(&self, name: &[u8]) -> bool {
        name.first().is_none_or(|byte| self.0[usize::from(byte / 64)] >> (byte % 64) & 1 != 0)
    }
}

impl Names {
    #[inline]
    fn touch(&self, name: &[u8]) -> bool {
        self.first.has(name) && self.may_change(name)
    }

    fn may_change(&self, name: &[u8]) -> bool {
        self.dropped.iter().any(|glob| glob.matches(name)) || self.renamed.iter().any(|(from, _)| from.matches(name))
    }

    /// Its name from now on; `None`: it is dropped.
    fn becomes<'r>(&'r self, name: Cow<'r, [u8]>) -> Option<Cow<'r, [u8]>> {
        if !self.first.has(&name) {
            return Some(name);
        }
        if self.dropped.iter().any(|pattern| pattern.matches(&name)) {
            return None;
        }
        let Some((from, to)) = self.renamed.iter().find(|(from, _)| from.matches(&name)) else { return Some(name) };
        Some(match to.pieces() {
            [before, behind] => Cow::Owned([before, from.inner(&name).unwrap_or_default(), behind].concat()),
            pieces => Cow::Borrowed(pieces.first().map_or(&[], Vec::as_slice)),
        })
    }

    fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.renamed.is_empty()
    }
}

impl Rules {
    /// Leaves out what has such a name ([`Glob`]).
    ///
    /// # Errors
    /// The pattern is empty.
    pub fn drop(&mut self, part: Part, pattern: &str) -> Result<(), BadRule> {
        let glob = filled(pattern)?;
        let names = self.names(part);
        names.first.add(glob.first_byte());
        names.dropped.push(glob);
        Ok(())
    }

    /// Leaves out all measurements but those that were named so, as far as they are not dropped.
    ///
    /// # Errors
    /// The pattern is empty.
    pub fn keep(&mut self, pattern: &str) -> Result<(), BadRule> {
        self.kept.push(filled(pattern)?);
        Ok(())
    }

    /// Makes floats of the integers in such fields: by the measurement, a dot and the field, all as they came.
    ///
    /// # Errors
    /// The pattern is empty.
    pub fn int_to_float(&mut self, pattern: &str) -> Result<(), BadRule> {
        self.floats.push(filled(pattern)?);
        Ok(())
    }

    /// What becomes of a measurement; `None`: it is left out.
    #[must_use]
    pub fn measurement<'r>(&'r self, name: &'r [u8]) -> Option<Cow<'r, [u8]>> {
        let is_kept = self.kept.is_empty() || self.kept.iter().any(|glob| glob.matches(name));
        if is_kept { self.measurements.becomes(Cow::Borrowed(name)) } else { None }
    }

    /// Whether some of its lines may be under another measurement than before, or under one with others.
    #[must_use]
    pub fn renames_measurements(&self) -> bool {
        !self.measurements.renamed.is_empty()
    }

    /// Whether some measurements are left out.
    #[must_use]
    pub fn leaves_out_measurements(&self) -> bool {
        !self.kept.is_empty() || !self.measurements.dropped.is_empty()
    }

    /// Whether lines are all left, with the series that they had.
    #[must_use]
    pub fn is_about_fields_alone(&self) -> bool {
        self.kept.is_empty() && self.measurements.is_empty() && self.tags.is_empty()
    }

    /// Whether no other measurement than this one, which is left, can come to stand under its new name.
    #[must_use]
    pub fn stands_alone(&self, name: &[u8]) -> bool {
        let Some(new) = self.measurement(name) else { return false };
        let is_renamed = *new != *name;
        let others = self.measurements.renamed.iter().filter(|(from, to)| to.matches(&new) && !from.matches(name));
        others.count() == 0
            && !(is_renamed && self.measurement(&new).is_some_and(|same| same == new))
            && (is_renamed || !self.measurements.renamed.iter().any(|(_, to)| to.matches(&new)))
    }

    /// Whether a tag keeps its name and its series apart from others.
    #[must_use]
    pub fn leaves_tag(&self, key: &[u8]) -> bool {
        !self.tags.may_change(key) && !self.tags.renamed.iter().any(|(_, to)| to.matches(key))
    }

    /// Whether lines that are left are all as they came.
    #[must_use]
    pub fn only_filters(&self) -> bool {
        self.measurements.renamed.is_empty() && self.tags.is_empty() && self.fields.is_empty() && self.floats.is_empty()
    }

    /// Gives what has such a name another one. Where both have a star, what it stood for in the old name stands in the new one.
    ///
    /// # Errors
    /// Names that cannot be meant.
    pub fn rename(&mut self, part: Part, from: &str, to: &str) -> Result<(), BadRule> {
        if from.is_empty() || to.is_empty() {
            return Err(BadRule::Empty);
        }
        let (from, to) = (Pattern::new(from), Pattern::new(to));
        if from.stars() != to.stars() || from.stars() > 1 {
            return Err(BadRule::Stars);
        }
        let odd = |byte: &u8| matches!(byte, b'\\' | b'"' | 0..=b'\x1f' | b'\x7f');
        if matches!(to.first_byte(), Some(b' ' | b'#')) || to.pieces().iter().flatten().any(odd) {
            return Err(BadRule::NewName);
        }
        let names = self.names(part);
        names.first.add(from.first_byte());
        names.renamed.push((from, to));
        Ok(())
    }

    fn names(&mut self, part: Part) -> &mut Names {
        match part {
            Part::Measurement => &mut self.measurements,
            Part::Tag => &mut self.tags,
            Part::Field => &mut self.fields,
        }
    }

    /// The body as the rules want it; comments and blank lines stay.
    #[must_use]
    pub fn apply<'a>(
        &self,
        body: &'a [u8],
        dialect: Dialect,
        precision: Precision,
        mut left_out: impl FnMut(Range<usize>, LeftOut),
    ) -> Cow<'a, [u8]> {
        let mut patch = Patch::new(body);
        let mut reader = Reader::new(body, dialect, precision);
        let mut parts = Parts::default();
        let mut text = Vec::new();
        while let Some(outcome) = reader.next(&mut parts) {
            let (span, became) = match outcome {
                Err(refused) => (refused.span, Err(LeftOut::Malformed(refused.reason))),
                Ok(frame) if !self.touch(&frame, &parts) => continue,
                Ok(frame) => {
                    text.clear();
                    let written = Changed::new(self, &frame, &parts)
                        .and_then(|line| line.write(&frame, body, (dialect, precision), &mut text));
                    (frame.start..frame.end, written)
                }
            };
            match became {
                Ok(()) => patch.replace(span).extend_from_slice(&text),
                Err(why) => {
                    patch.leave_out(span.clone());
                    left_out(span, why);
                }
            }
        }
        patch.finish()
    }

    /// Whether the line becomes another one.
    #[inline]
    fn touch(&self, frame: &Frame<'_>, parts: &Parts<'_>) -> bool {
        let tags = || parts.tags.iter().any(|tag| self.tags.touch(&tag_key(frame, tag)));
        let fields = || parts.fields.iter().any(|field| self.fields.touch(&field_key(frame, field)));
        let measurement = measurement(frame);
        self.measurements.touch(&measurement)
            || !self.kept.is_empty() && !self.kept.iter().any(|glob| glob.matches(&measurement))
            || !self.floats.is_empty() && parts.fields.iter().any(|field| self.makes_float(&measurement, frame, field))
            || !self.tags.is_empty() && tags()
            || !self.fields.is_empty() && fields()
    }
}

impl Rules {
    /// Whether it is an integer that becomes a float.
    fn makes_float(&self, measurement: &[u8], frame: &Frame<'_>, field: &Field<'_>) -> bool {
        if self.floats.is_empty() || !matches!(field.kind, FieldKind::Integer | FieldKind::Unsigned) {
            return false;
        }
        let name: SmallVec<[u8; 128]> =
            measurement.iter().chain(b".").chain(&*field_key(frame, field)).copied().collect();
        self.floats.iter().any(|glob| glob.matches(&name))
    }
}

fn filled(pattern: &str) -> Result<Glob, BadRule> {
    if pattern.is_empty() { Err(BadRule::Empty) } else { Ok(Glob::new(pattern)) }
}

// Nothing in a plain line is escaped.

fn measurement<'a>(frame: &Frame<'a>) -> Cow<'a, [u8]> {
    if frame.plain { Cow::Borrowed(frame.measurement) } else { escape::unescape_name(frame.measurement) }
}

fn tag_key<'a>(frame: &Frame<'a>, tag: &Tag<'a>) -> Cow<'a, [u8]> {
    if frame.plain { Cow::Borrowed(tag.key) } else { tag.key() }
}

fn field_key<'a>(frame: &Frame<'a>, field: &Field<'a>) -> Cow<'a, [u8]> {
    if frame.plain { Cow::Borrowed(field.key) } else { field.key() }
}

/// A touched line with its new names.
struct Changed<'r> {
    measurement: Cow<'r, [u8]>,
    tags: SmallVec<[(Cow<'r, [u8]>, Tag<'r>); 16]>,
    fields: SmallVec<[(Cow<'r, [u8]>, Field<'r>); 16]>,
}

impl<'r> Changed<'r> {
    fn new(rules: &'r Rules, frame: &Frame<'r>, parts: &Parts<'r>) -> Result<Self, LeftOut> {
        let before = measurement(frame);
        if !rules.kept.is_empty() && !rules.kept.iter().any(|glob| glob.matches(&before)) {
            return Err(LeftOut::Dropped);
        }
        let typed = |field: &Field<'r>| {
            if rules.makes_float(&before, frame, field) { reshape::as_float(*field) } else { *field }
        };
        let tags = parts.tags.iter().filter_map(|tag| Some((rules.tags.becomes(tag_key(frame, tag))?, *tag)));
        let fields = parts
            .fields
            .iter()
            .filter_map(|field| Some((rules.fields.becomes(field_key(frame, field))?, typed(field))));
        let (tags, fields) = (tags.collect(), fields.collect());
        let measurement = rules.measurements.becomes(before).ok_or(LeftOut::Dropped)?;
        let changed = Self { measurement, tags, fields };
        if changed.fields.is_empty() {
            return Err(LeftOut::NoFields);
        }
        if changed.has_one_name_twice() { Err(LeftOut::SameName) } else { Ok(changed) }
    }

    fn has_one_name_twice(&self) -> bool {
        let mut tags: SmallVec<[&[u8]; 16]> = self.tags.iter().map(|(key, _)| &**key).collect();
        tags.sort_unstable();
        // A field may come twice by itself: then storage keeps the last.
        let mut fields: SmallVec<[(&[u8], &[u8]); 16]> =
            self.fields.iter().map(|(key, field)| (&**key, field.key)).collect();
        fields.sort_unstable();
        tags.windows(2).any(|pair| pair[0] == pair[1])
            || fields.windows(2).any(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1)
    }

    fn write(
        &self,
        frame: &Frame<'_>,
        body: &[u8],
        (dialect, precision): (Dialect, Precision),
        out: &mut Vec<u8>,
    ) -> Result<(), LeftOut> {
        if frame.plain && frame.end - frame.start < MAX_KEY_BYTES / 2 && self.is_plain(dialect) {
            self.write_plain(&body[frame.fields_end..frame.end], out);
            return Ok(());
        }
        self.write_canonical(frame.time_ns.map(|at_ns| at_ns / precision.unit_ns()), out);
        // What follows may be left out later.
        for behind in [&b""[..], b"\n", b"\nnext v=1\n"] {
            self.check(frame, &[out, behind].concat(), out.len(), (dialect, precision))?;
        }
        Ok(())
    }

    /// Whether its names mean the same wherever they stand.
    fn is_plain(&self, dialect: Dialect) -> bool {
        let ordinary = |name: &[u8]| {
            name.len() <= NEW_NAME_BYTES
                && !matches!(name.first(), None | Some(b'#'))
                && !name.iter().any(|byte| matches!(byte, b',' | b' ' | b'=' | b'"' | b'\\' | 0..=b'\x1f'))
        };
        ordinary(&self.measurement)
            && self.tags.iter().all(|(key, _)| ordinary(key) && careful::reserved(key, dialect).is_none())
            && self.fields.iter().all(|(key, _)| ordinary(key))
    }

    /// `tail`: all that stands behind the fields.
    fn write_plain(&self, tail: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.measurement);
        for (key, tag) in &self.tags {
            write_pair(b',', key, tag.value, out);
        }
        let mut separator = b' ';
        for (key, field) in &self.fields {
            write_pair(separator, key, field.value, out);
            separator = b',';
        }
        out.extend_from_slice(tail);
    }

    fn write_canonical(&self, units: Option<i64>, out: &mut Vec<u8>) {
        escape::write_measurement(&self.measurement, out);
        self.tags.iter().for_each(|(key, tag)| write_tag(key, tag, out));
        write_fields(self.fields.iter().map(|(key, field)| (&**key, field)), out);
        if let Some(units) = units {
            write_time(units, out);
        }
    }

    /// Whether the first line of `text`, of so many bytes, says what it should.
    fn check(
        &self,
        frame: &Frame<'_>,
        text: &[u8],
        length: usize,
        (dialect, precision): (Dialect, Precision),
    ) -> Result<(), LeftOut> {
        let line = match lines(text, dialect, precision).next() {
            Some(Ok(line)) => line,
            Some(Err(refused)) => return Err(LeftOut::Malformed(refused.reason)),
            None => return Err(LeftOut::Unwritable),
        };
        let same_tags = line.tags().len() == self.tags.len()
            && line.tags().iter().zip(&self.tags).all(|(a, (key, b))| a.key() == *key && a.value() == b.value());
        let same_fields = line.fields().len() == self.fields.len()
            && line.fields().iter().zip(&self.fields).all(|(a, (key, b))| a.key() == *key && a.same_value(b));
        let same = line.span() == (0..length)
            && line.timestamp_ns() == frame.time_ns
            && line.measurement() == self.measurement
            && same_tags
            && same_fields;
        if same { Ok(()) } else { Err(LeftOut::Unwritable) }
    }
}

fn write_pair(separator: u8, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.push(separator);
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests;
