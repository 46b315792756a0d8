//! One pair of databases at work: writers, kills of the destination, and in the end what the program says of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value as Json;
use twinline::line::{Dialect, Precision, lines, unfit};

use crate::database::{Database, Kind};
use crate::generate::{Generator, Taste as Grammar};
use crate::http::{Answer, Connection};
use crate::points::{Batch, Change, Line, Op, Reach, Taste, Writer, sent};
use crate::proxy::{Setup, Twinline, eventually};

const WRITERS: usize = 4;

/// How much is done. See the head of `tests/pairs.rs`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) points: u64,
    pub(crate) kills: u64,
    pub(crate) seed: u64,
    /// Twinline is killed as often.
    pub(crate) kill_twinline: bool,
}

/// A destination that can be killed and comes back with its data.
pub(crate) trait Destination: Sync {
    /// Its section in the configuration.
    fn section(&self) -> String;
    fn kill(&self);
    fn start(&self);
    /// How long what it has acknowledged may still be lost and sent again.
    fn forgets(&self) -> Duration {
        Duration::ZERO
    }
}

impl Destination for Database {
    fn section(&self) -> String {
        Self::section(self)
    }

    fn kill(&self) {
        self.stop(Signal::KILL);
    }

    fn start(&self) {
        self.restart();
    }
}

/// What a writer did that the source took, in its order.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Wrote(Vec<Line>),
    Deleted(Reach),
}

/// What one writer knows.
#[derive(Debug, Default)]
pub(crate) struct Own {
    pub(crate) events: Vec<Event>,
    /// Lines that were accepted for sure.
    pub(crate) accepted: u64,
    /// Lines that may have been.
    pub(crate) perhaps: u64,
    /// What was refused as a whole, in requests.
    pub(crate) refused: u64,
    /// Changes that ran, or may have.
    pub(crate) changes: Vec<Change>,
}

/// What everybody knows in the end of one destination.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) writers: Arc<Vec<Own>>,
    /// Its part of the status.
    pub(crate) status: Json,
    /// When that was taken.
    pub(crate) at_ns: i64,
    pub(crate) regions: Vec<Region>,
    /// Texts of the dead letters.
    pub(crate) letters: Vec<Vec<u8>>,
    /// Statements that were told: text and how often.
    pub(crate) told: BTreeMap<String, u64>,
    pub(crate) kills: u64,
    /// Every request had its answer at once, so that it is known how often each line was written.
    pub(crate) is_exact: bool,
}

/// A part that must be read back.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) measurement: Vec<u8>,
    pub(crate) from_ns: i64,
    pub(crate) to_ns: i64,
    pub(crate) lines: u64,
}

impl Region {
    pub(crate) fn has(&self, measurement: &[u8], time_ns: i64) -> bool {
        (self.measurement.is_empty() || self.measurement == measurement)
            && (self.from_ns..=self.to_ns).contains(&time_ns)
    }
}

impl Outcome {
    pub(crate) fn is_dirty(&self, measurement: &[u8], time_ns: i64) -> bool {
        self.regions.iter().any(|region| region.has(measurement, time_ns))
    }

    /// What the destination cannot hold, as it was counted: cells by reason.
    pub(crate) fn changes(&self) -> BTreeMap<String, u64> {
        let row = |row: &Json| (row["code"].as_str().unwrap().to_owned(), row["cells"].as_u64().unwrap());
        self.status["changes"].as_array().unwrap().iter().map(row).collect()
    }

    pub(crate) fn lines(&self, state: &str) -> u64 {
        self.status["lines"][state].as_u64().unwrap()
    }
}

/// What the threads of a run share.
struct Stage<'a> {
    source: &'a Database,
    name: &'a str,
    budget: Budget,
    /// Held by each write, and alone by what reaches everything.
    gate: RwLock<()>,
    /// Where the program listens now.
    addr: Mutex<String>,
    written: AtomicU64,
    /// Kills so far: writers go no further than to the next.
    killed: AtomicU64,
    over: AtomicBool,
}

/// Writes, kills, waits until everything is delivered, and asks; one outcome for each destination.
pub(crate) fn run(
    source: &Database,
    destinations: &[&dyn Destination],
    (name, taste): (&str, Taste),
    budget: Budget,
    prepared: impl FnOnce(&Twinline),
) -> Vec<Outcome> {
    let Budget { points, kills, seed, .. } = budget;
    println!("{name}: TWINLINE_SEED={seed} TWINLINE_POINTS={points} TWINLINE_KILLS={kills}, {WRITERS} writers");
    let section = |(at, one): (usize, &&dyn Destination)| format!("id = \"d{at}\"\n{}", one.section());
    let mut sections = destinations.iter().enumerate().map(section);
    let mut setup = Setup::new(source.section(), sections.next().unwrap());
    setup.others = sections.collect();
    setup.queue = "dirty_regions = 20000".to_owned();
    let twinline = Mutex::new(setup.start());
    let addr = twinline.lock().unwrap().addr.clone();
    let stage = Stage {
        source,
        name,
        budget,
        gate: RwLock::new(()),
        addr: Mutex::new(addr),
        written: AtomicU64::new(0),
        killed: AtomicU64::new(0),
        over: AtomicBool::new(false),
    };
    let mut owns: Vec<(Writer, Own)> =
        (0..WRITERS).map(|number| (Writer::new(source.kind, name, number, seed, taste), Own::default())).collect();
    for (writer, own) in &mut owns {
        for batch in [writer.first(), writer.first_shared()] {
            stage.write(&mut None, &batch, own);
        }
    }
    let first: u64 = owns.iter().map(|(_, own)| own.accepted).sum();
    twinline.lock().unwrap().settled(first * destinations.len() as u64);
    prepared(&twinline.lock().unwrap());
    let mut killed = 0;
    std::thread::scope(|scope| {
        let stage = &stage;
        let writers: Vec<_> = owns
            .iter_mut()
            .enumerate()
            .map(|(number, (writer, own))| scope.spawn(move || stage.work(number, writer, own)))
            .collect();
        let twinline = &twinline;
        let kills = scope.spawn(move || stage.kill(destinations, twinline));
        let ends: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stage.over.store(true, Ordering::SeqCst);
        killed = kills.join().unwrap();
        ends.into_iter().for_each(|end| end.unwrap());
    });
    let twinline = twinline.into_inner().unwrap();
    std::thread::sleep(destinations.iter().map(|one| one.forgets()).max().unwrap_or_default());
    let writers: Vec<Own> = owns.into_iter().map(|(_, own)| own).collect();
    judged(&twinline, &Arc::new(writers), (killed, !budget.kill_twinline))
}

/// Waits until nothing waits any more; the sums must be exact then.
fn judged(twinline: &Twinline, writers: &Arc<Vec<Own>>, (kills, is_exact): (u64, bool)) -> Vec<Outcome> {
    let accepted: u64 = writers.iter().map(|own| own.accepted).sum();
    let perhaps: u64 = writers.iter().map(|own| own.perhaps).sum();
    let (mut last, mut since) = (Json::Null, std::time::Instant::now());
    let status = loop {
        let status = twinline.quiet_now();
        if let Some(status) = status {
            break status;
        }
        let lines = twinline.status()["lines"].clone();
        if lines != last {
            (last, since) = (lines, std::time::Instant::now());
        }
        assert!(since.elapsed() < Duration::from_secs(420), "nothing moves: {:#}", twinline.status());
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(!twinline.said().contains("panicked"), "{}", twinline.said());
    let at_ns = twinline::base::clock::parse_rfc3339(status["at"].as_str().unwrap()).unwrap();
    let of_one = |status: &Json| {
        let at = |state: &str| status["lines"][state].as_u64().unwrap();
        let sum: u64 = ["delivered", "doubt", "dead_lettered", "gap", "excluded"].map(at).iter().sum();
        assert!(
            (accepted..=accepted + perhaps).contains(&sum),
            "{accepted} lines were accepted, and perhaps {perhaps}; {sum} are in a state at {}: {:#}",
            status["id"],
            status["lines"]
        );
        let (regions, letters, told) = told(twinline, status);
        let (writers, status) = (Arc::clone(writers), status.clone());
        Outcome { writers, status, at_ns, regions, letters, told, kills, is_exact }
    };
    status["destinations"].as_array().unwrap().iter().map(of_one).collect()
}

/// What the state store lists of one destination; the status shows the first hundred of each, and how many there are.
fn told(twinline: &Twinline, status: &Json) -> (Vec<Region>, Vec<Vec<u8>>, BTreeMap<String, u64>) {
    let id = [status["id"].as_str().unwrap()];
    let state = rusqlite::Connection::open(twinline.data().join("state.db")).unwrap();
    let sql = "SELECT measurement, from_ns, to_ns, lines FROM dirty_region WHERE destination = ?1";
    let mut rows = state.prepare(sql).unwrap();
    let region = |row: &rusqlite::Row<'_>| {
        Ok(Region { measurement: row.get(0)?, from_ns: row.get(1)?, to_ns: row.get(2)?, lines: row.get(3)? })
    };
    let regions: Vec<Region> = rows.query_map(id, region).unwrap().map(Result::unwrap).collect();
    assert_eq!(status["dirty_regions"], regions.len() as u64);
    assert_eq!(status["lines"]["doubt"], regions.iter().map(|region| region.lines).sum::<u64>());
    let mut rows = state.prepare("SELECT text FROM dead_letter WHERE destination = ?1").unwrap();
    let letters: Vec<Vec<u8>> = rows.query_map(id, |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(status["lines"]["dead_lettered"], letters.len() as u64);
    let mut rows =
        state.prepare("SELECT text, sum(times) FROM statement WHERE destination = ?1 GROUP BY text").unwrap();
    let told = rows.query_map(id, |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let told: BTreeMap<String, u64> = told.map(Result::unwrap).collect();
    assert_eq!(status["statements_not_mirrored"], told.values().sum::<u64>());
    (regions, letters, told)
}

/// Nobody waits for another kill, also when there will be none because of a panic.
struct Ends<'a>(&'a AtomicU64);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(u64::MAX - 1, Ordering::SeqCst);
    }
}

impl Stage<'_> {
    fn work(&self, number: usize, writer: &mut Writer, own: &mut Own) {
        let share = self.budget.points / WRITERS as u64;
        let mut random = Generator::new(self.budget.seed.wrapping_add(number as u64), Grammar::Influx);
        random.start_at(1_000_000 * (number as u64 + 1));
        let (mut written, mut connection) = (0, None);
        while written < share {
            while self.written.load(Ordering::Relaxed) >= self.at_kill(self.killed.load(Ordering::SeqCst) + 1) {
                std::thread::sleep(Duration::from_millis(2));
            }
            let lines = match writer.next(usize::try_from(share - written).unwrap()) {
                Op::Write(batch) => {
                    self.write(&mut connection, &batch, own);
                    batch.lines.len()
                }
                Op::Change(change) => {
                    self.change(&mut connection, change, own);
                    0
                }
                Op::Random(lines) => {
                    self.random(&mut connection, (&mut random, lines), own);
                    lines
                }
            };
            written += lines as u64;
            self.written.fetch_add(lines as u64, Ordering::Relaxed);
        }
    }

    /// The answer to a request; it is repeated until there is one. Also how often it was sent without one.
    fn ask(&self, connection: &mut Option<Connection>, line: &str, headers: &[&str], body: &[u8]) -> (Answer, u64) {
        let mut lost = 0;
        let authorization = self.source.authorization();
        let headers = [&[authorization.as_str()], headers].concat();
        let answer = eventually(line, || {
            if connection.is_none() {
                let addr = self.addr.lock().unwrap().clone();
                *connection = Some(Connection::open(&addr).map_err(|error| error.to_string())?);
            }
            match connection.as_mut().unwrap().call(line, &headers, body) {
                Ok(answer) if answer.status == 503 && self.budget.kill_twinline => Err(answer.text()),
                Ok(answer) => Ok(answer),
                Err(error) => {
                    assert!(self.budget.kill_twinline, "{line}: {error}");
                    *connection = None;
                    lost += 1;
                    Err(error.to_string())
                }
            }
        });
        (answer, lost)
    }

    fn write(&self, connection: &mut Option<Connection>, batch: &Batch, own: &mut Own) {
        let _gate = self.gate.read().unwrap();
        let headers: &[&str] = if batch.gzip { &["Content-Encoding: gzip"] } else { &[] };
        let (answer, lost) = self.ask(connection, &format!("POST {}", batch.target), headers, &sent(batch));
        let lines = batch.lines.len() as u64;
        own.perhaps += lost * lines;
        let is_whole = batch.bad == 0 && !batch.clashes;
        let is_one = self.source.kind == Kind::One;
        match answer.status {
            204 if is_whole || lines == 0 => {}
            400 if batch.bad > 0 && (is_one && lines > 0) => {}
            400 if batch.bad > 0 => {
                own.refused += 1;
                return;
            }
            400 | 422 if batch.clashes => {
                own.accepted += lines;
                return;
            }
            status => panic!("{}: {status} {} to {}", batch.target, answer.text(), batch.body.escape_ascii()),
        }
        own.accepted += lines;
        own.events.push(Event::Wrote(batch.lines.clone()));
    }

    fn change(&self, connection: &mut Option<Connection>, change: Change, own: &mut Own) {
        let kind = if change.json { "application/json" } else { "application/x-www-form-urlencoded" };
        let header = format!("Content-Type: {kind}");
        let line = format!("POST {}", change.target);
        let _alone = change.is_wide.then(|| self.gate.write().unwrap());
        let _beside = (!change.is_wide).then(|| self.gate.read().unwrap());
        let (answer, _) = self.ask(connection, &line, &[&header], change.body.as_bytes());
        let has_run = match answer.status {
            204 => true,
            200 => !answer.text().contains("error"),
            _ => false,
        };
        if !has_run {
            assert!(answer.status < 500, "{}: {}", change.text, answer.text());
            println!("refused: {}: {} {}", change.text, answer.status, answer.text().trim());
            own.refused += 1;
            return;
        }
        if !change.misses {
            own.events.push(Event::Deleted(change.reach.clone()));
        }
        own.changes.push(change);
    }

    /// Lines of which the source alone knows what they are.
    fn random(&self, connection: &mut Option<Connection>, (random, count): (&mut Generator, usize), own: &mut Own) {
        let dialect = self.source.dialect();
        let (precision, word) = match random.rng().u8(..4) {
            0 => (Precision::Millisecond, "ms"),
            1 => (Precision::Second, "s"),
            _ => (Precision::Nanosecond, "ns"),
        };
        random.set_unit(precision.unit_ns());
        let body = loop {
            let mut body = Vec::new();
            for _ in 0..count {
                body.extend(random.line());
                body.push(b'\n');
            }
            if is_harmless(&body, dialect, precision) {
                break body;
            }
        };
        let line = format!("POST /write?db={}&precision={word}", crate::http::escape(self.name));
        let _gate = self.gate.read().unwrap();
        let (answer, lost) = self.ask(connection, &line, &[], &body);
        let read: Vec<_> = lines(&body, dialect, precision).collect();
        let (good, bad) = (read.iter().flatten().count() as u64, read.iter().filter(|line| line.is_err()).count());
        own.perhaps += lost * good;
        match answer.status {
            204 => own.accepted += good,
            400 if bad > 0 && self.source.kind == Kind::Two => own.refused += 1,
            _ => own.perhaps += good,
        }
    }

    /// How much is written when this kill comes.
    fn at_kill(&self, number: u64) -> u64 {
        let kills = self.budget.kills;
        if number > kills { u64::MAX } else { self.budget.points * number / (kills + 1) }
    }

    /// Kills one destination after the other at equal distances of the run, what is left of the kills while the rest is delivered.
    fn kill(&self, destinations: &[&dyn Destination], twinline: &Mutex<Twinline>) -> u64 {
        let mut random = fastrand::Rng::with_seed(self.budget.seed);
        let _ends = Ends(&self.killed);
        for kill in 1..=self.budget.kills {
            while self.written.load(Ordering::Relaxed) < self.at_kill(kill) && !self.over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            let victim = usize::try_from(kill).unwrap() % destinations.len();
            destinations[victim].kill();
            self.killed.store(kill, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(random.u64(0..1_200)));
            if kill == self.budget.kills {
                self.others_have_all(victim, &twinline.lock().unwrap());
            }
            destinations[victim].start();
            if self.budget.kill_twinline {
                std::thread::sleep(Duration::from_millis(random.u64(0..600)));
                let mut twinline = twinline.lock().unwrap();
                twinline.stop(Signal::KILL);
                twinline.start_again();
                *self.addr.lock().unwrap() = twinline.addr.clone();
            }
            std::thread::sleep(Duration::from_millis(random.u64(0..400)));
        }
        self.budget.kills
    }

    /// Waits until the others, if there are any, have all that is written while this one is away.
    fn others_have_all(&self, away: usize, twinline: &Twinline) {
        let others = |status: &Json| {
            let all = status["destinations"].as_array().unwrap().clone();
            all.into_iter().enumerate().filter(|(at, _)| *at != away).map(|(_, one)| one).collect::<Vec<_>>()
        };
        if others(&twinline.status()).is_empty() {
            return;
        }
        while !self.over.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let begun = std::time::Instant::now();
        twinline.until("the others have it all", |status| {
            others(status).iter().all(|one| {
                let age = one["age_s"].as_f64().unwrap();
                one["lines"]["queued"] == 0 && one["lines"]["gap"] == 0 && begun.elapsed().as_secs_f64() > age + 0.1
            })
        });
        let own = &twinline.status()["destinations"][away]["lines"];
        assert!(own["queued"].as_u64() > Some(0), "it was away: {own:#}");
    }
}

/// Whether a server stores each line that it takes, and shows it, as written: the others are for the tests of the parsers.
fn is_harmless(body: &[u8], dialect: Dialect, precision: Precision) -> bool {
    lines(body, dialect, precision).flatten().all(|line| {
        let hidden =
            |field: &[u8]| [&b"_fieldKey"[..], b"_name", b"_seriesKey", b"_tagKey", b"_tagValue"].contains(&field);
        let only_canonical = line.raw_measurement().windows(2).any(|pair| matches!(pair, b"\\=" | b"\\\""))
            || line.tags().iter().any(|tag| tag.raw_value().starts_with(b"="));
        unfit(&line, dialect).is_none() && !only_canonical && !line.fields().iter().any(|field| hidden(&field.key()))
    })
}
