//! The first bytes of keys as numbers.
//!
//! Promise: numbers that differ sort like the keys, and belong to different keys.

/// The first eight bytes of the key that begins at `start`, zeros behind it.
#[inline(always)]
pub(super) fn prefix(body: &[u8], start: usize, length: usize) -> u64 {
    match body.get(start..start + 8).and_then(<[u8]>::first_chunk) {
        Some(bytes) if length >= 8 => u64::from_be_bytes(*bytes),
        Some(bytes) => u64::from_be_bytes(*bytes) & !(u64::MAX >> (8 * length)),
        None => near_end(body, start, length),
    }
}

/// The same where the body ends within eight bytes.
#[cold]
fn near_end(body: &[u8], start: usize, length: usize) -> u64 {
    (0..8).fold(0, |prefix, at| {
        let byte = if at < length { body[start + at] } else { 0 };
        (prefix << 8) | u64::from(byte)
    })
}

/// Whether a key with these first bytes may be one that a dialect reserves.
#[inline(always)]
pub(super) fn may_be_reserved(prefix: u64) -> bool {
    // By the first byte of the reserved ones.
    matches!(prefix >> 56, 0 | 0xff | 0x5f | 0x74)
}
