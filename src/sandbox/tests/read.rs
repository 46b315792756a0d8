//! The typed reader against the sandbox: what goes in as line protocol comes out as cells.

use super::*;
use crate::base::{Kind, Side};
use crate::cell::{Value, compare};
use crate::db::read::{Auth, Limits, Product, Reader, Window};

fn reader(sandbox: &Sandbox, limits: Limits) -> Reader {
    Reader::with_limits(&sandbox.url(), Auth::None, Product::Influx1, Side::Source, limits).unwrap()
}

/// Every type, many sizes, awkward names.
fn body() -> Vec<u8> {
    let mut body = Vec::new();
    let floats =
        ["-0", "0", "1", "0.1", "5e-324", "1.7976931348623157e308", "-2.2250738585072014e-308", "1e23", "1e21"];
    let integers = [
        "0",
        "127",
        "128",
        "-1",
        "-33",
        "32768",
        "-40000",
        "4294967296",
        "9223372036854775807",
        "-9223372036854775808",
    ];
    let strings: [&[u8]; 8] =
        [b"", b"a\\\"b", b"\\\\", b"line\nfeed\r", b"\xff\xfe", "\u{1f600}".as_bytes(), b",= #", &[b'x'; 70_000]];
    for (at, value) in floats.iter().enumerate() {
        body.extend(format!("all,a=x\\,y,b\\=c=\u{e9} f={value} {at}\n").bytes());
    }
    for (at, value) in integers.iter().enumerate() {
        body.extend(format!("all,a=x\\ y i={value}i,b={} -{at}\n", at % 2 == 0).bytes());
    }
    for (at, value) in strings.iter().enumerate() {
        body.extend([b"all,q=\"q\" s=\"", *value, format!("\" {at}\n").as_bytes()].concat());
    }
    body.extend(b"other\\ name v=1 9223372036854775806\nother\\ name v=2 -9223372036854775806\n");
    body
}

#[tokio::test]
async fn the_reader_finds_every_cell_bit_by_bit() {
    let sandbox = sandbox();
    let answer = write(&sandbox, "db=d", &body()).unwrap();
    assert_eq!(answer.status, 204, "{answer:?}");
    let reader = reader(&sandbox, Limits::default());
    let found = reader.read_all("d", "").await.unwrap();
    let differences = compare(sandbox.cells("d", ""), found);
    assert!(differences.is_empty(), "{differences}");
    assert_eq!(differences.equal, 9 + 2 * 10 + 8 + 2);
    assert_eq!(reader.databases().await.unwrap(), ["d"]);
    assert_eq!(reader.measurements("d", "").await.unwrap(), [b"all".to_vec(), b"other name".to_vec()]);
}

#[tokio::test]
async fn pieces_of_any_size_give_the_same_cells() {
    let sandbox = sandbox();
    write(&sandbox, "db=d", &body()).unwrap();
    for chunk_rows in [1, 3, 1000] {
        let reader = reader(&sandbox, Limits { chunk_rows, ..Limits::default() });
        let mut stream = reader.stream("d", "autogen", b"all", Window::ALL).await.unwrap();
        let mut found = reader.read("d", "", b"other name", Window::ALL).await.unwrap();
        while let Some(cells) = stream.next().await.unwrap() {
            assert!(!cells.is_empty() && cells.len() <= 2 * chunk_rows as usize);
            found.extend(cells);
        }
        let differences = compare(sandbox.cells("d", ""), found);
        assert!(differences.is_empty(), "{differences}");
    }
}

#[tokio::test]
async fn windows_cut_where_they_say() {
    let sandbox = sandbox();
    write(&sandbox, "db=d", b"m v=1i -2\nm v=2i -1\nm v=3i 0\nm v=4i 1").unwrap();
    let reader = reader(&sandbox, Limits::default());
    let read = async |start_ns, end_ns| {
        let cells = reader.read("d", "", b"m", Window { start_ns, end_ns }).await.unwrap();
        cells.into_iter().map(|cell| cell.value).collect::<Vec<_>>()
    };
    assert_eq!(read(-1, 1).await, [Value::Integer(2), Value::Integer(3)]);
    assert_eq!(read(1, i64::MAX).await, [Value::Integer(4)]);
    assert_eq!(read(i64::MIN, -1).await, [Value::Integer(1)]);
    assert_eq!(read(5, 9).await, []);
    assert_eq!(reader.read("d", "", b"nope", Window::ALL).await.unwrap(), []);
}

/// As whoever copies history reads it: shard group by shard group, each of them whole and none twice.
#[tokio::test]
async fn the_groups_of_a_policy_hold_all_of_it() {
    let sandbox = sandbox();
    let day_ns = 86_400_000_000_000_i64;
    let lines: String = (0..100).map(|day| format!("m,t=a f={day},i={day}i {}\n", day * day_ns + day % 3)).collect();
    sandbox.load("d", lines.as_bytes()).unwrap();
    let reader = reader(&sandbox, Limits::default());
    let groups = reader.groups("d", "", b"m", Window::ALL).await.unwrap();
    assert_eq!(groups.len(), 15, "{groups:?}");
    let mut found = Vec::new();
    for group in groups {
        assert_eq!(group, crate::db::read::shard_group_at(group.start_ns, crate::db::read::WEEK_NS));
        let cells = reader.read("d", "", b"m", group).await.unwrap();
        assert_eq!(reader.count("d", "", b"m", group).await.unwrap(), cells.len() as u64);
        assert!(!cells.is_empty() && cells.iter().all(|cell| (group.start_ns..group.end_ns).contains(&cell.time_ns)));
        found.extend(cells);
    }
    let differences = compare(sandbox.cells("d", ""), found);
    assert!(differences.is_empty(), "{differences}");
}

#[tokio::test]
async fn json_and_msgpack_say_the_same() {
    let sandbox = sandbox();
    write(&sandbox, "db=d", b"m,t=x f=1.5,i=300i,b=false,s=\"a\\\"b\" 1\nm,t=y f=-0,i=-7i 2").unwrap();
    let q = "q=SELECT+*::field+FROM+m+GROUP+BY+*";
    let get = |accept: &str| send(sandbox.addr(), &format!("GET /query?db=d&epoch=ns&{q}"), accept, b"").unwrap();
    let json: serde_json::Value = serde_json::from_slice(&get("").body).unwrap();
    let msgpack = get("Accept: text/nonsense;q=1, application/x-msgpack\r\n");
    assert!(msgpack.head.contains("Content-Type: application/x-msgpack"), "{}", msgpack.head);
    let msgpack = rmpv::decode::read_value(&mut &msgpack.body[..]).unwrap();
    assert_eq!(plain(&msgpack), json);
}

/// A msgpack tree as JSON has it: a whole float is a whole number there.
fn plain(value: &rmpv::Value) -> serde_json::Value {
    match value {
        rmpv::Value::F64(v) if *v == 0.0 && v.is_sign_negative() => serde_json::json!(-0.0),
        rmpv::Value::F64(v) if v.fract() == 0.0 => serde_json::json!(*v as i64),
        rmpv::Value::F64(v) => serde_json::json!(v),
        rmpv::Value::Integer(v) => serde_json::json!(v.as_i64()),
        rmpv::Value::Boolean(v) => serde_json::json!(v),
        rmpv::Value::String(v) => serde_json::json!(v.as_str()),
        rmpv::Value::Array(items) => items.iter().map(plain).collect(),
        rmpv::Value::Map(pairs) => pairs.iter().map(|(k, v)| (k.as_str().unwrap().to_owned(), plain(v))).collect(),
        _ => serde_json::Value::Null,
    }
}

#[tokio::test]
async fn limits_are_errors_and_long_strings_are_not() {
    let sandbox = sandbox();
    let line = |at: u32| format!("m s=\"{}\" {at}\n", "x".repeat(10_000));
    write(&sandbox, "db=d", (0..50).map(line).collect::<String>().as_bytes()).unwrap();
    let small = Limits { object_bytes_max: 25_000, ..Limits::default() };
    let cells = reader(&sandbox, small).read("d", "", b"m", Window::ALL).await.unwrap();
    assert_eq!(cells.len(), 50, "in smaller pieces");
    let mut stream = reader(&sandbox, small).stream("d", "", b"m", Window::ALL).await.unwrap();
    assert_eq!(stream.next().await.unwrap_err().kind(), Kind::Limit);
    let tiny = reader(&sandbox, Limits { object_bytes_max: 5_000, ..Limits::default() });
    assert_eq!(tiny.read("d", "", b"m", Window::ALL).await.unwrap_err().kind(), Kind::Limit);
    let few = reader(&sandbox, Limits { cells_max: 49, ..Limits::default() });
    assert_eq!(few.read("d", "", b"m", Window::ALL).await.unwrap_err().kind(), Kind::Limit);
}

#[tokio::test]
async fn errors_name_what_failed() {
    let sandbox = sandbox();
    let reader = reader(&sandbox, Limits::default());
    let error = reader.read_all("nope", "").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Answer);
    assert!(error.to_string().contains("database not found: nope"), "{error}");
    let url = sandbox.url();
    sandbox.stop();
    let error = reader.databases().await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (Kind::Connect, crate::base::Retry::Yes));
    assert!(error.to_string().contains(&url), "{error}");
}

/// Answers every request with the same bytes and closes.
async fn scripted(head: &'static str, body: Vec<u8>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
            let _ = stream.shutdown().await;
        }
    });
    url
}

#[tokio::test]
async fn an_answer_that_ends_early_is_an_error() {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/x-msgpack\r\nConnection: close\r\n\r\n";
    let names = |names: &[&str], partial: bool| {
        let rows = names.iter().map(|name| rmpv::Value::Array(vec![(*name).into()])).collect();
        let series = rmpv::Value::Map(vec![
            ("name".into(), "databases".into()),
            ("columns".into(), rmpv::Value::Array(vec!["name".into()])),
            ("values".into(), rmpv::Value::Array(rows)),
        ]);
        let result = vec![("series".into(), rmpv::Value::Array(vec![series])), ("partial".into(), partial.into())];
        let whole = rmpv::Value::Map(vec![("results".into(), rmpv::Value::Array(vec![rmpv::Value::Map(result)]))]);
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &whole).unwrap();
        bytes
    };
    let databases = async |head, body| {
        let url = scripted(head, body).await;
        Reader::new(&url, Auth::None, Product::Influx1).unwrap().databases().await
    };
    let whole = [names(&["a"], true), names(&["b"], false)].concat();
    assert_eq!(databases(OK, whole.clone()).await.unwrap(), ["a", "b"]);
    assert_eq!(databases(OK, names(&["a"], true)).await.unwrap_err().kind(), Kind::Answer, "more was promised");
    let cut = whole[..whole.len() - 1].to_vec();
    assert_eq!(databases(OK, cut).await.unwrap_err().kind(), Kind::Answer, "inside an object");
    let more = [names(&["a"], false), b"\x81".to_vec()].concat();
    assert_eq!(databases(OK, more).await.unwrap_err().kind(), Kind::Answer, "inside an object nobody promised");
    assert_eq!(databases(OK, Vec::new()).await.unwrap_err().kind(), Kind::Answer, "nothing at all");
    let unauthorised = "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n";
    let error = databases(unauthorised, b"{\"error\":\"authorization failed\"}".to_vec()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Auth);
    assert!(error.to_string().contains("authorization failed"), "{error}");
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n";
    assert_eq!(databases(page, b"<html>".to_vec()).await.unwrap_err().kind(), Kind::Input);
    let died = b"\x81\xa7results\x91\x81\xa5error\xd9\x20query-timeout limit exceeded by us".to_vec();
    assert_eq!(databases(OK, died).await.unwrap_err().kind(), Kind::Timeout);
}
