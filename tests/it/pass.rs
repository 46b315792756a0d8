//! Whatever a client asks, the answer through Twinline is the answer of the source: status, headers, body, and how the
//! connection goes on. Each request is sent to both, byte for byte, and the answers are compared but for their date and
//! request id.

use std::sync::Arc;

use crate::database::{Database, Kind, TOKEN, shared};
use crate::http::{Answer, Connection, gzip};
use crate::proxy::{Setup, Twinline};

/// A request as it goes over the wire, without `Host`.
struct Asked {
    line: &'static str,
    headers: &'static [&'static str],
    body: Vec<u8>,
}

fn ask(line: &'static str, headers: &'static [&'static str], body: impl AsRef<[u8]>) -> Asked {
    Asked { line, headers, body: body.as_ref().to_vec() }
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const ZIPPED: &str = "Content-Encoding: gzip";

/// What both kinds of servers are asked.
fn common() -> Vec<Asked> {
    vec![
        ask("GET /ping", &[], ""),
        ask("HEAD /ping", &[], ""),
        ask("GET /ping?verbose=true", &[], ""),
        ask("GET /health", &[], ""),
        ask("GET /query?q=SHOW+DATABASES", &[], ""),
        ask("HEAD /query?q=SHOW+DATABASES", &[], ""),
        ask("POST /query", &[FORM], "q=SELECT+*+FROM+m&db=pass&epoch=ns"),
        ask("GET /query?q=SELECT+*+FROM+m&db=pass&chunked=true&chunk_size=100", &[], ""),
        ask("GET /query?q=SELECT+*+FROM+m&db=pass", &["Accept-Encoding: gzip"], ""),
        ask("GET /query?q=SELECT+*+FROM+m+LIMIT+3&db=pass", &["Accept: application/csv"], ""),
        ask("GET /query?q=SELECT+*+FROM+m+LIMIT+3&db=pass&epoch=s", &["Accept: application/x-msgpack"], ""),
        ask("GET /query?q=SELECT+*+FROM+m+LIMIT+3&db=pass&pretty=true", &["x-CUSTOM-header: 1"], ""),
        ask("GET /query?q=SELEC&db=pass", &[], ""),
        ask("GET /query?q=SELECT+*+FROM+m", &[], ""),
        ask("GET /query", &[], ""),
        ask("GET /query?q=SHOW+DATABASES&db=%zz", &[], ""),
        ask("PUT /write?db=pass", &[], "m v=1 1"),
        ask("GET /write?db=pass", &[], ""),
        ask("HEAD /write?db=pass", &[], ""),
        ask("DELETE /api/v2/write?bucket=pass&org=o", &[], ""),
        ask("OPTIONS /write?db=pass", &["Origin: http://here"], ""),
        ask("POST /write?db=pass", &[], "m v=1 1"),
        ask("POST /write?db=pass", &[], ""),
        ask("POST /write?db=pass", &[], "# only a comment\n"),
        ask("POST /write?db=pass", &[ZIPPED], gzip(b"m v=1 1")),
        ask("POST /write?db=pass", &[ZIPPED], "this is no gzip"),
        ask("POST /write?db=pass", &["Content-Encoding: GZIP"], gzip(b"m v=1 1")),
        ask("POST /write?db=pass", &["Content-Encoding: deflate"], "m v=1 1"),
        ask("POST /write?db=pass", &[], "m v=1 1\nbad\n"),
        ask("POST /write?db=pass", &[], "m v=\"another type\" 2"),
        ask("POST /write?db=nowhere", &[], "m v=1 1"),
        ask("POST /write", &[], "m v=1 1"),
        ask("POST /write?db=pass&precision=fortnight", &[], "m v=1 1"),
        ask("POST /write?db=pass&rp=nowhere", &[], "m v=1 1"),
        ask("POST /api/v2/write?bucket=pass&org=o&precision=ms", &[], "m v=1 1"),
        ask("POST /api/v2/write?bucket=nowhere&org=o", &[], "m v=1 1"),
        ask("POST /api/v2/write?bucket=pass&org=o&precision=u", &[], "m v=1 1"),
        ask("POST /api/v2/write?org=o", &[], "m v=1 1"),
        ask("POST /api/v2/delete?bucket=nowhere&org=o", &["Content-Type: application/json"], "{}"),
        ask(
            "POST /api/v2/query?org=o",
            &["Content-Type: application/vnd.flux"],
            "buckets() |> keep(columns: [\"name\"])",
        ),
        ask("POST /api/v2/query?org=o", &["Content-Type: application/vnd.flux"], "nonsense("),
        ask("GET /api/v2/buckets?name=pass", &[], ""),
        ask("GET /api/v2/buckets?name=nowhere", &[], ""),
        ask("GET /no/such/path", &[], ""),
        ask("BREW /coffee", &["X-Odd:  spaced  value "], "beans"),
    ]
}

fn exchange(connection: &mut Connection, asked: &Asked, authorization: &str) -> Answer {
    let mut headers = asked.headers.to_vec();
    if !authorization.is_empty() {
        headers.push(authorization);
    }
    connection.call(asked.line, &headers, &asked.body).unwrap_or_else(|e| panic!("{}: {e}", asked.line))
}

/// The head without what differs from one answer to the next. The order of headers has no meaning and is not compared.
fn comparable(answer: &Answer) -> Vec<String> {
    // 1.x quotes a line that it refuses byte for byte; through Twinline its control characters are spaces.
    let sound = |line: &String| {
        let spaced: String = line.trim_end().chars().map(|c| if c.is_ascii_control() { ' ' } else { c }).collect();
        spaced + "\r\n"
    };
    let mut head: Vec<String> = answer.head[1..]
        .iter()
        .map(sound)
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            match name {
                "Date" | "Request-Id" | "X-Request-Id" => format!("{name}: …\r\n"),
                // Servers give these in any order.
                "Allow" => {
                    let mut methods: Vec<&str> = value.split(',').map(str::trim).collect();
                    methods.sort_unstable();
                    format!("{name}: {methods:?}")
                }
                _ => line,
            }
        })
        .collect();
    head.sort();
    head.insert(0, answer.head[0].clone());
    head
}

fn assert_alike(what: &str, direct: &Answer, through: &Answer) {
    assert_eq!(
        comparable(through),
        comparable(direct),
        "{what}: left through Twinline, right direct\n{}",
        direct.text()
    );
    assert_eq!(through.text(), direct.text(), "{what}: left through Twinline, right direct");
    assert_eq!(through.body, direct.body, "{what}");
}

fn between(source: Kind, name: &str) -> (Arc<Database>, Arc<Database>, Twinline) {
    let (source, destination) = (shared(source, 0), shared(Kind::Two, 1));
    source.create(name);
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    (source, destination, twinline)
}

/// All on one connection: each answer must leave it open on both ways.
fn answers_are_the_sources_own(kind: Kind, authorization: &str) {
    // A database of this name is in the table, so both kinds are asked on servers that nobody else uses.
    let (source, destination) = (Database::start(kind), shared(Kind::Two, 1));
    source.create("pass");
    let rows: String = (0..1000).map(|at| format!("m,t=a v={at},s=\"x\" {at}\n")).collect();
    source.post("/write?db=pass", rows.as_bytes(), 204);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let (mut direct, mut through) = (source.connect(), twinline.connect());
    for asked in common() {
        let expected = exchange(&mut direct, &asked, authorization);
        let found = exchange(&mut through, &asked, authorization);
        assert_alike(&format!("{} {:?}", asked.line, asked.headers), &expected, &found);
    }
}

#[test]
fn answers_of_influxdb_1_pass_through_unchanged() {
    answers_are_the_sources_own(Kind::One, "");
}

#[test]
fn answers_of_influxdb_2_pass_through_unchanged() {
    answers_are_the_sources_own(Kind::Two, &format!("Authorization: Token {TOKEN}"));
}

#[test]
fn answers_to_wrong_credentials_pass_through_unchanged() {
    answers_are_the_sources_own(Kind::Two, "Authorization: Token wrong");
    answers_are_the_sources_own(Kind::Two, "");
}

/// Bodies that come in chunks, and clients that wait for `100 Continue` before they send one.
#[test]
fn check_15_chunked_and_expected_bodies_are_written() {
    for kind in [Kind::One, Kind::Two] {
        let name = if kind == Kind::One { "bodies_1" } else { "bodies_2" };
        let (source, destination, twinline) = between(kind, name);
        let authorization = source.authorization();
        let head =
            |more: &str| format!("POST /write?db={name} HTTP/1.1\r\nHost: x\r\n{authorization}\r\n{more}\r\n\r\n");
        for (number, mut connection) in [(1, source.connect()), (2, twinline.connect())] {
            connection.send(head("Transfer-Encoding: chunked").as_bytes()).unwrap();
            connection.send(format!("8\r\nm,t={number} v=\r\n").as_bytes()).unwrap();
            connection.send(b"3;some=extension\r\n1 1\r\n0\r\n\r\n").unwrap();
            assert_eq!(connection.answer(false).unwrap().status, 204, "{kind:?}");
            connection.send(head("Expect: 100-continue\r\nContent-Length: 11").as_bytes()).unwrap();
            assert_eq!(connection.answer(false).unwrap().status, 100, "{kind:?}");
            connection.send(format!("m,t={number} v=2 2").as_bytes()).unwrap();
            assert_eq!(connection.answer(false).unwrap().status, 204, "{kind:?}");
            connection.send(head("Expect: 200-ok\r\nContent-Length: 0").as_bytes()).unwrap();
            assert_eq!(connection.answer(false).unwrap().status, 417, "{kind:?}");
        }
        twinline.delivered(2);
        let through = destination.cells(name);
        assert!(through.len() == 2 && through.iter().all(|cell| cell.series.tag(b"t") == Some(b"2")), "{through:?}");
    }
}

/// HTTP/1.0 clients and clients that close get what they would get directly.
#[test]
fn check_15_old_and_closing_clients_are_answered_alike() {
    let (source, _destination, twinline) = between(Kind::One, "old_clients");
    for request in [
        "GET /ping HTTP/1.0\r\n\r\n",
        "GET /query?q=SHOW+DATABASES HTTP/1.0\r\nHost: x\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "POST /write?db=old_clients HTTP/1.0\r\nContent-Length: 7\r\n\r\nm v=1 1",
    ] {
        let [direct, through] = [source.connect(), twinline.connect()].map(|mut connection| {
            connection.send(request.as_bytes()).unwrap();
            let answer = connection.answer(false).unwrap();
            assert!(connection.answer(false).is_err(), "the connection was closed after {request:?}");
            answer
        });
        assert_eq!(through.status, direct.status, "{request:?}");
        if !request.contains("SHOW") {
            assert_eq!(through.text(), direct.text(), "{request:?}");
        }
        assert_eq!(through.head[0], direct.head[0], "{request:?}");
    }
}

/// Bytes in the block format of snappy, not compressed, and one sample as Prometheus sends it: `up{job="j"} 1 @ 1000 ms`.
fn remote_write() -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let label = |name: &str, value: &str| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    let sample = [&[0x09][..], &1f64.to_le_bytes(), &[0x10, 0xe8, 0x07]].concat();
    let series = [label("__name__", "up"), label("job", "j"), field(2, &sample)].concat();
    let message = field(1, &series);
    let length = message.len() as u8;
    assert!(length < 60, "one literal");
    [&[length, (length - 1) << 2][..], &message].concat()
}

/// InfluxDB 1.x stores what Prometheus sends it; the mirror does not have it, and says so.
#[test]
fn prometheus_remote_writes_reach_the_source_and_are_a_gap() {
    let (source, destination, twinline) = between(Kind::One, "prometheus");
    let headers = ["Content-Encoding: snappy", "Content-Type: application/x-protobuf"];
    assert_eq!(twinline.call("POST /api/v1/prom/write?db=nowhere", &headers, remote_write()).status, 404);
    assert!(twinline.status()["gaps"].as_array().unwrap().is_empty(), "the source did not take it");
    let answer = twinline.call("POST /api/v1/prom/write?db=prometheus", &headers, remote_write());
    assert_eq!(answer.status, 204, "{}", answer.text());
    let status = twinline.until("the gap is told", |status| status["lines"]["gap"] == 1);
    assert_eq!(status["gaps"][0]["cause"], "other-protocol", "{status:#}");
    assert!(status["not_covered"].to_string().contains("Prometheus remote writes and those"), "{status:#}");
    assert_eq!((source.cells("prometheus").len(), destination.cells("prometheus").len()), (1, 0));
}

/// 1.13 quotes in a header what it cannot read, byte for byte, here gzip that does not call itself so: clients hear its 400, and no byte
/// of a header that may not stand in one.
#[test]
fn check_16_a_header_with_bytes_that_are_none_of_a_header_is_cleaned() {
    let (source, _destination, twinline) = between(Kind::One, "check_16");
    let body = gzip(b"m v=1 1");
    let [direct, through] = [source.connect(), twinline.connect()]
        .map(|mut connection| connection.call("POST /write?db=check_16", &[], &body).unwrap());
    assert_eq!((direct.status, through.status), (400, 400));
    assert_eq!(through.body, direct.body);
    let [broken, sound] = [&direct, &through].map(|answer| {
        let quoted = answer.head.iter().find(|line| line.starts_with("X-Influxdb-Error:")).unwrap();
        quoted.trim_end().chars().filter(char::is_ascii_control).count()
    });
    assert!(broken > 0 && sound == 0, "{broken} {sound}");
    assert_eq!(twinline.quiet()["lines"]["delivered"], 0);
}
