//! Writers outside the proxy, with a record of their own: what each was told to be stored.
//!
//! One writer per series, timed lines, one request at a time. A request that was not answered with success is sent again
//! unchanged before anything newer: that is what makes the order at the source known.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use twinline::cell::{Cell, Series, Value};

use super::base::NAME;
use super::wire::{Connection, Sent};

const SERIES: u64 = 5;
const LINES_MAX: u64 = 50;
/// 2023-11-14.
const BASE_NS: i64 = 1_700_000_000_000_000_000;

/// What one point holds, by field.
type Point = BTreeMap<&'static str, Value>;

/// Lines by what the writers heard of their requests.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// In requests answered with success, repeats included.
    acknowledged: AtomicU64,
    /// In requests without an answer: they may or may not have had an effect.
    unknown: AtomicU64,
    /// In requests answered with 503.
    refused: AtomicU64,
    /// Requests that had to be repeated.
    repeats: AtomicU64,
}

impl Heard {
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    pub(crate) fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::SeqCst)
    }

    pub(crate) fn repeats(&self) -> u64 {
        self.repeats.load(Ordering::SeqCst)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }
}

#[derive(Debug, Default)]
struct Shared {
    heard: Heard,
    pause: AtomicBool,
    stop: AtomicBool,
    resting: AtomicUsize,
}

/// Several writers, each on its own thread.
pub(crate) struct Writers {
    shared: Arc<Shared>,
    threads: Vec<std::thread::JoinHandle<Vec<Cell>>>,
}

impl Writers {
    /// `rest` is the longest pause between two requests of one writer.
    pub(crate) fn start(port: u16, count: usize, seed: u64, rest: Duration) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = (0..count).map(|number| {
            let shared = Arc::clone(&shared);
            let random = fastrand::Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
            let writer =
                Writer { number, random, connection: Connection::new(port), points: BTreeMap::new(), value: 0 };
            std::thread::spawn(move || writer.run(&shared, rest))
        });
        Self { threads: threads.collect(), shared }
    }

    pub(crate) fn heard(&self) -> &Heard {
        &self.shared.heard
    }

    /// Waits until every writer has its answer and rests, or lets them go on.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.shared.pause.store(paused, Ordering::SeqCst);
        let wanted = if paused { self.threads.len() } else { 0 };
        super::proxy::wait_for("the writers to rest or go on", || {
            assert!(self.threads.iter().all(|thread| !thread.is_finished()), "a writer has failed");
            (self.shared.resting.load(Ordering::SeqCst) == wanted).then_some(())
        });
    }

    /// Ends them, each after the answer to its last request; gives the record and what was heard.
    pub(crate) fn finish(self) -> (Vec<Cell>, Heard) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let cells = self.threads.into_iter().flat_map(|thread| thread.join().expect("a writer has failed")).collect();
        (cells, Arc::into_inner(self.shared).expect("the threads have ended").heard)
    }
}

struct Writer {
    number: usize,
    random: fastrand::Rng,
    connection: Connection,
    /// What was acknowledged, or is being sent.
    points: BTreeMap<(u64, i64), Point>,
    /// Grows with every value written.
    value: i64,
}

impl Writer {
    fn run(mut self, shared: &Shared, rest: Duration) -> Vec<Cell> {
        let stop = || shared.stop.load(Ordering::SeqCst);
        while !stop() {
            if shared.pause.load(Ordering::SeqCst) {
                shared.resting.fetch_add(1, Ordering::SeqCst);
                while shared.pause.load(Ordering::SeqCst) && !stop() {
                    std::thread::sleep(Duration::from_millis(2));
                }
                shared.resting.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            let (body, lines) = self.batch();
            self.until_acknowledged(&body, lines, &shared.heard);
            std::thread::sleep(rest.mul_f64(self.random.f64()));
        }
        self.cells()
    }

    /// A batch of new points, points written before, or both; no point twice.
    fn batch(&mut self) -> (String, u64) {
        let lines = self.random.u64(1..=LINES_MAX);
        let again = if self.random.u8(0..4) == 0 { 80 } else { 10 };
        let mut body = String::new();
        let mut here = std::collections::BTreeSet::new();
        while (here.len() as u64) < lines {
            let place = self.place(again);
            if !here.insert(place) {
                continue;
            }
            let text = self.point(place);
            // Writing into a String does not fail.
            let _ =
                writeln!(body, "m{},writer=w{},series=s{} {text} {}", self.number % 3, self.number, place.0, place.1);
        }
        (body, lines)
    }

    fn place(&mut self, again_percent: u8) -> (u64, i64) {
        if !self.points.is_empty() && self.random.u8(0..100) < again_percent {
            let at = (self.random.u64(0..SERIES), BASE_NS + self.random.i64(0..=self.value) * 1_000);
            if let Some((place, _)) = self.points.range(..=at).next_back() {
                return *place;
            }
        }
        (self.random.u64(0..SERIES), BASE_NS + (self.value + 1) * 1_000)
    }

    /// New values for some fields of a point, all of them when it is new.
    fn point(&mut self, place: (u64, i64)) -> String {
        self.value += 1;
        let (random, value) = (&mut self.random, self.value);
        let point = self.points.entry(place).or_default();
        let fresh = point.is_empty();
        let mut texts = vec![format!("v={value}i")];
        point.insert("v", Value::Integer(value));
        if fresh || random.bool() {
            let float = value as f64 / 8.0;
            texts.push(format!("f={float}"));
            point.insert("f", Value::Float(float));
        }
        if fresh || random.bool() {
            let text = format!("{value}-{}", "x".repeat(random.usize(0..120)));
            texts.push(format!("s=\"{text}\""));
            point.insert("s", Value::String(text.into_bytes()));
        }
        if random.bool() {
            let flag = random.bool();
            texts.push(format!("b={flag}"));
            point.insert("b", Value::Boolean(flag));
        }
        texts.join(",")
    }

    fn until_acknowledged(&mut self, body: &str, lines: u64, heard: &Heard) {
        let (body, encoding) = match self.number % 2 {
            0 => (body.as_bytes().to_vec(), ""),
            _ => (gzip(body.as_bytes()), "\r\nContent-Encoding: gzip"),
        };
        let head = format!("POST /write?db={NAME}&precision=ns HTTP/1.1\r\nHost: x{encoding}");
        let mut first = true;
        loop {
            heard.repeats.fetch_add(u64::from(!first), Ordering::SeqCst);
            first = false;
            let count = match self.connection.ask(&head, &body) {
                Sent::Answer { status: 204, .. } => {
                    heard.acknowledged.fetch_add(lines, Ordering::SeqCst);
                    return;
                }
                Sent::Answer { status: 503, .. } => &heard.refused,
                Sent::Answer { status, body, .. } => panic!("a write was answered with {status}: {body}"),
                Sent::Unknown => &heard.unknown,
                Sent::Unsent => {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
            };
            count.fetch_add(lines, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn cells(self) -> Vec<Cell> {
        let number = self.number;
        let series: Vec<Arc<Series>> = (0..SERIES)
            .map(|at| {
                let tags = [("writer", format!("w{number}")), ("series", format!("s{at}"))];
                let tags = tags.into_iter().map(|(key, value)| (key.as_bytes().to_vec(), value.into_bytes())).collect();
                Arc::new(Series::new(format!("m{}", number % 3).into_bytes(), tags))
            })
            .collect();
        let mut cells = Vec::new();
        for ((at, time_ns), point) in self.points {
            for (field, value) in point {
                let (series, field) = (Arc::clone(&series[at as usize]), Arc::from(field.as_bytes()));
                cells.push(Cell { series, field, time_ns, value });
            }
        }
        cells
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}
