//! A part of the program dies (a bug of ours): it is seen, clients go on, and nothing is lost.

use rustix::process::Signal;
use twinline::sandbox::{Options, Sandbox};

use crate::answers::events;
use crate::proxy::{Setup, Twinline, eventually};

struct Pair {
    source: Sandbox,
    destination: Sandbox,
    twinline: Twinline,
}

fn pair(failpoints: &'static str) -> Pair {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    source.create_database("d");
    destination.create_database("d");
    let url = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
    let mut setup = Setup::new(url(&source), url(&destination));
    setup.queue = "stall_ms = 600".to_owned();
    setup.failpoints = failpoints;
    let twinline = setup.start();
    Pair { source, destination, twinline }
}

impl Pair {
    fn write(&self, at: u64) {
        let answer = self.twinline.call("POST /write?db=d", &[], format!("m,host=h{at} v={at} {at}"));
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// Waits until `/readyz` gives this reason, and an event of a failed part or a gap says the same.
    fn until_unready(&self, why: &str, told: &str) {
        eventually("not ready", || {
            let ready = self.twinline.admin("/readyz");
            if ready.status == 503 && ready.text().contains(why) { Ok(()) } else { Err(ready.text()) }
        });
        self.until_told(told);
    }

    fn until_told(&self, kind: &str) {
        eventually("it is told", || {
            let told = events(&self.twinline, 0);
            if told.iter().any(|event| event["kind"] == kind) { Ok(()) } else { Err(format!("{told:?}")) }
        });
    }
}

#[test]
fn a_lane_that_dies_is_seen_and_what_it_held_is_delivered_after_a_restart() {
    let mut pair = pair("delivered=panic@1");
    pair.write(1);
    pair.until_unready("delivery has stopped", "part-failed");
    let status = pair.twinline.status();
    assert_eq!(status["paused"][0]["code"], "failed", "{status:#}");
    // Clients go on, and the queue takes what they write.
    for at in 2..=20 {
        pair.write(at);
    }
    pair.twinline.stop(Signal::TERM);
    pair.twinline.start_again();
    pair.twinline.delivered(20);
    let differences = twinline::cell::compare(pair.source.cells("d", ""), pair.destination.cells("d", ""));
    assert!(differences.is_empty() && differences.equal == 20, "{differences}");
}

/// Either of the tasks between the edge and the log dies.
#[test]
fn without_a_way_into_the_log_writes_are_gaps_and_clients_go_on() {
    for failpoints in ["bundle-leaves=panic@7", "results-back=panic@1"] {
        let mut pair = pair(failpoints);
        pair.write(1);
        pair.twinline.hold(if failpoints.starts_with("results") { "/wal/seg/" } else { "" });
        pair.write(2);
        pair.twinline.hold("");
        for at in 3..=20 {
            pair.write(at);
        }
        pair.until_unready("the queue has failed", "queue-unavailable");
        pair.write(21);
        pair.twinline.until("the gap is shown", |status| status["lines"]["gap"].as_u64() > Some(0));
        pair.twinline.stop(Signal::TERM);
        pair.twinline.start_again();
        pair.write(22);
        pair.twinline.until("each line is in a sum", |status| {
            let sum = ["delivered", "gap", "doubt"].map(|state| status["lines"][state].as_u64().unwrap());
            sum.iter().sum::<u64>() >= 22 && status["lines"]["queued"] == 0
        });
        assert_eq!(pair.source.cells("d", "").len(), 22);
    }
}

#[test]
fn gaps_are_taken_over_also_after_that_task_has_died() {
    let pair = pair("gaps-taken=panic@2");
    pair.twinline.hold("/wal/seg/");
    pair.write(1);
    pair.until_told("part-failed");
    let text = pair.twinline.until("the gap is listed", |status| status["lines"]["gap"] == 1).to_string();
    assert!(text.contains("queue-stalled"), "{text}");
    pair.twinline.hold("");
}

/// What works on a write dies between its intent and its outcome: nobody waits for that outcome, the write is doubt.
#[test]
fn a_write_that_dies_is_doubt_at_once_and_delivery_goes_on() {
    for failpoints in ["intent-durable=panic@2", "answered=panic@2"] {
        let pair = pair(failpoints);
        pair.write(1);
        assert_eq!(pair.twinline.call("POST /write?db=d", &[], "m v=1 2\nm v=2 3").status, 503);
        pair.write(4);
        let status = pair.twinline.settled(4);
        assert_eq!((&status["lines"]["delivered"], &status["lines"]["doubt"]), (&2.into(), &2.into()), "{status:#}");
        assert_eq!(status["regions"][0]["causes"], "crash", "{status:#}");
    }
    // In pieces, of which two are in the log.
    let pair = pair("intent-durable=panic@3");
    pair.write(1);
    let line = format!("m,t={} v=1 ", "t".repeat(1000));
    let body: String = (0..16_000).map(|at| format!("{line}{}\n", 10 + at)).collect();
    // Answered in the middle of its body: whether the client hears that is another matter.
    let _ = crate::http::call(&pair.twinline.addr, "POST /write?db=d", &[], body.as_bytes());
    pair.write(2);
    let status = pair.twinline.quiet();
    assert_eq!(status["lines"]["delivered"], 2, "{status:#}");
    assert!(status["lines"]["doubt"].as_u64() > Some(4000), "{status:#}");
}

/// What is written to deleted files is in none: somebody must hear of it while the process still runs.
#[test]
fn a_data_directory_that_is_deleted_is_told_of() {
    let pair = pair("");
    pair.write(1);
    pair.twinline.delivered(1);
    pair.twinline.delete_data();
    eventually("not ready", || {
        let ready = pair.twinline.admin("/readyz");
        if ready.status == 503 && ready.text().contains("was deleted") { Ok(()) } else { Err(ready.text()) }
    });
    assert!(pair.twinline.status()["queue"]["fault"].as_str().unwrap().contains("was deleted"));
    assert_eq!(pair.twinline.call("POST /write?db=d", &[], "m v=1 2").status, 204, "clients go on");
}
