//! Clients that people use, between real databases, with Twinline between them and the source.
//!
//! Each client writes points by one formula in every way it knows; both sides must then hold what the formula says. Then it looks
//! around (queries, lists, errors as it raises them) once through Twinline and once at the source itself: it must see the same.
//! What a check of the list of forty asks for carries its number. A client that is not there is a failure that says how to get it.

#[path = "clients/cli.rs"]
mod cli;
#[path = "clients/go.rs"]
mod go;
#[path = "clients/grafana.rs"]
mod grafana;
#[path = "clients/node.rs"]
mod node;
#[path = "clients/overlap.rs"]
mod overlap;
#[path = "clients/python.rs"]
mod python;
#[path = "clients/telegraf.rs"]
mod telegraf;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use twinline::cell::{Series, Value};

use crate::database::{Database, Kind, TOKEN, shared};
use crate::load::points;
use crate::proxy::{Setup, Twinline};
use crate::record::{Record, Writer};

/// Something in the clients' directory; `client` is what `tests/clients/get` calls it.
fn installed(path: &str, client: &str) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/twinline-clients");
    let path = std::env::var_os("TWINLINE_CLIENTS").map_or_else(home, PathBuf::from).join(path);
    assert!(path.exists(), "{} is not there; install it with: tests/clients/get {client}", path.display());
    path
}

/// A program that uses a client: `PROGRAM write ADDRESS NAME COUNT TOKEN` and `PROGRAM look ADDRESS NAME COUNT TOKEN`.
#[derive(Debug)]
struct Client {
    program: PathBuf,
    script: Option<PathBuf>,
    environment: Option<(&'static str, PathBuf)>,
}

impl Client {
    fn script(program: PathBuf, script: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
        Self { program, script: Some(script), environment: None }
    }

    fn program(program: PathBuf) -> Self {
        Self { program, script: None, environment: None }
    }

    fn with(mut self, variable: &'static str, path: PathBuf) -> Self {
        self.environment = Some((variable, path));
        self
    }

    fn run(&self, action: &str, addr: &str, name: &str) -> String {
        let mut command = Command::new(&self.program);
        command
            .args(&self.script)
            .args([action, addr, name, &count().to_string(), TOKEN])
            .envs(self.environment.clone());
        output(&mut command)
    }
}

/// What a command says; it must succeed.
fn output(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let [said, complaint] = [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(done.status.success(), "{command:?}: {}\n{said}\n{complaint}", done.status);
    said
}

/// One way to write: the measurement that it writes to, the unit of its times in nanoseconds, whether it knows unsigned integers.
type Way = (&'static str, i64, bool);

const NS: i64 = 1;
const US: i64 = 1_000;
const MS: i64 = 1_000_000;
const S: i64 = 1_000_000_000;

/// Where all times begin: a whole number of each unit.
const BEGIN_S: i64 = 1_699_999_200;

/// Points of each way. Then every tenth is written again with another integer.
fn count() -> i64 {
    (points() / 40).clamp(500, 5000).cast_signed()
}

/// Lines of so many ways.
fn lines(ways: &[Way]) -> u64 {
    (ways.len() as u64) * (count() + (count() + 9) / 10).cast_unsigned()
}

/// What the clients write, point by point.
fn record(ways: &[Way]) -> Record {
    let mut record = Record::default();
    for (measurement, unit_ns, unsigned) in ways {
        for at in 0..count() {
            let tag = |key: &str, value: String| (key.as_bytes().to_vec(), value.into_bytes());
            let tags = vec![tag("host", format!("h,{}", at % 5)), tag("pl ace", "M\u{fc}nchen=\u{e9}".to_owned())];
            let series = Arc::new(Series::new(measurement.as_bytes().to_vec(), tags));
            let time_ns = BEGIN_S * S + at * unit_ns;
            let mut put = |field: &[u8], value| record.put(&series, &Arc::from(field), time_ns, value);
            put(b"f", Value::Float(at as f64 / 8.0));
            put(b"i", Value::Integer(if at % 10 == 0 { -at } else { at - 50 }));
            put(b"b", Value::Boolean(at % 2 == 0));
            put(b"s", Value::String(format!("say \"{at}\" \\ \u{e9}").into_bytes()));
            if *unsigned {
                put(b"u", Value::Unsigned(u64::MAX - at.cast_unsigned()));
            }
        }
    }
    record
}

/// The formula's point as a line.
fn line(measurement: &str, unit_ns: i64, at: i64, again: bool) -> String {
    let i = if again { -at } else { at - 50 };
    format!(
        "{},host=h\\,{},pl\\ ace=M\u{fc}nchen\\=\u{e9} f={},i={i}i,b={},s=\"say \\\"{at}\\\" \\\\ \u{e9}\" {}",
        measurement.replace(' ', "\\ "),
        at % 5,
        at as f64 / 8.0,
        at % 2 == 0,
        BEGIN_S * S / unit_ns + at
    )
}

/// All points as lines.
fn first(measurement: &str, unit_ns: i64) -> impl Iterator<Item = String> {
    (0..count()).map(move |at| line(measurement, unit_ns, at, false))
}

/// Every tenth again with another integer.
fn again(measurement: &str, unit_ns: i64) -> impl Iterator<Item = String> {
    (0..count()).step_by(10).map(move |at| line(measurement, unit_ns, at, true))
}

/// Both sides hold it.
fn assert_both_hold(record: &Record, name: &str, source: &Database, destination: &Database) {
    record.assert_held("source", &source.cells(name));
    record.assert_held("destination", &destination.cells(name));
}

/// A source and a destination with something called `name`, and Twinline between them.
fn between(source: Kind, name: &str) -> (Arc<Database>, Arc<Database>, Twinline) {
    between_with(source, name, "")
}

/// With lines of `[queue]`.
fn between_with(source: Kind, name: &str, queue: &str) -> (Arc<Database>, Arc<Database>, Twinline) {
    let (source, destination) = (shared(source, 0), shared(Kind::Two, 1));
    source.create(name);
    destination.create(name);
    let mut setup = Setup::new(source.section(), destination.section());
    setup.queue = queue.to_owned();
    (source, destination, setup.start())
}

/// The whole story of one client; it must be told at least so many lines about what it looked at.
fn writes_and_looks(client: &Client, source: Kind, name: &str, ways: &[Way]) {
    let (source, destination, twinline) = between(source, name);
    client.run("write", &twinline.addr, name);
    twinline.delivered(lines(ways));
    assert_both_hold(&record(ways), name, &source, &destination);
    let seen = client.run("look", &twinline.addr, name);
    eprintln!("{seen}");
    assert!(seen.lines().count() > 5, "it did not look at much:\n{seen}");
    assert_same(&client.run("look", &source.addr, name), &seen);
}

/// Line by line, so that the first difference is shown and nothing else.
fn assert_same(direct: &str, through: &str) {
    for (left, right) in direct.lines().zip(through.lines()) {
        assert_eq!(left, right, "left is what the source itself shows, right what Twinline shows");
    }
    assert_eq!(direct.lines().count(), through.lines().count(), "through Twinline:\n{through}");
}

/// What may stand in a request of curl: it asks for `100 Continue`, or sends a body in chunks.
const WAYS_OF_CURL: [&[&str]; 3] = [&[], &["-H", "Expect: 100-continue"], &["-H", "Transfer-Encoding: chunked"]];

#[test]
fn curl_writes_through() {
    for kind in [Kind::One, Kind::Two] {
        let name = if kind == Kind::One { "curl_1" } else { "curl_2" };
        let (source, destination, twinline) = between(kind, name);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("body");
        let mut writer = Writer::new(kind, name, 0, false);
        let share = (points() / 20).max(1000);
        while writer.record.lines < share {
            let batch = writer.batch((share / 10) as usize);
            std::fs::write(&file, &batch.body).unwrap();
            let way = WAYS_OF_CURL[(writer.record.lines / (share / 10)) as usize % WAYS_OF_CURL.len()];
            let mut curl = Command::new("curl");
            curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", &source.authorization()]).args(way);
            if batch.gzip {
                curl.args(["-H", "Content-Encoding: gzip"]);
            }
            curl.arg("--data-binary").arg(format!("@{}", file.display()));
            curl.arg(format!("http://{}{}", twinline.addr, batch.target));
            assert_eq!(output(&mut curl), "204");
        }
        twinline.delivered(writer.record.lines);
        assert_both_hold(&writer.record, name, &source, &destination);
    }
}
