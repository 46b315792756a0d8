//! One ordered stream of deliveries: the batches that wait, the one under way, and the floor that follows from them.
//!
//! Pure: no clock, no network. Promise: the floor is the position below which every line of this lane is done, never
//! more; `delivered` and `dead` count exactly the lines at or below it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::batch::{Batch, LineAt};
use super::target::TargetId;
use crate::base::Lsn;

/// Bounds of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) bytes_max: usize,
    pub(super) lines_max: usize,
}

/// A batch that goes at once, without waiting for more.
const FULL_ENOUGH_BYTES: usize = 256 << 10;

/// A record with lines in a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) lsn: Lsn,
    /// How many of its lines.
    pub(super) lines: u32,
    /// Where the record ends in the log, bytes.
    pub(super) log_bytes: u64,
    /// When it arrived, ns.
    pub(super) received_ns: i64,
}

/// One lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// By number, which grows: oldest first.
    waiting: BTreeMap<u64, Batch>,
    /// The newest batch of each target, which may still grow.
    open: HashMap<TargetId, u64>,
    next_number: u64,
    /// The batch under way: its number and first record.
    under_way: Option<(u64, Lsn)>,
    /// Records above the floor with lines in this lane.
    positions: VecDeque<Position>,
    dead_above: BTreeMap<Lsn, u32>,
    read: Lsn,
    floor: Lsn,
    pub(super) delivered: u64,
    pub(super) dead: u64,
}

impl Lane {
    /// A lane that stands at `floor`; `start` is where reading begins, at or below the floor.
    pub(super) fn new(floor: Lsn, delivered: u64, dead: u64) -> Self {
        Self {
            waiting: BTreeMap::new(),
            open: HashMap::new(),
            next_number: 0,
            under_way: None,
            positions: VecDeque::new(),
            dead_above: BTreeMap::new(),
            read: floor,
            floor,
            delivered,
            dead,
        }
    }

    /// Adds a line. Its record must be newer than the floor.
    pub(super) fn push(&mut self, target: TargetId, at: LineAt, text: &[u8], now: Duration, bounds: Bounds) {
        assert!(at.lsn > self.floor, "a line at or below the floor was delivered before");
        let open = self.open.get(&target).and_then(|number| self.waiting.get_mut(number));
        let fits = |batch: &Batch| batch.len() < bounds.lines_max && batch.bytes() + text.len() <= bounds.bytes_max;
        match open {
            Some(batch) if fits(batch) => batch.push(at, text),
            _ => {
                let mut batch = Batch::new(target, now);
                batch.push(at, text);
                self.open.insert(target, self.next_number);
                self.waiting.insert(self.next_number, batch);
                self.next_number += 1;
            }
        }
    }

    /// Says how many lines of a record belong to the lane, and that `dead` of them never leave; call once a record.
    pub(super) fn note(&mut self, position: Position, dead: u32) {
        self.positions.push_back(position);
        self.mark_dead(position.lsn, dead);
    }

    /// The oldest record that is not done.
    pub(super) fn oldest(&self) -> Option<Position> {
        self.positions.front().copied()
    }

    /// Lines of this record are in the dead-letter store.
    pub(super) fn mark_dead(&mut self, lsn: Lsn, lines: u32) {
        if lines > 0 {
            *self.dead_above.entry(lsn).or_default() += lines;
        }
    }

    /// Every record up to here was looked at.
    pub(super) fn read_to(&mut self, lsn: Lsn) {
        self.read = self.read.max(lsn);
        // While something waits, the floor hangs on it, not on how far we read.
        if self.waiting.is_empty() && self.under_way.is_none() {
            self.settle();
        }
    }

    /// The oldest batch that may go now: of a target that is not held, and full enough or old enough.
    pub(super) fn take(
        &mut self,
        now: Duration,
        wait: Duration,
        held: impl Fn(TargetId) -> bool,
    ) -> Result<(u64, Batch), Option<Duration>> {
        assert!(self.under_way.is_none(), "one request in flight per lane");
        let mut soonest: Option<Duration> = None;
        let mut found = None;
        for (number, batch) in &self.waiting {
            if held(batch.target) {
                continue;
            }
            let due = batch.born + wait;
            let closed = self.open.get(&batch.target) != Some(number);
            if closed || batch.bytes() >= FULL_ENOUGH_BYTES || due <= now {
                found = Some(*number);
                break;
            }
            soonest = Some(soonest.map_or(due, |soonest| soonest.min(due)));
        }
        let Some(number) = found else { return Err(soonest) };
        let batch = self.waiting.remove(&number).expect("the number was just found there");
        if self.open.get(&batch.target) == Some(&number) {
            self.open.remove(&batch.target);
        }
        self.under_way = batch.first().map(|first| (number, first));
        Ok((number, batch))
    }

    /// The batch under way is done: every line of it is stored, or dead and recorded as such.
    pub(super) fn finish(&mut self) {
        self.under_way = None;
        self.settle();
    }

    /// The batch under way cannot go on now; it waits again at its old place.
    pub(super) fn put_back(&mut self, number: u64, batch: Batch) {
        self.under_way = None;
        self.waiting.insert(number, batch);
    }

    /// Position below which every line of this lane is done.
    pub(super) fn floor(&self) -> Lsn {
        self.floor
    }

    /// Lines that are not done.
    pub(super) fn lines_waiting(&self) -> u64 {
        self.positions.iter().map(|position| u64::from(position.lines)).sum()
    }

    fn settle(&mut self) {
        let oldest_waiting = self.waiting.values().filter_map(Batch::first).min();
        let oldest = oldest_waiting.into_iter().chain(self.under_way.map(|(_, first)| first)).min();
        let floor = oldest.map_or(self.read, Lsn::before).min(self.read);
        assert!(floor >= self.floor, "a floor never goes back");
        self.floor = floor;
        while let Some(position) = self.positions.front()
            && position.lsn <= floor
        {
            let dead = self.dead_above.remove(&position.lsn).unwrap_or(0);
            self.dead += u64::from(dead);
            self.delivered += u64::from(position.lines.saturating_sub(dead));
            self.positions.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::RouteId;

    const BOUNDS: Bounds = Bounds { bytes_max: 100, lines_max: 3 };
    const WAIT: Duration = Duration::from_millis(20);

    fn push(lane: &mut Lane, target: u32, lsn: u64, lines: u32) {
        for line in 0..lines {
            let at = LineAt { lsn: Lsn(lsn), line, route: RouteId(1) };
            lane.push(TargetId(target), at, b"m v=1 1\n", Duration::ZERO, BOUNDS);
        }
        lane.note(Position { lsn: Lsn(lsn), lines, log_bytes: 0, received_ns: 0 }, 0);
        lane.read_to(Lsn(lsn));
    }

    fn take(lane: &mut Lane) -> (u64, Batch) {
        lane.take(Duration::from_secs(1), WAIT, |_| false).unwrap()
    }

    #[test]
    fn the_floor_never_passes_a_line_that_is_not_done() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        push(&mut lane, 0, 1, 2);
        push(&mut lane, 0, 2, 2); // The fourth line starts a second batch: record 2 is in both.
        lane.read_to(Lsn(9));
        assert_eq!((lane.floor(), lane.lines_waiting()), (Lsn(0), 4));
        let (_, batch) = take(&mut lane);
        assert_eq!(batch.len(), 3);
        lane.finish();
        assert_eq!((lane.floor(), lane.delivered), (Lsn(1), 2), "record 2 is not done");
        take(&mut lane);
        lane.finish();
        assert_eq!((lane.floor(), lane.delivered, lane.lines_waiting()), (Lsn(9), 4, 0));
    }

    #[test]
    fn a_held_target_keeps_its_place_and_the_floor_while_others_go_on() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        push(&mut lane, 7, 1, 1);
        push(&mut lane, 8, 2, 1);
        let (number, batch) = take(&mut lane);
        assert_eq!(batch.target, TargetId(7));
        lane.put_back(number, batch);
        let (_, batch) = lane.take(Duration::from_secs(1), WAIT, |target| target == TargetId(7)).unwrap();
        assert_eq!(batch.target, TargetId(8));
        lane.finish();
        assert_eq!(lane.floor(), Lsn(0));
        push(&mut lane, 7, 3, 1);
        assert_eq!(take(&mut lane).1.first(), Some(Lsn(1)), "what waited goes before what came later");
        lane.finish();
        take(&mut lane);
        lane.finish();
        assert_eq!((lane.floor(), lane.delivered), (Lsn(3), 3));
    }

    #[test]
    fn dead_lines_are_counted_apart_once_the_floor_passes_them() {
        let mut lane = Lane::new(Lsn(4), 10, 1);
        push(&mut lane, 0, 5, 3);
        take(&mut lane);
        lane.mark_dead(Lsn(5), 1);
        assert_eq!(lane.dead, 1);
        lane.finish();
        assert_eq!((lane.floor(), lane.delivered, lane.dead), (Lsn(5), 12, 2));
    }

    #[test]
    fn a_young_small_batch_waits_and_says_until_when() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        push(&mut lane, 0, 1, 1);
        assert_eq!(lane.take(Duration::ZERO, WAIT, |_| false).unwrap_err(), Some(WAIT));
        assert_eq!(lane.take(WAIT, WAIT, |_| true).unwrap_err(), None);
        assert!(lane.take(WAIT, WAIT, |_| false).is_ok());
    }
}
