//! Bad input: what once failed, every recorded input, beginnings of each, and recorded lines with one byte changed. No reader
//! panics, and all scanners say the same.
//!
//! `TWINLINE_CHANGED_LINES` says how many lines are changed, byte by byte, to all 255 other values.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../fuzz/checks/mod.rs"]
#[allow(unreachable_pub, reason = "public for the fuzz targets")]
mod checks;
#[path = "corpus/recorded.rs"]
#[allow(dead_code, reason = "what the servers made of the inputs is of no interest here")]
mod recorded;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use checks::{DIALECTS, dialects, fastest, in_bounds, values};
use recorded::{cases, input};
use twinline::line::scan::Level;
use twinline::line::{Dialect, Line, Precision, Reading, lines, lines_with};

/// Lines that are changed where nobody asks for more.
const CHANGED_LINES: usize = 12;
/// Longer ones take too long for each byte to be changed.
const LONGEST_CHANGED: usize = 72;
/// Of longer inputs only some beginnings are read: those that end near what the parser reads at once, and near the end.
const LONGEST_READ_OFTEN: usize = 700;

/// The fuzz targets make no longer inputs (`fuzz/run`); the published crate is not asked about them.
const LONGEST_FUZZED: usize = 4_096;

/// Every recorded input, without repetition.
fn inputs() -> Vec<Vec<u8>> {
    let files = ["line-protocol/lp_oracles.jsonl", "line-protocol/lp_edge_cases.jsonl"];
    let all: BTreeSet<Vec<u8>> = files.into_iter().flat_map(cases).map(|case| input(&case)).collect();
    all.into_iter().collect()
}

/// Does `work` with each of them, on all processors.
fn on_all_processors<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}

/// What every scanner finds is what the plainest one finds: verdict, reason, places and data.
fn scanners_agree(body: &[u8], dialect: Dialect) {
    let (plainest, others) = Level::all().split_first().map(|(first, others)| (*first, others.to_vec())).unwrap();
    let plain: Vec<_> = lines_with(plainest, body, dialect, Precision::Nanosecond).collect();
    for level in others {
        let mut expected = plain.iter();
        for found in lines_with(level, body, dialect, Precision::Nanosecond) {
            match (found, expected.next()) {
                (Ok(found), Some(Ok(line))) => {
                    let places = |line: &Line<'_>| (line.span(), line.fields_end(), line.timestamp_ns());
                    assert_eq!(places(&found), places(line), "{level:?} {}", body.escape_ascii());
                    assert_eq!(found.raw_measurement(), line.raw_measurement(), "{level:?} {}", body.escape_ascii());
                    assert_eq!(found.tags(), line.tags(), "{level:?} {}", body.escape_ascii());
                    assert_eq!(found.fields(), line.fields(), "{level:?} {}", body.escape_ascii());
                }
                (Err(found), Some(Err(refused))) => assert_eq!(found, *refused, "{level:?} {}", body.escape_ascii()),
                other => panic!("{level:?} {}: {other:?}", body.escape_ascii()),
            }
        }
        assert!(expected.next().is_none(), "{level:?} {}", body.escape_ascii());
    }
}

fn read_by_all(body: &[u8], dialects: &[Dialect]) {
    for dialect in dialects {
        scanners_agree(body, *dialect);
        values(fastest(), body, *dialect, Precision::Nanosecond);
    }
    for reading in [Reading::Influx3, Reading::VictoriaMetrics, Reading::QuestDb] {
        in_bounds(body, &reading.records(body, Precision::Nanosecond));
    }
}

#[test]
fn what_once_failed_is_read_well() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions");
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        println!("{}", path.display());
        let input = std::fs::read(path).unwrap();
        checks::levels(&input);
        checks::scanners(&input);
        checks::rewrites(&input);
        checks::statements(&input);
        checks::files(&input);
        dialects(&input);
        count += 1;
    }
    assert!(count > 0, "there are some");
}

/// The quick readers against the slow one, field by field; stamps, pieces and other forms; the readers of all servers, whole and cut.
#[test]
fn every_recorded_input_passes_the_checks_of_the_fuzz_targets() {
    let inputs = inputs();
    on_all_processors(&inputs, |body| {
        for dialect in 0..2 {
            // Nanoseconds, pieces of 64 bytes, a time and a place to cut at.
            let input = [&[dialect, 32, 1, 40][..], &body[..]].concat();
            checks::levels(&input);
            checks::rewrites(&input);
            checks::files(&input);
            if input.len() <= LONGEST_FUZZED {
                dialects(&input);
            }
        }
    });
    assert!(inputs.len() > 7_000, "{}", inputs.len());
}

/// Ends of the beginnings of an input that are read.
fn ends(length: usize) -> Vec<usize> {
    // Each costs as much as it is long.
    let (last, windows) = if length < 20_000 { (70, true) } else { (8, length < 100_000) };
    let near = |end: &usize| *end < 70 || length - end < last || (windows && (end + 3) % 8_192 < 6);
    (0..=length).filter(|end| length <= LONGEST_READ_OFTEN || near(end)).collect()
}

#[test]
fn beginnings_of_every_input_are_read_alike() {
    let inputs = inputs();
    let read = AtomicUsize::new(0);
    on_all_processors(&inputs, |input| {
        for end in ends(input.len()) {
            // Which of the two InfluxDBs matters little here, and takes its time.
            read_by_all(&input[..end], &DIALECTS[end % 2..=end % 2]);
            read.fetch_add(1, Ordering::Relaxed);
        }
    });
    println!("{} beginnings of {} inputs", read.load(Ordering::Relaxed), inputs.len());
    assert!(read.into_inner() > 300_000);
}

#[test]
fn lines_with_any_one_byte_changed_are_read_alike() {
    let wanted = std::env::var("TWINLINE_CHANGED_LINES").map_or(CHANGED_LINES, |count| count.parse().unwrap());
    let good: BTreeSet<Vec<u8>> = inputs()
        .iter()
        .flat_map(|input| {
            lines(input, Dialect::Influx2, Precision::Nanosecond).flatten().map(|line| line.raw().to_vec())
        })
        .filter(|line| line.len() <= LONGEST_CHANGED)
        .collect();
    let good: Vec<_> = good.into_iter().collect();
    assert!(good.len() >= wanted, "only {} lines", good.len());
    // Spread over all of them.
    let chosen: Vec<_> = (0..wanted).map(|number| &good[number * good.len() / wanted]).collect();
    let read = AtomicUsize::new(0);
    on_all_processors(&chosen, |line| {
        let mut changed = line.to_vec();
        for at in 0..line.len() {
            for byte in (0..=255).filter(|byte| *byte != line[at]) {
                changed[at] = byte;
                read_by_all(&changed, &DIALECTS);
            }
            changed[at] = line[at];
        }
        read.fetch_add(line.len() * 255, Ordering::Relaxed);
    });
    println!("{} changes of {wanted} of {} lines", read.load(Ordering::Relaxed), good.len());
    assert!(read.into_inner() > 255 * wanted);
}
