//! Bodies made smaller. Pure: bytes in, bytes out.
//!
//! Promises: a body is stored squeezed only where that is smaller; what comes back is what went in; nothing larger than a
//! record may be is ever made, whatever the stored bytes claim. The checksum of the record covers the stored bytes, so what
//! cannot be expanded although it holds was never written by this code.

use std::cell::RefCell;

use bytes::Bytes;
use zstd::bulk::{Compressor, Decompressor};

use super::record::PAYLOAD_MAX_BYTES;

/// How bodies are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// LZ4, block format.
    Lz4,
    /// Zstandard, level 1.
    Zstd,
}

/// Bits of a record's flags that say how its body is stored; no caller may use them.
pub(crate) const FLAGS: u8 = LZ4 | ZSTD;
const LZ4: u8 = 0x40;
const ZSTD: u8 = 0x80;
/// Features of a segment that may hold such bodies.
pub(crate) const FEATURES: u32 = 3;
/// A smaller body is stored as it is.
const LEAST_BYTES: usize = 256;
/// A squeezed body begins with its length before.
const LENGTH_BYTES: usize = 4;
const ZSTD_LEVEL: i32 = 1;

impl Compression {
    fn flag(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => LZ4,
            Self::Zstd => ZSTD,
        }
    }

    /// The feature that a segment must name before it holds such a body.
    pub(crate) fn feature(self) -> u32 {
        features(self.flag())
    }
}

/// The features that a record with these flags needs.
pub(crate) fn features(flags: u8) -> u32 {
    u32::from(flags >> 6)
}

/// The body as it is stored, and its flag; `None` where it is stored as it is.
pub(crate) fn squeeze(how: Compression, body: &[u8]) -> Option<(Bytes, u8)> {
    if how == Compression::None || body.len() < LEAST_BYTES || body.len() > PAYLOAD_MAX_BYTES {
        return None;
    }
    let mut stored = match how {
        Compression::None => return None,
        Compression::Lz4 => lz4_flex::block::compress_prepend_size(body),
        Compression::Zstd => zstd_prepend_size(body)?,
    };
    stored.shrink_to_fit();
    (stored.len() < body.len()).then(|| (Bytes::from(stored), how.flag()))
}

fn zstd_prepend_size(body: &[u8]) -> Option<Vec<u8>> {
    thread_local! {
        /// A context takes longer to make than a body to squeeze.
        static CONTEXT: RefCell<Option<Compressor<'static>>> = RefCell::new(Compressor::new(ZSTD_LEVEL).ok());
    }
    // Not smaller, and it is not wanted: there is no more room than that.
    let mut stored = vec![0; body.len()];
    stored[..LENGTH_BYTES].copy_from_slice(&(body.len() as u32).to_le_bytes());
    let squeezed = CONTEXT
        .with_borrow_mut(|context| context.as_mut()?.compress_to_buffer(body, &mut stored[LENGTH_BYTES..]).ok())?;
    stored.truncate(LENGTH_BYTES + squeezed);
    Some(stored)
}

/// The body of a record with these flags, of which `limit` bytes may be left; `None` where the stored bytes are no such body.
pub(crate) fn expand(flags: u8, stored: &Bytes, limit: usize) -> Option<Bytes> {
    if flags & FLAGS == 0 {
        return Some(stored.clone());
    }
    let (length, squeezed) = stored.split_first_chunk::<LENGTH_BYTES>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= limit)?;
    let body = match flags & FLAGS {
        LZ4 => {
            let mut body = vec![0; length];
            let made = lz4_flex::block::decompress_into(squeezed, &mut body).ok()?;
            (made == length).then_some(body)?
        }
        ZSTD => zstd_expand(squeezed, length)?,
        _ => return None,
    };
    Some(Bytes::from(body))
}

fn zstd_expand(squeezed: &[u8], length: usize) -> Option<Vec<u8>> {
    thread_local! {
        static CONTEXT: RefCell<Option<Decompressor<'static>>> = RefCell::new(Decompressor::new().ok());
    }
    let mut body = vec![0; length];
    let made =
        CONTEXT.with_borrow_mut(|context| context.as_mut()?.decompress_to_buffer(squeezed, &mut body[..]).ok())?;
    (made == length).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bodies() -> impl Strategy<Value = Vec<u8>> {
        let text = prop::collection::vec(prop::sample::select(b"cpu,host=a usage=1.5 17\n".to_vec()), 0..5000);
        prop_oneof![text, prop::collection::vec(any::<u8>(), 0..5000)]
    }

    proptest! {
        #[test]
        fn a_body_comes_back_as_it_was(body in bodies()) {
            for how in [Compression::None, Compression::Lz4, Compression::Zstd] {
                let Some((stored, flag)) = squeeze(how, &body) else { continue };
                prop_assert!(stored.len() < body.len() && features(flag) == how.feature());
                prop_assert_eq!(expand(flag, &stored, body.len()), Some(Bytes::from(body.clone())));
                prop_assert_eq!(expand(flag, &stored, body.len() - 1), None, "more than may be");
            }
        }

        #[test]
        fn any_bytes_are_a_body_or_none_and_never_larger_than_may_be(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for flag in [LZ4, ZSTD, LZ4 | ZSTD] {
                let body = expand(flag, &Bytes::from(bytes.clone()), 1000);
                prop_assert!(body.is_none_or(|body| body.len() <= 1000));
            }
        }
    }

    #[test]
    fn lines_become_a_fraction_and_noise_stays_as_it_is() {
        let lines = b"cpu,host=server-1,region=eu usage_user=1.5,usage_system=0.3 1700000000000000000\n".repeat(100);
        let noise: Vec<u8> = (0..5000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for how in [Compression::Lz4, Compression::Zstd] {
            let (stored, _) = squeeze(how, &lines).expect("smaller");
            assert!(stored.len() < lines.len() / 4, "{how:?}: {}", stored.len());
            assert!(squeeze(how, &noise).is_none_or(|(stored, _)| stored.len() < noise.len()));
            assert_eq!(squeeze(how, &lines[..LEAST_BYTES - 1]), None);
        }
    }

    #[test]
    fn a_small_record_cannot_claim_to_be_a_large_one() {
        let zeros = vec![0; 4 << 20];
        for how in [Compression::Lz4, Compression::Zstd] {
            let (stored, flag) = squeeze(how, &zeros).expect("smaller");
            let mut lies = stored.to_vec();
            lies[..LENGTH_BYTES].copy_from_slice(&u32::MAX.to_le_bytes());
            assert_eq!(expand(flag, &Bytes::from(lies.clone()), PAYLOAD_MAX_BYTES), None);
            lies[..LENGTH_BYTES].copy_from_slice(&1000u32.to_le_bytes());
            assert_eq!(expand(flag, &Bytes::from(lies), PAYLOAD_MAX_BYTES), None);
        }
    }
}
