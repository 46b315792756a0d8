//! One call fails: every call of a short life in turn, with each errno, written half or not at all, once or for ever.

use std::sync::Arc;

use super::super::*;
use super::rig::*;
use crate::base::Lsn;
use crate::base::disk::Disk;
use crate::base::disk::faulty::{Failure, FaultyDisk};
use crate::base::disk::simulated::{Crash, SimulatedDisk};

const SEGMENT_BYTES: u64 = 32 << 10;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Opens, appends over some segments, recycles, seals. Returns what was acknowledged and still has to be there.
fn live(disk: &Arc<dyn Disk>) -> Vec<(Lsn, Vec<u8>)> {
    let mut kept = Vec::new();
    let Ok(mut rig) = Rig::open(disk, &options(SEGMENT_BYTES), 5) else { return kept };
    for n in 0..30u8 {
        let body = vec![n; 2500];
        match rig.append(body.clone()) {
            Ok(lsn) => kept.push((lsn, body)),
            Err(Fault::Full) => {}
            Err(_) => assert!(rig.writer.live.is_faulted()),
        }
        match n {
            12 => rig.writer.mark(),
            20 => {
                rig.writer.live.release(Lsn(8));
                kept.retain(|(lsn, _)| *lsn >= Lsn(8));
            }
            _ => rig.writer.supply.tend(),
        }
    }
    let mut reader = rig.reader(Lsn(8));
    while let Ok(Some(_)) = reader.next() {}
    rig.writer.finish();
    kept
}

#[test]
fn whichever_call_fails_what_was_acknowledged_is_there_afterwards() {
    let counting = FaultyDisk::new(Arc::new(SimulatedDisk::new(1)));
    let shared: Arc<dyn Disk> = Arc::new(counting.clone());
    assert_eq!(live(&shared).len(), 23);
    let calls = counting.calls();
    assert!(calls > 100, "{calls}");
    let mut hits = 0;
    for at in 0..calls {
        for (errno, half, lasting) in
            [(EIO, false, false), (EIO, true, true), (ENOSPC, true, false), (ENOSPC, false, true)]
        {
            let what = format!("call {at}, errno {errno}, half {half}, lasting {lasting}");
            let inner = SimulatedDisk::new(at);
            let faulty = FaultyDisk::new(Arc::new(inner.clone()));
            faulty.fail(Some(Failure { at, errno, half, lasting }));
            let shared: Arc<dyn Disk> = Arc::new(faulty.clone());
            let kept = live(&shared);
            hits += u64::from(faulty.was_hit());
            faulty.fail(None);
            inner.crash(if at % 2 == 0 { Crash::Power } else { Crash::Process });
            let rig = Rig::open(&shared, &options(SEGMENT_BYTES), 6).unwrap_or_else(|e| panic!("{what}: {e}"));
            let above: Vec<_> = rig.report.damages.iter().filter(|damage| damage.last >= Lsn(8)).collect();
            assert!(above.is_empty(), "{what}: false damage {above:?}");
            let found = rig.read_all(Lsn(8));
            for (lsn, body) in kept {
                let there = found.iter().any(|i| matches!(i, Item::Record(r) if r.lsn == lsn && r.body == body));
                assert!(there, "{what}: record {lsn} is lost");
            }
        }
    }
    assert!(hits >= calls * 3, "the planned failures must have happened: {hits} of {}", calls * 4);
}

/// Three records of one bundle, each of them a group. What it hears that the log does not take them all, and what is read.
fn cut_short(segment_bytes: u64, segments: u64, failure: Option<u64>) -> (Failed, Vec<Lsn>) {
    let faulty = FaultyDisk::new(Arc::new(SimulatedDisk::new(3)));
    let shared: Arc<dyn Disk> = Arc::new(faulty.clone());
    let options = Options { group_bytes: 1, max_bytes: segments * segment_bytes, ..options(segment_bytes) };
    let mut rig = Rig::open(&shared, &options, 5).unwrap();
    let fails = |call| Failure { at: faulty.calls() + call, errno: EIO, half: true, lasting: true };
    faulty.fail(failure.map(fails));
    let (told, heard) = std::sync::mpsc::channel();
    let entries = vec![entry(vec![1; 15 << 10]); 3];
    rig.commit(vec![Bundle { entries, outcomes: vec![], done: Box::new(move |result| told.send(result).unwrap()) }]);
    let read = rig.read_all(Lsn(1));
    let read = read.iter().filter_map(|item| if let Item::Record(record) = item { Some(record.lsn) } else { None });
    (heard.try_recv().expect("an answer").unwrap_err(), read.collect())
}

#[test]
fn a_bundle_that_fails_in_the_middle_hears_what_stands() {
    // One record fits into a segment, and the budget allows two of them.
    let (full, read) = cut_short(SEGMENT_BYTES, 2, None);
    assert_eq!((full.fault, full.first, full.durable, read.len()), (Fault::Full, read[0], 2, 2));
    // All fit into one segment, and the second write fails.
    let (faulted, read) = cut_short(4 * SEGMENT_BYTES, 2, Some(1));
    assert!(matches!(faulted.fault, Fault::Disk(_)), "{faulted}");
    assert_eq!((faulted.first, faulted.durable, read.len()), (read[0], 1, 1));
    let (faulted, read) = cut_short(4 * SEGMENT_BYTES, 2, Some(0));
    assert_eq!((faulted.durable, read.len()), (0, 0));
}

const EINTR: i32 = 4;

/// About a thousand calls: groups, marks, floors, recycling, rotation, a reader. What was acknowledged above the last
/// floor, and that floor.
fn long_life(disk: &Arc<dyn Disk>, errno: i32, what: &str) -> (Vec<(Lsn, Vec<u8>)>, Lsn) {
    let (mut kept, mut floor): (Vec<(Lsn, Vec<u8>)>, _) = (Vec::new(), Lsn::ZERO);
    let options = Options { max_bytes: 8 * SEGMENT_BYTES, ..options(SEGMENT_BYTES) };
    let Ok(mut rig) = Rig::open(disk, &options, 5) else { return (kept, floor) };
    let mut file = CursorFile::new(Arc::clone(disk), std::path::Path::new(DIR), destination(), 0);
    let mut reader = rig.reader(Lsn(1));
    for n in 0..520u64 {
        let body = vec![n as u8; 400 + n as usize];
        let faulted = rig.writer.live.is_faulted();
        match rig.append(body.clone()) {
            Ok(lsn) => {
                assert!(!faulted && !rig.writer.live.is_faulted(), "{what}: success after a failed sync");
                kept.push((lsn, body));
            }
            Err(Fault::Full) => {}
            Err(Fault::Disk(cause)) => {
                assert!(cause.contains(&format!("os error {errno}")), "{what}: {cause} does not name its cause");
            }
            Err(Fault::Closed) => panic!("{what}: closed"),
        }
        if n % 7 == 6 {
            rig.writer.mark();
        }
        if n % 20 == 19 {
            let mut cursor = Cursor::start(destination(), 1);
            cursor.durable_seen = rig.writer.live.durable();
            cursor.floors = vec![Lsn(cursor.durable_seen.0.saturating_sub(10))];
            if file.save(&mut cursor).is_ok() {
                floor = cursor.floors[0];
                kept.retain(|(lsn, _)| *lsn > floor);
                rig.writer.live.release(floor.next());
            }
        }
        // Whoever cannot read tries again.
        for _ in 0..3 {
            while let Ok(Some(_)) = reader.next() {}
        }
        rig.writer.supply.tend();
    }
    rig.writer.finish();
    (kept, floor)
}

/// `TWINLINE_FAULTS=all` fails every call; else one in so many.
fn every_nth() -> usize {
    if std::env::var("TWINLINE_FAULTS").is_ok_and(|value| value == "all") { 1 } else { 29 }
}

#[test]
fn in_a_run_of_a_thousand_calls_whichever_fails_nobody_is_told_what_is_not_so() {
    let counting = FaultyDisk::new(Arc::new(SimulatedDisk::new(1)));
    let shared: Arc<dyn Disk> = Arc::new(counting.clone());
    let (kept, floor) = long_life(&shared, 0, "no failure");
    assert!(kept.len() > 5 && floor > Lsn(400), "{floor}: {} kept", kept.len());
    let calls = counting.calls();
    assert!(calls > 1000, "{calls}");
    let (mut hits, mut tried) = (0, 0);
    for (index, (errno, half)) in [(EIO, false), (ENOSPC, false), (EINTR, false), (EIO, true)].into_iter().enumerate() {
        for at in (index as u64..calls).step_by(every_nth()) {
            let what = format!("call {at} of {calls}, errno {errno}, half {half}");
            let inner = SimulatedDisk::new(at);
            let faulty = FaultyDisk::new(Arc::new(inner.clone()));
            faulty.fail(Some(Failure { at, errno, half, lasting: false }));
            let shared: Arc<dyn Disk> = Arc::new(faulty.clone());
            let (kept, floor) = long_life(&shared, errno, &what);
            (hits, tried) = (hits + u64::from(faulty.was_hit()), tried + 1);
            faulty.fail(None);
            inner.crash(if at % 2 == 0 { Crash::Power } else { Crash::Process });
            let rig = Rig::open(&shared, &options(SEGMENT_BYTES), 6).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(rig.report.damages.is_empty(), "{what}: false damage {:?}", rig.report.damages);
            let found = rig.read_all(floor.next());
            assert!(!found.iter().any(|item| matches!(item, Item::Damage(_))), "{what}: false damage");
            for (lsn, body) in kept {
                let there = found.iter().any(|i| matches!(i, Item::Record(r) if r.lsn == lsn && r.body == body));
                assert!(there, "{what}: record {lsn} is lost");
            }
        }
    }
    assert_eq!(hits, tried, "every planned failure must have happened");
}

/// A recycled segment whose old name may come back after power loss: its sync failed, and the directory calls itself clean.
#[test]
fn after_a_failed_sync_of_the_directory_a_start_writes_over_nothing_that_may_come_back() {
    for (seed, stop) in (0..40).flat_map(|seed| (0..16).map(move |stop| (seed, stop))) {
        let disk = SimulatedDisk::new(seed);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut rig = Rig::open(&shared, &options(SEGMENT_BYTES), seed).unwrap();
        (0..60).for_each(|n| assert!(rig.append(vec![n; 3000]).is_ok()));
        rig.writer.live.release(Lsn(31));
        disk.fail_syncs(1000);
        rig.writer.supply.tend();
        drop(rig);
        disk.fail_syncs(0);
        disk.crash(Crash::Process);
        disk.stop_after(Some(stop));
        drop(Rig::open(&shared, &options(SEGMENT_BYTES), 7));
        disk.crash(Crash::Power);
        let rig = Rig::open(&shared, &options(SEGMENT_BYTES), 8).unwrap();
        let damaged = rig.read_all(rig.writer.live.oldest()).into_iter().find(|item| matches!(item, Item::Damage(_)));
        assert_eq!((&rig.report.damages[..], damaged), (&[][..], None), "seed {seed}, stopped after {stop}");
    }
}
