//! One destination's trouble stays its own: beyond its backlog it is a gap for itself, and the log is kept for nobody who cannot take it.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use twinline::sandbox::{Faults, Sandbox, WriteAction, WriteFault};

use crate::http::call;
use crate::many::{LITTLE_LOG, LITTLE_MEMORY, delivered, is_equal, named, of, sandbox, told, until};
use crate::proxy::{Setup, Twinline, eventually};
use crate::scripted::{Reply, Scripted, Write};
use crate::victoria_server::Victoria;

/// A source, `main`, and another one called `second`; 1 MiB of the log for the second, in files of 1 MiB.
struct Rig {
    source: Sandbox,
    main: Sandbox,
    twinline: Twinline,
}

fn rig(second: &str) -> Rig {
    rig_with(second, "")
}

fn rig_with(second: &str, failpoints: &'static str) -> Rig {
    rig_of(second, failpoints, "")
}

fn rig_of(second: &str, failpoints: &'static str, queue: &str) -> Rig {
    let (source, main) = (sandbox(), sandbox());
    let mut setup = Setup::new(crate::many::lines_of(&source), named("main", &main));
    setup.delivery.push_str(LITTLE_MEMORY);
    setup.others_delivery.push_str(LITTLE_LOG);
    setup.others.push(format!("id = \"second\"\n{second}"));
    setup.queue = format!("segment_size = \"1MiB\"\nmax_size = \"64MiB\"\n{queue}");
    setup.failpoints = failpoints;
    Rig { source, main, twinline: setup.start() }
}

/// Each line has a time of its own, in milliseconds.
fn body(round: usize) -> String {
    let line = |at: usize| {
        let time = 1_700_000_000_000_000_000 + (round * 1000 + at) as u64 * 1_000_000;
        format!("m,host=host-number-{},rack=rack v={round}i,w={at}i {time}\n", at % 20)
    };
    (0..1000).map(line).collect()
}

impl Rig {
    fn write(&self, rounds: std::ops::Range<usize>) {
        for round in rounds {
            let answer = self.twinline.call("POST /write?db=d", &[], body(round));
            assert_eq!(answer.status, 204, "{}", answer.text());
        }
    }

    /// `main` has everything, and the log is not kept for the other one.
    fn goes_on(&self, lines: u64) {
        delivered(&self.twinline, "main", lines);
        is_equal(&self.source, &self.main).unwrap();
        let status =
            self.twinline.until("the log is released", |status| status["queue"]["segments"].as_u64() <= Some(4));
        let main = of(&status, "main");
        assert!(main["lines"]["gap"] == 0 && main["paused"] == Value::Array(vec![]), "{main:#}");
    }

    /// Every line is in one state for `second`.
    fn adds_up(&self, lines: u64, is_so: impl Fn(&Value) -> bool) -> Value {
        let states = ["delivered", "queued", "gap", "dead_lettered", "doubt"];
        let sum = |own: &Value| states.map(|state| own["lines"][state].as_u64().unwrap()).iter().sum::<u64>();
        until(&self.twinline, "second", |own| sum(own) == lines && is_so(own))
    }
}

fn gap(own: &Value) -> u64 {
    own["lines"]["gap"].as_u64().unwrap()
}

/// What it has acknowledged just before may be lost with it: that is sent again, or in the gap.
#[test]
fn a_victoriametrics_that_is_stopped_is_a_gap_for_itself_alone() {
    let mut victoria = Victoria::start();
    let mut rig = rig(&victoria.section());
    rig.write(0..5);
    delivered(&rig.twinline, "second", 5000);
    victoria.0.kill();
    rig.write(5..150);
    rig.goes_on(150_000);
    let own = rig.adds_up(150_000, |own| gap(own) > 100_000);
    assert_eq!(own["paused"][0]["code"], "unreachable", "{own:#}");
    assert!(own["gap_rows"][0]["from_ns"].as_i64() < own["gap_rows"][0]["to_ns"].as_i64(), "{own:#}");
    // Also through a kill.
    rig.twinline.stop(Signal::KILL);
    rig.twinline.start_again();
    rig.write(150..151);
    rig.goes_on(151_000);
    victoria.0.start_again();
    let own = rig.adds_up(151_000, |own| own["lines"]["queued"] == 0 && own["paused"] == Value::Array(vec![]));
    let lost = gap(&own);
    rig.write(151..152);
    let own = rig.adds_up(152_000, |own| own["lines"]["queued"] == 0);
    assert_eq!(gap(&own), lost, "{own:#}");
    let found: usize = victoria.samples().values().map(Vec::len).sum();
    assert!(found as u64 >= 2 * (152_000 - lost), "{found} samples, and {own:#}");
}

#[test]
fn a_victoriametrics_that_is_not_there_at_the_start_is_shown_and_holds_up_nobody() {
    let mut victoria = Victoria::start();
    victoria.0.kill();
    let mut rig = rig(&victoria.section());
    let own = until(&rig.twinline, "second", |own| own["paused"][0]["code"] == "unreachable");
    assert_eq!(own["paused"][0]["what"], "destination", "{own:#}");
    rig.write(0..150);
    rig.goes_on(150_000);
    rig.adds_up(150_000, |own| gap(own) > 100_000);
    rig.twinline.stop(Signal::KILL);
    rig.twinline.start_again();
    rig.write(150..300);
    rig.goes_on(300_000);
    rig.adds_up(300_000, |own| gap(own) > 250_000);
    assert!(!told(&rig.twinline, "destination-paused").is_empty());
    victoria.0.start_again();
    let own = rig.adds_up(300_000, |own| own["lines"]["queued"] == 0 && own["paused"] == Value::Array(vec![]));
    let lost = gap(&own);
    rig.write(300..301);
    let own = rig.adds_up(301_000, |own| own["lines"]["queued"] == 0);
    assert_eq!(gap(&own), lost, "{own:#}");
    let found: usize = victoria.samples().values().map(Vec::len).sum();
    assert_eq!(found as u64, 2 * (301_000 - lost), "{own:#}");
}

/// The process ends where the gap is durable and no floor has passed it.
#[test]
fn a_kill_while_one_becomes_a_gap_changes_no_sum() {
    let mut victoria = Victoria::start();
    let mut rig = rig_with(&victoria.section(), "backlog-gap-durable=abort");
    rig.write(0..5);
    delivered(&rig.twinline, "second", 5000);
    victoria.0.kill();
    let mut written = 5;
    let write = |round| call(&rig.twinline.addr, "POST /write?db=d", &[], body(round).as_bytes());
    while write(written).is_ok_and(|answer| answer.status == 204) {
        written += 1;
        // It becomes a gap when what it acknowledged last may be lost for sure, whole seconds later; the log is not full by then.
        if written > 150 {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    rig.twinline.wait();
    rig.twinline.start_again();
    // What was under way at the end is delivered, or doubt.
    rig.write(written + 1..written + 40);
    let sum = |own: &Value| {
        ["delivered", "queued", "gap"].map(|state| own["lines"][state].as_u64().unwrap()).iter().sum::<u64>()
    };
    let lines = written as u64 * 1000 + 39_000;
    let all = until(&rig.twinline, "main", |own| {
        own["lines"]["queued"] == 0 && own["lines"]["delivered"].as_u64() >= Some(lines)
    });
    let (had, doubt) = (all["lines"]["delivered"].as_u64().unwrap(), all["lines"]["doubt"].as_u64().unwrap());
    assert!(had + doubt <= lines + 1000, "{all:#}");
    let own = until(&rig.twinline, "second", |own| sum(own) == had && gap(own) > 0);
    assert_eq!(own["lines"]["doubt"], doubt, "{own:#}");
    victoria.0.start_again();
    let own = until(&rig.twinline, "second", |own| own["lines"]["queued"] == 0 && sum(own) == had);
    let found: usize = victoria.samples().values().map(Vec::len).sum();
    assert!(found as u64 >= 2 * (had - gap(&own)), "{found} samples, and {own:#}");
}

/// Never paused, and yet it cannot take what comes: beyond its backlog that is a gap, and then it has the newest again.
#[test]
fn one_that_is_slow_or_comes_and_goes_is_a_gap_for_itself_alone() {
    let second = sandbox();
    let rig = rig(&format!("url = \"{}\"\nkind = \"influxdb1\"\nrequest_timeout = \"30s\"", second.url()));
    let slow = |writes| Faults { latency_ms: 2000, writes, ..Faults::default() };
    let busy = || {
        let action = WriteAction::Answer { status: 503, body: String::new(), headers: Vec::new(), applied: false };
        Some(WriteFault { action, next: Some(1) })
    };
    let (mut lost, mut written) = (0, 0);
    for flaps in [false, true] {
        second.set_faults(slow(None));
        for _ in 0..150 {
            if flaps {
                second.set_faults(slow(busy()));
            }
            rig.write(written..written + 1);
            written += 1;
        }
        rig.adds_up(written as u64 * 1000, |own| gap(own) > lost);
        rig.goes_on(written as u64 * 1000);
        second.set_faults(Faults::default());
        // A pause ends with the next write.
        eventually("it takes writes again", || {
            rig.write(written..written + 1);
            written += 1;
            let own = of(&rig.twinline.status(), "second");
            if own["paused"] == Value::Array(vec![]) { Ok(()) } else { Err(format!("{own:#}")) }
        });
        lost = gap(&rig.adds_up(written as u64 * 1000, |own| own["lines"]["queued"] == 0));
        rig.write(written..written + 1);
        written += 1;
        let own = rig.adds_up(written as u64 * 1000, |own| own["lines"]["queued"] == 0);
        assert_eq!(gap(&own), lost, "nothing more is: {own:#}");
        let newest = 1_700_000_000 + written as i64 - 1;
        let has = second.cells("d", "").iter().filter(|cell| cell.time_ns / 1_000_000_000 == newest).count();
        assert_eq!(has, 2000, "{own:#}");
    }
    let said = told(&rig.twinline, "destination-paused").join("\n");
    assert!(said.contains("falls behind"), "{said}");
    let delivered = second.cells("d", "").len() as u64 / 2;
    assert!(delivered >= written as u64 * 1000 - lost, "{delivered} lines there, {lost} in the gap");
}

/// Nobody looks at its dead letters: neither lines that it refuses nor those that are known beforehand hold up the others.
#[test]
fn one_whose_room_for_dead_letters_is_full_is_a_gap_for_itself_alone() {
    let refuses = |write: &Write| {
        let bad = write.body.lines().filter(|line| line.contains("bad"));
        let said: Vec<String> = bad.map(|line| format!("unable to parse '{line}': bad")).collect();
        let error = serde_json::json!({ "error": said.join("\n") }).to_string();
        if said.is_empty() { Reply::new(204, "") } else { Reply::new(400, &error) }
    };
    for kind in ["kind = \"influxdb1\"", "kind = \"victoriametrics\"\nprojection.texts = \"dead-letter\""] {
        let second = Scripted::start(refuses);
        let rig = rig_of(&format!("url = \"{}\"\n{kind}", second.url()), "", "dead_letter_max = \"1MiB\"");
        let line =
            |at: usize| format!("m s=\"bad{}\" {}\n", "x".repeat(1000), 1_600_000_000_000_000_000 + at * 1_000_000);
        let bad =
            |from: usize| rig.twinline.call("POST /write?db=d", &[], (from..from + 600).map(line).collect::<String>());
        assert_eq!(bad(0).status, 204);
        until(&rig.twinline, "second", |own| own["lines"]["dead_lettered"] == 600);
        assert_eq!(bad(600).status, 204);
        let own = until(&rig.twinline, "second", |own| own["paused"].to_string().contains("dead-letters-full"));
        assert_eq!(own["paused"][0]["what"], "destination", "{own:#}");
        rig.write(0..150);
        rig.goes_on(151_200);
        // Lines that need no room are delivered once the others are a gap.
        rig.adds_up(151_200, |own| gap(own) >= 600 && own["lines"]["queued"] == 0);
        let purged = rig.twinline.command(&["deadletter", "purge", "--execute", "--destination", "second"]);
        assert!(purged.status.success(), "{purged:?}");
        let mut written = 150;
        eventually("it takes writes again", || {
            rig.write(written..written + 1);
            written += 1;
            let own = of(&rig.twinline.status(), "second");
            if own["paused"] == Value::Array(vec![]) { Ok(()) } else { Err(format!("{own:#}")) }
        });
        rig.write(written..written + 1);
        let lines = 1200 + (written as u64 + 1) * 1000;
        let own = rig.adds_up(lines, |own| own["lines"]["queued"] == 0);
        let newest = format!("v={written}i");
        let has = second
            .writes("")
            .iter()
            .map(|write| write.body.matches(&newest[..newest.len() - 1]).count())
            .sum::<usize>();
        assert!(has >= 1000, "{has} of the newest: {own:#}");
    }
}

/// A defect ends its delivery: others are not held up by it, and it is told what it has not got.
#[test]
fn one_whose_delivery_has_ended_does_not_keep_the_log_from_others() {
    let second = Scripted::start(|write| match write.body.contains("bad") {
        true => Reply::new(400, &serde_json::json!({ "error": "unable to parse 'm bad': bad" }).to_string()),
        false => Reply::new(204, ""),
    });
    let mut rig = rig_with(&format!("url = \"{}\"\nkind = \"influxdb1\"", second.url()), "dead-letter-durable=panic");
    assert_eq!(rig.twinline.call("POST /write?db=d", &[], "m s=\"bad\" 1700000000000000000").status, 204);
    eventually("it is told", || {
        let ready = rig.twinline.admin("/readyz");
        let said = ready.text();
        if ready.status == 503 && said.contains("second: delivery has stopped") { Ok(()) } else { Err(said) }
    });
    rig.write(0..150);
    rig.goes_on(150_001);
    let own = of(&rig.twinline.status(), "second");
    assert!(own["paused"][0]["reason"].to_string().contains("is not kept for it"), "{own:#}");
    rig.twinline.stop(Signal::TERM);
    second.set(|_| Reply::new(204, ""));
    rig.twinline.start_again();
    rig.write(150..151);
    let own = until(&rig.twinline, "second", |own| own["lines"]["queued"] == 0 && own["gaps_unknown"] == 1);
    assert_eq!(own["gap_rows"][0]["cause"], "destination-away", "{own:#}");
    assert!(own["statements"][0]["why"].to_string().contains("were not in the log any more"), "{own:#}");
    let newest = || second.writes("").iter().map(|write| write.body.matches("v=150i").count()).sum::<usize>();
    eventually("the newest is there", || if newest() == 1000 { Ok(()) } else { Err(format!("{} lines", newest())) });
    assert_eq!(rig.twinline.admin("/readyz").status, 200);
}
