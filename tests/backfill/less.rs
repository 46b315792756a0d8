//! History is copied beside clients and kill -9 of the program to databases that hold less than the source: where clients append, late
//! points too, all that can be held is there and nothing else; where they overwrite and delete as well, what the source holds is there
//! all the same, what else is there was written by somebody once, and each statement that was not repeated is told.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashSet};
use std::hash::{Hash as _, Hasher as _};
use std::ops::Range;

use twinline::cell::{Cell, Value};
use twinline::db::read::{Limits, Window};

use crate::database::{Kind, shared};
use crate::http::{call, escape};
use crate::live::{MEASUREMENTS, Shape, Stage, Story, Taste, WRITERS, job, lives, number};
use crate::proxy::{Twinline, eventually};
use crate::questdb_server::Questdb;
use crate::victoria_server::Victoria;

/// What a cell is there: measurement, host, field; time; value.
type Held = (String, i64, String);

/// A database that holds less.
trait Less {
    /// In one unit of its time.
    fn unit_ns(&self) -> i64;
    /// What becomes of a value, if anything.
    fn value(&self, value: &Value) -> Option<String>;
    /// What it counts of the cells of these tests.
    fn codes(&self) -> &'static [&'static str];
    /// All that it holds of a measurement in a window, in its unit.
    fn held(&self, place: &str, measurement: &str, window: (i64, i64)) -> BTreeSet<Held>;
    /// How long the program lives between two kills, so that they meet its copies and these get on.
    fn lives_ms(&self) -> Range<u64>;
    /// Whether it shows what may not be there.
    fn is_made_up(&self, held: &Held) -> bool;
}

fn key(measurement: &str, host: &str, field: &str) -> String {
    format!("{measurement} {host} {field}")
}

fn split(place: &str) -> (&str, &str) {
    place.split_once('/').unwrap_or((place, ""))
}

impl Less for Victoria {
    fn unit_ns(&self) -> i64 {
        1_000_000
    }

    fn value(&self, value: &Value) -> Option<String> {
        let number = match value {
            Value::Float(v) => *v,
            Value::Integer(v) => *v as f64,
            Value::Boolean(v) => f64::from(u8::from(*v)),
            Value::Unsigned(v) => *v as f64,
            Value::String(_) => return None,
        };
        Some(number.to_string())
    }

    fn codes(&self) -> &'static [&'static str] {
        &["boolean-as-number", "milliseconds", "text-left-out"]
    }

    fn held(&self, place: &str, measurement: &str, (from_ms, to_ms): (i64, i64)) -> BTreeSet<Held> {
        let (db, rp) = split(place);
        let labels = format!("{{__name__=~\"{measurement}_.*\",db=\"{db}\",rp=\"{rp}\"}}");
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let line = format!(
            "GET /api/v1/export?match[]={}&start={}&end={}",
            escape(&labels),
            seconds(from_ms),
            seconds(to_ms - 1)
        );
        let answer = call(&self.0.addr, &line, &[], b"").unwrap();
        assert_eq!(answer.status, 200, "{line}: {}", answer.text());
        let mut held = BTreeSet::new();
        for row in answer.text().lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()) {
            let label = |name: &str| row["metric"][name].as_str().unwrap();
            let (measurement, field) = label("__name__").split_once('_').unwrap();
            let times = row["timestamps"].as_array().unwrap().iter().map(|time| time.as_i64().unwrap());
            let values = row["values"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap().to_string());
            held.extend(times.zip(values).map(|(ms, value)| (key(measurement, label("host"), field), ms, value)));
        }
        held
    }

    /// A chunk is kept some 15 s after it came: a program that always dies before gets nowhere.
    fn lives_ms(&self) -> Range<u64> {
        2_100..20_000
    }

    fn is_made_up(&self, _: &Held) -> bool {
        false
    }
}

impl Less for Questdb {
    fn unit_ns(&self) -> i64 {
        1_000
    }

    fn value(&self, value: &Value) -> Option<String> {
        Some(match value {
            Value::Float(v) => v.to_string(),
            Value::Integer(v) => v.to_string(),
            Value::Boolean(v) => v.to_string(),
            Value::Unsigned(v) => v.to_string(),
            Value::String(v) => String::from_utf8(v.clone()).unwrap(),
        })
    }

    fn codes(&self) -> &'static [&'static str] {
        &["microseconds"]
    }

    fn held(&self, place: &str, measurement: &str, (from_us, to_us): (i64, i64)) -> BTreeSet<Held> {
        let table = format!("{}_{measurement}", place.replace('/', "_"));
        let pending = format!("select count() from wal_tables() where name = '{table}' and writerTxn < sequencerTxn");
        eventually("all commits can be read", || match self.ask(&pending)["dataset"][0][0].as_i64() {
            Some(0) => Ok(()),
            left => Err(format!("{left:?}")),
        });
        let types = self.types(&table);
        let fields: Vec<&String> =
            types.keys().filter(|name| !["host", "timestamp"].contains(&name.as_str())).collect();
        // As texts: whoever reads JSON may round a float.
        let columns: String = fields.iter().map(|name| format!(", cast(\"{name}\" as varchar) \"{name}\"")).collect();
        let time = |us: i64| twinline::base::clock::rfc3339(us * 1000);
        let found = self.ask(&format!(
            "select cast(timestamp as long) us, host{columns} from \"{table}\" where timestamp >= '{}' and timestamp < '{}'",
            time(from_us),
            time(to_us)
        ));
        let mut held = BTreeSet::new();
        for row in found["dataset"].as_array().unwrap() {
            let (us, host) = (row[0].as_i64().unwrap(), row[1].as_str().unwrap());
            for (at, field) in fields.iter().enumerate() {
                if let Some(text) = row[2 + at].as_str() {
                    let is_float = types[*field] == "DOUBLE";
                    let text = if is_float { text.parse::<f64>().unwrap().to_string() } else { text.to_owned() };
                    held.insert((key(measurement, host, field), us, text));
                }
            }
        }
        held
    }

    fn lives_ms(&self) -> Range<u64> {
        2_100..3_200
    }

    /// There is no missing boolean.
    fn is_made_up(&self, (key, _, value): &Held) -> bool {
        key.ends_with(" b") && value == "false"
    }
}

fn of(cell: &Cell, less: &impl Less) -> Option<Held> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let series = &cell.series;
    let key = key(&text(series.measurement()), &text(series.tag(b"host").unwrap()), &text(&cell.field));
    Some((key, cell.time_ns.div_euclid(less.unit_ns()), less.value(&cell.value)?))
}

/// All that clients ever wrote into a place, each as a hash; how many statements removed something.
struct Written {
    held: HashSet<u64>,
    deletes: u64,
}

fn hash(place: &str, held: &Held) -> u64 {
    let mut hasher = DefaultHasher::new();
    (place, held).hash(&mut hasher);
    hasher.finish()
}

impl Written {
    fn of(stage: &Stage, less: &impl Less) -> Self {
        let (mut held, mut deletes) = (HashSet::new(), 0);
        for (_, told) in stage.told.lock().unwrap().iter() {
            let Some((_, request)) = told.split_once(" times: ") else { continue };
            let mut parts = request.splitn(3, ' ');
            let (_, path, body) = (parts.next(), parts.next().unwrap(), parts.next().unwrap_or_default());
            let Some(names) = path.strip_prefix("/write?db=") else {
                deletes += 1;
                continue;
            };
            let place = names.replace("&rp=", "/").replace("&precision=ns", "");
            held.extend(body.lines().flat_map(|line| cells(line, less)).map(|cell| hash(&place, &cell)));
        }
        Self { held, deletes }
    }

    fn has(&self, place: &str, held: &Held, (shape, less): (Shape, &impl Less)) -> bool {
        self.held.contains(&hash(place, held)) || was_before(held, shape, less)
    }
}

/// The cells of a line of these tests, which has no escapes.
fn cells(line: &str, less: &impl Less) -> Vec<Held> {
    let mut parts = line.split(' ');
    let (series, fields, time) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let (measurement, host) = series.split_once(",host=").unwrap();
    let time = time.parse::<i64>().unwrap().div_euclid(less.unit_ns());
    let value = |text: &str| match text {
        "true" | "false" => Value::Boolean(text == "true"),
        text if text.starts_with('"') => Value::String(text.trim_matches('"').as_bytes().to_vec()),
        text => match text.strip_suffix('i') {
            Some(integer) => Value::Integer(integer.parse().unwrap()),
            None => Value::Float(text.parse().unwrap()),
        },
    };
    let fields = fields.split(',').map(|field| field.split_once('=').unwrap());
    fields.filter_map(|(name, text)| Some((key(measurement, host, name), time, less.value(&value(text))?))).collect()
}

/// Whether that was there before clients began.
fn was_before(held: &Held, shape: Shape, less: &impl Less) -> bool {
    let time_ns = held.1 * less.unit_ns();
    let Some((group, at)) = shape.place_of(time_ns) else { return false };
    (0..WRITERS as i64)
        .flat_map(|host| shape.lines(at * WRITERS as i64 + host, group, Kind::One))
        .any(|line| cells(&line, less).contains(held))
}

/// Window by window: how many cells are equal. Of clients that overwrite or delete more may be there: what somebody wrote.
fn judge(story: &Story<'_>, less: &impl Less, twinline: &Twinline, stage: &Stage) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reader = story.source.reader(Limits::default());
    let written = Written::of(stage, less);
    let unit = less.unit_ns();
    let (begin_ns, end_ns) = story.shape.span_ns();
    let (mut equal, mut older, mut wrong) = (0, 0, Vec::new());
    for place in &story.places {
        let (db, rp) = split(place);
        for measurement in MEASUREMENTS {
            for window in story.shape.windows() {
                let read = runtime.block_on(reader.read(db, rp, measurement.as_bytes(), window)).unwrap();
                let wanted: BTreeSet<Held> = read.iter().filter_map(|cell| of(cell, less)).collect();
                let Window { start_ns, end_ns: stop_ns } = window;
                let there = less.held(place, measurement, (start_ns.max(begin_ns) / unit, stop_ns.min(end_ns) / unit));
                equal += wanted.intersection(&there).count() as u64;
                let missing = wanted.difference(&there).map(|cell| format!("{place}: {cell:?} is missing"));
                wrong.extend(missing.take(10));
                for cell in there.difference(&wanted).filter(|cell| !less.is_made_up(cell)) {
                    let is_known = story.taste == Taste::All && written.has(place, cell, (story.shape, less));
                    older += u64::from(is_known);
                    if !is_known {
                        wrong.push(format!("{place}: {cell:?} is there"));
                    }
                }
            }
        }
    }
    println!("{}: {older} older values are there, {} statements removed something", story.name, written.deletes);
    assert!(wrong.is_empty(), "{} differ, {equal} are equal: {}", wrong.len(), wrong[..wrong.len().min(12)].join("\n"));
    // Delivery counts what it changes, and each copy what that does.
    let (status, copy) = (twinline.status(), job(twinline));
    let rows = [&status, &copy].into_iter().flat_map(|of| of["changes"].as_array().unwrap());
    let codes: BTreeSet<&str> = rows.map(|row| row["code"].as_str().unwrap()).collect();
    assert_eq!(codes, less.codes().iter().copied().collect(), "{status:#} {copy:#}");
    let told = status["statements_not_mirrored"].as_u64().unwrap();
    assert!(told >= written.deletes, "{} statements, {told} are told", written.deletes);
    assert_eq!(story.taste == Taste::All, older > 0, "{older}");
    equal
}

fn beside(name: &str, section: String, less: &impl Less, taste: Taste) {
    let source = shared(Kind::One, 0);
    let places = vec![name.to_owned(), format!("{name}/p1")];
    let shape = Shape::wanted(places.len());
    let kills = number("TWINLINE_LIVE_KILLS", 2);
    let lives_ms = less.lives_ms();
    let story = Story { name, source: &source, destination: section, rules: "", places, shape, taste, kills, lives_ms };
    lives(&story, |twinline, stage| judge(&story, less, twinline, stage));
}

#[test]
fn beside_appends_and_kills_victoriametrics_gets_all() {
    let victoria = Victoria::start();
    beside("lsvappends", victoria.section(), &victoria, Taste::Appends);
}

#[test]
fn beside_overwrites_deletes_and_kills_victoriametrics_has_all_and_older_values() {
    let victoria = Victoria::start();
    beside("lsvall", victoria.section(), &victoria, Taste::All);
}

#[test]
fn beside_appends_and_kills_questdb_gets_all() {
    let questdb = Questdb::start();
    beside("lsqappends", questdb.section("kind = \"questdb\""), &questdb, Taste::Appends);
}

#[test]
fn beside_overwrites_deletes_and_kills_questdb_has_all_and_older_values() {
    let questdb = Questdb::start();
    beside("lsqall", questdb.section("kind = \"questdb\""), &questdb, Taste::All);
}
