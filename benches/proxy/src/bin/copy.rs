//! How fast history is copied: from a filled InfluxDB 1.13 to fresh ones of 2.9, beside simpler ways over the same data.
//!
//! `cargo run --release --bin copy -- [--twinline FILE] [--points 1.5e6] [--fields 4] [--series 1000] [--runs 3] [--days 30] [--eta] [--disk DIR]`
//!
//! Four figures of each run, in alternation: the source read alone (the queries of a day each, answers thrown away), the destination
//! loaded alone (the same points as lines, over four connections), a plain query-and-write (both, one after the other), and `twinline
//! backfill start --offline`. `--eta`: how near the time left was, from a tenth on, asked twice a second. From the first two comes the bound: two processors ÷ (seconds of processor a point, read + loaded).

#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock itself, and waits")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use twinline_proxy_benches::arguments::Arguments;
use twinline_proxy_benches::database::{Database, escape};
use twinline_proxy_benches::history::{BEGIN_NS, DAY_NS, LINES, Shape, post};
use twinline_proxy_benches::median;
use twinline_proxy_benches::program::Figures;
use twinline_proxy_benches::stub::Kind;
use twinline_proxy_benches::wire::Client;

const NAME: &str = "bench";
const LOOK: Duration = Duration::from_millis(20);
const ASK_EVERY: Duration = Duration::from_millis(500);
/// The foretold end may be wrong by this share of the whole time.
const ETA_GOAL: f64 = 0.2;

/// The answer to one day of the source, as JSON, chunk by chunk.
fn day(client: &mut Client, shape: Shape, number: u64) -> Vec<u8> {
    let (from, to) = (BEGIN_NS + number * DAY_NS, BEGIN_NS + (number + 1) * DAY_NS);
    let fields: Vec<String> = (1..shape.fields).map(|field| format!(",f{field}")).collect();
    let q = format!("SELECT id{} FROM cpu WHERE time >= {from} AND time < {to} GROUP BY *", fields.concat());
    let target = format!("GET /query?db={NAME}&epoch=ns&chunked=true&chunk_size=10000&q={}", escape(&q));
    let status = client.send(format!("{target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).expect("an answer");
    assert_eq!(status, 200);
    std::mem::take(&mut client.answer.body)
}

/// A day of answers as lines.
fn lines(answer: &[u8], shape: Shape, mut line: impl FnMut(String)) {
    for object in answer.split(|byte| *byte == b'\n').filter(|object| !object.is_empty()) {
        let object: Value = serde_json::from_slice(object).expect("JSON");
        for series in object["results"][0]["series"].as_array().into_iter().flatten() {
            let tags = series["tags"].as_object().expect("tags");
            let head: String = tags.iter().map(|(key, value)| format!(",{key}={}", value.as_str().unwrap())).collect();
            for row in series["values"].as_array().expect("rows") {
                let mut text = format!("cpu{head} id={}i", row[1]);
                (1..shape.fields).for_each(|at| text += &format!(",f{at}={}", row[at as usize + 1]));
                line(format!("{text} {}\n", row[0]));
            }
        }
    }
}

/// What a careful afternoon's program does.
fn query_and_write(source: &Database, destination: &Database, shape: Shape) {
    let (mut from, mut to) = (source.client(), destination.client());
    for number in 0..shape.days {
        let answer = day(&mut from, shape, number);
        let (mut body, mut count) = (String::new(), 0);
        lines(&answer, shape, |line| {
            body += &line;
            count += 1;
            if count == LINES {
                post(&mut to, destination, NAME, std::mem::take(&mut body).as_bytes());
                count = 0;
            }
        });
        if count > 0 {
            post(&mut to, destination, NAME, body.as_bytes());
        }
    }
}

/// By the program; its figures at the end and the most memory it had.
fn backfill(
    program: &Path,
    disk: &Path,
    (source, destination): (&Database, &Database),
    mut asks: Option<&mut Vec<(Duration, f64, f64)>>,
) -> (Figures, u64) {
    let folder = tempfile::Builder::new().prefix("twinline-copy-").tempdir_in(disk).expect("a folder");
    let text = format!(
        "schema = 1\ndata_dir = {:?}\n[[listen]]\naddress = \"127.0.0.1:0\"\nrole = \"proxy\"\n[source]\n{}\n[destination]\n{}\n\
         [[mapping.rule]]\nfrom = {{ db = \"{NAME}\", rp = \"*\" }}\nto = {{ bucket = \"{NAME}\" }}\n",
        folder.path().join("data"),
        source.section(),
        destination.section()
    );
    let file = folder.path().join("twinline.toml");
    std::fs::write(&file, text).expect("a writable folder");
    let log = std::fs::File::create(folder.path().join("log")).expect("a writable folder");
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).args(["backfill", "start", "--offline", "--db", NAME]);
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
    let mut process = command.spawn().expect("the program runs");
    let (mut last, mut anon) = (Figures::default(), 0);
    let (began, mut asked) = (Instant::now(), Duration::ZERO);
    loop {
        if let Some(asks) = asks.as_deref_mut().filter(|_| began.elapsed() > asked + ASK_EVERY) {
            asked = began.elapsed();
            asks.extend(left(program, &file).map(|(done, left_s)| (asked, done, left_s)));
        }
        let now = Figures::of(process.id());
        if now.cpu_s > 0.0 {
            last = now;
        }
        anon = anon.max(now.anon);
        if let Some(status) = process.try_wait().expect("a child") {
            let said = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            assert!(status.success(), "{status}: {said}");
            return (last, anon);
        }
        std::thread::sleep(LOOK);
    }
}

/// The share that is done, percent, and how many seconds are left by its own word.
fn left(program: &Path, file: &Path) -> Option<(f64, f64)> {
    let asked = Command::new(program).arg("-c").arg(file).args(["backfill", "status", "-o", "json"]).output().ok()?;
    let status: Value = serde_json::from_slice(&asked.stdout).ok()?;
    Some((status["done_percent"].as_f64()?, status["left_s"].as_f64()?))
}

/// By how much the foretold end was wrong at each ask from a tenth on, as a share of the whole time.
fn errors(asks: &[(Duration, f64, f64)], took: Duration) -> Vec<f64> {
    let all_s = took.as_secs_f64();
    let late = asks.iter().filter(|(_, done, _)| *done >= 10.0);
    late.map(|(at, _, left_s)| (at.as_secs_f64() + left_s - all_s) / all_s).collect()
}

/// Points that are there.
fn count(database: &Database) -> u64 {
    let text = database.query_of(NAME, "SELECT count(id) FROM cpu");
    let found: Value = serde_json::from_str(&text).expect("JSON");
    found["results"][0]["series"][0]["values"][0][1].as_u64().unwrap_or_default()
}

/// What one way took: points a second, and processor seconds for a million points of source and destination.
fn timed(points: u64, databases: &[&Database], work: impl FnOnce()) -> (f64, Vec<f64>) {
    let cpu = || databases.iter().map(|one| Figures::of(one.id()).cpu_s).collect::<Vec<_>>();
    let (before, began) = (cpu(), Instant::now());
    work();
    let rate = points as f64 / began.elapsed().as_secs_f64();
    let each = cpu().iter().zip(before).map(|(now, before)| (now - before) / points as f64 * 1e6).collect();
    (rate, each)
}

fn main() {
    let arguments = Arguments::of_process();
    let number = |name: &str, usual: f64| arguments.number(name, usual) as u64;
    let shape = Shape {
        points: number("--points", 1.5e6),
        fields: number("--fields", 4.0),
        series: number("--series", 1000.0),
        days: number("--days", 30.0),
    };
    let (runs, disk, program) = (number("--runs", 3.0), arguments.disk(), arguments.program());
    let source = Database::start(Kind::One, &disk, NAME);
    shape.load(&source, NAME);
    let mut rows: std::collections::BTreeMap<&str, Vec<Vec<f64>>> = std::collections::BTreeMap::new();
    let mut wrong = Vec::new();
    for _ in 0..runs {
        let fresh = || Database::start(Kind::Two, &disk, NAME);
        let mut client = source.client();
        let (rate, cpu) = timed(shape.points, &[&source], || {
            (0..shape.days).for_each(|number| drop(day(&mut client, shape, number)))
        });
        rows.entry("1 read alone").or_default().push(vec![rate, cpu[0]]);
        let destination = fresh();
        let (rate, cpu) = timed(shape.points, &[&destination], || shape.load(&destination, NAME));
        rows.entry("2 load alone").or_default().push(vec![rate, cpu[0]]);
        drop(destination);
        let destination = fresh();
        let (rate, cpu) =
            timed(shape.points, &[&source, &destination], || query_and_write(&source, &destination, shape));
        rows.entry("3 query and write").or_default().push(vec![rate, cpu[0], cpu[1]]);
        assert_eq!(count(&destination), shape.points);
        drop(destination);
        let destination = fresh();
        let (mut own, mut asks) = ((Figures::default(), 0), Vec::new());
        let began = Instant::now();
        let (rate, cpu) = timed(shape.points, &[&source, &destination], || {
            let asks = arguments.has("--eta").then_some(&mut asks);
            own = backfill(&program, &disk, (&source, &destination), asks);
        });
        wrong.extend(errors(&asks, began.elapsed()));
        assert_eq!(count(&destination), shape.points);
        let own_cpu = own.0.cpu_s / shape.points as f64 * 1e6;
        rows.entry("4 twinline").or_default().push(vec![rate, cpu[0], cpu[1], own_cpu, own.1 as f64 / 1048576.0]);
    }
    let middle = |name: &str, at: usize| median(rows[name].iter().map(|run| run[at]).collect());
    let bound = 2e6 / (middle("1 read alone", 1) + middle("2 load alone", 1));
    let (rate, own) = (middle("4 twinline", 0), middle("4 twinline", 3));
    let all = middle("4 twinline", 1) + middle("4 twinline", 2) + own;
    let result = json!({
        "points": shape.points, "fields": shape.fields, "series": shape.series,
        "read_alone": { "points_per_s": middle("1 read alone", 0), "source_cpu_s_per_million": middle("1 read alone", 1) },
        "load_alone": { "points_per_s": middle("2 load alone", 0), "destination_cpu_s_per_million": middle("2 load alone", 1) },
        "query_and_write": { "points_per_s": middle("3 query and write", 0) },
        "twinline": {
            "points_per_s": rate, "source_cpu_s_per_million": middle("4 twinline", 1),
            "destination_cpu_s_per_million": middle("4 twinline", 2), "own_cpu_s_per_million": own, "anon_mib": middle("4 twinline", 4),
        },
        "ratio_to_query_and_write": rate / middle("3 query and write", 0),
        "bound_points_per_s": bound, "share_of_bound": rate / bound, "goal_share_of_bound": 0.85,
        "own_share_of_cpu": own / all, "goal_own_share_of_cpu": 0.2,
        "eta": {
            "asks": wrong.len(), "within_goal": wrong.iter().filter(|wrong| wrong.abs() <= ETA_GOAL).count(),
            "least": wrong.iter().copied().fold(0.0, f64::min), "most": wrong.iter().copied().fold(0.0, f64::max),
        },
    });
    println!("{result:#}");
}
