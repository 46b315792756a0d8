//! What went wrong elsewhere, each with its name: the bugs of other queues and logs, tried on this one. Those that belong to
//! other modules have their tests there: `influxdb_replications_…` (intent before effect, parts of a write; `tests/crash.rs`,
//! `queue/tests.rs`), `influxdb_23397_…` (`tests/it/outage.rs`), `influxdb_9e55686_…` (`tests/it/parked.rs`), `influxdb_24434_…`
//! (`tests/it/hang.rs`). What a model of others lacked, crash, restart and failing calls, is the alphabet of `history.rs`.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::super::segment::{name, next_name};
use super::super::*;
use super::rig::*;
use crate::base::disk::faulty::{Failure, FaultyDisk};
use crate::base::disk::simulated::{Crash, SimulatedDisk};
use crate::base::disk::{Disk, Open};
use crate::base::{Lsn, SegmentId};

const SEGMENT_BYTES: u64 = 32 << 10;
const ENOSPC: i32 = 28;
const EIO: i32 = 5;

struct Log {
    disk: SimulatedDisk,
    shared: Arc<dyn Disk>,
    options: Options,
    rig: Rig,
}

impl Log {
    fn new(seed: u64, records: u8) -> Self {
        let disk = SimulatedDisk::new(seed);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let options = options(SEGMENT_BYTES);
        let mut rig = Rig::open(&shared, &options, seed).unwrap();
        (0..records).for_each(|n| assert!(rig.append(vec![n; 3000]).is_ok()));
        Self { disk, shared, options, rig }
    }

    fn restart(self, kind: Crash) -> Self {
        drop(self.rig);
        self.disk.crash(kind);
        let rig = Rig::open(&self.shared, &self.options, 99).unwrap();
        Self { rig, ..self }
    }

    fn items(&self) -> (usize, Vec<(u64, u64)>) {
        let items = self.rig.read_all(Lsn(1));
        let damages: Vec<_> = items
            .iter()
            .filter_map(|item| if let Item::Damage(d) = item { Some((d.first.0, d.last.0)) } else { None })
            .collect();
        (items.len() - damages.len(), damages)
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.rig.writer.live.segments().iter().map(|segment| segment.path.clone()).collect()
    }

    fn save_floor(&self, floor: Lsn, durable_seen: Lsn) {
        let mut cursor = Cursor::start(destination(), 1);
        (cursor.floors, cursor.durable_seen) = (vec![floor], durable_seen);
        CursorFile::new(Arc::clone(&self.shared), Path::new(DIR), destination(), 0).save(&mut cursor).unwrap();
    }
}

// Two files that must agree, do not.

#[test]
fn vector_17657_a_reader_never_sees_what_is_not_durable() {
    let mut log = Log::new(1, 3);
    log.disk.fail_syncs(1000);
    assert!(log.rig.append("in the page cache only").is_err());
    assert_eq!((log.items(), log.rig.writer.live.durable()), ((3, vec![]), Lsn(3)));
    assert!(log.rig.writer.live.written() > Lsn(3), "it was written, and nobody may see it");
}

#[test]
fn vector_17644_a_cursor_ahead_of_the_log_ends_the_start_up_loop_and_is_told() {
    let log = Log::new(2, 3);
    log.save_floor(Lsn(50), Lsn(50));
    let log = log.restart(Crash::Process);
    assert_eq!((log.rig.report.damages[0].first, log.rig.report.damages[0].last), (Lsn(4), Lsn(50)));
    assert_eq!(log.items(), (3, vec![(4, 50)]));
}

#[test]
fn vector_25570_a_file_that_is_gone_is_a_gap_and_no_crash_loop() {
    let log = Log::new(3, 60);
    let first = log.paths()[0].clone();
    log.save_floor(Lsn(2), Lsn(60));
    log.disk.rename(&first, Path::new("elsewhere")).unwrap();
    let log = log.restart(Crash::Process);
    let damages = log.rig.report.damages.clone();
    assert_eq!((damages.len(), damages[0].first), (1, Lsn(3)), "{damages:?}");
    let log = log.restart(Crash::Process);
    assert_eq!(log.rig.report.damages, damages, "the next start says the same");
}

#[test]
fn vector_19155_an_orphan_of_a_name_that_is_still_to_come_stops_nothing() {
    let mut log = Log::new(4, 3);
    for orphan in [next_name(2), next_name(7)] {
        log.disk.open(&Path::new(DIR).join("seg").join(orphan), Open::Create).unwrap();
    }
    log = log.restart(Crash::Process);
    (0..60).for_each(|n| assert!(log.rig.append(vec![n; 3000]).is_ok()));
    assert_eq!(log.items(), (63, vec![]));
}

#[test]
fn vmagent_11192_a_cursor_ahead_or_unreadable_deletes_nothing() {
    for unreadable in [false, true] {
        let log = Log::new(5, 60);
        log.save_floor(Lsn(70), Lsn(60));
        let files = log.paths();
        if unreadable {
            log.disk.corrupt(&Path::new(DIR).join("cursors/main.cur"), |bytes| bytes.fill(7)).unwrap();
        }
        let log = log.restart(Crash::Process);
        assert!(files.iter().all(|path| log.disk.open(path, Open::Read).is_ok()), "all files stay");
        assert_eq!(log.items(), (60, vec![]));
        let mut cursor = Cursor { floors: vec![Lsn(70)], ..Cursor::start(destination(), 1) };
        let clamped = cursor.clamp(log.rig.writer.live.oldest(), log.rig.writer.live.durable());
        assert_eq!(
            (clamped.ahead, cursor.floors[0]),
            (1, log.rig.writer.live.durable()),
            "a floor is cut to the end, with an alarm"
        );
    }
}

// Damage handling that is worse than the damage.

#[test]
fn influxdb_24603_a_bad_record_costs_that_record_and_not_its_segment() {
    let log = Log::new(6, 60);
    let path = log.paths()[1].clone();
    log.disk.corrupt(&path, |bytes| bytes[4096 + 64 + 1000] ^= 1).unwrap();
    let (found, damages) = log.items();
    assert_eq!((found, damages.len(), damages[0].0), (59, 1, damages[0].1));
}

#[test]
fn scylla_4364_what_is_broken_is_reported_once_and_passed() {
    let log = Log::new(7, 60);
    let path = log.paths()[1].clone();
    log.disk.corrupt(&path, |bytes| bytes[4096..20_000].fill(0xff)).unwrap();
    let mut reader = log.rig.reader(Lsn(1));
    let items: Vec<Item> = std::iter::from_fn(|| reader.next().unwrap()).collect();
    assert_eq!(items.iter().filter(|item| matches!(item, Item::Damage(_))).count(), 1);
    assert!(matches!(items.last(), Some(Item::Record(record)) if record.lsn == Lsn(60)));
}

#[test]
fn etcd_6191_a_tail_of_zeros_that_were_written_ahead_is_no_damage() {
    let mut log = Log::new(8, 3);
    for kind in [Crash::Process, Crash::Power, Crash::Power] {
        log = log.restart(kind);
        assert_eq!((log.rig.report.damages.len(), log.rig.report.torn_bytes), (0, 0));
    }
    assert_eq!(log.items(), (3, vec![]));
}

#[test]
fn etcd_5230_a_torn_write_is_told_from_a_whole_one() {
    for seed in 0..200 {
        let mut log = Log::new(seed, 3);
        log.disk.stop_after(Some(0));
        assert!(log.rig.append(vec![9; 3000]).is_err());
        let log = log.restart(Crash::Power);
        assert_eq!(log.rig.report.damages, []);
        let (found, damages) = log.items();
        assert!((3..=4).contains(&found) && damages.is_empty(), "whole or not at all: {found}");
    }
}

// Stalls.

#[test]
fn vector_18336_after_damage_what_is_appended_is_still_read() {
    let mut log = Log::new(9, 3);
    let path = log.paths()[0].clone();
    log.disk.corrupt(&path, |bytes| bytes[4096..4160].fill(0)).unwrap();
    log = log.restart(Crash::Process);
    log.rig.append("later").unwrap();
    assert_eq!(log.items(), (3, vec![(1, 1)]));
}

#[test]
fn vector_10806_the_last_record_is_read_without_another_one_behind_it() {
    let mut log = Log::new(10, 0);
    let woken = Arc::new(Mutex::new(Vec::new()));
    let (slot, live) = (Arc::clone(&woken), Arc::downgrade(&log.rig.writer.live));
    log.rig.writer.live.on_durable(Box::new(move || {
        // What a reader is woken for is there already.
        slot.lock().unwrap().extend(live.upgrade().map(|live| live.durable()));
    }));
    for n in 1..=20u64 {
        let lsn = log.rig.append(vec![0; 3000]).unwrap();
        assert_eq!(woken.lock().unwrap().last(), Some(&lsn));
        assert_eq!(log.items().0 as u64, n);
    }
}

#[test]
fn vector_19759_numbers_work_at_the_ends_of_their_types() {
    let log = Log::new(11, 3);
    let near = Lsn(u64::MAX >> 1);
    log.save_floor(near, near);
    let mut log = log.restart(Crash::Process);
    let first = log.rig.append("far up").unwrap();
    assert!(first > near);
    let log = log.restart(Crash::Process);
    assert!(log.rig.read_all(first).iter().any(|item| matches!(item, Item::Record(r) if r.lsn == first)));
    assert_eq!(name(SegmentId(u64::MAX)).len(), name(SegmentId(0)).len(), "names sort by their number");
}

#[test]
fn influxdb_24117_what_was_acknowledged_leaves_the_disk() {
    let mut log = Log::new(12, 90);
    let last = log.rig.writer.live.durable();
    log.rig.writer.live.release(last.next());
    log.rig.writer.supply.tend();
    assert_eq!(log.rig.writer.live.segments().len(), 1);
    assert!(log.rig.writer.supply.bytes() <= log.options.max_bytes / 4);
    log.rig.append("and it goes on").unwrap();
}

// Counters that are derived twice.

#[test]
fn vector_8650_sizes_come_from_positions_and_never_fall_below_zero() {
    let mut log = Log::new(13, 20);
    for _ in 0..4 {
        let live = Arc::clone(&log.rig.writer.live);
        let head = live.segments().back().map_or(0, |segment| segment.end_position());
        let read: u64 = log
            .rig
            .read_all(Lsn(1))
            .iter()
            .map(|item| if let Item::Record(r) = item { r.position } else { 0 })
            .max()
            .unwrap_or(0);
        let first = live.segments().front().map_or(0, |segment| segment.header.position);
        assert!(first <= read && read <= head, "{first}, {read}, {head}");
        live.release(live.durable());
        log.rig.writer.supply.tend();
        log = log.restart(Crash::Power);
        (0..20).for_each(|n| assert!(log.rig.append(vec![n; 3000]).is_ok()));
    }
}

// Acknowledged before durable.

#[test]
fn vector_19218_nats_7564_nobody_hears_success_before_the_sync() {
    let mut log = Log::new(14, 1);
    log.disk.fail_syncs(1000);
    assert!(matches!(log.rig.append("told too early"), Err(Fault::Disk(_))));
    log.disk.fail_syncs(0);
    assert!(log.rig.append("and not later either").is_err(), "a later success would prove nothing");
    for seed in 0..50 {
        let mut log = Log::new(seed, 0);
        let told = log.rig.append(vec![1; 3000]).unwrap();
        let log = log.restart(Crash::Power);
        assert!(log.rig.read_all(told).iter().any(|item| matches!(item, Item::Record(r) if r.lsn == told)));
    }
}

// Silent drop by design.

#[test]
fn vmagent_max_disk_usage_a_full_log_refuses_and_keeps_the_oldest() {
    let mut log = Log::new(15, 0);
    let refused = (0..2000).any(|_| log.rig.append(vec![1; 3000]) == Err(Fault::Full));
    assert!(refused);
    let (found, damages) = log.items();
    assert!(found > 100 && damages.is_empty());
    assert!(
        matches!(&log.rig.read_all(Lsn(1))[0], Item::Record(record) if record.lsn == Lsn(1)),
        "the oldest is there"
    );
}

// Identity.

#[test]
fn vmagent_8477_a_cursor_belongs_to_a_name_and_stays_when_nobody_asks_for_it() {
    let log = Log::new(16, 3);
    log.save_floor(Lsn(2), Lsn(3));
    let other = crate::base::DestinationId::parse("other").unwrap();
    assert_eq!(cursor::load(log.shared.as_ref(), Path::new(DIR), &other).unwrap().cursor, None);
    let log = log.restart(Crash::Power);
    assert_eq!(cursor::list(log.shared.as_ref(), Path::new(DIR)).unwrap(), [destination()]);
}

// Errors by text.

#[test]
fn raft_engine_no_space_a_full_disk_is_known_by_its_errno() {
    let mut log = Log::new(17, 3);
    log.disk.resize(log.disk.used_bytes());
    let full = (0..100).find_map(|_| log.rig.append(vec![1; 3000]).err());
    assert_eq!(full, Some(Fault::Full), "full is no fault");
    assert!(!log.rig.writer.live.is_faulted());
}

#[test]
fn tikv_15755_rotation_on_a_full_disk_is_refused_and_goes_on_when_there_is_room() {
    let mut log = Log::new(18, 3);
    log.disk.resize(log.disk.used_bytes());
    while log.rig.append(vec![1; 3000]).is_ok() {}
    log.disk.resize(u64::MAX);
    log.rig.writer.supply.tend();
    assert!(log.rig.append("there is room").is_ok());
}

#[test]
fn tikv_13691_a_file_that_cannot_be_made_is_no_fault() {
    let faulty = FaultyDisk::new(Arc::new(SimulatedDisk::new(19)));
    let shared: Arc<dyn Disk> = Arc::new(faulty.clone());
    let mut rig = Rig::open(&shared, &options(SEGMENT_BYTES), 19).unwrap();
    faulty.fail(Some(Failure { at: faulty.calls() + 1, errno: ENOSPC, half: true, lasting: true }));
    rig.writer.supply.tend();
    faulty.fail(None);
    assert!(rig.writer.supply.trouble().is_some() && !rig.writer.live.is_faulted());
    assert!(rig.append("it goes on").is_ok());
}

// NATS, even with `always`.

#[test]
fn nats_7594_what_waits_while_a_sync_runs_is_in_the_next_group() {
    let mut log = Log::new(20, 0);
    let waiting: Vec<_> = (0..50u8).map(|n| bundle(vec![entry(vec![n; 2000])], vec![])).collect();
    let (bundles, answers): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
    log.rig.commit(bundles);
    assert!(answers.iter().all(|answer| matches!(heard(answer), Some(Ok(_)))));
    assert_eq!(log.restart(Crash::Power).items(), (50, vec![]));
}

#[test]
fn nats_7627_8456_recycling_is_a_rename_and_changes_nothing_that_is_kept() {
    for seed in 0..50 {
        let mut log = Log::new(seed, 60);
        let oldest = log.rig.writer.live.segments()[3].header.base;
        log.save_floor(oldest.before(), Lsn(60));
        log.rig.writer.live.release(oldest);
        log.disk.stop_after(Some(seed % 12));
        log.rig.writer.supply.tend();
        while log.rig.append(vec![9; 3000]).is_ok_and(|lsn| lsn < Lsn(80)) {}
        let log = log.restart(Crash::Power);
        let kept = log.rig.read_all(oldest);
        let whole = (oldest.0..=60).all(|n| kept.iter().any(|item| matches!(item, Item::Record(r) if r.lsn.0 == n)));
        assert!(whole && log.rig.report.damages.is_empty(), "seed {seed}: {:?}", log.rig.report);
    }
}

#[test]
fn nats_7549_one_flipped_bit_does_not_take_its_neighbours_along() {
    let mut log = Log::new(22, 8);
    log.rig.writer.mark();
    let path = log.paths()[0].clone();
    // The length of the third record.
    let third = 4096 + 2 * super::super::record::record_bytes(3004);
    log.disk.flip(&path, third + 6, 3).unwrap();
    assert_eq!(log.restart(Crash::Power).items(), (7, vec![(3, 3)]));
}

#[test]
fn postgres_2018_a_failed_sync_is_never_tried_again() {
    let faulty = FaultyDisk::new(Arc::new(SimulatedDisk::new(23)));
    let shared: Arc<dyn Disk> = Arc::new(faulty.clone());
    let mut rig = Rig::open(&shared, &options(SEGMENT_BYTES), 23).unwrap();
    faulty.fail(Some(Failure { at: faulty.calls(), errno: EIO, half: false, lasting: false }));
    assert!(rig.append("lost").is_err());
    let calls = faulty.calls();
    assert!(rig.append("later").is_err());
    rig.writer.mark();
    rig.writer.finish();
    assert_eq!(faulty.calls(), calls, "nothing touches the disk any more");
    assert_eq!(rig.writer.live.waiting_bytes.load(Ordering::Acquire), 0);
}
