//! The log with its threads, on the real disk: what callers meet.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use super::super::*;
use super::rig::{bundle, clock, entry, heard};
use crate::base::disk::{faulty, real};
use crate::base::{Kind as ErrorKind, Lsn};

/// Long enough that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

fn options(dir: &Path) -> Options {
    Options { segment_bytes: 1 << 20, max_bytes: 6 << 20, reserve_free_bytes: 0, ..Options::new(dir.join("wal")) }
}

fn open(options: &Options) -> (Wal, Recovery) {
    Wal::open(real(), clock(), options.clone(), &[]).unwrap()
}

/// Submits one entry and waits for its answer.
fn append(wal: &Wal, body: Vec<u8>) -> Result<Lsn, Fault> {
    let (sender, receiver) = mpsc::channel();
    let done = Box::new(move |result: Result<Lsn, Failed>| sender.send(result.map_err(|failed| failed.fault)).unwrap());
    let bundle = Bundle { entries: vec![entry(body)], outcomes: vec![], done };
    match wal.submit(bundle) {
        Ok(()) => receiver.recv_timeout(PATIENCE).expect("an answer"),
        Err((Refused::Full, _)) => Err(Fault::Full),
        Err((refused, _)) => panic!("{refused}"),
    }
}

/// Calls until it gives something; for what happens in the background.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let (_never, nothing) = mpsc::channel::<()>();
    for _ in 0..6000 {
        if let Some(found) = look() {
            return found;
        }
        let _timeout = nothing.recv_timeout(Duration::from_millis(10));
    }
    panic!("{what} never happened");
}

#[test]
fn a_reader_follows_a_growing_log_across_rotation_and_recycling() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let (wal, _) = open(&options);
    let wal = &wal;
    let (woken, wakes) = mpsc::channel();
    wal.on_durable(Box::new(move || _ = woken.send(())));
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut reader = wal.reader(Lsn(1)).unwrap();
            let (mut count, mut position) = (0u64, 0);
            while count < 600 {
                match reader.next().unwrap() {
                    Some(Item::Record(record)) => {
                        assert!(record.lsn <= wal.durable() && record.position > position);
                        position = record.position;
                        assert_eq!(record.body, vec![count as u8; 20_000]);
                        count += 1;
                        wal.release(record.lsn);
                    }
                    Some(Item::Damage(damage)) => panic!("{damage:?}"),
                    None => wakes.recv_timeout(PATIENCE).expect("a wake-up"),
                }
            }
        });
        for n in 0..600u64 {
            // Twice the budget goes through: without recycling the log would be full for good.
            eventually("room", || append(wal, vec![n as u8; 20_000]).ok());
        }
        reading.join().unwrap();
    });
    let stats = wal.stats();
    assert!(stats.oldest > Lsn(1) && stats.bytes <= options.max_bytes, "{stats:?}");
    assert_eq!((stats.durable >= Lsn(600), stats.fault.clone()), (true, None));
    let names: HashSet<String> = real().list(&options.dir.join("seg")).unwrap().into_iter().collect();
    assert!(names.len() <= 6, "{names:?}");
}

#[test]
fn a_full_log_refuses_keeps_room_for_outcomes_and_works_again_after_a_release() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let (wal, _) = open(&options);
    let mut last = Lsn::ZERO;
    let refused = (0..1000).any(|_| match append(&wal, vec![1; 50_000]) {
        Ok(lsn) => {
            last = lsn;
            false
        }
        Err(fault) => {
            assert_eq!(fault, Fault::Full);
            true
        }
    });
    assert!(refused && last > Lsn(80), "{last}");
    assert!(wal.stats().bytes <= options.max_bytes);
    let (settling, answer) = bundle(vec![], vec![[7; OUTCOME_BYTES]; 50]);
    wal.submit(settling).expect("outcomes have a reserve");
    eventually("an answer", || heard(&answer)).expect("durable");
    wal.release(last);
    let lsn = eventually("room", || append(&wal, vec![2; 50_000]).ok());
    assert!(lsn > last && wal.oldest() > Lsn(1));
    wal.close().unwrap();
}

#[test]
fn two_processes_cannot_have_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let (wal, _) = open(&options);
    let error = Wal::open(real(), clock(), options.clone(), &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.next_step().is_some());
    wal.close().unwrap();
    open(&options);
}

#[test]
fn closing_makes_everything_durable_and_the_next_start_finds_it_clean() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let (wal, first) = open(&options);
    let answers: Vec<_> = (0..50u8)
        .map(|n| {
            let (bundle, answer) = bundle(vec![entry(vec![n]), entry(vec![n; 100_000])], vec![[n; OUTCOME_BYTES]]);
            eventually("room in the channel", {
                let mut waiting = Some(bundle);
                let wal = &wal;
                move || match wal.submit(waiting.take()?) {
                    Ok(()) => Some(()),
                    Err((refused, back)) => {
                        assert_eq!(refused, Refused::Busy);
                        waiting = Some(back);
                        None
                    }
                }
            });
            answer
        })
        .collect();
    wal.shut_down().unwrap();
    let (late, _) = bundle(vec![entry("late")], vec![]);
    assert_eq!(wal.submit(late).unwrap_err().0, Refused::Closed);
    let durable = wal.durable();
    drop(wal);
    let (wal, second) = open(&options);
    assert_eq!((second.durable, second.torn_bytes, second.damages.len()), (durable, 0, 0));
    assert_eq!(second.incarnation.0, first.incarnation.0 + 1);
    let mut reader = wal.reader(Lsn(1)).unwrap();
    let mut bodies = std::collections::BTreeMap::new();
    let mut outcomes = 0;
    while let Some(Item::Record(record)) = reader.next().unwrap() {
        match record.kind {
            Kind::Outcomes => outcomes += record.body.len() / OUTCOME_BYTES,
            _ => drop(bodies.insert(record.lsn, record.body)),
        }
    }
    assert_eq!((bodies.len(), outcomes), (100, 50));
    for (n, answer) in answers.iter().enumerate() {
        let first = heard(answer).unwrap().unwrap();
        assert_eq!(bodies[&first], vec![n as u8]);
        assert_eq!(bodies[&first.next()], vec![n as u8; 100_000], "a bundle's entries are neighbours");
    }
}

#[test]
fn what_waits_is_bounded_by_number_and_by_bytes() {
    for (bundles, bytes, size) in [(2, 1 << 20, 10), (1000, 10_000, 3000)] {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { channel_bundles: bundles, channel_bytes: bytes, ..options(dir.path()) };
        let (wal, _) = open(&options);
        let (go, gate) = mpsc::channel::<()>();
        let (entered, inside) = mpsc::channel();
        let done = Box::new(move |_| {
            entered.send(()).unwrap();
            gate.recv().unwrap();
        });
        wal.submit(Bundle { entries: vec![entry("first")], outcomes: vec![], done }).unwrap();
        inside.recv_timeout(PATIENCE).unwrap();
        // The log's thread stands in the first completion.
        let mut answers = Vec::new();
        let refused = loop {
            let (bundle, answer) = bundle(vec![entry(vec![0; size])], vec![]);
            match wal.submit(bundle) {
                Ok(()) => answers.push(answer),
                Err((refused, _)) => break refused,
            }
            assert!(answers.len() < 10, "never refused");
        };
        assert_eq!(refused, Refused::Busy);
        go.send(()).unwrap();
        for answer in &answers {
            eventually("an answer", || heard(answer)).unwrap();
        }
        assert!((1..=3).contains(&answers.len()), "{}", answers.len());
        append(&wal, vec![1; 100_000]).expect("a bundle above the bound is taken when nothing else waits");
    }
}

#[test]
fn a_failed_sync_fails_its_waiters_and_all_that_come_after_until_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let disk = faulty::FaultyDisk::new(real());
    let (wal, _) = Wal::open(Arc::new(disk.clone()), clock(), options.clone(), &[]).unwrap();
    let kept = append(&wal, b"kept".to_vec()).unwrap();
    disk.fail(Some(faulty::Failure { at: 0, errno: 5, half: false, lasting: true }));
    assert!(matches!(append(&wal, b"lost".to_vec()), Err(Fault::Disk(cause)) if cause.contains("os error 5")));
    disk.fail(None);
    let (later, answer) = bundle(vec![entry("later")], vec![]);
    let (refused, later) = wal.submit(later).unwrap_err();
    assert_eq!(refused, Refused::Faulted, "the disk works again, but is not trusted");
    drop(later);
    assert_eq!(heard(&answer), None, "a refused bundle is the caller's");
    assert!(wal.stats().fault.is_some());
    assert!(wal.close().is_err());
    let (wal, report) = open(&options);
    assert!(report.damages.is_empty());
    let mut reader = wal.reader(Lsn(1)).unwrap();
    assert!(matches!(reader.next().unwrap(), Some(Item::Record(r)) if r.lsn == kept && &r.body[..] == b"kept"));
    append(&wal, b"again".to_vec()).unwrap();
}

#[test]
fn what_no_record_can_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(&options(dir.path()));
    let of = |entry: Entry| bundle(vec![entry], vec![]).0;
    let invalid = [
        bundle(vec![], vec![]).0,
        bundle(vec![], vec![[0; OUTCOME_BYTES]; OUTCOMES_MAX + 1]).0,
        of(Entry { meta: vec![0; 65_536].into(), ..entry("") }),
        of(Entry { body: vec![0; PAYLOAD_MAX_BYTES - 3].into(), ..entry("") }),
        of(Entry { kind: Kind::Mark, ..entry("") }),
    ];
    for bundle in invalid {
        assert_eq!(wal.submit(bundle).unwrap_err().0, Refused::Invalid);
    }
}

#[test]
fn the_largest_record_fits_any_segment_size() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: 80 << 20, ..options(dir.path()) };
    let (wal, _) = open(&options);
    let body = vec![3; PAYLOAD_MAX_BYTES - 4];
    let lsn = append(&wal, body.clone()).unwrap();
    let mut reader = wal.reader(lsn).unwrap();
    assert!(matches!(reader.next().unwrap(), Some(Item::Record(record)) if record.body == body));
    let mut reader = wal.reader(lsn).unwrap();
    let Some(Item::Record(header)) = reader.next_header().unwrap() else { panic!("a record") };
    assert_eq!((header.payload_bytes as usize, header.body.len()), (PAYLOAD_MAX_BYTES, 0));
    append(&wal, b"next".to_vec()).unwrap();
}

#[test]
fn impossible_options_are_refused_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    for options in
        [Options { segment_bytes: 1000, ..options(dir.path()) }, Options { max_bytes: 1 << 20, ..options(dir.path()) }]
    {
        let error = Wal::open(real(), clock(), options, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
    assert!(!dir.path().join("wal").exists());
}

#[test]
fn header_reading_gives_outcomes_with_their_payload_and_the_same_positions() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(&options(dir.path()));
    for n in 0..40u8 {
        let (bundle, answer) = bundle(vec![entry(vec![n; 30_000])], vec![[n; OUTCOME_BYTES]; 3]);
        wal.submit(bundle).unwrap();
        eventually("an answer", || heard(&answer)).unwrap();
    }
    let (mut full, mut headers) = (wal.reader(Lsn(1)).unwrap(), wal.reader(Lsn(1)).unwrap());
    let mut count = 0;
    while let Some(Item::Record(whole)) = full.next().unwrap() {
        let Some(Item::Record(header)) = headers.next_header().unwrap() else { panic!("a header") };
        let expected = match whole.kind {
            Kind::Outcomes => whole,
            _ => Record { meta: bytes::Bytes::new(), body: bytes::Bytes::new(), ..whole },
        };
        assert_eq!(header, expected);
        count += 1;
    }
    assert_eq!(count, 80);
    assert!(headers.next_header().unwrap().is_none());
}

#[test]
fn the_last_owner_may_let_go_inside_a_completion() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(&options(dir.path()));
    let wal = Arc::new(wal);
    let own = Arc::clone(&wal);
    let (sender, receiver) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let done = Box::new(move |result| {
        gate.recv().unwrap();
        drop(own);
        sender.send(result).unwrap();
    });
    wal.submit(Bundle { entries: vec![entry("last")], outcomes: vec![], done }).unwrap();
    drop(wal);
    go.send(()).unwrap();
    receiver.recv_timeout(PATIENCE).unwrap().unwrap();
    eventually("the lock is free", || Wal::open(real(), clock(), options(dir.path()), &[]).ok());
}
