//! Starting on a long log: how long recovery takes with so many sealed segments and one full segment without a seal, and how
//! long the first look at the backlog takes, which goes on beside the clients once the proxy serves them.
//!
//! The log is made here from the format alone (`src/wal/FORMAT.md`), not by the program: sealed segments of 128 MiB whose
//! records' payloads are holes in the file (100 GB take about 1 GB of disk), then a dense one without a seal. Before each
//! cold start the page cache gives the files up.
//!
//! `cargo bench --bench wal_recover [-- --json] [--disk DIR] [--gb N] [--record-kib N]`. The folder is made here and removed
//! at the end.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock itself")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use serde_json::{Value as Json, json};
use twinline::base::clock::SystemClock;
use twinline::base::disk::chosen;
use twinline::base::{DestinationId, Epoch};
use twinline::queue::LocalQueue;
use twinline::wal::{Options, Wal};
use twinline_benches::measure::{Arguments, folder, processor};
use twinline_benches::telegraf;

const SEGMENT_BYTES: u64 = 128 << 20;
const BLOCK: u64 = 4096;
const ALIGN: u64 = 64;
const INTENT: u8 = 1;
const OUTCOMES: u8 = 2;
const CREATED_NS: i64 = 1_700_000_000_000_000_000;
/// Records of the segment without a seal.
const DENSE_BYTES: usize = 16 << 10;
/// An outcomes' record follows so many intents.
const SETTLED_TOGETHER: u64 = 16;

/// Where the made log stands.
struct Maker<'a> {
    dir: &'a Path,
    id: u64,
    lsn: u64,
    position: u64,
    chain: u32,
}

/// A segment being made.
struct Made {
    file: File,
    salt: u32,
    base: u64,
    at: u64,
}

impl Maker<'_> {
    fn begin(&mut self) -> Made {
        let salt = self.id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let path = self.dir.join(format!("{:020}.wal", self.id));
        let file = File::options().write(true).create_new(true).open(path).expect("a file");
        file.set_len(SEGMENT_BYTES).expect("room on the disk");
        let mut block = vec![0; BLOCK as usize];
        block[..8].copy_from_slice(&[0x89, b'W', b'S', b'G', 0x0d, 0x0a, 0x1a, 0x0a]);
        block[8..10].copy_from_slice(&1u16.to_le_bytes());
        block[12..16].copy_from_slice(&4096u32.to_le_bytes());
        block[16..24].copy_from_slice(&self.id.to_le_bytes());
        block[24..32].copy_from_slice(&self.lsn.to_le_bytes());
        block[32..40].copy_from_slice(&CREATED_NS.to_le_bytes());
        block[56..64].copy_from_slice(&1u64.to_le_bytes());
        block[64..72].copy_from_slice(&salt.to_le_bytes());
        block[72..80].copy_from_slice(&(self.id - 1).to_le_bytes());
        block[80..84].copy_from_slice(&self.chain.to_le_bytes());
        block[88..96].copy_from_slice(&SEGMENT_BYTES.to_le_bytes());
        block[96..104].copy_from_slice(&self.position.to_le_bytes());
        let crc = twinline::base::crc::crc32c(&block[..4092]);
        block[4092..].copy_from_slice(&crc.to_le_bytes());
        file.write_all_at(&block, 0).expect("room on the disk");
        file.write_all_at(&block, SEGMENT_BYTES - 2 * BLOCK).expect("room on the disk");
        self.id += 1;
        Made { file, salt: twinline::base::crc::crc32c(&salt.to_le_bytes()), base: self.lsn, at: BLOCK }
    }

    /// Appends a record; a payload that is not given is a hole of this length with this checksum.
    fn append(&mut self, to: &mut Made, kind: u8, payload: Result<&[u8], (u32, u32)>) -> bool {
        let (length, crc) = match payload {
            Ok(bytes) => (bytes.len() as u32, twinline::base::crc::crc32c(bytes)),
            Err(hole) => hole,
        };
        let whole = ALIGN + u64::from(length).next_multiple_of(ALIGN);
        if to.at + whole > SEGMENT_BYTES - 2 * BLOCK - ALIGN {
            return false;
        }
        let mut header = [0; 64];
        header[4..8].copy_from_slice(&length.to_le_bytes());
        header[8..16].copy_from_slice(&self.lsn.to_le_bytes());
        header[16..24].copy_from_slice(&(self.lsn - 1).to_le_bytes());
        header[24..32].copy_from_slice(&CREATED_NS.to_le_bytes());
        header[32..36].copy_from_slice(&crc.to_le_bytes());
        header[36..40].copy_from_slice(&self.chain.to_le_bytes());
        header[40] = kind;
        header[44..48].copy_from_slice(&u32::from(kind == INTENT).to_le_bytes());
        header[56..60].copy_from_slice(&u32::from(kind == INTENT).to_le_bytes());
        let chain = twinline::base::crc::crc32c_append(to.salt, &header[4..]);
        header[..4].copy_from_slice(&chain.to_le_bytes());
        to.file.write_all_at(&header, to.at).expect("room on the disk");
        if let Ok(bytes) = payload {
            to.file.write_all_at(bytes, to.at + ALIGN).expect("room on the disk");
        }
        self.chain = chain;
        self.lsn += 1;
        self.position += whole;
        to.at += whole;
        true
    }

    /// The outcome *applied* of the intents just written.
    fn settle(&mut self, to: &mut Made, intents: &[u64]) -> bool {
        let outcome = |lsn: &u64| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&lsn.to_le_bytes());
            bytes[8..10].copy_from_slice(&204u16.to_le_bytes());
            bytes[10] = 1;
            bytes[12..].copy_from_slice(&1u32.to_le_bytes());
            bytes
        };
        let payload: Vec<u8> = intents.iter().flat_map(outcome).collect();
        self.append(to, OUTCOMES, Ok(&payload))
    }

    fn seal(&mut self, made: &Made) {
        let mut seal = [0; 64];
        seal[4..8].copy_from_slice(&self.chain.to_le_bytes());
        seal[8..16].copy_from_slice(&(self.lsn - 1).to_le_bytes());
        seal[16..24].copy_from_slice(&made.at.to_le_bytes());
        seal[24..32].copy_from_slice(&CREATED_NS.to_le_bytes());
        seal[32..40].copy_from_slice(&CREATED_NS.to_le_bytes());
        seal[40] = 3;
        seal[48..56].copy_from_slice(&(self.lsn - made.base).to_le_bytes());
        let crc = twinline::base::crc::crc32c_append(made.salt, &seal[4..]);
        seal[..4].copy_from_slice(&crc.to_le_bytes());
        made.file.write_all_at(&seal, SEGMENT_BYTES - 64).expect("room on the disk");
    }

    /// Fills a segment with intents, settled by the handful.
    fn fill(&mut self, mut payload: impl FnMut(u64) -> Result<Vec<u8>, (u32, u32)>) -> Made {
        let mut made = self.begin();
        let mut open = Vec::new();
        loop {
            let body = payload(self.lsn);
            let lsn = self.lsn;
            if !self.append(&mut made, INTENT, body.as_deref().map_err(|hole| *hole)) {
                break;
            }
            open.push(lsn);
            if open.len() as u64 == SETTLED_TOGETHER && self.settle(&mut made, &open) {
                open.clear();
            }
        }
        if !open.is_empty() {
            self.settle(&mut made, &open);
        }
        made
    }
}

/// Makes the log; returns how many sealed segments it has.
fn make(dir: &Path, bytes: u64, record_bytes: u32) -> u64 {
    fs::create_dir_all(dir).expect("a folder");
    let mut maker = Maker { dir, id: 1, lsn: 1, position: 0, chain: 0 };
    let hole = (record_bytes, twinline::base::crc::crc32c(&vec![0; record_bytes as usize]));
    let sealed = bytes.div_ceil(SEGMENT_BYTES);
    for _ in 0..sealed {
        let made = maker.fill(|_| Err(hole));
        maker.seal(&made);
    }
    let text = telegraf(48 << 20);
    let places = (text.len() / DENSE_BYTES) as u64;
    let last = maker.fill(|lsn| {
        let from = (lsn % places) as usize * DENSE_BYTES;
        Ok(text[from..from + DENSE_BYTES].to_vec())
    });
    last.file.sync_all().expect("a healthy disk");
    sealed
}

/// The page cache gives up what it holds of the log.
fn forget(dir: &Path) {
    for entry in fs::read_dir(dir).expect("a folder").flatten() {
        let file = File::open(entry.path()).expect("a file");
        file.sync_all().expect("a healthy disk");
        fadvise(&file, 0, None, Advice::DontNeed).expect("advice is always taken");
    }
}

fn options(place: &Path) -> Options {
    Options { max_bytes: 1 << 40, reserve_free_bytes: 0, ..Options::new(place.join("wal")) }
}

/// What start a log has: its own figure of recovery, and the whole call.
fn open(place: &Path) -> (Duration, Duration, usize) {
    let began = Instant::now();
    let (wal, recovery) = Wal::open(chosen(), SystemClock::shared(), options(place), &[]).expect("a log");
    let took = began.elapsed();
    assert!(recovery.damages.is_empty(), "the made log is sound: {:?}", recovery.damages);
    drop(wal);
    (recovery.elapsed, took, recovery.segments)
}

/// The start of the proxy's queue, and its scout's whole way through the backlog.
fn look(place: &Path) -> (Duration, Duration, Duration, u64) {
    let destination = DestinationId::parse("main").expect("a name");
    let began = Instant::now();
    let opened = LocalQueue::open(chosen(), SystemClock::shared(), options(place), destination, Epoch(1));
    let mut opened = opened.expect("a queue");
    let took = began.elapsed();
    let (began, used) = (Instant::now(), processor());
    while opened.scout.advance(4096).expect("a sound log") {}
    (took, began.elapsed(), processor().saturating_sub(used), opened.recovery.durable.0)
}

fn main() {
    let arguments = Arguments::new();
    let place = folder(&arguments.disk(env!("CARGO_TARGET_TMPDIR")));
    let seg = place.path().join("wal/seg");
    let gb = arguments.number("--gb", 100.0);
    let record_bytes = (arguments.number("--record-kib", 512.0) * 1024.0) as u32;
    let began = Instant::now();
    let sealed = make(&seg, (gb * 1e9) as u64, record_bytes);
    let made = began.elapsed();
    forget(&seg);
    // Each start seals or supersedes nothing of the made log but begins a segment of its own; the first one meets the full
    // segment without a seal as the last one.
    let (recovery, cold, segments) = open(place.path());
    let (again, warm, _) = open(place.path());
    forget(&seg);
    let (queue, scouted, scout_cpu, records) = look(place.path());
    let seconds = |time: Duration| time.as_secs_f64();
    let row: Json = json!({
        "gb": gb, "record_bytes": record_bytes, "sealed": sealed, "segments": segments, "records": records,
        "made_s": seconds(made), "recovery_cold_s": seconds(recovery), "open_cold_s": seconds(cold),
        "recovery_again_s": seconds(again), "open_again_s": seconds(warm), "queue_open_cold_s": seconds(queue),
        "backlog_look_s": seconds(scouted), "backlog_look_cpu_s": seconds(scout_cpu),
    });
    if arguments.has("--json") {
        println!("{row:#}");
        return;
    }
    println!(
        "{sealed} sealed segments ({gb} GB) and a full one without a seal, {records} records; made in {:.1} s",
        seconds(made)
    );
    println!("| step | seconds |\n|---|--:|");
    for (step, time) in [
        ("recovery, cold, last segment not sealed", recovery),
        ("the same with the log's threads started", cold),
        ("recovery again (all sealed, page cache warm)", again),
        ("start of the queue, cold", queue),
        ("look at the whole backlog, beside the clients", scouted),
        ("the same, processor", scout_cpu),
    ] {
        println!("| {step} | {:.3} |", seconds(time));
    }
}
