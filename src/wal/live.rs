//! What the log's threads, its readers and its callers share: the list of segments and a few numbers.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::quarantine::{Quarantine, Stretch};
use super::scrub::{Found, Scrubbed};
use super::segment::{HEADER_BLOCK_BYTES, SegmentHeader, data_end};
use super::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, PoisonError};
use super::{Damage, Fault};
use crate::base::Lsn;
use crate::base::disk::DiskFile;

/// Buckets of the sync histogram: bucket n counts syncs that took less than 2^n microseconds (the last one: all
/// others).
pub const SYNC_BUCKETS: usize = 24;

/// A published segment. Whoever holds it keeps its file from being recycled.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) path: PathBuf,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Last LSN that counts; `u64::MAX` while the segment is being written.
    last: AtomicU64,
    /// Offset behind the last byte that may be read.
    end: AtomicU64,
}

impl Segment {
    /// The segment that is being written, with everything before `end` durable.
    pub(crate) fn active(header: SegmentHeader, path: PathBuf, bytes: u64, end: u64) -> Self {
        Self { header, path, bytes, last: AtomicU64::new(u64::MAX), end: AtomicU64::new(end) }
    }

    /// A segment that is complete.
    pub(crate) fn complete(header: SegmentHeader, path: PathBuf, bytes: u64, last: Lsn) -> Self {
        let end = data_end(header.capacity).min(bytes);
        Self { header, path, bytes, last: AtomicU64::new(last.0), end: AtomicU64::new(end) }
    }

    pub(crate) fn last(&self) -> Lsn {
        Lsn(self.last.load(Ordering::Acquire))
    }

    /// Nothing is appended to it any more.
    pub(crate) fn is_complete(&self) -> bool {
        self.last().0 != u64::MAX
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    pub(crate) fn complete_at(&self, last: Lsn) {
        self.last.store(last.0, Ordering::Release);
    }

    /// Log position behind its last readable byte.
    pub(crate) fn end_position(&self) -> u64 {
        self.header.position + (self.end() - HEADER_BLOCK_BYTES)
    }
}

type Wake = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Wakes(Mutex<Vec<Wake>>);

impl fmt::Debug for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wakes")
    }
}

/// Hears of damage that scrubbing finds.
pub(crate) type Hears = Box<dyn Fn(Found) + Send + Sync>;

/// Hears of segments that scrubbing cannot read: the file, and why.
pub(crate) type HearsUnread = Box<dyn Fn(&Path, &io::Error) + Send + Sync>;

struct Listener<T>(OnceLock<T>);

impl<T> Default for Listener<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> fmt::Debug for Listener<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// The shared state.
#[derive(Debug, Default)]
pub(crate) struct Live {
    segments: Mutex<VecDeque<Arc<Segment>>>,
    durable: AtomicU64,
    written: AtomicU64,
    released: AtomicU64,
    /// Bytes of bundles that were submitted and not yet written.
    pub(crate) waiting_bytes: AtomicU64,
    /// Bytes of records that still fit into the active segment.
    pub(crate) active_room: AtomicU64,
    /// Bytes of records that fit into segments that are prepared or may still be made.
    pub(crate) supply_room: AtomicU64,
    /// The files are more than the budget allows; only a start can do that.
    pub(crate) over_budget: AtomicBool,
    faulted: AtomicBool,
    fault: Mutex<Option<Arc<str>>>,
    pub(crate) closed: AtomicBool,
    wakes: Wakes,
    /// Where damaged bytes are kept.
    pub(crate) quarantine: OnceLock<Arc<Quarantine>>,
    scrubbed: Mutex<Scrubbed>,
    listener: Listener<Hears>,
    unread: Listener<HearsUnread>,
    pub(crate) groups: AtomicU64,
    pub(crate) group_records: AtomicU64,
    pub(crate) sync_last_ns: AtomicU64,
    pub(crate) sync_buckets: [AtomicU64; SYNC_BUCKETS],
}

pub(super) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while one of these short sections ran cannot leave them half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// The segments, oldest first; the last one is being written.
    pub(crate) fn segments(&self) -> MutexGuard<'_, VecDeque<Arc<Segment>>> {
        guard(&self.segments)
    }

    pub(crate) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// Moves forward what readers may read. The segment's end must be set before.
    pub(crate) fn set_durable(&self, lsn: Lsn) {
        assert!(lsn >= self.durable(), "the durable LSN never goes back");
        self.set_written(lsn);
        self.durable.store(lsn.0, Ordering::Release);
    }

    pub(crate) fn written(&self) -> Lsn {
        Lsn(self.written.load(Ordering::Acquire))
    }

    pub(crate) fn set_written(&self, lsn: Lsn) {
        self.written.fetch_max(lsn.0, Ordering::AcqRel);
    }

    pub(crate) fn released(&self) -> Lsn {
        Lsn(self.released.load(Ordering::Acquire))
    }

    pub(crate) fn release(&self, below: Lsn) {
        self.released.fetch_max(below.0, Ordering::AcqRel);
    }

    /// Whether the oldest segment lies below the released floor as a whole. The newest one stays in any case.
    pub(crate) fn front_is_released(&self) -> bool {
        let segments = self.segments();
        segments.len() > 1 && segments.front().is_some_and(|segment| segment.last() < self.released())
    }

    /// First LSN that is still in a segment.
    pub(crate) fn oldest(&self) -> Lsn {
        self.segments().front().map_or(Lsn(1), |segment| segment.header.base)
    }

    /// The segment that counts for an LSN, or else the first one above it.
    pub(crate) fn locate(&self, lsn: Lsn) -> Option<Arc<Segment>> {
        let segments = self.segments();
        let index = segments.partition_point(|segment| segment.header.base <= lsn);
        let holds = |segment: &&Arc<Segment>| segment.last() >= lsn;
        let before = index.checked_sub(1).and_then(|i| segments.get(i)).filter(holds);
        before.or_else(|| segments.get(index)).map(Arc::clone)
    }

    /// Latches the first fault; later ones change nothing.
    pub(crate) fn set_fault(&self, cause: String) {
        let mut fault = guard(&self.fault);
        if fault.is_none() {
            tracing::error!(%cause, "the log is faulted; nothing more is appended until a restart");
            *fault = Some(cause.into());
        }
        self.faulted.store(true, Ordering::Release);
    }

    pub(crate) fn is_faulted(&self) -> bool {
        self.faulted.load(Ordering::Acquire)
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        guard(&self.fault).clone().map(Fault::Disk)
    }

    pub(crate) fn on_durable(&self, wake: Wake) {
        guard(&self.wakes.0).push(wake);
    }

    pub(crate) fn wake(&self) {
        for wake in guard(&self.wakes.0).iter() {
            if catch_unwind(AssertUnwindSafe(wake)).is_err() {
                tracing::error!("a wake-up of the log panicked; the log goes on");
            }
        }
    }

    /// Copies damaged bytes aside.
    pub(crate) fn keep_damaged(&self, stretch: &Stretch<'_>, file: &dyn DiskFile, damage: &Damage) {
        if let Some(quarantine) = self.quarantine.get() {
            quarantine.keep(stretch, file, damage);
        }
    }

    /// What scrubbing has found.
    pub(crate) fn scrubbed(&self) -> MutexGuard<'_, Scrubbed> {
        guard(&self.scrubbed)
    }

    /// Has `hears` called for each damage that scrubbing finds. The first one stays.
    pub(crate) fn on_found(&self, hears: Hears) {
        let _already_somebody = self.listener.0.set(hears);
    }

    pub(crate) fn tell_found(&self, found: Found) {
        let (first, last) = (found.damage.first.0, found.damage.last.0);
        tracing::error!(first, last, event = "queue.scrub", "scrubbing has found damaged records of the log");
        if let Some(hears) = self.listener.0.get() {
            hears(found);
        }
    }

    /// Has `hears` called for each segment that scrubbing cannot read. The first one stays.
    pub(crate) fn on_unread(&self, hears: HearsUnread) {
        let _already_somebody = self.unread.0.set(hears);
    }

    pub(crate) fn tell_unread(&self, path: &Path, error: &io::Error) {
        tracing::error!(path = %path.display(), %error, event = "queue.scrub", "a log segment cannot be read");
        if let Some(hears) = self.unread.0.get() {
            hears(path, error);
        }
    }

    /// Counts a sync.
    pub(crate) fn synced(&self, took_ns: u64, records: u64) {
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.group_records.fetch_add(records, Ordering::Relaxed);
        self.sync_last_ns.store(took_ns, Ordering::Relaxed);
        let bucket = (u64::BITS - (took_ns / 1000).leading_zeros()) as usize;
        self.sync_buckets[bucket.min(SYNC_BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }
}
