//! The gap log on disks that lose power, fail, fill up, hang, and on damaged bytes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use super::file::{HALF_BYTES, NAME};
use super::*;
use crate::base::disk;
use crate::base::disk::faulty::{Failure, FaultyDisk};
use crate::base::disk::simulated::{Crash, SimulatedDisk};

const PATIENCE: Duration = Duration::from_secs(60);

fn missed(place: &str, lines: u64) -> Missed {
    Missed {
        owner: "main".into(),
        place: place.into(),
        cause: "queue-full".into(),
        from_ns: 10 - lines as i64,
        to_ns: 10 + lines as i64,
        lines,
    }
}

fn dir() -> PathBuf {
    PathBuf::from("wal")
}

fn shared(disk: impl Disk + 'static) -> Arc<dyn Disk> {
    let disk: Arc<dyn Disk> = Arc::new(disk);
    disk.create_dir_all(&dir()).unwrap();
    disk
}

fn add(log: &GapLog, missed: Missed) -> std::result::Result<(), Refusal> {
    let (told, heard) = mpsc::channel();
    log.add(missed, Box::new(move |result| told.send(result).is_ok()));
    heard.recv_timeout(PATIENCE).unwrap()
}

fn list(log: &GapLog) -> Vec<GapSum> {
    let (told, heard) = mpsc::channel();
    log.list(Box::new(move |sums| drop(told.send(sums))));
    heard.recv_timeout(PATIENCE).unwrap()
}

fn lines(log: &GapLog) -> u64 {
    list(log).iter().map(|sum| sum.missed.lines).sum()
}

/// What a careful taker keeps: lines taken over, by gap log and id, and places' sums.
#[derive(Default)]
struct Taker {
    seen: BTreeMap<(u64, u64), u64>,
    places: BTreeMap<String, u64>,
}

impl Taker {
    fn take(&mut self, log: &GapLog) -> Vec<(u64, u64)> {
        let sums = list(log);
        for sum in &sums {
            let seen = self.seen.entry((log.ledger(), sum.id)).or_default();
            let place = self.places.entry(sum.missed.place.clone()).or_default();
            *place = *place + sum.missed.lines - *seen;
            *seen = sum.missed.lines;
        }
        sums.iter().map(|sum| (sum.id, sum.missed.lines)).collect()
    }
}

#[test]
fn what_was_added_is_there_after_the_next_start_and_merged() {
    let disk = shared(SimulatedDisk::new(1));
    let log = GapLog::open(&disk, &dir()).unwrap().log;
    for n in 1..=200 {
        add(&log, missed(if n % 2 == 0 { "even" } else { "odd" }, n)).unwrap();
    }
    log.close();
    let opened = GapLog::open(&disk, &dir()).unwrap();
    assert_eq!(opened.damaged, 0);
    let sums = list(&opened.log);
    assert_eq!(sums.len(), 2, "one outage, one sum a place: {sums:?}");
    let odd = &sums.iter().find(|sum| sum.missed.place == "odd").unwrap().missed;
    assert_eq!((odd.lines, odd.from_ns, odd.to_ns), (10_000, -189, 209));
}

#[test]
fn an_outage_of_any_length_needs_no_more_than_the_file() {
    let disk = Arc::new(SimulatedDisk::new(2));
    let log = GapLog::open(&shared_of(&disk), &dir()).unwrap().log;
    // Far more records than fit in a half: 3,000 × 60 places × 128 bytes.
    for n in 0..3_000 {
        let (told, heard) = mpsc::channel();
        for place in 0..60 {
            let told = told.clone();
            log.add(missed(&format!("place {place}"), 1), Box::new(move |result| told.send(result).is_ok()));
        }
        drop(told);
        assert!(heard.iter().all(|result| result.is_ok()), "round {n}");
    }
    log.close();
    assert_eq!(disk.open(&dir().join(NAME), disk::Open::Read).unwrap().length().unwrap(), 2 * HALF_BYTES);
    let log = GapLog::open(&shared_of(&disk), &dir()).unwrap().log;
    assert_eq!((lines(&log), list(&log).len()), (180_000, 60));
}

fn shared_of(disk: &Arc<SimulatedDisk>) -> Arc<dyn Disk> {
    let disk: Arc<dyn Disk> = Arc::clone(disk) as _;
    disk.create_dir_all(&dir()).unwrap();
    disk
}

#[test]
fn it_can_be_written_when_the_disk_is_full() {
    let disk = Arc::new(SimulatedDisk::new(3));
    let log = GapLog::open(&shared_of(&disk), &dir()).unwrap().log;
    disk.resize(2 * HALF_BYTES);
    for n in 1..=100 {
        add(&log, missed("d", n)).unwrap();
    }
    log.close();
    let log = GapLog::open(&shared_of(&disk), &dir()).unwrap().log;
    assert_eq!(lines(&log), 5050);
}

/// Crashes at any call, of the process and of the machine, while gaps are added and taken over: nothing that was
/// acknowledged is missing, and nothing counts twice.
#[test]
fn whatever_dies_when_every_gap_counts_once() {
    let (mut taken_over, mut crashes) = (0, 0);
    for seed in 0..300 {
        let disk = Arc::new(SimulatedDisk::new(seed));
        let shared = shared_of(&disk);
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut acknowledged, mut unclear, mut taker) = (0, 0, Taker::default());
        for _ in 0..4 {
            disk.stop_after(Some(random.u64(1..30)));
            if let Ok(opened) = GapLog::open(&shared, &dir()) {
                assert_eq!(opened.damaged, 0, "seed {seed}: a crash is no damage");
                let log = opened.log;
                for _ in 0..20 {
                    let n = random.u64(1..9);
                    match add(&log, missed(["a", "b", "c"][random.usize(0..3)], n)) {
                        Ok(()) => acknowledged += n,
                        // It may or may not have reached the platter.
                        Err(_) => unclear += n,
                    }
                    if random.u8(0..4) == 0 && !disk.is_down() {
                        let taken = taker.take(&log);
                        taken_over += taken.len();
                        // The process may die before it says so.
                        if random.bool() {
                            log.taken(taken);
                        }
                    }
                }
                log.close();
            }
            crashes += usize::from(disk.is_down());
            disk.stop_after(None);
            disk.crash(if random.bool() { Crash::Power } else { Crash::Process });
        }
        let log = GapLog::open(&shared, &dir()).unwrap().log;
        taker.take(&log);
        let total: u64 = taker.places.values().sum();
        assert!(
            (acknowledged..=acknowledged + unclear).contains(&total),
            "seed {seed}: {total} is not {acknowledged} (+ {unclear})"
        );
    }
    assert!(crashes > 300 && taken_over > 1000, "{crashes} crashes, {taken_over} taken over");
}

#[test]
fn a_disk_that_fails_is_refused_from_then_on_and_what_was_kept_is_still_listed() {
    let faulty = FaultyDisk::new(Arc::new(SimulatedDisk::new(4)));
    let disk = shared(faulty.clone());
    let log = GapLog::open(&disk, &dir()).unwrap().log;
    add(&log, missed("d", 5)).unwrap();
    faulty.fail(Some(Failure { at: faulty.calls(), errno: 5, half: true, lasting: false }));
    assert!(matches!(add(&log, missed("d", 7)), Err(Refusal::Faulted(_))));
    assert!(matches!(add(&log, missed("d", 7)), Err(Refusal::Faulted(_))), "a failed sync is never tried again");
    assert_eq!(lines(&log), 5);
    log.close();
    let log = GapLog::open(&disk, &dir()).unwrap().log;
    assert!([5, 12].contains(&lines(&log)), "half a record is none");
}

#[test]
fn damage_costs_the_damaged_records_and_is_told() {
    let disk = Arc::new(SimulatedDisk::new(5));
    let shared = shared_of(&disk);
    let path = dir().join(NAME);
    let log = GapLog::open(&shared, &dir()).unwrap().log;
    for place in ["a", "b", "c"] {
        add(&log, missed(place, 3)).unwrap();
    }
    log.close();
    // A new file goes on in the first half, behind the two heads; each record fills 128 bytes.
    let record = 1024 + 128;
    disk.corrupt(&path, |bytes| bytes[record + 70] ^= 1).unwrap();
    let opened = GapLog::open(&shared, &dir()).unwrap();
    let places: Vec<String> = list(&opened.log).into_iter().map(|sum| sum.missed.place).collect();
    assert_eq!((opened.damaged, places), (1, vec!["a".to_owned(), "c".to_owned()]));
    opened.log.close();
    // One copy of a head is enough.
    disk.corrupt(&path, |bytes| bytes[HALF_BYTES as usize + 20] ^= 1).unwrap();
    let opened = GapLog::open(&shared, &dir()).unwrap();
    assert_eq!((opened.damaged, lines(&opened.log)), (0, 6));
    opened.log.close();
    disk.corrupt(&path, |bytes| {
        bytes[20] ^= 1;
        bytes[532] ^= 1;
    })
    .unwrap();
    let opened = GapLog::open(&shared, &dir()).unwrap();
    assert_eq!((opened.damaged, lines(&opened.log)), (u64::MAX, 0));
    let names = disk.list(&dir()).unwrap();
    assert!(names.contains(&"gaps.log.damaged-1".to_owned()), "evidence is kept: {names:?}");
}

#[test]
fn a_gap_that_nobody_waited_for_is_taken_back() {
    let disk = shared(SimulatedDisk::new(6));
    let log = GapLog::open(&disk, &dir()).unwrap().log;
    add(&log, missed("d", 5)).unwrap();
    log.add(missed("d", 9), Box::new(|_| false));
    assert_eq!(lines(&log), 5);
    log.close();
    let log = GapLog::open(&disk, &dir()).unwrap().log;
    assert_eq!(lines(&log), 5);
}

#[test]
fn a_spare_directory_has_one_owner() {
    let home = tempfile::tempdir().unwrap();
    let (disk, spare) = (disk::real(), home.path().join("spare"));
    let first = GapLog::open_spare(&disk, &spare).unwrap().log;
    assert_eq!(GapLog::open_spare(&disk, &spare).unwrap_err().kind(), Kind::Locked);
    add(&first, missed("d", 1)).unwrap();
    first.close();
    assert_eq!(lines(&GapLog::open_spare(&disk, &spare).unwrap().log), 1);
}
