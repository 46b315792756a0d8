//! What to do after an answer of InfluxDB 3 to a batch (`/api/v3/write_lp`, lines accepted one by one). Source: its code at 3.10;
//! no server could be had to measure.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::destination::{Action, Limit, Verdict};
use super::message;
use super::retry_after::retry_after;

/// Judges an answer to a non-empty batch.
#[must_use]
pub(super) fn influx3(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Verdict {
    let said = message(body);
    let after_s = retry_after(headers);
    let status = status.as_u16();
    let (action, code) = match status {
        204 => (Action::Acknowledge, ""),
        200..=299 => (Action::Pause(Limit::Destination), "not-influxdb"),
        100..=399 => (Action::Pause(Limit::Destination), "redirect"),
        400 => invalid(&said, body),
        // What it has no room for is sent again with its neighbours, which it has: that changes nothing.
        422 => (Action::Pause(Limit::Route), "limit"),
        401 => (Action::Pause(Limit::Destination), "unauthorized"),
        403 => (Action::Pause(Limit::Route), "forbidden"),
        404 | 405 => (Action::Pause(Limit::Destination), "wrong-url"),
        408 | 499 => (Action::Retry { after_s }, "timeout"),
        409 => (Action::Retry { after_s }, "conflict"),
        413 => (Action::Split, "too-large"),
        429 => (Action::Retry { after_s }, "quota"),
        402..=499 => (Action::Pause(Limit::Route), "unknown-answer"),
        503 => (Action::Retry { after_s }, "unavailable"),
        _ => (Action::Retry { after_s }, "server-error"),
    };
    let open = matches!(action, Action::Retry { .. }) && !matches!(status, 409 | 429);
    Verdict { action, code, said, status, open, crowded: code == "quota" }
}

/// 400, which says by its text whether anything was stored.
fn invalid(said: &str, body: &[u8]) -> (Action, &'static str) {
    let has = |text: &str| said.contains(text);
    if said.starts_with("partial write of line protocol occurred") {
        return listed(body, true);
    }
    if said.starts_with("line protocol parsing error") {
        return listed(body, false);
    }
    if said.starts_with("incoming write was empty") {
        return (Action::Acknowledge, "");
    }
    // What its older write path says of its own trouble.
    if ["error from wal", "error from persister", "catalog update error", "overloaded"].iter().any(|text| has(text)) {
        return (Action::Retry { after_s: None }, "server-error");
    }
    if has("Authorization header was malformed") {
        return (Action::Pause(Limit::Destination), "unauthorized");
    }
    if has("gzip") || has("content-encoding") || has("deflate") {
        return (Action::Plain { passes: false }, "gzip");
    }
    let name = has("invalid character in database") || has("database name") || has("rp name");
    (Action::Pause(Limit::Route), if name { "bad-target" } else { "unknown-answer" })
}

/// The lines that the answer numbers, from 1 over the lines of the batch; where it lists none, they are looked for.
fn listed(body: &[u8], kept: bool) -> (Action, &'static str) {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let rows = match &document["data"] {
        Value::Array(rows) => rows.as_slice(),
        Value::Null => &[],
        one => std::slice::from_ref(one),
    };
    let mut lines: Vec<u64> = rows.iter().filter_map(|row| row["line_number"].as_u64()).collect();
    lines.sort_unstable();
    lines.dedup();
    // Each row names its line, or the list cannot be trusted.
    let is_whole = !lines.is_empty() && lines[0] > 0 && rows.iter().all(|row| row["line_number"].is_u64());
    let words = rows.first().and_then(|row| row["error_message"].as_str()).unwrap_or_default();
    let code = if words.contains("type") && words.contains("column") { "type-conflict" } else { "parse" };
    match is_whole {
        true => (Action::Numbered { lines, kept }, code),
        false => (Action::Bisect { dropped: None }, code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(status: u16, body: &str) -> (Action, &'static str) {
        let verdict = influx3(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes());
        (verdict.action, verdict.code)
    }

    #[test]
    fn lines_are_taken_by_their_numbers_whatever_form_the_list_has() {
        let list = r#"{"error":"partial write of line protocol occurred","data":[{"error_message":"x","line_number":4,"original_line":"m"},{"error_message":"x","line_number":2,"original_line":"m"}]}"#;
        assert_eq!(judge(400, list), (Action::Numbered { lines: vec![2, 4], kept: true }, "parse"));
        let one = r#"{"error":"line protocol parsing error","data":{"error_message":"x","line_number":2,"original_line":"m"}}"#;
        assert_eq!(judge(400, one), (Action::Numbered { lines: vec![2], kept: false }, "parse"));
        for unclear in ["null", "[]", "[{}]", "[{\"line_number\":0}]", "[{\"line_number\":1},{}]"] {
            let body = format!("{{\"error\":\"partial write of line protocol occurred\",\"data\":{unclear}}}");
            assert_eq!(judge(400, &body), (Action::Bisect { dropped: None }, "parse"), "{unclear}");
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_is_not_known_waits() {
        for (status, body, code) in [
            (400, r#"{"code":"invalid","message":"write buffer error: error from wal: full"}"#, "server-error"),
            (409, "conflict", "conflict"),
            (429, "this service is overloaded, please try again later", "quota"),
            (500, "write buffer error", "server-error"),
        ] {
            assert_eq!(judge(status, body), (Action::Retry { after_s: None }, code), "{body}");
        }
        assert_eq!(judge(400, "incoming write was empty"), (Action::Acknowledge, ""));
        let name = r#"{"error":"invalid character in database or rp name: must be ASCII"}"#;
        assert_eq!(judge(400, name), (Action::Pause(Limit::Route), "bad-target"));
        assert_eq!(judge(422, r#"{"error":"Adding a new database would exceed limit of 5"}"#).1, "limit");
        assert_eq!(judge(418, "tea"), (Action::Pause(Limit::Route), "unknown-answer"));
    }
}
