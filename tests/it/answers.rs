//! Each answer that a destination may give to a write, injected once: what is sent afterwards, what is put aside with which
//! code, what stands still and why, and one event.

use std::collections::HashSet;

use serde_json::Value;
use twinline::sandbox::{Options, Sandbox};

use crate::proxy::{Setup, Twinline};
use crate::refused::ask;
use crate::scripted::{Reply, Scripted, Write};

/// One row. Its write is the lines A to D of one series; what was sent is written in these letters.
pub(crate) struct Row {
    pub(crate) status: u16,
    pub(crate) said: &'static str,
    pub(crate) headers: &'static [&'static str],
    /// Only the first request is answered so; else each one that holds line B.
    pub(crate) once: bool,
    /// Requests after the first.
    pub(crate) then: &'static [&'static str],
    /// Lines in the dead-letter store.
    pub(crate) dead: &'static str,
    /// Of the dead letters, or of the pause; of the remark where nothing is either. Empty: nobody hears of it.
    pub(crate) code: &'static str,
    /// `destination`, `route`, or nothing that stands still.
    pub(crate) paused: &'static str,
}

pub(crate) const ROW: Row =
    Row { status: 0, said: "", headers: &[], once: true, then: &[], dead: "", code: "", paused: "" };

/// Waits and sends the same again.
pub(crate) const fn waits(status: u16, said: &'static str, code: &'static str, paused: &'static str) -> Row {
    Row { status, said, code, paused, then: &["ABCD"], ..ROW }
}

/// Line B is looked for.
pub(crate) const fn bisects(status: u16, said: &'static str, code: &'static str) -> Row {
    Row { status, said, code, once: false, then: &["AB", "A", "B", "CD"], dead: "B", ..ROW }
}

pub(crate) const ALL: &str = "destination";
pub(crate) const ROUTE: &str = "route";

/// The first part of both tables.
const INFLUX1: &[Row] = &[
    Row { status: 204, ..ROW },
    waits(200, "", "not-influxdb", ALL),
    Row {
        status: 400,
        said: "partial write: unable to parse 'm v=1i 2': invalid number dropped=0 for database: d",
        dead: "B",
        code: "parse",
        ..ROW
    },
    Row {
        status: 400,
        said: "unable to parse 'm v=0i 1': invalid number\nunable to parse 'm v=2i 3': invalid number",
        then: &["BD"],
        dead: "AC",
        code: "parse",
        ..ROW
    },
    // A quote that is none of the lines: looked for.
    bisects(400, "unable to parse 'm v=9i 9': invalid number", "parse"),
    waits(400, "field type conflict", "", ""),
    bisects(
        400,
        "partial write: field type conflict: input field \"v\" on measurement \"m\" is type integer, already exists as type float dropped=1",
        "type-conflict",
    ),
    bisects(400, "partial write: points beyond retention policy dropped=1", "expired"),
    bisects(
        400,
        "partial write: points beyond retention policy or outside permissible write window dropped=1 for database: d",
        "expired",
    ),
    bisects(
        400,
        "partial write: dropped 0 points outside retention policy of duration 0s and 1 points outside write window (-2h0m0s to 1h0m0s) - x dropped=1 for database: d",
        "expired",
    ),
    Row {
        status: 400,
        said: "partial write: points outside retention policy dropped=4",
        dead: "ABCD",
        code: "expired",
        ..ROW
    },
    waits(
        400,
        "partial write: max-values-per-tag limit exceeded (5/3): measurement=\"tv\" tag=\"t\" value=\"6\" dropped=2",
        "tag-values-limit",
        ROUTE,
    ),
    waits(400, "partial write: max-series-per-database limit exceeded: (20) dropped=30", "series-limit", ROUTE),
    waits(400, "partial write: shard 12 is pending deletion dropped=4", "shard-deleting", ALL),
    bisects(
        400,
        "partial write: invalid field name: input field \"time\" on measurement \"m\" is invalid dropped=1",
        "bad-name",
    ),
    bisects(
        400,
        "partial write: invalid tag key: input tag \"time\" on measurement \"m\" is invalid dropped=1",
        "bad-name",
    ),
    Row {
        status: 400,
        said: "partial write: invalid field name: input field \"time\" on measurement \"m\" is invalid. Field \"time\" has been stripped from point. dropped=0 for database: d",
        code: "expected",
        ..ROW
    },
    waits(400, "invalid precision \"x\" (use n, u, ms, s, m or h)", "our-request", ROUTE),
    waits(400, "invalid consistency level", "our-request", ROUTE),
    waits(400, "database is required", "our-request", ROUTE),
    waits(400, "unexpected EOF", "gzip", ""),
    waits(400, "gzip: invalid header", "gzip", ""),
    waits(401, "authorization failed", "unauthorized", ALL),
    waits(403, "\"bob\" user is not authorized to write to database \"d1\"", "forbidden", ROUTE),
    waits(404, "database not found: \"d\"", "database-missing", ROUTE),
    waits(404, "TEXT404 page not found", "wrong-url", ALL),
    waits(405, "TEXTMethod Not Allowed", "wrong-url", ALL),
    bisects(500, "proto: field \"tsdb.MeasurementFields.Name\" contains invalid UTF-8", "bad-name"),
    bisects(500, "engine: unable to parse bool value \"x\"", "unstorable"),
    waits(417, "", "expectation", ALL),
    waits(500, "retention policy not found: nope", "policy-missing", ROUTE),
    waits(500, "timeout", "timeout", ALL),
    Row {
        status: 500,
        said: "engine: cache-max-memory-size exceeded: (4800/4000)",
        then: &["AB", "CD"],
        code: "cache-full",
        paused: ALL,
        ..ROW
    },
    Row { status: 500, said: "write failed: hinted handoff queue not empty", code: "eventual", ..ROW },
    waits(500, "hinted handoff queue is full", "server-error", ALL),
    waits(500, "write failed", "server-error", ALL),
    waits(500, "partial write", "server-error", ALL),
    waits(500, "engine is closed", "server-error", ALL),
    waits(503, "TEXTrequest throttled, queue full", "throttled", ALL),
    waits(503, "TEXTrequest throttled, exceeds timeout", "throttled", ALL),
    waits(0, "", "connection-broken", ALL),
    // Defaults.
    Row { headers: &["Location: http://elsewhere/"], ..waits(302, "", "redirect", ALL) },
    waits(418, "", "unknown-answer", ROUTE),
    waits(400, "the moon is full", "unknown-answer", ROUTE),
    waits(599, "", "server-error", ALL),
    waits(502, "TEXT<html>Bad Gateway</html>", "server-error", ALL),
    // Last: it changes the size of all that follow.
    Row { status: 413, said: "Request Entity Too Large", then: &["AB", "CD"], code: "too-large", ..ROW },
];

const INFLUX2: &[Row] = &[
    Row { status: 204, ..ROW },
    Row {
        status: 400,
        said: "unable to parse 'm v=1i 2': invalid number\nunable to parse 'm v=3i 4': cannot use reserved tag key \"time\"",
        then: &["AC"],
        dead: "BD",
        code: "parse",
        ..ROW
    },
    Row {
        status: 422,
        said: "failure writing points to database: partial write: invalid field name: input field \"time\" on measurement \"m\" is invalid. Field \"time\" has been stripped from point. dropped=0 for database: 809ad5dd902a59ac for retention policy: autogen",
        code: "expected",
        ..ROW
    },
    Row {
        status: 400,
        said: "LINEfailed to parse line protocol:\n  errors encountered on line(s):\n  error parsing line 2 (1-based): Invalid",
        then: &["ACD"],
        dead: "B",
        code: "parse",
        ..ROW
    },
    Row {
        status: 400,
        said: "partial write of line protocol:\n  errors encountered on line(s):\n  error parsing line 2 (1-based): Invalid\n  error parsing line 3 (1-based): Invalid",
        dead: "BC",
        code: "parse",
        ..ROW
    },
    Row {
        status: 400,
        said: "partial write error (3 written): unable to parse 'm v=1i 2': schema: field type for field \"v\" not permitted",
        dead: "B",
        code: "schema",
        ..ROW
    },
    waits(400, "invalid precision; valid precision units are ns, us, ms, and s", "our-request", ROUTE),
    waits(400, "Please provide either orgID or org", "our-request", ROUTE),
    waits(401, "unauthorized access", "unauthorized", ALL),
    waits(403, "insufficient permissions for write", "forbidden", ROUTE),
    waits(404, "bucket \"nope\" not found", "bucket-missing", ROUTE),
    waits(404, "organization name \"nope\" not found", "org-missing", ROUTE),
    waits(408, "", "timeout", ALL),
    waits(499, "", "timeout", ALL),
    bisects(
        422,
        "failure writing points to database: partial write: field type conflict: input field \"v\" on measurement \"m\" is type string, already exists as type float dropped=1",
        "type-conflict",
    ),
    bisects(
        422,
        "failure writing points to database: partial write: dropped 1 points outside retention policy of duration 24h0m0s - x dropped=1",
        "expired",
    ),
    bisects(
        422,
        "failure writing points to database: partial write: input field \"v\" on measurement \"m\" is too long, 1048577 > 1048576 dropped=1",
        "too-large",
    ),
    Row { headers: &["Retry-After: 1"], ..waits(429, "quota", "quota", ALL) },
    waits(429, "org has exceeded its limit", "cardinality", ALL),
    waits(503, "max cardinality exceeded", "cardinality", ALL),
    bisects(
        500,
        "failure writing points to database: partial write: field type conflict: x dropped=1",
        "type-conflict",
    ),
    waits(500, "An internal error has occurred - check server logs", "server-error", ""),
    waits(500, "unexpected error writing points to database: timeout", "timeout", ALL),
    bisects(
        500,
        "unexpected error writing points to database: engine: unable to parse floating point value \"x\"",
        "unstorable",
    ),
    waits(500, "anything", "server-error", ALL),
    waits(503, "", "unavailable", ALL),
    Row { headers: &["Retry-After: 1"], ..waits(503, "", "unavailable", ALL) },
    Row {
        status: 413,
        said: "TEXT<html><center>413 Request Entity Too Large</center></html>",
        then: &["AB", "CD"],
        code: "too-large",
        ..ROW
    },
];

/// Its lines in letters.
fn letters(body: &str) -> String {
    let letter = |line: &str| match line {
        "m v=0i 1" => 'A',
        "m v=1i 2" => 'B',
        "m v=2i 3" => 'C',
        "m v=3i 4" => 'D',
        other => panic!("nobody wrote {other}"),
    };
    body.lines().map(letter).collect()
}

fn body_of(row: &Row, two: bool) -> String {
    if let Some(text) = row.said.strip_prefix("TEXT") {
        return text.to_owned();
    }
    if let Some(text) = row.said.strip_prefix("LINE") {
        return serde_json::json!({ "code": "invalid", "line": 2, "message": text }).to_string();
    }
    if let Some(text) = row.said.strip_prefix("JSON") {
        return text.to_owned();
    }
    match (row.said, two) {
        ("", _) => String::new(),
        (said, true) => serde_json::json!({ "code": "invalid", "message": said }).to_string(),
        (said, false) => format!("{}\n", serde_json::json!({ "error": said })),
    }
}

pub(crate) fn events(twinline: &Twinline, after: usize) -> Vec<Value> {
    let all = twinline.admin("/api/v1/events?limit=1000").json();
    all["events"].as_array().unwrap()[after..].to_vec()
}

pub(crate) fn dead(twinline: &Twinline, name: &str) -> Vec<(String, String)> {
    let letters = ask(twinline, "/api/v1/dead-letters?limit=1000");
    let mut found: Vec<_> = letters["lines"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|letter| letter["route"].as_str().unwrap().contains(name))
        .map(|letter| (letter["text"].as_str().unwrap().to_owned(), letter["code"].as_str().unwrap().to_owned()))
        .collect();
    found.sort();
    found
}

pub(crate) fn play(rows: &'static [Row], two: bool) {
    let names = if two { "kind = \"influxdb2\"\norg = \"o\"\ntoken = \"t\"" } else { "kind = \"influxdb1\"" };
    play_at(names, rows, two);
}

/// `names`: what the configuration says of the destination beside its URL.
pub(crate) fn play_at(names: &str, rows: &'static [Row], two: bool) {
    let source = Sandbox::spawn_thread(Options::default()).unwrap();
    let destination = Scripted::start(|_| Reply::new(204, ""));
    let mut setup = Setup::new(
        format!("url = \"{}\"\nkind = \"influxdb1\"", source.url()),
        format!("url = \"{}\"\n{names}", destination.url()),
    );
    setup.delivery.push_str("\ncompression = \"gzip\"");
    let twinline = setup.start();
    let mut heard = HashSet::new();
    for (number, row) in rows.iter().enumerate() {
        let name = format!("row{number}x");
        let what = format!("{name}: {} {}", row.status, row.said);
        source.create_database(&name);
        let before = events(&twinline, 0).len();
        let mut first = true;
        destination.set(move |write: &Write| {
            let answers = std::mem::take(&mut first) || (!row.once && letters(&write.body).contains('B'));
            match (answers, row.status) {
                (false, _) => Reply::new(204, ""),
                (true, 0) => Reply::Close,
                (true, status) => {
                    let headers = row.headers.iter().map(|line| (*line).to_owned()).collect();
                    Reply::Answer(status, body_of(row, two), headers)
                }
            }
        });
        let answer = twinline.call(&format!("POST /write?db={name}"), &[], "m v=0i 1\nm v=1i 2\nm v=2i 3\nm v=3i 4");
        assert_eq!(answer.status, 204, "{what}: {}", answer.text());
        twinline.settled(4 * (number as u64 + 1));
        twinline.until(&what, |status| status["paused"].as_array().unwrap().is_empty());

        let writes = destination.writes(&format!("={name}"));
        let sent: Vec<String> = writes.iter().map(|write| letters(&write.body)).collect();
        assert_eq!(sent[0], "ABCD", "{what}");
        assert_eq!(sent[1..], *row.then, "{what}");
        let plain = row.code == "gzip" || row.said.starts_with("An internal error");
        assert!(writes[1..].iter().all(|write| write.gzip != plain), "{what}: {writes:?}");
        assert!(writes.iter().all(|write| !write.expects), "{what}");
        let put_aside = dead(&twinline, &name);
        let texts: String = put_aside.iter().map(|(text, _)| letters(text)).collect();
        assert_eq!(texts, row.dead, "{what}: {put_aside:?}");
        let reserved = row.said.contains("reserved");
        assert!(
            put_aside
                .iter()
                .all(|(text, code)| code == row.code || reserved && text == "m v=3i 4" && code == "bad-name")
        );

        // A pause is told each time; everything else at most once a minute for each code.
        let told = events(&twinline, before);
        let kinds: Vec<&str> = told.iter().map(|event| event["kind"].as_str().unwrap()).collect();
        let marked = |kind: &str| {
            let of_kind = told.iter().filter(|event| event["kind"] == kind);
            of_kind.filter(|event| event["text"].as_str().unwrap().contains(row.code)).count()
        };
        let expected = usize::from(!row.code.is_empty());
        match row.paused {
            ALL => {
                assert_eq!((marked("destination-paused"), marked("destination-resumed")), (1, 0), "{what}: {told:?}")
            }
            ROUTE => assert_eq!(marked("route-paused"), 1, "{what}: {told:?}"),
            _ => {
                assert!(!kinds.iter().any(|kind| kind.ends_with("paused")), "{what}: {told:?}");
                let kind = if row.dead.is_empty() { "destination-remark" } else { "dead-letter" };
                let news = expected * usize::from(heard.insert((kind, row.code)));
                assert_eq!(marked(kind), news, "{what}: {told:?}");
            }
        }
    }
    let codes: HashSet<_> = rows.iter().map(|row| row.code).collect();
    eprintln!("{} answers, {} codes", rows.len(), codes.len());
}

#[test]
fn every_answer_of_influxdb_1_leads_to_its_action() {
    play(INFLUX1, false);
}

#[test]
fn every_answer_of_influxdb_2_leads_to_its_action() {
    play(INFLUX2, true);
}
