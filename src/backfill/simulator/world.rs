//! Two databases of a few cells, clients, a log; time in ticks.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Safeguard;
use super::copier::Copier;
use super::delivery::Delivery;

/// Cells: few, so that everybody meets everybody. A cell's number is its time as well.
pub(super) const CELLS: u8 = 12;
/// The longest time that an unanswered request may take effect, ticks.
pub(super) const Z: u64 = 60;
/// Clients stop after so many at most: what they write last heals nothing any more.
const STEPS_MAX: usize = 400;
pub(super) const STEPS_TO_END: usize = 20_000;

/// A set of cells in a row.
pub(super) type Cells = Range<u8>;
pub(super) type Values = BTreeMap<u8, u32>;

/// What the source has done, in its order.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Write(Vec<(u8, u32)>),
    Delete(Cells),
    /// Nobody knows whether it has taken effect: never delivered.
    Doubt,
}

/// What takes effect on a database later than its sender knows.
#[derive(Clone, Debug)]
pub(super) struct Zombie {
    pub(super) at: u64,
    pub(super) change: Change,
    pub(super) is_source: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(Vec<(u8, u32)>),
    Remove(Cells),
}

/// Cells in doubt.
#[derive(Clone, Debug)]
pub(super) struct Dirty {
    pub(super) cells: Cells,
    /// From then on their request can take effect no more.
    pub(super) until: u64,
    /// Where the log ended then: all before may be older than what the source has of these cells.
    pub(super) settled: Option<usize>,
    /// Names it.
    pub(super) row: u64,
    /// Who reads it back has it as it is: what comes later makes a row of its own.
    pub(super) sealed: bool,
}

/// What happened in a story.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) writes: u64,
    pub(super) deletes: u64,
    pub(super) doubts: u64,
    pub(super) crashes: u64,
    pub(super) zombies: u64,
    pub(super) parked: u64,
    pub(super) chunks: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.writes += other.writes;
        self.deletes += other.deletes;
        self.doubts += other.doubts;
        self.crashes += other.crashes;
        self.zombies += other.zombies;
        self.parked += other.parked;
        self.chunks += other.chunks;
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) random: fastrand::Rng,
    pub(super) without: Option<Safeguard>,
    pub(super) now: u64,
    pub(super) source: Values,
    pub(super) destination: Values,
    pub(super) log: Vec<Op>,
    pub(super) zombies: Vec<Zombie>,
    pub(super) delivery: Delivery,
    pub(super) dirty: Vec<Dirty>,
    pub(super) counts: Counts,
    pub(super) is_faulty: bool,
    next_value: u32,
    next_row: u64,
}

/// How a request to the destination ends.
pub(super) enum Answer {
    Done,
    /// It takes effect now, later, or never; the sender hears nothing.
    None,
    /// Refused, or never arrived, and the sender knows.
    Failed,
}

impl World {
    pub(super) fn new(seed: u64, without: Option<Safeguard>) -> Self {
        let mut world = Self {
            random: fastrand::Rng::with_seed(seed),
            without,
            now: 0,
            source: Values::new(),
            destination: Values::new(),
            log: Vec::new(),
            zombies: Vec::new(),
            delivery: Delivery::default(),
            dirty: Vec::new(),
            counts: Counts::default(),
            is_faulty: true,
            next_value: 0,
            next_row: 0,
        };
        // History that was there before.
        for cell in 0..CELLS {
            if world.random.u8(..3) > 0 {
                let value = world.value();
                world.source.insert(cell, value);
            }
        }
        world
    }

    fn value(&mut self) -> u32 {
        self.next_value += 1;
        self.next_value
    }

    pub(super) fn off(&self, safeguard: Safeguard) -> bool {
        self.without == Some(safeguard)
    }

    /// How long clients write, and faults happen.
    pub(super) fn steps(&mut self) -> usize {
        self.random.usize(50..STEPS_MAX)
    }

    pub(super) fn step(&mut self, copier: &mut Copier, is_faulty: bool) {
        self.is_faulty = is_faulty;
        self.now += self.random.u64(..4);
        self.awake();
        match self.random.u8(..100) {
            0..9 if is_faulty => self.client(),
            12 if is_faulty && self.random.bool() => self.crash(copier),
            13..50 => self.deliver(),
            _ => copier.step(self),
        }
    }

    /// Requests that were thought dead take effect.
    fn awake(&mut self) {
        let now = self.now;
        let (due, rest) = std::mem::take(&mut self.zombies).into_iter().partition(|zombie| zombie.at <= now);
        self.zombies = rest;
        let mut due: Vec<Zombie> = due;
        due.sort_by_key(|zombie| zombie.at);
        for zombie in due {
            let side = if zombie.is_source { &mut self.source } else { &mut self.destination };
            apply(side, &zombie.change);
        }
        let end = self.log.len();
        for dirty in self.dirty.iter_mut().filter(|dirty| dirty.until <= now) {
            dirty.settled.get_or_insert(end);
        }
    }

    fn some_cells(&mut self) -> Cells {
        let from = self.random.u8(..CELLS);
        from..self.random.u8(from..CELLS.min(from + 3)) + 1
    }

    /// A client writes, overwrites, deletes, or writes and hears nothing.
    fn client(&mut self) {
        let cells = self.some_cells();
        match self.random.u8(..10) {
            0 => {
                apply(&mut self.source, &Change::Remove(cells.clone()));
                self.log.push(Op::Delete(cells));
                self.counts.deletes += 1;
            }
            1 => {
                let values: Vec<_> = cells.clone().map(|cell| (cell, self.value())).collect();
                self.log.push(Op::Doubt);
                let at = self.now + self.random.u64(..Z);
                if self.random.bool() {
                    self.zombies.push(Zombie { at, change: Change::Put(values), is_source: true });
                }
                self.doubt(cells);
                self.counts.doubts += 1;
            }
            _ => {
                let values: Vec<_> = cells.map(|cell| (cell, self.value())).collect();
                apply(&mut self.source, &Change::Put(values.clone()));
                // Who meets a write that nobody has heard of is in doubt (`pipeline/overlap`).
                let meets = |(cell, _): &(u8, u32)| {
                    self.zombies.iter().any(|zombie| {
                        zombie.is_source
                            && matches!(&zombie.change, Change::Put(all) if all.iter().any(|(own, _)| own == cell))
                    })
                };
                let (doubt, sure): (Vec<_>, Vec<_>) = values.into_iter().partition(meets);
                for (cell, _) in doubt {
                    self.log.push(Op::Doubt);
                    self.doubt(cell..cell + 1);
                }
                self.log.push(Op::Write(sure));
                self.counts.writes += 1;
            }
        }
    }

    /// As the table of dirty regions: neighbours become one, as long as nobody has begun to read them back.
    fn doubt(&mut self, cells: Cells) {
        let until = if self.off(Safeguard::Ripe) { self.now } else { self.now + Z };
        let sealed_too = self.off(Safeguard::Seal);
        let near = |row: &&mut Dirty| {
            (sealed_too || !row.sealed) && row.cells.start <= cells.end && cells.start <= row.cells.end
        };
        if let Some(row) = self.dirty.iter_mut().find(near) {
            row.cells = row.cells.start.min(cells.start)..row.cells.end.max(cells.end);
            (row.until, row.settled) = (until.max(row.until), None);
            return;
        }
        self.next_row += 1;
        self.dirty.push(Dirty { cells, until, settled: None, row: self.next_row, sealed: false });
    }

    /// Whoever reads back looks at the rows, which stay as they are from then on. It waits from then on as well; here for no longer than
    /// it must.
    pub(super) fn seal(&mut self) {
        self.dirty.iter_mut().for_each(|row| row.sealed = true);
    }

    /// A request to the destination.
    pub(super) fn send(&mut self, change: Change) -> Answer {
        if !self.is_faulty || self.random.u8(..10) < 7 {
            apply(&mut self.destination, &change);
            return Answer::Done;
        }
        if self.random.u8(..3) == 0 {
            return Answer::Failed;
        }
        self.lose(change);
        Answer::None
    }

    /// A request that nobody waits for any more: it takes effect now, later, or never.
    pub(super) fn lose(&mut self, change: Change) {
        self.counts.zombies += 1;
        match self.random.u8(..4) {
            0 => apply(&mut self.destination, &change),
            1 => {}
            _ => {
                let at = self.now + self.random.u64(1..Z);
                self.zombies.push(Zombie { at, change, is_source: false });
            }
        }
    }

    /// The process dies, and starts again at once.
    fn crash(&mut self, copier: &mut Copier) {
        self.counts.crashes += 1;
        copier.die(self);
        // Behind which record rows are read back is known to the process alone.
        self.dirty.iter_mut().for_each(|row| row.settled = None);
        let held = copier.held_at_start(self);
        self.restart_delivery(held);
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.zombies.is_empty() && self.delivery.is_idle(self.log.len())
    }

    pub(super) fn differing(&self) -> Vec<(u8, Option<u32>, Option<u32>)> {
        let of = |cell: &u8| (self.source.get(cell).copied(), self.destination.get(cell).copied());
        (0..CELLS).filter(|cell| of(cell).0 != of(cell).1).map(|cell| (cell, of(&cell).0, of(&cell).1)).collect()
    }
}

pub(super) fn apply(side: &mut Values, change: &Change) {
    match change {
        Change::Put(values) => side.extend(values.iter().copied()),
        Change::Remove(cells) => side.retain(|cell, _| !cells.contains(cell)),
    }
}
