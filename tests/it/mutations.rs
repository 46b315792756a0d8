//! Statements that are carried out at the destination, in their place among the writes.

use rustix::process::Signal;

use crate::database::{Database, Kind, ORG, TOKEN, shared};
use crate::http::{Answer, escape};
use crate::proxy::{Setup, Twinline};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

fn write(twinline: &Twinline, target: &str, body: &str) {
    let answer = twinline.call(&format!("POST {target}"), &[], body);
    assert_eq!(answer.status, 204, "{target}: {}", answer.text());
}

/// A statement that must run at the source.
fn run(twinline: &Twinline, db: &str, q: &str) {
    let answer = twinline.call(&format!("POST /query?db={db}"), &[FORM], format!("q={}", escape(q)));
    assert_eq!(answer.text().trim(), r#"{"results":[{"statement_id":0}]}"#, "{q}");
}

fn held(database: &Database, name: &str) -> Vec<(String, i64, String)> {
    let cell = |cell: &twinline::cell::Cell| (format!("{:?}", cell.series), cell.time_ns, cell.value.to_string());
    let mut cells: Vec<_> = database.cells(name).iter().map(cell).collect();
    cells.sort();
    cells
}

fn policies(database: &Database, db: &str) -> String {
    let answer = database.query(&format!("SHOW RETENTION POLICIES ON \"{db}\""));
    answer["results"][0]["series"][0]["values"].to_string()
}

/// Check 25: the default policy is changed between two writes without one: each lands where the source put it, and nobody changes the
/// destination by hand.
#[test]
fn check_25_a_changed_default_policy_is_followed_at_the_destination() {
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    source.create("moved25");
    destination.create("moved25");
    let twinline = Setup::new(source.section(), destination.section()).start();
    run(&twinline, "moved25", "CREATE RETENTION POLICY week ON moved25 DURATION 0s REPLICATION 1");
    write(&twinline, "/write?db=moved25", "m v=1i 1");
    write(&twinline, "/write?db=moved25&rp=week", "m v=2i 2");
    run(&twinline, "moved25", "ALTER RETENTION POLICY week ON moved25 DEFAULT");
    write(&twinline, "/write?db=moved25", "m v=3i 3");
    write(&twinline, "/write?db=moved25&rp=autogen", "m v=4i 4");
    twinline.delivered(4);
    assert_eq!(policies(&source, "moved25"), policies(&destination, "moved25"));
    for rp in ["autogen", "week"] {
        let name = format!("moved25/{rp}");
        assert_eq!(held(&source, &name), held(&destination, &name), "{rp}");
    }
    assert_eq!(twinline.status()["statements_not_mirrored"], 0);
}

/// Check 28: `CREATE DATABASE` twice, with other options, by GET and by POST, by five clients at once.
#[test]
fn check_28_databases_are_made_by_many_clients_at_once() {
    for kind in [Kind::One, Kind::Two] {
        let (source, destination) = (shared(Kind::One, 0), shared(kind, if kind == Kind::One { 1 } else { 0 }));
        let db = format!("made28_{kind:?}");
        let twinline = Setup::new(source.section(), destination.section()).start();
        std::thread::scope(|scope| {
            for client in 0..5 {
                let (twinline, db) = (&twinline, &db);
                scope.spawn(move || {
                    let q = format!("create database \"{db}\"");
                    let again = format!("CREATE DATABASE \"{db}\" WITH DURATION 3d NAME \"three\"");
                    for q in [q, again] {
                        let form = format!("q={}", escape(&q));
                        let answer = match client % 2 {
                            0 => twinline.call("POST /query", &[FORM], form),
                            _ => twinline.call(&format!("GET /query?{form}"), &[], ""),
                        };
                        assert_eq!(answer.status, 200, "{}", answer.text());
                    }
                });
            }
        });
        write(&twinline, &format!("/write?db={db}"), "m v=1i");
        twinline.delivered(1);
        assert_eq!(held(&source, &db), held(&destination, &db));
        if kind == Kind::One {
            assert_eq!(policies(&source, &db), policies(&destination, &db));
        }
        assert_eq!(twinline.status()["statements_not_mirrored"], 0, "{:#}", twinline.status());
    }
}

/// Check 29: deletes between writes, while the destination is away: the end is the same on both sides.
#[test]
fn check_29_deletes_keep_their_place_among_the_writes_through_an_outage() {
    for kind in [Kind::One, Kind::Two] {
        let source = shared(Kind::One, 0);
        let destination = Database::start(kind);
        let db = format!("order29_{kind:?}");
        source.create(&db);
        source.create(&format!("{db}/week"));
        let twinline = Setup::new(source.section(), destination.section()).start();
        destination.create(&db);
        destination.create(&format!("{db}/week"));
        let to = format!("/write?db={db}");
        write(&twinline, &to, "a,h=x v=1i 1\na,h=y v=2i 2\nb v=3i 3\n\"odd\\ name\",h=x v=1i 5");
        twinline.delivered(4);
        destination.stop(Signal::TERM);
        // Each of them meets points from before, and some that come again behind it.
        run(&twinline, &db, "DROP MEASUREMENT b");
        write(&twinline, &to, "b v=4i 4");
        run(&twinline, &db, "DELETE FROM a WHERE h = 'x' AND time <= 1 -- now()\n");
        write(&twinline, &to, "a,h=x v=5i 5\na,h=x v=6i 6\nc v=1i 1\nc v=2i 2000000000000000000");
        write(&twinline, &format!("{to}&rp=week"), "c v=7i 7\na,h=y v=8i 8");
        run(&twinline, &db, "DELETE FROM c WHERE time < now()");
        run(&twinline, &db, "DROP SERIES FROM a WHERE h = 'y'");
        write(&twinline, &to, "a,h=y v=9i 9");
        destination.restart();
        twinline.delivered(12);
        for name in [db.clone(), format!("{db}/week")] {
            assert_eq!(held(&source, &name), held(&destination, &name), "{name} at {kind:?}");
        }
        assert_eq!(twinline.status()["statements_not_mirrored"], 0, "{:#}", twinline.status());
        // What writes inside the source is told.
        let answer = twinline.call(&format!("POST /query?db={db}"), &[FORM], "q=SELECT+v+INTO+d+FROM+a");
        assert!(answer.text().contains("written"), "{}", answer.text());
        let status = twinline.until("it is told", |status| status["statements_not_mirrored"] == 1);
        assert_eq!(status["statements"][0]["class"], "select-into");
    }
}

/// Drops of whole places wait for confirmation: they are told, and what is at the destination stays.
#[test]
fn drops_of_databases_and_policies_are_told_and_not_carried_out() {
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    for database in [&source, &destination] {
        database.create("kept");
        database.create("kept/week");
    }
    let twinline = Setup::new(source.section(), destination.section()).start();
    write(&twinline, "/write?db=kept", "m v=1i 1");
    write(&twinline, "/write?db=kept&rp=week", "m v=2i 2");
    run(&twinline, "", "DROP RETENTION POLICY week ON kept");
    run(&twinline, "", "DROP DATABASE kept");
    twinline.delivered(2);
    let status = twinline.until("they are told", |status| status["statements_not_mirrored"] == 2);
    assert!(status["statements"][0]["why"].as_str().unwrap().contains("confirmation"), "{status:#}");
    assert_eq!((held(&destination, "kept").len(), held(&destination, "kept/week").len()), (1, 1));
}

/// Killed while the destination is away, delivery carries out after the next start what waited, in its place.
#[test]
fn a_kill_between_a_statement_and_its_execution_changes_nothing_of_the_end() {
    let source = shared(Kind::One, 0);
    let destination = Database::start(Kind::One);
    source.create("killed29");
    destination.create("killed29");
    let mut twinline = Setup::new(source.section(), destination.section()).start();
    write(&twinline, "/write?db=killed29", "m v=1i 1\nm v=2i 2");
    twinline.delivered(2);
    destination.stop(Signal::TERM);
    write(&twinline, "/write?db=killed29", "m v=3i 3");
    run(&twinline, "killed29", "DROP MEASUREMENT m");
    write(&twinline, "/write?db=killed29", "m v=4i 4");
    twinline.stop(Signal::KILL);
    destination.restart();
    twinline.start_again();
    twinline.settled(4);
    assert_eq!(held(&source, "killed29"), held(&destination, "killed29"));
    assert_eq!(held(&source, "killed29").len(), 1);
}

fn delete(twinline: &Twinline, bucket: &str, body: &str) -> Answer {
    let token = format!("Authorization: Token {TOKEN}");
    let headers = [token.as_str(), "Content-Type: application/json"];
    twinline.call(&format!("POST /api/v2/delete?org={ORG}&bucket={}", escape(bucket)), &headers, body)
}

/// `/api/v2/delete` of a 2.x source: to 2.x as it is, to 1.x as a statement, with the same ends.
#[test]
fn deletes_of_the_api_reach_both_families() {
    for kind in [Kind::Two, Kind::One] {
        let (source, destination) = (shared(Kind::Two, 0), shared(kind, 1));
        let bucket = format!("api_{kind:?}");
        source.create(&bucket);
        destination.create(&bucket);
        let twinline = Setup::new(source.section(), destination.section()).start();
        let token = format!("Authorization: Token {TOKEN}");
        let put = |body: &str| {
            let target = format!("POST /api/v2/write?org={ORG}&bucket={bucket}");
            assert_eq!(twinline.call(&target, &[&token], body).status, 204);
        };
        put("m,h=a v=1i 1\nm,h=a v=2i 2\nm,h=a v=3i 3\nm,h=b v=2i 2\nn,h=a v=2i 2");
        let body = r#"{"start":"1970-01-01T00:00:00.000000002Z","stop":"1970-01-01T00:00:00.000000002Z","predicate":"_measurement=\"m\" AND h=\"a\""}"#;
        assert_eq!(delete(&twinline, &bucket, body).status, 204);
        put("m,h=a v=9i 4");
        twinline.delivered(6);
        assert_eq!(held(&source, &bucket), held(&destination, &bucket), "{kind:?}");
        assert_eq!(held(&source, &bucket).len(), 5);
        assert_eq!(twinline.status()["statements_not_mirrored"], 0);
        // InfluxQL of a 2.x source is told.
        let target = format!("POST /query?db={bucket}&q={}", escape("DELETE FROM n"));
        let answer = twinline.call(&target, &[&token], "");
        assert_eq!((answer.status, answer.text().trim()), (200, "{}"));
        let status = twinline.until("it is told", |status| status["statements_not_mirrored"] == 1);
        assert!(status["statements"][0]["why"].as_str().unwrap().contains("2.x"), "{status:#}");
        // What the source refuses changes nothing.
        assert_eq!(delete(&twinline, &bucket, "{}").status, 400);
        twinline.quiet();
        assert_eq!(twinline.status()["statements_not_mirrored"], 1);
    }
}

/// Two buckets of a 2.x source have one place at 1.x, though no rule says so: a delete in one is told, since it would take the other's.
#[test]
fn a_delete_where_another_bucket_lies_beside_it_is_told() {
    let (source, destination) = (shared(Kind::Two, 0), shared(Kind::One, 1));
    for bucket in ["beside", "beside/autogen"] {
        source.create(bucket);
    }
    destination.create("beside");
    let twinline = Setup::new(source.section(), destination.section()).start();
    let token = format!("Authorization: Token {TOKEN}");
    for (bucket, body) in [("beside", "m,h=a v=1i 1"), ("beside/autogen", "m,h=b v=2i 2")] {
        let target = format!("POST /api/v2/write?org={ORG}&bucket={}", escape(bucket));
        assert_eq!(twinline.call(&target, &[&token], body).status, 204);
    }
    let body = r#"{"start":"1970-01-01T00:00:00Z","stop":"1971-01-01T00:00:00Z","predicate":"_measurement=\"m\""}"#;
    assert_eq!(delete(&twinline, "beside", body).status, 204);
    let status = twinline.until("it is told", |status| status["statements_not_mirrored"] == 1);
    let why = status["statements"][0]["why"].as_str().unwrap();
    assert!(why.contains("beside/autogen") && why.contains("same place"), "{why}");
    twinline.delivered(2);
    assert_eq!(held(&destination, "beside").len(), 2);
}
