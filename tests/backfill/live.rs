//! History is copied beside clients that overwrite, delete and send late points into the windows that are being copied, and beside
//! kill -9 of the program: in the end both sides are equal, to the bit.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use twinline::cell::compare;
use twinline::db::read::{Limits, Reader, Window};

use crate::copied::{MONDAY_NS, document, equal, said, write};
use crate::database::{Database, Kind, ORG, shared};
use crate::http::{Connection, escape};
use crate::proxy::{Setup, Twinline, eventually};

const HOUR_NS: i64 = 3_600_000_000_000;
const WRITERS: usize = 3;
const SECOND_NS: i64 = 1_000_000_000;
/// Measurements of each writer.
const MEASUREMENTS: [&str; 2] = ["a", "b"];
/// Between two requests of a client: the destination is to keep up.
const PAUSE: Duration = Duration::from_millis(4);
/// Lines of one request that fills a source.
const LINES: usize = 5_000;

/// How much there is to copy.
#[derive(Clone, Copy)]
struct Shape {
    /// Shard groups.
    groups: i64,
    /// The width of each.
    group_ns: i64,
    /// Points of each writer and measurement in each that were there before.
    before: i64,
}

impl Shape {
    /// `TWINLINE_LIVE_POINTS`: so many points over three years, in groups of a week. Else some groups of an hour.
    fn wanted() -> Self {
        match number("TWINLINE_LIVE_POINTS", 0) as i64 {
            0 => Self { groups: number("TWINLINE_LIVE_HOURS", 72) as i64, group_ns: HOUR_NS, before: 60 },
            points => {
                let groups = 156;
                let before = points / groups / (WRITERS * MEASUREMENTS.len()) as i64;
                Self { groups, group_ns: 168 * HOUR_NS, before: before.max(20) }
            }
        }
    }

    /// The time of a point that was there before.
    fn time(self, group: i64, at: i64) -> i64 {
        // Not whole seconds: nanoseconds are to arrive as well.
        MONDAY_NS + group * self.group_ns + at * (self.group_ns / self.before / 2) + at % 7
    }
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// Where clients connect now, and whether they are to go on.
struct Stage {
    addr: Mutex<String>,
    over: AtomicBool,
    done: AtomicU64,
    /// What was answered, and when the program was killed: for who looks for the reason of a difference.
    told: Mutex<Vec<(i64, String)>>,
}

impl Stage {
    fn tell(&self, what: String) {
        self.told.lock().unwrap().push((now_ns(), what));
    }
}

fn now_ns() -> i64 {
    i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap()
}

/// One client: it alone writes its series, one request after the other, each until it is answered.
struct Client<'a> {
    stage: &'a Stage,
    source: &'a Database,
    name: &'a str,
    host: String,
    shape: Shape,
    random: fastrand::Rng,
    connection: Option<Connection>,
}

impl Client<'_> {
    fn ask(&mut self, line: &str, kind: &str, body: &str) {
        let begun = now_ns();
        let mut sent = 0;
        let authorization = self.source.authorization();
        let headers = [authorization.as_str(), kind];
        eventually(line, || {
            if self.connection.is_none() {
                let addr = self.stage.addr.lock().unwrap().clone();
                self.connection = Some(Connection::open(&addr).map_err(|error| error.to_string())?);
            }
            sent += 1;
            match self.connection.as_mut().unwrap().call(line, &headers, body.as_bytes()) {
                Ok(answer) if matches!(answer.status, 200 | 204) && !answer.text().contains("error") => Ok(()),
                Ok(answer) if answer.status == 503 => Err(answer.text()),
                Ok(answer) => panic!("{line}: {} {}", answer.status, answer.text()),
                Err(error) => {
                    self.connection = None;
                    Err(error.to_string())
                }
            }
        });
        self.stage.tell(format!("since {begun}, sent {sent} times: {line} {body}"));
    }

    fn write(&mut self, lines: &str) {
        let line = match self.source.kind {
            Kind::One => format!("POST /write?db={}&precision=ns", self.name),
            Kind::Two => format!("POST /api/v2/write?org={ORG}&bucket={}&precision=ns", self.name),
        };
        self.ask(&line, "Content-Type: text/plain", lines);
    }

    fn delete(&mut self, measurement: &str, (from_ns, to_ns): (i64, i64)) {
        match self.source.kind {
            Kind::One => {
                let host = &self.host;
                let q = format!(
                    "DELETE FROM {measurement} WHERE host = '{host}' AND time >= {from_ns} AND time <= {to_ns}"
                );
                let line = format!("POST /query?db={}&q={}", self.name, escape(&q));
                self.ask(&line, "Content-Type: application/x-www-form-urlencoded", "");
            }
            Kind::Two => {
                let time = twinline::base::clock::rfc3339;
                let body = serde_json::json!({
                    "start": time(from_ns), "stop": time(to_ns),
                    "predicate": format!("_measurement=\"{measurement}\" AND host=\"{}\"", self.host),
                });
                let line = format!("POST /api/v2/delete?org={ORG}&bucket={}", self.name);
                self.ask(&line, "Content-Type: application/json", &body.to_string());
            }
        }
    }

    fn step(&mut self) {
        let (shape, group) = (self.shape, self.random.i64(0..self.shape.groups));
        let begin = MONDAY_NS + group * shape.group_ns;
        let (host, value) = (self.host.clone(), self.random.u32(..));
        let measurement = MEASUREMENTS[self.random.usize(..2)];
        match self.random.u8(..60) {
            // Overwrites, some of one field alone.
            0..36 => {
                let line = |at: i64| {
                    let time = shape.time(group, at);
                    match at % 3 {
                        0 => format!("{measurement},host={host} f={value}.25 {time}"),
                        _ => format!("{measurement},host={host} f={value}.5,i={value}i,s=\"{value}\" {time}"),
                    }
                };
                let from = self.random.i64(0..shape.before - 10);
                self.write(&(from..from + 10).map(line).collect::<Vec<_>>().join("\n"));
            }
            // Late points, where none were; some at the very edge of a window.
            36..59 => {
                let at = [0, 1, shape.group_ns - 1, shape.group_ns / 2][self.random.usize(..4)] + self.random.i64(0..3);
                self.write(&format!("{measurement},host={host} f={value}.75,b=true {}", begin + at));
            }
            // Also over the border of two windows. Few: what is removed at the destination waits for all that came before, and the source
            // is not slower by that.
            _ => {
                let (from, length) = (begin + self.random.i64(0..shape.group_ns), self.random.i64(0..HOUR_NS));
                self.delete(measurement, (from, from + length));
            }
        }
        self.stage.done.fetch_add(1, Ordering::Relaxed);
    }
}

fn fill(source: &Database, name: &str, shape: Shape) {
    for group in 0..shape.groups {
        let line = |at: i64| {
            let time = shape.time(group, at / WRITERS as i64);
            let host = at % WRITERS as i64;
            format!("a,host=w{host} f={at}.5,i={at}i,b=false {time}\nb,host=w{host} s=\"{at}\",f=1 {time}")
        };
        let all: Vec<String> = (0..shape.before * WRITERS as i64).map(line).collect();
        all.chunks(LINES).for_each(|some| write(source, name, &some.join("\n")));
    }
}

fn create(database: &Database, name: &str, shape: Shape) {
    let seconds = shape.group_ns / SECOND_NS;
    match database.kind {
        Kind::One => {
            drop(database.query(&format!("CREATE DATABASE {name} WITH DURATION INF SHARD DURATION {seconds}s")));
        }
        Kind::Two => {
            let rules =
                serde_json::json!([{ "type": "expire", "everySeconds": 0, "shardGroupDurationSeconds": seconds }]);
            database.create_bucket(name, &rules);
        }
    }
}

/// Both hold the same, to the bit, group by group; how many cells.
fn compared(source: &Database, destination: &Database, name: &str, shape: Shape) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (left, right) = (source.reader(Limits::default()), destination.reader(Limits::default()));
    let mut equal = 0;
    for measurement in MEASUREMENTS {
        let cut = |at: i64| MONDAY_NS + at * shape.group_ns;
        let begins = std::iter::once(i64::MIN).chain((1..shape.groups).map(cut));
        let ends = (1..shape.groups).map(cut).chain([i64::MAX]);
        for (start_ns, end_ns) in begins.zip(ends) {
            let window = Window { start_ns, end_ns };
            let read =
                |reader: &Reader| runtime.block_on(reader.read(name, "", measurement.as_bytes(), window)).unwrap();
            let differences = compare(read(&left), read(&right));
            assert!(differences.is_empty(), "{name} {measurement} {window:?}: {differences}");
            equal += differences.equal;
        }
    }
    equal
}

fn job(twinline: &Twinline) -> Value {
    let output = twinline.command(&["-o", "json", "backfill", "status"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn points(job: &Value) -> u64 {
    job["points"].as_u64().unwrap()
}

/// Copies beside clients, killed so often; equal in the end.
fn lives(name: &str, kinds: (Kind, Kind), kills: u64) {
    let (source, destination) = (shared(kinds.0, 0), shared(kinds.1, 1));
    let shape = Shape::wanted();
    for database in [&source, &destination] {
        create(database, name, shape);
    }
    fill(&source, name, shape);
    // Lines that were under way at once with a delete of their times are in doubt, and read back.
    let readback = "pause = \"0s\"\nper_minute = 6000".to_owned();
    let mut twinline = Setup { readback, ..Setup::new(source.section(), destination.section()) }.start();
    let stage = Stage {
        addr: Mutex::new(twinline.addr.clone()),
        over: AtomicBool::new(false),
        done: AtomicU64::new(0),
        told: Mutex::default(),
    };
    std::thread::scope(|scope| {
        let (stage, source) = (&stage, &*source);
        for number in 0..WRITERS {
            let (host, random) = (format!("w{number}"), fastrand::Rng::with_seed(number as u64 + 5));
            let mut client = Client { stage, source, name, host, shape, random, connection: None };
            scope.spawn(move || {
                while !stage.over.load(Ordering::Relaxed) {
                    client.step();
                    std::thread::sleep(PAUSE);
                }
            });
        }
        // Whatever ends this, the clients end.
        let _ends = Ends(&stage.over);
        let started = twinline.command(&["backfill", "start", "--db", name]);
        assert_eq!(started.status.code(), Some(0), "{}", said(&started));
        let (mut before, mut random, mut met) = (0, fastrand::Rng::with_seed(3), 0);
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(random.u64(2_100..3_200)));
            met += u64::from(job(&twinline)["state"] == "running");
            twinline.stop(Signal::KILL);
            stage.tell("killed".to_owned());
            let now = points(&job_of_the_dead(&twinline));
            assert!(now >= before, "progress went back: {before} to {now}");
            before = now;
            twinline.start_again();
            *stage.addr.lock().unwrap() = twinline.addr.clone();
        }
        assert!(met * 2 >= kills, "most of the kills are to meet the copy: {met} of {kills} did; TWINLINE_LIVE_HOURS");
        let done = ends(&twinline);
        println!(
            "{name}: {} requests, {met} of {kills} kills met the copy: {done}",
            stage.done.load(Ordering::Relaxed)
        );
    });
    twinline.quiet();
    let status = twinline.until("nothing is in doubt any more", |status| {
        status["lines"]["doubt"] == 0 && status["dirty_regions"] == 0 && status["gap_rows_total"] == 0
    });
    println!("{name}: {} lines were read back", status["lines"]["read_back"]);
    let both = std::panic::AssertUnwindSafe(|| compared(&source, &destination, name, shape));
    let cells = match std::panic::catch_unwind(both) {
        Ok(cells) => cells,
        Err(differs) => {
            let path = std::env::temp_dir().join(format!("twinline-{name}-told.txt"));
            let told: String = stage.told.lock().unwrap().iter().map(|(at, what)| format!("{at} {what}\n")).collect();
            std::fs::write(&path, told).unwrap();
            println!("what clients did is in {}; the status: {:#}", path.display(), twinline.status());
            std::panic::resume_unwind(differs);
        }
    };
    println!("{name}: {cells} cells are equal");
    assert!(cells > 1000 && stage.done.load(Ordering::Relaxed) > 100, "{cells}");
}

/// Waits for its end, for as long as it goes on.
fn ends(twinline: &Twinline) -> Value {
    let (mut before, mut since) = (Value::Null, std::time::Instant::now());
    loop {
        let job = job(twinline);
        if job["state"] == "done" {
            return job;
        }
        if job["chunks"] != before {
            (before, since) = (job["chunks"].clone(), std::time::Instant::now());
        }
        assert!(since.elapsed() < crate::proxy::PATIENCE, "no chunk for long: {job:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The job as the file has it, where nobody runs.
fn job_of_the_dead(twinline: &Twinline) -> Value {
    let job = job(twinline);
    assert_ne!(job["state"], "running", "nobody runs: {job:#}");
    job
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn beside_live_writes_from_1_to_1() {
    lives("lv11", (Kind::One, Kind::One), 0);
}

#[test]
fn beside_live_writes_from_1_to_2_and_killed() {
    lives("lv12", (Kind::One, Kind::Two), number("TWINLINE_LIVE_KILLS", 3));
}

#[test]
fn beside_live_writes_from_2_to_2_and_killed() {
    lives("lv22", (Kind::Two, Kind::Two), number("TWINLINE_LIVE_KILLS", 3));
}

#[test]
fn it_is_paused_goes_on_and_is_given_up_over_the_socket() {
    let name = "lvorders";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    let shape = Shape { groups: 40, group_ns: HOUR_NS, before: 60 };
    for database in [&source, &destination] {
        create(database, name, shape);
    }
    fill(&source, name, shape);
    let mut twinline = Setup::new(source.section(), destination.section()).start();
    let order = |twinline: &Twinline, words: &[&str], exit: i32, says: &str| {
        let output = twinline.command(&[&["backfill"], words].concat());
        assert_eq!(output.status.code(), Some(exit), "{words:?}: {}", said(&output));
        assert!(said(&output).contains(says), "{words:?}: {}", said(&output));
    };
    order(&twinline, &["pause"], 4, "no job that is open");
    order(&twinline, &["start", "--db", name], 0, "job 1 has begun");
    order(&twinline, &["start", "--db", name], 4, "job 1");
    order(&twinline, &["pause"], 0, "job 1 is paused");
    order(&twinline, &["pause"], 4, "paused already");
    assert_eq!(job(&twinline)["state"], "stopped");
    // It stays so.
    twinline.stop(Signal::TERM);
    twinline.start_again();
    assert_eq!(job(&twinline)["state"], "stopped");
    order(&twinline, &["resume"], 0, "job 1 goes on");
    let wait = |state: &str| {
        eventually(state, || {
            let job = job(&twinline);
            if job["state"] == state { Ok(job) } else { Err(format!("{job:#}")) }
        })
    };
    wait("done");
    equal(&source, &destination, name);
    let kinds = twinline.admin("/api/v1/events").text();
    assert!(kinds.contains("backfill-started") && kinds.contains("backfill-ended"), "{kinds}");
    // A second one over what is there changes nothing; it is given up.
    order(&twinline, &["start", "--db", name], 0, "job 2 has begun");
    order(&twinline, &["cancel"], 0, "given up");
    assert_eq!(job(&twinline)["state"], "cancelled");
    order(&twinline, &["resume"], 4, "no job that is open");
    let offline = twinline.command(&["backfill", "start", "--offline", "--db", name]);
    assert!(said(&offline).contains("without --offline"), "{}", said(&offline));
    let waited = twinline.command(&["backfill", "start", "--wait", "--db", name]);
    assert_eq!(waited.status.code(), Some(0), "{}", said(&waited));
    equal(&source, &destination, name);
}

#[test]
fn a_place_that_the_destination_lacks_is_named_also_beside_a_running_one() {
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    create(&source, "lvlacks", Shape { groups: 1, group_ns: HOUR_NS, before: 1 });
    write(&source, "lvlacks", &format!("m f=1 {MONDAY_NS}"));
    let twinline = Setup::new(source.section(), destination.section()).start();
    let refused = twinline.command(&["backfill", "start", "--db", "lvlacks"]);
    assert_eq!(refused.status.code(), Some(4), "{}", said(&refused));
    assert!(said(&refused).contains("CREATE DATABASE"), "{}", said(&refused));
    let none = Setup::new(source.section(), destination.section()).place();
    let output = none.command(&["backfill", "start", "--db", "lvlacks"]);
    assert_eq!(output.status.code(), Some(10), "{}", said(&output));
    assert!(said(&output).contains("--offline"), "{}", said(&output));
    drop(document(&none, &["plan", "--db", "lvlacks"], 4));
}

/// Names are those of the source where a region is held, and those of the destination where it is looked whether a line lies in it.
#[test]
fn by_rules_that_rename_and_leave_out_it_copies_what_delivery_would_bring() {
    let name = "lvrules";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    let shape = Shape { groups: 6, group_ns: HOUR_NS, before: 60 };
    create(&source, name, shape);
    create(&destination, "lvruled", shape);
    fill(&source, name, shape);
    let rule = format!(
        "[[mapping.rule]]\nfrom = {{ db = \"{name}\" }}\nto = {{ db = \"lvruled\" }}\nexclude = [\"b\"]\n\
         rename_measurement = {{ \"a\" = \"renamed\" }}\ndrop_fields = [\"i\"]\n"
    );
    let twinline = Setup::new(source.section(), destination.section()).more(&rule).start();
    let started = twinline.command(&["backfill", "start"]);
    assert_eq!(started.status.code(), Some(0), "{}", said(&started));
    for at in 0..100 {
        let body = format!("a,host=w0 f={at} {}\nb,host=w0 f={at} {}", shape.time(at % 6, at / 6), MONDAY_NS + at);
        let answer = twinline.call(&format!("POST /write?db={name}&precision=ns"), &[], body);
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    let done = ends(&twinline);
    assert_eq!((&done["failed"], &done["refused"]), (&serde_json::json!([]), &serde_json::json!([])), "{done:#}");
    twinline.quiet();
    let text = |cell: twinline::cell::Cell, name: &str| {
        let tags: Vec<_> = cell.series.tags().iter().map(|(key, value)| format!("{key:?}={value:?}")).collect();
        format!("{name} {tags:?} {:?} {} {:?}", cell.field, cell.time_ns, cell.value)
    };
    let is_left = |cell: &twinline::cell::Cell| cell.series.measurement() == b"a" && *cell.field != *b"i";
    let mut wanted: Vec<_> = source.cells(name).into_iter().filter(is_left).map(|cell| text(cell, "renamed")).collect();
    let there = destination.cells("lvruled");
    assert!(there.iter().all(|cell| cell.series.measurement() == b"renamed"));
    let mut found: Vec<_> = there.into_iter().map(|cell| text(cell, "renamed")).collect();
    wanted.sort();
    found.sort();
    assert!(found == wanted, "{} found, {} wanted", found.len(), wanted.len());
}
