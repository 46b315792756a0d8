//! HTTP/1.1 by hand, blocking: as little work beside the program as can be.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Bytes of a head at most.
const HEAD_MAX: u64 = 64 << 10;
/// Bytes of a body at most.
const BODY_MAX: usize = 256 << 20;

/// What came: the first line, the headers that matter, the body.
#[derive(Debug, Default)]
pub struct Message {
    /// `POST /write?db=d HTTP/1.1`, or `HTTP/1.1 204 No Content`.
    pub first: String,
    /// As it came.
    pub body: Vec<u8>,
    /// Whether it is compressed.
    pub gzip: bool,
    /// Whether the connection ends after it.
    pub close: bool,
    /// The headers as they came, with their line ends, but those about the length.
    pub headers: Vec<u8>,
}

impl Message {
    /// Reads the next one in place of this one; false at the end of the connection.
    ///
    /// # Errors
    /// The connection broke, or this is no HTTP/1.1.
    pub fn read(&mut self, from: &mut impl BufRead) -> io::Result<bool> {
        match self.read_head(from)? {
            None => return Ok(false),
            Some(None) => self.read_chunks(from)?,
            Some(Some(length)) => self.read_bytes(from, length)?,
        }
        Ok(true)
    }

    /// Everything in front of the body, and how long that is where it does not come in chunks; `None` at the end of the connection.
    fn read_head(&mut self, from: &mut impl BufRead) -> io::Result<Option<Option<usize>>> {
        let (mut line, mut length, mut chunked) = (Vec::new(), 0, false);
        *self =
            Self { body: std::mem::take(&mut self.body), first: std::mem::take(&mut self.first), ..Self::default() };
        self.body.clear();
        self.first.clear();
        loop {
            line.clear();
            let read = from.by_ref().take(HEAD_MAX).read_until(b'\n', &mut line)?;
            if read == 0 && self.first.is_empty() {
                return Ok(None);
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            if self.first.is_empty() {
                self.first.push_str(text);
                continue;
            }
            if text.is_empty() {
                break;
            }
            let Some((name, value)) = text.split_once(':') else { return Err(malformed("a header")) };
            let value = value.trim();
            let is_length = ["content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str());
            if !is_length {
                self.headers.extend_from_slice(&line);
            }
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().map_err(|_| malformed("a length"))?,
                "transfer-encoding" => chunked = true,
                "content-encoding" => self.gzip = value.eq_ignore_ascii_case("gzip"),
                "connection" => self.close = value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        Ok(Some((!chunked).then_some(length)))
    }

    fn read_bytes(&mut self, from: &mut impl BufRead, length: usize) -> io::Result<()> {
        if self.body.len() + length > BODY_MAX {
            return Err(malformed("a body of that length"));
        }
        let before = self.body.len();
        self.body.resize(before + length, 0);
        from.read_exact(&mut self.body[before..])
    }

    fn read_chunks(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        while self.read_chunk(from)? {}
        Ok(())
    }

    /// Appends the next chunk to the body; false at the end.
    fn read_chunk(&mut self, from: &mut impl BufRead) -> io::Result<bool> {
        let mut line = String::new();
        from.by_ref().take(HEAD_MAX).read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(|_| malformed("a chunk"))?;
        self.read_bytes(from, length)?;
        from.by_ref().take(HEAD_MAX).read_line(&mut line)?;
        Ok(length > 0)
    }

    /// The whole again, with its length.
    #[must_use]
    pub fn whole(&self) -> Vec<u8> {
        let length = if self.first.starts_with("HTTP/1.1 204") {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", self.body.len())
        };
        [self.first.as_bytes(), b"\r\n", &self.headers, length.as_bytes(), b"\r\n", &self.body].concat()
    }

    /// The target of a request.
    #[must_use]
    pub fn target(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }

    /// The status of an answer; 0 where there is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("what came is not {what}"))
}

/// A client's connection, made when it is needed.
#[derive(Debug)]
pub struct Client {
    addr: String,
    timeout: Duration,
    stream: Option<BufReader<TcpStream>>,
    /// The newest answer.
    pub answer: Message,
}

impl Client {
    /// To `host:port`; nothing takes longer than `timeout`.
    #[must_use]
    pub fn new(addr: &str, timeout: Duration) -> Self {
        Self { addr: addr.to_owned(), timeout, stream: None, answer: Message::default() }
    }

    /// Sends a whole request as it stands and waits for the answer; its status. A connection that fails is made anew with the next one.
    ///
    /// # Errors
    /// No connection, or it broke, or took too long.
    pub fn send(&mut self, request: &[u8]) -> io::Result<u16> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        stream.get_mut().write_all(request)?;
        if !self.answer.read(&mut stream)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !self.answer.close {
            self.stream = Some(stream);
        }
        Ok(self.answer.status())
    }

    /// As [`Client::send`], for an answer of any length: its body goes by in pieces.
    ///
    /// # Errors
    /// No connection, or it broke, or took too long.
    pub fn send_for(&mut self, request: &[u8], mut piece: impl FnMut(&[u8])) -> io::Result<u16> {
        let mut stream = self.connect()?;
        stream.get_mut().write_all(request)?;
        let answer = &mut self.answer;
        match answer.read_head(&mut stream)? {
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(Some(length)) => {
                answer.read_bytes(&mut stream, length)?;
                piece(&answer.body);
            }
            Some(None) => {
                while answer.read_chunk(&mut stream)? {
                    piece(&answer.body);
                    answer.body.clear();
                }
            }
        }
        Ok(answer.status())
    }

    /// A connection of this client's kind, for whoever wants to break it.
    ///
    /// # Errors
    /// There is none to be had.
    pub fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let addr = self.addr.parse().map_err(|_| malformed("an address"))?;
        let stream = TcpStream::connect_timeout(&addr, self.timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(BufReader::with_capacity(64 << 10, stream))
    }
}

/// A request with these headers (each with its line end) and body.
#[must_use]
pub fn request(method_and_target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method_and_target} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
