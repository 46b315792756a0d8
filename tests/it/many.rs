//! More than one destination from one queue: each gets everything by itself, and none waits for another.

use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use twinline::sandbox::{Faults, Options, Sandbox};

use crate::answers::events;
use crate::proxy::{PATIENCE, Setup, Twinline, eventually};

struct Rig {
    source: Sandbox,
    main: Sandbox,
    second: Sandbox,
    twinline: Twinline,
}

pub(crate) fn sandbox() -> Sandbox {
    let sandbox = Sandbox::spawn_thread(Options::default()).unwrap();
    sandbox.create_database("d");
    sandbox
}

pub(crate) fn lines_of(sandbox: &Sandbox) -> String {
    format!("url = \"{}\"\nkind = \"influxdb1\"\nrequest_timeout = \"2s\"", sandbox.url())
}

pub(crate) fn named(id: &str, sandbox: &Sandbox) -> String {
    format!("id = \"{id}\"\n{}", lines_of(sandbox))
}

const LITTLE: &str =
    "\nbatch_bytes = \"64KiB\"\npending_bytes = \"1MiB\"\nlane_lead = \"1MiB\"\nroute_backlog = \"1MiB\"";
/// For `main`, which gets everything however busy the machine is.
pub(crate) const LITTLE_MEMORY: &str = "\nbatch_bytes = \"64KiB\"\npending_bytes = \"1MiB\"\nlane_lead = \"1MiB\"";
/// For the others.
pub(crate) const LITTLE_LOG: &str = "\nroute_backlog = \"1MiB\"";

/// `main` and `second`; little may wait in memory, and 1 MiB of the log for the second.
fn rig() -> Rig {
    let (source, main, second) = (sandbox(), sandbox(), sandbox());
    let mut setup = Setup::new(lines_of(&source), named("main", &main));
    setup.delivery.push_str(LITTLE_MEMORY);
    setup.others_delivery.push_str(LITTLE_LOG);
    setup.others.push(named("second", &second));
    let twinline = setup.start();
    Rig { source, main, second, twinline }
}

fn write(twinline: &Twinline, round: usize) {
    let line = |at: usize| {
        let time = if at.is_multiple_of(2) { at } else { round * 10_000 + at };
        format!("m,host=host-number-{},rack=rack v={round}i,w={at}i {time}\n", at % 20)
    };
    let body: String = (0..1000).map(line).collect();
    let answer = twinline.call("POST /write?db=d", &[], body);
    assert_eq!(answer.status, 204, "{}", answer.text());
}

pub(crate) fn is_equal(source: &Sandbox, destination: &Sandbox) -> Result<(), String> {
    let differences = twinline::cell::compare(source.cells("d", ""), destination.cells("d", ""));
    if differences.is_empty() && differences.equal > 0 { Ok(()) } else { Err(differences.to_string()) }
}

/// The part of one destination in the status.
pub(crate) fn of(status: &Value, id: &str) -> Value {
    let all = status["destinations"].as_array().unwrap();
    all.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("{id}: {status:#}")).clone()
}

pub(crate) fn until(twinline: &Twinline, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let status = twinline.status();
        let own = of(&status, id);
        if is_so(&own) {
            return own;
        }
        assert!(Instant::now() < end, "{status:#}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

pub(crate) fn delivered(twinline: &Twinline, id: &str, lines: u64) -> Value {
    until(twinline, id, |own| own["lines"]["delivered"] == lines && own["lines"]["queued"] == 0)
}

pub(crate) const DEAD: fn() -> Faults = || Faults { refuse: true, ..Faults::default() };

#[test]
fn both_get_everything_also_over_kills_and_each_is_shown_by_itself() {
    let mut rig = rig();
    for round in 0..6 {
        write(&rig.twinline, 2 * round);
        rig.twinline.stop(Signal::KILL);
        rig.twinline.start_again();
        write(&rig.twinline, 2 * round + 1);
    }
    for (id, destination) in [("main", &rig.main), ("second", &rig.second)] {
        delivered(&rig.twinline, id, 12_000);
        eventually("it is equal", || is_equal(&rig.source, destination));
    }
    let status = rig.twinline.status();
    assert_eq!((&status["lines"]["delivered"], &status["lines"]["queued"]), (&24_000.into(), &0.into()), "{status:#}");
    assert_eq!(of(&status, "second")["url"], rig.second.url());
    let metrics = rig.twinline.admin("/metrics").text();
    for id in ["main", "second"] {
        assert!(metrics.contains(&format!("twinline_queue_lines{{destination=\"{id}\"}} 0")), "{metrics}");
    }
    let shown = rig.twinline.command(&["status"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("[main]") && shown.contains("[second]") && shown.contains("second  oldest line"), "{shown}");
    assert_eq!(rig.twinline.admin("/readyz").status, 200);
}

#[test]
fn one_that_is_dead_is_a_gap_for_itself_alone_and_goes_on_when_it_is_back() {
    let mut rig = rig();
    rig.second.set_faults(DEAD());
    for round in 0..60 {
        write(&rig.twinline, round);
    }
    delivered(&rig.twinline, "main", 60_000);
    is_equal(&rig.source, &rig.main).unwrap();
    let sum = |own: &Value| ["queued", "gap"].map(|state| own["lines"][state].as_u64().unwrap()).iter().sum::<u64>();
    // The gap is looked up after the lanes: while it grows, lines may show in both.
    let adds_up = |own: &Value| own["lines"]["gap"].as_u64() > Some(20_000) && sum(own) == 60_000;
    let own = until(&rig.twinline, "second", adds_up);
    assert_eq!(own["lines"]["delivered"], 0, "{own:#}");
    let main = of(&rig.twinline.status(), "main");
    assert!(main["lines"]["gap"] == 0 && main["paused"] == Value::Array(vec![]), "{main:#}");
    let ready = rig.twinline.admin("/readyz").text();
    assert!(ready.contains("second: destination"), "{ready}");
    // Dead through a kill, too.
    rig.twinline.stop(Signal::KILL);
    rig.twinline.start_again();
    write(&rig.twinline, 60);
    delivered(&rig.twinline, "main", 61_000);
    rig.second.set_faults(Faults::default());
    let own = until(&rig.twinline, "second", |own| own["lines"]["queued"] == 0);
    let lines = |state: &str| own["lines"][state].as_u64().unwrap();
    assert_eq!(lines("delivered") + lines("gap"), 61_000, "{own:#}");
    write(&rig.twinline, 61);
    delivered(&rig.twinline, "second", lines("delivered") + 1000);
    delivered(&rig.twinline, "main", 62_000);
    // Written in each round: the newest values stand, whatever is in the gap.
    let newest = |sandbox: &Sandbox| -> Vec<_> {
        sandbox.cells("d", "").into_iter().filter(|cell| cell.time_ns < 1000 && cell.time_ns % 2 == 0).collect()
    };
    let differences = twinline::cell::compare(newest(&rig.source), newest(&rig.second));
    assert!(differences.is_empty() && differences.equal == 1000, "{differences}");
}

#[test]
fn operators_pause_one_by_its_name() {
    let rig = rig();
    let run = |arguments: &[&str]| {
        let done = rig.twinline.command(arguments);
        (done.status.code(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
    };
    let (code, said) = run(&["queue", "pause"]);
    assert!(code != Some(0) && said.contains("main, second") && said.contains("--destination"), "{said}");
    let (code, said) = run(&["queue", "pause", "--destination", "second"]);
    assert_eq!(code, Some(0), "{said}");
    write(&rig.twinline, 0);
    delivered(&rig.twinline, "main", 1000);
    until(&rig.twinline, "second", |own| own["lines"]["queued"] == 1000 && own["paused"][0]["code"] == "operator");
    let (code, said) = run(&["queue", "drain"]);
    assert!(code == Some(3) && said.contains("paused by an operator"), "{said}");
    let (code, said) = run(&["queue", "drain", "--destination", "main"]);
    assert_eq!(code, Some(0), "{said}");
    let (_, said) = run(&["queue", "status"]);
    assert!(said.contains("main") && said.contains("second") && said.contains("PAUSED"), "{said}");
    let (code, said) = run(&["queue", "resume", "--destination", "third"]);
    assert!(code != Some(0) && said.contains("main, second"), "{said}");
    assert_eq!(run(&["queue", "resume", "--destination", "second"]).0, Some(0));
    delivered(&rig.twinline, "second", 1000);
    is_equal(&rig.source, &rig.second).unwrap();
    let told = events(&rig.twinline, 0);
    assert!(told.iter().any(|event| event["text"].as_str().unwrap().contains("paused delivery to second")), "{told:?}");
}

/// The configuration with `second` as well, whether it has it or not.
fn with_second(text: &str, second: &Sandbox) -> String {
    let text = without_second(text).replace("[destination]\n", "[[destination]]\n");
    let more = format!(
        "[[destination]]\n{}\n[destination.delivery]\nretry_max = \"500ms\"\nlate_write_max = \"2s\"{LITTLE}\n[queue]\n",
        named("second", second)
    );
    text.replace("[queue]\n", &more)
}

fn without_second(text: &str) -> String {
    let begins = text.find("[[destination]]\nid = \"second\"");
    let ends = text.find("[queue]\n").unwrap();
    begins.map_or_else(|| text.to_owned(), |begins| [&text[..begins], &text[ends..]].concat())
}

pub(crate) fn told(twinline: &Twinline, kind: &str) -> Vec<String> {
    let all = events(twinline, 0).into_iter().filter(|event| event["kind"] == kind);
    all.map(|event| event["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn one_that_comes_begins_at_the_end_and_one_that_was_away_gets_a_gap() {
    let (source, main, second) = (sandbox(), sandbox(), sandbox());
    let mut setup = Setup::new(lines_of(&source), named("main", &main));
    setup.delivery.push_str(LITTLE);
    setup.queue = "segment_size = \"1MiB\"\nmax_size = \"16MiB\"".to_owned();
    let mut twinline = setup.start();
    (0..3).for_each(|round| write(&twinline, round));
    delivered(&twinline, "main", 3000);
    twinline.stop(Signal::TERM);
    twinline.start_again_with(|text| with_second(&text, &second), "");
    write(&twinline, 3);
    delivered(&twinline, "second", 1000);
    delivered(&twinline, "main", 4000);
    let own = of(&twinline.status(), "second");
    assert!(own["began"]["lsn"].as_u64() > Some(0), "{own:#}");
    assert!(own["not_covered"].to_string().contains("what came before is not there"), "{own:#}");
    assert_eq!(told(&twinline, "destination-began").len(), 1);
    // It is where it was, also after a kill.
    twinline.stop(Signal::KILL);
    twinline.start_again();
    write(&twinline, 4);
    delivered(&twinline, "second", 2000);
    assert_eq!(told(&twinline, "destination-began").len(), 1);
    assert!(of(&twinline.status(), "main")["began"].is_null());

    second.set_faults(DEAD());
    (5..7).for_each(|round| write(&twinline, round));
    delivered(&twinline, "main", 7000);
    twinline.stop(Signal::TERM);
    twinline.start_again_with(|text| without_second(&text), "");
    let said = eventually("it is told", || {
        told(&twinline, "destination-removed").pop().ok_or_else(|| "nothing is told".to_owned())
    });
    assert!(said.contains("destination second") && said.contains("2000 lines"), "{said}");
    // The log is used again beyond where it stood.
    for round in 7..127 {
        write(&twinline, round);
    }
    delivered(&twinline, "main", 127_000);
    let held = || std::fs::read_dir(twinline.data().join("wal/seg")).unwrap().count();
    eventually("the log is not kept for it", || if held() <= 6 { Ok(()) } else { Err(format!("{} files", held())) });
    twinline.stop(Signal::TERM);
    second.set_faults(Faults::default());
    twinline.start_again_with(|text| with_second(&text, &second), "");
    write(&twinline, 127);
    let own = until(&twinline, "second", |own| own["lines"]["queued"] == 0 && own["gaps_unknown"] == 1);
    let gap = &own["gap_rows"][0];
    assert_eq!(gap["cause"], "destination-away", "{own:#}");
    let times = ["from_ns", "to_ns"].map(|edge| gap[edge].as_i64().unwrap());
    assert!(0 < times[0] && times[0] < times[1], "{gap}");
    assert_eq!(
        (&own["statements_not_mirrored"], &own["statements"][0]["class"]),
        (&1.into(), &"unread".into()),
        "{own:#}"
    );
    let said = told(&twinline, "destination-back");
    assert!(said.len() == 1 && said[0].contains("are a gap"), "{said:?}");
    assert!(!told(&twinline, "log-damage").iter().any(|text| text.contains("damaged")), "nothing was damaged");
    // Once, also after another start.
    twinline.stop(Signal::KILL);
    twinline.start_again();
    write(&twinline, 128);
    let own = until(&twinline, "second", |own| own["lines"]["queued"] == 0 && own["lines"]["delivered"] != 0);
    assert_eq!((&own["gap_rows_total"], told(&twinline, "destination-back").len()), (&1.into(), 1), "{own:#}");
    delivered(&twinline, "main", 129_000);
    is_equal(&source, &main).unwrap();
}

#[test]
fn what_a_full_queue_could_not_take_is_a_gap_also_of_one_that_was_away() {
    let (source, main, second) = (sandbox(), sandbox(), sandbox());
    let mut setup = Setup::new(lines_of(&source), named("main", &main));
    setup.delivery.push_str(LITTLE);
    setup.queue = "segment_size = \"1MiB\"\nmax_size = \"4MiB\"\nreserve_free = \"0\"".to_owned();
    let mut twinline = setup.start();
    twinline.stop(Signal::TERM);
    twinline.start_again_with(|text| with_second(&text, &second), "");
    write(&twinline, 0);
    delivered(&twinline, "second", 1000);
    twinline.stop(Signal::TERM);
    twinline.start_again_with(|text| without_second(&text), "");
    assert!(twinline.command(&["queue", "pause"]).status.success());
    let gap = |own: &Value| own["lines"]["gap"].as_u64().unwrap();
    let full = (1..200).any(|round| {
        write(&twinline, round);
        gap(&of(&twinline.status(), "main")) > 0
    });
    assert!(full, "{:#}", twinline.status());
    let lost = until(&twinline, "main", |own| own["gap_rows_total"] == 1);
    twinline.stop(Signal::TERM);
    twinline.start_again_with(|text| with_second(&text, &second), "");
    let own = until(&twinline, "second", |own| own["lines"]["queued"] == 0);
    assert_eq!((gap(&own), &own["gap_rows"][0]["cause"]), (gap(&lost), &"queue-full".into()), "{own:#}");
}
