//! Check 36: a bucket, a policy or a whole database is missing at the destination. It is made where the configuration says so, else
//! delivery there stands still, and what is missing is named with what to type.

use crate::answers::events;
use crate::database::{Database, Kind, shared};
use crate::proxy::{Setup, Twinline};

/// Two lines: into policy `r`, and into the default one.
fn write(twinline: &Twinline, name: &str) {
    for (path, body) in [(format!("/write?db={name}&rp=r"), "m v=1 1"), (format!("/write?db={name}"), "m v=2 2")] {
        assert_eq!(twinline.call(&format!("POST {path}"), &[], body).status, 204);
    }
}

#[test]
fn check_36_a_missing_bucket_or_policy_is_named_until_it_is_there() {
    let source = shared(Kind::One, 0);
    for (kind, name, code, named) in [
        (Kind::Two, "absent_2", "bucket-missing", "influx bucket create --org o --name absent_2/r"),
        (
            Kind::One,
            "absent_1",
            "policy-missing",
            "retention policy not found: r. Next, at the destination: CREATE RETENTION POLICY \"r\" ON \"absent_1\" DURATION INF",
        ),
    ] {
        let destination = shared(kind, 1);
        source.create(name);
        source.create(&format!("{name}/r"));
        destination.create(name);
        let twinline = Setup::new(source.section(), destination.section()).start();
        write(&twinline, name);
        let paused = twinline.until("it stands still", |status| status["paused"][0]["code"] == code);
        assert!(paused["paused"][0]["reason"].as_str().unwrap().contains(named), "{paused:#}");
        assert!(paused["paused"][0]["what"].as_str().unwrap().contains(name), "{paused:#}");
        destination.create(&format!("{name}/r"));
        twinline.delivered(2);
        assert_eq!((destination.cells(name).len(), destination.cells(&format!("{name}/r")).len()), (1, 1));
    }
}

/// Nothing at all is there: what is made has the source's names, and keeps everything.
#[test]
fn check_36_what_is_missing_is_made_where_the_configuration_says_so() {
    for kind in [Kind::One, Kind::Two] {
        let (source, destination) = (shared(Kind::One, 0), shared(kind, 1));
        let name = format!("made_{kind:?}").to_lowercase();
        source.query(&format!("CREATE DATABASE {name} WITH DURATION 60d NAME sixty"));
        source.query(&format!("CREATE RETENTION POLICY r ON {name} DURATION 90d REPLICATION 1"));
        let section = format!("{}\ncreate = \"missing\"", destination.section());
        let twinline = Setup::new(source.section(), section).start();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        for (rp, value) in [("&rp=r", 1), ("", 2), ("&rp=sixty", 3)] {
            let (path, body) = (format!("POST /write?db={name}{rp}"), format!("m v={value} {}", now + value));
            let answer = twinline.call(&path, &[], body);
            assert_eq!(answer.status, 204, "{}", answer.text());
        }
        twinline.delivered(3);
        twinline.until("nothing stands still", |status| status["paused"].as_array().unwrap().is_empty());
        assert_eq!((destination.cells(&name).len(), destination.cells(&format!("{name}/r")).len()), (2, 1));
        keeps_for_ever(&destination, &name);
        let told: Vec<String> = events(&twinline, 0).iter().map(|event| event["text"].to_string()).collect();
        let made = told.iter().filter(|text| text.contains("was missing at destination main and is made")).count();
        // A policy of 1.x may have been made together with its database.
        assert!((1..=2).contains(&made), "{told:?}");
        assert!(!told.iter().any(|text| text.contains("cannot be written to")), "{told:?}");
    }
}

/// It was there: whoever removes it by hand is not overruled.
#[test]
fn check_36_what_somebody_has_removed_is_not_made_again() {
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    let name = "removed_by_hand";
    source.create(name);
    destination.create(name);
    let section = format!("{}\ncreate = \"missing\"", destination.section());
    let twinline = Setup::new(source.section(), section).start();
    let write = |value: u32| {
        assert_eq!(twinline.call(&format!("POST /write?db={name}"), &[], format!("m v={value} {value}")).status, 204);
    };
    write(1);
    twinline.delivered(1);
    destination.query(&format!("DROP DATABASE {name}"));
    write(2);
    let paused = twinline.until("it stands still", |status| status["paused"][0]["code"] == "database-missing");
    assert!(paused["paused"][0]["reason"].as_str().unwrap().contains("it was there and is missing now"), "{paused:#}");
    destination.create(name);
    twinline.delivered(2);
}

fn keeps_for_ever(destination: &Database, name: &str) {
    if destination.kind == Kind::Two {
        for bucket in [name.to_owned(), format!("{name}%2Fr")] {
            let line = format!("GET /api/v2/buckets?org={}&name={bucket}", crate::database::ORG);
            let found = destination.connect().call(&line, &[&destination.authorization()], b"").unwrap().json();
            assert_eq!(found["buckets"].as_array().unwrap().len(), 1, "{found:#}");
            let rules = found["buckets"][0]["retentionRules"].as_array().unwrap();
            assert!(rules.iter().all(|rule| rule["everySeconds"].as_u64().unwrap_or_default() == 0), "{found:#}");
        }
        return;
    }
    let answer = destination.query(&format!("SHOW RETENTION POLICIES ON {name}"));
    let rows = answer.pointer("/results/0/series/0/values").unwrap().as_array().unwrap();
    let shown: Vec<_> = rows.iter().map(|row| (row[0].as_str().unwrap(), row[1].as_str().unwrap())).collect();
    assert_eq!(shown, [("sixty", "0s"), ("r", "0s")], "{answer:#}");
}
