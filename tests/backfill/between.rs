//! Stands before a server: requests go on at once, later, or when whoever sent them has long heard nothing.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// What becomes of a request.
pub(crate) enum Fate {
    /// It goes on.
    On,
    /// After this time.
    After(Duration),
    /// It does not go on: this is its answer.
    Answer(&'static str),
    /// It goes on, and so many hundredths of its answer come back.
    Cut(usize),
    /// The connection is closed without an answer, and the request goes on after this time.
    Zombie(Duration),
}

type Decide = Arc<dyn Fn(&str) -> Fate + Send + Sync>;

/// The address of a door to this server; `decide` sees each request as text. It ends with the process of the test.
pub(crate) fn between(server: &str, decide: impl Fn(&str) -> Fate + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, server, decide) = (listener.local_addr().unwrap().to_string(), server.to_owned(), Arc::new(decide));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (server, decide): (_, Decide) = (server.clone(), Arc::clone(&decide) as Decide);
            std::thread::spawn(move || pass(stream.unwrap(), &server, &decide));
        }
    });
    addr
}

/// A whole request, or nothing where there comes none.
fn request(client: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut request, mut buffer) = (Vec::new(), [0; 65_536]);
    loop {
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1);
            let length: usize = length.map_or(0, |rest| rest.split("\r\n").next().unwrap().trim().parse().unwrap());
            if request.len() >= end + 4 + length {
                return Some(request);
            }
        }
        match client.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(more) => request.extend_from_slice(&buffer[..more]),
        }
    }
}

/// One request a connection: the answer says so.
fn pass(mut client: TcpStream, server: &str, decide: &Decide) {
    let Some(request) = request(&mut client) else { return };
    match decide(&String::from_utf8_lossy(&request)) {
        Fate::On => {}
        Fate::Answer(text) => {
            let _ = client.write_all(text.as_bytes());
            return;
        }
        Fate::Cut(hundredths) => {
            let answer = answered(server, &request);
            let _ = client.write_all(&answer[..answer.len() * hundredths / 100]);
            return;
        }
        Fate::After(how_long) => std::thread::sleep(how_long),
        Fate::Zombie(how_long) => {
            drop(client);
            std::thread::sleep(how_long);
            drop(answered(server, &request));
            return;
        }
    }
    let _ = client.write_all(&answered(server, &request));
}

fn answered(server: &str, request: &[u8]) -> Vec<u8> {
    let line = request.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let closing = [&request[..line], b"Connection: close\r\n", &request[line..]].concat();
    let mut server = TcpStream::connect(server).unwrap();
    server.write_all(&closing).unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).unwrap();
    answer
}
