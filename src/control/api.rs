//! The admin listener and the local socket: which path gives what.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::backfill;
use super::doubt;
use super::figures::{Mirror, Share, Shared, Sources};
use super::letters;
use super::metrics_text::Recorder;
use super::pressure;
use super::queue::{QueueFacts, held_document, moment};
use super::statements;
use super::status::{Facts, full_text, status};
use super::tap;
use crate::base::clock::SharedClock;
use crate::config::DoubtAlarm;
use crate::delivery::{Hold, hold};
use crate::http::EdgeView;
use crate::pipeline::{Reply, Silence, whole};
use crate::queue::Meter;
use crate::queue::doubts::Doubts;
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
    /// One for each destination.
    meters: Shared<Vec<Meter>>,
}

#[allow(clippy::result_large_err, reason = "a refusal is an answer like any other, made once a request")]
impl Control {
    /// What it shows comes from these.
    #[must_use]
    pub fn new(
        (log, silence): (Arc<Wal>, Silence),
        mirrors: Vec<Mirror>,
        state: SharedState,
        clock: SharedClock,
        facts: Arc<std::sync::Mutex<Facts>>,
        recorder: Recorder,
    ) -> Self {
        let started = clock.monotonic();
        let watch = Arc::default();
        let meters = Arc::new(Mutex::new(mirrors.iter().map(|_| Meter::default()).collect()));
        let edge = EdgeView::default();
        let doubt_rule = DoubtAlarm::default();
        let (doubts, doubt_alarms) = (Doubts::new(doubt_rule.window), Arc::default());
        let sources =
            Sources { log, silence, edge, mirrors, state, clock, started, watch, doubts, doubt_rule, doubt_alarms };
        Self { sources, facts, recorder, max_age: None, meters }
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

    /// Shows which routes have lines in doubt, and tells of those where that goes on by this rule.
    #[must_use]
    pub fn with_doubts(mut self, doubts: Doubts, rule: DoubtAlarm) -> Self {
        (self.sources.doubts, self.sources.doubt_rule) = (doubts, rule);
        self
    }

    /// Folds metric samples and looks how the queue fills; call every few seconds.
    pub fn upkeep(&self) {
        self.recorder.upkeep();
        let figures = self.sources.glance();
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        for (meter, share) in meters.iter_mut().zip(&figures.shares) {
            meter.note(moment(&figures, &share.view));
        }
        drop(meters);
        let mut watch = self.sources.watch.lock().unwrap_or_else(PoisonError::into_inner);
        pressure::look(&mut watch, &figures, &self.sources, self.max_age);
        drop(watch);
        let mut alarms = self.sources.doubt_alarms.lock().unwrap_or_else(PoisonError::into_inner);
        doubt::look(&mut alarms, &figures.doubt, &self.sources);
    }

    /// The destination that is named, else the first, with the others beside it.
    fn queue_facts(&self, query: &str) -> Result<QueueFacts, Reply> {
        let named = word(query, "destination").map(|_| self.mirror(query)).transpose()?;
        let figures = self.sources.glance();
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        let all = meters.iter_mut().zip(&figures.shares).zip(&self.sources.mirrors).map(|((meter, share), mirror)| {
            let now = moment(&figures, &share.view);
            let pace = meter.pace(now);
            meter.note(now);
            QueueFacts::of(self.sources.log.dir(), &figures, share, pace, mirror.hold.since_ns())
        });
        let mut all: Vec<QueueFacts> = all.collect();
        drop(meters);
        if let Some(named) = named {
            all.retain(|facts| facts.destination == named.id.as_str());
        }
        let others = all.split_off(1);
        Ok(all.pop().map(|first| QueueFacts { others, ..first }).unwrap_or_default())
    }

    /// The destination that is named in a query, else the only one.
    fn mirror(&self, query: &str) -> Result<&Mirror, Reply> {
        let mirrors = &self.sources.mirrors;
        let found = match word(query, "destination") {
            Some(id) => mirrors.iter().find(|mirror| mirror.id.as_str() == id),
            None => mirrors.first().filter(|_| mirrors.len() == 1),
        };
        found.ok_or_else(|| {
            let ids: Vec<&str> = mirrors.iter().map(|mirror| mirror.id.as_str()).collect();
            let error = format!("name a destination: {}", ids.join(", "));
            document_reply(StatusCode::BAD_REQUEST, &json!({ "error": error }))
        })
    }

    /// An operator holds delivery, or lets it go on: durable first, so that a restart in between changes nothing.
    async fn set_hold(&self, query: &str, lasts: bool) -> Result<Reply, Reply> {
        let Mirror { id, hold, .. } = self.mirror(query)?;
        let now_ns = self.sources.clock.wall_ns();
        let before = hold.since_ns();
        if before.is_some() == lasts {
            return Ok(document_reply(StatusCode::OK, &held_document(id, before, false)));
        }
        let since_ns = lasts.then_some(now_ns);
        if let Err(error) = self.sources.state.set(&hold::name(id), Hold::value(since_ns)).await {
            return Err(document_reply(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": error.to_string() })));
        }
        hold.set(since_ns);
        let to = if self.sources.mirrors.len() > 1 { format!(" to {id}") } else { String::new() };
        let (kind, text) = match lasts {
            true => {
                (EventKind::DeliveryPaused, format!("an operator has paused delivery{to}; writes go on into the queue"))
            }
            false => (EventKind::DeliveryResumed, format!("an operator has let delivery{to} go on")),
        };
        tracing::info!(event = ?kind, "{text}");
        // The log has it in any case.
        drop(self.sources.state.add_event(Event { at_ns: now_ns, kind, text }));
        Ok(document_reply(StatusCode::OK, &held_document(id, since_ns.or(before), true)))
    }

    /// Answers one request.
    pub async fn handle(&self, door: Door, request: Request<Incoming>) -> Reply {
        self.answer(door, request).await.unwrap_or_else(|refused| refused)
    }

    async fn answer(&self, door: Door, request: Request<Incoming>) -> Result<Reply, Reply> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let query = query.as_str();
        if request.method() == Method::POST && door == Door::Socket {
            match request.uri().path() {
                "/api/v1/queue/pause" => return self.set_hold(query, true).await,
                "/api/v1/queue/resume" => return self.set_hold(query, false).await,
                "/api/v1/dead-letters/remove" => {
                    return Ok(letters::remove(&self.sources, self.mirror(query)?, request.into_body()).await);
                }
                "/api/v1/statements/confirm" => {
                    return Ok(statements::confirm(&self.sources, self.mirror(query)?, request.into_body()).await);
                }
                "/api/v1/backfill" => return Ok(backfill::order(self.mirror(query)?, request.into_body()).await),
                "/api/v1/statements/clear" => {
                    return Ok(statements::clear(&self.sources, self.mirror(query)?, request.into_body()).await);
                }
                _ => {}
            }
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is known here\n".to_owned());
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Err(reply);
        }
        if door == Door::Listener && !local_name(&request) {
            return Err(text(StatusCode::MISDIRECTED_REQUEST, "this name is not served here\n".to_owned()));
        }
        Ok(match request.uri().path() {
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
            "/api/v1/queue" if door == Door::Socket => document_reply(StatusCode::OK, &json!(self.queue_facts(query)?)),
            "/api/v1/backfill" if door == Door::Socket => backfill::now(self.mirror(query)?),
            "/api/v1/tap" if door == Door::Socket => tap::tap(query),
            "/api/v1/events" => self.events(query).await,
            "/api/v1/dead-letters" if door == Door::Socket => self.dead_letters(self.mirror(query)?, query).await,
            "/api/v1/statements" if door == Door::Socket => {
                statements::page(&self.sources, self.mirror(query)?, query).await
            }
            "/api/v1/dead-letters/page" if door == Door::Socket => {
                letters::page(&self.sources, self.mirror(query)?, query).await
            }
            _ => text(StatusCode::NOT_FOUND, "/healthz /readyz /metrics /api/v1/status /api/v1/events\n".to_owned()),
        })
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
        let several = figures.shares.len() > 1;
        let of = |share: &Share| if several { format!("{}: ", share.id) } else { String::new() };
        for share in &figures.shares {
            if let Some(failed) = &share.view.failed {
                reasons.push(format!("{}delivery has stopped: {failed}", of(share)));
            }
            if !share.view.ready {
                reasons.push(format!("{}delivery has not started", of(share)));
            }
        }
        if figures.shares.iter().any(|share| share.totals.is_none()) {
            reasons.push("the state store does not answer".to_owned());
        }
        let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        // A destination that is away does not make us unready: clients feel nothing of it. Nor does a silent source: clients
        // would not fare better elsewhere.
        let paused = figures
            .shares
            .iter()
            .flat_map(|share| share.view.paused.iter().map(move |p| format!("{}{}: {}", of(share), p.what, p.reason)));
        let fills = figures.pressure.warning();
        let silent = figures.source_silent.iter().map(ToString::to_string);
        let warnings: Vec<String> = silent.chain(paused).chain(fills).chain(doubt::warnings(&figures)).collect();
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

    async fn dead_letters(&self, mirror: &Mirror, query: &str) -> Reply {
        let limit = parameter(query, "limit").unwrap_or(100).clamp(1, ROWS_MAX as i64) as usize;
        match self.sources.state.dead_letters(&mirror.id, limit).await {
            Ok(rows) => document_reply(StatusCode::OK, &json!({ "schema": "twinline.deadletters/1", "lines": rows })),
            Err(error) => document_reply(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": error.to_string() })),
        }
    }
}

fn parameter(query: &str, name: &str) -> Option<i64> {
    word(query, name)?.parse().ok()
}

/// A value of a query; none that is asked for here needs escapes.
fn word<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
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
