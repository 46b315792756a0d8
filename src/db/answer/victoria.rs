//! What to do after an answer of VictoriaMetrics to a batch. Source: its answers as measured at 1.150.0, and what is read in
//! its code of a full disk and a full queue.

use http::{HeaderMap, StatusCode};

use super::destination::{Action, Limit, Verdict};
use super::message;
use super::retry_after::retry_after;

/// Judges an answer to a non-empty batch. 204 comes before the lines are on disk: see [`crate::db::product::Capabilities`].
#[must_use]
pub(super) fn victoria(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Verdict {
    let said = message(body);
    let after_s = retry_after(headers);
    let status = status.as_u16();
    let (action, code) = match status {
        204 => (Action::Acknowledge, ""),
        200..=299 => (Action::Pause(Limit::Destination), "not-victoriametrics"),
        100..=399 => (Action::Pause(Limit::Destination), "redirect"),
        400 => invalid(&said),
        401 | 403 => (Action::Pause(Limit::Destination), "unauthorized"),
        404 | 405 => (Action::Pause(Limit::Destination), "wrong-url"),
        413 => (Action::Split, "too-large"),
        429 => (Action::Retry { after_s }, "quota"),
        402..=499 => (Action::Pause(Limit::Route), "unknown-answer"),
        503 if said.contains("read-only mode") => (Action::Retry { after_s }, "read-only"),
        503 => (Action::Retry { after_s }, "unavailable"),
        _ => (Action::Retry { after_s }, "server-error"),
    };
    // What is turned away is not being worked on.
    let open = matches!(action, Action::Retry { .. }) && status >= 500 && status != 503;
    let crowded = matches!(code, "quota" | "unavailable");
    Verdict { action, code, said, status, open, crowded }
}

/// 400: of a request with a line that it does not read nothing is stored.
fn invalid(said: &str) -> (Action, &'static str) {
    let words = said.strip_prefix("cannot process influx line protocol data: ").unwrap_or(said);
    // First of all: behind it stands the user's line, in which every other text may be.
    if words.starts_with("incorrect influx line") {
        return (Action::Bisect { dropped: None }, "parse");
    }
    if said.contains("unsupported path requested") {
        return (Action::Pause(Limit::Destination), "wrong-url");
    }
    if said.contains("too big data size") {
        return (Action::Split, "too-large");
    }
    if words.contains("gzip") || words.contains("unexpected EOF") || words.contains("unsupported contentType") {
        return (Action::Plain { passes: false }, "gzip");
    }
    (Action::Pause(Limit::Route), "unknown-answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(status: u16, said: &str) -> (Action, &'static str) {
        let verdict = victoria(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), said.as_bytes());
        (verdict.action, verdict.code)
    }

    #[test]
    fn a_line_that_it_cannot_read_is_found_and_everything_unknown_waits() {
        let line = "cannot process influx line protocol data: incorrect influx line \"gzip too big\": cannot find Whitespace I";
        assert_eq!(judge(400, line), (Action::Bisect { dropped: None }, "parse"));
        let eof = "cannot process influx line protocol data: unexpected EOF; see https://docs";
        assert_eq!(judge(400, eof), (Action::Plain { passes: false }, "gzip"));
        assert_eq!(judge(204, ""), (Action::Acknowledge, ""));
        assert_eq!(judge(200, "{}"), (Action::Pause(Limit::Destination), "not-victoriametrics"));
        assert_eq!(judge(400, "something new"), (Action::Pause(Limit::Route), "unknown-answer"));
        assert_eq!(judge(503, "the storage is in read-only mode"), (Action::Retry { after_s: None }, "read-only"));
    }
}
