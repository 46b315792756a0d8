//! What a server does with a line behind its parser: each rule of the comparison is a row of `exceptions.jsonl` at least, with
//! a line, the reason, and what the real server answered and showed, which is what it must answer and show today.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use twinline::line::Precision;

use super::recorded::{bytes, cases};
use super::stored::Request;

#[derive(Debug)]
pub(crate) struct Exception {
    row: Json,
}

/// What a server did with one line.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The rule that the comparison applies to it; none where it only expects another value.
    pub(crate) rule: Option<&'static str>,
    pub(crate) status: u16,
    pub(crate) answer: String,
    pub(crate) shown: Vec<String>,
}

/// The rows of a server whose lines are not withheld; and the rules of the code that no row is evidence of.
pub(crate) fn of<'r>(server: &str, rules: impl IntoIterator<Item = &'r &'static str>) -> (Vec<Exception>, Vec<String>) {
    let rows = cases("../random/exceptions.jsonl").into_iter().map(|row| Exception { row });
    let mut rows: Vec<_> = rows.filter(|exception| exception.row["server"] == server).collect();
    let shown: BTreeSet<_> = rows.iter().filter_map(|exception| exception.row["rule"].as_str()).collect();
    let missing = rules.into_iter().filter(|rule| !shown.contains(*rule));
    let missing = missing.map(|rule| format!("the rule \"{rule}\" has no row in exceptions.jsonl")).collect();
    rows.retain(|exception| !exception.row["input"].is_null());
    (rows, missing)
}

impl Exception {
    /// Its line, with nanoseconds.
    pub(crate) fn request(&self) -> Request {
        let mut body = bytes(&self.row["input"]);
        if let Some(count) = self.row["times"].as_u64() {
            // What stands between brackets, so often.
            let open = body.iter().position(|b| *b == b'[').unwrap();
            let close = body.iter().position(|b| *b == b']').unwrap();
            let many = body[open + 1..close].repeat(usize::try_from(count).unwrap());
            body.splice(open..=close, many);
        }
        body.push(b'\n');
        Request { precision: Precision::Nanosecond, body }
    }

    /// How what the server did differs from the row.
    pub(crate) fn difference(&self, seen: &Seen) -> Option<String> {
        let cut = |text: &str| text.chars().take(300).collect::<String>();
        let shown: Vec<String> = seen.shown.iter().map(|text| cut(text)).collect();
        let capture = json!({"status": seen.status, "answer": cut(&scrubbed(&seen.answer)), "shown": shown});
        // A server may have two answers to one line; each of them was seen.
        let is_known = self.row["capture"] == capture || self.row["or"] == capture;
        if is_known && seen.rule.is_none_or(|rule| self.row["rule"] == rule) {
            return None;
        }
        let mut now = self.row.clone();
        if let Some(rule) = seen.rule {
            now["rule"] = json!(rule);
        }
        now["capture"] = capture;
        Some(format!("an exception has changed: {}\n    now: {now}", self.row))
    }
}

/// Without what is another one each time: names of databases, numbers of errors.
fn scrubbed(answer: &str) -> String {
    let mut text = answer.trim_end().to_owned();
    for (before, behind) in [(" for database: ", " for retention"), ("\"errorId\":\"", "\"")] {
        if let Some(at) = text.find(before) {
            let start = at + before.len();
            let end = text[start..].find(behind).map_or(text.len(), |length| start + length);
            text.replace_range(start..end, "…");
        }
    }
    text
}
