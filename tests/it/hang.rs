//! The queue is unavailable: its disk hangs, or it is full. Clients go on, every write that it misses is in a gap, once,
//! whenever the process dies.

use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use twinline::sandbox::{Faults, Options, Sandbox};

use crate::proxy::{Setup, Twinline, eventually};

struct Pair {
    source: Sandbox,
    destination: Sandbox,
    twinline: Twinline,
}

/// Two sandboxes, and Twinline between them with these lines in `[queue]`.
fn pair(queue: &str) -> Pair {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    for sandbox in [&source, &destination] {
        sandbox.create_database("d");
        sandbox.create_database("e");
    }
    let url = |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"", sandbox.url());
    let mut setup = Setup::new(url(&source), url(&destination));
    let stall = if queue.contains("stall_ms") { "" } else { "stall_ms = 600\n" };
    setup.queue = format!("{stall}{queue}");
    let twinline = setup.start();
    Pair { source, destination, twinline }
}

impl Pair {
    fn write(&self, db: &str, body: &str) -> u16 {
        self.twinline.call(&format!("POST /write?db={db}"), &[], body).status
    }

    fn count(&self, state: &str) -> u64 {
        self.twinline.status()["lines"][state].as_u64().unwrap()
    }

    fn is_ready(&self) -> (u16, String) {
        let ready = self.twinline.admin("/readyz");
        (ready.status, ready.text())
    }

    fn until_ready(&self) {
        eventually("ready", || {
            let (status, text) = self.is_ready();
            if status == 200 { Ok(()) } else { Err(text) }
        });
    }

    /// Writes to `d` until one is delivered again; returns how many lines were sent.
    fn until_delivered(&self, from: u64) -> u64 {
        let before = self.count("delivered");
        let mut sent = 0;
        eventually("the queue takes writes again", || {
            assert_eq!(self.write("d", &format!("m v=1 {}", from + sent)), 204);
            sent += 1;
            if self.count("delivered") > before { Ok(()) } else { Err(format!("{:#}", self.twinline.status())) }
        });
        sent
    }
}

#[test]
fn a_hanging_disk_does_not_hang_clients_and_every_write_counts_once() {
    let pair = pair("");
    assert_eq!(pair.write("d", "m v=1 1"), 204);
    pair.twinline.delivered(1);
    pair.twinline.hold("/wal/seg/");
    // The first one waits for its time, the others need not: the answers come while the disk hangs.
    for at in 2..=40 {
        assert_eq!(pair.write(if at % 2 == 0 { "d" } else { "e" }, &format!("m v=1 {at}")), 204);
    }
    let (ready, why) = pair.is_ready();
    assert!(ready == 503 && why.contains("the queue's disk does not answer"), "{ready} {why}");
    pair.twinline.until("the gap is shown", |status| status["lines"]["gap"] == 39);
    // One by one as soon as the state store has them.
    let status = pair.twinline.until("the state store has them", |status| status["gap_log_lines"] == 0);
    assert_eq!(status["lines"]["gap"], 39, "{status:#}");
    assert_eq!(status["queue"]["stalled"], true, "{status:#}");
    let text = String::from_utf8(pair.twinline.command(&["status"]).stdout).unwrap();
    assert!(text.contains("STALLED") && text.contains("! GAP 39 lines: queue-stalled"), "{text}");
    let rows = status["gap_rows"].as_array().unwrap();
    assert_eq!(
        (rows.len(), &status["gap_rows_total"], &status["gaps_unknown"]),
        (2, &2.into(), &0.into()),
        "{status:#}"
    );
    for (route, lines, from) in [("d", 20, 2), ("e", 19, 3)] {
        let row = rows.iter().find(|row| row["route"].as_str().unwrap().starts_with(route)).unwrap();
        assert_eq!((&row["lines"], &row["cause"]), (&lines.into(), &"queue-stalled".into()), "{row:#}");
        assert_eq!((&row["from_ns"], &row["first_lsn"]), (&from.into(), &serde_json::Value::Null), "{row:#}");
        assert!(text.contains(&format!(": {lines} lines (queue-stalled)")), "{text}");
    }
    pair.twinline.hold("");
    let more = pair.until_delivered(100);
    pair.until_ready();
    // The write that waited is in the log by now as well: it is a gap all the same, and nothing else.
    let status = pair.twinline.settled(40 + more);
    assert_eq!((&status["lines"]["doubt"], &status["lines"]["unanswered"]), (&0.into(), &0.into()), "{status:#}");
    assert_eq!(status["lines"]["delivered"].as_u64().unwrap() + status["lines"]["gap"].as_u64().unwrap(), 40 + more);
    let delivered = status["lines"]["delivered"].as_u64().unwrap();
    assert_eq!(pair.destination.cells("d", "").len() as u64, delivered, "a gap is not delivered");
    assert_eq!(pair.source.cells("d", "").len() + pair.source.cells("e", "").len(), 40 + more as usize);
}

/// The source has answered, and the disk does not take the outcome in time: the client hears the answer, and the write
/// counts once, as delivered or, after a crash, as doubt; never beside that as a gap.
#[test]
fn an_outcome_that_becomes_durable_late_counts_once() {
    for dies in [false, true] {
        let mut pair = pair("");
        assert_eq!(pair.write("d", "m v=1 1"), 204);
        pair.twinline.delivered(1);
        pair.source.set_faults(Faults { latency_ms: 1000, ..Faults::default() });
        let addr = pair.twinline.addr.clone();
        let client =
            std::thread::spawn(move || crate::http::call(&addr, "POST /write?db=d", &[], b"m v=1 2").unwrap().status);
        pair.twinline.until("the intent is durable", |status| status["lines"]["unanswered"] == 1);
        pair.twinline.hold("/wal/seg/");
        assert_eq!(client.join().unwrap(), 204);
        pair.source.set_faults(Faults::default());
        if dies {
            pair.twinline.stop(Signal::KILL);
            pair.twinline.hold("");
            pair.twinline.start_again();
        } else {
            pair.twinline.hold("");
        }
        let status = pair.twinline.settled(2);
        let (delivered, doubt) = if dies { (1, 1) } else { (2, 0) };
        let lines = &status["lines"];
        assert_eq!(
            (&lines["delivered"], &lines["doubt"], &lines["gap"]),
            (&delivered.into(), &doubt.into(), &0.into()),
            "{status:#}"
        );
    }
}

/// The whole disk of `data_dir` hangs: the spare one takes the gaps.
#[test]
fn a_spare_directory_takes_the_gaps_of_a_disk_that_hangs_whole() {
    let spare = tempfile::tempdir().unwrap();
    // The spare disk works and may be slow: a third of this is its time, after which a client hears 503.
    let mut pair = pair(&format!("stall_ms = 6000\nspare_dir = {:?}", spare.path().join("spare")));
    // Its route is known: only the first write waits, for the log.
    assert_eq!(pair.write("d", "m v=1 0"), 204);
    pair.twinline.delivered(1);
    let state = pair.twinline.lock_state();
    pair.twinline.hold("/wal/");
    for at in 1..=20 {
        assert_eq!(pair.write("d", &format!("m v=1 {at}\nm v=1 {}", at + 100)), 204);
    }
    // Nothing was taken over yet, and the process dies.
    pair.twinline.stop(Signal::KILL);
    pair.twinline.hold("");
    drop(state);
    pair.twinline.start_again();
    // What was on its way into the log when the process died is not there, or it is doubt.
    let status = pair.twinline.until("the gaps are taken over", |status| status["lines"]["gap"] == 40);
    assert!(status["lines"]["delivered"].as_u64() <= Some(1), "{status:#}");
    for _ in 0..2 {
        pair.twinline.stop(Signal::KILL);
        pair.twinline.start_again();
        pair.twinline.quiet();
        // A state store that does not answer in time shows no gap at all.
        let status = pair
            .twinline
            .until("the state store has them", |status| status["lines"]["gap"] != 0 && status["gap_log_lines"] == 0);
        assert_eq!(status["lines"]["gap"], 40, "taken over once: {status:#}");
    }
}

#[test]
fn where_nothing_can_keep_a_gap_the_client_hears_503() {
    let pair = pair("");
    assert_eq!(pair.write("d", "m v=1 1"), 204);
    pair.twinline.delivered(1);
    let state = pair.twinline.lock_state();
    pair.twinline.hold("/wal/");
    let answer = pair.twinline.call("POST /write?db=d", &[], "m v=1 2");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    let text = answer.json()["error"].as_str().unwrap().to_owned();
    assert_eq!(text, "twinline: neither the queue nor the gap record can be written");
    assert_eq!(pair.source.cells("d", "").len(), 1, "what the client is to repeat was not forwarded");
    drop(state);
    // The state store takes gaps while the gap log hangs.
    eventually("the state store takes gaps", || {
        let status = pair.write("d", "m v=1 3");
        if status == 204 { Ok(()) } else { Err(status.to_string()) }
    });
    pair.twinline.hold("");
    pair.until_delivered(10);
    pair.until_ready();
}

/// A queue that is full: gaps of a long outage merge, survive kill -9 at any moment, and count once.
#[test]
fn influxdb_24434_gaps_of_a_full_queue_survive_any_death_of_the_process() {
    let mut pair = pair("segment_size = \"1MiB\"\nmax_size = \"4MiB\"");
    pair.destination.set_faults(Faults { refuse: true, ..Faults::default() });
    let body = |at: u64| -> String { (0..500).map(|n| format!("m,t={n:0100} v=1 {at}\n")).collect() };
    let mut sent = 0;
    for round in 0..6 {
        for _ in 0..20 {
            sent += 1;
            assert_eq!(pair.write("d", &body(sent)), 204);
        }
        sleep(Duration::from_millis(40 * round));
        pair.twinline.stop(Signal::KILL);
        pair.twinline.start_again();
    }
    let status = pair.twinline.until("gaps are shown", |status| {
        let at = |state: &str| status["lines"][state].as_u64().unwrap();
        at("gap") + at("queued") + at("delivered") + at("doubt") == sent * 500
    });
    assert!(status["lines"]["gap"].as_u64() > Some(20_000), "{status:#}");
    pair.destination.set_faults(Faults::default());
    pair.twinline.settled(sent * 500);
}
