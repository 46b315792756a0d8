//! How fast a backlog leaves: the log is filled while delivery is held, then delivery goes on.
//!
//! `cargo run --release --bin drain -- [--twinline FILE] [--lines 20e6] [--real-lines 4e6] [--runs 3] [--only stub|real] [--disk DIR] [--json]`
//!
//! To a stub that answers 204 and counts; and to InfluxDB 2.9, beside the same bodies (kept by a stub before) posted to a fresh
//! InfluxDB 2.9 directly over as many connections as delivery has lanes. The runs alternate; medians are printed.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock itself, and waits")]

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use twinline_proxy_benches::arguments::Arguments;
use twinline_proxy_benches::database::Database;
use twinline_proxy_benches::load::Load;
use twinline_proxy_benches::median;
use twinline_proxy_benches::program::{Figures, Program, Setup};
use twinline_proxy_benches::stub::{Kind, Stub};

const NAME: &str = "drain";
/// Of the writes that fill the log.
const LINES: usize = 5_000;
const WRITERS: usize = 4;
/// As delivery has by default.
const LANES: usize = 4;
/// A drain that has not ended by then has failed.
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(5);

/// One drain.
#[derive(Clone, Copy, Debug)]
struct Drained {
    /// Lines a second by the clock.
    rate: f64,
    /// Processor seconds of the program for a million lines.
    cpu_s: f64,
    /// Largest own memory, bytes.
    anon: u64,
    /// Lines in each request.
    per_request: f64,
}

fn load(addr: &str, lines: u64) -> Load {
    Load {
        addr: addr.to_owned(),
        write: format!("POST /write?db={NAME}&precision=ns"),
        headers: String::new(),
        writers: WRITERS,
        lines: LINES,
        lasts: PATIENCE,
        rate: None,
        most: lines / (LINES * WRITERS) as u64,
    }
}

/// A program with so many lines in its log.
fn filled(arguments: &Arguments, destination: &str, lines: u64) -> (Program, Stub, u64) {
    let source = Stub::start(Kind::One, 0).expect("a port");
    let setup = Setup {
        source: format!("kind = \"influxdb1\"\nurl = \"http://{}\"", source.addr()),
        destination: destination.to_owned(),
        more: format!("[[mapping.rule]]\nfrom = {{ db = \"{NAME}\", rp = \"*\" }}\nto = {{ bucket = \"{NAME}\" }}"),
        queue: "max_size = \"20GiB\"".to_owned(),
        ..Setup::default()
    };
    let program = Program::start(&arguments.program(), &arguments.disk(), &setup);
    program.hold(true);
    let outcome = load(&program.addr, lines).run(Instant::now(), &AtomicU64::new(0));
    let lines = outcome.good() * LINES as u64;
    assert_eq!(lines, outcome.sent.len() as u64 * LINES as u64, "each write is acknowledged");
    (program, source, lines)
}

/// Lets delivery go on and waits until `arrived` says that all is there.
fn drain(program: &Program, lines: u64, arrived: impl Fn() -> u64) -> Drained {
    let (before, began, mut anon) = (program.figures(), Instant::now(), 0);
    program.hold(false);
    while arrived() < lines {
        assert!(began.elapsed() < PATIENCE, "{} of {lines} lines have arrived:\n{}", arrived(), program.log());
        std::thread::sleep(LOOK);
        anon = anon.max(program.figures().anon);
    }
    let took = began.elapsed().as_secs_f64();
    let Figures { cpu_s, .. } = program.figures();
    Drained { rate: lines as f64 / took, cpu_s: (cpu_s - before.cpu_s) / lines as f64 * 1e6, anon, per_request: 0.0 }
}

fn to_stub(arguments: &Arguments, lines: u64) -> Drained {
    let stub = Stub::start(Kind::Two, 0).expect("a port");
    let section = format!("kind = \"influxdb2\"\nurl = \"http://{}\"\norg = \"o\"\ntoken = \"t\"", stub.addr());
    let (program, _source, lines) = filled(arguments, &section, lines);
    let drained = drain(&program, lines, || stub.lines());
    let requests = stub.booked().requests.load(Ordering::Relaxed);
    Drained { per_request: lines as f64 / requests as f64, ..drained }
}

fn to_database(arguments: &Arguments, lines: u64) -> Drained {
    let database = Database::start(Kind::Two, &arguments.disk(), NAME);
    let (program, _source, lines) = filled(arguments, &database.section(), lines);
    // It answers when a write is in its own log.
    let delivered = || program.status().and_then(|status| status["lines"]["delivered"].as_u64()).unwrap_or_default();
    drain(&program, lines, delivered)
}

/// The bodies that delivery sends of so many lines, in the order in which they came.
fn bodies(arguments: &Arguments, lines: u64) -> Vec<Vec<u8>> {
    let stub = Stub::start(Kind::Two, 0).expect("a port");
    stub.keep();
    let section = format!("kind = \"influxdb2\"\nurl = \"http://{}\"\norg = \"o\"\ntoken = \"t\"", stub.addr());
    let (program, _source, lines) = filled(arguments, &section, lines);
    drain(&program, lines, || stub.lines());
    stub.kept()
}

/// The same bodies by the simplest client there is: over as many connections, one after the other on each. Lines a second.
fn directly(arguments: &Arguments, lines: u64, bodies: &[Vec<u8>]) -> f64 {
    let database = Database::start(Kind::Two, &arguments.disk(), NAME);
    let head = format!("{} HTTP/1.1\r\nHost: x\r\n{}", database.write(NAME), database.authorization());
    let (next, began) = (AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                let mut client = database.client();
                while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let message = [format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
                    let status = client.send(&message).expect("an answer");
                    assert_eq!(status, 204, "{}", String::from_utf8_lossy(&client.answer.body));
                }
            });
        }
    });
    lines as f64 / began.elapsed().as_secs_f64()
}

fn main() {
    let arguments = Arguments::of_process();
    let runs = arguments.number("--runs", 3.0) as usize;
    let only = arguments.text("--only").unwrap_or("both").to_owned();
    let mut rows = Vec::new();
    let middle = |drained: &[Drained], of: fn(&Drained) -> f64| median(drained.iter().map(of).collect());
    if only != "real" {
        let lines = arguments.number("--lines", 20e6) as u64;
        let drained: Vec<_> = (0..runs).map(|_| to_stub(&arguments, lines)).collect();
        rows.push(json!({
            "to": "stub", "lines": lines, "lines_per_s": middle(&drained, |d| d.rate), "goal_lines_per_s": 2e6,
            "cpu_s_per_million": middle(&drained, |d| d.cpu_s), "anon_mib": middle(&drained, |d| d.anon as f64 / 1048576.0),
            "lines_per_request": middle(&drained, |d| d.per_request),
        }));
    }
    if only != "stub" {
        let lines = arguments.number("--real-lines", 4e6) as u64;
        let bodies = bodies(&arguments, lines);
        let lines = lines / (LINES * WRITERS) as u64 * (LINES * WRITERS) as u64;
        let (mut through, mut direct) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            direct.push(directly(&arguments, lines, &bodies));
            through.push(to_database(&arguments, lines));
        }
        let ratios = through.iter().zip(&direct).map(|(through, direct)| through.rate / direct).collect();
        rows.push(json!({
            "to": "influxdb 2.9", "lines": lines, "lines_per_s": middle(&through, |d| d.rate), "directly_lines_per_s": median(direct),
            "ratio": median(ratios), "goal_ratio": 0.8, "cpu_s_per_million": middle(&through, |d| d.cpu_s),
            "anon_mib": middle(&through, |d| d.anon as f64 / 1048576.0),
        }));
    }
    println!("{:#}", serde_json::Value::Array(rows));
}
