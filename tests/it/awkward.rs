//! Lines on which parsers disagree: the answer through Twinline is the direct one, and the destination ends with what
//! the
//! source keeps. Each input that a server accepts gets a database of its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use twinline::cell::{Cell, compare};

use crate::database::{Database, Kind};
use crate::http::Connection;
use crate::proxy::Setup;

/// Names that the servers take and lose: stored under a key that no query finds. Written with plain escapes, as the
/// destination gets them, they are found: `c\\=u` and `c\\"u` as measurements, and `=` as the value of a tag.
const HIDDEN: [&str; 3] = ["edge_039", "edge_041", "edge_071"];
/// A field `time` beside another, which the servers strip with a refusal that leaves open what was kept: doubt.
const DOUBT: [&str; 1] = ["edge_120"];

pub(crate) struct Input {
    /// Also its database; those that are refused share one.
    pub(crate) name: String,
    pub(crate) body: Vec<u8>,
    pub(crate) accepted: bool,
}

/// Inputs from the data that the parser is tested with.
pub(crate) fn inputs(kind: Kind) -> Vec<Input> {
    let by = if kind == Kind::One { "influxdb-1.12.4" } else { "influxdb-2.9.1" };
    let text = include_str!("../corpus/line-protocol/lp_edge_cases.jsonl");
    let cases = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    let input = |case: Json| {
        let body = match &case["input"] {
            Json::String(text) => text.clone().into_bytes(),
            // The very long ones have another form and are for the parser alone.
            other => STANDARD.decode(other["b64"].as_str()?).unwrap(),
        };
        let by_it = |result: &&Json| result["by"].as_array().unwrap().iter().any(|name| name == by);
        let accepted = case["results"].as_array().unwrap().iter().find(by_it)?["accept"] == true;
        let name = if accepted { case["id"].as_str().unwrap().replace('-', "_") } else { "refused".to_owned() };
        Some(Input { name, body, accepted })
    };
    cases.filter_map(input).collect()
}

fn write(to: &mut Connection, database: &Database, input: &Input) -> (u16, String) {
    let target = format!("POST /write?db={}", input.name);
    let answer = to.call(&target, &[&database.authorization()], &input.body).unwrap();
    (answer.status, answer.text())
}

/// The measurements of a side, or that it cannot be read: InfluxQL has no words for some names.
fn cells(database: &Database, name: &str) -> Result<Vec<Cell>, twinline::base::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(database.reader(twinline::db::read::Limits::default()).read_all(name, ""))
}

/// Through Twinline first; the same again directly changes nothing any more and gives the answer to compare with.
fn end_alike(kind: Kind) {
    let (source, destination) = (Database::start(kind), Database::start(kind));
    let twinline = Setup::new(source.section(), destination.section()).start();
    let (mut direct, mut through) = (source.connect(), twinline.connect());
    let inputs = inputs(kind);
    for side in [&source, &destination] {
        side.create("refused");
        inputs.iter().filter(|input| input.accepted).for_each(|input| side.create(&input.name));
    }
    let mut different = Vec::new();
    for input in &inputs {
        let found = write(&mut through, &source, input);
        let precision = twinline::line::Precision::Nanosecond;
        if twinline::line::inspect(&input.body, source.dialect(), precision, 0).untimed > 0 && input.accepted {
            // A line without a time would be another point when it comes again.
            continue;
        }
        let expected = write(&mut direct, &source, input);
        assert_eq!(found, expected, "{:?}: left through, right direct", String::from_utf8_lossy(&input.body));
    }
    twinline.quiet();
    for input in inputs.iter().filter(|input| input.accepted) {
        let said = match (cells(&source, &input.name), cells(&destination, &input.name)) {
            (Ok(left), Ok(right)) => compare(left, right),
            (Err(_), _) | (_, Err(_)) => continue,
        };
        if !said.is_empty() {
            eprintln!(
                "{} {:?}: left the source, right the destination: {said}",
                input.name,
                String::from_utf8_lossy(&input.body)
            );
            different.push(input.name.as_str());
        }
    }
    assert_eq!(different, [&HIDDEN[..], &DOUBT[..]].concat());
}

#[test]
fn awkward_lines_end_alike_on_influxdb_1() {
    end_alike(Kind::One);
}

#[test]
fn awkward_lines_end_alike_on_influxdb_2() {
    end_alike(Kind::Two);
}
