//! `--create`: what the destination lacks is made before the first byte, and nothing else.

use serde_json::{Value, json};

use crate::copied::{MONDAY_NS, document, equal, place, said, write};
use crate::database::{Database, Kind, ORG, shared};
use crate::http::{call, escape};
use crate::proxy::Setup;

/// A source whose default policy has a name and short shards, and a second policy.
fn source(name: &str) -> std::sync::Arc<Database> {
    let source = shared(Kind::One, 0);
    source.query(&format!("CREATE DATABASE {name} WITH DURATION INF SHARD DURATION 24h NAME daily"));
    source.query(&format!("CREATE RETENTION POLICY week ON {name} DURATION INF REPLICATION 1 SHARD DURATION 168h"));
    let day = 86_400_000_000_000;
    write(&source, name, &format!("m f=1 {MONDAY_NS}\nm f=2i {}\nm f=\"x\" {}", MONDAY_NS + day, MONDAY_NS + 2 * day));
    write(&source, &format!("{name}/week"), &format!("w f=1 {MONDAY_NS}"));
    source
}

/// Name, how long it keeps, how much time its shards span, whether it is the default.
fn policies(database: &Database, name: &str) -> Vec<Value> {
    let answer = database.query(&format!("SHOW RETENTION POLICIES ON {name}"));
    let rows = answer["results"][0]["series"][0]["values"].as_array().unwrap().clone();
    rows.into_iter().map(|row| json!([row[0], row[1], row[2], row[row.as_array().unwrap().len() - 1]])).collect()
}

fn buckets(database: &Database, name: &str) -> Vec<(String, u64, u64)> {
    let line = format!("GET /api/v2/buckets?org={ORG}&limit=100");
    let found = call(&database.addr, &line, &[&database.authorization()], b"").unwrap().json();
    let of = found["buckets"].as_array().unwrap().iter().filter(|one| one["name"].as_str().unwrap().starts_with(name));
    let rule = |one: &Value, key: &str| one["retentionRules"][0][key].as_u64().unwrap_or_default();
    of.map(|one| {
        (one["name"].as_str().unwrap().to_owned(), rule(one, "everySeconds"), rule(one, "shardGroupDurationSeconds"))
    })
    .collect()
}

#[test]
fn databases_and_policies_are_made_in_the_sources_shards_and_keep_everything() {
    let name = "bmake1";
    let (source, destination) = (source(name), shared(Kind::One, 1));
    let place = place(&source, destination.section());
    let scope = ["--db", name, "--db", "bmake1/*"];
    let without = place.command(&[&["backfill", "plan"], &scope[..]].concat());
    assert_eq!(without.status.code(), Some(4), "{}", said(&without));
    assert!(said(&without).contains("--create makes what is missing"), "{}", said(&without));
    let plan = document(&place, &[&["plan", "--create"], &scope[..]].concat(), 0);
    let typed = plan["missing"].as_array().unwrap().iter().map(|one| one["typed"].as_str().unwrap());
    assert_eq!(
        typed.collect::<Vec<_>>(),
        [
            "CREATE DATABASE \"bmake1\" WITH DURATION INF REPLICATION 1 SHARD DURATION 86400s NAME \"daily\"",
            "CREATE RETENTION POLICY \"week\" ON \"bmake1\" DURATION INF REPLICATION 1 SHARD DURATION 604800s",
        ],
        "{plan:#}"
    );
    let there = destination.query("SHOW DATABASES").to_string();
    assert!(!there.contains(name), "a plan makes nothing: {there}");
    let done = document(&place, &[&["start", "--offline", "--create"], &scope[..]].concat(), 0);
    assert_eq!(done["cells"], 4, "{done:#}");
    assert_eq!(
        policies(&destination, name),
        [json!(["daily", "0s", "24h0m0s", true]), json!(["week", "0s", "168h0m0s", false])]
    );
    equal(&source, &destination, name);
    equal(&source, &destination, &format!("{name}/week"));
}

#[test]
fn buckets_are_made_with_the_mappings_by_which_queries_find_them() {
    let name = "bmake2";
    let (source, destination) = (source(name), shared(Kind::Two, 1));
    let place = place(&source, destination.section());
    let scope = ["--db", name, "--db", "bmake2/*"];
    let plan = document(&place, &[&["plan", "--create"], &scope[..]].concat(), 0);
    let missing = plan["missing"].as_array().unwrap();
    assert!(missing.iter().all(|one| one["is_made"] == true), "{plan:#}");
    assert_eq!(missing.len(), 3, "two buckets, and the default policy is not called autogen: {plan:#}");
    document(&place, &[&["start", "--offline", "--create"], &scope[..]].concat(), 0);
    let made = [(name.to_owned(), 0, 86_400), (format!("{name}/week"), 0, 604_800)];
    assert_eq!(buckets(&destination, name), made);
    let count = |database: &Database, parameters: &str| {
        let line = format!("POST /query?{parameters}&q={}", escape("SELECT * FROM /.*/"));
        let answer = call(&database.addr, &line, &[&database.authorization()], b"").unwrap().json();
        answer["results"][0]["series"].as_array().map_or(0, Vec::len)
    };
    for parameters in [format!("db={name}"), format!("db={name}&rp=daily"), format!("db={name}&rp=week")] {
        assert_eq!(count(&destination, &parameters), 1, "{parameters}");
    }
    let again = document(&place, &[&["plan", "--create"], &scope[..]].concat(), 4);
    assert_eq!(again["missing"], json!([]), "nothing is made twice: {again:#}");
}

/// The retention is the destination's own: what is there stays as it is, and a copy that it would drop is refused.
#[test]
fn what_is_there_is_not_changed() {
    let name = "bmake3";
    let (source, destination) = (source(name), shared(Kind::One, 1));
    destination.query(&format!("CREATE DATABASE {name} WITH DURATION 30d NAME daily"));
    let place = place(&source, destination.section());
    let output = place.command(&["backfill", "start", "--offline", "--create", "--db", name]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    let fix = format!("ALTER RETENTION POLICY \"daily\" ON \"{name}\" DURATION INF");
    assert!(said(&output).contains(&fix), "{}", said(&output));
    assert_eq!(destination.cells(name).len(), 0);
}

#[test]
fn rights_that_are_missing_are_named_with_the_grant() {
    let name = "bmake4";
    let source = source(name);
    let destination = Database::start_with(Kind::One, &[("HTTP_AUTH_ENABLED", "true")]);
    let as_admin = |q: &str| {
        let target = format!("POST /query?u=admin&p=x&q={}", escape(q));
        assert_eq!(call(&destination.addr, &target, &[], b"").unwrap().status, 200, "{q}");
    };
    as_admin("CREATE USER admin WITH PASSWORD 'x' WITH ALL PRIVILEGES");
    as_admin("CREATE USER joe WITH PASSWORD 'x'");
    let section = format!("{}\nusername = \"joe\"\npassword = \"x\"", destination.section());
    let place = Setup::new(source.section(), section).place();
    let output = place.command(&["backfill", "start", "--offline", "--create", "--db", name]);
    assert_eq!(output.status.code(), Some(12), "{}", said(&output));
    assert!(said(&output).contains("GRANT ALL PRIVILEGES TO \"joe\""), "{}", said(&output));
    as_admin(&format!("CREATE DATABASE {name} WITH DURATION INF NAME daily"));
    let output = place.command(&["backfill", "start", "--offline", "--create", "--db", name]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains(&format!("GRANT WRITE ON \"{name}\" TO \"joe\"")), "{}", said(&output));
}

/// A token that may write to buckets that are there, and make none.
#[test]
fn a_token_that_may_make_no_bucket_is_told_which_one_may() {
    let name = "bmake5";
    let (source, destination) = (source(name), shared(Kind::Two, 1));
    let (org_id, id) = destination.bucket_ids("first");
    let permission =
        |action: &str| json!({ "action": action, "resource": { "type": "buckets", "id": id, "orgID": org_id } });
    let body = json!({ "orgID": org_id, "permissions": [permission("read"), permission("write")] });
    let line = "POST /api/v2/authorizations";
    let headers = [&destination.authorization()[..], "Content-Type: application/json"];
    let made = call(&destination.addr, line, &headers, body.to_string().as_bytes()).unwrap().json();
    let token = made["token"].as_str().unwrap();
    let section = format!("url = \"http://{}\"\norg = \"{ORG}\"\ntoken = \"{token}\"", destination.addr);
    let place = Setup::new(source.section(), section).place();
    let output = place.command(&["backfill", "start", "--offline", "--create", "--db", name]);
    assert_eq!(output.status.code(), Some(12), "{}", said(&output));
    assert!(said(&output).contains("influx auth create --org o --all-access"), "{}", said(&output));
    assert_eq!(buckets(&destination, name), []);
}
