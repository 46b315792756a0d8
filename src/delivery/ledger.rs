//! Floors and the sums that belong to exactly these positions, made durable together.
//!
//! The sums are derived from log positions: a crash takes both back to the same record, and reading on from there counts
//! the same lines again, once.

use std::collections::VecDeque;

use super::lane::Lane;
use crate::base::Lsn;
use crate::queue::Floors;

/// Lines of intents that were not delivered, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) not_applied: u64,
    pub(super) doubt: u64,
    pub(super) gapped: u64,
    pub(super) excluded: u64,
    pub(super) damaged: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.not_applied += other.not_applied;
        self.doubt += other.doubt;
        self.gapped += other.gapped;
        self.excluded += other.excluded;
        self.damaged += other.damaged;
    }
}

/// Layout of the counters: version, five sums of the tally, then delivered and dead of each lane. The version also stands
/// for the hash that deals lines out to lanes: 1 was another one.
const VERSION: u64 = 2;
const LANES_AT: usize = 6;

/// Sums of what never enters a lane.
#[derive(Debug)]
pub(super) struct Ledger {
    /// At or below `floor`.
    base: Tally,
    floor: Lsn,
    /// Above it, in log order.
    above: VecDeque<(Lsn, Tally)>,
}

impl Ledger {
    pub(super) fn new(base: Tally, floor: Lsn) -> Self {
        Self { base, floor, above: VecDeque::new() }
    }

    /// A record that leaves no line in any lane.
    pub(super) fn note(&mut self, lsn: Lsn, tally: Tally) {
        self.above.push_back((lsn, tally));
    }

    /// Everything seen so far.
    pub(super) fn total(&self) -> Tally {
        let mut total = self.base;
        for (_, tally) in &self.above {
            total.add(*tally);
        }
        total
    }

    /// What can be made durable now.
    pub(super) fn floors<'a>(&mut self, lanes: impl Iterator<Item = std::cell::Ref<'a, Lane>>) -> Floors {
        let mut floors = Floors { lanes: Vec::new(), counters: vec![0; LANES_AT] };
        for lane in lanes {
            floors.lanes.push(lane.floor());
            floors.counters.extend([lane.delivered, lane.dead]);
        }
        self.floor = self.floor.max(floors.lowest());
        while let Some((lsn, tally)) = self.above.front().copied()
            && lsn <= self.floor
        {
            self.base.add(tally);
            self.above.pop_front();
        }
        let Tally { not_applied, doubt, gapped, excluded, damaged } = self.base;
        floors.counters[..LANES_AT].copy_from_slice(&[VERSION, not_applied, doubt, gapped, excluded, damaged]);
        floors
    }
}

/// Whether the sums, and the lanes that their lines went to, mean what they mean now.
pub(super) fn is_known(floors: &Floors) -> bool {
    let counters = &floors.counters;
    counters.first() == Some(&VERSION) && counters.len() == LANES_AT + 2 * floors.lanes.len()
}

/// Lanes and sums as they were made durable. With another number of lanes than before, or another way to deal lines out,
/// all start at the lowest floor: lines go to other lanes now, and only a contiguous repetition keeps their order.
pub(super) fn restore(floors: &Floors, lanes: usize) -> (Vec<Lane>, Tally) {
    let counters = &floors.counters;
    let known = is_known(floors);
    let at = |index: usize| if known { counters[index] } else { 0 };
    let base = Tally { not_applied: at(1), doubt: at(2), gapped: at(3), excluded: at(4), damaged: at(5) };
    let sums = |lane: usize| (at(LANES_AT + 2 * lane), at(LANES_AT + 2 * lane + 1));
    if known && floors.lanes.len() == lanes {
        let lanes = floors.lanes.iter().enumerate().map(|(index, floor)| {
            let (delivered, dead) = sums(index);
            Lane::new(*floor, delivered, dead)
        });
        return (lanes.collect(), base);
    }
    let (delivered, dead) = (0..floors.lanes.len()).map(sums).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    let lowest = floors.lowest();
    let lane = |index| if index == 0 { Lane::new(lowest, delivered, dead) } else { Lane::new(lowest, 0, 0) };
    ((0..lanes).map(lane).collect(), base)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn what_was_saved_is_restored_and_sums_follow_the_lowest_floor() {
        let lanes = [RefCell::new(Lane::new(Lsn(9), 90, 1)), RefCell::new(Lane::new(Lsn(5), 50, 0))];
        let mut ledger = Ledger::new(Tally::default(), Lsn(0));
        for lsn in [4, 5, 6] {
            ledger.note(Lsn(lsn), Tally { doubt: 10, ..Tally::default() });
        }
        let floors = ledger.floors(lanes.iter().map(RefCell::borrow));
        assert_eq!(floors.lanes, vec![Lsn(9), Lsn(5)]);
        assert_eq!(ledger.total().doubt, 30);

        let (again, base) = restore(&floors, 2);
        assert_eq!(base.doubt, 20, "record 6 lies above the lowest floor and will be read again");
        assert_eq!((again[0].delivered, again[0].dead, again[1].delivered), (90, 1, 50));

        let (other, _) = restore(&floors, 3);
        assert!(other.iter().all(|lane| lane.floor() == Lsn(5)));
        assert_eq!(other.iter().map(|lane| lane.delivered).sum::<u64>(), 140);
    }

    #[test]
    fn a_fresh_queue_starts_at_zero() {
        let (lanes, base) = restore(&Floors::default(), 2);
        assert_eq!((lanes.len(), base), (2, Tally::default()));
    }
}
