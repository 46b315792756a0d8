//! A destination that refuses a statement, fails at it or falls silent; a place that stands still; a queue that takes nothing. Nothing
//! of it stops delivery in silence, and nothing is lost without a word.

use rustix::process::Signal;
use serde_json::Value;
use twinline::sandbox::{Options, Sandbox};

use crate::proxy::{Setup, Twinline};
use crate::scripted::{DONE, Reply, Scripted, Write};

struct Pair {
    source: Sandbox,
    destination: Scripted,
    twinline: Twinline,
}

/// A sandbox with databases `d` and `e`, and a destination that takes writes; statements are answered by `script`.
fn pair(queue: &str, mut script: impl FnMut(&Write) -> Reply + Send + 'static) -> Pair {
    let source = Sandbox::spawn_thread(Options::default()).unwrap();
    source.create_database("d");
    source.create_database("e");
    let destination =
        Scripted::start(move |write| if write.is_statement() { script(write) } else { Reply::new(204, "") });
    let url = |url: &str| format!("url = \"{url}\"\nkind = \"influxdb1\"");
    let mut setup = Setup::new(url(&source.url()), url(&destination.url()));
    setup.queue = queue.to_owned();
    let twinline = setup.start();
    Pair { source, destination, twinline }
}

impl Pair {
    fn write(&self, db: &str, body: &str) {
        let answer = self.twinline.call(&format!("POST /write?db={db}"), &[], body);
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    fn run(&self, db: &str, q: &str) -> u16 {
        self.twinline.call(&format!("GET /query?db={db}&q={}", crate::http::escape(q)), &[], "").status
    }

    /// What reached the destination, in order: statements as `db: text`, writes as their lines.
    fn arrived(&self) -> Vec<String> {
        let writes = self.destination.writes("");
        writes
            .iter()
            .map(|write| if write.is_statement() { write.path.clone() } else { write.body.trim().to_owned() })
            .collect()
    }

    fn why(&self) -> String {
        let status = self.twinline.until("it is told", |status| status["statements_not_mirrored"] == 1);
        status["statements"][0]["why"].as_str().unwrap().to_owned()
    }
}

#[test]
fn what_the_destination_refuses_is_told_and_delivery_goes_on() {
    for (status, body) in [
        (403, r#"{"error":"error authorizing query: user w not authorized"}"#),
        (200, r#"{"results":[{"statement_id":0,"error":"cannot drop that"}]}"#),
        (404, "not here"),
    ] {
        let pair = pair("", move |_| Reply::new(status, body));
        pair.write("d", "m v=1 1");
        assert_eq!(pair.run("d", "DROP MEASUREMENT m"), 200);
        pair.write("d", "m v=2 2");
        pair.twinline.delivered(2);
        assert!(pair.why().contains("the destination refuses it"), "{}", pair.why());
        assert_eq!(pair.arrived(), ["m v=1 1", "/query?db=d", "m v=2 2"]);
    }
}

#[test]
fn what_the_destination_keeps_failing_at_is_told_in_the_end() {
    let pair = pair("", |_| Reply::new(500, r#"{"error":"engine: broken"}"#));
    assert_eq!(pair.run("d", "DROP MEASUREMENT m"), 200);
    pair.write("d", "m v=2 2");
    pair.twinline.delivered(1);
    assert!(pair.why().contains("failed 8 times"), "{}", pair.why());
    assert_eq!(pair.destination.writes("/query").len(), 8);
    let events = pair.twinline.admin("/api/v1/events?limit=1000").text();
    assert!(events.contains("destination-remark") && events.contains("engine: broken"), "{events}");
}

/// A gateway that lets writes through and never this: it must not hold up all other places for ever.
#[test]
fn what_never_gets_an_answer_of_its_own_is_told_in_the_end() {
    for status in [401, 503] {
        let pair = pair("", move |_| Reply::new(status, "not this"));
        assert_eq!(pair.run("d", "DROP MEASUREMENT m"), 200);
        pair.write("d", "m v=2 2");
        pair.write("e", "m v=3 3");
        pair.twinline.delivered(2);
        assert!(pair.why().contains("failed 16 times") && pair.why().contains("not this"), "{}", pair.why());
    }
}

/// Away, throttled, without an answer: tried again until it is done, with what follows behind it.
#[test]
fn a_statement_is_tried_until_it_has_an_answer_and_nothing_overtakes_it() {
    let mut attempts = 0;
    let pair = pair("", move |_| {
        attempts += 1;
        match attempts {
            1 => Reply::Close,
            2 => Reply::new(503, "away"),
            3 => Reply::Answer(429, "slowly".to_owned(), vec!["Retry-After: 1".to_owned()]),
            _ => Reply::new(200, DONE),
        }
    });
    pair.write("d", "m v=1 1");
    assert_eq!(pair.run("d", "DELETE FROM m"), 200);
    pair.write("d", "m v=2 2");
    pair.twinline.delivered(2);
    let mut wanted = vec!["m v=1 1"];
    wanted.extend(["/query?db=d"; 4]);
    wanted.push("m v=2 2");
    assert_eq!(pair.arrived(), wanted);
    assert_eq!(pair.twinline.status()["statements_not_mirrored"], 0);
    assert_eq!(pair.source.cells("d", "").len(), 1);
}

/// The place of another database stands still: a statement waits for its own alone. While it waits for that, `status` says so.
#[test]
fn a_statement_waits_for_its_own_place_alone_and_is_shown_waiting() {
    let pair = pair("", |_| Reply::new(200, DONE));
    let refuses = |db: &'static str| {
        move |write: &Write| {
            if write.is_statement() {
                Reply::new(200, DONE)
            } else if write.path.contains(db) {
                Reply::new(404, r#"{"error":"database not found: \"x\""}"#)
            } else {
                Reply::new(204, "")
            }
        }
    };
    pair.destination.set(refuses("db=e"));
    pair.write("e", "m v=1 1");
    let stands = |status: &Value| !status["paused"].as_array().unwrap().is_empty();
    pair.twinline.until("e stands still", stands);
    pair.write("d", "m v=1 1");
    assert_eq!(pair.run("d", "DROP MEASUREMENT m"), 200);
    pair.write("d", "m v=2 2");
    crate::proxy::eventually("d goes on", || {
        let arrived: Vec<_> = pair.destination.writes("db=d").into_iter().map(|write| write.body).collect();
        if arrived.len() == 3 { Ok(()) } else { Err(format!("{arrived:?}: {:#}", pair.twinline.status())) }
    });
    assert_eq!(pair.destination.writes("/query").len(), 1);
    // Now one for the place itself.
    assert_eq!(pair.run("e", "DROP MEASUREMENT m"), 200);
    pair.twinline.until("it is shown", |status| {
        status["paused"].as_array().unwrap().iter().any(|pause| pause["what"] == "a place waits for a statement")
    });
    pair.destination.set(refuses("nothing"));
    pair.write("e", "m v=3 3");
    pair.twinline.delivered(4);
    assert_eq!(pair.twinline.status()["paused"], serde_json::json!([]));
    assert_eq!(pair.arrived().iter().filter(|seen| *seen == "/query?db=e").count(), 1);
}

/// The queue's disk hangs: a statement goes to the source and is told as one that may have run, or is refused, by configuration.
#[test]
fn a_statement_that_the_queue_cannot_take_is_told_or_refused() {
    let pair_open = pair("stall_ms = 600", |_| Reply::new(200, DONE));
    pair_open.write("d", "m v=1 1");
    pair_open.twinline.delivered(1);
    pair_open.twinline.hold("/wal/seg/");
    assert_eq!(pair_open.run("d", "DROP MEASUREMENT m"), 200);
    assert!(pair_open.why().contains("the queue could not take it (queue-stalled)"), "{}", pair_open.why());
    pair_open.twinline.hold("");
    pair_open.write("d", "m v=2 2");
    let closed = pair("stall_ms = 600\non_unavailable = \"refuse\"", |_| Reply::new(200, DONE));
    closed.write("d", "m v=1 1");
    closed.twinline.delivered(1);
    closed.twinline.hold("/wal/seg/");
    assert_eq!(closed.run("d", "DROP MEASUREMENT m"), 503);
    assert_eq!(closed.source.cells("d", "").len(), 1, "the source has not seen it");
    closed.twinline.hold("");
}

/// `queue show` says what a record asks for.
#[test]
fn a_record_of_the_queue_shows_its_statement() {
    let pair = pair("", |_| Reply::new(200, DONE));
    assert_eq!(pair.run("d", "DROP MEASUREMENT shown"), 200);
    pair.twinline.quiet();
    let seen =
        String::from_utf8(pair.twinline.command(&["queue", "show", "1", "--records", "--bodies"]).stdout).unwrap();
    let row = seen.lines().find(|line| line.contains("statement")).unwrap_or_else(|| panic!("{seen}"));
    assert!(row.contains(" d ") && row.contains("applied"), "{row}");
    assert!(seen.contains("drop-measurement: DROP MEASUREMENT shown"), "{seen}");
}

/// A write and a delete under way at once: lines that the delete may have reached are doubt, all others are delivered.
#[test]
fn lines_that_a_delete_under_way_may_have_reached_are_doubt() {
    let pair = pair("", |_| Reply::new(200, DONE));
    pair.source.set_faults(twinline::sandbox::Faults { latency_ms: 4000, ..twinline::sandbox::Faults::default() });
    let addr = pair.twinline.addr.clone();
    let body = b"m v=1 5\nm v=2 50\nn v=3 5";
    let write = std::thread::spawn(move || crate::http::call(&addr, "POST /write?db=d", &[], body).unwrap().status);
    pair.twinline.until("it is under way", |status| status["lines"]["unanswered"] == 3);
    assert_eq!(pair.run("d", "DELETE FROM m WHERE time < 10"), 200);
    assert_eq!(write.join().unwrap(), 204);
    pair.source.set_faults(twinline::sandbox::Faults::default());
    // What was answered before is delivered, and what comes behind it too.
    pair.write("d", "m v=9 9");
    let status = pair.twinline.settled(4);
    assert_eq!((&status["lines"]["delivered"], &status["lines"]["doubt"]), (&3.into(), &1.into()), "{status:#}");
    assert_eq!(pair.arrived(), ["m v=2 50\nn v=3 5", "/query?db=d", "m v=9 9"]);
    assert_eq!(status["regions"][0]["causes"], "delete");
}

/// A place of another database holds back the floor of one lane: after a kill the statement is carried out again, and with it come all
/// lines that lay behind it, also those of lanes that had them already.
#[test]
fn what_lies_behind_a_statement_comes_again_with_it() {
    let mut pair = pair("", |_| Reply::new(200, DONE));
    let refuses = |write: &Write| {
        if write.is_statement() {
            Reply::new(200, DONE)
        } else if write.path.contains("db=e") {
            Reply::new(404, r#"{"error":"database not found: \"e\""}"#)
        } else {
            Reply::new(204, "")
        }
    };
    pair.destination.set(refuses);
    let lines = |value: u8| (0..16).map(|host| format!("m,h={host} v={value} {value}\n")).collect::<String>();
    pair.write("e", "m v=1 1");
    pair.twinline.until("e stands still", |status| !status["paused"].as_array().unwrap().is_empty());
    pair.write("d", &lines(1));
    assert_eq!(pair.run("d", "DELETE FROM m"), 200);
    pair.write("d", &lines(2));
    let last = |write: &Write| write.path.contains("db=d") && write.body.contains("v=2 2");
    crate::proxy::eventually("d goes on", || {
        let lines: usize =
            pair.destination.writes("db=d").iter().filter(|w| last(w)).map(|w| w.body.lines().count()).sum();
        if lines >= 16 { Ok(()) } else { Err(format!("{lines}: {:#}", pair.twinline.status())) }
    });
    // Floors are saved behind it, more than once.
    std::thread::sleep(std::time::Duration::from_secs(2));
    pair.twinline.stop(Signal::KILL);
    pair.twinline.start_again();
    let is_first = |write: &Write| write.path.contains("db=d") && write.body.contains("h=0 v=1 1");
    // What stands still is tried again after a start: then all before it has been dealt out.
    crate::proxy::eventually("the statement comes again", || {
        let came = pair.destination.writes("/query").len();
        if came == 2 { Ok(()) } else { Err(format!("{came}: {:#}", pair.twinline.status())) }
    });
    pair.write("d", "last v=1 1");
    crate::proxy::eventually("all is dealt out", || {
        let came = pair.destination.writes("db=d").iter().any(|write| write.body.contains("last"));
        if came { Ok(()) } else { Err(format!("{:#}", pair.twinline.status())) }
    });
    let writes = pair.destination.writes("db=d");
    let statement = writes.iter().rposition(Write::is_statement).unwrap();
    let behind: String = writes[statement..].iter().map(|write| write.body.as_str()).collect();
    for host in 0..16 {
        let line = format!("m,h={host} v=2 2");
        assert!(behind.contains(&line), "{line} was removed again and did not come back:\n{behind}");
    }
    assert!(!writes[statement..].iter().any(is_first), "{behind}");
    pair.destination
        .set(|write: &Write| if write.is_statement() { Reply::new(200, DONE) } else { Reply::new(204, "") });
    pair.twinline.delivered(34);
}
