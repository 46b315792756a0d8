//! The line-protocol parser against the recorded outcome of the servers' own parsers, input by input.
//!
//! Origins and licences of the data: `tests/corpus/line-protocol/README.md`.

#![allow(missing_docs, clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use twinline::line::{Dialect, Line, Precision, Value, lines, naive, split, unstorable, write_canonical};

const SERVERS: [(&str, Dialect); 2] = [("influxdb-1.12.4", Dialect::Influx1), ("influxdb-2.9.1", Dialect::Influx2)];

fn cases(file: &str) -> Vec<Json> {
    let path = format!("{}/tests/corpus/line-protocol/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn all_cases() -> Vec<Json> {
    let mut all = cases("lp_oracles.jsonl");
    all.extend(cases("lp_edge_cases.jsonl"));
    all
}

fn bytes(json: &Json) -> Vec<u8> {
    match json {
        Json::String(text) => text.clone().into_bytes(),
        other => STANDARD.decode(other["b64"].as_str().unwrap()).unwrap(),
    }
}

fn input(case: &Json) -> Vec<u8> {
    let Some(runs) = case["input_rle_latin1"].as_array() else { return bytes(&case["input"]) };
    let repeat = |run: &Json| {
        let unit: Vec<u8> = run[0].as_str().unwrap().chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        unit.repeat(usize::try_from(run[1].as_u64().unwrap()).unwrap())
    };
    runs.iter().flat_map(repeat).collect()
}

/// Times, names and values in a form in which both sides can be compared and printed.
fn recorded_point(point: &Json) -> String {
    let mut tags: Vec<(Vec<u8>, Vec<u8>)> =
        point["tags"].as_array().unwrap().iter().map(|tag| (bytes(&tag[0]), bytes(&tag[1]))).collect();
    tags.sort();
    let field = |field: &Json| {
        let kind = field["type"].as_str().unwrap();
        let value = match kind {
            "float" => field["bits"].as_str().unwrap().trim_start_matches("0x").to_string(),
            "string" => bytes(&field["value"]).escape_ascii().to_string(),
            _ => field["value"].as_str().map_or_else(|| field["value"].to_string(), str::to_string),
        };
        format!("{}={kind}:{value}", bytes(&field["key"]).escape_ascii())
    };
    let fields: Vec<String> = point["fields"].as_array().unwrap().iter().map(field).collect();
    let time = point["timestamp"].as_str().map_or("none".to_string(), str::to_string);
    show(&bytes(&point["measurement"]), &tags, &fields, &time)
}

fn read_point(line: &Line<'_>) -> String {
    let mut tags: Vec<_> = line.tags().iter().map(|tag| (tag.key().into_owned(), tag.value().into_owned())).collect();
    tags.sort();
    let fields: Vec<String> = line
        .fields()
        .iter()
        .map(|field| {
            let value = match field.value() {
                Value::Float(value) => format!("float:{:016x}", value.to_bits()),
                Value::Integer(value) => format!("int:{value}"),
                Value::Unsigned(value) => format!("uint:{value}"),
                Value::Bool(value) => format!("bool:{value}"),
                Value::String(text) => format!("string:{}", text.escape_ascii()),
                Value::Undecodable(raw) => format!("undecodable:{}", raw.escape_ascii()),
            };
            format!("{}={value}", field.key().escape_ascii())
        })
        .collect();
    let time = line.timestamp_ns().map_or("none".to_string(), |ns| ns.to_string());
    show(&line.measurement(), &tags, &fields, &time)
}

fn show(measurement: &[u8], tags: &[(Vec<u8>, Vec<u8>)], fields: &[String], time: &str) -> String {
    let tags: Vec<String> = tags.iter().map(|(k, v)| format!("{}={}", k.escape_ascii(), v.escape_ascii())).collect();
    format!("{} | {} | {} | {time}", measurement.escape_ascii(), tags.join(","), fields.join(","))
}

#[test]
fn the_servers_and_we_agree_on_every_recorded_input() {
    let mut compared = 0;
    let mut unequal = Vec::new();
    for case in all_cases() {
        let body = input(&case);
        for (server, dialect) in SERVERS {
            let by = |result: &&Json| result["by"].as_array().unwrap().iter().any(|by| by == server);
            let Some(recorded) = case["results"].as_array().unwrap().iter().find(by) else { continue };
            let ours: Vec<_> = lines(&body, dialect, Precision::Nanosecond).collect();
            let points: Vec<String> = ours.iter().flatten().map(read_point).collect();
            // Of very long inputs only the verdict was recorded.
            let expected: Option<Vec<String>> =
                recorded["points"].as_array().map(|points| points.iter().map(recorded_point).collect());
            let same_verdict = recorded["accept"] == ours.iter().all(Result::is_ok);
            compared += 1;
            if !same_verdict || expected.is_some_and(|expected| expected != points) {
                unequal.push(format!("{server} {} {}\n ours {points:#?}", case["id"], body.escape_ascii()));
            }
        }
    }
    assert!(unequal.is_empty(), "{} of {compared} differ:\n{}", unequal.len(), unequal.join("\n"));
    assert_eq!(compared, 15_886);
}

#[test]
fn the_slow_reader_agrees_on_every_recorded_input() {
    for case in all_cases() {
        let body = input(&case);
        for (_, dialect) in SERVERS {
            let ours: Vec<_> = lines(&body, dialect, Precision::Nanosecond).collect();
            let slow = naive::parse(&body, dialect, Precision::Nanosecond);
            assert_eq!(ours.len(), slow.len(), "{}", body.escape_ascii());
            for (ours, (span, slow)) in ours.iter().zip(&slow) {
                match (ours, slow) {
                    (Ok(line), Ok(point)) => {
                        assert_eq!(line.span(), *span);
                        assert_eq!(*line.measurement(), *point.measurement);
                        assert_eq!((line.tags().len(), line.timestamp_ns()), (point.tags.len(), point.time_ns));
                    }
                    (Err(malformed), Err(_)) => assert_eq!(malformed.span, *span),
                    _ => panic!("the readers differ on {}", body.escape_ascii()),
                }
            }
        }
    }
}

#[test]
fn what_can_be_stored_survives_the_canonical_form_and_being_cut() {
    let mut storable = 0;
    for case in all_cases() {
        let body = input(&case);
        let joined: Vec<String> = split(&body, 64)
            .into_iter()
            .flat_map(|piece| {
                lines(&body[piece], Dialect::Influx2, Precision::Nanosecond)
                    .flatten()
                    .map(|l| read_point(&l))
                    .collect::<Vec<_>>()
            })
            .collect();
        let whole: Vec<_> = lines(&body, Dialect::Influx2, Precision::Nanosecond).flatten().collect();
        assert_eq!(joined, whole.iter().map(read_point).collect::<Vec<_>>(), "{}", body.escape_ascii());
        let mut canonical = Vec::new();
        let mut expected = Vec::new();
        for line in whole.iter().filter(|line| unstorable(line).is_none()) {
            let at_ns = line.timestamp_ns().unwrap_or(7);
            write_canonical(line, at_ns, &mut canonical);
            expected.push(read_point(line).rsplit_once(" | ").unwrap().0.to_string() + &format!(" | {at_ns}"));
        }
        storable += expected.len();
        let read: Vec<_> =
            lines(&canonical, Dialect::Influx2, Precision::Nanosecond).map(|line| read_point(&line.unwrap())).collect();
        assert_eq!(read, expected, "{}", body.escape_ascii());
    }
    assert!(storable > 1_000, "only {storable} lines were compared");
}
