//! Lines of a record as the rule of their route wants them, before any lane is asked.
//!
//! Promise: which lines go to lanes, and to which, depends on the record and the rules alone: whoever counts them again finds the
//! same. A line's lane is that of its series at the destination; rules that change that are known by [`fingerprint`] beside the floors.

use xxhash_rust::xxh3::xxh3_64;

use super::distribute::applied_lines;
use super::target::Targets;
use crate::config::{Mapping, Rule};
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

/// Stands for all rules, and what else is said of them. It is kept from version to version.
pub(super) fn digest(mapping: &Mapping, more: &str) -> u64 {
    xxh3_64(format!("{}{more}", written(mapping)).as_bytes())
}

/// The rules as digests have them. What rules have got since the first of them stands here only where one makes use of it: other text for
/// the same rules would be other rules, by which all is read again and no drop can be confirmed any more.
fn written(mapping: &Mapping) -> String {
    let rules = mapping.rules.iter().map(|Rule { from, to, only, shape }| {
        let only = if only.is_empty() { String::new() } else { format!("only: {only:?}, ") };
        format!("Rule {{ from: {from:?}, to: {to:?}, {only}shape: {shape:?} }}")
    });
    let nothing = if mapping.takes_nothing() { " nothing" } else { "" };
    format!("[{}]{nothing}", rules.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::DestinationId;
    use crate::config::{Match, Naming, Pattern, Shape, Target, Unmapped};

    /// By the text of 0.1 before rules were for some destinations alone.
    #[test]
    fn the_same_rules_have_the_digest_of_former_versions() {
        let (name, shape) = (Naming::new("b").unwrap(), Shape { drop_tags: vec!["t".to_owned()], ..Shape::default() });
        let (from, to) = (
            Pattern::Database { db: Match::Is("a".to_owned()), rp: Match::Any },
            Target::Database { db: Some(name), rp: None },
        );
        let rule = Rule { from, to, only: Vec::new(), shape };
        let mut mapping = Mapping { unmapped: Unmapped::SourceOnly, rules: vec![rule.clone(), rule] };
        let one = r#"Rule { from: Database { db: Is("a"), rp: Any }, to: Database { db: Some(Naming { pieces: [Text("b")], text: "b" }), rp: None }, shape: Shape { include: [], exclude: [], drop_tags: ["t"], drop_fields: [], rename_measurement: [], rename_tag: [], rename_field: [], int_to_float: [] } }"#;
        let former = xxh3_64(format!("[{one}, {one}] more").as_bytes());
        assert_eq!(digest(&mapping, " more"), former);
        mapping.rules[0].only.push(DestinationId::parse("main").unwrap());
        assert_ne!(digest(&mapping, " more"), former);
        let none = |unmapped| digest(&Mapping { unmapped, rules: Vec::new() }, "");
        assert_eq!(none(Unmapped::SourceOnly), xxh3_64(b"[]"));
        assert_ne!(none(Unmapped::SourceOnly), none(Unmapped::Everything), "what went there does not any more");
    }
}
