//! What a real source refuses before it has done anything is no statement that may have run; and a bucket that is named by its id.

use crate::database::{Database, Kind, ORG, TOKEN, shared};
use crate::http::escape;
use crate::proxy::{Setup, Twinline};

const FROM_THE_BEGINNING: &str = r#""start":"1970-01-01T00:00:00Z","stop":"2100-01-01T00:00:00Z""#;

fn token() -> String {
    format!("Authorization: Token {TOKEN}")
}

fn nothing_is_told(twinline: &Twinline) {
    twinline.quiet();
    let status = twinline.status();
    assert_eq!(status["statements_not_mirrored"], 0, "{status:#}");
}

/// 1.13 does not make what it says has an invalid name.
#[test]
fn a_database_or_policy_with_an_invalid_name_is_not_made_and_not_told() {
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    source.create("named");
    destination.create("named");
    let twinline = Setup::new(source.section(), destination.section()).start();
    let shown = |database: &Database, q: &str| database.query(q).to_string();
    for q in ["CREATE DATABASE \"a/b\"", "CREATE RETENTION POLICY \"a/b\" ON named DURATION 1d REPLICATION 1"] {
        let answer = twinline.call(&format!("POST /query?q={}", escape(q)), &[], "");
        assert_eq!(answer.text().trim(), r#"{"results":[{"statement_id":0,"error":"invalid name"}]}"#, "{q}");
    }
    assert!(!shown(&source, "SHOW DATABASES").contains("a/b"));
    assert!(!shown(&source, "SHOW RETENTION POLICIES ON named").contains("a/b"));
    nothing_is_told(&twinline);
}

/// 2.9 answers 501 to a delete by field before it deletes anything.
#[test]
fn a_delete_that_is_not_implemented_deletes_nothing_and_is_not_told() {
    let (source, destination) = (shared(Kind::Two, 0), shared(Kind::One, 1));
    source.create("unmade");
    destination.create("unmade");
    let twinline = Setup::new(source.section(), destination.section()).start();
    let put = format!("POST /api/v2/write?org={ORG}&bucket=unmade");
    assert_eq!(twinline.call(&put, &[&token()], "m,h=a v=1i,w=2i 1\nn v=1i 1").status, 204);
    let body = format!(r#"{{{FROM_THE_BEGINNING},"predicate":"_measurement=\"m\" AND _field=\"v\""}}"#);
    let answer = twinline.call(&format!("POST /api/v2/delete?org={ORG}&bucket=unmade"), &[&token()], body);
    assert_eq!(answer.status, 501, "{}", answer.text());
    assert_eq!(source.cells("unmade").len(), 3);
    nothing_is_told(&twinline);
}

/// A bucket by its id is the one of that name.
#[test]
fn a_delete_in_a_bucket_by_its_id_is_carried_out() {
    let (source, destination) = (shared(Kind::Two, 0), shared(Kind::Two, 1));
    for database in [&source, &destination] {
        database.create("by_id");
    }
    let listed = crate::http::call(&source.addr, "GET /api/v2/buckets?name=by_id", &[&token()], b"").unwrap().json();
    let id = listed["buckets"][0]["id"].as_str().unwrap().to_owned();
    let twinline = Setup::new(source.section(), destination.section()).start();
    let put = |body: &str| {
        let target = format!("POST /api/v2/write?org={ORG}&bucket=by_id");
        assert_eq!(twinline.call(&target, &[&token()], body).status, 204);
    };
    put("m,h=a v=1i 1\nn v=1i 1");
    let body = format!(r#"{{{FROM_THE_BEGINNING},"predicate":"_measurement=\"m\""}}"#);
    let target = format!("POST /api/v2/delete?org={ORG}&bucketID={id}");
    let answer = twinline.call(&target, &[&token()], body);
    assert_eq!(answer.status, 204, "{}", answer.text());
    put("m,h=a v=2i 2");
    twinline.delivered(3);
    nothing_is_told(&twinline);
    let differences = twinline::cell::compare(source.cells("by_id"), destination.cells("by_id"));
    assert!(differences.is_empty() && differences.equal == 2, "{differences}");
}
