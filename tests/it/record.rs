//! The writer's own record: what it wrote, kept as cells by the writer itself and never parsed back from its bytes.
//!
//! A [`Writer`] makes points of every type that its source has, in measurements and series with awkward names, some
//! written
//! over earlier ones, in batches of every API, precision and encoding. Series carry the writer's number: each series
//! has one
//! writer, which waits for each answer, so the last value written is the one that both sides must hold.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use twinline::cell::{Cell, Series, Value, compare};

use crate::database::{Kind, ORG};
use crate::http::gzip;

/// Lines without a time go there. The record cannot know their time; their tags make each line a series of its own.
pub(crate) const UNTIMED: &[u8] = b"untimed lines";

/// Units that times are written in: name, nanoseconds, and the first time of the series in that unit.
const UNITS: [(Unit, i64); 4] = [(Unit::Ns, 1), (Unit::Us, 1_000), (Unit::Ms, 1_000_000), (Unit::S, 1_000_000_000)];
const BEGIN_NS: i64 = 1_700_000_000_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Unit {
    Ns,
    Us,
    Ms,
    S,
}

pub(crate) type Place = (Arc<Series>, Arc<[u8]>, i64);
type Field = (Arc<[u8]>, Value);

/// What must stand on both sides.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) timed: HashMap<Place, Value>,
    untimed: BTreeMap<Series, [Field; 2]>,
    /// Lines that were answered with success.
    pub(crate) lines: u64,
}

impl Record {
    pub(crate) fn cells(&self) -> usize {
        self.timed.len() + 2 * self.untimed.len()
    }

    pub(crate) fn put(&mut self, series: &Arc<Series>, field: &Arc<[u8]>, time_ns: i64, value: Value) {
        self.timed.insert((Arc::clone(series), Arc::clone(field), time_ns), value);
    }

    /// The records of several writers, who share no series.
    pub(crate) fn merge(&mut self, other: Self) {
        self.timed.extend(other.timed);
        self.untimed.extend(other.untimed);
        self.lines += other.lines;
    }

    /// Asserts that one side holds exactly this.
    pub(crate) fn assert_held(&self, side: &str, found: &[Cell]) {
        let (untimed, timed): (Vec<Cell>, Vec<Cell>) =
            found.iter().cloned().partition(|cell| cell.series.measurement() == UNTIMED);
        let wanted = self.timed.iter().map(|((series, field, time_ns), value)| {
            let (series, field) = (Arc::clone(series), Arc::clone(field));
            Cell { series, field, time_ns: *time_ns, value: value.clone() }
        });
        let differences = compare(wanted, timed);
        assert!(differences.is_empty(), "left the record, right the {side}: {differences}");
        let wanted = self.untimed.iter().flat_map(|(series, fields)| {
            let series = Arc::new(series.clone());
            fields.iter().map(move |(field, value)| {
                let (series, field) = (Arc::clone(&series), Arc::clone(field));
                Cell { series, field, time_ns: 0, value: value.clone() }
            })
        });
        let differences = compare(wanted, untimed.into_iter().map(|cell| Cell { time_ns: 0, ..cell }));
        assert!(differences.is_empty(), "untimed lines, left the record, right the {side}: {differences}");
    }
}

/// One request that a writer wants answered.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// Path and query.
    pub(crate) target: String,
    pub(crate) gzip: bool,
    /// As it is sent.
    pub(crate) body: Vec<u8>,
}

/// Makes batches and records them.
#[derive(Debug)]
pub(crate) struct Writer {
    source: Kind,
    /// Database or bucket.
    name: String,
    number: usize,
    /// How many lines of 256 have no time.
    pub(crate) untimed_of_256: u8,
    random: fastrand::Rng,
    /// Times given out so far, by unit.
    next: [i64; 4],
    untimed: u64,
    shapes: Vec<Shape>,
    pub(crate) record: Record,
}

/// One measurement: its fields have one type each.
#[derive(Debug)]
struct Shape {
    series: Vec<(Arc<Series>, Vec<u8>)>,
    fields: Vec<(Arc<[u8]>, Vec<u8>, Type)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Float,
    Integer,
    Unsigned,
    Boolean,
    String,
}

impl Writer {
    /// `unsigned`: source and destination know unsigned integers.
    pub(crate) fn new(source: Kind, name: &str, number: usize, unsigned: bool) -> Self {
        Self {
            source,
            name: name.to_owned(),
            number,
            untimed_of_256: 3,
            random: fastrand::Rng::with_seed(number as u64 + 1),
            next: [0; 4],
            untimed: 0,
            shapes: shapes(number, unsigned),
            record: Record::default(),
        }
    }

    /// A batch of so many lines; the record holds it already, so it must be written, or the test ends.
    pub(crate) fn batch(&mut self, lines: usize) -> Batch {
        let at = self.random.usize(..UNITS.len());
        let (unit, unit_ns) = UNITS[at];
        let mut body = Vec::new();
        for _ in 0..lines {
            if self.random.u8(..) < self.untimed_of_256 {
                self.untimed_line(&mut body);
            } else {
                self.line(at, unit_ns, &mut body);
            }
        }
        let second_api = self.random.bool();
        let target = self.target(second_api, unit);
        let zip = self.random.bool();
        self.record.lines += lines as u64;
        Batch { target, gzip: zip, body: if zip { gzip(&body) } else { body } }
    }

    fn target(&mut self, second_api: bool, unit: Unit) -> String {
        let name = crate::http::escape(&self.name);
        let precision = match (unit, second_api, self.source) {
            (Unit::Ns, ..) if self.random.bool() => "",
            (Unit::Ns, ..) => "&precision=ns",
            (Unit::Us, false, Kind::One) => "&precision=u",
            (Unit::Us, ..) => "&precision=us",
            (Unit::Ms, ..) => "&precision=ms",
            (Unit::S, ..) => "&precision=s",
        };
        if second_api {
            // 1.x ignores the organisation; the policy by name and left out are one place.
            let policy = if self.source == Kind::One && self.random.bool() { "%2Fautogen" } else { "" };
            format!("/api/v2/write?org={ORG}&bucket={name}{policy}{precision}")
        } else {
            format!("/write?db={name}{precision}")
        }
    }

    fn line(&mut self, unit: usize, unit_ns: i64, body: &mut Vec<u8>) {
        // One in eight is written over an earlier time of its unit, where perhaps nothing of that series stands yet.
        let again = self.next[unit] > 0 && self.random.u8(..8) == 0;
        let step = if again { self.random.i64(0..self.next[unit]) } else { self.next[unit] };
        self.next[unit] += i64::from(!again);
        let time = BEGIN_NS / unit_ns + step * 7;
        let shape = &self.shapes[self.random.usize(..self.shapes.len())];
        let (series, text) = &shape.series[self.random.usize(..shape.series.len())];
        body.extend_from_slice(text);
        let first = self.random.usize(..shape.fields.len());
        let last = self.random.usize(first..shape.fields.len());
        for (at, (field, key, kind)) in shape.fields[first..=last].iter().enumerate() {
            body.push(if at == 0 { b' ' } else { b',' });
            body.extend_from_slice(key);
            body.push(b'=');
            let value = value(*kind, &mut self.random, body);
            self.record.put(series, field, time * unit_ns, value);
        }
        body.extend(format!(" {time}\n").as_bytes());
    }

    fn untimed_line(&mut self, body: &mut Vec<u8>) {
        self.untimed += 1;
        let id = format!("{}-{}", self.number, self.untimed);
        let tags = vec![(b"id".to_vec(), id.clone().into_bytes())];
        let number = self.untimed as i64;
        body.extend(format!("untimed\\ lines,id={id} number={number}i,text=\"say \\\"{id}\\\"\"\n").as_bytes());
        let fields = [
            (Arc::from(&b"number"[..]), Value::Integer(number)),
            (Arc::from(&b"text"[..]), Value::String(format!("say \"{id}\"").into_bytes())),
        ];
        self.record.untimed.insert(Series::new(UNTIMED.to_vec(), tags), fields);
    }
}

/// Names as they are, beside how they are written.
const MEASUREMENTS: [(&[u8], &[u8]); 5] = [
    (b"cpu", b"cpu"),
    (b"disk usage, all", b"disk\\ usage\\,\\ all"),
    ("gr\u{f6}\u{df}e\"q\"".as_bytes(), "gr\u{f6}\u{df}e\"q\"".as_bytes()),
    (b"C:\\dir", b"C:\\dir"),
    (b"raw\xff\xfebytes", b"raw\xff\xfebytes"),
];
const TAG_VALUES: [(&[u8], &[u8]); 7] = [
    (b"plain", b"plain"),
    (b"a b", b"a\\ b"),
    (b"a,b=c", b"a\\,b\\=c"),
    (b"say \"no\"", b"say\\ \"no\""),
    (b"C:\\dir", b"C:\\dir"),
    ("\u{1f600}\u{e9}".as_bytes(), "\u{1f600}\u{e9}".as_bytes()),
    (b"raw\xc3(\xff", b"raw\xc3(\xff"),
];
const FIELDS: [(&[u8], &[u8], Type); 6] = [
    (b"value", b"value", Type::Float),
    (b"a count", b"a\\ count", Type::Integer),
    (b"ok=yes,no", b"ok\\=yes\\,no", Type::Boolean),
    ("te\"xt\u{e9}".as_bytes(), "te\"xt\u{e9}".as_bytes(), Type::String),
    (b"big", b"big", Type::Unsigned),
    (b"other", b"other", Type::Float),
];

fn shapes(number: usize, unsigned: bool) -> Vec<Shape> {
    let shape = |(at, (name, text)): (usize, &(&[u8], &[u8]))| {
        let mut series = Vec::new();
        for (value, value_text) in &TAG_VALUES[..=at + 2] {
            let number = number.to_string().into_bytes();
            // Written in another order than they are kept.
            let tags = vec![(b"w".to_vec(), number.clone()), (b"a key".to_vec(), value.to_vec())];
            let line = [*text, b",w=", &number, b",a\\ key=", value_text].concat();
            series.push((Arc::new(Series::new(name.to_vec(), tags)), line));
        }
        let known = FIELDS.iter().filter(|(_, _, kind)| unsigned || *kind != Type::Unsigned);
        Shape { series, fields: known.map(|(key, text, kind)| (Arc::from(*key), text.to_vec(), *kind)).collect() }
    };
    MEASUREMENTS.iter().enumerate().map(shape).collect()
}

fn value(kind: Type, random: &mut fastrand::Rng, out: &mut Vec<u8>) -> Value {
    match kind {
        Type::Float => {
            let edges =
                [0.0, -0.0, 1.0, 5e-324, f64::MIN_POSITIVE, f64::MAX, f64::MIN, 0.1, 1e23, 9_007_199_254_740_993.0];
            let edge = random.u8(..4) == 0;
            let number = if edge { edges[random.usize(..edges.len())] } else { random.f64() * 2e6 - 1e6 };
            let text = if random.bool() { format!("{number:?}") } else { format!("{number:e}") };
            out.extend(text.as_bytes());
            Value::Float(number)
        }
        Type::Integer => {
            let edges = [0, 127, 128, -1, -33, i64::MAX, i64::MIN, 1 << 53];
            let edge = random.u8(..4) == 0;
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
            let text = string(random);
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

fn string(random: &mut fastrand::Rng) -> Vec<u8> {
    let parts: [&[u8]; 14] = [
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
        "\u{1f600}\u{e9}".as_bytes(),
    ];
    let count = random.usize(..6);
    (0..count).flat_map(|_| parts[random.usize(..parts.len())]).copied().collect()
}
