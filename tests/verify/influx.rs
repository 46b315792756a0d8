//! Between InfluxDB and InfluxDB.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::copied::{MONDAY_NS, nasty, place, said, write};
use crate::database::{Database, Kind, ORG, TOKEN, shared};
use crate::proxy::Place;

/// Values that other ways of comparing take for equal, or lose.
fn exact() -> String {
    let long = "x".repeat(64 << 10);
    let mut body = format!(
        "exact,t=a zero=0,negative=-0.0,small=5e-324,subnormal=-2.2250738585072011e-308,odd=9007199254740993i,\
         near=0.1,next=0.10000000000000002 {MONDAY_NS}\n\
         exact,t=b cr=\"a\rb\",nul=\"a\0b\",quote=\"a\\\"b\\\\\",lf=\"a\nb\",empty=\"\",long=\"{long}\" {MONDAY_NS}"
    );
    body.push('\n');
    body
}

/// Both hold the same.
fn pair(name: &str, kinds: (Kind, Kind)) -> (Arc<Database>, Arc<Database>, Place) {
    let (source, destination) = (shared(kinds.0, 0), shared(kinds.1, 1));
    for database in [&source, &destination] {
        database.create(name);
        database.create(&format!("{name}/week"));
        write(database, name, &nasty(kinds.0));
        write(database, name, &exact());
        write(
            database,
            &format!("{name}/week"),
            &format!("m f=1 {MONDAY_NS}\nm f=2i,g=1 {}", MONDAY_NS + 604_800_000_000_000),
        );
    }
    let place = place(&source, destination.section());
    (source, destination, place)
}

fn verify(place: &Place, name: &str, words: &[&str], exit: i32) -> Value {
    let week = format!("{name}/*");
    let scope = ["--db", name, "--db", &week];
    let output = place.command(&[&["-o", "json", "verify"], words, &scope].concat());
    assert_eq!(output.status.code(), Some(exit), "{words:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&output)))
}

/// Class, the tag `t`, field, and the times and values of both sides.
fn findings(document: &Value) -> BTreeSet<String> {
    let all = document["differences"].as_array().unwrap();
    let side = |cell: &Value| match cell {
        Value::Null => "-".to_owned(),
        cell => format!(
            "{}/{}@{}={}",
            cell["tags"]["t"].as_str().unwrap_or("?"),
            cell["field"].as_str().unwrap(),
            cell["time_ns"].as_i64().unwrap() - MONDAY_NS,
            cell["value"].as_str().unwrap()
        ),
    };
    let line = |one: &Value| {
        format!("{} {} {}", one["class"].as_str().unwrap(), side(&one["source"]), side(&one["destination"]))
    };
    all.iter().map(line).collect()
}

fn equal_then_damaged(name: &str, kinds: (Kind, Kind)) {
    let (source, destination, place) = pair(name, kinds);
    let equal = verify(&place, name, &["start"], 0);
    assert_eq!((&equal["state"], &equal["differences"]), (&json!("equal"), &json!([])), "{equal}");
    assert!(equal["cells"]["source"].as_u64().unwrap() > 6000, "{equal}");
    assert_eq!(equal["cells"]["source"], equal["cells"]["destination"]);
    assert_eq!((&equal["windows"]["differ"], &equal["windows"]["unchecked"]), (&json!(0), &json!(0)));
    let base = format!("damage,t=same f=1,s=\"x\" {MONDAY_NS}\n");
    write(
        &source,
        name,
        &format!(
            "{base}damage,t=missing f=1 {MONDAY_NS}\ndamage,t=value f=0 {MONDAY_NS}\ndamage,t=text s=\"a\rb\" {MONDAY_NS}\n\
             damage,t=shift f=7.25 {MONDAY_NS}\ndamage,t=moved f=8.5 {MONDAY_NS}\nkind,t=type v=1i {MONDAY_NS}"
        ),
    );
    write(
        &destination,
        name,
        &format!(
            "{base}damage,t=extra f=1 {}\ndamage,t=value f=-0.0 {MONDAY_NS}\ndamage,t=text s=\"ab\" {MONDAY_NS}\n\
             damage,t=shift f=7.25 {}\ndamage,t=elsewhere f=8.5 {MONDAY_NS}\nkind,t=type v=1 {MONDAY_NS}",
            MONDAY_NS + 50,
            MONDAY_NS + 1
        ),
    );
    let found = verify(&place, name, &["start"], 3);
    let wanted = [
        "missing missing/f@0=1.0 -",
        "extra - extra/f@50=1.0",
        "value value/f@0=0.0 value/f@0=-0.0",
        "value text/s@0=\"a\\rb\" text/s@0=\"ab\"",
        "timestamp shift/f@0=7.25 shift/f@1=7.25",
        "tag-set moved/f@0=8.5 elsewhere/f@0=8.5",
        "type type/v@0=1i type/v@0=1.0",
    ];
    assert_eq!(findings(&found), wanted.iter().map(|text| (*text).to_owned()).collect());
    assert_eq!(found["windows"]["unchecked"], 0, "{found}");
    forms(&place, name);
    // Counts alone see what is missing or too many in sum, and say that they have not seen the rest.
    let counted = verify(&place, name, &["start", "--profile", "quick"], 5);
    let agrees = |row: &Value| row["why"].as_str().is_some_and(|why| why.contains("counted only"));
    assert!(counted["rows"].as_array().unwrap().iter().any(agrees), "{counted}");
    write(&source, name, &format!("damage,t=more f=1 {MONDAY_NS}"));
    let counted = verify(&place, name, &["start", "--profile", "quick"], 3);
    assert!(findings(&counted).contains("missing more/f@0=1.0 -"), "{counted}");
}

/// What `diff` prints.
fn forms(place: &Place, name: &str) {
    let diff = |form: &str| {
        let output = place.command(&["verify", "diff", "--form", form, "--db", name]);
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = diff("text");
    let line = text.lines().find(|line| line.starts_with("value") && line.contains("t=value f")).unwrap();
    assert!(line.ends_with("source 0.0, destination -0.0"), "{line}");
    let csv = diff("csv");
    assert_eq!(csv.lines().count(), 8, "a heading and seven: {csv}");
    assert!(csv.contains("\"damage,t=shift\",\"f\",1699833600000000001,float,\"7.25\""), "{csv}");
    let rows = diff("jsonl");
    assert!(rows.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["class"].is_string()), "{rows}");
    let lines = diff("lp");
    assert!(lines.contains(&format!("damage,t=missing f=1.0 {MONDAY_NS}\n")), "{lines}");
    assert!(!lines.contains("t=extra"), "the source has none of it: {lines}");
}

#[test]
fn from_1_to_2() {
    equal_then_damaged("verify_12", (Kind::One, Kind::Two));
}

#[test]
fn from_2_to_2() {
    equal_then_damaged("verify_22", (Kind::Two, Kind::Two));
}

#[test]
fn from_1_to_1() {
    equal_then_damaged("verify_11", (Kind::One, Kind::One));
}

/// Without any configuration.
#[test]
fn two_urls_are_enough() {
    let name = "verify_urls";
    let (source, destination, _) = pair(name, (Kind::One, Kind::Two));
    let directory = tempfile::tempdir().unwrap();
    let run = |more: &[&str], exit: i32| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinline"));
        command.current_dir(directory.path()).args(["-o", "json", "verify", "start", "--db", name]);
        command.args(["--source", &format!("http://{}", source.addr)]);
        command.args(["--destination", &format!("http://{}", destination.addr), "--destination-org", ORG]);
        let output = command.args(more).env_remove("TWINLINE_CONFIG").output().unwrap();
        assert_eq!(output.status.code(), Some(exit), "{}", said(&output));
        output
    };
    let output = run(&["--destination-token", TOKEN], 0);
    assert!(!said(&output).contains(TOKEN));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["state"], "equal");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was left behind");
    let output = run(&["--destination-token", "wrong"], 12);
    assert!(!said(&output).contains("\"equal\""));
}

#[test]
fn what_cannot_be_read_is_never_equal() {
    let name = "verify_lacks";
    let (source, destination) = (shared(Kind::One, 0), Database::start(Kind::One));
    source.create(name);
    write(&source, name, &nasty(Kind::One));
    let place = place(&source, destination.section());
    // The destination has no such database.
    let found = verify(&place, name, &["start"], 5);
    assert!(found["windows"]["unchecked"].as_u64().unwrap() > 0, "{found}");
    assert_eq!(found["windows"]["equal"], 0, "{found}");
    // It is there and empty.
    destination.create(name);
    let found = verify(&place, name, &["start"], 3);
    assert_eq!(found["cells"]["destination"], 0);
    assert!(found["classes"]["missing"].as_u64().unwrap() > 6000, "{found}");
    destination.stop(Signal::KILL);
    let output = place.command(&["-o", "json", "verify", "start", "--db", name]);
    assert_eq!(output.status.code(), Some(10), "{}", said(&output));
}
