//! What to do after an answer of QuestDB to a batch. Source: its answers as measured at 9.3.4, and what is read in its code of
//! a commit that fails.

use http::{HeaderMap, StatusCode};

use super::destination::{Action, Limit, Verdict};
use super::message;
use super::retry_after::retry_after;

/// Judges an answer to a non-empty batch. A refused line takes all others of its request with it.
#[must_use]
pub(super) fn questdb(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Verdict {
    let said = message(body);
    let after_s = retry_after(headers);
    let status = status.as_u16();
    let (action, code) = match status {
        204 => (Action::Acknowledge, ""),
        200..=299 => (Action::Pause(Limit::Destination), "not-questdb"),
        100..=399 => (Action::Pause(Limit::Destination), "redirect"),
        400 => invalid(&said, body),
        401 | 403 => (Action::Pause(Limit::Destination), "unauthorized"),
        404 | 405 => (Action::Pause(Limit::Destination), "wrong-url"),
        408 => (Action::Retry { after_s }, "timeout"),
        413 => (Action::Split, "too-large"),
        415 => (Action::Plain { passes: false }, if said.contains("not supported") { NO_GZIP } else { "gzip" }),
        421 => (Action::Retry { after_s }, "read-only"),
        429 => (Action::Retry { after_s }, "quota"),
        402..=499 => (Action::Pause(Limit::Route), "unknown-answer"),
        500 if said.contains("UnsupportedOperationException") => (Action::Bisect { dropped: None }, "bad-name"),
        500 if said.contains("invalid UTF8") => (Action::Bisect { dropped: None }, "unstorable"),
        500 if said.contains("commit error") => (Action::Retry { after_s }, COMMIT_ERROR),
        503 => (Action::Retry { after_s }, "unavailable"),
        _ => (Action::Retry { after_s }, "server-error"),
    };
    // What is turned away is not being worked on.
    let open = matches!(action, Action::Retry { .. }) && status >= 500 && status != 503;
    let crowded = matches!(code, "quota" | "unavailable");
    Verdict { action, code, said, status, open, crowded }
}

/// It knows no compression: no request after this one is compressed.
pub const NO_GZIP: &str = "no-gzip";
/// Some tables of the request may have its rows, others not.
pub const COMMIT_ERROR: &str = "commit-error";

/// 400: nothing of the request is stored, and the first line that is refused has its number.
fn invalid(said: &str, body: &[u8]) -> (Action, &'static str) {
    #[derive(serde::Deserialize)]
    struct Numbered {
        line: u64,
    }
    if said.ends_with("unsupported precision") {
        return (Action::Pause(Limit::Route), "our-request");
    }
    // What follows may be the user's.
    let Some(words) = said.strip_prefix("failed to parse line protocol:errors encountered on line(s):") else {
        return (Action::Pause(Limit::Route), "unknown-answer");
    };
    let code = if words.contains("cast error from protocol type") {
        "type-conflict"
    } else if words.contains("invalid table name") || words.contains("invalid column name") {
        "bad-name"
    } else if words.contains("before 1970-01-01") {
        "time"
    } else {
        "parse"
    };
    match serde_json::from_slice::<Numbered>(body) {
        Ok(Numbered { line }) if line > 0 => (Action::Numbered { lines: vec![line], kept: false }, code),
        _ => (Action::Bisect { dropped: None }, code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(status: u16, said: &str, line: u64) -> (Action, &'static str) {
        let said = said.replace("LP", "failed to parse line protocol:errors encountered on line(s):");
        let body =
            serde_json::json!({ "code": "invalid", "message": said, "line": line, "errorId": "1-1" }).to_string();
        let verdict = questdb(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes());
        (verdict.action, verdict.code)
    }

    #[test]
    fn a_line_that_it_names_is_taken_out_and_everything_unknown_waits() {
        let line = |number| Action::Numbered { lines: vec![number], kept: false };
        let (bisect, retry) = (Action::Bisect { dropped: None }, Action::Retry { after_s: None });
        let (route, all) = (Action::Pause(Limit::Route), Action::Pause(Limit::Destination));
        let cast =
            "LP\nerror in line 2: table: t, column: v; cast error from protocol type: FLOAT to column type: LONG";
        for (status, said, number, action, code) in [
            (400, "LP\nerror in line 3: Could not parse entire line", 3, line(3), "parse"),
            (400, cast, 2, line(2), "type-conflict"),
            (400, "LP\nerror in line 1: table: t; invalid column name: a-b", 1, line(1), "bad-name"),
            (
                400,
                "LP\nerror in line 1: table: t, timestamp: -1; designated timestamp before 1970-01-01 is not allowed",
                1,
                line(1),
                "time",
            ),
            (400, "LP\nerror without a number", 0, bisect.clone(), "parse"),
            (400, "LPunsupported precision", 0, route.clone(), "our-request"),
            (400, "something new", 1, route.clone(), "unknown-answer"),
            (500, "LPwrite error: t, error: java.lang.UnsupportedOperationException", 2, bisect.clone(), "bad-name"),
            (500, "LPwrite error: t, errno: -1, error: invalid UTF8 in value for a", 1, bisect, "unstorable"),
            (500, "LPcommit error for table: t", 0, retry.clone(), "commit-error"),
            (500, "anything", 0, retry.clone(), "server-error"),
            (421, "not accepting writes", 0, retry.clone(), "read-only"),
            (503, "", 0, retry, "unavailable"),
            (415, "gzip encoding is not supported", 0, Action::Plain { passes: false }, "no-gzip"),
            (415, "gzip decompression error", 0, Action::Plain { passes: false }, "gzip"),
            (413, "request too large", 0, Action::Split, "too-large"),
            (204, "", 0, Action::Acknowledge, ""),
            (200, "", 0, all.clone(), "not-questdb"),
            (401, "Unauthorized", 0, all.clone(), "unauthorized"),
            (403, "Forbidden", 0, all.clone(), "unauthorized"),
            (405, "Method POST not supported", 0, all, "wrong-url"),
            (418, "", 0, route, "unknown-answer"),
        ] {
            assert_eq!(judge(status, said, number), (action, code), "{status} {said}");
        }
    }
}
