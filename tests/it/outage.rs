//! The destination goes away under load and comes back: no client hears of it, and both sides end equal to the record.

use std::time::Duration;

use rustix::process::Signal;

use crate::database::{Database, Kind, shared};
use crate::load::{number, under_load};
use crate::proxy::Setup;

fn outage(source: Kind, destination: Kind, signal: Signal, name: &str) {
    let source = shared(source, 0);
    // Its own: nobody else must feel this.
    let destination = Database::start(destination);
    source.create(name);
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let away = Duration::from_secs(number("TWINLINE_OUTAGE_S", 5));
    let record = under_load(&twinline.addr, &source, name, || {
        twinline.until("writes are delivered", |status| status["lines"]["delivered"] != 0);
        destination.stop(signal);
        let status = twinline.until("the outage is shown", |status| status["paused"][0]["what"] == "destination");
        assert_ne!(status["paused"][0]["reason"], "");
        std::thread::sleep(away);
        let status = twinline.status();
        assert!(status["lines"]["queued"].as_u64() > Some(0), "{status:#}");
        destination.restart();
        twinline.until("delivery goes on", |status| status["paused"].as_array().unwrap().is_empty());
    });
    twinline.delivered(record.lines);
    record.assert_held("source", &source.cells(name));
    record.assert_held("destination", &destination.cells(name));
    eprintln!("{} lines were written around an outage of {away:?}", record.lines);
}

#[test]
fn influxdb_23397_check_31_a_stopped_destination_is_caught_up_with() {
    outage(Kind::One, Kind::Two, Signal::TERM, "outage_stopped");
}

#[test]
fn check_31_a_killed_destination_is_caught_up_with() {
    outage(Kind::Two, Kind::One, Signal::KILL, "outage_killed");
}
