//! What the client hears: the primary's answer unchanged, or, where there is none, a 503 that every client tries again.
//!
//! No 4xx of ours but 413: clients drop data on a 4xx. A 503 with a JSON body and `Retry-After` is tried again by all of
//! them. The shape is that of the API the client speaks.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING};
use http::response::Parts;
use http::{Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use hyper::ext::ReasonPhrase;

use crate::base::SystemClock;
use crate::db::client::{Answer, BodyError};
use crate::db::precision::Api;
use crate::queue::Unavailable;

/// Body of a reply. It stays on its thread, as the connections to the source do.
pub type ReplyBody = Pin<Box<dyn Body<Data = Bytes, Error = BodyError>>>;
/// A reply to a client.
pub type Reply = Response<ReplyBody>;

/// Why we must answer ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The source cannot be reached.
    SourceDown(String),
    /// The source did not answer; whether it took the write is not known.
    SourceLost(String),
    /// The queue is unavailable and the configuration says to refuse then.
    Queue(Unavailable),
    /// Not even a gap can be recorded.
    Gap,
    /// Over our own capacity.
    Capacity(&'static str),
    /// The client has not sent the whole body.
    Body(&'static str),
}

impl Refusal {
    fn text(&self) -> String {
        match self {
            Self::SourceDown(why) => format!("twinline: the source cannot be reached: {why}"),
            Self::SourceLost(why) => format!("twinline: the source gave no answer: {why}"),
            Self::Queue(Unavailable::Full) => "twinline: the queue is full".to_owned(),
            Self::Queue(Unavailable::Faulted) => "twinline: the queue's disk failed".to_owned(),
            Self::Queue(Unavailable::Stalled) => "twinline: the queue's disk does not answer".to_owned(),
            Self::Queue(Unavailable::Oversized) => "twinline: a line is too long for the queue".to_owned(),
            Self::Gap => "twinline: neither the queue nor the gap record can be written".to_owned(),
            Self::Body(what) => format!("twinline: {what}"),
            Self::Capacity(what) => format!("twinline: over capacity: {what}"),
        }
    }
}

/// A body of known bytes.
#[must_use]
pub fn whole(body: Bytes) -> ReplyBody {
    Box::pin(Full::new(body).map_err(|e| match e {}))
}

/// 503 with `Retry-After` and a body in the API's own form.
#[must_use]
pub fn unavailable(api: Api, refusal: &Refusal) -> Reply {
    let mut reply = error(api, StatusCode::SERVICE_UNAVAILABLE, "unavailable", &refusal.text());
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

/// 413 in the API's own form, worded as the servers do; `limit_bytes` is told to the operator.
#[must_use]
pub fn too_large(api: Api, limit_bytes: usize) -> Reply {
    tracing::warn!(limit_bytes, "a body is larger than limits.max_body allows");
    match api {
        Api::V1 => error(api, StatusCode::PAYLOAD_TOO_LARGE, "", "Request Entity Too Large"),
        Api::V2 => error(
            api,
            StatusCode::PAYLOAD_TOO_LARGE,
            "request too large",
            "unable to read data: points batch is too large",
        ),
    }
}

/// 501 for a transfer coding that the source does not know, as Go's `net/http` says it: before any handler, and the end of
/// the connection.
#[must_use]
pub fn unknown_coding() -> Reply {
    before_any_handler(StatusCode::NOT_IMPLEMENTED, "Unsupported transfer encoding")
}

/// What is wrong with the `Host` of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHost {
    /// None in HTTP/1.1.
    Missing,
    /// More than one.
    Many,
    /// One with bytes that may not stand there.
    Malformed,
}

/// 400 as Go's `net/http` says it, which tells two of the faults in the status line too.
#[must_use]
pub fn bad_host(fault: BadHost) -> Reply {
    let (text, reason) = match fault {
        BadHost::Many => ("400 Bad Request", None),
        BadHost::Missing => (
            "400 Bad Request: missing required Host header",
            Some(ReasonPhrase::from_static(b"Bad Request: missing required Host header")),
        ),
        BadHost::Malformed => (
            "400 Bad Request: malformed Host header",
            Some(ReasonPhrase::from_static(b"Bad Request: malformed Host header")),
        ),
    };
    let mut reply = before_any_handler(StatusCode::BAD_REQUEST, text);
    if let Some(reason) = reason {
        reply.extensions_mut().insert(reason);
    }
    reply
}

/// Marks an answer that the servers give before any handler: they write it as HTTP/1.1, whatever the client speaks.
#[derive(Clone, Copy, Debug)]
pub struct BeforeAnyHandler;

/// What the servers answer by themselves, with the end of the connection.
fn before_any_handler(status: StatusCode, text: &'static str) -> Reply {
    let mut reply: Reply = Response::new(Box::pin(Chunked(Some(Bytes::from_static(text.as_bytes())))));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply.extensions_mut().insert(BeforeAnyHandler);
    reply
}

/// An error in the form of the API: `{"error": …}` for 1.x, `{"code": …, "message": …}` for 2.x.
fn error(api: Api, status: StatusCode, code: &str, text: &str) -> Reply {
    let (body, content_type) = match api {
        Api::V1 => (format!("{}\n", serde_json::json!({ "error": text })), "application/json"),
        Api::V2 => {
            (serde_json::json!({ "code": code, "message": text }).to_string(), "application/json; charset=utf-8")
        }
    };
    let mut reply = Response::new(whole(Bytes::from(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // hyper dates nothing: the source's answers are passed on with the date they have.
    let since = Duration::from_nanos(u64::try_from(SystemClock::shared().wall_ns()).unwrap_or(0));
    if let Ok(now) = HeaderValue::try_from(httpdate::fmt_http_date(UNIX_EPOCH + since)) {
        reply.headers_mut().insert(DATE, now);
    }
    if api == Api::V1
        && let Ok(value) = HeaderValue::try_from(text.replace(['\r', '\n'], " "))
    {
        reply.headers_mut().insert("x-influxdb-error", value);
    }
    reply
}

/// The primary's answer as it came.
pub(super) fn pass_on(mut head: Parts, body: Bytes, rest: Option<Answer>) -> Reply {
    // An answer that came in chunks goes on in chunks: a length would be a header that the source did not send.
    let chunked = head.headers.contains_key(TRANSFER_ENCODING);
    crate::db::hop::strip_in_order(&mut head.headers);
    let body = match rest {
        None if chunked => Box::pin(Chunked(Some(body))),
        None => whole(body),
        Some(rest) => Box::pin(Continued { first: Some(body), rest }),
    };
    Response::from_parts(head, body)
}

/// A body of known bytes that does not tell its length.
struct Chunked(Option<Bytes>);

impl Body for Chunked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.take().map(|body| Ok(Frame::data(body))))
    }
}

/// An answer whose first part was read already.
struct Continued {
    first: Option<Bytes>,
    rest: Answer,
}

impl Body for Continued {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        Pin::new(&mut self.rest).poll_frame(cx).map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_too_large_hears_so_in_the_form_of_its_api() {
        let v1 = too_large(Api::V1, 10);
        assert_eq!(v1.status(), 413);
        assert_eq!(v1.headers()["x-influxdb-error"], "Request Entity Too Large");
        let v2 = too_large(Api::V2, 10);
        assert_eq!(v2.status(), 413);
        assert!(v2.headers().get("x-influxdb-error").is_none());
    }
}
