//! A source that shows what reaches it, byte for byte, and when its client goes away. For what no real server can show.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::http::Connection;
use crate::proxy::{PATIENCE, Setup, Twinline};

/// What the source saw.
#[derive(Debug)]
pub(crate) enum Seen {
    /// A request: its head, line by line, and its body as it came, chunk framing included.
    Request(Vec<String>, Vec<u8>),
    /// The client of a query that is still running closed its connection.
    Gone(String),
}

/// Listens; `/slow-body` is answered without end, `/slow-head` not at all.
fn source() -> (String, Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, received) = channel();
    // Ends with the test program.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let seen = seen.clone();
            std::thread::spawn(move || serve(stream, &seen));
        }
    });
    (url, received)
}

fn serve(mut stream: TcpStream, seen: &Sender<Seen>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let head: Vec<String> =
            reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        let path = head.first()?.split(' ').nth(1)?.to_owned();
        if path.starts_with("/slow") {
            if path == "/slow-body" {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").ok()?;
            }
            // Nothing is sent any more: what ends here is the connection.
            let _ = reader.read(&mut [0; 1]);
            seen.send(Seen::Gone(path)).ok()?;
            return None;
        }
        if path == "/switch" {
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n")
                .ok()?;
            let _ = reader.read(&mut [0; 1]);
            return None;
        }
        if path == "/write?db=refuses" {
            stream
                .write_all(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .ok()?;
            return None;
        }
        let mut body = Vec::new();
        let value =
            |name: &str| head.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(str::to_owned));
        if let Some(length) = value("content-length: ") {
            body.resize(length.parse().ok()?, 0);
            reader.read_exact(&mut body).ok()?;
        } else if value("transfer-encoding: ").is_some() {
            while !body.ends_with(b"0\r\n\r\n") {
                reader.read_until(b'\n', &mut body).ok()?;
            }
        }
        // Twinline's own questions are not looked at.
        if path != "/ping" && path != "/debug/vars" {
            seen.send(Seen::Request(head, body)).ok()?;
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.13.2\r\nx-ODD-case: yes\r\n\r\n").ok()?;
    }
}

pub(crate) fn start() -> (Twinline, Receiver<Seen>) {
    let (url, seen) = source();
    let setup = Setup::new(format!("url = \"{url}\""), "url = \"http://127.0.0.1:9\"\nkind = \"influxdb1\"".to_owned());
    (setup.start(), seen)
}

#[test]
fn check_13_a_client_that_goes_away_ends_its_query_at_the_source() {
    let (twinline, seen) = start();
    for path in ["/slow-body", "/slow-head"] {
        let mut client = twinline.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        if path == "/slow-body" {
            let mut begun = Vec::new();
            client.begin().unwrap();
            client.chunk(&mut begun).unwrap();
            assert_eq!(begun, b"first", "what there is arrives before the end");
        }
        // Still running: nothing was said about it.
        assert!(seen.recv_timeout(std::time::Duration::from_millis(300)).is_err());
        drop(client);
        let Ok(Seen::Gone(gone)) = seen.recv_timeout(PATIENCE) else { panic!("{path} goes on for nobody") };
        assert_eq!(gone, path);
    }
}

#[test]
fn requests_reach_the_source_as_they_were_sent() {
    let (twinline, seen) = start();
    let mut client = Connection::open(&twinline.addr).unwrap();
    let long = "x".repeat(20_000);
    let request = format!(
        "PATCH /any/path;with=odd%2Fthings?q=%zz&&a+b&q=2 HTTP/1.1\r\nHost: old:8086\r\nX-mY-cAsE: a\r\nx-my-case: b\r\n\
         Authorization: Basic dTpw\r\nTE: trailers\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nX-Long: {long}\r\n\
         Accept-Encoding: gzip;q=0.5, *\r\nContent-Length: 5\r\n\r\n\0body"
    );
    client.send(request.as_bytes()).unwrap();
    let answer = client.answer(false).unwrap();
    assert!(answer.head.contains(&"x-ODD-case: yes\r\n".to_owned()), "{:?}", answer.head);
    let Ok(Seen::Request(mut head, body)) = seen.recv_timeout(PATIENCE) else { panic!("nothing came") };
    assert_eq!(head.remove(0), "PATCH /any/path;with=odd%2Fthings?q=%zz&&a+b&q=2 HTTP/1.1");
    assert_eq!(body, b"\0body");
    head.retain(|line| !line.starts_with("Host: 127.0.0.1:") && !line.starts_with("host: 127.0.0.1:"));
    head.sort();
    let expected = [
        "Accept-Encoding: gzip;q=0.5, *",
        "Authorization: Basic dTpw",
        "Content-Length: 5",
        &format!("X-Long: {long}"),
        "X-mY-cAsE: a",
        "x-my-case: b",
    ];
    assert_eq!(head, expected, "the headers of one connection are taken out, all others stay, in their own spelling");

    client
        .send(
            b"POST /query HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nq=A\r\n4\r\nBCDE\r\n0\r\n\r\n",
        )
        .unwrap();
    assert_eq!(client.answer(false).unwrap().status, 204);
    let Ok(Seen::Request(head, body)) = seen.recv_timeout(PATIENCE) else { panic!("nothing came") };
    assert!(head.iter().any(|line| line.eq_ignore_ascii_case("transfer-encoding: chunked")), "{head:?}");
    let text: String = String::from_utf8(body).unwrap().split("\r\n").skip(1).step_by(2).collect();
    assert_eq!(text, "q=ABCDE");
}

/// A timed write goes to the source in the very bytes that came, whatever its encoding.
#[test]
fn a_write_that_needs_no_stamp_is_forwarded_byte_for_byte() {
    let (twinline, seen) = start();
    let body = crate::http::gzip(b"m v=1 1\n  m   v=2 2\r\n# comment\nm v=3 3");
    let headers = ["content-ENCODING: gzip", "X-Far: 1"];
    let answer = twinline.call("POST /write?db=d&u=me&p=pw", &headers, &body);
    assert_eq!(answer.status, 204);
    let Ok(Seen::Request(head, got)) = seen.recv_timeout(PATIENCE) else { panic!("nothing came") };
    assert_eq!(head[0], "POST /write?db=d&u=me&p=pw HTTP/1.1");
    for line in headers {
        assert!(head.contains(&line.to_owned()), "{line}: {head:?}");
    }
    assert_eq!(got, body);
}

/// The source refuses an expectation that it does not know by the head alone; so does Twinline, and no write is begun.
#[test]
fn an_expectation_is_refused_while_the_body_is_held_back() {
    let (twinline, _seen) = start();
    for length in ["Content-Length: 7", "Content-Length: 20000000", "Transfer-Encoding: chunked"] {
        let mut client = twinline.connect();
        let head = format!("POST /write?db=refuses HTTP/1.1\r\nHost: x\r\nExpect: foo\r\n{length}\r\n\r\n");
        client.send(head.as_bytes()).unwrap();
        let answer = client.answer(false).unwrap();
        assert_eq!((answer.status, answer.header("connection")), (417, Some("close")), "{length}");
    }
    assert_eq!(twinline.quiet()["lines"]["delivered"], 0);
}

/// One that passes over it gets the body.
#[test]
fn an_expectation_that_the_source_passes_over_holds_nothing_up() {
    let (twinline, seen) = start();
    let answer = twinline.call("POST /write?db=d", &["Expect: foo"], "m v=1 1");
    assert_eq!(answer.status, 204);
    let Ok(Seen::Request(_, body)) = seen.recv_timeout(PATIENCE) else { panic!("nothing came") };
    assert_eq!(body, b"m v=1 1");
}
