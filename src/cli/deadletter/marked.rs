//! Which byte of a refused line is at fault.
//!
//! Promise: a mark is a place that the destination's dialect or its answer names; where neither does there is none.

use serde_json::{Map, Value, json};

use super::letter::{Letter, line};
use crate::cli::lint::excerpt::{excerpt, readable};
use crate::line::record::Outcome;
use crate::line::{Precision, Reading};

/// The byte of the letter's text that is at fault, where it is known.
pub(super) fn fault(letter: &Letter, reading: Option<Reading>) -> Option<usize> {
    let (text, reason) = (letter.stored.text.as_slice(), letter.stored.reason.as_str());
    if reason.contains("input field \"") {
        return named_field(text, reason);
    }
    if letter.stored.code == "expired" {
        return text.iter().rposition(|byte| *byte == b' ').map(|at| at + 1);
    }
    let readings = reading.map_or(vec![Reading::Influx1, Reading::Influx2], |reading| vec![reading]);
    readings.into_iter().find_map(|reading| broken(text, reading)).or_else(|| quoted(text, reason))
}

/// The value of the field that the answer names: `input field "v" on measurement "m" is type float, …`.
fn named_field(text: &[u8], reason: &str) -> Option<usize> {
    let (_, behind) = reason.split_once("input field \"")?;
    let (name, _) = behind.split_once("\" on measurement")?;
    let line = line(text, Precision::Nanosecond)?;
    let field = line.fields().iter().find(|field| field.key().as_ref() == name.as_bytes())?;
    place(text, field.raw_value())
}

/// Where a piece of the text stands in it.
fn place(text: &[u8], piece: &[u8]) -> Option<usize> {
    let at = piece.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    (at <= text.len()).then_some(at)
}

/// Where this server's dialect breaks.
fn broken(text: &[u8], reading: Reading) -> Option<usize> {
    reading.records(text, Precision::Nanosecond).into_iter().find_map(|record| match record.outcome {
        Outcome::Fault(fault) => Some(fault.at),
        _ => None,
    })
}

/// What the answer repeats of the line in quotes, where that stands in it once.
fn quoted(text: &[u8], reason: &str) -> Option<usize> {
    reason.split('"').skip(1).step_by(2).find_map(|piece| {
        let finder = memchr::memmem::Finder::new(piece);
        let mut found = finder.find_iter(text);
        let at = found.next().filter(|_| !piece.is_empty())?;
        found.next().is_none().then_some(at)
    })
}

/// A line cut around its mark: what is shown of a letter in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    text: String,
    /// The byte of the whole line, and the column of what is shown.
    at: Option<(usize, usize)>,
}

impl Shown {
    pub(super) fn of(letter: &Letter, reading: Option<Reading>) -> Self {
        let at = fault(letter, reading);
        let excerpt = excerpt(&letter.stored.text, at.unwrap_or(0));
        Self { text: excerpt.text, at: at.map(|at| (at, excerpt.mark)) }
    }

    /// For people: the line and, below it, the mark; each line begins with `indent`.
    pub(super) fn lines(&self, indent: &str) -> String {
        let mark = self.at.map_or(String::new(), |(_, column)| format!("{indent}{:column$}^\n", ""));
        format!("{indent}{}\n{mark}", self.text)
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// For programs.
    pub(super) fn document(&self) -> Map<String, Value> {
        let at = self.at.map(|(at, _)| at);
        let mark = self.at.map(|(_, column)| column);
        [("excerpt", json!(self.text)), ("mark", json!(mark)), ("at", json!(at))]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

/// What the destination said, on one line.
pub(super) fn said(letter: &Letter) -> String {
    readable(&letter.stored.reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Lsn;
    use crate::state::StoredLetter;

    fn marked(code: &str, reason: &str, text: &[u8], reading: Option<Reading>) -> Option<String> {
        let (route, code, reason, text) = (String::new(), code.to_owned(), reason.to_owned(), text.to_vec());
        let letter = Letter::new(StoredLetter { id: (Lsn(1), 0), route, code, reason, text }, Precision::Nanosecond);
        fault(&letter, reading).map(|at| String::from_utf8_lossy(&letter.stored.text[at..]).into_owned())
    }

    #[test]
    fn the_byte_is_what_the_answer_names_or_where_the_dialect_breaks() {
        let conflict = "partial write: field type conflict: input field \"v w\" on measurement \"m\" is type float, already exists as type integer dropped=1";
        let at = |code, reason, text: &[u8]| marked(code, reason, text, None);
        assert_eq!(at("type-conflict", conflict, b"m,v\\ w=x a=1,v\\ w=1.5 7").as_deref(), Some("1.5 7"));
        assert_eq!(at("expired", "beyond retention policy", b"m v=1 7").as_deref(), Some("7"));
        assert_eq!(at("parse", "unable to parse 'm v=1x 7'", b"m v=1x 7").as_deref(), Some("x 7"));
        assert_eq!(at("bad-name", "known before", b"m,a=b,_field=x v=1 7").as_deref(), Some("_field=x v=1 7"));
        assert_eq!(at("other", "no \"v\" and no \"a9\" here", b"m,a9=v v=1 7").as_deref(), Some("a9=v v=1 7"));
        assert_eq!(at("too-large", "413", b"m v=1 7"), None);
        assert_eq!(at("type-conflict", "input field \"gone\" on measurement \"m\"", b"m v=1 7"), None);
    }

    /// 1.x takes what 2.x refuses, and the other way round.
    #[test]
    fn a_known_destination_decides_whose_dialect_breaks() {
        let text = b"m,_field=x v=1u 7";
        assert_eq!(marked("x", "", text, Some(Reading::Influx1)).as_deref(), Some("u 7"));
        assert_eq!(marked("x", "", text, Some(Reading::Influx2)).as_deref(), Some("_field=x v=1u 7"));
    }
}
