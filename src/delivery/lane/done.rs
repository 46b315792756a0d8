//! What a lane has counted above the lowest floor of all lanes.
//!
//! Promise: at most [`SPANS_MAX`] stretches are remembered, alike in length; each counts only while it lies above the lowest
//! floor as a whole. So the sum may be too small, by less than a stretch, and is never too large.

use std::collections::VecDeque;

use super::Lane;
use crate::base::Lsn;

/// They take 128 KiB.
const SPANS_MAX: usize = 1 << 12;

/// Neighbouring records, with their lines in the lane.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: Lsn,
    last: Lsn,
    records: u32,
    lines: u64,
}

#[derive(Debug)]
pub(super) struct Done {
    /// In log order.
    spans: VecDeque<Span>,
    /// So many records are one stretch.
    records_each: u32,
}

impl Default for Done {
    fn default() -> Self {
        Self { spans: VecDeque::new(), records_each: 1 }
    }
}

impl Done {
    pub(super) fn add(&mut self, first: Lsn, last: Lsn, lines: u64) {
        let each = self.records_each;
        let at = self.spans.partition_point(|span| span.last < last);
        match self.spans.get_mut(at) {
            Some(span) if span.first <= last => span.lines += lines,
            Some(_) => self.spans.insert(at, Span { first, last, records: 1, lines }),
            None => match self.spans.back_mut().filter(|span| span.records < each) {
                Some(span) => (span.last, span.records, span.lines) = (last, span.records + 1, span.lines + lines),
                None => self.spans.push_back(Span { first, last, records: 1, lines }),
            },
        }
        if self.spans.len() > SPANS_MAX {
            let merged = self.spans.make_contiguous().chunks(2).map(|pair| {
                let (first, last) = (pair[0].first, pair[pair.len() - 1].last);
                let (records, lines) =
                    (pair.iter().map(|span| span.records).sum(), pair.iter().map(|span| span.lines).sum());
                Span { first, last, records, lines }
            });
            self.spans = merged.collect();
            self.records_each = each.saturating_mul(2);
        }
    }

    /// Lines above this record; what is not above it is forgotten.
    fn above(&mut self, lowest: Lsn) -> u64 {
        while self.spans.front().is_some_and(|span| span.first <= lowest) {
            self.spans.pop_front();
        }
        if self.spans.is_empty() {
            self.records_each = 1;
        }
        self.spans.iter().map(|span| span.lines).sum()
    }
}

impl Lane {
    /// So many lines of this record are in the sums since a former run.
    pub(in crate::delivery) fn met(&mut self, lsn: Lsn, lines: u64) {
        self.done.add(lsn, lsn, lines);
    }

    /// Lines in the sums that are of records above the lowest floor of all lanes, which never goes back.
    pub(in crate::delivery) fn counted_above(&mut self, lowest: Lsn) -> u64 {
        self.done.above(lowest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_records_the_sum_above_a_floor_is_never_too_large() {
        let records = 9 * SPANS_MAX as u64;
        let mut done = Done::default();
        (1..=records).for_each(|lsn| done.add(Lsn(lsn), Lsn(lsn), 2));
        done.add(Lsn(records / 2), Lsn(records / 2), 1);
        assert!(done.spans.len() <= SPANS_MAX);
        assert_eq!(done.above(Lsn(0)), records * 2 + 1);
        for lowest in [1, 2, 5, 100, records - 100, records] {
            let above = (records - lowest) * 2 + u64::from(lowest < records / 2);
            assert!((above.saturating_sub(16 * 2)..=above).contains(&done.above(Lsn(lowest))), "above {lowest}");
        }
        done.add(Lsn(records + 1), Lsn(records + 1), 2);
        done.add(Lsn(records + 2), Lsn(records + 2), 2);
        assert_eq!(done.above(Lsn(records + 1)), 2, "each record again");
    }
}
