//! A copy is killed with -9 at random moments, and goes on.

use std::time::Duration;

use serde_json::Value;

use crate::copied::{MONDAY_NS, document, equal, place, said, write};
use crate::database::{Database, Kind, shared};
use crate::proxy::Place;

const HOUR_NS: i64 = 3_600_000_000_000;

/// Many small shard groups, so that there are many chunks.
fn filled(name: &str) -> (std::sync::Arc<Database>, std::sync::Arc<Database>, u64) {
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    for database in [&source, &destination] {
        database.query(&format!("CREATE DATABASE {name} WITH DURATION INF SHARD DURATION 1h"));
    }
    let mut points = 0;
    for hour in 0..200 {
        let line = |at: i64| {
            let time = MONDAY_NS + hour * HOUR_NS + at * 1_000_000_007;
            format!("a,host=h{} f={at}.5,i={at}i {time}\nb s=\"{at}\" {time}", at % 5)
        };
        let body: Vec<String> = (0..40).map(line).collect();
        write(&source, name, &body.join("\n"));
        points += 80;
    }
    (source, destination, points)
}

fn points(place: &Place) -> u64 {
    let output = place.command(&["-o", "json", "backfill", "status"]);
    match output.status.code() {
        Some(0) => serde_json::from_slice::<Value>(&output.stdout).unwrap()["points"].as_u64().unwrap(),
        // Killed before it had begun.
        _ => 0,
    }
}

#[test]
fn killed_again_and_again_it_loses_nothing_and_repeats_no_chunk_that_was_written() {
    let name = "bkill";
    let (source, destination, all) = filled(name);
    let place = place(&source, destination.section());
    let wanted: u32 = std::env::var("TWINLINE_KILLS").map_or(10, |text| text.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(11);
    let (mut kills, mut before) = (0, 0);
    let mut begun = false;
    while kills < wanted {
        let words: &[&str] =
            if begun { &["backfill", "resume"] } else { &["backfill", "start", "--offline", "--db", name] };
        let mut child = place.begin(words);
        std::thread::sleep(Duration::from_millis(random.u64(100..450)));
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "it was through after {kills} kills: more points are needed");
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        let now = points(&place);
        assert!(now >= before, "progress went back: {before} to {now}");
        begun |= place.command(&["backfill", "status"]).status.success();
        before = now;
    }
    let done = document(&place, &["resume"], 0);
    assert_eq!(
        (&done["state"], &done["points"]),
        (&"done".into(), &all.into()),
        "each point is in one chunk: {done:#}"
    );
    assert_eq!(equal(&source, &destination, name), all / 2 * 3);
}

#[test]
fn an_interrupt_ends_it_cleanly_and_says_how_to_go_on() {
    let name = "bstop";
    let (source, destination, all) = filled(name);
    let place = place(&source, destination.section());
    let child = place.begin(&["backfill", "start", "--offline", "--db", name]);
    std::thread::sleep(Duration::from_millis(400));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert!(said(&output).contains("Next: twinline backfill resume"), "{}", said(&output));
    let other = place.command(&["backfill", "start", "--offline", "--db", name, "--into-existing", "merge"]);
    assert_eq!(other.status.code(), Some(4), "one is open: {}", said(&other));
    assert_eq!(document(&place, &["resume"], 0)["points"], all);
    equal(&source, &destination, name);
    let nothing = place.command(&["backfill", "resume"]);
    assert_eq!(nothing.status.code(), Some(4), "{}", said(&nothing));
}
