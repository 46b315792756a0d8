//! The PROXY protocol in front of clients: connections without a valid header are closed and counted, others served as ever.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use twinline::sandbox::{Options, Sandbox};

use crate::proxy::{PATIENCE, Setup, Twinline, eventually};

fn start(listen: &str) -> (Sandbox, Sandbox, Twinline) {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    source.create_database("d");
    destination.create_database("d");
    let mut setup = Setup::new(format!("url = \"{}\"", source.url()), format!("url = \"{}\"", destination.url()));
    setup.listen = listen.to_owned();
    (source, destination, setup.start())
}

/// All that is answered to these bytes, until the connection ends.
fn said(twinline: &Twinline, bytes: &[u8]) -> String {
    let mut client = TcpStream::connect(&twinline.addr).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A connection that is closed on unread bytes is reset.
    let _ = client.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn write(header: &[u8], time: u32) -> Vec<u8> {
    let line = format!("m v=1 {time}");
    let length = line.len();
    let request =
        format!("POST /write?db=d HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{line}");
    [header, request.as_bytes()].concat()
}

/// Of one reason.
fn closed(twinline: &Twinline, why: &str) -> String {
    let name = format!("twinline_http_proxy_header_closed_total{{why=\"{why}\"}} ");
    let text = twinline.admin("/metrics").text();
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or("0").to_owned()
}

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\xdc\x04\x01\xbb";

#[test]
fn connections_with_a_header_are_served_and_others_closed_and_counted() {
    let (_source, _destination, twinline) = start("proxy_protocol = true");
    let v1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n";
    for (time, header) in [&v1[..], V2, b"PROXY UNKNOWN\r\n"].into_iter().enumerate() {
        assert!(said(&twinline, &write(header, time as u32)).starts_with("HTTP/1.1 204 "), "{header:?}");
    }
    twinline.delivered(3);
    let malformed: [&[u8]; 3] = [b"", b"PROXY TCP4 nobody 10.0.0.1 1 1\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0"];
    for header in malformed {
        assert_eq!(said(&twinline, &write(header, 9)), "", "{header:?}");
    }
    drop(TcpStream::connect(&twinline.addr).unwrap());
    eventually("all are counted", || {
        let counted = [closed(&twinline, "malformed"), closed(&twinline, "empty")];
        if counted == ["3", "1"] { Ok(()) } else { Err(format!("{counted:?}")) }
    });
    // One that says nothing is closed after a while.
    assert_eq!(said(&twinline, b"PROXY TCP4 192."), "");
    assert_eq!(closed(&twinline, "late"), "1");
    assert!(twinline.said().contains("proxy_protocol.closed"), "{}", twinline.said());
    assert_eq!(twinline.quiet()["lines"]["delivered"], 3);
}

#[test]
fn a_header_is_believed_from_where_it_is_trusted() {
    let (_source, _destination, twinline) = start("proxy_protocol = true\ntrusted = [\"192.0.2.0/24\"]");
    assert_eq!(said(&twinline, &write(V2, 1)), "");
    assert_eq!(closed(&twinline, "untrusted"), "1");
    let (_source, _destination, twinline) = start("proxy_protocol = true\ntrusted = [\"127.0.0.0/8\"]");
    assert!(said(&twinline, &write(V2, 1)).starts_with("HTTP/1.1 204 "));
}
