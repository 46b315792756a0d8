//! Both clients for Go.

use super::{Client, MS, NS, S, US, Way, installed, writes_and_looks};
use crate::database::Kind;

fn go(program: &str) -> Client {
    Client::program(installed(&format!("bin/{program}"), "go"))
}

#[test]
fn check_08_influxdb_client_go_writes_in_batches_and_hears_errors() {
    let ways: [Way; 7] = [
        ("go2 ns", NS, true),
        ("go2 us", US, true),
        ("go2 ms", MS, true),
        ("go2 s", S, true),
        ("go2 gathered", US, true),
        ("go2 batches", MS, true),
        ("go2 gzip", NS, true),
    ];
    writes_and_looks(&go("go2"), Kind::Two, "check_08_2", &ways);
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
