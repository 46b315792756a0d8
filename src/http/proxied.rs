//! The PROXY protocol, versions 1 and 2: who stands in front of us says which client comes.
//!
//! Promises: a connection of such a listener begins with a header that is valid, or it is closed and counted; nothing is guessed.
//! A header takes [`HEADER_WAIT`] and [`BYTES_MAX`] bytes at most, and not one byte behind it is read. Only who is trusted is
//! believed; a socket in the file system is trusted by its rights.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use metrics::counter;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout};

use crate::base::metric;
use crate::config::Network;

/// Between the connection and the end of its header.
const HEADER_WAIT: Duration = Duration::from_secs(5);
/// The longest header of version 2: addresses and what else balancers tell.
const BYTES_MAX: usize = 4096;
/// The longest line of version 1, its end included.
const LINE_MAX: usize = 107;
/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// From one word about closed connections to the next.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It ended before it said anything, as those do that look whether somebody listens.
    Empty,
    /// No valid header, or one that is too long.
    Malformed,
    /// No whole header in time.
    Late,
    /// It does not come from where headers are believed.
    Untrusted,
}

impl Closed {
    fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Malformed => "malformed",
            Self::Late => "late",
            Self::Untrusted => "untrusted",
        }
    }
}

/// Who is believed at one listener, and what was said about the others.
#[derive(Debug)]
pub struct Proxied {
    /// Empty: everybody.
    trusted: Vec<Network>,
    told_at: Cell<Option<Instant>>,
    untold: Cell<u64>,
}

impl Proxied {
    /// Believes connections from these; from everywhere where there are none.
    #[must_use]
    pub fn new(trusted: Vec<Network>) -> Self {
        Self { trusted, told_at: Cell::new(None), untold: Cell::new(0) }
    }

    /// Reads the header of a connection that comes from `peer`: where its client is. `Err`: it is to be closed.
    pub(super) async fn client<S>(&self, stream: &mut S, peer: Option<IpAddr>) -> Result<Option<IpAddr>, Closed>
    where
        S: AsyncRead + Unpin,
    {
        let is_trusted = |peer: IpAddr| self.trusted.is_empty() || self.trusted.iter().any(|net| net.has(peer));
        let read = if peer.is_none_or(is_trusted) {
            timeout(HEADER_WAIT, header(stream)).await.unwrap_or(Err(Closed::Late))
        } else {
            Err(Closed::Untrusted)
        };
        read.map(|named| named.map(|ip| ip.to_canonical()).or(peer)).inspect_err(|closed| self.count(*closed, peer))
    }

    fn count(&self, closed: Closed, peer: Option<IpAddr>) {
        counter!(metric::PROXY_CLOSED, "why" => closed.name()).increment(1);
        if closed == Closed::Empty {
            return;
        }
        self.untold.set(self.untold.get() + 1);
        if self.told_at.get().is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            self.told_at.set(Some(Instant::now()));
            let (why, connections) = (closed.name(), self.untold.take());
            let peer = peer.map_or("a local process".to_owned(), |peer| peer.to_string());
            tracing::warn!(event = "proxy_protocol.closed", %peer, why, connections, "closed: no PROXY header to be believed");
        }
    }
}

/// What a header says of the client's address; `None`: nothing, and the connection's own stands.
async fn header<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<IpAddr>, Closed> {
    let mut first = [0; SIGNATURE.len()];
    match stream.read(&mut first).await {
        Ok(0) | Err(_) => return Err(Closed::Empty),
        Ok(bytes) => more(stream, &mut first[bytes..]).await?,
    }
    if first == *SIGNATURE {
        return binary(stream).await;
    }
    if !first.starts_with(b"PROXY ") {
        return Err(Closed::Malformed);
    }
    let mut line = first.to_vec();
    while !line.ends_with(b"\r\n") {
        // At least so much is still to come.
        let missing = if line.ends_with(b"\r") { 1 } else { 2 };
        let from = line.len();
        if from + missing > LINE_MAX {
            return Err(Closed::Malformed);
        }
        line.resize(from + missing, 0);
        more(stream, &mut line[from..]).await?;
    }
    text(&line[..line.len() - 2])
}

/// The next bytes, exactly so many.
async fn more<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut [u8]) -> Result<(), Closed> {
    stream.read_exact(buffer).await.map(drop).map_err(|_| Closed::Malformed)
}

/// Version 1, without its end: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`.
fn text(line: &[u8]) -> Result<Option<IpAddr>, Closed> {
    let line = std::str::from_utf8(line).map_err(|_| Closed::Malformed)?;
    let mut words = line.split(' ').skip(1);
    let mut word = || words.next().ok_or(Closed::Malformed);
    let is_v4 = match word()? {
        "TCP4" => true,
        "TCP6" => false,
        // Whatever else may stand there.
        "UNKNOWN" => return Ok(None),
        _ => return Err(Closed::Malformed),
    };
    let address = |text: &str| match is_v4 {
        true => text.parse().map(IpAddr::V4).map_err(|_| Closed::Malformed),
        false => text.parse().map(IpAddr::V6).map_err(|_| Closed::Malformed),
    };
    let port = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u16>().map_err(|_| Closed::Malformed),
        false => Err(Closed::Malformed),
    };
    let (from, _to) = (address(word()?)?, address(word()?)?);
    let _ports = (port(word()?)?, port(word()?)?);
    if words.next().is_some() { Err(Closed::Malformed) } else { Ok(Some(from)) }
}

/// Version 2, behind its signature.
async fn binary<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<IpAddr>, Closed> {
    let mut fixed = [0; 4];
    more(stream, &mut fixed).await?;
    let [command, family, length @ ..] = fixed;
    let length = usize::from(u16::from_be_bytes(length));
    if length > BYTES_MAX - SIGNATURE.len() - fixed.len() {
        return Err(Closed::Malformed);
    }
    let mut rest = vec![0; length];
    more(stream, &mut rest).await?;
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Closed::Malformed),
    };
    // Address family and transport. What of it has no address of a client leaves the connection's own.
    let from = match family {
        0x11 => <[u8; 4]>::try_from(rest.get(..12).ok_or(Closed::Malformed)?.split_at(4).0)
            .map(Ipv4Addr::from)
            .map(IpAddr::V4),
        0x21 => <[u8; 16]>::try_from(rest.get(..36).ok_or(Closed::Malformed)?.split_at(16).0)
            .map(Ipv6Addr::from)
            .map(IpAddr::V6),
        0x31 if rest.len() < 216 => return Err(Closed::Malformed),
        0x00 | 0x10 | 0x12 | 0x20 | 0x22 | 0x30..=0x32 => return Ok(None),
        _ if is_local => return Ok(None),
        _ => return Err(Closed::Malformed),
    };
    let from = from.map_err(|_| Closed::Malformed)?;
    Ok(Some(from).filter(|_| !is_local))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of these bytes, and how many are left.
    fn read(mut bytes: &[u8]) -> (Result<Option<IpAddr>, Closed>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let said = runtime.block_on(header(&mut bytes));
        (said, bytes.len())
    }

    fn ip(text: &str) -> Result<Option<IpAddr>, Closed> {
        Ok(Some(text.parse().unwrap()))
    }

    /// Version 2 with this behind its signature.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[test]
    fn a_line_says_where_the_client_is_and_nothing_behind_it_is_read() {
        for (line, said) in [
            ("PROXY TCP4 192.0.2.7 10.0.0.1 56324 443", ip("192.0.2.7")),
            ("PROXY TCP6 2001:db8::7 ::1 1 65535", ip("2001:db8::7")),
            ("PROXY UNKNOWN", Ok(None)),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535", Ok(None)),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 56324", Err(Closed::Malformed)),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 56324 +44", Err(Closed::Malformed)),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 ", Err(Closed::Malformed)),
            ("PROXY TCP4 192.0.2.7  10.0.0.1 1 1", Err(Closed::Malformed)),
            ("PROXY TCP4 ::1 10.0.0.1 1 65536", Err(Closed::Malformed)),
            ("PROXY UDP4 192.0.2.7 10.0.0.1 1 1", Err(Closed::Malformed)),
            ("PROXY TCP4\tx 10.0.0.1 1 1", Err(Closed::Malformed)),
            ("GET /ping HTTP/1.1", Err(Closed::Malformed)),
        ] {
            let (got, left) = read(format!("{line}\r\nGET /").as_bytes());
            assert_eq!(got, said, "{line}");
            assert!(got.is_err() || left == 5, "{line}: {left}");
        }
        assert_eq!(read(b"PROXY UNKNOWN \n\r\n").0, Ok(None), "only CR LF ends it");
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_MAX - 16));
        assert_eq!((longest.len(), read(longest.as_bytes())), (LINE_MAX, (Ok(None), 0)));
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_MAX - 15));
        assert_eq!(read(long.as_bytes()).0, Err(Closed::Malformed));
    }

    #[test]
    fn bytes_say_where_the_client_is_with_whatever_else_they_tell() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb];
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        for (bytes, said) in [
            (v2(0x21, 0x11, &v4), ip("192.0.2.7")),
            (v2(0x21, 0x11, &[&v4[..], &[4, 0, 1, 0]].concat()), ip("192.0.2.7")),
            (v2(0x21, 0x21, &v6), ip("2001:db8::")),
            (v2(0x20, 0x11, &v4), Ok(None)),
            (v2(0x20, 0, &[]), Ok(None)),
            (v2(0x21, 0, &[1; 9]), Ok(None)),
            (v2(0x21, 0x31, &[0; 216]), Ok(None)),
            (v2(0x21, 0x31, &[0; 215]), Err(Closed::Malformed)),
            (v2(0x21, 0x11, &v4[..11]), Err(Closed::Malformed)),
            (v2(0x21, 0x21, &v6[..35]), Err(Closed::Malformed)),
            (v2(0x21, 0x41, &v4), Err(Closed::Malformed)),
            (v2(0x11, 0x11, &v4), Err(Closed::Malformed)),
            (v2(0x22, 0x11, &v4), Err(Closed::Malformed)),
            (v2(0x21, 0x11, &[0; 5000]), Err(Closed::Malformed)),
        ] {
            let (got, left) = read(&[&bytes, &b"GET /"[..]].concat());
            assert_eq!(got, said, "{:x?}", &bytes[12..]);
            assert!(got.is_err() || left == 5);
        }
        assert_eq!(read(b"").0, Err(Closed::Empty));
        assert_eq!(read(&SIGNATURE[..5]).0, Err(Closed::Malformed));
    }

    /// Random bytes, most of them behind a beginning that makes sense: always an end, never more than a header read.
    #[test]
    fn random_bytes_are_refused_or_read_to_their_end() {
        let mut random = fastrand::Rng::with_seed(7);
        let beginnings: [&[u8]; 5] = [b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21"];
        for _ in 0..100_000 {
            let mut bytes = random.choice(beginnings).unwrap().to_vec();
            let digits = random.bool();
            for _ in 0..random.usize(..300) {
                bytes.push(if digits { *random.choice(b"0123456789. :\r\n").unwrap() } else { random.u8(..) });
            }
            let (said, left) = read(&bytes);
            let used = bytes.len() - left;
            assert!(used <= BYTES_MAX && (bytes.starts_with(SIGNATURE) || used <= LINE_MAX), "{bytes:x?}");
            if said.is_ok() {
                assert!(bytes.starts_with(SIGNATURE) || bytes[..used].ends_with(b"\r\n"), "{bytes:x?}");
            }
        }
    }

    #[test]
    fn only_who_is_trusted_is_believed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let proxied = Proxied::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let client = |peer: Option<&str>, mut bytes: &[u8]| {
            let peer = peer.map(|peer| peer.parse().unwrap());
            runtime.block_on(async { proxied.client(&mut bytes, peer).await })
        };
        let line = b"PROXY TCP4 192.0.2.7 10.0.0.1 1 1\r\n";
        assert_eq!(client(Some("10.1.1.1"), line), ip("192.0.2.7"));
        assert_eq!(client(Some("11.1.1.1"), line), Err(Closed::Untrusted));
        assert_eq!(client(None, line), ip("192.0.2.7"));
        assert_eq!(client(Some("10.1.1.1"), b"PROXY UNKNOWN\r\n"), ip("10.1.1.1"), "its own");
        assert_eq!(client(Some("10.1.1.1"), b"PROXY TCP6 ::ffff:1.2.3.4 ::1 1 1\r\n"), ip("1.2.3.4"));
    }
}
