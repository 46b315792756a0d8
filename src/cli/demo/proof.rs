//! The comparison at the end: both databases, read back with types over their query interface, against the clients' own
//! record and against each other.

use std::collections::HashSet;

use serde::Serialize;

use super::record::Record;
use super::stage::{DATABASE, Stage};
use super::writer::{Direction, UNTIMED, untimed_cells};
use crate::base::{Result, Side};
use crate::cell::{Cell, Difference, Value, compare};
use crate::db::read::{Auth, Limits, Product, Reader};

/// Two sets of values side by side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Comparison {
    pub(super) left: &'static str,
    pub(super) right: &'static str,
    /// Values that both hold alike: same series, field, time, type and bits.
    pub(super) equal: u64,
    pub(super) different: u64,
    /// Of the different ones: missing on the right.
    pub(super) only_left: u64,
    /// Missing on the left.
    pub(super) only_right: u64,
    pub(super) other_value: u64,
    pub(super) other_type: u64,
    /// The first differences, in words.
    pub(super) examples: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// Points that the clients wrote; one that was overwritten counts once.
    pub(super) points: u64,
    pub(super) comparisons: Vec<Comparison>,
}

impl Proof {
    pub(super) fn equal(&self) -> bool {
        self.comparisons.iter().all(|comparison| comparison.different == 0)
    }
}

const RECORD: &str = "clients' record";
const SOURCE: &str = "source";
const DESTINATION: &str = "destination";

/// Reads both databases and compares.
pub(super) async fn prove(stage: &Stage, records: &[Record], direction: &Direction, cells_max: usize) -> Result<Proof> {
    let source = read(&stage.source.url(), Side::Source, cells_max).await?;
    let destination = read(&stage.destination.url(), Side::Destination, cells_max).await?;
    let known = direction.untimed_known.borrow();
    let expected: Vec<Cell> = records.iter().flat_map(Record::cells).chain(untimed_cells(&known)).collect();
    let unknown: HashSet<i64> = direction.untimed_unknown.borrow().iter().copied().collect();
    let points = records.iter().map(Record::points).sum::<u64>() + known.len() as u64;
    let comparisons = vec![
        side_by_side(RECORD, expected.clone(), SOURCE, comparable(&source, &unknown)),
        side_by_side(RECORD, expected, DESTINATION, comparable(&destination, &unknown)),
        side_by_side(SOURCE, source, DESTINATION, destination),
    ];
    Ok(Proof { points, comparisons })
}

async fn read(url: &str, side: Side, cells_max: usize) -> Result<Vec<Cell>> {
    let limits = Limits { cells_max, ..Limits::default() };
    Reader::with_limits(url, Auth::None, Product::Influx1, side, limits)?.read_all(DATABASE, "").await
}

/// Cells as the record has them: it does not know when an untimed line came, nor whether one without an answer was kept.
fn comparable(cells: &[Cell], unknown: &HashSet<i64>) -> Vec<Cell> {
    let mut kept = Vec::with_capacity(cells.len());
    for cell in cells {
        let untimed = cell.series.measurement() == UNTIMED.as_bytes();
        match cell.value {
            Value::Integer(number) if untimed && unknown.contains(&number) => {}
            _ if untimed => kept.push(Cell { time_ns: 0, ..cell.clone() }),
            _ => kept.push(cell.clone()),
        }
    }
    kept
}

fn side_by_side(left: &'static str, left_cells: Vec<Cell>, right: &'static str, right_cells: Vec<Cell>) -> Comparison {
    let found = compare(left_cells, right_cells);
    Comparison {
        left,
        right,
        equal: found.equal,
        different: found.total(),
        only_left: found.only_left,
        only_right: found.only_right,
        other_value: found.values,
        other_type: found.types,
        examples: found.examples.iter().map(|example| describe(left, right, example)).collect(),
    }
}

fn describe(left: &str, right: &str, difference: &Difference) -> String {
    match difference {
        Difference::OnlyLeft(cell) => format!("missing in {right}: {cell}"),
        Difference::OnlyRight(cell) => format!("missing in {left}: {cell}"),
        Difference::Value { left: a, right: b } => format!("{left}: {a}, but {right}: {}", b.value),
        Difference::Type { left: a, right: b } => {
            let (mine, other) = (a.value.field_type(), b.value.field_type());
            format!("{left}: {a} ({mine}), but {right}: {} ({other})", b.value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::writer::untimed_cells;

    #[test]
    fn what_differs_is_named_with_its_side() {
        let [mut one, two] = [untimed_cells(&[3]), untimed_cells(&[4])];
        one.extend(untimed_cells(&[3]));
        let found = side_by_side("a", one.clone(), "b", two);
        assert_eq!((found.equal, found.different, found.only_left, found.only_right), (0, 3, 2, 1));
        assert!(found.examples[0].starts_with("missing in b: door,name=north"), "{:?}", found.examples);
        one[0].value = Value::Float(3.0);
        let found = side_by_side("a", vec![one[1].clone()], "b", vec![one[0].clone()]);
        assert_eq!(found.other_type, 1);
        assert!(found.examples[0].ends_with("= 3i (integer), but b: 3.0 (float)"), "{:?}", found.examples);
    }

    #[test]
    fn untimed_lines_compare_without_their_time_and_without_those_in_doubt() {
        let mut side = untimed_cells(&[0, 1, 2, 3]);
        side.iter_mut().for_each(|cell| cell.time_ns = 77);
        let unknown = HashSet::from([3]);
        assert_eq!(comparable(&side, &unknown), untimed_cells(&[0, 1, 2]));
    }
}
