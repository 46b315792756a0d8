//! A small blocking HTTP/1.1 client that shows answers as they came, byte by byte.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Nothing that a test asks for takes this long; a hang becomes an error.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Status line and headers, each with its line end, without the empty line.
    pub(crate) head: Vec<String>,
    /// Without chunk framing.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head[1..].iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

/// One connection, kept open between requests.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    pub(crate) fn open(addr: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        Ok(Self { stream: BufReader::new(stream), host: addr.to_owned() })
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, request: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(request)
    }

    /// Says that nothing more will be sent; answers can still be read.
    pub(crate) fn close_half(&self) -> std::io::Result<()> {
        self.stream.get_ref().shutdown(std::net::Shutdown::Write)
    }

    /// Reads one answer, `100 Continue` included; `bodiless`: to a HEAD request.
    pub(crate) fn answer(&mut self, bodiless: bool) -> std::io::Result<Answer> {
        let mut answer = self.begin()?;
        if !bodiless && !matches!(answer.status, 100 | 204 | 304) {
            answer.body = self.body(&answer)?;
        }
        Ok(answer)
    }

    /// Reads the head of an answer; its body comes next.
    pub(crate) fn begin(&mut self) -> std::io::Result<Answer> {
        let mut head = Vec::new();
        loop {
            let mut line = Vec::new();
            self.stream.read_until(b'\n', &mut line)?;
            match &line[..] {
                b"\r\n" => break,
                [] => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                _ => head.push(String::from_utf8_lossy(&line).into_owned()),
            }
        }
        let bad = || std::io::Error::other(format!("no answer: {head:?}"));
        let status = head.first().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(bad)?;
        Ok(Answer { status, head, body: Vec::new() })
    }

    fn body(&mut self, answer: &Answer) -> std::io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if answer.header("transfer-encoding") == Some("chunked") {
            while self.chunk(&mut body)? {}
        } else if let Some(length) = answer.header("content-length") {
            body.resize(length.parse().map_err(std::io::Error::other)?, 0);
            self.stream.read_exact(&mut body)?;
        } else {
            self.stream.read_to_end(&mut body)?;
        }
        Ok(body)
    }

    /// Appends one chunk; false after the last.
    pub(crate) fn chunk(&mut self, body: &mut Vec<u8>) -> std::io::Result<bool> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        let begin = body.len();
        body.resize(begin + size + 2, 0);
        self.stream.read_exact(&mut body[begin..])?;
        body.truncate(begin + size);
        Ok(size > 0)
    }

    /// One request with a body and headers of the caller (each without line end).
    pub(crate) fn call(&mut self, line: &str, headers: &[&str], body: &[u8]) -> std::io::Result<Answer> {
        let mut request = format!("{line} HTTP/1.1\r\nHost: {}\r\n", self.host).into_bytes();
        for header in headers {
            request.extend([header.as_bytes(), b"\r\n"].concat());
        }
        request.extend(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        request.extend_from_slice(body);
        self.send(&request)?;
        self.answer(line.starts_with("HEAD "))
    }
}

/// One request on a connection of its own.
pub(crate) fn call(addr: &str, line: &str, headers: &[&str], body: &[u8]) -> std::io::Result<Answer> {
    Connection::open(addr)?.call(line, headers, body)
}

pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).expect("writing into memory does not fail");
    encoder.finish().expect("writing into memory does not fail")
}

/// Percent escapes for a query parameter.
pub(crate) fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
