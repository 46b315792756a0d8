//! Each answer that a destination may give to a write, injected once: what is sent afterwards, what is put aside with which
//! code, what stands still and why, and one event. Check 32, for InfluxDB 1 and 2; the tables of other kinds are played here too.

use std::collections::HashSet;

use serde_json::{Value, json};
use twinline::sandbox::{Options, Sandbox};

use crate::proxy::{Setup, Twinline};
use crate::refused::ask;
use crate::scripted::{Reply, Scripted, Write};

/// Answers, each with the number of its row in the table of the facts (§6); 0 is what holds for all that stands in no row.
pub(crate) type Table = &'static [(u8, Row)];

/// One row. Its write is the lines A to D of one series; what was sent is written in these letters.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) status: u16,
    pub(crate) said: &'static str,
    /// The number of a line that the answer names beside its text.
    pub(crate) line: u64,
    pub(crate) headers: &'static [&'static str],
    /// Only so many requests are answered so.
    pub(crate) times: usize,
    /// After those, each one that holds line B is as well.
    pub(crate) always_b: bool,
    /// Requests after the first.
    pub(crate) then: &'static [&'static str],
    /// Lines in the dead-letter store.
    pub(crate) dead: &'static str,
    /// Of the dead letters, or of the pause; of the remark where nothing is either. Empty: nobody hears of it.
    pub(crate) code: &'static str,
    /// `destination`, `route`, or nothing that stands still.
    pub(crate) paused: &'static str,
    /// What was sent may stand twice.
    pub(crate) twice: bool,
}

pub(crate) const ROW: Row = Row {
    status: 0,
    said: "",
    line: 0,
    headers: &[],
    times: 1,
    always_b: false,
    then: &[],
    dead: "",
    code: "",
    paused: "",
    twice: false,
};

/// Waits and sends the same again.
pub(crate) const fn waits(status: u16, said: &'static str, code: &'static str, paused: &'static str) -> Row {
    Row { status, said, code, paused, then: &["ABCD"], ..ROW }
}

/// Answered so twice.
const fn waits_twice(status: u16, said: &'static str, code: &'static str, paused: &'static str) -> Row {
    Row { times: 2, then: &["ABCD", "ABCD"], ..waits(status, said, code, paused) }
}

/// Line B is looked for.
pub(crate) const fn bisects(status: u16, said: &'static str, code: &'static str) -> Row {
    Row { status, said, code, always_b: true, then: &["AB", "A", "B", "CD"], dead: "B", ..ROW }
}

pub(crate) const ALL: &str = "destination";
pub(crate) const ROUTE: &str = "route";

/// How a destination puts its words; see also [`body_of`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `{"error": …}`, as InfluxDB 1.
    Error,
    /// `{"message": …}`, as InfluxDB 2.
    Message,
    /// The number of a line beside it, as QuestDB.
    Numbered,
    /// As it is.
    Text,
}

/// A destination, and what stands in its table.
#[derive(Clone, Copy)]
pub(crate) struct Play {
    /// What the configuration says of it beside its URL.
    pub(crate) names: &'static str,
    pub(crate) form: Form,
    /// Lines A to D.
    pub(crate) lines: &'static str,
    /// Rows of the table; each of them is played.
    pub(crate) rows: u8,
}

const INFLUX_LINES: &str = "m v=0i 1\nm v=1i 2\nm v=2i 3\nm v=3i 4";
pub(crate) const PLAY_1: Play =
    Play { names: "kind = \"influxdb1\"", form: Form::Error, lines: INFLUX_LINES, rows: 25 };
const PLAY_2: Play = Play {
    names: "kind = \"influxdb2\"\norg = \"o\"\ntoken = \"t\"",
    form: Form::Message,
    lines: INFLUX_LINES,
    rows: 17,
};

/// Facts 6.1.
const INFLUX1: Table = &[
    (1, Row { status: 204, ..ROW }),
    (2, waits(200, "", "not-influxdb", ALL)),
    (
        3,
        Row {
            status: 400,
            said: "partial write: unable to parse 'm v=1i 2': invalid number dropped=0 for database: d",
            dead: "B",
            code: "parse",
            ..ROW
        },
    ),
    (
        4,
        Row {
            status: 400,
            said: "unable to parse 'm v=0i 1': invalid number\nunable to parse 'm v=2i 3': invalid number",
            then: &["BD"],
            dead: "AC",
            code: "parse",
            ..ROW
        },
    ),
    // A quote that is none of the lines: looked for.
    (4, bisects(400, "unable to parse 'm v=9i 9': invalid number", "parse")),
    (5, waits(400, "field type conflict", "", "")),
    (
        6,
        bisects(
            400,
            "partial write: field type conflict: input field \"v\" on measurement \"m\" is type integer, already exists as type float dropped=1",
            "type-conflict",
        ),
    ),
    (7, bisects(400, "partial write: points beyond retention policy dropped=1", "expired")),
    (
        7,
        bisects(
            400,
            "partial write: points beyond retention policy or outside permissible write window dropped=1 for database: d",
            "expired",
        ),
    ),
    (
        7,
        bisects(
            400,
            "partial write: dropped 0 points outside retention policy of duration 0s and 1 points outside write window (-2h0m0s to 1h0m0s) - x dropped=1 for database: d",
            "expired",
        ),
    ),
    (
        7,
        Row {
            status: 400,
            said: "partial write: points outside retention policy dropped=4",
            dead: "ABCD",
            code: "expired",
            ..ROW
        },
    ),
    (
        8,
        waits(
            400,
            "partial write: max-values-per-tag limit exceeded (5/3): measurement=\"tv\" tag=\"t\" value=\"6\" dropped=2",
            "tag-values-limit",
            ROUTE,
        ),
    ),
    (8, waits(400, "partial write: max-series-per-database limit exceeded: (20) dropped=30", "series-limit", ROUTE)),
    (9, waits(400, "partial write: shard 12 is pending deletion dropped=4", "shard-deleting", ALL)),
    (
        10,
        bisects(
            400,
            "partial write: invalid field name: input field \"time\" on measurement \"m\" is invalid dropped=1",
            "bad-name",
        ),
    ),
    (
        10,
        bisects(
            400,
            "partial write: invalid tag key: input tag \"time\" on measurement \"m\" is invalid dropped=1",
            "bad-name",
        ),
    ),
    (
        10,
        Row {
            status: 400,
            said: "partial write: invalid field name: input field \"time\" on measurement \"m\" is invalid. Field \"time\" has been stripped from point. dropped=0 for database: d",
            code: "expected",
            ..ROW
        },
    ),
    (11, waits(400, "invalid precision \"x\" (use n, u, ms, s, m or h)", "our-request", ROUTE)),
    (11, waits(400, "invalid consistency level", "our-request", ROUTE)),
    (11, waits(400, "database is required", "our-request", ROUTE)),
    (12, waits(400, "unexpected EOF", "gzip", "")),
    (12, waits(400, "gzip: invalid header", "gzip", "")),
    // Not compressed any more, and still not understood.
    (12, waits_twice(400, "gzip: invalid checksum", "gzip", ROUTE)),
    (13, waits(401, "authorization failed", "unauthorized", ALL)),
    (13, waits(403, "\"bob\" user is not authorized to write to database \"d1\"", "forbidden", ROUTE)),
    (14, waits(404, "database not found: \"d\"", "database-missing", ROUTE)),
    (15, waits(404, "TEXT404 page not found", "wrong-url", ALL)),
    (15, waits(405, "TEXTMethod Not Allowed", "wrong-url", ALL)),
    (17, bisects(500, "proto: field \"tsdb.MeasurementFields.Name\" contains invalid UTF-8", "bad-name")),
    (0, bisects(500, "engine: unable to parse bool value \"x\"", "unstorable")),
    (18, waits(417, "", "expectation", ALL)),
    (19, waits(500, "retention policy not found: nope", "policy-missing", ROUTE)),
    (20, waits(500, "timeout", "timeout", ALL)),
    (
        21,
        Row {
            status: 500,
            said: "engine: cache-max-memory-size exceeded: (4800/4000)",
            then: &["AB", "CD"],
            code: "cache-full",
            paused: ALL,
            ..ROW
        },
    ),
    (22, Row { status: 500, said: "write failed: hinted handoff queue not empty", code: "eventual", ..ROW }),
    (23, waits(500, "hinted handoff queue is full", "server-error", ALL)),
    (23, waits(500, "write failed", "server-error", ALL)),
    (23, waits(500, "partial write", "server-error", ALL)),
    (23, waits(500, "engine is closed", "server-error", ALL)),
    (24, waits(503, "TEXTrequest throttled, queue full", "throttled", ALL)),
    (24, waits(503, "TEXTrequest throttled, exceeds timeout", "throttled", ALL)),
    (25, waits(0, "", "connection-broken", ALL)),
    // Defaults.
    (0, Row { headers: &["Location: http://elsewhere/"], ..waits(302, "", "redirect", ALL) }),
    (0, waits(418, "", "unknown-answer", ROUTE)),
    (0, waits(400, "the moon is full", "unknown-answer", ROUTE)),
    (0, waits(599, "", "server-error", ALL)),
    (0, waits(502, "TEXT<html>Bad Gateway</html>", "server-error", ALL)),
    // Last: it changes the size of all that follow.
    (16, Row { status: 413, said: "Request Entity Too Large", then: &["AB", "CD"], code: "too-large", ..ROW }),
];

/// Facts 6.2.
const INFLUX2: Table = &[
    (1, Row { status: 204, ..ROW }),
    (
        2,
        Row {
            status: 400,
            said: "unable to parse 'm v=1i 2': invalid number\nunable to parse 'm v=3i 4': cannot use reserved tag key \"time\"",
            then: &["AC"],
            dead: "BD",
            code: "parse",
            ..ROW
        },
    ),
    (
        3,
        Row {
            status: 422,
            said: "failure writing points to database: partial write: invalid field name: input field \"time\" on measurement \"m\" is invalid. Field \"time\" has been stripped from point. dropped=0 for database: 809ad5dd902a59ac for retention policy: autogen",
            code: "expected",
            ..ROW
        },
    ),
    (
        4,
        Row {
            status: 400,
            said: "LINEfailed to parse line protocol:\n  errors encountered on line(s):\n  error parsing line 2 (1-based): Invalid",
            then: &["ACD"],
            dead: "B",
            code: "parse",
            ..ROW
        },
    ),
    (
        4,
        Row {
            status: 400,
            said: "partial write of line protocol:\n  errors encountered on line(s):\n  error parsing line 2 (1-based): Invalid\n  error parsing line 3 (1-based): Invalid",
            dead: "BC",
            code: "parse",
            ..ROW
        },
    ),
    (
        5,
        Row {
            status: 400,
            said: "partial write error (3 written): unable to parse 'm v=1i 2': schema: field type for field \"v\" not permitted",
            dead: "B",
            code: "schema",
            ..ROW
        },
    ),
    (6, waits(400, "invalid precision; valid precision units are ns, us, ms, and s", "our-request", ROUTE)),
    (6, waits(400, "Please provide either orgID or org", "our-request", ROUTE)),
    (0, waits(404, "TEXT404 page not found", "wrong-url", ALL)),
    (0, waits(405, "TEXTMethod Not Allowed", "wrong-url", ALL)),
    (7, waits(401, "unauthorized access", "unauthorized", ALL)),
    (7, waits(403, "insufficient permissions for write", "forbidden", ROUTE)),
    (8, waits(404, "bucket \"nope\" not found", "bucket-missing", ROUTE)),
    (8, waits(404, "organization name \"nope\" not found", "org-missing", ROUTE)),
    (8, waits(404, "organization not found", "org-missing", ROUTE)),
    (8, waits(404, "organization ID \"809ad5dd902a59ac\" not found", "org-missing", ROUTE)),
    (9, waits(408, "", "timeout", ALL)),
    (9, waits(499, "", "timeout", ALL)),
    (
        11,
        bisects(
            422,
            "failure writing points to database: partial write: field type conflict: input field \"v\" on measurement \"m\" is type string, already exists as type float dropped=1",
            "type-conflict",
        ),
    ),
    (
        11,
        bisects(
            422,
            "failure writing points to database: partial write: dropped 1 points outside retention policy of duration 24h0m0s - x dropped=1",
            "expired",
        ),
    ),
    (
        11,
        bisects(
            422,
            "failure writing points to database: partial write: input field \"v\" on measurement \"m\" is too long, 1048577 > 1048576 dropped=1",
            "too-large",
        ),
    ),
    (
        11,
        waits(
            422,
            "failure writing points to database: partial write: max-values-per-tag limit exceeded (5/3): measurement=\"tv\" tag=\"t\" value=\"6\" dropped=2",
            "tag-values-limit",
            ROUTE,
        ),
    ),
    (
        11,
        waits(
            422,
            "failure writing points to database: partial write: max-series-per-database limit exceeded: (20) dropped=30",
            "series-limit",
            ROUTE,
        ),
    ),
    (
        11,
        waits(
            422,
            "failure writing points to database: partial write: shard 12 is pending deletion dropped=4",
            "shard-deleting",
            ALL,
        ),
    ),
    (
        11,
        bisects(
            422,
            "failure writing points to database: partial write: invalid field name: input field \"time\" on measurement \"m\" is invalid dropped=1",
            "bad-name",
        ),
    ),
    (
        11,
        bisects(
            422,
            "failure writing points to database: partial write: invalid tag key: input tag \"time\" on measurement \"m\" is invalid dropped=1",
            "bad-name",
        ),
    ),
    (12, Row { headers: &["Retry-After: 1"], ..waits(429, "quota", "quota", ALL) }),
    (13, waits(429, "org has exceeded its limit", "cardinality", ALL)),
    (13, waits(503, "max cardinality exceeded", "cardinality", ALL)),
    (
        14,
        bisects(
            500,
            "failure writing points to database: partial write: field type conflict: x dropped=1",
            "type-conflict",
        ),
    ),
    (15, waits(500, "An internal error has occurred - check server logs", "server-error", "")),
    // Not compressed any more, and still so: then it is any error of the server.
    (15, waits_twice(500, "An internal error has occurred - check server logs", "server-error", ALL)),
    (16, waits(500, "unexpected error writing points to database: timeout", "timeout", ALL)),
    (
        16,
        bisects(
            500,
            "unexpected error writing points to database: engine: unable to parse floating point value \"x\"",
            "unstorable",
        ),
    ),
    (16, waits(500, "anything", "server-error", ALL)),
    (17, waits(503, "", "unavailable", ALL)),
    (17, Row { headers: &["Retry-After: 1"], ..waits(503, "", "unavailable", ALL) }),
    (
        10,
        Row {
            status: 413,
            said: "TEXT<html><center>413 Request Entity Too Large</center></html>",
            then: &["AB", "CD"],
            code: "too-large",
            ..ROW
        },
    ),
];

/// The lines of a body in letters, whatever table and unit of time they have.
fn letters(body: &str) -> String {
    let letter = |line: &str| match line.split_once("v=").and_then(|(_, rest)| rest.split_once('i')) {
        Some(("0", _)) => 'A',
        Some(("1", _)) => 'B',
        Some(("2", _)) => 'C',
        Some(("3", _)) => 'D',
        _ => panic!("nobody wrote {line}"),
    };
    body.lines().map(letter).collect()
}

/// `TEXT` and `JSON`: the body is what follows. `LINE` begins an answer of the cloud, with a line's number.
fn body_of(row: &Row, form: Form) -> String {
    if let Some(text) = row.said.strip_prefix("TEXT").or_else(|| row.said.strip_prefix("JSON")) {
        return text.to_owned();
    }
    if let Some(text) = row.said.strip_prefix("LINE") {
        return json!({ "code": "invalid", "line": 2, "message": text }).to_string();
    }
    match (row.said, form) {
        ("", Form::Error | Form::Message) => String::new(),
        (said, Form::Error) => format!("{}\n", json!({ "error": said })),
        (said, Form::Message) => json!({ "code": "invalid", "message": said }).to_string(),
        (said, Form::Numbered) => json!({ "code": "invalid", "message": said, "line": row.line }).to_string(),
        (said, Form::Text) => said.to_owned(),
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

/// What a run has seen so far.
struct Stage {
    play: Play,
    source: Sandbox,
    destination: Scripted,
    twinline: Twinline,
    /// Kinds of news and their codes: each is told once a minute.
    heard: HashSet<(&'static str, &'static str)>,
    /// Whether bodies are packed, still.
    packs: bool,
    lines: u64,
}

/// Plays each row. All rows of the table are there.
pub(crate) fn play(play: Play, table: Table) -> Twinline {
    let numbers: HashSet<u8> = table.iter().map(|(number, _)| *number).collect();
    assert!((1..=play.rows).all(|row| numbers.contains(&row)), "a row is missing: {numbers:?}");
    play_some(play, table)
}

fn play_some(play: Play, table: Table) -> Twinline {
    let source = Sandbox::spawn_thread(Options::default()).unwrap();
    let destination = Scripted::start(|_| Reply::new(204, ""));
    let mut setup = Setup::new(
        format!("url = \"{}\"\nkind = \"influxdb1\"", source.url()),
        format!("url = \"{}\"\n{}", destination.url(), play.names),
    );
    setup.delivery.push_str("\ncompression = \"gzip\"");
    let twinline = setup.start();
    let mut stage = Stage { play, source, destination, twinline, heard: HashSet::new(), packs: true, lines: 0 };
    for (place, (number, row)) in table.iter().enumerate() {
        let name = format!("row{place}x");
        let what = format!("{name}, row {number} of the facts: {} {}", row.status, row.said);
        stage.source.create_database(&name);
        let before = events(&stage.twinline, 0).len();
        stage.script(row);
        let answer = stage.twinline.call(&format!("POST /write?db={name}"), &[], play.lines);
        assert_eq!(answer.status, 204, "{what}: {}", answer.text());
        stage.lines += 4;
        stage.twinline.settled(stage.lines);
        stage.twinline.until(&what, |status| status["paused"].as_array().unwrap().is_empty());
        stage.sent(row, &name, &what);
        stage.put_aside(row, &name, &what);
        stage.told(row, before, &what);
    }
    let codes: HashSet<_> = table.iter().map(|(_, row)| row.code).collect();
    eprintln!("{} answers, {} codes", table.len(), codes.len());
    stage.twinline
}

impl Stage {
    fn script(&self, row: &'static Row) {
        let (mut left, form) = (row.times, self.play.form);
        self.destination.set(move |write: &Write| {
            let answers = left > 0 || (row.always_b && letters(&write.body).contains('B'));
            left = left.saturating_sub(1);
            match (answers, row.status) {
                (false, _) => Reply::new(204, ""),
                (true, 0) => Reply::Close,
                (true, status) => {
                    let headers = row.headers.iter().map(|line| (*line).to_owned()).collect();
                    Reply::Answer(status, body_of(row, form), headers)
                }
            }
        });
    }

    fn sent(&mut self, row: &Row, name: &str, what: &str) {
        let writes = self.destination.writes(&format!("={name}"));
        let sent: Vec<String> = writes.iter().map(|write| letters(&write.body)).collect();
        assert_eq!(sent[0], "ABCD", "{what}");
        assert_eq!(sent[1..], *row.then, "{what}");
        assert_eq!(writes[0].gzip, self.packs, "{what}");
        self.packs &= row.code != "no-gzip";
        let plain = row.code == "gzip" || row.said.starts_with("An internal error");
        for (number, write) in writes[1..].iter().enumerate() {
            // Once more without compression; what had to wait for somebody begins again.
            let plain = plain && (number == 0 || row.paused != ROUTE);
            assert_eq!(write.gzip, self.packs && !plain, "{what}: {writes:?}");
        }
        assert!(writes.iter().all(|write| !write.expects), "{what}");
    }

    fn put_aside(&self, row: &Row, name: &str, what: &str) {
        let put_aside = dead(&self.twinline, name);
        let texts: String = put_aside.iter().map(|(text, _)| letters(text)).collect();
        assert_eq!(texts, row.dead, "{what}: {put_aside:?}");
        let reserved = row.said.contains("reserved");
        for (text, code) in &put_aside {
            let by_name = reserved && text == "m v=3i 4" && code == "bad-name";
            assert!(code == row.code || by_name, "{what}: {put_aside:?}");
        }
    }

    /// A pause is told each time; everything else at most once a minute for each code.
    fn told(&mut self, row: &'static Row, before: usize, what: &str) {
        let told = events(&self.twinline, before);
        let count = |kind: &str, code: &str| {
            let of_kind = told.iter().filter(|event| event["kind"] == kind);
            of_kind.filter(|event| event["text"].as_str().unwrap().contains(code)).count()
        };
        match row.paused {
            ALL => {
                let both = (count("destination-paused", row.code), count("destination-resumed", row.code));
                assert_eq!(both, (1, 0), "{what}: {told:?}");
            }
            ROUTE => assert_eq!(count("route-paused", row.code), 1, "{what}: {told:?}"),
            _ => {
                assert_eq!(count("destination-paused", "") + count("route-paused", ""), 0, "{what}: {told:?}");
                let kind = if row.dead.is_empty() { "destination-remark" } else { "dead-letter" };
                let news = !row.code.is_empty() && self.heard.insert((kind, row.code));
                assert!(row.code.is_empty() || count(kind, row.code) == usize::from(news), "{what}: {told:?}");
            }
        }
        if row.said.contains("reserved") {
            self.heard.insert(("dead-letter", "bad-name"));
        }
        let news = row.twice && self.heard.insert(("destination-remark", "possible-duplicates"));
        assert_eq!(count("destination-remark", "possible-duplicates"), usize::from(news), "{what}: {told:?}");
    }
}

#[test]
fn check_32_every_answer_of_influxdb_1_leads_to_its_action() {
    let twinline = play(PLAY_1, INFLUX1);
    let metrics = twinline.admin("/metrics").text();
    assert!(metrics.contains("twinline_delivery_read_apart_total 1\n"), "row 3 is a bug of ours: {metrics}");
}

#[test]
fn check_32_every_answer_of_influxdb_2_leads_to_its_action() {
    play(PLAY_2, INFLUX2);
    // By itself: it changes the size of all that follow.
    const LARGE: Table = &[(
        10,
        Row {
            status: 413,
            said: "JSON{\"code\":\"request too large\",\"message\":\"unable to read data: points batch is too large\"}",
            then: &["AB", "CD"],
            code: "too-large",
            ..ROW
        },
    )];
    play_some(PLAY_2, LARGE);
}
