//! Delivery as the protocol needs it: in log order per cell, at least once, a newer value never while an older request may land; deletes
//! behind all that is older; regions held.

use std::collections::VecDeque;

use super::Safeguard;
use super::world::{Answer, CELLS, Cells, Change, Op, World, Z};

/// One cell's stream.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<(usize, u32)>,
    /// Behind the hold of a region.
    parked: VecDeque<(usize, u32)>,
    /// A value that was sent and not answered; until then it may land.
    late: Option<(u32, u64)>,
    /// This goes once more then: an older process may have had another one under way.
    again: Option<(u32, u64)>,
}

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) id: u64,
    pub(super) cells: Cells,
}

#[derive(Debug, Default)]
pub(super) struct Delivery {
    lanes: Vec<Lane>,
    /// Records that were dealt out.
    pub(super) dealt: usize,
    /// All below is done, durably: a start begins there.
    pub(super) floor: usize,
    held: Vec<Held>,
    next_id: u64,
    /// Until then a request of a dead process may take effect.
    inherited: u64,
    /// A delete that was sent without an answer.
    delete_open: u64,
}

impl Delivery {
    fn lane(&mut self, cell: u8) -> &mut Lane {
        self.lanes.resize_with(usize::from(CELLS), Lane::default);
        &mut self.lanes[usize::from(cell)]
    }

    pub(super) fn is_idle(&self, log: usize) -> bool {
        let is_empty = |lane: &Lane| {
            lane.waiting.is_empty() && lane.parked.is_empty() && lane.late.is_none() && lane.again.is_none()
        };
        self.dealt == log && self.held.is_empty() && self.lanes.iter().all(is_empty)
    }

    fn holds(&self, cell: u8) -> bool {
        self.held.iter().any(|held| held.cells.contains(&cell))
    }
}

impl World {
    /// Nothing is lost with the process but what it had in memory.
    pub(super) fn restart_delivery(&mut self, held: Vec<Held>) {
        let old = std::mem::take(&mut self.delivery);
        self.delivery.floor = old.floor;
        self.delivery.dealt = old.floor;
        self.delivery.inherited = self.now + Z;
        self.delivery.next_id = old.next_id;
        self.delivery.held = held;
    }

    /// Holds a region, if none overlaps; its number and the position from which on it is held.
    pub(super) fn hold(&mut self, cells: &Cells) -> Option<(u64, usize)> {
        let meets = |held: &Held| held.cells.start < cells.end && cells.start < held.cells.end;
        if self.delivery.held.iter().any(meets) {
            return None;
        }
        self.delivery.next_id += 1;
        let id = self.delivery.next_id;
        self.delivery.held.push(Held { id, cells: cells.clone() });
        Some((id, self.delivery.dealt))
    }

    /// Whether everything older of the region has arrived, and nothing can still take effect on it.
    pub(super) fn is_drained(&mut self, cells: &Cells) -> bool {
        let (now, inherited) = (self.now, self.delivery.inherited);
        inherited <= now
            && self.delivery.delete_open <= now
            && cells.clone().all(|cell| {
                let lane = self.delivery.lane(cell);
                lane.waiting.is_empty() && lane.late.is_none() && lane.again.is_none()
            })
    }

    pub(super) fn release(&mut self, id: u64) {
        let Some(at) = self.delivery.held.iter().position(|held| held.id == id) else { return };
        let held = self.delivery.held.remove(at);
        for cell in held.cells {
            let lane = self.delivery.lane(cell);
            let parked = std::mem::take(&mut lane.parked);
            lane.waiting.extend(parked);
        }
    }

    /// One thing that delivery does.
    pub(super) fn deliver(&mut self) {
        match self.random.u8(..3) {
            0 => self.deal(),
            1 => {
                let cell = self.random.u8(..CELLS);
                self.send_cell(cell);
            }
            _ => self.save_floor(),
        }
    }

    fn deal(&mut self) {
        let Some(op) = self.log.get(self.delivery.dealt).cloned() else { return };
        let lsn = self.delivery.dealt;
        match op {
            Op::Doubt => {}
            Op::Write(values) => {
                let hold = !self.off(Safeguard::Hold);
                for (cell, value) in values {
                    let is_held = hold && self.delivery.holds(cell);
                    self.counts.parked += u64::from(is_held);
                    let lane = self.delivery.lane(cell);
                    if is_held { &mut lane.parked } else { &mut lane.waiting }.push_back((lsn, value));
                }
            }
            Op::Delete(cells) => {
                // Behind all that is older, and behind the release.
                let is_held = !self.off(Safeguard::Hold) && cells.clone().any(|cell| self.delivery.holds(cell));
                if is_held || !self.is_drained(&cells) {
                    return;
                }
                match self.send(Change::Remove(cells)) {
                    Answer::Done => {}
                    Answer::None => {
                        self.delivery.delete_open = self.now + Z;
                        return;
                    }
                    Answer::Failed => return,
                }
            }
        }
        self.delivery.dealt += 1;
    }

    fn send_cell(&mut self, cell: u8) {
        let (now, inherited) = (self.now, self.delivery.inherited);
        let lane = self.delivery.lane(cell);
        if let Some((value, until)) = lane.again.filter(|(_, until)| *until <= now) {
            // Newer ones go behind it in any case.
            lane.again = None;
            if matches!(self.send(Change::Put(vec![(cell, value)])), Answer::Done) {
                return;
            }
            self.delivery.lane(cell).again = Some((value, until.max(now) + Z));
            return;
        }
        let same_as = lane.late.filter(|(_, until)| *until > now).map(|(value, _)| value);
        lane.late = lane.late.filter(|(_, until)| *until > now);
        let Some((_, value)) = lane.waiting.front().copied() else { return };
        if same_as.is_some_and(|late| late != value) || lane.again.is_some() && inherited <= now {
            return;
        }
        match self.send(Change::Put(vec![(cell, value)])) {
            Answer::Done => {
                let lane = self.delivery.lane(cell);
                lane.waiting.pop_front();
                if inherited > now {
                    lane.again = Some((value, inherited));
                }
            }
            Answer::None => self.delivery.lane(cell).late = Some((value, now + Z)),
            Answer::Failed => {}
        }
    }

    /// Everything below the oldest record that is not done is.
    fn save_floor(&mut self) {
        let busy = self.delivery.lanes.iter().any(|lane| lane.late.is_some() || lane.again.is_some());
        if busy || self.delivery.inherited > self.now || self.delivery.delete_open > self.now {
            return;
        }
        let oldest = |lane: &Lane| lane.waiting.iter().chain(&lane.parked).map(|(lsn, _)| *lsn).min();
        let floor = self.delivery.lanes.iter().filter_map(oldest).min().unwrap_or(self.delivery.dealt);
        self.delivery.floor = self.delivery.floor.max(floor);
    }
}
