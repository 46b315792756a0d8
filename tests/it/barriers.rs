//! A statement waits for what it may touch, and what it may not touch does not wait for it.

use std::time::Duration;

use serde_json::Value;
use twinline::sandbox::{Options, Sandbox};

use crate::proxy::{Setup, Twinline, eventually};
use crate::scripted::{DONE, Reply, Scripted};

struct Pair {
    _source: Sandbox,
    destination: Scripted,
    twinline: Twinline,
}

/// The destination closes the connection under the first request whose body begins so.
fn pair(late_write_max: &str, unanswered: &'static str) -> Pair {
    pair_with(late_write_max, unanswered, "")
}

fn pair_with(late_write_max: &str, unanswered: &'static str, delivery: &str) -> Pair {
    let source = Sandbox::spawn_thread(Options::default()).unwrap();
    source.create_database("d");
    source.create_database("e");
    let mut met = false;
    let destination = Scripted::start(move |write| match write {
        write if write.is_statement() => Reply::new(200, DONE),
        write if !met && write.body.starts_with(unanswered) => {
            met = true;
            Reply::Close
        }
        _ => Reply::new(204, ""),
    });
    let url = |url: &str| format!("url = \"{url}\"\nkind = \"influxdb1\"");
    let mut setup = Setup::new(url(&source.url()), url(&destination.url()));
    setup.delivery =
        setup.delivery.replace("late_write_max = \"2s\"", &format!("late_write_max = \"{late_write_max}\""));
    setup.delivery.push_str(delivery);
    Pair { _source: source, destination, twinline: setup.start() }
}

impl Pair {
    fn write(&self, db: &str, body: &str) {
        let answer = self.twinline.call(&format!("POST /write?db={db}"), &[], body);
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    fn run(&self, db: &str, q: &str) {
        let answer = self.twinline.call(&format!("GET /query?db={db}&q={}", crate::http::escape(q)), &[], "");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    fn arrived(&self, db: &str) -> Vec<String> {
        let writes = self.destination.writes(&format!("db={db}"));
        writes
            .iter()
            .map(|write| if write.is_statement() { "statement" } else { write.body.trim() }.to_owned())
            .collect()
    }

    fn comes(&self, db: &str, all: &[&str]) {
        eventually("it goes on", || {
            let arrived = self.arrived(db);
            if arrived == all { Ok(()) } else { Err(format!("{arrived:?}: {:#}", self.twinline.status())) }
        });
    }
}

fn waits(status: &Value) -> Option<&str> {
    let mut all = status["paused"].as_array().unwrap().iter();
    all.find(|pause| pause["code"] == "statement").map(|pause| pause["reason"].as_str().unwrap())
}

/// A request of another database, and one of another measurement, may take effect for another hour.
#[test]
fn a_delete_does_not_wait_for_what_it_cannot_touch() {
    let pair = pair("1h", "other");
    pair.write("e", "other v=1 1");
    pair.comes("e", &["other v=1 1", "other v=1 1"]);
    pair.write("d", "m v=1 1");
    pair.run("d", "DELETE FROM m");
    pair.write("d", "m v=2 2");
    pair.comes("d", &["m v=1 1", "statement", "m v=2 2"]);
    assert_eq!(waits(&pair.twinline.status()), None);
    let pair = self::pair("1h", "other");
    pair.write("d", "other v=1 1");
    pair.comes("d", &["other v=1 1", "other v=1 1"]);
    // A newer value of that cell waits as well, and holds up nothing.
    pair.write("d", "other v=2 1");
    pair.run("d", "DROP SERIES FROM m WHERE host = 'a'");
    pair.write("d", "m v=2 2");
    pair.comes("d", &["other v=1 1", "other v=1 1", "statement", "m v=2 2"]);
    pair.run("d", "DROP SERIES FROM other");
    pair.twinline.until("it waits", |status| waits(status).is_some_and(|why| why.contains("FROM other (at d)")));
}

/// A newer value of a cell waits for an old request; behind it points arrived and were removed; then the place stands still for so much
/// that what waits goes back to the log, and comes again from there.
#[test]
fn what_was_removed_does_not_come_again_with_what_waited_before_it() {
    let pair = pair_with("4s", "other", crate::many::LITTLE_MEMORY);
    pair.write("d", "other v=1 1");
    pair.comes("d", &["other v=1 1", "other v=1 1"]);
    pair.write("d", "other v=2 1");
    pair.write("d", "m v=1 1");
    pair.run("d", "DELETE FROM m");
    pair.write("d", "m v=2 2");
    pair.comes("d", &["other v=1 1", "other v=1 1", "m v=1 1", "statement", "m v=2 2"]);
    pair.destination.set(|_| Reply::new(404, r#"{"error":"retention policy not found: \"x\""}"#));
    let text = "x".repeat(1000);
    for round in 0..20 {
        let lines: Vec<String> = (0..50).map(|at| format!("long,at={at} s=\"{text}\" {round}")).collect();
        pair.write("d", &lines.join("\n"));
    }
    pair.twinline
        .until("its place stands still", |status| status["paused"].as_array().is_some_and(|all| !all.is_empty()));
    pair.twinline.until("the log has most of it", |status| status["lines"]["queued"].as_u64() >= Some(1000));
    let before = pair.arrived("d").len();
    pair.destination.set(|_| Reply::new(204, ""));
    eventually("it all comes", || {
        let arrived = pair.arrived("d");
        let longs: usize = arrived[before..].iter().map(|body| body.matches("long,at=").count()).sum();
        if longs >= 1000 { Ok(()) } else { Err(format!("{longs} have come: {:#}", pair.twinline.status())) }
    });
    let again: Vec<String> = pair.arrived("d")[5..].iter().filter(|body| body.contains("m v=1 1")).cloned().collect();
    assert_eq!(again, Vec::<String>::new(), "removed, and there again");
}

/// While a statement waits for a request that had no answer, other places go on, its own stays in order, and status says for what.
#[test]
fn what_a_statement_cannot_touch_goes_on_while_it_waits() {
    let pair = pair("6s", "m");
    pair.write("d", "m v=1 1");
    pair.comes("d", &["m v=1 1", "m v=1 1"]);
    pair.run("d", "DELETE FROM m");
    pair.write("d", "m v=2 2");
    pair.run("d", "DELETE FROM n");
    pair.write("d", "m v=3 3");
    for at in 1..20 {
        pair.write("e", &format!("m v=1 {at}"));
    }
    pair.run("e", "DELETE FROM m");
    pair.write("e", "m v=7 7");
    eventually("the other place goes on", || {
        let arrived = pair.arrived("e");
        if arrived.last().is_some_and(|last| last == "m v=7 7") { Ok(()) } else { Err(format!("{arrived:?}")) }
    });
    assert_eq!(pair.arrived("e").iter().filter(|arrived| *arrived == "statement").count(), 1);
    assert_eq!(pair.arrived("d"), ["m v=1 1", "m v=1 1"]);
    let is_told = |status: &Value| waits(status).is_some_and(|why| why.contains("no answer"));
    pair.twinline.until("it is told for what", is_told);
    pair.comes("d", &["m v=1 1", "m v=1 1", "statement", "m v=2 2", "statement", "m v=3 3"]);
    pair.twinline.delivered(23);
    assert_eq!(waits(&pair.twinline.status()), None);
}

/// Killed while a statement waits: nothing is delivered out of order, nothing is lost, each line counts once.
#[test]
fn a_kill_while_a_statement_waits_changes_nothing() {
    let mut pair = pair("5s", "m");
    pair.write("d", "m v=1 1");
    pair.comes("d", &["m v=1 1", "m v=1 1"]);
    pair.run("d", "DELETE FROM m");
    pair.write("d", "m v=2 2");
    pair.write("e", "m v=1 1");
    pair.comes("e", &["m v=1 1"]);
    pair.twinline.stop(rustix::process::Signal::KILL);
    pair.twinline.start_again();
    pair.twinline.delivered(3);
    let arrived = pair.arrived("d");
    let behind = arrived.iter().rposition(|seen| seen == "statement").unwrap();
    assert_eq!(arrived[behind..], ["statement", "m v=2 2"], "{arrived:?}");
    assert!(arrived[..behind].iter().all(|seen| seen == "m v=1 1"), "{arrived:?}");
}

/// Killed, or stopped, while the destination works on a statement: that may end when it wants, so nothing newer of its place goes before
/// it can no longer.
#[test]
fn a_statement_under_way_when_the_process_ended_is_waited_for() {
    for signal in [rustix::process::Signal::KILL, rustix::process::Signal::TERM] {
        let mut pair = pair("2s", "nothing");
        let mut met = false;
        pair.destination.set(move |write| match write {
            write if write.is_statement() && !std::mem::replace(&mut met, true) => {
                Reply::Slow(Duration::from_secs(3600))
            }
            write if write.is_statement() => Reply::new(200, DONE),
            _ => Reply::new(204, ""),
        });
        pair.write("d", "m v=1 1");
        // All of it is below floors that are durable.
        pair.twinline.delivered(1);
        pair.twinline.stop(rustix::process::Signal::TERM);
        pair.twinline.start_again_with(|text| text.replace("late_write_max = \"2s\"", "late_write_max = \"1h\""), "");
        pair.run("d", "DELETE FROM m");
        pair.comes("d", &["m v=1 1", "statement"]);
        pair.twinline.stop(signal);
        pair.twinline.start_again();
        pair.write("d", "m v=2 2");
        let is_told = |status: &Value| waits(status).is_some_and(|why| why.contains("no answer"));
        pair.twinline.until("it waits", is_told);
        assert_eq!(pair.arrived("d"), ["m v=1 1", "statement"], "{signal:?}");
    }
}
