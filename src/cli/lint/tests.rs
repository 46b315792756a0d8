//! The command against the recorded inputs, and in pieces.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::*;
use crate::line::{Dialect, Line, Value, lines};

fn order(dialect: Reading, destination: Option<Reading>, jsonl: bool, piece: usize) -> Order {
    let precision = Precision::Nanosecond;
    Order { name: "x".to_owned(), dialect, destination, precision, all: true, color: false, jsonl, piece }
}

fn said(order: &Order, body: &[u8]) -> (String, Counts) {
    let (mut out, mut counts) = (Vec::new(), Counts::default());
    assert!(lint(order, body, &mut out, &mut counts).is_ok(), "{}", body.escape_ascii());
    (String::from_utf8(out).unwrap(), counts)
}

/// Each object, and its text.
fn objects(order: &Order, body: &[u8]) -> Vec<(Json, String)> {
    said(order, body).0.lines().map(|line| (serde_json::from_str(line).unwrap(), line.to_owned())).collect()
}

fn bytes(json: &Json) -> Vec<u8> {
    match json {
        Json::String(text) => text.clone().into_bytes(),
        other => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(other["b64"].as_str().unwrap()).unwrap()
        }
    }
}

/// Every recorded input.
fn inputs() -> Vec<Vec<u8>> {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut all = BTreeSet::new();
    for file in ["lp_oracles", "lp_edge_cases"] {
        let text = std::fs::read_to_string(format!("{root}/tests/corpus/line-protocol/{file}.jsonl")).unwrap();
        let cases = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
        all.extend(cases.filter(|case| !case["input"].is_null()).map(|case| bytes(&case["input"])));
    }
    assert!(all.len() > 7_000, "{}", all.len());
    all.into_iter().collect()
}

/// Names, values and times of an accepted line are those of the reader.
fn same_data((object, text): &(Json, String), line: &Line<'_>) {
    assert_eq!(bytes(&object["measurement"]), *line.measurement());
    assert_eq!(object["timestamp"].as_i64(), line.timestamp_ns());
    let tags: Vec<_> = object["tags"].as_array().unwrap().iter().map(|tag| (bytes(&tag[0]), bytes(&tag[1]))).collect();
    assert_eq!(tags, line.tags().iter().map(|tag| (tag.key().to_vec(), tag.value().to_vec())).collect::<Vec<_>>());
    let fields = object["fields"].as_array().unwrap();
    assert_eq!(fields.len(), line.fields().len());
    for (shown, field) in fields.iter().zip(line.fields()) {
        assert_eq!(bytes(&shown[0]), *field.key());
        let (kind, value) = (shown[1]["type"].as_str().unwrap(), &shown[1]["value"]);
        let same = match field.value() {
            // As text, since the reader of JSON may be off by the last bit.
            Value::Float(float) => {
                let digits = format!("{float:?}");
                let exact = digits.parse::<f64>().unwrap().to_bits() == float.to_bits();
                exact && text.contains(&format!("{{\"type\":\"float\",\"value\":{digits}}}"))
            }
            Value::Integer(integer) => kind == "integer" && value.as_i64() == Some(integer),
            Value::Unsigned(integer) => kind == "unsigned" && value.as_u64() == Some(integer),
            Value::Bool(truth) => kind == "boolean" && value.as_bool() == Some(truth),
            Value::String(text) => kind == "string" && bytes(value) == *text,
            Value::Undecodable(_) => false,
        };
        assert!(same, "{shown} {field:?}");
    }
}

#[test]
fn each_recorded_input_has_the_verdict_and_the_data_of_the_reader() {
    let mut compared = 0;
    for body in inputs() {
        for (reading, dialect) in [(Reading::Influx1, Dialect::Influx1), (Reading::Influx2, Dialect::Influx2)] {
            let objects = objects(&order(reading, None, true, PIECE), &body);
            for (object, _) in &objects {
                let offset = usize::try_from(object["offset"].as_u64().unwrap()).unwrap();
                let before = body[..offset].iter().filter(|byte| **byte == b'\n').count() as u64;
                assert_eq!(object["line"], before + 1, "{}", body.escape_ascii());
                assert_eq!(object["differs"], serde_json::json!([]));
                assert_eq!(object["error"].is_null(), object["verdict"] != "error");
            }
            let mut shown = objects.iter().filter(|(object, _)| object["verdict"] != "skip");
            for line in lines(&body, dialect, Precision::Nanosecond) {
                let shown = shown.next().unwrap_or_else(|| panic!("{}", body.escape_ascii()));
                let object = &shown.0;
                match line {
                    Ok(line) => {
                        assert_eq!(object["verdict"], "ok", "{}", body.escape_ascii());
                        assert_eq!(object["offset"], line.span().start);
                        same_data(shown, &line);
                    }
                    Err(malformed) => {
                        assert_eq!(object["verdict"], "error", "{}", body.escape_ascii());
                        assert_eq!(object["offset"], malformed.span.start);
                        assert_eq!(object["error"]["code"], malformed.reason.code());
                    }
                }
                compared += 1;
            }
            assert!(shown.next().is_none(), "{}", body.escape_ascii());
        }
    }
    assert!(compared > 15_000, "{compared}");
}

#[test]
fn a_file_in_pieces_is_the_file() {
    for body in inputs().iter().filter(|body| body.len() > 8).step_by(11) {
        for jsonl in [true, false] {
            let whole = said(&order(Reading::Influx1, Some(Reading::Influx2), jsonl, 1 << 20), body);
            for size in [1, 13] {
                let pieces = said(&order(Reading::Influx1, Some(Reading::Influx2), jsonl, size), body);
                assert_eq!(pieces.0, whole.0, "{size} {}", body.escape_ascii());
                assert_eq!(pieces.1.bytes, body.len() as u64);
            }
        }
    }
}

/// With other rules for line ends too.
#[test]
fn a_file_in_pieces_is_the_file_for_every_server() {
    for body in inputs().iter().filter(|body| body.len() > 8).step_by(29) {
        for (number, dialect) in Reading::ALL.iter().enumerate() {
            let other = Reading::ALL.get(number + 1).copied();
            let whole = said(&order(*dialect, None, true, 1 << 20), body).0;
            assert_eq!(said(&order(*dialect, None, true, 3), body).0, whole, "{dialect:?} {}", body.escape_ascii());
            let both = said(&order(*dialect, other, false, 3), body).1;
            assert_eq!(both.lines, whole.lines().count() as u64, "{dialect:?} {}", body.escape_ascii());
        }
    }
}

#[test]
fn line_ends_and_types_of_other_servers_are_told_apart() {
    let differs = |destination, body: &[u8]| -> Vec<Vec<String>> {
        let all = objects(&order(Reading::Influx1, Some(destination), true, PIECE), body);
        all.into_iter().map(|(object, _)| serde_json::from_value(object["differs"].clone()).unwrap()).collect()
    };
    let victoria =
        differs(Reading::VictoriaMetrics, b"m,t=a v=1i 1000000000000000000\nm s=\"a\nb\" 1000000000000000000\n");
    assert_eq!(victoria[0], ["field \"v\": float 1.0 there, integer 1 here"]);
    assert!(victoria[1][0].starts_with("lines end elsewhere there: this one is 2 lines, "), "{victoria:?}");
    let newer = differs(Reading::Influx3, b"m\\\\n v=1 1\nm v=1 2\n\xff v=1 3\n");
    assert_eq!(newer[0], ["measurement: \"m\\\\n\" there, \"m\\\\\\\\n\" here"]);
    assert_eq!((newer[1].len(), newer[2].len()), (0, 1), "only the line that is not UTF-8: {newer:?}");
}

/// The form that scripts rely on, to the last byte.
#[test]
fn an_object_has_its_keys_in_order_and_its_numbers_whole() {
    let body = b"# c\n\nm\\ 1,t=\xff u=1,f=0.1,g=1e300,i=-9223372036854775808i,b=T,s=\"a\\\"\n\x00\" 7\nm u=18446744073709551615u\n,v=1\n";
    let (text, counts) = said(&order(Reading::Influx2, None, true, PIECE), body);
    let mut lines = text.lines();
    let none = "\"measurement\":null,\"tags\":[],\"fields\":[],\"timestamp\":null";
    assert_eq!(
        lines.next().unwrap(),
        format!("{{\"line\":1,\"offset\":0,\"verdict\":\"skip\",{none},\"error\":null,\"differs\":[]}}")
    );
    assert_eq!(
        lines.next().unwrap(),
        format!("{{\"line\":2,\"offset\":4,\"verdict\":\"skip\",{none},\"error\":null,\"differs\":[]}}")
    );
    assert_eq!(
        lines.next().unwrap(),
        "{\"line\":3,\"offset\":5,\"verdict\":\"ok\",\"measurement\":\"m 1\",\"tags\":[[\"t\",{\"b64\":\"/w==\"}]],\
         \"fields\":[[\"u\",{\"type\":\"float\",\"value\":1.0}],[\"f\",{\"type\":\"float\",\"value\":0.1}],\
         [\"g\",{\"type\":\"float\",\"value\":1e300}],[\"i\",{\"type\":\"integer\",\"value\":-9223372036854775808}],\
         [\"b\",{\"type\":\"boolean\",\"value\":true}],[\"s\",{\"type\":\"string\",\"value\":\"a\\\"\\n\\u0000\"}]],\
         \"timestamp\":7,\"error\":null,\"differs\":[]}"
    );
    let unsigned = lines.next().unwrap();
    assert!(unsigned.starts_with("{\"line\":5,") && unsigned.contains("\"value\":18446744073709551615}"), "{unsigned}");
    let refused = lines.next().unwrap();
    assert!(
        refused.contains(&format!(
            "\"verdict\":\"error\",{none},\"error\":{{\"code\":\"missing-measurement\",\"offset\":"
        )),
        "{refused}"
    );
    assert_eq!((lines.next(), counts.lines, counts.refused, counts.skipped), (None, 5, 1, 2));
}

#[test]
fn what_the_destination_would_store_otherwise_is_told() {
    let differs = |line: &[u8]| -> Vec<String> {
        let (object, _) = &objects(&order(Reading::Influx1, Some(Reading::Influx2), true, PIECE), line)[0];
        object["differs"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(differs(b"m,t=a v=1,w=2i 5"), Vec::<String>::new());
    assert_eq!(differs(b"m,time=a v=1"), ["refused there: cannot use reserved tag key \"time\""]);
    assert_eq!(differs(b"m v=1u"), ["accepted there"]);
    assert_eq!(differs(b"m v="), Vec::<String>::new());
}

/// QuestDB ends lines at CR too; editors do not count them.
#[test]
fn lines_that_end_in_cr_alone_have_their_columns_in_one_physical_line() {
    let body = "t v=1\nt v=ä\rt v=1\rt v=x\rt é=\"\nt v=u";
    let mut order = order(Reading::QuestDb, Some(Reading::VictoriaMetrics), false, PIECE);
    order.all = true;
    let text = said(&order, body.as_bytes()).0;
    let places = text.lines().filter_map(|line| Some(line.strip_prefix("x:")?.split_once(": ")?.0));
    let places: Vec<&str> = places.filter(|place| place.starts_with(|c: char| c.is_ascii_digit())).collect();
    assert_eq!(places, ["2:5", "2:7", "2:17", "2:23", "3:5"], "{text}");
}
