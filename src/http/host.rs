//! Heads that the servers refuse before any handler sees them, and hyper takes: Go's `net/http` (1.13 and 2.9) asks for one
//! `Host` of bytes that may stand in one, and for no transfer coding but `chunked`.
//!
//! Promises: what the source would refuse so is refused in its words and in its order, and nothing of it is stored.

use http::header::{HOST, TRANSFER_ENCODING};
use http::{Method, Request, Version};

use crate::pipeline::{BadHost, Reply, bad_host, unknown_coding};

/// The answer to a head that the servers refuse; `None` for one that they take.
pub(super) fn refused<B>(request: &Request<B>) -> Option<Reply> {
    match host_fault(request) {
        Some(BadHost::Many) => Some(bad_host(BadHost::Many)),
        // The coding is looked at after the number of hosts and before the rest of them.
        _ if has_unknown_coding(request) => Some(unknown_coding()),
        fault => fault.map(bad_host),
    }
}

fn host_fault<B>(request: &Request<B>) -> Option<BadHost> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Some(BadHost::Many),
        (Some(host), None) if host.as_bytes().iter().copied().all(may_stand_in_host) => None,
        (Some(_), None) => Some(BadHost::Malformed),
        // HTTP/1.0 knows no `Host`.
        (None, _) if request.version() < Version::HTTP_11 || request.method() == Method::CONNECT => None,
        (None, _) => Some(BadHost::Missing),
    }
}

/// RFC 3986, section 3.2.2 with a port, taken as leniently as the servers do: each byte for itself. None at all is fine.
fn may_stand_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$%&'()*+,;=:[]".contains(&byte)
}

/// Whether the body is in a transfer coding that the servers do not know: they take `chunked` alone, hyper also what ends in
/// it.
fn has_unknown_coding<B>(request: &Request<B>) -> bool {
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    codings.next().is_some_and(|first| !first.as_bytes().eq_ignore_ascii_case(b"chunked")) || codings.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(version: Version, hosts: &[&str]) -> Option<BadHost> {
        let request = hosts.iter().fold(Request::post("/write").version(version), |r, host| r.header(HOST, *host));
        host_fault(&request.body(()).unwrap())
    }

    #[test]
    fn one_host_is_asked_for_whose_bytes_may_stand_there() {
        for host in ["", "x", "db.example:8086", "[fe80::1%25eth0]:8086", "a_b~c!$&'()*+,;="] {
            assert_eq!(fault(Version::HTTP_11, &[host]), None, "{host}");
        }
        for host in ["a b", "a/b", "u@h", "a\"b", "a?", "a\\b", "a#b", "<a>"] {
            assert_eq!(fault(Version::HTTP_11, &[host]), Some(BadHost::Malformed), "{host}");
            assert_eq!(fault(Version::HTTP_10, &[host]), Some(BadHost::Malformed), "{host}");
        }
        assert_eq!(fault(Version::HTTP_11, &["x", "x"]), Some(BadHost::Many));
        assert_eq!(fault(Version::HTTP_11, &[]), Some(BadHost::Missing));
        assert_eq!(fault(Version::HTTP_10, &[]), None);
    }
}
