//! The reader of InfluxDB 3's line protocol against the recorded outcome of the server's own parser, input by input, and against the
//! published crate of that parser on text that nobody recorded.
//!
//! Origins and licences of the data: `tests/corpus/line-protocol/README.md`. There are no exceptions.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../fuzz/checks/by_crate.rs"]
#[allow(unreachable_pub, reason = "public for the fuzz targets")]
mod by_crate;
#[path = "corpus/recorded.rs"]
mod recorded;

use by_crate::{Read, ours, read_alike, show};
use proptest::prelude::*;
use recorded::{bytes, cases, input, result_of};
use serde_json::Value as Json;
use twinline::line::Precision;

const SERVER: &str = "influxdb3-core-main";
const CRATE: &str = "rust-influxdb-line-protocol-2.0.0";

/// Inputs with names or texts longer than 64 KiB, which the crate does not limit.
const LONG: usize = 3;

/// Inputs of the recording that are not withheld, and our own edge cases.
const RECORDED: usize = 7_722 - 24 + 245;

fn all_cases() -> Vec<Json> {
    ["line-protocol/lp_oracles.jsonl", "line-protocol/lp_edge_cases.jsonl"].into_iter().flat_map(cases).collect()
}

fn recorded_point(point: &Json) -> String {
    let tags: Vec<_> = point["tags"].as_array().unwrap().iter().map(|tag| (bytes(&tag[0]), bytes(&tag[1]))).collect();
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
    let time = point["timestamp"].as_str().map(|time| time.parse().unwrap());
    show(&bytes(&point["measurement"]), &tags, &fields, time)
}

fn point_of(read: &Read) -> Option<&String> {
    match read {
        Read::Point(point) => Some(point),
        Read::Refused | Read::TooLong => None,
    }
}

#[test]
fn the_server_and_we_agree_on_every_recorded_input() {
    let (mut compared, mut accepted, mut points, mut by_crate) = (0, 0, 0, 0);
    let mut unequal = Vec::new();
    for case in all_cases() {
        let body = input(&case);
        let lines = ours(&body, Precision::Nanosecond);
        let read: Vec<&String> = lines.iter().filter_map(point_of).collect();
        let taken = read.len() == lines.len();
        for by in [SERVER, CRATE] {
            let recorded = result_of(&case, by).unwrap();
            if by == CRATE && lines.contains(&Read::TooLong) {
                assert_eq!(recorded["accept"], true);
                continue;
            }
            // Of very long inputs only the verdict was recorded.
            let expected: Option<Vec<String>> =
                recorded["points"].as_array().map(|points| points.iter().map(recorded_point).collect());
            let same_verdict = recorded["accept"] == taken;
            if !same_verdict || expected.is_some_and(|expected| expected.iter().collect::<Vec<_>>() != read) {
                unequal.push(format!("{by} {} {}\n ours {lines:#?}", case["id"], body.escape_ascii()));
            }
            if by == CRATE {
                by_crate += 1;
                continue;
            }
            compared += 1;
            accepted += usize::from(recorded["accept"] == true);
            points += read.len();
        }
    }
    println!(
        "{SERVER}: {compared} inputs compared, {accepted} accepted, {points} points; {CRATE}: {by_crate} compared"
    );
    println!("{} differences, 0 exceptions", unequal.len());
    assert!(unequal.is_empty(), "{} differ:\n{}", unequal.len(), unequal.join("\n"));
    assert_eq!((compared, by_crate), (RECORDED, RECORDED - LONG), "every input is compared");
}

/// Bytes that mean something, and some that look as if they did.
const PIECES: &[&str] = &[
    "\\", "\"", ",", "=", " ", "\n", "#", "\t", "\r", "\0", "é", "a", "1", "-", ".", "e", "i", "u", "t", "0x", "+",
    "\u{85}", "∞",
];

#[test]
fn every_recorded_input_with_one_piece_put_in_or_taken_out_is_read_as_by_the_crate() {
    let mut compared = 0;
    for (number, case) in all_cases().iter().enumerate() {
        let Ok(text) = String::from_utf8(input(case)) else { continue };
        if text.len() > 400 {
            continue;
        }
        for (at, character) in text.char_indices() {
            let (before, behind) = text.split_at(at);
            let without = [before, &behind[character.len_utf8()..]].concat();
            let piece = PIECES[(number + at) % PIECES.len()];
            for changed in [[before, piece, behind].concat(), without] {
                read_alike(&changed, Precision::Nanosecond);
                compared += 1;
            }
        }
    }
    println!("{compared} changed inputs compared with the crate, 0 differences");
    assert!(compared > 100_000, "only {compared}");
}

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(texts).prop_map(str::to_owned)
}

fn some_of(texts: &'static [&'static str], most: usize, joint: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(texts), 0..=most).prop_map(|some| some.join(joint))
}

/// A line as the server takes it, or nearly.
fn line() -> impl Strategy<Value = String> {
    let measurement = one_of(&["m", "m", "m\\ n\\,", "a\\\\b", "\\x", " \tm", "#m", "m\r", "é"]);
    let tags = some_of(&[",t=a", ",t=a=b", ",t,u=\\=", ",\\==\\\\c", ",é=\"", ",t=\\\n", ",t=a\\ b"], 3, "");
    let space = one_of(&[" ", " ", "  ", ""]);
    let field = &[
        "v=1",
        "v=1i",
        "v=-2u",
        "w=3u",
        ",x=1.5",
        "a\\,b\\ c\\=d=t",
        "v=FALSE",
        "e=-1e400",
        "e=2.5E+3",
        "s=\"\"",
        "s=\"a \\\"\\\\ \\x\n\"",
        "i=9223372036854775808i",
        "k\\\\k=0",
        "f=1.",
        "f=.5",
        "s=\"",
        "v",
        "",
    ];
    let fields = some_of(field, 4, ",");
    let end = one_of(&["", "", "", " 1", "  -5 ", " 007", ",", ", 8", " ", "\r", " 9223372036854775808", " x"]);
    (measurement, tags, space, fields, end)
        .prop_map(|(m, tags, space, fields, end)| [m, tags, space, fields, end].concat())
}

/// Lines, and some pieces put in anywhere.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![4 => one_of(PIECES), 1 => any::<char>().prop_map(String::from)];
    let put_in = prop::collection::vec((any::<prop::sample::Index>(), piece), 0..3);
    (prop::collection::vec(line(), 1..4), put_in).prop_map(|(lines, put_in)| {
        let mut text: Vec<char> = lines.join("\n").chars().collect();
        for (at, piece) in put_in {
            let at = at.index(text.len() + 1);
            text.splice(at..at, piece.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]

    #[test]
    fn text_of_the_protocols_pieces_is_read_as_by_the_crate(text in text()) {
        read_alike(&text, Precision::Nanosecond);
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(prop_oneof![
        any::<u8>(), prop::sample::select(&b"\\\",= \n#\t\r\0m1.-eiut"[..]),
    ], 0..80)) {
        ours(&body, Precision::Nanosecond);
    }
}
