//! Lines that one side refuses: a poisoned line does not hold up its neighbours, and what the source refused is not
//! sent on.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::database::{Database, Kind, shared};
use crate::proxy::{Setup, Twinline};

/// What the local socket says.
pub(crate) fn ask(twinline: &Twinline, path: &str) -> Value {
    let mut stream = UnixStream::connect(twinline.socket()).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8(answer).unwrap();
    serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn poisoned(source: Kind, destination: (Kind, usize), name: &str) {
    let (source, destination) = (shared(source, 0), shared(destination.0, destination.1));
    source.create(name);
    destination.create(name);
    // Only the destination holds this: there the field is a string.
    destination.post(&format!("/write?db={name}"), b"poisoned v=\"text\" 1", 204);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let line = |at: u64| match at {
        2_345 => "poisoned,t=x v=1.5 2\n".to_owned(),
        _ => format!("good,t={} v={at}i {at}\n", at % 7),
    };
    let body: String = (0..5_000).map(line).collect();
    let answer = twinline.call(&format!("POST /write?db={name}"), &[&source.authorization()], body);
    assert_eq!(answer.status, 204, "{}", answer.text());

    let status = twinline.settled(5_000);
    assert_eq!((&status["lines"]["delivered"], &status["lines"]["dead_lettered"]), (&4_999.into(), &1.into()));
    let letters = ask(&twinline, "/api/v1/dead-letters");
    let [letter] = &letters["lines"].as_array().unwrap()[..] else { panic!("{letters:#}") };
    assert!(letter["reason"].as_str().unwrap().contains("field type conflict"), "{letter:#}");
    assert!(letter["reason"].as_str().unwrap().contains("poisoned"), "{letter:#}");
    assert_eq!(letter["text"], "poisoned,t=x v=1.5 2");

    let document: Value = serde_json::from_slice(&twinline.command(&["status", "-o", "json"]).stdout).unwrap();
    assert_eq!(document["dead_letters"][0]["lines"], 1, "{document:#}");
    assert_eq!(document["dead_letters"][0]["cause"], "type-conflict");
    let text = String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
    assert!(text.contains("! DEAD LETTER 1 lines: type-conflict"), "{text}");
    for shown in [document["dead_letter_reason"].as_str().unwrap(), &text] {
        assert!(shown.contains("field type conflict: input field \"v\" on measurement \"poisoned\""), "{shown}");
    }
    assert!(text.lines().next().unwrap().contains("1 lines were refused by the destination"), "{text}");

    let good = |database: &Database| {
        let cells = database.cells(name).into_iter();
        cells.filter(|cell| cell.series.measurement() == b"good").collect::<Vec<_>>()
    };
    let differences = twinline::cell::compare(good(&source), good(&destination));
    assert!(differences.is_empty() && differences.equal == 4_999, "{differences}");
}

#[test]
fn one_poisoned_line_is_put_aside_at_influxdb_2() {
    poisoned(Kind::One, (Kind::Two, 0), "poisoned_2");
}

#[test]
fn one_poisoned_line_is_put_aside_at_influxdb_1() {
    poisoned(Kind::Two, (Kind::One, 1), "poisoned_1");
}

const MIXED: &str = "m v=1i 1\nbad\nm v=2i 2\nm v= 3\n\n# comment\nm v=4i 4\nm,t= v=5i 5\n";

#[test]
fn influxdb_1_keeps_the_good_lines_of_a_broken_write_and_so_does_the_copy() {
    let name = "partial_1";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    source.create(name);
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    for target in [format!("/write?db={name}"), format!("/api/v2/write?bucket={name}")] {
        let direct = source.post(&target, MIXED.as_bytes(), 400);
        let through = twinline.call(&format!("POST {target}"), &[], MIXED);
        assert_eq!((through.status, through.text()), (400, direct.text()));
    }
    twinline.delivered(6);
    let differences = twinline::cell::compare(source.cells(name), destination.cells(name));
    assert!(differences.is_empty() && differences.equal == 3, "{differences}");
}

#[test]
fn influxdb_2_keeps_nothing_of_a_broken_write_and_so_does_the_copy() {
    let name = "partial_2";
    let (source, destination) = (shared(Kind::Two, 0), shared(Kind::One, 0));
    source.create(name);
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    for target in [format!("/write?db={name}"), format!("/api/v2/write?org=o&bucket={name}")] {
        let direct = source.post(&target, MIXED.as_bytes(), 400);
        let through = twinline.call(&format!("POST {target}"), &[&source.authorization()], MIXED);
        assert_eq!((through.status, through.text()), (400, direct.text()));
    }
    let good = twinline.call(&format!("POST /write?db={name}"), &[&source.authorization()], "m v=9i 9");
    assert_eq!(good.status, 204);
    twinline.delivered(1);
    let differences = twinline::cell::compare(source.cells(name), destination.cells(name));
    assert!(differences.is_empty() && differences.equal == 1, "{differences}");
}

/// 2.x packs its answers to `/write` for clients that ask for it, refusals too: the client gets the same bytes, and we read
/// what they say.
#[test]
fn a_refusal_that_comes_packed_is_no_doubt() {
    let name = "packed_2";
    let (source, destination) = (shared(Kind::Two, 0), shared(Kind::One, 0));
    source.create(name);
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let (line, authorization) = (format!("POST /write?db={name}"), source.authorization());
    let headers = [authorization.as_str(), "Accept-Encoding: gzip"];
    let body = format!("m v=1i 1\nbad{}\n", "d".repeat(2_000));
    let direct = source.connect().call(&line, &headers, body.as_bytes()).unwrap();
    assert_eq!((direct.status, direct.header("content-encoding")), (400, Some("gzip")));
    let through = twinline.call(&line, &headers, &body);
    assert_eq!((through.status, through.header("content-encoding")), (400, Some("gzip")));
    assert_eq!(through.body, direct.body);
    assert_eq!(twinline.call(&line, &headers, "m v=9i 9").status, 204);
    let status = twinline.quiet();
    assert_eq!((&status["lines"]["doubt"], &status["lines"]["delivered"]), (&0.into(), &1.into()), "{status:#}");
    assert_eq!(destination.cells(name).len(), 1);
}

/// Of lines of one time, which lie in one shard, the answer of the source says which were dropped for the type of a field.
#[test]
fn a_type_conflict_of_lines_of_one_time_is_no_doubt() {
    for kind in [Kind::One, Kind::Two] {
        let name = format!("conflict_same_{kind:?}");
        let (source, destination) = (shared(kind, 0), shared(Kind::Two, 1));
        source.create(&name);
        destination.create(&name);
        let twinline = Setup::new(source.section(), destination.section()).start();
        let write = |body: &str| {
            twinline.call(&format!("POST /api/v2/write?org=o&bucket={name}"), &[&source.authorization()], body)
        };
        assert_eq!(write("m v=1 1\nm w=\"x\" 1").status, 204);
        let answer = write("m,h=a v=\"text\" 2\nm,h=b v=3 2\nn v=\"text\" 2\nm,h=c u=1,v=\"more\" 2");
        assert!(
            answer.text().contains("field type conflict") && answer.text().contains("dropped=2"),
            "{}",
            answer.text()
        );
        // One conflict is named, and another one hides behind it.
        let answer = write("m,h=a v=\"text\" 3\nm,h=b v=3 3\nm,h=c w=1 3");
        assert!(answer.text().contains("dropped=2"), "{}", answer.text());
        // All of it, at several times.
        assert!(!write("m v=\"text\" 4\nm v=\"text\" 5").text().is_empty());
        let status = twinline.until("all is settled", |status| status["lines"]["delivered"] == 4);
        let lines = &status["lines"];
        assert_eq!((&lines["doubt"], &lines["queued"]), (&2.into(), &0.into()), "{kind:?} {status:#}");
        let at_two = |database: &Database| {
            let cells = database.cells(&name).into_iter();
            cells.filter(|cell| cell.time_ns == 2).map(|cell| format!("{cell:?}")).collect::<Vec<_>>()
        };
        assert_eq!(at_two(&source), at_two(&destination), "{kind:?}");
        assert_eq!(at_two(&source).len(), 2, "{kind:?}");
    }
}

/// Which lines a type conflict left at the source is not said by its answer where they may lie in several shards: such a write is doubt
/// until it is read back.
#[test]
fn a_type_conflict_at_the_source_is_doubt_and_not_delivered() {
    let name = "conflict_1";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    source.create(name);
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let write = |body: &str| twinline.call(&format!("POST /write?db={name}"), &[], body);
    assert_eq!(write("m v=1 1").status, 204);
    let answer = write("m v=\"text\" 2\nm v=3 3");
    assert!(answer.status == 400 && answer.text().contains("field type conflict"), "{}", answer.text());
    assert_eq!(write("m v=4 4").status, 204);
    let status = twinline.settled(4);
    assert_eq!((&status["lines"]["delivered"], &status["lines"]["doubt"]), (&2.into(), &2.into()));
    assert_eq!(status["dirty_regions"], 1);
    let not_covered = status["not_covered"].to_string();
    assert!(not_covered.contains("2 lines in doubt await read-back (1 regions)"), "{not_covered}");
    let times: Vec<i64> = destination.cells(name).iter().map(|cell| cell.time_ns).collect();
    assert_eq!(times, [1, 4]);
}
