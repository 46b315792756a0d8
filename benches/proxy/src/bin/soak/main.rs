//! Mixed traffic from InfluxDB 1.13 to InfluxDB 1.13 with a fault of the destination every 30 s: does anything grow, is each line
//! accounted for, are both sides equal in the end?
//!
//! `cargo run --release --bin soak -- --minutes 30 [--twinline FILE] [--fault-every-s 30] [--disk DIR] [--samples FILE]`
//!
//! Faults in turn: gone, slow, throttling, failing, killed with -9 and started again, breaking off without an answer. Own memory and open
//! files are sampled every 5 s; the drift is that of the mean of the last tenth over the mean of the second tenth, the trend what all tenths
//! but the first say. In the end the sums of status must be what the source has kept: its acknowledged lines, and of writes whose client went away those that it has. Both
//! databases are read whole and compared: they must be equal where status tells of no doubt, gap or statement. Exit code 1 when
//! something is not as it must be.

#![allow(clippy::disallowed_methods, reason = "a soak reads the clock itself, and waits")]

mod traffic;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use traffic::{ABORTED, BEGIN_NS, CLASH, KINDS, NAME, Traffic, UNMAPPED};
use twinline_proxy_benches::arguments::Arguments;
use twinline_proxy_benches::database::{Database, escape};
use twinline_proxy_benches::gate::{Gate, Pass};
use twinline_proxy_benches::median;
use twinline_proxy_benches::program::{Figures, Program, Setup};
use twinline_proxy_benches::stub::Kind;
use twinline_proxy_benches::wire::{Client, request};

const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// What has not moved for so long never will.
const PATIENCE: Duration = Duration::from_secs(300);
const READ_TIMEOUT: Duration = Duration::from_secs(600);

/// What happens to the destination.
#[derive(Clone, Debug)]
enum Fault {
    Passes(&'static str, Pass),
    Killed,
}

fn faults() -> [Fault; 6] {
    let throttled = Pass::Says(429, "Retry-After: 1\r\n", "{\"error\":\"too many requests\"}");
    let failing = Pass::Says(500, "", "{\"error\":\"write /data/wal/_00002.wal: no space left on device\"}");
    [
        Fault::Passes("gone", Pass::Nothing),
        Fault::Passes("slow", Pass::Late(Duration::from_millis(300))),
        Fault::Passes("throttled", throttled),
        Fault::Passes("failing", failing),
        Fault::Killed,
        Fault::Passes("no-answer", Pass::NoAnswer),
    ]
}

/// The databases and what stands between them.
struct Pair {
    source: Database,
    destination: Mutex<Database>,
    gate: Gate,
    program: Program,
}

fn begin(arguments: &Arguments) -> Pair {
    let disk = arguments.disk();
    let source = Database::start(Kind::One, &disk, NAME);
    source.query(&format!("CREATE DATABASE {UNMAPPED}"));
    let destination = Database::start(Kind::One, &disk, NAME);
    let seed = format!("{CLASH} v=\"a text\" {BEGIN_NS}");
    let (status, said) = destination.ask(&destination.write(NAME), "", seed.as_bytes());
    assert_eq!(status, 204, "{said}");
    let gate = Gate::start(&destination.addr).expect("a port");
    let setup = Setup {
        // A busy machine is no fault: it must not make doubt or gaps.
        source: format!("{}\nrequest_timeout = \"120s\"", source.section()),
        destination: format!("kind = \"influxdb1\"\nurl = \"http://{}\"\nrequest_timeout = \"120s\"", gate.addr),
        delivery: "retry_max = \"2s\"".to_owned(),
        queue: "stall_ms = 20_000".to_owned(),
        more: format!("[[mapping.rule]]\nfrom = {{ db = \"{NAME}\" }}\nto = {{ db = \"{NAME}\" }}"),
    };
    let program = Program::start(&arguments.program(), &disk, &setup);
    Pair { source, destination: Mutex::new(destination), gate, program }
}

/// Fault by fault, half of the time well. Returns what happened, in order.
fn suffer(pair: &Pair, every: Duration, until: Instant) -> Vec<String> {
    let (mut happened, faults) = (Vec::new(), faults());
    for fault in faults.iter().cycle() {
        let begins = Instant::now() + every / 2;
        // The last fault is over before the end.
        if begins + every / 2 > until {
            break;
        }
        std::thread::sleep(every / 2);
        match fault {
            Fault::Passes(name, pass) => {
                pair.gate.set(pass.clone());
                std::thread::sleep(every / 2);
                pair.gate.set(Pass::All);
                happened.push((*name).to_owned());
            }
            Fault::Killed => {
                let mut destination = pair.destination.lock().expect("nobody panics with it");
                destination.kill();
                std::thread::sleep(every / 2);
                destination.start_again();
                happened.push("killed".to_owned());
            }
        }
    }
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    happened
}

/// Samples of the program until the traffic is over.
fn sample(pair: &Pair, traffic: &Traffic, to: Option<&str>) -> Vec<Figures> {
    let mut file = to.map(|path| std::fs::File::create(path).expect("a writable file"));
    let (mut samples, began) = (Vec::new(), Instant::now());
    while !traffic.over.load(Ordering::Relaxed) {
        std::thread::sleep(SAMPLE_EVERY);
        let figures = pair.program.figures();
        samples.push(figures);
        let Some(file) = &mut file else { continue };
        let lines = pair.program.status().map(|status| status["lines"].clone()).unwrap_or_default();
        let at = began.elapsed().as_secs();
        writeln!(file, "{}", json!({ "s": at, "anon": figures.anon, "files": figures.files, "lines": lines }))
            .expect("a writable file");
    }
    samples
}

/// Means of the tenths of the run; the drift of the last over the second; and the trend from the second to the last, which is what all of
/// them say: the middle one of the slopes between any two, in percent of the middle mean. Where the means go up and down by more than
/// that, nothing grows.
fn drift(samples: &[Figures], figure: impl Fn(&Figures) -> f64) -> Value {
    let tenth = (samples.len() / 10).max(1);
    let mean = |part: &[Figures]| part.iter().map(&figure).sum::<f64>() / part.len().max(1) as f64;
    let early = mean(samples.get(tenth..2 * tenth).unwrap_or(samples));
    let late = mean(&samples[samples.len().saturating_sub(tenth)..]);
    let peak = samples.iter().map(&figure).fold(0.0, f64::max);
    let means: Vec<f64> = samples.chunks(tenth).filter(|part| part.len() == tenth).map(mean).collect();
    let later = means.get(1..).unwrap_or_default();
    let pairs = (0..later.len()).flat_map(|from| (from + 1..later.len()).map(move |to| (from, to)));
    let slopes = pairs.map(|(from, to)| (later[to] - later[from]) / (to - from) as f64).collect();
    let trend = median(slopes) * later.len().saturating_sub(1) as f64 / median(later.to_vec()) * 100.0;
    json!({
        "second_tenth": early, "last_tenth": late, "peak": peak, "drift_percent": (late / early - 1.0) * 100.0,
        "tenths": means, "trend_percent": trend,
    })
}

/// The status once nothing waits any more, or nothing moves any more.
fn settled(pair: &Pair) -> Value {
    let (mut moved, mut last) = (Instant::now(), Value::Null);
    loop {
        let status = pair.program.status().unwrap_or_default();
        let lines = &status["lines"];
        if *lines != last {
            (moved, last) = (Instant::now(), lines.clone());
        }
        if (lines["queued"] == 0 && lines["unanswered"] == 0) || moved.elapsed() > PATIENCE {
            return status;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// A hash of all that a measurement holds, and how many bytes that is in JSON.
fn contents(addr: &str, measurement: &str) -> (u64, u64) {
    let q = escape(&format!("SELECT * FROM \"{measurement}\" GROUP BY *"));
    let target = format!("GET /query?db={NAME}&epoch=ns&chunked=true&chunk_size=10000&q={q}");
    let mut client = Client::new(addr, READ_TIMEOUT);
    let (mut sum, mut bytes) = (0xcbf2_9ce4_8422_2325_u64, 0);
    let status = client.send_for(&request(&target, "", b""), |piece| {
        sum = piece.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        bytes += piece.len() as u64;
    });
    let status = status.unwrap_or_else(|error| panic!("{measurement}: {error}"));
    assert_eq!(status, 200, "{measurement}");
    (sum, bytes)
}

fn measurements(database: &Database) -> Vec<String> {
    let answer: Value =
        serde_json::from_str(&database.query(&format!("SHOW MEASUREMENTS ON {NAME}"))).expect("an answer in JSON");
    let rows = answer["results"][0]["series"][0]["values"].as_array().cloned().unwrap_or_default();
    rows.iter().filter_map(|row| row[0].as_str().map(str::to_owned)).collect()
}

/// Measurements that are not the same on both sides, but that of the lines which the destination refuses; and bytes compared.
fn differences(pair: &Pair) -> (Vec<String>, u64) {
    let destination = pair.destination.lock().expect("nobody panics with it");
    let (here, there) = (measurements(&pair.source), measurements(&destination));
    let (mut differing, mut compared) = (Vec::new(), 0);
    if here != there {
        differing.push(format!("measurements: {here:?} and {there:?}"));
    }
    for name in here.iter().filter(|name| *name != CLASH) {
        let (source, mirror) = (contents(&pair.source.addr, name), contents(&destination.addr, name));
        compared += source.1;
        if source != mirror {
            differing.push(format!("{name}: {} and {} bytes", source.1, mirror.1));
        }
    }
    (differing, compared)
}

/// How many lines of this measurement the source has, each in a cell of its own.
fn kept(source: &Database, measurement: &str) -> u64 {
    let (status, text) = source.ask(
        &format!("GET /query?db={NAME}&q={}", escape(&format!("SELECT count(v) FROM {measurement}"))),
        "",
        b"",
    );
    assert_eq!(status, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).expect("an answer in JSON");
    answer["results"][0]["series"][0]["values"][0][1].as_u64().unwrap_or_default()
}

/// The sums of status beside those of the clients and of the source: what each state must be where every write was answered with
/// success, and whether the sum is right in any case.
fn accounts(pair: &Pair, traffic: &Traffic, status: &Value) -> (Value, bool) {
    let aborted = kept(&pair.source, ABORTED);
    let accepted = traffic.acknowledged().values().sum::<u64>() + aborted;
    let (clash, unmapped, unknown) = (traffic.of(CLASH), traffic.of(UNMAPPED), traffic.unknown.load(Ordering::Relaxed));
    let expected = json!({
        "delivered": accepted - clash - unmapped, "queued": 0, "doubt": 0, "dead_lettered": clash, "gap": 0, "excluded": unmapped,
        "unanswered": 0,
    });
    let sum: u64 =
        status["lines"].as_object().into_iter().flat_map(|lines| lines.values()).filter_map(Value::as_u64).sum();
    let exact = match unknown {
        0 => sum == accepted,
        // Of a write without success the source may have each line, or none: then it stands in doubt.
        _ => (accepted..=accepted + unknown).contains(&sum),
    };
    let row = json!({
        "accepted": accepted, "of_aborted_writes": aborted, "of_failed_writes": unknown, "sum_of_states": sum,
        "expected": expected, "found": status["lines"],
    });
    (row, exact)
}

fn soak(arguments: &Arguments) -> (Value, bool) {
    let lasts = Duration::from_secs_f64(60.0 * arguments.number("--minutes", 2.0));
    let every = Duration::from_secs_f64(arguments.number("--fault-every-s", 30.0));
    let (pair, traffic, began) = (begin(arguments), Traffic::default(), Instant::now());
    let (samples, happened) = std::thread::scope(|scope| {
        for kind in &KINDS {
            for number in 0..kind.clients {
                let (traffic, addr) = (&traffic, pair.program.addr.as_str());
                scope.spawn(move || traffic.run(kind, number, addr));
            }
        }
        let sampling = scope.spawn(|| sample(&pair, &traffic, arguments.text("--samples")));
        let happened = suffer(&pair, every, began + lasts);
        traffic.over.store(true, Ordering::Relaxed);
        (sampling.join().expect("sampling does not panic"), happened)
    });
    let status = settled(&pair);
    let (accounts, exact) = accounts(&pair, &traffic, &status);
    let (differing, compared) = differences(&pair);
    let (surprised, surprises) = traffic.surprises();
    // What is in doubt, or a gap, is told and not at the destination.
    let (doubt, gap) = (&status["lines"]["doubt"], &status["lines"]["gap"]);
    let told = *doubt != 0 || *gap != 0 || status["statements_not_mirrored"] != 0;
    let ok = exact && (differing.is_empty() || told);
    let row = json!({
        "seconds": began.elapsed().as_secs(), "requests": traffic.requests.load(Ordering::Relaxed),
        "lines": traffic.acknowledged(), "faults": happened, "requests_in_faults": pair.gate.met(),
        "own_memory": drift(&samples, |figures| figures.anon as f64), "open_files": drift(&samples, |figures| figures.files as f64),
        "accounts": accounts, "accounts_exact": exact, "equal": differing.is_empty(), "differing": differing, "bytes_compared": compared,
        "surprises": surprised, "some_surprises": surprises, "statements_not_mirrored": status["statements_not_mirrored"],
        "paused": status["paused"], "gaps": status["gaps"], "regions": status["regions"], "ok": ok,
    });
    if !ok {
        let log = pair.program.log();
        eprintln!("{}", &log[log.len().saturating_sub(4000)..]);
    }
    (row, ok)
}

fn main() -> ExitCode {
    let (row, ok) = soak(&Arguments::of_process());
    println!("{row:#}");
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
