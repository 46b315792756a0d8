//! The typed reader against real servers: every type, size, name and time that they store comes back bit by bit.

use std::sync::Arc;

use twinline::cell::{Cell, Series, SumKey, Summer, Value, compare};
use twinline::db::read::{Bucket, Limits, Window, unreadable_fields};
use twinline::line::{self, Dialect, Precision};
use twinline::sandbox::{Options, Sandbox};

use crate::database::{Database, Kind};
use crate::http::{call, escape};

/// The cells that a body holds, by our own parser.
fn cells_of(body: &[u8], dialect: Dialect) -> Vec<Cell> {
    let mut cells = Vec::new();
    for line in line::lines(body, dialect, Precision::Nanosecond) {
        let line = line.expect("the body is well-formed");
        let tags = line.tags().iter().map(|tag| (tag.key().into_owned(), tag.value().into_owned())).collect();
        let series = Arc::new(Series::new(line.measurement().into_owned(), tags));
        for field in line.fields() {
            let value = match field.value() {
                line::Value::Float(v) => Value::Float(v),
                line::Value::Integer(v) => Value::Integer(v),
                line::Value::Unsigned(v) => Value::Unsigned(v),
                line::Value::Bool(v) => Value::Boolean(v),
                line::Value::String(v) => Value::String(v.into_owned()),
                line::Value::Undecodable(raw) => panic!("{raw:?} is no value"),
            };
            let (series, field) = (series.clone(), Arc::from(field.key().as_ref()));
            cells.push(Cell { series, field, time_ns: line.timestamp_ns().expect("timed"), value });
        }
    }
    cells
}

/// Every type at its edges, awkward texts and names, the ends of time.
fn hard_body(dialect: Dialect) -> Vec<u8> {
    let mut body: Vec<u8> = Vec::new();
    let floats = [
        "-0",
        "0",
        "1",
        "100",
        "0.1",
        "5e-324",
        "2.2250738585072014e-308",
        "1.7976931348623157e308",
        "-1.7976931348623157e308",
        "0.30000000000000004",
        "1e23",
        "9007199254740993",
        "1e21",
        "1e20",
        "123456789.125",
    ];
    let integers = [
        "0",
        "1",
        "127",
        "128",
        "255",
        "256",
        "32767",
        "32768",
        "65535",
        "65536",
        "2147483647",
        "2147483648",
        "4294967295",
        "4294967296",
        "9223372036854775807",
        "-1",
        "-32",
        "-33",
        "-128",
        "-129",
        "-32768",
        "-32769",
        "-2147483648",
        "-2147483649",
        "-9223372036854775808",
    ];
    let unsigned = ["0", "1", "127", "128", "255", "256", "65535", "65536", "4294967296", "18446744073709551615"];
    let long = vec![b'x'; 70_000];
    let strings: [&[u8]; 19] = [
        b"",
        b"plain",
        b"a\\\"b",
        b"\\\\",
        b"\\\\\\\"",
        b"line\nfeed",
        b"cr\r",
        b"\r\n",
        b"tab\t",
        b"nul\0in",
        b"\xff\xfe",
        b"a\xffb\xc3",
        "\u{1f600}\u{e9}".as_bytes(),
        b",= #",
        b"#x",
        b"<&>'",
        b"\xe2\x80\xa8",
        b"null",
        &long,
    ];
    let mut push = |parts: &[&[u8]]| body.extend(parts.concat());
    for (at, v) in floats.iter().enumerate() {
        push(&[format!("floats f={v} {at}\n").as_bytes()]);
    }
    for (at, v) in integers.iter().enumerate() {
        push(&[format!("integers i={v}i {at}\n").as_bytes()]);
    }
    if dialect == Dialect::Influx2 {
        for (at, v) in unsigned.iter().enumerate() {
            push(&[format!("unsigned u={v}u {at}\n").as_bytes()]);
        }
        push(&[b"small\\ unsigned u=1u,i=1i 1\n"]);
    }
    for (at, v) in strings.iter().enumerate() {
        push(&[b"strings s=\"", v, format!("\" {at}\n").as_bytes()]);
    }
    push(&[b"bools b=true 1\nbools b=false 2\nbools b=T,c=f 3\n"]);
    for time in ["0", "1", "-1", "9223372036854775806", "-9223372036854775806", "1600000000123456789"] {
        push(&[format!("times t={time}i {time}\n").as_bytes()]);
    }
    let tags: [&[u8]; 13] = [
        b"a\\,b",
        b"a\\ b",
        b"a\\=b",
        b"a\"b",
        b"\"q\"",
        b"a\\b",
        b"\\",
        "\u{1f600}".as_bytes(),
        b"nul\0",
        b"\xff",
        b"'",
        b"a/b",
        b"=x",
    ];
    for (at, tag) in tags.iter().enumerate() {
        let tag: &[u8] = match *tag {
            b"\\" => b"a\\\\b",
            b"=x" => b"\\=x",
            tag => tag,
        };
        push(&[b"tags,k=", tag, format!(" v={at}i 1\n").as_bytes()]);
    }
    push(&[b"tags,a\\ key=x,other\\,key=y,\\=k=z v=99i 1\ntags v=100i 1\n"]);
    for name in
        ["spa\\ ce", "com\\,ma", "quo'te", "sla/sh.dot", "emoji\u{1f600}", "new(paren)", "select", "per%cent&+;"]
    {
        push(&[format!("{name} v=1i 1\n").as_bytes()]);
    }
    push(&[
        b"not\xffutf8 v=1i 1\nnot\xfeutf8,t=\xfd v=2i 1\nnotXutf8 v=3 1\n",
        b"names fi\\ eld=1,fi\\,eld=2,fi\\=eld=3,\"quo\"=4,\xff=5,v=6i,V=7i,name=8 1\n",
    ]);
    push(&[b"same,v=tag v=1i 1\nmany,t=1 a=1,b=2i 1\nmany,t=1 c=true 1\nmany,t=2 a=3 1\nmany,t=2,u=3 d=\"x\" 2\n"]);
    body
}

/// Fields whose type differs between shard groups, with points where windows are hard to find.
fn mixed_body(dialect: Dialect) -> Vec<u8> {
    let day = 86_400_000_000_000i64;
    let mut values = vec!["1.5", "2i", "\"s\"", "true", "7i", "-3i", "0.25", "0i", "9223372036854775807i"];
    if dialect == Dialect::Influx2 {
        values.extend(["9u", "5i", "200u", "18446744073709551615u", "9223372036854775807u", "0u", "3i"]);
    }
    let mut body = String::new();
    for (week, value) in (0i64..).zip(&values) {
        let time = week * 7 * day;
        body.push_str(&format!("mixed v={value},steady=1i {time}\nmixed,t=a v={value} {}\n", time + 1));
        body.push_str(&format!(
            "mixed v={value} {}\nmixed,t=b v={value} {}\n",
            -time * 100 - 20 * 7 * day,
            (400 + week) * day
        ));
    }
    body.push_str("mixed steady=8i 9223372036854775806\nmixed steady=9i -9223372036854775806\n");
    body.push_str("mixed v=true 9000000000000000000\nmixed v=\"old\" -9000000000000000000\n");
    body.into_bytes()
}

/// A server with database `d` and its policies `autogen` and `r`; shard groups of `r` are short.
fn server(kind: Kind) -> Database {
    let server = Database::start(kind);
    server.create("d");
    match kind {
        Kind::One => {
            server.query("CREATE RETENTION POLICY r ON d DURATION 0s REPLICATION 1 SHARD DURATION 1d");
        }
        // A bucket that keeps one day would expire our points, so the duration of its groups is given.
        Kind::Two => server.create_bucket(
            "d/r",
            &serde_json::json!([{ "type": "expire", "everySeconds": 0, "shardGroupDurationSeconds": 3600 }]),
        ),
    }
    server
}

async fn reads_back(server: &Database, rp: &str, body: &[u8]) {
    server.post(&format!("/write?db=d&rp={rp}"), body, 204);
    for chunk_rows in [7, 2000] {
        let reader = server.reader(Limits { chunk_rows, ..Limits::default() });
        let found = reader.read_all("d", rp).await.unwrap();
        let differences = compare(cells_of(body, server.dialect()), found);
        assert!(differences.is_empty(), "{rp}, {chunk_rows} rows: {differences}");
    }
}

/// Five field names are stored and cannot be queried: they are told, and the other fields are read.
async fn reserved_names_are_told(server: &Database) {
    let reserved = ["_fieldKey", "_name", "_seriesKey", "_tagKey", "_tagValue"];
    let lines = reserved.map(|name| format!("reserved,v=t {name}=1i,v=2i 7\nonly_{name} {name}=1i 7\n"));
    server.post("/write?db=d&rp=r", lines.concat().as_bytes(), 204);
    let reader = server.reader(Limits::default());
    let keys = reader.field_keys("d", "r", b"reserved").await.unwrap();
    assert_eq!(unreadable_fields(&keys), reserved.map(str::as_bytes));
    let found = reader.read("d", "r", b"reserved", Window::ALL).await.unwrap();
    let differences = compare(cells_of(b"reserved,v=t v=2i 7", server.dialect()), found);
    assert!(differences.is_empty(), "{differences}");
    for name in reserved {
        let found = reader.read("d", "r", format!("only_{name}").as_bytes(), Window::ALL).await.unwrap();
        assert_eq!(found, []);
    }
}

async fn everything(server: Database) {
    let dialect = server.dialect();
    reads_back(&server, "autogen", &hard_body(dialect)).await;
    reads_back(&server, "r", &mixed_body(dialect)).await;
    reserved_names_are_told(&server).await;
    let reader = server.reader(Limits::default());
    assert!(reader.databases().await.unwrap().contains(&"d".to_owned()));
    let many: String = (0..30_000).map(|at| format!("bulk,t={} v={at}i {at}\n", at % 3)).collect();
    server.post("/write?db=d", many.as_bytes(), 204);
    let window = Window { start_ns: 5, end_ns: 29_000 };
    let found = reader.read("d", "autogen", b"bulk", window).await.unwrap();
    let wanted = cells_of(many.as_bytes(), dialect).into_iter().filter(|c| (5..29_000).contains(&c.time_ns));
    let differences = compare(wanted, found);
    assert!(differences.is_empty(), "{differences}");
    let error = reader.read_all("nope", "").await.unwrap_err();
    assert_eq!(error.kind(), twinline::base::Kind::Answer, "{error}");
}

#[tokio::test]
async fn influxdb_1_gives_back_every_cell() {
    everything(server(Kind::One)).await;
}

#[tokio::test]
async fn influxdb_2_gives_back_every_cell() {
    everything(server(Kind::Two)).await;
}

/// By Flux, where no database and policy of InfluxQL stand for a bucket: the same cells, but for the last nanosecond of time, which no
/// range of Flux reaches.
#[tokio::test]
async fn flux_gives_back_every_cell_that_it_reaches() {
    let server = server(Kind::Two);
    let dialect = server.dialect();
    for (name, rp, body) in [("d", "autogen", hard_body(dialect)), ("d/r", "r", mixed_body(dialect))] {
        server.post(&format!("/write?db=d&rp={rp}"), &body, 204);
        let (org_id, id) = server.bucket_ids(name);
        let (db, bucket) = Bucket { org_id, id }.place();
        let reader = server.reader(Limits::default());
        let reached = |cell: &Cell| cell.time_ns != i64::MAX - 1;
        let wanted: Vec<Cell> = cells_of(&body, dialect).into_iter().filter(reached).collect();
        let names = reader.measurements(&db, &bucket).await.unwrap();
        let mut found = Vec::new();
        for measurement in &names {
            for window in reader.groups(&db, &bucket, measurement, Window::ALL).await.unwrap() {
                let cells = reader.read(&db, &bucket, measurement, window).await.unwrap();
                assert!(cells.iter().all(|cell| (window.start_ns..window.end_ns).contains(&cell.time_ns)));
                found.extend(cells);
            }
        }
        let sum = |cells: &[Cell]| {
            let mut sum = Summer::new(SumKey([1, 2]));
            cells.iter().for_each(|cell| sum.add(cell));
            sum.total()
        };
        let by_influxql: Vec<Cell> = reader.read_all("d", rp).await.unwrap().into_iter().filter(reached).collect();
        assert_eq!(sum(&found), sum(&by_influxql), "{name}");
        let differences = compare(wanted, found);
        assert!(differences.is_empty(), "{name}: {differences}");
    }
}

/// The sandbox stands in for InfluxDB 1.x elsewhere: the same bytes must become the same cells and the same answers.
#[tokio::test]
async fn the_sandbox_holds_what_influxdb_1_holds() {
    let server = server(Kind::One);
    let sandbox = Sandbox::spawn_thread(Options::default()).unwrap();
    sandbox.create_database("d");
    let double = |path: &str, body: &[u8]| {
        let form = ["Content-Type: application/x-www-form-urlencoded"];
        let [to_sandbox, to_server] = [&sandbox.addr().to_string(), &server.addr].map(|addr| {
            let answer = call(addr, &format!("POST {path}"), &form, body).unwrap();
            (answer.status, answer.text())
        });
        assert_eq!(to_sandbox, to_server, "{path}: {}", String::from_utf8_lossy(body));
    };
    double("/write?db=d", &hard_body(Dialect::Influx1));
    double("/write?db=d", b"m v=1 1\nbad\nm v=2 2\nbad2 v=");
    double("/write?db=d", b"m v=\"x\",w=1 2\nm v=1i 3\nm w=1 4");
    double("/write?db=d", b"m time=1,v=2 5");
    double("/write?db=d&precision=us", b"m v=1 1");
    double("/write?db=nope", b"m v=1 1");
    double("/write?db=d&rp=nope", b"m v=1 1");
    double("/write?precision=s", b"m v=1 1");
    double("/write?db=d&precision=m", b"m v=1 1\n\n# c\n");
    for q in [
        "SELEC",
        "SHOW FIELD KEYS",
        "SHOW TAG KEYS",
        "SHOW MEASUREMENTS",
        "SELECT v FROM nope",
        "SELECT count(v) FROM m",
    ] {
        double("/query?db=d&epoch=ns", format!("q={}", q.replace(' ', "+")).as_bytes());
    }
    for q in [
        "SELECT * FROM many",
        "SELECT *::field FROM many GROUP BY *",
        "SELECT count(*::field) FROM floats",
        "SELECT f FROM floats",
    ] {
        double("/query?db=d", format!("q={}", q.replace(' ', "+")).as_bytes());
        double("/query?db=d&epoch=ms&chunked=true&chunk_size=2", format!("q={}", q.replace(' ', "+")).as_bytes());
    }
    let found = server.reader(Limits::default()).read_all("d", "").await.unwrap();
    let differences = compare(sandbox.cells("d", ""), found);
    assert!(differences.is_empty(), "{differences}");
}

/// What a copy of history asks of it, it answers as InfluxDB 1.x does: policies, shard groups, windows of them, their counts.
#[test]
fn the_sandbox_shows_history_as_influxdb_1_does() {
    let server = Database::start(Kind::One);
    let sandbox = Sandbox::spawn_thread(Options::default()).unwrap();
    let ask = |path: &str, body: &[u8]| {
        let form = ["Content-Type: application/x-www-form-urlencoded", "Accept: application/x-msgpack"];
        [&sandbox.addr().to_string(), &server.addr].map(|addr| {
            let answer = call(addr, &format!("POST {path}"), &form, body).unwrap();
            (answer.status, answer.body)
        })
    };
    let same = |path: &str, body: &str| {
        let [to_sandbox, to_server] = ask(path, body.as_bytes());
        let show = |(status, body): (u16, Vec<u8>)| (status, String::from_utf8_lossy(&body).into_owned(), body);
        assert_eq!(show(to_sandbox), show(to_server), "{path}: {body}");
    };
    let query = |q: &str| same("/query?db=d&epoch=ns&chunked=true&chunk_size=50", &format!("q={}", escape(q)));
    query("CREATE DATABASE d");
    query("CREATE RETENTION POLICY long ON d DURATION 5200w REPLICATION 1");
    query("CREATE RETENTION POLICY short ON d DURATION 5200w REPLICATION 1 SHARD DURATION 1d");
    let (day_ns, now_ns) = (86_400_000_000_000_i64, 1_790_000_000_000_000_000_i64);
    let line = |at: i64| {
        let (host, time) = (at % 3, now_ns - (at * 7 % 365) * day_ns + at);
        format!(
            "machine,host=h{host} temperature={}.5,requests={}i,healthy=true,note=\"\\\"{at}\\\"\" {time}\n",
            at % 50,
            -at
        )
    };
    let body: String = (0..1000).map(line).collect();
    for rp in ["autogen", "long", "short"] {
        same(&format!("/write?db=d&rp={rp}"), &body);
    }
    for q in [
        "SHOW RETENTION POLICIES ON \"d\"",
        "SHOW MEASUREMENTS",
        "SHOW FIELD KEYS FROM \"machine\"",
        "SELECT count(*::field) FROM \"machine\"",
        "DELETE FROM machine WHERE host = 'h1' AND time >= 1780000000000000000 AND time < 1781000000000000000",
        "SELECT count(*::field) FROM \"machine\"",
    ] {
        query(q);
    }
    for week in 0..53 {
        let window = twinline::db::read::shard_group_at(now_ns - week * 7 * day_ns, 7 * day_ns);
        let clause = format!("WHERE time >= {} AND time < {}", window.start_ns, window.end_ns);
        query(&format!("SELECT *::field FROM \"machine\" {clause} GROUP BY *"));
        query(&format!("SELECT count(*::field) FROM \"machine\" {clause}"));
    }
    // A server has groups of its own database as well, so numbers are compared by their order.
    let [to_sandbox, to_server] = ask("/query", b"q=SHOW+SHARD+GROUPS").map(|(_, body)| groups_of(&body));
    assert_eq!(to_sandbox.len(), 53 + 53 + 365, "{to_sandbox:?}");
    assert_eq!(to_sandbox, to_server);
}

/// The shard groups of `d`: the rank of each number, then all that is said of it.
fn groups_of(answer: &[u8]) -> Vec<(usize, Vec<String>)> {
    let answer = rmpv::decode::read_value(&mut &answer[..]).unwrap();
    let get = |map: &rmpv::Value, name: &str| {
        let pairs = map.as_map().unwrap();
        pairs.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value.clone()).unwrap()
    };
    let series = get(&get(&answer, "results")[0], "series");
    let all = series.as_array().unwrap().iter().flat_map(|one| get(one, "values").as_array().unwrap().clone());
    let of_d: Vec<_> = all.filter(|row| row[1].as_str() == Some("d")).collect();
    let mut numbers: Vec<i64> = of_d.iter().map(|row| row[0].as_i64().unwrap()).collect();
    numbers.sort_unstable();
    let rank = |row: &rmpv::Value| numbers.binary_search(&row[0].as_i64().unwrap()).unwrap();
    let text =
        |row: &rmpv::Value| row.as_array().unwrap()[1..].iter().map(|v| v.as_str().unwrap().to_owned()).collect();
    of_d.iter().map(|row| (rank(row), text(row))).collect()
}
