//! Check 13: an answer that is longer than anybody's memory.

use std::sync::Arc;

use crate::database::{Database, Kind};
use crate::http::Connection;
use crate::limits::own_kib;
use crate::proxy::{Setup, eventually};

const ROWS: usize = 1_000_000;
/// What an answer on its way may take.
const GROWTH_KIB_MAX: u64 = 32 << 10;

/// Queries of others that run at the source.
fn running(source: &Database) -> Vec<String> {
    let answer = source.query("SHOW QUERIES");
    let list = |name: &str| answer.pointer(&format!("/results/0/series/0/{name}")).unwrap().as_array().unwrap();
    let column = list("columns").iter().position(|name| name == "query").unwrap();
    let texts = list("values").iter().map(|row| row[column].as_str().unwrap().to_owned());
    texts.filter(|text| text.contains("SELECT")).collect()
}

fn ask(addr: &str) -> Connection {
    let mut client = Connection::open(addr).unwrap();
    let target = "/query?db=long&epoch=ns&chunked=true&chunk_size=10000&q=SELECT+v+FROM+m";
    client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(client.begin().unwrap().status, 200);
    client
}

/// How many bytes and rows come until the end; a row of one field is `[time,value]`.
fn read_all(client: &mut Connection) -> (usize, usize) {
    let (mut bytes, mut rows, mut piece, mut last) = (0, 0, Vec::new(), 0);
    loop {
        let more = client.chunk(&mut piece).unwrap();
        bytes += piece.len();
        for byte in piece.drain(..) {
            rows += usize::from(last == b'[' && byte.is_ascii_digit());
            last = byte;
        }
        if !more {
            return (bytes, rows);
        }
    }
}

#[test]
fn check_13_a_long_answer_streams_in_bounded_memory_and_ends_with_its_client() {
    let source = Arc::new(Database::start(Kind::One));
    source.create("long");
    for begin in (0..ROWS).step_by(50_000) {
        let lines: String = (begin..begin + 50_000).map(|at| format!("m v={at}i {at}\n")).collect();
        source.post("/write?db=long", lines.as_bytes(), 204);
    }
    let nobody = "url = \"http://127.0.0.1:9\"\nkind = \"influxdb1\"".to_owned();
    let twinline = Setup::new(source.section(), nobody).start();
    twinline.call("GET /query?q=SHOW+DATABASES", &[], "");
    let before = own_kib(&twinline);
    let grown = |what: &str| {
        let kib = own_kib(&twinline).saturating_sub(before);
        assert!(kib <= GROWTH_KIB_MAX, "{what}: {kib} KiB more");
    };

    // The client reads no further than the first chunk: the source has not come to its end then.
    let mut client = ask(&twinline.addr);
    let mut first = Vec::new();
    assert!(client.chunk(&mut first).unwrap());
    assert!(String::from_utf8_lossy(&first).contains("[0,0]"), "the first rows come first");
    assert_eq!(running(&source).len(), 1, "what is not read is not fetched");
    grown("while nobody reads");

    // … which it is told when the client goes away.
    drop(client);
    eventually("the query has ended", || {
        let running = running(&source);
        if running.is_empty() { Ok(()) } else { Err(running.join("; ")) }
    });

    let through = read_all(&mut ask(&twinline.addr));
    grown("after all of it");
    assert_eq!(through, read_all(&mut ask(&source.addr)), "bytes and rows, left through Twinline");
    assert_eq!(through.1, ROWS);
}
