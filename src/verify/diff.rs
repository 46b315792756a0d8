//! What differs between two sets of cells, one finding for each, with its class.
//!
//! Promise: a cell that both hold alike is in no finding; every other one is in exactly one. Classes are those of `migration.md` §8.6.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use crate::cell::{Cell, Series, Value};

/// Of a cell that is missing and one that is too many, both of one series, field and value, so far apart they are called one cell whose
/// time has changed, ns. Beyond that they are two.
pub const SHIFT_MAX_NS: i64 = 1_000_000_000;

/// In which way the sides differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The destination lacks it.
    Missing,
    /// Only the destination has it.
    Extra,
    /// Another value of the same type.
    Value,
    /// Another type.
    Type,
    /// The same value at another time, at most [`SHIFT_MAX_NS`] away.
    Timestamp,
    /// The same measurement, field, time and value in a series of other tags.
    TagSet,
    /// The destination has it more than once.
    Duplicate,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Missing, Self::Extra, Self::Value, Self::Type, Self::Timestamp, Self::TagSet, Self::Duplicate];

    /// Short and stable.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Value => "value",
            Self::Type => "type",
            Self::Timestamp => "timestamp",
            Self::TagSet => "tag-set",
            Self::Duplicate => "duplicate",
        }
    }
}

/// One difference. At least one side has a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In which way.
    pub class: Class,
    /// What the source holds, as the destination would.
    pub source: Option<Cell>,
    /// What the destination holds.
    pub destination: Option<Cell>,
}

/// Compares two sets of cells, in any order; both are sorted in place. Classes need what is near: [`classify`] the findings of all
/// windows of a measurement together.
#[must_use]
pub fn merge(mut source: Vec<Cell>, mut destination: Vec<Cell>) -> Vec<Finding> {
    for side in [&mut source, &mut destination] {
        side.sort_unstable_by(|a, b| by_place(a, b).then_with(|| by_value(&a.value, &b.value)));
    }
    let (mut left, mut right) = (&source[..], &destination[..]);
    let mut found = Vec::new();
    while let Some(place) = match (left.first(), right.first()) {
        (Some(l), Some(r)) => Some(if by_place(l, r).is_le() { l } else { r }),
        (l, r) => l.or(r),
    } {
        let end = |side: &[Cell]| side.iter().take_while(|cell| by_place(cell, place).is_eq()).count();
        let (here, there) = (end(left), end(right));
        at_one_place(&left[..here], &right[..there], &mut found);
        (left, right) = (&left[here..], &right[there..]);
    }
    found
}

/// Of equal cells nothing is said, those first: `1, 2` against `2` is one that is missing.
fn at_one_place(left: &[Cell], right: &[Cell], found: &mut Vec<Finding>) {
    if let ([l], [r]) = (left, right)
        && l.value == r.value
    {
        return;
    }
    let (mut a, mut b) = (left.iter().peekable(), right.iter().peekable());
    let (mut here, mut there) = (Vec::new(), Vec::new());
    loop {
        let order = match (a.peek(), b.peek()) {
            (Some(l), Some(r)) => by_value(&l.value, &r.value),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => break,
        };
        match order {
            Ordering::Less => here.extend(a.next()),
            Ordering::Greater => there.extend(b.next()),
            Ordering::Equal => _ = (a.next(), b.next()),
        }
    }
    for at in 0..here.len().max(there.len()) {
        let (source, destination) = (here.get(at).copied(), there.get(at).copied());
        let class = match (source, destination) {
            (Some(l), Some(r)) if l.value.field_type() == r.value.field_type() => Class::Value,
            (Some(_), Some(_)) => Class::Type,
            (Some(_), None) => Class::Missing,
            (None, _) if left.is_empty() => Class::Extra,
            (None, _) => Class::Duplicate,
        };
        found.push(Finding { class, source: source.cloned(), destination: destination.cloned() });
    }
}

/// Series, or field, with time and value.
type Key<'a> = (&'a [u8], &'a [u8], i64, &'a Value);

/// Finds cells that are missing at one place and too many at another, and makes one finding of both.
#[must_use]
pub fn classify(mut findings: Vec<Finding>) -> Vec<Finding> {
    let mut taken = vec![false; findings.len()];
    let mut pairs = moved(&findings, &mut taken);
    pairs.extend(shifted(&findings, &mut taken));
    for (missing, extra, class) in pairs {
        findings[missing].destination = findings[extra].destination.take();
        findings[missing].class = class;
    }
    findings.retain(|finding| finding.source.is_some() || finding.destination.is_some());
    findings
}

/// The number of what is missing, of what is too many, and what that is.
type Pair = (usize, usize, Class);

fn moved(findings: &[Finding], taken: &mut [bool]) -> Vec<Pair> {
    fn key(cell: &Cell) -> Key<'_> {
        (cell.series.measurement(), &cell.field, cell.time_ns, &cell.value)
    }
    let mut missing: HashMap<Key<'_>, Vec<usize>> = HashMap::new();
    for (at, finding) in findings.iter().enumerate() {
        if let (Class::Missing, Some(cell)) = (finding.class, &finding.source) {
            missing.entry(key(cell)).or_default().push(at);
        }
    }
    let mut pairs = Vec::new();
    for (at, finding) in findings.iter().enumerate() {
        if let (Class::Extra, Some(cell)) = (finding.class, &finding.destination)
            && let Some(from) = missing.get_mut(&key(cell)).and_then(Vec::pop)
        {
            (taken[at], taken[from]) = (true, true);
            pairs.push((from, at, Class::TagSet));
        }
    }
    pairs
}

fn shifted(findings: &[Finding], taken: &mut [bool]) -> Vec<Pair> {
    type Column<'a> = (&'a Arc<Series>, &'a [u8], &'a Value);
    let mut columns: HashMap<Column<'_>, [Vec<(i64, usize)>; 2]> = HashMap::new();
    for (at, finding) in findings.iter().enumerate().filter(|(at, _)| !taken[*at]) {
        let (side, cell) = match (finding.class, &finding.source, &finding.destination) {
            (Class::Missing, Some(cell), _) => (0, cell),
            (Class::Extra, _, Some(cell)) => (1, cell),
            _ => continue,
        };
        columns.entry((&cell.series, &cell.field, &cell.value)).or_default()[side].push((cell.time_ns, at));
    }
    let mut pairs = Vec::new();
    for [mut missing, mut extra] in columns.into_values() {
        missing.sort_unstable();
        extra.sort_unstable();
        let mut from = 0;
        for (time_ns, at) in missing {
            // What is too early for this one is too early for all that follow.
            while extra.get(from).is_some_and(|(there, _)| there.saturating_add(SHIFT_MAX_NS) < time_ns) {
                from += 1;
            }
            if let Some((there, of)) = extra.get(from)
                && *there <= time_ns.saturating_add(SHIFT_MAX_NS)
            {
                pairs.push((at, *of, Class::Timestamp));
                (taken[at], taken[*of]) = (true, true);
                from += 1;
            }
        }
    }
    pairs
}

fn by_place(a: &Cell, b: &Cell) -> Ordering {
    let series = if Arc::ptr_eq(&a.series, &b.series) { Ordering::Equal } else { a.series.cmp(&b.series) };
    series.then_with(|| a.field.cmp(&b.field)).then_with(|| a.time_ns.cmp(&b.time_ns))
}

fn by_value(a: &Value, b: &Value) -> Ordering {
    let of = |value: &Value| match value {
        Value::Float(v) => (0u8, v.to_bits()),
        Value::Integer(v) => (1, v.cast_unsigned()),
        Value::Unsigned(v) => (2, *v),
        Value::Boolean(v) => (3, u64::from(*v)),
        Value::String(_) => (4, 0),
    };
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        _ => of(a).cmp(&of(b)),
    }
}

/// In the order of series, field and time, of the source's cell where there is one.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| match (cell_of(a), cell_of(b)) {
        (Some(a), Some(b)) => by_place(a, b).then_with(|| by_value(&a.value, &b.value)),
        (a, b) => a.is_some().cmp(&b.is_some()),
    });
}

fn cell_of(finding: &Finding) -> Option<&Cell> {
    finding.source.as_ref().or(finding.destination.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(tag: &str, time_ns: i64, value: Value) -> Cell {
        let series = Arc::new(Series::new(b"m".to_vec(), vec![(b"t".to_vec(), tag.as_bytes().to_vec())]));
        Cell { series, field: b"f"[..].into(), time_ns, value }
    }

    fn classes(left: Vec<Cell>, right: Vec<Cell>) -> Vec<Class> {
        let mut classes: Vec<Class> = classify(merge(left, right)).iter().map(|finding| finding.class).collect();
        classes.sort();
        classes
    }

    #[test]
    fn each_class_is_found_alone() {
        let one = || cell("a", 5, Value::Integer(1));
        let base = || vec![one(), cell("a", 9, Value::Float(0.0)), cell("b", 5, Value::Integer(7))];
        let with = |at: usize, new: Cell| {
            let mut cells = base();
            cells[at] = new;
            cells
        };
        assert_eq!(classes(base(), base()), []);
        assert_eq!(classes(base(), base()[1..].to_vec()), [Class::Missing]);
        assert_eq!(classes(base()[1..].to_vec(), base()), [Class::Extra]);
        assert_eq!(classes(base(), with(1, cell("a", 9, Value::Float(-0.0)))), [Class::Value]);
        assert_eq!(classes(base(), with(0, cell("a", 5, Value::Float(1.0)))), [Class::Type]);
        assert_eq!(classes(base(), with(0, cell("a", 6, Value::Integer(1)))), [Class::Timestamp]);
        assert_eq!(classes(base(), with(0, cell("c", 5, Value::Integer(1)))), [Class::TagSet]);
        assert_eq!(classes(base(), [base(), vec![one()]].concat()), [Class::Duplicate]);
        let far = cell("a", 6 + SHIFT_MAX_NS, Value::Integer(1));
        assert_eq!(classes(base(), with(0, far)), [Class::Missing, Class::Extra]);
    }

    #[test]
    fn a_cell_that_is_there_twice_counts_twice_on_either_side() {
        let one = || cell("a", 5, Value::Integer(1));
        let two = || cell("a", 5, Value::Integer(2));
        assert_eq!(classes(vec![one(), one()], vec![one()]), [Class::Missing]);
        assert_eq!(classes(vec![one()], vec![one(), two()]), [Class::Duplicate]);
        assert_eq!(classes(vec![one(), two()], vec![two(), one()]), []);
    }
}
