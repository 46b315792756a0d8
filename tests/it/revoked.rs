//! Check 35: the token of the destination is revoked for a while, on a real 2.9.

use std::time::Duration;

use serde_json::{Value, json};

use crate::answers::{dead, events};
use crate::database::{Database, Kind, ORG, shared};
use crate::load::{number, under_load};
use crate::proxy::Setup;

/// Asks with the rights of the administrator.
fn ask(database: &Database, line: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = database.connect().call(line, &[&database.authorization()], body.as_bytes()).unwrap();
    assert!(answer.status < 300, "{line}: {}", answer.text());
    answer.json()
}

/// A token that may read and write buckets, and its number.
fn token(database: &Database) -> (String, String) {
    let orgs = ask(database, &format!("GET /api/v2/orgs?org={ORG}"), &Value::Null);
    let right = |action: &str| json!({ "action": action, "resource": { "type": "buckets" } });
    let wanted = json!({ "orgID": orgs["orgs"][0]["id"], "permissions": [right("read"), right("write")] });
    let made = ask(database, "POST /api/v2/authorizations", &wanted);
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("token"), text("id"))
}

fn switch(database: &Database, id: &str, status: &str) {
    ask(database, &format!("PATCH /api/v2/authorizations/{id}"), &json!({ "status": status }));
}

/// `TWINLINE_REVOKED_S`: for how long (3; the long tier takes 180).
#[test]
fn check_35_a_token_that_is_revoked_at_a_real_server_loses_nothing_and_is_told_once() {
    let name = "revoked";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    source.create(name);
    destination.create(name);
    let (token, id) = token(&destination);
    let section = format!("url = \"http://{}\"\norg = \"{ORG}\"\ntoken = \"{token}\"", destination.addr);
    let twinline = Setup::new(source.section(), section).start();
    let away = Duration::from_secs(number("TWINLINE_REVOKED_S", 3));
    let record = under_load(&twinline.addr, &source, name, || {
        twinline.until("writes are delivered", |status| status["lines"]["delivered"] != 0);
        switch(&destination, &id, "inactive");
        let status = twinline.until("it stands still", |status| !status["paused"].as_array().unwrap().is_empty());
        let pause = &status["paused"][0];
        assert!(["forbidden", "unauthorized"].contains(&pause["code"].as_str().unwrap()), "{status:#}");
        std::thread::sleep(away);
        assert!(twinline.status()["lines"]["queued"].as_u64() > Some(0));
        switch(&destination, &id, "active");
        twinline.until("delivery goes on", |status| status["paused"].as_array().unwrap().is_empty());
    });
    twinline.delivered(record.lines);
    record.assert_held("source", &source.cells(name));
    record.assert_held("destination", &destination.cells(name));
    assert_eq!(dead(&twinline, name), []);
    let told = events(&twinline, 0);
    let count = |end: &str| told.iter().filter(|event| event["kind"].as_str().unwrap().ends_with(end)).count();
    assert_eq!((count("-paused"), count("-resumed")), (1, 1), "{told:#?}");
}
