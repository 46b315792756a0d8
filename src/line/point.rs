//! What a line holds: its measurement, tags, fields and time, as slices of the body that it was read from.

use std::borrow::Cow;
use std::ops::Range;

use smallvec::SmallVec;

use super::reason::Reason;
use super::{Dialect, escape, scalar};

/// One tag, still escaped. Neither key nor value is ever empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

impl<'a> Tag<'a> {
    /// The key as the servers read it.
    #[must_use]
    pub fn key(&self) -> Cow<'a, [u8]> {
        escape::unescape_tag(self.key)
    }

    /// The value as the servers read it.
    #[must_use]
    pub fn value(&self) -> Cow<'a, [u8]> {
        escape::unescape_tag(self.value)
    }

    /// The key as it stands in the line.
    #[must_use]
    pub fn raw_key(&self) -> &'a [u8] {
        self.key
    }

    /// The value as it stands in the line.
    #[must_use]
    pub fn raw_value(&self) -> &'a [u8] {
        self.value
    }
}

/// The type of a field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// `1.5`
    Float,
    /// `1i`
    Integer,
    /// `1u`
    Unsigned,
    /// `true`
    Bool,
    /// `"text"`
    String,
    /// A line that the servers' parser accepts and their storage fails on (see [`super::unstorable`]).
    Undecodable,
}

/// A decoded field value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Finite.
    Float(f64),
    /// Written with `i`.
    Integer(i64),
    /// Written with `u`.
    Unsigned(u64),
    /// One of the ten spellings.
    Bool(bool),
    /// Any bytes, unescaped.
    String(Cow<'a, [u8]>),
    /// The raw text where the servers' storage finds no value.
    Undecodable(&'a [u8]),
}

/// One field, still escaped. The key may be empty (such a line is not storable).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) kind: FieldKind,
}

impl<'a> Field<'a> {
    /// A field with an ordinary number (see `numbers`).
    #[inline(always)]
    pub(super) fn of_number(key: &'a [u8], value: &'a [u8]) -> Self {
        let kind = if value.ends_with(b"i") { FieldKind::Integer } else { FieldKind::Float };
        Self { key, value, kind }
    }

    /// The key as the servers read it.
    #[must_use]
    pub fn key(&self) -> Cow<'a, [u8]> {
        escape::unescape_name(self.key)
    }

    /// The key as it stands in the line.
    #[must_use]
    pub fn raw_key(&self) -> &'a [u8] {
        self.key
    }

    /// The value as it stands in the line, with its quotes or its `i`.
    #[must_use]
    pub fn raw_value(&self) -> &'a [u8] {
        self.value
    }

    /// The type of the value.
    #[must_use]
    pub fn kind(&self) -> FieldKind {
        self.kind
    }

    /// The value as the servers read it.
    #[must_use]
    pub fn value(&self) -> Value<'a> {
        scalar::decode(self.value, self.kind)
    }

    /// Whether both have the same value, floats to the bit.
    pub(super) fn same_value(&self, other: &Field<'_>) -> bool {
        match (self.value(), other.value()) {
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (a, b) => a == b,
        }
    }
}

/// A line that the dialect accepts. Borrows the body.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    pub(super) body: &'a [u8],
    pub(super) dialect: Dialect,
    pub(super) frame: Frame<'a>,
    pub(super) tags: SmallVec<[Tag<'a>; 16]>,
    pub(super) fields: SmallVec<[Field<'a>; 16]>,
}

/// Where the parts of an accepted line lie, without its tags and fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) fields_end: usize,
    pub(super) measurement: &'a [u8],
    pub(super) time_ns: Option<i64>,
    /// The tags are known to be in the servers' order.
    pub(super) sorted: bool,
    /// No backslash, no leading white space, nothing after the fields but a timestamp: reads one way only.
    pub(super) plain: bool,
}

impl<'a> Line<'a> {
    /// Bytes of the body that make up the line, without the line feed that ends it.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.frame.start..self.frame.end
    }

    /// The line as it stands in the body.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        &self.body[self.frame.start..self.frame.end]
    }

    /// The measurement as the servers read it.
    #[must_use]
    pub fn measurement(&self) -> Cow<'a, [u8]> {
        escape::unescape_name(self.frame.measurement)
    }

    /// The measurement as it stands in the line.
    #[must_use]
    pub fn raw_measurement(&self) -> &'a [u8] {
        self.frame.measurement
    }

    /// The tags in the order of the line; no key twice.
    #[must_use]
    pub fn tags(&self) -> &[Tag<'a>] {
        &self.tags
    }

    /// The fields in the order of the line; at least one; a key may come twice (storage keeps the last).
    #[must_use]
    pub fn fields(&self) -> &[Field<'a>] {
        &self.fields
    }

    /// The time in nanoseconds since 1970, or `None` when the line has no timestamp.
    #[must_use]
    pub fn timestamp_ns(&self) -> Option<i64> {
        self.frame.time_ns
    }

    /// Offset in the body right after the last field's value.
    #[must_use]
    pub fn fields_end(&self) -> usize {
        self.frame.fields_end
    }

    /// Visits the tags in the order in which the servers keep them.
    pub(super) fn in_order(&self, visit: impl FnMut(&Tag<'a>)) {
        if self.frame.sorted {
            return self.tags.iter().for_each(visit);
        }
        let mut tags = self.tags.clone();
        // Raw keys sort like the servers' own, and one key has one raw form: each special byte in it is escaped.
        tags.sort_unstable_by_key(|tag| tag.key);
        tags.iter().for_each(visit);
    }

    /// Whether both say the same about the same series; times aside.
    pub(super) fn same_data(&self, other: &Line<'_>) -> bool {
        let series = |line: &Line<'_>| -> Vec<(Vec<u8>, Vec<u8>)> {
            let mut tags = Vec::new();
            line.in_order(|tag| tags.push((tag.key().into_owned(), tag.value().into_owned())));
            tags
        };
        let alike = |(a, b): (&Field<'_>, &Field<'_>)| a.key() == b.key() && a.same_value(b);
        self.measurement() == other.measurement()
            && series(self) == series(other)
            && self.fields.len() == other.fields.len()
            && self.fields.iter().zip(&other.fields).all(alike)
    }
}

/// A line that the dialect refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed<'a> {
    /// Bytes of the body that make up the line, without the line feed that ends it.
    pub span: Range<usize>,
    /// The line as it stands in the body.
    pub raw: &'a [u8],
    /// The servers' reason.
    pub reason: Reason,
    /// The byte of the body at which the rule is broken: in the line, or right behind it.
    pub at: usize,
}

impl<'a> Malformed<'a> {
    /// The line as the servers quote it in `unable to parse '…'`: without leading spaces, tabs and NULs.
    #[must_use]
    pub fn quoted(&self) -> &'a [u8] {
        &self.raw[super::careful::skip_blanks(self.raw, 0)..]
    }
}

/// Receives the tags and fields of a line while it is read.
pub(super) trait Sink<'a> {
    /// Forgets what was received; a line is about to be read, perhaps for the second time.
    fn clear(&mut self);
    fn tag(&mut self, tag: Tag<'a>);
    fn field(&mut self, field: Field<'a>);
    /// A tag that is known to hold no backslash, by the places of its key and its value in the body.
    #[inline(always)]
    fn plain_tag(&mut self, body: &'a [u8], key: Range<usize>, value: Range<usize>) {
        self.tag(Tag { key: &body[key], value: &body[value] });
    }
    /// As [`Self::plain_tag`], of a line whose tag keys are those of the last line that was read by its tags one by one and not
    /// by `known_tag`; this is the one of that number.
    #[inline(always)]
    fn known_tag(&mut self, _number: usize, body: &'a [u8], key: Range<usize>, value: Range<usize>) {
        self.plain_tag(body, key, value);
    }
    /// A field with an ordinary number (see `numbers`), by the places of its key and its value in the body.
    #[inline(always)]
    fn plain_number(&mut self, body: &'a [u8], key: Range<usize>, value: Range<usize>) {
        self.field(Field::of_number(&body[key], &body[value]));
    }
}

/// Receives nothing, for those who only count.
#[derive(Debug)]
pub(super) struct Nothing;

impl Sink<'_> for Nothing {
    #[inline(always)]
    fn clear(&mut self) {}
    #[inline(always)]
    fn tag(&mut self, _: Tag<'_>) {}
    #[inline(always)]
    fn field(&mut self, _: Field<'_>) {}
    #[inline(always)]
    fn plain_tag(&mut self, _: &[u8], _: Range<usize>, _: Range<usize>) {}
    #[inline(always)]
    fn plain_number(&mut self, _: &[u8], _: Range<usize>, _: Range<usize>) {}
}

/// Keeps tags and fields for a [`Line`].
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    pub(super) tags: SmallVec<[Tag<'a>; 16]>,
    pub(super) fields: SmallVec<[Field<'a>; 16]>,
}

impl<'a> Sink<'a> for Parts<'a> {
    #[inline]
    fn clear(&mut self) {
        self.tags.clear();
        self.fields.clear();
    }
    #[inline]
    fn tag(&mut self, tag: Tag<'a>) {
        self.tags.push(tag);
    }
    #[inline]
    fn field(&mut self, field: Field<'a>) {
        self.fields.push(field);
    }
}
