//! What kind of request it is, and who answers it.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use metrics::{Counter, counter};
use percent_encoding::percent_decode_str;

use super::body::{self, Read, Unread};
use super::tap::Seen;
use super::{host, pass};
use crate::base::metric;
use crate::db::client::BodyError;
use crate::db::precision::Api;
use crate::db::server::Flavor;
use crate::pipeline::{Budget, ClientWrite, LargeWrite, Pipeline, Refusal, Reply, drain, too_large, unavailable};

/// How long a write waits for room before it hears 503.
const ROOM_WAIT: Duration = Duration::from_secs(2);
/// The expectation that hyper meets by itself.
const CONTINUE: &[u8] = b"100-continue";

/// Everything a connection needs. One thread.
#[derive(Clone)]
pub struct Edge(Rc<Inner>);

struct Inner {
    pipeline: Rc<Pipeline>,
    budget: Budget,
    body_bytes_max: usize,
    writes: Cell<u64>,
    /// By kind and status, of which there are a thousand at most.
    requests: RefCell<HashMap<(bool, StatusCode), Counter>>,
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Edge")
    }
}

impl Edge {
    /// `in_flight_bytes`: request bodies held at once, as they came and unpacked; `body_bytes_max`: the largest one.
    #[must_use]
    pub fn new(pipeline: Rc<Pipeline>, in_flight_bytes: usize, body_bytes_max: usize) -> Self {
        let budget = Budget::new(in_flight_bytes, ROOM_WAIT);
        Self(Rc::new(Inner { pipeline, budget, body_bytes_max, writes: Cell::new(0), requests: RefCell::default() }))
    }

    /// Writes that are being worked on.
    #[must_use]
    pub fn writes_under_way(&self) -> u64 {
        self.0.writes.get()
    }

    /// A write that no client sent over HTTP, as any other.
    pub(super) async fn write_own(&self, request: Request<()>, body: Bytes) -> Reply {
        let mut room = self.0.budget.room();
        if room.grow(body.len()).await.is_err() {
            return unavailable(Api::V1, &Refusal::Capacity("too many bytes in flight"));
        }
        let (head, ()) = request.into_parts();
        let write = ClientWrite::of(Api::V1, head, body, room);
        let (pipeline, counted) = (Rc::clone(&self.0.pipeline), UnderWay::count(self.clone()));
        let working = tokio::task::spawn_local(async move {
            let _counted = counted;
            pipeline.write(write).await
        });
        working.await.unwrap_or_else(|_| unavailable(Api::V1, &Refusal::Capacity("the write was given up")))
    }

    /// The time, as the source's clock has it.
    pub(super) fn now_ns(&self) -> i64 {
        self.0.pipeline.clock.wall_ns().saturating_add(self.0.pipeline.skew.correction_ns())
    }

    /// What the source is.
    pub(super) fn flavor(&self) -> Flavor {
        self.0.pipeline.version.borrow().flavor
    }

    /// Our own credentials at the source.
    pub(super) fn own_authorization(&self) -> Option<HeaderValue> {
        self.0.pipeline.source.authorization().cloned()
    }

    /// Answers one request.
    pub async fn handle(&self, mut request: Request<Incoming>) -> Reply {
        let api = write_api(&request);
        let clock = &self.0.pipeline.clock;
        let seen = Seen::begin(&mut request, api.is_some(), clock);
        let reply = match (host::refused(&request), api) {
            (Some(refused), _) => refused,
            (None, Some(api)) => self.write(api, request).await,
            // Boxed, as all that is rare: a future that waits for it in place is as large as it, and is copied for each request.
            (None, None) => Box::pin(pass::pass(&self.0.pipeline, &self.0.budget, request)).await,
        };
        // The servers close behind an expectation that they do not know.
        let reply = if reply.status() == StatusCode::EXPECTATION_FAILED { closing(reply) } else { reply };
        self.count(api.is_some(), reply.status());
        if let Some(seen) = seen {
            seen.end(reply.status(), clock);
        }
        reply
    }

    /// Handles are looked up once for each status.
    fn count(&self, write: bool, status: StatusCode) {
        let mut requests = self.0.requests.borrow_mut();
        let counter = requests.entry((write, status)).or_insert_with(|| {
            let kind = if write { "write" } else { "other" };
            counter!(metric::HTTP_REQUESTS, "kind" => kind, "code" => status.as_u16().to_string())
        });
        counter.increment(1);
    }

    /// Counts a body that did not come whole. `how`: `ends` before its end, breaks its `framing`, or comes too `late`.
    fn broken(&self, how: &'static str) {
        counter!(metric::BODIES_BROKEN, "how" => how).increment(1);
        tracing::debug!(event = "body.broken", how, "the body of a write did not come whole");
    }

    async fn write(&self, api: Api, request: Request<Incoming>) -> Reply {
        let (head, mut body) = request.into_parts();
        let declared_bytes = body.size_hint().exact();
        if expects_something_else(&head.headers) && !body.is_end_stream() {
            let write = ClientWrite::of(api, head.clone(), Bytes::new(), self.0.budget.room());
            let expecting = self.0.pipeline.write_expecting(&write, declared_bytes);
            if let Some(refused) = Box::pin(expecting).await {
                drain(body);
                return refused;
            }
        }
        let mut room = self.0.budget.room();
        let read = match body::read(&mut body, self.0.body_bytes_max, &mut room).await {
            Ok(read) => read,
            Err(Unread::TooLarge) => {
                drain(body);
                return too_large(api, self.0.body_bytes_max);
            }
            Err(Unread::NoRoom) => return unavailable(api, &Refusal::Capacity("too many bytes in flight")),
            Err(Unread::Late) => {
                self.broken("late");
                return unavailable(api, &Refusal::Body("the body did not arrive"));
            }
            Err(Unread::Broken(breaks)) => {
                self.broken(breaks.name());
                let write = ClientWrite::of(api, head, Bytes::new(), room);
                return closing(Box::pin(self.0.pipeline.write_broken(write, declared_bytes, breaks)).await);
            }
        };
        let (read, is_whole) = match read {
            Read::Whole(read) => (read, true),
            Read::Begun(read) => (read, false),
        };
        if let Some(seen) = head.extensions.get::<Seen>() {
            seen.body(&head.headers, &read, is_whole);
        }
        let write = ClientWrite::of(api, head, read, room);
        let pipeline = Rc::clone(&self.0.pipeline);
        let counted = UnderWay::count(self.clone());
        // On a task of its own: when the client goes away, the write that was begun still gets its outcome.
        let working = tokio::task::spawn_local(async move {
            let _counted = counted;
            if is_whole {
                return pipeline.write(write).await;
            }
            let rest = body.map_err(|e| -> BodyError { Box::new(e) }).boxed_unsync();
            Box::pin(pipeline.write_large(LargeWrite { request: write, rest, declared_bytes })).await
        });
        working.await.unwrap_or_else(|_| unavailable(api, &Refusal::Capacity("the write was given up")))
    }
}

/// Whether a client waits for something that no server here knows, perhaps before it sends the body.
fn expects_something_else(headers: &HeaderMap) -> bool {
    let known = |value: &[u8]| value.windows(CONTINUE.len()).any(|part| part.eq_ignore_ascii_case(CONTINUE));
    headers.get(EXPECT).is_some_and(|value| !value.is_empty() && !known(value.as_bytes()))
}

/// Says that the connection ends with this answer, and ends it.
fn closing(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// A write that is being worked on. Counted off even when its task panics, since a stop waits for the count.
struct UnderWay(Edge);

impl UnderWay {
    fn count(edge: Edge) -> Self {
        edge.0.writes.set(edge.0.writes.get() + 1);
        Self(edge)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let writes = &self.0.0.writes;
        writes.set(writes.get().saturating_sub(1));
    }
}

/// Whether a request is a write, whatever it expects: an `Expect` that the source does not know is its own to refuse.
/// The path is read as the source reads it, decoded: `/%77rite` writes there.
pub(super) fn write_api<B>(request: &Request<B>) -> Option<Api> {
    if request.method() != Method::POST {
        return None;
    }
    let path: Cow<'_, [u8]> = percent_decode_str(request.uri().path()).into();
    match &*path {
        b"/write" => Some(Api::V1),
        b"/api/v2/write" => Some(Api::V2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_seen_however_its_path_is_written() {
        let api = |path: &str| write_api(&Request::post(path).body(()).unwrap());
        for path in ["/write?db=d", "/%77rite?db=d", "/%77%72%69%74%65"] {
            assert_eq!(api(path), Some(Api::V1), "{path}");
        }
        assert_eq!(api("/api/v2/%77rite?bucket=b"), Some(Api::V2));
        for path in ["/query", "/%2577rite", "/write/", "/writer"] {
            assert_eq!(api(path), None, "{path}");
        }
        let odd = Request::post("/write").header("expect", "").body(()).unwrap();
        assert_eq!(write_api(&odd), Some(Api::V1), "the servers take an empty expectation");
        assert_eq!(write_api(&Request::get("/write").body(()).unwrap()), None);
    }
}
