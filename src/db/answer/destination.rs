//! What to do after a destination's answer to a batch. Source: answers measured on InfluxDB 1.6 to 2.9, and the documented
//! ones of the cloud.

use http::{HeaderMap, StatusCode};

use super::refused::refused;
use super::retry_after::retry_after;
use super::{json_message, message};
use crate::db::server::Flavor;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// All of it is stored.
    Acknowledge,
    /// Send the same bytes again later. `after_s`: what the server asked for, seconds.
    Retry {
        /// From `Retry-After`.
        after_s: Option<u64>,
    },
    /// Send the same bytes once more: the next answer says more; see [`Verdict::again_failed`].
    Again,
    /// Too large: send it in two halves; a single line is refused for good.
    Split,
    /// It has no room for so much at a time: wait, and send less at once. Nothing is wrong with any line.
    Shrink,
    /// It could not unpack the body: send the same lines once without compression; see [`Verdict::plain_failed`].
    Plain {
        /// Whether the same answer to a body that is not compressed may pass.
        passes: bool,
    },
    /// The lines that the answer quotes are refused for good; see [`super::quoted`]. Where they cannot be found: bisect.
    Quoted {
        /// Whether all others are stored; else nothing is.
        kept: bool,
        /// How many are stored, when the answer names it.
        written: Option<u64>,
    },
    /// The lines of these numbers, from 1, are refused for good.
    Numbered {
        /// In order, none twice.
        lines: Vec<u64>,
        /// Whether all others are stored.
        kept: bool,
    },
    /// Some line in it is refused for good.
    Bisect {
        /// The number of lines dropped, when the answer names it.
        dropped: Option<u64>,
    },
    /// Nothing can be written until somebody acts.
    Pause(Limit),
}

/// How far a pause reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The whole destination.
    Destination,
    /// One database, policy or bucket.
    Route,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub action: Action,
    /// Short stable name of the reason, for dead letters, pauses and events. Empty for a plain success.
    pub code: &'static str,
    /// The server's words, whole.
    pub said: String,
    /// Status of the answer.
    pub status: u16,
    /// Whether the request may still take effect after this answer.
    pub open: bool,
    /// Whether the destination asks for fewer requests at once.
    pub crowded: bool,
}

/// What of a server's words is kept with a dead letter or a pause, characters.
const WORDS_MAX: usize = 2000;

impl Verdict {
    /// The server's words, shortened.
    #[must_use]
    pub fn reason(&self) -> String {
        let text: String = self.said.chars().take(WORDS_MAX).collect();
        if text.is_empty() { format!("status {}", self.status) } else { text }
    }

    /// What [`Action::Plain`] means when the body was not compressed; others stay as they are.
    #[must_use]
    pub fn plain_failed(self) -> Self {
        let action = match self.action {
            Action::Plain { passes: true } => Action::Retry { after_s: None },
            Action::Plain { passes: false } => Action::Pause(Limit::Route),
            other => other,
        };
        Self { action, ..self }
    }

    /// What [`Action::Again`] means the second time; others stay as they are.
    #[must_use]
    pub fn again_failed(self) -> Self {
        let action = if self.action == Action::Again { Action::Bisect { dropped: None } } else { self.action };
        Self { action, ..self }
    }
}

/// Judges an answer of the destination to a non-empty batch.
#[must_use]
pub fn destination(flavor: Flavor, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Verdict {
    let said = message(body);
    let after_s = retry_after(headers);
    let status = status.as_u16();
    let is_json = json_message(body).is_some();
    let (action, code) = match status {
        204 => (Action::Acknowledge, ""),
        // A login page, a wrong address: no InfluxDB says so to a write.
        200..=299 => (Action::Pause(Limit::Destination), "not-influxdb"),
        100..=399 => (Action::Pause(Limit::Destination), "redirect"),
        400 | 422 => invalid(&said, body),
        401 => (Action::Pause(Limit::Destination), "unauthorized"),
        403 => (Action::Pause(Limit::Route), "forbidden"),
        404 if is_json => (Action::Pause(Limit::Route), missing(&said)),
        404 | 405 => (Action::Pause(Limit::Destination), "wrong-url"),
        408 | 499 => (Action::Retry { after_s }, "timeout"),
        413 => (Action::Split, "too-large"),
        // We never ask for it: somebody on the way does.
        417 => (Action::Pause(Limit::Destination), "expectation"),
        429 if headers.contains_key("retry-after") => (Action::Retry { after_s }, "quota"),
        429 => (Action::Pause(Limit::Destination), "cardinality"),
        400..=499 => (Action::Pause(Limit::Route), "unknown-answer"),
        503 if said.contains("cardinality") => (Action::Pause(Limit::Destination), "cardinality"),
        503 if said.contains("request throttled") => (Action::Retry { after_s }, "throttled"),
        503 => (Action::Retry { after_s }, "unavailable"),
        _ => faulty(flavor, &said).unwrap_or((Action::Retry { after_s }, "server-error")),
    };
    // A server that gives up on a write may still be doing it; one that turns it away is not.
    let turned_away = status == 429 || code == "throttled" || (status == 503 && headers.contains_key("retry-after"));
    let waits = matches!(action, Action::Retry { .. } | Action::Shrink | Action::Plain { passes: true });
    let open = waits && !turned_away && code != "shard-deleting";
    let said = match headers.get("location").and_then(|to| to.to_str().ok()) {
        Some(to) if code == "redirect" => format!("sends us to {}", to.split('?').next().unwrap_or_default()),
        _ => said,
    };
    let crowded = matches!(code, "throttled" | "eventual" | "quota");
    Verdict { action, code, said, status, open, crowded }
}

/// 400 and 422.
fn invalid(said: &str, body: &[u8]) -> (Action, &'static str) {
    #[derive(serde::Deserialize)]
    struct Numbered {
        line: Option<u64>,
    }
    let line = serde_json::from_slice::<Numbered>(body).ok().and_then(|body| body.line).filter(|line| *line > 0);
    if cannot_unpack(said) {
        return (Action::Plain { passes: false }, "gzip");
    }
    if let Some(found) = refused(said, line) {
        return found;
    }
    let ours = ["invalid precision", "invalid consistency level", "database is required", "Please provide either org"];
    let code = if ours.iter().any(|text| said.starts_with(text)) { "our-request" } else { "unknown-answer" };
    (Action::Pause(Limit::Route), code)
}

/// 404 of an InfluxDB that has not got what we write to.
fn missing(said: &str) -> &'static str {
    if said.contains("database not found") {
        "database-missing"
    } else if said.starts_with("organization") {
        "org-missing"
    } else if said.starts_with("bucket") {
        "bucket-missing"
    } else {
        "target-missing"
    }
}

/// 5xx whose text says more than that it failed.
fn faulty(flavor: Flavor, said: &str) -> Option<(Action, &'static str)> {
    let found = if said.starts_with("retention policy not found") {
        (Action::Pause(Limit::Route), "policy-missing")
    } else if said.contains("invalid UTF-8") && said.starts_with("proto: ") {
        (Action::Bisect { dropped: None }, "bad-name")
    } else if said.contains("engine: unable to parse") {
        // The storage engine cannot decode a line: the same answer for ever.
        (Action::Bisect { dropped: None }, "unstorable")
    } else if said.contains("cache-max-memory-size") {
        (Action::Shrink, "cache-full")
    } else if flavor == Flavor::Influx2 && said.contains("An internal error has occurred") {
        // What 2.x says to a body with a broken gzip header, and to much else.
        (Action::Plain { passes: true }, "server-error")
    } else if cannot_unpack(said) {
        (Action::Plain { passes: true }, "gzip")
    } else if said.contains("hinted handoff queue not empty") {
        // It waits at the destination for one of its nodes; sent again it would wait twice.
        (Action::Acknowledge, "eventual")
    } else if flavor == Flavor::Influx2 && said.contains("partial write") {
        // 2.0.0 to 2.0.3.
        refused(said, None)?
    } else if said.ends_with("timeout") {
        (Action::Retry { after_s: None }, "timeout")
    } else {
        return None;
    };
    Some(found)
}

/// Words about the compression of a body, and none that quote a line.
fn cannot_unpack(text: &str) -> bool {
    let quotes = text.contains("unable to parse") || text.contains("partial write");
    !quotes && (text.contains("gzip:") || text.ends_with("unexpected EOF"))
}

#[cfg(test)]
mod tests;
