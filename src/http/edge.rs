//! What kind of request it is, and who answers it.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::EXPECT;
use http::{Method, Request};
use hyper::body::Incoming;
use metrics::counter;
use tokio::sync::Semaphore;

use super::body::{self, Unread};
use super::pass;
use crate::base::metric;
use crate::db::precision::Api;
use crate::pipeline::{ClientWrite, Pipeline, Refusal, Reply, unavailable};

/// In-flight bytes are counted in units of this size.
pub(super) const UNIT_BYTES: usize = 1024;
/// How long a write waits for room before it hears 503.
const ROOM_WAIT: Duration = Duration::from_secs(2);

/// Everything a connection needs. One thread.
#[derive(Clone)]
pub struct Edge(Rc<Inner>);

struct Inner {
    pipeline: Rc<Pipeline>,
    room: Arc<Semaphore>,
    body_bytes_max: usize,
    writes: Cell<u64>,
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Edge")
    }
}

impl Edge {
    /// `in_flight_bytes`: request bodies held at once; `body_bytes_max`: the largest one.
    #[must_use]
    pub fn new(pipeline: Rc<Pipeline>, in_flight_bytes: usize, body_bytes_max: usize) -> Self {
        let room = Arc::new(Semaphore::new((in_flight_bytes / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS)));
        Self(Rc::new(Inner { pipeline, room, body_bytes_max, writes: Cell::new(0) }))
    }

    /// Writes that are being worked on.
    #[must_use]
    pub fn writes_under_way(&self) -> u64 {
        self.0.writes.get()
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Incoming>) -> Reply {
        let api = write_api(&request);
        let reply = match api {
            Some(api) => self.write(api, request).await,
            None => pass::pass(&self.0.pipeline, request).await,
        };
        let kind = if api.is_some() { "write" } else { "other" };
        counter!(metric::HTTP_REQUESTS, "kind" => kind, "code" => reply.status().as_u16().to_string()).increment(1);
        reply
    }

    async fn write(&self, api: Api, request: Request<Incoming>) -> Reply {
        let (head, body) = request.into_parts();
        let read = body::read(body, self.0.body_bytes_max, Arc::clone(&self.0.room), ROOM_WAIT).await;
        let read = match read {
            Ok(read) => read,
            Err(Unread::TooLarge) => return body::too_large(api),
            Err(Unread::NoRoom) => return unavailable(api, &Refusal::Capacity("too many bytes in flight")),
            Err(Unread::Broken) => return unavailable(api, &Refusal::Capacity("the body did not arrive")),
        };
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let write = ClientWrite {
            api,
            method: head.method,
            target,
            headers: head.headers,
            extensions: head.extensions,
            body: read.bytes,
        };
        let pipeline = Rc::clone(&self.0.pipeline);
        let edge = self.clone();
        edge.0.writes.set(edge.0.writes.get() + 1);
        // On a task of its own: when the client goes away, the write that was begun still gets its outcome.
        let working = tokio::task::spawn_local(async move {
            let reply = pipeline.write(write).await;
            drop(read.room);
            edge.0.writes.set(edge.0.writes.get() - 1);
            reply
        });
        working.await.unwrap_or_else(|_| unavailable(api, &Refusal::Capacity("the write was given up")))
    }
}

/// Whether a request is a write that we understand. An `Expect` other than `100-continue` is the source's to refuse.
fn write_api(request: &Request<Incoming>) -> Option<Api> {
    if request.method() != Method::POST {
        return None;
    }
    let plain = request.headers().get(EXPECT).is_none_or(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    match request.uri().path() {
        "/write" if plain => Some(Api::V1),
        "/api/v2/write" if plain => Some(Api::V2),
        _ => None,
    }
}
