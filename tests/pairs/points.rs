//! What a writer does, from a seed: awkward points, deletes, and what the source refuses, each with the writer's own record of it.
//!
//! Measurements whose names begin with `own` belong to one writer, which waits for each answer: their end is known to the cell. In
//! `shared` ones writers meet, and the source alone knows what came last.

use std::sync::Arc;

use twinline::cell::{Series, Value};

use crate::database::{Kind, ORG};
use crate::http::{escape, gzip};

/// 2023-11-14.
const BEGIN_NS: i64 = 1_700_000_000_000_000_000;
const HOUR_NS: i64 = 3_600_000_000_000;
/// First and last time that a point can have.
const TIMES: (i64, i64) = (i64::MIN + 2, i64::MAX - 1);

/// Times at the edges of what somebody can hold. Not in the very first week: started again, 1.13 and 2.9 begin a second shard for
/// it, and then show a value that was overwritten, too.
const EDGES: [i64; 9] = [
    0,
    1,
    -1,
    -1_000_000_000_000_000_000,
    TIMES.0 + 14 * 24 * HOUR_NS,
    TIMES.1,
    5_000_000,
    86_399_999_000_001,
    4_102_444_800_000_000_000,
];

/// What one line holds. Without a time it has the one that the proxy gave it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) series: Arc<Series>,
    pub(crate) time_ns: Option<i64>,
    pub(crate) fields: Vec<(Arc<[u8]>, Value)>,
}

/// What a delete reaches.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// A name, or what names begin with.
    pub(crate) measurement: Vec<u8>,
    pub(crate) begins: bool,
    pub(crate) tag: Option<Vec<u8>>,
    pub(crate) first_ns: i64,
    pub(crate) last_ns: i64,
}

impl Reach {
    pub(crate) fn has(&self, series: &Series, time_ns: i64) -> bool {
        let name = series.measurement();
        (name == self.measurement || self.begins && name.starts_with(&self.measurement))
            && self.tag.as_ref().is_none_or(|value| series.tag(KEY) == Some(value))
            && (self.first_ns..=self.last_ns).contains(&time_ns)
    }
}

/// One request to write.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// Path and query.
    pub(crate) target: String,
    pub(crate) gzip: bool,
    pub(crate) body: Vec<u8>,
    pub(crate) lines: Vec<Line>,
    /// Lines that nobody can read.
    pub(crate) bad: usize,
    /// Some of its lines have a field with another type: what the source makes of the others is not known.
    pub(crate) clashes: bool,
}

/// One request that changes something.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) target: String,
    pub(crate) json: bool,
    pub(crate) body: String,
    /// As an operator reads it, if it is InfluxQL.
    pub(crate) text: String,
    pub(crate) reach: Reach,
    /// It reaches, or may be taken to reach, what others write: it must be alone.
    pub(crate) is_wide: bool,
    /// Nothing at all can carry it out.
    pub(crate) writes: bool,
    /// It names measurements by an expression, which not all can.
    pub(crate) by_expression: bool,
    /// InfluxQL.
    pub(crate) is_statement: bool,
    /// It says yes and deletes nothing: `/api/v2/delete` of 1.x does not find such a name.
    pub(crate) misses: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write(Batch),
    Change(Change),
    /// Lines from the grammar of the random tests, so many.
    Random(usize),
}

/// What a pair of databases is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taste {
    /// Of 256 lines that would have an unsigned integer so many have one.
    pub(crate) unsigned: u16,
    /// Random lines, and bytes that are no UTF-8.
    pub(crate) wild: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Float,
    Edge,
    Integer,
    Unsigned,
    Boolean,
    String,
}

/// A measurement of one writer.
struct Shape {
    name: Vec<u8>,
    series: Vec<(Arc<Series>, Vec<u8>)>,
}

pub(crate) struct Writer {
    source: Kind,
    name: String,
    number: usize,
    taste: Taste,
    pub(crate) random: fastrand::Rng,
    shapes: Vec<Shape>,
    fields: Vec<(Arc<[u8]>, Vec<u8>, Type)>,
    /// Times given out so far, by unit.
    next: [i64; 6],
    /// Of values that nobody else writes.
    values: i64,
    hours: i64,
    last: Option<Batch>,
}

const UNITS: [(&str, i64, i64); 6] = [
    ("ns", 1, 7),
    ("us", 1_000, 7),
    ("ms", 1_000_000, 7),
    ("s", 1_000_000_000, 97),
    ("m", 60_000_000_000, 3),
    ("h", HOUR_NS, 1),
];

const MS: usize = 2;

/// Names as they are, beside how they are written.
const MEASUREMENTS: [(&[u8], &[u8]); 5] = [
    (b" plain", b"\\ plain"),
    (b",disk usage", b"\\,disk\\ usage"),
    ("gr\u{f6}\u{df}e\"q\"".as_bytes(), "gr\u{f6}\u{df}e\"q\"".as_bytes()),
    (b"C:\\dir", b"C:\\dir"),
    (b"raw\xff\xfe", b"raw\xff\xfe"),
];
/// The tag that deletes ask for.
const KEY: &[u8] = b"a key";
const TAG_VALUES: [(&[u8], &[u8]); 8] = [
    (b"plain", b"plain"),
    (b"a b", b"a\\ b"),
    (b"a,b=c", b"a\\,b\\=c"),
    (b"say \"no\"", b"say\\ \"no\""),
    (b"C:\\dir", b"C:\\dir"),
    (b"it's", b"it's"),
    ("\u{1f600}\u{e9}".as_bytes(), "\u{1f600}\u{e9}".as_bytes()),
    (b"raw\xc3(\xff", b"raw\xc3(\xff"),
];
const FIELDS: [(&[u8], &[u8], Type); 7] = [
    (b"value", b"value", Type::Float),
    (b"a count", b"a\\ count", Type::Integer),
    (b"ok=yes,no", b"ok\\=yes\\,no", Type::Boolean),
    ("te\"xt\u{e9}".as_bytes(), "te\"xt\u{e9}".as_bytes(), Type::String),
    (b"big", b"big", Type::Unsigned),
    (b"edge", b"edge", Type::Edge),
    (b"other", b"other", Type::Float),
];
/// Nobody reads these.
const BAD: [&str; 8] =
    ["broken", "m v=", "m,t= v=1", "m v=1 later", "m v=tr", "m v=1i2", ",t=a v=1", "m v=99999999999999999999999i"];

impl Writer {
    pub(crate) fn new(source: Kind, name: &str, number: usize, seed: u64, taste: Taste) -> Self {
        let fields = FIELDS.iter().filter(|(_, _, kind)| taste.unsigned > 0 || *kind != Type::Unsigned);
        Self {
            source,
            name: name.to_owned(),
            number,
            taste,
            random: fastrand::Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(number as u64)),
            shapes: shapes(number, taste),
            fields: fields.map(|(key, text, kind)| (Arc::from(*key), text.to_vec(), *kind)).collect(),
            next: [0; 6],
            values: 0,
            hours: 0,
            last: None,
        }
    }

    /// What it does next, with so many lines at most.
    pub(crate) fn next(&mut self, most: usize) -> Op {
        match self.random.u32(0..1000) {
            0..=29 if self.last.is_some() => Op::Write(self.last.clone().unwrap()),
            30..=109 => Op::Write(self.shared(most)),
            110..=119 => Op::Write(self.clash()),
            120..=149 if self.taste.wild => Op::Random(self.random.usize(1..=20.min(most))),
            150..=189 => Op::Change(self.change()),
            190..=204 => Op::Change(self.change_shared()),
            205..=214 => Op::Write(self.told()),
            215..=219 if self.taste.wild => Op::Change(self.change_told()),
            220..=223 => Op::Change(self.into()),
            _ => {
                let batch = self.own(most);
                // Sent again, a line without a time is another one.
                self.last = Some(batch.clone()).filter(|batch| batch.lines.iter().all(|line| line.time_ns.is_some()));
                Op::Write(batch)
            }
        }
    }

    /// One line for each series, so that all tables are there with all their tags.
    pub(crate) fn first(&mut self) -> Batch {
        let mut batch = self.batch(MS);
        for shape in 0..self.shapes.len() {
            for series in 0..self.shapes[shape].series.len() {
                let (_, unit_ns, stride) = UNITS[MS];
                let time = BEGIN_NS / unit_ns + self.step(MS) * stride;
                self.line((shape, series), time, time * unit_ns, &mut batch);
            }
        }
        self.untimed(&mut batch);
        batch
    }

    /// The same for measurements that are no one's own, or not at first.
    pub(crate) fn first_shared(&mut self) -> Batch {
        let mut batch = self.batch(0);
        for measurement in ["shared0", "shared1", "shared2", &format!("told{}", self.number)] {
            self.counted(&mut batch, (measurement, 0), BEGIN_NS - (self.number as i64 + 1) * HOUR_NS);
        }
        batch
    }

    fn batch(&mut self, unit: usize) -> Batch {
        let (target, zip) = (self.target(unit), self.random.bool());
        Batch { target, gzip: zip, body: Vec::new(), lines: Vec::new(), bad: 0, clashes: false }
    }

    fn own(&mut self, most: usize) -> Batch {
        let units = if self.source == Kind::One { 6 } else { 4 };
        let unit = if self.random.u8(..4) > 0 { self.random.usize(..3) } else { self.random.usize(..units) };
        let mut batch = self.batch(unit);
        // Minutes and hours are known to the first API of 1.x alone.
        let (spoils, mut last) = (self.random.u8(..12) == 0, 0..0);
        let many = if self.random.u8(..16) == 0 { 500 } else { 20 };
        for _ in 0..self.random.usize(1..=most.clamp(1, many)) {
            match self.random.u32(0..1000) {
                0..=39 if spoils => {
                    batch.body.extend(BAD[self.random.usize(..BAD.len())].bytes());
                    batch.body.push(b'\n');
                    batch.bad += 1;
                }
                40..=49 => batch.body.extend(b"# a comment\n"),
                50..=54 => batch.body.extend(b"\n"),
                // The time that it is given has this precision.
                55..=69 if unit >= MS => self.untimed(&mut batch),
                70..=79 if unit == 0 => {
                    let time = EDGES[self.random.usize(..EDGES.len())];
                    let place = self.place();
                    self.line(place, time, time, &mut batch);
                }
                80..=89 if !last.is_empty() => {
                    // Once more, to the letter.
                    batch.body.extend_from_within(last.clone());
                    batch.lines.push(batch.lines.last().unwrap().clone());
                }
                90..=109 if !last.is_empty() => {
                    // The same place with other values.
                    let Line { series, time_ns, .. } = batch.lines.last().unwrap().clone();
                    let (place, time_ns) = (self.place_of(&series).unwrap(), time_ns.unwrap());
                    self.line(place, time_ns / UNITS[unit].1, time_ns, &mut batch);
                }
                _ => {
                    let step = self.step(unit);
                    let (_, unit_ns, stride) = UNITS[unit];
                    let time = BEGIN_NS / unit_ns + step * stride;
                    let (place, begin) = (self.place(), batch.body.len());
                    self.line(place, time, time * unit_ns, &mut batch);
                    last = begin..batch.body.len();
                    continue;
                }
            }
            last = 0..0;
        }
        batch
    }

    /// A number of a time: one in eight is one of before.
    fn step(&mut self, unit: usize) -> i64 {
        let again = self.next[unit] > 0 && self.random.u8(..8) == 0;
        if again {
            return self.random.i64(0..self.next[unit]);
        }
        self.next[unit] += 1;
        // Each week is a shard of its own.
        if UNITS[unit].0 == "h" { (self.next[unit] - 1) % 500 } else { self.next[unit] - 1 }
    }

    fn place(&mut self) -> (usize, usize) {
        let shape = self.random.usize(..self.shapes.len());
        (shape, self.random.usize(..self.shapes[shape].series.len()))
    }

    fn place_of(&self, series: &Arc<Series>) -> Option<(usize, usize)> {
        let of = |shape: &Shape| shape.series.iter().position(|(own, _)| Arc::ptr_eq(own, series));
        self.shapes.iter().enumerate().find_map(|(at, shape)| Some((at, of(shape)?)))
    }

    fn line(&mut self, (shape, series): (usize, usize), time: i64, time_ns: i64, batch: &mut Batch) {
        let (series, text) = &self.shapes[shape].series[series];
        batch.body.extend_from_slice(text);
        let first = self.random.usize(..self.fields.len());
        let last = self.random.usize(first..self.fields.len());
        let mut fields = Vec::new();
        for (field, key, kind) in &self.fields[first..=last] {
            let is_left_out = *kind == Type::Unsigned && self.random.u16(..256) >= self.taste.unsigned;
            if is_left_out && last > first {
                continue;
            }
            batch.body.push(if fields.is_empty() { b' ' } else { b',' });
            batch.body.extend_from_slice(key);
            batch.body.push(b'=');
            fields.push((Arc::clone(field), value(*kind, &mut self.random, self.taste.wild, &mut batch.body)));
        }
        batch.body.extend(format!(" {time}\n").as_bytes());
        batch.lines.push(Line { series: Arc::clone(series), time_ns: Some(time_ns), fields });
    }

    fn untimed(&mut self, batch: &mut Batch) {
        self.values += 1;
        let (number, id) = (self.values, format!("{}-{}", self.number, self.values));
        batch.body.extend(format!("untimed\\ lines,id={id} number={number}i\n").as_bytes());
        let series = Series::new(b"untimed lines".to_vec(), vec![(b"id".to_vec(), id.into_bytes())]);
        let fields = vec![(Arc::from(&b"number"[..]), Value::Integer(number))];
        batch.lines.push(Line { series: Arc::new(series), time_ns: None, fields });
    }

    fn counted(&mut self, batch: &mut Batch, (measurement, tag): (&str, u8), time_ns: i64) {
        self.values += 1;
        let value = self.number as i64 * 1_000_000_000 + self.values;
        batch.body.extend(format!("{measurement},s=s{tag} v={value}i {time_ns}\n").as_bytes());
        let tags = vec![(b"s".to_vec(), format!("s{tag}").into_bytes())];
        let series = Arc::new(Series::new(measurement.as_bytes().to_vec(), tags));
        let fields = vec![(Arc::from(&b"v"[..]), Value::Integer(value))];
        batch.lines.push(Line { series, time_ns: Some(time_ns), fields });
    }

    /// Where writers meet.
    fn shared(&mut self, most: usize) -> Batch {
        let mut batch = self.batch(0);
        let measurement = format!("shared{}", self.random.u8(..3));
        let hour = BEGIN_NS + self.hour_of_all() * HOUR_NS;
        for _ in 0..self.random.usize(1..=most.clamp(1, 8)) {
            let (tag, at) = (self.random.u8(..2), self.random.i64(0..6));
            self.counted(&mut batch, (&measurement, tag), hour + at * 1_000_000);
        }
        batch
    }

    /// About the same for all writers at one time.
    fn hour_of_all(&self) -> i64 {
        self.next[0] / 200 % 40
    }

    fn clash(&mut self) -> Batch {
        let mut batch = self.batch(0);
        let measurement = format!("clash{}", self.number);
        self.hours += 1;
        let hour = BEGIN_NS + self.hours % 200 * 3 * HOUR_NS;
        for at in 0..3 {
            self.counted(&mut batch, (&measurement, at), hour + i64::from(at) * 1_000_000);
        }
        let line = batch.lines[0].clone();
        batch.body.extend(format!("{measurement},s=s0 v=\"a text\" {}\n", hour + 9).as_bytes());
        batch.lines.push(Line { fields: vec![(Arc::from(&b"v"[..]), Value::String(b"a text".to_vec()))], ..line });
        batch.clashes = true;
        batch
    }

    fn told(&mut self) -> Batch {
        let mut batch = self.batch(0);
        let measurement = format!("told{}", self.number);
        self.hours += 1;
        for at in 0..3 {
            self.counted(&mut batch, (&measurement, at), BEGIN_NS + self.hours * 1_000_000_000);
        }
        batch
    }

    fn target(&mut self, unit: usize) -> String {
        let name = escape(&self.name);
        let second_api = self.random.bool() && unit < 4;
        let precision = match (UNITS[unit].0, second_api, self.source) {
            ("ns", ..) if self.random.bool() => String::new(),
            ("us", false, Kind::One) => "&precision=u".to_owned(),
            (unit, ..) => format!("&precision={unit}"),
        };
        if second_api {
            let policy = if self.source == Kind::One && self.random.bool() { "%2Fautogen" } else { "" };
            format!("/api/v2/write?org={ORG}&bucket={name}{policy}{precision}")
        } else {
            format!("/write?db={name}{precision}")
        }
    }

    /// A delete in a measurement of its own.
    fn change(&mut self) -> Change {
        let named: Vec<usize> =
            (0..self.shapes.len()).filter(|at| std::str::from_utf8(&self.shapes[*at].name).is_ok()).collect();
        let shape = &self.shapes[named[self.random.usize(..named.len())]];
        let tags: Vec<Vec<u8>> =
            shape.series.iter().filter_map(|(series, _)| series.tag(KEY)).map(<[u8]>::to_vec).collect();
        let tags: Vec<Vec<u8>> = tags.into_iter().filter(|tag| std::str::from_utf8(tag).is_ok()).collect();
        let tag = tags[self.random.usize(..tags.len())].clone();
        let reach =
            Reach { measurement: shape.name.clone(), begins: false, tag: None, first_ns: TIMES.0, last_ns: TIMES.1 };
        let from = BEGIN_NS + self.random.i64(0..self.next[0].max(1)) * 7;
        let to = from + [0, 700, 7_000, HOUR_NS][self.random.usize(..4)];
        let (name, value) = (identifier(&reach.measurement), text(&tag));
        let by_call = self.source == Kind::Two || self.random.u8(..4) == 0;
        if by_call {
            let timed = self.random.u8(..4) > 0;
            let (first_ns, last_ns) = if timed { (from, to) } else { (-HOUR_NS, BEGIN_NS + 3) };
            let tag = self.random.u8(..3) > 0;
            let reach = Reach { tag: tag.then(|| tags[0].clone()), first_ns, last_ns, ..reach };
            return self.call(reach);
        }
        let (text, reach) = match self.random.u8(..10) {
            0..=3 => (
                format!("DELETE FROM {name} WHERE \"a key\" = '{value}' AND time >= {from} AND time <= {to}"),
                Reach { tag: Some(tag), first_ns: from, last_ns: to, ..reach },
            ),
            4..=5 => (
                format!("delete from {name} where time < {from} -- and what follows\n"),
                Reach { last_ns: from - 1, ..reach },
            ),
            6 => (format!("DELETE FROM {name} WHERE \"a key\" = '{value}'"), Reach { tag: Some(tag), ..reach }),
            7..=8 => (format!("DROP SERIES FROM {name} WHERE \"a key\"='{value}'"), Reach { tag: Some(tag), ..reach }),
            _ => (format!("DROP MEASUREMENT {name}"), reach),
        };
        self.statement(text, reach)
    }

    fn call(&self, reach: Reach) -> Change {
        let rfc = twinline::base::clock::rfc3339;
        // On 1.x the end is not deleted any more, on 2.x it is.
        let stop = if self.source == Kind::One { reach.last_ns + 1 } else { reach.last_ns };
        let measurement = identifier(&reach.measurement);
        let mut predicate = format!("_measurement={measurement}");
        if let Some(tag) = &reach.tag {
            predicate.push_str(&format!(" AND \"a key\"={}", identifier(tag)));
        }
        let body = serde_json::json!({ "start": rfc(reach.first_ns), "stop": rfc(stop), "predicate": predicate });
        let misses = self.source == Kind::One && reach.measurement.iter().any(|byte| b"\\\"".contains(byte));
        Change {
            misses,
            target: format!("/api/v2/delete?org={ORG}&bucket={}", escape(&self.name)),
            json: true,
            text: body.to_string(),
            body: body.to_string(),
            reach,
            is_wide: false,
            writes: false,
            by_expression: false,
            is_statement: false,
        }
    }

    fn statement(&self, text: String, reach: Reach) -> Change {
        Change {
            misses: false,
            target: format!("/query?db={}", escape(&self.name)),
            json: false,
            body: format!("q={}", escape(&text)),
            text,
            reach,
            is_wide: false,
            writes: false,
            by_expression: false,
            is_statement: true,
        }
    }

    fn change_shared(&mut self) -> Change {
        let first_ns = BEGIN_NS + self.hour_of_all() * HOUR_NS;
        let last_ns = first_ns + HOUR_NS - 1;
        let measurement = format!("shared{}", self.random.u8(..3));
        let text = format!("DELETE FROM {measurement} WHERE time >= {first_ns} AND time <= {last_ns}");
        let measurement = measurement.into_bytes();
        let reach = Reach { measurement, begins: false, tag: None, first_ns, last_ns };
        if self.source == Kind::Two { self.call(reach) } else { self.statement(text, reach) }
    }

    fn change_told(&mut self) -> Change {
        let name = format!("told{}", self.number);
        let text = format!("DELETE FROM /^{name}/");
        let measurement = name.into_bytes();
        let reach = Reach { measurement, begins: true, tag: None, first_ns: TIMES.0, last_ns: TIMES.1 };
        Change { by_expression: true, is_wide: true, ..self.statement(text, reach) }
    }

    fn into(&mut self) -> Change {
        let name = format!("into{}", self.number);
        let text = format!("SELECT v INTO {name} FROM told{}", self.number);
        let measurement = name.into_bytes();
        let reach = Reach { measurement, begins: false, tag: None, first_ns: TIMES.0, last_ns: TIMES.1 };
        Change { writes: true, is_wide: true, ..self.statement(text, reach) }
    }
}

fn identifier(name: &[u8]) -> String {
    let name = std::str::from_utf8(name).unwrap();
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

fn text(value: &[u8]) -> String {
    std::str::from_utf8(value).unwrap().replace('\\', "\\\\").replace('\'', "\\'")
}

fn shapes(number: usize, taste: Taste) -> Vec<Shape> {
    let utf8 = |name: &[u8]| taste.wild || std::str::from_utf8(name).is_ok();
    let shape = |(at, (name, text)): (usize, &(&[u8], &[u8]))| {
        let own = format!("own{number}").into_bytes();
        let name = [&own, *name].concat();
        let series = TAG_VALUES[..=at + 3].iter().filter(|(value, _)| utf8(value)).map(|(value, value_text)| {
            // Written in another order than they are kept, one of them without a value.
            let tags = vec![(b"w".to_vec(), b"x=y".to_vec()), (KEY.to_vec(), value.to_vec())];
            let line = [&own, *text, b",w=x\\=y,a\\ key=", value_text].concat();
            (Arc::new(Series::new(name.clone(), tags)), line)
        });
        Shape { series: series.collect(), name: name.clone() }
    };
    MEASUREMENTS.iter().filter(|(name, _)| utf8(name)).enumerate().map(shape).collect()
}

fn value(kind: Type, random: &mut fastrand::Rng, wild: bool, out: &mut Vec<u8>) -> Value {
    match kind {
        Type::Float | Type::Edge => {
            let edges = [0.0, -0.0, 5e-324, f64::MIN_POSITIVE, f64::MAX, f64::MIN, 0.1, 1e23, 9_007_199_254_740_993.0];
            let number = match kind {
                Type::Edge => edges[random.usize(..edges.len())],
                _ => (random.f64() * 2e6 - 1e6) * if random.bool() { 1.0 } else { 1e-3 },
            };
            let text = if random.bool() { format!("{number:?}") } else { format!("{number:e}") };
            out.extend(text.as_bytes());
            Value::Float(number)
        }
        Type::Integer => {
            let edges = [0, 127, 128, -1, -33, i64::MAX, i64::MIN, 1 << 53];
            let edge = random.u8(..8) == 0;
            let number = if edge { edges[random.usize(..edges.len())] } else { random.i64(-1_000_000..1_000_000) };
            out.extend(format!("{number}i").as_bytes());
            Value::Integer(number)
        }
        Type::Unsigned => {
            let number = [0, 1, 128, u64::MAX, 1 << 63, random.u64(..)][random.usize(..6)];
            out.extend(format!("{number}u").as_bytes());
            Value::Unsigned(number)
        }
        Type::Boolean => {
            let words = [("t", true), ("T", true), ("true", true), ("True", true), ("TRUE", true), ("f", false)];
            let more = [("F", false), ("false", false), ("False", false), ("FALSE", false)];
            let words = [&words[..], &more[..]].concat();
            let (word, flag) = words[random.usize(..words.len())];
            out.extend(word.as_bytes());
            Value::Boolean(flag)
        }
        Type::String => {
            let text = string(random, wild);
            out.push(b'"');
            for byte in &text {
                if matches!(byte, b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(*byte);
            }
            out.push(b'"');
            Value::String(text)
        }
    }
}

fn string(random: &mut fastrand::Rng, wild: bool) -> Vec<u8> {
    if random.u16(..2000) == 0 {
        return "long \u{e9}".repeat(random.usize(1..6_000)).into_bytes();
    }
    let parts: [&[u8]; 14] = [
        "\u{1f600}\u{e9}".as_bytes(),
        b"plain",
        b"\"",
        b"\\",
        b"\\n",
        b"\n",
        b"\r\n",
        b"\t",
        b" ",
        b",",
        b"=",
        b"#",
        b"\xff\xfe",
        b"\xc3(",
    ];
    let parts = if wild { &parts[..] } else { &parts[..12] };
    let count = random.usize(..6);
    (0..count).flat_map(|_| parts[random.usize(..parts.len())]).copied().collect()
}

/// As it is sent.
pub(crate) fn sent(batch: &Batch) -> Vec<u8> {
    if batch.gzip { gzip(&batch.body) } else { batch.body.clone() }
}
