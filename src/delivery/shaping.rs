//! Lines of a record as the rule of their route wants them, before any lane is asked.
//!
//! Promise: which lines go to lanes, and to which, depends on the record and the rules alone: whoever counts them again finds the
//! same. A line's lane is that of its series at the destination; rules that change that are known by [`fingerprint`] beside the floors.

use xxhash_rust::xxh3::xxh3_64;

use super::distribute::applied_lines;
use super::target::Targets;
use crate::config::Mapping;
use crate::line::project::Changes;
use crate::line::{self, LeftOut, Outline, Refused, Reshaped, Unfit};
use crate::queue::{Intent, Spans};
use crate::wal::Record;

/// The lines of a record that the primary has kept, by rule.
#[derive(Debug, Default)]
pub(super) struct Shaped(Option<Reshaped>);

impl Shaped {
    pub(super) fn of(targets: &Targets, record: &Record, intent: &Intent, spans: &Spans) -> Self {
        let Some(rules) = targets.shape_of(&intent.name) else { return Self(None) };
        let mut spans = spans.walk();
        let wanted = |line| spans.at(line).is_none();
        Self(Some(rules.reshape(&record.body, intent.dialect, intent.precision, wanted)))
    }

    /// What the places of [`Shaped::lines`] are in.
    pub(super) fn body<'a>(&'a self, record: &'a Record) -> &'a [u8] {
        self.0.as_ref().map_or(&record.body, |left| &left.body)
    }

    /// Lines that the rule leaves out.
    pub(super) fn excluded(&self) -> u64 {
        self.0.as_ref().map_or(0, |left| left.excluded)
    }

    pub(super) fn changes(&self) -> Changes {
        self.0.as_ref().map_or_else(Changes::default, |left| left.changes)
    }

    /// Lines that cannot go as the rule wants them.
    pub(super) fn refused(&self) -> &[Refused] {
        self.0.as_ref().map_or(&[], |left| &left.refused)
    }

    /// Visits the lines that go, each with its number in the record.
    #[inline(always)]
    pub(super) fn lines<'a>(
        &'a self,
        record: &'a Record,
        intent: &Intent,
        spans: &Spans,
        mut visit: impl FnMut(u32, Outline<'a>),
    ) {
        let Some(left) = &self.0 else { return applied_lines(record, intent, spans, visit) };
        let mut numbers = left.numbers.iter();
        line::outline(&left.body, intent.dialect, intent.precision, |found| {
            if let (Some(number), Ok(found)) = (numbers.next(), found) {
                visit(*number, found);
            }
        });
    }

    /// Visits series and time of all lines that some lane counts.
    pub(super) fn counted(&self, record: &Record, intent: &Intent, spans: &Spans, mut visit: impl FnMut(u64, i64)) {
        self.lines(record, intent, spans, |_, found| visit(found.series, found.time_ns.unwrap_or(intent.max_ns)));
        for refused in self.refused() {
            visit(refused.series, refused.time_ns.unwrap_or(intent.max_ns));
        }
    }
}

/// Why a line is put aside that cannot go as its rule wants it, and the line as it came.
pub(super) fn put_aside(refused: &Refused, record: &Record, intent: &Intent) -> (Unfit, Vec<u8>) {
    let (code, why) = match refused.why {
        LeftOut::SameName => ("same-name", "two of its names become the same by a rule of mapping"),
        _ => ("bad-name", "with its new names by a rule of mapping no form of it reads as the same data"),
    };
    let raw = &record.body[refused.span.clone()];
    let mut text = Vec::with_capacity(raw.len() + 32);
    match line::lines(raw, intent.dialect, intent.precision).next() {
        Some(Ok(line)) => line::write_canonical(&line, refused.time_ns.unwrap_or(intent.max_ns), &mut text),
        _ => text.extend_from_slice(raw),
    }
    (Unfit { code, why, in_part: false }, text)
}

/// Stands for all rules that can send a line to another lane; 0 without any. Seven bytes.
pub(super) fn fingerprint(mapping: &Mapping) -> u64 {
    if mapping.rules.iter().all(|rule| rule.shape.is_empty()) {
        return 0;
    }
    (digest(mapping, "") >> 8).max(1)
}

/// Stands for all rules, and what else is said of them.
pub(super) fn digest(mapping: &Mapping, more: &str) -> u64 {
    xxh3_64(format!("{:?}{more}", mapping.rules).as_bytes())
}
