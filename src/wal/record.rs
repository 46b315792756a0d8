//! One record: a header of 64 bytes, then the payload, padded with zeros to a multiple of 64. Pure: bytes in, bytes
//! out.
//!
//! The header has its own checksum, seeded by the segment's salt: a damaged payload costs one record, and old bytes of
//! a recycled segment never pass for new ones. See `FORMAT.md` for the table.

use super::safeguard::{Safeguard, holds};
use crate::base::crc::{crc32c, crc32c_append};
use crate::base::{Lsn, RequestId, RouteId};

/// Bytes of a record header, and the alignment of every record.
pub(crate) const HEADER_BYTES: usize = 64;
/// The same, for offsets.
pub(crate) const ALIGN: u64 = HEADER_BYTES as u64;
/// Largest payload (meta and body) of a record, in bytes.
pub const PAYLOAD_MAX_BYTES: usize = 32 << 20;
/// Kinds with this bit may be skipped by a reader that does not know them.
pub(crate) const SKIPPABLE: u8 = 0x80;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What a client asked for.
    Intent,
    /// What the primary said about earlier intents: n × 16 bytes, merged over a group.
    Outcomes,
    /// Nothing but the news that everything before it is durable. Readers do not see it.
    Mark,
    /// A stretch of writes that the log could not take.
    Gap,
    /// A statement that changes or removes data.
    Statement,
}

impl Kind {
    /// The number on disk. 3 is the seal at the end of a segment and never a record.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Intent => 1,
            Self::Outcomes => 2,
            Self::Mark => 4,
            Self::Gap => 5,
            Self::Statement => 6,
        }
    }

    /// The kind of a number, unless this version does not know it.
    pub(crate) fn of(code: u8) -> Option<Self> {
        [Self::Intent, Self::Outcomes, Self::Mark, Self::Gap, Self::Statement].into_iter().find(|k| k.code() == code)
    }

    /// Whether callers may submit entries of this kind; the log writes the others itself.
    pub(crate) fn is_entry(self) -> bool {
        matches!(self, Self::Intent | Self::Gap | Self::Statement)
    }
}

/// The start value of a segment's header checksums.
#[must_use]
pub(crate) fn seed(salt: u64) -> u32 {
    let salt = if holds(Safeguard::NewSalt) { salt } else { 0 };
    crc32c(&salt.to_le_bytes())
}

/// A record header in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) payload_bytes: u32,
    pub(crate) lsn: Lsn,
    /// Highest LSN known to be durable when this record was written.
    pub(crate) durable: Lsn,
    pub(crate) received_ns: i64,
    pub(crate) payload_crc: u32,
    /// Checksum of the header before this one.
    pub(crate) chain: u32,
    /// The number, known to this version or not.
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) meta_bytes: u16,
    pub(crate) route: RouteId,
    pub(crate) request: RequestId,
    pub(crate) lines: u32,
}

impl Header {
    /// The bytes, and the checksum that the next record carries as its chain.
    pub(crate) fn encode(&self, seed: u32) -> ([u8; HEADER_BYTES], u32) {
        let mut bytes = [0; HEADER_BYTES];
        bytes[4..8].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.lsn.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.durable.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.received_ns.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.chain.to_le_bytes());
        bytes[40] = self.kind;
        bytes[41] = self.flags;
        bytes[42..44].copy_from_slice(&self.meta_bytes.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.route.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.request.0.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.lines.to_le_bytes());
        let crc = crc32c_append(seed, &bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// The header in these 64 bytes and its checksum, if they are a sound header of the segment with this seed.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES], seed: u32) -> Option<(Self, u32)> {
        let header = Self {
            payload_bytes: u32_at(bytes, 4),
            lsn: Lsn(u64_at(bytes, 8)),
            durable: Lsn(u64_at(bytes, 16)),
            received_ns: i64::from_le_bytes(array_at(bytes, 24)),
            payload_crc: u32_at(bytes, 32),
            chain: u32_at(bytes, 36),
            kind: bytes[40],
            flags: bytes[41],
            meta_bytes: u16::from_le_bytes(array_at(bytes, 42)),
            route: RouteId(u32_at(bytes, 44)),
            request: RequestId(u64_at(bytes, 48)),
            lines: u32_at(bytes, 56),
        };
        // Cheap refusals first: a scan for headers looks at every 64th byte of a segment.
        let plausible = u32_at(bytes, 60) == 0
            && header.durable < header.lsn
            && header.payload_bytes as usize <= PAYLOAD_MAX_BYTES
            && u32::from(header.meta_bytes) <= header.payload_bytes
            && header.kind != super::segment::SEAL_KIND;
        let crc = u32_at(bytes, 0);
        (plausible && crc32c_append(seed, &bytes[4..]) == crc).then_some((header, crc))
    }

    /// Bytes of the whole record on disk.
    pub(crate) fn record_bytes(&self) -> u64 {
        record_bytes(self.payload_bytes as usize)
    }
}

/// Bytes of a record on disk with a payload of this size.
pub(crate) fn record_bytes(payload_bytes: usize) -> u64 {
    ALIGN + (payload_bytes as u64).next_multiple_of(ALIGN)
}

/// The checksum of a payload given in two parts.
pub(crate) fn payload_crc(meta: &[u8], body: &[u8]) -> u32 {
    crc32c_append(crc32c(meta), body)
}

/// Bytes at an offset that the caller knows to be inside.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn headers()(
            meta in 0u16..500, body in 0u32..100_000, lsn in 1u64.., back in 1u64.., received_ns: i64,
            crc: u32, chain: u32, kind in 0u8.., flags: u8, route: u32, request: u64, lines: u32,
        ) -> Header {
            Header {
                payload_bytes: u32::from(meta) + body, received_ns,
                lsn: Lsn(lsn), durable: Lsn(lsn.saturating_sub(back)), payload_crc: crc, chain, kind: if kind == 3 { 1 } else { kind }, flags, meta_bytes: meta,
                route: RouteId(route), request: RequestId(request), lines,
            }
        }
    }

    proptest! {
        #[test]
        fn a_header_reads_back_as_written_and_only_under_its_own_salt(header in headers(), salt: u64, other: u64) {
            let (bytes, crc) = header.encode(seed(salt));
            prop_assert_eq!(Header::decode(&bytes, seed(salt)), Some((header, crc)));
            if seed(other) != seed(salt) {
                prop_assert_eq!(Header::decode(&bytes, seed(other)), None);
            }
        }

        #[test]
        fn any_flipped_bit_is_noticed(header in headers(), salt: u64) {
            let (bytes, _) = header.encode(seed(salt));
            for bit in 0..HEADER_BYTES * 8 {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                prop_assert_eq!(Header::decode(&flipped, seed(salt)), None, "bit {}", bit);
            }
        }
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        // The published check value, and the vector of 32 zero bytes from RFC 3720.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(payload_crc(b"1234", b"56789"), 0xe306_9283);
    }

    #[test]
    fn zeros_are_no_header() {
        for salt in 0..1000 {
            assert_eq!(Header::decode(&[0; HEADER_BYTES], seed(salt)), None);
        }
    }

    #[test]
    fn records_fill_whole_lines_of_64_bytes() {
        for (payload, bytes) in [(0, 64), (1, 128), (64, 128), (65, 192), (PAYLOAD_MAX_BYTES, (32 << 20) + 64)] {
            assert_eq!(record_bytes(payload), bytes);
        }
    }
}
