//! Appends to logs of other projects with threads as writers, each record synced before its writer goes on, and prints one
//! JSON object for each peer, size and number of writers.
//!
//! raft-engine commits what waits together, led by one of the writers, and recycles its files. fjall writes a batch of one
//! with `SyncData`. redb commits a transaction of one with `Durability::Immediate`, its default. None compresses.
//!
//! `twinline-wal-peers DIR SECONDS WRITERS,… BYTES,…`

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fjall::{CompressionType, Database, KeyspaceCreateOptions, PersistMode};
use raft_engine::{Config, Engine, LogBatch, ReadableSize};
use redb::{ReadableDatabase as _, TableDefinition};

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

/// Appends record `number` of `writer` and returns once it is on disk.
type Append<'a> = &'a (dyn Fn(u64, u64, &[u8]) + Sync);

struct Load {
    writers: u64,
    bytes: usize,
    span: Duration,
}

/// Bytes that no peer could make smaller, and not the same twice.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn measure(peer: &str, load: &Load, append: Append<'_>) {
    let text = noise(8 << 20);
    let began = Instant::now();
    let records = AtomicU64::new(0);
    let mut waits: Vec<u64> = std::thread::scope(|scope| {
        let write = |writer: u64| {
            let (mut waits, mut number) = (Vec::new(), 0);
            while began.elapsed() < load.span {
                let from = ((number * load.writers + writer) as usize * 4096) % (text.len() - load.bytes);
                let since = Instant::now();
                append(writer, number, &text[from..from + load.bytes]);
                waits.push(since.elapsed().as_nanos() as u64);
                number += 1;
            }
            records.fetch_add(number, Ordering::Relaxed);
            waits
        };
        let threads: Vec<_> = (0..load.writers).map(|writer| scope.spawn(move || write(writer))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no writer panics")).collect()
    });
    let took = began.elapsed().as_secs_f64();
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() as f64 * share) as usize).min(waits.len() - 1)] as f64 / 1e3;
    println!(
        r#"{{"peer":"{peer}","writers":{},"bytes":{},"mb_per_s":{},"p50_us":{},"p99_us":{}}}"#,
        load.writers,
        load.bytes,
        (records.load(Ordering::Relaxed) * load.bytes as u64) as f64 / 1e6 / took,
        at(0.5),
        at(0.99),
    );
}

fn raft_engine(dir: &Path, load: &Load) {
    let config = Config {
        dir: dir.display().to_string(),
        batch_compression_threshold: ReadableSize(0),
        enable_log_recycle: true,
        prefill_for_recycle: true,
        ..Config::default()
    };
    let engine = Engine::open(config).expect("an engine");
    measure("raft-engine", load, &|writer, _, body| {
        let mut batch = LogBatch::default();
        batch.put(writer + 1, b"record".to_vec(), body.to_vec()).expect("a batch");
        engine.write(&mut batch, true).expect("a healthy disk");
    });
}

fn fjall(dir: &Path, load: &Load) {
    let database = Database::builder(dir).journal_compression(CompressionType::None).open().expect("a database");
    let keyspace = database.keyspace("log", KeyspaceCreateOptions::default).expect("a keyspace");
    measure("fjall", load, &|writer, number, body| {
        let mut batch = database.batch().durability(Some(PersistMode::SyncData));
        batch.insert(&keyspace, (number << 16 | writer).to_be_bytes(), body);
        batch.commit().expect("a healthy disk");
    });
}

fn redb(dir: &Path, load: &Load) {
    let database = redb::Database::create(dir.join("log.redb")).expect("a database");
    measure("redb", load, &|writer, number, body| {
        let write = database.begin_write().expect("a transaction");
        write.open_table(TABLE).expect("a table").insert(number << 16 | writer, body).expect("room");
        write.commit().expect("a healthy disk");
    });
    drop(database.begin_read());
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, seconds, writers, bytes] = &arguments[..] else { panic!("DIR SECONDS WRITERS,… BYTES,…") };
    let numbers = |list: &str| -> Vec<u64> { list.split(',').map(|n| n.parse().expect("numbers")).collect() };
    let span = Duration::from_secs_f64(seconds.parse().expect("seconds"));
    for bytes in numbers(bytes) {
        for writers in numbers(writers) {
            let load = Load { writers, bytes: bytes as usize, span };
            for peer in [raft_engine, fjall, redb] {
                let dir = tempfile::tempdir_in(dir).expect("a folder");
                peer(dir.path(), &load);
            }
        }
    }
}
