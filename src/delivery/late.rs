//! Cells that a request without an answer may still write: the order that no retry may break.
//!
//! A request that timed out, or whose connection or process died, may still be worked on by the destination. Its lines are
//! sent again at once, and are the same; but a newer value of one of its cells waits until the old request can no longer
//! take effect, or that would put the older value over it. Everything else goes on.
//!
//! After a crash nobody knows which requests the dead process had under way, so every record above the floors counts. Waiting would
//! leave the values that are delivered again, old ones first, at the destination for as long. So all of them go at once, in
//! order, and each that may be overwritten goes again when that is over ([`Turn::GoAndAgain`]).
//!
//! The floor passes no line of such a request ([`Late::first`]): a process that starts later meets its cells again.
//!
//! Promise: memory is bounded by [`CELLS_MAX`]; a request with more cells than fit makes everything newer wait.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::batch::Batch;
use super::target::TargetId;
use crate::base::Lsn;

/// Cells that one lane remembers. More than a lane can deliver between two saved floors, so the request that was under way
/// when a process died is always among the first so many lines of the next one. As many as fill a table of 2^18 places:
/// 6.3 MiB.
const CELLS_MAX: usize = 7 << 15;
/// Requests without an answer that a lane tells apart; of more, neighbours become one.
const REQUESTS_MAX: usize = 64;
/// Measurements of one of them that are told apart; of more, any counts.
const MEASUREMENTS_MAX: usize = 32;
/// Times are kept in steps of this, rounded up: small entries.
const TICK: Duration = Duration::from_millis(100);

/// A line: its record, and its number there. Later lines are greater.
type LineId = (Lsn, u32);

/// What a line does whose turn is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Go,
    /// It goes now, and once more from then on.
    GoAndAgain(Duration),
    /// It waits until then.
    Wait(Duration),
}

/// Measurements that something is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Measurements {
    /// Hashes of their names as they stand in lines; `None`: any, or nobody knows.
    names: Option<BTreeSet<u64>>,
}

impl Measurements {
    /// Any, or nobody knows which.
    pub(super) const ANY: Self = Self { names: None };

    /// These, each as it stands in a line.
    pub(super) fn of<'a>(names: impl Iterator<Item = Option<&'a [u8]>>) -> Self {
        let mut own = BTreeSet::new();
        for name in names {
            let Some(name) = name else { return Self::ANY };
            own.insert(xxh3_64(name));
            if own.len() > MEASUREMENTS_MAX {
                return Self::ANY;
            }
        }
        Self { names: Some(own) }
    }

    /// Those of these lines.
    pub(super) fn of_lines(batch: &Batch, lines: &Range<usize>) -> Self {
        Self::of(lines.clone().map(|index| measurement(batch.line(index).1)))
    }

    /// Whether both may be about the same.
    pub(super) fn meet(&self, other: &Self) -> bool {
        match (&self.names, &other.names) {
            (Some(own), Some(others)) => !own.is_disjoint(others),
            _ => true,
        }
    }
}

/// How a line begins; `None` where it stands there otherwise than it is.
fn measurement(line: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr3(b',', b' ', b'\\', line)?;
    (line[end] != b'\\').then(|| &line[..end])
}

/// A request that was not answered.
#[derive(Clone, Debug)]
struct Request {
    /// Its oldest record.
    first: Lsn,
    /// Until when it may take effect.
    until: Duration,
    /// Where it went; `None`: to several places.
    target: Option<TargetId>,
    measurements: Measurements,
}

/// What may still be written to one cell.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// The oldest line that may. It may go again itself; newer ones must not be there before it.
    lsn: Lsn,
    line: u32,
    until: u32,
}

impl Open {
    fn new((lsn, line): LineId, until: Duration) -> Self {
        let ticks = until.as_nanos().div_ceil(TICK.as_nanos());
        Self { lsn, line, until: u32::try_from(ticks).unwrap_or(u32::MAX) }
    }

    fn until(self) -> Duration {
        TICK * self.until
    }

    fn join(&mut self, other: Self) {
        (self.lsn, self.line) = (self.lsn, self.line).min((other.lsn, other.line));
        self.until = self.until.max(other.until);
    }
}

/// The cells of one lane, by hash. Times are monotonic.
#[derive(Debug, Default)]
pub(super) struct Late {
    cells: HashMap<u64, Open>,
    /// Until then every cell counts.
    all_until: Duration,
    /// When the last of them is forgotten.
    newest: Duration,
    /// Records that a process before us may have been sending when it died, and until when that may take effect.
    inherited: Option<(Lsn, Duration)>,
    /// Cells of which such a record was met: at most [`CELLS_MAX`].
    inherited_cells: HashSet<u64>,
    /// The oldest of those records.
    inherited_first: Option<Lsn>,
    /// Those without an answer that may take effect; at most [`REQUESTS_MAX`].
    requests: VecDeque<Request>,
    /// When it was last asked what is over.
    now: Duration,
    /// While there is no room: nothing of it is over before.
    full_until: Duration,
}

impl Late {
    /// What a process before us had read may be under way until then.
    pub(super) fn inherit(&mut self, to: Lsn, until: Duration) {
        self.inherited = Some((to, until));
    }

    /// These lines of a batch were sent and not answered.
    pub(super) fn add_lines(&mut self, batch: &Batch, lines: &Range<usize>, until: Duration) {
        let measurements = Measurements::of_lines(batch, lines);
        self.add(batch.places(lines), (Some(batch.target), measurements), until);
    }

    /// A request with these lines, each with its cell, was sent and not answered.
    fn add(
        &mut self,
        places: impl ExactSizeIterator<Item = (u64, LineId)> + Clone,
        (target, measurements): (Option<TargetId>, Measurements),
        until: Duration,
    ) {
        if let Some(first) = places.clone().map(|(_, line)| line.0).min() {
            let full = self.requests.len() == REQUESTS_MAX;
            match self.requests.back_mut().filter(|_| full) {
                Some(last) => {
                    (last.first, last.until) = (last.first.min(first), last.until.max(until));
                    (last.target, last.measurements) = (None, Measurements::ANY);
                }
                None => self.requests.push_back(Request { first, until, target, measurements }),
            }
        }
        if !self.has_room(places.len()) {
            self.newest = self.newest.max(until);
            self.all_until = self.all_until.max(until);
            return;
        }
        for (cell, line) in places {
            self.remember(cell, Open::new(line, until));
        }
    }

    fn remember(&mut self, cell: u64, open: Open) {
        self.newest = self.newest.max(open.until());
        let now = self.now;
        let known = self.cells.entry(cell).or_insert(open);
        if known.until() > now { known.join(open) } else { *known = open }
    }

    /// A line is about to be sent. A line does not wait for itself: while its target refuses, it is tried again and again.
    pub(super) fn turn(&mut self, cell: u64, line: LineId, now: Duration) -> Turn {
        let open = self.cells.get(&cell).filter(|open| line > (open.lsn, open.line));
        let until = open.map_or(Duration::ZERO, |open| open.until()).max(self.all_until);
        if until > now {
            return Turn::Wait(until);
        }
        let inherited = self.inherited.filter(|(_, until)| *until > now);
        if inherited.is_some_and(|(to, _)| line.0 <= to) {
            self.inherited_first = Some(self.inherited_first.map_or(line.0, |first| first.min(line.0)));
        }
        match inherited {
            None => Turn::Go,
            Some((_, until)) if self.inherited_cells.contains(&cell) => Turn::GoAndAgain(until),
            Some((to, _)) if line.0 > to => Turn::Go,
            // What cannot be remembered waits itself.
            Some((_, until)) if self.inherited_cells.len() >= CELLS_MAX => Turn::Wait(until),
            Some(_) => {
                self.inherited_cells.insert(cell);
                Turn::Go
            }
        }
    }

    /// The oldest record that a request may still write that was sent and not answered, by this process or one before it.
    pub(super) fn first(&self) -> Option<Lsn> {
        self.requests.iter().map(|request| request.first).chain(self.inherited_first).min()
    }

    /// When the next of them is over.
    pub(super) fn next_over(&self) -> Option<Duration> {
        let inherited = self.inherited.filter(|_| self.inherited_first.is_some()).map(|(_, until)| until);
        self.requests.iter().map(|request| request.until).chain(inherited).min()
    }

    /// Until when a request with a record below `lsn` may still write something of these measurements to a place. What a process
    /// before us had under way may be anything.
    pub(super) fn until_of(
        &self,
        target: TargetId,
        measurements: &Measurements,
        lsn: Lsn,
        now: Duration,
    ) -> Option<Duration> {
        let may = |request: &&Request| {
            let is_there = request.target.is_none_or(|to| to == target);
            is_there && request.first < lsn && request.measurements.meet(measurements)
        };
        let requests = self.requests.iter().filter(may).map(|request| request.until);
        requests.chain(self.inherited.map(|(_, until)| until)).max().filter(|until| *until > now)
    }

    /// Until when what a process before us had under way may take effect; it may be anything, anywhere.
    pub(super) fn inherited_until(&self, now: Duration) -> Option<Duration> {
        self.inherited.map(|(_, until)| until).filter(|until| *until > now)
    }

    /// Whether so many more cells can be remembered; makes room of those that are over.
    fn has_room(&mut self, more: usize) -> bool {
        if self.cells.len() + more <= CELLS_MAX {
            return true;
        }
        if self.now >= self.full_until {
            let now = self.now;
            self.cells.retain(|_, open| open.until() > now);
            self.full_until = self.cells.values().map(|open| open.until()).min().unwrap_or_default();
        }
        self.cells.len() + more <= CELLS_MAX
    }

    /// Forgets what is over. True when nothing is left to look for.
    pub(super) fn is_over(&mut self, now: Duration) -> bool {
        self.now = self.now.max(now);
        if self.inherited.is_some_and(|(_, until)| until <= now) {
            self.inherited = None;
            self.inherited_cells = HashSet::new();
            self.inherited_first = None;
        }
        self.requests.retain(|request| request.until > now);
        if self.newest <= now {
            self.cells = HashMap::new();
        }
        self.inherited.is_none() && self.cells.is_empty() && self.all_until <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);
    const LATER: Duration = Duration::from_secs(160);
    const FIRST: LineId = (Lsn(0), 0);
    /// Behind all records.
    const END: Lsn = Lsn(u64::MAX);

    fn anywhere() -> (Option<TargetId>, Measurements) {
        (None, Measurements::ANY)
    }

    #[test]
    fn a_cell_of_an_unanswered_request_waits_and_others_do_not() {
        let mut late = Late::default();
        assert!(late.is_over(NOW));
        late.add([(7, FIRST)].into_iter(), anywhere(), LATER);
        assert_eq!((late.turn(7, (Lsn(1), 0), NOW), late.turn(8, (Lsn(1), 0), NOW)), (Turn::Wait(LATER), Turn::Go));
        assert!(!late.is_over(NOW));
        assert!(late.is_over(LATER));
        assert_eq!(late.turn(7, (Lsn(1), 0), LATER), Turn::Go);
    }

    #[test]
    fn after_a_crash_what_follows_the_first_line_of_a_cell_goes_twice() {
        let mut late = Late::default();
        late.inherit(Lsn(5), LATER);
        assert_eq!(late.turn(7, (Lsn(5), 0), NOW), Turn::Go);
        assert_eq!(late.turn(7, (Lsn(6), 0), NOW), Turn::GoAndAgain(LATER));
        assert_eq!(late.turn(8, (Lsn(6), 0), NOW), Turn::Go);
        assert_eq!(late.turn(8, (Lsn(7), 0), NOW), Turn::Go, "both came after the crash");
        late.add([(7, (Lsn(6), 0))].into_iter(), anywhere(), LATER);
        assert_eq!(late.turn(7, (Lsn(7), 0), NOW), Turn::Wait(LATER), "a request of this process waits all the same");
        assert!(late.is_over(LATER));
    }

    #[test]
    fn after_a_crash_what_cannot_be_remembered_waits() {
        let mut late = Late::default();
        late.inherit(Lsn(5), LATER);
        assert!(!late.is_over(NOW));
        for cell in 0..CELLS_MAX as u64 {
            assert_eq!(late.turn(cell, (Lsn(4), 0), NOW), Turn::Go);
        }
        let more = CELLS_MAX as u64;
        assert_eq!(late.turn(more, (Lsn(5), 0), NOW), Turn::Wait(LATER));
        assert_eq!(late.turn(more, (Lsn(6), 0), NOW), Turn::Go, "the lane holds it behind the other");
    }

    #[test]
    fn a_line_does_not_wait_for_itself_nor_an_older_one_for_it() {
        let mut late = Late::default();
        late.add([(7, (Lsn(4), 2))].into_iter(), anywhere(), LATER);
        let waits = [(Lsn(3), 9), (Lsn(4), 2), (Lsn(4), 3), (Lsn(5), 0)].map(|line| late.turn(7, line, NOW));
        assert_eq!(waits, [Turn::Go, Turn::Go, Turn::Wait(LATER), Turn::Wait(LATER)]);
        // The older one is under way as well now: the newer must not be there before it, whatever came of its own request.
        late.add([(7, (Lsn(3), 9))].into_iter(), anywhere(), NOW + TICK);
        assert_eq!(late.turn(7, (Lsn(4), 2), NOW), Turn::Wait(LATER));
    }

    #[test]
    fn cells_that_are_over_make_room_while_others_are_not() {
        let mut late = Late::default();
        let (now, last) = (LATER, LATER * 2);
        late.add((0..CELLS_MAX - 1).map(|cell| (cell as u64, FIRST)), anywhere(), LATER);
        late.add([(u64::MAX, FIRST)].into_iter(), anywhere(), last);
        assert!(!late.is_over(now));
        late.add([(CELLS_MAX as u64, FIRST)].into_iter(), anywhere(), last);
        let more = CELLS_MAX as u64;
        assert_eq!((late.turn(1, (Lsn(9), 0), now), late.turn(more, (Lsn(9), 0), now)), (Turn::Go, Turn::Wait(last)));
    }

    #[test]
    fn a_request_may_write_its_own_place_and_measurements_alone() {
        let only = |name: &'static str| Measurements::of([Some(name.as_bytes())].into_iter());
        let (own, other) = (TargetId(1), TargetId(2));
        let mut late = Late::default();
        late.add([(7, FIRST)].into_iter(), (Some(own), only("m")), LATER);
        assert_eq!(late.until_of(own, &only("m"), END, NOW), Some(LATER));
        assert_eq!(late.until_of(own, &Measurements::ANY, END, NOW), Some(LATER));
        assert_eq!(
            (late.until_of(own, &only("n"), END, NOW), late.until_of(other, &only("m"), END, NOW)),
            (None, None)
        );
        assert_eq!(late.until_of(own, &only("m"), END, LATER), None);
        for _ in 0..=REQUESTS_MAX {
            late.add([(7, FIRST)].into_iter(), (Some(own), only("m")), LATER * 2);
        }
        assert_eq!(late.until_of(other, &only("n"), END, LATER), Some(LATER * 2), "they are not told apart any more");
        let mut late = Late::default();
        late.inherit(Lsn(5), LATER);
        assert_eq!(late.until_of(other, &only("n"), END, NOW), Some(LATER), "nobody knows what was under way");
    }

    #[test]
    fn a_measurement_that_stands_in_a_line_otherwise_than_it_is_may_be_any() {
        assert_eq!(measurement(b"m v=1 1\n"), Some(&b"m"[..]));
        assert_eq!(measurement(b"m\"x,t=1 v=1 1\n"), Some(&b"m\"x"[..]));
        assert_eq!(measurement(b"m\\ n,t=1 v=1 1\n"), None);
        let many: Vec<_> = (0..=MEASUREMENTS_MAX).map(|number| number.to_string()).collect();
        assert_eq!(Measurements::of(many.iter().map(|name| Some(name.as_bytes()))), Measurements::ANY);
    }

    #[test]
    fn a_request_with_too_many_cells_holds_everything() {
        let mut late = Late::default();
        late.add(vec![(7, FIRST); CELLS_MAX + 1].into_iter(), anywhere(), LATER);
        assert_eq!(late.turn(1, (Lsn(1), 0), NOW), Turn::Wait(LATER));
        assert!(late.is_over(LATER));
    }
}
