//! What the log tells about itself.

use std::time::Duration;

use super::live::SYNC_BUCKETS;
use super::{Damage, Scrubbed};
use crate::base::clock::rfc3339;
use crate::base::{Incarnation, Lsn};

/// What a start found.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// Segments of the log now.
    pub segments: usize,
    /// D: highest LSN that was proven durable.
    pub durable: Lsn,
    /// Last LSN of the log now.
    pub last: Lsn,
    /// Bytes of records that were being written when the process ended, and that nobody was told about.
    pub torn_bytes: u64,
    /// What was acknowledged and is lost. Damage inside sealed segments is found by readers, not here.
    pub damages: Vec<Damage>,
    /// Generation of this process.
    pub incarnation: Incarnation,
    /// How long it took.
    pub elapsed: Duration,
}

impl Recovery {
    pub(crate) fn log(&self) {
        tracing::info!(
            segments = self.segments,
            durable = self.durable.0,
            last = self.last.0,
            torn_bytes = self.torn_bytes,
            damages = self.damages.len(),
            incarnation = self.incarnation.0,
            elapsed_ms = self.elapsed.as_millis() as u64,
            "log recovered"
        );
        for damage in &self.damages {
            let (from, to) = (rfc3339(damage.from_ns), rfc3339(damage.to_ns));
            tracing::error!(first = damage.first.0, last = damage.last.0, %from, %to, "acknowledged data is damaged");
        }
    }
}

/// Figures, derived from positions and files at the moment of asking.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Published segments.
    pub segments: usize,
    /// Bytes of all segment files, prepared ones included.
    pub bytes: u64,
    /// Bytes of records from the oldest kept one to the head.
    pub used_bytes: u64,
    /// The budget for `bytes`.
    pub limit_bytes: u64,
    /// Bytes of records that can still be appended.
    pub room_bytes: u64,
    /// Whether an ordinary write of 64 KiB would be refused: what is left is kept for outcomes and gaps.
    pub full: bool,
    /// Whether `limit_bytes` leaves room for a segment: then what is missing, if something is, is space on the disk.
    pub below_limit: bool,
    /// Bytes of bundles that wait.
    pub waiting_bytes: u64,
    /// Log position of the head: bytes of records since the log began.
    pub position: u64,
    /// Highest durable LSN.
    pub durable: Lsn,
    /// Highest LSN handed to the disk.
    pub written: Lsn,
    /// Lowest LSN kept.
    pub oldest: Lsn,
    /// Why the log is faulted.
    pub fault: Option<String>,
    /// Whether the disk has not answered in its callers' time, and not since.
    pub stalled: bool,
    /// Why no segment file could be prepared, the last time one was needed.
    pub trouble: Option<String>,
    /// Groups written by this process, marks included.
    pub groups: u64,
    /// Records in them.
    pub group_records: u64,
    /// Nanoseconds of the last write and sync.
    pub sync_ns_last: u64,
    /// What scrubbing has found.
    pub scrub: Scrubbed,
    /// Bucket n: writes and syncs that took less than 2^n microseconds and not less than half of that; the last one
    /// also holds all longer ones.
    pub sync_buckets: [u64; SYNC_BUCKETS],
}
