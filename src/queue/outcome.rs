//! What the primary said of an intent: entries of 16 bytes in an `Outcomes` record.
//!
//! Little endian. The outcome of an intent: lsn u64, http_status u16 (0: no answer), disposition u8, cause u8, epoch u32.
//! Where its lines do not share one fate the disposition is *partial*, and right before it, in the same record, stand the
//! spans of lines that were not kept, or of which it is not known: lsn u64, lines u16, fate u8, cause u8, first line u32.
//! Lines are those that parse, counted from 0 in the intent's record.
//!
//! Promise: what this version does not know (a disposition, a partial outcome without its spans) reads as doubt of the whole
//! intent. A version from before partial outcomes meets the span first and says doubt too.

use super::cause::Cause;
use super::span::{Span, Spans};
use crate::base::{Epoch, Lsn};

/// One entry of a record.
pub type EntryBytes = [u8; 16];

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
    /// The primary kept every line that parses in its dialect but those of the spans.
    Partial,
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

const DISPOSITIONS: [Disposition; 5] =
    [Disposition::Applied, Disposition::NotApplied, Disposition::Doubt, Disposition::Gapped, Disposition::Partial];

impl Outcome {
    /// The bytes for the record. Dispositions count from 1, so that zeros are no outcome.
    #[must_use]
    pub fn encode(&self) -> EntryBytes {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&self.lsn.0.to_le_bytes());
        out[8..10].copy_from_slice(&self.status.to_le_bytes());
        out[10] = 1 + DISPOSITIONS.iter().position(|d| *d == self.disposition).unwrap_or(2) as u8;
        out[11] = self.cause.code();
        out[12..].copy_from_slice(&self.epoch.0.to_le_bytes());
        out
    }

    /// Reads one entry. A disposition or cause that a later version added reads as doubt: never delivered, never lost.
    #[must_use]
    pub fn decode(bytes: &EntryBytes) -> Self {
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
            cause: Cause::of_code(cause),
            epoch: Epoch(u32::from_le_bytes([e0, e1, e2, e3])),
        }
    }

    /// The entries of an intent whose lines do not share one fate: the spans, then the outcome that names them.
    #[must_use]
    pub fn encode_partial(&self, spans: &Spans) -> Vec<EntryBytes> {
        let mut out = Vec::new();
        spans.iter().for_each(|span| span.encode(self.lsn, &mut out));
        out.push(Self { disposition: Disposition::Partial, cause: Cause::None, ..*self }.encode());
        out
    }

    /// All outcomes of an `Outcomes` payload, in order, each with its spans; a tail shorter than an entry is ignored (the
    /// CRC has vouched for the bytes).
    pub fn decode_all(payload: &[u8]) -> impl Iterator<Item = (Self, Spans)> {
        let mut pending: Option<(Lsn, Vec<Span>)> = None;
        payload.as_chunks::<16>().0.iter().filter_map(move |entry| {
            if let Some((lsn, span)) = Span::decode(entry) {
                match &mut pending {
                    Some((of, spans)) if *of == lsn => spans.push(span),
                    _ => pending = Some((lsn, vec![span])),
                }
                return None;
            }
            let mut outcome = Self::decode(entry);
            let own = pending.take().filter(|(of, _)| *of == outcome.lsn).map(|(_, spans)| spans);
            if outcome.disposition != Disposition::Partial {
                return Some((outcome, Spans::default()));
            }
            if let Some(spans) = own.and_then(Spans::new) {
                return Some((outcome, spans));
            }
            (outcome.disposition, outcome.cause) = (Disposition::Doubt, Cause::Answer);
            Some((outcome, Spans::default()))
        })
    }
}

/// How many of these entries make a record of at most `max`, without parting an outcome from its spans. One outcome with
/// more entries than that goes alone.
#[must_use]
pub(super) fn whole_outcomes(entries: &[EntryBytes], max: usize) -> usize {
    let mut whole = 0;
    for (at, entry) in entries.iter().enumerate() {
        if Span::decode(entry).is_some() {
            continue;
        }
        if at >= max && whole > 0 {
            break;
        }
        whole = at + 1;
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Fate;

    fn outcome(lsn: u64, disposition: Disposition) -> Outcome {
        Outcome { lsn: Lsn(lsn), status: 204, disposition, cause: Cause::None, epoch: Epoch(3) }
    }

    #[test]
    fn what_was_written_is_read_and_unknown_is_doubt() {
        for disposition in DISPOSITIONS {
            for cause in Cause::all() {
                let outcome = Outcome { cause, ..outcome(77, disposition) };
                assert_eq!(Outcome::decode(&outcome.encode()), outcome);
            }
        }
        assert_eq!(Outcome::decode(&[0; 16]).disposition, Disposition::Doubt);
        assert_eq!(Outcome::decode_all(&[0; 35]).count(), 2);
    }

    #[test]
    fn spans_belong_to_the_partial_outcome_right_behind_them() {
        let spans = Spans::new(vec![
            Span { first: 0, lines: 70_000, fate: Fate::NotApplied, cause: Cause::None },
            Span { first: 70_003, lines: 2, fate: Fate::Doubt, cause: Cause::Overlap },
        ])
        .unwrap();
        let mut entries = vec![outcome(4, Disposition::Applied).encode()];
        entries.extend(outcome(5, Disposition::Applied).encode_partial(&spans));
        entries.push(outcome(6, Disposition::NotApplied).encode());
        assert_eq!(entries.len(), 1 + 3 + 1 + 1, "a long span takes two entries");
        let read: Vec<(Outcome, Spans)> = Outcome::decode_all(entries.as_flattened()).collect();
        let dispositions: Vec<Disposition> = read.iter().map(|(outcome, _)| outcome.disposition).collect();
        assert_eq!(dispositions, [Disposition::Applied, Disposition::Partial, Disposition::NotApplied]);
        assert_eq!(read[1].1, spans);

        let lost = Outcome::decode_all(entries[4..].as_flattened()).next().unwrap();
        assert_eq!((lost.0.disposition, lost.1.is_empty()), (Disposition::Doubt, true), "without its spans");
        let before_spans = Outcome::decode(&entries[1]);
        assert_eq!((before_spans.lsn, before_spans.disposition), (Lsn(5), Disposition::Doubt), "an older version");
        let cuts = [1, 2, 5, 6].map(|max| whole_outcomes(&entries, max));
        assert_eq!(cuts, [1, 1, 5, 6]);
        assert_eq!(whole_outcomes(&entries[1..], 2), 4, "never parted");
    }
}
