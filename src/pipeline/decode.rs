//! A body's content encoding, with the source's own tolerance and a bound on what may come out.
//!
//! 1.x knows `gzip` in exactly this spelling and takes anything else as text; 2.x knows `x-gzip` too. Several gzip members
//! are one body. What we cannot decode is forwarded as it came: the source decides.
//!
//! Promise: room is taken before each step of unpacking, so that no body becomes larger than what was counted for it; and
//! long bodies are unpacked beside the event loop.

use std::io::{Cursor, Read};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::beside::beside;
use super::large::LARGE_BYTES;
use super::room::NoRoom;
use super::{ClientWrite, Refusal};
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

impl Decoded {
    /// Length of the text.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Plain(text) | Self::Gzip(text) => text.len(),
            Self::Opaque => 0,
        }
    }
}

/// Why a body was not decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Undecoded {
    /// It would be larger than configured.
    TooLarge { limit_bytes: usize },
    /// It is sound and unpacks to more than is held whole.
    Large,
    /// Over our own capacity.
    Refused(Refusal),
}

impl From<NoRoom> for Undecoded {
    fn from(_: NoRoom) -> Self {
        Self::Refused(Refusal::Capacity(NO_ROOM))
    }
}

/// What a client hears when its body finds no room.
pub(super) const NO_ROOM: &str = "too many bytes in flight";

/// A small body may unpack to this much whatever the ratio says: short texts of zeros are no bomb.
const RATIO_FREE_BYTES: usize = 1 << 20;

/// Unpacked in one go. The first step is done on the event loop.
const STEP_BYTES: usize = 1 << 20;

/// Whether the source would unpack a body with these headers.
pub(super) fn is_gzip(version: &Version, headers: &HeaderMap) -> bool {
    match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
        Some(b"gzip") => true,
        Some(b"x-gzip") => version.flavor == Flavor::Influx2,
        _ => false,
    }
}

pub(super) async fn decode(version: &Version, request: &mut ClientWrite, limits: Limits) -> Result<Decoded, Undecoded> {
    if !is_gzip(version, &request.headers) {
        return Ok(Decoded::Plain(request.body.clone()));
    }
    let by_ratio = request.body.len().saturating_mul(limits.ratio_max as usize).max(RATIO_FREE_BYTES);
    let limit_bytes = limits.body_bytes_max.min(by_ratio);
    let held_bytes = request.room.bytes();
    let mut unpacking = Unpacking::new(request.body.clone());
    // Most bodies are small, and text packs to about a sixth.
    let mut step_bytes = (request.body.len().saturating_mul(8)).clamp(4 << 10, STEP_BYTES).min(limit_bytes + 1);
    while !unpacking.ended {
        request.room.grow(step_bytes).await?;
        unpacking = match unpacking.out.len() {
            0 => unpacking.step(step_bytes),
            _ => beside(move || unpacking.step(step_bytes)).await.map_err(Undecoded::Refused)?,
        };
        if unpacking.out.len() > limit_bytes {
            return Err(Undecoded::TooLarge { limit_bytes });
        }
        if unpacking.out.len() > LARGE_BYTES && !unpacking.ended {
            let rest = beside(move || unpacking.measure(limit_bytes)).await.map_err(Undecoded::Refused)?;
            request.room.shrink_to(held_bytes);
            return rest;
        }
        step_bytes = STEP_BYTES.min(limit_bytes + 1 - unpacking.out.len());
    }
    request.room.shrink_to(held_bytes + unpacking.out.len());
    Ok(if unpacking.broken { Decoded::Opaque } else { Decoded::Gzip(Bytes::from(unpacking.out)) })
}

/// A body that is being unpacked.
struct Unpacking {
    from: MultiGzDecoder<Cursor<Bytes>>,
    out: Vec<u8>,
    ended: bool,
    broken: bool,
}

impl Unpacking {
    fn new(packed: Bytes) -> Self {
        Self { from: MultiGzDecoder::new(Cursor::new(packed)), out: Vec::new(), ended: false, broken: false }
    }

    /// Looks at all that comes out and keeps nothing of it: whether the body is sound, and not larger than may be.
    fn measure(mut self, limit_bytes: usize) -> Result<Decoded, Undecoded> {
        let mut total = self.out.len();
        self.out = vec![0; 64 << 10];
        loop {
            match self.from.read(&mut self.out) {
                Ok(0) => return Err(Undecoded::Large),
                Ok(read) => total += read,
                Err(_) => return Ok(Decoded::Opaque),
            }
            if total > limit_bytes {
                return Err(Undecoded::TooLarge { limit_bytes });
            }
        }
    }

    /// Unpacks at most so many bytes more.
    fn step(mut self, bytes: usize) -> Self {
        self.out.reserve_exact(bytes);
        match (&mut self.from).take(bytes as u64).read_to_end(&mut self.out) {
            Ok(read) => self.ended = read < bytes,
            Err(_) => {
                (self.ended, self.broken) = (true, true);
                self.out = Vec::new();
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use http::Method;

    use super::*;
    use crate::db::precision::Api;
    use crate::pipeline::Budget;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn decode_as(version: &str, encoding: &str, body: Vec<u8>) -> Result<Decoded, Undecoded> {
        decode_within(version, encoding, body, &Budget::new(64 << 20, Duration::ZERO))
    }

    fn decode_within(version: &str, encoding: &str, body: Vec<u8>, budget: &Budget) -> Result<Decoded, Undecoded> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
        let mut request = ClientWrite {
            api: Api::V1,
            method: Method::POST,
            target: "/write?db=d".into(),
            headers,
            extensions: http::Extensions::new(),
            body: body.into(),
            room: budget.room(),
        };
        let (version, limits) = (Version::read(version).unwrap(), Limits { body_bytes_max: 4 << 20, ratio_max: 10 });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(decode(&version, &mut request, limits))
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
        let refused = decode_as("1.13.2", "gzip", bomb);
        assert!(matches!(refused, Err(Undecoded::TooLarge { limit_bytes }) if limit_bytes <= 4 << 20), "{refused:?}");
    }

    #[test]
    fn long_bodies_come_out_whole_and_take_room_while_they_do() {
        let mut state = 1_u32;
        let text: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + (state >> 27) as u8
        })
        .take(3 << 20)
        .collect();
        let budget = Budget::new(64 << 20, Duration::ZERO);
        let decoded = decode_within("1.13.2", "gzip", gzip(&text), &budget);
        assert!(decoded == Ok(Decoded::Gzip(Bytes::from(text.clone()))));
        assert_eq!(budget.free_bytes(), 64 << 20, "all room came back");

        let short = Budget::new(2 << 20, Duration::ZERO);
        let mut other = short.room();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(other.grow(512 << 10)).unwrap();
        let refused = decode_within("1.13.2", "gzip", gzip(&text), &short);
        assert!(matches!(refused, Err(Undecoded::Refused(_))));
    }
}
