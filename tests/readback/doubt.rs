//! Doubt, made by a source whose answers are lost.

use std::sync::atomic::Ordering;

use rustix::process::Signal;

use crate::between::Way;
use crate::database::{Database, Kind, shared};
use crate::proxy::{Setup, Twinline, eventually};
use crate::victoria_server::Victoria;
use crate::writing::{AT_ONCE, MONDAY_NS, Writing, equal, healed, setup, told};

fn write(twinline: &Twinline, name: &str, line: &str) -> u16 {
    twinline.call(&format!("POST /write?db={name}"), &[], line).status
}

/// Clients go on overwriting the same cells; answers are lost; the program is killed, and the destination restarted, meanwhile.
fn comes_back(source: Kind, destination: Kind, name: &str) {
    // Their own: others must not feel this.
    let (source, destination) = (Database::start(source), Database::start(destination));
    [&source, &destination].into_iter().for_each(|database| database.create(name));
    let (way, section) = Way::to(&source);
    let mut twinline = setup(section, &destination).start();
    let writing = Writing::begin(&twinline, name);
    writing.more(20);
    way.lose_percent.store(10, Ordering::SeqCst);
    twinline.until("some is in doubt", |status| status["lines"]["doubt"].as_u64() > Some(100));
    twinline.until("some was read back", |status| status["lines"]["read_back"].as_u64() > Some(0));
    for round in 0..3 {
        writing.more(20);
        twinline.stop(Signal::KILL);
        twinline.start_again();
        writing.goes_to(&twinline);
        writing.more(20);
        if round == 1 {
            destination.stop(Signal::KILL);
            writing.more(20);
            destination.restart();
        }
    }
    way.lose_percent.store(0, Ordering::SeqCst);
    writing.more(20);
    writing.end();
    let status = healed(&twinline);
    let cells = equal(&source, &destination, name);
    assert!(status["lines"]["read_back"].as_u64() > Some(100) && cells > 1000, "{cells} {status:#}");
    let [text, ..] = &told(&twinline, "read-back")[..] else { panic!("it is told") };
    assert!(text.contains(" copied again from the source"), "{text}");
    let metrics = twinline.admin("/metrics").text();
    assert!(metrics.contains("twinline_doubt_lines{destination=\"main\"} 0\n"), "{metrics}");
    eprintln!(
        "{} lines delivered, {} read back, in {} parts since the last start; {cells} cells are equal",
        status["lines"]["delivered"], status["lines"]["read_back"], status["read_back"]["parts"]
    );
}

#[test]
fn doubt_returns_to_zero_from_1_to_2_while_clients_overwrite_it_and_processes_die() {
    comes_back(Kind::One, Kind::Two, "rb12");
}

#[test]
fn doubt_returns_to_zero_from_2_to_2_while_clients_overwrite_it_and_processes_die() {
    comes_back(Kind::Two, Kind::Two, "rb22");
}

/// What is in doubt again while it is read back is read back once more.
#[test]
fn a_region_that_grows_while_it_is_read_back_is_read_again() {
    let name = "rbgrows";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    [&source, &destination].into_iter().for_each(|database| database.create(name));
    let (way, section) = Way::to(&source);
    let twinline = setup(section, &destination).start();
    assert_eq!(write(&twinline, name, &format!("m v=1 {MONDAY_NS}")), 204);
    way.hold_reads.store(true, Ordering::SeqCst);
    way.lose.store(1, Ordering::SeqCst);
    assert_ne!(write(&twinline, name, &format!("m v=2 {MONDAY_NS}")), 204);
    eventually("it is read back", || {
        if way.reads.load(Ordering::SeqCst) > 0 { Ok(()) } else { Err(format!("{:#}", twinline.status())) }
    });
    let status = twinline.until("its region is held", |status| status["holds"][0]["measurement"] == "m");
    assert_eq!((&status["lines"]["doubt"], &status["dirty_regions"]), (&1.into(), &1.into()), "{status:#}");
    way.lose.store(1, Ordering::SeqCst);
    assert_ne!(write(&twinline, name, &format!("m v=3 {MONDAY_NS}")), 204);
    twinline.until("that is doubt as well", |status| status["lines"]["doubt"] == 2);
    way.hold_reads.store(false, Ordering::SeqCst);
    let status = healed(&twinline);
    assert_eq!(status["lines"]["read_back"], 2, "{status:#}");
    assert!(status["read_back"]["parts"].as_u64() >= Some(2), "the second one needs a copy of its own: {status:#}");
    assert_eq!(equal(&source, &destination, name), 1);
    let shown = String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
    assert!(
        shown.contains("doubt                       0\n") && shown.contains("read back                   2\n"),
        "{shown}"
    );
    assert!(shown.contains("read back, no doubt any more: 2 lines of 2 rows (copied)"), "{shown}");
}

/// What the source never took is not there afterwards, and no doubt any more.
#[test]
fn what_the_source_never_took_is_no_doubt_any_more() {
    let name = "rbnever";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    [&source, &destination].into_iter().for_each(|database| database.create(name));
    let (way, section) = Way::to(&source);
    let twinline = setup(section, &destination).start();
    assert_eq!(write(&twinline, name, &format!("m,host=a v=1 {MONDAY_NS}")), 204);
    way.drop.store(2, Ordering::SeqCst);
    assert_ne!(write(&twinline, name, &format!("m,host=a v=2 {MONDAY_NS}")), 204);
    assert_ne!(write(&twinline, name, &format!("new v=2 {MONDAY_NS}")), 204);
    twinline.until("both are doubt", |status| {
        status["lines"]["doubt"].as_u64().unwrap() + status["lines"]["read_back"].as_u64().unwrap() == 2
    });
    healed(&twinline);
    assert_eq!(equal(&source, &destination, name), 1);
}

/// A delete of the doubt's own cells, logged while the doubt may still take effect, takes nothing away that the source has.
#[test]
fn a_delete_behind_the_doubt_leaves_what_the_source_has() {
    let name = "rbdelete";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    [&source, &destination].into_iter().for_each(|database| database.create(name));
    let (way, section) = Way::to(&source);
    let twinline = setup(section, &destination).start();
    for at in 0..10 {
        assert_eq!(write(&twinline, name, &format!("m v={at} {}", MONDAY_NS + at)), 204);
    }
    way.lose.store(1, Ordering::SeqCst);
    assert_ne!(write(&twinline, name, &format!("m v=100 {MONDAY_NS}\nm v=101 {}", MONDAY_NS + 5)), 204);
    let q = crate::http::escape(&format!("DELETE FROM m WHERE time >= {} AND time < {}", MONDAY_NS + 2, MONDAY_NS + 6));
    assert_eq!(twinline.call(&format!("POST /query?db={name}&q={q}"), &[], "").status, 200);
    assert_eq!(write(&twinline, name, &format!("m v=7 {}", MONDAY_NS + 3)), 204);
    healed(&twinline);
    assert_eq!(equal(&source, &destination, name), 7);
}

#[test]
fn while_the_source_is_away_it_waits_and_says_why() {
    let name = "rbaway";
    let (source, destination) = (Database::start(Kind::One), shared(Kind::Two, 0));
    [&source, &*destination].into_iter().for_each(|database| database.create(name));
    let (way, section) = Way::to(&source);
    let twinline = setup(section, &destination).start();
    way.lose.store(1, Ordering::SeqCst);
    assert_ne!(write(&twinline, name, &format!("m v=2 {MONDAY_NS}")), 204);
    source.stop(Signal::TERM);
    let status = twinline.until("it says why", |status| status["read_back"]["waiting"][0]["why"].is_string());
    let waits = &status["read_back"]["waiting"][0];
    assert_eq!((&waits["what"], &waits["lines"]), (&format!("m of {name}").into(), &1.into()), "{status:#}");
    assert_eq!(status["lines"]["doubt"], 1, "{status:#}");
    let shown = String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
    assert!(shown.contains(&format!("waits: 1 lines, m of {name}: ")), "{shown}");
    source.restart();
    healed(&twinline);
    assert_eq!(equal(&source, &destination, name), 1);
}

/// A part that falls apart is no more than it was to a source that hangs: it waits, and says for what.
#[test]
fn a_source_that_hangs_is_asked_again_later_and_the_status_says_why() {
    let name = "rbhangs";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    [&source, &destination].into_iter().for_each(|database| database.create(name));
    let (way, section) = Way::to(&source);
    let mut setup = setup(section, &destination);
    setup.readback = format!("{AT_ONCE}\nhold_max = \"1s\"");
    let twinline = setup.start();
    way.hold_reads.store(true, Ordering::SeqCst);
    way.lose.store(1, Ordering::SeqCst);
    let lines = format!("m v=1 {MONDAY_NS}\nm v=2 {}", MONDAY_NS + 86_400_000_000_000);
    assert_ne!(write(&twinline, name, &lines), 204);
    eventually("it is asked again", || {
        if way.reads.load(Ordering::SeqCst) > 1 { Ok(()) } else { Err(format!("{:#}", twinline.status())) }
    });
    let status = twinline.status();
    let why = status["read_back"]["waiting"][0]["why"].as_str().unwrap_or_default();
    assert_eq!(why, "the source did not answer a query in 1 s", "{status:#}");
    way.hold_reads.store(false, Ordering::SeqCst);
    healed(&twinline);
    assert_eq!(equal(&source, &destination, name), 2);
}

/// One part goes at a time, of all destinations: who waits for that says so.
#[test]
fn a_destination_that_waits_for_the_part_of_another_says_so() {
    let name = "rbturn";
    let (source, one, other) = (shared(Kind::One, 0), shared(Kind::Two, 0), shared(Kind::Two, 1));
    [&source, &one, &other].into_iter().for_each(|database| database.create(name));
    let (way, section) = Way::to(&source);
    let mut setup = setup(section, &one);
    setup.destination = format!("id = \"main\"\n{}", setup.destination);
    setup.others.push(format!("id = \"second\"\n{}", other.section()));
    let twinline = setup.start();
    way.hold_reads.store(true, Ordering::SeqCst);
    way.lose.store(1, Ordering::SeqCst);
    assert_ne!(write(&twinline, name, &format!("m v=1 {MONDAY_NS}")), 204);
    twinline.until("one of the two waits for the other", |status| {
        let why = status["read_back"]["waits"].as_str().unwrap_or_default();
        why.contains("a part of another destination is read back")
    });
    way.hold_reads.store(false, Ordering::SeqCst);
    healed(&twinline);
    assert_eq!((equal(&source, &one, name), equal(&source, &other, name)), (1, 1));
}

#[test]
fn a_database_that_is_gone_from_the_source_is_told_and_no_doubt_any_more() {
    let name = "rbgone";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    [&source, &destination].into_iter().for_each(|database| database.create(name));
    let (way, section) = Way::to(&source);
    let mut setup = setup(section, &destination);
    setup.delivery = setup.delivery.replace("late_write_max = \"2s\"", "late_write_max = \"4s\"");
    let twinline = setup.start();
    way.lose.store(1, Ordering::SeqCst);
    assert_ne!(write(&twinline, name, &format!("m v=2 {MONDAY_NS}")), 204);
    source.query(&format!("DROP DATABASE {name}"));
    let status = healed(&twinline);
    assert_eq!(
        (&status["read_back"]["done"][0]["fate"], &status["lines"]["read_back"]),
        (&"gone".into(), &1.into()),
        "{status:#}"
    );
    let [text] = &told(&twinline, "read-back")[..] else { panic!("told once") };
    assert!(text.contains("not at the source any more"), "{text}");
}

#[test]
fn switched_off_it_leaves_doubt_where_it_is() {
    let name = "rboff";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    [&source, &destination].into_iter().for_each(|database| database.create(name));
    let (way, section) = Way::to(&source);
    let mut setup = setup(section, &destination);
    setup.readback = "enabled = false".to_owned();
    let mut twinline = setup.start();
    way.lose.store(1, Ordering::SeqCst);
    assert_ne!(write(&twinline, name, &format!("m v=2 {MONDAY_NS}")), 204);
    twinline.until("it is doubt", |status| status["dirty_regions"] == 1);
    twinline.stop(Signal::TERM);
    assert_eq!(destination.cells(name), []);
    twinline.start_again_with(|text| text.replace("enabled = false", AT_ONCE), "");
    healed(&twinline);
    assert_eq!(equal(&source, &destination, name), 1);
}

/// VictoriaMetrics says yes before it keeps: what it has lost with its process is copied once more.
#[test]
fn what_victoriametrics_loses_before_it_is_kept_is_copied_once_more() {
    let name = "rbvm";
    let (source, mut destination) = (shared(Kind::One, 0), Victoria::start());
    source.create(name);
    let (way, section) = Way::to(&source);
    let setup = Setup { readback: AT_ONCE.to_owned(), ..Setup::new(section, destination.section()) };
    let twinline = setup.start();
    way.lose.store(1, Ordering::SeqCst);
    assert_ne!(write(&twinline, name, &format!("m v=2 {MONDAY_NS}")), 204);
    twinline.until("it is copied", |status| status["read_back"]["parts"].as_u64() > Some(0));
    assert_eq!(twinline.status()["lines"]["doubt"], 1, "nothing is kept yet");
    destination.0.kill_and_start();
    let status = healed(&twinline);
    assert!(status["read_back"]["parts"].as_u64() >= Some(2), "{status:#}");
    let samples = destination.samples();
    let values: Vec<_> = samples.values().flatten().collect();
    assert_eq!(values, [&(MONDAY_NS / 1_000_000, 2.0)], "{samples:?}");
}
