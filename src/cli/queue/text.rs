//! Words that the queue's commands share.

use crate::base::clock::rfc3339;
use crate::queue::{Disposition, Outcome};
use crate::wal::Kind;
use crate::wal::look::Row;

/// A moment, to the millisecond; open ends have words.
pub(in crate::cli) fn time(ns: i64) -> String {
    match ns {
        i64::MIN => "any time".to_owned(),
        i64::MAX => "now".to_owned(),
        ns => rfc3339(ns - ns.rem_euclid(1_000_000)),
    }
}

/// The same for machines: nothing where it is open.
pub(in crate::cli) fn time_or_null(ns: i64) -> Option<String> {
    (ns != i64::MIN && ns != i64::MAX).then(|| rfc3339(ns))
}

/// `1 line`, `2 lines`.
pub(in crate::cli) fn plural(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// What a record is.
pub(in crate::cli) fn kind(row: &Row) -> String {
    match row.kind() {
        Some(Kind::Intent) => "intent".to_owned(),
        Some(Kind::Outcomes) => "outcomes".to_owned(),
        Some(Kind::Mark) => "mark".to_owned(),
        Some(Kind::Gap) => "gap".to_owned(),
        Some(Kind::Statement) => "statement".to_owned(),
        None => format!("kind {}", row.code),
    }
}

/// What became of an intent.
pub(in crate::cli) fn outcome(outcome: &Outcome) -> String {
    let word = match outcome.disposition {
        Disposition::Applied => "applied",
        Disposition::NotApplied => "not applied",
        Disposition::Doubt => return format!("doubt ({})", outcome.cause.name()),
        Disposition::Gapped => "in a gap",
        Disposition::Partial => "partial",
    };
    if outcome.status == 0 { word.to_owned() } else { format!("{word}, {}", outcome.status) }
}

/// Clients' bytes must not steer a terminal.
pub(in crate::cli) fn printable(c: char) -> char {
    if c.is_control() { '\u{fffd}' } else { c }
}
