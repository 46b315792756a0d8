//! What a lane says and gives back of a target that stands still.

use std::collections::BTreeMap;

use super::Lane;
use crate::base::{Lsn, RouteId};
use crate::delivery::batch::Batch;
use crate::delivery::target::TargetId;

/// Lines of one record that were taken out of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) struct Taken {
    pub(in crate::delivery) lsn: Lsn,
    pub(in crate::delivery) route: RouteId,
    pub(in crate::delivery) lines: u32,
    /// Time of the earliest and of the latest of their points, ns.
    pub(in crate::delivery) from_ns: i64,
    pub(in crate::delivery) to_ns: i64,
}

impl Lane {
    /// The floor stays below this record until it is said otherwise.
    pub(in crate::delivery) fn stay_below(&mut self, before: Option<Lsn>) {
        self.below = before;
    }

    /// Bytes of what waits for a target.
    pub(in crate::delivery) fn bytes_of(&self, target: TargetId) -> usize {
        self.batches_of(target).map(Batch::held_bytes).sum()
    }

    /// The oldest record of which lines wait for a target.
    pub(in crate::delivery) fn first_of(&self, target: TargetId) -> Option<Lsn> {
        self.batches_of(target).filter_map(Batch::first).min()
    }

    fn batches_of(&self, target: TargetId) -> impl Iterator<Item = &Batch> {
        let held = self.held.get(&target).into_iter().flatten().map(|held| &held.batch);
        self.waiting.values().filter(move |batch| batch.target == target).chain(held)
    }

    /// Where the oldest record ends in the log of which lines wait for a target that goes on; bytes.
    pub(in crate::delivery) fn oldest_moving(&self, stands: impl Fn(TargetId) -> bool) -> Option<u64> {
        let waiting = self.waiting.values().filter(|batch| !stands(batch.target)).filter_map(Batch::first).min();
        let held = self.held.iter().filter(|(target, _)| !stands(**target)).flat_map(|(_, queue)| queue);
        let held = held.filter_map(|held| held.batch.first()).min();
        let under_way = self.under_way.filter(|(_, target)| !stands(*target)).map(|(first, _)| first);
        let oldest = [waiting, held, under_way].into_iter().flatten().min()?;
        self.log_bytes_of(oldest)
    }

    /// Where a record of the lane, or one of its neighbours, ends in the log, bytes.
    pub(in crate::delivery) fn log_bytes_of(&self, lsn: Lsn) -> Option<u64> {
        let at = self.positions.partition_point(|span| span.position.lsn < lsn);
        self.positions.get(at).map(|span| span.position.log_bytes)
    }

    /// Takes out what waits for a target of this record and all later ones; with it the bytes that become free. They still
    /// count as lines of the lane.
    pub(in crate::delivery) fn take_from(&mut self, target: TargetId, lsn: Lsn) -> (Vec<Taken>, usize) {
        let (mut taken, mut free) = (BTreeMap::new(), 0);
        let numbers: Vec<u64> =
            self.waiting.iter().filter(|(_, batch)| batch.target == target).map(|(number, _)| *number).collect();
        for number in numbers {
            let Some(batch) = self.waiting.get_mut(&number) else { continue };
            let begin = batch.begin_of(lsn);
            free += batch.held_bytes_of(&(begin..batch.len()));
            count(batch, begin, &mut taken);
            *batch = batch.up_to(begin);
            if begin == 0 {
                self.waiting.remove(&number);
                self.open.retain(|_, open| *open != number);
            }
        }
        (taken.into_values().collect(), free)
    }

    /// Takes out what is held for a target for the sake of older requests.
    pub(in crate::delivery) fn take_held_of(&mut self, target: TargetId) -> (Vec<Taken>, usize) {
        let (mut taken, mut free) = (BTreeMap::new(), 0);
        for held in self.held.remove(&target).into_iter().flatten() {
            let batch = held.batch;
            free += batch.held_bytes();
            count(&batch, 0, &mut taken);
            self.release_cells(&batch);
        }
        (taken.into_values().collect(), free)
    }

    /// These lines left the lane without being delivered or put aside: they are in a gap.
    pub(in crate::delivery) fn lose(&mut self, lsn: Lsn, lines: u32) {
        let at = self.positions.partition_point(|span| span.position.lsn < lsn);
        if let Some(span) = self.positions.get_mut(at).filter(|span| span.first <= lsn) {
            span.position.lines = span.position.lines.saturating_sub(lines);
        }
    }
}

/// Counts the lines of a batch from an index on, by record.
fn count(batch: &Batch, from: usize, taken: &mut BTreeMap<(Lsn, RouteId), Taken>) {
    for index in from..batch.len() {
        let (at, text) = batch.line(index);
        let fresh = || Taken { lsn: at.lsn, route: at.route, lines: 0, from_ns: i64::MAX, to_ns: i64::MIN };
        let sum = taken.entry((at.lsn, at.route)).or_insert_with(fresh);
        sum.lines += 1;
        if let Some(at_ns) = time_of(text) {
            (sum.from_ns, sum.to_ns) = (sum.from_ns.min(at_ns), sum.to_ns.max(at_ns));
        }
    }
}

/// Time of a line as it is sent: it ends in nanoseconds and a line feed.
fn time_of(text: &[u8]) -> Option<i64> {
    let text = text.trim_ascii_end();
    let begin = text.iter().rposition(|byte| *byte == b' ')? + 1;
    std::str::from_utf8(&text[begin..]).ok()?.parse().ok()
}
