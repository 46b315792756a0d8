//! The writes of one place that are under way, and who touches which of its cells.
//!
//! Promise: of two writes that touch one cell, unless each touches it with one value and that is the same, every line of
//! that cell is met, in whatever order and in however many pieces they came. Pieces whose cells are not listed touch every
//! cell of their time.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use super::Table;
use crate::line::{Dialect, Precision};
use crate::pipeline::cells::{Cell, cells};
use crate::pipeline::settle::Met;
use crate::pipeline::stamp::Lines;
use crate::queue::Cause;

/// Writes of one place that are remembered after their end; beyond this they become one.
pub(super) const LATE_MAX: usize = 1024;

/// A hash is a hash already.
#[derive(Default)]
pub(super) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

type ByHash<T> = HashMap<u64, T, BuildHasherDefault<Identity>>;

/// What a write does to a cell.
#[derive(Clone, Copy, Debug)]
struct Slot {
    write: u64,
    /// The lowest bit: it has more than one value for it.
    value: u64,
}

const SEVERAL: u64 = 1;

impl Slot {
    fn new(write: u64, cell: &Cell) -> Self {
        Self { write, value: cell.value & !SEVERAL }
    }

    fn add(&mut self, cell: &Cell) {
        if self.value & !SEVERAL != cell.value & !SEVERAL {
            self.value |= SEVERAL;
        }
    }

    fn agrees(self, other: Self) -> bool {
        self.value == other.value && self.value & SEVERAL == 0
    }
}

/// What is known of the cells of a piece.
#[derive(Debug)]
pub(super) enum Known {
    /// Its text; nobody has met it.
    Body(Lines),
    /// Its cells, not in the table yet.
    Cells(Arc<Vec<Cell>>),
    /// They are in the table: one for each line.
    Listed(Vec<u64>),
    /// It touches everything of its time.
    Everything,
}

/// A write, or a part of a large one.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) min_ns: i64,
    pub(super) max_ns: i64,
    pub(super) lines: u32,
    pub(super) known: Known,
    /// All its lines are met.
    pub(super) met: bool,
}

impl Piece {
    pub(super) fn new(lines: &Lines, known: Known) -> Self {
        Self { min_ns: lines.min_ns, max_ns: lines.max_ns, lines: lines.parsed.lines, known, met: false }
    }

    fn meets(&self, min_ns: i64, max_ns: i64) -> bool {
        self.min_ns <= max_ns && min_ns <= self.max_ns
    }

    fn is_listed(&self) -> bool {
        matches!(self.known, Known::Listed(_))
    }
}

/// A write under way, or one without an answer.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) id: u64,
    /// Its body and how that is read, where a repetition of it could be told.
    pub(super) body: Option<(Bytes, Dialect, Precision)>,
    /// In the order of its lines.
    pub(super) pieces: SmallVec<[Piece; 1]>,
    /// Cells of its lines that another write touches.
    met: HashSet<u64, BuildHasherDefault<Identity>>,
    /// It has ended without an answer, and may take effect until then.
    pub(super) until: Option<Duration>,
}

impl Flight {
    pub(super) fn new(id: u64, body: Option<(Bytes, Dialect, Precision)>) -> Self {
        Self { id, body, pieces: SmallVec::new(), met: HashSet::default(), until: None }
    }

    pub(super) fn meets(&self, min_ns: i64, max_ns: i64) -> bool {
        self.pieces.iter().any(|piece| piece.meets(min_ns, max_ns))
    }

    /// The same body again, read in the same way: each cell has its own value.
    fn repeats(&self, other: &Self) -> bool {
        self.body.is_some() && self.body == other.body
    }

    fn meet(&mut self, cell: u64) {
        // Of a write that has ended nobody asks any more.
        if self.until.is_none() {
            self.met.insert(cell);
        }
    }

    /// The lines that another write met, in order.
    pub(super) fn met_lines(&self) -> Vec<Met> {
        let mut met = Vec::new();
        let mut first = 0u32;
        for piece in &self.pieces {
            let end = first.saturating_add(piece.lines);
            match &piece.known {
                _ if piece.met => met.extend((first..end).map(|line| Met { line, cause: Cause::Unlisted })),
                Known::Listed(cells) if !self.met.is_empty() => {
                    let lines = (first..end).zip(cells).filter(|(_, cell)| self.met.contains(cell));
                    met.extend(lines.map(|(line, _)| Met { line, cause: Cause::Overlap }));
                }
                _ => {}
            }
            first = end;
        }
        met
    }
}

/// Writes of one place.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) flights: Vec<Flight>,
    cells: ByHash<Slot>,
    /// Further writes to a cell of the table.
    more: ByHash<Vec<Slot>>,
}

impl Place {
    /// Drops what can no longer take effect.
    pub(super) fn forget(&mut self, table: &mut Table, now: Duration) {
        while let Some(at) = self.flights.iter().position(|flight| flight.until.is_some_and(|until| until <= now)) {
            self.take(at, table);
        }
    }

    /// Takes a write out.
    pub(super) fn take(&mut self, at: usize, table: &mut Table) -> Flight {
        let flight = self.flights.swap_remove(at);
        self.remove(&flight, table);
        flight
    }

    /// Whether a new write must be compared with one of those under way.
    pub(super) fn has_other(&self, own: &Flight, piece: &Piece) -> bool {
        self.flights
            .iter()
            .any(|other| other.id != own.id && other.meets(piece.min_ns, piece.max_ns) && !other.repeats(own))
    }

    /// Adds a piece to a write of this place and finds what it shares with the others. `lines_max`: the table may be so
    /// full after that. `false`: it did not fit.
    pub(super) fn compare(&mut self, own: usize, mut piece: Piece, lines_max: usize, table: &mut Table) -> bool {
        let (min_ns, max_ns) = (piece.min_ns, piece.max_ns);
        for at in (0..self.flights.len()).filter(|at| *at != own) {
            if self.flights[at].meets(min_ns, max_ns) {
                self.list(at, table);
            }
        }
        let id = self.flights[own].id;
        let fits = self.list_piece(id, &mut piece, lines_max, table);
        for other in self.flights.iter_mut().filter(|other| other.id != id) {
            for theirs in other.pieces.iter_mut().filter(|theirs| theirs.meets(min_ns, max_ns)) {
                if !piece.is_listed() || !theirs.is_listed() {
                    (theirs.met, piece.met) = (true, true);
                }
            }
        }
        if let Known::Listed(cells) = &piece.known {
            self.meet(own, cells);
        }
        self.flights[own].pieces.push(piece);
        fits
    }

    /// Marks the cells of a write that others touch with another value, there and here.
    fn meet(&mut self, own: usize, cells: &[u64]) {
        if self.more.is_empty() {
            return;
        }
        let (id, mut met) = (self.flights[own].id, std::mem::take(&mut self.flights[own].met));
        for cell in cells {
            let Some(further) = self.more.get(cell).filter(|_| !met.contains(cell)) else { continue };
            let slots = || self.cells.get(cell).into_iter().chain(further).copied();
            let Some(mine) = slots().find(|slot| slot.write == id) else { continue };
            for slot in slots().filter(|slot| slot.write != id && !slot.agrees(mine)) {
                let (before, from) = self.flights.split_at_mut(own);
                let Some((this, after)) = from.split_first_mut() else { continue };
                let other = before.iter_mut().chain(after).find(|other| other.id == slot.write);
                if let Some(other) = other.filter(|other| !other.repeats(this)) {
                    other.meet(*cell);
                    met.insert(*cell);
                }
            }
        }
        self.flights[own].met = met;
    }

    /// Puts the cells of a write into the table, if they are not there and there is room.
    pub(super) fn list(&mut self, at: usize, table: &mut Table) {
        let id = self.flights[at].id;
        let mut pieces = std::mem::take(&mut self.flights[at].pieces);
        for piece in &mut pieces {
            if !self.list_piece(id, piece, table.lines_max, table) {
                table.tell();
            }
        }
        self.flights[at].pieces = pieces;
    }

    /// `false`: it does not fit, and touches everything from now on.
    fn list_piece(&mut self, write: u64, piece: &mut Piece, lines_max: usize, table: &mut Table) -> bool {
        let count = match &piece.known {
            Known::Body(lines) => lines.parsed.lines as usize,
            Known::Cells(cells) => cells.len(),
            Known::Listed(_) | Known::Everything => return true,
        };
        let fits = table.lines.saturating_add(count) <= lines_max;
        let cells = match std::mem::replace(&mut piece.known, Known::Everything) {
            Known::Body(lines) if fits => cells(&lines),
            Known::Cells(cells) if fits => Some(cells),
            _ => None,
        };
        if let Some(cells) = cells {
            piece.known = Known::Listed(self.insert(write, &cells, table));
        }
        fits
    }

    fn insert(&mut self, write: u64, cells: &[Cell], table: &mut Table) -> Vec<u64> {
        table.lines += cells.len();
        for cell in cells {
            let slot = Slot::new(write, cell);
            let first = self.cells.entry(cell.hash).or_insert(slot);
            if first.write == write {
                first.add(cell);
                continue;
            }
            let further = self.more.entry(cell.hash).or_default();
            match further.iter_mut().find(|other| other.write == write) {
                Some(own) => own.add(cell),
                None => further.push(slot),
            }
        }
        cells.iter().map(|cell| cell.hash).collect()
    }

    fn remove(&mut self, flight: &Flight, table: &mut Table) {
        let listed = flight.pieces.iter().filter_map(|piece| match &piece.known {
            Known::Listed(cells) => Some(cells),
            _ => None,
        });
        for cells in listed {
            table.lines = table.lines.saturating_sub(cells.len());
            cells.iter().for_each(|cell| self.remove_cell(flight.id, *cell));
        }
        if table.lines == 0 {
            table.told = false;
        }
    }

    fn remove_cell(&mut self, write: u64, cell: u64) {
        let is_first = self.cells.get(&cell).is_some_and(|slot| slot.write == write);
        if let Some(further) = self.more.get_mut(&cell) {
            further.retain(|slot| slot.write != write);
            let next = if is_first { further.pop() } else { None };
            if further.is_empty() {
                self.more.remove(&cell);
            }
            if let Some(next) = next {
                self.cells.insert(cell, next);
                return;
            }
        }
        if is_first {
            self.cells.remove(&cell);
        }
    }

    /// Of many writes without an answer one is left that touches everything between them.
    pub(super) fn bound_late(&mut self, table: &mut Table) {
        let late = |flight: &Flight| flight.until.is_some();
        if self.flights.iter().filter(|flight| late(flight)).count() <= LATE_MAX {
            return;
        }
        let (gone, left): (Vec<Flight>, Vec<Flight>) = std::mem::take(&mut self.flights).into_iter().partition(late);
        self.flights = left;
        table.tell();
        gone.iter().for_each(|flight| self.remove(flight, table));
        table.next += 1;
        let pieces = || gone.iter().flat_map(|flight| &flight.pieces);
        let mut one = Flight::new(table.next, None);
        one.pieces = smallvec![Piece {
            min_ns: pieces().map(|piece| piece.min_ns).min().unwrap_or(i64::MIN),
            max_ns: pieces().map(|piece| piece.max_ns).max().unwrap_or(i64::MAX),
            lines: 0,
            known: Known::Everything,
            met: false,
        }];
        one.until = gone.iter().filter_map(|flight| flight.until).max();
        self.flights.push(one);
    }
}
