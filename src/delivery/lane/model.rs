//! A lane, a destination that loses requests and lets them land late, a source, and somebody who copies regions from one to the other
//! while delivery holds them: whatever happens in between, both sides end alike. Seeded; each safeguard is left out once to see that it is missed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::base::RouteId;
use crate::delivery::late::Measurements;

const BOUNDS: Bounds = Bounds { bytes_max: 60, lines_max: 4 };
const WAIT: Duration = Duration::from_millis(100);
/// The longest time in which a request without an answer takes effect.
const LATE: Duration = Duration::from_secs(10);
const TARGET: TargetId = TargetId(3);
const CELLS: u64 = 6;
const HOLD: u64 = 7;
const STEPS: u32 = 160;

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Lines of the region go on while it is copied.
    Hold,
    /// What was dealt out before is not waited for.
    Drain,
    /// New lines go on before those that were parked.
    Order,
    /// What was in doubt is read back while what is older may be delivered again.
    Saved,
}

/// A write at the source, which has applied it.
#[derive(Clone, Debug)]
struct Written {
    /// Each cell once.
    cells: Vec<u64>,
    /// Nobody knows whether it was applied: it is not delivered.
    is_doubt: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Drain,
    Write,
    /// Newer lines go on already (only without [`Without::Order`]'s safeguard).
    Late,
}

/// A region that is copied.
#[derive(Clone, Debug)]
struct Copy {
    cells: BTreeSet<u64>,
    /// What the log does not have counts as read back afterwards.
    reads_back: bool,
    since: Lsn,
    phase: Phase,
    left: Vec<(u64, u64)>,
}

impl Copy {
    /// Whether a line of a record is parked.
    fn holds(&self, cell: u64, lsn: Lsn) -> bool {
        self.cells.contains(&cell) && lsn > self.since && self.phase != Phase::Late
    }
}

struct Model {
    random: fastrand::Rng,
    without: Without,
    now: Duration,
    log: Vec<Written>,
    source: BTreeMap<u64, u64>,
    destination: BTreeMap<u64, u64>,
    /// Requests that land later.
    late: Vec<(Duration, Vec<(u64, u64)>)>,
    lane: Lane,
    dealt: u64,
    /// Of records up to here lines are counted.
    counted: u64,
    /// Floor and sum as they are durable.
    saved: (Lsn, u64),
    inherited_until: Duration,
    under_way: Option<(Place, Batch)>,
    copy: Option<Copy>,
    /// Cells in doubt, with the record.
    dirty: BTreeMap<u64, Lsn>,
    copied: u32,
    /// What happened, for whoever looks for a fault.
    story: Vec<String>,
}

fn places(batch: &Batch) -> Vec<(u64, u64)> {
    (0..batch.len()).map(|index| batch.line(index).0).map(|at| (at.cell, at.lsn.0)).collect()
}

fn names(cells: &BTreeSet<u64>) -> Measurements {
    let names: Vec<String> = cells.iter().map(|cell| format!("m{cell}")).collect();
    Measurements::of(names.iter().map(|name| Some(name.as_bytes())))
}

impl Model {
    fn new(seed: u64, without: Without) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            without,
            now: Duration::from_secs(100),
            log: Vec::new(),
            source: BTreeMap::new(),
            destination: BTreeMap::new(),
            late: Vec::new(),
            lane: Lane::new(Lsn::ZERO, 0, 0),
            dealt: 0,
            counted: 0,
            saved: (Lsn::ZERO, 0),
            inherited_until: Duration::ZERO,
            under_way: None,
            copy: None,
            dirty: BTreeMap::new(),
            copied: 0,
            story: Vec::new(),
        }
    }

    fn tell(&mut self, what: String) {
        self.story.push(format!("{:?} {what}", self.now));
    }

    fn write(&mut self) {
        let count = self.random.usize(1..4);
        let cells: BTreeSet<u64> = (0..count).map(|_| self.random.u64(0..CELLS)).collect();
        let is_doubt = self.random.u32(0..8) == 0;
        self.written(cells, is_doubt);
    }

    fn written(&mut self, cells: BTreeSet<u64>, is_doubt: bool) {
        let lsn = self.log.len() as u64 + 1;
        for cell in &cells {
            self.source.insert(*cell, lsn);
            if is_doubt {
                self.dirty.insert(*cell, Lsn(lsn));
            }
        }
        self.tell(format!("write {lsn} {cells:?} doubt {is_doubt}"));
        self.log.push(Written { cells: cells.into_iter().collect(), is_doubt });
    }

    fn deal(&mut self) {
        let Some(written) = self.log.get(self.dealt as usize).cloned() else { return };
        self.dealt += 1;
        let lsn = Lsn(self.dealt);
        if !written.is_doubt && lsn > self.lane.floor() {
            for (line, cell) in written.cells.iter().enumerate() {
                let at = LineAt { lsn, line: line as u32, route: RouteId(1), cell: *cell };
                let text = format!("m{cell} v={lsn} 1\n");
                let held = self.copy.as_ref().is_some_and(|copy| copy.holds(*cell, lsn));
                if held && self.without != Without::Hold {
                    self.lane.park(HOLD, TARGET, (at, text.as_bytes()), self.now, BOUNDS);
                } else {
                    self.lane.push(TARGET, at, text.as_bytes(), self.now, BOUNDS);
                }
            }
            if lsn.0 > self.counted {
                let lines = written.cells.len() as u32;
                self.lane.note(Position { lsn, lines, log_bytes: lsn.0, received_ns: 0 });
            }
        }
        if self.dealt >= self.counted {
            self.lane.stay_below(None);
        }
        self.counted = self.counted.max(self.dealt);
        self.lane.read_to(lsn);
    }

    fn apply(&mut self, lines: &[(u64, u64)]) {
        self.tell(format!("lands {lines:?}"));
        self.destination.extend(lines.iter().copied());
    }

    fn send(&mut self) {
        if self.under_way.is_none() {
            self.under_way = self.lane.take(self.now, WAIT, |_| false).ok();
            return;
        }
        let Some((place, batch)) = self.under_way.take() else { return };
        let lines = places(&batch);
        match self.random.u32(0..8) {
            0 => self.lane.put_back(place, batch),
            kind @ 1..=2 => {
                self.lane.unanswered(&batch, &(0..batch.len()), self.now + LATE);
                match kind {
                    1 => self.apply(&lines),
                    _ => self.lands(lines),
                }
                self.lane.put_back(place, batch);
            }
            _ => {
                self.apply(&lines);
                self.lane.finish();
            }
        }
    }

    fn lands(&mut self, lines: Vec<(u64, u64)>) {
        let after = Duration::from_millis(self.random.u64(0..LATE.as_millis() as u64));
        self.tell(format!("late by {after:?}: {lines:?}"));
        self.late.push((self.now + after, lines));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        let mut landed: Vec<_> = self.late.extract_if(.., |(at, _)| *at <= now).collect();
        landed.sort_by_key(|(at, _)| *at);
        landed.iter().for_each(|(_, lines)| self.apply(lines));
    }

    fn begin_copy(&mut self, cells: BTreeSet<u64>, reads_back: bool) {
        if self.copy.is_none() {
            self.tell(format!("hold {cells:?} {reads_back} since {}", self.dealt));
            self.copy = Some(Copy { cells, reads_back, since: Lsn(self.dealt), phase: Phase::Drain, left: Vec::new() });
        }
    }

    fn is_drained(&self, copy: &Copy) -> bool {
        let (names, lsn) = (names(&copy.cells), copy.since.next());
        let late = self.lane.late_until(TARGET, &names, lsn, self.now).or(self.lane.inherited_until(self.now));
        let is_saved = !copy.reads_back || self.without == Without::Saved || self.saved.0 >= copy.since;
        is_saved && !self.lane.has_of(TARGET, &names, lsn) && late.is_none() && self.inherited_until <= self.now
    }

    fn go_on_copying(&mut self) {
        let Some(mut copy) = self.copy.take() else { return };
        match copy.phase {
            // What a process before had written of the same chunk is always waited for.
            Phase::Drain if self.inherited_until <= self.now => {
                if self.without == Without::Drain || self.is_drained(&copy) {
                    let values = copy.cells.iter().filter_map(|cell| Some((*cell, *self.source.get(cell)?)));
                    (copy.left, copy.phase) = (values.collect(), Phase::Write);
                    self.tell(format!("read {:?}", copy.left));
                }
            }
            Phase::Drain => {}
            // It takes its time.
            Phase::Write if self.random.u32(0..4) > 0 => {}
            Phase::Write => match copy.left.pop() {
                Some(line) => self.apply(&[line]),
                None if self.without == Without::Order => copy.phase = Phase::Late,
                None => return self.end_copy(&copy),
            },
            Phase::Late => return self.end_copy(&copy),
        }
        self.copy = Some(copy);
    }

    fn end_copy(&mut self, copy: &Copy) {
        self.lane.release(HOLD);
        self.tell("release".to_owned());
        self.copied += 1;
        if copy.reads_back {
            // What is newer than the hold may be overwritten by what was parked.
            self.dirty.retain(|cell, lsn| !copy.cells.contains(cell) || *lsn > copy.since);
        }
    }

    fn save(&mut self) {
        self.saved = (self.lane.floor(), self.lane.delivered);
    }

    /// The process dies, and another begins at what is durable.
    fn restart(&mut self) {
        let (floor, delivered) = self.saved;
        if let Some((_, batch)) = self.under_way.take() {
            self.lands(places(&batch));
        }
        if let Some(copy) = &mut self.copy {
            let left = std::mem::take(&mut copy.left);
            let was_writing = copy.phase == Phase::Write;
            (copy.phase, copy.since) = (Phase::Drain, floor);
            if was_writing {
                self.lands(left);
            }
        }
        // Of the log that any process before it may have read.
        let read = Lsn(self.log.len() as u64);
        self.lane = Lane::new(floor, delivered, 0);
        self.tell(format!("restart at {floor}, read {read}"));
        self.inherited_until = self.now + LATE;
        if read > floor {
            self.lane.inherit(read, self.inherited_until);
        }
        (self.dealt, self.counted) = (floor.0, floor.0);
    }

    /// What waits for the target is set aside from some record on, and dealt out again.
    fn set_aside(&mut self) {
        if self.dealt <= self.lane.floor().0 {
            return;
        }
        let first = Lsn(self.random.u64(self.lane.floor().0 + 1..=self.dealt));
        let has_moving = self.lane.first_of(TARGET).is_some_and(|oldest| oldest < first);
        // As delivery does it: the oldest that can go stays, and nothing is under way that would be taken out and go.
        if self.under_way.is_none() && has_moving {
            let first = self.lane.first_of(TARGET).map_or(first, Lsn::next);
            self.lane.stay_below(Some(first));
            self.lane.take_from(TARGET, first);
            self.dealt = first.before().0;
            self.tell(format!("aside from {first}"));
        }
    }

    fn step(&mut self) {
        match self.random.u32(0..40) {
            0..=7 => self.write(),
            8..=15 => self.deal(),
            16..=25 => self.send(),
            26..=29 => {
                let time = Duration::from_millis(self.random.u64(0..2500));
                self.pass(time);
            }
            30 => self.begin_some(),
            31..=36 => self.go_on_copying(),
            37 => self.save(),
            38 if self.random.u32(0..4) == 0 => self.restart(),
            39 => self.set_aside(),
            _ => {}
        }
    }

    fn begin_some(&mut self) {
        let cells = (0..CELLS).filter(|_| self.random.bool()).collect();
        let reads_back = self.random.bool();
        self.begin_copy(cells, reads_back);
    }

    /// Until everything has arrived, and every doubt is read back.
    fn settle(&mut self) {
        if self.random.bool() {
            self.restart();
        }
        for _ in 0..20_000 {
            self.deal();
            self.send();
            self.pass(Duration::from_millis(250));
            self.go_on_copying();
            self.save();
            if self.copy.is_none() && !self.dirty.is_empty() && self.dealt == self.log.len() as u64 {
                self.begin_copy(self.dirty.keys().copied().collect(), true);
            }
            let is_done = self.lane.floor().0 == self.log.len() as u64 && self.late.is_empty();
            if is_done && self.copy.is_none() && self.dirty.is_empty() && self.under_way.is_none() {
                return;
            }
        }
        panic!("it does not come to an end: floor {} of {}", self.lane.floor(), self.log.len());
    }

    /// Whether both sides are alike in the end; with what happened.
    fn run(seed: u64, without: Without) -> (bool, Self) {
        let mut model = Self::new(seed, without);
        (0..STEPS).for_each(|_| model.step());
        model.settle();
        let lines: usize =
            model.log.iter().filter(|written| !written.is_doubt).map(|written| written.cells.len()).sum();
        assert_eq!(model.lane.delivered, lines as u64, "seed {seed}: each line counts once");
        assert!(model.lane.parked.is_empty(), "seed {seed}");
        (model.source == model.destination, model)
    }
}

fn diverged(seeds: std::ops::Range<u64>, without: Without) -> Vec<u64> {
    seeds.filter(|seed| !Model::run(*seed, without).0).collect()
}

#[test]
fn regions_that_are_copied_beside_delivery_end_like_the_source() {
    let seeds: u64 = std::env::var("TWINLINE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(10_000);
    let copied: u32 = (0..100).map(|seed| Model::run(seed, Without::Nothing).1.copied).sum();
    assert!(copied > 100, "regions are copied: {copied}");
    let diverged = diverged(0..seeds, Without::Nothing);
    if let Some(seed) = diverged.first() {
        let model = Model::run(*seed, Without::Nothing).1;
        panic!("{diverged:?}: {:?} {:?}\n{}", model.source, model.destination, model.story.join("\n"));
    }
}

#[test]
fn each_safeguard_is_missed_where_it_is_left_out() {
    for (without, seeds) in [(Without::Hold, 3000), (Without::Drain, 300), (Without::Order, 3000)] {
        let seeds = diverged(0..seeds, without);
        assert!(!seeds.is_empty(), "{without:?} makes no difference");
        println!("without {without:?}: {}", seeds.len());
    }
}

/// A value that no record has is read back over one that a start delivers once more.
fn is_read_back(without: Without) -> bool {
    let mut model = Model::new(1, without);
    model.written(BTreeSet::from([0]), false);
    model.deal();
    model.now += WAIT;
    let (_, batch) = model.lane.take(model.now, WAIT, |_| false).unwrap();
    model.apply(&places(&batch));
    model.lane.finish();
    model.written(BTreeSet::from([0]), true);
    model.deal();
    model.begin_copy(BTreeSet::from([0]), true);
    (0..100).for_each(|_| model.go_on_copying());
    model.restart();
    model.settle();
    model.source == model.destination
}

#[test]
fn what_is_in_doubt_is_read_back_only_when_nothing_older_comes_again() {
    assert_eq!([Without::Nothing, Without::Saved].map(is_read_back), [true, false]);
}
