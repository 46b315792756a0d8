//! One segment file: header, records, a twin of the header, and a seal once it is complete. Pure: bytes in, bytes out.

use crate::base::crc::{crc32c, crc32c_append};
use crate::base::{Incarnation, Lsn, SegmentId};

use super::record::{ALIGN, HEADER_BYTES, array_at, u32_at, u64_at};

/// Bytes of the header block at the start, and of its twin.
pub(crate) const HEADER_BLOCK_BYTES: u64 = 4096;
/// Bytes at the end of the file that records never use: the twin of the header, then the block with the seal.
pub(crate) const TRAILER_BYTES: u64 = 8192;
/// Format of the files; another major number is another format.
pub(crate) const MAJOR: u16 = 1;
const MINOR: u16 = 0;
/// The number in the kind byte of a seal.
pub(crate) const SEAL_KIND: u8 = 3;
/// Low half of the flags: features that a reader must know to read the segment.
const FEATURES_KNOWN: u32 = super::squeeze::FEATURES;
const FEATURES_MASK: u32 = 0xffff;

const MAGIC: [u8; 8] = [0x89, b'W', b'S', b'G', 0x0d, 0x0a, 0x1a, 0x0a];
const BLOCK: usize = HEADER_BLOCK_BYTES as usize;

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) id: SegmentId,
    /// Claims that every LSN below it is durable in older segments, or known to be lost.
    pub(crate) base: Lsn,
    pub(crate) created_ns: i64,
    pub(crate) node: [u8; 16],
    pub(crate) incarnation: Incarnation,
    /// Random; seeds every checksum of the segment, so that older bytes in the same file mean nothing.
    pub(crate) salt: u64,
    pub(crate) previous: SegmentId,
    /// Header checksum of the record before `base`.
    pub(crate) previous_chain: u32,
    /// Length of the file in bytes.
    pub(crate) capacity: u64,
    /// Log position (bytes of records since the log began) of the first record.
    pub(crate) position: u64,
    /// What a reader must know; all of it is known here.
    pub(crate) features: u32,
}

/// Why a block is not the header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Not what was written.
    Damaged,
    /// Sound, but of another segment than its file is named after: it was copied or renamed.
    Misnamed(SegmentId),
    /// Sound, but of another format (major version or needed features).
    Foreign {
        /// Its major version.
        major: u16,
        /// Needed features that this version does not know.
        features: u32,
    },
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..8].copy_from_slice(&MAGIC);
        block[8..10].copy_from_slice(&MAJOR.to_le_bytes());
        block[10..12].copy_from_slice(&MINOR.to_le_bytes());
        block[12..16].copy_from_slice(&(BLOCK as u32).to_le_bytes());
        block[16..24].copy_from_slice(&self.id.0.to_le_bytes());
        block[24..32].copy_from_slice(&self.base.0.to_le_bytes());
        block[32..40].copy_from_slice(&self.created_ns.to_le_bytes());
        block[40..56].copy_from_slice(&self.node);
        block[56..64].copy_from_slice(&self.incarnation.0.to_le_bytes());
        block[64..72].copy_from_slice(&self.salt.to_le_bytes());
        block[72..80].copy_from_slice(&self.previous.0.to_le_bytes());
        block[80..84].copy_from_slice(&self.previous_chain.to_le_bytes());
        block[84..88].copy_from_slice(&self.features.to_le_bytes());
        block[88..96].copy_from_slice(&self.capacity.to_le_bytes());
        block[96..104].copy_from_slice(&self.position.to_le_bytes());
        let crc = crc32c(&block[..BLOCK - 4]);
        block[BLOCK - 4..].copy_from_slice(&crc.to_le_bytes());
        block
    }

    pub(crate) fn decode(block: &[u8]) -> Result<Self, Unreadable> {
        let sound =
            block.len() == BLOCK && block[..8] == MAGIC && crc32c(&block[..BLOCK - 4]) == u32_at(block, BLOCK - 4);
        if !sound {
            return Err(Unreadable::Damaged);
        }
        let major = u16::from_le_bytes(array_at(block, 8));
        let features = u32_at(block, 84) & FEATURES_MASK & !FEATURES_KNOWN;
        if major != MAJOR || features != 0 {
            return Err(Unreadable::Foreign { major, features });
        }
        Ok(Self {
            id: SegmentId(u64_at(block, 16)),
            base: Lsn(u64_at(block, 24)),
            created_ns: i64::from_le_bytes(array_at(block, 32)),
            node: array_at(block, 40),
            incarnation: Incarnation(u64_at(block, 56)),
            salt: u64_at(block, 64),
            previous: SegmentId(u64_at(block, 72)),
            previous_chain: u32_at(block, 80),
            capacity: u64_at(block, 88),
            position: u64_at(block, 96),
            features: u32_at(block, 84) & FEATURES_MASK,
        })
    }
}

/// What stands at the end of a complete segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Header checksum of the last record.
    pub(crate) chain: u32,
    pub(crate) last: Lsn,
    /// Offset behind the last record.
    pub(crate) end: u64,
    pub(crate) min_received_ns: i64,
    pub(crate) max_received_ns: i64,
    pub(crate) records: u64,
}

impl Seal {
    /// Times between which the records of its segment were received, by the clock of then; where there is none, when it was
    /// begun.
    pub(crate) fn received_ns(&self, header: &SegmentHeader) -> (i64, i64) {
        let none = self.min_received_ns > self.max_received_ns;
        if none { (header.created_ns, header.created_ns) } else { (self.min_received_ns, self.max_received_ns) }
    }

    pub(crate) fn encode(&self, seed: u32) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[4..8].copy_from_slice(&self.chain.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.last.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.end.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.min_received_ns.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.max_received_ns.to_le_bytes());
        bytes[40] = SEAL_KIND;
        bytes[48..56].copy_from_slice(&self.records.to_le_bytes());
        let crc = crc32c_append(seed, &bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES], seed: u32) -> Option<Self> {
        if bytes[40] != SEAL_KIND || crc32c_append(seed, &bytes[4..]) != u32_at(bytes, 0) {
            return None;
        }
        Some(Self {
            chain: u32_at(bytes, 4),
            last: Lsn(u64_at(bytes, 8)),
            end: u64_at(bytes, 16),
            min_received_ns: i64::from_le_bytes(array_at(bytes, 24)),
            max_received_ns: i64::from_le_bytes(array_at(bytes, 32)),
            records: u64_at(bytes, 48),
        })
    }
}

/// The name of a published segment.
pub(crate) fn name(id: SegmentId) -> String {
    format!("{:020}.wal", id.0)
}

/// The name of a prepared file; its number only keeps it apart from others.
pub(crate) fn next_name(number: u64) -> String {
    format!("{number:020}.wal.next")
}

/// The id in the name of a published segment.
pub(crate) fn parse_name(name: &str) -> Option<SegmentId> {
    number_in(name, ".wal").map(SegmentId)
}

/// The number in the name of a prepared file.
pub(crate) fn parse_next_name(name: &str) -> Option<u64> {
    number_in(name, ".wal.next")
}

fn number_in(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_suffix(ending)?;
    if digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Offset behind the last byte that records may use in a file of this length.
pub(crate) fn data_end(capacity: u64) -> u64 {
    (capacity / ALIGN * ALIGN).saturating_sub(TRAILER_BYTES).max(HEADER_BLOCK_BYTES)
}

/// Bytes of records that groups may fill in a file of this length; the last 64 are kept for the idle mark.
pub(crate) fn room(capacity: u64) -> u64 {
    data_end(capacity).saturating_sub(HEADER_BLOCK_BYTES + ALIGN)
}

/// Length of the smallest file whose [`room`] is at least this.
pub(crate) fn capacity_for(room: u64) -> u64 {
    (room + HEADER_BLOCK_BYTES + ALIGN + TRAILER_BYTES).next_multiple_of(HEADER_BLOCK_BYTES)
}

/// Offset of the twin of the header.
pub(crate) fn twin_offset(capacity: u64) -> u64 {
    capacity.saturating_sub(TRAILER_BYTES)
}

/// Offset of the seal.
pub(crate) fn seal_offset(capacity: u64) -> u64 {
    capacity.saturating_sub(ALIGN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            id: SegmentId(42),
            base: Lsn(7),
            created_ns: -5,
            node: [9; 16],
            incarnation: Incarnation(3),
            salt: 0xdead_beef_0102_0304,
            previous: SegmentId(41),
            previous_chain: 77,
            capacity: 1 << 20,
            position: 12_345,
            features: 1,
        }
    }

    #[test]
    fn a_segment_header_reads_back_and_every_flipped_bit_is_noticed() {
        let block = header().encode();
        assert_eq!(SegmentHeader::decode(&block), Ok(header()));
        for bit in 0..BLOCK * 8 {
            let mut flipped = block.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped), Err(Unreadable::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_named_and_not_called_damage() {
        for (at, value, expected) in [
            (8, 2, Unreadable::Foreign { major: 2, features: 0 }),
            (84, 0x14, Unreadable::Foreign { major: 1, features: 0x14 }),
        ] {
            let mut block = header().encode();
            block[at] = value;
            let crc = crc32c(&block[..BLOCK - 4]);
            block[BLOCK - 4..].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(SegmentHeader::decode(&block), Err(expected));
        }
    }

    proptest! {
        #[test]
        fn a_seal_reads_back_only_under_its_salt(chain: u32, last: u64, end: u64, min: i64, max: i64, records: u64) {
            let seal = Seal { chain, last: Lsn(last), end, min_received_ns: min, max_received_ns: max, records };
            let bytes = seal.encode(1);
            prop_assert_eq!(Seal::decode(&bytes, 1), Some(seal));
            prop_assert_eq!(Seal::decode(&bytes, 2), None);
        }

        #[test]
        fn records_never_reach_into_the_trailer(needed in 0u64..1 << 33) {
            let capacity = capacity_for(needed);
            prop_assert!(room(capacity) >= needed);
            prop_assert!(HEADER_BLOCK_BYTES + room(capacity) + ALIGN <= twin_offset(capacity));
            prop_assert!(twin_offset(capacity) + HEADER_BLOCK_BYTES <= seal_offset(capacity));
        }
    }

    #[test]
    fn names_are_read_strictly() {
        assert_eq!(parse_name(&name(SegmentId(42))), Some(SegmentId(42)));
        assert_eq!(parse_next_name(&next_name(7)), Some(7));
        for bad in ["42.wal", "00000000000000000042.wal.next", "+0000000000000000042.wal", "x.wal", ".wal"] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
    }
}
