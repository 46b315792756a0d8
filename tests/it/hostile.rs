//! Requests of clients that mean no good: each with its bytes and with what may become of it.
//!
//! Every request carries its name in `X-Id`. Texts that only look like requests (in bodies, behind broken framing) carry names too, which
//! nobody may ever see.

/// What may become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The source gets it whole, and the client its answer.
    Answered,
    /// It is refused and the connection ends; nothing behind it is taken for a request.
    Refused,
    /// One of both: servers differ, and either is safe.
    Either,
    /// It does not come whole: no answer is owed, and the source never has it whole.
    Cut,
}

/// Whether the connection ends behind a request that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    No,
    May,
    Must,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Hostile {
    pub(crate) name: String,
    /// What is odd about it.
    pub(crate) kind: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// The body that the source must see, if it sees the request.
    pub(crate) body: Vec<u8>,
    pub(crate) fate: Fate,
    /// Whether anything behind it is read.
    pub(crate) end: End,
    pub(crate) head_only: bool,
}

/// Makes requests, the same ones from the same seed.
#[derive(Debug)]
pub(crate) struct Generator {
    pub(crate) random: fastrand::Rng,
    number: u64,
    made: u32,
}

/// The parts of a request before something is done to them.
struct Parts {
    line: String,
    headers: Vec<String>,
    body: Vec<u8>,
    /// The body as it goes over the wire.
    framed: Vec<u8>,
    name: String,
}

const CODINGS: [&str; 16] = [
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding: chunked\r\n\t",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chunk",
    "Transfer-Encoding:",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
];
const LENGTHS: [&str; 12] = [
    "+{}",
    "-{}",
    "0x{}",
    "{} {}",
    "{}, 0",
    "{};",
    "{}.0",
    "99999999999999999999{}",
    "{}\r\nContent-Length: 0",
    "0\r\nContent-Length: {}",
    "a{}",
    "{}\u{b}",
];
const CHUNK_SIZES: [&str; 12] =
    ["g", "-1", "+5", "0x5", "", "fffffffffffffffff", "5 5", "5g", "ffffffffffffffff1", "\u{b}5", "5,", "\"5\""];
const HOSTS: [&str; 7] =
    ["", "Host: a b", "Host: a/b", "Host: x\r\nHost: x", "Host: a@b", "Host : x", "Host: x\r\nhost: y"];
const LINES: [&str; 13] = [
    "{m} {t} HTTP/2.0",
    "{m} {t} HTTP/0.9",
    "{m} {t} HTTP/1.1 HTTP/1.1",
    "{m} {t} http/1.1",
    "{m} {t}",
    "{m}\t{t}\tHTTP/1.1",
    "{m} {t}\u{0}x HTTP/1.1",
    "{m} {t}\u{1f} HTTP/1.1",
    "{m}\u{0} {t} HTTP/1.1",
    "{m}@ {t} HTTP/1.1 x",
    " {m} {t} HTTP/1.1",
    "{m} {t} HTTP/11",
    "{m} {t} HTTP/1.1\rX",
];
const ODD_HEADERS: [&str; 9] = [
    "X-A: a\u{0}b",
    "X-A: a\rb",
    "X\u{0}A: a",
    "X A: a",
    ": a",
    "no colon at all",
    "X-A: a\r\n folded",
    "X-\u{e9}: a",
    "X-A: \u{7f}",
];
/// What everybody takes.
const FINE_HEADERS: [&str; 14] = [
    "X-A: \u{e9}\u{fc}",
    "X-a:no space",
    "X-A:  \t spaces \t ",
    "Connection: keep-alive, X-Hop\r\nX-Hop: 1",
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
    "Connection: upgrade\r\nUpgrade: websocket",
    "TE: trailers, deflate",
    "Connection: Authorization\r\nAuthorization: Basic dTpw",
    "Connection: Host, Content-Length, Transfer-Encoding, X-B\r\nX-B: 1",
    "Keep-Alive: timeout=1\r\nProxy-Connection: keep-alive",
    "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4",
    "X-HTTP-Method-Override: DELETE",
    "Content_Length: 7\r\nTransfer_Encoding: chunked",
    "Trailer: Content-Length",
];

impl Generator {
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self { random, number, made: 0 }
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.random.usize(..from.len())]
    }

    fn name(&mut self) -> String {
        self.made += 1;
        format!("{}-{}", self.number, self.made)
    }

    /// What would be a request if it stood elsewhere.
    fn smuggled(&mut self) -> Vec<u8> {
        let name = self.name();
        let method = self.pick(&["GET", "POST", "DELETE"]);
        format!("{method} /smuggled HTTP/1.1\r\nHost: x\r\nX-Id: hidden-{name}\r\nContent-Length: 0\r\n\r\n")
            .into_bytes()
    }

    fn body(&mut self) -> Vec<u8> {
        let mut body = match self.random.u8(..4) {
            0 => Vec::new(),
            1 => b"m,t=a v=1 1\nm,t=b v=2 2".to_vec(),
            2 => vec![b'x'; self.random.usize(..5_000)],
            _ => b"0\r\n\r\n".to_vec(),
        };
        if self.random.bool() {
            body.extend(self.smuggled());
        }
        body
    }

    fn parts(&mut self) -> Parts {
        let name = self.name();
        let line = match self.random.u8(..10) {
            0..=3 => format!("POST /write?db=d&rp=r&n={name}"),
            4 => format!("POST /api/v2/write?org=o&bucket=b%2Fr&n={name}"),
            5 => format!("POST /query?q=SELECT+1&n={name}"),
            6 => {
                format!("{} /any/{name}?a=b", self.pick(&["GET", "PUT", "PATCH", "M-SEARCH", "get", "DELETE", "HEAD"]))
            }
            7 => format!("GET /query?q=SHOW+DATABASES&n={name}"),
            8 => format!("{} /ping?n={name}", self.pick(&["GET", "OPTIONS"])),
            _ => format!("POST /any/{name}"),
        };
        let body = if line.starts_with("POST") || self.random.u8(..5) == 0 { self.body() } else { Vec::new() };
        let headers = vec!["Host: x".to_owned(), format!("X-Id: {name}")];
        Parts { line, headers, framed: body.clone(), body, name }
    }

    fn chunks(&mut self, body: &[u8], odd: bool) -> Vec<u8> {
        let mut framed = Vec::new();
        let mut rest = body;
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(self.random.usize(1..=rest.len()));
            rest = behind;
            let size = match self.random.u8(..4) {
                0 => format!("{:X}", chunk.len()),
                1 => format!("000{:x}", chunk.len()),
                _ => format!("{:x}", chunk.len()),
            };
            let extension = if odd { self.pick(&["", ";a", ";a=b", "; a=\"b;c\"", ";\tx"]) } else { "" };
            framed.extend([size.as_bytes(), extension.as_bytes(), b"\r\n", chunk, b"\r\n"].concat());
        }
        framed.extend_from_slice(b"0\r\n");
        if odd && self.random.u8(..4) == 0 {
            framed.extend_from_slice(b"X-Trailer: 1\r\n");
        }
        framed.extend_from_slice(b"\r\n");
        framed
    }

    fn framed_by_length(&self, mut parts: Parts) -> Parts {
        if !parts.body.is_empty() || parts.line.starts_with("POST") {
            parts.headers.push(format!("Content-Length: {}", parts.body.len()));
        }
        parts
    }

    fn framed_by_chunks(&mut self, mut parts: Parts, odd: bool) -> Parts {
        parts.headers.push("Transfer-Encoding: chunked".to_owned());
        parts.framed = self.chunks(&parts.body, odd);
        parts
    }

    fn framed(&mut self, parts: Parts) -> Parts {
        if self.random.u8(..3) == 0 { self.framed_by_chunks(parts, false) } else { self.framed_by_length(parts) }
    }

    /// All requests of a connection: nothing can stand behind one that is cut.
    pub(crate) fn connection(&mut self) -> Vec<Hostile> {
        let mut requests: Vec<Hostile> = Vec::new();
        for _ in 0..self.random.u8(1..9) {
            requests.push(self.request());
            if requests.last().is_some_and(|request| request.fate == Fate::Cut) {
                break;
            }
        }
        requests
    }

    fn request(&mut self) -> Hostile {
        let parts = self.parts();
        match self.random.u8(..40) {
            0..=13 => {
                let parts = self.framed(parts);
                done("plain", parts, Fate::Answered)
            }
            14..=16 => {
                let parts = self.framed_by_chunks(parts, true);
                done("chunk extensions and trailers", parts, Fate::Answered)
            }
            17..=20 => {
                let mut parts = self.framed(parts);
                parts.headers.push(self.pick(&FINE_HEADERS).to_owned());
                // With its length named as of this connection alone, a body may go on in another frame.
                done("fine headers", parts, Fate::Answered)
            }
            21..=23 => self.length_and_chunks(parts),
            24..=32 => self.refused(parts),
            33..=35 => self.servers_differ(parts),
            36 => self.flood(parts),
            37 => self.old_version(parts),
            38 => self.cut(parts),
            _ => self.expectation(parts),
        }
    }

    fn length_and_chunks(&mut self, mut parts: Parts) -> Hostile {
        // The length lies, either way.
        let length = self.random.usize(..parts.body.len() + 40);
        parts.headers.push(format!("Content-Length: {length}"));
        let mut parts = self.framed_by_chunks(parts, false);
        if self.random.bool() {
            let last = parts.headers.len() - 1;
            parts.headers.swap(last, last - 1);
        }
        let mut request = done("length and chunks", parts, Fate::Either);
        request.end = End::May;
        request
    }

    fn refused(&mut self, mut parts: Parts) -> Hostile {
        if parts.body.is_empty() {
            parts.body = self.smuggled();
            parts.framed = parts.body.clone();
        }
        match self.random.u8(..7) {
            0 => {
                parts.framed = self.chunks(&parts.body, false);
                parts.headers.push(self.pick(&CODINGS).to_owned());
                if self.random.bool() {
                    parts.headers.push(format!("Content-Length: {}", parts.framed.len()));
                }
                done("transfer coding", parts, Fate::Refused)
            }
            1 => {
                let length = self.pick(&LENGTHS).replace("{}", &parts.body.len().to_string());
                parts.headers.push(format!("Content-Length: {length}"));
                done("content length", parts, Fate::Refused)
            }
            2 => {
                let size = self.pick(&CHUNK_SIZES);
                parts.headers.push("Transfer-Encoding: chunked".to_owned());
                let hidden = self.smuggled();
                let good: &[u8] = if self.random.bool() { b"2\r\nab\r\n" } else { b"" };
                parts.framed = [good, size.as_bytes(), b"\r\n", &parts.body, b"\r\n0\r\n\r\n", &hidden].concat();
                done("chunk size", parts, Fate::Refused)
            }
            3 => {
                parts.headers.push("Transfer-Encoding: chunked".to_owned());
                let hidden = self.smuggled();
                let bad = self.pick(&[
                    "2\r\nabc\r\n0\r\n\r\n",
                    "2\r\nab0\r\n\r\n",
                    "2\rab\r\n0\r\n\r\n",
                    "1\r\na\r\r0\r\n\r\n",
                ]);
                parts.framed = [bad.as_bytes(), &hidden].concat();
                done("chunk end", parts, Fate::Refused)
            }
            4 => {
                let host = self.pick(&HOSTS);
                let mut parts = self.framed(parts);
                parts.headers[0] = host.to_owned();
                parts.headers.retain(|header| !header.is_empty());
                done("host", parts, Fate::Refused)
            }
            5 => {
                let mut parts = self.framed(parts);
                let (method, target) = parts.line.split_once(' ').unwrap();
                let line = self.pick(&LINES).replace("{m}", method).replace("{t}", target);
                parts.line = format!("!{line}");
                done("request line", parts, Fate::Refused)
            }
            _ => {
                let mut parts = self.framed(parts);
                let at = self.random.usize(1..=parts.headers.len());
                parts.headers.insert(at, self.pick(&ODD_HEADERS).to_owned());
                done("header", parts, Fate::Refused)
            }
        }
    }

    fn servers_differ(&mut self, parts: Parts) -> Hostile {
        match self.random.u8(..6) {
            0 => {
                let mut parts = self.framed_by_length(parts);
                parts.headers.push(format!("Content-Length: {}", parts.body.len()));
                done("the same length twice", parts, Fate::Either)
            }
            1 => {
                let parts = self.framed(parts);
                let mut request = done("bare line feeds", parts, Fate::Either);
                let head = request.bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
                let bare: Vec<u8> = request.bytes[..head].iter().copied().filter(|byte| *byte != b'\r').collect();
                request.bytes.splice(..head, bare);
                request
            }
            2 => {
                let mut parts = self.framed(parts);
                let (method, target) = parts.line.split_once(' ').unwrap();
                let host = self.pick(&["http://x", "http://elsewhere:1", "https://x", "HTTP://X:80", "http://u:p@x"]);
                parts.line = format!("{method} {host}{target}");
                done("absolute form", parts, Fate::Either)
            }
            3 => {
                let parts = self.framed(parts);
                let mut request = done("empty lines before", parts, Fate::Either);
                request.bytes.splice(..0, b"\r\n\r\n\r\n"[..self.random.usize(1..4) * 2].iter().copied());
                request
            }
            4 => {
                let mut parts = self.framed(parts);
                let at = parts.line.len();
                parts.line.insert_str(
                    at,
                    self.pick(&["\"<>^`{|}", "#fragment", "%00%0d%0a", "?x=%zz", "/../../write", "\\"]),
                );
                done("odd target", parts, Fate::Either)
            }
            _ => {
                let name = parts.name;
                let line = self.pick(&[
                    "CONNECT x:1",
                    "CONNECT /",
                    "OPTIONS *",
                    "PRI *",
                    "GET x:1",
                    "GET ?",
                    "CONNECT http://x/",
                ]);
                let parts = Parts {
                    line: line.to_owned(),
                    headers: vec!["Host: x".to_owned(), format!("X-Id: {name}")],
                    body: Vec::new(),
                    framed: Vec::new(),
                    name,
                };
                done("other form of target", parts, Fate::Either)
            }
        }
    }

    fn flood(&mut self, parts: Parts) -> Hostile {
        let mut parts = self.framed(parts);
        match self.random.u8(..3) {
            0 => {
                parts.headers.extend((0..300).map(|at| format!("X-{at}: {at}")));
                done("many headers", parts, Fate::Answered)
            }
            1 => {
                parts.headers.extend((0..3_000).map(|at| format!("X-{at}: {at}")));
                done("too many headers", parts, Fate::Refused)
            }
            _ => {
                parts.headers.push(format!("X-Long: {}", "a".repeat(300_000)));
                done("too long a header", parts, Fate::Refused)
            }
        }
    }

    fn old_version(&mut self, parts: Parts) -> Hostile {
        let mut parts = self.framed_by_length(parts);
        let keep = self.random.bool();
        parts.headers.retain(|header| !header.starts_with("Host"));
        if keep {
            parts.headers.push("Connection: keep-alive".to_owned());
        }
        parts.line.push_str(" HTTP/1.0");
        let mut request = done("HTTP/1.0", parts, Fate::Answered);
        if !keep {
            request.end = End::Must;
        }
        request
    }

    fn cut(&mut self, parts: Parts) -> Hostile {
        let chunked = self.random.bool();
        let mut parts = parts;
        if parts.body.is_empty() {
            parts.body = self.smuggled();
            parts.framed = parts.body.clone();
        }
        let parts = if chunked { self.framed_by_chunks(parts, false) } else { self.framed_by_length(parts) };
        let mut request = done("cut", parts, Fate::Cut);
        let kept = self.random.usize(1..request.bytes.len());
        request.bytes.truncate(kept);
        request.end = End::Must;
        request
    }

    fn expectation(&mut self, parts: Parts) -> Hostile {
        let mut parts = self.framed(parts);
        let (header, fate) = [
            ("Expect: 100-continue", Fate::Answered),
            ("Expect: 100-Continue", Fate::Answered),
            ("Expect: 200-ok", Fate::Either),
            ("Connection: close", Fate::Answered),
        ][self.random.usize(..4)];
        parts.headers.push(header.to_owned());
        let mut request = done("expectation", parts, fate);
        match header {
            "Connection: close" => request.end = End::Must,
            // The body may not have been asked for.
            "Expect: 200-ok" => request.end = End::May,
            _ => {}
        }
        request
    }
}

fn done(kind: &'static str, parts: Parts, fate: Fate) -> Hostile {
    // A line with its own version, or an odd one, is complete.
    let line = match parts.line.strip_prefix('!') {
        Some(line) => line.to_owned(),
        None if parts.line.ends_with("HTTP/1.0") => parts.line.clone(),
        None => format!("{} HTTP/1.1", parts.line),
    };
    // One byte for each sign, so that bytes beyond ASCII and below are what they are.
    let head: Vec<u8> = format!("{line}\r\n{}\r\n\r\n", parts.headers.join("\r\n")).chars().map(|c| c as u8).collect();
    let head_only = line.starts_with("HEAD ");
    let bytes = [head, parts.framed].concat();
    Hostile { name: parts.name, kind, bytes, body: parts.body, fate, end: End::No, head_only }
}
