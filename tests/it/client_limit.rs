//! One client must not take it all: what it asks beyond its limit is refused so that it comes again, and others are served.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use twinline::sandbox::{Options, Sandbox};

use crate::http::Connection;
use crate::proxy::{PATIENCE, Setup, Twinline};

fn start(listen: &str, limits: &str) -> (Sandbox, Sandbox, Twinline) {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    source.create_database("d");
    destination.create_database("d");
    let setup = Setup::new(format!("url = \"{}\"", source.url()), format!("url = \"{}\"", destination.url()));
    let mut setup = setup.more(&format!("[limits]\n{limits}\n"));
    setup.listen = listen.to_owned();
    (source, destination, setup.start())
}

fn metric(twinline: &Twinline, name: &str) -> f64 {
    let text = twinline.admin("/metrics").text();
    text.lines().find_map(|line| line.strip_prefix(name)).map_or(0.0, |value| value.trim().parse().unwrap())
}

#[test]
fn a_client_over_its_requests_is_sent_away_for_a_while_and_named() {
    let (_source, _destination, twinline) = start("", "client_requests_per_s = 1\nclient_burst = \"20s\"");
    let mut client = twinline.connect();
    let taken =
        (0..).take_while(|_| client.call("GET /query?q=SHOW+DATABASES", &[], b"").unwrap().status == 200).count();
    assert!(taken >= 20, "{taken}");
    // Whatever comes back in the meantime is used up.
    let refused = (0..100).find_map(|_| {
        let answer = client.call("POST /write?db=d", &[], b"m v=1 1").unwrap();
        (answer.status == 503).then_some(answer)
    });
    let refused = refused.expect("it is over its limit");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(refused.header("content-type"), Some("application/json"));
    let error = refused.json()["error"].to_string();
    assert!(error.contains("too many requests of this client"), "{error}");
    let v2 = (0..100).find_map(|_| {
        let answer = client.call("POST /api/v2/write?bucket=d&org=o", &[], b"m v=1 1").unwrap();
        (answer.status == 503).then(|| answer.json())
    });
    assert_eq!(v2.expect("this API is one too")["code"], "unavailable");
    for path in ["/ping", "/health"] {
        assert!(client.call(&format!("GET {path}"), &[], b"").unwrap().status < 300, "{path} may always be asked");
    }
    let status = twinline.status();
    assert!(status["edge"]["limited_requests"].as_u64().unwrap() >= 2, "{status:#}");
    assert_eq!(status["edge"]["limited_clients"][0]["client"], "127.0.0.1", "{status:#}");
    assert!(metric(&twinline, "twinline_http_client_limited_total{by=\"requests\"}") >= 2.0);
    let shown = String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
    assert!(shown.contains("! LIMITED") && shown.contains("127.0.0.1"), "{shown}");
}

/// A write of so many bytes from a client behind a balancer; its status.
fn write_from(twinline: &Twinline, client: &str, bytes: usize) -> u16 {
    let lines = bytes.div_ceil(1000);
    let mut stream = TcpStream::connect(&twinline.addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let line = format!("m s=\"{}\" 1\n", "x".repeat(bytes / lines)).repeat(lines);
    let head =
        format!("PROXY TCP4 {client} 10.0.0.1 1 1\r\nPOST /write?db=d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{line}", line.len()).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn bytes_are_paid_by_the_client_behind_the_balancer() {
    let (_source, _destination, twinline) =
        start("proxy_protocol = true", "client_bytes_per_s = \"1KiB\"\nclient_burst = \"1s\"");
    // Larger than its burst, and taken all the same: it is paid for afterwards, for some hours.
    assert_eq!(write_from(&twinline, "192.0.2.1", 8_000_000), 204);
    assert_eq!(write_from(&twinline, "192.0.2.1", 10), 503);
    assert_eq!(write_from(&twinline, "192.0.2.2", 10), 204, "another client");
    assert_eq!(twinline.status()["edge"]["limited_clients"][0]["client"], "192.0.2.1");
    assert!(metric(&twinline, "twinline_http_client_limited_total{by=\"bytes\"}") >= 1.0);
}

#[test]
fn without_limits_nobody_is_refused() {
    let (_source, _destination, twinline) = start("", "");
    let mut client = Connection::open(&twinline.addr).unwrap();
    assert!((0..2000).all(|_| client.call("GET /query?q=SHOW+DATABASES", &[], b"").unwrap().status == 200));
    assert_eq!(twinline.status()["edge"]["limited_requests"], 0);
}
