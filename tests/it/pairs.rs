//! Every pair of databases: what clients write through Twinline stands on both sides, equal to the writer's own record
//! in
//! number, value, type and time.

use std::sync::Arc;

use crate::database::{Database, Kind, shared};
use crate::load::{points, write_all};
use crate::proxy::Setup;

/// Writes, waits, and compares both sides with the record and with each other.
fn pair(source: &Arc<Database>, destination: &Arc<Database>, name: &str) {
    source.create(name);
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let unsigned = source.kind == Kind::Two && destination.kind == Kind::Two;
    let record = write_all(&twinline.addr, source, name, points(), unsigned);
    twinline.delivered(record.lines);
    let [left, right] = [source, destination].map(|side| side.cells(name));
    record.assert_held("source", &left);
    record.assert_held("destination", &right);
    let differences = twinline::cell::compare(left, right);
    assert!(differences.is_empty(), "left the source, right the destination: {differences}");
    assert_eq!(differences.equal, record.cells() as u64);
    eprintln!("{} lines, {} cells are equal", record.lines, differences.equal);
}

#[test]
fn from_1_to_2() {
    pair(&shared(Kind::One, 0), &shared(Kind::Two, 0), "from_1_to_2");
}

#[test]
fn from_2_to_2() {
    pair(&shared(Kind::Two, 0), &shared(Kind::Two, 1), "from_2_to_2");
}

#[test]
fn from_1_to_1() {
    pair(&shared(Kind::One, 0), &shared(Kind::One, 1), "from_1_to_1");
}

#[test]
fn from_2_to_1() {
    pair(&shared(Kind::Two, 0), &shared(Kind::One, 0), "from_2_to_1");
}
