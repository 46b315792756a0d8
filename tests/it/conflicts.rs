//! Conflicts of types: the answer names measurement and field, and what follows from that is done in few requests.

use serde_json::Value;
use twinline::sandbox::{Options, Sandbox};

use crate::database::{Database, Kind};
use crate::http::call;
use crate::proxy::{Setup, eventually};
use crate::refused::ask;
use crate::scripted::{Reply, Scripted, Write};

/// 2,000 lines of one series; each 300th has a field that the destination has as another type, and some of these another such one.
fn body() -> String {
    let line = |at: u64| match at {
        _ if at.is_multiple_of(900) => format!("m,t=x w=1.5,x=true {at}\n"),
        _ if at.is_multiple_of(300) => format!("m,t=x v={at}i,w=1.5 {at}\n"),
        _ => format!("m,t=x v={at}i {at}\n"),
    };
    (1..=2_000).map(line).collect()
}

/// As 1.13 answers where `w` and `x` are strings: lines with them are dropped, the first reason is named.
fn answer(write: &Write) -> Reply {
    let named = [("w=", "w", "float"), ("x=", "x", "boolean")];
    let of = |line: &str| named.into_iter().find(|(begin, ..)| line.contains(begin));
    let dropped: Vec<_> = write.body.lines().filter_map(of).collect();
    let Some((_, field, kind)) = dropped.first() else { return Reply::new(204, "") };
    let said = format!(
        r#"{{"error":"partial write: field type conflict: input field \"{field}\" on measurement \"m\" is type {kind}, already exists as type string dropped={}"}}"#,
        dropped.len()
    );
    Reply::new(400, &said)
}

#[test]
fn the_lines_of_a_named_field_are_found_with_three_requests() {
    let source = Sandbox::spawn_thread(Options::default()).unwrap();
    source.create_database("d");
    let destination = Scripted::start(answer);
    let section = |url: String| format!("url = \"{url}\"\nkind = \"influxdb1\"");
    let twinline = Setup::new(section(source.url()), section(destination.url())).start();
    assert_eq!(twinline.call("POST /write?db=d", &[], body()).status, 204);
    let status = twinline.settled(2_000);
    assert_eq!((&status["lines"]["delivered"], &status["lines"]["dead_lettered"]), (&1_994.into(), &6.into()));
    let writes = destination.writes("db=d");
    let lines: Vec<_> = writes.iter().map(|write| write.body.lines().count()).collect();
    assert_eq!(lines, [2_000, 1_994, 6], "all, the others, those of the field");
    let letters = ask(&twinline, "/api/v1/dead-letters");
    let all = letters["lines"].as_array().unwrap();
    assert!(all.iter().all(|letter| letter["text"].as_str().unwrap().contains("w=1.5")), "{letters:#}");
}

/// What an answer names need not explain all: another shard has the field as it comes, and what it hides is found all the same.
#[test]
fn what_the_named_field_does_not_explain_is_found_by_halves() {
    let source = Sandbox::spawn_thread(Options::default()).unwrap();
    source.create_database("d");
    // It says `w` of lines from 1,000 on alone, and drops others before them for `x`, of which it says nothing beside `w`.
    let destination = Scripted::start(|write| {
        let at = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
        let late = write.body.lines().filter(|line| line.contains("w=") && at(line) >= 1_000).count();
        let hidden = write.body.lines().filter(|line| line.contains("x=") && at(line) < 1_000).count();
        let (field, kind, dropped) = if late > 0 { ("w", "float", late) } else { ("x", "boolean", hidden) };
        if dropped == 0 {
            return Reply::new(204, "");
        }
        let said = format!(
            r#"{{"error":"partial write: field type conflict: input field \"{field}\" on measurement \"m\" is type {kind}, already exists as type string dropped={dropped}"}}"#,
        );
        Reply::new(400, &said)
    });
    let section = |url: String| format!("url = \"{url}\"\nkind = \"influxdb1\"");
    let twinline = Setup::new(section(source.url()), section(destination.url())).start();
    assert_eq!(twinline.call("POST /write?db=d", &[], body()).status, 204);
    let status = twinline.settled(2_000);
    // 1,200, 1,500 and 1,800 for `w`; 900 for `x`; 300 and 600 are stored.
    assert_eq!(status["lines"]["dead_lettered"], 4, "{status:#}");
    let letters = ask(&twinline, "/api/v1/dead-letters");
    let mut times: Vec<u64> = letters["lines"].as_array().unwrap().iter().map(time_of).collect();
    times.sort_unstable();
    assert_eq!(times, [900, 1_200, 1_500, 1_800], "{letters:#}");
}

fn time_of(letter: &Value) -> u64 {
    letter["text"].as_str().unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

/// Requests to `/write` that a server has seen.
fn requests(database: &Database) -> u64 {
    let vars = call(&database.addr, "GET /debug/vars", &[], b"").unwrap().json();
    vars["httpd"]["values"]["writeReq"].as_u64().unwrap_or_else(|| {
        let all = vars.as_object().unwrap();
        let of = |(key, value): (&String, &Value)| {
            key.starts_with("httpd").then(|| value["values"]["writeReq"].as_u64()).flatten()
        };
        all.iter().find_map(of).unwrap_or_else(|| panic!("{vars:#}"))
    })
}

/// The same with a real 1.13.
#[test]
fn the_lines_of_a_named_field_are_found_with_three_requests_at_influxdb_1() {
    let (source, destination) = (Database::start(Kind::One), Database::start(Kind::One));
    source.create("named");
    destination.create("named");
    destination.post("/write?db=named", b"m w=\"text\",x=\"text\" 1", 204);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let before = requests(&destination);
    assert_eq!(twinline.call("POST /write?db=named", &[], body()).status, 204);
    let status = twinline.settled(2_000);
    assert_eq!((&status["lines"]["delivered"], &status["lines"]["dead_lettered"]), (&1_994.into(), &6.into()));
    let seen = eventually("its counters are told", || {
        let seen = requests(&destination) - before;
        if seen >= 3 { Ok(seen) } else { Err(seen.to_string()) }
    });
    // One conflict hides the other: lines of both fields are among the others until these are named.
    assert!(seen <= 7, "{seen} requests");
    let times = |database: &Database| {
        let cells = database.cells("named").into_iter();
        let mut times: Vec<_> = cells.filter(|cell| cell.time_ns > 1).map(|cell| cell.time_ns).collect();
        times.sort_unstable();
        times.dedup();
        times
    };
    let wanted: Vec<i64> = times(&source).into_iter().filter(|at| at % 300 != 0).collect();
    assert_eq!(times(&destination), wanted);
}
