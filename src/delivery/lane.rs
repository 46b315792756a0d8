//! One ordered stream of deliveries: the batches that wait, the one under way, and the floor that follows from them.
//!
//! Pure: no clock, no network. Promise: the floor is the position below which every line of this lane is done, and no
//! request with such a line can still take effect; never more. So whoever starts there knows every cell that an old request may
//! write. `delivered` and `dead` count exactly the lines at or below it.

mod again;
mod done;
#[cfg(test)]
mod model;
mod names;
mod parked;
mod region;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use again::Again;
use done::Done;
use names::Names;

use super::batch::{Batch, LineAt};
use super::late::{Late, Turn};
use super::target::TargetId;
use crate::base::Lsn;

/// Bounds of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) bytes_max: usize,
    pub(super) lines_max: usize,
}

/// A batch that goes at once, without waiting for more.
const FULL_ENOUGH_BYTES: usize = 256 << 10;
/// Held lines go in batches of no more than this, below every bound that somebody sets.
const HELD_LINES: usize = 1000;

/// Where a batch that was taken goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Among those that wait, by number.
    Waiting(u64),
    /// Before everything else of its target that was held.
    Held,
    /// Before everything else of its target that goes a second time.
    Again,
}

/// Lines that wait because a request without an answer may still write their cells.
#[derive(Debug)]
struct Held {
    until: Duration,
    batch: Batch,
}

/// Records of which a lane remembers each; when there are more, neighbours become one, and the floor takes larger steps.
const SPANS_MAX: usize = 1 << 14;

/// Neighbouring records with lines in a lane, as one.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: Lsn,
    /// Of the last of them, with the lines of all.
    position: Position,
}

/// A record with lines in a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) lsn: Lsn,
    /// How many of its lines.
    pub(super) lines: u32,
    /// Where the record ends in the log, bytes.
    pub(super) log_bytes: u64,
    /// When it arrived, ns.
    pub(super) received_ns: i64,
}

/// One lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// By number, which grows: oldest first.
    waiting: BTreeMap<u64, Batch>,
    /// The newest batch of each target, which may still grow.
    open: BTreeMap<TargetId, u64>,
    next_number: u64,
    /// First record of the batch under way, and where it goes.
    under_way: Option<(Lsn, TargetId)>,
    late: Late,
    /// Oldest first, by target.
    held: BTreeMap<TargetId, VecDeque<Held>>,
    /// How many held lines each cell has: a newer one must not overtake them.
    held_cells: HashMap<u64, u32>,
    again: Again,
    /// Lines of regions that are left alone, by hold, in log order.
    parked: BTreeMap<u64, VecDeque<Batch>>,
    /// Lines of the batch under way that go again from then on, once they are delivered.
    repeat: Option<(Batch, Duration)>,
    /// Records above the floor with lines in this lane.
    positions: VecDeque<Span>,
    /// The floor stays below this record, whose target waits in the log.
    below: Option<Lsn>,
    /// Lines in the dead-letter store, by number: a batch that is sent again meets the same refusals.
    dead_above: BTreeMap<Lsn, BTreeSet<u32>>,
    names: Names,
    done: Done,
    read: Lsn,
    floor: Lsn,
    pub(super) delivered: u64,
    pub(super) dead: u64,
}

impl Lane {
    /// A lane that stands at `floor`, with the sums that belong to it.
    pub(super) fn new(floor: Lsn, delivered: u64, dead: u64) -> Self {
        Self {
            waiting: BTreeMap::new(),
            open: BTreeMap::new(),
            next_number: 0,
            under_way: None,
            late: Late::default(),
            held: BTreeMap::new(),
            held_cells: HashMap::new(),
            again: Again::default(),
            parked: BTreeMap::new(),
            repeat: None,
            positions: VecDeque::new(),
            below: None,
            dead_above: BTreeMap::new(),
            names: Names::default(),
            done: Done::default(),
            read: floor,
            floor,
            delivered,
            dead,
        }
    }

    /// Adds a line. Its record must be newer than the floor.
    pub(super) fn push(&mut self, target: TargetId, at: LineAt, text: &[u8], now: Duration, bounds: Bounds) {
        assert!(at.lsn > self.floor, "a line at or below the floor was delivered before");
        let open = self.open.get(&target).and_then(|number| self.waiting.get_mut(number));
        let fits = |batch: &Batch| batch.len() < bounds.lines_max && batch.bytes() + text.len() <= bounds.bytes_max;
        match open {
            Some(batch) if fits(batch) => batch.push(at, text),
            _ => {
                let mut batch = Batch::new(target, now);
                batch.push(at, text);
                self.open.insert(target, self.next_number);
                self.waiting.insert(self.next_number, batch);
                self.next_number += 1;
            }
        }
    }

    /// Says how many lines of a record belong to the lane; call once a record.
    pub(super) fn note(&mut self, position: Position) {
        let at = self.positions.partition_point(|span| span.position.lsn < position.lsn);
        match self.positions.get_mut(at) {
            // A record that is read again lies before others.
            Some(span) if span.first <= position.lsn => span.position.lines += position.lines,
            _ => self.positions.insert(at, Span { first: position.lsn, position }),
        }
        if self.positions.len() > SPANS_MAX {
            let merged = self.positions.make_contiguous().chunks(2).map(|pair| {
                let (first, last) = (pair[0], pair[pair.len() - 1]);
                let lines = pair.iter().map(|span| span.position.lines).sum();
                let received_ns = first.position.received_ns;
                Span { first: first.first, position: Position { lines, received_ns, ..last.position } }
            });
            self.positions = merged.collect();
        }
    }

    /// The route of this record's lines has no number, but this name.
    pub(super) fn name(&mut self, lsn: Lsn, name: Rc<str>) {
        if lsn > self.floor {
            self.names.note(lsn, name);
        }
    }

    /// The name of a route that has no number, of a record above the floor; empty when there are too many to remember.
    pub(super) fn name_of(&self, lsn: Lsn) -> &str {
        self.names.of(lsn)
    }

    /// The oldest record that is not done.
    pub(super) fn oldest(&self) -> Option<Position> {
        self.positions.front().map(|span| span.position)
    }

    /// This line of this record is in the dead-letter store; saying so again changes nothing.
    pub(super) fn mark_dead(&mut self, lsn: Lsn, line: u32) {
        if lsn > self.floor {
            self.dead_above.entry(lsn).or_default().insert(line);
        }
    }

    /// Every record up to here was looked at.
    pub(super) fn read_to(&mut self, lsn: Lsn) {
        self.read = self.read.max(lsn);
        // While something waits, the floor hangs on it, not on how far we read.
        if self.waiting.is_empty() && self.under_way.is_none() && self.held.is_empty() && self.again.is_empty() {
            self.settle();
        }
    }

    /// What a process before us had read may still be written by it until then.
    pub(super) fn inherit(&mut self, to: Lsn, until: Duration) {
        self.late.inherit(to, until);
    }

    /// Nothing that was sent, by this process or one before it, can still take effect. To be asked between requests.
    pub(super) fn is_at_rest(&mut self, now: Duration) -> bool {
        self.late.is_over(now)
    }

    /// These lines of the batch under way were sent and not answered; the destination may work on them until then.
    pub(super) fn unanswered(&mut self, batch: &Batch, lines: &Range<usize>, until: Duration) {
        self.late.add_lines(batch, lines, until);
    }

    /// The oldest batch that may go now: of a target that is not paused, and full enough or old enough. Lines whose turn
    /// has not come for the sake of an older request stay behind. Without any: when to ask again.
    pub(super) fn take(
        &mut self,
        now: Duration,
        wait: Duration,
        paused: impl Fn(TargetId) -> bool,
    ) -> Result<(Place, Batch), Option<Duration>> {
        assert!(self.under_way.is_none(), "one request in flight per lane");
        let held_by = self.late.first();
        self.late.is_over(now);
        if self.late.first() != held_by {
            self.settle();
        }
        loop {
            let next = self.take_next(now, wait, &paused);
            let (place, batch) = next.map_err(|due| due.into_iter().chain(self.late.next_over()).min())?;
            if let Some(mut batch) = self.sift(batch, place, now) {
                batch.share();
                self.under_way = batch.first().map(|first| (first, batch.target));
                return Ok((place, batch));
            }
        }
    }

    fn take_next(
        &mut self,
        now: Duration,
        wait: Duration,
        paused: impl Fn(TargetId) -> bool,
    ) -> Result<(Place, Batch), Option<Duration>> {
        let again = match self.again.take(now, &paused) {
            Ok(batch) => return Ok((Place::Again, batch)),
            Err(due) => due,
        };
        let held = match self.take_held(now, &paused) {
            Ok(batch) => return Ok((Place::Held, batch)),
            Err(due) => due,
        };
        match self.take_waiting(now, wait, &paused) {
            Ok((number, batch)) => Ok((Place::Waiting(number), batch)),
            Err(due) => Err(again.into_iter().chain(held).chain(due).min()),
        }
    }

    fn take_waiting(
        &mut self,
        now: Duration,
        wait: Duration,
        paused: impl Fn(TargetId) -> bool,
    ) -> Result<(u64, Batch), Option<Duration>> {
        let mut soonest: Option<Duration> = None;
        let mut found = None;
        for (number, batch) in &self.waiting {
            if paused(batch.target) {
                continue;
            }
            let due = batch.born + wait;
            let closed = self.open.get(&batch.target) != Some(number);
            if closed || batch.bytes() >= FULL_ENOUGH_BYTES || due <= now {
                found = Some(*number);
                break;
            }
            soonest = Some(soonest.map_or(due, |soonest| soonest.min(due)));
        }
        let Some(number) = found else { return Err(soonest) };
        let batch = self.waiting.remove(&number).expect("the number was just found there");
        if self.open.get(&batch.target) == Some(&number) {
            self.open.remove(&batch.target);
        }
        Ok((number, batch))
    }

    fn take_held(&mut self, now: Duration, paused: impl Fn(TargetId) -> bool) -> Result<Batch, Option<Duration>> {
        let mut soonest: Option<Duration> = None;
        let mut found = None;
        for (target, queue) in &self.held {
            let Some(until) = queue.front().map(|held| held.until).filter(|_| !paused(*target)) else { continue };
            if until <= now {
                found = Some(*target);
                break;
            }
            soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
        }
        let queue = found.and_then(|target| self.held.get_mut(&target));
        let Some(Held { batch, .. }) = queue.and_then(VecDeque::pop_front) else { return Err(soonest) };
        self.held.retain(|_, queue| !queue.is_empty());
        self.release_cells(&batch);
        Ok(batch)
    }

    /// These lines are not held any more.
    fn release_cells(&mut self, batch: &Batch) {
        for cell in batch.cells(&(0..batch.len())) {
            if let Some(count) = self.held_cells.get_mut(&cell) {
                *count -= 1;
                if *count == 0 {
                    self.held_cells.remove(&cell);
                }
            }
        }
    }

    /// Holds back the lines of a batch whose turn has not come; what is left may go.
    fn sift(&mut self, batch: Batch, place: Place, now: Duration) -> Option<Batch> {
        if self.late.is_over(now) && self.held_cells.is_empty() && self.again.is_empty() {
            return Some(batch);
        }
        let empty = || Batch::new(batch.target, batch.born);
        let (mut go, mut hold, mut repeat) = (empty(), empty(), empty());
        let (mut until, mut again) = (Duration::ZERO, Duration::ZERO);
        for index in 0..batch.len() {
            let (at, text) = batch.line(index);
            match self.turn(batch.target, at, place, now) {
                Turn::Wait(due) => {
                    until = until.max(due);
                    hold.push(at, text);
                    continue;
                }
                Turn::GoAndAgain(due) => {
                    again = again.max(due);
                    repeat.push(at, text);
                }
                Turn::Go => {}
            }
            go.push(at, text);
        }
        match place {
            _ if hold.len() == 0 => {}
            // They are older than every held line of their cells.
            Place::Again => self.again.delay(&hold, until),
            Place::Held => self.hold_first(Held { until, batch: hold }),
            Place::Waiting(_) => self.hold(Held { until, batch: hold }),
        }
        self.repeat = (repeat.len() > 0).then_some((repeat, again));
        (go.len() > 0).then_some(go)
    }

    /// Whether a line may go, for the sake of requests without an answer and of what is held for them.
    fn turn(&mut self, target: TargetId, at: LineAt, place: Place, now: Duration) -> Turn {
        // What was held before is older than everything held behind it; what comes anew is younger.
        let is_behind = matches!(place, Place::Waiting(_)) && self.held_cells.contains_key(&at.cell);
        match self.late.turn(at.cell, (at.lsn, at.line), now) {
            Turn::Wait(until) => Turn::Wait(until),
            _ if is_behind => Turn::Wait(now),
            Turn::Go if place != Place::Again => self.again.before(target, at.cell).map_or(Turn::Go, Turn::Wait),
            turn => turn,
        }
    }

    /// Holds lines behind all others of their target.
    fn hold(&mut self, held: Held) {
        self.note_cells(&held.batch);
        let queue = self.held.entry(held.batch.target).or_default();
        match queue.back_mut() {
            Some(last)
                if held.until <= last.until
                    // What was parked comes behind what is newer; a batch is in log order.
                    && last.batch.last() <= held.batch.first()
                    && last.batch.len() + held.batch.len() <= HELD_LINES
                    && last.batch.bytes() + held.batch.bytes() <= FULL_ENOUGH_BYTES =>
            {
                last.batch.append(&held.batch);
            }
            _ => queue.push_back(held),
        }
    }

    /// Holds lines before all others of their target.
    fn hold_first(&mut self, held: Held) {
        self.note_cells(&held.batch);
        self.held.entry(held.batch.target).or_default().push_front(held);
    }

    fn note_cells(&mut self, held: &Batch) {
        for cell in held.cells(&(0..held.len())) {
            *self.held_cells.entry(cell).or_default() += 1;
        }
    }

    /// The batch under way is done: every line of it is stored, or dead and recorded as such.
    pub(super) fn finish(&mut self) {
        self.under_way = None;
        if let Some((batch, due)) = self.repeat.take() {
            self.again.add(&batch, due);
        }
        self.settle();
    }

    /// What the lines that go again take of what may wait, bytes.
    pub(super) fn again_bytes(&self) -> usize {
        self.again.bytes()
    }

    /// The batch under way cannot go on now; it waits again at its old place, or before newer values of its cells that were
    /// held back for its sake.
    pub(super) fn put_back(&mut self, place: Place, batch: Batch) {
        self.under_way = None;
        self.repeat = None;
        let is_before_held = !self.held_cells.is_empty()
            && batch.cells(&(0..batch.len())).any(|cell| self.held_cells.contains_key(&cell));
        match if is_before_held && place != Place::Again { Place::Held } else { place } {
            Place::Again => self.again.put_back(&batch),
            Place::Waiting(number) => {
                self.waiting.insert(number, batch);
            }
            Place::Held => self.hold_first(Held { until: Duration::ZERO, batch }),
        }
    }

    /// Position below which every line of this lane is done and none is under way any more.
    pub(super) fn floor(&self) -> Lsn {
        self.floor
    }

    /// Lines that are not done.
    pub(super) fn lines_waiting(&self) -> u64 {
        self.positions.iter().map(|span| u64::from(span.position.lines)).sum()
    }

    fn settle(&mut self) {
        let oldest_waiting = self.waiting.values().filter_map(Batch::first).min();
        let oldest_held = self.held.values().flatten().filter_map(|held| held.batch.first()).min();
        let under_way = self.under_way.map(|(first, _)| first);
        let oldest = [oldest_waiting, oldest_held, self.first_parked(), self.again.first(), self.late.first()];
        let oldest = oldest.into_iter().chain([under_way, self.below]).flatten().min();
        // What is read again may lie below the floor of a lane that has nothing of it.
        let mut floor = oldest.map_or(self.read, Lsn::before).min(self.read).max(self.floor);
        while let Some(Span { first, position }) = self.positions.front().copied()
            && position.lsn <= floor
        {
            // Of a record that a former run has counted in part, more lines can be dead than are counted now.
            let dead = self.dead_among(first, position.lsn).min(position.lines);
            self.dead += u64::from(dead);
            self.delivered += u64::from(position.lines - dead);
            self.done.add(first, position.lsn, u64::from(position.lines));
            self.positions.pop_front();
        }
        if let Some(span) = self.positions.front().filter(|span| span.first <= floor) {
            // The sums of records that became one cannot be told apart.
            floor = span.first.before();
        }
        assert!(floor >= self.floor, "a floor never goes back");
        self.floor = floor;
        // Records that a former run has counted whole have no position, and nobody else comes for theirs.
        while let Some(orphan) = self.dead_above.first_entry()
            && *orphan.key() <= floor
        {
            orphan.remove();
        }
        self.names.done(floor);
    }
}

impl Lane {
    /// Forgets the dead lines of these records; how many there were.
    fn dead_among(&mut self, first: Lsn, last: Lsn) -> u32 {
        let mut dead = 0;
        while let Some(entry) = self.dead_above.first_entry()
            && *entry.key() <= last
        {
            let (lsn, lines) = entry.remove_entry();
            dead += if lsn >= first { u32::try_from(lines.len()).unwrap_or(u32::MAX) } else { 0 };
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::RouteId;

    const BOUNDS: Bounds = Bounds { bytes_max: 100, lines_max: 3 };
    const WAIT: Duration = Duration::from_millis(20);

    fn push(lane: &mut Lane, target: u32, lsn: u64, lines: u32) {
        for line in 0..lines {
            let at = LineAt { lsn: Lsn(lsn), line, route: RouteId(1), cell: lsn * 100 + u64::from(line) };
            lane.push(TargetId(target), at, b"m v=1 1\n", Duration::ZERO, BOUNDS);
        }
        lane.note(Position { lsn: Lsn(lsn), lines, log_bytes: 0, received_ns: 0 });
        lane.read_to(Lsn(lsn));
    }

    fn take(lane: &mut Lane) -> (Place, Batch) {
        lane.take(Duration::from_secs(1), WAIT, |_| false).unwrap()
    }

    #[test]
    fn the_floor_never_passes_a_line_that_is_not_done() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        push(&mut lane, 0, 1, 2);
        push(&mut lane, 0, 2, 2); // The fourth line starts a second batch: record 2 is in both.
        lane.read_to(Lsn(9));
        assert_eq!((lane.floor(), lane.lines_waiting()), (Lsn(0), 4));
        let (_, batch) = take(&mut lane);
        assert_eq!(batch.len(), 3);
        lane.finish();
        assert_eq!((lane.floor(), lane.delivered), (Lsn(1), 2), "record 2 is not done");
        take(&mut lane);
        lane.finish();
        assert_eq!((lane.floor(), lane.delivered, lane.lines_waiting()), (Lsn(9), 4, 0));
    }

    #[test]
    fn a_held_target_keeps_its_place_and_the_floor_while_others_go_on() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        push(&mut lane, 7, 1, 1);
        push(&mut lane, 8, 2, 1);
        let (number, batch) = take(&mut lane);
        assert_eq!(batch.target, TargetId(7));
        lane.put_back(number, batch);
        let (_, batch) = lane.take(Duration::from_secs(1), WAIT, |target| target == TargetId(7)).unwrap();
        assert_eq!(batch.target, TargetId(8));
        lane.finish();
        assert_eq!(lane.floor(), Lsn(0));
        push(&mut lane, 7, 3, 1);
        assert_eq!(take(&mut lane).1.first(), Some(Lsn(1)), "what waited goes before what came later");
        lane.finish();
        take(&mut lane);
        lane.finish();
        assert_eq!((lane.floor(), lane.delivered), (Lsn(3), 3));
    }

    #[test]
    fn dead_lines_are_counted_apart_once_the_floor_passes_them() {
        let mut lane = Lane::new(Lsn(4), 10, 1);
        push(&mut lane, 0, 5, 3);
        take(&mut lane);
        lane.mark_dead(Lsn(5), 1);
        assert_eq!(lane.dead, 1);
        lane.finish();
        assert_eq!((lane.floor(), lane.delivered, lane.dead), (Lsn(5), 12, 2));
    }

    #[test]
    fn a_refused_line_of_a_batch_that_is_sent_again_counts_once() {
        let mut lane = Lane::new(Lsn(4), 0, 0);
        push(&mut lane, 0, 5, 3);
        let (place, batch) = take(&mut lane);
        lane.mark_dead(Lsn(5), 1);
        lane.put_back(place, batch);
        take(&mut lane);
        lane.mark_dead(Lsn(5), 1);
        lane.mark_dead(Lsn(5), 2);
        lane.finish();
        assert_eq!((lane.delivered, lane.dead), (1, 2));
    }

    #[test]
    fn dead_lines_that_a_former_run_has_counted_are_forgotten_with_their_record() {
        let mut lane = Lane::new(Lsn(4), 7, 1);
        let at = LineAt { lsn: Lsn(5), line: 0, route: RouteId(1), cell: 0 };
        lane.push(TargetId(0), at, b"m v=1 1\n", Duration::ZERO, BOUNDS);
        lane.read_to(Lsn(5)); // No position: all of its lines were counted before.
        take(&mut lane);
        lane.mark_dead(Lsn(5), 0);
        lane.finish();
        assert_eq!((lane.floor(), lane.delivered, lane.dead), (Lsn(5), 7, 1));
        assert!(lane.dead_above.is_empty());
        lane.mark_dead(Lsn(5), 0);
        assert!(lane.dead_above.is_empty());
    }

    #[test]
    fn the_name_of_an_unlisted_route_is_known_until_its_record_is_done() {
        let mut lane = Lane::new(Lsn(4), 0, 0);
        push(&mut lane, 0, 5, 1);
        lane.name(Lsn(5), "d/rp".into());
        assert_eq!((lane.name_of(Lsn(5)), lane.name_of(Lsn(4))), ("d/rp", ""));
        push(&mut lane, 0, 6, 1);
        lane.name(Lsn(6), "e/rp".into());
        take(&mut lane);
        lane.finish();
        assert_eq!((lane.name_of(Lsn(5)), lane.name_of(Lsn(6))), ("", "e/rp"));
    }

    fn push_cell(lane: &mut Lane, lsn: u64, cell: u64) {
        let at = LineAt { lsn: Lsn(lsn), line: 0, route: RouteId(1), cell };
        lane.push(TargetId(0), at, b"m v=1 1\n", Duration::ZERO, BOUNDS);
        lane.note(Position { lsn: Lsn(lsn), lines: 1, log_bytes: 0, received_ns: 0 });
        lane.read_to(Lsn(lsn));
    }

    fn lsns(batch: &Batch) -> Vec<u64> {
        (0..batch.len()).map(|index| batch.line(index).0.lsn.0).collect()
    }

    #[test]
    fn newer_values_wait_for_an_unanswered_request_in_their_order_and_others_go_on() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        let (now, over) = (Duration::from_secs(1), Duration::from_secs(61));
        push_cell(&mut lane, 1, 7);
        let (_, batch) = take(&mut lane);
        lane.unanswered(&batch, &(0..1), over);
        lane.finish(); // The same lines again were answered.
        for (lsn, cell) in [(2, 7), (3, 8), (4, 7), (5, 9), (6, 7)] {
            push_cell(&mut lane, lsn, cell);
        }
        let (_, batch) = lane.take(now, WAIT, |_| false).unwrap();
        assert_eq!(lsns(&batch), [3]);
        lane.finish();
        let (_, batch) = lane.take(now, WAIT, |_| false).unwrap();
        assert_eq!(lsns(&batch), [5]);
        lane.finish();
        assert_eq!(
            (lane.floor(), lane.lines_waiting()),
            (Lsn(0), 6),
            "the request that may take effect holds the floor"
        );
        assert_eq!(lane.take(now, WAIT, |_| false).unwrap_err(), Some(over));

        push_cell(&mut lane, 7, 7);
        let (place, batch) = lane.take(over, WAIT, |_| false).unwrap();
        assert_eq!((lane.floor(), lane.lines_waiting()), (Lsn(1), 6), "what is held holds the floor");
        assert_eq!(lsns(&batch), [2, 4, 6], "before the younger one that need not wait any more");
        lane.unanswered(&batch, &(0..3), over * 2);
        lane.put_back(place, batch);
        let (_, batch) = lane.take(over, WAIT, |_| false).unwrap();
        assert_eq!(lsns(&batch), [2], "the oldest of them may go again, and nothing newer beside it");
        lane.finish();
        assert_eq!(lane.take(over, WAIT, |_| false).unwrap_err(), Some(over * 2));
        let (_, batch) = lane.take(over * 2, WAIT, |_| false).unwrap();
        assert_eq!(lsns(&batch), [4, 6, 7]);
        lane.finish();
        assert_eq!((lane.floor(), lane.delivered), (Lsn(7), 7));
    }

    #[test]
    fn after_a_crash_all_values_go_at_once_and_what_may_be_overwritten_goes_again() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        let (now, over) = (Duration::from_secs(1), Duration::from_secs(61));
        lane.inherit(Lsn(2), over);
        for (lsn, cell) in [(1, 7), (2, 7), (3, 8), (4, 8)] {
            push_cell(&mut lane, lsn, cell);
        }
        for expected in [&[1, 2, 3][..], &[4]] {
            let (_, batch) = lane.take(now, WAIT, |_| false).unwrap();
            assert_eq!(lsns(&batch), expected, "the newest value stands at once");
            lane.finish();
        }
        push_cell(&mut lane, 5, 7);
        take(&mut lane);
        lane.finish();
        assert!(lane.again_bytes() > 0, "what stays takes room");
        assert_eq!(
            (lane.floor(), lane.lines_waiting()),
            (Lsn(0), 5),
            "what a dead process may have sent holds the floor"
        );
        assert_eq!(lane.take(now, WAIT, |_| false).unwrap_err(), Some(over));

        push_cell(&mut lane, 6, 7);
        let (place, batch) = lane.take(over, WAIT, |_| false).unwrap();
        assert_eq!((lsns(&batch), place), (vec![5], Place::Again), "the newest alone, before what came later");
        lane.put_back(place, batch);
        assert_eq!(lane.take(over, WAIT, |_| true).unwrap_err(), None, "not while its target is paused");
        for expected in [5, 6] {
            let (_, batch) = lane.take(over, WAIT, |_| false).unwrap();
            assert_eq!(lsns(&batch), [expected]);
            lane.finish();
            assert_eq!(lane.again_bytes(), 0);
        }
        assert_eq!((lane.floor(), lane.delivered), (Lsn(6), 6));
    }

    #[test]
    fn what_a_dead_process_may_have_sent_is_tried_again_and_again_while_its_target_refuses() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        let (now, over) = (Duration::from_secs(1), Duration::from_secs(3601));
        lane.inherit(Lsn(2), over);
        for (lsn, cell) in [(1, 7), (2, 7), (3, 8)] {
            push_cell(&mut lane, lsn, cell);
        }
        for _ in 0..3 {
            let (place, batch) = lane.take(now, WAIT, |_| false).unwrap();
            assert_eq!(lsns(&batch), [1, 2, 3], "a line does not wait for itself");
            lane.put_back(place, batch);
            assert!(lane.again.is_empty(), "what was not delivered does not go twice");
        }
    }

    #[test]
    fn what_its_target_refused_goes_before_newer_values_that_were_held_for_it() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        let (now, over) = (Duration::from_secs(1), Duration::from_secs(61));
        push_cell(&mut lane, 1, 7);
        push_cell(&mut lane, 2, 7);
        let (place, batch) = lane.take(now, WAIT, |_| false).unwrap();
        lane.unanswered(&batch, &(0..2), over);
        lane.put_back(place, batch);
        let (place, batch) = lane.take(now, WAIT, |_| false).unwrap();
        assert_eq!(lsns(&batch), [1], "2 is held");
        lane.put_back(place, batch);
        for lsn in [1, 2] {
            let (_, batch) = lane.take(over, WAIT, |_| false).unwrap();
            assert_eq!(lsns(&batch), [lsn]);
            lane.finish();
        }
    }

    #[test]
    fn what_goes_again_stays_before_newer_values_that_wait_for_another_request() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        let (now, over) = (Duration::from_secs(1), Duration::from_secs(61));
        lane.inherit(Lsn(2), over);
        push_cell(&mut lane, 1, 7);
        push_cell(&mut lane, 2, 7);
        let (_, batch) = lane.take(now, WAIT, |_| false).unwrap();
        lane.unanswered(&batch, &(1..2), over * 2);
        lane.finish();
        push_cell(&mut lane, 3, 7);
        assert_eq!(lane.take(now, WAIT, |_| false).unwrap_err(), Some(over), "3 is held for the request of 2");
        for (at, expected) in [(over, 2), (over * 2, 3)] {
            let (_, batch) = lane.take(at, WAIT, |_| false).unwrap();
            assert_eq!(lsns(&batch), [expected]);
            lane.finish();
        }
        assert_eq!(lane.floor(), Lsn(3));
    }

    #[test]
    fn what_goes_again_without_an_answer_stays_before_newer_values_that_were_held_earlier() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        let (now, over) = (Duration::from_secs(1), Duration::from_secs(61));
        lane.inherit(Lsn(3), over);
        (1..=3).for_each(|lsn| push_cell(&mut lane, lsn, 7));
        let (_, batch) = lane.take(now, WAIT, |_| false).unwrap();
        lane.unanswered(&batch, &(2..3), over + WAIT);
        lane.finish();
        push_cell(&mut lane, 4, 7);
        assert_eq!(lane.take(now, WAIT, |_| false).unwrap_err(), Some(over), "4 is held for the request of 3");
        let (place, batch) = lane.take(over, WAIT, |_| false).unwrap();
        assert_eq!((lsns(&batch), place), (vec![3], Place::Again));
        lane.unanswered(&batch, &(0..1), over * 2);
        lane.put_back(place, batch);
        for (at, expected) in [(over, 3), (over * 2, 4)] {
            let (_, batch) = lane.take(at, WAIT, |_| false).unwrap();
            assert_eq!(lsns(&batch), [expected]);
            lane.finish();
        }
        assert_eq!((lane.floor(), lane.delivered), (Lsn(4), 4));
    }

    #[test]
    fn a_target_that_stands_still_gives_back_what_is_held_and_what_goes_again() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        let (now, over) = (Duration::from_secs(1), Duration::from_secs(61));
        lane.inherit(Lsn(3), over);
        (1..=3).for_each(|lsn| push_cell(&mut lane, lsn, 7));
        let (_, batch) = lane.take(now, WAIT, |_| false).unwrap();
        lane.unanswered(&batch, &(2..3), over * 2);
        lane.finish();
        push_cell(&mut lane, 4, 7);
        push_cell(&mut lane, 5, 7);
        assert_eq!(lane.take(now, WAIT, |_| false).unwrap_err(), Some(over));
        let line = crate::delivery::batch::held_bytes(b"m v=1 1\n");
        assert_eq!(lane.bytes_of(TargetId(0)), 3 * line, "3 goes again, 4 and 5 are held");
        lane.stay_below(Some(Lsn(3)));
        assert_eq!((lane.take_from(TargetId(0), Lsn(4)), lane.first_of(TargetId(0))), (2 * line, Some(Lsn(3))));
        assert!(lane.held_cells.is_empty());
        assert_eq!((lane.take_from(TargetId(0), Lsn::ZERO), lane.bytes_of(TargetId(0))), (line, 0));
        assert!(lane.take(over * 2, WAIT, |_| false).is_err());
        lane.read_to(Lsn(5));
        assert_eq!(lane.floor(), Lsn(2), "what was taken out holds the floor");
    }

    #[test]
    fn what_is_taken_out_waits_below_the_floor_and_is_counted_once() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        for lsn in 1..=4 {
            push(&mut lane, 7, lsn, 1);
            push(&mut lane, 8, lsn + 10, 1);
        }
        lane.stay_below(Some(Lsn(2)));
        let free = lane.take_from(TargetId(7), Lsn(2));
        assert_eq!(free, 3 * crate::delivery::batch::held_bytes(b"m v=1 1\n"));
        assert_eq!((lane.first_of(TargetId(7)), lane.first_of(TargetId(8))), (Some(Lsn(1)), Some(Lsn(11))));
        while let Ok((_, batch)) = lane.take(Duration::from_secs(1), WAIT, |_| false) {
            assert!(batch.len() > 0);
            lane.finish();
        }
        assert_eq!((lane.floor(), lane.lines_waiting()), (Lsn(1), 7), "what was taken out holds the floor");
        lane.lose(Lsn(3), 1);
        lane.stay_below(None);
        lane.read_to(Lsn(20));
        assert_eq!((lane.floor(), lane.delivered), (Lsn(20), 7));
    }

    #[test]
    fn of_very_many_records_the_floor_takes_larger_steps_and_every_line_counts() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        lane.stay_below(Some(Lsn(1)));
        let records = 3 * SPANS_MAX as u64;
        for lsn in 1..=records {
            lane.note(Position { lsn: Lsn(lsn), lines: 1, log_bytes: lsn, received_ns: 0 });
            lane.read_to(Lsn(lsn));
        }
        assert!(lane.positions.len() <= SPANS_MAX);
        assert_eq!((lane.floor(), lane.lines_waiting()), (Lsn(0), records));
        // A record that is read again, among those that became one.
        lane.note(Position { lsn: Lsn(5), lines: 2, log_bytes: 5, received_ns: 0 });
        lane.mark_dead(Lsn(5), 0);
        lane.stay_below(Some(Lsn(1000)));
        lane.read_to(Lsn(records));
        let floor = lane.floor();
        assert!(floor > Lsn(900) && floor < Lsn(1000), "{floor}");
        assert_eq!((lane.delivered, lane.dead), (floor.0 + 1, 1));
        lane.stay_below(None);
        lane.read_to(Lsn(records));
        assert_eq!((lane.floor(), lane.delivered), (Lsn(records), records + 1));
    }

    #[test]
    fn a_young_small_batch_waits_and_says_until_when() {
        let mut lane = Lane::new(Lsn(0), 0, 0);
        push(&mut lane, 0, 1, 1);
        assert_eq!(lane.take(Duration::ZERO, WAIT, |_| false).unwrap_err(), Some(WAIT));
        assert_eq!(lane.take(WAIT, WAIT, |_| true).unwrap_err(), None);
        assert!(lane.take(WAIT, WAIT, |_| false).is_ok());
    }
}
