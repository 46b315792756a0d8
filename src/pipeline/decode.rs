//! A body's content encoding, with the source's own tolerance and a bound on what may come out.
//!
//! 1.x knows `gzip` in exactly this spelling and takes anything else as text; 2.x knows `x-gzip` too. Several gzip members
//! are one body. What we cannot decode is forwarded as it came: the source decides.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::header::CONTENT_ENCODING;

use super::ClientWrite;
use crate::db::server::{Flavor, Version};

/// Bounds of a decoded body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, decoded.
    pub body_bytes_max: usize,
    /// Decoded bytes for each byte that came.
    pub ratio_max: u32,
}

/// How a body came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    /// As it is.
    Plain(Bytes),
    /// Out of gzip.
    Gzip(Bytes),
    /// Not decodable.
    Opaque,
}

/// The decoded body would be larger than configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TooLarge {
    pub(super) limit_bytes: usize,
}

/// A small body may unpack to this much whatever the ratio says: short texts of zeros are no bomb.
const RATIO_FREE_BYTES: usize = 1 << 20;

pub(super) fn decode(version: &Version, request: &ClientWrite, limits: Limits) -> Result<Decoded, TooLarge> {
    let encoding = request.headers.get(CONTENT_ENCODING).map(|value| value.as_bytes());
    let gzip = match encoding {
        Some(b"gzip") => true,
        Some(b"x-gzip") => version.flavor == Flavor::Influx2,
        _ => false,
    };
    if !gzip {
        return Ok(Decoded::Plain(request.body.clone()));
    }
    let by_ratio = request.body.len().saturating_mul(limits.ratio_max as usize).max(RATIO_FREE_BYTES);
    let limit_bytes = limits.body_bytes_max.min(by_ratio);
    let mut out = Vec::with_capacity((request.body.len() * 6).min(limit_bytes));
    match MultiGzDecoder::new(&request.body[..]).take(limit_bytes as u64 + 1).read_to_end(&mut out) {
        Ok(_) if out.len() > limit_bytes => Err(TooLarge { limit_bytes }),
        Ok(_) => Ok(Decoded::Gzip(Bytes::from(out))),
        Err(_) => Ok(Decoded::Opaque),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use http::{HeaderMap, Method};

    use super::*;
    use crate::db::precision::Api;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn decode_as(version: &str, encoding: &str, body: Vec<u8>) -> Result<Decoded, TooLarge> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
        let request = ClientWrite {
            api: Api::V1,
            method: Method::POST,
            target: "/write?db=d".into(),
            headers,
            extensions: http::Extensions::new(),
            body: body.into(),
        };
        decode(&Version::read(version).unwrap(), &request, Limits { body_bytes_max: 4 << 20, ratio_max: 10 })
    }

    #[test]
    fn encodings_are_read_with_the_sources_tolerance() {
        let text = b"m v=1";
        let mut two = gzip(b"m v");
        two.extend(gzip(b"=1"));
        assert_eq!(decode_as("1.13.2", "gzip", two), Ok(Decoded::Gzip(Bytes::from_static(text))));
        assert_eq!(decode_as("1.13.2", "identity", text.to_vec()), Ok(Decoded::Plain(Bytes::from_static(text))));
        assert!(matches!(decode_as("1.13.2", "x-gzip", gzip(text)), Ok(Decoded::Plain(_))), "1.x takes it as text");
        assert!(matches!(decode_as("v2.9.1", "x-gzip", gzip(text)), Ok(Decoded::Gzip(_))));
        assert_eq!(decode_as("1.13.2", "gzip", b"no gzip".to_vec()), Ok(Decoded::Opaque));
        assert_eq!(decode_as("1.13.2", "gzip", gzip(text)[..12].to_vec()), Ok(Decoded::Opaque));
    }

    #[test]
    fn a_bomb_is_refused_without_being_unpacked() {
        let bomb = gzip(&vec![b'\n'; 64 << 20]);
        assert_eq!(decode_as("1.13.2", "gzip", bomb).map_err(|e| e.limit_bytes <= 4 << 20), Err(true));
    }
}
