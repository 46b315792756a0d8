//! Appends to a log at a given rate for so long, reads it all back, saves floors and releases, and says whether memory stays
//! as it was: `cargo run --profile bench --bin wal_soak -- --minutes 30 --mb-per-s 20 [--disk DIR] [--json]`.
//!
//! Every record is checked against the bytes that were sent. Memory is sampled each second; the first tenth (a minute at most)
//! is warm-up. The drift is that of the mean of the last fifth over the mean of the first fifth after the warm-up.

#![allow(clippy::disallowed_methods, reason = "a soak reads the clock itself, and waits")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use twinline::base::clock::SystemClock;
use twinline::base::disk::chosen;
use twinline::base::{DestinationId, Epoch, Lsn, RequestId, RouteId};
use twinline::wal::{Bundle, Cursor, CursorFile, Entry, Item, Kind, Options, Reader, Wal};
use twinline_benches::measure::{Arguments, folder};
use twinline_benches::telegraf;

const TURN: Duration = Duration::from_millis(10);
/// In one turn at most, about.
const TURN_BYTES: u64 = 2 << 20;
/// Lengths of bodies, in turn.
const LENGTHS: [usize; 6] = [300, 1_500, 13_000, 13_000, 64 << 10, 300 << 10];
/// A floor is saved after so many turns.
const SAVE_TURNS: u64 = 20;

/// Anonymous and file pages of this process, in bytes.
fn memory() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let figure = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() << 10
    };
    (figure("RssAnon:"), figure("RssFile:"))
}

fn files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// The body of a number: what it must be when it is read back.
fn body(text: &Bytes, number: u64) -> Bytes {
    let length = LENGTHS[(number % LENGTHS.len() as u64) as usize];
    let from = (number.wrapping_mul(7919) % (text.len() - length) as u64) as usize;
    text.slice(from..from + length)
}

struct Soak {
    wal: Wal,
    text: Bytes,
    sent: u64,
    sent_bytes: u64,
    answered: Arc<AtomicU64>,
    reader: Reader,
    read: u64,
    floors: CursorFile,
}

impl Soak {
    /// Sends what is due; a log that has too much waiting is asked again in the next turn.
    fn send(&mut self, due_bytes: u64) {
        let (mut bundles, mut turn_bytes) = (Vec::new(), 0);
        while self.sent_bytes < due_bytes && turn_bytes < TURN_BYTES && !self.wal.is_busy(2 * TURN_BYTES) {
            let body = body(&self.text, self.sent);
            self.sent_bytes += body.len() as u64;
            turn_bytes += body.len() as u64;
            let entry = Entry {
                kind: Kind::Intent,
                flags: 0,
                route: RouteId(1),
                request: RequestId(self.sent),
                lines: 1,
                received_ns: 1_700_000_000_000_000_000,
                meta: Bytes::from_static(b"soak"),
                body,
            };
            self.sent += 1;
            let answered = Arc::clone(&self.answered);
            let done = Box::new(move |result: Result<Lsn, _>| {
                result.expect("a healthy disk");
                answered.fetch_add(1, Ordering::Relaxed);
            });
            bundles.push(Bundle { entries: vec![entry], outcomes: vec![], done });
        }
        let refused = self.wal.submit_all(bundles);
        assert!(refused.is_empty(), "the log takes it: {:?}", refused[0].0);
    }

    /// Reads and checks what has become durable.
    fn read(&mut self) {
        while let Some(item) = self.reader.next().expect("a readable log") {
            let Item::Record(record) = item else { panic!("damage: {item:?}") };
            assert_eq!(record.request.0, self.read, "in order, each once");
            assert_eq!(record.body, body(&self.text, self.read), "record {} is not what was sent", record.lsn);
            self.read += 1;
        }
    }

    fn save(&mut self) {
        let floor = self.reader.next_lsn().before();
        let mut cursor = Cursor {
            destination: DestinationId::parse("main").expect("a name"),
            generation: 0,
            durable_seen: self.wal.durable(),
            epoch: Epoch(1),
            floors: vec![floor],
            counters: vec![0; 8],
        };
        self.floors.save(&mut cursor).expect("a healthy disk");
        self.wal.release(floor.next());
    }
}

fn mean(samples: &[(u64, u64)]) -> f64 {
    samples.iter().map(|(anon, file)| (anon + file) as f64).sum::<f64>() / samples.len().max(1) as f64
}

fn main() {
    let arguments = Arguments::new();
    let place = folder(&arguments.disk("."));
    let span = Duration::from_secs_f64(60.0 * arguments.number("--minutes", 30.0));
    let rate = arguments.number("--mb-per-s", 20.0) * 1e6;
    let dir = place.path().join("wal");
    let options = Options { max_bytes: 2 << 30, reserve_free_bytes: 0, ..Options::new(dir.clone()) };
    let (wal, _) = Wal::open(chosen(), SystemClock::shared(), options, &[]).expect("a log");
    let reader = wal.reader(Lsn(1)).expect("a reader");
    let floors = CursorFile::new(chosen(), &dir, DestinationId::parse("main").expect("a name"), 0);
    let text = Bytes::from(telegraf(8 << 20));
    let answered = Arc::default();
    let mut soak = Soak { wal, text, sent: 0, sent_bytes: 0, answered, reader, read: 0, floors };
    let (began, mut samples, mut turns, mut open_files) = (Instant::now(), Vec::new(), 0, (0, 0));
    while began.elapsed() < span {
        soak.send((began.elapsed().as_secs_f64() * rate) as u64);
        soak.read();
        turns += 1;
        if turns % SAVE_TURNS == 0 {
            soak.save();
        }
        if began.elapsed().as_secs() as usize > samples.len() {
            samples.push(memory());
            open_files = (if samples.len() <= 10 { files() } else { open_files.0 }, files());
        }
        std::thread::sleep(TURN);
    }
    let took = began.elapsed();
    soak.wal.shut_down().expect("a healthy disk");
    soak.read();
    assert_eq!((soak.read, soak.answered.load(Ordering::Relaxed)), (soak.sent, soak.sent), "each was told, and read");
    let warm = (samples.len() / 10).min(60);
    let fifth = ((samples.len() - warm) / 5).max(1);
    let (first, last) =
        (mean(&samples[warm..(warm + fifth).min(samples.len())]), mean(&samples[samples.len() - fifth..]));
    let peak = samples.iter().map(|(anon, file)| anon + file).max().unwrap_or_default();
    let drift = (last / first - 1.0) * 100.0;
    let row = json!({
        "seconds": took.as_secs_f64(), "mb_per_s": soak.sent_bytes as f64 / 1e6 / took.as_secs_f64(),
        "records": soak.sent, "rss_first_mb": first / 1e6, "rss_last_mb": last / 1e6, "rss_peak_mb": peak as f64 / 1e6,
        "drift_percent": drift, "open_files_early": open_files.0, "open_files_last": open_files.1,
    });
    if arguments.has("--json") {
        println!("{row:#}");
    } else {
        println!(
            "{:.0} s at {} MB/s, {} records, all read back: RSS {:.1} MB, then {:.1} MB (peak {:.1}), drift {drift:+.1} %; \
             open files {} and {}",
            took.as_secs_f64(),
            row["mb_per_s"],
            soak.sent,
            first / 1e6,
            last / 1e6,
            peak as f64 / 1e6,
            open_files.0,
            open_files.1,
        );
    }
}
