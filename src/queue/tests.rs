//! The queue over a real log: what is durable, what is resolved, and what a restart makes of the rest.

mod standing;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::*;
use crate::base::clock::SystemClock;
use crate::base::disk::{Disk, faulty::FaultyDisk, held::HeldDisk};
use crate::base::{DestinationId, Epoch, Lsn, RequestId, RouteId, disk};
use crate::wal::{Entry, Kind, Options};

fn open(dir: &Path) -> Opened {
    open_on(disk::real(), dir, 4 << 20)
}

fn open_on(disk: Arc<dyn Disk>, dir: &Path, max_bytes: u64) -> Opened {
    let options = Options { segment_bytes: 1 << 20, max_bytes, reserve_free_bytes: 0, ..Options::new(dir.join("wal")) };
    LocalQueue::open(disk, SystemClock::shared(), options, DestinationId::parse("main").unwrap(), Epoch(1)).unwrap()
}

fn entry(lines: u32) -> Entry {
    Entry {
        kind: Kind::Intent,
        flags: 0,
        route: RouteId(1),
        request: RequestId(1),
        lines,
        received_ns: 5,
        meta: Bytes::from_static(b"meta"),
        body: Bytes::from(vec![b'x'; 100]),
    }
}

fn outcome(lsn: Lsn, disposition: Disposition) -> Outcome {
    Outcome { lsn, status: 204, disposition, cause: Cause::None, epoch: Epoch(1) }
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

fn advance(scout: &mut Scout) {
    while scout.advance(100).unwrap() {}
}

#[test]
fn an_intent_is_resolved_by_its_outcome_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { queue, mut scout, .. } = open(dir.path());
    run(async {
        let appender = Appender::start(queue.log(), Epoch(1));
        let (a, b) = tokio::join!(appender.intents(vec![entry(3)]), appender.intents(vec![entry(5), entry(7)]));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(b, a.next(), "what one turn appends is contiguous");
        advance(&mut scout);
        assert_eq!(scout.resolved(), a.before());
        assert_eq!(scout.waiting(), (15, Some(5)));

        appender
            .outcomes([outcome(b, Disposition::NotApplied), outcome(b.next(), Disposition::Applied)])
            .await
            .unwrap();
        advance(&mut scout);
        assert_eq!(scout.resolved(), a.before(), "an older intent without outcome holds up the newer ones");

        appender.outcomes([outcome(a, Disposition::Applied)]).await.unwrap();
        advance(&mut scout);
        assert!(scout.resolved() >= b.next());
        assert_eq!(scout.take(a).disposition, Disposition::Applied);
        assert_eq!(scout.take(b).disposition, Disposition::NotApplied);
        assert_eq!(scout.take(b.next()).disposition, Disposition::Applied);
        assert_eq!(scout.applied_lines(), 10);
    });
}

#[test]
fn what_a_dead_process_left_open_is_doubt_and_outcomes_survive() {
    let dir = tempfile::tempdir().unwrap();
    let (done, open_one) = {
        let Opened { queue, .. } = open(dir.path());
        run(async {
            let appender = Appender::start(queue.log(), Epoch(1));
            let done = appender.intents(vec![entry(1)]).await.unwrap();
            let open_one = appender.intents(vec![entry(1)]).await.unwrap();
            appender.outcomes([outcome(done, Disposition::NotApplied)]).await.unwrap();
            (done, open_one)
        })
    };
    for start in 1..=2 {
        let Opened { mut scout, doubted, .. } = open(dir.path());
        assert_eq!(doubted, u64::from(start == 1), "doubt is written once");
        assert_eq!(scout.take(done).disposition, Disposition::NotApplied);
        let judged = scout.take(open_one);
        assert_eq!((judged.disposition, judged.cause), (Disposition::Doubt, Cause::Crash));
        assert_eq!(scout.waiting().0, 0);
    }
}

#[test]
fn an_append_that_was_given_up_does_not_hold_up_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { queue, mut scout, .. } = open(dir.path());
    run(async {
        let appender = Appender::start(queue.log(), Epoch(1));
        let mut given_up = Box::pin(appender.intents(vec![entry(4)]));
        // One poll hands it in; then its writer records a gap and goes on.
        let _ = std::future::poll_fn(|cx| std::task::Poll::Ready(given_up.as_mut().poll(cx).is_ready())).await;
        drop(given_up);
        let next = appender.intents(vec![entry(1)]).await.unwrap();
        appender.outcomes([outcome(next, Disposition::Applied)]).await.unwrap();
        for _ in 0..200 {
            advance(&mut scout);
            if scout.resolved() >= next {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert!(scout.resolved() >= next, "an intent without a writer gets an outcome of its own");
        assert_eq!(scout.take(next.before()).disposition, Disposition::Gapped);
        assert_eq!(scout.take(next).disposition, Disposition::Applied);
    });
}

#[test]
fn floors_survive_and_a_full_queue_takes_writes_again_once_they_move() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { mut queue, scout, .. } = open(dir.path());
    drop(scout);
    let last = run(async {
        let appender = Appender::start(queue.log(), Epoch(1));
        let big = || Entry { body: Bytes::from(vec![b'x'; 200 << 10]), ..entry(1) };
        let mut last = Lsn::ZERO;
        let full = loop {
            match appender.intents(vec![big()]).await {
                Ok(lsn) => last = lsn,
                Err(why) => break why,
            }
            assert!(last < Lsn(100), "4 MiB do not hold a hundred such records");
        };
        assert_eq!(full, Unavailable::Full);
        let floors = Floors { lanes: vec![last, last], counters: vec![1, 2, 3] };
        queue.acknowledge(&floors).unwrap();
        for _ in 0..500 {
            if appender.intents(vec![big()]).await.is_ok() {
                return last;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("released segments are not used again");
    });
    drop(queue);
    let opened = open(dir.path());
    assert_eq!(opened.floors, Floors { lanes: vec![last, last], counters: vec![1, 2, 3] });
    assert_eq!(Arc::strong_count(&opened.queue.log()), 2, "nobody else holds the log");
}

#[test]
fn a_full_queue_still_settles_what_was_forwarded_and_drains() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { queue, mut scout, .. } = open(dir.path());
    run(async {
        let appender = Appender::start(queue.log(), Epoch(1));
        let big = || Entry { body: Bytes::from(vec![b'x'; 100 << 10]), ..entry(1) };
        let mut forwarded = Vec::new();
        // Each turn appends an intent and the outcome of the one before, as a busy edge does.
        loop {
            let settle = forwarded.last().map(|lsn| outcome(*lsn, Disposition::Applied));
            let (intent, settled) = tokio::join!(appender.intents(vec![big()]), async {
                match settle {
                    Some(settle) => appender.outcomes([settle]).await,
                    None => Ok(()),
                }
            });
            assert_eq!(settled, Ok(()), "an outcome is not refused because an intent is");
            match intent {
                Ok(lsn) => forwarded.push(lsn),
                Err(why) => {
                    assert_eq!(why, Unavailable::Full);
                    break;
                }
            }
        }
        advance(&mut scout);
        assert!(scout.resolved() >= *forwarded.last().unwrap(), "nothing holds up delivery");
    });
}

#[test]
fn a_line_that_fits_in_no_record_harms_only_its_own_write() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { queue, .. } = open(dir.path());
    run(async {
        let appender = Appender::start(queue.log(), Epoch(1));
        let huge = Entry { body: Bytes::from(vec![b'x'; 33 << 20]), ..entry(1) };
        let (huge, neighbour) = tokio::join!(appender.intents(vec![huge]), appender.intents(vec![entry(1)]));
        assert_eq!(huge, Err(Unavailable::Oversized));
        assert!(neighbour.is_ok());
    });
}

#[test]
fn an_intent_that_nobody_settles_is_given_up_as_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { queue, mut scout, .. } = open(dir.path());
    run(async {
        let appender = Appender::start(queue.log(), Epoch(1));
        let lost = appender.intents(vec![entry(1)]).await.unwrap();
        advance(&mut scout);
        assert_eq!(scout.overdue(lost.before(), 10), Vec::new(), "its time has not come");
        let overdue = scout.overdue(lost, 10);
        assert_eq!(overdue, vec![lost]);
        let failed = std::sync::Arc::default();
        scout.note_given_up(&overdue);
        assert_eq!(scout.overdue(lost, 10), Vec::new(), "once, however long nobody reads the outcome");
        scout.forget_given_up();
        assert_eq!(scout.overdue(lost, 10), overdue, "the log did not take it");
        queue.give_up(&overdue, &failed);
        while scout.resolved() < lost {
            advance(&mut scout);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(scout.take(lost).disposition, Disposition::Doubt);
    });
}

#[test]
fn influxdb_replications_lines_of_their_own_fate_are_counted_alike_before_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let span = |first, lines, fate| Span { first, lines, fate, cause: Cause::Overlap };
    let spans = Spans::new(vec![span(0, 2, Fate::NotApplied), span(5, 3, Fate::Doubt)]).unwrap();
    let check = |scout: &mut Scout, lsn: Lsn| {
        assert_eq!(scout.ahead(), Ahead { not_applied: 2, doubt: 3, gapped: 0 });
        assert_eq!(scout.applied_lines(), 5 + 1);
        let judged = scout.take(lsn);
        assert_eq!((judged.disposition, &judged.spans), (Disposition::Partial, &spans));
        assert_eq!(judged.applied_lines(10), 5);
        assert_eq!(scout.ahead(), Ahead::default(), "what was asked for is not ahead any more");
    };
    let partial = {
        let Opened { queue, mut scout, .. } = open(dir.path());
        let partial = run(async {
            let appender = Appender::start(queue.log(), Epoch(1));
            let partial = appender.intents(vec![entry(10), entry(1)]).await.unwrap();
            let entries = outcome(partial, Disposition::Applied).encode_partial(&spans);
            let other = outcome(partial.next(), Disposition::Applied).encode();
            appender.entries_of_outcomes(entries.into_iter().chain([other])).await.unwrap();
            partial
        });
        advance(&mut scout);
        check(&mut scout, partial);
        partial
    };
    let Opened { mut scout, doubted, .. } = open(dir.path());
    assert_eq!(doubted, 0);
    check(&mut scout, partial);
}

/// Appends `writes` intents, most of them settled, and ends as a crash does; returns those left open, and a settled one
/// between them.
fn leave_behind(dir: &Path, writes: usize) -> (Vec<Lsn>, Lsn) {
    const BUNDLE: usize = 500;
    let Opened { queue, .. } = open_on(disk::real(), dir, 32 << 20);
    run(async {
        let appender = Appender::start(queue.log(), Epoch(1));
        let mut lsns = Vec::new();
        for _ in 0..writes / BUNDLE {
            let first = appender.intents(vec![entry(1); BUNDLE]).await.unwrap();
            lsns.extend((0..BUNDLE as u64).map(|n| Lsn(first.0 + n)));
        }
        let (open, settled): (Vec<Lsn>, Vec<Lsn>) =
            lsns.iter().partition(|lsn| **lsn == lsns[3] || **lsn == lsns[writes - 1]);
        for step in settled.chunks(BUNDLE) {
            appender.outcomes(step.iter().map(|lsn| outcome(*lsn, Disposition::Applied))).await.unwrap();
        }
        (open, settled[3])
    })
}

#[test]
fn a_start_does_not_read_the_backlog() {
    let calls_to_open = |writes| {
        let dir = tempfile::tempdir().unwrap();
        leave_behind(dir.path(), writes);
        let disk = FaultyDisk::new(disk::real());
        let opened = open_on(Arc::new(disk.clone()), dir.path(), 32 << 20);
        (disk.calls(), opened.scout.counted())
    };
    let (short, counted) = calls_to_open(6_000);
    assert!(!counted, "more than a start looks at");
    let (long, counted) = calls_to_open(24_000);
    assert!(!counted);
    // 3 MiB more: a few calls for each of the segments, none for their records (about 900 reads of headers).
    assert!(long < short + 100, "{short} calls for 6,000 writes, {long} for 24,000");
}

#[test]
fn what_a_dead_process_left_open_in_a_long_log_becomes_doubt_while_new_writes_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (left_open, settled) = leave_behind(dir.path(), 6_000);
    for start in 1..=2 {
        let Opened { queue, mut scout, doubted, .. } = open_on(disk::real(), dir.path(), 32 << 20);
        assert_eq!((doubted, scout.counted()), (0, false));
        assert_eq!(scout.left_open(), Vec::new(), "their outcomes may stand further on");
        assert_eq!(scout.overdue(Lsn(u64::MAX), 10), Vec::new(), "the same");
        assert!(scout.resolved() < left_open[0], "nothing behind an open intent is delivered");
        let own = run(async {
            let appender = Appender::start(queue.log(), Epoch(1));
            let own = appender.intents(vec![entry(7)]).await.unwrap();
            advance(&mut scout);
            assert!(scout.counted());
            let open = if start == 1 { left_open.clone() } else { Vec::new() };
            assert_eq!(scout.left_open(), open, "what this process has under way is not among them");
            queue.doubt(&open, &Arc::default());
            while !scout.left_open().is_empty() {
                advance(&mut scout);
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            assert_eq!(scout.resolved(), own.before());
            appender.outcomes([outcome(own, Disposition::Applied)]).await.unwrap();
            own
        });
        advance(&mut scout);
        let crash = (Disposition::Doubt, Cause::Crash);
        let judged = scout.take(left_open[0]);
        assert_eq!((judged.disposition, judged.cause), crash);
        assert_eq!(scout.take(settled).disposition, Disposition::Applied);
        let judged = scout.take(left_open[1]);
        assert_eq!((judged.disposition, judged.cause), crash);
        assert_eq!(scout.take(own).disposition, Disposition::Applied);
    }
}

/// Into each of the four segments goes one record of this size: less than the log's room, taken as one piece, promises.
fn wasteful() -> Entry {
    Entry { body: Bytes::from(vec![b'x'; 600 << 10]), ..entry(1) }
}

#[test]
fn a_log_that_becomes_full_within_a_turn_refuses_only_what_is_not_durable() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { queue, mut scout, .. } = open(dir.path());
    run(async {
        let appender = Appender::start(queue.log(), Epoch(1));
        let write = || appender.intents(vec![wasteful()]);
        let (a, b, c, d, e) = tokio::join!(write(), write(), write(), write(), write());
        let heard = [a, b, c, d, e];
        let taken: Vec<Lsn> = heard.into_iter().flatten().collect();
        assert_eq!(heard.map(|result| result.is_ok()), [true, true, true, true, false], "{heard:?}");
        assert_eq!(heard[4], Err(Unavailable::Full));
        appender.outcomes(taken.iter().map(|lsn| outcome(*lsn, Disposition::Applied))).await.unwrap();
        advance(&mut scout);
        assert_eq!((scout.waiting(), scout.applied_lines()), ((0, None), 4), "nothing holds up delivery");
    });
}

#[test]
fn a_write_that_the_log_takes_in_part_is_gapped_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { queue, mut scout, .. } = open(dir.path());
    run(async {
        let appender = Appender::start(queue.log(), Epoch(1));
        let (small, large) = tokio::join!(appender.intents(vec![entry(1)]), appender.intents(vec![wasteful(); 5]));
        assert_eq!(large, Err(Unavailable::Full), "its writer records a gap of five lines");
        let small = small.expect("it was durable before the log was full");
        appender.outcomes([outcome(small, Disposition::Applied)]).await.unwrap();
        advance(&mut scout);
        assert_eq!(scout.waiting(), (0, None), "nothing holds up delivery");
        assert_eq!(scout.ahead(), Ahead { gapped: 4, ..Ahead::default() });
        assert_eq!(scout.take(small).disposition, Disposition::Applied);
        for piece in 1..=4 {
            assert_eq!(scout.take(Lsn(small.0 + piece)).disposition, Disposition::Gapped);
        }
    });
}

/// Orders to a disk; it answers again when this is dropped, and the log can end.
struct Hang(PathBuf);

impl Drop for Hang {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// A body that says when its memory is free.
struct Held(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0.len(), Ordering::SeqCst);
    }
}

#[test]
fn a_hanging_disk_keeps_no_more_bodies_than_the_log_has_taken() {
    const WAITING_BYTES: usize = 1 << 20;
    const BODY_BYTES: usize = 200 << 10;
    let dir = tempfile::tempdir().unwrap();
    let orders = dir.path().join("orders");
    let disk: Arc<dyn Disk> = Arc::new(HeldDisk::new(disk::real(), orders.clone()));
    let options = Options {
        segment_bytes: 16 << 20,
        max_bytes: 64 << 20,
        reserve_free_bytes: 0,
        channel_bytes: WAITING_BYTES,
        ..Options::new(dir.path().join("wal"))
    };
    let id = DestinationId::parse("main").unwrap();
    let Opened { queue, mut scout, .. } = LocalQueue::open(disk, SystemClock::shared(), options, id, Epoch(1)).unwrap();
    let held = Arc::new(AtomicUsize::new(0));
    let hang = Hang(orders);
    run(async {
        let appender = Appender::start(queue.log(), Epoch(1));
        std::fs::write(&hang.0, "/wal/seg/").unwrap();
        let mut writers = Vec::new();
        for _ in 0..20 {
            held.fetch_add(BODY_BYTES, Ordering::SeqCst);
            let body = Bytes::from_owner(Held(vec![b'x'; BODY_BYTES], Arc::clone(&held)));
            let (appender, entry) = (appender.clone(), Entry { body, ..entry(1) });
            writers.push(tokio::task::spawn_local(async move { appender.intents(vec![entry]).await }));
            // Each in a turn of its own.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(held.load(Ordering::SeqCst), 20 * BODY_BYTES, "all of them wait");
        // They record gaps and go on.
        writers.iter().for_each(tokio::task::JoinHandle::abort);
        let mut looks = 0;
        while held.load(Ordering::SeqCst) > WAITING_BYTES {
            looks += 1;
            assert!(looks < 1000, "{} bytes are kept", held.load(Ordering::SeqCst));
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        drop(hang);
        let next = appender.intents(vec![entry(1)]).await.unwrap();
        appender.outcomes([outcome(next, Disposition::Applied)]).await.unwrap();
        while scout.resolved() < next {
            advance(&mut scout);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let gapped = scout.ahead().gapped;
        assert!((1..=5).contains(&gapped), "{gapped} became durable late, the others never");
        assert_eq!(held.load(Ordering::SeqCst), 0);
    });
}
