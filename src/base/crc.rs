//! CRC-32C (Castagnoli), the checksum of everything that we write to disk.
//!
//! Promise: the value is that of the polynomial's published vectors, on every processor.

use crc_fast::{CrcAlgorithm, Digest, crc32_iscsi};

/// The checksum of some bytes.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32_iscsi(bytes)
}

/// The checksum of all bytes that gave `before` (0: none), and then of these.
#[must_use]
pub fn crc32c_append(before: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!before));
    digest.update(bytes);
    // 32 bits wide by its definition.
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bit by bit.
    fn slow(before: u32, bytes: &[u8]) -> u32 {
        let bit = |state: u32| (state >> 1) ^ if state & 1 == 1 { 0x82f6_3b78 } else { 0 };
        !bytes.iter().fold(!before, |state, byte| (0..8).fold(state ^ u32::from(*byte), |state, _| bit(state)))
    }

    #[test]
    fn the_published_vectors_hold() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        let vectors: [(&[u8], u32); 6] = [
            (b"", 0),
            (b"123456789", 0xe306_9283),
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&ascending, 0x46dd_794e),
            (&descending, 0x113f_db5c),
        ];
        for (bytes, crc) in vectors {
            assert_eq!((crc32c(bytes), crc32c_append(0, bytes), slow(0, bytes)), (crc, crc, crc), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn every_length_and_cut_is_the_slow_one(bytes in prop::collection::vec(any::<u8>(), 0..5000), cut: prop::sample::Index, before: u32) {
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(crc32c(&bytes), slow(0, &bytes));
            prop_assert_eq!(crc32c_append(crc32c(head), tail), crc32c(&bytes));
            prop_assert_eq!(crc32c_append(before, &bytes), slow(before, &bytes));
        }
    }
}
