//! What a server stores, in a form in which it can be compared and printed.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Series, field and time; the value.
pub(crate) type Stored = BTreeMap<String, String>;

/// A request's body and the unit of its timestamps.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) precision: twinline::line::Precision,
    pub(crate) body: Vec<u8>,
}

/// From here on a time is one that the server gave: the clock, an hour before the test began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now(i64);

impl Now {
    pub(crate) fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        Self(i64::try_from(since.as_nanos()).expect("a clock before 2262") - 3_601_000_000_000)
    }

    pub(crate) fn nanoseconds(self) -> i64 {
        self.0
    }

    /// A time, unless the server gave it or would.
    pub(crate) fn time(self, ns: Option<i64>) -> String {
        let day_ns = 86_400_000_000_000;
        match ns {
            Some(ns) if !(self.0..self.0 + day_ns).contains(&ns) => ns.to_string(),
            _ => "now".to_owned(),
        }
    }
}

/// Names in one text that tells any two apart.
pub(crate) fn series<T: AsRef<[u8]>>(measurement: &[u8], tags: &[(T, T)]) -> String {
    let mut shown: Vec<String> =
        tags.iter().map(|(k, v)| format!("{}={}", name(k.as_ref()), name(v.as_ref()))).collect();
    shown.sort();
    format!("{} {{{}}}", name(measurement), shown.join(", "))
}

pub(crate) fn name(text: &[u8]) -> String {
    format!("\"{}\"", text.escape_ascii())
}

/// What is in one and not, or otherwise, in the other.
pub(crate) fn differences(said: &Stored, stored: &Stored) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in said {
        match stored.get(key) {
            Some(other) if other == value => {}
            Some(other) => found.push(format!("{key}: we say {value}, the server stored {other}")),
            None => found.push(format!("{key}: we say {value}, the server stored nothing")),
        }
    }
    let more = stored.iter().filter(|(key, _)| !said.contains_key(*key));
    found.extend(more.map(|(key, value)| format!("{key}: the server stored {value}, we say nothing")));
    found
}

/// As Go's JSON writes bytes that are not UTF-8: one replacement for each.
pub(crate) fn lossy(text: &[u8]) -> String {
    let mut out = String::new();
    for chunk in text.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
    }
    out
}
