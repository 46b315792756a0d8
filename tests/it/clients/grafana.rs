//! Grafana: the requests of its data sources, as its backend and the proxy for its frontend send them. No Grafana is needed to ask
//! what they ask; the answers must be those of the source, byte for byte.

use super::{BEGIN_S, MS, first};
use crate::captures::{Case, Pair};
use crate::database::{Kind, ORG};
use crate::http::escape;

/// `<FROM>` and `<TO>` are the time range of the dashboard in milliseconds.
const STATEMENTS: [(&str, &str); 13] = [
    ("health check", "SHOW measurements"),
    ("explore", "SHOW RETENTION POLICIES on \"cap\""),
    ("editor: measurements", "SHOW MEASUREMENTS WITH MEASUREMENT =~ /(?i)graf/ LIMIT 100"),
    ("editor: fields", "SHOW FIELD KEYS FROM \"autogen\".\"grafana\""),
    ("editor: tags", "SHOW TAG KEYS FROM \"grafana\""),
    ("variable", "SHOW TAG VALUES FROM \"grafana\" WITH KEY = \"host\""),
    ("variable of a variable", "SHOW TAG VALUES FROM \"grafana\" WITH KEY = \"pl ace\" WHERE \"host\" =~ /^h,1$/"),
    (
        "dashboard",
        "SELECT mean(\"f\") FROM \"grafana\" WHERE (\"host\"::tag =~ /^(h,1|h,3)$/) AND time >= <FROM>ms and time <= <TO>ms \
         GROUP BY time(200ms), \"host\"::tag fill(null)",
    ),
    (
        "dashboard: two panels in one",
        "SELECT last(\"i\") FROM \"grafana\" WHERE time >= <FROM>ms and time <= <TO>ms GROUP BY time(1s) fill(previous);\
         SELECT non_negative_derivative(mean(\"f\"), 1s) FROM \"grafana\" WHERE time >= <FROM>ms and time <= <TO>ms \
         GROUP BY time(1s) fill(linear)",
    ),
    ("table", "SELECT * FROM \"grafana\" WHERE time >= <FROM>ms and time <= <TO>ms ORDER BY time DESC LIMIT 50"),
    (
        "alert",
        "SELECT count(\"b\") FROM \"grafana\" WHERE time >= <FROM>ms and time <= <TO>ms GROUP BY time(1m) fill(0) ORDER BY time ASC",
    ),
    ("annotations", "SELECT \"s\" as \"text\" FROM \"grafana\" WHERE time >= <FROM>ms and time <= <TO>ms limit 1000"),
    ("a mistake of its user", "SELECT mean(\"f\" FROM \"grafana\""),
];

/// Headers that its backend adds.
const BACKEND: [&str; 3] =
    ["User-Agent: Grafana/12.3.0", "Accept-Encoding: gzip", "Authorization: Basic Z3JhZmFuYTpzZWNyZXQ="];
/// Headers that come through its proxy from a browser.
const BROWSER: [&str; 9] = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Accept: application/json, text/plain, */*",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: de-DE,de;q=0.9,en;q=0.8",
    "X-Forwarded-For: 10.1.2.3, 127.0.0.1",
    "X-Grafana-Device-Id: 2f1c6d3e5b7a9c8d",
    "X-Grafana-Org-Id: 1",
    "X-Panel-Id: 2",
    "Via: 1.1 example",
];

fn ranged(text: &str) -> String {
    let from = BEGIN_S * 1000;
    text.replace("<FROM>", &from.to_string()).replace("<TO>", &(from + 3_000).to_string())
}

/// By GET, and by POST as either method is set in the data source.
fn influxql(kind: &str, statement: &str) -> Vec<Case> {
    let statement = escape(&ranged(statement)).replace("%20", "+");
    let form = "Content-Type: application/x-www-form-urlencoded";
    let mut cases = Vec::new();
    for headers in [&BACKEND[..], &BROWSER[..]] {
        for policy in ["", "&rp=autogen"] {
            let get = format!("GET /query?db=cap&epoch=ms&q={statement}{policy} HTTP/1.1");
            cases.push(Case::raw(&format!("{kind}: {get}"), &get, headers, b""));
            let post = format!("POST /query?db=cap&epoch=ms{policy}");
            cases.push(Case::new(&post, &[headers, &[form]].concat(), format!("q={statement}")));
        }
    }
    cases
}

#[test]
fn check_12_grafana_sees_influxdb_1_as_it_is_by_get_and_post() {
    let pair = Pair::start(Kind::One);
    write(&pair);
    for (kind, statement) in &STATEMENTS[..STATEMENTS.len() - 1] {
        let asked = format!("q={}", escape(&ranged(statement)));
        let answer = pair.source.post("/query?db=cap", asked.as_bytes(), 200).json();
        assert!(answer.pointer("/results/0/series/0/values").is_some(), "{kind}: {answer}");
    }
    let mut cases: Vec<Case> = STATEMENTS.iter().flat_map(|(kind, statement)| influxql(kind, statement)).collect();
    cases.push(Case::raw("health check of another", "GET /ping HTTP/1.1", &BACKEND, b""));
    cases.push(Case::raw("no database", "GET /query?db=nowhere&epoch=ms&q=SHOW+measurements HTTP/1.1", &BACKEND, b""));
    // A dashboard asks again and again over one connection.
    let again = b"GET /query?db=cap&epoch=ms&q=SHOW+TAG+KEYS HTTP/1.1\r\nHost: x\r\nUser-Agent: Grafana/12.3.0\r\n\r\n";
    let first = Case::raw("one connection", "GET /query?db=cap&epoch=ms&q=SHOW+measurements HTTP/1.1", &BACKEND, b"");
    cases.push(first.then(again, 2).then(again, 3));
    pair.assert_alike(&cases, &[]);
}

const SCRIPTS: [(&str, &str); 7] = [
    ("health check", "buckets()"),
    (
        "variable",
        "import \"influxdata/influxdb/schema\"\nschema.tagValues(bucket: \"cap\", tag: \"host\", start: <FROM>, stop: <TO>)",
    ),
    (
        "dashboard",
        "from(bucket: \"cap\")\n  |> range(start: <FROM>, stop: <TO>)\n  |> filter(fn: (r) => r[\"_measurement\"] == \"grafana\" and \
         r[\"_field\"] == \"f\")\n  |> aggregateWindow(every: 200ms, fn: mean, createEmpty: false)\n  |> yield(name: \"mean\")",
    ),
    // One result: two of them come in any order.
    (
        "table",
        "from(bucket: \"cap\") |> range(start: <FROM>, stop: <TO>) |> filter(fn: (r) => r.host == \"h,3\") \
         |> pivot(rowKey: [\"_time\"], columnKey: [\"_field\"], valueColumn: \"_value\") |> limit(n: 30)",
    ),
    (
        "alert",
        "from(bucket: \"cap\") |> range(start: <FROM>, stop: <TO>) |> filter(fn: (r) => r._field == \"i\") |> max()",
    ),
    ("a mistake of its user", "from(bucket: \"cap\" |> range()"),
    ("no bucket", "from(bucket: \"nowhere\") |> range(start: <FROM>, stop: <TO>)"),
];

#[test]
fn check_12_grafana_sees_influxdb_2_as_it_is_in_flux_and_influxql() {
    let pair = Pair::start(Kind::Two);
    write(&pair);
    let mut cases = Vec::new();
    for (kind, script) in SCRIPTS {
        // Flux wants its times as such.
        let [from, to] = [BEGIN_S, BEGIN_S + 3].map(|second| second.to_string());
        let script = script.replace("<FROM>", &from).replace("<TO>", &to);
        let body = serde_json::json!({
            "dialect": {"annotations": ["group", "datatype", "default"], "delimiter": ",", "header": true},
            "query": script, "type": "flux",
        });
        let agent = ["User-Agent: influxdb-client-go/2.14.0  (linux; amd64)", "Accept-Encoding: gzip"];
        let headers = [&agent[..], &["Content-Type: application/json"]].concat();
        let line = format!("POST /api/v2/query?org={ORG}");
        cases.push(Case::new(&line, &headers, body.to_string()));
        let headers = [&pair.source.authorization(), headers[2]];
        let answer = pair.source.connect().call(&line, &headers, body.to_string().as_bytes()).unwrap();
        let shows = answer.status == 200 && answer.text().lines().count() > 4;
        assert_eq!(shows, !kind.starts_with("a mistake") && kind != "no bucket", "{kind}: {}", answer.text());
    }
    // InfluxQL on InfluxDB 2 goes by a mapping, which is made by itself for a bucket; credentials stand in a header of the user.
    for (_, statement) in STATEMENTS {
        let statement = escape(&ranged(statement));
        let get = format!("GET /query?db=cap&epoch=ms&q={statement} HTTP/1.1");
        cases.push(Case::raw(&get, &get, &BACKEND[..2], b""));
        let form = [BROWSER[0], BROWSER[2], "Content-Type: application/x-www-form-urlencoded"];
        cases.push(Case::new("POST /query?db=cap&epoch=ms", &form, format!("q={statement}")));
    }
    for path in ["/health", "/api/v2/buckets?name=cap", "/api/v2/orgs"] {
        cases.push(Case::raw(path, &format!("GET {path} HTTP/1.1"), &BACKEND[..2], b""));
    }
    pair.assert_alike(&cases, &[]);
}

/// What it looks at; the source alone has it.
fn write(pair: &Pair) {
    let body = first("grafana", MS).fold(String::new(), |text, line| text + &line + "\n");
    let target = match pair.source.kind {
        Kind::One => "/write?db=cap&precision=ms".to_owned(),
        Kind::Two => format!("/api/v2/write?org={ORG}&bucket=cap&precision=ms"),
    };
    pair.source.post(&target, body.as_bytes(), 204);
}
