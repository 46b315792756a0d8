//! A log without threads: every step is a call, so that a seed gives the same story each time.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::super::*;
use crate::base::clock::{Clock, SharedClock};
use crate::base::disk::Disk;
use crate::base::{DestinationId, Lsn, RequestId, RouteId};

pub(super) const DIR: &str = "wal";

/// A clock that moves a little each time somebody looks. The one on the wall can be set.
#[derive(Debug, Default)]
pub(super) struct TickingClock {
    ticks: AtomicI64,
    set_by_ns: AtomicI64,
}

impl TickingClock {
    pub(super) fn set(&self, by_seconds: i64) {
        let by_ns = by_seconds.saturating_mul(1_000_000_000);
        let before = self.set_by_ns.load(Ordering::Relaxed);
        self.set_by_ns.store(before.saturating_add(by_ns), Ordering::Relaxed);
    }
}

impl Clock for TickingClock {
    fn wall_ns(&self) -> i64 {
        let ticks = self.ticks.fetch_add(1000, Ordering::Relaxed);
        (1_700_000_000_000_000_000 + ticks).saturating_add(self.set_by_ns.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.ticks.fetch_add(1000, Ordering::Relaxed) as u64)
    }
}

pub(super) fn clock() -> SharedClock {
    Arc::new(TickingClock::default())
}

pub(super) fn options(segment_bytes: u64) -> Options {
    let dir = PathBuf::from(DIR);
    Options { segment_bytes, max_bytes: 64 * segment_bytes, reserve_free_bytes: 0, ..Options::new(dir) }
}

pub(super) fn entry(body: impl Into<Bytes>) -> Entry {
    Entry {
        kind: Kind::Intent,
        flags: 7,
        route: RouteId(5),
        request: RequestId(9),
        lines: 3,
        received_ns: 1_600_000_000_000_000_000,
        meta: Bytes::from_static(b"meta"),
        body: body.into(),
    }
}

pub(super) type Answer = Arc<Mutex<Option<Result<Lsn, Fault>>>>;

/// A bundle, and where its answer appears.
pub(super) fn bundle(entries: Vec<Entry>, outcomes: Vec<[u8; OUTCOME_BYTES]>) -> (Bundle, Answer) {
    let answer = Answer::default();
    let slot = Arc::clone(&answer);
    let done = Box::new(move |result: Result<Lsn, Failed>| {
        let old = slot.lock().unwrap().replace(result.map_err(|failed| failed.fault));
        assert!(old.is_none(), "a bundle hears once");
    });
    (Bundle { entries, outcomes, done }, answer)
}

pub(super) fn heard(answer: &Answer) -> Option<Result<Lsn, Fault>> {
    answer.lock().unwrap().clone()
}

/// The log's parts, driven by hand.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) writer: Writer,
    pub(super) report: Recovery,
    pub(super) compression: Compression,
    pub(super) mapped: bool,
}

impl Rig {
    pub(super) fn open(disk: &Arc<dyn Disk>, options: &Options, seed: u64) -> Result<Self> {
        Self::open_at(disk, &clock(), options, seed)
    }

    pub(super) fn open_at(disk: &Arc<dyn Disk>, clock: &SharedClock, options: &Options, seed: u64) -> Result<Self> {
        let mut cursors = Vec::new();
        for id in cursor::list(disk.as_ref(), Path::new(DIR))? {
            cursors.extend(cursor::load(disk.as_ref(), Path::new(DIR), &id)?.cursor);
        }
        let (writer, report) = open_writer(disk, clock, options, &cursors, fastrand::Rng::with_seed(seed))?;
        Ok(Self { disk: Arc::clone(disk), writer, report, compression: options.compression, mapped: options.mapped })
    }

    /// Commits these bundles together.
    pub(super) fn commit(&mut self, bundles: Vec<Bundle>) {
        let mut queue: VecDeque<Job> = bundles.into_iter().map(|bundle| Job::new(bundle, self.compression)).collect();
        let bytes = queue.iter().map(Job::bytes).sum();
        self.writer.live.waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.writer.commit(&mut queue);
        assert!(queue.is_empty());
        assert_eq!(self.writer.live.waiting_bytes.load(Ordering::Acquire), 0, "what was answered waits no more");
    }

    /// Commits one entry in a group of its own.
    pub(super) fn append(&mut self, body: impl Into<Bytes>) -> Result<Lsn, Fault> {
        let (bundle, answer) = bundle(vec![entry(body)], vec![]);
        self.commit(vec![bundle]);
        heard(&answer).expect("an answer")
    }

    pub(super) fn reader(&self, from: Lsn) -> Reader {
        Reader::new(Arc::clone(&self.disk), Arc::clone(&self.writer.live), from).mapped(self.mapped)
    }

    pub(super) fn read_all(&self, from: Lsn) -> Vec<Item> {
        let mut reader = self.reader(from);
        std::iter::from_fn(|| reader.next().expect("readable")).collect()
    }
}

pub(super) fn destination() -> DestinationId {
    DestinationId::parse("main").unwrap()
}
