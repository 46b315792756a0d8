//! What a lane says and gives back of a target that stands still.

use std::time::Duration;

use super::{Held, Lane};
use crate::base::Lsn;
use crate::delivery::batch::Batch;
use crate::delivery::late::Measurements;
use crate::delivery::target::TargetId;

impl Lane {
    /// The floor stays below this record until it is said otherwise.
    pub(in crate::delivery) fn stay_below(&mut self, before: Option<Lsn>) {
        self.below = before;
    }

    /// Bytes of what waits for a target. What is parked waits for something else.
    pub(in crate::delivery) fn bytes_of(&self, target: TargetId) -> usize {
        self.batches_of(target).map(Batch::held_bytes).sum::<usize>() + self.again.bytes_of(target)
    }

    /// The oldest record of which lines wait for a target. What is parked does not.
    pub(in crate::delivery) fn first_of(&self, target: TargetId) -> Option<Lsn> {
        self.batches_of(target).filter_map(Batch::first).chain(self.again.first_of(target)).min()
    }

    fn batches_of(&self, target: TargetId) -> impl Iterator<Item = &Batch> {
        let held = self.held.get(&target).into_iter().flatten().map(|held| &held.batch);
        let waiting = self.waiting.values().filter(move |batch| batch.target == target);
        waiting.chain(held)
    }

    /// Where the oldest record ends in the log of which lines wait for a target that goes on, bytes. What is held, goes again or
    /// holds the floor waits for nothing but time.
    pub(in crate::delivery) fn oldest_moving(&self, stands: impl Fn(TargetId) -> bool) -> Option<u64> {
        let waiting = self.waiting.values().filter(|batch| !stands(batch.target)).filter_map(Batch::first).min();
        let under_way = self.under_way.filter(|(_, target)| !stands(*target)).map(|(first, _)| first);
        let oldest = [waiting, under_way].into_iter().flatten().min()?;
        self.log_bytes_of(oldest)
    }

    /// Where a record of the lane, or one of its neighbours, ends in the log, bytes.
    pub(in crate::delivery) fn log_bytes_of(&self, lsn: Lsn) -> Option<u64> {
        let at = self.positions.partition_point(|span| span.position.lsn < lsn);
        self.positions.get(at).map(|span| span.position.log_bytes)
    }

    /// Takes out what waits, is held, is parked or goes again for a target of this record and all later ones; returns the bytes that
    /// become free. Its lines still count as lines of the lane.
    pub(in crate::delivery) fn take_from(&mut self, target: TargetId, lsn: Lsn) -> usize {
        let mut free = self.again.take_from(target, lsn) + self.take_held_from(target, lsn);
        free += self.take_parked_from(target, lsn);
        let numbers: Vec<u64> =
            self.waiting.iter().filter(|(_, batch)| batch.target == target).map(|(number, _)| *number).collect();
        for number in numbers {
            let Some(batch) = self.waiting.get_mut(&number) else { continue };
            let begin = batch.begin_of(lsn);
            free += batch.held_bytes_of(&(begin..batch.len()));
            *batch = batch.up_to(begin);
            if begin == 0 {
                self.waiting.remove(&number);
                self.open.retain(|_, open| *open != number);
            }
        }
        free
    }

    fn take_held_from(&mut self, target: TargetId, lsn: Lsn) -> usize {
        let mut free = 0;
        for Held { until, batch } in self.held.remove(&target).into_iter().flatten() {
            let kept = batch.up_to(batch.begin_of(lsn));
            free += batch.held_bytes() - kept.held_bytes();
            self.release_cells(&batch);
            if kept.len() > 0 {
                self.hold(Held { until, batch: kept });
            }
        }
        free
    }

    /// Whether something of these measurements waits for a target, or may be under way, of a record below `lsn`. What goes at once
    /// anyway counts whole. What is parked does not count.
    pub(in crate::delivery) fn has_of(&self, target: TargetId, measurements: &Measurements, lsn: Lsn) -> bool {
        let is_below = |first: Option<Lsn>| first.is_some_and(|first| first < lsn);
        let goes = self.waiting.values().any(|batch| batch.target == target && is_below(batch.first()));
        let sends = self.under_way.filter(|(_, to)| *to == target).map(|(first, _)| first);
        let held = self.held.get(&target).into_iter().flatten().map(|held| &held.batch);
        let mut later = held.filter(|batch| is_below(batch.first()));
        goes || is_below(sends)
            || is_below(self.again.first_of(target))
            || later.any(|batch| Measurements::of_lines(batch, &(0..batch.len())).meet(measurements))
    }

    /// Until when a request with records below `lsn` may still write something of these measurements to a target, of this process or
    /// one before it.
    pub(in crate::delivery) fn late_until(
        &self,
        target: TargetId,
        measurements: &Measurements,
        lsn: Lsn,
        now: Duration,
    ) -> Option<Duration> {
        self.late.until_of(target, measurements, lsn, now)
    }

    /// Until when a request of a process before us may still take effect, wherever it went.
    pub(in crate::delivery) fn inherited_until(&self, now: Duration) -> Option<Duration> {
        self.late.inherited_until(now)
    }

    /// Whether a request of this target is under way.
    pub(in crate::delivery) fn is_sending_to(&self, target: TargetId) -> bool {
        self.under_way.is_some_and(|(_, to)| to == target)
    }

    /// So many lines of this record do not count as delivered or dead any more, all that the lane has of it above its
    /// floor: they are in a gap.
    pub(in crate::delivery) fn lose(&mut self, lsn: Lsn, lines: u32) {
        let at = self.positions.partition_point(|span| span.position.lsn < lsn);
        if let Some(span) = self.positions.get_mut(at).filter(|span| span.first <= lsn) {
            span.position.lines = span.position.lines.saturating_sub(lines);
        }
        self.dead_above.remove(&lsn);
    }

    /// The same for all lines of a record that nobody can read any more; how many they are. None where the record is not
    /// told apart from its neighbours any more.
    pub(in crate::delivery) fn lose_all(&mut self, lsn: Lsn) -> u64 {
        let at = self.positions.partition_point(|span| span.position.lsn < lsn);
        let Some(span) = self.positions.get_mut(at).filter(|span| span.first == lsn && span.position.lsn == lsn) else {
            return 0;
        };
        self.dead_above.remove(&lsn);
        u64::from(std::mem::take(&mut span.position.lines))
    }
}
