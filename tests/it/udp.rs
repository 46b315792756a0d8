//! Line protocol in datagrams.

use std::net::UdpSocket;

use serde_json::Value;
use twinline::sandbox::{Faults, Options, Sandbox};

use crate::proxy::{Setup, Twinline};

fn start(udp: &str) -> (Sandbox, Sandbox, Twinline, UdpSocket) {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    for sandbox in [&source, &destination] {
        sandbox.create_database("d");
    }
    let setup = Setup::new(format!("url = \"{}\"", source.url()), format!("url = \"{}\"", destination.url()));
    let udp = format!("[[udp]]\naddress = \"127.0.0.1:0\"\ndb = \"d\"\n{udp}\n");
    let twinline = setup.more(&udp).start();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let status = twinline.until("it listens", |status| status["edge"]["udp"][0]["address"].is_string());
    sender.connect(status["edge"]["udp"][0]["address"].as_str().unwrap()).unwrap();
    (source, destination, twinline, sender)
}

fn dropped(status: &Value, why: &str) -> u64 {
    let all = status["edge"]["udp"][0]["dropped"].as_array().unwrap();
    all.iter().find(|row| row[0] == why).map_or(0, |row| row[1].as_u64().unwrap())
}

fn times(sandbox: &Sandbox, policy: &str) -> Vec<i64> {
    let mut times: Vec<i64> = sandbox.cells("d", policy).iter().map(|cell| cell.time_ns).collect();
    times.sort_unstable();
    times
}

#[test]
fn datagrams_reach_both_sides_with_the_same_times() {
    let (source, destination, twinline, sender) = start("precision = \"s\"\nbatch_wait = \"20ms\"");
    for datagram in ["m,t=a v=1 7", "m,t=b v=1 8\nm,t=c v=2", "# a comment\nm,t=d s=\"a\nb\" 9\n", ""] {
        sender.send(datagram.as_bytes()).unwrap();
    }
    let status = twinline.until("all are taken", |status| status["edge"]["udp"][0]["lines"] == 4);
    assert_eq!(status["edge"]["udp"][0]["datagrams"], 4, "{status:#}");
    twinline.delivered(4);
    let both = times(&source, "autogen");
    assert_eq!(both, times(&destination, "autogen"));
    assert_eq!(both[..3], [7_000_000_000, 8_000_000_000, 9_000_000_000]);
    assert!(both[3] % 1_000_000_000 == 0 && both[3] > 1_700_000_000_000_000_000, "that of its arrival: {both:?}");
    assert_eq!(status["edge"]["udp"][0]["dropped"], serde_json::json!([]));
}

#[test]
fn what_is_lost_is_counted_by_reason() {
    let (source, _destination, twinline, sender) = start("batch_wait = \"20ms\"");
    sender.send(b"m v=1 1\nnonsense\nm v=2 2").unwrap();
    twinline.until("the bad one is counted", |status| dropped(status, "unparsable") == 3);
    sender.send(b"m v=1 1").unwrap();
    twinline.delivered(1);
    sender.send(b"m v=\"another type\" 2\nn v=1 2").unwrap();
    let status = twinline.until("the refused one is counted", |status| dropped(status, "refused") > 0);
    assert_eq!((dropped(&status, "refused"), status["edge"]["udp"][0]["lines"].as_u64()), (1, Some(2)), "{status:#}");
    assert_eq!(times(&source, "autogen"), [1, 2]);
    // Of one time: the answer says which of them was dropped.
    let status = twinline.until("both have it", |status| status["lines"]["delivered"] == 2);
    assert_eq!(status["lines"]["doubt"], 0, "{status:#}");
    let metrics = twinline.admin("/metrics").text();
    for line in ["twinline_udp_dropped_lines_total{why=\"unparsable\"} 3", "twinline_udp_datagrams_total 3"] {
        assert!(metrics.lines().any(|l| l == line), "{line}: {metrics}");
    }
    let shown = String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
    assert!(shown.contains("! UDP    lost at 127.0.0.1:") && shown.contains("3 lines unparsable"), "{shown}");
    crate::proxy::eventually("it is told", || {
        let said = twinline.said();
        if said.contains("udp.dropped") { Ok(()) } else { Err(said) }
    });
}

/// A source that is away is waited for a while; what comes meanwhile waits, as far as there is room.
#[test]
fn a_source_that_comes_back_gets_what_waited_and_the_rest_is_counted() {
    let (source, _destination, twinline, sender) = start("batch_wait = \"10ms\"\nbuffer = \"64KiB\"");
    source.set_faults(Faults { refuse: true, ..Faults::default() });
    for at in 0..2000 {
        sender.send(format!("m,t={at} v=1 {at}").as_bytes()).unwrap();
        // The kernel's own buffer is not what this is about.
        if at % 50 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
    twinline.until("there is no more room", |status| dropped(status, "buffer-full") > 0);
    source.set_faults(Faults::default());
    let status = twinline.until("each is taken or counted", |status| {
        let udp = &status["edge"]["udp"][0];
        let lost: u64 = udp["dropped"].as_array().unwrap().iter().map(|row| row[1].as_u64().unwrap()).sum();
        udp["lines"].as_u64().unwrap() + lost + udp["kernel_dropped"].as_u64().unwrap() == 2000
    });
    assert_eq!(times(&source, "autogen").len() as u64, status["edge"]["udp"][0]["lines"].as_u64().unwrap());
}
