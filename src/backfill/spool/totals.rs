//! What a chunk holds, in figures that verification compares.

use crate::base::Result;
use crate::cell::{Cell, CellSum, FieldType, SumKey, Summer};

/// Types in the order of [`Totals::types`].
const TYPES: [FieldType; 5] =
    [FieldType::Float, FieldType::Integer, FieldType::Unsigned, FieldType::Boolean, FieldType::String];

/// Figures of the cells of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Series and time.
    pub points: u64,
    /// Keyed sum and number of cells.
    pub sum: CellSum,
    /// Cells by type: float, integer, unsigned, boolean, string.
    pub types: [u64; 5],
    /// The first and the last time; the first is the later one where there is no cell.
    pub times_ns: (i64, i64),
}

/// Adds cells up.
#[derive(Debug)]
pub(super) struct Adding {
    summer: Summer,
    types: [u64; 5],
    times_ns: (i64, i64),
}

impl Adding {
    pub(super) fn new(key: SumKey) -> Self {
        Self { summer: Summer::new(key), types: [0; 5], times_ns: (i64::MAX, i64::MIN) }
    }

    pub(super) fn add(&mut self, cell: &Cell) {
        self.summer.add(cell);
        let own = cell.value.field_type();
        if let Some(at) = TYPES.iter().position(|known| *known == own) {
            self.types[at] += 1;
        }
        self.times_ns = (self.times_ns.0.min(cell.time_ns), self.times_ns.1.max(cell.time_ns));
    }

    pub(super) fn totals(&self, points: u64) -> Totals {
        Totals { points, sum: self.summer.total(), types: self.types, times_ns: self.times_ns }
    }
}

/// Bytes of the trailer.
const BYTES: usize = 8 + 16 + 8 + 5 * 8 + 16;

impl Totals {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES);
        out.extend_from_slice(&self.points.to_le_bytes());
        out.extend_from_slice(&self.sum.sum.to_le_bytes());
        out.extend_from_slice(&self.sum.cells.to_le_bytes());
        self.types.iter().for_each(|count| out.extend_from_slice(&count.to_le_bytes()));
        out.extend_from_slice(&self.times_ns.0.to_le_bytes());
        out.extend_from_slice(&self.times_ns.1.to_le_bytes());
        out
    }

    pub(super) fn read(bytes: &[u8], fault: impl Fn() -> crate::base::Error) -> Result<Self> {
        let mut rest = bytes;
        let mut eight = || {
            let (head, tail) = rest.split_first_chunk::<8>()?;
            rest = tail;
            Some(u64::from_le_bytes(*head))
        };
        let mut read = || {
            let points = eight()?;
            let (low, high) = (u128::from(eight()?), u128::from(eight()?));
            let sum = CellSum { sum: high << 64 | low, cells: eight()? };
            let types = [eight()?, eight()?, eight()?, eight()?, eight()?];
            let times_ns = (eight()?.cast_signed(), eight()?.cast_signed());
            Some(Self { points, sum, types, times_ns })
        };
        let found = read().ok_or_else(&fault)?;
        if bytes.len() == BYTES { Ok(found) } else { Err(fault()) }
    }
}
