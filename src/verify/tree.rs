//! The figures of a window, in 256 leaves by series.

use super::hash::{Figures, Hasher};
use crate::cell::Cell;

/// Leaves of a window.
pub const BUCKETS: usize = 256;

/// Figures of a window by bucket of series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree(Box<[Figures]>);

impl Default for Tree {
    fn default() -> Self {
        Self(vec![Figures::default(); BUCKETS].into_boxed_slice())
    }
}

impl Tree {
    /// One cell more.
    pub fn add(&mut self, hasher: &mut Hasher, cell: &Cell) {
        let (hash, bucket) = hasher.cell(cell);
        self.0[usize::from(bucket)].add(hash, cell);
    }

    /// All leaves together.
    #[must_use]
    pub fn total(&self) -> Figures {
        let mut total = Figures::default();
        self.0.iter().for_each(|leaf| total.merge(leaf));
        total
    }

    /// Where two differ.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Buckets {
        let mut found = Buckets::default();
        for (at, (own, there)) in self.0.iter().zip(&other.0).enumerate() {
            if own != there {
                found.0[at / 64] |= 1 << (at % 64);
                found.1.merge(own);
                found.1.merge(there);
            }
        }
        found
    }
}

/// Some of the 256, with what both sides hold in them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buckets([u64; BUCKETS / 64], Figures);

impl Buckets {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; BUCKETS / 64]
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn has(&self, bucket: u8) -> bool {
        self.0[usize::from(bucket / 64)] >> (bucket % 64) & 1 == 1
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Cells in them, of both sides together.
    #[must_use]
    pub fn cells(&self) -> u64 {
        self.1.cells
    }

    /// The first and the last time in them.
    #[must_use]
    pub fn times_ns(&self) -> (i64, i64) {
        (self.1.first_ns, self.1.last_ns)
    }
}
