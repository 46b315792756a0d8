//! A route that takes nothing for long: the others go on, its own lines wait in the log in order, and beyond its backlog
//! they are a gap.

use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use twinline::sandbox::{Faults, Options, Sandbox};

use crate::answers::events;
use crate::http::call;
use crate::proxy::{PATIENCE, Setup, Twinline, eventually};
use crate::scripted::{Reply, Scripted, Write};

struct Pair {
    source: Sandbox,
    destination: Sandbox,
    twinline: Twinline,
}

/// Two sandboxes; the destination has `d` and not `later`. Little may wait in memory.
fn pair(more: &str) -> Pair {
    pair_with(more, "")
}

fn pair_with(more: &str, sections: &str) -> Pair {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    source.create_database("d");
    source.create_database("later");
    destination.create_database("d");
    let url = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
    let mut setup = Setup::new(url(&source), url(&destination));
    // A test has its own.
    let is_its_own = |line: &&str| line.split_once(" = ").is_none_or(|(key, _)| !more.contains(key));
    setup.delivery = setup.delivery.lines().filter(is_its_own).collect::<Vec<_>>().join("\n");
    setup.delivery.push_str("\nbatch_bytes = \"64KiB\"\npending_bytes = \"1MiB\"\nlane_lead = \"1MiB\"\n");
    setup.delivery.push_str(more);
    let twinline = setup.more(sections).start();
    Pair { source, destination, twinline }
}

impl Pair {
    /// 1000 lines of 20 series; the values of a later round stand over those of an earlier one in half of the cells.
    fn write(&self, db: &str, round: usize) {
        self.write_lines(db, round, 1000);
    }

    fn write_lines(&self, db: &str, round: usize, lines: usize) {
        let line = |at: usize| {
            let time = if at.is_multiple_of(2) { at } else { round * 10_000 + at };
            format!("m,host=host-number-{},rack=rack v={round}i,w={at}i {time}\n", at % 20)
        };
        let body: String = (0..lines).map(line).collect();
        let answer = self.twinline.call(&format!("POST /write?db={db}"), &[], body);
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    fn assert_equal(&self, db: &str) {
        let differences = twinline::cell::compare(self.source.cells(db, ""), self.destination.cells(db, ""));
        assert!(differences.is_empty() && differences.equal > 0, "{db}: {differences}");
    }

    /// Waits until everything of `d` has arrived, whatever else waits.
    fn arrives(&self) {
        let expected = self.source.cells("d", "").len();
        let until = Instant::now() + PATIENCE;
        while self.destination.cells("d", "").len() < expected {
            assert!(Instant::now() < until, "the other route stands still: {:#}", self.twinline.status());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

#[test]
fn influxdb_9e55686_a_route_that_stands_still_waits_in_the_log_while_others_go_on_and_keeps_its_order() {
    let mut pair = pair("");
    for round in 0..60 {
        pair.write("later", round);
        pair.write("d", round);
    }
    pair.arrives();
    let status = pair.twinline.status();
    assert_eq!(status["paused"][0]["code"], "database-missing", "{status:#}");
    assert!(status["lines"]["queued"].as_u64() >= Some(60_000), "{status:#}");
    let told = events(&pair.twinline, 0);
    let untold = told.iter().filter(|event| event["kind"] == "same-server-unknown").count();
    assert_eq!(untold, 1, "two that do not say who they are: {told:?}");
    // Nothing of it is only in memory.
    assert_eq!(pair.twinline.stop(Signal::TERM).code(), Some(143));
    pair.twinline.start_again();
    for round in 60..90 {
        pair.write("later", round);
        pair.write("d", round);
    }
    pair.arrives();
    pair.destination.create_database("later");
    pair.write("later", 90);
    pair.twinline.delivered(181_000);
    pair.assert_equal("later");
    pair.assert_equal("d");
    pair.write("later", 91);
    pair.twinline.delivered(182_000);
    pair.assert_equal("later");
}

#[test]
fn a_route_that_stands_still_before_its_lines_went_a_second_time_stops_no_other() {
    let mut pair = pair("late_write_max = \"10s\"");
    for round in 0..90 {
        pair.write("later", round);
    }
    pair.twinline.stop(Signal::KILL);
    pair.destination.create_database("later");
    pair.twinline.start_again();
    let mut seen = 0;
    eventually("no more arrives", || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let before = std::mem::replace(&mut seen, pair.destination.lines_received());
        if before > 0 && before == seen { Ok(()) } else { Err(format!("{seen} lines arrived")) }
    });
    // What goes again takes all the room there is, when its target refuses it.
    let drop = "POST /query?q=DROP%20DATABASE%20later";
    assert_eq!(call(&pair.destination.addr().to_string(), drop, &[], b"").unwrap().status, 200);
    pair.write("d", 0);
    pair.arrives();
    pair.destination.create_database("later");
    pair.twinline.delivered(91_000);
    pair.assert_equal("d");
}

#[test]
fn twenty_routes_that_stand_still_and_are_written_alike_stop_no_other() {
    let pair = pair("");
    let missing: Vec<String> = (0..20).map(|number| format!("missing-{number}")).collect();
    missing.iter().for_each(|db| pair.source.create_database(db));
    // Each of them stays below its share of what may wait; together they are more than all of it.
    for round in 0..16 {
        missing.iter().for_each(|db| pair.write_lines(db, round, 100));
        pair.write_lines("d", round, 100);
    }
    pair.arrives();
    missing.iter().for_each(|db| pair.destination.create_database(db));
    pair.twinline.delivered(21 * 1600);
    missing.iter().for_each(|db| pair.assert_equal(db));
    pair.assert_equal("d");
}

#[test]
fn a_route_beyond_its_backlog_is_a_gap_and_is_delivered_again_once_it_takes_writes() {
    let mut pair = pair("route_backlog = \"1MiB\"");
    for round in 0..60 {
        pair.write("later", round);
        pair.write("d", round);
    }
    let gapped = |status: &Value| status["gaps"].to_string().contains("route-backlog");
    let status = pair.twinline.until("it is a gap", gapped);
    assert_eq!(status["paused"][0]["code"], "database-missing", "{status:#}");
    pair.arrives();
    for round in 60..70 {
        pair.write("later", round);
        pair.write("d", round);
    }
    pair.arrives();
    let told = events(&pair.twinline, 0);
    let gaps: Vec<&Value> = told.iter().filter(|event| event["kind"] == "route-gap").collect();
    assert!(gaps.len() == 1 && gaps[0].to_string().contains("database later"), "{told:?}");
    // A restart changes no figure: what is in the gap stays there.
    assert_eq!(pair.twinline.stop(Signal::TERM).code(), Some(143));
    pair.twinline.start_again();
    pair.destination.create_database("later");
    pair.write("later", 100);
    let status = pair.twinline.settled(141_000);
    let (delivered, gap) = (status["lines"]["delivered"].as_u64().unwrap(), status["lines"]["gap"].as_u64().unwrap());
    assert!(delivered >= 71_000 && gap >= 10_000, "{status:#}");
    assert!(status["not_covered"].to_string().contains("lines in gaps await read-back"), "{status:#}");
    pair.assert_equal("d");
    let last = pair.destination.cells("later", "");
    assert!(last.iter().any(|cell| cell.time_ns == 1_000_001), "what came after the gap is there");
    eprintln!("{delivered} delivered, {gap} in the gap");
}

/// Nothing comes afterwards that would make delivery look again.
#[test]
fn what_comes_while_delivery_waits_for_room_is_delivered() {
    let pair = pair("");
    pair.destination.set_faults(Faults { latency_ms: 300, ..Faults::default() });
    (0..50).for_each(|round| pair.write("d", round));
    pair.twinline.settled(50_000);
    pair.assert_equal("d");
}

/// Another process has the state store's file, so that a refused line cannot be put aside.
#[test]
fn who_asks_hears_that_delivery_waits_for_the_state_store() {
    let pair = pair("");
    assert_eq!(
        call(&pair.destination.addr().to_string(), "POST /write?db=d", &[], b"m v=\"text\" 1").unwrap().status,
        204
    );
    pair.arrives();
    // Delivery writes down what it is when it begins: that is not what is waited for.
    pair.twinline.until("it has begun", |status| status["age_s"].as_f64() > Some(0.0));
    let mut other = rusqlite::Connection::open(pair.twinline.data().join("state.db")).unwrap();
    let held = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    assert_eq!(pair.twinline.call("POST /write?db=d", &[], "m v=1 2\n").status, 204);
    let waits = |status: &Value| status["paused"].to_string().contains("delivery waits for the state store");
    pair.twinline.until("it says what it waits for", waits);
    drop(held);
    let status = pair.twinline.settled(1);
    assert_eq!(
        (&status["lines"]["dead_lettered"], &status["paused"]),
        (&1.into(), &Value::Array(vec![])),
        "{status:#}"
    );
}

/// The new log goes on behind the numbers of the lost one: what is written now is in no old gap.
#[test]
fn after_the_log_was_lost_nothing_new_is_taken_for_what_is_in_an_old_gap() {
    let mut pair = pair("route_backlog = \"1MiB\"");
    (0..60).for_each(|round| pair.write("later", round));
    pair.twinline.until("it is a gap", |status| status["gaps"].to_string().contains("route-backlog"));
    assert_eq!(pair.twinline.stop(Signal::TERM).code(), Some(143));
    std::fs::remove_dir_all(pair.twinline.data().join("wal")).unwrap();
    pair.destination.create_database("later");
    pair.twinline.start_again();
    (100..110).for_each(|round| pair.write("later", round));
    eventually("all of it is there", || {
        let cells = pair.destination.cells("later", "");
        let new = cells.iter().filter(|cell| cell.time_ns >= 1_000_000).count();
        if new == 10_000 { Ok(()) } else { Err(format!("{new} cells")) }
    });
}

/// It may have come back while nobody was allowed to ask it.
#[test]
fn a_route_that_stood_still_when_an_operator_paused_is_tried_before_it_becomes_a_gap() {
    let pair = pair("route_backlog = \"1MiB\"");
    pair.write("later", 0);
    pair.twinline.until("it stands still", |status| status["paused"][0]["code"] == "database-missing");
    let (paused, resumed) = (["queue", "pause"], ["queue", "resume"]);
    assert!(pair.twinline.command(&paused).status.success());
    (1..60).for_each(|round| pair.write("later", round));
    let all = |status: &Value, lines: u64| status["lines"]["queued"].as_u64() == Some(lines);
    pair.twinline.until("all of it waits", |status| all(status, 60_000));
    pair.destination.create_database("later");
    assert!(pair.twinline.command(&resumed).status.success());
    let status = pair.twinline.settled(60_000);
    assert_eq!((&status["lines"]["gap"], &status["lines"]["delivered"]), (&0.into(), &60_000.into()), "{status:#}");
    pair.assert_equal("later");
}

/// Its gap does not grow by what comes in a pause of an operator before it was tried again.
#[test]
fn a_gap_does_not_grow_while_an_operator_pauses() {
    let pair = pair("route_backlog = \"1MiB\"");
    (0..60).for_each(|round| pair.write("later", round));
    let counts = |status: &Value| ["gap", "queued"].map(|sum| status["lines"][sum].as_u64().unwrap());
    pair.twinline.until("it is a gap", |status| counts(status)[0] > 0);
    assert!(pair.twinline.command(&["queue", "pause"]).status.success());
    (60..120).for_each(|round| pair.write("later", round));
    let status = pair.twinline.until("all of it is counted", |status| counts(status).iter().sum::<u64>() == 120_000);
    pair.destination.create_database("later");
    assert!(pair.twinline.command(&["queue", "resume"]).status.success());
    let [gap, queued] = counts(&status);
    assert!(queued >= 59_000, "{status:#}");
    let status = pair.twinline.settled(120_000);
    assert_eq!((&status["lines"]["gap"], &status["lines"]["delivered"]), (&gap.into(), &queued.into()), "{status:#}");
}

/// Nothing was sent since its gap grew, and what comes in its pause is far from another backlog.
#[test]
fn a_route_that_is_back_after_its_gap_is_tried_with_the_only_line_that_came_meanwhile() {
    // In one pause of its target all of it becomes a gap.
    let pair = pair("route_backlog = \"1MiB\"\nretry_initial = \"6s\"\nretry_max = \"6s\"\n");
    pair.write_lines("later", 0, 1);
    pair.twinline.until("it stands still", |status| status["paused"][0]["code"] == "database-missing");
    pair.write_lines("later", 1, 30_000);
    pair.twinline.until("all of it is a gap", |status| status["lines"]["gap"] == 30_001);
    pair.destination.create_database("later");
    pair.write_lines("later", 2, 1);
    let status = pair.twinline.settled(30_002);
    assert!(status["lines"]["gap"] == 30_001 && status["lines"]["delivered"] == 1, "{status:#}");
    assert_eq!(status["paused"], Value::Array(vec![]), "{status:#}");
}

/// What was set aside first is nothing to try it with: no server can store it. Nothing comes afterwards either.
#[test]
fn a_route_of_which_nothing_waits_to_be_tried_with_is_read_on_until_there_is_something() {
    // In one pause of its target all of it becomes a gap, and an operator pauses.
    let pair = pair("route_backlog = \"1MiB\"\nretry_initial = \"6s\"\nretry_max = \"6s\"\n");
    pair.write_lines("later", 0, 1);
    pair.twinline.until("it stands still", |status| status["paused"][0]["code"] == "database-missing");
    pair.write_lines("later", 1, 30_000);
    pair.twinline.until("all of it is a gap", |status| status["lines"]["gap"] == 30_001);
    assert!(pair.twinline.command(&["queue", "pause"]).status.success());
    assert_eq!(pair.twinline.call("POST /write?db=later", &[], "m\\\\,t=a v=1i 1\n").status, 204);
    // More than is looked at in one go.
    (0..300).for_each(|round| pair.write_lines("d", round, 1));
    pair.write_lines("later", 2, 1);
    pair.destination.create_database("later");
    assert!(pair.twinline.command(&["queue", "resume"]).status.success());
    let status = pair.twinline.settled(30_303);
    assert!(status["lines"]["dead_lettered"] == 1 && status["lines"]["gap"] == 30_001, "{status:#}");
}

/// What the source has never kept uses up no number; a route has its own from then on that the source keeps something of it,
/// and is one with what the log has of it from before.
#[test]
fn invented_names_leave_the_numbers_of_routes_to_those_that_exist() {
    let pair = pair_with("route_backlog = \"1MiB\"", "[limits]\nroutes = 4\n");
    for invented in 0..8 {
        let answer = pair.twinline.call(&format!("POST /write?db=invented{invented}"), &[], "m v=1 1\n");
        assert_eq!(answer.status, 404, "{}", answer.text());
    }
    for round in 0..60 {
        pair.write("later", round);
    }
    let later = r#"db="later" rp="""#;
    assert_eq!(pair.twinline.numbered_routes(), [later]);
    let status = pair.twinline.until("it is a gap", |status| status["gap_rows"].to_string().contains("route-backlog"));
    assert_eq!((&status["gap_rows_total"], &status["gap_rows"][0]["route"]), (&1.into(), &later.into()), "{status:#}");
    pair.destination.create_database("later");
    let status = pair.twinline.settled(60_000);
    let of_gaps: u64 = status["gap_rows"].as_array().unwrap().iter().map(|row| row["lines"].as_u64().unwrap()).sum();
    assert!(status["lines"]["gap"] == of_gaps && status["lines"]["delivered"] == 60_000 - of_gaps, "{status:#}");
}

/// Its first records have no number, since `limits.routes` is used up; those after a restart have one. It is one route in the
/// gap, also after the process has died with the gap durable and the floors behind it.
#[test]
fn a_route_that_gets_its_number_late_is_one_route_in_its_gap() {
    let mut pair = pair_with("route_backlog = \"1MiB\"", "[limits]\nroutes = 1\n");
    let mut accepted = 0;
    for round in 0..5 {
        pair.write("d", round);
        pair.write("later", round);
        accepted += 2000;
    }
    pair.arrives();
    assert_eq!(pair.twinline.stop(Signal::TERM).code(), Some(143));
    let more_routes = |configuration: String| configuration.replace("routes = 1", "routes = 10");
    pair.twinline.start_again_with(more_routes, "backlog-gap-durable=abort");
    for at in 0.. {
        assert!(at < 1000, "it dies when the gap is durable");
        let line = |n: usize| format!("n,t={} v={at}i {}\n", n % 20, at * 10_000 + n);
        let body: String = (0..1000).map(line).collect();
        match crate::http::call(&pair.twinline.addr, "POST /write?db=later", &[], body.as_bytes()) {
            Ok(answer) => assert_eq!(answer.status, 204),
            Err(_) => break,
        }
        accepted += 1000;
    }
    assert!(!pair.twinline.wait().success());
    pair.destination.create_database("later");
    pair.twinline.start_again();
    // The last write may have come as far as the log without an answer to us.
    let status = pair.twinline.until("every line is in one sum", |status| {
        let at = |state: &str| status["lines"][state].as_u64().unwrap();
        let sum: u64 = ["delivered", "doubt", "dead_lettered", "gap", "excluded"].map(at).iter().sum();
        at("queued") == 0 && (sum == accepted || sum == accepted + 1000)
    });
    let rows = status["gap_rows"].as_array().unwrap();
    assert!(rows.len() == 1 && status["lines"]["gap"].as_u64() > Some(5000), "{status:#}");
}

/// The gap is durable, the floors that follow it are not, and the process dies. Its target's lines that were delivered above
/// the floors are in the gap; every line is in one sum.
#[test]
fn a_gap_counts_every_line_once_whenever_the_process_dies() {
    let source = Sandbox::spawn_thread(Options::default()).unwrap();
    ["first", "later", "d"].into_iter().for_each(|db| source.create_database(db));
    let destination = Scripted::start(|write: &Write| match write.path.contains("db=first") {
        true => Reply::new(404, "{\"error\":\"database not found: \\\"first\\\"\"}\n"),
        false if write.body.contains("host=7,") => {
            Reply::new(404, "{\"error\":\"database not found: \\\"later\\\"\"}\n")
        }
        false => Reply::new(204, ""),
    });
    let url = |url: &str| format!("url = \"{url}\"\nkind = \"influxdb1\"");
    let mut setup = Setup::new(url(&source.url()), url(&destination.url()));
    setup.delivery.push_str("\nroute_backlog = \"1MiB\"\n");
    // The second gap: that of `first` frees the floors before.
    setup.failpoints = "backlog-gap-durable=abort@2";
    let mut twinline = setup.start();
    let hosts: String = (0..20).map(|host| format!("m,host={host},rack=rack v=1i {host}\n")).collect();
    let mut accepted = 40;
    for db in ["first", "later"] {
        assert_eq!(twinline.call(&format!("POST /write?db={db}"), &[], &hosts).status, 204);
    }
    eventually("all but one lane of `later` are delivered", || {
        let taken = destination.writes("db=later").iter().filter(|write| write.status == 204).count();
        let paused = twinline.status()["paused"].as_array().unwrap().len();
        if taken >= 3 && paused == 2 { Ok(()) } else { Err(format!("{taken} batches, {paused} pauses")) }
    });
    for at in 2..200 {
        let line = |n: usize| format!("n,t={} v={at}i {}\n", n % 20, at * 10_000 + n);
        let body: String = (0..1000).map(line).collect();
        match crate::http::call(&twinline.addr, "POST /write?db=d", &[], body.as_bytes()) {
            Ok(answer) => assert_eq!(answer.status, 204),
            Err(_) => break,
        }
        accepted += 1000;
    }
    assert!(!twinline.wait().success(), "it dies when the second gap is durable");
    destination.set(|_| Reply::new(204, ""));
    twinline.start_again();
    // The last write may have come as far as the log without an answer to us.
    let status = twinline.until("every line is in one sum", |status| {
        let at = |state: &str| status["lines"][state].as_u64().unwrap();
        let sum: u64 = ["delivered", "doubt", "dead_lettered", "gap", "excluded"].map(at).iter().sum();
        at("queued") == 0 && (sum == accepted || sum == accepted + 1000)
    });
    assert_eq!(status["lines"]["gap"], 40, "{status:#}");
}
