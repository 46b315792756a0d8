//! The hash of a cell, and the figures of many: order-free, mergeable, keyed.
//!
//! Promise: figures of parts merge into those of the whole, in any order; two sets of cells that are not the same, each cell as often,
//! have other figures but for one chance in about 2^192. The key is secret and fresh for each comparison: who chooses the data cannot aim
//! at a collision. (Facts: `migration.md` §8.1 and §8.2.)
//!
//! A series and a field are hashed once (128 bits, over their canonical bytes); each cell then mixes time, type and value in, 48 bytes in
//! all. A text goes in by a 128-bit hash of its own.

use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64_with_secret, xxh3_64_with_seed, xxh3_128_with_secret};

use crate::cell::{Cell, FieldType, Series, SumKey, Value};

/// Bytes of a secret of xxh3.
const SECRET_BYTES: usize = 192;
/// Bytes that stand for a cell: column, time, type, value.
const CELL_BYTES: usize = 48;
/// Fields of one series that are remembered.
const FIELDS_MAX: usize = 4096;

/// Types in the order of [`Figures::types`].
pub const TYPES: [FieldType; 5] =
    [FieldType::Float, FieldType::Integer, FieldType::Unsigned, FieldType::Boolean, FieldType::String];

/// What stands for a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellHash {
    /// Added up.
    pub sum: u128,
    /// Combined by exclusive or.
    pub xor: u64,
}

/// Where a cell counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Column {
    id: u128,
    bucket: u8,
}

/// Hashes cells under one key. Cells of one series and field that come one after the other are cheap.
pub struct Hasher {
    /// For names and texts; for sums; for the exclusive or.
    secrets: Box<[[u8; SECRET_BYTES]; 3]>,
    series: Option<Arc<Series>>,
    bucket: u8,
    fields: Vec<(Arc<[u8]>, u128)>,
    /// Where the next field is expected.
    next: usize,
    buffer: Vec<u8>,
}

/// The key is not shown: it must not reach logs.
impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher(..)")
    }
}

impl Hasher {
    /// Under this key.
    #[must_use]
    pub fn new(key: SumKey) -> Self {
        let secret = |number: u8| {
            let mut secret = [0; SECRET_BYTES];
            for (at, word) in (0u8..).zip(secret.as_chunks_mut::<8>().0) {
                *word = xxh3_64_with_seed(&[number, at], key.0[usize::from(at % 2)]).to_le_bytes();
            }
            // Both halves of the key are in every word.
            let mixed = xxh3_64_with_seed(&secret, key.0[0] ^ key.0[1].rotate_left(32));
            for (at, word) in (0u64..).zip(secret.as_chunks_mut::<8>().0) {
                let own = u64::from_le_bytes(*word);
                *word = (own ^ xxh3_64_with_seed(&at.to_le_bytes(), mixed)).to_le_bytes();
            }
            secret
        };
        Self {
            secrets: Box::new([secret(0), secret(1), secret(2)]),
            series: None,
            bucket: 0,
            fields: Vec::new(),
            next: 0,
            buffer: Vec::new(),
        }
    }

    /// The hash of a cell and its bucket of 256, which all cells of a series share.
    pub fn cell(&mut self, cell: &Cell) -> (CellHash, u8) {
        let column = self.column(&cell.series, &cell.field);
        let (kind, low, high) = match &cell.value {
            Value::Float(v) => (1u8, v.to_bits(), 0),
            Value::Integer(v) => (2, v.cast_unsigned(), 0),
            Value::Unsigned(v) => (3, *v, 0),
            Value::Boolean(v) => (4, u64::from(*v), 0),
            Value::String(text) => {
                let own = xxh3_128_with_secret(text, &self.secrets[0]);
                (5, own as u64, (own >> 64) as u64)
            }
        };
        let mut bytes = [0; CELL_BYTES];
        bytes[..16].copy_from_slice(&column.id.to_le_bytes());
        bytes[16..24].copy_from_slice(&cell.time_ns.to_le_bytes());
        bytes[24..32].copy_from_slice(&low.to_le_bytes());
        bytes[32..40].copy_from_slice(&high.to_le_bytes());
        bytes[40] = kind;
        let sum = xxh3_128_with_secret(&bytes, &self.secrets[1]);
        let xor = xxh3_64_with_secret(&bytes, &self.secrets[2]);
        (CellHash { sum, xor }, column.bucket)
    }

    fn column(&mut self, series: &Arc<Series>, field: &Arc<[u8]>) -> Column {
        let is_known = |known: &Arc<Series>| Arc::ptr_eq(known, series) || **known == **series;
        if !self.series.as_ref().is_some_and(is_known) {
            self.buffer.clear();
            put_series(series, &mut self.buffer);
            self.bucket = xxh3_64_with_secret(&self.buffer, &self.secrets[2]) as u8;
            self.fields.clear();
            self.next = 0;
            self.series = Some(Arc::clone(series));
        }
        let is_field = |(known, _): &&(Arc<[u8]>, u128)| Arc::ptr_eq(known, field) || **known == **field;
        if let Some((_, id)) = self.fields.get(self.next).filter(is_field) {
            self.next += 1;
            return Column { id: *id, bucket: self.bucket };
        }
        if let Some(at) = self.fields.iter().position(|known| is_field(&known)) {
            self.next = at + 1;
            return Column { id: self.fields[at].1, bucket: self.bucket };
        }
        self.buffer.clear();
        put_series(series, &mut self.buffer);
        put(field, &mut self.buffer);
        let id = xxh3_128_with_secret(&self.buffer, &self.secrets[0]);
        if self.fields.len() < FIELDS_MAX {
            self.fields.push((Arc::clone(field), id));
            self.next = self.fields.len();
        }
        Column { id, bucket: self.bucket }
    }
}

fn put_series(series: &Series, out: &mut Vec<u8>) {
    put(series.measurement(), out);
    out.extend_from_slice(&(series.tags().len() as u64).to_le_bytes());
    for (key, value) in series.tags() {
        put(key, out);
        put(value, out);
    }
}

fn put(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text);
}

/// Figures of a set of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// How many.
    pub cells: u64,
    /// The same by type: float, integer, unsigned, boolean, string.
    pub types: [u64; 5],
    /// Hashes, added modulo 2^128.
    pub sum: u128,
    /// Other hashes, by exclusive or.
    pub xor: u64,
    /// The first time, ns; `i64::MAX` where there is no cell.
    pub first_ns: i64,
    /// The last time, ns; `i64::MIN` where there is no cell.
    pub last_ns: i64,
}

impl Default for Figures {
    fn default() -> Self {
        Self { cells: 0, types: [0; 5], sum: 0, xor: 0, first_ns: i64::MAX, last_ns: i64::MIN }
    }
}

impl Figures {
    /// One cell more.
    pub fn add(&mut self, hash: CellHash, cell: &Cell) {
        self.cells += 1;
        let at = match cell.value.field_type() {
            FieldType::Float => 0,
            FieldType::Integer => 1,
            FieldType::Unsigned => 2,
            FieldType::Boolean => 3,
            FieldType::String => 4,
        };
        self.types[at] += 1;
        self.sum = self.sum.wrapping_add(hash.sum);
        self.xor ^= hash.xor;
        self.first_ns = self.first_ns.min(cell.time_ns);
        self.last_ns = self.last_ns.max(cell.time_ns);
    }

    /// Those of another part as well.
    pub fn merge(&mut self, other: &Self) {
        self.cells += other.cells;
        for (own, more) in self.types.iter_mut().zip(other.types) {
            *own += more;
        }
        self.sum = self.sum.wrapping_add(other.sum);
        self.xor ^= other.xor;
        self.first_ns = self.first_ns.min(other.first_ns);
        self.last_ns = self.last_ns.max(other.last_ns);
    }

    /// The hash as text: 48 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        format!("{:032x}{:016x}", self.sum, self.xor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::cell::put_canonical;

    const KEY: SumKey = SumKey([7, 8]);

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
            (-2i64..3).prop_map(|v| Value::Float(v as f64)),
            (-2i64..3).prop_map(Value::Integer),
            (0u64..3).prop_map(Value::Unsigned),
            any::<bool>().prop_map(Value::Boolean),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::String),
        ]
    }

    fn cells() -> impl Strategy<Value = Vec<Cell>> {
        let one = ("[ab]{0,2}", "[xy]{0,2}", "[fg]{0,2}", -3i64..3, value());
        let one = one.prop_map(|(measurement, tag, field, time_ns, value)| {
            let tags = vec![(b"t".to_vec(), tag.into_bytes())];
            let series = Arc::new(Series::new(measurement.into_bytes(), tags));
            Cell { series, field: field.as_bytes().into(), time_ns, value }
        });
        proptest::collection::vec(one, 0..30)
    }

    fn figures<'a>(key: SumKey, cells: impl IntoIterator<Item = &'a Cell>) -> Figures {
        let (mut hasher, mut figures) = (Hasher::new(key), Figures::default());
        for cell in cells {
            let (hash, _) = hasher.cell(cell);
            figures.add(hash, cell);
        }
        figures
    }

    /// The oracle: how often each canonical form is there.
    fn counted(cells: &[Cell]) -> HashMap<Vec<u8>, usize> {
        let mut all = HashMap::new();
        for cell in cells {
            let mut bytes = Vec::new();
            put_canonical(cell, &mut bytes);
            *all.entry(bytes).or_default() += 1;
        }
        all
    }

    proptest! {
        #[test]
        fn figures_are_equal_exactly_when_the_cells_are(left in cells(), right in cells()) {
            let is_equal = figures(KEY, &left) == figures(KEY, &right);
            prop_assert_eq!(is_equal, counted(&left) == counted(&right));
        }

        #[test]
        fn order_and_parts_do_not_matter(cells in cells(), cut in 0usize..30) {
            let (a, b) = cells.split_at(cut.min(cells.len()));
            let mut parts = figures(KEY, b);
            parts.merge(&figures(KEY, a));
            prop_assert_eq!(figures(KEY, cells.iter().rev()), parts);
        }

        #[test]
        fn any_change_of_one_cell_is_seen(cells in cells(), at in 0usize..30, new in value()) {
            prop_assume!(at < cells.len() && cells[at].value != new);
            let mut changed = cells.clone();
            changed[at].value = new;
            prop_assert_ne!(figures(KEY, &cells).digest(), figures(KEY, &changed).digest());
            changed.clone_from(&cells);
            changed[at].time_ns += 1;
            prop_assert_ne!(figures(KEY, &cells).digest(), figures(KEY, &changed).digest());
            let twice = cells.iter().chain([&cells[at], &cells[at]]);
            prop_assert_ne!(figures(KEY, &cells).digest(), figures(KEY, twice).digest());
        }
    }

    #[test]
    fn both_halves_of_the_key_matter() {
        let series = Arc::new(Series::new(b"m".to_vec(), Vec::new()));
        let cell = Cell { series, field: b"f"[..].into(), time_ns: 1, value: Value::Integer(1) };
        let of = |key| figures(SumKey(key), [&cell]);
        let base = of([1, 2]);
        for other in [of([1, 3]), of([4, 2]), of([2, 1])] {
            assert!(base.sum != other.sum && base.xor != other.xor);
        }
    }
}
