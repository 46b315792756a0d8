//! Intents that nobody else will ever settle: a dead process left them open, their task has died, or their outcome could not be
//! written.
//!
//! Promises: each becomes doubt, for else it would hold up all that follow. Those of this process are given up when the scout
//! has known them for the longest time that a write may be without an answer, by the monotonic clock: a wall clock that is
//! set gives up nothing. Each is offered to the log once; what the log does not take is offered again at a measured pace, and
//! never to one that is faulted; each thing is told once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::base::Lsn;
use crate::queue::{LocalQueue, Scout};
use crate::wal::Refused;

/// Overdue intents that are given up at one look.
const OVERDUE_MAX: usize = 4096;
/// What the log did not take is offered again after so long.
const AGAIN: Duration = Duration::from_secs(1);
/// The time until an intent is overdue is measured in steps of this part of it.
const MARKS: u32 = 64;

/// What a look has found that was not told before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// So many that a dead process left open are doubt.
    pub(super) left_open: u64,
    /// So many of this process are doubt.
    pub(super) overdue: u64,
    /// The log does not take outcomes, and why.
    pub(super) refused: Option<Refused>,
}

/// Who settles them.
#[derive(Debug)]
pub(super) struct Unsettled {
    unanswered_max: Duration,
    /// How far the scout had seen, and when; oldest first.
    marks: VecDeque<(Duration, Lsn)>,
    /// Some that were offered have no outcome in the log.
    failed: Arc<AtomicBool>,
    /// Nothing is offered before.
    again_at: Duration,
    /// The newest of which operators have heard.
    told: Lsn,
    told_left_open: bool,
    refused: Option<Refused>,
}

impl Unsettled {
    /// No write is without an answer for longer than `unanswered_max`.
    pub(super) fn new(unanswered_max: Duration) -> Self {
        Self {
            unanswered_max,
            marks: VecDeque::new(),
            failed: Arc::default(),
            again_at: Duration::ZERO,
            told: Lsn::ZERO,
            told_left_open: false,
            refused: None,
        }
    }

    /// Gives up what nobody else settles. `now`: monotonic.
    pub(super) fn tend(&mut self, now: Duration, scout: &mut Scout, queue: &LocalQueue) -> News {
        let overdue = self.overdue_to(now, scout.seen());
        if now < self.again_at {
            return News::default();
        }
        if self.failed.swap(false, Ordering::Relaxed) {
            scout.forget_given_up();
            self.again_at = now + AGAIN;
            return News::default();
        }
        let mut news = News::default();
        let left_open = scout.left_open();
        let mut refused = None;
        if !left_open.is_empty() {
            let (taken, why) = queue.doubt(&left_open, &self.failed);
            scout.note_given_up(&left_open[..taken]);
            refused = why;
            if taken > 0 && !std::mem::replace(&mut self.told_left_open, true) {
                news.left_open = left_open.len() as u64;
            }
        }
        let overdue = overdue.map_or_else(Vec::new, |to| scout.overdue(to, OVERDUE_MAX));
        if !overdue.is_empty() {
            let (taken, why) = queue.give_up(&overdue, &self.failed);
            scout.note_given_up(&overdue[..taken]);
            refused = refused.or(why);
            news.overdue = overdue[..taken].iter().filter(|lsn| **lsn > self.told).count() as u64;
            self.told = overdue[..taken].last().map_or(self.told, |last| self.told.max(*last));
        }
        if refused.is_some() {
            self.again_at = now + AGAIN;
        }
        let before = std::mem::replace(&mut self.refused, refused);
        news.refused = refused.filter(|_| refused != before);
        news
    }

    /// The newest intent that was seen long enough ago; notes what is seen now.
    fn overdue_to(&mut self, now: Duration, seen: Lsn) -> Option<Lsn> {
        let step = self.unanswered_max / MARKS;
        if self.marks.back().is_none_or(|(at, lsn)| *lsn < seen && now >= *at + step) {
            self.marks.push_back((now, seen));
        }
        let old = |mark: &(Duration, Lsn)| mark.0 + self.unanswered_max < now;
        while self.marks.get(1).is_some_and(old) {
            self.marks.pop_front();
        }
        self.marks.front().filter(|mark| old(mark)).map(|(_, lsn)| *lsn)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::mpsc;

    use bytes::Bytes;

    use super::*;
    use crate::base::clock::SystemClock;
    use crate::base::disk::faulty::{Failure, FaultyDisk};
    use crate::base::disk::held::HeldDisk;
    use crate::base::disk::{self, Disk};
    use crate::base::{DestinationId, Epoch, RequestId, RouteId};
    use crate::queue::{Cause, Disposition, Opened};
    use crate::wal::{Bundle, Entry, Kind, Options};

    const MAX: Duration = Duration::from_secs(400);

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn open(disk: Arc<dyn Disk>, dir: &Path) -> Opened {
        let wal = dir.join("wal");
        let options =
            Options { segment_bytes: 1 << 20, max_bytes: 4 << 20, reserve_free_bytes: 0, ..Options::new(wal) };
        LocalQueue::open(disk, SystemClock::shared(), options, DestinationId::parse("main").unwrap(), Epoch(1)).unwrap()
    }

    /// An intent that arrived in 1970, by the wall clock; whether it is durable.
    fn append(queue: &LocalQueue) -> Option<Lsn> {
        let entry = Entry {
            kind: Kind::Intent,
            flags: 0,
            route: RouteId(1),
            request: RequestId(1),
            lines: 3,
            received_ns: 5,
            meta: Bytes::from_static(b"meta"),
            body: Bytes::from_static(b"m v=1 5"),
        };
        let (told, heard) = mpsc::channel();
        let done = Box::new(move |result: Result<Lsn, _>| _ = told.send(result.ok()));
        queue.log().submit(Bundle { entries: vec![entry], outcomes: vec![], done }).ok()?;
        heard.recv().unwrap()
    }

    fn advance(scout: &mut Scout) {
        while scout.advance(100).unwrap() {}
    }

    fn until_resolved(scout: &mut Scout, lsn: Lsn) {
        for _ in 0..2000 {
            advance(scout);
            if scout.resolved() >= lsn {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{lsn} gets no outcome");
    }

    /// Orders to a disk; it answers again when this is dropped, and the log can end.
    struct Hang(PathBuf);

    impl Drop for Hang {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).unwrap();
        }
    }

    fn overdue(overdue: u64) -> News {
        News { overdue, ..News::default() }
    }

    #[test]
    fn a_clock_that_is_set_gives_up_nothing_and_time_that_passes_does() {
        let dir = tempfile::tempdir().unwrap();
        let Opened { queue, mut scout, .. } = open(disk::real(), dir.path());
        let mut unsettled = Unsettled::new(MAX);
        // By the wall clock they are decades old from the beginning.
        let first = append(&queue).unwrap();
        advance(&mut scout);
        for at in 0..300 {
            assert_eq!(unsettled.tend(secs(at), &mut scout, &queue), News::default(), "{at}");
        }
        let second = append(&queue).unwrap();
        advance(&mut scout);
        for at in 300..=400 {
            assert_eq!(unsettled.tend(secs(at), &mut scout, &queue), News::default(), "{at}");
        }
        assert_eq!(unsettled.tend(secs(401), &mut scout, &queue), overdue(1));
        until_resolved(&mut scout, first);
        assert_eq!(scout.resolved(), second.before(), "its time has not come");
        let judged = scout.take(first);
        assert_eq!((judged.disposition, judged.cause), (Disposition::Doubt, Cause::Unsettled));
        for at in 402..=700 {
            assert_eq!(unsettled.tend(secs(at), &mut scout, &queue), News::default(), "{at}");
        }
        assert_eq!(unsettled.tend(secs(707), &mut scout, &queue), overdue(1));
        until_resolved(&mut scout, second);
        assert!(unsettled.marks.len() < 70, "{}", unsettled.marks.len());
    }

    #[test]
    fn a_log_that_hangs_is_offered_each_of_them_once() {
        let dir = tempfile::tempdir().unwrap();
        let orders = dir.path().join("orders");
        let Opened { queue, mut scout, .. } = open(Arc::new(HeldDisk::new(disk::real(), orders.clone())), dir.path());
        let lost = append(&queue).unwrap();
        advance(&mut scout);
        let mut unsettled = Unsettled::new(MAX);
        assert_eq!(unsettled.tend(secs(0), &mut scout, &queue), News::default());
        let hang = Hang(orders);
        std::fs::write(&hang.0, "/wal/seg/").unwrap();
        assert_eq!(unsettled.tend(secs(500), &mut scout, &queue), overdue(1));
        let waiting = queue.log().stats().waiting_bytes;
        assert!(waiting > 0);
        for at in 501..600 {
            assert_eq!(unsettled.tend(secs(at), &mut scout, &queue), News::default());
        }
        assert_eq!(queue.log().stats().waiting_bytes, waiting, "nothing more waits");
        drop(hang);
        until_resolved(&mut scout, lost);
    }

    #[test]
    fn a_faulted_log_is_told_of_once() {
        let dir = tempfile::tempdir().unwrap();
        let faulty = FaultyDisk::new(disk::real());
        let Opened { queue, mut scout, .. } = open(Arc::new(faulty.clone()), dir.path());
        let lost = append(&queue).unwrap();
        advance(&mut scout);
        let mut unsettled = Unsettled::new(MAX);
        assert_eq!(unsettled.tend(secs(0), &mut scout, &queue), News::default());
        faulty.fail(Some(Failure { at: 0, errno: 5, half: false, lasting: true }));
        assert_eq!(append(&queue), None);
        let mut news = Vec::new();
        for at in 500..600 {
            news.push(unsettled.tend(secs(at), &mut scout, &queue));
        }
        news.retain(|news| *news != News::default());
        assert_eq!(news, [News { refused: Some(Refused::Faulted), ..News::default() }]);
        assert!(scout.resolved() < lost);
    }
}
