//! A destination that has too many requests at once gets fewer: it says so, or breaks connections off without a byte
//! (facts 6.1, rows 24 and 25).

use std::time::Duration;

use twinline::sandbox::{Options, Sandbox};

use crate::proxy::Setup;
use crate::scripted::{Reply, Scripted, Write};

/// Fewer than after how many good answers there is one more at once.
const SEEN: usize = 18;

/// The first requests end so. Returns how many were under way at once afterwards.
fn at_once_after(first: &Reply) -> usize {
    let source = Sandbox::spawn_thread(Options::default()).unwrap();
    source.create_database("d");
    let destination = Scripted::start(|_| Reply::new(401, ""));
    let mut setup = Setup::new(
        format!("url = \"{}\"\nkind = \"influxdb1\"", source.url()),
        format!("url = \"{}\"\nkind = \"influxdb1\"", destination.url()),
    );
    setup.delivery.push_str("\nlanes = 4\nbatch_lines = 1");
    let twinline = setup.start();
    // Work for every lane, before anything of it can go.
    let lines: String = (0..80).map(|at| format!("m,t={at} v=1i {at}\n")).collect();
    assert_eq!(twinline.call("POST /write?db=d", &[], lines).status, 204);
    twinline.until("it stands still", |status| status["paused"][0]["code"] == "unauthorized");
    let (mut left, mut seen, first) = (8, 0, first.clone());
    destination.set(move |_: &Write| {
        if left > 0 {
            left -= 1;
            return first.clone();
        }
        seen += 1;
        if seen <= SEEN { Reply::Slow(Duration::from_millis(40)) } else { Reply::new(204, "") }
    });
    twinline.delivered(80);
    destination.most_at_once()
}

#[test]
fn a_destination_that_throttles_gets_fewer_requests_at_once() {
    assert_eq!(at_once_after(&Reply::new(503, "request throttled, queue full\n")), 1);
}

#[test]
fn a_destination_that_breaks_connections_off_gets_fewer_requests_at_once() {
    assert_eq!(at_once_after(&Reply::Close), 1);
}

/// So the other two mean something.
#[test]
fn a_destination_that_is_only_away_gets_as_many_at_once_as_before() {
    assert!(at_once_after(&Reply::new(500, "anything")) > 1);
}
