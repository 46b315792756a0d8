//! Whether clients and delivery notice that history is copied beside them: InfluxDB 1.13 to 2.9, writers on a schedule at half of the
//! capacity that is found first, spans with a copy and without one in turn.
//!
//! `cargo run --release --bin beside -- [--twinline FILE] [--points 3e6] [--fields 4] [--span-s 8] [--runs 5] [--rate R] [--limits 'rows_per_s = 20000'] [--disk DIR]`
//!
//! `--limits`: lines of `[backfill]`, with `;` between them. Each run begins anew at an empty destination. Printed are medians of the runs, with a copy and without: the time within which 99 % of
//! the requests were answered, counted from when they were due; the age of the oldest line that waits for delivery, asked every 20 ms,
//! its 99 % too; and how fast was copied meanwhile. A copy that ends before its span does is a failure: give it more points.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock itself, and waits")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use twinline_proxy_benches::arguments::Arguments;
use twinline_proxy_benches::database::Database;
use twinline_proxy_benches::history::Shape;
use twinline_proxy_benches::load::{Load, Outcome};
use twinline_proxy_benches::program::{Program, Setup};
use twinline_proxy_benches::stub::Kind;
use twinline_proxy_benches::{median, percentile};

const NAME: &str = "bench";
const WRITERS: usize = 16;
const LINES: usize = 50;
const LOOK: Duration = Duration::from_millis(20);
/// The first part of a span is not counted.
const BEGIN: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the capacity is looked for.
const CAPACITY: Duration = Duration::from_secs(6);
/// Goals: the lag at most so many times as large; the clients' time times this and a millisecond more.
const GOALS: (f64, f64) = (2.0, 1.1);

/// One span.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    client_p99_ms: f64,
    failed: u64,
    lag_p99_ms: f64,
    points_per_s: f64,
}

fn start((program, limits): (&Path, &str), disk: &Path, source: &Database, destination: &Database) -> Program {
    let setup = Setup {
        source: source.section(),
        destination: destination.section(),
        more: format!(
            "[[mapping.rule]]\nfrom = {{ db = \"{NAME}\", rp = \"*\" }}\nto = {{ bucket = \"{NAME}\" }}\n[backfill]\n{limits}"
        ),
        ..Setup::default()
    };
    Program::start(program, disk, &setup)
}

fn load(twinline: &Program, lasts: Duration, rate: Option<f64>) -> Outcome {
    let load = Load {
        addr: twinline.addr.clone(),
        write: format!("POST /write?db={NAME}&precision=ns"),
        headers: String::new(),
        writers: WRITERS,
        lines: LINES,
        lasts,
        rate,
        most: u64::MAX,
    };
    load.run(Instant::now(), &AtomicU64::new(0))
}

fn oldest_ms(twinline: &Program) -> Option<u64> {
    Some((twinline.status()?["destinations"][0]["oldest_s"].as_f64()? * 1e3) as u64)
}

/// Waits until nothing waits for delivery.
fn delivered(twinline: &Program) {
    let began = Instant::now();
    while twinline.status().is_none_or(|status| status["destinations"][0]["lines"]["queued"] != 0) {
        assert!(began.elapsed() < PATIENCE, "delivery does not end");
        std::thread::sleep(LOOK);
    }
}

/// Points that the copy has written, and whether it still runs.
fn progress(twinline: &Program, program: &Path) -> (u64, bool) {
    let text = twinline.command(program, &["backfill", "status", "-o", "json"]);
    let status: Value = serde_json::from_str(&text).expect("JSON");
    (status["points"].as_u64().unwrap_or_default(), status["ended_ns"].is_null())
}

/// Clients on their schedule, and how long lines wait.
fn span(twinline: &Program, lasts: Duration, rate: f64) -> Span {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let (began, mut ages) = (Instant::now(), Vec::new());
            while !over.load(Ordering::Relaxed) {
                ages.extend(oldest_ms(twinline).filter(|_| began.elapsed() > BEGIN));
                std::thread::sleep(LOOK);
            }
            ages
        });
        let outcome = load(twinline, lasts, Some(rate));
        over.store(true, Ordering::Relaxed);
        let mut ages = watch.join().expect("it does not panic");
        let (client_p99_ms, failed, _) = outcome.within(BEGIN, lasts, 0.99);
        Span { client_p99_ms, failed, lag_p99_ms: percentile(&mut ages, 0.99) as f64, points_per_s: 0.0 }
    })
}

/// The same beside a copy.
fn beside(twinline: &Program, program: &Path, lasts: Duration, rate: f64) -> Span {
    let _ = twinline.command(program, &["backfill", "start", "--db", NAME]);
    let began = Instant::now();
    while progress(twinline, program).0 == 0 {
        assert!(began.elapsed() < PATIENCE, "nothing is copied");
        std::thread::sleep(LOOK);
    }
    let (before, begun) = (progress(twinline, program).0, Instant::now());
    let found = span(twinline, lasts, rate);
    let (after, runs) = progress(twinline, program);
    let took = begun.elapsed();
    assert!(runs, "the copy ended before its span: more --points, or a shorter --span-s");
    Span { points_per_s: (after - before) as f64 / took.as_secs_f64(), ..found }
}

fn main() {
    let arguments = Arguments::of_process();
    let number = |name: &str, usual: f64| arguments.number(name, usual) as u64;
    let shape = Shape {
        points: number("--points", 3e6),
        fields: number("--fields", 4.0),
        series: number("--series", 1000.0),
        days: number("--days", 30.0),
    };
    let lasts = Duration::from_secs_f64(arguments.number("--span-s", 8.0));
    let (runs, disk, program) = (number("--runs", 5.0), arguments.disk(), arguments.program());
    let source = Database::start(Kind::One, &disk, NAME);
    shape.load(&source, NAME);
    let limits = arguments.text("--limits").unwrap_or_default().replace(';', "\n");
    let fresh = || {
        let destination = Database::start(Kind::Two, &disk, NAME);
        let twinline = start((&program, &limits), &disk, &source, &destination);
        (destination, twinline)
    };
    let rate = arguments.text("--rate").map_or_else(
        || {
            let (_destination, twinline) = fresh();
            let outcome = load(&twinline, CAPACITY, None);
            outcome.good() as f64 / outcome.took.as_secs_f64() / 2.0
        },
        |rate| rate.parse().expect("--rate needs a number"),
    );
    let (mut alone, mut with) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let (_destination, twinline) = fresh();
        // The first requests open connections and files.
        let _ = load(&twinline, BEGIN, Some(rate));
        alone.push(span(&twinline, lasts, rate));
        delivered(&twinline);
        with.push(beside(&twinline, &program, lasts, rate));
        eprintln!("{:?}\n{:?}", alone.last(), with.last());
    }
    let of = |spans: &[Span], what: fn(&Span) -> f64| median(spans.iter().map(what).collect());
    let (client, client_beside) = (of(&alone, |span| span.client_p99_ms), of(&with, |span| span.client_p99_ms));
    let (lag, lag_beside) = (of(&alone, |span| span.lag_p99_ms), of(&with, |span| span.lag_p99_ms));
    let failed = |spans: &[Span]| spans.iter().map(|span| span.failed).sum::<u64>();
    let result = json!({
        "requests_per_s": rate, "lines_per_s": rate * LINES as f64, "runs": runs,
        "client_p99_ms": { "alone": client, "beside": client_beside, "goal": client * GOALS.1 + 1.0 },
        "lag_p99_ms": { "alone": lag, "beside": lag_beside, "goal": lag * GOALS.0 },
        "failed": { "alone": failed(&alone), "beside": failed(&with) },
        "copied_points_per_s": of(&with, |span| span.points_per_s),
    });
    println!("{result:#}");
}
