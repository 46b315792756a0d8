//! Each answer that VictoriaMetrics or QuestDB may give to a write, injected once: what is sent afterwards, what is put aside
//! with which code, and what stands still.

use twinline::sandbox::{Options, Sandbox};

use crate::answers::{dead, events};
use crate::proxy::Setup;
use crate::scripted::{Reply, Scripted, Write};

/// One row. Its write is the lines A to D of one series; what was sent is written in these letters.
struct Row {
    status: u16,
    said: &'static str,
    /// The number of a line in the answer.
    line: u64,
    /// Only the first request is answered so; else each one that holds line B.
    once: bool,
    /// Requests after the first.
    then: &'static [&'static str],
    /// Lines in the dead-letter store.
    dead: &'static str,
    /// Of the dead letters, the pause, or the remark; empty: nobody hears of it.
    code: &'static str,
    /// `destination`, `route`, or nothing that stands still.
    paused: &'static str,
    /// Its rows may stand twice.
    twice: bool,
}

const ROW: Row =
    Row { status: 0, said: "", line: 0, once: true, then: &[], dead: "", code: "", paused: "", twice: false };
const ALL: &str = "destination";
const ROUTE: &str = "route";

/// Waits and sends the same again.
const fn waits(status: u16, said: &'static str, code: &'static str, paused: &'static str) -> Row {
    Row { status, said, code, paused, then: &["ABCD"], ..ROW }
}

/// The same, where the first request may have had an effect.
const fn unsure(status: u16, said: &'static str, code: &'static str) -> Row {
    Row { twice: true, ..waits(status, said, code, ALL) }
}

/// Line B is looked for.
const fn bisects(status: u16, said: &'static str, code: &'static str) -> Row {
    Row { status, said, code, once: false, then: &["AB", "A", "B", "CD"], dead: "B", ..ROW }
}

const VICTORIA: &[Row] = &[
    Row { status: 204, ..ROW },
    waits(200, "", "not-victoriametrics", ALL),
    waits(302, "", "redirect", ALL),
    bisects(400, "cannot process influx line protocol data: incorrect influx line \"m v=1i 0\": x", "parse"),
    waits(400, "cannot process influx line protocol data: cannot read gzip-compressed data", "gzip", ""),
    waits(400, "cannot process influx line protocol data: unexpected EOF", "gzip", ""),
    waits(400, "unsupported contentType \"gzip\"", "gzip", ""),
    waits(400, "unsupported path requested: \"/x\"", "wrong-url", ALL),
    waits(400, "the moon is full", "unknown-answer", ROUTE),
    waits(401, "", "unauthorized", ALL),
    waits(403, "", "unauthorized", ALL),
    waits(404, "", "wrong-url", ALL),
    waits(429, "", "quota", ALL),
    waits(418, "", "unknown-answer", ROUTE),
    waits(500, "anything", "server-error", ALL),
    waits(503, "cannot store metrics: the storage is in read-only mode", "read-only", ALL),
    waits(503, "couldn't start executing the request in 60.000 seconds", "unavailable", ALL),
    waits(0, "", "connection-broken", ALL),
    // Last: they change the size of all that follow.
    Row {
        status: 400,
        said: "cannot process influx line protocol data: too big data size: 70000000",
        then: &["AB", "CD"],
        code: "too-large",
        ..ROW
    },
];

const QUESTDB: &[Row] = &[
    Row { status: 204, ..ROW },
    waits(200, "", "not-questdb", ALL),
    waits(302, "", "redirect", ALL),
    Row {
        status: 400,
        said: "LP\nerror in line 2: table: d_m, column: v; cast error from protocol type: INTEGER to column type: BOOLEAN",
        line: 2,
        then: &["ACD"],
        dead: "B",
        code: "type-conflict",
        ..ROW
    },
    Row {
        status: 400,
        said: "LP\nerror in line 2: Could not parse entire line",
        line: 2,
        then: &["ACD"],
        dead: "B",
        code: "parse",
        ..ROW
    },
    Row {
        status: 400,
        said: "LP\nerror in line 2: table: m; invalid column name: a-b",
        line: 2,
        then: &["ACD"],
        dead: "B",
        code: "bad-name",
        ..ROW
    },
    // Without a number, and with one that is none of ours: looked for.
    bisects(400, "LP\nerror in some line", "parse"),
    Row { line: 9, ..bisects(400, "LP\nerror in line 9: x", "parse") },
    waits(400, "LPunsupported precision", "our-request", ROUTE),
    waits(400, "the moon is full", "unknown-answer", ROUTE),
    waits(401, "Unauthorized", "unauthorized", ALL),
    waits(403, "", "unauthorized", ALL),
    waits(405, "Method POST not supported", "wrong-url", ALL),
    waits(415, "gzip decompression error", "gzip", ""),
    waits(418, "", "unknown-answer", ROUTE),
    waits(421, "not accepting writes", "read-only", ALL),
    bisects(500, "LPwrite error: m, error: java.lang.UnsupportedOperationException", "bad-name"),
    bisects(500, "LPwrite error: m, errno: -1, error: invalid UTF8 in value for a", "unstorable"),
    unsure(500, "LPcommit error for table: m, errno: 28", "commit-error"),
    unsure(500, "anything", "server-error"),
    waits(503, "", "unavailable", ALL),
    unsure(0, "", "connection-broken"),
    // Last: it changes how all that follow are sent, and the next their size.
    waits(415, "gzip encoding is not supported", "no-gzip", ""),
    Row { status: 413, said: "request too large", then: &["AB", "CD"], code: "too-large", ..ROW },
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

fn play(rows: &'static [Row], kind: &str) {
    let source = Sandbox::spawn_thread(Options::default()).unwrap();
    let destination = Scripted::start(|_| Reply::new(204, ""));
    let mut setup = Setup::new(
        format!("url = \"{}\"\nkind = \"influxdb1\"", source.url()),
        format!("url = \"{}\"\nkind = \"{kind}\"", destination.url()),
    );
    setup.delivery.push_str("\ncompression = \"gzip\"");
    let twinline = setup.start();
    let (mut knows_gzip, mut told_twice) = (true, false);
    for (number, row) in rows.iter().enumerate() {
        let name = format!("row{number}x");
        let what = format!("{kind} {name}: {} {}", row.status, row.said);
        source.create_database(&name);
        let before = events(&twinline, 0).len();
        let said = row.said.replace("LP", "failed to parse line protocol:errors encountered on line(s):");
        let body = match kind {
            "questdb" => serde_json::json!({ "code": "invalid", "message": said, "line": row.line }).to_string(),
            _ => said,
        };
        let mut first = true;
        destination.set(move |write: &Write| {
            let answers = std::mem::take(&mut first) || (!row.once && letters(&write.body).contains('B'));
            match (answers, row.status) {
                (false, _) => Reply::new(204, ""),
                (true, 0) => Reply::Close,
                (true, status) => Reply::new(status, &body),
            }
        });
        let lines = "m v=0i 1000000\nm v=1i 2000000\nm v=2i 3000000\nm v=3i 4000000";
        assert_eq!(twinline.call(&format!("POST /write?db={name}"), &[], lines).status, 204, "{what}");
        twinline.settled(4 * (number as u64 + 1));
        twinline.until(&what, |status| status["paused"].as_array().unwrap().is_empty());

        let writes = destination.writes(&format!("={name}"));
        let sent: Vec<String> = writes.iter().map(|write| letters(&write.body)).collect();
        assert_eq!(sent[0], "ABCD", "{what}");
        assert_eq!(sent[1..], *row.then, "{what}");
        assert!(writes[0].gzip == knows_gzip, "{what}");
        knows_gzip &= row.code != "no-gzip";
        let plain = row.code == "gzip" || !knows_gzip;
        assert!(writes[1..].iter().all(|write| write.gzip != plain), "{what}: {writes:?}");
        let put_aside = dead(&twinline, &name);
        let texts: String = put_aside.iter().map(|(text, _)| letters(text)).collect();
        assert_eq!(texts, row.dead, "{what}: {put_aside:?}");
        assert!(put_aside.iter().all(|(_, code)| code == row.code), "{what}: {put_aside:?}");

        let told = events(&twinline, before);
        let count = |kind: &str, code: &str| {
            let of_kind = told.iter().filter(|event| event["kind"] == kind);
            of_kind.filter(|event| event["text"].as_str().unwrap().contains(code)).count()
        };
        match row.paused {
            ALL => assert_eq!(count("destination-paused", row.code), 1, "{what}: {told:?}"),
            ROUTE => assert_eq!(count("route-paused", row.code), 1, "{what}: {told:?}"),
            _ => assert_eq!(count("destination-paused", "") + count("route-paused", ""), 0, "{what}: {told:?}"),
        }
        // At most once a minute.
        let news = usize::from(row.twice && !told_twice);
        told_twice |= row.twice;
        assert_eq!(count("destination-remark", "possible-duplicates"), news, "{what}: {told:?}");
    }
}

/// Facts 6.4.
#[test]
fn every_answer_of_victoriametrics_leads_to_its_action() {
    play(VICTORIA, "victoriametrics");
}

/// Facts 6.5.
#[test]
fn every_answer_of_questdb_leads_to_its_action() {
    play(QUESTDB, "questdb");
}
