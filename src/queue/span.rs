//! Lines of one intent that did not share its fate.
//!
//! Promise: spans are in order and do not touch the same line twice; what is read from damaged or foreign bytes and is not
//! so is no list of spans at all.

use super::cause::Cause;
use super::outcome::EntryBytes;
use crate::base::Lsn;

/// What became of a span's lines. All other lines of the intent were kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// The primary did not keep them.
    NotApplied,
    /// Not known: must be read back.
    Doubt,
}

/// A run of lines, counted from 0 among those of the intent that parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first of them.
    pub first: u32,
    /// How many, at least 1.
    pub lines: u32,
    /// What became of them.
    pub fate: Fate,
    /// Why they are doubt.
    pub cause: Cause,
}

/// Codes stand where an outcome has its disposition, and are none of those.
const NOT_APPLIED: u8 = 16;
const DOUBT: u8 = 17;

impl Span {
    /// Behind the last line.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.first.saturating_add(self.lines)
    }

    /// Appends the entries for the record; one entry holds at most 65,535 lines.
    pub(super) fn encode(&self, lsn: Lsn, out: &mut Vec<EntryBytes>) {
        let (mut first, end) = (self.first, self.end());
        while first < end {
            let lines = u16::try_from(end - first).unwrap_or(u16::MAX);
            let mut entry = [0; 16];
            entry[..8].copy_from_slice(&lsn.0.to_le_bytes());
            entry[8..10].copy_from_slice(&lines.to_le_bytes());
            entry[10] = match self.fate {
                Fate::NotApplied => NOT_APPLIED,
                Fate::Doubt => DOUBT,
            };
            entry[11] = self.cause.code();
            entry[12..].copy_from_slice(&first.to_le_bytes());
            out.push(entry);
            first += u32::from(lines);
        }
    }

    /// Reads one entry; `None` when it is not a span.
    pub(super) fn decode(entry: &EntryBytes) -> Option<(Lsn, Self)> {
        let [l0, l1, l2, l3, l4, l5, l6, l7, n0, n1, fate, cause, f0, f1, f2, f3] = *entry;
        let fate = match fate {
            NOT_APPLIED => Fate::NotApplied,
            DOUBT => Fate::Doubt,
            _ => return None,
        };
        let (first, lines) = (u32::from_le_bytes([f0, f1, f2, f3]), u32::from(u16::from_le_bytes([n0, n1])));
        let lsn = Lsn(u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]));
        Some((lsn, Self { first, lines, fate, cause: Cause::of_code(cause) }))
    }
}

/// The spans of one intent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Box<[Span]>);

impl Spans {
    /// `None` when they are not in order, touch a line twice, or there are none. Neighbours of one fate become one span.
    #[must_use]
    pub fn new(spans: Vec<Span>) -> Option<Self> {
        let mut joined: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans {
            match joined.last_mut() {
                _ if span.lines == 0 => return None,
                Some(last) if span.first < last.end() => return None,
                Some(last) if span.first == last.end() && (span.fate, span.cause) == (last.fate, last.cause) => {
                    last.lines += span.lines;
                }
                _ => joined.push(span),
            }
        }
        (!joined.is_empty()).then(|| Self(joined.into_boxed_slice()))
    }

    /// Whether the intent's lines share one fate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = Span> {
        self.0.iter().copied()
    }

    /// Lines of this fate.
    #[must_use]
    pub fn lines(&self, fate: Fate) -> u64 {
        self.iter().filter(|span| span.fate == fate).map(|span| u64::from(span.lines)).sum()
    }

    /// Asks for line after line.
    pub fn walk(&self) -> Walk<'_> {
        Walk { rest: &self.0 }
    }
}

/// Goes through the spans as line numbers grow.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    rest: &'a [Span],
}

impl Walk<'_> {
    /// The span of this line, if it is in one. Lines must be asked in growing order.
    pub fn at(&mut self, line: u32) -> Option<Span> {
        while let [first, rest @ ..] = self.rest {
            if line < first.end() {
                return (line >= first.first).then_some(*first);
            }
            self.rest = rest;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: u32, lines: u32, fate: Fate) -> Span {
        Span { first, lines, fate, cause: Cause::None }
    }

    #[test]
    fn spans_out_of_order_are_none_and_neighbours_are_joined() {
        let list = |spans: &[Span]| Spans::new(spans.to_vec());
        assert_eq!(list(&[]), None);
        assert_eq!(list(&[span(3, 0, Fate::Doubt)]), None);
        assert_eq!(list(&[span(3, 2, Fate::Doubt), span(4, 1, Fate::Doubt)]), None);
        let joined = list(&[span(3, 2, Fate::Doubt), span(5, 1, Fate::Doubt), span(6, 1, Fate::NotApplied)]).unwrap();
        assert_eq!(joined.iter().collect::<Vec<_>>(), [span(3, 3, Fate::Doubt), span(6, 1, Fate::NotApplied)]);
        assert_eq!((joined.lines(Fate::Doubt), joined.lines(Fate::NotApplied)), (3, 1));
        let mut walk = joined.walk();
        let fates: Vec<Option<Fate>> = (0..9).map(|line| walk.at(line).map(|span| span.fate)).collect();
        let (d, n) = (Some(Fate::Doubt), Some(Fate::NotApplied));
        assert_eq!(fates, [None, None, None, d, d, d, n, None, None]);
    }
}
