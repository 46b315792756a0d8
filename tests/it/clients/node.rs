//! Both clients for Node.

use super::{Client, MS, NS, S, US, Way, assert_same, count, installed, lines, record, writes_and_looks};
use crate::database::{Database, Kind, shared};
use crate::proxy::Setup;

fn node(script: &str) -> Client {
    let modules = installed("node/node_modules", "node");
    Client::script("node".into(), script).with("TWINLINE_CLIENT_MODULES", modules)
}

#[test]
fn check_05_node_influx_writes_in_each_precision_and_reads() {
    let ways: [Way; 7] = [
        ("node_n", NS, false),
        ("node_u", US, false),
        ("node_ms", MS, false),
        ("node_s", S, false),
        ("node_m", 60 * S, false),
        ("node_h", 3600 * S, false),
        ("node_single", MS, false),
    ];
    writes_and_looks(&node("node1.js"), Kind::One, "check_05", &ways);
}

/// Its batches are counted as written when 204 was heard and nothing else.
#[test]
fn check_07_influxdb_client_for_node_writes_batches_with_and_without_gzip() {
    let ways: [Way; 6] = [
        ("node2 ns", NS, true),
        ("node2 us", US, true),
        ("node2 ms", MS, true),
        ("node2 s", S, true),
        ("node2 gzip", MS, true),
        ("node2 bytes", US, true),
    ];
    writes_and_looks(&node("node2.js"), Kind::Two, "check_07", &ways);
}

/// It always sends credentials, `root:root` when it was told none.
#[test]
fn check_05_node_influx_is_let_in_as_root() {
    let (source, destination) =
        (Database::start_with(Kind::One, &[("HTTP_AUTH_ENABLED", "true")]), shared(Kind::Two, 1));
    let name = "check_05_root";
    destination.create(name);
    let user = "q=CREATE+USER+root+WITH+PASSWORD+%27root%27+WITH+ALL+PRIVILEGES";
    source.post("/query", user.as_bytes(), 200);
    let section = format!("{}\nusername = \"root\"\npassword = \"root\"", source.section());
    let twinline = Setup::new(section, destination.section()).start();
    let client = node("node1.js");
    let through = client.run("login", &twinline.addr, name);
    assert!(through.starts_with(&format!("counted {}\n", count())), "{through}");
    let ways: [Way; 1] = [("node_s", S, false)];
    twinline.delivered(lines(&ways));
    record(&ways).assert_held("destination", &destination.cells(name));
    assert_same(&client.run("login", &source.addr, name), &through);
}
