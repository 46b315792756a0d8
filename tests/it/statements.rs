//! Statements and calls that change something otherwise than by a write: what becomes of each at the destination, and that none is
//! passed over in silence.

use serde_json::Value;

use crate::database::{Database, Kind, shared};
use crate::http::{Answer, escape};
use crate::proxy::{Setup, Twinline};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

fn post(twinline: &Twinline, query: &str, q: &str) -> Answer {
    twinline.call(&format!("POST /query?{query}"), &[FORM], format!("q={}", escape(q)))
}

fn get(twinline: &Twinline, query: &str, q: &str) -> Answer {
    twinline.call(&format!("GET /query?{query}&q={}", escape(q)), &[], "")
}

/// Rows of statements that were not carried out, as (class, text, times), in order of their texts.
fn rows(status: &Value) -> Vec<(String, String, u64)> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = status["statements"].as_array().unwrap();
    let mut rows: Vec<_> =
        rows.iter().map(|row| (text(row, "class"), text(row, "text"), row["times"].as_u64().unwrap())).collect();
    rows.sort();
    rows
}

fn noted(twinline: &Twinline, total: u64) -> Vec<(String, String, u64)> {
    rows(&twinline.until("statements are noted", |status| status["statements_not_mirrored"] == total))
}

fn row(class: &str, text: &str, times: u64) -> (String, String, u64) {
    (class.to_owned(), text.to_owned(), times)
}

fn pair(number: usize) -> (std::sync::Arc<Database>, std::sync::Arc<Database>) {
    (shared(Kind::One, 0), shared(Kind::One, number))
}

/// Check 30: of several statements in one request, with comments, one of them failing, only those that ran count. Their answers are the
/// source's own.
#[test]
fn check_30_only_what_ran_is_noted() {
    let (source, destination) = pair(1);
    source.create("noted30");
    let twinline = Setup::new(source.section(), destination.section()).start();
    let q = "SHOW DATABASES; -- DROP DATABASE noted30;\nSELECT v INTO noted30..copy FROM m; /* ; */ DROP SHARD 4711; \
             CREATE USER nobody30 WITH PASSWORD 'hunter30'";
    let answer = post(&twinline, "db=noted30", q);
    let direct =
        crate::http::call(&source.addr, "POST /query?db=noted30", &[FORM], format!("q={}", escape(q)).as_bytes())
            .unwrap();
    let last = |answer: &Answer| answer.json()["results"].as_array().unwrap().last().cloned();
    assert_eq!((answer.status, last(&answer)), (200, last(&direct)), "{}", answer.text());
    let into = row("select-into", "SELECT v INTO noted30..copy FROM m", 1);
    let rows = noted(&twinline, 1);
    assert_eq!(rows, [into], "what failed, and what was not executed, changes nothing: {}", answer.text());
    // Nothing of a text that is refused ran.
    assert_eq!(post(&twinline, "db=noted30", "DROP SHARD 1; OOPS").status, 400);
    assert_eq!(post(&twinline, "", "KILL QUERY 4711").status, 200);
    let answer = post(&twinline, "db=noted30", "CREATE USER nobody30 WITH PASSWORD 'hunter30'; GRANT ALL TO nobody30");
    assert_eq!(answer.text().trim(), r#"{"results":[{"statement_id":0},{"statement_id":1}]}"#);
    let rows = noted(&twinline, 3);
    assert_eq!(
        rows[1..],
        [row("users", "CREATE USER nobody30 WITH PASSWORD '[REDACTED]'", 1), row("users", "GRANT ALL TO nobody30", 1),]
    );
    post(&twinline, "", "DROP USER nobody30");
    noted(&twinline, 4);
    let text = String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
    assert!(text.contains("4 statements were not mirrored") && text.contains("! STATEMENT 1 × users"), "{text}");
    let events = twinline.admin("/api/v1/events?limit=1000").text();
    assert!(events.contains("statement-not-mirrored") && events.contains("GRANT ALL TO nobody30"), "{events}");
    nowhere(&twinline, "hunter30");
}

/// No file of the data directory holds this text.
fn nowhere(twinline: &Twinline, secret: &str) {
    let mut folders = vec![twinline.data()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let bytes = std::fs::read(entry.path()).unwrap();
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{} holds a secret", entry.path().display());
            }
        }
    }
}

/// By whichever way a statement comes it is seen; what only reads is not.
#[test]
fn statements_are_seen_in_every_form_of_a_request() {
    let (source, destination) = pair(1);
    source.create("forms");
    let twinline = Setup::new(source.section(), destination.section()).start();
    let grant = |user: &str| format!("GRANT READ ON forms TO {user}");
    let direct = |q: &str| source.query(q);
    for user in ["forma", "formb", "formc", "formd"] {
        direct(&format!("CREATE USER {user} WITH PASSWORD 'x'"));
    }
    assert_eq!(get(&twinline, "db=forms", &grant("forma")).status, 200);
    // The body wins over the URL.
    let url = format!("POST /query?q={}", escape(&grant("nobody")));
    assert_eq!(twinline.call(&url, &[FORM], format!("q={}", escape(&grant("formb")))).status, 200);
    let part = |name: &str, value: &str| format!("--xx\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n");
    let file = format!("{}--xx--\r\n", part("name=\"q\"; filename=\"q\"", &grant("formc")));
    let kind = "Content-Type: multipart/form-data; boundary=xx";
    assert_eq!(twinline.call("POST /query", &[kind], file).status, 200);
    // In msgpack, and packed.
    let headers = [FORM, "Accept: application/x-msgpack", "Accept-Encoding: gzip"];
    assert_eq!(twinline.call("POST /query", &headers, format!("q={}", escape(&grant("formd")))).status, 200);
    // What only reads.
    for q in ["SHOW GRANTS FOR forma", "SELECT \"DROP\" FROM m", "EXPLAIN SELECT v FROM m"] {
        assert_eq!(get(&twinline, "db=forms", q).status, 200);
    }
    let rows = noted(&twinline, 4);
    let wanted: Vec<_> = ["forma", "formb", "formc", "formd"].map(|user| row("users", &grant(user), 1)).into();
    assert_eq!(rows, wanted);
    // The same again is no new row.
    assert_eq!(get(&twinline, "db=forms", &grant("forma")).status, 200);
    assert_eq!(noted(&twinline, 5)[0].2, 2);
}

/// A statement that never reached the source changes nothing.
#[test]
fn a_statement_that_was_not_sent_is_not_noted() {
    let source = Database::start(Kind::One);
    let destination = shared(Kind::Two, 0);
    source.create("gone");
    let twinline = Setup::new(source.section(), destination.section()).start();
    source.stop(rustix::process::Signal::KILL);
    assert_eq!(get(&twinline, "db=gone", "DROP MEASUREMENT m").status, 503);
    twinline.quiet();
    assert_eq!(twinline.status()["statements_not_mirrored"], 0);
}

/// A source that never answers a query.
fn silent_source() -> (String, std::sync::mpsc::Receiver<()>) {
    use std::io::{BufRead as _, Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, heard) = std::sync::mpsc::channel();
    // Ends with the test program.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let asked = asked.clone();
            std::thread::spawn(move || {
                let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
                loop {
                    let lines = reader.by_ref().lines().map_while(Result::ok);
                    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                    let Some(first) = head.first() else { return };
                    if first.contains("DROP") {
                        let _ = asked.send(());
                        let _ = reader.read(&mut [0; 1]);
                        return;
                    }
                    let answer = b"HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.13.2\r\n\r\n";
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, heard)
}

/// Killed while the source works on a statement, twinline does not know what became of it: it says so after its next start, and never
/// carries it out.
#[test]
fn a_statement_without_an_outcome_after_a_crash_is_noted_and_never_carried_out() {
    let (url, asked) = silent_source();
    let destination = shared(Kind::One, 1);
    destination.create("crashed");
    destination.post("/write?db=crashed", b"m v=1 1", 204);
    let mut twinline = Setup::new(format!("url = \"{url}\""), destination.section()).start();
    let addr = twinline.addr.clone();
    let target = format!("GET /query?db=crashed&q={}", escape("DROP MEASUREMENT m"));
    std::thread::spawn(move || drop(crate::http::call(&addr, &target, &[], b"")));
    asked.recv_timeout(crate::proxy::PATIENCE).unwrap();
    twinline.stop(rustix::process::Signal::KILL);
    twinline.start_again();
    assert_eq!(noted(&twinline, 1), [row("drop-measurement", "DROP MEASUREMENT m", 1)]);
    let status = twinline.status();
    assert!(status["statements"][0]["why"].as_str().unwrap().contains("it may have run"), "{status:#}");
    assert_eq!(destination.cells("crashed").len(), 1);
}
