//! Whether clients notice what happens to the destination: writers on a schedule at half of the capacity that is found first, runs
//! with a fault and without one in turn.
//!
//! `cargo run --release --bin faults -- [--twinline FILE] [--only down,slow] [--fault-s 10] [--drain-s 10] [--runs 5] [--rate R] [--json]`
//!
//! Each run has a beginning, the fault (`--fault-s`; `--fault-s 600` is a long one), and the time after it. Printed are medians of the
//! runs: the time within which 99 % of the requests were answered, counted from when they were due, of the same part of the run with
//! and without the fault; "draining" is from the end of the fault until the destination has caught up. The stub checks that the lines
//! of each series arrive in order; at the end each acknowledged line must be there, without a restart. Pauses before a retry are a
//! second at most (`retry_max`), so that draining begins within the run.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock itself, and waits")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use twinline_proxy_benches::arguments::Arguments;
use twinline_proxy_benches::load::{Load, Outcome};
use twinline_proxy_benches::median;
use twinline_proxy_benches::program::{Program, Setup};
use twinline_proxy_benches::stub::{Kind, Mode, Stub};

const NAME: &str = "bench";
const WRITERS: usize = 64;
const LINES: usize = 100;
/// Before the part that is measured.
const BEGIN: Duration = Duration::from_secs(1);
/// What has not arrived so long after the last write never will.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(20);
/// A destination that is so far behind has caught up.
const BEHIND: Duration = Duration::from_millis(100);
/// Goals: while a fault lasts, times this and a millisecond more; while draining, times that.
const GOALS: (f64, f64) = (1.1, 1.5);

/// What happens: these one after the other, each for so long, until the fault is over.
struct Fault {
    name: &'static str,
    modes: &'static [Mode],
    each: Duration,
}

const LONG: Duration = Duration::from_secs(3600);
const FULL: &str = r#"{"code":"internal error","message":"unexpected error writing points to database: [shard 3] write /var/lib/influxdb2/engine/wal/0d3a/autogen/3/_00002.wal: no space left on device"}"#;
const FAULTS: [Fault; 8] = [
    Fault { name: "down", modes: &[Mode::Refuse], each: LONG },
    Fault { name: "slow", modes: &[Mode::Slow(Duration::from_millis(300))], each: LONG },
    Fault {
        name: "throttled",
        modes: &[Mode::Says(
            429,
            "Retry-After: 1\r\n",
            r#"{"code":"too many requests","message":"rate limit exceeded"}"#,
        )],
        each: LONG,
    },
    Fault { name: "flapping", modes: &[Mode::Refuse, Mode::Ok], each: Duration::from_secs(2) },
    Fault { name: "disk-full", modes: &[Mode::Says(500, "", FULL)], each: LONG },
    Fault {
        name: "unavailable",
        modes: &[Mode::Says(503, "", r#"{"code":"unavailable","message":"write failed: engine is closed"}"#)],
        each: LONG,
    },
    Fault {
        name: "token-revoked",
        modes: &[Mode::Says(401, "", r#"{"code":"unauthorized","message":"unauthorized access"}"#)],
        each: LONG,
    },
    Fault {
        name: "bucket-missing",
        modes: &[Mode::Says(404, "", r#"{"code":"not found","message":"bucket \"bench\" not found"}"#)],
        each: LONG,
    },
];

#[derive(Clone, Copy, Debug)]
struct Spans {
    fault: Duration,
    drain: Duration,
}

/// One run.
#[derive(Clone, Debug, Default)]
struct Run {
    /// Milliseconds, failures: while the fault lasts, and while the destination catches up.
    during: (f64, u64),
    draining: (f64, u64),
    /// From the end of the fault until the destination has caught up.
    drain_s: f64,
    /// From the end of the fault until the first line arrives.
    resume_s: f64,
    /// Lines: acknowledged and not there, ahead of their turn, more than once.
    lost: u64,
    early: u64,
    repeated: u64,
    anon: u64,
}

fn load(addr: &str, lasts: Duration, rate: Option<f64>) -> Load {
    Load {
        addr: addr.to_owned(),
        write: format!("POST /write?db={NAME}&precision=ns"),
        headers: String::new(),
        writers: WRITERS,
        lines: LINES,
        lasts,
        rate,
        most: u64::MAX,
    }
}

fn start(arguments: &Arguments, source: &Stub, destination: &Stub) -> Program {
    let section = "kind = \"influxdb2\"\norg = \"o\"\ntoken = \"t\"";
    let setup = Setup {
        source: format!("kind = \"influxdb1\"\nurl = \"http://{}\"", source.addr()),
        destination: format!("{section}\nurl = \"http://{}\"", destination.addr()),
        delivery: "retry_max = \"1s\"".to_owned(),
        more: format!("[[mapping.rule]]\nfrom = {{ db = \"{NAME}\", rp = \"*\" }}\nto = {{ bucket = \"{NAME}\" }}"),
        ..Setup::default()
    };
    Program::start(&arguments.program(), &arguments.disk(), &setup)
}

/// Requests a second that it takes while both databases are well.
fn capacity(arguments: &Arguments) -> f64 {
    let (source, destination) = stubs();
    let program = start(arguments, &source, &destination);
    let lasts = Duration::from_secs(4);
    let outcome = load(&program.addr, lasts, None).run(Instant::now(), &AtomicU64::new(0));
    // What begins later than the first second counts.
    let counted = outcome.sent.iter().filter(|sent| sent.good && sent.due >= BEGIN).count();
    counted as f64 / (lasts - BEGIN).as_secs_f64()
}

fn stubs() -> (Stub, Stub) {
    let source = Stub::start(Kind::One, 0).expect("a port");
    (source, Stub::start(Kind::Two, WRITERS * LINES).expect("a port"))
}

fn run(arguments: &Arguments, fault: Option<&Fault>, rate: f64, spans: Spans) -> Run {
    let (source, destination) = stubs();
    let program = start(arguments, &source, &destination);
    let load = load(&program.addr, BEGIN + spans.fault + spans.drain, Some(rate));
    // The warm-up makes connections and finds the route.
    let (began, acknowledged) = (Instant::now() + Duration::from_millis(50), AtomicU64::new(0));
    let mut run = Run::default();
    let outcome = std::thread::scope(|scope| {
        let writing = scope.spawn(|| load.run(began, &acknowledged));
        if let Some(fault) = fault {
            suffer(fault, &destination, began + BEGIN, spans.fault);
        } else {
            std::thread::sleep((began + BEGIN + spans.fault).saturating_duration_since(Instant::now()));
        }
        let (over, before) = (Instant::now(), destination.unique());
        let behind_lines = (rate * LINES as f64 * BEHIND.as_secs_f64()) as u64;
        let mut caught_up = false;
        while !writing.is_finished() {
            let arrived = destination.unique();
            if run.resume_s == 0.0 && arrived > before {
                run.resume_s = over.elapsed().as_secs_f64();
            }
            if !caught_up && arrived + behind_lines >= acknowledged.load(Ordering::Relaxed) {
                (caught_up, run.drain_s) = (true, over.elapsed().as_secs_f64());
            }
            run.anon = run.anon.max(program.figures().anon);
            std::thread::sleep(LOOK);
        }
        let outcome = writing.join().expect("no writer panics");
        wait(&destination, &outcome);
        if !caught_up {
            run.drain_s = over.elapsed().as_secs_f64();
        }
        outcome
    });
    book(&mut run, fault.is_some(), &outcome, &destination, spans);
    run
}

fn suffer(fault: &Fault, destination: &Stub, from: Instant, lasts: Duration) {
    std::thread::sleep(from.saturating_duration_since(Instant::now()));
    for mode in fault.modes.iter().cycle() {
        let left = (from + lasts).saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        destination.set(mode.clone());
        std::thread::sleep(left.min(fault.each));
    }
    destination.set(Mode::Ok);
}

/// Until all that was acknowledged is there, or has failed to come.
fn wait(destination: &Stub, outcome: &Outcome) {
    let ended = Instant::now();
    while missing(destination, outcome) > 0 && ended.elapsed() < PATIENCE {
        std::thread::sleep(LOOK);
    }
}

fn missing(destination: &Stub, outcome: &Outcome) -> u64 {
    destination.complete().iter().zip(&outcome.numbers).map(|(have, sent)| sent.saturating_sub(*have)).sum()
}

fn book(run: &mut Run, is_faulty: bool, outcome: &Outcome, destination: &Stub, spans: Spans) {
    let over = BEGIN + spans.fault;
    // A healthy run is compared as a whole: it has nothing to catch up with.
    let drain = if is_faulty { Duration::from_secs_f64(run.drain_s).min(spans.drain) } else { spans.drain };
    let (during, failed, _) = outcome.within(BEGIN, over, 0.99);
    run.during = (during, failed);
    let (draining, failed, _) = outcome.within(over, over + drain.max(LOOK), 0.99);
    run.draining = (draining, failed);
    run.lost = missing(destination, outcome);
    run.early = destination.booked().early.load(Ordering::Relaxed);
    run.repeated = destination.booked().repeated.load(Ordering::Relaxed);
}

fn of(runs: &[Run], figure: impl Fn(&Run) -> f64) -> f64 {
    median(runs.iter().map(figure).collect())
}

fn row(name: &str, healthy: &[Run], faulty: &[Run]) -> Value {
    let (during, well) = (of(faulty, |run| run.during.0), of(healthy, |run| run.during.0));
    let (draining, well_after) = (of(faulty, |run| run.draining.0), of(healthy, |run| run.draining.0));
    let sum = |runs: &[Run], figure: fn(&Run) -> u64| runs.iter().map(figure).sum::<u64>();
    let errors = |run: &Run| run.during.1 + run.draining.1;
    let (errors_well, errors_faulty) = (sum(healthy, errors), sum(faulty, errors));
    json!({
        "fault": name, "runs": faulty.len(),
        "p99_ms_healthy": well, "p99_ms_during": during, "during_ok": during <= GOALS.0 * well + 1.0,
        "p99_ms_healthy_after": well_after, "p99_ms_draining": draining, "draining_ok": draining <= GOALS.1 * well_after,
        "each": faulty.iter().zip(healthy).map(|(f, h)| json!([h.during.0, f.during.0, h.draining.0, f.draining.0])).collect::<Vec<_>>(),
        "errors_healthy": errors_well, "errors_faulty": errors_faulty, "errors_ok": errors_well == errors_faulty,
        "resume_s": of(faulty, |run| run.resume_s), "drain_s": of(faulty, |run| run.drain_s),
        "lost": sum(faulty, |run| run.lost) + sum(healthy, |run| run.lost),
        "out_of_order": sum(faulty, |run| run.early) + sum(healthy, |run| run.early),
        "repeated": sum(faulty, |run| run.repeated),
        "anon_mib": faulty.iter().map(|run| run.anon).max().unwrap_or_default() >> 20,
    })
}

fn print(row: &Value) {
    let number = |name: &str| row[name].as_f64().unwrap_or_default();
    let verdict = |name: &str| if row[name] == true { "ok" } else { "MISSED" };
    println!(
        "| {} | {:.2} | {:.2} {} | {:.2} | {:.2} {} | {} / {} {} | {:.1} | {:.1} | {} | {} | {} | {} |",
        row["fault"].as_str().unwrap_or_default(),
        number("p99_ms_healthy"),
        number("p99_ms_during"),
        verdict("during_ok"),
        number("p99_ms_healthy_after"),
        number("p99_ms_draining"),
        verdict("draining_ok"),
        row["errors_healthy"],
        row["errors_faulty"],
        verdict("errors_ok"),
        number("resume_s"),
        number("drain_s"),
        row["lost"],
        row["out_of_order"],
        row["repeated"],
        row["anon_mib"],
    );
}

fn main() {
    let arguments = Arguments::of_process();
    let runs = arguments.number("--runs", 5.0) as usize;
    let spans = Spans {
        fault: Duration::from_secs_f64(arguments.number("--fault-s", 10.0)),
        drain: Duration::from_secs_f64(arguments.number("--drain-s", 10.0)),
    };
    let only: Vec<&str> = arguments.text("--only").map(|names| names.split(',').collect()).unwrap_or_default();
    let rate =
        arguments.text("--rate").and_then(|rate| rate.parse().ok()).unwrap_or_else(|| capacity(&arguments) / 2.0);
    if !arguments.has("--json") {
        println!("{rate:.0} requests/s of {LINES} lines, {} s each, medians of {runs}\n", spans.fault.as_secs_f64());
        println!(
            "| fault | p99 ms well | during | p99 ms well after | draining | errors well / fault | resume s | drain s | lost | out of order | \
             repeated | own MiB |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
        );
    }
    let mut rows = Vec::new();
    for fault in FAULTS.iter().filter(|fault| only.is_empty() || only.contains(&fault.name)) {
        let (mut healthy, mut faulty) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            healthy.push(run(&arguments, None, rate, spans));
            faulty.push(run(&arguments, Some(fault), rate, spans));
        }
        rows.push(row(fault.name, &healthy, &faulty));
        if !arguments.has("--json") {
            print(rows.last().expect("just pushed"));
        }
    }
    if arguments.has("--json") {
        println!("{:#}", json!({ "requests_per_s": rate, "lines": LINES, "rows": rows }));
    }
}
