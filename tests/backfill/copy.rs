//! From InfluxDB to InfluxDB: everything, with every type and bit.

use std::sync::Arc;

use crate::copied::{MONDAY_NS, document, equal, nasty, place, said, write};
use crate::database::{Database, Kind, shared};
use crate::proxy::Place;

/// A source with nasty points in `name` and in `name/week`, an empty destination, and a configuration.
fn pair(name: &str, kinds: (Kind, Kind)) -> (Arc<Database>, Arc<Database>, Place) {
    let (source, destination) = (shared(kinds.0, 0), shared(kinds.1, 1));
    for database in [&source, &destination] {
        database.create(name);
        database.create(&format!("{name}/week"));
    }
    write(&source, name, &nasty(kinds.0));
    write(
        &source,
        &format!("{name}/week"),
        &format!("m f=1 {MONDAY_NS}\nm f=2i,g=1 {}", MONDAY_NS + 604_800_000_000_000),
    );
    let place = place(&source, destination.section());
    (source, destination, place)
}

/// Names both kinds of place.
fn scope(name: &str) -> [String; 4] {
    ["--db".to_owned(), name.to_owned(), "--db".to_owned(), format!("{name}/*")]
}

fn start(place: &Place, name: &str, more: &[&str], exit: i32) -> serde_json::Value {
    let scope = scope(name);
    let words = ["start", "--offline"].into_iter().chain(scope.iter().map(String::as_str)).chain(more.iter().copied());
    document(place, &words.collect::<Vec<_>>(), exit)
}

fn copies(name: &str, kinds: (Kind, Kind)) {
    let (source, destination, place) = pair(name, kinds);
    let scope = scope(name);
    let plan = document(&place, &["plan", &scope[0], &scope[1], &scope[2], &scope[3]], 0);
    assert_eq!(plan["places"].as_array().unwrap().len(), 2, "{plan:#}");
    assert!(plan["cells"].as_u64().unwrap() > 6000, "{plan:#}");
    assert_eq!(destination.cells(name).len(), 0, "a plan changes nothing");
    let done = start(&place, name, &[], 0);
    assert_eq!(
        (&done["state"], &done["failed"], &done["refused"]),
        (&"done".into(), &serde_json::json!([]), &serde_json::json!([])),
        "{done:#}"
    );
    let cells = equal(&source, &destination, name) + equal(&source, &destination, &format!("{name}/week"));
    assert_eq!(done["cells"], cells, "{done:#}");
    // A second one meets what is there.
    let again = place.command(&["backfill", "start", "--offline", &scope[0], &scope[1]]);
    assert_eq!(again.status.code(), Some(4), "{}", said(&again));
    assert!(
        said(&again).contains("holds data already") && said(&again).contains("--into-existing merge"),
        "{}",
        said(&again)
    );
    let merged = start(&place, name, &["--into-existing", "merge"], 0);
    assert_eq!(merged["cells"], cells);
    equal(&source, &destination, name);
}

#[test]
fn from_1_to_1() {
    copies("b11", (Kind::One, Kind::One));
}

#[test]
fn from_1_to_2() {
    copies("b12", (Kind::One, Kind::Two));
}

#[test]
fn from_2_to_2() {
    copies("b22", (Kind::Two, Kind::Two));
}

/// What 1.x does not hold is put aside, with the line; the rest is there.
#[test]
fn from_2_to_1_unsigned_values_are_listed() {
    let name = "b21";
    let (source, destination, place) = pair(name, (Kind::Two, Kind::One));
    let done = start(&place, name, &[], 5);
    assert_eq!(done["state"], "partial", "{done:#}");
    // Two points, of which one has signed values beside.
    assert_eq!(done["refused"], serde_json::json!([{ "code": "parse", "lines": 2 }]), "{done:#}");
    let refused = document(&place, &["refused"], 0);
    let lines = refused["lines"].as_array().unwrap();
    assert!(lines.iter().all(|line| line["measurement"] == "unsigned"), "{refused:#}");
    let without = |database: &Database| {
        let cells = database.cells(name);
        cells.into_iter().filter(|cell| cell.series.measurement() != b"unsigned").collect::<Vec<_>>()
    };
    let differences = twinline::cell::compare(without(&source), without(&destination));
    assert!(differences.is_empty() && differences.equal > 6000, "{differences}");
}

#[test]
fn a_window_of_time_is_copied_to_the_nanosecond() {
    let name = "bwindow";
    let (source, destination, place) = pair(name, (Kind::One, Kind::One));
    let (since, until) = (MONDAY_NS - 1, MONDAY_NS + 1);
    start(&place, name, &["--since", &since.to_string(), "--until", &until.to_string()], 0);
    let within = |cells: Vec<twinline::cell::Cell>| {
        cells.into_iter().filter(|cell| (since..until).contains(&cell.time_ns)).collect::<Vec<_>>()
    };
    let there = destination.cells(name);
    let differences = twinline::cell::compare(within(source.cells(name)), there.clone());
    assert!(differences.is_empty() && differences.equal > 5, "{differences}");
}

#[test]
fn what_stands_against_it_is_named_before_the_first_byte() {
    let name = "bagainst";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    source.create(name);
    write(&source, name, &format!("m f=1 {MONDAY_NS}"));
    let missing = place(&source, destination.section());
    let output = missing.command(&["backfill", "start", "--offline", "--db", name]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("CREATE DATABASE"), "{}", said(&output));
    destination.query(&format!("CREATE DATABASE {name} WITH DURATION 30d"));
    let output = missing.command(&["backfill", "start", "--offline", "--db", name]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("ALTER RETENTION POLICY"), "{}", said(&output));
    let same = place(&source, source.section());
    let output = same.command(&["backfill", "start", "--offline", "--db", name]);
    assert!(said(&output).contains("source itself") || said(&output).contains("same address"), "{}", said(&output));
    assert_ne!(output.status.code(), Some(0));
    assert_eq!(destination.cells(name).len(), 0);
}

/// A field that both servers store and no query shows: it is named, not left out in silence.
#[test]
fn a_field_that_cannot_be_read_is_told() {
    let name = "bhidden";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    for database in [&source, &destination] {
        database.create(name);
    }
    write(&source, name, &format!("m f=1,_tagKey=2 {MONDAY_NS}"));
    let place = place(&source, destination.section());
    let done = document(&place, &["start", "--offline", "--db", name], 5);
    assert_eq!(done["refused"], serde_json::json!([{ "code": "not-shown", "lines": 1 }]), "{done:#}");
    assert_eq!(document(&place, &["refused"], 0)["lines"][0]["line"], "m _tagKey");
    assert_eq!(equal(&source, &destination, name), 1);
}

#[test]
fn offline_beside_a_running_twinline_is_refused() {
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    let twinline = crate::proxy::Setup::new(source.section(), destination.section()).start();
    let output = twinline.command(&["backfill", "start", "--offline"]);
    assert_eq!(output.status.code(), Some(11), "{}", said(&output));
    assert!(said(&output).contains("without --offline it copies beside them"), "{}", said(&output));
    let status = twinline.command(&["backfill", "status"]);
    assert_eq!(status.status.code(), Some(3), "there is no job: {}", said(&status));
}
