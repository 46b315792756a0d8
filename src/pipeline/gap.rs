//! Fail open: the source goes on, and what the mirror misses is on record first.

use super::Pipeline;
use super::reply::Refusal;
use super::stamp::Lines;
use crate::config::OnUnavailable;
use crate::queue::Unavailable;
use crate::route::RouteName;
use crate::state::{Event, EventKind, Gap};

/// Why the log has nothing of a write that the source took.
#[derive(Clone, Copy, Debug)]
pub(super) enum Missed {
    /// The queue cannot make it durable.
    Queue(Unavailable),
    /// The source decoded a body that we could not.
    Undecodable,
    /// The source accepted lines that do not parse here, or a write that names no place.
    Unreadable,
}

impl Missed {
    fn cause(self) -> &'static str {
        match self {
            Self::Queue(unavailable) => unavailable.gap_cause(),
            Self::Undecodable => "undecodable",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Pipeline {
    /// Tells, once, that the queue takes writes again.
    pub(super) fn queue_is_back(&self, now_ns: i64) {
        if self.meters.queue_available() {
            let text = "the queue takes writes again".to_owned();
            tracing::info!(event = "queue.available", "{text}");
            drop(self.state.add_event(Event { at_ns: now_ns, kind: EventKind::QueueAvailable, text }));
        }
    }

    /// Makes the gap durable; an error means that the client must hear 503.
    pub(super) async fn open_gap(
        &self,
        name: &RouteName,
        lines: &Lines,
        arrived_ns: i64,
        missed: Missed,
    ) -> Result<(), Refusal> {
        if let Missed::Queue(unavailable) = missed {
            self.meters.queue_unavailable(unavailable);
            if self.on_unavailable == OnUnavailable::Refuse {
                return Err(Refusal::Queue(unavailable));
            }
        }
        let lines_missed = match missed {
            Missed::Queue(_) => u64::from(lines.parsed.lines),
            Missed::Undecodable => 1,
            Missed::Unreadable => u64::from(lines.parsed.malformed.max(1)),
        };
        let gap = Gap {
            route: None,
            route_name: name.to_string(),
            from_ns: lines.min_ns.min(arrived_ns),
            to_ns: lines.max_ns.max(arrived_ns),
            lines: lines_missed,
            lsns: None,
            cause: missed.cause(),
        };
        if self.gaps.keep(gap).await.is_err() {
            tracing::error!(event = "gap.failed", "a gap cannot be recorded; the client hears 503");
            return Err(Refusal::Gap);
        }
        self.meters.gap(lines_missed);
        if self.meters.first_gap(missed.cause()) {
            let text = format!("writes to {name} go to the source alone ({}); gaps are recorded", missed.cause());
            tracing::error!(event = "queue.gap", "{text}");
            drop(self.state.add_event(Event { at_ns: arrived_ns, kind: EventKind::QueueUnavailable, text }));
        }
        Ok(())
    }
}
