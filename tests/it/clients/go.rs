//! Both clients for Go.

use super::{
    Client, MS, NS, S, US, Way, assert_both_hold, assert_same, between, installed, lines, record, writes_and_looks,
};
use crate::database::Kind;

fn go(program: &str) -> Client {
    Client::program(installed(&format!("bin/{program}"), "go"))
}

const WAYS_2: [Way; 7] = [
    ("go2 ns", NS, true),
    ("go2 us", US, true),
    ("go2 ms", MS, true),
    ("go2 s", S, true),
    ("go2 gathered", US, true),
    ("go2 batches", MS, true),
    ("go2 gzip", NS, true),
];

#[test]
fn check_08_influxdb_client_go_writes_in_batches_and_hears_errors() {
    writes_and_looks(&go("go2"), Kind::Two, "check_08_2", &WAYS_2);
}

/// The 2.x client before InfluxDB 1, where it finds what went wrong in a header.
#[test]
fn check_08_influxdb_client_go_writes_to_influxdb_1() {
    let name = "check_08_2_to_1";
    let (source, destination, twinline) = between(Kind::One, name);
    let (client, bucket) = (go("go2"), format!("{name}/autogen"));
    let ways: [Way; 7] = WAYS_2.map(|(measurement, unit_ns, _)| (measurement, unit_ns, false));
    client.run("write", &twinline.addr, &bucket);
    twinline.delivered(lines(&ways));
    assert_both_hold(&record(&ways), name, &source, &destination);
    let seen = client.run("look", &twinline.addr, &bucket);
    assert!(seen.contains("type conflict raises 400"), "{seen}");
    assert_same(&client.run("look", &source.addr, &bucket), &seen);
}

#[test]
fn check_08_influxdb1_client_go_writes_in_batches_and_hears_errors() {
    let ways: [Way; 6] = [
        ("go1 ns", NS, false),
        ("go1 ms", MS, false),
        ("go1 s", S, false),
        ("go1 m", 60 * S, false),
        ("go1 h", 3600 * S, false),
        ("go1 gzip", US, false),
    ];
    writes_and_looks(&go("go1"), Kind::One, "check_08_1", &ways);
}
