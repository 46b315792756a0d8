//! The parser beside parsers of other projects in other languages: a table, or JSON with `--json`. `peers/run` builds those and
//! calls this with `--peers PROGRAM`, which is given files and prints one JSON object for each parser and file.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock itself")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use twinline::line::{self, Dialect, Precision};
use twinline_benches::{CORPORA, Decoded};

const BODY_BYTES: usize = 1 << 20;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(300);
/// How a body is read; returns how many lines it has.
type Parse = fn(&[u8]) -> u64;

const LEVELS: [(&str, Parse); 2] = [("twinline checked", checked), ("twinline values", values)];

fn checked(body: &[u8]) -> u64 {
    u64::from(line::inspect(body, Dialect::Influx2, Precision::Nanosecond, 0).lines)
}

/// Every value decoded; returns how many lines there are.
fn values(body: &[u8]) -> u64 {
    let mut decoded = Decoded::default();
    line::values(body, Dialect::Influx2, Precision::Nanosecond, &mut decoded);
    black_box(decoded.sum);
    decoded.lines
}

/// Bytes per second, the median of the rounds.
fn rate(body: &[u8], parse: Parse) -> f64 {
    let mut speeds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (began, mut bytes) = (Instant::now(), 0);
            while began.elapsed() < ROUND {
                black_box(parse(black_box(body)));
                bytes += body.len();
            }
            bytes as f64 / began.elapsed().as_secs_f64()
        })
        .collect();
    speeds.sort_by(f64::total_cmp);
    speeds[ROUNDS / 2]
}

fn of_others(program: &Path, file: &Path) -> Vec<Json> {
    let output = Command::new(program).arg(file).output().expect("the peers' program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("it prints JSON");
    text.lines().map(|row| serde_json::from_str(row).expect("it prints JSON")).collect()
}

fn main() {
    let (mut as_json, mut program) = (false, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => as_json = true,
            "--peers" => program = arguments.next().map(PathBuf::from),
            other => panic!("unknown argument {other}; usage: peers --peers PROGRAM [--json]"),
        }
    }
    let program = program.expect("--peers names the program; peers/run does all of it");
    let folder = tempfile::tempdir().expect("a folder for the bodies");
    let mut rows = Vec::new();
    for (corpus, make) in CORPORA {
        let body = make(BODY_BYTES);
        for (name, parse) in LEVELS {
            let lines = parse(&body);
            rows.push(json!({"corpus": corpus, "parser": name, "bytes_per_s": rate(&body, parse), "lines": lines}));
        }
        let file = folder.path().join(format!("{corpus}.lp"));
        std::fs::write(&file, &body).expect("the body is written");
        rows.extend(of_others(&program, &file));
    }
    if as_json { println!("{:#}", Json::Array(rows)) } else { print_table(&rows) }
}

/// One row for each parser, one column for each corpus.
fn print_table(rows: &[Json]) {
    let mut parsers: Vec<&Json> = Vec::new();
    rows.iter().map(|row| &row["parser"]).for_each(|parser| {
        if !parsers.contains(&parser) {
            parsers.push(parser);
        }
    });
    let names: Vec<&str> = CORPORA.iter().map(|(name, _)| *name).collect();
    println!("MB/s (lines accepted)\n");
    println!("| parser | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for parser in parsers {
        let cell = |corpus: &&str| {
            let row = rows.iter().find(|row| row["corpus"] == **corpus && row["parser"] == *parser);
            let speed = row.and_then(|row| row["bytes_per_s"].as_f64()).unwrap_or_default();
            format!("{:.0} ({})", speed / 1e6, row.map_or(&Json::Null, |row| &row["lines"]))
        };
        let cells: Vec<String> = names.iter().map(cell).collect();
        println!("| {} | {} |", parser.as_str().unwrap_or_default(), cells.join(" | "));
    }
}
