//! Every kind of damage, planted alone and together in a model of a destination: each is found, located to the cell and rightly classed,
//! and equal data has no difference. (Facts: `migration.md` §10, test 20.)

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::compare::{Comparison, Limits, Names, State};
use super::diff::{Class, Finding, classify};
use super::project::LeftOut;
use super::side::{Cells, Side};
use crate::base::{Error, Kind, Result};
use crate::cell::{Cell, Series, SumKey, Value, put_canonical};
use crate::db::read::Window;

/// Times are so far apart, ns.
const STEP_NS: i64 = 10_000_000_000;

/// What a read does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// Breaks in the middle.
    Cut,
    /// Windows of more cells than that are refused.
    Small(usize),
    /// It is away.
    Away,
}

/// Cells in memory.
struct Model {
    cells: Rc<Vec<Cell>>,
    trouble: Trouble,
    /// Shuffles pieces.
    seed: u64,
}

struct Pieces {
    left: VecDeque<Vec<Cell>>,
    trouble: Trouble,
}

impl Side for Model {
    type Cells = Pieces;

    async fn open(&self, names: &[Vec<u8>], window: Window) -> Result<Pieces> {
        let fault = |kind| Error::new(kind, crate::base::Side::Destination, "the model fails");
        if self.trouble == Trouble::Away {
            return Err(fault(Kind::Connect));
        }
        let is_meant = |cell: &&Cell| {
            (window.start_ns..window.end_ns).contains(&cell.time_ns)
                && names.iter().any(|name| name == cell.series.measurement())
        };
        let cells: Vec<Cell> = self.cells.iter().filter(is_meant).cloned().collect();
        if matches!(self.trouble, Trouble::Small(most) if cells.len() > most) {
            return Err(fault(Kind::Limit));
        }
        let mut pieces: Vec<_> = cells.chunks(1000).map(<[Cell]>::to_vec).collect();
        fastrand::Rng::with_seed(self.seed).shuffle(&mut pieces);
        Ok(Pieces { left: pieces.into(), trouble: self.trouble })
    }
}

impl Cells for Pieces {
    async fn next(&mut self) -> Result<Option<Vec<Cell>>> {
        if self.trouble == Trouble::Cut {
            return Err(Error::new(Kind::Answer, crate::base::Side::Destination, "the answer ended early"));
        }
        Ok(self.left.pop_front())
    }

    fn left_out(&self) -> LeftOut {
        LeftOut::new()
    }
}

/// Cells of all types, with values that stand once.
fn cells(count: usize) -> Vec<Cell> {
    let series: Vec<Arc<Series>> = (0..40)
        .map(|n| Arc::new(Series::new(b"m".to_vec(), vec![(b"host".to_vec(), format!("h{n}").into_bytes())])))
        .collect();
    let fields: Vec<Arc<[u8]>> = ["f", "i", "u", "b", "s"].iter().map(|name| name.as_bytes().into()).collect();
    let per_time = series.len() * fields.len();
    let cell = |n: usize| {
        let own = n as i64;
        let value = match n % 5 {
            0 => Value::Float(own as f64 + 0.25),
            1 => Value::Integer(own),
            2 => Value::Unsigned(n as u64),
            3 => Value::Boolean(n.is_multiple_of(2)),
            _ => Value::String(format!("text \"{n}\"\r\0").into_bytes()),
        };
        Cell {
            series: Arc::clone(&series[n / 5 % series.len()]),
            field: Arc::clone(&fields[n % 5]),
            time_ns: (n / per_time) as i64 * STEP_NS,
            value,
        }
    };
    (0..count).map(cell).collect()
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Bit,
    Drop,
    Duplicate,
    Swap,
    Shift,
    IntegerAsFloat,
    Move,
    Extra,
}

const DAMAGES: [Damage; 8] = [
    Damage::Bit,
    Damage::Drop,
    Damage::Duplicate,
    Damage::Swap,
    Damage::Shift,
    Damage::IntegerAsFloat,
    Damage::Move,
    Damage::Extra,
];

fn flipped(value: &Value, random: &mut fastrand::Rng) -> Value {
    let bit = 1u64 << random.u32(..64);
    match value {
        Value::Float(v) => Value::Float(f64::from_bits(v.to_bits() ^ bit)),
        Value::Integer(v) => Value::Integer(v ^ bit.cast_signed()),
        Value::Unsigned(v) => Value::Unsigned(v ^ bit),
        Value::Boolean(v) => Value::Boolean(!v),
        Value::String(text) => {
            let mut text = text.clone();
            text[0] ^= 1 << random.u32(..8);
            Value::String(text)
        }
    }
}

/// Plants damages at cells of different times; what is to be found.
fn plant(cells: &mut Vec<Cell>, damages: &[Damage], random: &mut fastrand::Rng) -> Vec<Finding> {
    let (mut wanted, mut times, mut gone, mut more) = (Vec::new(), BTreeSet::new(), BTreeSet::new(), Vec::new());
    let mut pick = |cells: &[Cell], random: &mut fastrand::Rng, is_fit: &dyn Fn(&Cell) -> bool| loop {
        let at = random.usize(..cells.len());
        if is_fit(&cells[at]) && times.insert(cells[at].time_ns) {
            return at;
        }
    };
    for damage in damages {
        let at = pick(cells, random, &|cell| match damage {
            Damage::Swap | Damage::IntegerAsFloat => matches!(cell.value, Value::Integer(_)),
            _ => true,
        });
        let old = cells[at].clone();
        let mut found = |class, source: Option<&Cell>, destination: Option<&Cell>| {
            wanted.push(Finding { class, source: source.cloned(), destination: destination.cloned() });
        };
        match damage {
            Damage::Bit => {
                cells[at].value = flipped(&old.value, random);
                found(Class::Value, Some(&old), Some(&cells[at]));
            }
            Damage::Drop => {
                gone.insert(at);
                found(Class::Missing, Some(&old), None);
            }
            Damage::Duplicate => {
                more.push(old.clone());
                found(Class::Duplicate, None, Some(&old));
            }
            Damage::Swap => {
                let other = pick(cells, random, &|cell| matches!(cell.value, Value::Integer(_)));
                let there = cells[other].clone();
                cells[at].value = there.value.clone();
                cells[other].value = old.value.clone();
                found(Class::Value, Some(&old), Some(&cells[at]));
                found(Class::Value, Some(&there), Some(&cells[other]));
            }
            Damage::Shift => {
                cells[at].time_ns += if random.bool() { 1 } else { -1 };
                found(Class::Timestamp, Some(&old), Some(&cells[at]));
            }
            Damage::IntegerAsFloat => {
                let Value::Integer(whole) = old.value else { unreachable!("picked so") };
                cells[at].value = Value::Float(whole as f64);
                found(Class::Type, Some(&old), Some(&cells[at]));
            }
            Damage::Move => {
                let tags = vec![(b"host".to_vec(), b"another".to_vec())];
                cells[at].series = Arc::new(Series::new(b"m".to_vec(), tags));
                found(Class::TagSet, Some(&old), Some(&cells[at]));
            }
            Damage::Extra => {
                let new = Cell { time_ns: old.time_ns + STEP_NS / 2, ..old.clone() };
                found(Class::Extra, None, Some(&new));
                more.push(new);
            }
        }
    }
    let mut at = 0;
    cells.retain(|_| {
        at += 1;
        !gone.contains(&(at - 1))
    });
    cells.append(&mut more);
    random.shuffle(cells);
    wanted
}

fn names() -> Names {
    Names { source: vec![b"m".to_vec()], destination: vec![b"m".to_vec()] }
}

/// All windows of both, and the findings of all of them.
fn compared(source: &Model, destination: &Model, limits: Limits, seed: u64) -> (Vec<State>, Vec<Finding>, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let comparison = Comparison::new(source, destination, SumKey([seed, !seed]), limits);
    let last = source.cells.iter().map(|cell| cell.time_ns).max().unwrap_or(0);
    let edges = [-STEP_NS, last / 3, last / 3 * 2 + 7, last + STEP_NS];
    let (mut states, mut findings, mut read_again) = (Vec::new(), Vec::new(), 0);
    for edge in edges.windows(2) {
        let window = Window { start_ns: edge[0], end_ns: edge[1] };
        let mut verdict = runtime.block_on(comparison.window(&names(), window)).unwrap();
        states.push(verdict.state);
        findings.append(&mut verdict.findings);
        read_again += verdict.read_again;
    }
    (states, classify(findings), read_again)
}

fn as_set(findings: &[Finding]) -> BTreeSet<(Class, Vec<u8>, Vec<u8>)> {
    let bytes = |cell: &Option<Cell>| {
        let mut bytes = Vec::new();
        cell.iter().for_each(|cell| put_canonical(cell, &mut bytes));
        bytes
    };
    findings.iter().map(|one| (one.class, bytes(&one.source), bytes(&one.destination))).collect()
}

fn limits(leaf_cells_max: u64) -> Limits {
    Limits { leaf_cells_max, reads: 2, wait: Duration::ZERO, ..Limits::default() }
}

fn trials(count: u64, size: usize) {
    let whole = Rc::new(cells(size));
    let model = |cells: &Rc<Vec<Cell>>, seed| Model { cells: Rc::clone(cells), trouble: Trouble::None, seed };
    for trial in 0..count {
        let mut random = fastrand::Rng::with_seed(trial);
        let source = model(&whole, trial);
        let mut damaged = Vec::clone(&whole);
        let damages: Vec<Damage> = match trial % 10 {
            9 => Vec::new(),
            8 => (0..random.usize(2..12)).map(|_| DAMAGES[random.usize(..DAMAGES.len())]).collect(),
            one => vec![DAMAGES[one as usize]],
        };
        let wanted = plant(&mut damaged, &damages, &mut random);
        let leaf = [50, 1000, 100_000][random.usize(..3)];
        let (states, found, again) = compared(&source, &model(&Rc::new(damaged), !trial), limits(leaf), trial);
        assert_eq!(as_set(&found), as_set(&wanted), "trial {trial}: {damages:?}");
        assert_eq!(found.len(), wanted.len(), "trial {trial}");
        assert_eq!(states.iter().all(|state| *state == State::Equal), wanted.is_empty(), "trial {trial}: {states:?}");
        assert!(!wanted.is_empty() || again == 0, "trial {trial}: equal data was read again");
    }
}

/// `TWINLINE_VERIFY_TRIALS` sets how many trials there are, and `TWINLINE_VERIFY_CELLS` of how many cells.
#[test]
fn every_damage_is_found_located_and_classed_and_equal_data_is_equal() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let cells = number("TWINLINE_VERIFY_CELLS").unwrap_or(20_000);
    trials(number("TWINLINE_VERIFY_TRIALS").unwrap_or(60), usize::try_from(cells).unwrap());
}

#[test]
fn what_is_not_read_to_its_end_is_never_equal() {
    let whole = Rc::new(cells(5000));
    let model = |trouble| Model { cells: Rc::clone(&whole), trouble, seed: 1 };
    let (states, found, _) = compared(&model(Trouble::None), &model(Trouble::Cut), limits(1000), 1);
    assert!(
        states.iter().all(|state| matches!(state, State::Unchecked(why) if why.contains("ended early"))),
        "{states:?}"
    );
    assert_eq!(found, []);
    // One that refuses large windows is asked for smaller ones.
    let (states, ..) = compared(&model(Trouble::None), &model(Trouble::Small(400)), limits(1000), 1);
    assert_eq!(states, vec![State::Equal; 3]);
    // As small as a window can be.
    let (states, ..) = compared(&model(Trouble::None), &model(Trouble::Small(10)), limits(1000), 1);
    assert!(states.iter().all(|state| matches!(state, State::Unchecked(_))), "{states:?}");
}

#[test]
fn a_side_that_is_away_ends_the_run() {
    let whole = Rc::new(cells(500));
    let model = |trouble| Model { cells: Rc::clone(&whole), trouble, seed: 1 };
    let (source, destination) = (model(Trouble::None), model(Trouble::Away));
    let comparison = Comparison::new(&source, &destination, SumKey([1, 2]), limits(1000));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let window = Window { start_ns: 0, end_ns: STEP_NS };
    assert_eq!(runtime.block_on(comparison.window(&names(), window)).unwrap_err().kind(), Kind::Connect);
}
