//! The admin listener and the local socket: which path gives what.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::figures::{Shared, Sources};
use super::letters;
use super::metrics_text::Recorder;
use super::pressure;
use super::queue::{QueueFacts, held_document, moment};
use super::statements;
use super::status::{Facts, full_text, status};
use crate::base::DestinationId;
use crate::base::clock::SharedClock;
use crate::delivery::{Hold, SharedView, hold};
use crate::http::EdgeView;
use crate::pipeline::{HeldGaps, Reply, Silence, whole};
use crate::queue::Meter;
use crate::state::{Event, EventKind, SharedState};
use crate::wal::Wal;

/// Rows that one listing gives at most.
const ROWS_MAX: usize = 1000;

/// Through which door a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The local socket: whoever may open it owns the data directory.
    Socket,
    /// The admin listener.
    Listener,
}

/// Answers operators.
#[derive(Clone, Debug)]
pub struct Control {
    sources: Sources,
    facts: Shared<Facts>,
    recorder: Recorder,
    max_age: Option<Duration>,
    hold: Hold,
    meter: Shared<Meter>,
}

impl Control {
    /// What it shows comes from these.
    #[must_use]
    pub fn new(
        (log, gaps, silence): (Arc<Wal>, HeldGaps, Silence),
        (view, hold): (SharedView, Hold),
        state: SharedState,
        destination: DestinationId,
        clock: SharedClock,
        facts: Arc<std::sync::Mutex<Facts>>,
        recorder: Recorder,
    ) -> Self {
        let started = clock.monotonic();
        let watch = Arc::default();
        let edge = EdgeView::default();
        let sources = Sources { log, gaps, silence, edge, view, state, destination, clock, started, watch };
        Self { sources, facts, recorder, max_age: None, hold, meter: Shared::default() }
    }

    /// Tells of a write that waits for longer than this.
    #[must_use]
    pub fn with_max_age(self, max_age: Option<Duration>) -> Self {
        Self { max_age, ..self }
    }

    /// Shows what the edge has seen.
    #[must_use]
    pub fn with_edge(mut self, edge: EdgeView) -> Self {
        self.sources.edge = edge;
        self
    }

    /// Folds metric samples and looks how the queue fills; call every few seconds.
    pub fn upkeep(&self) {
        self.recorder.upkeep();
        let now = moment(&self.sources.glance());
        self.meter.lock().unwrap_or_else(PoisonError::into_inner).note(now);
        let mut watch = self.sources.watch.lock().unwrap_or_else(PoisonError::into_inner);
        pressure::look(&mut watch, &self.sources, self.max_age);
    }

    fn queue_facts(&self) -> QueueFacts {
        let figures = self.sources.glance();
        let now = moment(&figures);
        let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = meter.pace(now);
        meter.note(now);
        drop(meter);
        QueueFacts::of(self.sources.log.dir(), &figures, pace, self.hold.since_ns())
    }

    /// An operator holds delivery, or lets it go on: durable first, so that a restart in between changes nothing.
    async fn set_hold(&self, lasts: bool) -> Reply {
        let now_ns = self.sources.clock.wall_ns();
        let before = self.hold.since_ns();
        if before.is_some() == lasts {
            return document_reply(StatusCode::OK, &held_document(before, false));
        }
        let since_ns = lasts.then_some(now_ns);
        if let Err(error) = self.sources.state.set(hold::NAME, Hold::value(since_ns)).await {
            return document_reply(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": error.to_string() }));
        }
        self.hold.set(since_ns);
        let (kind, text) = match lasts {
            true => (EventKind::DeliveryPaused, "an operator has paused delivery; writes go on into the queue"),
            false => (EventKind::DeliveryResumed, "an operator has let delivery go on"),
        };
        tracing::info!(event = ?kind, "{text}");
        // The log has it in any case.
        drop(self.sources.state.add_event(Event { at_ns: now_ns, kind, text: text.to_owned() }));
        document_reply(StatusCode::OK, &held_document(since_ns.or(before), true))
    }

    /// Answers one request.
    pub async fn handle(&self, door: Door, request: Request<Incoming>) -> Reply {
        if request.method() == Method::POST && door == Door::Socket {
            match request.uri().path() {
                "/api/v1/queue/pause" => return self.set_hold(true).await,
                "/api/v1/queue/resume" => return self.set_hold(false).await,
                "/api/v1/dead-letters/remove" => return letters::remove(&self.sources, request.into_body()).await,
                "/api/v1/statements/confirm" => {
                    return statements::confirm(&self.sources, &self.hold, request.into_body()).await;
                }
                "/api/v1/statements/clear" => return statements::clear(&self.sources, request.into_body()).await,
                _ => {}
            }
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is known here\n".to_owned());
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return reply;
        }
        if door == Door::Listener && !local_name(&request) {
            return text(StatusCode::MISDIRECTED_REQUEST, "this name is not served here\n".to_owned());
        }
        let query = request.uri().query().unwrap_or_default();
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => self.ready().await,
            "/metrics" => {
                let mut reply = text(StatusCode::OK, self.recorder.text(&self.sources.look().await));
                reply
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
                reply
            }
            "/api/v1/status" => {
                let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let document = status(facts, &self.sources.look().await);
                document_reply(StatusCode::OK, &json!(document))
            }
            "/api/v1/queue" if door == Door::Socket => document_reply(StatusCode::OK, &json!(self.queue_facts())),
            "/api/v1/events" => self.events(query).await,
            "/api/v1/dead-letters" if door == Door::Socket => self.dead_letters(query).await,
            "/api/v1/statements" if door == Door::Socket => statements::page(&self.sources, query).await,
            "/api/v1/dead-letters/page" if door == Door::Socket => letters::page(&self.sources, query).await,
            _ => text(StatusCode::NOT_FOUND, "/healthz /readyz /metrics /api/v1/status /api/v1/events\n".to_owned()),
        }
    }

    async fn ready(&self) -> Reply {
        let figures = self.sources.look().await;
        let mut reasons = Vec::new();
        if let Some(fault) = &figures.log.fault {
            reasons.push(format!("the queue has failed: {fault}"));
        } else if figures.log.stalled {
            reasons.push("the queue's disk does not answer".to_owned());
        } else if figures.log.full {
            reasons.push(format!("the queue is full: {}", full_text(&figures.log)));
        }
        if let Some(failed) = &figures.view.failed {
            reasons.push(format!("delivery has stopped: {failed}"));
        }
        if !figures.view.ready {
            reasons.push("delivery has not started".to_owned());
        }
        if figures.totals.is_none() {
            reasons.push("the state store does not answer".to_owned());
        }
        let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        // A destination that is away does not make us unready: clients feel nothing of it. Nor does a silent source: clients
        // would not fare better elsewhere.
        let paused = figures.view.paused.iter().map(|p| format!("{}: {}", p.what, p.reason));
        let fills = figures.pressure.warning();
        let silent = figures.source_silent.iter().map(ToString::to_string);
        let warnings: Vec<String> = silent.chain(paused).chain(fills).collect();
        document_reply(status, &json!({ "ready": reasons.is_empty(), "reasons": reasons, "warnings": warnings }))
    }

    async fn events(&self, query: &str) -> Reply {
        let after = parameter(query, "after").unwrap_or(0);
        let limit = parameter(query, "limit").unwrap_or(100).clamp(1, ROWS_MAX as i64) as usize;
        match self.sources.state.events(after, limit).await {
            Ok(rows) => {
                let rows: Vec<Value> = rows
                    .into_iter()
                    .map(|(id, e)| json!({ "id": id, "at": crate::base::clock::rfc3339(e.at_ns), "kind": e.kind, "text": e.text }))
                    .collect();
                document_reply(StatusCode::OK, &json!({ "schema": "twinline.events/1", "events": rows }))
            }
            Err(error) => document_reply(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": error.to_string() })),
        }
    }

    async fn dead_letters(&self, query: &str) -> Reply {
        let limit = parameter(query, "limit").unwrap_or(100).clamp(1, ROWS_MAX as i64) as usize;
        match self.sources.state.dead_letters(&self.sources.destination, limit).await {
            Ok(rows) => document_reply(StatusCode::OK, &json!({ "schema": "twinline.deadletters/1", "lines": rows })),
            Err(error) => document_reply(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": error.to_string() })),
        }
    }
}

fn parameter(query: &str, name: &str) -> Option<i64> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

/// Against a page in somebody's browser that lets its own name point here.
fn local_name(request: &Request<Incoming>) -> bool {
    let Some(host) = request.headers().get(HOST).and_then(|host| host.to_str().ok()) else { return true };
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    name == "localhost" || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
}

fn text(status: StatusCode, body: String) -> Reply {
    let mut reply = Response::new(whole(Bytes::from(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    reply
}

pub(super) fn document_reply(status: StatusCode, body: &Value) -> Reply {
    let mut reply = text(status, format!("{body}\n"));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}
