//! Everything that is not a write in line protocol: to the source and back, untouched and streamed both ways. Only what may change
//! something there is looked at first, and goes through [`statements`] where it does.
//!
//! When the client goes away, its request at the source ends too: dropping our half closes that connection, which is how a
//! database learns that nobody waits for a query any more.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::door::{Door, door};
use super::gather::gather;
use super::statements;
use super::tap::Seen;
use crate::db::client::{Answer, BodyError, Failure, RequestBody};
use crate::db::hop;
use crate::db::precision::Api;
use crate::pipeline::{Budget, Pipeline, Refusal, Reply, ReplyBody, Room, unavailable};

pub(super) async fn pass(pipeline: &Rc<Pipeline>, budget: &Budget, request: Request<Incoming>) -> Reply {
    let api = if request.uri().path().starts_with("/api/") { Api::V2 } else { Api::V1 };
    let may_move_names = may_move_names(&request);
    let unmirrored = is_other_write(&request).then(|| request.uri().query().unwrap_or_default().to_owned());
    if let Some(query) = &unmirrored {
        pipeline.sends_other_protocol(query).await;
    }
    let (head, body, changes) = look(pipeline, budget.room(), request).await;
    let outgoing = match prepare(pipeline, head, body) {
        Ok(outgoing) => outgoing,
        Err(error) => return unavailable(api, &Refusal::SourceDown(error.to_string())),
    };
    let reply = match changes {
        None => send(pipeline, api, outgoing).await,
        Some(changes) => {
            // On a task of its own: when the client goes away, what was begun still gets its outcome.
            let working = tokio::task::spawn_local(statements::change(
                Rc::clone(pipeline),
                api,
                outgoing,
                changes,
                budget.room(),
            ));
            working.await.unwrap_or_else(|_| unavailable(api, &Refusal::Capacity("the request was given up")))
        }
    };
    if let Some(query) = unmirrored
        && reply.status().is_success()
        && let Err(refused) = pipeline.missed_other_protocol(&query).await
    {
        return unavailable(api, &refused);
    }
    if may_move_names {
        pipeline.resolver.forget();
    }
    reply
}

/// What a request asks to be changed, if anything; a body that says so is held for it.
async fn look(
    pipeline: &Pipeline,
    room: Room,
    request: Request<Incoming>,
) -> (Parts, RequestBody, Option<statements::Request>) {
    let door = door(&request);
    let (head, body) = request.into_parts();
    let Some(door) = door else { return (head, streamed(body), None) };
    let is_looked_at = !matches!(door, Door::Call(_)) && head.method == Method::POST;
    let (first, whole, body) = if is_looked_at {
        let gathered = gather(body, room).await;
        (gathered.first.clone(), gathered.whole, gathered.body().boxed_unsync())
    } else {
        (Bytes::new(), true, streamed(body))
    };
    let changes = statements::read(pipeline, door, &head, &first, whole).await;
    if let Some(seen) = head.extensions.get::<Seen>().filter(|_| !changes.asked.is_empty()) {
        seen.changes();
    }
    (head, body, Some(changes).filter(|changes| !changes.asked.is_empty()))
}

/// No time limit of ours: a query takes as long as its client waits.
async fn send(pipeline: &Pipeline, api: Api, outgoing: Request<RequestBody>) -> Reply {
    match pipeline.passing.client().send(outgoing).await {
        // Nobody has asked it to: what comes next on that connection is not HTTP.
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            unavailable(api, &Refusal::SourceLost("it went over to another protocol unasked".to_owned()))
        }
        Ok(response) => answer(response),
        Err(Failure::NotSent(error)) => unavailable(api, &Refusal::SourceDown(error.to_string())),
        Err(Failure::Unknown(error)) => unavailable(api, &Refusal::SourceLost(error.to_string())),
    }
}

fn streamed(body: Incoming) -> RequestBody {
    body.map_err(|e| -> BodyError { Box::new(e) }).boxed_unsync()
}

/// Statements and calls that can change default policies, mappings or names of buckets.
fn may_move_names(request: &Request<Incoming>) -> bool {
    let path = request.uri().path();
    let query = request.uri().query().unwrap_or_default().to_ascii_uppercase();
    match path {
        "/query" => *request.method() == Method::POST || ["ALTER", "CREATE", "DROP"].iter().any(|s| query.contains(s)),
        _ => {
            *request.method() != Method::GET
                && (path.starts_with("/api/v2/dbrps") || path.starts_with("/api/v2/buckets"))
        }
    }
}

/// Prometheus remote write, which InfluxDB 1.x stores as points, and writes in the third API, should a source know it: what they bring
/// is not mirrored, and must not be missing in silence.
fn is_other_write<B>(request: &Request<B>) -> bool {
    let is = |path: &[u8]| percent_decode_str(request.uri().path()).eq(path.iter().copied());
    *request.method() == Method::POST && (is(b"/api/v1/prom/write") || is(b"/api/v3/write_lp"))
}

fn prepare(pipeline: &Pipeline, mut head: Parts, body: RequestBody) -> Result<Request<RequestBody>, http::Error> {
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    head.uri = format!("{}{target}", pipeline.passing.prefix()).try_into()?;
    // The far connection is ours: what version the client speaks is between it and us.
    head.version = http::Version::HTTP_11;
    let chunked = head.headers.contains_key(TRANSFER_ENCODING);
    hop::strip(&mut head.headers);
    head.headers.insert(HOST, pipeline.passing.host().clone());
    // hyper says `100 Continue` to the client when we begin to read; what else is expected is the source's to refuse.
    if head.headers.get(EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        head.headers.remove(EXPECT);
    }
    if chunked {
        head.headers.remove(CONTENT_LENGTH);
        // hyper sends no body of unknown length with a GET unless it is told to.
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Ok(Request::from_parts(head, body))
}

pub(super) fn answer(response: Response<Answer>) -> Reply {
    let (head, body) = response.into_parts();
    answer_with(head, Box::pin(Streamed(body)))
}

pub(super) fn answer_with(mut head: http::response::Parts, body: ReplyBody) -> Reply {
    hop::strip_in_order(&mut head.headers);
    Response::from_parts(head, body)
}

struct Streamed(Answer);

impl Body for Streamed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.0).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_writes_are_seen_however_their_path_is_written() {
        let is = |path: &str| is_other_write(&Request::post(path).body(()).unwrap());
        assert!(is("/api/v1/prom/write?db=d") && is("/api/v1/prom/%77rite?db=d"));
        assert!(!is("/api/v1/prom/read?db=d") && !is("/api/v1/prom/write/x") && !is("/api/v1/prom"));
        assert!(is("/api/v3/write_lp?db=d") && is("/api/v3/%77rite_lp") && !is("/api/v3/query_sql"));
        assert!(!is_other_write(&Request::get("/api/v1/prom/write").body(()).unwrap()));
    }
}
