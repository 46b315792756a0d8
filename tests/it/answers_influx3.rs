//! Each answer of InfluxDB 3 (facts, §6.3), injected once.

use crate::answers::{ALL, PLAY_1, Play, ROUTE, ROW, Row, Table, bisects, play, waits};

const INFLUX3: Table = &[
    (1, Row { status: 204, ..ROW }),
    (0, waits(200, "", "not-influxdb", ALL)),
    (
        2,
        Row {
            status: 400,
            said: "JSON{\"error\":\"partial write of line protocol occurred\",\"data\":[{\"error_message\":\"invalid column type for column 'v', expected iox::column_type::field::float, got iox::column_type::field::integer\",\"line_number\":2,\"original_line\":\"m v=1i 2\"}]}",
            dead: "B",
            code: "type-conflict",
            ..ROW
        },
    ),
    (
        4,
        Row {
            status: 400,
            said: "JSON{\"error\":\"line protocol parsing error\",\"data\":{\"error_message\":\"no\",\"line_number\":2,\"original_line\":\"m v=1i 2\"}}",
            then: &["ACD"],
            dead: "B",
            code: "parse",
            ..ROW
        },
    ),
    (2, bisects(400, "JSON{\"error\":\"partial write of line protocol occurred\",\"data\":null}", "parse")),
    (
        3,
        waits(
            422,
            "JSON{\"error\":\"partial write of line protocol occurred\",\"data\":[{\"error_message\":\"Update to schema would exceed number of columns per table limit of 500 columns\",\"line_number\":2,\"original_line\":\"m v=1i 2\"}]}",
            "limit",
            ROUTE,
        ),
    ),
    (3, waits(422, "JSON{\"error\":\"Adding a new database would exceed limit of 5 databases\"}", "limit", ROUTE)),
    (5, Row { status: 400, said: "TEXTincoming write was empty", ..ROW }),
    (
        6,
        waits(
            400,
            "JSON{\"error\":\"invalid character in database or rp name: must be ASCII, containing only letters\"}",
            "bad-target",
            ROUTE,
        ),
    ),
    (7, waits(400, "TEXTAuthorization header was malformed", "unauthorized", ALL)),
    (
        13,
        waits(
            400,
            "JSON{\"code\":\"invalid\",\"message\":\"write buffer error: error from wal: object store\"}",
            "server-error",
            ALL,
        ),
    ),
    (
        13,
        waits(
            400,
            "JSON{\"code\":\"invalid\",\"message\":\"this service is overloaded, please try again later\"}",
            "server-error",
            ALL,
        ),
    ),
    (0, Row { status: 400, said: "TEXTerror decompressing gzip stream", then: &["ABCD"], code: "gzip", ..ROW }),
    (7, waits(401, "JSON{\"error\": \"the request was not authenticated\"}", "unauthorized", ALL)),
    (7, waits(403, "JSON{\"error\": \"no\"}", "forbidden", ROUTE)),
    (8, waits(404, "TEXTnot found", "wrong-url", ALL)),
    (8, waits(405, "", "wrong-url", ALL)),
    (9, waits(409, "TEXTcatalog changed", "conflict", ALL)),
    (11, waits(429, "TEXTthis service is overloaded, please try again later", "quota", ALL)),
    (12, waits(500, "TEXTwrite buffer error: error from wal: disk", "server-error", ALL)),
    (0, waits(503, "", "unavailable", ALL)),
    (0, waits(418, "TEXTtea", "unknown-answer", ROUTE)),
    // Last: it changes the size of all that follow.
    (
        10,
        Row {
            status: 413,
            said: "TEXTmax request size (10485760 bytes) exceeded",
            then: &["AB", "CD"],
            code: "too-large",
            ..ROW
        },
    ),
];

#[test]
fn check_32_every_answer_of_influxdb_3_leads_to_its_action() {
    play(Play { names: "kind = \"influxdb3\"\ntoken = \"t\"", rows: 13, ..PLAY_1 }, INFLUX3);
}
