//! Where requests begin and end in what a client sends, followed byte by byte beside the parser.
//!
//! Promise: it never reads ahead and never changes a byte; when it does not understand what comes, it says so and stays out
//! of the way for the rest of the connection. A body is skipped by its length, so that none of its bytes is taken for a head.

/// Longer is no method: somebody speaks another protocol.
const METHOD_BYTES_MAX: u32 = 64;
/// Of a line that comes in pieces so much is kept; the lines that count are shorter.
const LINE_BYTES_KEPT: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the method, so many bytes of it gone by.
    Method(u32),
    /// In the request's target.
    Target,
    /// In a line of the head behind the target.
    Head,
    /// In a body that has so many bytes more.
    Body(u64),
    /// In the line that says how long a chunk is.
    ChunkSize,
    /// In a chunk, its line end included.
    Chunk(u64),
    /// Behind the last chunk.
    Trailers,
    /// Not understood.
    Lost,
}

/// Follows one connection.
#[derive(Debug)]
pub(super) struct Framing {
    place: Place,
    /// The part of a line that came before.
    line: Vec<u8>,
    first_line: bool,
    /// The request is of HTTP/1.0.
    old: bool,
    length_bytes: Option<u64>,
    chunked: bool,
    /// A transfer coding other than `chunked` is named.
    unknown_coding: bool,
    /// How many `Host` there are.
    hosts: u32,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Method(0),
            line: Vec::new(),
            first_line: true,
            old: false,
            length_bytes: None,
            chunked: false,
            unknown_coding: false,
            hosts: 0,
        }
    }

    /// No request has begun that has not come whole.
    pub(super) fn is_between(&self) -> bool {
        self.place == Place::Method(0)
    }

    /// A head has begun and has not come whole.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.place, Place::Method(1..) | Place::Target | Place::Head)
    }

    /// Whether the servers refuse the last head for its transfer coding. HTTP/1.0 has none; two hosts they refuse before.
    pub(super) fn has_unknown_coding(&self) -> bool {
        self.unknown_coding && !self.old && self.hosts < 2
    }

    /// Goes over what came, and stops before a byte of a request target that no `http::Uri` takes. Gives how many bytes
    /// it went over.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            at += match self.place {
                Place::Method(_) => self.method(rest),
                Place::Target => match rest.iter().position(|byte| !is_plain(*byte)) {
                    None => rest.len(),
                    Some(plain) => {
                        let odd = rest[plain];
                        if odd > b' ' && odd != 0x7f {
                            return at + plain;
                        }
                        self.place = if odd == b' ' { Place::Head } else { Place::Lost };
                        plain + 1
                    }
                },
                Place::Head | Place::ChunkSize | Place::Trailers => self.line(rest),
                Place::Body(left) => {
                    let step = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.place = Place::Body(left - step as u64);
                    if left == step as u64 {
                        self.next_request();
                    }
                    step
                }
                Place::Chunk(left) => {
                    let step = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.place = if left == step as u64 { Place::ChunkSize } else { Place::Chunk(left - step as u64) };
                    step
                }
                Place::Lost => rest.len(),
            };
        }
        at
    }

    fn method(&mut self, rest: &[u8]) -> usize {
        for (at, byte) in rest.iter().enumerate() {
            let Place::Method(gone) = self.place else { return at };
            self.place = match byte {
                // Empty lines before a request are passed over by every server.
                b'\r' | b'\n' if gone == 0 => Place::Method(0),
                b' ' if gone > 0 => Place::Target,
                b'!'..=b'~' if gone < METHOD_BYTES_MAX => Place::Method(gone + 1),
                _ => Place::Lost,
            };
        }
        rest.len()
    }

    /// Goes to the end of a line and takes what it says.
    fn line(&mut self, rest: &[u8]) -> usize {
        let Some(end) = memchr::memchr(b'\n', rest) else {
            let room = LINE_BYTES_KEPT.saturating_sub(self.line.len());
            self.line.extend_from_slice(&rest[..rest.len().min(room)]);
            return rest.len();
        };
        if self.line.is_empty() {
            self.said(&rest[..end]);
        } else {
            let mut line = std::mem::take(&mut self.line);
            let room = LINE_BYTES_KEPT.saturating_sub(line.len());
            line.extend_from_slice(&rest[..end.min(room)]);
            self.said(&line);
            line.clear();
            self.line = line;
        }
        end + 1
    }

    fn said(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.place {
            Place::ChunkSize => {
                let size = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
                let size = std::str::from_utf8(size).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
                self.place = match size {
                    Some(0) => Place::Trailers,
                    Some(bytes) => bytes.checked_add(2).map_or(Place::Lost, Place::Chunk),
                    None => Place::Lost,
                };
            }
            Place::Trailers if line.is_empty() => self.next_request(),
            Place::Head if std::mem::take(&mut self.first_line) => self.old = line == b"HTTP/1.0",
            Place::Head if line.is_empty() && self.unknown_coding => self.place = Place::Lost,
            Place::Head if line.is_empty() => match (self.chunked, self.length_bytes) {
                (true, _) => self.place = Place::ChunkSize,
                (false, Some(left @ 1..)) => self.place = Place::Body(left),
                (false, _) => self.next_request(),
            },
            Place::Head => self.header(line),
            _ => {}
        }
    }

    fn header(&mut self, line: &[u8]) {
        // Looked at by its first letter: nearly all headers are others.
        if !matches!(line[0] | 0x20, b'c' | b't' | b'h') {
            return;
        }
        let Some(colon) = memchr::memchr(b':', line) else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            if length.is_none() || line.len() >= LINE_BYTES_KEPT || self.length_bytes.is_some_and(|l| Some(l) != length)
            {
                self.place = Place::Lost;
            }
            self.length_bytes = length;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = value.eq_ignore_ascii_case(b"chunked");
            self.unknown_coding |= !self.chunked;
        } else if name.eq_ignore_ascii_case(b"host") {
            self.hosts = self.hosts.saturating_add(1);
        }
    }

    fn next_request(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        *self = Self { line, ..Self::new() };
    }
}

/// What a target may hold as it is, in its path and in its query.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?'..=b'_' | b'a'..=b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The requests as they look with `?` in place of each byte that must be escaped, and whether the end is between two.
    fn followed(text: &[u8], piece_bytes: usize) -> (String, bool) {
        let mut framing = Framing::new();
        let mut seen = Vec::new();
        for mut piece in text.chunks(piece_bytes) {
            loop {
                let gone = framing.follow(piece);
                seen.extend_from_slice(&piece[..gone]);
                let Some(rest) = piece.get(gone + 1..) else { break };
                seen.push(b'^');
                piece = rest;
            }
        }
        (String::from_utf8(seen).unwrap(), framing.is_between())
    }

    #[test]
    fn only_targets_are_touched() {
        let text = "GET /a<b?q=\"x\"#y HTTP/1.1\r\nX: <>\"\r\n\r\n\
                    POST /write?\"a HTTP/1.1\r\nContent-Length: 9\r\n\r\nGET /<\" <\
                    POST /<c HTTP/1.1\r\nTRANSFER-encoding: Chunked\r\ncontent-length: 1\r\n\r\n\
                    5;x=<\r\nGET <\r\n2\r\n/<\r\n0\r\nT: <\r\n\r\n\r\nGET /` HTTP/1.1\r\n\r\n";
        let wanted = "GET /a^b?q=^x^^y HTTP/1.1\r\nX: <>\"\r\n\r\n\
                    POST /write?^a HTTP/1.1\r\nContent-Length: 9\r\n\r\nGET /<\" <\
                    POST /^c HTTP/1.1\r\nTRANSFER-encoding: Chunked\r\ncontent-length: 1\r\n\r\n\
                    5;x=<\r\nGET <\r\n2\r\n/<\r\n0\r\nT: <\r\n\r\n\r\nGET /^ HTTP/1.1\r\n\r\n";
        for piece_bytes in [1, 2, 3, 7, 1000] {
            assert_eq!(followed(text.as_bytes(), piece_bytes), (wanted.to_owned(), true), "{piece_bytes}");
        }
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        for text in [
            "\u{16}\u{3}\u{1} GET /< HTTP/1.1\r\n\r\n",
            "GET\nGET /<",
            "GET /a\tb\r\nGET /<",
            "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\nGET /< HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nGET /< HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nGET /< HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nGET /< HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(followed(text.as_bytes(), 1000), (text.to_owned(), false), "{text}");
        }
        let long = format!("{} /< HTTP/1.1\r\n\r\n", "G".repeat(100));
        assert_eq!(followed(long.as_bytes(), 10).0, long);
    }

    #[test]
    fn a_request_that_has_not_come_whole_is_not_between() {
        for text in ["GE", "GET /", "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na"] {
            assert!(!followed(text.as_bytes(), 1000).1, "{text}");
        }
        assert!(followed(b"", 1).1);
    }

    /// What is plain is taken whole, and what is escaped would not be.
    #[test]
    fn the_table_is_that_of_the_library() {
        for byte in (b'!'..=0xff).filter(|byte| *byte != 0x7f) {
            let takes = |before: &str| {
                let text = [before.as_bytes(), &[byte], b"x"].concat();
                http::Uri::try_from(&text[..]).is_ok_and(|uri| uri.to_string().as_bytes() == text)
            };
            assert_eq!(is_plain(byte), takes("/a") && takes("/a?b") || byte == b'?', "{byte:#x}");
        }
    }
}
