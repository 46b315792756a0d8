//! Endpoints, statements and their answers.

use std::io::Write as _;

use super::*;
use crate::cell::Value;

fn results(answer: &Answer) -> serde_json::Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()["results"].take()
}

fn error(answer: &Answer) -> (u16, String) {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    (answer.status, body["error"].as_str().unwrap().to_owned())
}

#[test]
fn ping_and_health_answer_as_1_x() {
    let sandbox = sandbox();
    let ping = send(sandbox.addr(), "GET /ping", "X-Request-Id: mine\r\n", b"").unwrap();
    assert_eq!(ping.status, 204);
    for line in ["X-Influxdb-Version: 1.13-sandbox", "X-Influxdb-Build: OSS", "Request-Id: mine", "X-Request-Id: mine"]
    {
        assert!(ping.head.lines().any(|l| l == line), "{line} is missing in {}", ping.head);
    }
    assert_eq!(send(sandbox.addr(), "HEAD /ping", "", b"").unwrap().status, 204);
    let health = send(sandbox.addr(), "GET /health", "", b"").unwrap();
    assert!(health.text().contains("\"status\":\"pass\""));
    assert_eq!(send(sandbox.addr(), "GET /nosuch", "", b"").unwrap().status, 404);
    let not_allowed = send(sandbox.addr(), "GET /write", "", b"").unwrap();
    assert_eq!((not_allowed.status, not_allowed.text()), (405, "Method Not Allowed\n"));
}

#[test]
fn writes_answer_as_1_13() {
    let sandbox = sandbox();
    let good = write(&sandbox, "db=d", b"m,t=a v=1,s=\"x\" 1").unwrap();
    assert_eq!((good.status, good.body.len()), (204, 0));
    let partial = write(&sandbox, "db=d", b"m v=1i 2\nm v=2 3").unwrap();
    assert_eq!(partial.status, 400);
    let text = "partial write: field type conflict: input field \"v\" on measurement \"m\" is type integer, already \
                exists as type float dropped=1 for database: d for retention policy: autogen";
    assert_eq!(error(&partial).1, text);
    assert!(partial.head.contains(&format!("\r\nX-Influxdb-Error: {text}\r\n")));
    assert!(partial.text().ends_with("\"}\n"));
    assert_eq!(error(&write(&sandbox, "", b"m v=1").unwrap()), (400, "database is required".to_owned()));
    assert_eq!(error(&write(&sandbox, "db=x", b"").unwrap()), (404, "database not found: \"x\"".to_owned()));
    assert_eq!(error(&write(&sandbox, "db=d&rp=x", b"").unwrap()), (500, "retention policy not found: x".to_owned()));
    let precision = write(&sandbox, "db=d&precision=us", b"m v=9 9").unwrap();
    assert_eq!(error(&precision).1, "invalid precision \"us\" (use n, u, ms, s, m or h)");
    write(&sandbox, "db=d&precision=ms", b"m v=9 9").unwrap();
    let times: Vec<_> = sandbox.cells("d", "").iter().map(|cell| (cell.time_ns, cell.value.clone())).collect();
    let expected = [
        (3, Value::Float(2.0)),
        (9_000_000, Value::Float(9.0)),
        (1, Value::String(b"x".to_vec())),
        (1, Value::Float(1.0)),
    ];
    assert_eq!(times, expected);
    assert_eq!(sandbox.lines_received(), 4);
}

#[test]
fn gzip_bodies_are_read_whole() {
    let sandbox = sandbox();
    let member = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let post = |body: &[u8]| send(sandbox.addr(), "POST /write?db=d", "Content-Encoding: gzip\r\n", body).unwrap();
    let two = [member("m v=1 1\n"), member("m v=2 2\n")].concat();
    assert_eq!(post(&two).status, 204);
    assert_eq!(sandbox.stats().values, 2, "both members");
    assert_eq!(error(&post(&two[..two.len() - 3])), (400, "unexpected EOF".to_owned()));
    assert_eq!(error(&post(b"m v=1 1 and more")), (400, "gzip: invalid header".to_owned()));
    assert_eq!(error(&post(b"")), (400, "EOF".to_owned()));
    let bomb = member(&"\n".repeat(25_000_001));
    assert_eq!(error(&post(&bomb)), (413, "Request Entity Too Large".to_owned()));
    assert_eq!(sandbox.stats().values, 2);
}

#[test]
fn statements_answer_as_1_13() {
    let sandbox = sandbox();
    let day = r#"CREATE DATABASE e WITH DURATION 7d REPLICATION 1 SHARD DURATION 1d NAME "r""#;
    assert_eq!(results(&query(&sandbox, "", day)), serde_json::json!([{"statement_id": 0}]));
    let again = results(&query(&sandbox, "", r#"CREATE DATABASE e WITH DURATION 8d NAME "r""#));
    assert_eq!(again[0]["error"], "retention policy conflicts with an existing policy");
    query(&sandbox, "", "CREATE RETENTION POLICY p ON e DURATION 0s REPLICATION 1");
    let policies = results(&query(&sandbox, "", "SHOW RETENTION POLICIES ON e"));
    let expected = serde_json::json!([
        ["p", "0s", "168h0m0s", 1, "0s", "0s", false],
        ["r", "168h0m0s", "24h0m0s", 1, "0s", "0s", true]
    ]);
    assert_eq!(policies[0]["series"][0]["values"], expected);
    let names = results(&query(&sandbox, "", "SHOW DATABASES"));
    assert_eq!(names[0]["series"][0]["values"], serde_json::json!([["d"], ["e"]]));
    let several = results(&query(&sandbox, "", "SHOW FIELD KEYS ON nope; SHOW DATABASES"));
    assert_eq!(several[0]["error"], "database not found: nope");
    assert_eq!(several[1]["error"], "not executed");
    query(&sandbox, "", "DROP DATABASE e");
    let names = results(&query(&sandbox, "", "SHOW DATABASES"));
    assert_eq!(names[0]["series"][0]["values"], serde_json::json!([["d"]]));
    assert_eq!(error(&query(&sandbox, "", "")), (400, "missing required parameter \"q\"".to_owned()));
    let nonsense = error(&query(&sandbox, "", "SELEC"));
    assert!(nonsense.1.starts_with("error parsing query: found SELEC, expected SELECT, DELETE"), "{nonsense:?}");
    let by_get = send(sandbox.addr(), "GET /query?q=CREATE+DATABASE+g", "", b"").unwrap();
    let text = "deprecated use of 'CREATE DATABASE g' in a read only context, please use a POST request instead";
    assert_eq!(results(&by_get)[0]["messages"][0]["text"], text);
}

#[test]
fn what_was_written_can_be_listed_and_selected() {
    let sandbox = sandbox();
    write(&sandbox, "db=d", b"m,t=a v=1,w=2i 1\nm,t=b,u=x v=3 2\nm,t=a v=4 3\nn f=true 5").unwrap();
    let values = |q: &str| results(&query(&sandbox, "db=d&epoch=ns", q))[0]["series"].take();
    assert_eq!(values("SHOW MEASUREMENTS")[0]["values"], serde_json::json!([["m"], ["n"]]));
    assert_eq!(values("SHOW FIELD KEYS FROM m")[0]["values"], serde_json::json!([["v", "float"], ["w", "integer"]]));
    assert_eq!(values("SHOW TAG KEYS")[0]["values"], serde_json::json!([["t"], ["u"]]));
    assert_eq!(values("SHOW SERIES")[0]["values"], serde_json::json!([["m,t=a"], ["m,t=b,u=x"], ["n"]]));
    let groups = values("SHOW SHARD GROUPS");
    assert_eq!(groups[0]["values"][0][3], "1969-12-29T00:00:00Z");
    let grouped = values("SELECT *::field FROM m WHERE time >= 1 AND time < 3 GROUP BY *");
    assert_eq!(grouped[0]["tags"], serde_json::json!({"t": "a", "u": ""}));
    assert_eq!(grouped[0]["columns"], serde_json::json!(["time", "v", "w"]));
    assert_eq!(grouped[0]["values"], serde_json::json!([[1, 1, 2]]));
    assert_eq!(grouped[1]["values"], serde_json::json!([[2, 3, null]]));
    let all = values("SELECT * FROM m ORDER BY time DESC LIMIT 2");
    assert_eq!(all[0]["columns"], serde_json::json!(["time", "t", "u", "v", "w"]));
    assert_eq!(all[0]["values"], serde_json::json!([[3, "a", null, 4, null], [2, "b", "x", 3, null]]));
    let count = values("SELECT count(*::field) FROM m");
    assert_eq!(count[0]["columns"], serde_json::json!(["time", "count_v", "count_w"]));
    assert_eq!(count[0]["values"], serde_json::json!([[0, 3, 1]]));
    assert_eq!(values("SELECT COUNT(v) FROM m WHERE t = 'a'")[0]["values"], serde_json::json!([[0, 2]]));
    assert_eq!(values("SELECT v FROM m WHERE time >= 9 AND time < 3"), serde_json::Value::Null);
    query(&sandbox, "db=d", "DELETE FROM m WHERE time <= 2 AND t = 'a'");
    assert_eq!(values("SELECT count(v) FROM m")[0]["values"], serde_json::json!([[0, 2]]));
    query(&sandbox, "db=d", "DROP MEASUREMENT m");
    assert_eq!(values("SHOW MEASUREMENTS")[0]["values"], serde_json::json!([["n"]]));
}

#[test]
fn shard_groups_are_made_by_the_first_point_and_stay() {
    let sandbox = sandbox();
    query(&sandbox, "", "CREATE RETENTION POLICY p ON d DURATION 5200w REPLICATION 1 SHARD DURATION 1d");
    let week_ns = 604_800_000_000_000_i64;
    // The newest comes first, and the week of 1970 ends on a Monday.
    let lines = format!("m v=1 {}\nm v=2 0\nm v=3 {}", 52 * week_ns, 52 * week_ns + 1);
    write(&sandbox, "db=d", lines.as_bytes()).unwrap();
    write(&sandbox, "db=d&rp=p", b"m v=1 0").unwrap();
    query(&sandbox, "db=d", "DELETE FROM m WHERE time = 0");
    let groups = results(&query(&sandbox, "", "SHOW SHARD GROUPS"));
    let columns = ["id", "database", "retention_policy", "start_time", "end_time", "expiry_time"];
    assert_eq!(groups[0]["series"][0]["columns"], serde_json::json!(columns));
    let expected = serde_json::json!([
        [2, "d", "autogen", "1969-12-29T00:00:00Z", "1970-01-05T00:00:00Z", "1970-01-05T00:00:00Z"],
        [1, "d", "autogen", "1970-12-28T00:00:00Z", "1971-01-04T00:00:00Z", "1971-01-04T00:00:00Z"],
        [3, "d", "p", "1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z", "2069-08-30T00:00:00Z"]
    ]);
    assert_eq!(groups[0]["series"][0]["values"], expected);
}

#[test]
fn what_is_loaded_was_there_before() {
    let sandbox = sandbox();
    sandbox.load("d", b"m,t=a v=1,w=2i 1\nm v=3 2").unwrap();
    let stats = sandbox.stats();
    assert_eq!((stats.values, stats.series, stats.lines_received, stats.writes), (3, 2, 0, 0));
    let error = sandbox.load("d", b"m v=2i 3").unwrap_err();
    assert!(error.to_string().contains("field type conflict"), "{error}");
    assert!(sandbox.load("nope", b"m v=2i 3").unwrap_err().to_string().contains("database not found"));
}

#[test]
fn databases_appear_by_themselves_when_asked_to() {
    let sandbox = Sandbox::spawn_thread(Options { auto_create: true, ..Options::default() }).unwrap();
    assert_eq!(write(&sandbox, "db=new", b"m v=1 1").unwrap().status, 204);
    assert_eq!(sandbox.cells("new", "").len(), 1);
}

#[test]
fn a_full_sandbox_says_so() {
    let sandbox = Sandbox::spawn_thread(Options { max_points: 1, ..Options::default() }).unwrap();
    sandbox.create_database("d");
    write(&sandbox, "db=d", b"m v=1 1").unwrap();
    let full = write(&sandbox, "db=d", b"m v=1 2").unwrap();
    assert_eq!(error(&full), (500, "engine: cache-max-memory-size exceeded: (2/1)".to_owned()));
}
