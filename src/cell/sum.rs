//! An order-free sum of cells: two sides that hold the same cells, each as often, have the same sum.
//!
//! A cell's hash is 128 bits wide (two seeded xxh3-64 over its canonical bytes), and hashes are added modulo 2^128, so
//! sums of parts add up to the sum of the whole and nobody needs to sort. The key is secret and fresh for each
//! comparison: who chooses the data cannot aim at a collision.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Cell, put_canonical};

/// The key of a comparison. Sums of different keys say nothing about each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SumKey(pub [u64; 2]);

/// The key is not shown: it must not reach logs.
impl fmt::Debug for SumKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SumKey(..)")
    }
}

/// Sum and number of cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CellSum {
    /// The hashes, added modulo 2^128.
    pub sum: u128,
    /// How many cells were added.
    pub cells: u64,
}

impl CellSum {
    /// Adds another part.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { sum: self.sum.wrapping_add(other.sum), cells: self.cells.wrapping_add(other.cells) }
    }
}

/// Adds cells up under one key; keeps its buffer between cells.
#[derive(Debug)]
pub struct Summer {
    key: SumKey,
    total: CellSum,
    buffer: Vec<u8>,
}

impl Summer {
    /// An empty sum under `key`.
    #[must_use]
    pub fn new(key: SumKey) -> Self {
        Self { key, total: CellSum::default(), buffer: Vec::new() }
    }

    /// Adds one cell.
    pub fn add(&mut self, cell: &Cell) {
        self.buffer.clear();
        put_canonical(cell, &mut self.buffer);
        let [low, high] = self.key.0.map(|seed| u128::from(xxh3_64_with_seed(&self.buffer, seed)));
        self.total = self.total.plus(CellSum { sum: high << 64 | low, cells: 1 });
    }

    /// What was added so far.
    #[must_use]
    pub fn total(&self) -> CellSum {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cell::{Series, Value};

    fn cells() -> Vec<Cell> {
        let series = Arc::new(Series::new(b"m".to_vec(), Vec::new()));
        let values = [Value::Float(0.0), Value::Integer(7), Value::Boolean(true), Value::String(b"x".to_vec())];
        let cell = |(at, value)| Cell { series: series.clone(), field: b"f"[..].into(), time_ns: at, value };
        (0..).zip(values).map(cell).collect()
    }

    fn sum<'a>(key: [u64; 2], cells: impl Iterator<Item = &'a Cell>) -> CellSum {
        let mut summer = Summer::new(SumKey(key));
        cells.for_each(|cell| summer.add(cell));
        summer.total()
    }

    #[test]
    fn order_and_partition_do_not_matter() {
        let cells = cells();
        let whole = sum([1, 2], cells.iter());
        assert_eq!(whole, sum([1, 2], cells.iter().rev()));
        assert_eq!(whole, sum([1, 2], cells[..2].iter()).plus(sum([1, 2], cells[2..].iter())));
        assert_eq!(whole.cells, 4);
    }

    #[test]
    fn every_cell_and_its_number_matter() {
        let mut cells = cells();
        let whole = sum([1, 2], cells.iter());
        assert_ne!(whole.sum, sum([1, 2], cells[1..].iter()).sum, "one cell less");
        assert_ne!(whole.sum, sum([1, 2], cells.iter().chain(&cells[..1])).sum, "one cell twice");
        cells[0].value = Value::Float(-0.0);
        assert_ne!(whole.sum, sum([1, 2], cells.iter()).sum, "another zero");
    }

    #[test]
    fn both_halves_of_the_key_matter() {
        let cells = cells();
        let base = sum([1, 2], cells.iter()).sum;
        assert_ne!(base as u64, sum([3, 2], cells.iter()).sum as u64);
        assert_ne!(base >> 64, sum([1, 3], cells.iter()).sum >> 64);
    }
}
