//! The source goes away: clients hear 503 that says when to come again, and nothing reaches the destination that the
//! source
//! is not known to have taken.

use std::collections::HashSet;
use std::sync::Mutex;

use rustix::process::Signal;

use crate::database::{Database, Kind, shared};
use crate::http::{Answer, Connection, call};
use crate::proxy::{Setup, Twinline};

fn assert_unavailable(answer: &Answer, second_api: bool) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.header("content-type").unwrap().starts_with("application/json"));
    let said = answer.json();
    let (words, code) = if second_api { (&said["message"], "unavailable") } else { (&said["error"], "") };
    assert!(words.as_str().unwrap().contains("the source"), "{said}");
    assert_eq!(said["code"].as_str().unwrap_or_default(), code);
}

fn targets(name: &str) -> [(String, bool); 2] {
    [(format!("/write?db={name}"), false), (format!("/api/v2/write?org=o&bucket={name}"), true)]
}

fn write(twinline: &Twinline, source: &Database, target: &str, body: &str) -> Answer {
    twinline.call(&format!("POST {target}"), &[&source.authorization()], body)
}

fn stopped(source: Kind, destination: Kind, name: &str) {
    let (source, destination) = (Database::start(source), shared(destination, 0));
    source.create(name);
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    for (at, (target, _)) in targets(name).iter().enumerate() {
        assert_eq!(write(&twinline, &source, target, &format!("m v=1 {at}")).status, 204);
    }
    source.stop(Signal::TERM);
    for (target, second_api) in &targets(name) {
        assert_unavailable(&write(&twinline, &source, target, "lost v=1 5\nlost v=2 6"), *second_api);
    }
    let query = twinline.call("GET /query?q=SHOW+DATABASES", &[&source.authorization()], "");
    assert_unavailable(&query, false);
    source.restart();
    for (at, (target, _)) in targets(name).iter().enumerate() {
        assert_eq!(write(&twinline, &source, target, &format!("m v=2 {}", at + 10)).status, 204);
    }
    // Refused connections are known to have done nothing: no doubt is left.
    twinline.delivered(4);
    let differences = twinline::cell::compare(source.cells(name), destination.cells(name));
    assert!(differences.is_empty() && differences.equal == 4, "{differences}");
}

#[test]
fn a_stopped_influxdb_1_is_a_503_and_nothing_is_delivered() {
    stopped(Kind::One, Kind::Two, "source_stopped_1");
}

#[test]
fn a_stopped_influxdb_2_is_a_503_and_nothing_is_delivered() {
    stopped(Kind::Two, Kind::One, "source_stopped_2");
}

/// Killed in the middle of writes: what had no answer may stand at the source, never at the destination alone.
#[test]
fn a_killed_source_leaves_nothing_at_the_destination_alone() {
    let name = "source_killed";
    let (source, destination) = (Database::start(Kind::One), shared(Kind::Two, 0));
    source.create(name);
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let acknowledged = Mutex::new(HashSet::new());
    std::thread::scope(|scope| {
        for writer in 0..4i64 {
            let (twinline, acknowledged) = (&twinline, &acknowledged);
            scope.spawn(move || {
                let mut connection = Connection::open(&twinline.addr).unwrap();
                for batch in 0.. {
                    let times = batch * 20..(batch + 1) * 20;
                    let body: String = times.clone().map(|time| format!("m,w={writer} v={time}i {time}\n")).collect();
                    let answer = connection.call(&format!("POST /write?db={name}"), &[], body.as_bytes()).unwrap();
                    if answer.status != 204 {
                        assert_unavailable(&answer, false);
                        return;
                    }
                    acknowledged.lock().unwrap().extend(times.map(|time| (writer, time)));
                }
            });
        }
        twinline.until("writes are delivered", |status| status["lines"]["delivered"].as_u64() > Some(1000));
        source.stop(Signal::KILL);
    });
    source.restart();
    let acknowledged = acknowledged.into_inner().unwrap();
    let status = twinline.quiet();
    assert_eq!(status["lines"]["delivered"], acknowledged.len());
    assert!(status["lines"]["doubt"].as_u64() <= Some(4 * 20), "one request of each writer at most: {status:#}");
    let places = |database: &Database| -> HashSet<(i64, i64)> {
        let writer =
            |cell: &twinline::cell::Cell| String::from_utf8_lossy(cell.series.tag(b"w").unwrap()).parse().unwrap();
        database.cells(name).iter().map(|cell| (writer(cell), cell.time_ns)).collect()
    };
    let (at_source, at_destination) = (places(&source), places(&destination));
    assert_eq!(at_destination, acknowledged, "exactly what the source is known to have taken");
    assert!(at_destination.is_subset(&at_source));
    let answer = call(&twinline.addr, &format!("POST /write?db={name}"), &[], b"m,w=9 v=1i 1").unwrap();
    assert_eq!(answer.status, 204, "writes work again");
}
