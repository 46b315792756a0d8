//! A plain HTTP client over one connection, which knows what every client must know: whether a request that has no answer
//! may have had an effect.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A server that is silent for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Sent {
    Answer {
        status: u16,
        head: String,
        body: String,
    },
    /// No connection: nothing can have happened.
    Unsent,
    /// No answer: it may have had its effect.
    Unknown,
}

/// One kept connection, made anew when it broke.
pub(crate) struct Connection {
    to: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Connection {
    pub(crate) fn new(port: u16) -> Self {
        Self { to: SocketAddr::from(([127, 0, 0, 1], port)), stream: None }
    }

    /// `head` is the request line and further header lines, without the empty line.
    pub(crate) fn ask(&mut self, head: &str, body: &[u8]) -> Sent {
        if self.stream.is_none() {
            let Ok(stream) = TcpStream::connect_timeout(&self.to, SILENCE_MAX) else { return Sent::Unsent };
            let set = stream.set_read_timeout(Some(SILENCE_MAX)).and_then(|()| stream.set_nodelay(true));
            set.expect("a fresh socket takes options");
            self.stream = Some(BufReader::new(stream));
        }
        let stream = self.stream.as_mut().expect("it was just made");
        let request =
            [head.as_bytes(), format!("\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
        let answer = stream.get_mut().write_all(&request).and_then(|()| read_answer(stream));
        match answer {
            Ok((status, head, body)) => Sent::Answer { status, head, body },
            Err(_) => {
                self.stream = None;
                Sent::Unknown
            }
        }
    }
}

fn read_answer(stream: &mut impl BufRead) -> std::io::Result<(u16, String, String)> {
    let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let (mut status, mut length, mut chunked, mut head) = (None, 0, false, String::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(broken());
        }
        head.push_str(&line);
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().map_err(|_| broken())?;
            }
            Some((name, "chunked")) if name.eq_ignore_ascii_case("transfer-encoding") => chunked = true,
            _ if status.is_none() => status = line.split(' ').nth(1).and_then(|code| code.parse().ok()),
            _ => {}
        }
    }
    let body = match chunked {
        true => read_chunks(stream)?,
        false => read_bytes(stream, length)?,
    };
    Ok((status.ok_or_else(broken)?, head, String::from_utf8_lossy(&body).into_owned()))
}

/// InfluxDB 1.x sends the head of an answer before it carries a statement out: only the end of the body says that it has.
fn read_chunks(stream: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim_end(), 16).map_err(|_| std::io::ErrorKind::InvalidData)?;
        body.extend(read_bytes(stream, length)?);
        read_bytes(stream, 2)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

fn read_bytes(stream: &mut impl BufRead, length: usize) -> std::io::Result<Vec<u8>> {
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// One request to a Unix socket; `None` where nobody answers.
pub(crate) fn ask_socket(path: &Path, target: &str) -> Option<(u16, String)> {
    let mut stream = UnixStream::connect(path).ok()?;
    stream.set_read_timeout(Some(SILENCE_MAX)).ok()?;
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    read_answer(&mut BufReader::new(stream)).ok().map(|(status, _, body)| (status, body))
}
