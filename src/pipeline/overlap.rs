//! Writes under way at the same time, and the cells that two of them touch.
//!
//! Promise: of two writes to one place whose requests were under way at once, or of which one was never answered and may
//! still take effect, no line of a cell that both touch with different values is called kept. The same value is no
//! overlap: that is a client trying again. All other lines of both go on.
//!
//! Writes whose times do not meet cost a look at their neighbours. Hashes are made when they do, once a write. At most
//! `lines_max` lines are remembered; a write that does not fit counts as touching every cell of its time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use bytes::Bytes;
use metrics::{Counter, counter};

use super::cells::{Cell, cells};
use super::stamp::Lines;
use crate::base::metric;
use crate::line::{Dialect, Precision};
use crate::route::RouteName;

/// Writes of one place that are remembered after their end; beyond this they become one.
const LATE_MAX: usize = 1024;
/// Places are looked through so often for writes that can no longer take effect.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A hash is a hash already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

type ByHash<T> = HashMap<u64, T, BuildHasherDefault<Identity>>;

/// A cell of a write that is remembered.
#[derive(Clone, Copy, Debug)]
struct Slot {
    value: u64,
    write: u64,
    line: u32,
}

/// What is known of the cells of a write.
#[derive(Debug)]
enum Known {
    /// Its body; nobody has met it.
    Body(Lines),
    /// Its cells, not in the table yet.
    Cells(Vec<Cell>),
    /// They are in the table.
    Listed(Vec<u64>),
    /// It did not fit: it touches everything.
    Everything,
}

#[derive(Debug)]
struct Flight {
    id: u64,
    min_ns: i64,
    max_ns: i64,
    /// Its body and how that is read, where a repetition of it could be told.
    body: Option<(Bytes, Dialect, Precision)>,
    known: Known,
    /// Lines of cells that another write touched.
    met: Vec<u32>,
    met_all: bool,
    /// It has ended without an answer, and may take effect until then.
    until: Option<Duration>,
}

/// Writes of one place.
#[derive(Debug, Default)]
struct Place {
    flights: Vec<Flight>,
    cells: ByHash<Slot>,
    /// Further writes to a cell of the table.
    more: ByHash<Vec<Slot>>,
}

/// All writes under way. One edge thread.
pub struct Overlaps {
    places: RefCell<HashMap<RouteName, Place>>,
    table: RefCell<Table>,
    /// How long a request without an answer may still take effect.
    late: Duration,
    lines_met: Counter,
    not_listed: Counter,
}

/// The room of all tables.
#[derive(Debug)]
struct Table {
    lines: usize,
    lines_max: usize,
    next: u64,
    told: bool,
    /// When the places were last looked through.
    swept: Duration,
}

impl fmt::Debug for Overlaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Overlaps")
    }
}

/// A write under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    name: RouteName,
    id: u64,
    lines: u32,
}

impl Overlaps {
    /// A table for at most so many lines; what was not answered is remembered for `late`.
    #[must_use]
    pub fn new(lines_max: usize, late: Duration) -> Self {
        Self {
            places: RefCell::default(),
            table: RefCell::new(Table { lines: 0, lines_max, next: 0, told: false, swept: Duration::ZERO }),
            late,
            lines_met: counter!(metric::OVERLAP_LINES),
            not_listed: counter!(metric::OVERLAP_UNLISTED),
        }
    }

    /// Whether a write would have to be compared with another one.
    pub(super) fn meets(&self, name: &RouteName, lines: &Lines) -> bool {
        let places = self.places.borrow();
        places.get(name).is_some_and(|place| place.flights.iter().any(|other| other.meets(lines.min_ns, lines.max_ns)))
    }

    /// A write is about to be sent. `hashed`: its cells, where they are known already.
    pub(super) fn begin(
        &self,
        name: &RouteName,
        lines: &Lines,
        hashed: Option<Vec<Cell>>,
        now: Duration,
    ) -> Option<UnderWay> {
        if lines.parsed.lines == 0 || lines.unstamped > 0 {
            return None;
        }
        let mut places = self.places.borrow_mut();
        let mut table = self.table.borrow_mut();
        table.next += 1;
        let known = hashed.map_or_else(|| Known::Body(lines.clone()), Known::Cells);
        let mut own = Flight {
            id: table.next,
            min_ns: lines.min_ns,
            max_ns: lines.max_ns,
            body: Some((lines.text.clone(), lines.dialect, lines.precision)),
            known,
            met: Vec::new(),
            met_all: false,
            until: None,
        };
        table.sweep(&mut places, now);
        if !places.contains_key(name) {
            places.insert(name.clone(), Place::default());
        }
        let place = places.get_mut(name)?;
        place.forget(&mut table, now);
        if place.flights.iter().any(|other| other.meets(own.min_ns, own.max_ns) && !other.repeats(&own)) {
            place.compare(&mut own, &mut table);
            if matches!(own.known, Known::Everything) {
                self.not_listed.increment(1);
                table.tell();
            }
        }
        let id = own.id;
        place.flights.push(own);
        Some(UnderWay { name: name.clone(), id, lines: lines.parsed.lines })
    }

    /// A piece of a large write is about to be sent: its cells are not remembered, so the whole touches every cell of its
    /// time. `under_way`: what the pieces before it came to.
    pub(super) fn widen(
        &self,
        name: &RouteName,
        under_way: Option<UnderWay>,
        lines: &Lines,
        now: Duration,
    ) -> Option<UnderWay> {
        if lines.parsed.lines == 0 {
            return under_way;
        }
        let mut places = self.places.borrow_mut();
        let mut table = self.table.borrow_mut();
        table.sweep(&mut places, now);
        let place = places.entry(name.clone()).or_default();
        place.forget(&mut table, now);
        let mut under_way = under_way.unwrap_or_else(|| {
            table.next += 1;
            place.flights.push(Flight {
                id: table.next,
                min_ns: lines.min_ns,
                max_ns: lines.max_ns,
                body: None,
                known: Known::Everything,
                met: Vec::new(),
                met_all: false,
                until: None,
            });
            UnderWay { name: name.clone(), id: table.next, lines: 0 }
        });
        under_way.lines = under_way.lines.saturating_add(lines.parsed.lines);
        let mut met = false;
        for other in place.flights.iter_mut().filter(|other| other.id != under_way.id) {
            if other.meets(lines.min_ns, lines.max_ns) {
                other.met_all = true;
                met = true;
            }
        }
        if let Some(own) = place.flights.iter_mut().find(|flight| flight.id == under_way.id) {
            own.min_ns = own.min_ns.min(lines.min_ns);
            own.max_ns = own.max_ns.max(lines.max_ns);
            own.met_all |= met;
        }
        Some(under_way)
    }

    /// A write has ended; `late`: its request may still take effect. The numbers of the lines that met another write, in
    /// order.
    pub(super) fn end(&self, under_way: UnderWay, late: bool, now: Duration) -> Vec<u32> {
        let mut places = self.places.borrow_mut();
        let mut table = self.table.borrow_mut();
        let UnderWay { name, id, lines } = under_way;
        let Some(place) = places.get_mut(&name) else { return Vec::new() };
        let Some(at) = place.flights.iter().position(|flight| flight.id == id) else { return Vec::new() };
        let flight = &mut place.flights[at];
        let mut met = std::mem::take(&mut flight.met);
        if flight.met_all {
            met = (0..lines).collect();
        }
        met.sort_unstable();
        met.dedup();
        self.lines_met.increment(met.len() as u64);
        if late {
            flight.until = Some(now.saturating_add(self.late));
            place.list(at, &mut table);
            place.flights[at].body = None;
            place.bound_late(&mut table);
        } else {
            let flight = place.flights.swap_remove(at);
            place.remove(&flight, &mut table);
        }
        if place.flights.is_empty() {
            places.remove(&name);
        }
        met
    }
}

impl Table {
    /// Drops what can no longer take effect in places that nobody writes to any more: it takes room from all others.
    fn sweep(&mut self, places: &mut HashMap<RouteName, Place>, now: Duration) {
        if now.saturating_sub(self.swept) < SWEEP_EVERY {
            return;
        }
        self.swept = now;
        places.retain(|_, place| {
            place.forget(self, now);
            !place.flights.is_empty()
        });
    }

    fn tell(&mut self) {
        if !self.told {
            tracing::warn!(
                event = "overlap.full",
                lines_max = self.lines_max,
                "more lines are under way than queue.overlap_lines: writes to the same place and time become doubt"
            );
        }
        self.told = true;
    }
}

impl Flight {
    fn meets(&self, min_ns: i64, max_ns: i64) -> bool {
        self.min_ns <= max_ns && min_ns <= self.max_ns
    }

    /// The same body again, read in the same way: each cell has its own value.
    fn repeats(&self, other: &Self) -> bool {
        self.body.is_some() && self.body == other.body
    }

    fn meet(&mut self, line: u32) {
        if self.until.is_none() {
            self.met.push(line);
        }
    }
}

impl Place {
    /// Drops what can no longer take effect.
    fn forget(&mut self, table: &mut Table, now: Duration) {
        while let Some(at) = self.flights.iter().position(|flight| flight.until.is_some_and(|until| until <= now)) {
            let flight = self.flights.swap_remove(at);
            self.remove(&flight, table);
        }
    }

    /// Finds the cells that a new write shares with those under way.
    fn compare(&mut self, own: &mut Flight, table: &mut Table) {
        for at in 0..self.flights.len() {
            if self.flights[at].meets(own.min_ns, own.max_ns) {
                self.list(at, table);
            }
        }
        let fits = list_room(table, &own.known);
        let cells = if fits { take_cells(&mut own.known) } else { None };
        let Some(cells) = cells else {
            own.known = Known::Everything;
            own.met_all = true;
            for other in self.flights.iter_mut().filter(|other| other.meets(own.min_ns, own.max_ns)) {
                other.met_all = true;
            }
            return;
        };
        for other in &mut self.flights {
            if matches!(other.known, Known::Everything) && other.meets(own.min_ns, own.max_ns) {
                other.met_all = true;
                own.met_all = true;
            }
        }
        for (line, cell) in (0u32..).zip(&cells) {
            let first = self.cells.get(&cell.hash);
            let Some(first) = first else { continue };
            let further = self.more.get(&cell.hash).map_or(&[][..], Vec::as_slice);
            let differing = std::iter::once(first).chain(further).filter(|slot| slot.value != cell.value);
            for slot in differing {
                own.met.push(line);
                if let Some(other) = self.flights.iter_mut().find(|flight| flight.id == slot.write) {
                    other.meet(slot.line);
                }
            }
        }
        own.known = Known::Listed(self.insert(own.id, &cells, table));
    }

    /// Puts the cells of a write into the table, if they are not there and there is room.
    fn list(&mut self, at: usize, table: &mut Table) {
        let flight = &mut self.flights[at];
        if matches!(flight.known, Known::Listed(_) | Known::Everything) {
            return;
        }
        let id = flight.id;
        let fits = list_room(table, &flight.known);
        let known = match if fits { take_cells(&mut flight.known) } else { None } {
            Some(cells) => Known::Listed(self.insert(id, &cells, table)),
            None => {
                table.tell();
                Known::Everything
            }
        };
        self.flights[at].known = known;
    }

    fn insert(&mut self, write: u64, cells: &[Cell], table: &mut Table) -> Vec<u64> {
        table.lines += cells.len();
        for (line, cell) in (0u32..).zip(cells) {
            let slot = Slot { value: cell.value, write, line };
            match self.cells.entry(cell.hash) {
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(slot);
                }
                // The last of several lines of one write is the one that counts.
                std::collections::hash_map::Entry::Occupied(mut taken) if taken.get().write == write => {
                    taken.insert(slot);
                }
                std::collections::hash_map::Entry::Occupied(_) => {
                    let further = self.more.entry(cell.hash).or_default();
                    match further.iter_mut().find(|other| other.write == write) {
                        Some(own) => *own = slot,
                        None => further.push(slot),
                    }
                }
            }
        }
        cells.iter().map(|cell| cell.hash).collect()
    }

    fn remove(&mut self, flight: &Flight, table: &mut Table) {
        let Known::Listed(hashes) = &flight.known else { return };
        table.lines = table.lines.saturating_sub(hashes.len());
        if table.lines == 0 {
            table.told = false;
        }
        for hash in hashes {
            if let Some(further) = self.more.get_mut(hash) {
                further.retain(|slot| slot.write != flight.id);
                if self.cells.get(hash).is_some_and(|slot| slot.write == flight.id)
                    && let Some(next) = further.pop()
                {
                    self.cells.insert(*hash, next);
                }
                if further.is_empty() {
                    self.more.remove(hash);
                }
            }
            if self.cells.get(hash).is_some_and(|slot| slot.write == flight.id) {
                self.cells.remove(hash);
            }
        }
    }

    /// Of many writes without an answer one is left that touches everything between them.
    fn bound_late(&mut self, table: &mut Table) {
        let late = |flight: &Flight| flight.until.is_some();
        if self.flights.iter().filter(|flight| late(flight)).count() <= LATE_MAX {
            return;
        }
        let (gone, left): (Vec<Flight>, Vec<Flight>) = std::mem::take(&mut self.flights).into_iter().partition(late);
        self.flights = left;
        table.tell();
        gone.iter().for_each(|flight| self.remove(flight, table));
        table.next += 1;
        self.flights.push(Flight {
            id: table.next,
            min_ns: gone.iter().map(|flight| flight.min_ns).min().unwrap_or(i64::MIN),
            max_ns: gone.iter().map(|flight| flight.max_ns).max().unwrap_or(i64::MAX),
            body: None,
            known: Known::Everything,
            met: Vec::new(),
            met_all: false,
            until: gone.iter().filter_map(|flight| flight.until).max(),
        });
    }
}

fn list_room(table: &Table, known: &Known) -> bool {
    let lines = match known {
        Known::Body(lines) => lines.parsed.lines as usize,
        Known::Cells(cells) => cells.len(),
        Known::Listed(_) | Known::Everything => 0,
    };
    table.lines.saturating_add(lines) <= table.lines_max
}

fn take_cells(known: &mut Known) -> Option<Vec<Cell>> {
    match std::mem::replace(known, Known::Everything) {
        Known::Body(lines) => cells(&lines),
        Known::Cells(cells) => Some(cells),
        Known::Listed(_) | Known::Everything => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::Decoded;
    use super::super::stamp;
    use super::*;
    use crate::db::precision::Api;
    use crate::db::server::{Flavor, Version};
    use crate::route::WriteIdentity;

    #[test]
    fn a_large_write_meets_whatever_is_under_way_in_its_time_but_not_itself() {
        let overlaps = Overlaps::new(1000, LATE);
        let widen = |under_way, body: &str| overlaps.widen(&place(), under_way, &lines(body), NOW);
        let apart = begin(&overlaps, "m v=1 900");
        let large = widen(widen(None, "m v=1 1\nm v=1 5"), "m v=1 3\nm v=1 9").unwrap();
        assert_eq!(overlaps.end(apart, false, NOW), Vec::<u32>::new());
        assert_eq!(overlaps.end(large, false, NOW), Vec::<u32>::new(), "pieces do not meet each other");
        let before = begin(&overlaps, "m v=1 7");
        let large = widen(None, "m v=1 1").unwrap();
        let large = widen(Some(large), "m v=1 9\nm v=1 5").unwrap();
        let after = begin(&overlaps, "m v=1 3");
        assert_eq!(overlaps.end(after, false, NOW), [0]);
        assert_eq!(overlaps.end(before, false, NOW), [0]);
        assert_eq!(overlaps.end(large, false, NOW), [0, 1, 2]);
        assert!(overlaps.places.borrow().is_empty());
    }

    const NOW: Duration = Duration::from_secs(100);
    const LATE: Duration = Duration::from_secs(60);

    fn place() -> RouteName {
        RouteName::Database { db: "d".into(), rp: "r".into() }
    }

    fn begin(overlaps: &Overlaps, body: &str) -> UnderWay {
        begin_at(overlaps, body, NOW)
    }

    fn begin_at(overlaps: &Overlaps, body: &str, now: Duration) -> UnderWay {
        overlaps.begin(&place(), &lines(body), None, now).unwrap()
    }

    fn lines(body: &str) -> Lines {
        let identity = WriteIdentity::read(Api::V1, "db=d");
        let body = Decoded::Plain(body.to_owned().into());
        stamp::read(&Version::assumed(Flavor::Influx1), &identity, body, 0)
    }

    fn end(overlaps: &Overlaps, write: UnderWay) -> Vec<u32> {
        overlaps.end(write, false, NOW)
    }

    fn is_empty(overlaps: &Overlaps) -> bool {
        overlaps.places.borrow().is_empty() && overlaps.table.borrow().lines == 0
    }

    #[test]
    fn only_the_cells_that_two_writes_touch_are_found_in_whatever_order_they_end() {
        for first_ends_first in [true, false] {
            let overlaps = Overlaps::new(1000, LATE);
            let a = begin(&overlaps, "m v=1 1\nm v=1 2\nm,h=a v=1 3\n");
            let b = begin(&overlaps, "m v=5 9\nm v=2 2\nm,h=b v=1 3\nm v=1 1");
            let (a, b) = if first_ends_first {
                let a = end(&overlaps, a);
                (a, end(&overlaps, b))
            } else {
                let b = end(&overlaps, b);
                (end(&overlaps, a), b)
            };
            assert_eq!((a, b), (vec![1], vec![1]), "the same value of m at 1 is no overlap");
            assert!(is_empty(&overlaps));
        }
    }

    #[test]
    fn a_write_after_the_answer_does_not_meet_it() {
        let overlaps = Overlaps::new(1000, LATE);
        let a = begin(&overlaps, "m v=1 1");
        assert_eq!(end(&overlaps, a), Vec::<u32>::new());
        let b = begin(&overlaps, "m v=2 1");
        assert_eq!(end(&overlaps, b), Vec::<u32>::new());
    }

    #[test]
    fn three_writes_to_one_cell_are_all_found() {
        let overlaps = Overlaps::new(1000, LATE);
        let a = begin(&overlaps, "m v=1 1");
        let again = begin(&overlaps, "m v=1 1\nm v=7 7");
        let b = begin(&overlaps, "m v=2 1");
        assert_eq!(end(&overlaps, a), [0]);
        let c = begin(&overlaps, "m v=1 1");
        assert_eq!((end(&overlaps, b), end(&overlaps, again), end(&overlaps, c)), (vec![0], vec![0], vec![0]));
        assert!(is_empty(&overlaps));
    }

    #[test]
    fn a_body_sent_again_is_no_overlap_even_with_a_cell_twice() {
        let overlaps = Overlaps::new(1000, LATE);
        let body = "m v=1 1\nm v=2 1\n";
        let (a, b) = (begin(&overlaps, body), begin(&overlaps, body));
        assert_eq!((end(&overlaps, a), end(&overlaps, b)), (vec![], vec![]));
    }

    #[test]
    fn the_same_text_in_another_precision_is_no_repetition() {
        let overlaps = Overlaps::new(1000, LATE);
        // One cell twice, so that each body differs from its own repetition cell by cell.
        let body = "m v=1 0\nm v=2 0\n";
        let read = |query: &str| {
            let body = Decoded::Plain(body.to_owned().into());
            stamp::read(&Version::assumed(Flavor::Influx1), &WriteIdentity::read(Api::V1, query), body, 0)
        };
        let a = overlaps.begin(&place(), &read("db=d"), None, NOW).unwrap();
        let b = overlaps.begin(&place(), &read("db=d&precision=s"), None, NOW).unwrap();
        assert_eq!((end(&overlaps, a), end(&overlaps, b)), (vec![1], vec![0]));
    }

    #[test]
    fn places_that_nobody_writes_to_any_more_give_back_their_room() {
        let overlaps = Overlaps::new(1000, LATE);
        overlaps.end(begin(&overlaps, "m v=1 1"), true, NOW);
        assert_eq!(overlaps.table.borrow().lines, 1);
        let other = RouteName::Database { db: "other".into(), rp: "r".into() };
        let write = overlaps.begin(&other, &lines("m v=1 1"), None, NOW + LATE).unwrap();
        overlaps.end(write, false, NOW + LATE);
        assert!(is_empty(&overlaps));
    }

    #[test]
    fn a_write_without_an_answer_is_met_until_it_can_no_longer_take_effect() {
        let overlaps = Overlaps::new(1000, LATE);
        let lost = begin(&overlaps, "m v=1 1\nm v=1 2");
        overlaps.end(lost, true, NOW);
        let again = begin(&overlaps, "m v=1 1\nm v=1 2");
        assert_eq!(end(&overlaps, again), Vec::<u32>::new(), "the client tries again");
        let newer = begin(&overlaps, "m v=2 1\nm v=1 3");
        assert_eq!(end(&overlaps, newer), [0]);
        let newer = begin_at(&overlaps, "m v=3 1", NOW + LATE);
        assert_eq!(end(&overlaps, newer), Vec::<u32>::new());
        assert!(is_empty(&overlaps));
    }

    #[test]
    fn what_does_not_fit_counts_as_touching_everything_of_its_time() {
        let overlaps = Overlaps::new(3, LATE);
        let a = begin(&overlaps, "m v=1 1\nm v=1 2\n");
        let far = begin(&overlaps, "m v=1 100\n");
        let b = begin(&overlaps, "n v=1 1\nn v=1 2\n");
        let c = begin(&overlaps, "o v=1 2\n");
        assert_eq!((end(&overlaps, b), end(&overlaps, a)), (vec![0, 1], vec![0, 1]));
        assert_eq!((end(&overlaps, c), end(&overlaps, far)), (vec![0], vec![]));
        assert!(is_empty(&overlaps));
    }

    #[test]
    fn many_writes_without_an_answer_become_one() {
        let overlaps = Overlaps::new(1_000_000, LATE);
        for at in 0..=LATE_MAX {
            let lost = begin(&overlaps, &format!("m v=1 {at}"));
            overlaps.end(lost, true, NOW);
        }
        assert_eq!(overlaps.places.borrow()[&place()].flights.len(), 1);
        assert_eq!(overlaps.table.borrow().lines, 0);
        let meets = begin(&overlaps, "other v=2 5");
        assert_eq!(end(&overlaps, meets), [0]);
        let far = begin(&overlaps, "m v=2 5000");
        assert_eq!(end(&overlaps, far), Vec::<u32>::new());
    }
}
