//! What an operator decides about statements that were not mirrored: `twinline statements`.

use rustix::process::Signal;
use serde_json::Value;

use crate::database::{Database, Kind, shared};
use crate::http::escape;
use crate::proxy::{Setup, Twinline};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// A statement that must run at the source.
fn run(twinline: &Twinline, q: &str) {
    let answer = twinline.call("POST /query", &[FORM], format!("q={}", escape(q)));
    assert_eq!(answer.text().trim(), r#"{"results":[{"statement_id":0}]}"#, "{q}");
}

fn statements(twinline: &Twinline, words: &[&str]) -> (Option<i32>, String, String) {
    let output = twinline.command(&[&["statements"], words].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The document of a command that must end well.
fn json(twinline: &Twinline, words: &[&str]) -> Value {
    let (code, out, err) = statements(twinline, &[words, &["-o", "json"]].concat());
    assert_eq!(code, Some(0), "{words:?}: {out}{err}");
    serde_json::from_str(&out).unwrap()
}

fn noted(twinline: &Twinline, total: u64) {
    twinline.until("statements are noted", |status| status["statements_not_mirrored"] == total);
}

fn pair(db: &str) -> (std::sync::Arc<Database>, std::sync::Arc<Database>) {
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    source.create(db);
    destination.create(db);
    (source, destination)
}

/// What is cleared blocks nothing any more and stays with who, when and why, also after a kill that brings its record again; the same
/// statement once more blocks again. A stopped twinline's directory shows the same.
#[test]
fn a_statement_is_cleared_with_a_reason_and_its_history_stays() {
    let (source, destination) = pair("cleared");
    let mut twinline = Setup::new(source.section(), destination.section()).start();
    source.query("CREATE USER cleara WITH PASSWORD 'x'");
    run(&twinline, "GRANT READ ON cleared TO cleara");
    run(&twinline, "GRANT WRITE ON cleared TO cleara");
    noted(&twinline, 2);
    let (code, out, err) = statements(&twinline, &["ls"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("1 × users, last") && out.contains("GRANT READ ON cleared TO cleara"), "{out}");
    assert!(
        out.contains("2 statements that block a cutover") && err.contains("Next: twinline statements"),
        "{out}{err}"
    );
    let rows = json(&twinline, &["ls"])["statements"].clone();
    let id = rows[0]["id"].as_i64().unwrap().to_string();
    // Without a reason, and without --execute, nothing changes.
    assert_eq!(statements(&twinline, &["clear", &id]).0, Some(2));
    assert_eq!(statements(&twinline, &["clear", &id, "--reason", " ", "--execute"]).0, Some(2));
    let (_, out, _) = statements(&twinline, &["clear", &id, "--reason", "made by hand"]);
    assert!(out.contains("would clear"), "{out}");
    assert_eq!(statements(&twinline, &["clear", "4711", "--reason", "x", "--execute"]).0, Some(1));
    noted(&twinline, 2);
    assert_eq!(json(&twinline, &["clear", &id, "--reason", "made by hand", "--execute"])["executed"], true);
    noted(&twinline, 1);
    assert_eq!(statements(&twinline, &["clear", &id, "--reason", "again", "--execute"]).0, Some(4));
    assert!(twinline.admin("/api/v1/events?limit=1000").text().contains("made by hand"));
    twinline.stop(Signal::KILL);
    // Of a stopped one it is read from the file, and changed by nobody.
    let stopped = json(&twinline, &["ls", "--all"]);
    assert_eq!((&stopped["running"], &stopped["rows"], &stopped["blocking"]), (&false.into(), &2.into(), &1.into()));
    assert_eq!(statements(&twinline, &["clear", "1", "--reason", "x", "--execute"]).0, Some(10));
    twinline.start_again();
    twinline.quiet();
    noted(&twinline, 1);
    let shown = json(&twinline, &["show", &id]);
    assert_eq!((&shown["state"], &shown["note"]), (&"cleared".into(), &"made by hand".into()), "{shown:#}");
    assert!(shown["who"].as_str().unwrap().contains("uid") && shown["decided"].is_string(), "{shown:#}");
    run(&twinline, "GRANT READ ON cleared TO cleara");
    noted(&twinline, 2);
    assert_eq!(json(&twinline, &["ls", "--all"])["rows"], 3);
}

fn write(twinline: &Twinline, target: &str, body: &str) {
    assert_eq!(twinline.call(&format!("POST /write?{target}"), &[], body).status, 204);
}

/// The number of the newest row.
fn newest(twinline: &Twinline) -> String {
    let rows = json(twinline, &["ls"])["statements"].clone();
    rows.as_array().unwrap().last().unwrap()["id"].to_string()
}

fn policies(database: &Database, db: &str) -> String {
    database.query(&format!("SHOW RETENTION POLICIES ON \"{db}\""))["results"][0].to_string()
}

fn is_there(database: &Database, db: &str) -> bool {
    let databases = database.query("SHOW DATABASES");
    // Without any there are no values.
    databases["results"][0]["series"][0]["values"].as_array().is_some_and(|rows| rows.iter().any(|row| row[0] == db))
}

/// A drop that waits for confirmation is carried out when it is confirmed, and what comes behind it stays.
#[test]
fn a_confirmed_drop_is_carried_out_and_what_comes_behind_it_stays() {
    let (source, destination) = pair("dropped");
    for database in [&source, &destination] {
        database.create("dropped/week");
    }
    let twinline = Setup::new(source.section(), destination.section()).start();
    write(&twinline, "db=dropped&rp=week", "m v=1i 1");
    run(&twinline, "DROP RETENTION POLICY week ON dropped");
    // Of another policy: nothing newer of what is dropped.
    write(&twinline, "db=dropped", "m v=2i 2");
    noted(&twinline, 1);
    twinline.delivered(2);
    let id = newest(&twinline);
    let (code, out, err) = statements(&twinline, &["confirm", &id]);
    assert!(code == Some(0) && out.contains("would carry out") && out.contains("nothing newer"), "{out}{err}");
    assert!(policies(&destination, "dropped").contains("week"), "without --execute nothing is done");
    let done = json(&twinline, &["confirm", &id, "--execute"]);
    assert_eq!(done["statement"]["state"], "done", "{done:#}");
    assert_eq!(policies(&destination, "dropped"), policies(&source, "dropped"));
    assert_eq!(destination.cells("dropped").len(), 1);
    assert_eq!(statements(&twinline, &["confirm", &id, "--execute"]).0, Some(4));
    run(&twinline, "DROP DATABASE dropped");
    noted(&twinline, 1);
    let (code, out, err) = statements(&twinline, &["confirm", &newest(&twinline), "--execute"]);
    assert!(code == Some(0) && out.contains("DROP DATABASE \"dropped\""), "{out}{err}");
    assert!(!is_there(&destination, "dropped"));
    run(&twinline, "CREATE DATABASE dropped");
    write(&twinline, "db=dropped", "m v=3i 3");
    twinline.delivered(3);
    assert_eq!(destination.cells("dropped").len(), 1);
    noted(&twinline, 0);
    let events = twinline.admin("/api/v1/events?limit=1000").text();
    assert!(events.contains("statement-confirmed") && events.contains("is carried out: DROP DATABASE"), "{events}");
    // What no destination can do is not confirmed.
    source.query("CREATE USER droppeda WITH PASSWORD 'x'");
    run(&twinline, "GRANT READ ON dropped TO droppeda");
    noted(&twinline, 1);
    assert_eq!(statements(&twinline, &["confirm", &newest(&twinline), "--execute"]).0, Some(4));
}

/// Newer data has gone to the destination: it is not dropped with the older, also after a restart, unless that is asked for; then its loss
/// is a dirty region.
#[test]
fn a_drop_is_not_confirmed_over_newer_data() {
    let (source, destination) = pair("newer");
    let mut twinline = Setup::new(source.section(), destination.section()).start();
    write(&twinline, "db=newer", "m v=1i 1");
    run(&twinline, "DROP DATABASE newer");
    noted(&twinline, 1);
    let id = newest(&twinline);
    assert_eq!(json(&twinline, &["show", &id])["newer"], false);
    twinline.stop(Signal::KILL);
    source.create("newer");
    twinline.start_again();
    write(&twinline, "db=newer", "m v=2i 2");
    twinline.settled(2);
    assert_eq!(json(&twinline, &["show", &id])["newer"], true);
    let (code, out, err) = statements(&twinline, &["confirm", &id, "--execute"]);
    assert!(code == Some(4) && err.contains("newer"), "{out}{err}");
    assert_eq!(destination.cells("newer").len(), 2);
    twinline.stop(Signal::TERM);
    twinline.start_again();
    assert_eq!(statements(&twinline, &["confirm", &id, "--execute"]).0, Some(4));
    let (_, out, _) = statements(&twinline, &["confirm", &id, "--even-though-newer-data"]);
    assert!(out.contains("GOES TOO"), "{out}");
    assert_eq!(destination.cells("newer").len(), 2);
    json(&twinline, &["confirm", &id, "--even-though-newer-data", "--execute"]);
    assert!(!is_there(&destination, "newer"));
    let status = twinline.until("it is to be read back", |status| status["regions"][0]["causes"] == "dropped");
    assert!(status["regions"][0]["route"].as_str().unwrap().contains("newer"), "{status:#}");
}

/// Killed between the confirmation and its execution, twinline carries it out after the next start, once; nothing that was dropped comes
/// back.
#[test]
fn a_confirmation_outlives_a_kill() {
    let (source, destination) = pair("confkill");
    let mut twinline = Setup::new(source.section(), destination.section()).start();
    write(&twinline, "db=confkill", "m v=1i 1");
    twinline.delivered(1);
    run(&twinline, "DROP DATABASE confkill");
    noted(&twinline, 1);
    let id = newest(&twinline);
    assert_eq!(twinline.command(&["queue", "pause"]).status.code(), Some(0));
    let who = r#"{"id":ID,"who":"me"}"#.replace("ID", &id);
    let answer = socket(&twinline, "/api/v1/statements/confirm", &who);
    assert!(answer.contains(r#""done":true"#), "{answer}");
    run(&twinline, "CREATE DATABASE confkill");
    write(&twinline, "db=confkill", "m v=2i 2");
    twinline.stop(Signal::KILL);
    twinline.start_again();
    assert_eq!(json(&twinline, &["show", &id])["state"], "confirmed");
    assert_eq!(destination.cells("confkill").len(), 1);
    assert_eq!(statements(&twinline, &["clear", &id, "--reason", "x", "--execute"]).0, Some(4));
    assert_eq!(twinline.command(&["queue", "resume"]).status.code(), Some(0));
    twinline.settled(2);
    noted(&twinline, 0);
    assert_eq!(json(&twinline, &["show", &id])["state"], "done");
    let held: Vec<_> = destination.cells("confkill").iter().map(|cell| cell.time_ns).collect();
    assert_eq!(held, [2]);
}

/// One request with a document over the local socket.
fn socket(twinline: &Twinline, path: &str, body: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(twinline.data().join("twinline.sock")).unwrap();
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// On 2.x the buckets of a database go.
#[test]
fn a_confirmed_drop_removes_the_buckets_of_a_database() {
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    source.create("buckets");
    source.create("buckets/week");
    for bucket in ["buckets", "buckets/week", "bucketsother"] {
        destination.create(bucket);
    }
    let twinline = Setup::new(source.section(), destination.section()).start();
    write(&twinline, "db=buckets", "m v=1i 1");
    write(&twinline, "db=buckets&rp=week", "m v=1i 1");
    twinline.delivered(2);
    run(&twinline, "DROP DATABASE buckets");
    noted(&twinline, 1);
    json(&twinline, &["confirm", &newest(&twinline), "--execute"]);
    noted(&twinline, 0);
    let headers = [destination.authorization()];
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let listed = crate::http::call(&destination.addr, "GET /api/v2/buckets?limit=100", &headers, b"").unwrap().json();
    let names = listed["buckets"].as_array().unwrap().iter().filter_map(|bucket| bucket["name"].as_str());
    assert_eq!(names.filter(|name| name.starts_with("buckets")).collect::<Vec<_>>(), ["bucketsother"]);
}

/// Rules say where a drop would be carried out: by other rules something else may be there.
#[test]
fn a_drop_is_not_confirmed_in_passing_after_the_rules_have_changed() {
    let (source, destination) = pair("ruled");
    source.create("ruled_other");
    let mut twinline = Setup::new(source.section(), destination.section()).start();
    run(&twinline, "DROP DATABASE ruled");
    noted(&twinline, 1);
    twinline.stop(Signal::KILL);
    let other = "\n[[mapping.rule]]\nfrom = { db = \"ruled_other\" }\nto = { db = \"ruled\" }\n";
    twinline.start_again_with(|configuration| configuration + other, "");
    write(&twinline, "db=ruled_other", "precious v=42i 1");
    twinline.delivered(1);
    twinline.stop(Signal::KILL);
    twinline.start_again_with(|configuration| configuration.replace(other, ""), "");
    let id = newest(&twinline);
    let (code, out, err) = statements(&twinline, &["confirm", &id, "--execute"]);
    assert!(code != Some(0), "{out}{err}");
    assert_eq!(destination.cells("ruled").len(), 1, "{out}{err}");
}

/// It waits for what came before it to arrive, and meanwhile the log cannot be read: the confirmation stands, and nobody has to give it
/// again.
#[test]
fn a_confirmation_outlives_an_error_of_the_log() {
    let (source, destination) = pair("readfail");
    source.create("readfail_stuck");
    let twinline = Setup::new(source.section(), destination.section()).start();
    write(&twinline, "db=readfail", "m v=1 1");
    // There is no such database at the destination yet: this one holds back what comes behind it.
    write(&twinline, "db=readfail_stuck", "m v=1 1");
    twinline.until("it stands still", |status| status["paused"][0]["code"] == "database-missing");
    run(&twinline, "DROP DATABASE readfail");
    noted(&twinline, 1);
    let id = newest(&twinline);
    let confirming = twinline.begin_command(&["statements", "confirm", &id, "--execute"], "");
    crate::proxy::eventually("it is confirmed", || {
        let shown = json(&twinline, &["show", &id]);
        if shown["state"] == "confirmed" { Ok(()) } else { Err(shown.to_string()) }
    });
    twinline.hold("fails /wal/seg/");
    write(&twinline, "db=readfail_stuck", "m v=2 2");
    crate::proxy::eventually("the log cannot be read", || {
        if twinline.said().contains("the queue cannot be read") { Ok(()) } else { Err(twinline.said()) }
    });
    assert!(is_there(&destination, "readfail"), "it waits");
    twinline.hold("");
    destination.create("readfail_stuck");
    crate::proxy::eventually("it is carried out", || match is_there(&destination, "readfail") {
        true => Err(json(&twinline, &["show", &id]).to_string()),
        false => Ok(()),
    });
    noted(&twinline, 0);
    twinline.delivered(3);
    confirming.wait_with_output().unwrap();
}
