//! What the primary said of an intent: 16 bytes in an `Outcomes` record.
//!
//! Little endian: lsn u64, http_status u16 (0: no answer), disposition u8, cause u8, epoch u32.

use crate::base::{Epoch, Lsn};

/// The state that an outcome puts an intent into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// The primary kept every line that parses in its dialect.
    Applied,
    /// The primary kept nothing.
    NotApplied,
    /// Not known: must be read back.
    Doubt,
    /// The write was recorded as a gap before this intent became durable.
    Gapped,
}

/// Why something is doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Not doubt.
    None,
    /// The process died before the outcome was durable.
    Crash,
    /// No answer in time.
    Timeout,
    /// The connection broke after the request was sent.
    Reset,
    /// An answer that does not say what was kept.
    Answer,
}

/// One outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whose outcome.
    pub lsn: Lsn,
    /// Status of the answer; 0 without one.
    pub status: u16,
    /// What became of it.
    pub disposition: Disposition,
    /// Why it is doubt.
    pub cause: Cause,
    /// Which primary spoke.
    pub epoch: Epoch,
}

impl Cause {
    /// Stable name for people and rows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Crash => "crash",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Answer => "answer",
        }
    }
}

const DISPOSITIONS: [Disposition; 4] =
    [Disposition::Applied, Disposition::NotApplied, Disposition::Doubt, Disposition::Gapped];
const CAUSES: [Cause; 5] = [Cause::None, Cause::Crash, Cause::Timeout, Cause::Reset, Cause::Answer];

impl Outcome {
    /// The bytes for the record. Dispositions count from 1, so that zeros are no outcome.
    #[must_use]
    pub fn encode(&self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&self.lsn.0.to_le_bytes());
        out[8..10].copy_from_slice(&self.status.to_le_bytes());
        out[10] = 1 + DISPOSITIONS.iter().position(|d| *d == self.disposition).unwrap_or(2) as u8;
        out[11] = CAUSES.iter().position(|c| *c == self.cause).unwrap_or(0) as u8;
        out[12..].copy_from_slice(&self.epoch.0.to_le_bytes());
        out
    }

    /// Reads one entry. A disposition or cause that a later version added reads as doubt: never delivered, never lost.
    #[must_use]
    pub fn decode(bytes: &[u8; 16]) -> Self {
        let [l0, l1, l2, l3, l4, l5, l6, l7, s0, s1, disposition, cause, e0, e1, e2, e3] = *bytes;
        let disposition = usize::from(disposition)
            .checked_sub(1)
            .and_then(|at| DISPOSITIONS.get(at))
            .copied()
            .unwrap_or(Disposition::Doubt);
        Self {
            lsn: Lsn(u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7])),
            status: u16::from_le_bytes([s0, s1]),
            disposition,
            cause: CAUSES.get(usize::from(cause)).copied().unwrap_or(Cause::Answer),
            epoch: Epoch(u32::from_le_bytes([e0, e1, e2, e3])),
        }
    }

    /// All entries of an `Outcomes` payload; a tail shorter than an entry is ignored (the CRC has vouched for the bytes).
    pub fn decode_all(payload: &[u8]) -> impl Iterator<Item = Self> {
        payload.as_chunks::<16>().0.iter().map(Self::decode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_unknown_is_doubt() {
        for disposition in DISPOSITIONS {
            for cause in CAUSES {
                let outcome = Outcome { lsn: Lsn(77), status: 204, disposition, cause, epoch: Epoch(3) };
                assert_eq!(Outcome::decode(&outcome.encode()), outcome);
            }
        }
        assert_eq!(Outcome::decode(&[0; 16]).disposition, Disposition::Doubt);
        assert_eq!(Outcome::decode_all(&[0; 35]).count(), 2);
    }
}
