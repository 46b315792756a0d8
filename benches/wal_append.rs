//! Appending to the log beside the disk itself: what is lost of the bandwidth that one thread reaches which writes groups of
//! the same size with the same kind of sync, and what a writer waits beyond one sync.
//!
//! Writers hand over one record, wait until it is durable, and hand over the next. They are tasks of one event loop, as in
//! the proxy: what is durable comes back as one list with one wake-up, and the next records leave together, in bundles as
//! large as the proxy's. With `--threads`
//! each is a thread of its own. What is durable is released at once, so that the log uses its files again.
//!
//! The disk itself: one thread, one file of written blocks that it overwrites round and round, groups as large as those
//! that the log has just written (mean of the round), `pwritev2` with `RWF_DSYNC` as the log does, and `pwrite` + `fdatasync`.
//! Log and disk take turns in short rounds, because a rented disk changes its speed from one second to the next; the share is
//! the median of the rounds' shares.
//!
//! `cargo bench --bench wal_append [-- --json] [--disk DIR] [--seconds S] [--rounds N] [--writers N] [--bytes N] [--threads]
//! [--compression lz4|zstd]`; compressed, MB/s are those of the bodies, and the disk writes what the log has stored.
//! `--rows` prints one line of JSON for each case, as `wal_peers/run` wants it.
//! The folder is made here and removed at the end.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock itself")]

use std::fs::File;
use std::hint::black_box;
use std::io::IoSlice;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::io::{ReadWriteFlags, pwritev2};
use serde_json::{Value as Json, json};
use twinline::base::clock::SystemClock;
use twinline::base::disk::chosen;
use twinline::base::{Lsn, RequestId, RouteId};
use twinline::wal::{Bundle, Compression, Entry, Kind, Options, Stats, Wal};
use twinline_benches::measure::{Arguments, compression, folder, median, percentile, processor};
use twinline_benches::telegraf;

const WRITERS: [usize; 4] = [1, 8, 64, 512];
const BYTES: [usize; 3] = [1 << 10, 16 << 10, 256 << 10];
/// Bodies come from a text of this length: more than the caches of a core.
const TEXT_BYTES: usize = 48 << 20;
/// What the proxy hands over as one.
const BUNDLE_BYTES: usize = 4 << 20;
const RAW_BYTES: u64 = 64 << 20;
/// So much goes through the log before anything is measured: then it uses its files again.
const WARM_BYTES: u64 = 256 << 20;

/// What a round brought.
#[derive(Default)]
struct Round {
    bytes: u64,
    took: Duration,
    used: Duration,
    groups: u64,
    /// Bytes of records in them.
    group_bytes: u64,
    latencies_ns: Vec<u64>,
}

impl Round {
    fn mb_per_s(&self) -> f64 {
        self.bytes as f64 / self.took.as_secs_f64() / 1e6
    }

    fn written(&mut self, before: &Stats, after: &Stats) {
        self.groups = after.groups - before.groups;
        self.group_bytes = after.position - before.position;
    }
}

/// Bodies of one length out of one text.
#[derive(Clone)]
struct Bodies {
    text: Bytes,
    bytes: usize,
}

impl Bodies {
    fn get(&self, number: u64) -> Bytes {
        let places = (self.text.len() / self.bytes) as u64;
        let from = (number % places) as usize * self.bytes;
        self.text.slice(from..from + self.bytes)
    }
}

fn entry(number: u64, body: Bytes) -> Entry {
    Entry {
        kind: Kind::Intent,
        flags: 0,
        route: RouteId(1),
        request: RequestId(number),
        lines: 1,
        received_ns: 1_700_000_000_000_000_000,
        meta: Bytes::new(),
        body,
    }
}

/// Writers whose records are durable.
#[derive(Default)]
struct Back {
    writers: Mutex<Vec<usize>>,
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Back {
    fn ring(&self) {
        *self.woken.lock().expect("no panic") = true;
        self.wake.notify_one();
    }

    /// Waits for some.
    fn take(&self) -> Vec<usize> {
        let mut woken = self.woken.lock().expect("no panic");
        while !std::mem::take(&mut *woken) {
            woken = self.wake.wait(woken).expect("no panic");
        }
        drop(woken);
        std::mem::take(&mut *self.writers.lock().expect("no panic"))
    }
}

/// A log to append to, and those who come back from it.
struct Log {
    wal: Arc<Wal>,
    back: Arc<Back>,
    /// Highest LSN that is durable.
    top: Arc<AtomicU64>,
}

impl Log {
    fn open(place: &Path, compression: Compression) -> Self {
        let options = Options {
            max_bytes: 4 << 30,
            reserve_free_bytes: 0,
            channel_bytes: 256 << 20,
            compression,
            ..Options::new(place.join("wal"))
        };
        let (wal, _) = Wal::open(chosen(), SystemClock::shared(), options, &[]).expect("a log");
        let back = Arc::new(Back::default());
        let ring = Arc::clone(&back);
        wal.on_durable(Box::new(move || ring.ring()));
        Self { wal: Arc::new(wal), back, top: Arc::default() }
    }

    fn bundle(&self, writers: Vec<usize>, entries: Vec<Entry>) -> Bundle {
        let (back, top) = (Arc::clone(&self.back), Arc::clone(&self.top));
        let done = Box::new(move |result: Result<Lsn, _>| {
            top.fetch_max(result.expect("a healthy disk").0, Ordering::Relaxed);
            back.writers.lock().expect("no panic").extend(writers);
        });
        Bundle { entries, outcomes: vec![], done }
    }

    /// Writers as tasks of one event loop.
    fn tasks(&self, writers: usize, bodies: &Bodies, until: impl Fn(u64, Duration) -> bool) -> Round {
        let mut round = Round::default();
        let before = self.wal.stats();
        let (began, used) = (Instant::now(), processor());
        let mut since = vec![began; writers];
        let mut free: Vec<usize> = (0..writers).collect();
        let (mut number, mut under_way) = (0, 0);
        loop {
            if until(round.bytes, began.elapsed()) {
                free.clear();
                if under_way == 0 {
                    break;
                }
            }
            let now = Instant::now();
            under_way += free.len();
            for together in free.chunks((BUNDLE_BYTES / bodies.bytes).max(1)) {
                let mut entries = Vec::with_capacity(together.len());
                for writer in together {
                    since[*writer] = now;
                    number += 1;
                    entries.push(entry(number, bodies.get(number)));
                }
                assert!(self.wal.submit(self.bundle(together.to_vec(), entries)).is_ok(), "the log takes it");
            }
            free = self.back.take();
            let now = Instant::now();
            under_way -= free.len();
            round.bytes += (free.len() * bodies.bytes) as u64;
            round.latencies_ns.extend(free.iter().map(|writer| now.duration_since(since[*writer]).as_nanos() as u64));
            self.wal.release(Lsn(self.top.load(Ordering::Relaxed)));
        }
        (round.took, round.used) = (began.elapsed(), processor().saturating_sub(used));
        round.written(&before, &self.wal.stats());
        round
    }

    /// Each writer a thread that sleeps until its record is durable.
    fn threads(&self, writers: usize, bodies: &Bodies, span: Duration) -> Round {
        let mut round = Round::default();
        let before = self.wal.stats();
        let (began, used) = (Instant::now(), processor());
        std::thread::scope(|scope| {
            let write = |writer: usize| {
                let (mut latencies, mut number) = (Vec::new(), writer as u64);
                let heard = Arc::new(AtomicBool::new(false));
                while began.elapsed() < span {
                    let since = Instant::now();
                    let (me, told, top) = (std::thread::current(), Arc::clone(&heard), Arc::clone(&self.top));
                    let done = Box::new(move |result: Result<Lsn, _>| {
                        top.fetch_max(result.expect("a healthy disk").0, Ordering::Relaxed);
                        told.store(true, Ordering::Release);
                        me.unpark();
                    });
                    let bundle = Bundle { entries: vec![entry(number, bodies.get(number))], outcomes: vec![], done };
                    assert!(self.wal.submit(bundle).is_ok(), "the log takes it");
                    while !heard.swap(false, Ordering::Acquire) {
                        std::thread::park();
                    }
                    latencies.push(since.elapsed().as_nanos() as u64);
                    number += writers as u64;
                    if number % 64 == 0 {
                        self.wal.release(Lsn(self.top.load(Ordering::Relaxed)));
                    }
                }
                latencies
            };
            let threads: Vec<_> = (0..writers).map(|writer| scope.spawn(move || write(writer))).collect();
            for thread in threads {
                round.latencies_ns.extend(thread.join().expect("no writer panics"));
            }
        });
        (round.took, round.used) = (began.elapsed(), processor().saturating_sub(used));
        round.bytes = (round.latencies_ns.len() * bodies.bytes) as u64;
        round.written(&before, &self.wal.stats());
        round
    }
}

/// How a group is made durable.
#[derive(Clone, Copy, PartialEq)]
enum Sync {
    OneCall,
    TwoCalls,
}

/// The disk without a log.
struct Raw {
    file: File,
    at: u64,
}

impl Raw {
    fn new(place: &Path) -> Self {
        let file = File::options().read(true).write(true).create_new(true).open(place.join("raw")).expect("a file");
        let zeros = vec![0; 8 << 20];
        for at in (0..RAW_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at).expect("room on the disk");
        }
        file.sync_all().expect("a healthy disk");
        Self { file, at: 0 }
    }

    fn write(&mut self, group: &[u8], how: Sync) {
        if self.at + group.len() as u64 > RAW_BYTES {
            self.at = 0;
        }
        match how {
            Sync::OneCall => {
                let slices = [IoSlice::new(group)];
                let wrote = pwritev2(&self.file, &slices, self.at, ReadWriteFlags::DSYNC).expect("a healthy disk");
                assert_eq!(wrote, group.len(), "a short write");
            }
            Sync::TwoCalls => {
                self.file.write_all_at(group, self.at).expect("a healthy disk");
                self.file.sync_data().expect("a healthy disk");
            }
        }
        self.at += group.len() as u64;
    }

    fn round(&mut self, text: &[u8], group_bytes: u64, how: Sync, span: Duration) -> Round {
        let (began, used) = (Instant::now(), processor());
        let mut round = Round::default();
        let group_bytes = (group_bytes as usize).min(text.len());
        let places = text.len() / group_bytes;
        while began.elapsed() < span {
            let from = (round.groups as usize % places) * group_bytes;
            let since = Instant::now();
            self.write(&text[from..from + group_bytes], how);
            round.latencies_ns.push(since.elapsed().as_nanos() as u64);
            round.bytes += group_bytes as u64;
            round.groups += 1;
        }
        (round.took, round.used) = (began.elapsed(), processor().saturating_sub(used));
        round
    }
}

/// Processor seconds that the checksum of a byte takes, in bodies of this length.
fn checksum(bodies: &Bodies) -> f64 {
    let count = (bodies.text.len() / bodies.bytes) as u64;
    let took = |_| {
        let used = processor();
        (0..count).for_each(|number| _ = black_box(twinline::base::crc::crc32c(black_box(&bodies.get(number)))));
        processor().saturating_sub(used).as_secs_f64() / (count * bodies.bytes as u64) as f64
    };
    median((0..5).map(took).collect())
}

struct Settings {
    threads: bool,
    span: Duration,
    rounds: usize,
}

/// One row of the table.
fn case(log: &Log, raw: &mut Raw, settings: &Settings, writers: usize, bodies: &Bodies) -> Json {
    let (mut ratios, mut speeds, mut cpus, mut groups) = (vec![], vec![], vec![], vec![]);
    let mut stored = vec![];
    let (mut raws, mut twos, mut waits, mut raw_waits, mut two_waits) = (vec![], vec![], vec![], vec![], vec![]);
    log.tasks(writers, bodies, |_, took| took > settings.span);
    for _ in 0..settings.rounds {
        let round = if settings.threads {
            log.threads(writers, bodies, settings.span)
        } else {
            log.tasks(writers, bodies, |_, took| took > settings.span)
        };
        let group_bytes = round.group_bytes / round.groups.max(1);
        stored.push(round.group_bytes as f64 / round.bytes as f64);
        let one = raw.round(&bodies.text, group_bytes, Sync::OneCall, settings.span);
        let two = raw.round(&bodies.text, group_bytes, Sync::TwoCalls, settings.span / 2);
        ratios.push(round.mb_per_s() / one.mb_per_s());
        speeds.push(round.mb_per_s());
        cpus.push(round.used.as_secs_f64() / round.bytes as f64);
        groups.push(group_bytes as f64);
        raws.push(one.mb_per_s());
        twos.push(two.mb_per_s());
        waits.extend(round.latencies_ns);
        raw_waits.extend(one.latencies_ns);
        two_waits.extend(two.latencies_ns);
    }
    let micros = |waits: &mut Vec<u64>| [0.5, 0.99, 0.999].map(|share| percentile(waits, share) as f64 / 1e3);
    let (waited, raw_waited, two_waited) = (micros(&mut waits), micros(&mut raw_waits), micros(&mut two_waits));
    let cpu = median(cpus);
    json!({
        "writers": writers, "bytes": bodies.bytes, "group_bytes": median(groups), "stored": median(stored),
        "mb_per_s": median(speeds), "raw_mb_per_s": median(raws), "raw_two_calls_mb_per_s": median(twos),
        "ratio": median(ratios), "us": waited, "raw_us": raw_waited, "raw_two_calls_us": two_waited,
        "added_p99_us": waited[1] - raw_waited[1], "allowed_p99_us": two_waited[1] + 1000.0,
        "cpu_s_per_gb": cpu * 1e9, "checksum_share": checksum(bodies) / cpu,
    })
}

fn main() {
    let arguments = Arguments::new();
    let as_json = arguments.has("--json");
    let place = folder(&arguments.disk(env!("CARGO_TARGET_TMPDIR")));
    let settings = Settings {
        threads: arguments.has("--threads"),
        span: Duration::from_secs_f64(arguments.number("--seconds", 0.25)),
        rounds: arguments.number("--rounds", 9.0) as usize,
    };
    let only = |name: &str, all: &[usize]| match arguments.number(name, 0.0) as usize {
        0 => all.to_vec(),
        one => vec![one],
    };
    let text = Bytes::from(telegraf(TEXT_BYTES));
    let (log, mut raw) = (Log::open(place.path(), compression(&arguments)), Raw::new(place.path()));
    log.tasks(64, &Bodies { text: text.clone(), bytes: 64 << 10 }, |bytes, _| bytes > WARM_BYTES);
    let mut rows = Vec::new();
    for bytes in only("--bytes", &BYTES) {
        for writers in only("--writers", &WRITERS) {
            rows.push(case(&log, &mut raw, &settings, writers, &Bodies { text: text.clone(), bytes }));
            if arguments.has("--rows") {
                println!("{}", plain(settings.threads, &rows[rows.len() - 1]));
            } else if !as_json {
                print(&rows);
            }
        }
    }
    if as_json {
        println!("{:#}", Json::Array(rows));
    }
}

/// What the peers print as well.
fn plain(threads: bool, row: &Json) -> Json {
    let peer = if threads { "twinline, threads" } else { "twinline, tasks" };
    json!({
        "peer": peer, "synced": true, "writers": row["writers"], "bytes": row["bytes"], "mb_per_s": row["mb_per_s"],
        "p50_us": row["us"][0], "p99_us": row["us"][1],
    })
}

/// The last row, below a head where it is the first.
fn print(rows: &[Json]) {
    let Some(row) = rows.last() else { return };
    if rows.len() == 1 {
        println!(
            "| record | writers | group KiB | stored | MB/s | disk, same group: `RWF_DSYNC` / two calls | share of it | wait µs p50 / p99 / p99.9 | sync µs | p99 added, allowed | CPU s/GB | checksum |"
        );
        println!("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    }
    let number = |value: &Json| value.as_f64().unwrap_or_default();
    let three = |value: &Json| {
        let each: Vec<String> = (0..3).map(|n| format!("{:.0}", number(&value[n]))).collect();
        each.join(" / ")
    };
    println!(
        "| {} KiB | {} | {:.0} | {:.2} | {:.0} | {:.0} / {:.0} | {:.2} | {} | {} | {:.0}, {:.0} | {:.2} | {:.1} % |",
        number(&row["bytes"]) / 1024.0,
        row["writers"],
        number(&row["group_bytes"]) / 1024.0,
        number(&row["stored"]),
        number(&row["mb_per_s"]),
        number(&row["raw_mb_per_s"]),
        number(&row["raw_two_calls_mb_per_s"]),
        number(&row["ratio"]),
        three(&row["us"]),
        three(&row["raw_us"]),
        number(&row["added_p99_us"]),
        number(&row["allowed_p99_us"]),
        number(&row["cpu_s_per_gb"]),
        100.0 * number(&row["checksum_share"]),
    );
}
