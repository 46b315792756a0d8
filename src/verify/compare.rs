//! One window of both sides: hashed, and where the hashes differ, gone down to the cells.
//!
//! Promise: [`State::Equal`] is said only after one pass over each side, read to its announced end, gave the same figures. A difference
//! is called one only after it was read three times. A window that is too large for an answer is cut in two until it is not.

use std::collections::BTreeMap;
use std::time::Duration;

use super::diff::{Finding, merge};
use super::hash::{Figures, Hasher};
use super::project::LeftOut;
use super::side::{Cells, Side};
use super::tree::{Buckets, Tree};
use crate::base::{Error, Kind, Result, Retry};
use crate::cell::{Cell, SumKey, Value};
use crate::db::read::Window;

/// Limits of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Cells of both sides together that a leaf holds in memory; a window with more in leaves that differ is cut in two.
    pub leaf_cells_max: u64,
    /// Bytes of the same.
    pub leaf_bytes_max: usize,
    /// So often a leaf that differs is read before it is called different.
    pub reads: u32,
    /// Between two of these reads.
    pub wait: Duration,
    /// Findings of one window that are kept; the rest is counted.
    pub findings_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            leaf_cells_max: 100_000,
            leaf_bytes_max: 32 << 20,
            reads: 3,
            wait: Duration::from_secs(1),
            findings_max: 50_000,
        }
    }
}

/// So often a window is cut in two because an answer was too large, late or broken.
const CUTS_MAX: u32 = 24;

/// What a window is known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Both sides hold the same cells.
    Equal,
    /// They do not.
    Differs,
    /// Nobody knows, and why.
    Unchecked(String),
}

impl State {
    /// As tables and documents have it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Differs => "differs",
            Self::Unchecked(_) => "unchecked",
        }
    }
}

/// What was found out about a window.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What it is known to be.
    pub state: State,
    /// The source's cells, as the destination would hold them.
    pub source: Figures,
    /// The destination's.
    pub destination: Figures,
    /// What differs. Findings of neighbours belong together: see [`super::diff::classify`].
    pub findings: Vec<Finding>,
    /// Findings that are not kept.
    pub more: u64,
    /// What the destination cannot hold.
    pub left_out: LeftOut,
    /// Cells that were read again to locate a difference, of both sides.
    pub read_again: u64,
    /// Leaves that were equal when they were read again.
    pub settled: u64,
}

impl Verdict {
    fn new() -> Self {
        Self {
            state: State::Equal,
            source: Figures::default(),
            destination: Figures::default(),
            findings: Vec::new(),
            more: 0,
            left_out: LeftOut::new(),
            read_again: 0,
            settled: 0,
        }
    }

    fn failed(&mut self, why: String) {
        if !matches!(self.state, State::Unchecked(_)) {
            self.state = State::Unchecked(why);
        }
    }

    fn pass(&mut self, pass: &Pass) {
        self.source.merge(&pass.source.total());
        self.destination.merge(&pass.destination.total());
        for (code, cells) in &pass.left_out {
            *self.left_out.entry(code).or_default() += cells;
        }
    }
}

/// Both trees of one pass.
struct Pass {
    source: Tree,
    destination: Tree,
    left_out: LeftOut,
}

/// What is read: the measurements of each side. By rules of mapping several of the source may be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Of the source.
    pub source: Vec<Vec<u8>>,
    /// Of the destination.
    pub destination: Vec<Vec<u8>>,
}

/// A part of the window that is still to be compared.
#[derive(Clone, Copy, Debug)]
struct Part {
    window: Window,
    cuts: u32,
}

/// Compares two sides.
#[derive(Debug)]
pub struct Comparison<'a, S, D> {
    source: &'a S,
    destination: &'a D,
    key: SumKey,
    limits: Limits,
}

impl<'a, S: Side, D: Side> Comparison<'a, S, D> {
    /// Under a key that nobody knows beforehand.
    pub fn new(source: &'a S, destination: &'a D, key: SumKey, limits: Limits) -> Self {
        Self { source, destination, key, limits }
    }

    /// Compares one window.
    ///
    /// # Errors
    /// A side cannot be reached or refuses us: no other window would fare better. All else is told by the state.
    pub async fn window(&self, names: &Names, window: Window) -> Result<Verdict> {
        let mut verdict = Verdict::new();
        let mut left = vec![Part { window, cuts: 0 }];
        while let Some(part) = left.pop() {
            let done = match self.pass(names, part.window).await {
                Ok(pass) => self.part(names, part, &pass, &mut verdict).await,
                Err(error) => Err(error),
            };
            match done {
                Ok(None) => {}
                Ok(Some(at_ns)) => left.extend(halves(part, at_ns)),
                Err(error) if ends_all(&error) => return Err(error),
                Err(error) => match middle(part).filter(|_| is_too_much(&error)) {
                    Some(at_ns) => left.extend(halves(part, at_ns)),
                    None => verdict.failed(error.to_string()),
                },
            }
        }
        if verdict.state == State::Equal && verdict.source != verdict.destination {
            verdict.failed("the figures of its parts do not add up: this is a bug".to_owned());
        }
        Ok(verdict)
    }

    /// A part whose hashes are known; where it is to be cut, if it is.
    async fn part(&self, names: &Names, part: Part, first: &Pass, verdict: &mut Verdict) -> Result<Option<i64>> {
        let mut buckets = first.source.differing(&first.destination);
        if buckets.is_empty() {
            verdict.pass(first);
            return Ok(None);
        }
        let times = buckets.times_ns();
        if buckets.cells() > self.limits.leaf_cells_max
            && let Some(at_ns) = between(times)
        {
            return Ok(Some(at_ns));
        }
        let mut findings = Vec::new();
        for read in 0..self.limits.reads.max(1) {
            if read > 0 {
                tokio::time::sleep(self.limits.wait).await;
            }
            let (source, destination) = match self.leaf(names, part.window, &buckets).await {
                Err(error) if error.kind() == Kind::Limit && between(times).is_some() => return Ok(between(times)),
                other => other?,
            };
            verdict.read_again += (source.len() + destination.len()) as u64;
            findings = merge(source, destination);
            if findings.is_empty() {
                // Only a whole pass proves it.
                let again = self.pass(names, part.window).await?;
                buckets = again.source.differing(&again.destination);
                if buckets.is_empty() {
                    verdict.pass(&again);
                    verdict.settled += 1;
                    return Ok(None);
                }
            }
        }
        verdict.pass(first);
        if findings.is_empty() {
            verdict.failed("it changes while it is compared".to_owned());
            return Ok(None);
        }
        if verdict.state == State::Equal {
            verdict.state = State::Differs;
        }
        let room = self.limits.findings_max.saturating_sub(verdict.findings.len());
        verdict.more += findings.len().saturating_sub(room) as u64;
        findings.truncate(room);
        verdict.findings.append(&mut findings);
        Ok(None)
    }

    /// Hashes both sides, at the same time.
    async fn pass(&self, names: &Names, window: Window) -> Result<Pass> {
        let (source, destination) = tokio::join!(
            hash(self.source, &names.source, window, self.key),
            hash(self.destination, &names.destination, window, self.key)
        );
        let ((source, mut left_out), (destination, hidden)) = (source?, destination?);
        for (code, cells) in hidden {
            *left_out.entry(code).or_default() += cells;
        }
        Ok(Pass { source, destination, left_out })
    }

    /// The cells of some leaves.
    async fn leaf(&self, names: &Names, window: Window, buckets: &Buckets) -> Result<(Vec<Cell>, Vec<Cell>)> {
        let collect = |of: (u64, usize)| (self.key, of);
        let limits = collect((self.limits.leaf_cells_max.max(1), self.limits.leaf_bytes_max));
        let (source, destination) = tokio::join!(
            collected(self.source, &names.source, window, (buckets, limits)),
            collected(self.destination, &names.destination, window, (buckets, limits))
        );
        Ok((source?, destination?))
    }
}

async fn hash<S: Side>(side: &S, names: &[Vec<u8>], window: Window, key: SumKey) -> Result<(Tree, LeftOut)> {
    let (mut hasher, mut tree) = (Hasher::new(key), Tree::default());
    if names.is_empty() {
        return Ok((tree, BTreeMap::new()));
    }
    let mut cells = side.open(names, window).await?;
    while let Some(piece) = cells.next().await? {
        piece.iter().for_each(|cell| tree.add(&mut hasher, cell));
    }
    Ok((tree, cells.left_out()))
}

type Collecting<'b> = (&'b Buckets, (SumKey, (u64, usize)));

async fn collected<S: Side>(
    side: &S,
    names: &[Vec<u8>],
    window: Window,
    (buckets, (key, (cells_max, bytes_max))): Collecting<'_>,
) -> Result<Vec<Cell>> {
    let (mut hasher, mut found, mut bytes) = (Hasher::new(key), Vec::new(), 0);
    if names.is_empty() {
        return Ok(found);
    }
    let mut cells = side.open(names, window).await?;
    while let Some(piece) = cells.next().await? {
        for cell in piece {
            if !buckets.has(hasher.cell(&cell).1) {
                continue;
            }
            bytes += size_of::<Cell>() + if let Value::String(text) = &cell.value { text.len() } else { 0 };
            // One side may have more than both had before; a single time that is larger is still held.
            if found.len() as u64 >= 2 * cells_max || bytes > bytes_max {
                let what = format!("a leaf of more than {} cells or {bytes_max} bytes", 2 * cells_max);
                return Err(Error::new(Kind::Limit, crate::base::Side::Own, what));
            }
            found.push(cell);
        }
    }
    Ok(found)
}

fn halves(part: Part, at_ns: i64) -> [Part; 2] {
    let Window { start_ns, end_ns } = part.window;
    let half = |start_ns, end_ns| Part { window: Window { start_ns, end_ns }, cuts: part.cuts + 1 };
    // The first is taken first.
    [half(at_ns, end_ns), half(start_ns, at_ns)]
}

/// The middle of a window that may still be cut.
fn middle(part: Part) -> Option<i64> {
    let Window { start_ns, end_ns } = part.window;
    let at = (i128::from(start_ns) + i128::from(end_ns)).div_euclid(2);
    i64::try_from(at).ok().filter(|at| part.cuts < CUTS_MAX && *at > start_ns)
}

/// A time behind the first one, up to which about half of the cells lie where they are spread evenly.
fn between((first_ns, last_ns): (i64, i64)) -> Option<i64> {
    let at = (i128::from(first_ns) + i128::from(last_ns)).div_euclid(2) + 1;
    i64::try_from(at).ok().filter(|at| first_ns < last_ns && *at <= last_ns)
}

/// Whether a smaller window may fare better.
fn is_too_much(error: &Error) -> bool {
    matches!(error.kind(), Kind::Limit | Kind::Timeout) || error.retry() != Retry::No
}

/// Whether no window can be read.
fn ends_all(error: &Error) -> bool {
    matches!(error.kind(), Kind::Connect | Kind::Auth | Kind::Config)
}
