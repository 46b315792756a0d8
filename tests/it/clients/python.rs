//! Both clients for Python.

use super::{Client, MS, NS, S, US, Way, installed, writes_and_looks};
use crate::database::Kind;

fn python(script: &str) -> Client {
    Client::script(installed("python/bin/python", "python"), script)
}

#[test]
fn check_04_influxdb_python_for_1_writes_in_each_precision_and_reads() {
    let ways: [Way; 8] = [
        ("python n", NS, false),
        ("python u", US, false),
        ("python ms", MS, false),
        ("python s", S, false),
        ("python m", 60 * S, false),
        ("python h", 3600 * S, false),
        ("python gzip", MS, false),
        ("python lines", NS, false),
    ];
    writes_and_looks(&python("python1.py"), Kind::One, "check_04", &ways);
}

#[test]
fn check_06_influxdb_client_for_python_writes_in_every_mode() {
    let ways: [Way; 9] = [
        ("python2 sync ns", NS, false),
        ("python2 sync us", US, false),
        ("python2 sync ms", MS, false),
        ("python2 sync s", S, false),
        ("python2 lines", MS, false),
        ("python2 threads", NS, false),
        ("python2 gzip", US, false),
        ("python2 batching", NS, false),
        ("python2 async", NS, false),
    ];
    writes_and_looks(&python("python2.py"), Kind::Two, "check_06", &ways);
}
