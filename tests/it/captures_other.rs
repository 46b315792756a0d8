//! Everything but the bodies of writes, byte for byte: queries, methods and paths, transport, credentials, limits.

use crate::captures::{Case, Pair};
use crate::database::{Database, Kind};
use crate::http::{Connection, escape, gzip};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

fn get(target: &str) -> Case {
    Case::new(&format!("GET {target}"), &[], "")
}

/// Requests for which statements of 1.x must not change what later ones find.
fn queries() -> Vec<Case> {
    let mut cases = Vec::new();
    let select = "SELECT * FROM m";
    for more in [
        "",
        "&db=cap",
        "&db=nope",
        "&db=cap&rp=nope",
        "&db=cap&rp=",
        "&db=cap&epoch=",
        "&db=cap&epoch=ns",
        "&db=cap&epoch=u",
        "&db=cap&epoch=ms",
        "&db=cap&epoch=foo",
        "&db=cap&pretty=true",
        "&db=cap&chunked=1",
        "&db=cap&chunked=true",
        "&db=cap&chunked=true&chunk_size=2",
        "&db=cap&chunked=true&chunk_size=0",
        "&db=cap&chunked=true&chunk_size=abc",
        "&db=cap&params={\"a\":1}",
        "&db=cap&params={",
        "&db=cap&time_format=rfc3339",
        "&db=cap&async=true",
        "&db=cap;epoch=s",
        "&db=cap&x=%zz",
        "&db=nope&db=cap",
    ] {
        for accept in [
            "*/*",
            "application/json",
            "application/csv",
            "text/csv",
            "application/x-msgpack",
            "text/plain",
            "application/csv;q=0.5, application/json;q=0.1",
        ] {
            let target = format!("GET /query?q={}{more}", escape(select));
            cases.push(Case::new(&target, &[&format!("Accept: {accept}")], ""));
        }
    }
    for statement in [
        "SHOW DATABASES",
        "SHOW MEASUREMENTS",
        "SHOW FIELD KEYS ON cap",
        "SHOW RETENTION POLICIES ON cap",
        "SHOW RETENTION POLICIES ON nope",
        "SELECT v FROM nothing",
        "SELEC",
        "SELECT v FROM m; SELEC",
        "SELECT v FROM m; SELECT v FROM nope..m; SELECT v FROM m",
        "CREATE DATABASE cap2",
        "CREATE DATABASE cap WITH DURATION 7d",
        "CREATE RETENTION POLICY x ON cap DURATION 1m REPLICATION 1",
        "DROP RETENTION POLICY nope ON cap",
        "DROP DATABASE nope",
        "DROP MEASUREMENT nope",
        "DELETE FROM nope",
        "DELETE FROM m WHERE v > 1",
        "DROP SERIES FROM nope",
        "SELECT v INTO copy FROM m",
        "DROP SHARD 9999",
        "CREATE USER u WITH PASSWORD 'p'",
        "CREATE USER u WITH PASSWORD 'q'",
        "DROP USER nope",
        "KILL QUERY 99",
        "SHOW SHARDS",
        "SHOW USERS",
        "SHOW SUBSCRIPTIONS",
        "SHOW CONTINUOUS QUERIES",
        "SHOW SERIES CARDINALITY",
        "SHOW TAG VALUES WITH KEY = t",
        "EXPLAIN SELECT v FROM m",
        "ALTER RETENTION POLICY autogen ON cap DURATION 2h",
        "ALTER RETENTION POLICY autogen ON cap DURATION INF",
    ] {
        cases.push(Case::new(&format!("GET /query?db=cap&q={}", escape(statement)), &[], ""));
        cases.push(Case::new("POST /query?db=cap", &[FORM], format!("q={}", escape(statement))));
        cases.push(Case::new(&format!("POST /query?db=cap&q={}", escape(statement)), &["Accept: application/csv"], ""));
    }
    let json = "Content-Type: application/json";
    cases.extend([
        get("/query"),
        get("/query?db=cap"),
        get("/query?q=SELECT%20*%20FROM%20\"m\"%20WHERE%20v>0%20AND%20v<9%20AND%20t!='{}|^`\\'&db=cap"),
        get("/query?q=SELECT+*+FROM+m&db=cap#fragment"),
        Case::new("POST /query?q=SHOW+MEASUREMENTS&db=cap", &[FORM], "q=SHOW+DATABASES"),
        Case::new("POST /query", &[FORM], "q=SHOW+DATABASES&db=cap&pretty=true"),
        Case::new("POST /query?db=cap", &[json], "{\"q\":\"SHOW DATABASES\"}"),
        Case::new("POST /query?db=cap", &["Content-Type: application/vnd.influxql"], "SHOW DATABASES"),
        Case::new(
            "POST /query",
            &["Content-Type: multipart/form-data; boundary=b"],
            "--b\r\nContent-Disposition: form-data; name=\"q\"\r\n\r\nSHOW DATABASES\r\n--b--\r\n",
        ),
        Case::new("GET /query?q=SELECT+*+FROM+many&db=cap", &["Accept-Encoding: gzip"], ""),
        Case::new("GET /query?q=SELECT+*+FROM+m&db=cap", &["Accept-Encoding: gzip, deflate;q=0.5"], ""),
        Case::new("GET /query?q=SELEC", &["Accept-Encoding: gzip", "Accept: application/x-msgpack"], ""),
        get("/query?q=SELECT+*+FROM+many&db=cap&chunked=true&chunk_size=100"),
        get("/query?q=SELECT+*+FROM+many&db=cap"),
    ]);
    cases
}

fn paths_and_methods() -> Vec<Case> {
    let mut cases = Vec::new();
    let paths =
        ["/write?db=cap", "/query?q=SHOW+DATABASES", "/ping", "/status", "/health", "/api/v2/write?bucket=cap&org=o"];
    for path in paths {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW", "get"] {
            for headers in [&[][..], &["Origin: http://x", "Access-Control-Request-Method: POST"]] {
                cases.push(Case::new(&format!("{method} {path}"), headers, ""));
            }
        }
    }
    for path in [
        "/write/",
        "//write",
        "/write/x",
        "/writes",
        "/nosuch",
        "/",
        "",
        "/../write",
        "/%2e%2e/write?db=cap",
        "/a%zz",
        "/a<b>",
        "/ping?verbose=true",
        "/ping?verbose=0",
        "/api/v2",
        "/api/v2/nosuch",
        "/api/v2/buckets?name=nope",
        "/api/v2/dbrps?orgID=1",
        "/api/v1/prom/write",
        "/api/v2/ready",
        "/debug/requests?seconds=0",
        "*",
        "http://elsewhere/ping",
        "/query?q=SHOW%20DATABASES%0a",
    ] {
        for method in ["GET", "POST"] {
            cases.push(Case::new(&format!("{method} {path}"), &[], ""));
        }
    }
    for path in ["/metrics", "/debug/vars", "/ready", "/debug/pprof/cmdline"] {
        cases.push(get(path).moving());
    }
    let (json, flux) = ("Content-Type: application/json", "Content-Type: application/vnd.flux");
    let delete =
        "{\"start\":\"1970-01-01T00:00:00Z\",\"stop\":\"1970-01-01T00:00:01Z\",\"predicate\":\"t=\\\"none\\\"\"}";
    cases.extend([
        Case::new("POST /api/v2/delete?bucket=cap&org=o", &[json], delete),
        Case::new("POST /api/v2/delete?bucket=nope&org=o", &[json], delete),
        Case::new("POST /api/v2/delete?bucket=cap&org=o", &[json], delete.replace("t=", "t!~")),
        Case::new("POST /api/v2/delete?bucket=cap&org=o", &[json], "{"),
        Case::new("POST /api/v2/query?org=o", &[flux], "buckets() |> keep(columns: [\"name\"])"),
        Case::new("POST /api/v2/query?org=o", &[flux], "from(bucket: \"nope\") |> range(start: 0)"),
        Case::new("POST /api/v2/query?org=nope", &[flux], "buckets()"),
        Case::new("POST /api/v2/query?org=o", &[flux], "nonsense("),
        Case::new(
            "POST /api/v2/query?org=o",
            &[json],
            "{\"query\":\"from(bucket: \\\"cap\\\") |> range(start: 0, stop: 9)\"}",
        ),
        Case::new("POST /api/v2/buckets", &[json], "{"),
        Case::new("GET /ping", &["X-Request-Id: mine-1"], ""),
        Case::new("GET /ping", &["Request-Id: mine-2"], ""),
        Case::new("POST /write?db=cap", &["Request-Id: mine-3", "x-request-id: mine-4"], "m v=1 1"),
        Case::new("POST /write?db=nope", &["x-REQUEST-id: mine-5"], "m v=1 1"),
    ]);
    cases
}

fn transport() -> Vec<Case> {
    let chunked = "Transfer-Encoding: chunked";
    let write = "POST /write?db=cap";
    let raw = |name: &str, headers: &[&str], body: &[u8]| Case::raw(name, &format!("{write} HTTP/1.1"), headers, body);
    let two = b"POST /write?db=nope HTTP/1.1\r\nHost: x\r\n<CREDENTIALS>content-length: 7\r\n\r\nm v=1 1";
    let zipped = gzip(b"m v=1 1");
    let in_chunks = [format!("{:x}\r\n", zipped.len()).as_bytes(), &zipped, b"\r\n0\r\n\r\n"].concat();
    vec![
        raw("chunked", &[chunked], b"3\r\nm v\r\n4\r\n=1 1\r\n0\r\n\r\n"),
        raw(
            "chunked with extensions and trailers",
            &[chunked, "Trailer: X-T"],
            b"7;a=b\r\nm v=1 1\r\n0\r\nX-T: 1\r\n\r\n",
        ),
        raw("chunked, upper case", &["TRANSFER-ENCODING: chunked"], b"7\r\nm v=1 1\r\n00\r\n\r\n"),
        raw("chunked, empty", &[chunked], b"0\r\n\r\n"),
        raw("chunked and bad", &[chunked], b"4\r\nbad\n\r\n7\r\nm v=1 1\r\n0\r\n\r\n"),
        raw("chunked gzip", &[chunked, "Content-Encoding: gzip"], &in_chunks),
        raw("both lengths", &[chunked, "Content-Length: 3"], b"7\r\nm v=1 1\r\n0\r\n\r\n"),
        raw("two codings", &["Transfer-Encoding: gzip, chunked"], &in_chunks),
        raw("two headers of codings", &[chunked, chunked], b"7\r\nm v=1 1\r\n0\r\n\r\n"),
        raw("identity", &["Transfer-Encoding: identity, chunked"], b"7\r\nm v=1 1\r\n0\r\n\r\n"),
        raw("no length", &[], b""),
        raw("lower case headers", &["content-length: 7", "content-encoding: identity"], b"m v=1 1"),
        raw("a header twice", &["X-A: 1", "X-A: 2", "Content-Length: 7"], b"m v=1 1"),
        raw("100-continue", &["Expect: 100-continue", "Content-Length: 7"], b"").then(b"m v=1 1", 2),
        raw("100-CONTINUE", &["Expect: 100-CONTINUE", "Content-Length: 3"], b"").then(b"bad", 2),
        raw("expects nothing", &["Expect:", "Content-Length: 7"], b"m v=1 1"),
        raw("expects foo", &["Expect: foo", "Content-Length: 7"], b"m v=1 1").closing().answers(2),
        raw("expects foo, held back", &["Expect: foo", "Content-Length: 7"], b"").closing(),
        raw("expects foo, held back in chunks", &["Expect: foo", chunked], b"").closing(),
        raw("expects foo, much held back", &["Expect: foo", "Content-Length: 20000000"], b"").closing(),
        raw("expects foo, nothing follows", &["Expect: foo", "Content-Length: 0"], b"").closing().answers(2),
        Case::raw("expects foo of a ping", "GET /ping HTTP/1.1", &["Expect: foo"], b"").closing().answers(2),
        Case::raw("HTTP/1.0 expects foo", "POST /write?db=cap HTTP/1.0", &["Expect: foo", "Content-Length: 7"], b"")
            .closing(),
        raw("one other coding", &["Transfer-Encoding: gzip"], &in_chunks).closing().answers(2),
        raw("one other coding with a length", &["Transfer-Encoding: gzip", "Content-Length: 7"], b"m v=1 1").closing(),
        raw("an empty coding", &["Transfer-Encoding:", "Content-Length: 7"], b"m v=1 1").closing(),
        raw("another coding last", &["Transfer-Encoding: chunked, gzip"], &in_chunks).closing(),
        raw("another coding last, in two headers", &[chunked, "Transfer-Encoding: gzip"], &in_chunks).closing(),
        raw("another coding and hosts", &["Transfer-Encoding: gzip", "Host: y"], &in_chunks).closing(),
        raw("two at once", &["Content-Length: 7"], b"m v=1 1").then(two, 2),
        Case::raw(
            "ping, three at once",
            "GET /ping HTTP/1.1",
            &[],
            b"GET /query HTTP/1.1\r\nHost: x\r\n<CREDENTIALS>\r\nGET /nosuch HTTP/1.1\r\nHost: x\r\n\r\n",
        )
        .answers(3),
        Case::raw("close", "GET /ping HTTP/1.1", &["Connection: close"], b""),
        Case::raw("HTTP/1.0 ping", "GET /ping HTTP/1.0", &[], b""),
        Case::raw("HTTP/1.0 kept", "GET /ping HTTP/1.0", &["Connection: keep-alive"], b""),
        Case::raw("HTTP/1.0 query", "GET /query?q=SHOW+DATABASES HTTP/1.0", &[], b""),
        Case::raw("HTTP/1.0 write", "POST /write?db=cap HTTP/1.0", &["Content-Length: 3"], b"bad"),
        Case::raw("empty lines first", "\r\n\r\nGET /ping HTTP/1.1", &[], b""),
    ]
}

/// The servers judge `Host` before anything else; an answer more is waited for, and must be the end of the connection.
fn hosts() -> Vec<Case> {
    let mut cases = Vec::new();
    for first in ["POST /write?db=cap HTTP/1.1", "GET /ping HTTP/1.1"] {
        for (name, hosts) in [
            ("none", ""),
            ("two", "Host: x\r\nHost: x\r\n"),
            ("two, one empty", "Host: x\r\nHost:\r\n"),
            ("a b", "Host: a b\r\n"),
            ("a/b", "Host: a/b\r\n"),
            ("not ASCII", "Host: \u{e9}\r\n"),
            ("a coding too", "Transfer-Encoding: gzip, chunked\r\n"),
            ("two and a coding", "Host: x\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n"),
        ] {
            let head = format!("{first}\r\n{hosts}<CREDENTIALS>Content-Length: 7\r\n\r\n");
            cases.push(Case::bare(&format!("{first}, host: {name}"), &head, b"m v=1 1").closing().answers(2));
        }
        for (name, hosts) in [
            ("empty", "Host:\r\n"),
            ("odd", "Host: [fe80::1%25e]:80,a_b~!$&'()*+;=\r\n"),
            ("spaces around", "Host:   x  \r\n"),
        ] {
            let head = format!("{first}\r\n{hosts}<CREDENTIALS>Content-Length: 7\r\n\r\n");
            cases.push(Case::bare(&format!("{first}, host: {name}"), &head, b"m v=1 1").closing());
        }
    }
    for (name, hosts) in [
        ("two", "Host: x\r\nHost: x\r\n"),
        ("a b", "Host: a b\r\n"),
        ("a/b, kept", "Host: a/b\r\nConnection: keep-alive\r\n"),
    ] {
        for first in ["POST /write?db=cap HTTP/1.0", "GET /ping HTTP/1.0"] {
            let head = format!("{first}\r\n{hosts}<CREDENTIALS>Content-Length: 7\r\n\r\n");
            cases.push(Case::bare(&format!("{first}, host: {name}"), &head, b"m v=1 1").closing().answers(2));
        }
    }
    let old = "POST /write?db=cap HTTP/1.0\r\n<CREDENTIALS>Content-Length: 7\r\n\r\n";
    cases.push(Case::bare("HTTP/1.0, host: none", old, b"m v=1 1"));
    cases.push(Case::bare("an absolute target, host: none", "GET http://elsewhere/ping HTTP/1.1\r\n\r\n", b""));
    cases
}

fn filled(kind: Kind) -> Pair {
    let pair = Pair::start(kind);
    let rows: String = (0..3000).map(|at| format!("many,t={} v={at},s=\"x\" {at}\n", at % 3)).collect();
    pair.source.post("/write?db=cap", rows.as_bytes(), 204);
    pair.source.post("/write?db=cap", b"m,t=a v=1 1\nm,t=b v=2,s=\"x y\",b=t,i=3i 2\nm v=3 3", 204);
    pair
}

/// Known to differ, and why.
const EXCEPTED: [(&str, &str); 1] =
    [("empty lines first", "empty lines before a request are taken, as RFC 9112 2.2 asks")];

fn all() -> Vec<Case> {
    [queries(), paths_and_methods(), transport(), hosts()].concat()
}

#[test]
fn check_01_influxdb_1_is_heard_byte_for_byte() {
    filled(Kind::One).assert_alike(&all(), &EXCEPTED);
}

#[test]
fn check_01_influxdb_2_is_heard_byte_for_byte() {
    filled(Kind::Two).assert_alike(&all(), &EXCEPTED);
}

/// What a client calls its request comes back, once under each name that the server has for it, and never with another one of ours; where
/// it says nothing there is one that the source made.
#[test]
fn check_02_the_name_of_a_request_comes_back_as_the_source_gives_it() {
    for kind in [Kind::One, Kind::Two] {
        let pair = Pair::start(kind);
        for named in
            [&[][..], &["X-Request-Id: mine-1"], &["Request-Id: mine-2"], &["Request-Id: a", "x-request-id: b"]]
        {
            for (line, body) in
                [("GET /ping", ""), ("POST /write?db=cap", "m v=1 1"), ("POST /write?db=nope", "m v=1 1")]
            {
                let authorization = pair.source.authorization();
                let headers = [&[authorization.as_str()], named].concat();
                let heard = |mut connection: Connection| -> Vec<(String, String)> {
                    let answer = connection.call(line, &headers, body.as_bytes()).unwrap();
                    let names = answer.head[1..].iter().filter_map(|line| line.trim().split_once(": "));
                    let names = names.filter(|(name, _)| name.to_ascii_lowercase().ends_with("request-id"));
                    names.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
                };
                let (direct, through) = (heard(pair.source.connect()), heard(pair.twinline.connect()));
                let names = |all: &[(String, String)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
                assert_eq!(names(&through), names(&direct), "{kind:?} {line} {named:?}");
                if !named.is_empty() {
                    assert_eq!(through, direct, "{kind:?} {line} {named:?}");
                } else if kind == Kind::One {
                    assert!(through.len() == 2 && through[0].1 == through[1].1, "{line}: {through:?}");
                    assert_ne!(through, direct, "each has its own");
                }
            }
        }
    }
}

/// The servers themselves give up a query, and 2.x a write, when the client closes its half before the answer: the answer is
/// then sometimes there and sometimes an error. Through Twinline it is the answer that a patient client gets.
#[test]
fn a_client_that_closes_its_half_hears_the_answer() {
    for kind in [Kind::One, Kind::Two] {
        let pair = filled(kind);
        let reads =
            ["GET /ping", "GET /query?q=SHOW+DATABASES", "GET /query?q=SELECT+*+FROM+many&db=cap", "GET /nosuch"];
        let reads = reads.map(|target| Case::new(target, &[], ""));
        let writes = ["POST /write?db=cap", "POST /write?db=nope", "POST /api/v2/write?bucket=cap&org=o"];
        let writes = writes.map(|target| Case::new(target, &[], "m v=1 1"));
        for case in reads.into_iter().chain(writes) {
            pair.assert_half_closed_is_answered(&case);
        }
    }
}

/// Bodies that do not come whole: the client closes its half, or breaks the framing of its chunks.
#[test]
fn a_body_that_breaks_gets_the_sources_own_answer_and_nothing_is_stored() {
    for kind in [Kind::One, Kind::Two] {
        let pair = Pair::start(kind);
        let mut cases = Vec::new();
        for path in ["/write?db=cap", "/write?db=nope", "/api/v2/write?bucket=cap&org=o"] {
            let case = |name: &str, header: &str, body: &[u8]| {
                let case = Case::raw(&format!("{path} {name}"), &format!("POST {path} HTTP/1.1"), &[header], body);
                // A length that is cut short is the client's own end: the source says nothing of the connection there.
                if header.starts_with("Content-Length") { case } else { case.closing() }
            };
            let (length, chunked) = ("Content-Length: 100", "Transfer-Encoding: chunked");
            cases.extend([
                case("half of a length", length, b"m v=1 1\n").half_closed(),
                case("nothing of a length", length, b"").half_closed(),
                case("half a chunk", chunked, b"10\r\nm v=1 1\n").half_closed(),
                case("no last chunk", chunked, b"8\r\nm v=1 1\n\r\n").half_closed(),
                case("a length that is no number", chunked, b"zz\r\nm v=1 1\n\r\n0\r\n\r\n"),
                case("the same later", chunked, b"8\r\nm v=1 1\n\r\nzz\r\n"),
                case("no length", chunked, b"\r\nm v=1 1\n\r\n"),
                case("a length beyond 64 bits", chunked, b"fffffffffffffffff\r\n"),
                case("a chunk that is too long", chunked, b"8\r\nm v=1 1\nxx0\r\n\r\n"),
            ]);
        }
        // hyper tells no length from one that is no number; the source says which it is.
        let reason = "the text names another fault of the same length";
        let excepted = [("/write?db=cap no length", reason), ("/api/v2/write?bucket=cap&org=o no length", reason)];
        pair.assert_alike(&cases, &excepted);
        assert_eq!(pair.source.cells("cap").len(), 0, "{kind:?}");
    }
}

/// Each style of credentials, right and wrong, on reads and writes.
fn with_credentials(user: &str, password: &str, token: &str) -> Vec<Case> {
    use base64::Engine as _;
    let basic = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let (good, bad) = (basic(&format!("{user}:{password}")), basic(&format!("{user}:wrong")));
    let headers = [
        String::new(),
        format!("Authorization: Basic {good}"),
        format!("authorization: basic {good}"),
        format!("Authorization: Basic {bad}"),
        "Authorization: Basic !!".to_owned(),
        format!("Authorization: Basic {}", basic("nobody:x")),
        format!("Authorization: Token {user}:{password}"),
        format!("Authorization: token {user}:{password}"),
        format!("Authorization: Token {token}"),
        format!("Authorization: token {token}"),
        format!("Authorization: Bearer {token}"),
        "Authorization: Token wrong".to_owned(),
        "Authorization: Bearer a.b.c".to_owned(),
        "Authorization: Digest x".to_owned(),
        "Authorization:".to_owned(),
        format!("Authorization: Basic {bad}\r\nAuthorization: Basic {good}"),
    ];
    let queries = [
        String::new(),
        format!("&u={user}&p={password}"),
        format!("&u={user}&p=wrong"),
        format!("&u={user}"),
        format!("&p={password}"),
        format!("&u={user}&p={token}"),
    ];
    let mut cases = Vec::new();
    for query in &queries {
        for header in &headers {
            let header: &[&str] = if header.is_empty() { &[] } else { &[header] };
            for (target, body) in [
                ("POST /write?db=cap", "m v=1 1"),
                ("POST /write?db=nope", "m v=1 1"),
                ("POST /api/v2/write?bucket=cap&org=o", "m v=1"),
                ("GET /query?db=cap&q=SELECT+*+FROM+m", ""),
                ("GET /ping?x=1", ""),
            ] {
                cases.push(Case::new(&format!("{target}{query}"), header, body));
            }
        }
    }
    cases
}

fn query(database: &Database, authorization: &[&str], statement: &str) {
    let headers = [&[FORM], authorization].concat();
    let body = format!("q={}", escape(statement));
    let answer = database.connect().call("POST /query", &headers, body.as_bytes()).unwrap();
    assert!(answer.status == 200 && !answer.text().contains("error"), "{statement}: {}", answer.text());
}

#[test]
fn check_18_credentials_for_influxdb_1_are_its_own_to_judge() {
    let source = Database::start_with(Kind::One, &[("HTTP_AUTH_ENABLED", "true")]);
    let section = format!("{}\nusername = \"admin\"\npassword = \"secret\"", source.section());
    let early = Pair::before(source, &section, "");
    // Nobody is there yet.
    early.assert_alike(&with_credentials("admin", "secret", "none")[..10], &[]);
    let source = &early.source;
    query(source, &[], "CREATE USER admin WITH PASSWORD 'secret' WITH ALL PRIVILEGES");
    let admin = ["Authorization: Token admin:secret"];
    for statement in [
        "CREATE DATABASE cap",
        "CREATE USER w WITH PASSWORD 'wp'",
        "GRANT WRITE ON cap TO w",
        "CREATE USER bob WITH PASSWORD 'bp'",
    ] {
        query(source, &admin, statement);
    }
    for (user, password) in [("admin", "secret"), ("w", "wp"), ("bob", "bp")] {
        early.assert_alike(&with_credentials(user, password, "none"), &[]);
    }
}

#[test]
fn check_18_credentials_for_influxdb_2_are_its_own_to_judge() {
    let source = Database::start(Kind::Two);
    source.create("cap");
    let section = source.section();
    let pair = Pair::before(source, &section, "");
    pair.assert_alike(&with_credentials("admin", "password1", crate::database::TOKEN), &[]);
}

#[test]
fn check_17_limits_of_influxdb_1_are_its_own_to_say() {
    let source = Database::start_with(Kind::One, &[("HTTP_MAX_BODY_SIZE", "100000")]);
    source.create("cap");
    let section = source.section();
    let pair = Pair::before(source, &section, "");
    let line = b"m,t=long v=1 1\n";
    let (fits, over) = (line.repeat(100_000 / line.len()), line.repeat(100_000 / line.len() + 1));
    let chunks = |body: &[u8]| [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat();
    let mut cases = Vec::new();
    for target in ["POST /write?db=cap", "POST /api/v2/write?bucket=cap"] {
        for body in [&fits, &over, &line.repeat(200_000)] {
            cases.push(Case::new(target, &[], body));
            cases.push(Case::new(target, &["Content-Encoding: gzip"], gzip(body)));
            let first = format!("{target} HTTP/1.1");
            let name = format!("{target} chunked {}", body.len());
            cases.push(Case::raw(&name, &first, &["Transfer-Encoding: chunked"], &chunks(body)));
        }
    }
    pair.assert_alike(&cases, &[]);
}

#[test]
fn check_17_a_throttled_influxdb_1_says_so_itself() {
    let settings = [
        ("HTTP_MAX_CONCURRENT_WRITE_LIMIT", "1"),
        ("HTTP_MAX_ENQUEUED_WRITE_LIMIT", "1"),
        ("HTTP_ENQUEUED_WRITE_TIMEOUT", "50000000"),
    ];
    let source = Database::start_with(Kind::One, &settings);
    source.create("cap");
    let section = source.section();
    let pair = Pair::before(source, &section, "");
    // A write that never comes whole holds the only place, unless it was throttled itself.
    let holding = crate::proxy::eventually("the only place is taken", || {
        let mut holding = Connection::open(&pair.source.addr).unwrap();
        holding.send(b"POST /write?db=cap HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nm v=1").unwrap();
        let answer = pair.source.connect().call("POST /write?db=cap", &[], b"m v=1 1").unwrap();
        if answer.status == 503 { Ok(holding) } else { Err(answer.text()) }
    });
    let cases = [
        Case::new("POST /write?db=cap", &[], "m v=1 1"),
        Case::new("POST /write?db=cap", &[], "m v=1"),
        Case::new("POST /api/v2/write?bucket=cap", &[], "m v=1 1"),
    ];
    pair.assert_alike(&cases, &[]);
    drop(holding);
}

/// A server with too many connections closes new ones without a word. Clients share Twinline's connections to it, so few of
/// them meet that; those that do are told to come again.
#[test]
fn check_17_an_influxdb_1_with_too_many_connections_is_met_with_a_503() {
    let source = Database::start_with(Kind::One, &[("HTTP_MAX_CONNECTION_LIMIT", "6")]);
    source.create("cap");
    let section = source.section();
    let pair = Pair::before(source, &section, "");
    let mut held = Vec::new();
    crate::proxy::eventually("no connection is left", || {
        let mut connection = Connection::open(&pair.source.addr).unwrap();
        let answer = connection.call("GET /ping", &[], b"");
        held.extend(answer.is_ok().then_some(connection));
        if answer.is_err() { Ok(()) } else { Err(format!("{} are open", held.len())) }
    });
    let write = |at: u32| {
        let mut client = Connection::open(&pair.twinline.addr).unwrap();
        client.call("POST /write?db=cap", &[], format!("m v=1 {at}").as_bytes()).unwrap()
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16).map(|at| scope.spawn(move || write(at))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for answer in &answers {
        let again = answer.head.iter().any(|line| line.trim_end() == "Retry-After: 1");
        assert!(answer.status == 204 || answer.status == 503 && again, "{:?}: {}", answer.head, answer.text());
    }
    assert!(answers.iter().any(|answer| answer.status == 503), "nobody met the limit");
    drop(held);
    crate::proxy::eventually("writes go on", || match write(99).status {
        204 => Ok(()),
        status => Err(status.to_string()),
    });
}
