//! Reading the log: complete segments into buffers (`pread`) and through the address space (`mapped`), from the page cache
//! and from the disk, and behind a writer (tailing). MB/s of bodies, and processor time for a GB.
//!
//! Every record is verified, and every body looked at once more, as a delivery does that sends it. Both ways take turns;
//! medians of the rounds. For a cold read the page cache gives the files up first.
//!
//! `cargo bench --bench wal_read [-- --json] [--disk DIR] [--mib N] [--rounds N] [--compression lz4|zstd]`. The folder is made here and removed at the
//! end.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock itself")]

use std::fs::{self, File};
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value as Json, json};
use twinline::base::clock::SystemClock;
use twinline::base::disk::chosen;
use twinline::base::{Lsn, RequestId, RouteId};
use twinline::wal::{Bundle, Compression, Entry, Item, Kind, Options, Wal};
use twinline_benches::measure::{Arguments, compression, folder, median};
use twinline_benches::telegraf;

const BYTES: [usize; 3] = [1 << 10, 16 << 10, 256 << 10];
/// Written in one bundle.
const TOGETHER_BYTES: usize = 1 << 20;
/// The tail is written at this rate.
const TAIL_MB_PER_S: f64 = 200.0;

/// Processor time of this thread, the kernel's share included.
fn processor() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

fn open(place: &Path, mapped: bool, compression: Compression) -> Wal {
    let options =
        Options { max_bytes: 16 << 30, reserve_free_bytes: 0, mapped, compression, ..Options::new(place.join("wal")) };
    Wal::open(chosen(), SystemClock::shared(), options, &[]).expect("a log").0
}

/// Appends one bundle and waits for it.
fn append(wal: &Wal, text: &Bytes, bytes: usize, number: &mut u64) {
    let places = (text.len() / bytes) as u64;
    let entry = |number: u64| Entry {
        kind: Kind::Intent,
        flags: 0,
        route: RouteId(1),
        request: RequestId(number),
        lines: 1,
        received_ns: 1_700_000_000_000_000_000,
        meta: Bytes::new(),
        body: text.slice((number % places) as usize * bytes..).slice(..bytes),
    };
    let count = (TOGETHER_BYTES / bytes).max(1) as u64;
    let entries = (*number..*number + count).map(entry).collect();
    *number += count;
    let (sender, done) = mpsc::channel();
    let told = Box::new(move |result: Result<Lsn, _>| sender.send(result.is_ok()).expect("somebody waits"));
    assert!(wal.submit(Bundle { entries, outcomes: vec![], done: told }).is_ok(), "the log takes it");
    assert!(done.recv().expect("an answer"), "a healthy disk");
}

/// Looks at a body as who sends it does: every byte once.
fn look(body: &[u8]) -> u64 {
    body.chunks_exact(8).map(|eight| u64::from_le_bytes(eight.try_into().expect("eight"))).fold(0, |a, b| a ^ b)
}

/// MB/s, and processor seconds for a GB.
type Speed = (f64, f64);

/// Reads everything there is.
fn read(wal: &Wal) -> Speed {
    let mut reader = wal.reader(Lsn(1)).expect("a reader");
    let (began, used, mut bytes) = (Instant::now(), processor(), 0);
    while let Some(item) = reader.next().expect("a readable log") {
        let Item::Record(record) = item else { panic!("damage") };
        black_box(look(&record.body));
        bytes += record.body.len();
    }
    speed(bytes, began.elapsed(), processor().saturating_sub(used))
}

fn speed(bytes: usize, took: Duration, used: Duration) -> Speed {
    (bytes as f64 / took.as_secs_f64() / 1e6, used.as_secs_f64() / (bytes as f64 / 1e9))
}

/// Follows a writer of a fixed rate for a second, and releases what was read.
fn tail(wal: &Wal, text: &Bytes, bytes: usize, number: &mut u64) -> Speed {
    let mut reader = wal.reader(wal.durable().next()).expect("a reader");
    let (ended, total) = (&AtomicBool::new(false), &AtomicU64::new(0));
    let (woken, wake) = mpsc::channel();
    wal.on_durable(Box::new(move || _ = woken.send(())));
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let (began, used) = (Instant::now(), processor());
            loop {
                let last = ended.load(Ordering::Acquire);
                while let Some(item) = reader.next().expect("a readable log") {
                    let Item::Record(record) = item else { panic!("damage") };
                    black_box(look(&record.body));
                    total.fetch_add(record.body.len() as u64, Ordering::Relaxed);
                    wal.release(record.lsn);
                }
                if last {
                    break;
                }
                let _timeout = wake.recv_timeout(Duration::from_millis(5));
            }
            speed(total.load(Ordering::Relaxed) as usize, began.elapsed(), processor().saturating_sub(used))
        });
        let began = Instant::now();
        let mut sent = 0.0;
        while began.elapsed() < Duration::from_secs(1) {
            if sent <= began.elapsed().as_secs_f64() * TAIL_MB_PER_S * 1e6 {
                append(wal, text, bytes, number);
                sent += TOGETHER_BYTES as f64;
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        ended.store(true, Ordering::Release);
        reading.join().expect("no panic")
    })
}

/// The page cache gives up what it holds of the log.
fn forget(place: &Path) {
    for entry in fs::read_dir(place.join("wal/seg")).expect("a folder").flatten() {
        let file = File::open(entry.path()).expect("a file");
        file.sync_all().expect("a healthy disk");
        fadvise(&file, 0, None, Advice::DontNeed).expect("advice is always taken");
    }
}

/// The rows of one length of records.
fn case(arguments: &Arguments, text: &Bytes, bytes: usize, rows: &mut Vec<Json>) {
    let place = folder(&arguments.disk(env!("CARGO_TARGET_TMPDIR")));
    let (total, rounds) = (arguments.number("--mib", 768.0) * 1048576.0, arguments.number("--rounds", 5.0) as usize);
    let (mut number, how) = (0, compression(arguments));
    let wal = open(place.path(), false, how);
    while (number as f64) * (bytes as f64) < total {
        append(&wal, text, bytes, &mut number);
    }
    drop(wal);
    let mut speeds = vec![vec![]; 6];
    for _ in 0..rounds {
        for (at, mapped) in [false, true].into_iter().enumerate() {
            let wal = open(place.path(), mapped, how);
            forget(place.path());
            speeds[at].push(read(&wal));
            speeds[2 + at].push(read(&wal));
        }
    }
    for (at, mapped) in [false, true].into_iter().enumerate() {
        let wal = open(place.path(), mapped, how);
        for _ in 0..rounds.min(3) {
            speeds[4 + at].push(tail(&wal, text, bytes, &mut number));
        }
    }
    for (at, label) in ["cold", "cached", "tail"].into_iter().enumerate() {
        let of = |way: usize| {
            let both = &speeds[2 * at + way];
            (median(both.iter().map(|s| s.0).collect()), median(both.iter().map(|s| s.1).collect()))
        };
        let (pread, mapped) = (of(0), of(1));
        rows.push(json!({
            "bytes": bytes, "read": label, "pread_mb_per_s": pread.0, "mapped_mb_per_s": mapped.0,
            "pread_cpu_s_per_gb": pread.1, "mapped_cpu_s_per_gb": mapped.1, "saved_cpu": 1.0 - mapped.1 / pread.1,
        }));
    }
}

fn main() {
    let arguments = Arguments::new();
    let text = Bytes::from(telegraf(48 << 20));
    let mut rows = Vec::new();
    for bytes in BYTES {
        case(&arguments, &text, bytes, &mut rows);
    }
    if arguments.has("--json") {
        println!("{:#}", Json::Array(rows));
        return;
    }
    println!(
        "| record | read | pread MB/s | mapped MB/s | pread CPU s/GB | mapped CPU s/GB | CPU saved |\n|--:|--|--:|--:|--:|--:|--:|"
    );
    for row in rows {
        let number = |name: &str| row[name].as_f64().unwrap_or_default();
        println!(
            "| {} KiB | {} | {:.0} | {:.0} | {:.3} | {:.3} | {:.0} % |",
            number("bytes") / 1024.0,
            row["read"].as_str().unwrap_or_default(),
            number("pread_mb_per_s"),
            number("mapped_mb_per_s"),
            number("pread_cpu_s_per_gb"),
            number("mapped_cpu_s_per_gb"),
            100.0 * number("saved_cpu"),
        );
    }
}
