//! Two sets of cells, compared to the cell.

use std::cmp::Ordering;
use std::fmt;

use super::{Cell, put_canonical};

/// How many examples of each kind of difference are kept; the rest is only counted.
const EXAMPLES_MAX: usize = 10;

/// One place where the sides differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Only the left side has this cell.
    OnlyLeft(Cell),
    /// Only the right side has this cell.
    OnlyRight(Cell),
    /// Same series, field, time and type, another value.
    Value {
        /// What the left side holds.
        left: Cell,
        /// What the right side holds.
        right: Cell,
    },
    /// Same series, field and time, another type.
    Type {
        /// What the left side holds.
        left: Cell,
        /// What the right side holds.
        right: Cell,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnlyLeft(cell) => write!(f, "only left: {cell}"),
            Self::OnlyRight(cell) => write!(f, "only right: {cell}"),
            Self::Value { left, right } => write!(f, "value: left {left}, right {}", right.value),
            Self::Type { left, right } => {
                let (a, b) = (left.value.field_type(), right.value.field_type());
                write!(f, "type: left {a} {left}, right {b} {}", right.value)
            }
        }
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Cells that both sides hold alike.
    pub equal: u64,
    /// Cells that the right side lacks.
    pub only_left: u64,
    /// Cells that the left side lacks.
    pub only_right: u64,
    /// Cells of one type with different values.
    pub values: u64,
    /// Cells with different types.
    pub types: u64,
    /// The first differences of each kind, in the order of the cells; at most 10 a kind.
    pub examples: Vec<Difference>,
}

impl Differences {
    /// Whether the sides hold the same cells, each as often.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// How many differences there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.only_left + self.only_right + self.values + self.types
    }

    fn note(&mut self, left: Option<&Cell>, right: Option<&Cell>) {
        let (count, difference) = match (left, right) {
            (None, None) => return,
            (Some(a), None) => (&mut self.only_left, Difference::OnlyLeft(a.clone())),
            (None, Some(b)) => (&mut self.only_right, Difference::OnlyRight(b.clone())),
            (Some(a), Some(b)) if a.value == b.value => {
                self.equal += 1;
                return;
            }
            (Some(a), Some(b)) => {
                let (left, right) = (a.clone(), b.clone());
                if a.value.field_type() == b.value.field_type() {
                    (&mut self.values, Difference::Value { left, right })
                } else {
                    (&mut self.types, Difference::Type { left, right })
                }
            }
        };
        *count += 1;
        if *count <= EXAMPLES_MAX as u64 {
            self.examples.push(difference);
        }
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { equal, only_left, only_right, values, types, .. } = self;
        write!(
            f,
            "{equal} equal, {only_left} only left, {only_right} only right, {values} values, {types} types differ"
        )?;
        self.examples.iter().try_for_each(|example| write!(f, "\n  {example}"))
    }
}

/// Compares two sets of cells, in any order. Both are held in memory and sorted: the caller bounds them (a leaf).
///
/// A cell that a side holds twice (a database that keeps duplicates) counts twice: the sides are equal only when each
/// holds every cell equally often.
pub fn compare(left: impl IntoIterator<Item = Cell>, right: impl IntoIterator<Item = Cell>) -> Differences {
    let left = sorted(left);
    let right = sorted(right);
    let mut found = Differences::default();
    let (mut a, mut b) = (0, 0);
    while a < left.len() || b < right.len() {
        let order = match (left.get(a), right.get(b)) {
            (Some(l), Some(r)) => by_place(l, r),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        let left_end = if order.is_gt() { a } else { group_end(&left, a) };
        let right_end = if order.is_lt() { b } else { group_end(&right, b) };
        compare_place(&left[a..left_end], &right[b..right_end], &mut found);
        (a, b) = (left_end, right_end);
    }
    found
}

/// Compares what the sides hold at one place: mostly one cell each.
fn compare_place(left: &[Cell], right: &[Cell], found: &mut Differences) {
    if let ([left], [right]) = (left, right) {
        return found.note(Some(left), Some(right));
    }
    // Equal values first, so that `1, 2` against `2` is one missing cell and not also a different value. Both sides are
    // sorted by value, so one walk finds them.
    let (mut a, mut b) = (0, 0);
    let (mut unmatched, mut rest) = (Vec::new(), Vec::new());
    while let (Some(l), Some(r)) = (left.get(a), right.get(b)) {
        let order = by_bytes(l, r);
        match order {
            Ordering::Less => unmatched.push(l),
            Ordering::Greater => rest.push(r),
            Ordering::Equal => found.note(Some(l), Some(r)),
        }
        a += usize::from(order.is_le());
        b += usize::from(order.is_ge());
    }
    unmatched.extend(&left[a..]);
    rest.extend(&right[b..]);
    for at in 0..unmatched.len().max(rest.len()) {
        found.note(unmatched.get(at).copied(), rest.get(at).copied());
    }
}

fn sorted(cells: impl IntoIterator<Item = Cell>) -> Vec<Cell> {
    let mut cells: Vec<Cell> = cells.into_iter().collect();
    cells.sort_by(|a, b| by_place(a, b).then_with(|| by_bytes(a, b)));
    cells
}

fn by_place(a: &Cell, b: &Cell) -> Ordering {
    a.series.cmp(&b.series).then_with(|| a.field.cmp(&b.field)).then_with(|| a.time_ns.cmp(&b.time_ns))
}

/// Only reached by duplicates: makes the report independent of the order of the input.
fn by_bytes(a: &Cell, b: &Cell) -> Ordering {
    let [mut left, mut right] = [Vec::new(), Vec::new()];
    put_canonical(a, &mut left);
    put_canonical(b, &mut right);
    left.cmp(&right)
}

fn group_end(cells: &[Cell], start: usize) -> usize {
    let same = |cell: &&Cell| by_place(cell, &cells[start]).is_eq();
    start + cells[start..].iter().take_while(same).count()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cell::{Series, Value};

    fn cell(measurement: &str, field: &str, time_ns: i64, value: Value) -> Cell {
        let series = Arc::new(Series::new(measurement.as_bytes().to_vec(), Vec::new()));
        Cell { series, field: field.as_bytes().into(), time_ns, value }
    }

    #[test]
    fn the_same_cells_in_another_order_are_equal() {
        let cells: Vec<_> = (0..5).map(|at| cell("m", "v", at, Value::Integer(at))).collect();
        let found = compare(cells.clone(), cells.into_iter().rev());
        assert!(found.is_empty(), "{found}");
        assert_eq!(found.equal, 5);
    }

    #[test]
    fn each_kind_of_difference_is_named() {
        let left = vec![
            cell("a", "v", 1, Value::Float(1.0)),
            cell("b", "v", 1, Value::Float(0.0)),
            cell("b", "w", 1, Value::Integer(1)),
            cell("b", "x", 1, Value::Boolean(true)),
        ];
        let right = vec![
            cell("b", "v", 1, Value::Float(-0.0)),
            cell("b", "w", 1, Value::Unsigned(1)),
            cell("b", "x", 1, Value::Boolean(true)),
            cell("b", "x", 2, Value::Boolean(true)),
        ];
        let found = compare(left.clone(), right.clone());
        assert_eq!((found.equal, found.only_left, found.only_right, found.values, found.types), (1, 1, 1, 1, 1));
        let expected = [
            Difference::OnlyLeft(left[0].clone()),
            Difference::Value { left: left[1].clone(), right: right[0].clone() },
            Difference::Type { left: left[2].clone(), right: right[1].clone() },
            Difference::OnlyRight(right[3].clone()),
        ];
        assert_eq!(found.examples, expected);
    }

    #[test]
    fn duplicates_count() {
        let one = cell("m", "v", 1, Value::Integer(1));
        let two = cell("m", "v", 1, Value::Integer(2));
        let found = compare([one.clone(), one.clone()], [one.clone()]);
        assert_eq!((found.equal, found.only_left, found.total()), (1, 1, 1));
        let found = compare([one.clone(), two.clone()], [two.clone()]);
        assert_eq!((found.equal, found.only_left, found.values), (1, 1, 0));
        assert!(compare([one.clone(), two.clone()], [two, one]).is_empty());
    }

    #[test]
    fn examples_are_bounded_and_counts_are_not() {
        let left: Vec<_> = (0..100).map(|at| cell("m", "v", at, Value::Integer(at))).collect();
        let found = compare(left, Vec::new());
        assert_eq!((found.only_left, found.examples.len()), (100, 10));
    }
}
