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
    assert_eq!(code, Some(0), "{words:?}: {err}");
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
