//! Writes that come to the source around Twinline: told, with the place, and kept; what goes through is never taken for one.

use std::net::UdpSocket;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::database::{Database, Kind, ORG, TOKEN, shared};
use crate::http::{Connection, call, gzip};
use crate::proxy::{Setup, Twinline};

const QUICK: &str = "watch_writes = \"100ms\"";

fn start(source: &Database, destination: &Database) -> Twinline {
    Setup::new(format!("{}\n{QUICK}", source.section()), destination.section()).start()
}

/// What was found, by place.
fn found(status: &Value) -> Vec<(String, u64)> {
    let rows = status["gap_rows"].as_array().unwrap().iter().filter(|row| row["cause"] == "bypass");
    let mut found: Vec<_> =
        rows.map(|row| (row["route"].as_str().unwrap().to_owned(), row["lines"].as_u64().unwrap())).collect();
    found.sort();
    found
}

fn watching(twinline: &Twinline) {
    twinline.until("the counters are compared", |status| status["facts"]["around"]["state"] == "watching");
}

/// Until two more looks have come to an end: a write around us that nobody should miss.
fn looks(twinline: &Twinline, source: &Database) {
    for _ in 0..2 {
        let before: u64 = found(&twinline.status()).iter().filter(|(place, _)| place == "marks").map(|(_, n)| n).sum();
        write_around(source, "marks", "m v=1");
        twinline.until("a mark is found", |status| {
            found(status).iter().any(|(place, points)| place == "marks" && *points > before)
        });
    }
}

fn write_around(source: &Database, place: &str, lines: &str) {
    let target = match source.kind {
        Kind::One => format!("/write?db={place}"),
        Kind::Two => format!("/api/v2/write?org={ORG}&bucket={place}"),
    };
    source.post(&target, lines.as_bytes(), 204);
}

/// Writes of every kind, some refused in part or whole.
fn mixed(twinline: &Twinline, kind: Kind, db: &str, rounds: usize) {
    let token = format!("Authorization: Token {TOKEN}");
    let mut connection = Connection::open(&twinline.addr).unwrap();
    let target = match kind {
        Kind::One => format!("POST /write?db={db}"),
        Kind::Two => format!("POST /api/v2/write?org={ORG}&bucket={db}"),
    };
    let other = match kind {
        Kind::One => format!("POST /api/v2/write?bucket={db}"),
        Kind::Two => format!("POST /write?db={db}"),
    };
    let lines = |n: usize, what: &str| -> String { (0..n).map(|i| format!("{what},h={i} v={i}\n")).collect() };
    for round in 0..rounds {
        for (target, body, packed) in [
            (&target, lines(1 + round % 50, "m"), false),
            (&other, lines(20, "n"), true),
            (&target, format!("m,h=a v={round} {}\n# none\n\nm,h=b v=1", 1 + round), false),
            (&target, "m,h=a v=\"text\"\nm,h=b v=3 5\n".to_owned(), false),
            (&target, "bad\nm,h=c v=3 7\n".to_owned(), false),
            (&target, "bad".to_owned(), false),
            (&other, String::new(), false),
        ] {
            let (body, encoding) = if packed {
                (gzip(body.as_bytes()), "Content-Encoding: gzip")
            } else {
                (body.into_bytes(), "X-Plain: 1")
            };
            let answer = connection.call(target, &[&token, encoding], &body).unwrap();
            assert!(matches!(answer.status, 204 | 400 | 422), "{}: {}", answer.status, answer.text());
        }
    }
    let nowhere = target.replace(db, "nowhere");
    assert_eq!(connection.call(&nowhere, &[&token], b"m v=1").unwrap().status, 404);
}

#[test]
fn traffic_through_us_raises_no_alarm_and_a_direct_write_names_its_place() {
    for kind in [Kind::One, Kind::Two] {
        let (source, destination) = (Database::start(kind), shared(kind, 1));
        for name in ["telegraf", "other", "marks"] {
            source.create(name);
            destination.create(name);
        }
        let twinline = start(&source, &destination);
        watching(&twinline);
        std::thread::scope(|scope| {
            for db in ["telegraf", "telegraf", "other"] {
                let twinline = &twinline;
                scope.spawn(move || mixed(twinline, kind, db, 60));
            }
        });
        // More than is held whole, of few points: a busy source must not need long for it.
        let text = "x".repeat(900);
        let large: String =
            (0..10_000).map(|i| format!("large,h={} s=\"{text}\" {}\n", i % 100, 1_000_000 + i)).collect();
        let (target, token) = match kind {
            Kind::One => ("POST /write?db=telegraf".to_owned(), "X-Plain: 1".to_owned()),
            Kind::Two => (format!("POST /api/v2/write?org={ORG}&bucket=telegraf"), source.authorization()),
        };
        assert_eq!(twinline.call(&target, &[&token], large).status, 204);
        looks(&twinline, &source);
        let shown = found(&twinline.status());
        assert_eq!(shown.len(), 1, "{kind:?}: only the marks came around: {shown:?}");

        write_around(&source, "telegraf", "m,h=a v=1 77\nm,h=b v=2 78\nm,h=c v=3 79");
        let status = twinline.until("it is found", |status| found(status).len() > 1);
        assert_eq!(found(&status)[1], ("telegraf".to_owned(), 3), "{kind:?}");
        assert!(status["not_covered"].to_string().contains("block a cutover"), "{:#}", status["not_covered"]);
        assert_eq!(status["lines"]["gap"], 0, "none that we accepted");
        let events = twinline.admin("/api/v1/events").text();
        let told = "about 3 points a minute come to telegraf at the source other than through Twinline";
        assert!(events.contains("writes-around") && events.contains(told), "{events}");
        let screen = twinline.command(&["status"]).stdout;
        let screen = String::from_utf8_lossy(&screen).into_owned();
        assert!(screen.contains("! AROUND at least 3 points came to telegraf"), "{screen}");
        assert!(twinline.admin("/metrics").text().contains("twinline_source_around_points_total"));
    }
}

#[test]
fn points_that_are_made_inside_the_source_are_found_and_stay_on_record() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = udp.local_addr().unwrap();
    drop(udp);
    let address = port.to_string();
    let settings = [
        ("CONTINUOUS_QUERIES_RUN_INTERVAL", "200ms"),
        ("MONITOR_STORE_ENABLED", "true"),
        ("MONITOR_STORE_INTERVAL", "200ms"),
        ("UDP_0_ENABLED", "true"),
        ("UDP_0_BIND_ADDRESS", address.as_str()),
        ("UDP_0_DATABASE", "udpdb"),
        ("UDP_0_BATCH_TIMEOUT", "50ms"),
    ];
    let (source, destination) = (Database::start_with(Kind::One, &settings), shared(Kind::One, 1));
    for name in ["raw", "agg", "udpdb"] {
        source.create(name);
    }
    destination.create("raw");
    let mut twinline = start(&source, &destination);
    watching(&twinline);
    source.query(
        "CREATE CONTINUOUS QUERY c ON raw BEGIN SELECT count(v) INTO agg.autogen.n FROM m GROUP BY time(1s) END",
    );
    let status = twinline.until("the query's points are found", |status| {
        assert_eq!(twinline.call("POST /write?db=raw", &[], "m v=1").status, 204);
        found(status).iter().any(|(place, _)| place == "agg")
    });
    assert_eq!(found(&status).len(), 1, "neither what went through nor _internal: {:?}", found(&status));
    source.query("DROP CONTINUOUS QUERY c ON raw");
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"u v=1\nu v=2 5", port).unwrap();
    let status =
        twinline.until("so is what came by UDP", |status| found(status).iter().any(|(place, _)| place == "udpdb"));
    let before = found(&status);

    // On record, also behind a restart of ours; the source's counters begin anew with it.
    twinline.stop(Signal::KILL);
    twinline.start_again();
    watching(&twinline);
    let kept = found(&twinline.status());
    assert!(
        before.iter().all(|(place, points)| kept.iter().any(|(p, n)| p == place && n >= points)),
        "{before:?} {kept:?}"
    );
    source.stop(Signal::TERM);
    source.restart();
    let sum = |status: &Value| found(status).iter().filter(|(place, _)| place == "udpdb").map(|(_, n)| *n).sum::<u64>();
    let before = sum(&twinline.status());
    twinline.until("the source is looked at again", |_| {
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"u v=1", port).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        sum(&twinline.status()) > before
    });
    assert!(!found(&twinline.status()).iter().any(|(place, _)| place == "raw"), "{:?}", found(&twinline.status()));
}

#[test]
fn a_source_that_does_not_show_its_counters_is_no_error_and_the_status_says_so() {
    // The token may write, and sees no bucket.
    let source = Database::start(Kind::Two);
    let destination = shared(Kind::Two, 1);
    let authorization = source.authorization();
    let bucket = call(&source.addr, "GET /api/v2/buckets?name=first", &[&authorization], b"").unwrap().json();
    let org = &bucket["buckets"][0]["orgID"];
    let permission = json!({ "action": "read", "resource": { "type": "tasks", "orgID": org } });
    let body = json!({ "orgID": org, "permissions": [permission] }).to_string();
    let narrow = source.post("/api/v2/authorizations", body.as_bytes(), 201).json();
    write_around(&source, "first", "m v=1");
    let section = format!("url = \"http://{}\"\norg = \"{ORG}\"\ntoken = {}\n{QUICK}", source.addr, narrow["token"]);
    let twinline = Setup::new(section, destination.section()).start();
    let status = twinline.until("it says why", |status| status["facts"]["around"]["state"] == "off");
    assert!(status["facts"]["around"]["why"].as_str().unwrap().contains("sees no bucket"), "{status:#}");
    let screen = twinline.command(&["status"]).stdout;
    assert!(
        String::from_utf8_lossy(&screen).contains("around Twinline are not looked for"),
        "{}",
        String::from_utf8_lossy(&screen)
    );

    // Switched off.
    let section = format!("{}\nwatch_writes = \"0\"", source.section());
    let twinline = Setup::new(section, destination.section()).start();
    let status = twinline.until("it is off", |status| status["facts"]["around"]["state"] == "off");
    assert_eq!(status["facts"]["around"]["why"], "source.watch_writes is 0");
}
