//! What to do after a destination's answer to a batch. Source: answers measured on InfluxDB 1.6 to 2.9.

use http::{HeaderMap, StatusCode};

use super::message;
use crate::db::server::Flavor;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// All of it is stored.
    Acknowledge,
    /// Send the same bytes again later. `after_s`: what the server asked for.
    Retry {
        /// Seconds from `Retry-After`.
        after_s: Option<u64>,
        /// What it said.
        reason: String,
    },
    /// Too large: send it in two halves; a single line is refused for good.
    Split {
        /// What it said.
        reason: String,
    },
    /// Some line in it is refused for good. With `all`, every line of the batch is (so it says itself).
    Bisect {
        /// Short code for the dead letter.
        code: &'static str,
        /// What it said.
        reason: String,
        /// The number of lines dropped, when the answer names it.
        dropped: Option<u64>,
    },
    /// Nothing can be written until somebody acts.
    Pause {
        /// How much stands still.
        limit: Limit,
        /// What it said.
        reason: String,
    },
}

/// How far a pause reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The whole destination.
    Destination,
    /// One database, policy or bucket.
    Route,
}

/// Judges an answer of the destination to a non-empty batch.
#[must_use]
pub fn destination(flavor: Flavor, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Action {
    let reason = || {
        let text = message(body);
        let text: String = text.chars().take(2000).collect();
        if text.is_empty() { format!("status {}", status.as_u16()) } else { text }
    };
    let pause = |limit| Action::Pause { limit, reason: format!("{} {}", status.as_u16(), reason()) };
    let retry = || Action::Retry { after_s: retry_after(headers), reason: format!("{} {}", status.as_u16(), reason()) };
    let text = message(body);
    match status.as_u16() {
        204 => Action::Acknowledge,
        401 => pause(Limit::Destination),
        403..=405 => pause(Limit::Route),
        413 => Action::Split { reason: reason() },
        429 if headers.contains_key("retry-after") => retry(),
        429 => pause(Limit::Destination),
        400 | 422 => refused(&text, reason()).unwrap_or_else(|| pause(Limit::Route)),
        408 | 499 | 503 => retry(),
        500 if text.contains("retention policy not found") => pause(Limit::Route),
        500 if text.contains("invalid UTF-8") => Action::Bisect { code: "bad-name", reason: reason(), dropped: None },
        // The storage engine cannot decode a line: the same answer for ever.
        500 if text.contains("engine: unable to parse") => {
            Action::Bisect { code: "unstorable", reason: reason(), dropped: None }
        }
        500 if text.contains("cache-max-memory-size") => Action::Split { reason: reason() },
        500 if text.contains("hinted handoff queue not empty") => Action::Acknowledge,
        500 if flavor == Flavor::Influx2 && text.contains("partial write") => {
            refused(&text, reason()).unwrap_or_else(retry)
        }
        // A server that is not an InfluxDB, or a wrong URL.
        200..=399 => pause(Limit::Destination),
        400..=499 => pause(Limit::Route),
        _ => retry(),
    }
}

/// 400 and 422: refused lines, by the text; `None` where the text is not known to be about lines.
fn refused(text: &str, reason: String) -> Option<Action> {
    let has = |part: &str| text.contains(part);
    let dropped = text.rsplit_once("dropped=").and_then(|(_, rest)| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    if has("has been stripped from point") && dropped == Some(0) {
        // The source stripped the field as well.
        return Some(Action::Acknowledge);
    }
    if has("max-values-per-tag") || has("max-series-per-database") {
        return Some(Action::Pause { limit: Limit::Destination, reason });
    }
    if has("pending deletion") {
        return Some(Action::Retry { after_s: None, reason });
    }
    let code = if has("field type conflict") {
        "type-conflict"
    } else if has("retention policy") && has("dropped") || has("write window") {
        "expired"
    } else if has("invalid field name") || has("invalid tag key") || has("reserved tag key") {
        "bad-name"
    } else if has("too long") || has("max key size") {
        "too-large"
    } else if has("unable to parse") {
        "parse"
    } else if has("partial write") {
        "partial-write"
    } else {
        return None;
    };
    Some(Action::Bisect { code, reason, dropped })
}

/// Seconds of `Retry-After`: a number, also with a fraction (rounded up). A date is left to the ordinary back-off.
fn retry_after(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    let seconds: f64 = text.parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then(|| seconds.ceil().min(86_400.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(flavor: Flavor, status: u16, body: &str) -> Action {
        destination(flavor, StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn only_204_acknowledges() {
        assert_eq!(judge(Flavor::Influx1, 204, ""), Action::Acknowledge);
        assert!(matches!(judge(Flavor::Influx1, 200, ""), Action::Pause { limit: Limit::Destination, .. }));
        assert!(matches!(judge(Flavor::Influx1, 302, ""), Action::Pause { .. }));
    }

    #[test]
    fn refused_lines_are_looked_for_and_unknown_refusals_pause() {
        let conflict = r#"{"error":"partial write: field type conflict: input field \"v\" on measurement \"m\" is type string, already exists as type float dropped=1 for database: d"}"#;
        let Action::Bisect { code, dropped, .. } = judge(Flavor::Influx1, 400, conflict) else { panic!("no bisect") };
        assert_eq!((code, dropped), ("type-conflict", Some(1)));
        let expired = r#"{"code":"unprocessable entity","message":"failure writing points to database: partial write: dropped 3 points outside retention policy of duration 24h dropped=3"}"#;
        let Action::Bisect { code, dropped, .. } = judge(Flavor::Influx2, 422, expired) else { panic!("no bisect") };
        assert_eq!((code, dropped), ("expired", Some(3)));
        assert!(matches!(judge(Flavor::Influx1, 400, "what is this"), Action::Pause { limit: Limit::Route, .. }));
        assert!(matches!(judge(Flavor::Influx1, 418, ""), Action::Pause { limit: Limit::Route, .. }));
    }

    #[test]
    fn faults_that_pass_are_tried_again_and_wrong_rights_wait() {
        assert!(matches!(judge(Flavor::Influx1, 503, "request throttled, queue full"), Action::Retry { .. }));
        assert!(matches!(judge(Flavor::Influx1, 500, r#"{"error":"timeout"}"#), Action::Retry { .. }));
        assert!(matches!(judge(Flavor::Influx2, 401, ""), Action::Pause { limit: Limit::Destination, .. }));
        assert!(matches!(judge(Flavor::Influx2, 404, ""), Action::Pause { limit: Limit::Route, .. }));
        assert!(matches!(judge(Flavor::Influx2, 413, ""), Action::Split { .. }));
    }

    #[test]
    fn retry_after_is_obeyed() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "2.5".parse().unwrap());
        let action = destination(Flavor::Influx2, StatusCode::TOO_MANY_REQUESTS, &headers, b"");
        assert!(matches!(action, Action::Retry { after_s: Some(3), .. }), "{action:?}");
    }
}
