//! Figures of the edge. Handles are looked up once; the hot path only adds.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::base::recent::Recent;
use crate::base::{RequestId, metric};
use crate::db::answer::Kept;
use crate::queue::Unavailable;

/// The edge's figures. One per edge thread.
pub struct EdgeMeters {
    request: Cell<u64>,
    lines: Counter,
    bytes: Counter,
    applied: Counter,
    not_applied: Counter,
    doubt: Counter,
    partial: Counter,
    source_seconds: Histogram,
    source_of_late: Recent,
    overhead_seconds: Histogram,
    source_up: Gauge,
    gap_lines: Counter,
    gap_causes: RefCell<HashSet<&'static str>>,
}

impl fmt::Debug for EdgeMeters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EdgeMeters")
    }
}

impl Default for EdgeMeters {
    fn default() -> Self {
        let outcome = |kept: &'static str| counter!(metric::WRITE_OUTCOMES, "kept" => kept);
        Self {
            request: Cell::new(0),
            lines: counter!(metric::INGEST_LINES),
            bytes: counter!(metric::INGEST_BYTES),
            applied: outcome("all"),
            not_applied: outcome("nothing"),
            doubt: outcome("unknown"),
            partial: outcome("partial"),
            source_seconds: histogram!(metric::SOURCE_SECONDS),
            source_of_late: Recent::default(),
            overhead_seconds: histogram!(metric::OVERHEAD_SECONDS),
            source_up: gauge!(metric::SOURCE_UP),
            gap_lines: counter!(metric::GAP_LINES),
            gap_causes: RefCell::default(),
        }
    }
}

impl EdgeMeters {
    /// The same, with the source's times of late where others see them.
    #[must_use]
    pub fn shown_in(self, source_of_late: Recent) -> Self {
        Self { source_of_late, ..self }
    }

    /// A number for the next write.
    pub(super) fn next_request(&self) -> RequestId {
        self.request.set(self.request.get() + 1);
        RequestId(self.request.get())
    }

    /// A write's body was read.
    pub(super) fn lines(&self, lines: u32, body_bytes: usize) {
        self.lines.increment(u64::from(lines));
        self.bytes.increment(body_bytes as u64);
    }

    /// The primary answered, or did not.
    pub(super) fn source_answered(&self, status: Option<StatusCode>, took: Duration, now: Duration) {
        self.source_up.set(if status.is_some() { 1.0 } else { 0.0 });
        self.source_of_late.add(now, took, status.is_none());
        if status.is_some() {
            self.source_seconds.record(took.as_secs_f64());
        }
    }

    /// What the primary kept of a write.
    pub(super) fn outcome(&self, kept: Kept) {
        match kept {
            Kept::All => self.applied.increment(1),
            Kept::Retained(_) | Kept::Conflicting(_) => self.partial.increment(1),
            Kept::Nothing => self.not_applied.increment(1),
            Kept::Unknown => self.doubt.increment(1),
        }
    }

    /// The time of one write that was ours.
    pub(super) fn overhead(&self, ours: Duration) {
        self.overhead_seconds.record(ours.as_secs_f64());
    }

    /// Lines went to the source alone.
    pub(super) fn gap(&self, lines: u64) {
        self.gap_lines.increment(lines);
    }

    /// Whether this is the first gap of its cause since the queue last took a write.
    pub(super) fn first_gap(&self, cause: &'static str) -> bool {
        self.gap_causes.borrow_mut().insert(cause)
    }

    /// The queue takes writes; true when it did not before.
    pub(super) fn queue_available(&self) -> bool {
        let mut causes = self.gap_causes.borrow_mut();
        let before = causes.len();
        causes.retain(|cause| !cause.starts_with("queue-"));
        causes.len() < before
    }

    /// The queue did not take a write.
    pub(super) fn queue_unavailable(&self, unavailable: Unavailable) {
        counter!(metric::QUEUE_UNAVAILABLE, "cause" => unavailable.gap_cause()).increment(1);
    }
}
