//! Brings one batch to its end: stored, or refused for good and recorded so. One request in flight per lane.

use std::collections::VecDeque;
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
use super::letters::{self, words};
use super::target::TargetId;
use crate::base::metric;
use crate::db::answer::{self, Action, Limit};
use crate::db::client::{Failure, RequestBody};
use crate::db::encode;
use crate::state::{Effects, Event, EventKind};

/// A destination's words that we read at most.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Pause between attempts to write to our own state store.
pub(super) const STATE_RETRY: Duration = Duration::from_millis(500);

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
        let bytes = batch.held_bytes();
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
    let mut gzip = shared.gzip;
    while let Some(part) = parts.pop_front() {
        // Another lane may have met what holds for us as well.
        rest(shared).await;
        if shared.stopping.get() {
            return End::Stopped;
        }
        let (action, began) = attempt(shared, lane, batch, &part, gzip).await;
        match if gzip { action } else { action.plain_failed() } {
            Action::Acknowledge => resumed(shared, batch.target, began),
            Action::Shrink { .. } | Action::Split { .. } | Action::Bisect { .. } if part.is_empty() => {}
            Action::Plain { .. } => {
                gzip = false;
                parts.push_front(part);
            }
            Action::Split { reason } if part.len() == 1 => {
                letters::bury(shared, lane, batch, part, "too-large", &reason).await;
            }
            Action::Bisect { code, reason, dropped } if part.len() == 1 || is_whole(code, dropped, part.len()) => {
                resumed(shared, batch.target, began);
                letters::bury(shared, lane, batch, part, code, &reason).await;
            }
            Action::Split { .. } | Action::Bisect { .. } => {
                resumed(shared, batch.target, began);
                halve(&mut parts, part);
            }
            Action::Shrink { reason } => {
                pause_destination(shared, reason, None);
                halve(&mut parts, part);
            }
            Action::Retry { after_s, reason } => {
                pause_destination(shared, reason, after_s.map(Duration::from_secs));
                parts.push_front(part);
            }
            Action::Pause { limit: Limit::Destination, reason } => {
                pause_destination(shared, reason, None);
                parts.push_front(part);
            }
            Action::Pause { limit: Limit::Route, reason } => {
                pause_target(shared, batch.target, reason);
                return End::Parked;
            }
        }
    }
    End::Done
}

/// Whether an answer says for certain that every line of a part is refused: of these reasons alone the count is known to be
/// one of lines.
fn is_whole(code: &str, dropped: Option<u64>, lines: usize) -> bool {
    dropped == Some(lines as u64) && matches!(code, "expired" | "type-conflict")
}

/// Puts the halves of a part in its place; a single line stays as it is.
fn halve(parts: &mut VecDeque<Range<usize>>, part: Range<usize>) {
    let middle = part.start + part.len() / 2;
    for half in [middle..part.end, part.start..middle] {
        if !half.is_empty() {
            parts.push_front(half);
        }
    }
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

/// One request, and when it began. Whatever its end, its lines are remembered where the destination may still be working on them.
async fn attempt(shared: &Shared, lane: usize, batch: &Batch, part: &Range<usize>, gzip: bool) -> (Action, Duration) {
    let began = shared.clock.monotonic();
    let request = match request(shared, batch.target, batch.part(part), gzip) {
        Ok(request) => request,
        Err(error) => return (Action::Pause { limit: Limit::Route, reason: error.to_string() }, began),
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
            let open =
                matches!(action, Action::Retry { .. } | Action::Shrink { .. } | Action::Plain { passes: true, .. });
            let ended = !open || matches!(head.status.as_u16(), 429 | 503);
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
        Action::Retry { .. } | Action::Shrink { .. } | Action::Plain { .. } => "retry",
        Action::Split { .. } => "split",
        Action::Bisect { .. } => "refused",
        Action::Pause { .. } => "pause",
    };
    counter!(metric::ATTEMPTS, "outcome" => outcome).increment(1);
    (action, began)
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

/// Makes effects durable, however long that takes: the floor must not pass before.
pub(super) async fn record_effects(shared: &Shared, effects: Effects) {
    if effects.is_empty() {
        return;
    }
    while let Err(error) = shared.state.record(&shared.id, effects.clone()).await {
        tracing::error!(%error, event = "state.retry", "delivery waits for the state store");
        tokio::time::sleep(STATE_RETRY).await;
    }
    shared.letters.stored(&effects.dead_letters);
}

pub(super) fn pause_destination(shared: &Shared, reason: String, asked: Option<Duration>) {
    let now = shared.clock.monotonic();
    if shared.pauses.pause_destination(reason.clone(), now, asked) {
        tell(
            shared,
            EventKind::DestinationPaused,
            format!("destination {} cannot be written to: {}", shared.id, words(&reason)),
        );
    }
}

fn pause_target(shared: &Shared, target: TargetId, reason: String) {
    let now = shared.clock.monotonic();
    let name = shared.targets.get(target).target.to_string();
    if shared.pauses.pause_target(target, reason.clone(), now) {
        tell(shared, EventKind::RoutePaused, format!("{name} cannot be written to: {}", words(&reason)));
    }
}

fn resumed(shared: &Shared, target: TargetId, began: Duration) {
    let (destination, route) = shared.pauses.succeeded(target, began);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_come_in_order_and_a_line_stays() {
        let mut parts = VecDeque::from(vec![Range { start: 7, end: 9 }]);
        halve(&mut parts, 2..7);
        assert_eq!(parts, [2..4, 4..7, 7..9]);
        let mut parts = VecDeque::new();
        halve(&mut parts, 3..4);
        assert_eq!(parts.into_iter().collect::<Vec<_>>(), vec![Range { start: 3, end: 4 }]);
    }

    #[test]
    fn only_a_count_that_is_surely_one_of_lines_buries_many() {
        assert!(is_whole("expired", Some(3), 3) && is_whole("type-conflict", Some(3), 3));
        assert!(!is_whole("expired", Some(2), 3) && !is_whole("expired", None, 3) && !is_whole("bad-name", Some(3), 3));
    }
}
