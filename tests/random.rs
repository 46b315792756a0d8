//! Random lines, written to real servers: what each answered and stored is what our parser said of them.
//!
//! Needs the four servers: `tests/servers/get influxdb1 influxdb2 victoriametrics questdb`. `TWINLINE_LINES` sets how many
//! lines each of them is sent, `TWINLINE_SEED` which ones.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests wait on real time and end at a surprise")]

// Real databases, started and stopped by id.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/database.rs"]
mod database;
// What servers do behind their parsers, with the evidence.
#[path = "random/exceptions.rs"]
mod exceptions;
// Where the lines come from.
#[path = "random/generate.rs"]
mod generate;
// A client that shows answers as they came.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/http.rs"]
mod http;
// InfluxDB 1.x and 2.x.
#[path = "random/influx.rs"]
mod influx;
// Servers that no other test starts.
#[path = "random/process.rs"]
mod process;
// QuestDB.
#[path = "random/quest.rs"]
mod quest;
// The record of the parsers, which lends some inputs.
#[allow(dead_code, reason = "shared with the tests of the record")]
#[path = "corpus/recorded.rs"]
mod recorded;
// What is least.
#[path = "random/shrink.rs"]
mod shrink;
// What is compared.
#[path = "random/stored.rs"]
mod stored;
// VictoriaMetrics.
#[path = "random/victoria.rs"]
mod victoria;

use database::Kind;
use generate::{Generator, Taste};
use influx::Influx;
use quest::Quest;
use stored::Request;
use twinline::line::Precision;
use victoria::Victoria;

/// Differences of this number end the run: they are found by one cause mostly.
const DIFFERENCES_MAX: usize = 12;

/// What the daily run has time for, on each server.
const LINES: u64 = 1_500;
/// QuestDB makes and drops a table for most lines.
const LINES_OF_QUESTDB: u64 = 300;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// The seed of a test, printed: the same one each day, so that a change is to blame for what is found.
fn seed(server: &str) -> u64 {
    let seed = setting("TWINLINE_SEED", 15);
    println!("{server}: TWINLINE_SEED={seed}");
    seed
}

fn lines_wanted(default: u64) -> usize {
    usize::try_from(setting("TWINLINE_LINES", default)).expect("fewer")
}

fn batch(generator: &mut Generator, lines: usize, units: &[Precision]) -> Request {
    let half = generator.rng().usize(0..2 * units.len());
    let precision = units.get(half).copied().unwrap_or(Precision::Nanosecond);
    generator.set_unit(precision.unit_ns());
    let mut body = Vec::new();
    for _ in 0..lines {
        body.extend(generator.line());
        body.push(b'\n');
    }
    Request { precision, body }
}

fn influx(name: &str, kind: Kind, units: &[Precision]) {
    let mut generator = Generator::new(seed(name), Taste::Influx);
    let mut server = Influx::start(kind);
    let mut found = server.exceptions(name);
    while server.counts.lines < lines_wanted(LINES) && found.len() < DIFFERENCES_MAX {
        let requests: Vec<Request> = (0..10).map(|_| batch(&mut generator, 40, units)).collect();
        found.extend(server.round(&requests));
    }
    println!("{name}: {:?}, {} differences", server.counts, found.len());
    assert!(found.is_empty(), "{name}:\n{}", found.join("\n"));
}

const OF_1: &[Precision] = &[
    Precision::Nanosecond,
    Precision::Microsecond,
    Precision::Millisecond,
    Precision::Second,
    Precision::Minute,
    Precision::Hour,
];
const OF_2: &[Precision] = &[Precision::Nanosecond, Precision::Microsecond, Precision::Millisecond, Precision::Second];

#[test]
fn influxdb_1_stores_what_we_say() {
    influx("influxd 1.13", Kind::One, OF_1);
}

#[test]
fn influxdb_2_stores_what_we_say() {
    influx("influxd 2.9", Kind::Two, OF_2);
}

#[test]
fn victoriametrics_stores_what_we_say() {
    let name = "VictoriaMetrics";
    let mut generator = Generator::new(seed(name), Taste::Victoria);
    let mut server = Victoria::new();
    let mut found = server.exceptions();
    while server.counts.lines < lines_wanted(LINES) && found.len() < DIFFERENCES_MAX {
        let requests: Vec<Request> = (0..10).map(|_| batch(&mut generator, 40, OF_1)).collect();
        found.extend(server.round(&requests));
    }
    println!("{name}: {:?}, {} differences", server.counts, found.len());
    assert!(found.is_empty(), "{name}:\n{}", found.join("\n"));
}

#[test]
fn questdb_stores_what_we_say() {
    let name = "QuestDB";
    let mut generator = Generator::new(seed(name), Taste::Quest);
    let mut server = Quest::start();
    let mut found = server.exceptions();
    while server.counts.lines < lines_wanted(LINES_OF_QUESTDB) && found.len() < DIFFERENCES_MAX {
        found.extend(server.round(&[batch(&mut generator, 40, OF_1)]));
    }
    println!("{name}: {:?}, {} differences", server.counts, found.len());
    let most = 1 + server.counts.lines / 10_000;
    assert!(server.counts.repeated <= most, "{name}: tables are lost in more than {most} batches");
    assert!(found.is_empty(), "{name}:\n{}", found.join("\n"));
}
