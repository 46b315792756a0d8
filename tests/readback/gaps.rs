//! Gaps: a queue that takes nothing; a destination that was away for longer than the log is kept for it.

use rustix::process::Signal;

use crate::database::{Database, Kind, shared};
use crate::proxy::Setup;
use crate::writing::{AT_ONCE, MONDAY_NS, Writing, equal, healed, setup, told};

#[test]
fn what_the_queue_could_not_take_is_read_back_while_clients_overwrite_it() {
    let name = "rbgap";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    [&source, &destination].into_iter().for_each(|database| database.create(name));
    let mut setup = setup(source.section(), &destination);
    setup.queue = "stall_ms = 200".to_owned();
    let mut twinline = setup.start();
    let writing = Writing::begin(&twinline, name);
    writing.more(20);
    twinline.hold("/wal/seg/");
    twinline.until("there are gaps", |status| status["lines"]["gap"].as_u64() > Some(100));
    twinline.hold("");
    writing.more(20);
    let status = twinline.until("some was read back", |status| status["lines"]["read_back"].as_u64() > Some(0));
    assert_eq!(status["read_back"]["done"][0]["what"], "gap", "{status:#}");
    // Again, and the program dies over it.
    twinline.hold("/wal/seg/");
    twinline.until("there are gaps again", |status| status["lines"]["gap"].as_u64() > Some(100));
    twinline.hold("");
    writing.more(10);
    twinline.stop(Signal::KILL);
    twinline.start_again();
    writing.goes_to(&twinline);
    writing.more(20);
    writing.end();
    let status = healed(&twinline);
    let cells = equal(&source, &destination, name);
    eprintln!("{} lines of gaps and doubt were read back; {cells} cells are equal", status["lines"]["read_back"]);
}

#[test]
fn what_a_destination_that_was_away_has_missed_is_read_back() {
    let name = "rbbacklog";
    let (source, main, second) = (shared(Kind::One, 0), shared(Kind::Two, 0), Database::start(Kind::Two));
    [&*source, &*main, &second].into_iter().for_each(|database| database.create(name));
    let named = |id: &str, database: &Database| format!("id = \"{id}\"\n{}", database.section());
    let mut setup = Setup { readback: AT_ONCE.to_owned(), ..Setup::new(source.section(), named("main", &main)) };
    setup.others.push(named("second", &second));
    setup.others_delivery = "\nroute_backlog = \"1MiB\"".to_owned();
    let twinline = setup.start();
    let body = |round: i64| -> String {
        let line = |at: i64| {
            format!("m,host=host-{},rack=rack v={round}i,w={at}i {}\n", at % 20, MONDAY_NS + at * 1_000_000_000)
        };
        (0..1000).map(line).collect()
    };
    let write = |round| {
        let answer = twinline.call(&format!("POST /write?db={name}"), &[], body(round));
        assert_eq!(answer.status, 204, "{}", answer.text());
    };
    write(0);
    second.stop(Signal::KILL);
    let round = std::cell::Cell::new(0);
    twinline.until("it has a gap", |status| {
        round.set(round.get() + 1);
        write(round.get());
        status["lines"]["gap"].as_u64() > Some(0)
    });
    second.restart();
    // Where nothing waits for it any more, the next write is what it is tried with.
    twinline.until("it takes writes again", |status| {
        round.set(round.get() + 1);
        write(round.get());
        status["destinations"][1]["paused"].as_array().is_some_and(Vec::is_empty)
    });
    let status = healed(&twinline);
    assert!(status["lines"]["read_back"].as_u64() > Some(1000), "{status:#}");
    equal(&source, &main, name);
    equal(&source, &second, name);
    let texts = told(&twinline, "read-back");
    assert!(!texts.is_empty() && texts.iter().all(|text| text.starts_with("destination second: ")), "{texts:?}");
}
