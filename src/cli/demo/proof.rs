//! The comparison at the end: both databases, read back with types over their query interface, against the clients' own
//! record and against each other.
//!
//! Window by window over all of time, so that memory is bounded by one of them.

use std::collections::{BTreeSet, HashSet};

use serde::Serialize;

use super::history::History;
use super::record::Record;
use super::stage::{DATABASE, Stage};
use super::writer::{Direction, UNTIMED, untimed_cells};
use crate::base::{Result, Side};
use crate::cell::{Cell, Difference, Value, compare};
use crate::db::read::{Auth, Limits, Product, Reader, Window};

/// Two sets of values side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
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
    /// The first differences, in words; at most 40.
    pub(super) examples: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// Points that the clients wrote, and those of history; one that was overwritten counts once.
    pub(super) points: u64,
    pub(super) comparisons: Vec<Comparison>,
}

impl Proof {
    pub(super) fn equal(&self) -> bool {
        self.comparisons.iter().all(|comparison| comparison.different == 0)
    }
}

/// Examples that are kept of one comparison.
const EXAMPLES_MAX: usize = 40;
const RECORD: &str = "clients' record";
const SOURCE: &str = "source";
const DESTINATION: &str = "destination";

/// Reads both databases and compares.
pub(super) async fn prove(
    stage: &Stage,
    (records, history): (&[Record], &History),
    direction: &Direction,
    cells_max: usize,
) -> Result<Proof> {
    let source = open(&stage.source.url(), Side::Source, cells_max).await?;
    let destination = open(&stage.destination.url(), Side::Destination, cells_max).await?;
    let known = direction.untimed_known.borrow().clone();
    let unknown: HashSet<i64> = direction.untimed_unknown.borrow().iter().copied().collect();
    let mut comparisons = [(RECORD, SOURCE), (RECORD, DESTINATION), (SOURCE, DESTINATION)].map(Comparison::begin);
    let mut windows = history.windows().into_iter().peekable();
    while let Some(window) = windows.next() {
        let mut expected = history.cells(window);
        if windows.peek().is_none() {
            // What was written during the demonstration.
            expected.extend(records.iter().flat_map(Record::cells).chain(untimed_cells(&known)));
        }
        let (at_source, at_destination) = (source.read(window).await?, destination.read(window).await?);
        let [first, second, third] = &mut comparisons;
        first.add(expected.clone(), comparable(&at_source, &unknown));
        second.add(expected, comparable(&at_destination, &unknown));
        third.add(at_source, at_destination);
    }
    let points = records.iter().map(Record::points).sum::<u64>() + known.len() as u64 + history.points();
    Ok(Proof { points, comparisons: comparisons.into() })
}

/// A database, with all of its measurements.
struct Opened {
    reader: Reader,
    measurements: BTreeSet<Vec<u8>>,
}

async fn open(url: &str, side: Side, cells_max: usize) -> Result<Opened> {
    let limits = Limits { cells_max, ..Limits::default() };
    let reader = Reader::with_limits(url, Auth::None, Product::Influx1, side, limits)?;
    let measurements = reader.measurements(DATABASE, "").await?.into_iter().collect();
    Ok(Opened { reader, measurements })
}

impl Opened {
    async fn read(&self, window: Window) -> Result<Vec<Cell>> {
        let mut cells = Vec::new();
        for measurement in &self.measurements {
            cells.extend(self.reader.read(DATABASE, "", measurement, window).await?);
        }
        Ok(cells)
    }
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

impl Comparison {
    fn begin((left, right): (&'static str, &'static str)) -> Self {
        Self { left, right, ..Self::default() }
    }

    /// Compares what both hold in one more window.
    fn add(&mut self, left: Vec<Cell>, right: Vec<Cell>) {
        let found = compare(left, right);
        self.equal += found.equal;
        self.different += found.total();
        self.only_left += found.only_left;
        self.only_right += found.only_right;
        self.other_value += found.values;
        self.other_type += found.types;
        let room = EXAMPLES_MAX.saturating_sub(self.examples.len());
        let described = found.examples.iter().take(room).map(|example| describe(self.left, self.right, example));
        self.examples.extend(described);
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
        let side_by_side = |left, left_cells, right, right_cells| {
            let mut found = Comparison::begin((left, right));
            found.add(left_cells, right_cells);
            found
        };
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

    /// One changed point of the year, which only one side has, is found and named.
    #[tokio::test]
    async fn one_missing_change_of_history_is_found() {
        let stage = Stage::build(1_000_000).unwrap();
        let mut history = History::new(1_790_000_000_000_000_000, 1);
        let (both, direction) = ([&stage.source, &stage.destination], Direction::default());
        both.iter().for_each(|side| history.load(|lines| side.load(DATABASE, lines)).unwrap());
        let mut lines = String::new();
        history.change(100, None, &mut lines);
        both.iter().for_each(|side| side.load(DATABASE, lines.as_bytes()).unwrap());
        let prove = async |history: &History| prove(&stage, (&[], history), &direction, 1_000_000).await.unwrap();
        let proof = prove(&history).await;
        assert!(proof.equal(), "{proof:?}");
        assert_eq!(proof.points, history.points());
        assert!(proof.comparisons.iter().all(|each| each.equal == 4 * history.points()), "{proof:?}");
        lines.clear();
        while history.change(1, None, &mut lines) == 0 {}
        stage.source.load(DATABASE, lines.as_bytes()).unwrap();
        // What came late before the overwrite is missing as well; of what was overwritten some field differs.
        let proof = prove(&history).await;
        assert!(!proof.equal());
        let differs: Vec<bool> = proof.comparisons.iter().map(|each| each.different > 0).collect();
        assert_eq!(differs, [false, true, true], "{proof:?}");
        assert!(proof.comparisons[2].examples[0].contains("machine,host=h"), "{proof:?}");
        assert!(proof.comparisons[2].other_value > 0, "{proof:?}");
    }

    #[test]
    fn untimed_lines_compare_without_their_time_and_without_those_in_doubt() {
        let mut side = untimed_cells(&[0, 1, 2, 3]);
        side.iter_mut().for_each(|cell| cell.time_ns = 77);
        let unknown = HashSet::from([3]);
        assert_eq!(comparable(&side, &unknown), untimed_cells(&[0, 1, 2]));
    }
}
