//! The same for VictoriaMetrics and QuestDB.

use crate::answers::{ALL, Form, Play, ROUTE, ROW, Row, Table, bisects, play, waits};

/// Later than what VictoriaMetrics never keeps.
const LINES: &str =
    "m v=0i 1700000000000000000\nm v=1i 1700000001000000000\nm v=2i 1700000002000000000\nm v=3i 1700000003000000000";

/// Waits and sends the same again, where the first request may have had an effect.
const fn unsure(status: u16, said: &'static str, code: &'static str) -> Row {
    Row { twice: true, ..waits(status, said, code, ALL) }
}

/// Facts 6.4.
const VICTORIA: Table = &[
    (1, Row { status: 204, ..ROW }),
    (0, waits(200, "", "not-victoriametrics", ALL)),
    (0, waits(302, "", "redirect", ALL)),
    (2, bisects(400, "cannot process influx line protocol data: incorrect influx line \"m v=1i 0\": x", "parse")),
    (3, waits(400, "cannot process influx line protocol data: cannot read gzip-compressed data", "gzip", "")),
    (3, waits(400, "cannot process influx line protocol data: unexpected EOF", "gzip", "")),
    (3, waits(400, "unsupported contentType \"gzip\"", "gzip", "")),
    (5, waits(400, "unsupported path requested: \"/x\"", "wrong-url", ALL)),
    (0, waits(400, "the moon is full", "unknown-answer", ROUTE)),
    (0, waits(401, "", "unauthorized", ALL)),
    (0, waits(403, "", "unauthorized", ALL)),
    (0, waits(404, "", "wrong-url", ALL)),
    (0, waits(429, "", "quota", ALL)),
    (0, waits(418, "", "unknown-answer", ROUTE)),
    (0, waits(500, "anything", "server-error", ALL)),
    (6, waits(503, "cannot store metrics: the storage is in read-only mode", "read-only", ALL)),
    (7, waits(503, "couldn't start executing the request in 60.000 seconds", "unavailable", ALL)),
    (0, waits(0, "", "connection-broken", ALL)),
    // Last: they change the size of all that follow.
    (
        4,
        Row {
            status: 400,
            said: "cannot process influx line protocol data: too big data size: 70000000",
            then: &["AB", "CD"],
            code: "too-large",
            ..ROW
        },
    ),
];

/// Facts 6.5.
const QUESTDB: Table = &[
    (1, Row { status: 204, ..ROW }),
    (0, waits(200, "", "not-questdb", ALL)),
    (0, waits(302, "", "redirect", ALL)),
    (
        2,
        Row {
            status: 400,
            said: "failed to parse line protocol:errors encountered on line(s):\nerror in line 2: table: d_m, column: v; cast error from protocol type: INTEGER to column type: BOOLEAN",
            line: 2,
            then: &["ACD"],
            dead: "B",
            code: "type-conflict",
            ..ROW
        },
    ),
    (
        2,
        Row {
            status: 400,
            said: "failed to parse line protocol:errors encountered on line(s):\nerror in line 2: Could not parse entire line",
            line: 2,
            then: &["ACD"],
            dead: "B",
            code: "parse",
            ..ROW
        },
    ),
    (
        2,
        Row {
            status: 400,
            said: "failed to parse line protocol:errors encountered on line(s):\nerror in line 2: table: m; invalid column name: a-b",
            line: 2,
            then: &["ACD"],
            dead: "B",
            code: "bad-name",
            ..ROW
        },
    ),
    // Without a number, and with one that is none of ours: looked for.
    (2, bisects(400, "failed to parse line protocol:errors encountered on line(s):\nerror in some line", "parse")),
    (
        2,
        Row {
            line: 9,
            ..bisects(400, "failed to parse line protocol:errors encountered on line(s):\nerror in line 9: x", "parse")
        },
    ),
    (
        3,
        waits(
            400,
            "failed to parse line protocol:errors encountered on line(s):unsupported precision",
            "our-request",
            ROUTE,
        ),
    ),
    (0, waits(400, "the moon is full", "unknown-answer", ROUTE)),
    (4, waits(401, "Unauthorized", "unauthorized", ALL)),
    (4, waits(403, "", "unauthorized", ALL)),
    (0, waits(405, "Method POST not supported", "wrong-url", ALL)),
    (6, waits(415, "gzip decompression error", "gzip", "")),
    (0, waits(418, "", "unknown-answer", ROUTE)),
    (8, waits(421, "not accepting writes", "read-only", ALL)),
    (
        7,
        bisects(
            500,
            "failed to parse line protocol:errors encountered on line(s):write error: m, error: java.lang.UnsupportedOperationException",
            "bad-name",
        ),
    ),
    (
        7,
        bisects(
            500,
            "failed to parse line protocol:errors encountered on line(s):write error: m, errno: -1, error: invalid UTF8 in value for a",
            "unstorable",
        ),
    ),
    (
        9,
        unsure(
            500,
            "failed to parse line protocol:errors encountered on line(s):commit error for table: m, errno: 28",
            "commit-error",
        ),
    ),
    (0, unsure(500, "anything", "server-error")),
    (0, waits(503, "", "unavailable", ALL)),
    (9, unsure(0, "", "connection-broken")),
    // Last: it changes how all that follow are sent, and the next their size.
    (6, waits(415, "gzip encoding is not supported", "no-gzip", "")),
    (5, Row { status: 413, said: "request too large", then: &["AB", "CD"], code: "too-large", ..ROW }),
];

#[test]
fn check_32_every_answer_of_victoriametrics_leads_to_its_action() {
    play(Play { names: "kind = \"victoriametrics\"", form: Form::Text, lines: LINES, rows: 7 }, VICTORIA);
}

#[test]
fn check_32_every_answer_of_questdb_leads_to_its_action() {
    play(Play { names: "kind = \"questdb\"", form: Form::Numbered, lines: LINES, rows: 9 }, QUESTDB);
}
