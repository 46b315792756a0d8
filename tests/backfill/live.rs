//! History is copied beside clients that overwrite, delete and send late points into the windows that are being copied, and beside
//! kill -9 of the program: in the end both sides are equal, to the bit.
//!
//! Small as it stands. `TWINLINE_LIVE_POINTS` points over three years, `TWINLINE_LIVE_RATE` lines a second of the clients together,
//! `TWINLINE_LIVE_KILLS` kills of the program; where a copy ends before, another one begins.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use twinline::cell::compare;
use twinline::db::read::{Limits, Reader, Window};

use crate::copied::{MONDAY_NS, document, equal, said, write};
use crate::database::{Database, Kind, ORG, shared};
use crate::http::{Connection, escape};
use crate::proxy::{Setup, Twinline, eventually};

const HOUR_NS: i64 = 3_600_000_000_000;
pub(crate) const WRITERS: usize = 3;
const SECOND_NS: i64 = 1_000_000_000;
const MILLISECOND_NS: i64 = 1_000_000;
/// Measurements of each writer.
pub(crate) const MEASUREMENTS: [&str; 2] = ["a", "b"];
/// Between two requests of a client where no rate is asked for: the destination is to keep up.
const PAUSE: Duration = Duration::from_millis(4);
/// Of one client. A DELETE of a database of three policies is three requests to InfluxDB 2, which takes a few a second beside writes:
/// where more come, delivery stays behind for ever, and a copy waits for it.
const BETWEEN_DELETES: Duration = Duration::from_secs(3);
/// Lines of one request that fills a source.
const LINES: usize = 5_000;
/// What a client may catch up with after the program was away.
const BEHIND_MAX: Duration = Duration::from_secs(2);
/// A prime: steps of so many milliseconds meet every millisecond of half a group once.
const STEP_MS: i64 = 7_919;

/// How much there is to copy.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Shard groups.
    pub(crate) groups: i64,
    /// The width of each.
    pub(crate) group_ns: i64,
    /// Points of each writer, measurement and place in each that were there before.
    before: i64,
    /// Databases with a policy, or buckets.
    places: usize,
}

impl Shape {
    /// `TWINLINE_LIVE_POINTS`: so many points over three years, in groups of a week. Else some groups of an hour.
    pub(crate) fn wanted(places: usize) -> Self {
        let shape = match number("TWINLINE_LIVE_POINTS", 0) as i64 {
            0 => Self { groups: number("TWINLINE_LIVE_HOURS", 72) as i64, group_ns: HOUR_NS, before: 60, places },
            points => {
                let groups = 156;
                let before = points / groups / (places * WRITERS * MEASUREMENTS.len()) as i64;
                Self { groups, group_ns: 168 * HOUR_NS, before: before.max(20), places }
            }
        };
        println!("{} points were there before", shape.points());
        shape
    }

    fn points(self) -> i64 {
        self.groups * self.before * (self.places * WRITERS * MEASUREMENTS.len()) as i64
    }

    /// The time of a point that was there before.
    fn time(self, group: i64, at: i64) -> i64 {
        // Not whole seconds: nanoseconds are to arrive as well.
        MONDAY_NS + group * self.group_ns + at * (self.group_ns / self.before / 2) + at % 7
    }

    /// The time of a point that is appended, late or new: each number has its own millisecond, where nothing was before.
    fn append(self, group: i64, at: i64) -> i64 {
        let half = self.group_ns / 2;
        MONDAY_NS + group * self.group_ns + half + at * STEP_MS % (half / MILLISECOND_NS) * MILLISECOND_NS
    }

    /// The lines with this number that were there before in a group.
    pub(crate) fn lines(self, number: i64, group: i64, source: Kind) -> [String; 2] {
        let unsigned = if source == Kind::Two { format!(",u={number}u") } else { String::new() };
        let (host, time) = (number % WRITERS as i64, self.time(group, number / WRITERS as i64));
        [
            format!("a,host=w{host} f={number}.5,i={number}i,b=false {time}"),
            format!("b,host=w{host} s=\"{number}\",f=1{unsigned} {time}"),
        ]
    }

    /// Group and number of the point that was there before about then.
    pub(crate) fn place_of(self, time_ns: i64) -> Option<(i64, i64)> {
        let (group, rest) =
            ((time_ns - MONDAY_NS).div_euclid(self.group_ns), (time_ns - MONDAY_NS).rem_euclid(self.group_ns));
        let at = rest / (self.group_ns / self.before / 2);
        ((0..self.groups).contains(&group) && at < self.before).then_some((group, at))
    }

    /// From before the first to behind the last point of a story.
    pub(crate) fn span_ns(self) -> (i64, i64) {
        (MONDAY_NS - self.group_ns, MONDAY_NS + (self.groups + 1) * self.group_ns)
    }

    /// All time, cut where its groups are.
    pub(crate) fn windows(self) -> impl Iterator<Item = Window> {
        let cut = move |at: i64| MONDAY_NS + at * self.group_ns;
        let begins = std::iter::once(i64::MIN).chain((1..=self.groups).map(cut));
        let ends = (1..=self.groups).map(cut).chain([i64::MAX]);
        begins.zip(ends).map(|(start_ns, end_ns)| Window { start_ns, end_ns })
    }
}

pub(crate) fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taste {
    /// They overwrite, delete and send late points.
    All,
    /// They send points where none were, late ones too.
    Appends,
}

/// What is copied, and beside what.
pub(crate) struct Story<'a> {
    pub(crate) name: &'a str,
    pub(crate) source: &'a Database,
    /// The destination's section of the configuration.
    pub(crate) destination: String,
    /// Rules of the mapping.
    pub(crate) rules: &'a str,
    /// At the source: databases, with a policy, or buckets.
    pub(crate) places: Vec<String>,
    pub(crate) shape: Shape,
    pub(crate) taste: Taste,
    pub(crate) kills: u64,
    /// How long the program lives between two of them.
    pub(crate) lives_ms: Range<u64>,
}

/// Where clients connect now, and whether they are to go on.
pub(crate) struct Stage {
    addr: Mutex<String>,
    over: AtomicBool,
    done: AtomicU64,
    lines: AtomicU64,
    /// What was answered, and when the program was killed: for who looks for the reason of a difference.
    pub(crate) told: Mutex<Vec<(i64, String)>>,
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
    story: &'a Story<'a>,
    host: String,
    random: fastrand::Rng,
    connection: Option<Connection>,
    /// Lines of one request.
    batch: i64,
    /// Points that it has appended.
    appended: i64,
    /// When it last deleted something.
    deleted: Instant,
}

impl Client<'_> {
    fn ask(&mut self, line: &str, kind: &str, body: &str) {
        let begun = now_ns();
        let mut sent = 0;
        let authorization = self.story.source.authorization();
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

    fn write(&mut self, place: &str, lines: &[String]) {
        let line = match (self.story.source.kind, place.split_once('/')) {
            (Kind::One, Some((db, rp))) => format!("POST /write?db={db}&rp={rp}&precision=ns"),
            (Kind::One, None) => format!("POST /write?db={place}&precision=ns"),
            (Kind::Two, _) => format!("POST /api/v2/write?org={ORG}&bucket={}&precision=ns", escape(place)),
        };
        self.ask(&line, "Content-Type: text/plain", &lines.join("\n"));
        self.stage.lines.fetch_add(lines.len() as u64, Ordering::Relaxed);
    }

    fn delete(&mut self, place: &str, measurement: &str, (from_ns, to_ns): (i64, i64)) {
        match self.story.source.kind {
            Kind::One => {
                let (host, db) = (&self.host, place.split('/').next().unwrap());
                let q = format!(
                    "DELETE FROM {measurement} WHERE host = '{host}' AND time >= {from_ns} AND time <= {to_ns}"
                );
                let line = format!("POST /query?db={db}&q={}", escape(&q));
                self.ask(&line, "Content-Type: application/x-www-form-urlencoded", "");
            }
            Kind::Two => {
                let time = twinline::base::clock::rfc3339;
                let body = serde_json::json!({
                    "start": time(from_ns), "stop": time(to_ns),
                    "predicate": format!("_measurement=\"{measurement}\" AND host=\"{}\"", self.host),
                });
                let line = format!("POST /api/v2/delete?org={ORG}&bucket={}", escape(place));
                self.ask(&line, "Content-Type: application/json", &body.to_string());
            }
        }
    }

    /// One request; how many lines it had.
    fn step(&mut self) -> i64 {
        let shape = self.story.shape;
        let place = self.story.places[self.random.usize(..self.story.places.len())].clone();
        let measurement = MEASUREMENTS[self.random.usize(..2)];
        let lines = match self.story.taste {
            Taste::Appends => self.append(&place, measurement),
            Taste::All => match self.random.u8(..200) {
                0..120 => self.overwrite(&place, measurement),
                120..197 => self.late(&place, measurement),
                // Also over the border of two windows. Few: what is removed at the destination waits for all that came before, and the
                // source is not slower by that.
                _ if self.deleted.elapsed() < BETWEEN_DELETES => self.late(&place, measurement),
                _ => {
                    self.deleted = Instant::now();
                    let begin = MONDAY_NS + self.random.i64(0..shape.groups * shape.group_ns);
                    let length = self.random.i64(0..HOUR_NS);
                    self.delete(&place, measurement, (begin, begin + length));
                    1
                }
            },
        };
        self.stage.done.fetch_add(1, Ordering::Relaxed);
        lines
    }

    /// Overwrites, some of one field alone.
    fn overwrite(&mut self, place: &str, measurement: &str) -> i64 {
        let (shape, host, value) = (self.story.shape, &self.host, self.random.u32(..));
        let group = self.random.i64(0..shape.groups);
        let unsigned = if self.story.source.kind == Kind::Two {
            format!(",u={}u", u64::MAX - u64::from(value))
        } else {
            String::new()
        };
        let line = |at: i64| {
            let time = shape.time(group, at);
            match at % 3 {
                0 => format!("{measurement},host={host} f={value}.25 {time}"),
                _ => format!("{measurement},host={host} f={value}.5,i={value}i,s=\"{value}\"{unsigned} {time}"),
            }
        };
        let some = self.batch.min(shape.before / 2);
        let from = self.random.i64(0..shape.before - some);
        let lines: Vec<_> = (from..from + some).map(line).collect();
        self.write(place, &lines);
        some
    }

    /// Late points, where none were; one at the very edge of a window.
    fn late(&mut self, place: &str, measurement: &str) -> i64 {
        let (shape, host, value) = (self.story.shape, self.host.clone(), self.random.u32(..));
        let begin = MONDAY_NS + self.random.i64(0..shape.groups) * shape.group_ns;
        let edge = [0, 1, shape.group_ns - 1, shape.group_ns / 2][self.random.usize(..4)] + self.random.i64(0..3);
        let others = (1..self.batch / 2).map(|_| self.random.i64(0..shape.group_ns));
        let lines: Vec<_> = std::iter::once(edge)
            .chain(others)
            .map(|at| format!("{measurement},host={host} f={value}.75,b=true {}", begin + at))
            .collect();
        self.write(place, &lines);
        lines.len() as i64
    }

    /// New points at the newest end, and late ones in windows that are being copied.
    fn append(&mut self, place: &str, measurement: &str) -> i64 {
        let shape = self.story.shape;
        let group = if self.random.bool() { shape.groups } else { self.random.i64(0..shape.groups) };
        let lines: Vec<_> = (0..self.batch)
            .map(|_| {
                self.appended += 1;
                let (host, at) = (&self.host, self.appended);
                format!("{measurement},host={host} f={at}.75,i={at}i,b=true,s=\"{at}\" {}", shape.append(group, at))
            })
            .collect();
        self.write(place, &lines);
        lines.len() as i64
    }

    /// Until it is over; `rate`: so many lines a second.
    fn goes_on(&mut self, rate: f64) {
        let mut due = Instant::now();
        while !self.stage.over.load(Ordering::Relaxed) {
            let lines = self.step();
            if rate <= 0.0 {
                std::thread::sleep(PAUSE);
                continue;
            }
            due += Duration::from_secs_f64(lines as f64 / rate);
            let now = Instant::now();
            due = due.max(now.checked_sub(BEHIND_MAX).unwrap_or(now));
            std::thread::sleep(due.saturating_duration_since(now));
        }
    }
}

fn fill(source: &Database, place: &str, shape: Shape) {
    for group in 0..shape.groups {
        let numbers = 0..shape.before * WRITERS as i64;
        let all: Vec<String> = numbers.flat_map(|number| shape.lines(number, group, source.kind)).collect();
        all.chunks(LINES).for_each(|some| write(source, place, &some.join("\n")));
    }
}

pub(crate) fn create(database: &Database, place: &str, shape: Shape) {
    let seconds = shape.group_ns / SECOND_NS;
    match (database.kind, place.split_once('/')) {
        (Kind::One, None) => {
            drop(database.query(&format!("CREATE DATABASE {place} WITH DURATION INF SHARD DURATION {seconds}s")));
        }
        (Kind::One, Some((db, rp))) => {
            drop(database.query(&format!(
                "CREATE RETENTION POLICY {rp} ON {db} DURATION INF REPLICATION 1 SHARD DURATION {seconds}s"
            )));
        }
        (Kind::Two, _) => {
            let rules =
                serde_json::json!([{ "type": "expire", "everySeconds": 0, "shardGroupDurationSeconds": seconds }]);
            database.create_bucket(place, &rules);
        }
    }
}

/// Both hold the same, to the bit, group by group; how many cells.
fn compared(source: &Database, destination: &Database, places: &[(String, String)], shape: Shape) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (left, right) = (source.reader(Limits::default()), destination.reader(Limits::default()));
    let (mut equal, mut different) = (0, Vec::new());
    for (from, to) in places {
        for measurement in MEASUREMENTS {
            for window in shape.windows() {
                let read = |reader: &Reader, place: &str| {
                    let (db, rp) = place.split_once('/').unwrap_or((place, ""));
                    runtime.block_on(reader.read(db, rp, measurement.as_bytes(), window)).unwrap()
                };
                let differences = compare(read(&left, from), read(&right, to));
                equal += differences.equal;
                if !differences.is_empty() {
                    different.push(format!("{from} {measurement} {window:?}: {differences}"));
                }
            }
        }
    }
    assert!(
        different.is_empty(),
        "{equal} cells are equal, {} windows differ: {}",
        different.len(),
        different[..different.len().min(5)].join("\n")
    );
    equal
}

pub(crate) fn job(twinline: &Twinline) -> Value {
    let output = twinline.command(&["-o", "json", "backfill", "status"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn points(job: &Value) -> u64 {
    job["points"].as_u64().unwrap()
}

/// The most memory that a process had so far, in KiB.
fn peak_kib(twinline: &Twinline) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", twinline.process_id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn begin(twinline: &Twinline, places: &[String]) {
    let scope = places.iter().flat_map(|place| ["--db", place]);
    let started = twinline.command(&["backfill", "start"].into_iter().chain(scope).collect::<Vec<_>>());
    assert_eq!(started.status.code(), Some(0), "{}", said(&started));
}

/// Kills the program as often as the story says, while it copies.
fn kill(story: &Story<'_>, twinline: &mut Twinline, stage: &Stage) -> u64 {
    let (mut random, mut met, mut peak) = (fastrand::Rng::with_seed(3), 0, 0);
    let (mut id, mut before) = (Value::Null, 0);
    for _ in 0..story.kills {
        if job(twinline)["state"] == "done" {
            begin(twinline, &story.places);
        }
        std::thread::sleep(Duration::from_millis(random.u64(story.lives_ms.clone())));
        met += u64::from(job(twinline)["state"] == "running");
        peak = peak.max(peak_kib(twinline));
        twinline.stop(Signal::KILL);
        stage.tell("killed".to_owned());
        let dead = job_of_the_dead(twinline);
        if id != dead["job"] {
            (id, before) = (dead["job"].clone(), 0);
        }
        assert!(points(&dead) >= before, "progress went back from {before}: {dead:#}");
        before = points(&dead);
        twinline.start_again();
        *stage.addr.lock().unwrap() = twinline.addr.clone();
    }
    println!("{}: {met} of {} kills met the copy", story.name, story.kills);
    assert!(met * 2 >= story.kills, "most of the kills are to meet the copy: {met} did; TWINLINE_LIVE_HOURS");
    peak
}

/// Copies beside clients, killed so often; then `look` finds whether all is as it is to be: how many cells are equal.
pub(crate) fn lives(story: &Story<'_>, look: impl FnOnce(&Twinline, &Stage) -> u64) {
    let Story { name, source, shape, .. } = story;
    let begun = Instant::now();
    for place in &story.places {
        create(source, place, *shape);
        fill(source, place, *shape);
    }
    println!("{name}: filled after {} s", begun.elapsed().as_secs());
    // Lines that were under way at once with a delete of their times are in doubt, and read back.
    let readback = "pause = \"0s\"\nper_minute = 6000".to_owned();
    let setup = Setup { readback, ..Setup::new(source.section(), story.destination.clone()) };
    let mut twinline = setup.more(story.rules).start();
    let stage = Stage {
        addr: Mutex::new(twinline.addr.clone()),
        over: AtomicBool::new(false),
        done: AtomicU64::new(0),
        lines: AtomicU64::new(0),
        told: Mutex::default(),
    };
    let rate = number("TWINLINE_LIVE_RATE", 0);
    let peak = std::thread::scope(|scope| {
        for number in 0..WRITERS {
            let (host, random) = (format!("w{number}"), fastrand::Rng::with_seed(number as u64 + 5));
            let batch = if rate == 0 { 10 } else { 50 };
            let mut client = Client {
                stage: &stage,
                story,
                host,
                random,
                connection: None,
                batch,
                appended: 0,
                deleted: Instant::now(),
            };
            scope.spawn(move || client.goes_on(rate as f64 / WRITERS as f64));
        }
        // Whatever ends this, the clients end.
        let _ends = Ends(&stage.over);
        begin(&twinline, &story.places);
        let peak = kill(story, &mut twinline, &stage);
        let done = ends(&twinline);
        println!("{name}: {} requests: {done}", stage.done.load(Ordering::Relaxed));
        assert_eq!((&done["failed"], &done["refused"]), (&serde_json::json!([]), &serde_json::json!([])), "{done:#}");
        peak
    });
    println!(
        "{name}: {} lines of clients, over after {} s",
        stage.lines.load(Ordering::Relaxed),
        begun.elapsed().as_secs()
    );
    settled(&twinline);
    let status = twinline.until("nothing is in doubt any more", |status| {
        // Other tests write to the same source around this one.
        let is_own = |row: &Value| row["cause"] != "bypass";
        let gaps = status["destinations"][0]["gap_rows"].as_array().unwrap().iter().filter(|row| is_own(row)).count();
        status["lines"]["doubt"] == 0 && status["dirty_regions"] == 0 && gaps == 0
    });
    println!(
        "{name}: {} lines were read back; settled after {} s; {} KiB of memory at most",
        status["lines"]["read_back"],
        begun.elapsed().as_secs(),
        peak.max(peak_kib(&twinline))
    );
    let look = std::panic::AssertUnwindSafe(|| look(&twinline, &stage));
    let cells = match std::panic::catch_unwind(look) {
        Ok(cells) => cells,
        Err(differs) => {
            let path = std::env::temp_dir().join(format!("twinline-{name}-told.txt"));
            let told: String = stage.told.lock().unwrap().iter().map(|(at, what)| format!("{at} {what}\n")).collect();
            std::fs::write(&path, told).unwrap();
            println!("what clients did is in {}; the status: {:#}", path.display(), twinline.status());
            std::panic::resume_unwind(differs);
        }
    };
    println!("{name}: {cells} cells are equal, after {} s", begun.elapsed().as_secs());
    assert!(cells > 1000 && stage.done.load(Ordering::Relaxed) > 100, "{cells}");
}

/// Waits until the queue is empty, for as long as it grows less.
fn settled(twinline: &Twinline) {
    let (mut least, mut since) = (u64::MAX, Instant::now());
    loop {
        let queued = twinline.status()["lines"]["queued"].as_u64().unwrap();
        if queued < 1000 {
            break;
        }
        if queued < least {
            (least, since) = (queued, Instant::now());
        }
        assert!(
            since.elapsed() < crate::proxy::PATIENCE,
            "{queued} lines wait, and do not go: {:#}",
            twinline.status()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    twinline.quiet();
}

/// From InfluxDB to InfluxDB: three places, which have other names there where a delete of a whole database can still be said.
fn between(name: &str, kinds: (Kind, Kind), kills: u64) {
    let (source, destination) = (shared(kinds.0, 0), shared(kinds.1, 1));
    let places = [name.to_owned(), format!("{name}/p1"), format!("{name}/p2")];
    let shape = Shape::wanted(places.len());
    let (there, rules) = match kinds {
        (Kind::One, Kind::One) => (
            ["", "/p1", "/p2"].map(|rp| format!("{name}_moved{rp}")),
            format!(
                "[[mapping.rule]]\nfrom = {{ db = \"{name}\" }}\nto = {{ db = \"{name}_moved\", rp = \"{{rp}}\" }}\n"
            ),
        ),
        (Kind::One, Kind::Two) => (places.clone(), String::new()),
        (Kind::Two, _) => {
            let there = ["", "_1", "_2"].map(|end| format!("{name}_moved{end}"));
            let rule = |(from, to): (&String, &String)| {
                format!("[[mapping.rule]]\nfrom = {{ bucket = \"{from}\" }}\nto = {{ bucket = \"{to}\" }}\n")
            };
            let rules = places.iter().zip(&there).map(rule).collect();
            (there, rules)
        }
    };
    there.iter().for_each(|place| create(&destination, place, shape));
    let both: Vec<_> = places.iter().cloned().zip(there).collect();
    let story = Story {
        name,
        source: &source,
        destination: destination.section(),
        rules: &rules,
        places: places.to_vec(),
        shape,
        taste: Taste::All,
        kills,
        lives_ms: 2_100..3_200,
    };
    lives(&story, |twinline, _| {
        // Of what was under way at a kill it is not known whether it ran; the client sends it again. Else the two would differ.
        let status = twinline.status();
        let told = status["statements"].as_array().unwrap().iter().map(|row| row["why"].as_str().unwrap());
        let others: Vec<_> = told.filter(|why| !why.contains("ended before its answer was on record")).collect();
        assert!(others.is_empty(), "{others:?}");
        compared(&source, &destination, &both, shape)
    });
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
    between("lv11", (Kind::One, Kind::One), number("TWINLINE_LIVE_KILLS", 0));
}

#[test]
fn beside_live_writes_from_1_to_2_and_killed() {
    between("lv12", (Kind::One, Kind::Two), number("TWINLINE_LIVE_KILLS", 3));
}

#[test]
fn beside_live_writes_from_2_to_2_and_killed() {
    between("lv22", (Kind::Two, Kind::Two), number("TWINLINE_LIVE_KILLS", 3));
}

#[test]
fn it_is_paused_goes_on_and_is_given_up_over_the_socket() {
    let name = "lvorders";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    let shape = Shape { groups: 40, group_ns: HOUR_NS, before: 60, places: 1 };
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
    create(&source, "lvlacks", Shape { groups: 1, group_ns: HOUR_NS, before: 1, places: 1 });
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
    let shape = Shape { groups: 6, group_ns: HOUR_NS, before: 60, places: 1 };
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
