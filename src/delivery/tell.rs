//! What operators hear: each pause once, everything else at most once a minute for each reason.

use std::time::Duration;

use super::Shared;
use super::letters::words;
use super::pause::Shown;
use super::target::TargetId;
use crate::base::Error;
use crate::state::{Event, EventKind};

/// Nothing goes to the destination for a while. `asked`: what it asked for.
pub(super) fn pause_destination(shared: &Shared, code: &'static str, reason: String, asked: Option<Duration>) {
    let now = shared.clock.monotonic();
    let text = format!("destination {} cannot be written to ({code}): {}", shared.id, words(&reason));
    if shared.pauses.pause_destination(code, reason, now, asked) {
        tell(shared, EventKind::DestinationPaused, text);
    }
}

/// Nothing goes to one place of the destination for a while.
pub(super) fn pause_target(shared: &Shared, target: TargetId, code: &'static str, reason: String) {
    let now = shared.clock.monotonic();
    let name = &shared.targets.get(target).target;
    let text = format!("{name} cannot be written to ({code}): {}", words(&reason));
    if shared.pauses.pause_target(target, code, reason, now) {
        tell(shared, EventKind::RoutePaused, text);
        // Whoever waits for room may take what it holds.
        shared.room.notify_one();
    }
}

/// The destination cannot keep up, and what waits for it becomes a gap.
pub(super) fn falls_behind(shared: &Shared, reason: String) {
    let text = format!("destination {} falls behind: {reason}", shared.id);
    shared.pauses.falls_behind(reason, shared.clock.monotonic());
    tell(shared, EventKind::DestinationPaused, text);
}

/// It has caught up, by delivering or by a gap; or an operator holds it, and then nobody is told that it has.
pub(super) fn is_not_behind(shared: &Shared, is_held: bool) {
    shared.pauses.is_not_behind();
    if !is_held {
        tell(shared, EventKind::DestinationResumed, format!("destination {} has caught up", shared.id));
    }
    shared.work.iter().for_each(tokio::sync::Notify::notify_one);
}

/// What waits for a place that takes nothing has become a gap.
pub(super) fn became_gap(shared: &Shared, target: TargetId, lines: u64, budget_bytes: u64) {
    let name = &shared.targets.get(target).target;
    let until = if shared.pauses.is_behind() { "it has caught up" } else { "it takes writes again" };
    let text = format!(
        "{name} has held back more than {} of the log (route_backlog): {lines} lines and what follows are a gap until {until}",
        crate::base::size::ByteSize(budget_bytes)
    );
    tell(shared, EventKind::RouteGap, text);
}

/// A request that began at `began` was answered as it should be.
pub(super) fn resumed(shared: &Shared, target: TargetId, began: Duration) {
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

/// What was paused for `code`, which was no doing of the destination, goes on.
pub(super) fn has_room_again(shared: &Shared, code: &str) {
    if shared.pauses.over(code) {
        tell(shared, EventKind::DestinationResumed, format!("delivery to {} goes on ({code} is over)", shared.id));
        shared.work.iter().for_each(tokio::sync::Notify::notify_one);
    }
}

/// What was paused for `code` before `asked` is over: the destination answers.
pub(super) fn answers_again(shared: &Shared, code: &str, asked: Duration) {
    if shared.pauses.over_since(code, asked) {
        tell(shared, EventKind::DestinationResumed, format!("destination {} answers again", shared.id));
        shared.work.iter().for_each(tokio::sync::Notify::notify_one);
    }
}

/// What the destination had acknowledged goes once more, or into a gap: it is away, and others must not wait for it.
pub(super) fn goes_back(shared: &Shared) {
    let text = format!(
        "destination {} has acknowledged lines that it may have lost, and is away while more than {} of the log (route_backlog) \
         wait: these lines are sent once more, or are in the gap",
        shared.id,
        crate::base::size::ByteSize(shared.route_backlog_bytes)
    );
    tell(shared, EventKind::DestinationRemark, text);
}

/// Something that an operator should know and that stops nothing; at most once a minute for each code.
pub(super) fn remark(shared: &Shared, code: &'static str, text: &str) {
    if let Some(times) = shared.letters.due(EventKind::DestinationRemark, code, 1, shared.clock.monotonic()) {
        let often = if times > 1 { format!(" ({times} times since last told)") } else { String::new() };
        tell(shared, EventKind::DestinationRemark, format!("destination {} ({code}): {text}{often}", shared.id));
    }
}

/// Another process answers at the destination than the one that has acknowledged what was sent last.
pub(super) fn begins_again(shared: &Shared) {
    let text = format!(
        "destination {} has begun anew, and what it had acknowledged in the seconds before may be lost: it is sent once more",
        shared.id
    );
    tell(shared, EventKind::DestinationRemark, text);
}

/// It does so again and again.
pub(super) fn begins_too_often(shared: &Shared, pause: Duration) {
    let reason = format!(
        "another process answers at each look (its start time changes): are there two behind this address? Nothing is sent for \
         {} s; give destination.url the address of one",
        pause.as_secs()
    );
    pause_destination(shared, "begins-anew", reason, Some(pause));
}

/// The state store takes nothing, and delivery waits for it. It cannot take the event either: the log and `status` say it.
pub(super) fn store_fails(shared: &Shared, error: &Error) {
    tracing::error!(%error, event = "state.retry", "delivery waits for the state store");
    let mut shown = shared.store_fails.borrow_mut();
    let since = shown.as_ref().map_or_else(|| shared.clock.monotonic(), |shown| shown.since);
    *shown = Some(Shown { code: "state-store", reason: error.to_string(), since });
}

/// What was asked of the state store is done.
pub(super) fn store_works(shared: &Shared) {
    shared.store_fails.replace(None);
}

pub(super) fn tell(shared: &Shared, kind: EventKind, text: String) {
    match kind {
        EventKind::DestinationResumed | EventKind::RouteResumed => tracing::info!(event = ?kind, "{text}"),
        _ => tracing::warn!(event = ?kind, "{text}"),
    }
    drop(shared.state.add_event(Event { at_ns: shared.clock.wall_ns(), kind, text }));
}
