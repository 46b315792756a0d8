//! Requests that change something otherwise than by a write: what they ask for is on record before the source is asked, what became of
//! it before the client has heard the end of the answer.
//!
//! Promises: the request and the answer are passed on byte for byte; a request that changes nothing streams as any other. Once
//! begun, such a request runs to its end even if its client goes away, so that it gets its outcome.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::door::{Door, writes};
use super::form::Form;
use super::tap::Seen;
use crate::db::client::{Answer, BodyError, Failure, RequestBody};
use crate::db::influxql::{Answered, Class, Ran, ran, split};
use crate::db::precision::Api;
use crate::db::server::Flavor;
use crate::pipeline::{Asked, Changes, Pipeline, Refusal, Reply, Room, unavailable};
use crate::queue::{Door as By, Statement};
use crate::route::{RouteName, WriteIdentity};

/// Of an answer so much is judged; what lies beyond is passed on.
const JUDGED_BYTES_MAX: usize = 256 << 10;
/// A longer text is not cut into statements: its tokens would take many times as much.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Of one request; more are one record that cannot be carried out.
const CHANGES_MAX: usize = 1000;

/// What a request asks to be changed.
#[derive(Debug)]
pub(super) struct Request {
    door: Door,
    pub(super) asked: Vec<Asked>,
    /// Statements in it, those that only read included.
    count: usize,
}

/// A request as it may be read: `first` is its body, or the beginning of it.
pub(super) async fn read(pipeline: &Pipeline, door: Door, head: &Parts, first: &[u8], whole: bool) -> Request {
    let query = head.uri.query().unwrap_or_default();
    let at_ns = pipeline.clock.wall_ns().saturating_add(pipeline.skew.correction_ns());
    let statement = |door: By, class: Class, name: Option<RouteName>, shown: String| Statement {
        door,
        class: class.name().to_owned(),
        name,
        parameters: false,
        at_ns,
        shown,
    };
    let one = |statement: Statement, run: &[u8]| vec![Asked { statement, run: Bytes::copy_from_slice(run), at: 0 }];
    let call = format!("{} {}", head.method, head.uri.path());
    let asked = match door {
        Door::Influxql => {
            let content_type = text(&head.headers, &CONTENT_TYPE);
            let version2 = pipeline.version.borrow().flavor == Flavor::Influx2;
            let form = Form::read(query, content_type, first, version2);
            let name = if version2 { place_of_version2(pipeline, &form).await } else { None };
            if let Some(seen) = head.extensions.get::<Seen>() {
                seen.statements(form.q.as_deref().unwrap_or_default(), form.db.as_deref(), form.rp.as_deref());
            }
            let too_long = form.q.as_ref().is_some_and(|q| q.len() > TEXT_BYTES_MAX);
            let (mut asked, count) = if too_long { (Vec::new(), 0) } else { statements(&form, at_ns, version2, name) };
            let too_many = asked.len() > CHANGES_MAX;
            if too_many {
                asked.clear();
            }
            if too_long || too_many || !whole && !first.is_empty() {
                let shown = format!("{call} with more than is read here");
                asked.push(Asked {
                    statement: statement(By::Influxql, Class::Unread, None, shown),
                    run: Bytes::new(),
                    at: count,
                });
            }
            return Request { door, asked, count };
        }
        Door::Flux if !whole => one(
            statement(By::Call, Class::Unread, None, format!("{call} with a body that was not read to its end")),
            b"",
        ),
        Door::Flux if script_writes(first) => {
            one(statement(By::Call, Class::FluxWrite, None, format!("{call} with a script that writes")), b"")
        }
        Door::Flux => Vec::new(),
        Door::Delete => {
            let name = place_of_delete(pipeline, query).await;
            let shown = format!("{call}: {}", String::from_utf8_lossy(first).chars().take(500).collect::<String>());
            let run = if whole { first } else { b"" };
            one(statement(By::Delete, Class::ApiDelete, name, shown), run)
        }
        Door::Call(class) => one(statement(By::Call, class, None, call), b""),
    };
    Request { door, asked, count: 1 }
}

/// What of a query changes something, and how many statements it has.
fn statements(form: &Form, at_ns: i64, version2: bool, bucket: Option<RouteName>) -> (Vec<Asked>, usize) {
    let found = split(form.q.as_deref().unwrap_or_default());
    let asked = found.iter().enumerate().filter_map(|(at, found)| {
        let change = found.change.as_ref().filter(|change| change.class != Class::KillQuery)?;
        let db = change.db.clone().or_else(|| form.db.clone()).filter(|db| !db.is_empty());
        let rp = change.rp.clone().or_else(|| form.rp.clone()).unwrap_or_default();
        let statement = Statement {
            door: By::Influxql,
            class: change.class.name().to_owned(),
            name: if version2 { bucket.clone() } else { db.map(|db| RouteName::Database { db, rp }) },
            parameters: found.has_parameters(),
            at_ns,
            shown: found.shown(),
        };
        let run = if change.class.is_carried_out() { found.text() } else { "" };
        Some(Asked { statement, run: Bytes::copy_from_slice(run.as_bytes()), at })
    });
    (asked.collect(), found.len())
}

/// On 2.x a database is a bucket, by its mappings.
async fn place_of_version2(pipeline: &Pipeline, form: &Form) -> Option<RouteName> {
    let (db, rp) = (form.db.clone(), form.rp.clone());
    let identity = WriteIdentity { db, rp, ..WriteIdentity::read(Api::V1, "") };
    pipeline.resolver.name(&identity).await
}

/// 2.x takes the id of a bucket before its name; one that nobody knows is no place.
async fn place_of_delete(pipeline: &Pipeline, query: &str) -> Option<RouteName> {
    let identity = WriteIdentity::read(Api::V2, query);
    let id = WriteIdentity::bucket_id(query).filter(|_| pipeline.version.borrow().flavor == Flavor::Influx2);
    let Some(id) = id else { return pipeline.resolver.name(&identity).await };
    let name = pipeline.resolver.name(&WriteIdentity { bucket: Some(id.clone()), ..identity }).await;
    name.filter(|name| !matches!(name, RouteName::Bucket { bucket, .. } if *bucket == id))
}

/// A script as it is, or in JSON.
fn script_writes(body: &[u8]) -> bool {
    let document = serde_json::from_slice::<serde_json::Value>(body).ok();
    let script = document.as_ref().and_then(|document| document.get("query")?.as_str());
    script.map_or_else(|| writes(&String::from_utf8_lossy(body)), writes)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Sends a request that changes something. On a task of its own.
pub(super) async fn change(
    pipeline: Rc<Pipeline>,
    api: Api,
    outgoing: http::Request<RequestBody>,
    request: Request,
    room: Room,
) -> Reply {
    let Request { door, asked, count } = request;
    let changes = match pipeline.changes_asked(asked, pipeline.clock.wall_ns()).await {
        Ok(changes) => changes,
        Err(refused) => return unavailable(api, &refused),
    };
    let response = match pipeline.passing.client().send(outgoing).await {
        Ok(response) => response,
        Err(Failure::NotSent(error)) => {
            pipeline.changes_ran(changes, &vec![Ran::No; count], 0).await;
            return unavailable(api, &Refusal::SourceDown(error.to_string()));
        }
        Err(Failure::Unknown(error)) => {
            pipeline.changes_ran(changes, &[], 0).await;
            return unavailable(api, &Refusal::SourceLost(error.to_string()));
        }
    };
    let (head, body) = response.into_parts();
    let version2 = pipeline.version.borrow().flavor == Flavor::Influx2;
    let judge = Judge {
        pipeline,
        changes,
        door,
        count,
        version2,
        status: head.status,
        content_type: text(&head.headers, &CONTENT_TYPE).to_ascii_lowercase(),
        encoding: text(&head.headers, &CONTENT_ENCODING).to_ascii_lowercase(),
    };
    if body.is_end_stream() {
        judge.settle(&[], true).await;
        return super::pass::answer(Response::from_parts(head, body));
    }
    let (size, (frames, heard)) = (body.size_hint(), mpsc::channel(1));
    tokio::task::spawn_local(hear(body, judge, room, frames));
    super::pass::answer_with(head, Box::pin(Heard { frames: heard, size, ended: false }))
}

/// What is needed to say what became of the changes.
struct Judge {
    pipeline: Rc<Pipeline>,
    changes: Changes,
    door: Door,
    count: usize,
    version2: bool,
    status: StatusCode,
    content_type: String,
    encoding: String,
}

impl Judge {
    /// `heard`: the answer, or its beginning.
    async fn settle(self, heard: &[u8], whole: bool) {
        let status = self.status.as_u16();
        let ran = match self.door {
            Door::Influxql => {
                let (content_type, encoding) = (self.content_type.as_str(), self.encoding.as_str());
                let answer = Answered { status, content_type, encoding, body: heard, whole };
                ran(&answer, self.count, self.version2)
            }
            // A head alone says nothing: it may have gone out before the work was done.
            _ if self.status.is_success() && whole => vec![Ran::Yes; self.count],
            _ => vec![Ran::Unknown; self.count],
        };
        // What a delete cannot do is said before it begins.
        let cannot = self.door == Door::Delete && self.status == StatusCode::NOT_IMPLEMENTED;
        let nothing_ran = is_refusal(self.status) || cannot;
        // What could not be read has run unless the source has refused it.
        let ran = if nothing_ran { vec![Ran::No; self.count + 1] } else { ran };
        self.pipeline.changes_ran(self.changes, &ran, status).await;
    }
}

/// Whether a server that says so has done nothing; something in between may lose patience while it works.
fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT
}

/// Reads an answer to its end, whether or not anybody listens. Its last piece goes on once the outcome is durable.
async fn hear(mut body: Answer, judge: Judge, mut room: Room, frames: mpsc::Sender<Result<Frame<Bytes>, BodyError>>) {
    let (mut heard, mut whole) = (Vec::new(), true);
    loop {
        let frame = match body.frame().await {
            None => return judge.settle(&heard, whole).await,
            Some(Err(error)) => {
                judge.settle(&heard, false).await;
                drop(frames.send(Err(error.into())).await);
                return;
            }
            Some(Ok(frame)) => frame,
        };
        if let Some(data) = frame.data_ref() {
            let wanted = data.len().min(JUDGED_BYTES_MAX - heard.len());
            // What finds no room is not judged; whether it ran is not known then.
            let kept = if whole && room.try_grow(wanted) { wanted } else { 0 };
            whole &= data.len() == kept;
            heard.extend_from_slice(&data[..kept]);
        }
        if body.is_end_stream() {
            judge.settle(&heard, whole).await;
            drop(frames.send(Ok(frame)).await);
            return;
        }
        // A client that has gone away does not end it.
        drop(frames.send(Ok(frame)).await);
    }
}

/// The answer as the client gets it.
struct Heard {
    frames: mpsc::Receiver<Result<Frame<Bytes>, BodyError>>,
    size: SizeHint,
    ended: bool,
}

impl Body for Heard {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(self.frames.poll_recv(cx));
        self.ended = frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}
