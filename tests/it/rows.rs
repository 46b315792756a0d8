//! QuestDB has tables alone: lines that go as one row, and names that are one table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use twinline::sandbox::{Options, Sandbox};

use crate::answers::{dead, events};
use crate::proxy::{Setup, Twinline};
use crate::scripted::{Reply, Scripted, Write};

fn pair() -> (Sandbox, Scripted, Twinline) {
    let source = Sandbox::spawn_thread(Options::default()).unwrap();
    source.create_database("d");
    let destination = Scripted::start(|_| Reply::new(204, ""));
    let twinline = Setup::new(
        format!("url = \"{}\"\nkind = \"influxdb1\"", source.url()),
        format!("url = \"{}\"\nkind = \"questdb\"", destination.url()),
    )
    .start();
    (source, destination, twinline)
}

/// Two of three lines are one row, which is refused: both are letters, and every line is in one sum.
#[test]
fn a_refused_row_is_a_letter_for_each_of_its_lines() {
    let (_source, destination, twinline) = pair();
    destination.set(|write: &Write| match write.body.lines().position(|line| line.contains("bad=")) {
        Some(place) => {
            let said = "failed to parse line protocol:errors encountered on line(s):\nerror in line 1: table: d_m, column: bad; cast error";
            Reply::new(400, &json!({ "code": "invalid", "message": said, "line": place + 1 }).to_string())
        }
        None => Reply::new(204, ""),
    });
    let body = "m bad=1i 5000\nm v=3i 6000\nm w=2i 5000";
    assert_eq!(twinline.call("POST /write?db=d", &[], body).status, 204);
    let status = twinline.settled(3);
    assert_eq!(
        (&status["lines"]["delivered"], &status["lines"]["dead_lettered"]),
        (&1.into(), &2.into()),
        "{status:#}"
    );
    let letters: Vec<String> = dead(&twinline, "d").into_iter().map(|(text, _)| text).collect();
    assert_eq!(letters, ["d_m bad=1i 5000", "d_m w=2i 5000"]);
}

#[test]
fn measurements_that_differ_in_case_alone_are_told_to_be_one_table() {
    let (_source, _destination, twinline) = pair();
    assert_eq!(twinline.call("POST /write?db=d", &[], "Cpu v=3i 6000\nmem v=1i 6000").status, 204);
    twinline.delivered(2);
    let told = || events(&twinline, 0).iter().filter(|event| event["text"].to_string().contains("one-table")).count();
    assert_eq!(told(), 0);
    assert_eq!(twinline.call("POST /write?db=d", &[], "cpu v=4i 7000").status, 204);
    twinline.delivered(3);
    assert_eq!(told(), 1);
}

/// It died while it added a column, and takes its values since then and keeps none: nothing of that is lost, and it goes on once the
/// column is there.
#[test]
fn a_column_that_was_lost_with_the_process_stops_its_place_until_it_is_there() {
    let (_source, destination, twinline) = pair();
    let is_there = Arc::new(AtomicBool::new(false));
    let (mut is_first, there) = (true, Arc::clone(&is_there));
    destination.set(move |write: &Write| match &write.path {
        path if path.contains("columns") => {
            let columns: &[&str] =
                if there.load(Ordering::SeqCst) { &["w", "Lost", "timestamp"] } else { &["w", "timestamp"] };
            let rows: Vec<_> = columns.iter().map(|column| json!([column])).collect();
            Reply::new(200, &json!({ "dataset": rows }).to_string())
        }
        path if path.contains("sequencerTxn") => Reply::new(200, &json!({ "dataset": [[false, 0]] }).to_string()),
        path if path.contains("/exec") => Reply::new(200, &json!({ "dataset": [] }).to_string()),
        _ if write.body.contains("lost=") && std::mem::take(&mut is_first) => Reply::Die(Duration::from_millis(50)),
        _ => Reply::new(204, ""),
    });
    assert_eq!(twinline.call("POST /write?db=d", &[], "m lost=1i,w=2i 5000").status, 204);
    let status =
        twinline.until("its place stands still", |status| status["paused"].to_string().contains("column-lost"));
    assert!(status["paused"].to_string().contains("ADD COLUMN \\\"lost\\\""), "{status:#}");
    assert_eq!(twinline.call("POST /write?db=d", &[], "m lost=3i 7000").status, 204);
    let sent = || destination.writes("/write").iter().filter(|write| write.status == 204).count();
    assert_eq!((sent(), &twinline.status()["lines"]["delivered"]), (1, &0.into()), "it is not sent again and again");
    is_there.store(true, Ordering::SeqCst);
    twinline.delivered(2);
    let bodies: Vec<String> = destination.writes("/write").into_iter().map(|write| write.body).collect();
    assert!(bodies.concat().contains("lost=3i"), "{bodies:?}");
}

/// The same to a copy: it waits and says why, and what was not kept is no done chunk.
#[test]
fn a_column_that_was_lost_under_a_copy_stops_it_with_the_reason() {
    let (source, destination, twinline) = pair();
    let mut is_first = true;
    destination.set(move |write: &Write| match &write.path {
        path if path.contains("columns") => Reply::new(200, &json!({ "dataset": [["w"], ["timestamp"]] }).to_string()),
        path if path.contains("sequencerTxn") => Reply::new(200, &json!({ "dataset": [[false, 0]] }).to_string()),
        path if path.contains("/exec") => Reply::new(200, &json!({ "dataset": [] }).to_string()),
        _ if std::mem::take(&mut is_first) => Reply::Die(Duration::from_millis(50)),
        _ => Reply::new(204, ""),
    });
    let addr = source.url().trim_start_matches("http://").to_owned();
    assert_eq!(crate::http::call(&addr, "POST /write?db=d", &[], b"m lost=1i,w=2i 5000").unwrap().status, 204);
    assert!(twinline.command(&["backfill", "start", "--db", "d"]).status.success());
    let status = crate::proxy::eventually("it says what is lost", || {
        let status = twinline.command(&["backfill", "status", "-o", "json"]).stdout;
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
        if status.to_string().contains("ADD COLUMN") { Ok(status) } else { Err(status.to_string()) }
    });
    assert_eq!((&status["points"], &status["state"]), (&0.into(), &"running".into()), "{status:#}");
}
