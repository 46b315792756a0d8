//! `twinline check` between real databases: what it finds, what it tells to type, and that it changes nothing.
//!
//! Needs `influxd1` and `influxd2`: `tests/servers/get influxdb1 influxdb2`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests wait on real time and end at a surprise")]

// Real databases, started and stopped by id.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/database.rs"]
mod database;
// A client that shows answers as they came.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/http.rs"]
mod http;

use std::process::{Command, Output};

use serde_json::{Value, json};

use database::{Database, Kind, ORG, shared};
use http::call;

/// Runs the check; gives its exit code and its document.
fn check(source: &str, destination: &str) -> (i32, Value) {
    let said = twinline(&["check", "-o", "json", "-q"], source, destination);
    let document = serde_json::from_slice(&said.stdout);
    let document = document.unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&said.stderr)));
    (said.status.code().unwrap(), document)
}

/// Runs a command to its end, which must come within a minute.
fn twinline(arguments: &[&str], source: &str, destination: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "listen = \"127.0.0.1:1\"\ndata_dir = {:?}\n[source]\n{source}\n[destination]\n{destination}\n\
         [queue]\nmax_size = \"8MiB\"\nsegment_size = \"1MiB\"\nreserve_free = 0\n",
        dir.path().join("data")
    );
    let file = dir.path().join("twinline.toml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("timeout");
    command.args(["60", env!("CARGO_BIN_EXE_twinline")]).args(arguments).arg("-c").arg(&file).output().unwrap()
}

/// The findings that are not in order: state, code, advice.
fn open(document: &Value) -> Vec<(String, String, String)> {
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let findings = document["findings"].as_array().unwrap();
    let all = findings.iter().map(|f| (text(f, "state"), text(f, "code"), text(f, "fix")));
    all.filter(|(state, ..)| state != "ok").collect()
}

fn get(database: &Database, path: &str) -> Value {
    call(&database.addr, &format!("GET {path}"), &[&database.authorization()], b"").unwrap().json()
}

/// A token that may only write to this bucket.
fn write_only(database: &Database, bucket: &str) -> String {
    let found = get(database, &format!("/api/v2/buckets?name={bucket}"));
    let (org, id) = (&found["buckets"][0]["orgID"], &found["buckets"][0]["id"]);
    let rights = json!([{ "action": "write", "resource": { "type": "buckets", "id": id, "orgID": org } }]);
    let made = database.post(
        "/api/v2/authorizations",
        json!({ "orgID": org, "permissions": rights }).to_string().as_bytes(),
        201,
    );
    made.json()["token"].as_str().unwrap().to_owned()
}

#[test]
fn what_it_tells_to_type_at_1_13_makes_the_next_check_pass() {
    let (source, destination) = (Database::start(Kind::Two), Database::start(Kind::One));
    source.create("sensors");
    source.create("sensors/week");
    let (code, document) = check(&source.section(), &destination.section());
    let missing = open(&document);
    assert_eq!((code, missing.len()), (3, 3), "{document:#}");
    for (state, _, fix) in &missing {
        assert_eq!(state, "failed");
        destination.query(fix);
    }
    let (code, document) = check(&source.section(), &destination.section());
    assert_eq!((code, open(&document)), (0, Vec::new()), "{document:#}");
    assert_eq!(document["next_steps"][0].as_str().unwrap().split(" -c").next(), Some("twinline run"));
    let series = destination.query("SHOW SERIES ON sensors");
    assert_eq!(series.pointer("/results/0/series"), None, "asking has written nothing: {series}");
}

#[test]
fn a_narrow_token_of_2_9_is_enough_where_it_may_write_and_told_where_it_may_not() {
    let (source, destination) = (Database::start(Kind::One), shared(Kind::Two, 0));
    source.create("narrow");
    destination.create("narrow");
    let token = write_only(&destination, "narrow");
    let section = format!("url = \"http://{}\"\norg = \"{ORG}\"\ntoken = \"{token}\"", destination.addr);
    let (code, document) = check(&source.section(), &section);
    // It may not read: types cannot be compared, and that is said.
    let found = open(&document);
    assert_eq!((code, found.len()), (0, 1), "{document:#}");
    assert_eq!((&found[0].0[..], &found[0].1[..]), ("unknown", "TWL-2204"), "{document:#}");

    source.create("closed");
    destination.create("closed");
    source.create("absent");
    let before = get(&destination, "/api/v2/buckets");
    let (code, document) = check(&source.section(), &section);
    let found: Vec<_> = open(&document).into_iter().filter(|(state, ..)| state != "unknown").collect();
    assert_eq!((code, found.len()), (12, 2), "{document:#}");
    assert!(found[0].1 == "TWL-2013" && found[0].2.contains("--name closed"), "{found:?}");
    assert_eq!((&found[1].1[..], &found[1].2[..]), ("TWL-2313", "influx bucket create --org o --name absent"));
    assert_eq!(get(&destination, "/api/v2/buckets"), before, "asking has made nothing");
}

#[test]
fn wrong_credentials_and_a_wrong_organisation_have_their_codes() {
    let (source, destination) = (Database::start(Kind::One), shared(Kind::Two, 0));
    source.create("telegraf");
    let wrong = format!("url = \"http://{}\"\norg = \"{ORG}\"\ntoken = \"wrong\"", destination.addr);
    let (code, document) = check(&source.section(), &wrong);
    assert_eq!((code, &open(&document)[0].1[..]), (12, "TWL-2011"), "{document:#}");
    let elsewhere = destination.section().replace("org = \"o\"", "org = \"nobody\"");
    let (code, document) = check(&source.section(), &elsewhere);
    assert_eq!((code, &open(&document)[0].1[..]), (3, "TWL-2314"), "{document:#}");
    // A configuration with none is refused by the same rule at the destination and only told at the source.
    let none = format!("url = \"http://{}\"", destination.addr);
    let (code, document) = check(&none, &source.section());
    let found = open(&document);
    assert_eq!((code, &found[0].0[..], &found[0].1[..]), (0, "warning", "TWL-2011"), "{document:#}");
}

#[test]
fn one_server_under_two_names_is_not_two() {
    for database in [&Database::start(Kind::One), &*shared(Kind::Two, 0)] {
        let other_name = database.section().replace("127.0.0.1", "localhost");
        let (code, document) = check(&database.section(), &other_name);
        let same: Vec<_> = open(&document).into_iter().filter(|(_, code, _)| code == "TWL-2701").collect();
        assert!(code == 3 && same.len() == 1 && same[0].0 == "failed", "{document:#}");
        let run = twinline(&["run"], &database.section(), &other_name);
        let text = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.code() == Some(78) && text.contains("the destination is the source itself"), "{text}");
    }
}

#[test]
fn a_server_that_was_stopped_is_not_reachable() {
    let (source, destination) = (Database::start(Kind::One), Database::start(Kind::One));
    source.create("telegraf");
    destination.stop(rustix::process::Signal::KILL);
    let (code, document) = check(&source.section(), &destination.section());
    assert_eq!((code, &open(&document)[0].1[..]), (10, "TWL-2001"), "{document:#}");
}

/// The finding of a code.
fn with<'d>(document: &'d Value, code: &str) -> &'d Value {
    let findings = document["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["code"] == code).unwrap_or_else(|| panic!("{code} is not in {document:#}"))
}

#[test]
fn retention_types_and_contents_are_compared_and_what_it_tells_to_type_helps() {
    let (source, destination) = (Database::start(Kind::One), Database::start(Kind::One));
    source.query("CREATE DATABASE plant WITH DURATION 30d SHARD DURATION 1d");
    destination.query("CREATE DATABASE plant WITH DURATION 7d SHARD DURATION 7d NAME week");
    source.post("/write?db=plant", b"m v=1,n=1i,same=2", 204);
    destination.post("/write?db=plant", b"m v=\"x\",same=1\nother a=1", 204);
    let (code, document) = check(&source.section(), &destination.section());
    assert_eq!(code, 3, "{document:#}");
    let (keeps, shards) = (with(&document, "TWL-2101"), with(&document, "TWL-2102"));
    assert_eq!((&keeps["state"], &keeps["group"]), (&json!("failed"), &json!("retention")));
    assert_eq!(keeps["fix"], "ALTER RETENTION POLICY \"week\" ON \"plant\" DURATION 720h");
    assert_eq!(shards["fix"], "ALTER RETENTION POLICY \"week\" ON \"plant\" SHARD DURATION 24h");
    let types = with(&document, "TWL-2204");
    assert_eq!((&types["state"], &types["group"]), (&json!("warning"), &json!("types")));
    assert_eq!(types["text"], "1 field of another type at the destination: m.v source float · destination string");
    let filled = with(&document, "TWL-2318");
    assert_eq!(filled["text"], "holds data already: database plant (2 measurements)");
    for fix in [keeps, shards] {
        destination.query(fix["fix"].as_str().unwrap());
    }
    destination.query("DROP DATABASE plant");
    destination.query("CREATE DATABASE plant WITH DURATION 30d SHARD DURATION 1d");
    let (code, document) = check(&source.section(), &destination.section());
    assert_eq!((code, open(&document)), (0, Vec::new()), "{document:#}");
    for code in ["TWL-2101", "TWL-2204", "TWL-2318", "TWL-2411", "TWL-2412", "TWL-2413"] {
        assert_eq!(with(&document, code)["state"], "ok");
    }
    let points = destination.query("SHOW SERIES ON plant");
    assert_eq!(points.pointer("/results/0/series"), None, "asking for limits has written nothing: {points}");
}

#[test]
fn buckets_of_2_9_are_compared_in_the_same_way() {
    let (source, destination) = (Database::start(Kind::Two), Database::start(Kind::Two));
    source.create("plant");
    destination.create_bucket("plant", &json!([{ "type": "expire", "everySeconds": 86_400 }]));
    source.post("/api/v2/write?bucket=plant&org=o", b"m v=1,n=1u", 204);
    destination.post("/api/v2/write?bucket=plant&org=o", b"m v=1i", 204);
    let (code, document) = check(&source.section(), &destination.section());
    assert_eq!(code, 3, "{document:#}");
    let keeps = with(&document, "TWL-2101")["fix"].as_str().unwrap();
    assert!(keeps.starts_with("influx bucket update --id ") && keeps.ends_with(" --retention 0"), "{keeps}");
    let types = with(&document, "TWL-2204")["text"].as_str().unwrap();
    assert!(types.ends_with(": m.v source float · destination integer"), "{types}");
    assert_eq!(with(&document, "TWL-2318")["state"], "warning");
    // To 1.x, which knows no unsigned values.
    let old = Database::start(Kind::One);
    for name in ["plant", "first"] {
        old.create(name);
    }
    let (code, document) = check(&source.section(), &old.section());
    assert_eq!((code, &with(&document, "TWL-2205")["state"]), (0, &json!("warning")), "{document:#}");
}

#[test]
fn batches_that_the_destination_would_refuse_are_told() {
    let source = shared(Kind::One, 0);
    source.create("limits");
    let destination = Database::start_with(Kind::One, &[("HTTP_MAX_BODY_SIZE", "100000")]);
    destination.create("limits");
    let section = format!(
        "{}\n[[mapping.rule]]\nfrom = {{ db = \"limits\" }}\nto = {{ db = \"limits\" }}",
        destination.section()
    );
    let (code, document) = check(&source.section(), &section);
    let batch = with(&document, "TWL-2412");
    assert_eq!((code, &batch["state"]), (0, &json!("warning")), "{document:#}");
    assert!(batch["fix"].as_str().unwrap().contains("batch_bytes"), "{batch}");
}
