//! Faults that no real server makes on demand, made by sandboxes: what the source is not known to have kept is doubt
//! and is
//! not delivered; what the destination answers decides what happens to a batch, and nothing is ever dropped.

use std::time::{Duration, Instant};

use serde_json::Value;
use twinline::sandbox::{Faults, Options, Sandbox, WriteAction, WriteFault};

use crate::http::Answer;
use crate::proxy::{PATIENCE, Setup, Twinline};

struct Pair {
    source: Sandbox,
    destination: Sandbox,
    twinline: Twinline,
}

/// Two sandboxes with database `d`, and Twinline between them.
fn pair() -> Pair {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    source.create_database("d");
    destination.create_database("d");
    let url =
        |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"\nrequest_timeout = \"1s\"", sandbox.url());
    let twinline = Setup::new(url(&source), url(&destination)).start();
    Pair { source, destination, twinline }
}

fn faults(action: WriteAction, next: Option<u64>) -> Faults {
    Faults { writes: Some(WriteFault { action, next }), ..Faults::default() }
}

fn answer(status: u16, body: &str, headers: &[(&str, &str)]) -> WriteAction {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    WriteAction::Answer { status, body: body.to_owned(), headers, applied: false }
}

impl Pair {
    fn write(&self, db: &str, body: &str) -> Answer {
        self.twinline.call(&format!("POST /write?db={db}"), &[], body)
    }

    fn accepted(&self, db: &str, body: &str) {
        let answer = self.write(db, body);
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// Both sides hold the same, and so many cells.
    fn assert_equal(&self, db: &str, cells: u64) {
        let differences = twinline::cell::compare(self.source.cells(db, ""), self.destination.cells(db, ""));
        assert!(differences.is_empty() && differences.equal == cells, "{differences}");
    }

    /// A write of two lines that the source does not answer with a success is doubt; those before and after are
    /// delivered.
    fn leaves_doubt(&self, fault: WriteAction, status: u16) -> Value {
        self.accepted("d", "m v=1 1");
        self.source.set_faults(faults(fault, Some(1)));
        let answer = self.write("d", "m v=2 2\nm v=3 3");
        assert_eq!(answer.status, status, "{}", answer.text());
        if status == 503 {
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert!(answer.json()["error"].as_str().unwrap().starts_with("twinline: the source gave no answer"));
        }
        self.accepted("d", "m v=4 4");
        let shown = self.twinline.settled(4);
        assert_eq!((&shown["lines"]["delivered"], &shown["lines"]["doubt"]), (&2.into(), &2.into()), "{shown:#}");
        assert_eq!(shown["dirty_regions"], 1);
        let times: Vec<i64> = self.destination.cells("d", "").iter().map(|cell| cell.time_ns).collect();
        assert_eq!(times, [1, 4], "nothing of the doubtful write is delivered");
        shown
    }
}

#[test]
fn a_500_of_the_source_is_passed_on_and_its_lines_are_doubt() {
    let pair = pair();
    let shown = pair.leaves_doubt(answer(500, "{\"error\":\"timeout\"}\n", &[("X-Influxdb-Error", "timeout")]), 500);
    assert!(shown["not_covered"].to_string().contains("2 lines in doubt await read-back (1 regions)"), "{shown:#}");
    let text = String::from_utf8(pair.twinline.command(&["status"]).stdout).unwrap();
    assert!(text.starts_with("NOT COVERED  ") && text.contains("2 lines in doubt"), "{text}");
}

#[test]
fn a_source_that_takes_a_write_and_breaks_the_connection_leaves_doubt() {
    let pair = pair();
    pair.leaves_doubt(WriteAction::Drop { applied: true }, 503);
    assert_eq!(pair.source.cells("d", "").len(), 4, "the source has it; the copy waits for read-back");
}

#[test]
fn a_source_that_loses_a_write_and_breaks_the_connection_leaves_doubt() {
    let pair = pair();
    pair.leaves_doubt(WriteAction::Drop { applied: false }, 503);
    pair.assert_equal("d", 2);
}

#[test]
fn a_source_that_does_not_answer_in_time_leaves_doubt() {
    let pair = pair();
    pair.leaves_doubt(WriteAction::Hang { applied: true }, 503);
}

/// Without one line that could be read: what the source cannot have stored needs no read-back, what it may have does.
#[test]
fn a_body_without_readable_lines_makes_its_route_dirty_only_if_the_source_may_have_read_it() {
    let pair = pair();
    let lost = || pair.source.set_faults(faults(WriteAction::Drop { applied: false }, Some(1)));
    lost();
    assert_eq!(pair.write("d", "nonsense\nm v=1x 1\n").status, 503);
    pair.accepted("d", "m v=1 1");
    let shown = pair.twinline.settled(1);
    assert_eq!(shown["dirty_regions"], 0, "{shown:#}");
    lost();
    let packed = crate::http::gzip(b"m v=2 2\n");
    let cut = &packed[..packed.len() - 7];
    assert_eq!(pair.twinline.call("POST /write?db=d", &["Content-Encoding: gzip"], cut).status, 503);
    pair.accepted("d", "m v=3 3");
    let shown = pair.twinline.settled(2);
    assert_eq!((&shown["dirty_regions"], &shown["lines"]["doubt"]), (&1.into(), &0.into()), "{shown:#}");
}

#[test]
fn a_429_of_the_source_is_the_clients_own_and_nothing_is_delivered() {
    let pair = pair();
    pair.source.set_faults(faults(answer(429, "slow down", &[("Retry-After", "7")]), Some(1)));
    let refused = pair.write("d", "m v=1 1");
    assert_eq!((refused.status, refused.header("retry-after"), refused.text().as_str()), (429, Some("7"), "slow down"));
    pair.accepted("d", "m v=2 2");
    pair.twinline.delivered(1);
    pair.assert_equal("d", 1);
}

/// The destination does so for some writes; afterwards everything is there, in order, without any client having heard
/// of it.
fn passes(fault: WriteAction, next: u64) -> Pair {
    let pair = pair();
    pair.accepted("d", "m v=1 1");
    pair.twinline.delivered(1);
    pair.destination.set_faults(faults(fault, Some(next)));
    for round in 0..20 {
        pair.accepted("d", &format!("m v={round} 2\nm,t=a v={round} 3\nn,t={round} v={round} 4"));
    }
    pair.twinline.delivered(61);
    pair.assert_equal("d", 23);
    assert!(pair.destination.stats().writes_faulted >= next, "{:?}", pair.destination.stats());
    pair
}

#[test]
fn a_500_and_a_503_of_the_destination_are_tried_again() {
    passes(answer(500, "{\"error\":\"timeout\"}", &[]), 3);
    passes(answer(503, "request throttled, queue full\n", &[]), 3);
}

#[test]
fn a_destination_that_applies_a_write_without_an_answer_gets_it_again() {
    passes(WriteAction::Drop { applied: true }, 3);
    passes(WriteAction::Hang { applied: true }, 1);
}

#[test]
fn a_retry_after_of_the_destination_is_obeyed() {
    let pair = pair();
    pair.destination.set_faults(faults(answer(429, "", &[("Retry-After", "2")]), Some(1)));
    let began = Instant::now();
    pair.accepted("d", "m v=1 1");
    let paused = pair.twinline.until("the pause is shown", |status| status["paused"][0]["what"] == "destination");
    assert!(paused["paused"][0]["reason"].as_str().unwrap().contains("429"), "{paused:#}");
    pair.twinline.delivered(1);
    assert!(began.elapsed() >= Duration::from_secs(2), "asked to wait for 2 s, came after {:?}", began.elapsed());
    pair.assert_equal("d", 1);
}

#[test]
fn a_413_of_the_destination_splits_the_batch() {
    let pair = pair();
    pair.destination.set_faults(faults(answer(413, "{\"error\":\"Request Entity Too Large\"}", &[]), Some(3)));
    let body: String = (0..1000).map(|at| format!("m,t=one v={at} {at}\n")).collect();
    pair.accepted("d", &body);
    pair.twinline.delivered(1000);
    pair.assert_equal("d", 1000);
    let stats = pair.destination.stats();
    assert_eq!(stats.writes_faulted, 3);
    assert!(stats.writes >= 3 + 4, "three refusals leave at least four parts: {stats:?}");
}

#[test]
fn a_401_of_the_destination_pauses_it_and_delivery_resumes() {
    let pair = pair();
    pair.destination.set_faults(faults(answer(401, "{\"error\":\"authorization failed\"}", &[]), None));
    pair.accepted("d", "m v=1 1\nm,t=b v=1 2");
    let paused = pair.twinline.until("the pause is shown", |status| status["paused"][0]["what"] == "destination");
    assert_eq!(paused["paused"][0]["reason"], "401 authorization failed");
    assert_eq!(paused["lines"]["queued"], 2, "{paused:#}");
    let text = String::from_utf8(pair.twinline.command(&["status"]).stdout).unwrap();
    assert!(text.contains("! PAUSED destination for ") && text.contains("401 authorization failed"), "{text}");
    let ready = pair.twinline.admin("/readyz");
    assert_eq!(ready.status, 200, "clients feel nothing of it: {}", ready.text());
    pair.destination.set_faults(Faults::default());
    pair.twinline.delivered(2);
    pair.assert_equal("d", 2);
    pair.twinline.until("the pause is over", |status| status["paused"].as_array().unwrap().is_empty());
    let events = pair.twinline.admin("/api/v1/events").text();
    assert!(events.contains("takes writes again"), "{events}");
}

/// A database that the destination does not have holds up its own lines, and no other's.
#[test]
fn a_404_of_the_destination_pauses_one_route_while_another_goes_on() {
    let pair = pair();
    pair.source.create_database("later");
    pair.accepted("later", "m v=1 1\nm v=2 2");
    let paused = pair.twinline.until("the pause is shown", |status| !status["paused"].as_array().unwrap().is_empty());
    assert_eq!(paused["paused"][0]["what"], "database later", "{paused:#}");
    assert!(paused["paused"][0]["reason"].as_str().unwrap().contains("database not found"), "{paused:#}");
    for round in 0..10 {
        pair.accepted("d", &format!("m v={round} {round}"));
        pair.accepted("later", &format!("m v=3 {round}"));
    }
    let until = Instant::now() + PATIENCE;
    while pair.destination.cells("d", "").len() < 10 {
        assert!(Instant::now() < until, "the other route stands still: {:#}", pair.twinline.status());
        std::thread::sleep(Duration::from_millis(20));
    }
    // In the lane of the paused route nothing counts as delivered before the floor has passed it.
    pair.twinline.until("the paused route waits", |status| status["lines"]["queued"].as_u64() >= Some(12));
    pair.destination.create_database("later");
    pair.twinline.delivered(22);
    pair.assert_equal("d", 10);
    pair.assert_equal("later", 10);
}

/// A refusal that we do not know stops the route and loses nothing.
#[test]
fn an_unknown_refusal_pauses_and_never_drops() {
    let pair = pair();
    pair.destination.set_faults(faults(answer(400, "{\"error\":\"the moon is full\"}", &[]), None));
    pair.accepted("d", "m v=1 1");
    let paused = pair.twinline.until("the pause is shown", |status| !status["paused"].as_array().unwrap().is_empty());
    assert!(paused["paused"][0]["reason"].as_str().unwrap().contains("the moon is full"), "{paused:#}");
    assert_eq!(paused["lines"]["dead_lettered"], 0);
    pair.destination.set_faults(Faults::default());
    pair.twinline.delivered(1);
    pair.assert_equal("d", 1);
}

/// A success that is none: a login page in front of the destination, say.
#[test]
fn a_200_of_the_destination_acknowledges_nothing() {
    let pair = pair();
    pair.destination.set_faults(faults(answer(200, "<html>please log in</html>", &[]), None));
    pair.accepted("d", "m v=1 1");
    let paused = pair.twinline.until("the pause is shown", |status| !status["paused"].as_array().unwrap().is_empty());
    assert_eq!((&paused["lines"]["delivered"], &paused["lines"]["queued"]), (&0.into(), &1.into()), "{paused:#}");
    pair.destination.set_faults(Faults::default());
    pair.twinline.delivered(1);
    pair.assert_equal("d", 1);
}
