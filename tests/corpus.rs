//! The line-protocol parser against the recorded outcome of the servers' own parsers, input by input.
//!
//! Origins and licences of the data: `tests/corpus/line-protocol/README.md`. Inputs on which the record is not what a real
//! server does stand in `tests/corpus/exceptions.jsonl`, each with the reason and the server's answer.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "corpus/recorded.rs"]
mod recorded;

use recorded::{bytes, cases, input, result_of};
use serde_json::Value as Json;
use twinline::line::{Dialect, Line, Precision, Value, lines, split, unstorable, write_canonical};

/// Inputs of the recording, those that are withheld included, and our own edge cases.
const RECORDED: usize = 7_722 + 245;

const SERVERS: [(&str, Dialect); 2] = [("influxdb-1.12.4", Dialect::Influx1), ("influxdb-2.9.1", Dialect::Influx2)];

fn all_cases() -> Vec<Json> {
    ["line-protocol/lp_oracles.jsonl", "line-protocol/lp_edge_cases.jsonl"].into_iter().flat_map(cases).collect()
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
    let excepted: Vec<String> =
        cases("exceptions.jsonl").iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    let mut compared = [0; SERVERS.len()];
    let mut unequal = Vec::new();
    for case in all_cases() {
        let body = input(&case);
        // Those are not in the record: their inputs are withheld, or the record is wrong about them.
        assert!(
            !excepted.iter().any(|id| case["id"] == id.as_str()),
            "{} is an exception and in the record",
            case["id"]
        );
        for (at, (server, dialect)) in SERVERS.into_iter().enumerate() {
            let Some(recorded) = result_of(&case, server) else { continue };
            let ours: Vec<_> = lines(&body, dialect, Precision::Nanosecond).collect();
            let points: Vec<String> = ours.iter().flatten().map(read_point).collect();
            // Of very long inputs only the verdict was recorded.
            let expected: Option<Vec<String>> =
                recorded["points"].as_array().map(|points| points.iter().map(recorded_point).collect());
            let same_verdict = recorded["accept"] == ours.iter().all(Result::is_ok);
            compared[at] += 1;
            if !same_verdict || expected.is_some_and(|expected| expected != points) {
                unequal.push(format!("{server} {} {}\n ours {points:#?}", case["id"], body.escape_ascii()));
            }
        }
    }
    for (number, (server, dialect)) in compared.iter().zip(SERVERS) {
        println!("{dialect:?}: {number} inputs compared with {server}, {} differences", unequal.len());
    }
    assert!(unequal.is_empty(), "{} of {compared:?} differ:\n{}", unequal.len(), unequal.join("\n"));
    let withheld = excepted.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(compared, [RECORDED - withheld; 2], "every input is compared or an exception");
}

/// Each exception says why and what a real server of that dialect did; none of them quotes the input.
#[test]
fn every_exception_has_a_reason_and_a_capture_for_both_dialects() {
    let rows = cases("exceptions.jsonl");
    for row in &rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default();
        assert!(text("id").starts_with("in-") && text("reason").len() > 20, "{row}");
        let (status, answer) = (&row["capture"]["status"], row["capture"]["answer"].as_str().unwrap_or_default());
        let refused = status.as_u64().is_some_and(|status| (400..600).contains(&status));
        assert!(refused || answer.contains("the process ended"), "{row}");
        assert!(row.get("input").is_none() && answer.len() < 100, "{row}");
    }
    for server in ["influxdb-1.13.2", "influxdb-2.9.1"] {
        let of: Vec<&str> = rows.iter().filter(|r| r["server"] == server).map(|r| r["id"].as_str().unwrap()).collect();
        println!("{server}: {} exceptions", of.len());
        assert_eq!(of.len(), 24, "{server}");
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
