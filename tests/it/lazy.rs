//! `queue.outcomes = "lazy"`: clients hear before the outcome is durable. What a crash leaves is doubt, never nothing.

use rustix::process::Signal;
use serde_json::Value;

use crate::database::{Database, Kind, shared};
use crate::proxy::{Setup, Twinline};

fn started(source: &Database, destination: &Database) -> Twinline {
    let mut setup = Setup::new(source.section(), destination.section());
    setup.queue = "outcomes = \"lazy\"".to_owned();
    setup.start()
}

fn write(twinline: &Twinline, name: &str, at: u32) {
    let answer = twinline.call(&format!("POST /write?db={name}&precision=ns"), &[], format!("m f={at} {at}"));
    assert_eq!(answer.status, 204, "{}", answer.text());
}

fn lines(status: &Value, state: &str) -> u64 {
    status["lines"][state].as_u64().unwrap()
}

#[test]
fn after_a_kill_each_acknowledged_line_is_delivered_or_in_doubt() {
    let name = "lazykill";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    for database in [&source, &destination] {
        database.create(name);
    }
    let mut twinline = started(&source, &destination);
    let (mut written, mut doubt) = (0, 0);
    for round in 0..8 {
        for _ in 0..=round {
            written += 1;
            write(&twinline, name, written);
        }
        twinline.stop(Signal::KILL);
        twinline.start_again();
        let status = twinline.until("all is told", |status| {
            status["queue"]["counting"] == false
                && ["delivered", "doubt"].map(|state| lines(status, state)).iter().sum::<u64>() == u64::from(written)
        });
        doubt = lines(&status, "doubt");
    }
    assert_eq!(source.cells(name).len(), written as usize, "the source has them all");
    assert!(doubt > 0, "a kill right behind the answer meets an outcome that is not durable");
}

#[test]
fn an_orderly_end_leaves_none_in_doubt() {
    let name = "lazystop";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    for database in [&source, &destination] {
        database.create(name);
    }
    let mut twinline = started(&source, &destination);
    for round in 0..6 {
        write(&twinline, name, round);
        assert_eq!(twinline.stop(Signal::TERM).code(), Some(143));
        twinline.start_again();
    }
    let status = twinline.quiet();
    assert_eq!((lines(&status, "delivered"), lines(&status, "doubt")), (6, 0), "{:#}", status["lines"]);
    assert_eq!(destination.cells(name).len(), 6);
}
