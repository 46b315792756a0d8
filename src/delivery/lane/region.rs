//! Lines of regions that are left alone: parked in their lane until the release.
//!
//! Promise: all lines of a cell that come while its region is held are parked, in the order in which they come; after the release they
//! go in that order before any newer one. They hold the floor meanwhile, and nothing else.

use std::time::Duration;

use super::{Bounds, Lane};
use crate::base::Lsn;
use crate::delivery::batch::{Batch, LineAt};
use crate::delivery::target::TargetId;

impl Lane {
    /// Adds a line, of a region that is held or not. True when it is.
    pub(in crate::delivery) fn deal(
        &mut self,
        hold: Option<u64>,
        target: TargetId,
        (at, text): (LineAt, &[u8]),
        now: Duration,
        bounds: Bounds,
    ) -> bool {
        match hold {
            Some(hold) => self.park(hold, target, (at, text), now, bounds),
            None => self.push(target, at, text, now, bounds),
        }
        hold.is_some()
    }

    /// Adds a line of a region that is held. Its record must be newer than the floor.
    pub(super) fn park(
        &mut self,
        hold: u64,
        target: TargetId,
        (at, text): (LineAt, &[u8]),
        now: Duration,
        bounds: Bounds,
    ) {
        assert!(at.lsn > self.floor, "a line at or below the floor was delivered before");
        let queue = self.parked.entry(hold).or_default();
        let fits = |batch: &&mut Batch| {
            batch.target == target
                && batch.len() < bounds.lines_max
                && batch.bytes() + text.len() <= bounds.bytes_max
                && batch.last().is_none_or(|last| last <= at.lsn)
        };
        match queue.back_mut().filter(fits) {
            Some(batch) => batch.push(at, text),
            None => {
                let mut batch = Batch::new(target, now);
                batch.push(at, text);
                queue.push_back(batch);
            }
        }
    }

    /// What was parked for this hold waits for its turn from now on, like any other line, and before what comes now. True where there
    /// was something.
    pub(in crate::delivery) fn release(&mut self, hold: u64) -> bool {
        let Some(queue) = self.parked.remove(&hold) else { return false };
        for batch in queue {
            // What comes must not go into a batch that goes before.
            self.open.remove(&batch.target);
            self.waiting.insert(self.next_number, batch);
            self.next_number += 1;
        }
        true
    }

    /// Lines that are parked for a hold, and what they take of what may wait.
    pub(in crate::delivery) fn parked(&self, hold: u64) -> (u64, usize) {
        let batches = self.parked.get(&hold).into_iter().flatten();
        batches.fold((0, 0), |(lines, bytes), batch| (lines + batch.len() as u64, bytes + batch.held_bytes()))
    }

    /// The oldest record of which lines are parked for a target.
    pub(in crate::delivery) fn first_parked_of(&self, target: TargetId) -> Option<Lsn> {
        let batches = self.parked.values().flatten().filter(|batch| batch.target == target);
        batches.filter_map(Batch::first).min()
    }

    /// The oldest record of which lines are parked.
    pub(super) fn first_parked(&self) -> Option<Lsn> {
        self.parked.values().flatten().filter_map(Batch::first).min()
    }

    /// Takes out what is parked for a target of this record and all later ones; returns the bytes that become free.
    pub(super) fn take_parked_from(&mut self, target: TargetId, lsn: Lsn) -> usize {
        let mut free = 0;
        for queue in self.parked.values_mut() {
            for batch in queue.iter_mut().filter(|batch| batch.target == target) {
                let begin = batch.begin_of(lsn);
                free += batch.held_bytes_of(&(begin..batch.len()));
                *batch = batch.up_to(begin);
            }
            queue.retain(|batch| batch.len() > 0);
        }
        self.parked.retain(|_, queue| !queue.is_empty());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Place, Position};
    use super::*;
    use crate::base::RouteId;

    const BOUNDS: Bounds = Bounds { bytes_max: 1000, lines_max: 3 };
    const WAIT: Duration = Duration::from_millis(20);
    const TARGET: TargetId = TargetId(3);

    fn deal(lane: &mut Lane, lsn: u64, cell: u64, hold: Option<u64>) {
        let at = LineAt { lsn: Lsn(lsn), line: 0, route: RouteId(1), cell };
        match hold {
            Some(hold) => lane.park(hold, TARGET, (at, b"m v=1 1\n"), Duration::ZERO, BOUNDS),
            None => lane.push(TARGET, at, b"m v=1 1\n", Duration::ZERO, BOUNDS),
        }
        lane.note(Position { lsn: Lsn(lsn), lines: 1, log_bytes: lsn, received_ns: 0 });
        lane.read_to(Lsn(lsn));
    }

    fn sent(lane: &mut Lane) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Ok((_, batch)) = lane.take(Duration::from_secs(1), WAIT, |_| false) {
            sent.extend((0..batch.len()).map(|index| batch.line(index).0.lsn.0));
            lane.finish();
        }
        sent
    }

    #[test]
    fn parked_lines_hold_the_floor_and_nothing_else_and_go_before_what_comes_after_the_release() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        deal(&mut lane, 1, 7, None);
        for (lsn, cell, hold) in [(2, 8, Some(1)), (3, 9, None), (4, 8, Some(1)), (5, 5, Some(2))] {
            deal(&mut lane, lsn, cell, hold);
        }
        assert_eq!(sent(&mut lane), [1, 3]);
        assert_eq!((lane.floor(), lane.lines_waiting()), (Lsn(1), 4), "what is parked is not done");
        assert_eq!((lane.parked(1).0, lane.parked(2).0, lane.bytes_of(TARGET)), (2, 1, 0));
        assert_eq!((lane.first_of(TARGET), lane.first_parked_of(TARGET)), (None, Some(Lsn(2))));
        // One that is young and small waits for company.
        deal(&mut lane, 6, 9, None);
        assert!(lane.release(1) && !lane.release(1));
        deal(&mut lane, 7, 8, None);
        assert_eq!(sent(&mut lane), [6, 2, 4, 7]);
        assert_eq!((lane.floor(), lane.delivered), (Lsn(4), 4));
        lane.release(2);
        assert_eq!((sent(&mut lane), lane.floor()), (vec![5], Lsn(7)));
    }

    #[test]
    fn a_target_that_becomes_a_gap_gives_back_what_is_parked() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        (1..=5).for_each(|lsn| deal(&mut lane, lsn, 8, Some(1)));
        let line = crate::delivery::batch::held_bytes(b"m v=1 1\n");
        lane.stay_below(Some(Lsn(3)));
        assert_eq!((lane.take_from(TARGET, Lsn(3)), lane.parked(1)), (3 * line, (2, 2 * line)));
        assert_eq!((lane.take_from(TARGET, Lsn(0)), lane.parked(1)), (2 * line, (0, 0)));
        assert!(!lane.release(1));
    }

    #[test]
    fn what_was_parked_and_then_waits_for_a_request_without_an_answer_holds_the_floor() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        let (now, over) = (Duration::from_secs(1), Duration::from_secs(61));
        deal(&mut lane, 1, 8, None);
        deal(&mut lane, 2, 9, None);
        let (_, batch) = lane.take(now, WAIT, |_| false).unwrap();
        lane.unanswered(&batch, &(0..2), over);
        lane.finish();
        deal(&mut lane, 3, 8, Some(1));
        deal(&mut lane, 4, 9, None);
        assert!(lane.take(now, WAIT, |_| false).is_err(), "4 waits");
        lane.release(1);
        assert!(lane.take(now, WAIT, |_| false).is_err(), "3 does as well, behind it");
        let (place, batch) = lane.take(over, WAIT, |_| false).unwrap();
        assert_eq!((place, lane.floor()), (Place::Held, Lsn(2)), "{batch:?}");
        lane.finish();
        assert_eq!(lane.floor(), Lsn(2), "3 is not there");
        assert!(lane.take(over, WAIT, |_| false).is_ok());
        lane.finish();
        assert_eq!((lane.floor(), lane.delivered), (Lsn(4), 4));
    }

    #[test]
    fn who_waits_for_what_came_before_does_not_wait_for_what_is_newer() {
        use crate::delivery::late::Measurements;
        let (mut lane, now) = (Lane::new(Lsn(0), 0, 0), Duration::from_secs(1));
        let has = |lane: &Lane, lsn| lane.has_of(TARGET, &Measurements::ANY, Lsn(lsn));
        deal(&mut lane, 5, 8, None);
        assert!(has(&lane, 6) && !has(&lane, 5));
        let (place, batch) = lane.take(now, WAIT, |_| false).unwrap();
        assert!(has(&lane, 6) && !has(&lane, 5), "it is under way");
        lane.unanswered(&batch, &(0..1), now * 9);
        let until = |lane: &Lane, lsn| lane.late_until(TARGET, &Measurements::ANY, Lsn(lsn), now);
        assert_eq!((until(&lane, 6), until(&lane, 5)), (Some(now * 9), None));
        lane.put_back(place, batch);
        deal(&mut lane, 6, 9, Some(1));
        assert!(has(&lane, 9) && !has(&lane, 5));
        lane.take(now, WAIT, |_| false).unwrap();
        lane.finish();
        assert!(!has(&lane, 9), "what is parked does not count");
    }
}
