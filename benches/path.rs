//! The way of a write through the proxy without the network: read the lines, stamp those without a time, hash their series, make
//! the intent durable, then the outcome. How many bytes of bodies a second of processor time moves, and a second of the clock.
//!
//! The steps are those of `pipeline` with the same calls: `line::inspect`, `line::stamp`, `line::outline_with` (with a hash of the
//! fields, where others are under way), `queue::Intent`, `queue::Appender`, and the log with its threads below. Bodies are of 100 and of
//! 5,000 lines as Telegraf sends them; what is durable is released at once, as when delivery keeps up. Lines are hashed where a
//! write meets another one of its route and time, as most do on a busy proxy.
//!
//! `cargo bench --bench path [-- --json] [--disk DIR] [--mib N]`. The log lies on tmpfs (`/dev/shm`), then on a real disk
//! (`--disk`, else the build's own folder); both folders are made here and removed at the end.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock itself")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value as Json, json};
use twinline::base::clock::SystemClock;
use twinline::base::disk::chosen;
use twinline::base::{Epoch, Lsn, RequestId, RouteId};
use twinline::line::{self, Dialect, Precision, SeriesKey, Summary};
use twinline::queue::{Appender, Cause, Disposition, Intent, Outcome};
use twinline::route::RouteName;
use twinline::wal::{Entry, Kind, Options, Wal};
use twinline_benches::telegraf;
use xxhash_rust::xxh3::xxh3_64_with_secret;

/// Bodies that are sent in turn take so much memory: more than the caches of a core.
const BODIES_BYTES: usize = 48 << 20;
/// A telegraf line, about.
const LINE_BYTES: usize = 410;
const RUNS: usize = 5;
const EPOCH: Epoch = Epoch(1);
const DIALECT: Dialect = Dialect::Influx1;
const PRECISION: Precision = Precision::Nanosecond;
const NOW_NS: i64 = 1_700_000_000_000_000_000;

/// A kind of load.
#[derive(Clone, Copy)]
struct Load {
    lines: usize,
    timed: bool,
    /// Whether it meets others, so that its lines are hashed.
    met: bool,
    /// Writes under way at once.
    writers: usize,
}

const LOADS: [Load; 6] = [
    Load { lines: 5_000, timed: true, met: true, writers: 4 },
    Load { lines: 100, timed: true, met: true, writers: 32 },
    Load { lines: 5_000, timed: true, met: false, writers: 4 },
    Load { lines: 100, timed: true, met: false, writers: 32 },
    Load { lines: 5_000, timed: false, met: true, writers: 4 },
    Load { lines: 100, timed: false, met: true, writers: 32 },
];

struct Settings {
    as_json: bool,
    disk: PathBuf,
    run_bytes: usize,
}

fn settings() -> Settings {
    let mut settings =
        Settings { as_json: false, disk: PathBuf::from(env!("CARGO_TARGET_TMPDIR")), run_bytes: 1 << 30 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => settings.as_json = true,
            "--disk" => settings.disk = arguments.next().map_or(settings.disk, PathBuf::from),
            "--mib" => {
                let mib = arguments.next().and_then(|mib| mib.parse::<usize>().ok());
                settings.run_bytes = mib.map_or(settings.run_bytes, |mib| mib << 20);
            }
            // What cargo adds.
            _ => {}
        }
    }
    settings
}

/// Bodies of so many lines.
fn bodies(load: Load) -> Vec<Bytes> {
    let text = telegraf(BODIES_BYTES);
    let (mut bodies, mut body, mut lines) = (Vec::new(), Vec::with_capacity(load.lines * LINE_BYTES), 0);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let end = line.iter().rposition(|byte| *byte == b' ').filter(|_| !load.timed).unwrap_or(line.len());
        body.extend_from_slice(&line[..end]);
        if !load.timed {
            body.push(b'\n');
        }
        lines += 1;
        if lines == load.lines {
            bodies.push(Bytes::from(std::mem::take(&mut body)));
            lines = 0;
        }
    }
    bodies
}

/// The lines of a body, all of them timed; `met`: with their cells, found out in the same reading.
fn read(body: &Bytes, met: bool) -> (Bytes, Summary) {
    let summary = inspect(body, met);
    if summary.untimed == 0 {
        return (body.clone(), summary);
    }
    let stamped = Bytes::from(line::stamp(body, DIALECT, PRECISION, NOW_NS));
    let again = inspect(&stamped, met);
    (stamped, again)
}

fn inspect(text: &[u8], met: bool) -> Summary {
    if !met {
        return line::inspect(text, DIALECT, PRECISION, NOW_NS);
    }
    let mut cells = Vec::with_capacity(text.len() / 32);
    let summary = line::outline_with(SeriesKey::new(7), text, DIALECT, PRECISION, NOW_NS, |line| {
        let Ok(line) = line else { return };
        let untimed = &text[line.span.start..line.fields_end];
        let key_end = memchr::memchr(b' ', untimed).map_or(0, |at| at + 1);
        cells.push((line.series ^ line.time_ns.unwrap_or_default().cast_unsigned(), hash_of(&untimed[key_end..])));
    });
    cells.shrink_to_fit();
    black_box(&cells);
    summary
}

/// With a key, as the pipeline does.
fn hash_of(fields: &[u8]) -> u64 {
    static SECRET: [u8; 192] = [7; 192];
    xxh3_64_with_secret(fields, black_box(&SECRET))
}

/// One write from its body to its outcome.
async fn write(appender: &Appender, load: Load, body: &Bytes, number: u64) -> Lsn {
    let (text, summary) = read(body, load.met);
    let name = RouteName::Database { db: "telegraf".into(), rp: "autogen".into() };
    let intent = Intent {
        name,
        dialect: DIALECT,
        precision: PRECISION,
        excluded: false,
        min_ns: summary.min_ns,
        max_ns: summary.max_ns,
    };
    let entry = Entry {
        kind: Kind::Intent,
        flags: 0,
        route: RouteId(1),
        request: RequestId(number),
        lines: summary.lines,
        received_ns: NOW_NS,
        meta: intent.encode().expect("short names"),
        body: text,
    };
    let lsn = appender.intents(vec![entry]).await.expect("the log takes it");
    let (disposition, cause) = (Disposition::Applied, Cause::None);
    let outcome = Outcome { lsn, status: 204, disposition, cause, epoch: EPOCH };
    appender.outcomes([outcome]).await.expect("the log takes it");
    lsn
}

/// Processor time of all threads so far, the kernel's share included.
fn processor() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// GB per second of the processor, and of the clock.
type Speed = (f64, f64);

/// Sends bodies in turn until so many bytes are through; returns their speed.
async fn run(wal: &Arc<Wal>, appender: &Appender, load: Load, bodies: &Rc<Vec<Bytes>>, bytes: usize) -> Speed {
    let (began, used) = (Instant::now(), processor());
    let each = bytes / load.writers;
    let writers: Vec<_> = (0..load.writers)
        .map(|writer| {
            let (wal, appender, bodies) = (Arc::clone(wal), appender.clone(), Rc::clone(bodies));
            tokio::task::spawn_local(async move {
                let (mut sent, mut number) = (0, writer);
                while sent < each {
                    let body = &bodies[number % bodies.len()];
                    let lsn = write(&appender, load, body, number as u64).await;
                    // Those of others may be behind it: a record or two more are kept for a moment.
                    wal.release(Lsn(lsn.0.saturating_sub(2 * load.writers as u64)));
                    sent += body.len();
                    number += load.writers;
                }
                sent
            })
        })
        .collect();
    let mut sent = 0;
    for writer in writers {
        sent += writer.await.expect("no writer panics");
    }
    let of = |time: Duration| sent as f64 / time.as_secs_f64() / 1e9;
    (of(processor().saturating_sub(used)), of(began.elapsed()))
}

fn median(mut speeds: Vec<Speed>) -> Speed {
    speeds.sort_by(|a, b| a.0.total_cmp(&b.0));
    speeds[speeds.len() / 2]
}

/// The median of a few runs with a log below a folder.
fn through_log(place: &Path, load: Load, run_bytes: usize) -> Speed {
    let folder = tempfile::Builder::new().prefix("twinline-path-").tempdir_in(place).expect("a folder for the log");
    let options = Options { max_bytes: 4 << 30, reserve_free_bytes: 0, ..Options::new(folder.path().join("wal")) };
    let (wal, _) = Wal::open(chosen(), SystemClock::shared(), options, &[]).expect("a log");
    let wal = Arc::new(wal);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(tokio::runtime::LocalOptions::default()).expect("an event loop");
    let bodies = Rc::new(bodies(load));
    runtime.block_on(async {
        let appender = Appender::start(Arc::clone(&wal), EPOCH);
        // Until the log uses its files again.
        run(&wal, &appender, load, &bodies, run_bytes.min(512 << 20)).await;
        let mut speeds = Vec::new();
        for _ in 0..RUNS {
            speeds.push(run(&wal, &appender, load, &bodies, run_bytes).await);
        }
        median(speeds)
    })
}

/// Processor seconds for each GB of bodies that one step alone takes.
fn step(load: Load, mut step: impl FnMut(&Bytes) -> u64) -> f64 {
    let bodies = bodies(load);
    let bytes: usize = bodies.iter().map(Bytes::len).sum();
    let mut took: Vec<f64> = (0..=RUNS)
        .map(|_| {
            let used = processor();
            bodies.iter().for_each(|body| _ = black_box(step(black_box(body))));
            processor().saturating_sub(used).as_secs_f64() / (bytes as f64 / 1e9)
        })
        .skip(1)
        .collect();
    took.sort_by(f64::total_cmp);
    took[took.len() / 2]
}

/// What each step costs where nothing else is done; of the whole what is left is the log's own.
fn steps(load: Load) -> Vec<(&'static str, f64)> {
    let name = if load.met { "read, hash" } else { "read" };
    let mut steps = vec![(name, step(load, |body| u64::from(inspect(body, load.met).lines)))];
    if !load.timed {
        steps.push(("stamp", step(load, |body| line::stamp(body, DIALECT, PRECISION, NOW_NS).len() as u64)));
    }
    steps.push(("checksum", step(load, |body| u64::from(twinline::base::crc::crc32c(body)))));
    steps
}

fn main() {
    let settings = settings();
    let mut rows: Vec<Json> = Vec::new();
    for load in LOADS {
        let steps = steps(load);
        for (place, folder) in [("tmpfs", Path::new("/dev/shm")), ("disk", &settings.disk)] {
            let (per_processor, per_clock) = through_log(folder, load, settings.run_bytes);
            let whole = 1.0 / per_processor;
            let share = |(name, took): &(&str, f64)| json!({"step": name, "cpu_s_per_gb": took, "share": took / whole});
            let mut shares: Vec<Json> = steps.iter().map(share).collect();
            let rest = whole - steps.iter().map(|(_, took)| took).sum::<f64>();
            shares.push(share(&("log", rest)));
            rows.push(json!({
                "lines": load.lines, "timed": load.timed, "hashed": load.met, "writers": load.writers, "log": place,
                "gb_per_cpu_s": per_processor, "gb_per_s": per_clock, "steps": shares,
            }));
            if !settings.as_json {
                print(&rows);
            }
        }
    }
    if settings.as_json {
        println!("{:#}", Json::Array(rows));
    }
}

/// The last row, below a head where it is the first.
fn print(rows: &[Json]) {
    let Some(row) = rows.last() else { return };
    if rows.len() == 1 {
        println!(
            "| lines | times | hashed | log on | GB per CPU second | GB per second | CPU: {:<60} |",
            "share of each step"
        );
        println!("|---|---|---|---|---|---|---|");
    }
    let number = |value: &Json| value.as_f64().unwrap_or_default();
    let steps: Vec<String> = row["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| format!("{} {:.0} %", step["step"].as_str().unwrap_or_default(), 100.0 * number(&step["share"])))
        .collect();
    println!(
        "| {} | {} | {} | {} | {:.2} | {:.2} | {} |",
        row["lines"],
        if row["timed"] == true { "given" } else { "stamped" },
        if row["hashed"] == true { "yes" } else { "no" },
        row["log"].as_str().unwrap_or_default(),
        number(&row["gb_per_cpu_s"]),
        number(&row["gb_per_s"]),
        steps.join(", "),
    );
}
