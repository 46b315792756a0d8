//! Traps for whoever copies beside live writes (facts of migration, §10: 1, 2 and 9): the value that was read is older than the one that
//! is there by the time it is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use twinline::cell::Value;

use crate::between::{Fate, between};
use crate::copied::{MONDAY_NS, equal, said, write};
use crate::database::{Database, Kind, shared};
use crate::http::escape;
use crate::proxy::{Setup, Twinline, eventually};

const CELLS: i64 = 1000;

/// All cells with this value, each at a time of its own.
fn cells(value: i64) -> String {
    let line = |at: i64| format!("m,host=h{} f={value} {}", at % 7, MONDAY_NS + at * 1000);
    (0..CELLS).map(line).collect::<Vec<_>>().join("\n")
}

/// A source with old values, and a destination whose door decides about the writes of old values; `n`: the how manieth.
fn pair(
    name: &str,
    decide: impl Fn(u64) -> Fate + Send + Sync + 'static,
) -> (Arc<Database>, Arc<Database>, Twinline, Arc<AtomicU64>) {
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    for database in [&source, &destination] {
        database.create(name);
    }
    write(&source, name, &cells(0));
    let met = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&met);
    let old = format!("db={name}");
    let door = between(&destination.addr, move |request| {
        if request.starts_with("POST /write") && request.contains(&old) && request.contains(" f=0") {
            return decide(counts.fetch_add(1, Ordering::SeqCst));
        }
        Fate::On
    });
    let twinline = Setup::new(source.section(), format!("url = \"http://{door}\"\nkind = \"influxdb1\"")).start();
    (source, destination, twinline, met)
}

fn begin(twinline: &Twinline, name: &str) {
    let started = twinline.command(&["backfill", "start", "--db", name]);
    assert_eq!(started.status.code(), Some(0), "{}", said(&started));
}

fn meets(met: &AtomicU64, count: u64) {
    eventually("old values are on their way", || {
        let now = met.load(Ordering::SeqCst);
        if now >= count { Ok(()) } else { Err(now.to_string()) }
    });
}

fn ends(twinline: &Twinline) {
    eventually("all is copied", || {
        let output = twinline.command(&["-o", "json", "backfill", "status"]);
        let text = said(&output);
        if text.contains("\"state\": \"done\"") || text.contains("\"state\":\"done\"") { Ok(()) } else { Err(text) }
    });
    twinline.quiet();
}

fn client(twinline: &Twinline, name: &str, body: &str) {
    let answer = twinline.call(&format!("POST /write?db={name}&precision=ns"), &[], body);
    assert_eq!(answer.status, 204, "{}", answer.text());
}

fn client_deletes(twinline: &Twinline, name: &str, from: i64, to: i64) {
    let (from, to) = (MONDAY_NS + from * 1000, MONDAY_NS + to * 1000);
    let q = escape(&format!("DELETE FROM m WHERE time >= {from} AND time < {to}"));
    let answer = twinline.call(&format!("POST /query?db={name}&q={q}"), &[], "");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn trap_1_cells_that_are_overwritten_between_the_read_and_a_slow_write_keep_the_new_value() {
    let name = "trap1";
    let (source, destination, twinline, met) = pair(name, |_| Fate::After(Duration::from_secs(3)));
    begin(&twinline, name);
    meets(&met, 1);
    client(&twinline, name, &cells(1));
    ends(&twinline);
    assert_eq!(equal(&source, &destination, name), CELLS as u64);
    assert!(destination.cells(name).iter().all(|cell| cell.value == Value::Float(1.0)), "the new values");
}

#[test]
fn trap_2_a_write_without_an_answer_that_lands_late_does_not_stay_over_newer_values() {
    let name = "trap2";
    // The first of them lands after its connection broke; what came again was answered at once.
    let zombie = |number: u64| match number {
        0 => Fate::Zombie(Duration::from_millis(1500)),
        _ => Fate::On,
    };
    let (source, destination, twinline, met) = pair(name, zombie);
    begin(&twinline, name);
    meets(&met, 2);
    client(&twinline, name, &cells(1));
    ends(&twinline);
    assert_eq!(met.load(Ordering::SeqCst), 2, "the same bytes once more, and no more");
    assert_eq!(equal(&source, &destination, name), CELLS as u64);
}

#[test]
fn trap_9_what_is_deleted_between_the_read_and_the_write_does_not_come_back() {
    let name = "trap9";
    let (source, destination, twinline, met) = pair(name, |_| Fate::After(Duration::from_secs(2)));
    begin(&twinline, name);
    meets(&met, 1);
    client_deletes(&twinline, name, 100, 600);
    // And something new where it was.
    client(&twinline, name, &format!("m,host=h1 f=7 {}", MONDAY_NS + 200_000));
    ends(&twinline);
    assert_eq!(equal(&source, &destination, name), CELLS as u64 - 500 + 1);
}
