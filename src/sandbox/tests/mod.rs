//! The sandbox over HTTP, and the typed reader against it.

mod faults;
mod http;
mod read;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{Options, Sandbox};

/// A sandbox with the database `d`.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::spawn_thread(Options::default()).unwrap();
    sandbox.create_database("d");
    sandbox
}

/// An answer, or `None` when the connection ended without one.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

fn send(addr: SocketAddr, request: &str, headers: &str, body: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(addr).ok()?;
    // Long enough never to matter, short enough to end a broken test.
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let length = body.len();
    let head =
        format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).ok()?;
    let end = all.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some(Answer { status, head, body: all[end + 4..].to_vec() })
}

fn write(sandbox: &Sandbox, parameters: &str, body: &[u8]) -> Option<Answer> {
    send(sandbox.addr(), &format!("POST /write?{parameters}"), "", body)
}

fn query(sandbox: &Sandbox, parameters: &str, q: &str) -> Answer {
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let q = percent_encoding::utf8_percent_encode(q, percent_encoding::NON_ALPHANUMERIC);
    send(sandbox.addr(), &format!("POST /query?{parameters}"), form, format!("q={q}").as_bytes()).unwrap()
}
