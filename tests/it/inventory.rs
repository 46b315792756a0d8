//! `twinline inventory` of real servers: what is there, what writes by itself, and what may not be seen.

use serde_json::{Value, json};

use crate::database::{Database, Kind, ORG, TOKEN, shared};
use crate::http::{call, escape};
use crate::proxy::Setup;

/// The document, and the exit code.
fn inventory(source: String, destination: String) -> (Value, Option<i32>) {
    let place = Setup::new(source, destination).place();
    let asked = place.command(&["inventory", "-o", "json"]);
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    let document = serde_json::from_str(&said).unwrap_or_else(|e| {
        panic!("{e}: {said}{}", String::from_utf8_lossy(&asked.stderr));
    });
    (document, asked.status.code())
}

fn items<'d>(document: &'d Value, group: &str) -> &'d [Value] {
    let groups = document["groups"].as_array().unwrap();
    let group = groups.iter().find(|one| one["group"] == group).unwrap_or_else(|| panic!("no {group}: {document:#}"));
    group["items"].as_array().unwrap()
}

fn item<'d>(document: &'d Value, group: &str, name: &str) -> &'d Value {
    let all = items(document, group);
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name} in {group}: {document:#}"))
}

#[test]
fn an_influxdb_1_is_listed_with_its_writers_and_what_is_to_be_made_by_hand() {
    let settings = [
        ("MONITOR_STORE_ENABLED", "true"),
        ("UDP_0_ENABLED", "true"),
        ("UDP_0_BIND_ADDRESS", "127.0.0.1:0"),
        ("UDP_0_DATABASE", "udpdb"),
    ];
    let source = Database::start_with(Kind::One, &settings);
    let destination = shared(Kind::Two, 0);
    source.create("d");
    source.query("CREATE RETENTION POLICY w ON d DURATION 7d REPLICATION 1 SHARD DURATION 1d");
    source.query("CREATE DATABASE e");
    source
        .query("CREATE CONTINUOUS QUERY cq ON d BEGIN SELECT mean(v) INTO e.autogen.avg FROM m GROUP BY time(1h) END");
    source.query("CREATE SUBSCRIPTION s ON d.autogen DESTINATIONS ALL 'http://user:hunter2@127.0.0.1:9'");
    source.query("CREATE USER joe WITH PASSWORD 'hunter2'");
    source.query("GRANT WRITE ON d TO joe");
    let (found, code) = inventory(source.section(), destination.section());
    assert_eq!(code, Some(0), "{found:#}");
    let (week, cq) = (item(&found, "databases", "d/w"), item(&found, "continuous-queries", "cq on d"));
    assert_eq!(week["fate"], "mirrored");
    let typed = "influx bucket create --org o --name d/w --retention 604800s --shard-group-duration 86400s";
    assert_eq!(week["statement"], typed);
    assert_eq!((&cq["fate"], &cq["writes_to"]), (&json!("written-inside"), &json!("e/autogen, measurement avg")));
    assert!(cq["does"].as_str().unwrap().contains("not copied by twinline yet"), "{cq}");
    assert_eq!(item(&found, "subscriptions", "s on d/autogen")["facts"], "to http://…@127.0.0.1:9");
    let user = item(&found, "users", "joe");
    assert_eq!((&user["facts"], &user["fate"]), (&json!("WRITE on d"), &json!("by-hand")));
    let udp = item(&found, "listeners", "udp 127.0.0.1:0");
    assert_eq!((&udp["writes_to"], &udp["fate"]), (&json!("udpdb"), &json!("written-around")));
    assert_eq!(item(&found, "listeners", "monitor store _internal")["fate"], "nothing-to-do");
    assert_eq!((&found["writers_not_copied"], &found["not_known"]), (&json!(2), &json!(0)));
    assert!(!found.to_string().contains("hunter2"), "{found}");
}

#[test]
fn an_influxdb_2_is_listed_with_its_tasks_and_scrapers() {
    let source = Database::start(Kind::Two);
    source.create("agg");
    let authorization = source.authorization();
    let get = |path: &str| call(&source.addr, &format!("GET {path}"), &[&authorization], b"").unwrap().json();
    let bucket = get("/api/v2/buckets?name=agg")["buckets"][0].clone();
    let (org, bucket) = (bucket["orgID"].clone(), bucket["id"].clone());
    let post = |path: &str, body: Value| source.post(path, body.to_string().as_bytes(), 201);
    let flux = "option task = {name: \"roll\", every: 1h}\nfrom(bucket: \"first\") |> range(start: -1h) |> to(bucket: \"agg\")";
    post("/api/v2/tasks", json!({ "orgID": org, "flux": flux }));
    let quiet = "option task = {name: \"look\", every: 1h}\nfrom(bucket: \"first\") |> range(start: -1h)";
    post("/api/v2/tasks", json!({ "orgID": org, "flux": quiet }));
    let url = "http://127.0.0.1:1/metrics";
    post(
        "/api/v2/scrapers",
        json!({ "orgID": org, "bucketID": bucket, "name": "self", "type": "prometheus", "url": url }),
    );
    post(
        "/api/v2/dbrps",
        json!({ "orgID": org, "bucketID": bucket, "database": "d", "retention_policy": "r", "default": true }),
    );
    let destination = shared(Kind::Two, 0);
    let (found, code) = inventory(source.section(), destination.section());
    assert_eq!(code, Some(0), "{found:#}");
    assert_eq!(items(&found, "buckets").len(), 2, "without those of the system: {found:#}");
    let roll = item(&found, "tasks", "roll");
    assert_eq!((&roll["fate"], &roll["writes_to"]), (&json!("written-inside"), &json!("agg")));
    assert_eq!(item(&found, "tasks", "look")["fate"], "by-hand");
    assert_eq!(item(&found, "scrapers", "self")["writes_to"], "agg");
    let typed = item(&found, "mappings", "d/r")["statement"].to_string();
    assert!(typed.contains("influx v1 dbrp create --org o --db d --rp r --default"), "{typed}");
    assert_eq!(found["writers_not_copied"], 2);
    assert!(!found.to_string().contains(TOKEN), "{found}");

    // A token that may see buckets alone sees the other lists empty: that is no proof.
    let permission = json!({ "action": "read", "resource": { "type": "buckets", "orgID": org } });
    let narrow = post("/api/v2/authorizations", json!({ "orgID": org, "permissions": [permission] })).json();
    let narrow = narrow["token"].as_str().unwrap();
    let section = format!("url = \"http://{}\"\norg = \"{ORG}\"\ntoken = \"{narrow}\"", source.addr);
    let (found, code) = inventory(section, destination.section());
    assert_eq!(code, Some(5), "{found:#}");
    let tasks = found["groups"].as_array().unwrap().iter().find(|one| one["group"] == "tasks").unwrap();
    assert!(tasks["not_known"]["fix"].as_str().unwrap().contains("--all-access"), "{tasks}");
}

#[test]
fn rights_that_are_missing_are_named_with_the_grant_and_silence_is_no_empty_list() {
    let source = Database::start_with(Kind::One, &[("HTTP_AUTH_ENABLED", "true")]);
    let as_admin = |q: &str| {
        let target = format!("POST /query?u=admin&p=x&q={}", escape(q));
        let answer = call(&source.addr, &target, &[], b"").unwrap();
        assert_eq!(answer.status, 200, "{q}: {}", answer.text());
    };
    as_admin("CREATE USER admin WITH PASSWORD 'x' WITH ALL PRIVILEGES");
    as_admin("CREATE DATABASE d");
    as_admin("CREATE USER joe WITH PASSWORD 'x'");
    as_admin("GRANT READ ON d TO joe");
    let destination = shared(Kind::One, 1);
    let section = |user: &str| format!("{}\nusername = \"{user}\"\npassword = \"x\"", source.section());
    let (found, code) = inventory(section("joe"), destination.section());
    assert_eq!((code, &found["not_known"]), (Some(5), &json!(4)), "{found:#}");
    for group in found["groups"].as_array().unwrap().iter().filter(|group| group["group"] != "databases") {
        assert_eq!(group["not_known"]["fix"], "at the source: GRANT ALL PRIVILEGES TO \"joe\"", "{group}");
    }
    let (found, code) = inventory(section("admin"), destination.section());
    assert_eq!((code, &found["not_known"]), (Some(0), &json!(0)), "{found:#}");
    assert_eq!(
        item(&found, "users", "joe")["statement"],
        r#"CREATE USER "joe" WITH PASSWORD '…'; GRANT READ ON "d" TO "joe""#
    );
    let place = Setup::new("url = \"http://127.0.0.1:1\"".to_owned(), destination.section()).place();
    assert_eq!(place.command(&["inventory"]).status.code(), Some(10));
}
