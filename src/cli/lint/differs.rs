//! What another server would store of a line that this one stores.
//!
//! Promise: nothing is said exactly when both would hold the same measurement, tags, fields with types and values, and time of it.

use std::fmt;
use std::ops::Range;

use crate::line::Value;
use crate::line::record::{Datum, Outcome, Point, Record, Text};

/// Finds what the destination makes of the lines that the source reads, in order.
#[derive(Debug)]
pub(super) struct Partner<'a> {
    body: &'a [u8],
    records: &'a [Record<'a>],
    /// The first one that does not end before the lines to come.
    first: usize,
}

impl<'a> Partner<'a> {
    pub(super) fn new(body: &'a [u8], records: &'a [Record<'a>]) -> Self {
        Self { body, records, first: 0 }
    }

    /// What differs there, a short text for each difference. To be asked line by line.
    pub(super) fn differs(&mut self, here: &Record<'_>) -> Vec<String> {
        let rest = &self.records[self.first..];
        self.first += rest.iter().take_while(|record| record.span.end < here.span.start).count();
        let rest = &self.records[self.first..];
        let there = &rest[..rest.iter().take_while(|record| record.span.start <= here.span.end).count()];
        match there {
            [] => outcomes(&here.outcome, &Outcome::Skipped),
            [one] if self.same_place(&here.span, &one.span) => outcomes(&here.outcome, &one.outcome),
            _ => elsewhere(here, there),
        }
    }

    /// A carriage return before the line feed belongs to the line for some.
    fn same_place(&self, here: &Range<usize>, there: &Range<usize>) -> bool {
        let rest = self.body.get(here.end.min(there.end)..here.end.max(there.end)).unwrap_or_default();
        here.start == there.start && matches!(rest, b"" | b"\r" | b"\n" | b"\r\n")
    }
}

fn elsewhere(here: &Record<'_>, there: &[Record<'_>]) -> Vec<String> {
    let stores = |record: &Record<'_>| matches!(record.outcome, Outcome::Point(_));
    let stored = there.iter().filter(|record| stores(record)).count();
    let silent = |record: &Record<'_>| matches!(record.outcome, Outcome::Skipped);
    if !stores(here) && stored == 0 && (there.iter().all(silent) || !silent(here)) {
        return Vec::new();
    }
    vec![match there {
        [one] if one.span.start < here.span.start || one.span.end > here.span.end => {
            let end = if stored > 0 { "accepted" } else { "not accepted" };
            format!("lines end elsewhere there: this one is part of a longer one that is {end}")
        }
        _ => format!("lines end elsewhere there: this one is {} lines, {stored} of them accepted", there.len()),
    }]
}

fn outcomes(here: &Outcome<'_>, there: &Outcome<'_>) -> Vec<String> {
    match (here, there) {
        (Outcome::Point(here), Outcome::Point(there)) => points(here, there),
        (Outcome::Point(_) | Outcome::Skipped, Outcome::Fault(fault)) => {
            vec![format!("refused there: {}", fault.reason)]
        }
        (Outcome::Point(_), Outcome::Skipped) => vec!["skipped there".to_owned()],
        (_, Outcome::Point(_)) => vec!["accepted there".to_owned()],
        (_, Outcome::Skipped) | (Outcome::Fault(_), Outcome::Fault(_)) => Vec::new(),
    }
}

fn points(here: &Point<'_>, there: &Point<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if here.measurement != there.measurement {
        let (here, there) = (Name(&here.measurement), Name(&there.measurement));
        found.push(format!("measurement: {there} there, {here} here"));
    }
    pairs("tag", &here.tags, &there.tags, |value| Name(value).to_string(), |a, b| a == b, &mut found);
    pairs("field", &here.fields, &there.fields, |value| Shown(value).to_string(), same, &mut found);
    if here.time_ns != there.time_ns {
        let show = |time: Option<i64>| time.map_or("none".to_owned(), |ns| ns.to_string());
        found.push(format!("time: {} there, {} here", show(there.time_ns), show(here.time_ns)));
    }
    found
}

/// Compares what is stored by name; of one that comes more than once the last stays.
fn pairs<V>(
    what: &str,
    here: &[(Text<'_>, V)],
    there: &[(Text<'_>, V)],
    show: impl Fn(&V) -> String,
    same: impl Fn(&V, &V) -> bool,
    found: &mut Vec<String>,
) {
    // Most lines are read alike.
    let alike = |(a, b): (&(Text<'_>, V), &(Text<'_>, V))| a.0 == b.0 && same(&a.1, &b.1);
    if here.len() == there.len() && here.iter().zip(there).all(alike) {
        return;
    }
    let (here, there) = (by_name(here), by_name(there));
    let (mut here, mut there) = (here.into_iter().peekable(), there.into_iter().peekable());
    loop {
        let order = match (here.peek(), there.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let ours = if order.is_le() { here.next() } else { None };
        let theirs = if order.is_ge() { there.next() } else { None };
        match (ours, theirs) {
            (Some((name, a)), Some((_, b))) if !same(a, b) => {
                found.push(format!("{what} {}: {} there, {} here", Name(name), show(b), show(a)));
            }
            (Some((name, _)), None) => found.push(format!("{what} {}: not there", Name(name))),
            (None, Some((name, b))) => found.push(format!("{what} {}: {} there, not here", Name(name), show(b))),
            _ => {}
        }
    }
}

/// Sorted by name, the last of each.
fn by_name<'v, V>(pairs: &'v [(Text<'_>, V)]) -> Vec<(&'v [u8], &'v V)> {
    let mut sorted: Vec<(&[u8], &V)> = pairs.iter().rev().map(|(name, value)| (&**name, value)).collect();
    sorted.sort_by_key(|(name, _)| *name);
    sorted.dedup_by_key(|(name, _)| *name);
    sorted
}

fn same(a: &Datum<'_>, b: &Datum<'_>) -> bool {
    match (a, b) {
        (Datum::Value(Value::Float(a)), Datum::Value(Value::Float(b))) => a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    }
}

/// A name or a text in quotes, cut when it is long.
struct Name<'a>(&'a [u8]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 40;
        let text = String::from_utf8_lossy(&self.0[..self.0.len().min(4 * SHOWN)]);
        let more = if text.chars().count() > SHOWN || self.0.len() > 4 * SHOWN { "…" } else { "" };
        let shown: String = text.chars().take(SHOWN).collect();
        write!(f, "\"{}{more}\"", shown.escape_debug())
    }
}

struct Shown<'a>(&'a Datum<'a>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = match self.0 {
            Datum::Value(value) => value,
            Datum::Null => return f.write_str("null"),
            Datum::Other { kind, text } => return write!(f, "{} {}", kind.replace('_', " "), Name(text)),
        };
        match value {
            Value::Float(value) => write!(f, "float {value:?}"),
            Value::Integer(value) => write!(f, "integer {value}"),
            Value::Unsigned(value) => write!(f, "unsigned {value}"),
            Value::Bool(value) => write!(f, "boolean {value}"),
            Value::String(text) => write!(f, "string {}", Name(text)),
            Value::Undecodable(raw) => write!(f, "undecodable {}", Name(raw)),
        }
    }
}
