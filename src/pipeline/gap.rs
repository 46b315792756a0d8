//! Fail open: the source goes on, and what the mirror misses is on record first.

use super::Pipeline;
use super::reply::Refusal;
use super::stamp::Lines;
use crate::config::OnUnavailable;
use crate::db::precision::Api;
use crate::queue::Unavailable;
use crate::route::{RouteName, WriteIdentity};
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
        let (from_ns, to_ns) = (lines.min_ns.min(arrived_ns), lines.max_ns.max(arrived_ns));
        self.keep_gap(name, (from_ns, to_ns), lines_missed, arrived_ns, missed.cause()).await
    }

    /// A write that is no line protocol is about to go to the source.
    pub async fn sends_other_protocol(&self, query: &str) {
        if let Some(name) = self.resolver.name(&WriteIdentity::read(Api::V1, query)).await {
            self.sent.uncounted(&name);
        }
    }

    /// A write that is no line protocol (Prometheus remote write) went to the source: a gap of all times, one line a request
    /// at the least.
    ///
    /// # Errors
    /// It cannot be recorded: the client must hear 503 and come again.
    pub async fn missed_other_protocol(&self, query: &str) -> Result<(), Refusal> {
        let name = self.resolver.name(&WriteIdentity::read(Api::V1, query)).await;
        let name = name.unwrap_or(RouteName::Database { db: String::new(), rp: String::new() });
        self.sent.uncounted(&name);
        self.keep_gap(&name, (i64::MIN, i64::MAX), 1, self.clock.wall_ns(), "other-protocol").await
    }

    async fn keep_gap(
        &self,
        name: &RouteName,
        (from_ns, to_ns): (i64, i64),
        lines: u64,
        now_ns: i64,
        cause: &'static str,
    ) -> Result<(), Refusal> {
        let gap = Gap { route: None, route_name: name.to_string(), from_ns, to_ns, lines, lsns: None, cause };
        if self.gaps.keep(name, gap).await.is_err() {
            tracing::error!(event = "gap.failed", "a gap cannot be recorded; the client hears 503");
            return Err(Refusal::Gap);
        }
        self.meters.gap(lines);
        if self.meters.first_gap(cause) {
            let text = format!("writes to {name} go to the source alone ({cause}); gaps are recorded");
            tracing::error!(event = "queue.gap", "{text}");
            drop(self.state.add_event(Event { at_ns: now_ns, kind: EventKind::QueueUnavailable, text }));
        }
        Ok(())
    }
}
