//! A destination that keeps answering so: waits as it asks, learned sizes, revoked rights, missing places, a line that
//! kills it.

use std::time::Duration;

use rustix::process::Signal;
use twinline::sandbox::{Options, Sandbox};

use crate::answers::{dead, events};
use crate::database::{Database, Kind, shared};
use crate::proxy::{Setup, Twinline};
use crate::scripted::{Reply, Scripted, Write};

struct Pair {
    source: Sandbox,
    destination: Scripted,
    twinline: Twinline,
}

/// A sandbox with database `d`, and a destination that takes everything.
fn pair() -> Pair {
    pair_with("2s")
}

/// The same; a request without an answer may take effect for so long.
fn pair_with(late_write_max: &str) -> Pair {
    let source = Sandbox::spawn_thread(Options::default()).unwrap();
    source.create_database("d");
    let destination = Scripted::start(|_| Reply::new(204, ""));
    let mut setup = Setup::new(
        format!("url = \"{}\"\nkind = \"influxdb1\"", source.url()),
        format!("url = \"{}\"\nkind = \"influxdb1\"", destination.url()),
    );
    setup.delivery =
        setup.delivery.replace("late_write_max = \"2s\"", &format!("late_write_max = \"{late_write_max}\""));
    let twinline = setup.start();
    Pair { source, destination, twinline }
}

impl Pair {
    fn write(&self, db: &str, body: &str) {
        let answer = self.twinline.call(&format!("POST /write?db={db}"), &[], body);
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// Lines that were taken, each once, sorted.
    fn taken(&self) -> Vec<String> {
        let writes = self.destination.writes("");
        let taken = writes.iter().filter(|write| write.status == 204).flat_map(|write| write.body.lines());
        let mut lines: Vec<String> = taken.map(str::to_owned).collect();
        lines.sort();
        lines.dedup();
        lines
    }

    fn told(&self, kind: &str) -> Vec<String> {
        let told = events(&self.twinline, 0);
        let of_kind = told.iter().filter(|event| event["kind"] == kind);
        of_kind.map(|event| event["text"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn check_33_every_form_of_retry_after_is_understood() {
    let pair = pair();
    let forms: [(&[&str], &str, f64); 6] = [
        (&["Retry-After: 3"], "quota", 3.0),
        (&["Retry-After: 0"], "quota", 0.0),
        (&["Retry-After: 1.5"], "quota", 2.0),
        (&["Retry-After: Wed, 21 Oct 2015 07:28:02 GMT", "Date: Wed, 21 Oct 2015 07:28:00 GMT"], "quota", 2.0),
        (&["Retry-After: abc"], "quota", 0.0),
        (&[], "cardinality", 0.0),
    ];
    for (number, (headers, code, at_least_s)) in forms.into_iter().enumerate() {
        let before = events(&pair.twinline, 0).len();
        let mut first = true;
        let headers: Vec<String> = headers.iter().map(|line| (*line).to_owned()).collect();
        pair.destination.set(move |_| match std::mem::take(&mut first) {
            true => Reply::Answer(429, String::new(), headers.clone()),
            false => Reply::new(204, ""),
        });
        pair.write("d", &format!("m v=1 {number}"));
        pair.twinline.delivered(number as u64 + 1);
        let writes = pair.destination.writes("");
        let [refused, taken] = &writes[writes.len() - 2..] else { panic!("{writes:?}") };
        assert_eq!((refused.status, taken.status, &refused.body), (429, 204, &taken.body));
        let waited = (taken.at - refused.at).as_secs_f64();
        assert!(waited >= at_least_s, "{at_least_s} s were asked for, came after {waited} s");
        let told = events(&pair.twinline, before);
        let pauses = told.iter().filter(|event| event["kind"] == "destination-paused");
        assert!(pauses.clone().count() == 1 && told.iter().any(|e| e.to_string().contains(code)), "{told:?}");
    }
}

#[test]
fn check_34_the_largest_size_is_learned_and_one_line_above_it_is_put_aside() {
    const LIMIT: usize = 20_000;
    let pair = pair();
    pair.destination.set(|write: &Write| match write.body.len() > LIMIT {
        true => Reply::new(413, "{\"error\":\"Request Entity Too Large\"}\n"),
        false => Reply::new(204, ""),
    });
    let lines = |from: u64| -> String { (from..from + 5_000).map(|at| format!("m v={at}i {at}\n")).collect() };
    let large = format!("m s=\"{}\" 99999", "x".repeat(LIMIT));
    pair.write("d", &format!("{}{large}\n{}", lines(10_000), lines(20_000)));
    let status = pair.twinline.settled(10_001);
    assert_eq!(status["lines"]["dead_lettered"], 1, "{status:#}");
    assert_eq!(dead(&pair.twinline, ""), [(large, "too-large".to_owned())]);
    assert_eq!(pair.taken().len(), 10_000, "its neighbours are there");

    let before = pair.destination.writes("").len();
    pair.write("d", &lines(30_000));
    pair.write("d", &lines(40_000));
    pair.twinline.settled(20_001);
    let writes = pair.destination.writes("").split_off(before);
    let refused = writes.iter().filter(|write| write.status == 413).count();
    let largest = writes.iter().filter(|write| write.status == 204).map(|write| write.body.len()).max().unwrap();
    assert!(refused <= 2, "{refused} of {} requests were too large", writes.len());
    assert!(largest > LIMIT * 3 / 4, "{largest}");
    assert_eq!(pair.told("destination-remark").len(), 1);
}

/// For a while, and asked again meanwhile.
#[test]
fn check_35_a_token_that_is_revoked_for_a_while_loses_nothing_and_is_told_once() {
    let pair = pair();
    pair.destination.set(|_| Reply::new(401, "{\"error\":\"authorization failed\"}\n"));
    for at in 0..50 {
        pair.write("d", &format!("m,t={} v={at} {at}", at % 9));
    }
    let paused = pair.twinline.until("it stands still", |status| status["paused"][0]["code"] == "unauthorized");
    assert_eq!(paused["paused"][0]["what"], "destination");
    let asked = pair.destination.writes("").len();
    crate::proxy::eventually("it is asked again", || {
        let now = pair.destination.writes("").len();
        if now > asked + 4 { Ok(()) } else { Err(format!("{now} requests")) }
    });
    pair.destination.set(|_| Reply::new(204, ""));
    pair.twinline.delivered(50);
    assert_eq!(pair.taken().len(), 50);
    assert_eq!(dead(&pair.twinline, ""), []);
    assert_eq!((pair.told("destination-paused").len(), pair.told("destination-resumed").len()), (1, 1));
}

/// What InfluxDB 2.x refuses with the whole batch: known before it is sent.
#[test]
fn check_38_one_line_that_influxdb_2_would_refuse_with_all_others_is_put_aside_alone() {
    let name = "reserved";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    source.create(name);
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let line = |at: u64| match at {
        2_345 => "m,_field=x v=1 2345\n".to_owned(),
        _ => format!("m v={at} {at}\n"),
    };
    let body: String = (0..5_000).map(line).collect();
    assert_eq!(twinline.call(&format!("POST /write?db={name}"), &[], body).status, 204);
    let status = twinline.settled(5_000);
    assert_eq!((&status["lines"]["delivered"], &status["lines"]["dead_lettered"]), (&4_999.into(), &1.into()));
    assert_eq!(dead(&twinline, name), [("m,_field=x v=1 2345".to_owned(), "bad-name".to_owned())]);
    assert_eq!(destination.cells(name).len(), 4_999);
    let metrics = twinline.admin("/metrics").text();
    assert!(!metrics.contains("outcome=\"refused\""), "nothing was refused: {metrics}");
}

/// One line ends the server's process each time. It is found, with everything else delivered, in a bounded number of deaths.
#[test]
fn a_line_that_kills_the_destination_is_found_and_put_aside() {
    let pair = pair();
    pair.write("d", "m v=0i 1");
    pair.twinline.delivered(1);
    pair.destination.set(|write: &Write| match write.body.contains("v=3i") {
        true => Reply::Die(Duration::from_millis(100)),
        false => Reply::new(204, ""),
    });
    let body: String = (0..8).map(|at| format!("m v={at}i {}\n", at + 10)).collect();
    pair.write("d", &body);
    for at in 0..10 {
        pair.write("d", &format!("m,t={at} v=1i {at}"));
    }
    let status = pair.twinline.settled(19);
    assert_eq!(status["lines"]["dead_lettered"], 1, "{status:#}");
    assert_eq!(dead(&pair.twinline, ""), [("m v=3i 13".to_owned(), "destination-died".to_owned())]);
    assert_eq!(pair.taken().len(), 18);
    let (probes, deaths) = pair.destination.probes_and_deaths();
    eprintln!("{deaths} deaths, {probes} writes of nothing");
    assert!((5..=16).contains(&deaths), "{deaths} deaths");
}

/// A destination that dies of every write is broken itself: no line is to blame, and none is put aside.
#[test]
fn a_destination_that_dies_of_everything_for_a_while_costs_no_line() {
    let pair = pair();
    pair.write("d", "m v=0 1");
    pair.twinline.delivered(1);
    let mut left = 12;
    pair.destination.set(move |_| {
        if left == 0 {
            return Reply::new(204, "");
        }
        left -= 1;
        Reply::Die(Duration::from_millis(60))
    });
    pair.write("d", "m v=1 2\nm v=2 3\nm v=3 4");
    pair.twinline.delivered(4);
    assert_eq!(pair.taken().len(), 4);
    let (_, deaths) = pair.destination.probes_and_deaths();
    assert_eq!(deaths, 12);
    pair.source.create_database("later");
}

/// A real server that is killed under load, again and again, buries nothing.
#[test]
fn kills_of_a_real_destination_bury_nothing() {
    let (source, destination) = (shared(Kind::One, 0), Database::start(Kind::One));
    source.create("killed");
    destination.create("killed");
    let twinline = Setup::new(source.section(), destination.section()).start();
    let mut lines = 0;
    for round in 0..5 {
        for write in 0..40 {
            let body: String = (0..200).map(|at| format!("m,t={} v={round} {}\n", at % 5, write * 1000 + at)).collect();
            assert_eq!(twinline.call("POST /write?db=killed", &[], body).status, 204);
            lines += 200;
        }
        destination.stop(Signal::KILL);
        destination.restart();
    }
    twinline.delivered(lines);
    assert!(twinline::cell::compare(source.cells("killed"), destination.cells("killed")).is_empty());
}

/// What a process before us may have been sending is tried as often as anything else, and the reason shown is what the
/// destination says now.
#[test]
fn a_place_that_was_missing_before_a_restart_goes_on_as_soon_as_it_is_there() {
    let missing = |status, what: &str| Reply::new(status, &format!("{{\"error\":\"{what}\"}}\n"));
    let mut pair = pair_with("1h");
    pair.destination.set(move |_| missing(404, "database not found: \\\"d\\\""));
    pair.write("d", "m v=1 1");
    pair.twinline.until("it stands still", |status| status["paused"][0]["code"] == "database-missing");
    assert_eq!(pair.twinline.stop(Signal::TERM).code(), Some(143));
    pair.twinline.start_again();
    pair.twinline.until("it stands still again", |status| status["paused"][0]["code"] == "database-missing");
    pair.destination.set(move |_| missing(500, "retention policy not found: autogen"));
    pair.twinline.until("the present reason", |status| status["paused"][0]["code"] == "policy-missing");
    pair.destination.set(|_| Reply::new(204, ""));
    pair.twinline.delivered(1);
    assert_eq!(pair.taken(), ["m v=1 1"]);
}

/// Two values of one cell in one batch, which is sent in parts: the part with the older one gets no answer, and takes
/// effect late. The newer value stands in the end.
#[test]
fn an_older_value_that_takes_effect_late_does_not_overwrite_the_newer_one_of_its_batch() {
    const LATE: Duration = Duration::from_millis(1500);
    let pair = pair_with("2s");
    pair.write("d", "m v=0i 9");
    pair.twinline.delivered(1);
    let mut lost = false;
    pair.destination.set(move |write: &Write| match write.body.as_str() {
        "m v=1i 1\nm v=2i 1\n" => Reply::new(413, "{\"error\":\"Request Entity Too Large\"}\n"),
        "m v=1i 1\n" if !std::mem::replace(&mut lost, true) => Reply::Close,
        _ => Reply::new(204, ""),
    });
    pair.write("d", "m v=1i 1\nm v=2i 1");
    pair.twinline.delivered(3);
    let writes = pair.destination.writes("");
    let mut effects: Vec<_> = writes
        .iter()
        .filter(|write| write.body.contains(" 1\n"))
        .filter_map(|write| match write.status {
            0 => Some((write.at + LATE, write.body.as_str())),
            204 => Some((write.at, write.body.as_str())),
            _ => None,
        })
        .collect();
    effects.sort();
    assert!(writes.iter().any(|write| write.status == 413), "sent in parts: {writes:?}");
    let older = effects.iter().filter(|(_, body)| *body == "m v=1i 1\n").count();
    assert!(older >= 2, "lost, and sent again: {effects:?}");
    assert_eq!(effects.last().map(|(_, body)| *body), Some("m v=2i 1\n"), "{effects:?}");
}

/// One route stands still and holds the floors, so that a restart delivers again what another one has. After an orderly stop
/// no request can be under way: nothing waits, and the newest value stands at once.
#[test]
fn after_an_orderly_stop_no_value_waits_for_an_older_one() {
    let mut pair = pair_with("1h");
    pair.source.create_database("e");
    // What the destination was told last of the cell that is written again and again.
    let stands = |pair: &Pair, value: &str| {
        crate::proxy::eventually("the newest value stands", || {
            let writes = pair.destination.writes("");
            let taken = writes.iter().filter(|write| write.status == 204).flat_map(|write| write.body.lines());
            match taken.last() {
                Some(last) if last == value => Ok(()),
                last => Err(format!("{last:?}")),
            }
        });
    };
    let standing = |write: &Write| match write.body.as_str() {
        body if body.starts_with("other") => Reply::new(404, "{\"error\":\"database not found: \\\"e\\\"\"}\n"),
        _ => Reply::new(204, ""),
    };
    pair.destination.set(standing);
    pair.write("e", "other v=1 1");
    pair.twinline.until("it stands still", |status| status["paused"][0]["code"] == "database-missing");
    for value in 1..=5 {
        let line = format!("m v={value}i 7");
        pair.write("d", &line);
        stands(&pair, &line);
    }
    assert_eq!(pair.twinline.stop(Signal::TERM).code(), Some(143));
    pair.twinline.start_again();
    pair.twinline.until("it stands still again", |status| status["paused"][0]["code"] == "database-missing");
    stands(&pair, "m v=5i 7");
    pair.write("d", "m v=6i 7");
    stands(&pair, "m v=6i 7");
    pair.destination.set(|_| Reply::new(204, ""));
    pair.twinline.delivered(7);
}
