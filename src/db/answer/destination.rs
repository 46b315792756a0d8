//! What to do after a destination's answer to a batch. Source: answers measured on InfluxDB 1.6 to 2.9.

use http::{HeaderMap, StatusCode};

use super::message;
use crate::db::server::Flavor;

/// No server makes us wait longer than a day at a time.
const AFTER_MAX_S: u64 = 86_400;

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
    /// It has no room for so much at a time: wait, and send less at once. Nothing is wrong with any line.
    Shrink {
        /// What it said.
        reason: String,
    },
    /// It could not unpack the body: send the same lines once without compression; see [`Action::plain_failed`].
    Plain {
        /// What it said.
        reason: String,
        /// Whether the same answer to a body that is not compressed may pass.
        passes: bool,
    },
    /// Some line in it is refused for good.
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

impl Action {
    /// What [`Action::Plain`] means when the body was not compressed; others stay as they are.
    #[must_use]
    pub fn plain_failed(self) -> Self {
        match self {
            Self::Plain { reason, passes: true } => Self::Retry { after_s: None, reason },
            Self::Plain { reason, passes: false } => Self::Pause { limit: Limit::Route, reason },
            other => other,
        }
    }
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
    let plain = |passes| Action::Plain { reason: format!("{} {}", status.as_u16(), reason()), passes };
    let text = message(body);
    match status.as_u16() {
        204 => Action::Acknowledge,
        401 => pause(Limit::Destination),
        403..=405 => pause(Limit::Route),
        413 => Action::Split { reason: reason() },
        429 if headers.contains_key("retry-after") => retry(),
        429 => pause(Limit::Destination),
        400 if cannot_unpack(&text) => plain(false),
        400 | 422 => refused(&text, reason()).unwrap_or_else(|| pause(Limit::Route)),
        408 | 499 | 503 => retry(),
        500 if text.contains("retention policy not found") => pause(Limit::Route),
        500 if text.contains("invalid UTF-8") => Action::Bisect { code: "bad-name", reason: reason(), dropped: None },
        // The storage engine cannot decode a line: the same answer for ever.
        500 if text.contains("engine: unable to parse") => {
            Action::Bisect { code: "unstorable", reason: reason(), dropped: None }
        }
        500 if text.contains("cache-max-memory-size") => Action::Shrink { reason: format!("500 {}", reason()) },
        // What 2.x says to a body with a broken gzip header, and to much else.
        500 if flavor == Flavor::Influx2 && text.contains("An internal error has occurred") => plain(true),
        500 if cannot_unpack(&text) => plain(true),
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

/// Words about the compression of a body, and none that quote a line.
fn cannot_unpack(text: &str) -> bool {
    let quotes = text.contains("unable to parse") || text.contains("partial write");
    !quotes && (text.contains("gzip:") || text.ends_with("unexpected EOF"))
}

/// 400 and 422: refused lines, by the text; `None` where the text is not known to be about lines.
fn refused(text: &str, reason: String) -> Option<Action> {
    let has = |part: &str| text.contains(part);
    let words = text.trim_start_matches("failure writing points to database: ").trim_start_matches("partial write: ");
    // Behind these come names and lines of the user, in which every other text may stand.
    let first = [
        ("unable to parse", "parse"),
        ("field type conflict", "type-conflict"),
        ("invalid field name", "bad-name"),
        ("invalid tag key", "bad-name"),
    ];
    if let Some((_, code)) = first.iter().find(|(start, _)| words.starts_with(start)) {
        // Of lines that do not parse, none is counted as dropped.
        let dropped = if *code == "parse" { None } else { dropped(text) };
        let code = if has("cannot use reserved tag key") { "bad-name" } else { *code };
        return Some(Action::Bisect { code, reason, dropped });
    }
    let dropped = dropped(text);
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
    } else {
        // Also a partial write whose reason is not known: what it refused may be wanted.
        return None;
    };
    Some(Action::Bisect { code, reason, dropped })
}

/// The number of lines dropped, where the server says it: at the end, or before the database's name. Anywhere else it is
/// part of a name or a line.
fn dropped(text: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once(" dropped=")?;
    let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = rest[..rest.len() - digits.len()].parse().ok()?;
    (digits.trim_end().is_empty() || digits.starts_with(" for database")).then_some(number)
}

/// Seconds of `Retry-After`: a number, also with a fraction (rounded up), or a date, by the server's own clock. A date
/// without the answer's own `Date` is left to the ordinary back-off.
fn retry_after(headers: &HeaderMap) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text("retry-after")?;
    if let Ok(seconds) = asked.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then(|| seconds.ceil().min(AFTER_MAX_S as f64) as u64);
    }
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let (then, now) = (date(asked)?, date(text("date")?)?);
    Some(then.duration_since(now).map_or(0, |wait| wait.as_secs().min(AFTER_MAX_S)))
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

    #[test]
    fn a_date_in_retry_after_is_read_by_the_servers_own_clock() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "Wed, 21 Oct 2015 07:33:00 GMT".parse().unwrap());
        let ask = |headers: &HeaderMap| destination(Flavor::Influx2, StatusCode::TOO_MANY_REQUESTS, headers, b"");
        let action = ask(&headers);
        assert!(matches!(action, Action::Retry { after_s: None, .. }), "no Date, no difference: {action:?}");
        headers.insert("date", "Wed, 21 Oct 2015 07:28:00 GMT".parse().unwrap());
        let action = ask(&headers);
        assert!(matches!(action, Action::Retry { after_s: Some(300), .. }), "{action:?}");
        headers.insert("date", "Wed, 21 Oct 2015 07:40:00 GMT".parse().unwrap());
        assert!(matches!(ask(&headers), Action::Retry { after_s: Some(0), .. }));
    }

    #[test]
    fn a_full_cache_is_no_fault_of_a_line() {
        let action = judge(Flavor::Influx1, 500, r#"{"error":"engine: cache-max-memory-size exceeded: (4800/4000)"}"#);
        assert!(matches!(action, Action::Shrink { .. }), "{action:?}");
    }

    #[test]
    fn a_partial_write_for_an_unknown_reason_pauses_and_buries_nothing() {
        let action = judge(Flavor::Influx1, 400, r#"{"error":"partial write: the moon is full dropped=2"}"#);
        assert!(matches!(action, Action::Pause { limit: Limit::Route, .. }), "{action:?}");
    }

    #[test]
    fn what_a_line_says_about_itself_is_not_believed() {
        let quoted = "partial write: unable to parse 'm v=\" has been stripped from point dropped=0': bad dropped=0";
        let action = judge(Flavor::Influx1, 400, quoted);
        assert!(matches!(action, Action::Bisect { code: "parse", dropped: None, .. }), "{action:?}");
        let named =
            "partial write: field type conflict: input field \"v\" on measurement \"a dropped=9\" is type float";
        let action = judge(Flavor::Influx1, 400, named);
        assert!(matches!(action, Action::Bisect { code: "type-conflict", dropped: None, .. }), "{action:?}");
        let ended = format!("{named} dropped=1 for database: d");
        let action = judge(Flavor::Influx1, 400, &ended);
        assert!(matches!(action, Action::Bisect { dropped: Some(1), .. }), "{action:?}");
    }

    #[test]
    fn a_body_that_cannot_be_unpacked_is_sent_plain_and_then_waits() {
        let internal = r#"{"code":"internal error","message":"An internal error has occurred - check server logs"}"#;
        let action = judge(Flavor::Influx2, 500, internal);
        assert!(matches!(action, Action::Plain { passes: true, .. }), "{action:?}");
        assert!(matches!(action.plain_failed(), Action::Retry { .. }));
        for text in ["unexpected EOF", "gzip: invalid header", "unable to read data: gzip: invalid checksum"] {
            let action = judge(Flavor::Influx1, 400, text);
            assert!(matches!(action, Action::Plain { passes: false, .. }), "{action:?}");
            assert!(matches!(action.plain_failed(), Action::Pause { limit: Limit::Route, .. }));
        }
        let quoted = judge(Flavor::Influx1, 400, "unable to parse 'm v=gzip: 1': invalid boolean");
        assert!(matches!(quoted, Action::Bisect { code: "parse", .. }), "{quoted:?}");
    }
}
