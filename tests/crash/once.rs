//! kill -9 again and again while clients send everything once, repeat nothing, leave times to the proxy, and write the same
//! points at the same moment: wherever the databases differ in the end, that place is listed as one to be read back.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use twinline::cell::{Cell, compare};
use twinline::control::Status;

use super::base::{Database, NAME};
use super::proxy::{Proxy, Settings, sum};
use super::story::number;
use super::wire::{Connection, Sent};

/// 2023-11-14.
const BASE_NS: i64 = 1_700_000_000_000_000_000;
const QUEUE: &str = "segment_size = \"1MiB\"\nmax_size = \"512MiB\"\ndirty_regions = 100";
const DELIVERY: &str = "batch_bytes = \"128KiB\"\nlate_write_max = \"1s\"";

#[derive(Debug, Default)]
struct Shared {
    /// Lines by what was heard of their requests.
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    stop: AtomicBool,
    value: AtomicU64,
}

/// As the story with repeats; see there for the variables.
pub(crate) fn once(name: &str, source: &Database, destination: &Database) {
    let seed = number("TWINLINE_KILL_SEED", fastrand::u64(..));
    let cycles = number("TWINLINE_KILL_CYCLES", 8);
    let count = number("TWINLINE_KILL_WRITERS", 8);
    println!("{name}: TWINLINE_KILL_SEED={seed} TWINLINE_KILL_CYCLES={cycles}, {count} writers without repeats");
    let mut random = fastrand::Rng::with_seed(seed);
    let settings = Settings { queue: QUEUE, delivery: DELIVERY, ..Settings::default() };
    let mut proxy = Proxy::new(source, destination, settings);
    proxy.start();
    let shared = Arc::new(Shared::default());
    let writers: Vec<_> = (0..count)
        .map(|number| {
            let (shared, port) = (Arc::clone(&shared), proxy.port);
            let head = format!("POST /write?db={NAME} HTTP/1.1\r\nHost: x{}", source.authorization());
            let random = fastrand::Rng::with_seed(seed.wrapping_add(number));
            std::thread::spawn(move || write(&shared, &mut Connection::new(port), &head, random))
        })
        .collect();
    for _ in 0..cycles {
        std::thread::sleep(Duration::from_millis(random.u64(50..400)));
        proxy.kill9();
        proxy.start();
    }
    std::thread::sleep(Duration::from_millis(200));
    shared.stop.store(true, Ordering::SeqCst);
    writers.into_iter().for_each(|writer| writer.join().expect("a writer has failed"));
    let last = proxy.drained();
    proxy.kill9();
    proxy.start();
    let again = proxy.drained();
    assert_eq!(again.lines, last.lines, "rebuilt after a crash");
    judge(name, &last, &shared, source.cells(), destination.cells());
    assert!(!proxy.has_said("panicked"), "{}", proxy.said());
    proxy.stop();
}

fn judge(name: &str, status: &Status, shared: &Shared, source: Vec<Cell>, destination: Vec<Cell>) {
    let lines = &status.lines;
    let (acknowledged, unknown) = (shared.acknowledged.load(Ordering::SeqCst), shared.unknown.load(Ordering::SeqCst));
    let context = || format!("acknowledged {acknowledged}, unknown {unknown}; {lines:?}");
    assert!(acknowledged > 0 && lines.doubt > 0, "{}", context());
    assert_eq!(lines.dead_lettered + lines.gap + lines.excluded + lines.unanswered + lines.queued, 0, "{}", context());
    assert!((acknowledged..=acknowledged + unknown).contains(&sum(status)), "the writers' own count: {}", context());
    assert_eq!(status.dirty_regions, status.regions.len() as u64, "all are listed");
    assert_eq!(status.regions.iter().map(|region| region.lines).sum::<u64>(), lines.doubt, "{:?}", status.regions);
    let clean = |cells: &[Cell]| -> Vec<Cell> {
        let dirty = |cell: &&Cell| {
            status.regions.iter().any(|region| {
                let measurement = region.measurement.as_bytes();
                (measurement.is_empty() || measurement == cell.series.measurement())
                    && (region.from_ns..=region.to_ns).contains(&cell.time_ns)
            })
        };
        cells.iter().filter(|cell| !dirty(cell)).cloned().collect()
    };
    let outside = compare(clean(&source), clean(&destination));
    assert!(outside.is_empty(), "cells differ outside of every listed region: {outside}");
    let all = compare(source, destination);
    println!("{name}: {}; {} regions; all cells: {all}", context(), status.dirty_regions);
    // In a long run all measurements get their region in the end: the list is bounded, and regions grow.
    assert!(outside.equal > 0 || number("TWINLINE_KILL_CYCLES", 8) > 10, "something was left to compare");
}

fn write(shared: &Shared, connection: &mut Connection, head: &str, mut random: fastrand::Rng) {
    while !shared.stop.load(Ordering::SeqCst) {
        let lines = random.u64(1..=20);
        // One hour a request and measurement: most of them stay clean. In some hours writers meet.
        let hour = i64::from(random.u8(1..200));
        let measurement = random.u8(0..20);
        let mut body = String::new();
        for _ in 0..lines {
            let value = shared.value.fetch_add(1, Ordering::SeqCst);
            let (series, at) = (random.u8(0..3), random.i64(0..5));
            // Writing into a String does not fail.
            let _ = match random.u8(0..8) {
                0 => writeln!(body, "untimed,s=s{series} v={value}i"),
                1 => writeln!(body, "shared,s=s{series} v={value}i {}", BASE_NS + at),
                _ => {
                    let time_ns = BASE_NS + hour * 3_600_000_000_000 + at;
                    writeln!(body, "once{measurement},s=s{series} v={value}i {time_ns}")
                }
            };
        }
        match connection.ask(head, body.as_bytes()) {
            Sent::Answer { status: 204, .. } => shared.acknowledged.fetch_add(lines, Ordering::SeqCst),
            Sent::Answer { status, body, .. } => panic!("a write was answered with {status}: {body}"),
            Sent::Unknown => shared.unknown.fetch_add(lines, Ordering::SeqCst),
            Sent::Unsent => 0,
        };
        std::thread::sleep(Duration::from_millis(random.u64(0..8)));
    }
}
