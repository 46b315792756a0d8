//! The readers of VictoriaMetrics' and QuestDB's line protocol against what was recorded of those servers' parsers, input by input.
//!
//! Origins and licences of the data: `tests/corpus/line-protocol/README.md`. VictoriaMetrics has no exceptions. QuestDB was
//! recorded for our own edge cases only, by a model; where QuestDB's parser itself did otherwise, its answer stands in
//! `tests/corpus/exceptions_questdb.jsonl` and counts.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "corpus/recorded.rs"]
mod recorded;

use recorded::{bytes, cases, input, result_of};
use serde_json::Value as Json;
use twinline::line::record::{Datum, Outcome, Point, Record, Text};
use twinline::line::{Precision, Value, questdb, victoria};

/// Inputs of the recording that are not withheld.
const THIRD_PARTY: usize = 7_722 - 24;
/// Inputs of our own.
const EDGE_CASES: usize = 245;

const NS_PER_MS: i64 = 1_000_000;

/// A point in a form in which both sides can be compared and printed. Tags stay in the order of the line.
fn show(measurement: &[u8], tags: &[(Vec<u8>, Vec<u8>)], fields: &[String], time: Option<i64>) -> String {
    let tags: Vec<String> = tags.iter().map(|(k, v)| format!("{}={}", k.escape_ascii(), v.escape_ascii())).collect();
    format!("{} | {} | {} | {time:?}", measurement.escape_ascii(), tags.join(","), fields.join(","))
}

fn recorded_point(point: &Json, time: fn(i64) -> Option<i64>) -> String {
    let tags: Vec<_> = point["tags"].as_array().unwrap().iter().map(|tag| (bytes(&tag[0]), bytes(&tag[1]))).collect();
    let field = |field: &Json| {
        let (kind, value) = (field["type"].as_str().unwrap(), &field["value"]);
        let value = match kind {
            "float" => match field["bits"].as_str() {
                Some(bits) => bits.trim_start_matches("0x").to_owned(),
                None => format!("{:016x}", value.as_str().unwrap().parse::<f64>().unwrap().to_bits()),
            },
            "string" => bytes(value).escape_ascii().to_string(),
            "null" => String::new(),
            _ => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        };
        format!("{}={kind}:{value}", bytes(&field["key"]).escape_ascii())
    };
    let fields: Vec<String> = point["fields"].as_array().unwrap().iter().map(field).collect();
    // The model of QuestDB leaves the unit that a time names itself.
    let time =
        point["timestamp"].as_str().and_then(|text| time(text.strip_suffix('n').unwrap_or(text).parse().unwrap()));
    show(&bytes(&point["measurement"]), &tags, &fields, time)
}

fn read_point(point: &Point<'_>) -> String {
    let tags: Vec<_> = point.tags.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    let field = |(key, datum): &(Text<'_>, Datum<'_>)| {
        let value = match datum {
            Datum::Value(Value::Float(value)) => format!("float:{:016x}", value.to_bits()),
            Datum::Value(Value::Integer(value)) => format!("int:{value}"),
            Datum::Value(Value::Bool(value)) => format!("bool:{value}"),
            Datum::Value(Value::String(text)) => format!("string:{}", text.escape_ascii()),
            Datum::Null => "null:".to_owned(),
            Datum::Other { kind, text } => format!("{kind}:{}", text.escape_ascii()),
            Datum::Value(other) => panic!("no value of these dialects: {other:?}"),
        };
        format!("{}={value}", key.escape_ascii())
    };
    let fields: Vec<String> = point.fields.iter().map(field).collect();
    show(&point.measurement, &tags, &fields, point.time_ns)
}

/// Whether all lines are accepted, and the points, of which `until` may leave out some.
fn reading(records: &[Record<'_>], until: fn(&&Record<'_>) -> bool) -> (bool, Vec<String>) {
    let refused = records.iter().any(|record| matches!(record.outcome, Outcome::Fault(_)));
    let points = records.iter().take_while(until).filter_map(|record| match &record.outcome {
        Outcome::Point(point) => Some(read_point(point)),
        _ => None,
    });
    (!refused, points.collect())
}

/// What differs between a recorded result and a reading; only the verdict was recorded of very long inputs.
fn difference(
    result: &Json,
    (accept, points): &(bool, Vec<String>),
    time: fn(i64) -> Option<i64>,
) -> Option<(bool, Option<Vec<String>>)> {
    let recorded = result["points"].as_array().map(|points| points.iter().map(|p| recorded_point(p, time)).collect());
    let same = result["accept"] == *accept && recorded.as_ref().is_none_or(|recorded: &Vec<String>| recorded == points);
    (!same).then_some((*accept, recorded))
}

/// VictoriaMetrics keeps milliseconds, and takes 0 for no time.
fn to_ms(ns: i64) -> Option<i64> {
    (ns != 0).then_some(ns / NS_PER_MS * NS_PER_MS)
}

/// QuestDB counts the least number as missing.
fn to_ns(ns: i64) -> Option<i64> {
    (ns != i64::MIN).then_some(ns)
}

#[test]
fn victoriametrics_and_we_agree_on_every_recorded_input() {
    let mut compared = 0;
    let mut unequal = Vec::new();
    for case in cases("line-protocol/lp_oracles.jsonl").iter().chain(&cases("line-protocol/lp_edge_cases.jsonl")) {
        let (body, recorded) = (input(case), result_of(case, "victoriametrics").unwrap());
        // It was recorded as it reads a request: up to the first refused line.
        let until = |record: &&Record<'_>| !matches!(record.outcome, Outcome::Fault(_));
        let ours = reading(&victoria::records(&body, Precision::Nanosecond), until);
        compared += 1;
        if let Some(expected) = difference(recorded, &ours, to_ms) {
            unequal.push(format!("{} {}\n theirs {expected:#?}\n ours {:#?}", case["id"], body.escape_ascii(), ours.1));
        }
    }
    println!("victoriametrics: {compared} inputs compared, {} differences, no exceptions", unequal.len());
    assert!(unequal.is_empty(), "{} of {compared} differ:\n{}", unequal.len(), unequal.join("\n"));
    assert_eq!(compared, THIRD_PARTY + EDGE_CASES);
}

#[test]
fn questdb_and_we_agree_on_every_edge_case() {
    let exceptions = cases("exceptions_questdb.jsonl");
    let mut compared = 0;
    let mut unequal = Vec::new();
    for case in cases("line-protocol/lp_edge_cases.jsonl") {
        let body = input(&case);
        let excepted = exceptions.iter().find(|row| row["id"] == case["id"]);
        let model = result_of(&case, "questdb-model").unwrap();
        let ours = reading(&questdb::records(&body, Precision::Nanosecond), |_| true);
        compared += 1;
        if let Some(expected) = difference(excepted.map_or(model, |row| &row["capture"]), &ours, to_ns) {
            unequal.push(format!("{} {}\n theirs {expected:#?}\n ours {:#?}", case["id"], body.escape_ascii(), ours.1));
        }
        if let Some(row) = excepted {
            assert!(difference(model, &ours, to_ns).is_some(), "{row} is no exception any more");
        }
    }
    println!("questdb: {compared} inputs compared, {} differences, {} exceptions", unequal.len(), exceptions.len());
    assert!(unequal.is_empty(), "{} of {compared} differ:\n{}", unequal.len(), unequal.join("\n"));
    assert_eq!((compared, exceptions.len()), (EDGE_CASES, 2));
}

/// QuestDB's own vectors for those who write its protocol.
#[test]
fn questdbs_own_vectors_read_as_it_says() {
    let vectors = cases("line-protocol/lp_questdb_interop.jsonl");
    for vector in &vectors {
        let body = input(vector);
        let ours = reading(&questdb::records(&body, Precision::Nanosecond), |_| true);
        assert_eq!(difference(vector, &ours, to_ns), None, "{vector}\n{ours:#?}");
    }
    println!("questdb: {} vectors of its own", vectors.len());
    assert_eq!(vectors.len(), 9);
}
