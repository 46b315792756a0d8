//! Brings one batch to its end: stored, or refused for good and recorded so. One request in flight per lane.

use std::collections::VecDeque;
use std::io::Write;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use metrics::counter;

use super::Shared;
use super::batch::Batch;
use super::lane::Place;
use super::target::TargetId;
use crate::base::metric;
use crate::db::answer::{self, Action, Limit};
use crate::db::client::{Failure, RequestBody};
use crate::state::{DeadLetter, Effects, Event, EventKind};

/// A destination's words that we read at most.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Pause between attempts to write to our own state store.
const STATE_RETRY: Duration = Duration::from_millis(500);

/// How a batch left.
enum End {
    /// Nothing of it is left.
    Done,
    /// Its target is paused.
    Parked,
    /// We are stopping.
    Stopped,
}

/// Sends what a lane holds, for as long as the process runs.
pub(super) async fn run_lane(shared: Rc<Shared>, index: usize) {
    while let Some((place, batch)) = next_batch(&shared, index).await {
        let bytes = batch.bytes();
        match bring_to_end(&shared, index, &batch).await {
            End::Done => {
                shared.lanes[index].borrow_mut().finish();
                shared.pending_bytes.set(shared.pending_bytes.get() - bytes);
                shared.room.notify_one();
                counter!(metric::DELIVERED).increment(batch.len() as u64);
            }
            End::Parked => shared.lanes[index].borrow_mut().put_back(place, batch),
            End::Stopped => {
                shared.lanes[index].borrow_mut().put_back(place, batch);
                return;
            }
        }
    }
}

/// Waits for a batch that may go; `None` when we are stopping.
async fn next_batch(shared: &Shared, index: usize) -> Option<(Place, Batch)> {
    loop {
        if shared.stopping.get() {
            return None;
        }
        let now = shared.clock.monotonic();
        let until = match shared.pauses.destination_until(now) {
            Some(until) => Some(until),
            None => {
                let wait = shared.settings.batch_wait;
                match shared.lanes[index].borrow_mut().take(now, wait, |target| shared.pauses.holds(target, now)) {
                    Ok(found) => return Some(found),
                    Err(due) => due.into_iter().chain(shared.pauses.next_probe(now)).min(),
                }
            }
        };
        let woken = shared.work[index].notified();
        match until {
            Some(until) => {
                // Woken early is fine: the loop looks again.
                let _ = tokio::time::timeout(until.saturating_sub(now), woken).await;
            }
            None => woken.await,
        }
    }
}

async fn bring_to_end(shared: &Shared, lane: usize, batch: &Batch) -> End {
    let mut parts = VecDeque::new();
    parts.push_back(0..batch.len());
    while let Some(part) = parts.pop_front() {
        if shared.stopping.get() {
            return End::Stopped;
        }
        let halves = |part: &Range<usize>| {
            let middle = part.start + part.len() / 2;
            [part.start..middle, middle..part.end]
        };
        match attempt(shared, lane, batch, &part).await {
            Action::Acknowledge => resumed(shared, batch.target),
            Action::Split { .. } | Action::Bisect { .. } if part.is_empty() => {}
            Action::Split { reason } if part.len() == 1 => bury(shared, lane, batch, part, "too-large", &reason).await,
            Action::Bisect { code, reason, dropped } if part.len() == 1 || dropped == Some(part.len() as u64) => {
                resumed(shared, batch.target);
                bury(shared, lane, batch, part, code, &reason).await;
            }
            Action::Split { .. } | Action::Bisect { .. } => {
                resumed(shared, batch.target);
                for half in halves(&part).into_iter().rev() {
                    parts.push_front(half);
                }
            }
            Action::Retry { after_s, reason } => {
                pause_destination(shared, reason, after_s.map(Duration::from_secs));
                parts.push_front(part);
                rest(shared).await;
            }
            Action::Pause { limit: Limit::Destination, reason } => {
                pause_destination(shared, reason, None);
                parts.push_front(part);
                rest(shared).await;
            }
            Action::Pause { limit: Limit::Route, reason } => {
                pause_target(shared, batch.target, reason);
                return End::Parked;
            }
        }
    }
    End::Done
}

/// Waits out the destination's pause.
async fn rest(shared: &Shared) {
    while let Some(until) = shared.pauses.destination_until(shared.clock.monotonic()) {
        if shared.stopping.get() {
            return;
        }
        let left = until.saturating_sub(shared.clock.monotonic());
        // In short steps, so that a stop is not held up by a long pause.
        tokio::time::sleep(left.min(Duration::from_millis(200))).await;
    }
}

/// One request. Whatever its end, its lines are remembered where the destination may still be working on them.
async fn attempt(shared: &Shared, lane: usize, batch: &Batch, part: &Range<usize>) -> Action {
    let text = batch.part(part);
    let request = match request(shared, batch.target, text) {
        Ok(request) => request,
        Err(error) => return Action::Pause { limit: Limit::Route, reason: error.to_string() },
    };
    let asking = async {
        let response = shared.server.client().send(request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        // An answer that is too long to read still has its status.
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Ok::<_, Failure>((head, body))
    };
    let (action, ended) = match tokio::time::timeout(shared.server.answer_timeout(), asking).await {
        Ok(Ok((head, body))) => {
            let action = answer::destination(shared.flavor, head.status, &head.headers, &body);
            // A server that gives up on a write may still be doing it; one that turns it away is not.
            let ended = !matches!(action, Action::Retry { .. }) || matches!(head.status.as_u16(), 429 | 503);
            (action, ended)
        }
        Ok(Err(failure)) => {
            let reason = failure.error().to_string();
            (Action::Retry { after_s: None, reason }, matches!(failure, Failure::NotSent(_)))
        }
        Err(_) => (Action::Retry { after_s: None, reason: "no answer in time".to_owned() }, false),
    };
    if !ended {
        let until = shared.clock.monotonic() + shared.settings.late_write_max;
        shared.lanes[lane].borrow_mut().unanswered(batch, part, until);
    }
    let outcome = match &action {
        Action::Acknowledge => "acknowledged",
        Action::Retry { .. } => "retry",
        Action::Split { .. } => "split",
        Action::Bisect { .. } => "refused",
        Action::Pause { .. } => "pause",
    };
    counter!(metric::ATTEMPTS, "outcome" => outcome).increment(1);
    action
}

fn request(shared: &Shared, target: TargetId, text: &[u8]) -> Result<Request<RequestBody>, http::Error> {
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
    let body = if shared.gzip {
        request = request.header(CONTENT_ENCODING, "gzip");
        let mut encoder =
            flate2::write::GzEncoder::new(Vec::with_capacity(text.len() / 5), flate2::Compression::fast());
        let packed = encoder.write_all(text).and_then(|()| encoder.finish());
        Bytes::from(packed.expect("writing into memory does not fail"))
    } else {
        Bytes::copy_from_slice(text)
    };
    request.header(CONTENT_LENGTH, body.len()).body(Full::new(body).map_err(|e| match e {}).boxed_unsync())
}

/// Records lines that are refused for good; durable before the floor can pass them.
async fn bury(shared: &Shared, lane: usize, batch: &Batch, part: Range<usize>, code: &str, reason: &str) {
    let letters: Vec<DeadLetter> = part
        .map(|index| {
            let (at, text) = batch.line(index);
            DeadLetter {
                lsn: at.lsn,
                line: at.line,
                route: at.route,
                code: code.to_owned(),
                reason: reason.to_owned(),
                text: text.trim_ascii_end().to_vec(),
            }
        })
        .collect();
    room_for_dead_letters(shared, letters.iter().map(|letter| letter.text.len() as u64).sum()).await;
    let lsns: Vec<_> = letters.iter().map(|letter| letter.lsn).collect();
    let text = format!("{} line(s) refused by {} as {code}: {reason}", letters.len(), shared.id);
    tracing::warn!(event = "delivery.dead_letter", lines = letters.len(), code, "a line was refused for good");
    record_effects(shared, Effects { dead_letters: letters, ..Effects::default() }).await;
    drop(shared.state.add_event(Event { at_ns: shared.clock.wall_ns(), kind: EventKind::DeadLetter, text }));
    for lsn in lsns {
        shared.lanes[lane].borrow_mut().mark_dead(lsn, 1);
    }
}

/// The store of refused lines is bounded too: when it is full, delivery stands still until somebody looks at it.
async fn room_for_dead_letters(shared: &Shared, bytes: u64) {
    loop {
        let stored = shared.state.totals(&shared.id).await.map_or(0, |totals| totals.dead_letter_bytes);
        if stored + bytes <= shared.dead_letter_bytes_max || shared.stopping.get() {
            return;
        }
        let reason = format!("the dead-letter store holds {stored} bytes, as many as queue.dead_letter_max allows");
        pause_destination(shared, reason, None);
        tokio::time::sleep(STATE_RETRY).await;
    }
}

/// Makes effects durable, however long that takes: the floor must not pass before.
pub(super) async fn record_effects(shared: &Shared, effects: Effects) {
    if effects.is_empty() {
        return;
    }
    while let Err(error) = shared.state.record(&shared.id, effects.clone()).await {
        tracing::error!(%error, event = "state.retry", "delivery waits for the state store");
        tokio::time::sleep(STATE_RETRY).await;
    }
}

fn pause_destination(shared: &Shared, reason: String, asked: Option<Duration>) {
    let now = shared.clock.monotonic();
    if shared.pauses.pause_destination(reason.clone(), now, asked) {
        tell(shared, EventKind::DestinationPaused, format!("destination {} cannot be written to: {reason}", shared.id));
    }
}

fn pause_target(shared: &Shared, target: TargetId, reason: String) {
    let now = shared.clock.monotonic();
    let name = shared.targets.get(target).target.to_string();
    if shared.pauses.pause_target(target, reason.clone(), now) {
        tell(shared, EventKind::RoutePaused, format!("{name} cannot be written to: {reason}"));
    }
}

fn resumed(shared: &Shared, target: TargetId) {
    let (destination, route) = shared.pauses.succeeded(target);
    if destination {
        tell(shared, EventKind::DestinationResumed, format!("destination {} takes writes again", shared.id));
    }
    if route {
        let name = shared.targets.get(target).target.to_string();
        tell(shared, EventKind::RouteResumed, format!("{name} takes writes again"));
    }
    if destination || route {
        shared.work.iter().for_each(tokio::sync::Notify::notify_one);
    }
}

fn tell(shared: &Shared, kind: EventKind, text: String) {
    match kind {
        EventKind::DestinationPaused | EventKind::RoutePaused => tracing::warn!(event = ?kind, "{text}"),
        _ => tracing::info!(event = ?kind, "{text}"),
    }
    drop(shared.state.add_event(Event { at_ns: shared.clock.wall_ns(), kind, text }));
}
