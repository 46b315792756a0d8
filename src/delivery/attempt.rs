//! One request to the destination and what its end means.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use metrics::counter;

use super::Shared;
use super::one_table;
use super::part::Part;
use super::target::TargetId;
use crate::base::metric;
use crate::db::answer::{self, Action, Limit, Verdict};
use crate::db::client::{Answer, Failure, RequestBody};
use crate::db::encode;

/// A destination's words that we read at most.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The connection broke after bytes of the request had left, without an answer.
pub(super) const BROKEN: &str = "connection-broken";

/// How a request ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) verdict: Verdict,
    /// When it began, by the monotonic clock.
    pub(super) began: Duration,
    /// Whether the destination's words were read to their end.
    pub(super) whole: bool,
    /// Whether the last thing heard of the destination before this request was an answer.
    pub(super) was_alive: bool,
    /// Without an answer: until when the destination may still work on it, by the monotonic clock.
    pub(super) open_until: Option<Duration>,
}

/// One request. Whatever its end, its lines are remembered where the destination may still be working on them.
pub(super) async fn attempt(shared: &Shared, lane: usize, part: &Part, gzip: bool) -> Ended {
    one_table::look(shared, part);
    let was_alive = shared.alive.get();
    let began = shared.clock.monotonic();
    let sent = send(shared, part.batch.target, part.body(), gzip).await;
    let (verdict, whole) = match sent {
        Ok((status, headers, body, whole)) => (answer::of(shared.product, status, &headers, &body), whole),
        Err(verdict) => (verdict, true),
    };
    shared.alive.set(verdict.status != 0);
    if verdict.crowded {
        shared.crowd.crowded();
    }
    let open_until = verdict.open.then(|| shared.clock.monotonic() + shared.settings.late_write_max);
    if let Some(until) = open_until {
        shared.lanes[lane].borrow_mut().unanswered(&part.batch, &part.lines, until);
    }
    let ended = shared.clock.monotonic();
    let is_trouble = matches!(verdict.action, Action::Retry { .. } | Action::Shrink | Action::Pause(_));
    shared.recent.add(ended, ended.saturating_sub(began), is_trouble);
    shared.recent.add_bytes(part.bytes());
    let id = shared.id.to_string();
    counter!(metric::ATTEMPTS, metric::DESTINATION => id, "outcome" => outcome(&verdict.action), "reason" => verdict.code)
        .increment(1);
    Ended { verdict, began, whole, was_alive, open_until }
}

/// Whether the destination answers a write of nothing, which stores nothing. An answer of a gateway that it is away is
/// none.
pub(super) async fn is_alive(shared: &Shared, target: TargetId) -> bool {
    let alive = matches!(send(shared, target, Bytes::from_static(b"\n"), false).await, Ok((status, ..)) if status.as_u16() < 500);
    shared.alive.set(alive);
    alive
}

fn outcome(action: &Action) -> &'static str {
    match action {
        Action::Acknowledge => "acknowledged",
        Action::Retry { .. } | Action::Again | Action::Shrink | Action::Plain { .. } => "retry",
        Action::Split => "split",
        Action::Quoted { .. } | Action::Numbered { .. } | Action::Bisect { .. } => "refused",
        Action::Pause(_) => "pause",
    }
}

type Heard = (StatusCode, http::HeaderMap, Vec<u8>, bool);

async fn send(shared: &Shared, target: TargetId, text: Bytes, gzip: bool) -> Result<Heard, Verdict> {
    // A server with too many connections closes one without a word.
    let crowded = |code| code == BROKEN;
    let silent =
        |action, code, said: String, open| Verdict { action, code, said, status: 0, open, crowded: crowded(code) };
    let retry = || Action::Retry { after_s: None };
    let request = request(shared, target, text, gzip)
        .map_err(|error| silent(Action::Pause(Limit::Route), "our-request", error.to_string(), false))?;
    let asking = async {
        let response = shared.server.client().send(request).await?;
        let (head, body) = response.into_parts();
        let (body, whole) = read(body).await;
        Ok::<_, Failure>((head.status, head.headers, body, whole))
    };
    match tokio::time::timeout(shared.server.answer_timeout(), asking).await {
        Ok(Ok(heard)) => Ok(heard),
        Ok(Err(Failure::NotSent(error))) => Err(silent(retry(), "unreachable", error.to_string(), false)),
        Ok(Err(Failure::Unknown(error))) => Err(silent(retry(), BROKEN, error.to_string(), true)),
        Err(_) => Err(silent(retry(), "no-answer", "no answer in time".to_owned(), true)),
    }
}

/// The beginning of an answer's body, and whether that is all of it.
async fn read(mut body: Answer) -> (Vec<u8>, bool) {
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (text, false) };
        let Ok(data) = frame.into_data() else { continue };
        let room = ANSWER_BYTES_MAX - text.len();
        text.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return (text, false);
        }
    }
    (text, true)
}

fn request(shared: &Shared, target: TargetId, text: Bytes, gzip: bool) -> Result<Request<RequestBody>, http::Error> {
    let path = format!("{}{}", shared.server.prefix(), shared.targets.get(target).path);
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, shared.server.host().clone())
        .header(USER_AGENT, concat!("twinline/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "text/plain; charset=utf-8");
    if let Some(authorization) = shared.server.authorization() {
        request = request.header(AUTHORIZATION, authorization.clone());
    }
    let body = if gzip {
        request = request.header(CONTENT_ENCODING, "gzip");
        encode::gzip(&text)
    } else {
        text
    };
    request.header(CONTENT_LENGTH, body.len()).body(Full::new(body).map_err(|e| match e {}).boxed_unsync())
}
