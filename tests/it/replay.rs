//! `twinline deadletter replay`: what the source holds now comes to the destination, and only then a letter goes.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use twinline::cell::compare;
use twinline::sandbox::{Faults, Options, Sandbox, WriteAction, WriteFault};

use crate::database::{Kind, ORG, shared};
use crate::deadletter::{Refused, json, letters, post, refused, said, text};
use crate::proxy::{Setup, Twinline, eventually};
use crate::scripted::{Reply, Scripted, Write};

/// A statement, straight to a database.
fn query(sandbox: &Sandbox, db: &str, statement: &str) {
    let path = format!("POST /query?db={db}&q={}", crate::http::escape(statement));
    let answer = crate::http::call(&sandbox.addr().to_string(), &path, &[], b"").unwrap();
    assert!(answer.status == 200 && !answer.text().contains("error"), "{statement}: {}", answer.text());
}

fn replay(twinline: &Twinline, words: &[&str]) -> Value {
    json(twinline, &[&["replay"], words].concat())
}

fn equal(source: &Sandbox, destination: &Sandbox, db: &str, cells: u64) {
    let differences = compare(source.cells(db, ""), destination.cells(db, ""));
    assert!(differences.is_empty() && differences.equal == cells, "{db}: {differences}");
}

/// What is at fault was mended for `m`; `n` has the other type still.
#[test]
fn cells_get_what_the_source_holds_now_and_the_rest_stays() {
    let Refused { source, destination, twinline } = refused();
    query(&destination, "d", "DROP MEASUREMENT m");
    query(&destination, "e", "DROP MEASUREMENT m");
    // Newer than what was refused, and by another way: only the source knows it. One of two fields; a point that is gone.
    post(&source, "d", "m v=9.5 1000000000\nm,t=\u{e4}\u{a0} x=2i 2000000000\nm other=1 9000000000");
    query(&source, "d", "DELETE FROM m WHERE time = 9000000000");
    post(&source, "d", "m later=1 9000000000");

    let before = destination.cells("d", "");
    let dry = replay(&twinline, &[]);
    assert_eq!(
        (&dry["executed"], &dry["repaired"], &dry["obsolete"]),
        (&false.into(), &4.into(), &1.into()),
        "{dry:#}"
    );
    assert_eq!((destination.cells("d", ""), &json(&twinline, &["stats"])["lines"]), (before, &5.into()));

    let done = letters(&twinline, &["replay", "--execute"]);
    assert_eq!(done.status.code(), Some(5), "{}{}", text(&done), said(&done));
    for part in [
        "✓ 3 letters repaired with what the source holds now, 3 points\n",
        "✓ 1 letter obsolete and gone: ",
        "✗ 1 letter left, type-conflict: ",
    ] {
        assert!(text(&done).contains(part), "{part}\n{}", text(&done));
    }
    let stats = json(&twinline, &["stats"]);
    assert_eq!((&stats["lines"], &stats["removed"]), (&1.into(), &serde_json::json!({"obsolete": 1, "repaired": 3})));
    let status = twinline.settled(7);
    let missing = status["not_covered"].to_string();
    assert!(missing.contains("5 lines were refused by the destination (4 of them were put right since)"), "{missing}");

    query(&destination, "d", "DROP MEASUREMENT n");
    let rest = replay(&twinline, &["--execute", "--measurement", "n"]);
    assert_eq!((&rest["repaired"], &rest["stay"]), (&1.into(), &serde_json::json!([])), "{rest:#}");
    // What no letter speaks of is nobody's business here.
    query(&source, "d", "DELETE FROM m WHERE time = 9000000000");
    equal(&source, &destination, "d", 5);
    equal(&source, &destination, "e", 2);
    let status = twinline.settled(7);
    assert!(!status["not_covered"].to_string().contains("refused"), "{status:#}");
    assert_eq!(replay(&twinline, &["--execute"])["repaired"], 0);
}

#[test]
fn a_replay_that_dies_between_acknowledgement_and_removal_is_done_again() {
    let Refused { source, destination, twinline } = refused();
    for db in ["d", "e"] {
        query(&destination, db, "DROP MEASUREMENT m");
    }
    query(&destination, "d", "DROP MEASUREMENT n");
    let died = twinline.begin_command(&["deadletter", "replay", "--execute"], "letter-replaced=abort");
    let died = died.wait_with_output().unwrap();
    assert_eq!(died.status.signal(), Some(6), "{}", said(&died));
    equal(&source, &destination, "d", 6);
    assert_eq!(json(&twinline, &["stats"])["lines"], 5, "no letter is gone");
    // Of a newer value that came by the ordinary way nothing is lost by doing it again.
    assert_eq!(twinline.call("POST /write?db=d", &[], "m v=7.25 1000000000").status, 204);
    twinline.settled(8);
    let again = replay(&twinline, &["--execute"]);
    assert_eq!((&again["repaired"], &again["complete"]), (&5.into(), &true.into()), "{again:#}");
    equal(&source, &destination, "d", 6);
    equal(&source, &destination, "e", 2);
}

/// A source, a scripted destination and one letter, `m v=1 7`.
fn one_letter() -> (Arc<Sandbox>, Scripted, Twinline) {
    let source = Arc::new(Sandbox::spawn_thread(Options::default()).unwrap());
    source.create_database("d");
    let destination = Scripted::start(|_| Reply::new(400, "{\"error\":\"unable to parse 'm v=1 7': bad\"}"));
    let section = |url: String| format!("url = \"{url}\"\nkind = \"influxdb1\"");
    let twinline = Setup::new(section(source.url()), section(destination.url())).start();
    assert_eq!(twinline.call("POST /write?db=d", &[], "m v=1 7").status, 204);
    assert_eq!(twinline.settled(1)["lines"]["dead_lettered"], 1);
    (source, destination, twinline)
}

/// A write that the source takes while ours is under way may be delivered before ours comes: ours must not stand.
#[test]
fn a_value_that_changes_meanwhile_is_written_anew() {
    let (source, destination, twinline) = one_letter();
    let (changing, times) = (Arc::clone(&source), AtomicU64::new(0));
    destination.set(move |_| {
        if times.fetch_add(1, Ordering::SeqCst) < 2 {
            post(&changing, "d", &format!("m v=1{} 7", times.load(Ordering::SeqCst)));
        }
        Reply::new(204, "")
    });
    let done = replay(&twinline, &["--execute"]);
    assert_eq!((&done["repaired"], &done["points"]), (&1.into(), &3.into()), "{done:#}");
    let sent: Vec<String> = destination.writes("").into_iter().filter(|w| w.status == 204).map(|w| w.body).collect();
    assert_eq!(sent, ["m v=1.0 7\n", "m v=11.0 7\n", "m v=12.0 7\n"]);
}

#[test]
fn what_changes_for_ever_or_is_deleted_meanwhile_stays() {
    for deleted in [false, true] {
        let (source, destination, twinline) = one_letter();
        let (changing, times) = (Arc::clone(&source), AtomicU64::new(2));
        destination.set(move |_| {
            match deleted {
                true => query(&changing, "d", "DELETE FROM m"),
                false => post(&changing, "d", &format!("m v={} 7", times.fetch_add(1, Ordering::SeqCst))),
            }
            Reply::new(204, "")
        });
        let output = letters(&twinline, &["replay", "--execute", "-o", "json"]);
        let done: Value = serde_json::from_slice(&output.stdout).unwrap();
        let code = if deleted { "deleted-meanwhile" } else { "changes" };
        assert_eq!((output.status.code(), &done["stay"][0]["code"]), (Some(5), &code.into()), "{done:#}");
        assert_eq!(json(&twinline, &["stats"])["lines"], 1);
    }
}

#[test]
fn a_destination_that_does_not_take_it_keeps_the_letter() {
    let (source, destination, twinline) = one_letter();
    let ends = |reply: fn(&Write) -> Reply, code: i32, part: &str| {
        destination.set(reply);
        let output = letters(&twinline, &["replay", "--execute"]);
        let both = format!("{}{}", text(&output), said(&output));
        assert!(output.status.code() == Some(code) && both.contains(part), "{part}\n{:?} {both}", output.status);
        assert_eq!(json(&twinline, &["stats"])["lines"], 1, "{part}");
    };
    ends(|_| Reply::new(400, "{\"error\":\"unable to parse 'm v=1.0 7': no\"}"), 5, "left, parse: ");
    ends(|_| Reply::new(404, "{\"error\":\"database not found: \\\"d\\\"\"}"), 5, "left, database-missing: ");
    ends(|_| Reply::new(401, "{\"error\":\"no\"}"), 12, "takes nothing now (unauthorized)");
    ends(|_| Reply::new(500, "{\"error\":\"timeout\"}"), 10, "takes nothing now (timeout)");
    ends(|_| Reply::Close, 10, "");

    assert_eq!(twinline.command(&["queue", "pause"]).status.code(), Some(0));
    ends(|_| Reply::new(204, ""), 4, "an operator has paused delivery");
    assert_eq!(twinline.command(&["queue", "resume"]).status.code(), Some(0));
    source.set_faults(Faults { refuse: true, ..Faults::default() });
    ends(|_| Reply::new(204, ""), 10, "");
    source.set_faults(Faults::default());
    let data = twinline.data();
    let output = letters(&twinline, &["replay", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    destination.set(|_| Reply::new(204, ""));
    assert_eq!(replay(&twinline, &["--execute"])["repaired"], 1);
}

#[test]
fn a_raw_replay_is_named_with_its_reason_and_sends_the_line_as_it_stood() {
    let (source, destination, twinline) = one_letter();
    post(&source, "d", "m v=2 7");
    destination.set(|_| Reply::new(204, ""));
    let unnamed = letters(&twinline, &["replay", "--raw", "--execute"]);
    assert_eq!(unnamed.status.code(), Some(2), "{}", said(&unnamed));
    let dry = text(&letters(&twinline, &["replay", "--raw", "--reason", "parse"]));
    assert!(dry.contains("1 letter would be sent unchanged; newer values of the same cells are overwritten"), "{dry}");
    let writes = destination.writes("").len();
    let done = replay(&twinline, &["--raw", "--reason", "parse", "--execute"]);
    assert_eq!(done["raw"], 1, "{done:#}");
    let sent = destination.writes("");
    assert_eq!((sent.len(), sent[writes].body.as_str()), (writes + 1, "m v=1 7\n"));
    let stats = json(&twinline, &["stats"]);
    assert_eq!((&stats["lines"], &stats["removed"]["raw"]), (&0.into(), &1.into()), "{stats:#}");
}

#[test]
fn an_interrupted_replay_ends_at_once_and_the_next_one_does_the_rest() {
    let Refused { source, destination, twinline } = refused();
    query(&destination, "e", "DROP MEASUREMENT m");
    let hang = WriteFault { action: WriteAction::Hang { applied: false }, next: None };
    destination.set_faults(Faults { writes: Some(hang), ..Faults::default() });
    let before = destination.stats().writes;
    let replaying = twinline.begin_command(&["deadletter", "replay", "--route", "e", "--execute"], "");
    eventually("it writes", || if destination.stats().writes > before { Ok(()) } else { Err(String::new()) });
    kill_process(Pid::from_child(&replaying), Signal::INT).unwrap();
    let ended = replaying.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{}", said(&ended));
    assert!(said(&ended).contains("the same command does the rest"), "{}", said(&ended));
    assert_eq!(json(&twinline, &["stats"])["lines"], 5);
    destination.set_faults(Faults::default());
    assert_eq!(replay(&twinline, &["--route", "e", "--execute"])["repaired"], 1);
    equal(&source, &destination, "e", 2);
}

/// Check 38, and its mending: a measurement of another type at InfluxDB 2, refused by it, dropped there, and repaired.
#[test]
fn check_38_a_type_conflict_between_real_servers_is_repaired_once_it_is_dropped() {
    let name = "replayed";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    source.create(name);
    destination.create(name);
    destination.post(&format!("/write?db={name}"), b"m v=\"text\" 1", 204);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let line = |at: u64| {
        format!("m,host=h{},odd=a\\ b\\,c v={at}.5,s=\"t \\\"{at}\\\"\",i={at}i {}\n", at % 10, at * 1_000_000)
    };
    let body: String = (1..=2000).map(line).collect();
    assert_eq!(twinline.call(&format!("POST /write?db={name}"), &[], body + "good v=1 1\n").status, 204);
    let status = twinline.settled(2001);
    assert_eq!(status["lines"]["dead_lettered"], 2000, "{status:#}");
    let list = json(&twinline, &["ls"]);
    let example = &list["reasons"][0]["measurements"][0]["example"];
    assert_eq!(
        &example["excerpt"].as_str().unwrap()[example["at"].as_u64().unwrap() as usize..][..3],
        "1.5",
        "{list:#}"
    );
    // The source goes on: newer values, and points that are gone.
    source.post(&format!("/write?db={name}"), b"m,host=h1,odd=a\\ b\\,c v=-1 1000000", 204);
    let statement = crate::http::escape("DELETE FROM m WHERE time = 2000000");
    source.post(&format!("/query?db={name}"), format!("q={statement}").as_bytes(), 200);

    let stay = replay(&twinline, &["--execute"]);
    assert_eq!((&stay["repaired"], &stay["stay"][0]["code"]), (&0.into(), &"type-conflict".into()), "{stay:#}");
    let all = br#"{"start":"1970-01-01T00:00:00Z","stop":"2100-01-01T00:00:00Z","predicate":"_measurement=\"m\""}"#;
    destination.post(&format!("/api/v2/delete?org={ORG}&bucket={name}"), all, 204);
    let done = replay(&twinline, &["--execute"]);
    let stats = json(&twinline, &["stats"]);
    assert_eq!((&stats["lines"], &done["stay"]), (&0.into(), &serde_json::json!([])), "{done:#}{stats:#}");
    assert_eq!(stats["removed"], serde_json::json!({"obsolete": 1, "repaired": 1999}), "{done:#}");
    let differences = compare(source.cells(name), destination.cells(name));
    assert!(differences.is_empty() && differences.equal == 3 * 1999 + 1, "{differences}");
}

/// The source is read by the names that are mapped to the bucket; without a sure mapping nothing is called obsolete.
#[test]
fn cells_of_a_bucket_are_read_back_and_never_by_names_that_lead_elsewhere() {
    let name = "replayed_back";
    let (source, destination) = (shared(Kind::Two, 0), shared(Kind::One, 1));
    for bucket in [name, "replayed_other"] {
        source.create(bucket);
        destination.create(bucket);
        destination.post(&format!("/write?db={bucket}"), b"m v=\"text\" 1", 204);
    }
    let twinline = Setup::new(source.section(), destination.section()).start();
    let write = |bucket: &str, body: &str| {
        let line = format!("POST /api/v2/write?org={ORG}&bucket={bucket}");
        assert_eq!(twinline.call(&line, &[&source.authorization()], body).status, 204);
    };
    write(name, "m,t=a v=1.5 1000\nm,t=b v=2.5 1000\nm,t=c v=3.5 1001\nm,u=u w=1u 7");
    write("replayed_other", "m v=1 7");
    assert_eq!(twinline.settled(5)["lines"]["dead_lettered"], 5);
    for bucket in [name, "replayed_other"] {
        let statement = crate::http::escape("DROP MEASUREMENT m");
        destination.post(&format!("/query?db={bucket}"), format!("q={statement}").as_bytes(), 200);
    }
    // Somebody maps its name to another bucket: there the cell is not.
    let buckets =
        crate::http::call(&source.addr, "GET /api/v2/buckets?name=replayed_back", &[&source.authorization()], b"");
    let buckets = buckets.unwrap().json();
    let mapping = serde_json::json!({
        "bucketID": buckets["buckets"][0]["id"], "orgID": buckets["buckets"][0]["orgID"],
        "database": "replayed_other", "retention_policy": "autogen", "default": true,
    });
    source.post("/api/v2/dbrps", mapping.to_string().as_bytes(), 201);
    let done = replay(&twinline, &["--execute"]);
    assert_eq!((&done["repaired"], &done["obsolete"]), (&3.into(), &0.into()), "{done:#}");
    let stay = |code: &str| done["stay"].as_array().unwrap().iter().find(|stay| stay["code"] == code).cloned();
    let elsewhere = stay("source-read").unwrap_or_else(|| panic!("{done:#}"));
    assert!(elsewhere["why"].as_str().unwrap().contains("to the bucket replayed_other"), "{done:#}");
    assert_eq!(stay("parse").unwrap()["letters"], 1, "unsigned at InfluxDB 1: {done:#}");
    let cells: Vec<String> = destination.cells(name).iter().map(ToString::to_string).collect();
    assert_eq!(cells.len(), 3, "{cells:?}");
}

/// After `ALTER … DEFAULT` a query of the default policy finds nothing of what was written before.
#[test]
fn what_another_policy_holds_is_not_obsolete() {
    let name = "replayed_policy";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    source.create(name);
    destination.create(name);
    destination.post(&format!("/write?db={name}"), b"m v=\"text\" 1", 204);
    let twinline = Setup::new(source.section(), destination.section()).start();
    assert_eq!(twinline.call(&format!("POST /write?db={name}"), &[], "m v=1.5 1000\nm v=2.5 2000").status, 204);
    assert_eq!(twinline.settled(2)["lines"]["dead_lettered"], 2);
    source.query(&format!("CREATE RETENTION POLICY \"new\" ON \"{name}\" DURATION 0s REPLICATION 1 DEFAULT"));
    let statement = crate::http::escape("DELETE FROM m WHERE time = 2000");
    source.post(&format!("/query?db={name}"), format!("q={statement}").as_bytes(), 200);
    let done = replay(&twinline, &["--execute"]);
    assert_eq!((&done["repaired"], &done["obsolete"]), (&0.into(), &1.into()), "{done:#}");
    assert_eq!(done["stay"][0]["code"], "other-policy", "{done:#}");
}
